#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "engine/local/warm_policy.h"

static struct arena *arena;

static int setup(void **state) {
    arena = arena_new(ARENA_NO_MAX);
    return 0;
}
static int teardown(void **state) {
    arena_free(arena);
    return 0;
}

static const char *const python[] = {"python3", "-m", "trainer.task", "--lr=1", NULL};

static struct warm_choice choose(enum warm_mode mode, const char *asked, const char *imports,
                                 const char *const *argv) {
    static struct env_var labels[2];
    static struct pool_spec pool;
    static struct job_spec job;
    size_t n = 0;
    if (asked != NULL) {
        labels[n++] = (struct env_var){WARM_LABEL, asked};
    }
    if (imports != NULL) {
        labels[n++] = (struct env_var){WARM_LABEL_IMPORTS, imports};
    }
    pool = (struct pool_spec){.replica_count = 1};
    job = (struct job_spec){.pools = &pool, .nr_pools = 1, .labels = labels, .nr_labels = n};
    const struct warm_query q = {
        .mode = mode, .supported = true, .spec = &job, .pool = &pool, .argv = (const char **)argv};
    struct warm_choice c;
    warm_choose(arena, &q, &c);
    return c;
}

static void nobody_is_warm_who_does_not_ask(void **state) {
    assert_false(choose(WARM_ASKED, NULL, "sklearn", python).asked);
    assert_false(choose(WARM_ASKED, "false", "sklearn", python).asked);
    assert_false(choose(WARM_ALL, "false", "sklearn", python).asked);
    assert_false(choose(WARM_ALL, NULL, NULL, python).asked); /* and nothing is named */
    assert_true(choose(WARM_ALL, NULL, "sklearn", python).asked);
    struct warm_choice c = choose(WARM_OFF, "true", "sklearn", python);
    assert_true(c.asked);
    assert_non_null(strstr(c.why_not, "warm_python = off"));
}

static void modules_are_named_by_label(void **state) {
    struct warm_choice c = choose(WARM_ASKED, "true", "sklearn-google_cloud", python);
    assert_null(c.why_not);
    assert_string_equal(c.imports, "sklearn,google_cloud");
    assert_int_equal(c.prefix, 3);
    static const char *const bad[] = {"1a", "a--b", "a b", "-", "\303\244", "a.", ".a", "a..b"};
    for (size_t i = 0; i < NR_OF(bad); i++) {
        c = choose(WARM_ASKED, "true", bad[i], python);
        assert_true(c.asked);
        assert_non_null(c.why_not);
        assert_non_null(strstr(c.why_not, "not the name of a module"));
    }
    c = choose(WARM_ASKED, "true", NULL, python);
    assert_non_null(strstr(c.why_not, "no modules are named"));
}

static void a_variable_of_the_container_wins(void **state) {
    struct env_var env[] = {{WARM_VAR, "true"}, {WARM_VAR_IMPORTS, "sklearn.linear_model, pandas"}};
    struct env_var labels[] = {{WARM_LABEL, "false"}, {WARM_LABEL_IMPORTS, "numpy"}};
    struct pool_spec pool = {.replica_count = 1, .env = env, .nr_env = NR_OF(env)};
    struct job_spec job = {.pools = &pool, .nr_pools = 1, .labels = labels, .nr_labels = 2};
    struct warm_query q = {.mode = WARM_ASKED,
                           .supported = true,
                           .spec = &job,
                           .pool = &pool,
                           .argv = (const char **)python};
    struct warm_choice c;
    warm_choose(arena, &q, &c);
    assert_true(c.asked);
    assert_null(c.why_not);
    assert_string_equal(c.imports, "sklearn.linear_model,pandas");
    q.has_devices = true;
    warm_choose(arena, &q, &c);
    assert_string_equal(c.why_not, "the task has accelerators");
    q.has_devices = false;
    q.supported = false;
    warm_choose(arena, &q, &c);
    assert_non_null(strstr(c.why_not, "processor"));
    auto_buf struct buf many = BUF_INIT(4096);
    for (unsigned i = 0; i < WARM_MAX_IMPORTS; i++) {
        (void)buf_printf(&many, "m%u,", i);
    }
    q.supported = true;
    env[1].value = arena_strndup(arena, many.p, many.n - 1);
    warm_choose(arena, &q, &c);
    assert_null(c.why_not);
    (void)buf_puts(&many, "one_more");
    env[1].value = buf_cstr(&many);
    warm_choose(arena, &q, &c);
    assert_non_null(strstr(c.why_not, "more than 64 modules"));
}

static void commands(void **state) {
    static const struct {
        const char *argv[6];
        size_t prefix; /* 0: cold */
    } cases[] = {
        {{"python3", "train.py", "--a", NULL}, 2},
        {{"/usr/bin/python3.11", "-u", "-B", "/app/train.py", NULL}, 4},
        {{"python", "-c", "print()", "-x", NULL}, 3},
        {{"python3", "-OO", "-m", "a.b", NULL}, 4},
        {{"python3", "-I", "train.py", NULL}, 0},
        {{"python3", "-X", "dev", "train.py", NULL}, 0},
        {{"python3", "-", NULL}, 0},
        {{"python3", "-m", NULL}, 0},
        {{"python3", NULL}, 0},
        {{"python3-config", "x", NULL}, 0},
        {{"pythonw", "x", NULL}, 0},
        {{"bash", "-c", "python3 x", NULL}, 0},
        {{NULL}, 0},
    };
    for (size_t i = 0; i < NR_OF(cases); i++) {
        struct warm_choice c =
            choose(WARM_ASKED, "true", "sklearn", (const char *const *)cases[i].argv);
        assert_true(c.asked);
        assert_int_equal(c.prefix, cases[i].prefix);
        assert_int_equal(c.why_not == NULL, cases[i].prefix != 0);
    }
}

static const char *joined(const char **list) {
    auto_buf struct buf b = BUF_INIT(1 << 20);
    for (size_t i = 0; list[i] != NULL; i++) {
        (void)buf_printf(&b, "%s\n", list[i]);
    }
    return arena_strdup(arena, buf_cstr(&b));
}

/* What one job's variables say must not reach another, and two trials share an image. */
static const char *warm_env_of(const char *id, const char *trial, const char *output) {
    struct env_var user[] = {
        {"OMP_NUM_THREADS", "1"}, {"OUT", "$(AIP_MODEL_DIR)x"}, {"ME", "$(CLOUD_ML_JOB_ID)"}};
    struct pool_spec pool = {.replica_count = 1, .kind = TASK_PYTHON, .env = user, .nr_env = 3};
    struct job_spec job = {.id = id,
                           .project_id = "p",
                           .project_number = 7,
                           .location = "us-central1",
                           .pools = &pool,
                           .nr_pools = 1,
                           .cluster_job_json = "{}",
                           .trial_id = trial,
                           .base_output = output};
    const char *image_env[] = {"PATH=/usr/bin", "LANG=C.UTF-8", NULL};
    const char *site[] = {"TOKEN_OF=%JOB_ID%", "DOOR=%DOOR%", "HOST=example", NULL};
    struct env_input in = {.spec = &job,
                           .image_env = image_env,
                           .extra_env = site,
                           .door = "127.1.2.3",
                           .home = "/root"};
    struct env env;
    assert_int_equal(env_make(arena, &in, &env, NULL), 0);
    return joined(warm_env(arena, &in, &env));
}

static void the_environment_is_what_all_jobs_share(void **state) {
    const char *one = warm_env_of("12345678901", "1", "gs://b/1/");
    const char *two = warm_env_of("98765432109", "2", "gs://b/2/");
    assert_string_equal(one, two);
    assert_non_null(strstr(one, "OMP_NUM_THREADS=1\n"));
    assert_non_null(strstr(one, "LANG=C.UTF-8\n"));
    assert_non_null(strstr(one, "HOST=example\n"));
    static const char *const absent[] = {"12345678901", "gs://",    "TRIAL", "HOSTNAME",
                                         "DOOR=",       "TOKEN_OF", "OUT=",  "\nME="};
    for (size_t i = 0; i < NR_OF(absent); i++) {
        assert_null(strstr(one, absent[i]));
    }
}

static void every_part_counts_in_the_key(void **state) {
    const char *env[] = {"A=1", NULL}, *other_env[] = {"A=2", NULL};
    const char *argv2[] = {"python3", "-m", "other", NULL};
    const struct warm_key_input base = {.tools = "t",
                                        .image_digest = "sha256:1",
                                        .cwd = "/",
                                        .imports = "sklearn",
                                        .argv = (const char **)python,
                                        .prefix = 3,
                                        .env = env};
    struct warm_key_input v[10];
    char keys[11][WARM_KEY_LEN + 1], same[WARM_KEY_LEN + 1];
    for (size_t i = 0; i < NR_OF(v); i++) {
        v[i] = base;
    }
    v[0].tools = "u";
    v[1].image_digest = "sha256:2";
    v[2].pkg_key = "k";
    v[3].trust_layer = "k";
    v[4].cwd = "/app";
    v[5].imports = "sklearn,pandas";
    v[6].uid = 1;
    v[7].gid = 1;
    v[8].argv = argv2;
    v[9].env = other_env;
    warm_key(&base, keys[10]);
    assert_int_equal(strlen(keys[10]), WARM_KEY_LEN);
    for (size_t i = 0; i < NR_OF(v); i++) {
        warm_key(&v[i], keys[i]);
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(keys[i], keys[k]);
        }
        assert_string_not_equal(keys[i], keys[10]);
    }
    const char *args[] = {"python3", "-m", "trainer.task", "--lr=2", NULL}; /* arguments do not */
    struct warm_key_input a = base;
    a.argv = args;
    warm_key(&a, same);
    assert_string_equal(same, keys[10]);
}

static void modes(void **state) {
    enum warm_mode m;
    struct err e = {0};
    assert_int_equal(warm_mode_parse("asked", &m, &e), 0);
    assert_int_equal(m, WARM_ASKED);
    assert_int_equal(warm_mode_parse("yes", &m, &e), -1);
    assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
    assert_non_null(strstr(e.msg, "off, asked, all"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_warm_who_does_not_ask),
        cmocka_unit_test(modules_are_named_by_label),
        cmocka_unit_test(a_variable_of_the_container_wins),
        cmocka_unit_test(commands),
        cmocka_unit_test(the_environment_is_what_all_jobs_share),
        cmocka_unit_test(every_part_counts_in_the_key),
        cmocka_unit_test(modes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
