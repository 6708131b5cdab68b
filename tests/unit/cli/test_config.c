/* Unit tests of --config files and of the request that `custom-jobs create` makes of its flags. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cli/cli.h"

#include <unistd.h>

static void check_json(json_t *got, const char *want) {
    assert_non_null(got);
    json_t *w = json_loads(want, 0, NULL);
    assert_non_null(w);
    if (!json_equal(got, w)) {
        char *text = json_dumps(got, JSON_SORT_KEYS);
        fail_msg("got %s\nwant %s", text, want);
    }
    json_decref(w);
    json_decref(got);
}

static void check_yaml(const char *yaml, const char *want) {
    struct err err = {0};
    json_t *j = configfile_parse(str_of(yaml), &err);
    if (!j) {
        fail_msg("%s: %s", yaml, err.msg);
    }
    check_json(j, want);
}

static void check_yaml_refused(struct str yaml, const char *why) {
    struct err err = {0};
    assert_null(configfile_parse(yaml, &err));
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    if (!strstr(err.msg, why)) {
        fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
    }
}

static void test_scalars_follow_the_core_rules(void **state) {
    check_yaml(
        "i: 12\nm: -3\nf: 1.5\ne: 1e3\nt: true\nT: True\nn: null\nz: ~\nblank:\n",
        "{\"i\":12,\"m\":-3,\"f\":1.5,\"e\":1000.0,\"t\":true,\"T\":true,\"n\":null,\"z\":null,"
        "\"blank\":null}");
    check_yaml(
        "q: \"12\"\ns: 'true'\nv: 1.2.3\nd: 2024-01-01\ny: yes\nb: !!str 5\ninf: 1e999\nbig: "
        "99999999999999999999x\ndot: '.'\n",
        "{\"q\":\"12\",\"s\":\"true\",\"v\":\"1.2.3\",\"d\":\"2024-01-01\",\"y\":\"yes\",\"b\":"
        "\"5\",\"inf\":\"1e999\",\"big\":\"99999999999999999999x\",\"dot\":\".\"}");
    check_yaml("u: caf\xc3\xa9\nblock: |\n  a\n  b\n",
               "{\"u\":\"caf\xc3\xa9\",\"block\":\"a\\nb\\n\"}");
}

static void test_json_is_taken_as_it_is(void **state) {
    check_yaml("{\n\t\"workerPoolSpecs\": [\n\t\t{\"replicaCount\": \"1\", \"x\": [1, 2.5, null, "
               "true]}\n\t]\n}\n",
               "{\"workerPoolSpecs\":[{\"replicaCount\":\"1\",\"x\":[1,2.5,null,true]}]}");
    check_yaml("{}", "{}");
}

static void test_what_is_not_one_plain_mapping_is_refused(void **state) {
    check_yaml_refused(STR(""), "must be a mapping");
    check_yaml_refused(STR("# only a comment\n"), "must be a mapping");
    check_yaml_refused(STR("- a\n- b\n"), "must be a mapping");
    check_yaml_refused(STR("words\n"), "must be a mapping");
    check_yaml_refused(STR("a: 1\n---\nb: 2\n"), "line 2: a second document");
    check_yaml_refused(STR("a: 1\nb: 2\na: 3\n"), "line 3: key \"a\" is here twice");
    check_yaml_refused(STR("? [a]\n: 1\n"), "a key must be plain text");
    check_yaml_refused(STR("\"a\\0b\": 1\n"), "a key must be plain text");
    check_yaml_refused(STR("a: [1\n"), "line");
    check_yaml_refused(STR("a: b: c\n"), "line 1");
    check_yaml_refused(STR("a: \xff\n"), "line");
    check_yaml_refused(STR("a: 1\n  b: 2\n c: 3\n"), "line");
}

static void test_anchors_are_refused_wherever_they_stand(void **state) {
    static const char *const texts[] = {"a: &x 1\n",   "a: &x [1]\n",  "a: &x {b: 1}\n",
                                        "a: *x\n",     "- &x a\n",     "a: [*x]\n",
                                        "&r {a: 1}\n", "a: {<<: *x}\n"};
    for (size_t i = 0; i < NR_OF(texts); i++) {
        struct err err = {0};
        assert_null(configfile_parse(str_of(texts[i]), &err));
        assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    }
    check_yaml_refused(STR("x: 1\na: &x 1\n"), "line 2: anchors and aliases");
    check_yaml_refused(STR("&k a: 1\n"), "plain text");
}

static void nested(struct buf *b, unsigned depth) {
    buf_puts(b, "{a: ");
    for (unsigned i = 0; i < depth; i++) {
        buf_putc(b, '[');
    }
    for (unsigned i = 0; i < depth; i++) {
        buf_putc(b, ']');
    }
    buf_putc(b, '}');
}

static void test_depth_is_bounded(void **state) {
    auto_buf struct buf ok = BUF_INIT(1 << 20);
    auto_buf struct buf deep = BUF_INIT(1 << 20);
    struct err err = {0};
    nested(&ok, 60);
    nested(&deep, 900);
    json_t *j = configfile_parse(buf_str(&ok), &err);
    assert_non_null(j);
    json_decref(j);
    check_yaml_refused(buf_str(&deep), "nested deeper than 64");
}

/* ---- create */

static json_t *body_of(struct err *err, char **argv) {
    struct flag flags[] = CREATE_FLAGS;
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    int argc = 0;
    while (argv[argc]) {
        argc++;
    }
    return args_parse(&a, argc, argv, err) ? NULL : job_body_from_flags(&a, err);
}
#define BODY(...) body_of(&(struct err){0}, (char *[]){__VA_ARGS__, NULL})
#define POOL "--worker-pool-spec=machine-type=m,container-image-uri=i"

static void check_body_refused(const char *why, char **argv) {
    struct err err = {0};
    assert_null(body_of(&err, argv));
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    if (!strstr(err.msg, why)) {
        fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
    }
}
#define REFUSED(why, ...) check_body_refused(why, (char *[]){__VA_ARGS__, NULL})

static void test_every_pool_key(void **state) {
    check_json(
        BODY("--display-name=d",
             "--worker-pool-spec=machine-type=n1-standard-4,replica-count=2,accelerator-type="
             "nvidia-tesla-t4,accelerator-count=4,boot-disk-type=pd-ssd,boot-disk-size=200,"
             "container-image-uri=gcr.io/x/y:z=1"),
        "{\"displayName\":\"d\",\"jobSpec\":{\"workerPoolSpecs\":[{\"machineSpec\":{"
        "\"machineType\":"
        "\"n1-standard-4\",\"acceleratorType\":\"NVIDIA_TESLA_T4\",\"acceleratorCount\":\"4\"},"
        "\"replicaCount\":\"2\",\"diskSpec\":{\"bootDiskType\":\"pd-ssd\",\"bootDiskSizeGb\":"
        "\"200\"},"
        "\"containerSpec\":{\"imageUri\":\"gcr.io/x/y:z=1\"}}]}}");
    check_json(BODY("--display-name=d", "--python-package-uris=gs://b/1.tgz,gs://b/2.tgz",
                    "--worker-pool-spec=executor-image-uri=e,python-module=t.task"),
               "{\"displayName\":\"d\",\"jobSpec\":{\"workerPoolSpecs\":[{\"replicaCount\":\"1\","
               "\"pythonPackageSpec\":{\"executorImageUri\":\"e\",\"pythonModule\":\"t.task\","
               "\"packageUris\":[\"gs://b/1.tgz\",\"gs://b/2.tgz\"]}}]}}");
}

static void test_accelerators_are_written_either_way_and_count_one(void **state) {
    check_json(BODY("--display-name=d", "--worker-pool-spec=accelerator-type=NVIDIA_H100_80GB"),
               "{\"displayName\":\"d\",\"jobSpec\":{\"workerPoolSpecs\":[{\"machineSpec\":{"
               "\"acceleratorType\":"
               "\"NVIDIA_H100_80GB\",\"acceleratorCount\":\"1\"},\"replicaCount\":\"1\"}]}}");
}

static void test_pools_keep_their_places_and_an_empty_one_stays_empty(void **state) {
    check_json(
        BODY("--display-name=d", "--worker-pool-spec=container-image-uri=a",
             "--worker-pool-spec=", "--worker-pool-spec=container-image-uri=b,replica-count=3"),
        "{\"displayName\":\"d\",\"jobSpec\":{\"workerPoolSpecs\":[{\"containerSpec\":{\"imageUri\":"
        "\"a\"},\"replicaCount\":\"1\"},{},{\"containerSpec\":{\"imageUri\":\"b\"},"
        "\"replicaCount\":"
        "\"3\"}]}}");
}

static void test_args_and_command_go_to_every_pool(void **state) {
    check_json(
        BODY("--display-name=d", "--worker-pool-spec=container-image-uri=a",
             "--worker-pool-spec=executor-image-uri=e", "--args=--lr=0.1,,x y", "--command=sh,-c"),
        "{\"displayName\":\"d\",\"jobSpec\":{\"workerPoolSpecs\":[{\"containerSpec\":{\"imageUri\":"
        "\"a\","
        "\"args\":[\"--lr=0.1\",\"\",\"x y\"],\"command\":[\"sh\",\"-c\"]},\"replicaCount\":\"1\"},"
        "{\"pythonPackageSpec\":{\"executorImageUri\":\"e\",\"args\":[\"--lr=0.1\",\"\",\"x y\"]},"
        "\"replicaCount\":\"1\"}]}}");
    check_json(
        BODY("--display-name=d", "--worker-pool-spec=container-image-uri=a", "--args=^;^a,b;c"),
        "{\"displayName\":\"d\",\"jobSpec\":{\"workerPoolSpecs\":[{\"containerSpec\":{\"imageUri\":"
        "\"a\","
        "\"args\":[\"a,b\",\"c\"]},\"replicaCount\":\"1\"}]}}");
}

static void test_flags_of_the_whole_job(void **state) {
    check_json(BODY("--display-name=d", "--worker-pool-spec=container-image-uri=a",
                    "--labels=team=red,k=", "--base-output-dir=gs://b/o", "--timeout=60",
                    "--service-account=s", "--network=n", "--persistent-resource-id=p",
                    "--enable-web-access", "--enable-dashboard-access=false"),
               "{\"displayName\":\"d\",\"labels\":{\"team\":\"red\",\"k\":\"\"},\"jobSpec\":{"
               "\"serviceAccount\":"
               "\"s\",\"network\":\"n\",\"persistentResourceId\":\"p\",\"enableWebAccess\":true,"
               "\"enableDashboardAccess\":false,\"baseOutputDirectory\":{\"outputUriPrefix\":\"gs:/"
               "/b/o\"},"
               "\"scheduling\":{\"timeout\":\"60s\"},\"workerPoolSpecs\":[{\"containerSpec\":{"
               "\"imageUri\":"
               "\"a\"},\"replicaCount\":\"1\"}]}}");
}

static void test_wrong_flags_say_which(void **state) {
    REFUSED("--display-name", POOL);
    REFUSED("--worker-pool-spec", "--display-name=d");
    REFUSED("unknown key \"machine\"", "--display-name=d", "--worker-pool-spec=machine=x");
    REFUSED("\"n1\" is not KEY=VALUE", "--display-name=d", "--worker-pool-spec=machine-type=a,n1");
    REFUSED("--labels: \"x\" is not KEY=VALUE", "--display-name=d", POOL, "--labels=a=b,x");
}

static char *config_file(const char *text) {
    char *path = xstrdup("/tmp/cusp-test-config-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static void check_config(const char *text, const char *want, char *flag) {
    auto_free char *path = config_file(text);
    auto_free char *config = xasprintf("--config=%s", path);
    json_t *got = BODY("--display-name=d", config, flag);
    unlink(path);
    check_json(got, want);
}

static void test_flags_stand_on_top_of_the_config_file(void **state) {
    check_config("workerPoolSpecs:\n- replicaCount: 1\n  containerSpec: {imageUri: "
                 "a}\nscheduling:\nnetwork: x\n",
                 "{\"displayName\":\"d\",\"jobSpec\":{\"workerPoolSpecs\":[{\"replicaCount\":1,"
                 "\"containerSpec\":"
                 "{\"imageUri\":\"a\"}}],\"scheduling\":{\"timeout\":\"5s\"},\"network\":\"x\"}}",
                 "--timeout=5s");
    check_config("workerPoolSpecs:\n- containerSpec: {imageUri: a}\n",
                 "{\"displayName\":\"d\",\"jobSpec\":{\"workerPoolSpecs\":[{\"containerSpec\":{"
                 "\"imageUri\":\"b\"},"
                 "\"replicaCount\":\"1\"}]}}",
                 "--worker-pool-spec=container-image-uri=b");
}

static void test_a_single_map_is_a_pool(void **state) {
    check_config("workerPoolSpecs:\n  containerSpec: {imageUri: a}\n",
                 "{\"displayName\":\"d\",\"jobSpec\":{\"workerPoolSpecs\":[{\"containerSpec\":{"
                 "\"imageUri\":\"a\","
                 "\"args\":[\"1\"]}}]}}",
                 "--args=1");
}

static void test_a_whole_request_is_taken_as_config(void **state) {
    check_config(
        "{\"displayName\":\"theirs\",\"labels\":{\"a\":\"b\"},\"jobSpec\":{\"workerPoolSpecs\":[{}]"
        "}}",
        "{\"displayName\":\"d\",\"labels\":{\"a\":\"b\"},\"jobSpec\":{\"workerPoolSpecs\":[{}],"
        "\"network\":\"n\"}}",
        "--network=n");
}

static void test_config_errors_name_the_file(void **state) {
    struct err err = {0};
    assert_null(body_of(&err, (char *[]){"--display-name=d", "--config=/nowhere/x.yaml", NULL}));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/nowhere/x.yaml"));
    auto_free char *path = config_file("a: [\n");
    auto_free char *flag = xasprintf("--config=%s", path);
    assert_null(body_of(&err, (char *[]){"--display-name=d", flag, NULL}));
    assert_non_null(strstr(err.msg, path));
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars_follow_the_core_rules),
        cmocka_unit_test(test_json_is_taken_as_it_is),
        cmocka_unit_test(test_what_is_not_one_plain_mapping_is_refused),
        cmocka_unit_test(test_anchors_are_refused_wherever_they_stand),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_every_pool_key),
        cmocka_unit_test(test_accelerators_are_written_either_way_and_count_one),
        cmocka_unit_test(test_pools_keep_their_places_and_an_empty_one_stays_empty),
        cmocka_unit_test(test_args_and_command_go_to_every_pool),
        cmocka_unit_test(test_flags_of_the_whole_job),
        cmocka_unit_test(test_wrong_flags_say_which),
        cmocka_unit_test(test_flags_stand_on_top_of_the_config_file),
        cmocka_unit_test(test_a_single_map_is_a_pool),
        cmocka_unit_test(test_a_whole_request_is_taken_as_config),
        cmocka_unit_test(test_config_errors_name_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
