#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "engine/local/env.h"
#include "engine/local/names.h"

static struct arena *arena;

static int setup(void **state) {
    arena = arena_new(ARENA_NO_MAX);
    return 0;
}
static int teardown(void **state) {
    arena_free(arena);
    return 0;
}

static const char *const none[] = {NULL};

static struct pool_spec pool_of(uint32_t replicas) {
    return (struct pool_spec){
        .replica_count = replicas,
        .kind = TASK_CONTAINER,
        .image_uri = "img",
        .command = (const char **)none,
        .args = (const char **)none,
    };
}

static struct job_spec job_of(struct pool_spec *pools, uint32_t n) {
    return (struct job_spec){
        .id = "1234567890123456789",
        .project_id = "my-proj",
        .project_number = 123456789012u,
        .location = "us-central1",
        .pools = pools,
        .nr_pools = n,
        .cluster_job_json = "{\"worker_pool_specs\":[]}",
    };
}

static char *lines(const struct env *e) {
    auto_buf struct buf b = BUF_INIT(1 << 20);
    const char **list = env_strings(e);
    for (size_t i = 0; list[i] != NULL; i++) {
        (void)buf_printf(&b, "%s\n", list[i]);
    }
    return arena_strdup(arena, buf_cstr(&b));
}

static void single_replica_environment_is_golden(void **state) {
    struct env_var user[] = {
        {"A", "x"},
        {"B", "$(A)-$(CLOUD_ML_REGION)-$(NOPE)-$$(A)-$HOME-$(PATH)"},
        {"AIP_MODEL_DIR", "gs://mine/"},
        {"A", "later $(A)"},
    };
    struct pool_spec pool = pool_of(1);
    pool.env = user;
    pool.nr_env = NR_OF(user);
    struct job_spec job = job_of(&pool, 1);
    job.base_output = "gs://b/out/";
    const char *image_env[] = {"PATH=/usr/bin", "LANG=C.UTF-8", "BROKEN", "CLOUD_ML_REGION=moon",
                               NULL};
    const char *extra[] = {"GCE_METADATA_HOST=%GATEWAY%:80", "X=%JOB_ID%/%PROJECT_ID%/%REGION%%",
                           NULL};
    struct env_input in = {.spec = &job,
                           .image_env = image_env,
                           .extra_env = extra,
                           .gateway = "10.201.0.1",
                           .home = "/root"};
    struct env e;
    assert_int_equal(env_make(arena, &in, &e, NULL), 0);
    assert_string_equal(lines(&e),
                        "PATH=/usr/bin\n"
                        "LANG=C.UTF-8\n"
                        "CLOUD_ML_REGION=us-central1\n"
                        "HOME=/root\n"
                        "CLOUD_ML_PROJECT_ID=123456789012\n"
                        "CLOUD_ML_JOB_ID=1234567890123456789\n"
                        "HOSTNAME=cmle-training-workerpool0-814e3f9dec-0\n"
                        "CLUSTER_SPEC={\"cluster\":{\"workerpool0\":[\"cmle-training-workerpool0-"
                        "814e3f9dec-0:2222\"]},"
                        "\"environment\":\"cloud\",\"task\":{\"type\":\"workerpool0\",\"index\":0},"
                        "\"job\":{\"worker_pool_specs\":[]}}\n"
                        "AIP_MODEL_DIR=gs://mine/\n"
                        "AIP_CHECKPOINT_DIR=gs://b/out/checkpoints/\n"
                        "AIP_TENSORBOARD_LOG_DIR=gs://b/out/logs/\n"
                        "GCE_METADATA_HOST=10.201.0.1:80\n"
                        "X=1234567890123456789/my-proj/us-central1%\n"
                        "A=later x\n"
                        "B=x-us-central1-$(NOPE)-$(A)-$HOME-$(PATH)\n");
}

static void gang_environment_is_golden(void **state) {
    struct pool_spec pools[] = {pool_of(1), pool_of(2), pool_of(0), pool_of(1)};
    struct job_spec job = job_of(pools, 4);
    struct env_input in = {.spec = &job, .replica = 2};
    struct env e;
    assert_int_equal(env_make(arena, &in, &e, NULL), 0);
#define H(p, i) "cmle-training-workerpool" #p "-814e3f9dec-" #i
    assert_string_equal(
        env_get(&e, "CLUSTER_SPEC"),
        "{\"cluster\":{\"workerpool0\":[\"" H(
            0, 0) ":2222\"],"
                  "\"workerpool1\":[\"" H(1, 0) ":2222\",\"" H(
                      1, 1) ":2222\"],"
                            "\"workerpool3\":[\"" H(
                                3, 0) ":2222\"]},\"environment\":\"cloud\","
                                      "\"task\":{\"type\":\"workerpool1\",\"index\":1},\"job\":{"
                                      "\"worker_pool_specs\":[]}}");
    assert_string_equal(
        env_get(&e, "TF_CONFIG"),
        "{\"cluster\":{\"chief\":[\"" H(0, 0) ":2222\"],"
                                              "\"worker\":[\"" H(1, 0) ":2222\",\"" H(
                                                  1, 1) ":2222\"]},\"environment\":\"cloud\","
                                                        "\"job\":{\"worker_pool_specs\":[]},"
                                                        "\"task\":{\"type\":\"worker\",\"index\":1,"
                                                        "\"cloud\":\"7ef673a503543fff-ml\"}}");
    assert_string_equal(env_get(&e, "MASTER_ADDR"), H(0, 0));
    assert_string_equal(env_get(&e, "MASTER_PORT"), "3333");
    assert_string_equal(env_get(&e, "RANK"), "2");
    assert_string_equal(env_get(&e, "WORLD_SIZE"), "4");
    assert_string_equal(env_get(&e, "HOSTNAME"), H(1, 1));
    in.replica = 3;
    assert_int_equal(env_make(arena, &in, &e, NULL), 0);
    assert_string_equal(
        env_get(&e, "TF_CONFIG"),
        "{\"environment\":\"cloud\",\"job\":{\"worker_pool_specs\":[]},"
        "\"task\":{\"type\":\"evaluator\",\"index\":0,\"cloud\":\"7ef673a503543fff-ml\"}}");
}

static void a_single_replica_has_no_cluster_variables(void **state) {
    struct pool_spec pool = pool_of(1);
    struct job_spec job = job_of(&pool, 1);
    struct env_input in = {.spec = &job};
    struct env e;
    assert_int_equal(env_make(arena, &in, &e, NULL), 0);
    static const char *const absent[] = {
        "TF_CONFIG",  "MASTER_ADDR",   "MASTER_PORT",         "RANK",
        "WORLD_SIZE", "AIP_MODEL_DIR", "GOOGLE_CLOUD_PROJECT"};
    for (size_t i = 0; i < NR_OF(absent); i++) {
        assert_null(env_get(&e, absent[i]));
    }
    assert_non_null(env_get(&e, "PATH"));
}

static void references_cannot_blow_up(void **state) {
    struct env_var user[40];
    char *names[40];
    struct pool_spec pool = pool_of(1);
    struct job_spec job = job_of(&pool, 1);
    user[0] = (struct env_var){"V0", "0123456789abcdef"};
    for (size_t i = 1; i < NR_OF(user); i++) {
        names[i] = arena_printf(arena, "V%zu", i);
        user[i] = (struct env_var){names[i], arena_printf(arena, "$(V%zu)$(V%zu)", i - 1, i - 1)};
    }
    pool.env = user;
    pool.nr_env = NR_OF(user);
    struct env_input in = {.spec = &job};
    struct env e;
    struct err err = {0};
    assert_int_equal(env_make(arena, &in, &e, &err), -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    assert_string_equal(
        err.msg, "env[13].value is longer than 131071 characters after $(NAME) was filled in");
}

static void many_long_arguments_are_refused(void **state) {
    char *big = arena_alloc(arena, 100001);
    memset(big, 'x', 100000);
    struct env_var user[] = {{"BIG", big}};
    const char *args[101];
    for (size_t i = 0; i < 100; i++) {
        args[i] = "$(BIG)";
    }
    args[100] = NULL;
    struct pool_spec pool = pool_of(1);
    pool.env = user;
    pool.nr_env = 1;
    pool.args = args;
    struct job_spec job = job_of(&pool, 1);
    struct env_input in = {.spec = &job};
    struct env e;
    struct err err = {0};
    const char **argv;
    assert_int_equal(env_make(arena, &in, &e, NULL), 0);
    assert_int_equal(env_command(arena, &e, &pool, NULL, NULL, &argv, &err), -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
}

static const char *joined(const char **argv) {
    auto_buf struct buf b = BUF_INIT(65536);
    for (size_t i = 0; argv[i] != NULL; i++) {
        (void)buf_printf(&b, "%s[%s]", i ? " " : "", argv[i]);
    }
    return arena_strdup(arena, buf_cstr(&b));
}

static void command_and_args_follow_the_published_table(void **state) {
    const char *entry[] = {"/entry", "-e", NULL}, *cmd[] = {"cmd", NULL};
    const char *command[] = {"sh", "-c", NULL}, *args[] = {"echo $(A) $$(A) $(B)", "", NULL};
    struct env e = {.arena = arena};
    env_set(&e, "A", "1", true);
    env_set(&e, "B", "image", false);
    struct pool_spec pool = pool_of(1);
    const char **argv;
    const struct {
        const char **command, **args;
        const char *want;
    } rows[] = {
        {(const char **)none, (const char **)none, "[/entry] [-e] [cmd]"},
        {(const char **)none, args, "[/entry] [-e] [echo 1 $(A) $(B)] []"},
        {command, (const char **)none, "[sh] [-c]"},
        {command, args, "[sh] [-c] [echo 1 $(A) $(B)] []"},
        {NULL, NULL, "[/entry] [-e] [cmd]"},
    };
    for (size_t i = 0; i < NR_OF(rows); i++) {
        pool.command = rows[i].command;
        pool.args = rows[i].args;
        assert_int_equal(env_command(arena, &e, &pool, entry, cmd, &argv, NULL), 0);
        assert_string_equal(joined(argv), rows[i].want);
    }
    pool.command = pool.args = (const char **)none;
    struct err err = {0};
    assert_int_equal(env_command(arena, &e, &pool, (const char **)none, NULL, &argv, &err), -1);
    assert_int_equal(err.code, ERR_FAILED_PRECONDITION);
}

static void python_tasks_run_the_module(void **state) {
    const char *args[] = {"--epochs=$(N)", "a b", NULL};
    struct env_var user[] = {{"N", "3"}};
    struct pool_spec pool = pool_of(1);
    pool.kind = TASK_PYTHON;
    pool.python_module = "trainer.task";
    pool.args = args;
    pool.env = user;
    pool.nr_env = 1;
    struct job_spec job = job_of(&pool, 1);
    struct env_input in = {.spec = &job, .home = "/root"};
    const char *entry[] = {"/entry", NULL};
    struct env e;
    const char **argv;
    assert_int_equal(env_make(arena, &in, &e, NULL), 0);
    assert_int_equal(strncmp(env_get(&e, "PATH"), "/root/.local/bin:/", 18), 0);
    assert_int_equal(env_command(arena, &e, &pool, entry, entry, &argv, NULL), 0);
    assert_string_equal(joined(argv), "[python3] [-m] [trainer.task] [--epochs=3] [a b]");
}

static void names_are_stable_and_fit_their_places(void **state) {
    struct pool_spec pools[] = {pool_of(1), pool_of(1000)};
    struct job_spec job = job_of(pools, 2), other = job_of(pools, 2);
    char a[NAMES_HOST_SIZE], b[NAMES_HOST_SIZE], v[NAMES_VETH_SIZE], w[NAMES_VETH_SIZE];
    other.id = "1234567890123456788";
    names_host(&job, 1, 999, a);
    assert_string_equal(a, "cmle-training-workerpool1-814e3f9dec-999");
    names_host(&other, 1, 999, b);
    assert_string_not_equal(a, b);
    names_veth("0badcafe", job.id, 1, "workerpool0-0", v);
    assert_int_equal(strlen(v), 15);
    names_veth("0badcafe", job.id, 2, "workerpool0-0", w);
    assert_string_not_equal(v, w);
    names_veth("0badcaff", job.id, 1, "workerpool0-0", w);
    assert_string_not_equal(v, w);
}

static void hosts_file_resolves_the_whole_gang(void **state) {
    struct pool_spec pools[] = {pool_of(1), pool_of(1)};
    struct job_spec job = job_of(pools, 2);
    const char *addrs[] = {"10.201.0.7", NULL};
    auto_buf struct buf b = BUF_INIT(4096);
    names_hosts_file(&b, &job, 1, addrs);
    assert_string_equal(buf_cstr(&b), "127.0.0.1\tlocalhost\n"
                                      "::1\tlocalhost ip6-localhost ip6-loopback\n"
                                      "127.0.0.1\t" H(1, 0) "\n"
                                                            "10.201.0.7\t" H(0, 0) "\n");
}

static void resolver_leaves_out_loopback_servers(void **state) {
    struct str host =
        STR("# c\nnameserver 127.0.0.53\n nameserver\t10.0.0.2 \nsearch a b\noptions edns0");
    auto_buf struct buf b = BUF_INIT(4096);
    names_resolv_file(&b, host, true, "192.0.2.1");
    assert_string_equal(buf_cstr(&b), "nameserver\t10.0.0.2\nsearch a b\noptions edns0\n");
    buf_clear(&b);
    names_resolv_file(&b, host, false, NULL);
    assert_string_equal(buf_cstr(&b),
                        "nameserver 127.0.0.53\nnameserver\t10.0.0.2\nsearch a b\noptions edns0\n");
    buf_clear(&b);
    names_resolv_file(&b, STR("nameserver 127.0.0.1\n"), true, "192.0.2.1");
    assert_string_equal(buf_cstr(&b), "nameserver 192.0.2.1\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_replica_environment_is_golden),
        cmocka_unit_test(gang_environment_is_golden),
        cmocka_unit_test(a_single_replica_has_no_cluster_variables),
        cmocka_unit_test(references_cannot_blow_up),
        cmocka_unit_test(many_long_arguments_are_refused),
        cmocka_unit_test(command_and_args_follow_the_published_table),
        cmocka_unit_test(python_tasks_run_the_module),
        cmocka_unit_test(names_are_stable_and_fit_their_places),
        cmocka_unit_test(hosts_file_resolves_the_whole_gang),
        cmocka_unit_test(resolver_leaves_out_loopback_servers),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
