/* Parameter importance: src/tune/importance.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/rng.h"
#include "tune/importance.h"

#include <math.h>

#define N 60

static const struct tune_param params[] = {
    {.type = TUNE_DOUBLE, .scale = TUNE_LOG, .lo = 1e-4, .hi = 1, .parent = -1},
    {.type = TUNE_DOUBLE, .lo = -1, .hi = 1, .parent = -1},
    {.type = TUNE_CATEGORICAL, .nr_values = 3, .parent = -1},
    {.type = TUNE_DOUBLE, .lo = 7, .hi = 7, .parent = -1},
    {.type = TUNE_INTEGER, .lo = 1, .hi = 4, .parent = -1},
};

static double settings[N][5], values[N];
static struct tune_trial trials[N];

/* Falls steeply with the first, has its best category last, rises a little with the integer. */
static bool explain(bool minimize, struct tune_importance *ret) {
    struct tune_metric metric = {.minimize = minimize};
    struct tune_study study = {
        .params = params, .nr_params = 5, .metrics = &metric, .nr_metrics = 1, .seed = 3};
    struct rng rng;
    rng_seed(&rng, 11);
    for (size_t i = 0; i < N; i++) {
        double *v = settings[i];
        v[0] = pow(10, -4 * rng_unit(&rng));
        v[1] = 2 * rng_unit(&rng) - 1;
        v[2] = (double)rng_below(&rng, 3);
        v[3] = 7;
        v[4] = 1 + (double)rng_below(&rng, 4);
        values[i] = -2 * log10(v[0]) - (v[2] == 2) + 0.2 * v[4];
        trials[i] = (struct tune_trial){TUNE_DONE, v, &values[i]};
    }
    return tuner_importance(&study, trials, N, 0, ret);
}

static void test_what_matters_has_the_largest_share(void **state) {
    struct tune_importance imp[5];
    assert_true(explain(true, imp));
    double sum = 0;
    for (size_t i = 0; i < 5; i++) {
        sum += imp[i].share;
    }
    assert_true(fabs(sum - 1) < 1e-9);
    assert_true(imp[0].share > 0.8); /* variance 5.3 of the 5.6 in all */
    assert_true(imp[2].share > 0.005 && imp[2].share < 0.1);
    assert_true(imp[1].share < 0.01);
    assert_true(imp[3].share == 0);
}

static void test_the_sign_is_that_of_the_users_metric(void **state) {
    for (int minimize = 0; minimize < 2; minimize++) {
        struct tune_importance imp[5];
        assert_true(explain(minimize, imp));
        assert_true(imp[0].effect < -0.8 && imp[0].effect >= -1);
        assert_true(imp[4].effect > 0 && imp[4].effect < 0.3);
        assert_true(imp[2].effect == 0 && imp[3].effect == 0);
        assert_true(fabs(imp[1].effect) < 0.1);
        assert_true(imp[0].best == (minimize ? 1 : 1e-4));
        assert_true(minimize ? imp[2].best == 2 : imp[2].best != 2);
        assert_true(imp[3].best == 7);
        assert_true(imp[4].best == (minimize ? 1 : 4));
    }
}

static void test_too_little_says_nothing(void **state) {
    struct tune_importance imp[5];
    assert_true(explain(true, imp));
    struct tune_metric metric = {.minimize = true};
    struct tune_study study = {
        .params = params, .nr_params = 5, .metrics = &metric, .nr_metrics = 1};
    assert_false(tuner_importance(&study, trials, TUNE_IMPORTANCE_TRIALS - 1, 0, imp));
    assert_true(imp[0].share == 0);
    assert_false(tuner_importance(&study, NULL, 0, 0, imp));
    assert_false(tuner_importance(&study, trials, N, 1, imp));
    for (size_t i = 0; i < N; i++) {
        values[i] = 4;
    }
    assert_false(tuner_importance(&study, trials, N, 0, imp));
    study.params += 3; /* nothing but a constant */
    study.nr_params = 1;
    assert_false(tuner_importance(&study, trials, N, 0, imp));
}

/* A study as the tuner makes it: `nr` trials of a bowl whose bottom is at `bottom` of [0,4], so
 * that most of them are near it. */
static void explain_bowl(size_t nr_params, double bottom, size_t nr, uint64_t seed,
                         struct tune_importance *ret) {
    static const struct tune_param x = {.type = TUNE_DOUBLE, .hi = 4, .parent = -1};
    struct tune_param own[3] = {x, x, x};
    struct tune_metric metric = {.minimize = true};
    struct tune_study study = {
        .params = own, .nr_params = nr_params, .metrics = &metric, .nr_metrics = 1, .seed = seed};
    struct err err;
    struct tuner *t = tuner_new(&study, &err);
    assert_non_null(t);
    for (size_t i = 0; i < nr; i++) {
        assert_int_equal(tuner_suggest(t, trials, i, i, 1, settings[i]), 1);
        values[i] = 0;
        for (size_t j = 0; j < nr_params; j++) {
            values[i] += (settings[i][j] - bottom) * (settings[i][j] - bottom);
        }
        trials[i] = (struct tune_trial){TUNE_DONE, settings[i], &values[i]};
    }
    tuner_free(t);
    assert_true(tuner_importance(&study, trials, nr, 0, ret));
}

/* The far end of a range counts although an adaptive study hardly goes there. */
static void test_adaptive_trials_keep_the_sign(void **state) {
    for (uint64_t seed = 1; seed <= 3; seed++) {
        for (size_t d = 1; d <= 3; d++) {
            for (size_t nr = 12; nr <= 40; nr += 14) {
                struct tune_importance imp[3];
                explain_bowl(d, 0.5, nr, seed, imp);
                for (size_t j = 0; j < d; j++) {
                    /* each has the same part of the variance */
                    assert_true(fabs(imp[j].effect - 1 / sqrt((double)d)) < 0.25);
                    assert_true(fabs(imp[j].best - 0.5) <= 0.25);
                    assert_true(fabs(imp[j].share - 1 / (double)d) < 0.25);
                }
                explain_bowl(d, 3.5, nr, seed, imp);
                for (size_t j = 0; j < d; j++) {
                    assert_true(fabs(imp[j].effect + 1 / sqrt((double)d)) < 0.25);
                    assert_true(fabs(imp[j].best - 3.5) <= 0.25);
                }
            }
        }
    }
}

/* One training that diverged does not hide what the others say. */
static void test_an_outlier_is_brought_nearer(void **state) {
    struct tune_importance imp[5];
    assert_true(explain(true, imp));
    struct tune_metric metric = {.minimize = true};
    struct tune_study study = {
        .params = params, .nr_params = 5, .metrics = &metric, .nr_metrics = 1, .seed = 3};
    values[7] = 1e300;
    assert_true(tuner_importance(&study, trials, N, 0, imp));
    assert_true(imp[0].share > 0.5 && imp[0].effect < -0.5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_matters_has_the_largest_share),
        cmocka_unit_test(test_the_sign_is_that_of_the_users_metric),
        cmocka_unit_test(test_too_little_says_nothing),
        cmocka_unit_test(test_adaptive_trials_keep_the_sign),
        cmocka_unit_test(test_an_outlier_is_brought_nearer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
