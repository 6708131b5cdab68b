/* What tuner.h promises of any history: what does not matter to an answer, what is never suggested
 * twice, and what stays bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tune/model.h"
#include "tune/tuner.h"

#include <math.h>

#define DIMS 60
#define MAX 5000

static struct tune_param params[DIMS];
static struct tune_metric metric;
static struct tune_study study;
static double settings[MAX][DIMS], values[MAX];
static struct tune_trial trials[MAX];
static double packed[MAX * DIMS];

/* d numbers in [-5,5], one metric to minimise. */
static void set_study(size_t d, enum tune_algorithm algorithm, uint64_t seed) {
    for (size_t j = 0; j < d; j++) {
        params[j] = (struct tune_param){.type = TUNE_DOUBLE, .lo = -5, .hi = 5, .parent = -1};
    }
    metric = (struct tune_metric){.minimize = true};
    study = (struct tune_study){.params = params,
                                .nr_params = d,
                                .metrics = &metric,
                                .nr_metrics = 1,
                                .algorithm = algorithm,
                                .seed = seed};
}

static struct tuner *open_tuner(void) {
    struct err err;
    struct tuner *t = tuner_new(&study, &err);
    assert_non_null(t);
    return t;
}

static double bowl(const double *v, size_t d) {
    double sum = 0;
    for (size_t j = 0; j < d; j++) {
        double e = v[j] - 1.3 + 0.1 * (double)(j % 4);
        sum += (1 + (double)(j % 3)) * e * e;
    }
    return sum;
}

static void set_trial(size_t i, enum tune_state state) {
    trials[i] = (struct tune_trial){state, settings[i], &values[i]};
}

/* n trials anywhere, all done. */
static void draw_history(size_t n, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < study.nr_params; j++) {
            settings[i][j] = 10 * rng_unit(&rng) - 5;
        }
        values[i] = bowl(settings[i], study.nr_params);
        set_trial(i, TUNE_DONE);
    }
}

static void suggest_anew(size_t n, uint64_t serial, size_t count, double *ret) {
    struct tuner *t = open_tuner();
    assert_int_equal(tuner_suggest(t, trials, n, serial, count, ret), count);
    tuner_free(t);
}

static double farthest(const double *a, const double *b, size_t n) {
    double m = 0;
    for (size_t i = 0; i < n; i++) {
        m = fmax(m, fabs(a[i] - b[i]));
    }
    return m;
}

static void reverse(size_t n) {
    for (size_t i = 0; i < n / 2; i++) {
        struct tune_trial t = trials[i];
        trials[i] = trials[n - 1 - i];
        trials[n - 1 - i] = t;
    }
}

/* Hyperparameters are fitted along the history, so for the model the order is part of it (and after
 * a while without progress it looks farther); what it says of a bowl that it knows well is
 * nevertheless the same. For the others nothing changes. */
static void test_the_order_of_trials(void **state) {
    static const enum tune_algorithm all[] = {TUNE_BAYES, TUNE_RANDOM};
    for (size_t k = 0; k < 2; k++) {
        double a[4], b[4];
        set_study(4, all[k], 5);
        draw_history(40, 3);
        suggest_anew(40, 45, 1, a);
        reverse(40);
        suggest_anew(40, 45, 1, b);
        assert_true(farthest(a, b, 4) <= (all[k] == TUNE_BAYES ? 0.2 : 0));
    }
    double a[4 * 3], b[4 * 3];
    set_study(4, TUNE_BAYES, 5); /* the start-up design, others running */
    draw_history(3, 3);
    for (size_t i = 0; i < 3; i++) {
        trials[i].state = TUNE_PENDING;
    }
    suggest_anew(3, 3, 3, a);
    reverse(3);
    suggest_anew(3, 3, 3, b);
    assert_memory_equal(a, b, sizeof(a));
}

/* The unit of a metric, where its zero is and which way it counts are the user's business. */
static void test_the_unit_of_the_metric(void **state) {
    double a[4], b[4];
    set_study(4, TUNE_BAYES, 8);
    draw_history(25, 4);
    suggest_anew(25, 26, 1, a);
    for (size_t i = 0; i < 25; i++) {
        values[i] *= 1024; /* no rounding: the same to the last bit */
    }
    suggest_anew(25, 26, 1, b);
    assert_memory_equal(a, b, sizeof(a));
    metric.minimize = false;
    for (size_t i = 0; i < 25; i++) {
        values[i] = -values[i];
    }
    suggest_anew(25, 26, 1, b);
    assert_memory_equal(a, b, sizeof(a));
    for (size_t i = 0; i < 25; i++) {
        values[i] = 3e7 * values[i] + 4e9;
    }
    suggest_anew(25, 26, 1, b);
    assert_true(farthest(a, b, 4) < 0.01);
}

static bool is_twice(const double *v, size_t n, size_t d) {
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++) {
            if (!memcmp(v + i * d, v + k * d, d * sizeof(*v))) {
                return true;
            }
        }
    }
    return false;
}

/* Six settings: three categories, one of which wakes a number of four values. */
static void set_small_study(enum tune_noise noise) {
    static const double waking[] = {1}, four[] = {0.1, 0.2, 0.5, 1};
    set_study(2, TUNE_BAYES, 12);
    study.noise = noise;
    params[0] = (struct tune_param){.type = TUNE_CATEGORICAL, .nr_values = 3, .parent = -1};
    params[1] = (struct tune_param){.type = TUNE_DISCRETE,
                                    .nr_values = 4,
                                    .values = four,
                                    .parent = 0,
                                    .when = waking,
                                    .nr_when = 1};
}

#define SMALL 6

static void test_a_batch_takes_what_is_left_and_no_more(void **state) {
    for (size_t tried = 0; tried <= SMALL; tried++) {
        set_small_study(TUNE_NOISE_UNSPECIFIED);
        struct tuner *t = open_tuner();
        for (size_t i = 0; i < tried; i++) { /* running, failed, done in turn */
            assert_int_equal(tuner_suggest(t, trials, i, i, 1, settings[i]), 1);
            values[i] = settings[i][0];
            set_trial(i, i % 3 == 0 ? TUNE_DONE : i % 3 == 1 ? TUNE_FAILED : TUNE_PENDING);
        }
        double v[16 * 2];
        size_t got = tuner_suggest(t, trials, tried, tried, 16, v);
        assert_int_equal(got, SMALL - tried);
        for (size_t i = 0; i < tried; i++) {
            memcpy(v + (got + i) * 2, settings[i], 2 * sizeof(*v));
        }
        for (size_t i = 0; i < SMALL; i++) { /* one NAN is as good as another */
            assert_true(isnan(v[2 * i + 1]) == (v[2 * i] != 1));
            v[2 * i + 1] = isnan(v[2 * i + 1]) ? -1 : v[2 * i + 1];
        }
        assert_false(is_twice(v, SMALL, 2));
        tuner_free(t);
    }
}

/* Where a result is worth asking for twice, a small space never ends. */
static void test_noise_may_try_again(void **state) {
    set_small_study(TUNE_NOISE_HIGH);
    struct tuner *t = open_tuner();
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(tuner_suggest(t, trials, i, i, 1, settings[i]), 1);
        values[i] = settings[i][0] + 0.1 * (double)(i % 7);
        set_trial(i, TUNE_DONE);
    }
    tuner_free(t);
}

static void test_many_running_at_once(void **state) {
    set_study(5, TUNE_BAYES, 2);
    draw_history(12, 6);
    for (size_t i = 0; i < 16; i++) { /* asked for one by one, none has ended */
        suggest_anew(12 + i, 12 + i, 1, settings[12 + i]);
        set_trial(12 + i, TUNE_PENDING);
    }
    for (size_t i = 0; i < 28; i++) {
        memcpy(packed + i * 5, settings[i], 5 * sizeof(double));
    }
    assert_false(is_twice(packed, 28, 5));
    double v[16 * 5];
    suggest_anew(28, 28, 16, v);
    memcpy(packed + 28 * 5, v, sizeof(v));
    assert_false(is_twice(packed, 44, 5));
}

/* Nothing but failures is no reason to stop or to repeat oneself. */
static void test_all_trials_fail(void **state) {
    set_study(3, TUNE_BAYES, 4);
    struct tuner *t = open_tuner();
    for (size_t i = 0; i < 30; i++) {
        assert_int_equal(tuner_suggest(t, trials, i, i, 1, settings[i]), 1);
        set_trial(i, TUNE_FAILED);
        memcpy(packed + i * 3, settings[i], 3 * sizeof(double));
    }
    assert_false(is_twice(packed, 30, 3));
    tuner_free(t);
}

static double run_bowl(size_t d, enum tune_algorithm algorithm, size_t n) {
    double best = INFINITY;
    set_study(d, algorithm, 7);
    struct tuner *t = open_tuner();
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(tuner_suggest(t, trials, i, i, 1, settings[i]), 1);
        for (size_t j = 0; j < d; j++) {
            assert_true(fabs(settings[i][j]) <= 5);
        }
        values[i] = bowl(settings[i], d);
        best = fmin(best, values[i]);
        set_trial(i, TUNE_DONE);
    }
    tuner_free(t);
    return best;
}

static void test_many_parameters(void **state) {
    assert_true(run_bowl(30, TUNE_BAYES, 40) < 0.2 * run_bowl(30, TUNE_RANDOM, 40));
    assert_true(run_bowl(DIMS, TUNE_BAYES, 30) < 0.5 * run_bowl(DIMS, TUNE_RANDOM, 30));
}

/* What a suggestion looks at stops growing, and with it its time and memory. */
static void test_thousands_of_trials(void **state) {
    set_study(3, TUNE_BAYES, 1);
    draw_history(MAX, 9);
    for (size_t i = 0; i < MAX; i++) {
        for (size_t j = 0; j < 3; j++) {
            packed[i * 3 + j] = (settings[i][j] + 5) / 10;
        }
        values[i] = -values[i];
    }
    struct space s;
    struct err err;
    struct model m;
    assert_int_equal(space_init(&s, &study, &err), 0);
    model_init(&m, &s, TUNE_NOISE_UNSPECIFIED);
    static const size_t lengths[] = {1100, 1500, 2500, MAX};
    for (size_t k = 0; k < 4; k++) {
        model_update(&m, packed, values, lengths[k]);
        assert_in_range(m.base.n, 800, 832);
        assert_true(m.base.cap <= 1024);
    }
    model_fini(&m);
    space_fini(&s);
    double v[3];
    metric.minimize = false;
    suggest_anew(MAX, MAX, 1, v);
    assert_true(bowl(v, 3) < 1); /* 5,000 random ones have told it where to look */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_order_of_trials),
        cmocka_unit_test(test_the_unit_of_the_metric),
        cmocka_unit_test(test_a_batch_takes_what_is_left_and_no_more),
        cmocka_unit_test(test_noise_may_try_again),
        cmocka_unit_test(test_many_running_at_once),
        cmocka_unit_test(test_all_trials_fail),
        cmocka_unit_test(test_many_parameters),
        cmocka_unit_test(test_thousands_of_trials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
