/* Logs on a real loop and lane: service lines, following, torn tails, restarts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/vec.h"
#include "logs/logs_int.h"
#include "sys/files.h"
#include "sys/lane.h"
#include "sys/loop.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct rig {
    char dir[64];
    struct loop *loop;
    struct lane *disk;
    struct logs *logs;
    struct log_follow *follow;
    VEC_OF(char *) lines; /* "task:text" */
    size_t pause_after, stop_after;
    bool ended, failed;
    struct timer timer;
    void (*on_timer)(struct rig *);
};

static void rig_open(struct rig *r) {
    struct err err;
    r->loop = loop_new();
    r->disk = lane_new(r->loop, "disk", 2);
    r->logs = logs_open(r->loop, r->disk, r->dir, &err);
    assert_non_null(r->logs);
}

static void rig_close(struct rig *r) {
    lane_close(r->disk);
    logs_close(r->logs);
    loop_free(r->loop);
}

static int setup(void **state) {
    struct rig *r = xcalloc(1, sizeof(*r));
    snprintf(r->dir, sizeof(r->dir), "/tmp/cusp-logs-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    r->pause_after = r->stop_after = SIZE_MAX;
    rig_open(r);
    *state = r;
    return 0;
}

static void forget_lines(struct rig *r) {
    for (size_t i = 0; i < r->lines.n; i++) {
        free(r->lines.p[i]);
    }
    vec_fini(&r->lines);
}

static int teardown(void **state) {
    struct rig *r = *state;
    struct err err;
    rig_close(r);
    forget_lines(r);
    assert_int_equal(file_remove_tree(AT_FDCWD, r->dir, &err), 0);
    free(r);
    return 0;
}

static bool on_line(void *arg, const struct log_line *l) {
    struct rig *r = arg;
    vec_push(&r->lines, xasprintf("%s:%.*s", l->task, STR_ARG(l->text)));
    if (r->lines.n == r->stop_after) {
        log_follow_stop(r->follow);
        loop_stop(r->loop);
    }
    return r->lines.n != r->pause_after;
}

static void on_end(void *arg, const struct err *err) {
    struct rig *r = arg;
    r->ended = true;
    r->failed = err != NULL;
    loop_stop(r->loop);
}

static void start(struct rig *r, const char *task, bool follow) {
    struct err err;
    struct log_follow_opts o = {.job_id = "42",
                                .task = task,
                                .follow = follow,
                                .on_line = on_line,
                                .on_end = on_end,
                                .arg = r};
    r->ended = false;
    r->follow = log_follow_start(r->logs, &o, &err);
    assert_non_null(r->follow);
}

static void fire(struct timer *t) {
    struct rig *r = CONTAINER_OF(t, struct rig, timer);
    r->on_timer(r);
}

static void after_ms(struct rig *r, unsigned ms, void (*fn)(struct rig *)) {
    struct clock *c = loop_clock(r->loop);
    r->timer.fn = fire;
    r->on_timer = fn;
    c->ops->arm(c, &r->timer, c->ops->mono(c) + ms * USEC_PER_MSEC);
}

/* Appends frames to a replica's first segment as a runner would. */
static void append(struct rig *r, const char *replica, uint64_t seq, usec_t time, uint8_t stream,
                   const char *text, size_t cut) {
    struct err err;
    auto_free char *dir = xasprintf("%s/logs/42/a1/%s", r->dir, replica);
    auto_free char *path = xasprintf("%s/out.000000.seg", dir);
    auto_buf struct buf b = BUF_INIT(1 << 20);
    assert_int_equal(file_mkdirs(AT_FDCWD, dir, 0750, &err), 0);
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0640);
    if (lseek(fd, 0, SEEK_END) == 0) {
        char head[SEG_FILE_HEADER_LEN] = SEG_FILE_HEADER;
        buf_put(&b, head, sizeof(head));
    }
    struct seg_frame f = {.seq = seq, .time = time, .stream = stream, .payload = str_of(text)};
    seg_encode(&b, &f);
    assert_int_equal(write(fd, b.p, b.n - cut), (ssize_t)(b.n - cut));
}

static void test_service_lines_reach_a_follower_and_the_end_ends_it(void **state) {
    struct rig *r = *state;
    logs_service(r->logs, "42", 100, 200, "first");
    logs_service(r->logs, "42", 200, 400, "second");
    logs_service_end(r->logs, "42");
    logs_service(r->logs, "42", 300, 200, "too late");
    start(r, NULL, true);
    loop_run(r->loop);
    assert_false(r->failed);
    assert_int_equal(r->lines.n, 2);
    assert_string_equal(r->lines.p[0], "service:first");
    assert_string_equal(r->lines.p[1], "service:second");
}

static void give_up(struct rig *r) {
    log_follow_stop(r->follow);
    loop_stop(r->loop);
}

/* Lines past the queue's limit are dropped while the lane is busy; the end must not be among them.
 */
static void test_the_end_is_written_however_much_was_dropped(void **state) {
    struct rig *r = *state;
    auto_free char *text = xmalloc(100001);
    memset(text, 'x', 100000);
    text[100000] = 0;
    for (int i = 0; i < 8; i++) {
        logs_service(r->logs, "42", 100, 200, text);
    }
    for (int i = 0; i < 20000; i++) {
        logs_service(r->logs, "42", 100, 200, "fills the rest");
    }
    logs_service_end(r->logs, "42");
    r->stop_after = SIZE_MAX;
    start(r, NULL, true);
    after_ms(r, 5000, give_up);
    loop_run(r->loop);
    assert_true(r->ended);
}

static void test_replicas_are_merged_by_time(void **state) {
    struct rig *r = *state;
    append(r, "workerpool0-0", 0, 10, SEG_STDOUT, "a", 0);
    append(r, "workerpool1-0", 0, 20, SEG_STDERR, "b", 0);
    append(r, "workerpool0-0", 1, 30, SEG_STDOUT, "c", 0);
    append(r, "workerpool0-0", 2, 40, SEG_EOF, "", 0);
    start(r, NULL, false);
    loop_run(r->loop);
    assert_int_equal(r->lines.n, 3);
    assert_string_equal(r->lines.p[0], "workerpool0-0:a");
    assert_string_equal(r->lines.p[1], "workerpool1-0:b");
    assert_string_equal(r->lines.p[2], "workerpool0-0:c");
}

static void test_one_task_can_be_asked_for(void **state) {
    struct rig *r = *state;
    append(r, "workerpool0-0", 0, 10, SEG_STDOUT, "a", 0);
    append(r, "workerpool1-0", 0, 20, SEG_STDOUT, "b", 0);
    logs_service(r->logs, "42", 5, 200, "s");
    logs_service_end(r->logs, "42");
    start(r, "workerpool1-0", true);
    loop_run(r->loop);
    assert_int_equal(r->lines.n, 1);
    assert_string_equal(r->lines.p[0], "workerpool1-0:b");
}

static void add_more(struct rig *r) {
    append(r, "workerpool0-0", 1, 20, SEG_STDOUT, "live", 0);
    logs_service_end(r->logs, "42");
}

static void test_live_lines_arrive_without_asking_again(void **state) {
    struct rig *r = *state;
    append(r, "workerpool0-0", 0, 10, SEG_STDOUT, "old", 0);
    r->logs->safety_poll = USEC_PER_SEC * 86400;
    start(r, NULL, true);
    after_ms(r, 100, add_more);
    loop_run(r->loop);
    assert_int_equal(r->lines.n, 2);
    assert_string_equal(r->lines.p[1], "workerpool0-0:live");
}

static void begin_late(struct rig *r) {
    logs_service(r->logs, "42", 10, 200, "late");
    logs_service_end(r->logs, "42");
}

/* Without the safety look, which would hide that nothing told the follower. */
static void test_a_directory_that_comes_after_the_follower_is_seen(void **state) {
    struct rig *r = *state;
    r->logs->safety_poll = USEC_PER_SEC * 86400;
    start(r, NULL, true);
    after_ms(r, 50, begin_late);
    loop_run(r->loop);
    assert_int_equal(r->lines.n, 1);
}

static void test_a_torn_tail_waits_for_its_rest(void **state) {
    struct rig *r = *state;
    append(r, "workerpool0-0", 0, 10, SEG_STDOUT, "whole", 0);
    append(r, "workerpool0-0", 1, 20, SEG_STDOUT, "torn", 3);
    start(r, NULL, false);
    loop_run(r->loop);
    assert_false(r->failed);
    assert_int_equal(r->lines.n, 1);
}

static void test_corruption_is_an_error_not_silence(void **state) {
    struct rig *r = *state;
    append(r, "workerpool0-0", 0, 10, SEG_STDOUT, "whole", 0);
    auto_free char *path = xasprintf("%s/logs/42/a1/workerpool0-0/out.000000.seg", r->dir);
    auto_close int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "X", 1, SEG_FILE_HEADER_LEN + SEG_HEAD_LEN), 1);
    start(r, NULL, false);
    loop_run(r->loop);
    assert_true(r->failed);
}

static void test_service_stream_continues_after_a_restart_past_a_torn_frame(void **state) {
    struct rig *r = *state;
    logs_service(r->logs, "42", 10, 200, "before");
    start(r, NULL, false);
    r->stop_after = 1;
    while (!r->lines.n) { /* the line may still be on its way to the disk */
        r->ended = false;
        loop_run(r->loop);
        if (!r->lines.n) {
            start(r, NULL, false);
        }
    }
    r->stop_after = SIZE_MAX;
    rig_close(r);
    auto_free char *path = xasprintf("%s/logs/42/service/out.000000.seg", r->dir);
    auto_close int fd = open(path, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "CSE", 3), 3);
    rig_open(r);
    forget_lines(r);
    logs_service(r->logs, "42", 5, 200, "after"); /* and the clock was set back */
    logs_service_end(r->logs, "42");
    start(r, NULL, true);
    loop_run(r->loop);
    assert_false(r->failed);
    assert_int_equal(r->lines.n, 2);
    assert_string_equal(r->lines.p[0], "service:before");
    assert_string_equal(r->lines.p[1], "service:after");
}

static void resume(struct rig *r) {
    assert_int_equal(r->lines.n, 2);
    r->pause_after = SIZE_MAX;
    log_follow_resume(r->follow);
}

static void test_a_paused_reader_gets_the_rest_after_resume(void **state) {
    struct rig *r = *state;
    for (uint64_t i = 0; i < 5; i++) {
        append(r, "workerpool0-0", i, 10 + i, SEG_STDOUT, "x", 0);
    }
    r->pause_after = 2;
    start(r, NULL, false);
    after_ms(r, 50, resume);
    loop_run(r->loop);
    assert_int_equal(r->lines.n, 5);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(test_service_lines_reach_a_follower_and_the_end_ends_it),
        T(test_the_end_is_written_however_much_was_dropped),
        T(test_replicas_are_merged_by_time),
        T(test_one_task_can_be_asked_for),
        T(test_live_lines_arrive_without_asking_again),
        T(test_a_directory_that_comes_after_the_follower_is_seen),
        T(test_a_torn_tail_waits_for_its_rest),
        T(test_corruption_is_an_error_not_silence),
        T(test_service_stream_continues_after_a_restart_past_a_torn_frame),
        T(test_a_paused_reader_gets_the_rest_after_resume),
    };
    return cmocka_run_group_tests_name("logs", tests, NULL, NULL);
}
