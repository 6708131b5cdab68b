/* The loop: tasks, timers, descriptors, wake-ups from other threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "sys/loop.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

struct fix {
    struct loop *l;
    struct loop_task task, other;
    unsigned runs, other_runs, hook_runs;
    struct timer t[4];
    char order[8];
    size_t nr_order;
};

static struct fix fx;

static void setup(void) {
    memset(&fx, 0, sizeof(fx));
    fx.l = loop_new();
}

static void stop_task(struct loop_task *t) {
    fx.runs++;
    loop_stop(fx.l);
}

static void test_task_runs_once_and_never_inside_the_post(void **state) {
    setup();
    loop_task_init(&fx.task, stop_task);
    loop_post(fx.l, &fx.task);
    loop_post(fx.l, &fx.task);
    assert_int_equal(fx.runs, 0);
    loop_run(fx.l);
    assert_int_equal(fx.runs, 1);
    assert_false(fx.task.pending);
    loop_post(fx.l, &fx.task); /* a loop may be run again */
    loop_run(fx.l);
    assert_int_equal(fx.runs, 2);
    loop_free(fx.l);
}

static void count_task(struct loop_task *t) {
    fx.other_runs++;
}

static void test_unposted_task_does_not_run(void **state) {
    setup();
    loop_task_init(&fx.task, stop_task);
    loop_task_init(&fx.other, count_task);
    loop_post(fx.l, &fx.other);
    loop_post(fx.l, &fx.task);
    loop_unpost(fx.l, &fx.other);
    loop_run(fx.l);
    assert_int_equal(fx.other_runs, 0);
    loop_free(fx.l);
}

static void repost_task(struct loop_task *t) {
    if (++fx.runs < 1000) {
        loop_post(fx.l, t);
    } else {
        loop_stop(fx.l);
    }
}

static int pair[2];
static unsigned reads_at;

static void on_pair(void *arg, bool readable, bool writable) {
    assert_true(readable);
    reads_at = fx.runs;
    loop_fd_unwatch(*(struct loop_fd **)arg);
}

static void test_task_that_posts_itself_does_not_starve_descriptors(void **state) {
    setup();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(write(pair[1], "x", 1), 1);
    struct loop_fd *w = NULL;
    w = loop_fd_watch(fx.l, pair[0], true, false, on_pair, &w);
    assert_non_null(w);
    loop_task_init(&fx.task, repost_task);
    loop_post(fx.l, &fx.task);
    loop_run(fx.l);
    assert_int_equal(fx.runs, 1000);
    assert_true(reads_at < 10);
    loop_free(fx.l);
    close(pair[0]);
    close(pair[1]);
}

static void *poster(void *arg) {
    loop_post_any(fx.l, &fx.task);
    return NULL;
}

static void test_post_from_another_thread_wakes_a_sleeping_loop(void **state) {
    pthread_t th;
    setup();
    loop_task_init(&fx.task, stop_task);
    assert_int_equal(pthread_create(&th, NULL, poster, NULL), 0);
    loop_run(fx.l);
    pthread_join(th, NULL);
    assert_int_equal(fx.runs, 1);
    loop_free(fx.l);
}

static void on_timer(struct timer *t) {
    fx.order[fx.nr_order++] = (char)('0' + (t - fx.t));
    if (t == &fx.t[3]) {
        loop_stop(fx.l);
    }
}

static void test_timers_fire_in_order_of_time_not_before_it_and_disarm(void **state) {
    setup();
    struct clock *c = loop_clock(fx.l);
    for (int i = 0; i < 4; i++) {
        fx.t[i].fn = on_timer;
    }
    usec_t now = c->ops->mono(c);
    c->ops->arm(c, &fx.t[3], now + 6000);
    c->ops->arm(c, &fx.t[2], now + 1);
    c->ops->arm(c, &fx.t[1], now + 2000);
    c->ops->arm(c, &fx.t[0], now + 1000);
    c->ops->arm(c, &fx.t[2], now + 4000); /* moves */
    c->ops->disarm(c, &fx.t[0]);
    c->ops->disarm(c, &fx.t[0]);
    loop_run(fx.l);
    assert_string_equal(fx.order, "123");
    assert_true(c->ops->mono(c) >= now + 6000);
    loop_free(fx.l);
}

static void hook_fn(struct loop_idle_hook *h) {
    fx.hook_runs++;
}

static void test_idle_hook_runs_before_the_loop_sleeps(void **state) {
    static struct loop_idle_hook hook = {.fn = hook_fn};
    setup();
    struct clock *c = loop_clock(fx.l);
    loop_add_idle_hook(fx.l, &hook);
    fx.t[3].fn = on_timer;
    c->ops->arm(c, &fx.t[3], c->ops->mono(c) + 1000);
    loop_run(fx.l);
    assert_true(fx.hook_runs >= 1 && fx.hook_runs < 20);
    loop_free(fx.l);
}

static struct loop_fd *hup_watch;

static void on_hup(void *arg, bool readable, bool writable) {
    fx.runs++;
    assert_true(readable);
    loop_fd_unwatch(hup_watch);
    loop_stop(fx.l);
}

static void test_hang_up_is_seen_while_reading_rests(void **state) {
    setup();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(write(pair[1], "unread", 6), 6);
    hup_watch = loop_fd_watch(fx.l, pair[0], false, false, on_hup, NULL);
    loop_fd_set(hup_watch, LOOP_FD_HUP);
    close(pair[1]);
    loop_run(fx.l);
    assert_int_equal(fx.runs, 1);
    loop_free(fx.l);
    close(pair[0]);
}

static void slow_task(struct loop_task *t) {
    usec_t until = time_mono() + 3000;
    while (time_mono() < until) {
    }
    loop_stop(fx.l);
}

static void test_worst_turn_counts_work_and_not_sleep(void **state) {
    setup();
    struct clock *c = loop_clock(fx.l);
    fx.t[3].fn = on_timer;
    c->ops->arm(c, &fx.t[3], c->ops->mono(c) + 30000);
    loop_run(fx.l);
    assert_true(loop_take_worst_turn(fx.l) < 25000);
    loop_task_init(&fx.task, slow_task);
    loop_post(fx.l, &fx.task);
    loop_run(fx.l);
    assert_true(loop_take_worst_turn(fx.l) >= 3000);
    loop_free(fx.l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task_runs_once_and_never_inside_the_post),
        cmocka_unit_test(test_unposted_task_does_not_run),
        cmocka_unit_test(test_task_that_posts_itself_does_not_starve_descriptors),
        cmocka_unit_test(test_post_from_another_thread_wakes_a_sleeping_loop),
        cmocka_unit_test(test_timers_fire_in_order_of_time_not_before_it_and_disarm),
        cmocka_unit_test(test_idle_hook_runs_before_the_loop_sleeps),
        cmocka_unit_test(test_hang_up_is_seen_while_reading_rests),
        cmocka_unit_test(test_worst_turn_counts_work_and_not_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
