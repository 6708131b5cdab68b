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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_matters_has_the_largest_share),
        cmocka_unit_test(test_the_sign_is_that_of_the_users_metric),
        cmocka_unit_test(test_too_little_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
