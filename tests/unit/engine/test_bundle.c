/* config.json against golden files, and the promises that must hold for any input. To accept a
 * changed output on purpose: CUSP_GOLDEN_WRITE=1 with CUSP_GOLDEN=DIR, then read the diff. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "engine/bundle/bundle.h"

static struct bundle_spec minimal(void) {
    static const char *argv[] = {"python3", "-c", "print(1)", NULL};
    static const char *env[] = {"PATH=/usr/bin:/bin", NULL};
    return (struct bundle_spec){
        .argv = argv,
        .env = env,
        .cwd = "/",
        .hostname = "workerpool0-0",
        .rootfs = "/data/run/1/a1/workerpool0-0/rootfs",
        .cgroup_path = "/cusp/1-a1-workerpool0-0/c",
        .seccomp_arch = "SCMP_ARCH_X86_64",
    };
}

static struct bundle_spec full(void) {
    static const char *argv[] = {"sh", "-c", "echo \"quoted\" \\ \n\t\x01 \xff \xc3\xa9", "", NULL};
    static const char *env[] = {"HOME=/home/u", "EMPTY=", "A=b=c", NULL};
    static const uint32_t gids[] = {44, 100};
    static const struct bundle_mount mounts[] = {
        {"/data/buckets/b", "/gcs/b", false},
        {"/data/run/7/a2/workerpool1-3/etc/hosts", "/etc/hosts", true},
    };
    static const struct bundle_device devices[] = {{"/dev/nvidia0", 'c', 195, 0},
                                                   {"/dev/loop7", 'b', 7, 7}};
    return (struct bundle_spec){
        .argv = argv,
        .env = env,
        .cwd = "/work dir",
        .uid = 1000,
        .gid = 1001,
        .extra_gids = gids,
        .nr_extra_gids = NR_OF(gids),
        .hostname = "workerpool1-3",
        .rootfs = "/data/run/7/a2/workerpool1-3/rootfs",
        .mounts = mounts,
        .nr_mounts = NR_OF(mounts),
        .cgroup_path = "/cusp/7-a2-workerpool1-3/c",
        .mem_bytes = UINT64_C(16) << 30,
        .cpu_milli = 4000,
        .pids = 8192,
        .shm_bytes = UINT64_C(8) << 30,
        .own_netns = true,
        .device_nodes = devices,
        .nr_device_nodes = NR_OF(devices),
        .mount_cgroup = true,
        .nofile = 65536,
        .seccomp_arch = "SCMP_ARCH_AARCH64",
    };
}

static void compare_golden(const char *name, const struct bundle_spec *s) {
    auto_buf struct buf got = BUF_INIT(BUF_NO_MAX);
    struct err err = {0};
    assert_int_equal(bundle_config_json(s, &got, &err), 0);
    const char *dir = getenv("CUSP_GOLDEN");
    assert_non_null(dir);
    auto_free char *path = xasprintf("%s/%s.json", dir, name);
    if (getenv("CUSP_GOLDEN_WRITE") != NULL) {
        FILE *f = fopen(path, "we");
        assert_non_null(f);
        assert_int_equal(fwrite(got.p, 1, got.n, f), got.n);
        assert_int_equal(fclose(f), 0);
    }
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    auto_buf struct buf want = BUF_INIT(1 << 20);
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof(chunk), f)) > 0;) {
        assert_int_equal(buf_put(&want, chunk, n), 0);
    }
    (void)fclose(f);
    assert_string_equal(buf_cstr(&got), buf_cstr(&want));
}

static json_t *config_of(const struct bundle_spec *s) {
    auto_buf struct buf got = BUF_INIT(BUF_NO_MAX);
    struct err err = {0};
    assert_int_equal(bundle_config_json(s, &got, &err), 0);
    json_error_t why;
    json_t *j = json_loadb(got.p, got.n, JSON_REJECT_DUPLICATES, &why);
    if (j == NULL) {
        fail_msg("not JSON: %s at line %d", why.text, why.line);
    }
    return j;
}

static json_t *path_of(json_t *j, const char *dotted) {
    struct str rest = str_of(dotted);
    while (rest.p != NULL && j != NULL) {
        struct str key = str_cut(&rest, '.');
        auto_free char *k = str_dup(key);
        uint64_t index;
        j = json_is_array(j) && str_to_u64(key, &index) ? json_array_get(j, index)
                                                        : json_object_get(j, k);
    }
    if (j == NULL) {
        fail_msg("no %s in config.json", dotted);
    }
    return j;
}

static void test_minimal_container_is_the_golden_file(void **state) {
    struct bundle_spec s = minimal();
    compare_golden("minimal", &s);
}

static void test_full_container_is_the_golden_file(void **state) {
    struct bundle_spec s = full();
    compare_golden("full", &s);
}

static void test_same_spec_gives_the_same_bytes(void **state) {
    auto_buf struct buf a = BUF_INIT(BUF_NO_MAX), b = BUF_INIT(BUF_NO_MAX);
    struct bundle_spec s = full();
    assert_int_equal(bundle_config_json(&s, &a, NULL), 0);
    assert_int_equal(bundle_config_json(&s, &b, NULL), 0);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.p, b.p, a.n);
}

static void test_arguments_survive_as_json(void **state) {
    struct bundle_spec s = full();
    json_t *j = config_of(&s);
    assert_int_equal(json_array_size(path_of(j, "process.args")), 4);
    assert_string_equal(json_string_value(path_of(j, "process.args.2")),
                        "echo \"quoted\" \\ \n\t\x01 \xef\xbf\xbd \xc3\xa9");
    assert_string_equal(json_string_value(path_of(j, "process.args.3")), "");
    assert_string_equal(json_string_value(path_of(j, "process.env.2")), "A=b=c");
    json_decref(j);
}

static void test_every_container_is_strict(void **state) {
    const struct bundle_spec specs[] = {minimal(), full()};
    static const char *const never[] = {"CAP_SYS_ADMIN",       "CAP_MKNOD",      "CAP_NET_RAW",
                                        "CAP_NET_ADMIN",       "CAP_SYS_PTRACE", "CAP_SYS_MODULE",
                                        "CAP_DAC_READ_SEARCH", "CAP_SYS_CHROOT"};
    static const char *const sets[] = {"bounding", "effective", "permitted", "inheritable",
                                       "ambient"};
    for (size_t i = 0; i < NR_OF(specs); i++) {
        json_t *j = config_of(&specs[i]);
        assert_true(json_is_true(path_of(j, "process.noNewPrivileges")));
        assert_true(json_is_false(path_of(j, "linux.resources.devices.0.allow")));
        assert_null(json_object_get(j, "hooks"));
        assert_string_equal(json_string_value(path_of(j, "linux.seccomp.defaultAction")),
                            "SCMP_ACT_ERRNO");
        for (size_t k = 0; k < NR_OF(sets); k++) {
            json_t *set = json_object_get(path_of(j, "process.capabilities"), sets[k]);
            size_t at;
            json_t *cap;
            json_array_foreach(set, at, cap) {
                for (size_t n = 0; n < NR_OF(never); n++) {
                    assert_string_not_equal(json_string_value(cap), never[n]);
                }
            }
        }
        json_decref(j);
    }
}

static void test_another_user_than_root_starts_without_capabilities(void **state) {
    struct bundle_spec s = full();
    json_t *j = config_of(&s);
    assert_int_equal(json_array_size(path_of(j, "process.capabilities.effective")), 0);
    assert_int_equal(json_array_size(path_of(j, "process.capabilities.permitted")), 0);
    json_decref(j);
}

/* A call in two unconditional rules would leave the runtime to pick one. */
static void test_seccomp_names_every_call_once(void **state) {
    struct bundle_spec s = minimal();
    json_t *j = config_of(&s), *seen = json_object(), *rule, *name;
    size_t i, k;
    json_array_foreach(path_of(j, "linux.seccomp.syscalls"), i, rule) {
        if (json_object_get(rule, "args") != NULL) {
            continue;
        }
        json_array_foreach(json_object_get(rule, "names"), k, name) {
            if (json_object_get(seen, json_string_value(name)) != NULL) {
                fail_msg("%s is listed twice", json_string_value(name));
            }
            json_object_set_new(seen, json_string_value(name), json_true());
        }
    }
    static const char *const conditional[] = {"clone", "socket", "personality", "clone3"};
    for (i = 0; i < NR_OF(conditional); i++) {
        assert_null(json_object_get(seen, conditional[i]));
    }
    json_decref(seen);
    json_decref(j);
}

static void test_limits_become_cgroup_numbers(void **state) {
    struct bundle_spec s = full();
    s.cpu_milli = 1500;
    json_t *j = config_of(&s);
    assert_int_equal(json_integer_value(path_of(j, "linux.resources.cpu.quota")), 150000);
    assert_int_equal(json_integer_value(path_of(j, "linux.resources.cpu.shares")), 1536);
    assert_int_equal(json_integer_value(path_of(j, "linux.resources.memory.swap")),
                     json_integer_value(path_of(j, "linux.resources.memory.limit")));
    json_decref(j);
    s.cpu_milli = 1; /* below what the kernel takes */
    s.no_swap_limit = true;
    j = config_of(&s);
    assert_int_equal(json_integer_value(path_of(j, "linux.resources.cpu.quota")), 1000);
    assert_int_equal(json_integer_value(path_of(j, "linux.resources.cpu.shares")), 2);
    assert_null(json_object_get(path_of(j, "linux.resources.memory"), "swap"));
    json_decref(j);
}

static void expect_refused(const struct bundle_spec *s, enum err_code code) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct err err = {0};
    assert_int_equal(bundle_config_json(s, &b, &err), -1);
    assert_int_equal(err.code, code);
    assert_int_equal(b.n, 0);
}

static void test_malformed_specs_are_refused_without_output(void **state) {
    static const char *none[] = {NULL}, *blank[] = {"", NULL}, *nameless[] = {"=x", NULL};
    static const char *odd[] = {"NOEQUALS", NULL};
    static const struct bundle_mount up = {"/a", "/b/../../etc", false}, rel = {"a", "/b", false};
    static const struct bundle_device dev = {"/dev/x", 'p', 1, 1};
    struct bundle_spec s = minimal();
    s.argv = none;
    expect_refused(&s, ERR_INVALID_ARGUMENT);
    s.argv = blank;
    expect_refused(&s, ERR_INVALID_ARGUMENT);
    s = minimal();
    s.cwd = "work";
    expect_refused(&s, ERR_INVALID_ARGUMENT);
    s.cwd = "/work/../x";
    expect_refused(&s, ERR_INVALID_ARGUMENT);
    s = minimal();
    s.env = nameless;
    expect_refused(&s, ERR_INVALID_ARGUMENT);
    s.env = odd;
    expect_refused(&s, ERR_INVALID_ARGUMENT);
    s = minimal();
    s.nr_mounts = 1;
    s.mounts = &up;
    expect_refused(&s, ERR_INTERNAL);
    s.mounts = &rel;
    expect_refused(&s, ERR_INTERNAL);
    s = minimal();
    s.device_nodes = &dev;
    s.nr_device_nodes = 1;
    expect_refused(&s, ERR_INTERNAL);
}

static void test_output_that_does_not_fit_is_an_error(void **state) {
    struct bundle_spec s = minimal();
    auto_buf struct buf b = BUF_INIT(100);
    struct err err = {0};
    assert_int_equal(bundle_config_json(&s, &b, &err), -1);
    assert_int_equal(err.code, ERR_RESOURCE_EXHAUSTED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_minimal_container_is_the_golden_file),
        cmocka_unit_test(test_full_container_is_the_golden_file),
        cmocka_unit_test(test_same_spec_gives_the_same_bytes),
        cmocka_unit_test(test_arguments_survive_as_json),
        cmocka_unit_test(test_every_container_is_strict),
        cmocka_unit_test(test_another_user_than_root_starts_without_capabilities),
        cmocka_unit_test(test_seccomp_names_every_call_once),
        cmocka_unit_test(test_limits_become_cgroup_numbers),
        cmocka_unit_test(test_malformed_specs_are_refused_without_output),
        cmocka_unit_test(test_output_that_does_not_fit_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
