/* Suggestions: src/tune/tuner.h (reference 30 §4, tests 5 to 9). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tune/tuner.h"

#include <math.h>

#define MAX 400

struct study {
    struct tune_study s;
    struct tune_param params[8];
    struct tune_metric metrics[3];
    struct tuner *t;
    struct tune_trial trials[MAX];
    double settings[MAX][8], values[MAX][3];
    size_t n;
};

static void open_study(struct study *st) {
    struct err err;
    st->s.params = st->params;
    st->s.metrics = st->metrics;
    st->s.nr_metrics = st->s.nr_metrics ? st->s.nr_metrics : 1;
    st->t = tuner_new(&st->s, &err);
    assert_non_null(st->t);
}

static struct study *numbers(size_t d, uint64_t seed) {
    struct study *st = xcalloc(1, sizeof(*st));
    for (size_t j = 0; j < d; j++) {
        st->params[j] = (struct tune_param){.type = TUNE_DOUBLE, .lo = -5, .hi = 5, .parent = -1};
    }
    st->metrics[0].minimize = true;
    st->s.nr_params = d;
    st->s.seed = seed;
    return st;
}

static void close_study(struct study *st) {
    tuner_free(st->t);
    free(st);
}

/* The next trial; false when there is none. The caller sets its state and value. */
static bool ask(struct study *st) {
    double v[8];
    size_t k = tuner_suggest(st->t, st->trials, st->n, st->n, 1, v);
    if (!k) {
        return false;
    }
    memcpy(st->settings[st->n], v, sizeof(v));
    st->trials[st->n] = (struct tune_trial){TUNE_DONE, st->settings[st->n], st->values[st->n]};
    st->n++;
    return true;
}

static double sphere(const double *x, size_t d) {
    double sum = 0;
    for (size_t j = 0; j < d; j++) {
        sum += (x[j] - 1.3) * (x[j] - 1.3);
    }
    return sum;
}

static double run_sphere(struct study *st, size_t trials) {
    double best = INFINITY;
    for (size_t i = 0; i < trials; i++) {
        assert_true(ask(st));
        st->values[i][0] = sphere(st->settings[i], st->s.nr_params);
        best = fmin(best, st->values[i][0]);
    }
    return best;
}

static void test_a_bowl_is_found(void **state) {
    struct study *ours = numbers(5, 1), *random = numbers(5, 1);
    random->s.algorithm = TUNE_RANDOM;
    open_study(ours);
    open_study(random);
    assert_true(run_sphere(ours, 40) < 0.01);
    assert_true(run_sphere(random, 40) > 0.3);
    assert_true(ours->settings[0][0] == 0); /* the first trial is the centre */
    close_study(ours);
    close_study(random);
}

static void test_a_restart_changes_nothing(void **state) {
    struct study *a = numbers(3, 9), *b = numbers(3, 9);
    open_study(a);
    open_study(b);
    run_sphere(a, 70);
    struct err err;
    for (size_t i = 0; i < 70; i++) {
        if (i % 7 == 3) { /* a new process: nothing but the history */
            tuner_free(b->t);
            b->t = tuner_new(&b->s, &err);
        }
        if (i % 5 == 0) {
            tuner_prepare(b->t, b->trials, b->n);
        }
        assert_true(ask(b));
        assert_memory_equal(b->settings[i], a->settings[i], 3 * sizeof(double));
        b->values[i][0] = sphere(b->settings[i], 3);
    }
    close_study(a);
    close_study(b);
}

static void test_strange_histories_are_survived(void **state) {
    for (int kind = 0; kind < 6; kind++) {
        struct study *st = numbers(2, (uint64_t)kind);
        open_study(st);
        for (size_t i = 0; i < 25; i++) {
            assert_true(ask(st));
            assert_true(fabs(st->settings[i][0]) <= 5 && fabs(st->settings[i][1]) <= 5);
            st->values[i][0] = kind == 0   ? 3
                               : kind == 1 ? (i == 4 ? 1e300 : (double)i)
                               : kind == 2 ? (i % 2 ? 1e-300 : 0)
                                           : sphere(st->settings[i], 2);
            bool fails = kind == 3 || (kind == 4 && st->settings[i][0] < 0);
            st->trials[i].state = fails ? TUNE_FAILED : TUNE_DONE;
            if (kind == 5 && i % 2) { /* equal settings, unequal values */
                memcpy(st->settings[i], st->settings[i - 1], sizeof(st->settings[i]));
                st->values[i][0] += 1;
            }
        }
        if (kind == 4) { /* it learns to keep away from where trials fail */
            size_t late = 0;
            for (size_t i = 15; i < 25; i++) {
                late += st->trials[i].state == TUNE_FAILED;
            }
            assert_true(late <= 3);
        }
        close_study(st);
    }
}

static void test_a_small_space_is_tried_once_and_then_over(void **state) {
    struct study *st = numbers(2, 4);
    st->s.noise = TUNE_NOISE_LOW;
    for (size_t j = 0; j < 2; j++) {
        st->params[j] = (struct tune_param){.type = TUNE_CATEGORICAL, .nr_values = 3, .parent = -1};
    }
    open_study(st);
    int seen = 0;
    for (size_t i = 0; i < 9; i++) {
        assert_true(ask(st));
        int bit = 1 << (int)(3 * st->settings[i][0] + st->settings[i][1]);
        assert_false(seen & bit);
        seen |= bit;
        st->values[i][0] = st->settings[i][0] + st->settings[i][1];
    }
    assert_false(ask(st));
    close_study(st);
}

static void test_a_study_without_choice_has_one_trial(void **state) {
    struct study *st = numbers(1, 4);
    st->params[0].lo = st->params[0].hi = 2;
    open_study(st);
    assert_true(ask(st));
    assert_true(st->settings[0][0] == 2);
    assert_false(ask(st));
    close_study(st);
}

static void test_sixteen_at_once_are_apart(void **state) {
    struct study *st = numbers(4, 11);
    open_study(st);
    run_sphere(st, 10);
    double many[16 * 4];
    assert_int_equal(tuner_suggest(st->t, st->trials, st->n, st->n, 16, many), 16);
    for (size_t i = 0; i < 16; i++) {
        for (size_t k = 0; k < i; k++) {
            double apart = 0;
            for (size_t j = 0; j < 4; j++) {
                apart = fmax(apart, fabs(many[i * 4 + j] - many[k * 4 + j]) / 10);
            }
            assert_true(apart > 1e-3);
        }
    }
    close_study(st);
}

static void test_pending_trials_are_not_asked_for_again(void **state) {
    struct study *st = numbers(3, 2);
    open_study(st);
    run_sphere(st, 8);
    for (size_t i = 8; i < 20; i++) {
        assert_true(ask(st));
        st->trials[i].state = TUNE_PENDING;
        for (size_t k = 8; k < i; k++) {
            assert_true(sphere(st->settings[i], 3) != sphere(st->settings[k], 3));
        }
    }
    close_study(st);
}

static void test_conditional_studies_try_both_branches(void **state) {
    static const double sgd[] = {0}, adam[] = {1};
    struct study *st = numbers(4, 3);
    st->params[0] = (struct tune_param){.type = TUNE_CATEGORICAL, .nr_values = 2, .parent = -1};
    st->params[1] = (struct tune_param){
        .type = TUNE_DOUBLE, .lo = 0, .hi = 0.99, .parent = 0, .when = sgd, .nr_when = 1};
    st->params[2] = (struct tune_param){
        .type = TUNE_INTEGER, .lo = 1, .hi = 8, .parent = 0, .when = adam, .nr_when = 1};
    st->params[3].scale = TUNE_LOG;
    st->params[3].lo = 1e-5;
    st->params[3].hi = 1;
    open_study(st);
    size_t nr_sgd = 0;
    double best = INFINITY;
    for (size_t i = 0; i < 40; i++) {
        assert_true(ask(st));
        const double *v = st->settings[i];
        assert_true(isnan(v[1]) == (v[0] != 0) && isnan(v[2]) == (v[0] != 1));
        nr_sgd += i < 10 && v[0] == 0;
        double lr = log10(v[3]) + 2;
        st->values[i][0] = lr * lr + (v[0] == 0 ? fabs(v[1] - 0.9) : 0.5 + fabs(v[2] - 3));
        best = fmin(best, st->values[i][0]);
    }
    assert_in_range(nr_sgd, 1, 9);
    assert_true(best < 0.2); /* only in the first branch */
    close_study(st);
}

/* A choice below a choice: the upper one's worse half still gets tried, both ways below it. */
static void test_branches_within_branches_get_their_share(void **state) {
    static const double deep[] = {1};
    struct study *st = numbers(4, 3);
    st->params[0] = (struct tune_param){.type = TUNE_CATEGORICAL, .nr_values = 2, .parent = -1};
    st->params[1] = (struct tune_param){
        .type = TUNE_CATEGORICAL, .nr_values = 3, .parent = 0, .when = deep, .nr_when = 1};
    st->params[2].parent = 0;
    st->params[2].when = deep;
    st->params[2].nr_when = 1;
    open_study(st);
    size_t tried[3] = {0};
    for (size_t i = 0; i < 48; i++) {
        assert_true(ask(st));
        const double *v = st->settings[i];
        assert_true(isnan(v[1]) == (v[0] == 0) && isnan(v[2]) == (v[0] == 0));
        tried[isnan(v[1]) ? 0 : (size_t)v[1]] += v[0] == 1;
        st->values[i][0] = v[3] * v[3] + (v[0] == 1 ? 50 + v[2] : 0);
    }
    for (size_t k = 0; k < 3; k++) {
        assert_in_range(tried[k], 3, 12);
    }
    assert_true(tried[0] + tried[1] + tried[2] >= 11); /* 7 where only the lower choice is pinned */
    close_study(st);
}

static void test_two_objectives_spread_over_the_front(void **state) {
    struct study *st = numbers(2, 5);
    st->metrics[1].minimize = true;
    st->s.nr_metrics = 2;
    open_study(st);
    size_t low = 0, high = 0, near = 0;
    for (size_t i = 0; i < 40; i++) {
        assert_true(ask(st));
        const double *v = st->settings[i];
        st->values[i][0] = (v[0] - 1) * (v[0] - 1) + v[1] * v[1];
        st->values[i][1] = (v[0] + 1) * (v[0] + 1) + v[1] * v[1];
        bool is_front = i >= 20 && fabs(v[1]) < 0.5 && fabs(v[0]) < 1.3;
        near += is_front;
        low += is_front && v[0] < -0.2;
        high += is_front && v[0] > 0.2;
    }
    assert_true(near >= 12 && low >= 2 && high >= 2);
    close_study(st);
}

static void test_safety_is_respected(void **state) {
    struct study *st = numbers(2, 6);
    st->metrics[1] = (struct tune_metric){.is_safety = true, .threshold = 0};
    st->s.nr_metrics = 2;
    open_study(st);
    size_t unsafe = 0;
    for (size_t i = 0; i < 40; i++) {
        assert_true(ask(st));
        const double *v = st->settings[i];
        st->values[i][0] = sphere(v, 2); /* best at 1.3, 1.3, which is not safe */
        st->values[i][1] = 1 - v[0];
        unsafe += i >= 20 && v[0] > 1;
    }
    assert_true(unsafe <= 5);
    close_study(st);
}

static void test_wide_and_long_studies_are_answered(void **state) {
    static double values[1000];
    for (size_t i = 0; i < 1000; i++) {
        values[i] = (double)i * 0.5;
    }
    struct study *st = numbers(3, 8);
    st->params[0] = (struct tune_param){
        .type = TUNE_DISCRETE, .values = values, .nr_values = 1000, .parent = -1};
    st->params[1] = (struct tune_param){.type = TUNE_INTEGER, .lo = 1, .hi = 12, .parent = -1};
    open_study(st);
    double best = INFINITY;
    for (size_t i = 0; i < 60; i++) {
        assert_true(ask(st));
        const double *v = st->settings[i];
        st->values[i][0] = fabs(v[0] - 123) / 50 + fabs(v[1] - 7) + fabs(v[2]);
        best = fmin(best, st->values[i][0]);
    }
    assert_true(best < 1);
    close_study(st);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_bowl_is_found),
        cmocka_unit_test(test_a_restart_changes_nothing),
        cmocka_unit_test(test_strange_histories_are_survived),
        cmocka_unit_test(test_a_small_space_is_tried_once_and_then_over),
        cmocka_unit_test(test_a_study_without_choice_has_one_trial),
        cmocka_unit_test(test_sixteen_at_once_are_apart),
        cmocka_unit_test(test_pending_trials_are_not_asked_for_again),
        cmocka_unit_test(test_conditional_studies_try_both_branches),
        cmocka_unit_test(test_branches_within_branches_get_their_share),
        cmocka_unit_test(test_two_objectives_spread_over_the_front),
        cmocka_unit_test(test_safety_is_respected),
        cmocka_unit_test(test_wide_and_long_studies_are_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
