/* Lanes: order, threads, cancellation. Works meet at a gate instead of sleeping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "sys/lane.h"
#include "sys/loop.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

enum { NR = 200 };

struct work {
    struct lane_work w; /* first */
    unsigned place, ran_as;
    bool ran, done;
};

static struct {
    struct loop *loop;
    struct lane *lane;
    pthread_t loop_thread;
    sem_t gate, entered;
    unsigned nr_run, nr_done;
    struct work works[NR];
} fx;

static void setup(unsigned threads) {
    memset(&fx, 0, sizeof(fx));
    fx.loop = loop_new();
    fx.lane = lane_new(fx.loop, "test", threads);
    fx.loop_thread = pthread_self();
    sem_init(&fx.gate, 0, 0);
    sem_init(&fx.entered, 0, 0);
}

static void run(struct lane_work *w) {
    struct work *k = (struct work *)w;
    assert_false(pthread_equal(pthread_self(), fx.loop_thread));
    k->ran = true;
    k->ran_as = __atomic_add_fetch(&fx.nr_run, 1, __ATOMIC_SEQ_CST);
}

static void run_gated(struct lane_work *w) {
    sem_post(&fx.entered);
    sem_wait(&fx.gate);
    run(w);
}

static void done(struct lane_work *w) {
    struct work *k = (struct work *)w;
    assert_true(pthread_equal(pthread_self(), fx.loop_thread));
    assert_false(k->done);
    k->done = true;
    k->place = ++fx.nr_done;
}

static void test_one_thread_keeps_submission_order(void **state) {
    setup(1);
    for (unsigned i = 0; i < NR; i++) {
        fx.works[i].w = (struct lane_work){.run = run, .done = done};
        lane_submit(fx.lane, &fx.works[i].w);
    }
    assert_int_equal(fx.nr_done, 0); /* never from within the call */
    while (fx.nr_done < NR) {
        loop_turn(fx.loop);
    }
    for (unsigned i = 0; i < NR; i++) {
        assert_int_equal(fx.works[i].ran_as, i + 1);
        assert_int_equal(fx.works[i].place, i + 1);
    }
    struct lane_stats st;
    lane_get_stats(fx.lane, &st);
    assert_int_equal(st.finished, NR);
    assert_int_equal(st.depth, 0);
    lane_close(fx.lane);
    loop_free(fx.loop);
}

static void test_threads_work_at_the_same_time(void **state) {
    setup(3);
    for (unsigned i = 0; i < 3; i++) {
        fx.works[i].w = (struct lane_work){.run = run_gated, .done = done};
        lane_submit(fx.lane, &fx.works[i].w);
    }
    for (unsigned i = 0; i < 3; i++) {
        sem_wait(&fx.entered); /* passes only when all three are inside */
    }
    for (unsigned i = 0; i < 3; i++) {
        sem_post(&fx.gate);
    }
    while (fx.nr_done < 3) {
        loop_turn(fx.loop);
    }
    lane_close(fx.lane);
    loop_free(fx.loop);
}

static void done_submits_again(struct lane_work *w) {
    bool again = fx.nr_done == 1; /* the first cancelled one */
    done(w);
    if (again) {
        fx.works[NR - 1].w = (struct lane_work){.run = run, .done = done};
        lane_submit(fx.lane, &fx.works[NR - 1].w);
    }
}

static void test_close_waits_for_running_and_cancels_queued(void **state) {
    setup(1);
    fx.works[0].w = (struct lane_work){.run = run_gated, .done = done};
    lane_submit(fx.lane, &fx.works[0].w);
    for (unsigned i = 1; i < 5; i++) {
        fx.works[i].w = (struct lane_work){.run = run, .done = done_submits_again};
    }
    sem_wait(&fx.entered);
    /* The thread is at the gate, so these stay queued; one more opens the gate as soon as close
     * would wait: it is opened beforehand, and `closing` is what the thread sees next or not. */
    for (unsigned i = 1; i < 5; i++) {
        lane_submit(fx.lane, &fx.works[i].w);
    }
    sem_post(&fx.gate);
    lane_close(fx.lane);
    for (unsigned i = 0; i < 5; i++) {
        assert_true(fx.works[i].done);
        assert_int_equal(fx.works[i].place, i + 1);
        assert_int_equal(fx.works[i].ran, !fx.works[i].w.cancelled);
    }
    assert_true(fx.works[0].ran);
    assert_true(fx.works[NR - 1].done && fx.works[NR - 1].w.cancelled);
    loop_free(fx.loop);
}

enum { ENDLESS = 500 }; /* a lane that never lets go fails instead of hanging */

/* As a large transfer does: each `done` submits the next piece, which is through before it returns.
 */
static void done_and_through_again(struct lane_work *w) {
    struct lane_stats before, now;
    if (++fx.nr_done >= ENDLESS) {
        return;
    }
    lane_get_stats(fx.lane, &before);
    lane_submit(fx.lane, w);
    do {
        sched_yield();
        lane_get_stats(fx.lane, &now);
    } while (now.finished == before.finished);
}

static void on_timer(struct timer *t) {
    t->fn = NULL;
}

static void test_a_work_that_submits_itself_leaves_turns_to_others(void **state) {
    setup(1);
    struct clock *clock = loop_clock(fx.loop);
    struct timer timer = {.fn = on_timer};
    fx.works[0].w = (struct lane_work){.run = run, .done = done_and_through_again};
    lane_submit(fx.lane, &fx.works[0].w);
    while (fx.nr_done == 0) {
        loop_turn(fx.loop);
    }
    clock->ops->arm(clock, &timer, clock->ops->mono(clock));
    unsigned turns = 0, at = fx.nr_done;
    for (; timer.fn && turns < ENDLESS; turns++) {
        loop_turn(fx.loop);
    }
    assert_null(timer.fn);
    assert_true(fx.nr_done < ENDLESS);
    assert_true(fx.nr_done - at <= 2 * turns); /* tasks run twice a turn */
    fx.nr_done = ENDLESS;                      /* the next one is the last */
    lane_close(fx.lane);
    loop_free(fx.loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_thread_keeps_submission_order),
        cmocka_unit_test(test_threads_work_at_the_same_time),
        cmocka_unit_test(test_a_work_that_submits_itself_leaves_turns_to_others),
        cmocka_unit_test(test_close_waits_for_running_and_cancels_queued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
