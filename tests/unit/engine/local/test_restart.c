/* The server dies by SIGKILL in a process of its own (this program run again with arguments); this
 * process is the server that comes after it. */
#include "rig.h"

#include "base/rec.h"
#include "base/seg.h"
#include "sys/cgroup.h"
#include "sys/files.h"
#include "sys/proc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

static char *dir, *self;

/* -- the first server ------------------------------------------------------------------------- */

static void say(const char *word) {
    assert_int_equal(write(STDOUT_FILENO, word, strlen(word)), strlen(word));
}

/* DIR ID stage|launch SCRIPT...: does so, says so, then serves until it is killed. */
static _Noreturn void first_server(int argc, char **argv) {
    struct rig r = {.dir = argv[1]};
    struct try t;
    rig_open(&r);
    try_init(&t, &r, argv[2], (const char *const *)argv + 4, (unsigned)argc - 4);
    if (strcmp(argv[3], "stage") == 0) {
        try_stage(&t);
        rig_wait(&r, &t.staged);
    } else {
        try_launch(&t);
    }
    say("ready\n");
    for (;;) {
        uv_run(loop_uv(r.loop), UV_RUN_ONCE);
    }
}

/* Runs it until it says ready (true) or dies before that (false), then kills it. */
static bool run_first(const char *id, const char *what, const char *const *scripts,
                      const char *failpoints) {
    struct err err = {0};
    int p[2];
    char *argv[10] = {self, dir, (char *)id, (char *)what};
    for (size_t i = 0; scripts[i] != NULL; i++) {
        argv[4 + i] = (char *)scripts[i];
    }
    if (failpoints != NULL) {
        assert_int_equal(setenv("CUSP_FAILPOINTS", failpoints, 1), 0);
    }
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    const int fds[] = {-1, p[1], STDERR_FILENO};
    const struct proc_spawn s = {.path = "/proc/self/exe", .argv = argv, .fds = fds, .nr_fds = 3};
    pid_t pid = proc_spawn(&s, &err);
    (void)unsetenv("CUSP_FAILPOINTS");
    close(p[1]);
    assert_true(pid > 0);
    char word[8];
    bool ready = read(p[0], word, sizeof(word)) > 0;
    close(p[0]);
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return ready;
}

/* -- helpers ---------------------------------------------------------------------------------- */

static void wait_runner_gone(const char *id) {
    auto_free char *path = xasprintf("%s/run/%s/a1/workerpool0-0/run.lock", dir, id);
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_SH), 0); /* until the runner lets go */
}

static uint64_t status_of(struct rig *r, const char *id, const char *key) {
    auto_free char *text = rig_file(r, "run/%s/a1/workerpool0-0/status", id);
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct rec rec;
    assert_int_equal(rec_parse(a, str_of(text), &rec, NULL), 0);
    return rec_get_u64(&rec, key, 0);
}

static char *make_gate(const char *name) {
    auto_free char *buckets = xasprintf("%s/buckets", dir);
    (void)mkdir(buckets, 0755);
    char *path = xasprintf("%s/%s", buckets, name);
    (void)unlink(path);
    assert_int_equal(mkfifo(path, 0666), 0);
    return path;
}

static void open_gate(const char *path) {
    auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "\n", 1), 1);
}

static void second_server(struct rig *r, struct try *t, const char *id, unsigned n) {
    static const char *const unused[] = {"true", "true"};
    *r = (struct rig){.dir = dir};
    rig_open(r);
    try_init(t, r, id, unused, n);
}

static void reattach(struct rig *r, struct try *t) {
    struct err err = {0};
    assert_int_equal(r->engine->ops->reattach(r->engine, &t->run, &err), 0);
}

static bool nobody(void *arg, const char *job, uint32_t attempt) {
    (void)arg;
    (void)job;
    (void)attempt;
    return false;
}
static bool everybody(void *arg, const char *job, uint32_t attempt) {
    (void)arg;
    (void)job;
    (void)attempt;
    return true;
}

static void end(struct rig *r, struct try *t) {
    try_release(t);
    rig_expect_clean(r);
    try_fini(t);
    rig_close(r);
}

/* -- tests ------------------------------------------------------------------------------------ */

static void a_running_container_is_never_touched(void **state) {
    struct rig r;
    struct try t;
    auto_free char *gate = make_gate("gate1");
    assert_true(run_first("2001", "launch",
                          (const char *[]){"echo a; read x </gcs/gate1; echo b; exit 5", NULL},
                          NULL));
    second_server(&r, &t, "2001", 1);
    uint64_t pid = status_of(&r, "2001", "pid");
    reattach(&r, &t);
    rig_wait_count(&r, &t.nr_started, 1);
    r.engine->ops->sweep(r.engine, everybody, NULL);
    assert_int_equal(kill((pid_t)pid, 0), 0);
    assert_int_equal(status_of(&r, "2001", "pid"), pid);
    open_gate(gate);
    try_wait_exits(&t, 1);
    assert_int_equal(t.exits[0].kind, EXIT_CODE);
    assert_int_equal(t.exits[0].value, 5);
    auto_free char *out = rig_log(&r, "2001", "workerpool0-0", SEG_STDOUT);
    assert_string_equal(out, "a\nb\n");
    end(&r, &t);
}

static void an_exit_while_the_server_was_down_is_told(void **state) {
    struct rig r;
    struct try t;
    auto_free char *gate = make_gate("gate2");
    assert_true(
        run_first("2002", "launch", (const char *[]){"read x </gcs/gate2; exit 4", NULL}, NULL));
    open_gate(gate);
    wait_runner_gone("2002");
    second_server(&r, &t, "2002", 1);
    reattach(&r, &t);
    try_wait_exits(&t, 1);
    assert_int_equal(t.nr_started, 1);
    assert_int_equal(t.exits[0].kind, EXIT_CODE);
    assert_int_equal(t.exits[0].value, 4);
    /* the same try never runs twice */
    struct err err;
    struct try again;
    try_init(&again, &r, "2002", (const char *[]){"true"}, 1);
    assert_int_equal(r.engine->ops->stage(r.engine, &again.run, &err), 0);
    rig_wait(&r, &again.failed);
    assert_int_equal(again.why.code, ERR_FAILED_PRECONDITION);
    end(&r, &t);
    try_fini(&again);
}

static void a_killed_runner_is_lost_and_takes_its_container_along(void **state) {
    struct rig r;
    struct try t;
    assert_true(
        run_first("2003", "launch", (const char *[]){"sleep 1000 & sleep 1000", NULL}, NULL));
    second_server(&r, &t, "2003", 1);
    pid_t runner = (pid_t)status_of(&r, "2003", "runner_pid");
    pid_t init = (pid_t)status_of(&r, "2003", "pid");
    auto_close int init_fd = proc_pidfd_open(init, NULL);
    assert_true(init_fd >= 0);
    assert_int_equal(kill(runner, SIGKILL), 0);
    wait_runner_gone("2003");
    reattach(&r, &t);
    try_wait_exits(&t, 1);
    assert_int_equal(t.nr_lost, 1);
    assert_int_equal(t.lost_why[0].code, ERR_UNAVAILABLE);
    struct pollfd ended = {.fd = init_fd, .events = POLLIN};
    assert_int_equal(poll(&ended, 1, 0), 1); /* before it was told */
    end(&r, &t);
}

static void a_runner_killed_while_we_watch_is_lost(void **state) {
    struct rig r = {.dir = dir};
    struct try t;
    rig_open(&r);
    try_init(&t, &r, "2004", (const char *[]){"sleep 1000"}, 1);
    try_launch(&t);
    assert_int_equal(kill((pid_t)status_of(&r, "2004", "runner_pid"), SIGKILL), 0);
    try_wait_exits(&t, 1);
    assert_int_equal(t.nr_lost, 1);
    end(&r, &t);
}

static void what_was_staged_but_never_launched_is_not_found_and_can_run(void **state) {
    struct rig r;
    struct try t;
    assert_true(run_first("2005", "stage", (const char *[]){"exit 1", NULL}, NULL));
    second_server(&r, &t, "2005", 1);
    reattach(&r, &t);
    try_wait_exits(&t, 1);
    assert_int_equal(t.nr_lost, 1);
    assert_int_equal(t.lost_why[0].code, ERR_NOT_FOUND);
    try_release(&t);
    try_fini(&t);
    try_init(&t, &r, "2005", (const char *[]){"exit 6"}, 1);
    try_launch(&t);
    try_wait_exits(&t, 1);
    assert_int_equal(t.exits[0].value, 6);
    end(&r, &t);
}

static void staging_again_replaces_what_never_ran(void **state) {
    struct rig r;
    struct try t;
    assert_true(run_first("2006", "stage", (const char *[]){"exit 1", NULL}, NULL));
    second_server(&r, &t, "2006", 1);
    t.argv[0][2] = "exit 9";
    try_launch(&t);
    try_wait_exits(&t, 1);
    assert_int_equal(t.exits[0].value, 9);
    end(&r, &t);
}

static void another_try_with_the_same_number_is_not_ours(void **state) {
    struct rig r;
    struct try t;
    assert_true(run_first("2007", "launch", (const char *[]){"sleep 1000", NULL}, NULL));
    second_server(&r, &t, "2007", 1);
    t.run.nonce[0] = 'f';
    reattach(&r, &t);
    try_wait_exits(&t, 1);
    assert_int_equal(t.lost_why[0].code, ERR_NOT_FOUND);
    end(&r, &t);
}

static void sweep_removes_what_nobody_owns(void **state) {
    struct rig r;
    struct try t;
    auto_free char *tmp = xasprintf("%s/run/2008/a1/.tmp-0123", dir);
    auto_free char *stray = xasprintf("%s/run/.stray", dir);
    struct err err;
    assert_true(
        run_first("2008", "launch", (const char *[]){"sleep 1000", "sleep 1000", NULL}, NULL));
    assert_int_equal(file_mkdirs(AT_FDCWD, tmp, 0700, &err), 0);
    assert_int_equal(file_mkdirs(AT_FDCWD, stray, 0700, &err), 0);
    second_server(&r, &t, "2009", 1); /* a job of this server, made before the lane swept */
    r.engine->ops->sweep(r.engine, nobody, NULL);
    try_launch(&t);
    try_wait_exits(&t, 1);
    assert_int_equal(t.exits[0].value, 0);
    try_release(&t);
    rig_drain(&r);
    rig_expect_clean(&r);
    try_fini(&t);
    rig_close(&r);
}

static void close_leaves_containers_running(void **state) {
    struct rig r = {.dir = dir};
    struct try t;
    auto_free char *gate = make_gate("gate3");
    rig_open(&r);
    try_init(&t, &r, "2010", (const char *[]){"read x </gcs/gate3; exit 2"}, 1);
    try_launch(&t);
    rig_close(&r);
    try_fini(&t);
    second_server(&r, &t, "2010", 1);
    reattach(&r, &t);
    rig_wait_count(&r, &t.nr_started, 1);
    open_gate(gate);
    try_wait_exits(&t, 1);
    assert_int_equal(t.exits[0].value, 2);
    end(&r, &t);
}

#ifdef CUSP_FAILPOINTS
/* kill -9 at the fail points around the spawn: whatever the second server finds, the job ran at
 * most once, and ends up either running, ended or never started. */
static void death_around_the_spawn_never_runs_twice(void **state) {
    static const char *const points[] = {"engine.stage.before_rundir=abort",
                                         "engine.launch.before_spawn=abort",
                                         "engine.launch.after_spawn=abort"};
    for (size_t i = 0; i < NR_OF(points); i++) {
        struct rig r;
        struct try t;
        auto_free char *id = xasprintf("202%zu", i);
        auto_free char *mark = xasprintf("buckets/mark%zu", i);
        auto_free char *script = xasprintf("echo x >>/gcs/mark%zu; exit 8", i);
        assert_false(run_first(id, "launch", (const char *[]){script, NULL}, points[i]));
        second_server(&r, &t, id, 1);
        reattach(&r, &t);
        try_wait_exits(&t, 1);
        if (t.nr_exited == 1) {
            assert_int_equal(t.exits[0].value, 8);
            try_release(&t);
        } else {
            assert_int_equal(t.lost_why[0].code, ERR_NOT_FOUND);
            try_release(&t);
            try_fini(&t);
            try_init(&t, &r, id, (const char *[]){script}, 1);
            try_launch(&t);
            try_wait_exits(&t, 1);
            assert_int_equal(t.exits[0].value, 8);
            try_release(&t);
        }
        auto_free char *marks = rig_file(&r, "%s", mark);
        assert_string_equal(marks, "x\n");
        rig_expect_clean(&r);
        try_fini(&t);
        rig_close(&r);
    }
}
#endif

int main(int argc, char **argv) {
    if (argc > 1) {
        first_server(argc, argv);
    }
    if (!rig_possible()) {
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_running_container_is_never_touched),
        cmocka_unit_test(an_exit_while_the_server_was_down_is_told),
        cmocka_unit_test(a_killed_runner_is_lost_and_takes_its_container_along),
        cmocka_unit_test(a_runner_killed_while_we_watch_is_lost),
        cmocka_unit_test(what_was_staged_but_never_launched_is_not_found_and_can_run),
        cmocka_unit_test(staging_again_replaces_what_never_ran),
        cmocka_unit_test(another_try_with_the_same_number_is_not_ours),
        cmocka_unit_test(sweep_removes_what_nobody_owns),
        cmocka_unit_test(close_leaves_containers_running),
#ifdef CUSP_FAILPOINTS
        cmocka_unit_test(death_around_the_spawn_never_runs_twice),
#endif
    };
    self = argv[0];
    dir = rig_make_dir();
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    rig_remove_dir(dir);
    return rc;
}
