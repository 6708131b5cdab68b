/* Two objectives' front, earlier studies, wishes of safety: src/tune/{front,transfer,bayes}.c
 * (reference 30 §2.12, §2.15), and the ends of the number line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tune/front.h"
#include "tune/tuner.h"

#include <math.h>

#define D 4
#define MAX 64

struct run {
    struct tune_param params[D];
    struct tune_metric metrics[2];
    struct tune_study s;
    struct tuner *t;
    struct tune_trial trials[MAX];
    double settings[MAX][D], values[MAX][2];
    size_t n;
};

static struct run *run_new(uint64_t seed, size_t nr_metrics) {
    struct run *r = xcalloc(1, sizeof(*r));
    for (size_t j = 0; j < D; j++) {
        r->params[j] = (struct tune_param){.type = TUNE_DOUBLE, .lo = -5, .hi = 5, .parent = -1};
    }
    r->metrics[0].minimize = true;
    r->s = (struct tune_study){.params = r->params,
                               .nr_params = D,
                               .metrics = r->metrics,
                               .nr_metrics = nr_metrics,
                               .seed = seed};
    return r;
}

static void run_open(struct run *r) {
    struct err err;
    r->t = tuner_new(&r->s, &err);
    assert_non_null(r->t);
}

static void run_free(struct run *r) {
    tuner_free(r->t);
    free(r);
}

static const double *run_ask(struct run *r) {
    assert_int_equal(tuner_suggest(r->t, r->trials, r->n, r->n, 1, r->settings[r->n]), 1);
    r->trials[r->n] = (struct tune_trial){TUNE_DONE, r->settings[r->n], r->values[r->n]};
    return r->settings[r->n++];
}

/* ---- the front ---- */

static double density(double y, double mean, double sd) {
    double u = (y - mean) / sd;
    return exp(-u * u / 2) / sd * 0.3989422804014327;
}

/* Area that (y0, y1) would add to the front. */
static double added(const struct front *f, double y0, double y1) {
    double area = 0, from = f->reference[0];
    for (size_t i = 0; i <= f->nr; i++) {
        double to = i < f->nr ? f->a[i] : INFINITY, floor_ = i < f->nr ? f->b[i] : f->reference[1];
        area += fmax(0, fmin(y0, to) - from) * fmax(0, y1 - floor_);
        from = to;
    }
    return area;
}

static void test_the_expected_gain_is_the_integral(void **state) {
    static const double a[] = {0, 1, 0.2, -0.5, 0.5}, b[] = {0.8, -0.6, 0.7, -0.5, 0.1};
    struct front f;
    front_init(&f, a, b, 5);
    assert_int_equal(f.nr, 4); /* the fourth is dominated */
    for (size_t i = 1; i < f.nr; i++) {
        assert_true(f.a[i] > f.a[i - 1] && f.b[i] < f.b[i - 1]);
    }
    static const double cases[][4] = {{0, 0, 1, 0.5}, {1.5, 1, 0.3, 0.2}, {0.4, 0.5, 0.1, 0.4}};
    for (size_t q = 0; q < NR_OF(cases); q++) {
        const double *c = cases[q];
        double sum = 0, by_mean[2], by_sd[2], more[2], h0 = c[2] / 60, h1 = c[3] / 60;
        for (int i = -480; i <= 480; i++) {
            for (int k = -480; k <= 480; k++) {
                double y0 = c[0] + i * h0, y1 = c[1] + k * h1;
                sum +=
                    added(&f, y0, y1) * density(y0, c[0], c[2]) * density(y1, c[1], c[3]) * h0 * h1;
            }
        }
        double v = front_log_gain(&f, c, c + 2, by_mean, by_sd);
        assert_true(fabs(v - log(sum)) < 1e-3);
        for (int k = 0; k < 4; k++) { /* derivatives, by differences */
            double up[4], down[4], h = 1e-6;
            memcpy(up, c, sizeof(up));
            memcpy(down, c, sizeof(down));
            up[k] += h;
            down[k] -= h;
            double by[2], slope = (front_log_gain(&f, up, up + 2, by, more) -
                                   front_log_gain(&f, down, down + 2, by, more)) /
                                  (2 * h);
            assert_true(fabs(slope - (k < 2 ? by_mean[k] : by_sd[k - 2])) <
                        1e-5 * (1 + fabs(slope)));
        }
    }
    front_fini(&f);
}

static void test_the_expected_gain_is_finite_everywhere(void **state) {
    static const double one[] = {0.3};
    struct front f;
    front_init(&f, one, one, 1);
    double by_mean[2], by_sd[2], last = -INFINITY;
    for (double m = -1e4; m < 1e4; m += 97) { /* grows with the mean, however hopeless */
        double mean[] = {m, m}, sd[] = {1e-3, 2};
        double v = front_log_gain(&f, mean, sd, by_mean, by_sd);
        assert_true(isfinite(v) && v > last);
        for (int k = 0; k < 2; k++) {
            assert_true(isfinite(by_mean[k]) && isfinite(by_sd[k]));
        }
        last = v;
    }
    front_fini(&f);
}

/* ---- earlier studies ---- */

static double bowl(const double *x, double at) {
    double sum = 0;
    for (size_t j = 0; j < D; j++) {
        sum += (double)(j + 1) * (x[j] - at) * (x[j] - at);
    }
    return sum;
}

/* An earlier study of a bowl with its lowest point at `at`, upside down when sign is -1. */
static struct run *earlier(double at, double sign) {
    struct run *r = run_new(77, 1);
    struct rng rng;
    rng_seed(&rng, 5);
    for (; r->n < 40; r->n++) {
        double *x = r->settings[r->n];
        for (size_t j = 0; j < D; j++) {
            x[j] = 10 * rng_unit(&rng) - 5;
        }
        r->values[r->n][0] = sign * bowl(x, at);
        r->trials[r->n] = (struct tune_trial){TUNE_DONE, x, r->values[r->n]};
    }
    return r;
}

static double best_after(uint64_t seed, const struct run *before, size_t trials) {
    struct run *r = run_new(seed, 1);
    double best = INFINITY;
    run_open(r);
    if (before) {
        tuner_learn(r->t, before->trials, before->n);
    }
    while (r->n < trials) {
        const double *x = run_ask(r);
        r->values[r->n - 1][0] = 1000 + 7 * bowl(x, 2.1); /* another unit, another zero */
        best = fmin(best, bowl(x, 2.1));
    }
    run_free(r);
    return best;
}

static void test_an_earlier_study_saves_trials(void **state) {
    struct run *before = earlier(1.9, 1), *wrong = earlier(1.9, -1);
    double with = 0, without = 0, misled = 0;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        with += best_after(seed, before, 7);
        without += best_after(seed, NULL, 7);
        misled = fmax(misled, best_after(seed, wrong, 40));
    }
    assert_true(with < without / 5);
    assert_true(misled < 0.5); /* a false friend is found out */
    run_free(before);
    run_free(wrong);
}

static void test_an_earlier_study_is_the_same_after_a_restart(void **state) {
    struct run *before = earlier(1, 1), *r = run_new(3, 1);
    before->settings[0][0] = NAN; /* it had no such parameter */
    before->settings[1][1] = 1e9; /* another range */
    before->trials[2].state = TUNE_FAILED;
    run_open(r);
    tuner_learn(r->t, before->trials, before->n);
    while (r->n < 20) {
        double again[D];
        const double *x = run_ask(r);
        struct run *fresh = run_new(3, 1);
        run_open(fresh);
        tuner_learn(fresh->t, before->trials, before->n);
        assert_int_equal(tuner_suggest(fresh->t, r->trials, r->n - 1, r->n - 1, 1, again), 1);
        assert_memory_equal(again, x, sizeof(again));
        r->values[r->n - 1][0] = bowl(x, 1.3);
        run_free(fresh);
    }
    run_free(before);
    run_free(r);
}

/* ---- safety ---- */

/* The best is far in the unsafe half, and where that begins is not smooth. */
static size_t unsafe_trials(double wish) {
    size_t unsafe = 0;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct run *r = run_new(seed, 2);
        r->metrics[1] =
            (struct tune_metric){.is_safety = true, .threshold = 0, .min_safe_fraction = wish};
        run_open(r);
        while (r->n < 40) {
            const double *x = run_ask(r);
            double *v = r->values[r->n - 1];
            v[0] = bowl(x, 3);
            v[1] = 1 + sin(4 * x[1]) - x[0] - x[2];
            unsafe += v[1] < 0;
        }
        run_free(r);
    }
    return unsafe;
}

static void test_a_wish_for_safe_trials_is_heeded(void **state) {
    size_t free_ = unsafe_trials(0), careful = unsafe_trials(0.9);
    assert_true(careful <= 24 && 2 * careful < free_);
}

/* ---- the ends of the number line ---- */

static void test_a_range_of_six_hundred_decades(void **state) {
    struct run *r = run_new(2, 1);
    for (size_t j = 0; j < D; j++) {
        r->params[j].lo = 1e-300;
        r->params[j].hi = 1e300;
        r->params[j].scale = TUNE_LOG;
    }
    run_open(r);
    double best = INFINITY;
    while (r->n < 30) {
        const double *x = run_ask(r);
        double sum = 0;
        for (size_t j = 0; j < D; j++) {
            assert_true(x[j] >= 1e-300 && x[j] <= 1e300);
            sum += fabs(log10(x[j]) - 37);
        }
        r->values[r->n - 1][0] = sum;
        best = fmin(best, sum);
    }
    assert_true(best < 80); /* of 1200 decades */
    run_free(r);
}

static void test_nothing_to_tell_apart_is_searched_widely(void **state) {
    struct run *r = run_new(4, 1);
    run_open(r);
    bool seen[D][4] = {0};
    while (r->n < 40) {
        const double *x = run_ask(r);
        r->values[r->n - 1][0] = 42;
        for (size_t j = 0; j < D; j++) {
            seen[j][(size_t)fmin(3, (x[j] + 5) / 2.5)] = true;
        }
    }
    for (size_t j = 0; j < D; j++) { /* every quarter of every range */
        assert_true(seen[j][0] && seen[j][1] && seen[j][2] && seen[j][3]);
    }
    run_free(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_expected_gain_is_the_integral),
        cmocka_unit_test(test_the_expected_gain_is_finite_everywhere),
        cmocka_unit_test(test_an_earlier_study_saves_trials),
        cmocka_unit_test(test_an_earlier_study_is_the_same_after_a_restart),
        cmocka_unit_test(test_a_wish_for_safe_trials_is_heeded),
        cmocka_unit_test(test_a_range_of_six_hundred_decades),
        cmocka_unit_test(test_nothing_to_tell_apart_is_searched_widely),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
