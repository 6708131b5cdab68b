/* Unit tests of tuning jobs, in the simulator's world. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tunes.h"

#define STEPS 200000

static struct tune_wish plain(uint32_t max_trials, uint32_t parallel) {
    struct tune_wish w = {.max_trials = max_trials, .parallel = parallel, .seed = 7};
    wish_label_text(&w.child, "cusp-test-metric", "loss");
    return w;
}

static void start(struct world *w) {
    world_init(w, 1, 16000);
    w->keep_log = true;
    world_boot(w);
    world_settle(w, STEPS);
}

static struct tuning_status status_of(struct world *w, struct arena *a, size_t i) {
    struct tuning_status s;
    world_tune_status(w, i, a, &s);
    return s;
}

/* Steps until so many trials run. */
static void until_running(struct world *w, size_t i, uint32_t n) {
    for (unsigned k = 0; k < 1000; k++) {
        const struct tuning *t = tuning_find(w->ctl, str_of(w->tunes.p[i]->base.name));
        if (t && !t->base.busy && study_counts(t->study).active == n) {
            return;
        }
        assert_true(world_step(w));
    }
    fail_msg("%u trials never ran", n);
}

static void until_answered(struct world *w) {
    while (!list_is_empty(&w->calls)) {
        assert_true(world_step(w));
    }
}

static const struct study_trial *trial(struct tuning *t, uint64_t id) {
    const struct study_trial *x = study_trial(t->study, id);
    assert_non_null(x);
    return x;
}

static void test_the_budget_is_used_and_the_best_is_named(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct world w;
    start(&w);
    struct tune_wish wish = plain(8, 3);
    size_t i = world_create_tune(&w, &wish);
    world_settle(&w, STEPS);
    struct tuning_status s = status_of(&w, a, i);
    assert_int_equal(s.state, JOB_STATE_SUCCEEDED);
    assert_int_equal(s.nr_trials, 8);
    assert_int_equal(s.nr_succeeded, 8);
    struct tuning *t = world_tune_replay(&w, i);
    const struct study_trial *best = trial(t, s.best_trial);
    for (uint64_t k = 1; k <= 8; k++) {
        assert_true(trial(t, k)->final.v[0].value >= best->final.v[0].value);
        assert_int_equal(trial(t, k)->nr_measurements, 3);
        assert_non_null(trial(t, k)->job);
    }
    tuning_free(t);
    assert_true(str_find(buf_str(&w.log), STR("it is the best so far")) >= 0);
    assert_null(world_final(&w));
    world_fini(&w);
}

static void test_a_trial_without_the_metric_says_what_it_did_report(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct world w;
    start(&w);
    struct tune_wish wish = plain(4, 1);
    wish_label_text(&wish.child, "cusp-test-metric-as", "other");
    size_t i = world_create_tune(&w, &wish);
    world_settle(&w, STEPS);
    struct tuning_status s = status_of(&w, a, i);
    assert_int_equal(s.state, JOB_STATE_FAILED);
    assert_int_equal(s.error_code, ERR_INVALID_ARGUMENT);
    assert_int_equal(s.nr_trials, 1); /* the first to end fails: so would the others */
    assert_memory_equal(s.error_msg, "Trial 1: ", 9);
    assert_non_null(strstr(s.error_msg, "loss-other"));
    struct tuning *t = world_tune_replay(&w, i);
    assert_int_equal(trial(t, 1)->state, STUDY_TRIAL_INFEASIBLE);
    assert_non_null(strstr(trial(t, 1)->reason, "loss"));
    tuning_free(t);
    world_fini(&w);
}

static void test_failures_are_counted(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct world w;
    start(&w);
    struct tune_wish wish = plain(9, 1);
    wish.max_failed = 3;
    wish_label_text(&wish.child, "cusp-test-trials", "1_3_5_7");
    wish_label(&wish.child, "cusp-test-exit", 1);
    size_t i = world_create_tune(&w, &wish);
    world_settle(&w, STEPS);
    struct tuning_status s = status_of(&w, a, i);
    assert_int_equal(s.state, JOB_STATE_FAILED);
    assert_int_equal(s.nr_failed, 3);
    assert_int_equal(s.nr_succeeded, 2);
    assert_memory_equal(s.error_msg, "Trial 5: ", 9);
    world_fini(&w);
}

static void test_a_grid_ends_with_its_last_point(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct world w;
    start(&w);
    struct tune_wish wish = plain(100, 4);
    wish.algorithm = TUNE_GRID;
    size_t i = world_create_tune(&w, &wish);
    world_settle(&w, STEPS);
    struct tuning_status s = status_of(&w, a, i);
    assert_int_equal(s.state, JOB_STATE_SUCCEEDED);
    assert_int_equal(s.nr_trials, 8);
    world_fini(&w);
}

static void test_a_cancel_stops_what_runs(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct world w;
    start(&w);
    struct tune_wish wish = plain(8, 2);
    wish_label(&wish.child, "cusp-test-run-ms", 600000);
    size_t i = world_create_tune(&w, &wish);
    until_running(&w, i, 2);
    assert_int_equal(status_of(&w, a, i).state, JOB_STATE_RUNNING);
    world_cancel_tune(&w, i);
    world_settle(&w, STEPS);
    struct tuning_status s = status_of(&w, a, i);
    assert_int_equal(s.state, JOB_STATE_CANCELLED);
    assert_int_equal(s.nr_infeasible, 2);
    assert_int_equal(s.nr_failed, 0);
    world_fini(&w);
}

static void test_editing_names_the_rule(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct world w;
    start(&w);
    struct tune_wish wish = plain(2, 2);
    wish_label(&wish.child, "cusp-test-run-ms", 600000);
    size_t i = world_create_tune(&w, &wish);
    until_running(&w, i, 2);
    world_edit_tune(&w, i, &(struct tuning_edit){.max_trials = 1});
    until_answered(&w);
    assert_int_equal(w.last_err.code, ERR_INVALID_ARGUMENT);
    assert_non_null(strstr(w.last_err.msg, "2 trials exist already"));
    world_trial_tune(&w, i, SIM_ADD, 0);
    until_answered(&w);
    assert_int_equal(w.last_err.code, ERR_FAILED_PRECONDITION);
    world_edit_tune(&w, i, &(struct tuning_edit){.max_trials = 4});
    until_answered(&w);
    assert_int_equal(w.last_err.code, 0);
    world_trial_tune(&w, i, SIM_ADD, 0);
    until_answered(&w);
    assert_int_equal(w.last_err.code, 0);
    world_trial_tune(&w, i, SIM_RERUN, 1);
    until_answered(&w);
    assert_int_equal(w.last_err.code, ERR_FAILED_PRECONDITION); /* it has not ended */
    world_settle(&w, STEPS);
    struct tuning_status s = status_of(&w, a, i);
    assert_int_equal(s.state, JOB_STATE_SUCCEEDED);
    assert_int_equal(s.nr_trials, 4);
    struct tuning *t = world_tune_replay(&w, i);
    assert_true(trial(t, 3)->by_hand && trial(t, 3)->setting[0] == 0.25);
    tuning_free(t);
    world_edit_tune(&w, i, &(struct tuning_edit){.max_trials = 9});
    until_answered(&w);
    assert_int_equal(w.last_err.code, ERR_FAILED_PRECONDITION);
    world_fini(&w);
}

static void undisturbed(double final[12], uint64_t *ret_best) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct world w;
    start(&w);
    struct tune_wish wish = plain(12, 1);
    size_t i = world_create_tune(&w, &wish);
    world_settle(&w, STEPS);
    *ret_best = status_of(&w, a, i).best_trial;
    struct tuning *t = world_tune_replay(&w, i);
    for (uint64_t k = 1; k <= 12; k++) {
        final[k - 1] = trial(t, k)->final.v[0].value;
    }
    tuning_free(t);
    world_fini(&w);
}

static void test_a_study_killed_ten_times_is_the_same_study(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    double final[12];
    uint64_t best;
    struct world w;
    undisturbed(final, &best);
    start(&w);
    struct tune_wish wish = plain(12, 1);
    size_t i = world_create_tune(&w, &wish);
    world_settle(&w, 20);
    for (unsigned k = 0; k < 10; k++) {
        world_settle(&w, 30 + 7 * k);
        world_crash(&w, 2);
        world_boot(&w);
    }
    world_settle(&w, STEPS);
    struct tuning_status s = status_of(&w, a, i);
    assert_int_equal(s.state, JOB_STATE_SUCCEEDED);
    assert_int_equal(s.nr_trials, 12);
    assert_int_equal(s.best_trial, best);
    struct tuning *t = world_tune_replay(&w, i);
    for (uint64_t k = 1; k <= 12; k++) {
        assert_true(trial(t, k)->final.v[0].value == final[k - 1]);
    }
    tuning_free(t);
    assert_null(world_final(&w));
    world_fini(&w);
}

/* One that is told to stop while its job is on the way may have a result all the same. */
static void test_a_trial_stopped_at_any_moment_has_begun(void **state) {
    unsigned succeeded = 0;
    for (unsigned steps = 0; steps < 60; steps++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        struct world w;
        start(&w);
        struct tune_wish wish = plain(1, 1);
        size_t i = world_create_tune(&w, &wish);
        until_answered(&w);
        world_settle(&w, steps);
        world_trial_tune(&w, i, SIM_STOP, 1);
        world_settle(&w, STEPS);
        assert_null(world_final(&w));
        struct tuning_status s = status_of(&w, a, i);
        succeeded += s.state == JOB_STATE_SUCCEEDED;
        assert_true(s.state != JOB_STATE_SUCCEEDED || s.start_time);
        world_fini(&w);
    }
    assert_true(succeeded > 1);
}

/* The machine's clock is set back by a day, and later on by two. */
static void test_a_clock_that_jumps(void **state) {
    static const int64_t jumps[] = {-86400, 172800};
    const usec_t day = 86400 * (usec_t)USEC_PER_SEC;
    struct world w;
    start(&w);
    struct tune_wish wish = plain(6, 2);
    wish_label(&wish.child, "cusp-test-run-ms", 50);
    size_t i = world_create_tune(&w, &wish);
    for (size_t k = 0; k < NR_OF(jumps); k++) {
        until_running(&w, i, 2);
        w.clock.wall_offset += (usec_t)jumps[k] * USEC_PER_SEC;
        assert_null(world_invariant(&w));
        world_settle(&w, 40);
    }
    world_settle(&w, STEPS);
    assert_null(world_final(&w));
    struct tuning *t = world_tune_replay(&w, i);
    assert_int_equal(t->status.state, JOB_STATE_SUCCEEDED);
    assert_true(t->status.end_time >= t->status.start_time);
    assert_true(t->status.start_time >= t->status.create_time);
    for (uint64_t id = 1; id <= 6; id++) {
        const struct study_trial *x = trial(t, id);
        assert_int_equal(x->state, STUDY_TRIAL_SUCCEEDED);
        assert_true(x->end_time >= x->start_time);
        assert_int_equal(x->nr_measurements, 3);
        assert_true(x->final.elapsed <= 3 * day);
        for (size_t m = 1; m < x->nr_measurements; m++) {
            assert_true(study_trial_measurement(t->study, x, m).step >
                        study_trial_measurement(t->study, x, m - 1).step);
        }
    }
    tuning_free(t);
    world_fini(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_budget_is_used_and_the_best_is_named),
        cmocka_unit_test(test_a_trial_without_the_metric_says_what_it_did_report),
        cmocka_unit_test(test_failures_are_counted),
        cmocka_unit_test(test_a_grid_ends_with_its_last_point),
        cmocka_unit_test(test_a_cancel_stops_what_runs),
        cmocka_unit_test(test_editing_names_the_rule),
        cmocka_unit_test(test_a_study_killed_ten_times_is_the_same_study),
        cmocka_unit_test(test_a_trial_stopped_at_any_moment_has_begun),
        cmocka_unit_test(test_a_clock_that_jumps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
