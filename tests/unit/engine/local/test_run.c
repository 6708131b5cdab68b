#include "rig.h"

#include "base/seg.h"
#include "sys/files.h"
#include "sys/proc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static char *dir;

static void rig_make(struct rig *r) {
    *r = (struct rig){.dir = dir};
    rig_open(r);
}

static void rig_end(struct rig *r, struct try *t) {
    rig_expect_clean(r);
    try_fini(t);
    rig_close(r);
}

static void put_file(const char *name, const char *text) {
    struct err err = {0};
    auto_free char *path = xasprintf("%s/buckets/%s", dir, name);
    auto_free char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
    assert_int_equal(file_mkdirs(AT_FDCWD, parent, 0755, &err), 0);
    assert_int_equal(file_write_atomic(AT_FDCWD, path, str_of(text), 0644, FILE_NO_SYNC, &err), 0);
}

/* A named pipe under /gcs: the container says when it has come to a point. */
static char *make_gate(const char *name) {
    auto_free char *buckets = xasprintf("%s/buckets", dir);
    (void)mkdir(buckets, 0755);
    char *path = xasprintf("%s/%s", buckets, name);
    (void)unlink(path);
    assert_int_equal(mkfifo(path, 0666), 0);
    return path;
}

static void wait_gate(const char *path) {
    char c;
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && read(fd, &c, 1) == 1);
}

static void a_job_runs_to_its_end_and_leaves_only_its_log(void **state) {
    struct rig r;
    struct try t;
    rig_make(&r);
    const char *script = "echo out $CLOUD_ML_JOB_ID; echo err >&2; echo hi >/gcs/made; hostname; "
                         "grep -c . /etc/hosts; echo $SITE";
    try_init(&t, &r, "1001", &script, 1);
    try_launch(&t);
    try_wait_exits(&t, 1);
    assert_int_equal(t.exits[0].kind, EXIT_CODE);
    assert_int_equal(t.exits[0].value, 0);
    assert_true(t.exits[0].ended_at >= t.exits[0].started_at && t.exits[0].started_at > 0);
    assert_string_equal(t.exits[0].stderr_tail, "err");
    try_release(&t);
    auto_free char *out = rig_log(&r, "1001", "workerpool0-0", SEG_STDOUT);
    assert_string_equal(out, "out 1001\ncmle-training-workerpool0-5ee1680414-0\n3\n10.209.0.1\n");
    auto_free char *made = rig_file(&r, "buckets/made");
    assert_string_equal(made, "hi\n");
    rig_end(&r, &t);
}

static void both_runtimes_run_jobs(void **state) {
    static const char *const runtimes[] = {"crun", "runc"};
    for (size_t i = 0; i < NR_OF(runtimes); i++) {
        auto_free char *path = proc_find(runtimes[i]);
        if (path == NULL) {
            fprintf(stderr, "SKIPPED: %s is not installed\n", runtimes[i]);
            continue;
        }
        struct rig r = {.dir = dir, .runtime = runtimes[i]};
        struct try t;
        const char *script = "exit 3";
        rig_open(&r);
        assert_non_null(strstr(engine_local_describe(r.engine), runtimes[i]));
        try_init(&t, &r, "1002", &script, 1);
        try_launch(&t);
        try_wait_exits(&t, 1);
        assert_int_equal(t.exits[0].kind, EXIT_CODE);
        assert_int_equal(t.exits[0].value, 3);
        try_release(&t);
        rig_end(&r, &t);
    }
}

static void the_host_network_needs_no_bridge(void **state) {
    struct rig r = {.dir = dir, .network = "host"};
    struct try t;
    const char *script = "ls /sys/class/net | grep -c cusp0; echo $SITE";
    rig_open(&r);
    try_init(&t, &r, "1003", &script, 1);
    try_launch(&t);
    try_wait_exits(&t, 1);
    try_release(&t);
    auto_free char *out = rig_log(&r, "1003", "workerpool0-0", SEG_STDOUT);
    assert_string_equal(out, "1\n127.0.0.1\n");
    rig_end(&r, &t);
}

static void a_signal_reaches_init_and_kill_ends_everything(void **state) {
    struct rig r;
    struct try t;
    struct err err;
    const char *script = "trap 'exit 7' TERM; echo >/gcs/gate; while :; do sleep 1000 & wait; done";
    auto_free char *gate = make_gate("gate");
    for (int round = 0; round < 2; round++) {
        rig_make(&r);
        try_init(&t, &r, "1004", &script, 1);
        try_launch(&t);
        wait_gate(gate);
        assert_int_equal(
            r.engine->ops->signal(r.engine, &t.run, 0, round ? SIGKILL : SIGTERM, &err), 0);
        try_wait_exits(&t, 1);
        assert_int_equal(t.exits[0].kind, round ? EXIT_SIGNAL : EXIT_CODE);
        assert_int_equal(t.exits[0].value, round ? SIGKILL : 7);
        /* what is gone already is left in peace */
        assert_int_equal(r.engine->ops->signal(r.engine, &t.run, 0, SIGKILL, &err), 0);
        try_release(&t);
        rig_end(&r, &t);
    }
}

static void out_of_memory_is_told_with_limit_and_peak(void **state) {
    struct rig r;
    struct try t;
    rig_make(&r);
    const char *script = "exec tail /dev/zero";
    try_init(&t, &r, "1005", &script, 1);
    t.replicas[0].place.mem_bytes = (uint64_t)32 << 20;
    try_launch(&t);
    try_wait_exits(&t, 1);
    assert_int_equal(t.exits[0].kind, EXIT_OOM);
    assert_int_equal(t.exits[0].value, 137);
    assert_int_equal(t.exits[0].mem_limit_bytes, (uint64_t)32 << 20);
    assert_true(t.exits[0].mem_peak_bytes > (uint64_t)16 << 20);
    try_release(&t);
    rig_end(&r, &t);
}

static void a_missing_image_fails_the_attempt(void **state) {
    struct rig r;
    struct try t;
    rig_make(&r);
    const char *script = "true";
    try_init(&t, &r, "1006", &script, 1);
    t.pools[0].image_uri = "gcr.io/nowhere/nothing:1";
    try_stage(&t);
    rig_wait(&r, &t.failed);
    assert_int_equal(t.why.code, ERR_NOT_FOUND);
    assert_non_null(strstr(t.why.msg, "gcr.io/nowhere/nothing:1"));
    try_release(&t);
    rig_end(&r, &t);
}

static void a_missing_program_fails_the_attempt_and_names_the_replica(void **state) {
    struct rig r;
    struct try t;
    rig_make(&r);
    const char *script = "true";
    try_init(&t, &r, "1007", &script, 1);
    t.argv[0][0] = "/no/such/program";
    try_launch(&t);
    assert_true(t.failed);
    assert_int_equal(t.why.code, ERR_INVALID_ARGUMENT);
    assert_non_null(strstr(t.why.msg, "The replica workerpool0-0 could not be started"));
    assert_int_equal(t.nr_started, 0);
    try_release(&t);
    rig_end(&r, &t);
}

static void a_gang_starts_whole_or_not_at_all(void **state) {
    struct rig r;
    struct try t;
    rig_make(&r);
    const char *scripts[] = {"sleep 1000", "true"};
    try_init(&t, &r, "1008", scripts, 2);
    t.argv[1][0] = "/no/such/program";
    try_launch(&t);
    assert_true(t.failed);
    assert_non_null(strstr(t.why.msg, "workerpool1-0"));
    assert_int_equal(t.nr_started + t.nr_exited + t.nr_lost, 0);
    /* the one that could start is gone by now, before release */
    auto_free char *left = rig_file(&r, "run/1008/a1/workerpool0-0/exit");
    assert_non_null(strstr(left, "kind="));
    try_release(&t);
    rig_end(&r, &t);
}

static void replicas_reach_each_other_by_name(void **state) {
    struct rig r;
    struct try t;
    rig_make(&r);
    const char *scripts[] = {
        "until echo hello | nc cmle-training-workerpool1-3c657db8dd-0 2222; do :; done",
        "nc -l -p 2222",
    };
    try_init(&t, &r, "1009", scripts, 2);
    try_launch(&t);
    try_wait_exits(&t, 2);
    assert_int_equal(t.nr_lost, 0);
    try_release(&t);
    auto_free char *out = rig_log(&r, "1009", "workerpool1-0", SEG_STDOUT);
    assert_string_equal(out, "hello\n");
    rig_end(&r, &t);
}

static void release_kills_what_still_runs(void **state) {
    struct rig r;
    struct try t;
    rig_make(&r);
    const char *scripts[] = {"sleep 1000 & sleep 1000", "sleep 1000"};
    try_init(&t, &r, "1010", scripts, 2);
    try_launch(&t);
    try_release(&t);
    assert_int_equal(t.nr_exited + t.nr_lost, 0); /* nothing is told after release */
    rig_end(&r, &t);
}

static void release_while_staging_leaves_nothing(void **state) {
    struct rig r;
    struct try t;
    rig_make(&r);
    const char *script = "true";
    try_init(&t, &r, "1011", &script, 1);
    try_stage(&t);
    try_release(&t);
    assert_false(t.staged);
    rig_end(&r, &t);
}

/* -- packages --------------------------------------------------------------------------------- */

static void make_python(struct try *t, const char **uris, const char **args) {
    t->pools[0].kind = TASK_PYTHON;
    t->pools[0].package_uris = uris;
    t->pools[0].python_module = "trainer.task";
    t->pools[0].args = args;
}

static void packages_are_installed_once(void **state) {
    struct rig r;
    struct try t;
    const char *uris[] = {"gs://b/trainer-0.1.tar.gz", "gs://b/dep-2-py3-none-any.whl", NULL};
    const char *args[] = {"--job=$(CLOUD_ML_JOB_ID)", "a b", NULL};
    put_file("b/trainer-0.1.tar.gz", "one");
    put_file("b/dep-2-py3-none-any.whl", "two");
    for (int round = 0; round < 2; round++) {
        const char *id = round ? "1021" : "1020";
        rig_make(&r);
        try_init(&t, &r, id, (const char *[]){"unused"}, 1);
        make_python(&t, uris, args);
        try_launch(&t);
        try_wait_exits(&t, 1);
        assert_int_equal(t.exits[0].kind, EXIT_CODE);
        assert_int_equal(t.exits[0].value, 0);
        try_release(&t);
        auto_free char *out = rig_log(&r, id, "workerpool0-0", SEG_STDOUT);
        auto_free char *want = xasprintf("dep-2-py3-none-any.whl\ntrainer-0.1.tar.gz\n"
                                         "ran --job=%s a b\n",
                                         id);
        assert_string_equal(out, want);
        auto_free char *pip = rig_log(&r, id, "packages", SEG_STDOUT);
        const char *notes = buf_cstr(&t.notes);
        if (round == 0) {
            assert_non_null(
                strstr(pip, "Processing /var/tmp/cusp-packages/0/trainer-0.1.tar.gz\n"));
            assert_non_null(
                strstr(notes, "200 Downloading the package: gs://b/trainer-0.1.tar.gz\n"));
        } else {
            assert_string_equal(pip, "(no log)");
            assert_null(strstr(notes, "Downloading"));
            assert_non_null(strstr(notes, "installed already"));
        }
        assert_non_null(strstr(notes, "Running task with arguments: --cluster={"));
        rig_end(&r, &t);
    }
    put_file("b/trainer-0.1.tar.gz", "changed"); /* same name, other bytes: another layer */
    rig_make(&r);
    try_init(&t, &r, "1022", (const char *[]){"unused"}, 1);
    make_python(&t, uris, args);
    try_launch(&t);
    try_wait_exits(&t, 1);
    try_release(&t);
    assert_non_null(strstr(buf_cstr(&t.notes), "Downloading"));
    rig_end(&r, &t);
}

static void a_bad_package_fails_with_pips_words(void **state) {
    struct rig r;
    struct try t;
    const char *uris[] = {"gs://b/good-1-py3-none-any.whl", "gs://b/bad-1-py3-none-any.whl", NULL};
    const char *args[] = {NULL};
    put_file("b/good-1-py3-none-any.whl", "fine");
    put_file("b/bad-1-py3-none-any.whl", "broken");
    rig_make(&r);
    try_init(&t, &r, "1023", (const char *[]){"unused"}, 1);
    make_python(&t, uris, args);
    try_stage(&t);
    rig_wait(&r, &t.failed);
    assert_int_equal(t.why.code, ERR_INVALID_ARGUMENT);
    assert_string_equal(t.why.msg, "package gs://b/bad-1-py3-none-any.whl could not be installed: "
                                   "ERROR: No matching distribution found for nothing");
    try_release(&t);
    rig_end(&r, &t);
}

static void a_missing_package_is_named(void **state) {
    struct rig r;
    struct try t;
    const char *uris[] = {"gs://b/absent.whl", NULL}, *args[] = {NULL};
    rig_make(&r);
    try_init(&t, &r, "1024", (const char *[]){"unused"}, 1);
    make_python(&t, uris, args);
    try_stage(&t);
    rig_wait(&r, &t.failed);
    assert_int_equal(t.why.code, ERR_NOT_FOUND);
    assert_non_null(strstr(t.why.msg, "gs://b/absent.whl"));
    try_release(&t);
    rig_end(&r, &t);
}

static void jobs_that_need_the_same_layer_share_one_installation(void **state) {
    struct rig r;
    struct try a, b, c;
    const char *uris[] = {"gs://b/shared-1-py3-none-any.whl", NULL}, *args[] = {NULL};
    put_file("b/shared-1-py3-none-any.whl", "shared");
    rig_make(&r);
    try_init(&a, &r, "1025", (const char *[]){"unused"}, 1);
    try_init(&b, &r, "1026", (const char *[]){"unused"}, 1);
    try_init(&c, &r, "1027", (const char *[]){"unused"}, 1);
    make_python(&a, uris, args);
    make_python(&b, uris, args);
    make_python(&c, uris, args);
    try_stage(&a);
    try_stage(&b);
    try_stage(&c);
    try_release(&c); /* gives up while the others wait */
    rig_wait(&r, &a.staged);
    rig_wait(&r, &b.staged);
    size_t logs = 0;
    static const char *const ids[] = {"1025", "1026", "1027"};
    for (size_t i = 0; i < NR_OF(ids); i++) {
        auto_free char *log = rig_log(&r, ids[i], "packages", SEG_STDOUT);
        logs += strcmp(log, "(no log)") != 0;
    }
    assert_int_equal(logs, 1);
    try_release(&a);
    try_release(&b);
    try_fini(&b);
    try_fini(&c);
    rig_end(&r, &a);
}

int main(void) {
    if (!rig_possible()) {
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_runs_to_its_end_and_leaves_only_its_log),
        cmocka_unit_test(both_runtimes_run_jobs),
        cmocka_unit_test(the_host_network_needs_no_bridge),
        cmocka_unit_test(a_signal_reaches_init_and_kill_ends_everything),
        cmocka_unit_test(out_of_memory_is_told_with_limit_and_peak),
        cmocka_unit_test(a_missing_image_fails_the_attempt),
        cmocka_unit_test(a_missing_program_fails_the_attempt_and_names_the_replica),
        cmocka_unit_test(a_gang_starts_whole_or_not_at_all),
        cmocka_unit_test(replicas_reach_each_other_by_name),
        cmocka_unit_test(release_kills_what_still_runs),
        cmocka_unit_test(release_while_staging_leaves_nothing),
        cmocka_unit_test(packages_are_installed_once),
        cmocka_unit_test(a_bad_package_fails_with_pips_words),
        cmocka_unit_test(a_missing_package_is_named),
        cmocka_unit_test(jobs_that_need_the_same_layer_share_one_installation),
    };
    dir = rig_make_dir();
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    rig_remove_dir(dir);
    return rc;
}
