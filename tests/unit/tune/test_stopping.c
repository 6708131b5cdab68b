/* Early stopping and the end of studies: src/tune/stopping.h (reference 30 §3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tune/stopping.h"

#include <math.h>

#define STEPS 20

struct curves {
    struct curve c[40];
    struct curve_point p[40][STEPS];
};

/* Saturating curves that end at level[i]. */
static double course(double level, double t) {
    return level * (1 - exp(-t / 5));
}

static void fill(struct curves *all, size_t i, double level, size_t n, struct rng *rng) {
    for (size_t k = 0; k < n; k++) {
        double t = (double)k + 1;
        all->p[i][k] = (struct curve_point){t, course(level, t) + 0.002 * rng_unit(rng)};
    }
    all->c[i] = (struct curve){all->p[i], n, all->p[i][n - 1].value, 0};
}

static void test_measurements_are_put_in_order(void **state) {
    struct curve_point p[] = {{3, 1}, {1, 5}, {2, NAN}, {3, 2}, {INFINITY, 1}, {2, 7}};
    struct curve c = {p, NR_OF(p), 0, 0};
    curve_tidy(&c);
    assert_int_equal(c.n, 3);
    assert_true(p[0].t == 1 && p[1].t == 2 && p[1].value == 7 && p[2].t == 3);
    assert_true(p[2].value == 2); /* the later of the two at 3 */
}

static void test_median_rule(void **state) {
    struct curve_point flat[5][2];
    struct curve done[5];
    for (size_t i = 0; i < 5;
         i++) { /* averages up to 10: 1, 2, 3, 4, 5; later values do not count */
        flat[i][0] = (struct curve_point){10, (double)i + 1};
        flat[i][1] = (struct curve_point){20, 100};
        done[i] = (struct curve){flat[i], 2, 100, 0};
    }
    struct curve_point p[] = {{5, 1}, {10, 2.9}};
    struct curve trial = {p, 2, 0, 0};
    assert_true(stop_by_median(&trial, done, 5));
    p[0].value = 3; /* its best counts, and only strictly below is stopped */
    assert_false(stop_by_median(&trial, done, 5));
    p[0].value = 1;
    assert_false(stop_by_median(&trial, done, 4)); /* too few to judge by */
    p[0].t = 1;
    p[1].t = 9; /* none of the others had begun */
    assert_false(stop_by_median(&trial, done, 5));
    trial.n = 0;
    assert_false(stop_by_median(&trial, done, 5));
}

static void test_decay_rule_gives_up_on_the_hopeless_only(void **state) {
    struct rng rng;
    rng_seed(&rng, 4);
    struct curves all;
    for (size_t i = 0; i < 20; i++) {
        fill(&all, i, 0.5 + 0.02 * (double)i, STEPS, &rng); /* best: 0.88 */
    }
    fill(&all, 20, 0.3, 8, &rng);
    assert_true(stop_by_decay(&all.c[20], all.c, 20));
    fill(&all, 20, 0.95, 8, &rng);
    assert_false(stop_by_decay(&all.c[20], all.c, 20));
    fill(&all, 20, 0.3, 2, &rng); /* too early to tell */
    assert_false(stop_by_decay(&all.c[20], all.c, 20));
    fill(&all, 20, 0.3, 8, &rng);
    assert_false(stop_by_decay(&all.c[20], all.c, 4));
}

/* Replays complete curves: at most one in a hundred of those that would have won may be stopped. */
static void test_winners_are_rarely_stopped(void **state) {
    struct rng rng;
    rng_seed(&rng, 5);
    size_t wrong = 0, winners = 0, stopped = 0;
    for (int round = 0; round < 300; round++) {
        struct curves all;
        double best = 0, level = 0.3 + 0.7 * rng_unit(&rng);
        for (size_t i = 0; i < 15; i++) {
            fill(&all, i, 0.3 + 0.6 * rng_unit(&rng), STEPS, &rng);
            best = fmax(best, all.c[i].final);
        }
        bool gone = false;
        for (size_t n = 3; n < STEPS && !gone; n++) {
            fill(&all, 15, level, n, &rng);
            gone = stop_by_decay(&all.c[15], all.c, 15);
        }
        bool wins = course(level, STEPS) > best;
        winners += wins;
        wrong += wins && gone;
        stopped += gone;
    }
    assert_true(winners > 20 && wrong * 100 <= winners);
    assert_true(stopped > 100);
}

static void test_convex_rule_ends_with_a_prediction(void **state) {
    struct rng rng;
    rng_seed(&rng, 6);
    struct curves all;
    for (size_t i = 0; i < 10; i++) {
        fill(&all, i, 0.6 + 0.03 * (double)i, STEPS, &rng);
    }
    struct convex_rule rule = {.max_t = 0, .min_t = -1};
    double t = 0, value = 0;
    fill(&all, 10, 0.3, 12, &rng);
    assert_true(stop_by_convex(&rule, &all.c[10], all.c, 10, &t, &value));
    assert_true(t == STEPS);
    assert_true(value >= course(0.3, 12) && value < 0.4);
    assert_true(fabs(value - course(0.3, STEPS)) < 0.02);
    fill(&all, 10, 0.95, 12, &rng);
    assert_false(stop_by_convex(&rule, &all.c[10], all.c, 10, &t, &value));
    for (size_t k = 0; k < 12; k++) { /* flat: nothing is said */
        all.p[10][k].value = 0.1;
    }
    assert_false(stop_by_convex(&rule, &all.c[10], all.c, 10, &t, &value));
    fill(&all, 10, 0.3, 4, &rng); /* fewer measurements than the rule wants */
    assert_false(stop_by_convex(&rule, &all.c[10], all.c, 10, &t, &value));
    fill(&all, 10, 0.3, 12, &rng);
    assert_false(stop_by_convex(&rule, &all.c[10], all.c, 5, &t, &value));
    rule.min_t = 15;
    assert_false(stop_by_convex(&rule, &all.c[10], all.c, 10, &t, &value));
}

static void test_study_rules_in_their_order(void **state) {
    struct study_rules r = {.min_runtime = USEC_NEVER,
                            .max_runtime = 100,
                            .min_trials = 3,
                            .max_trials = 10,
                            .max_trials_no_progress = 4,
                            .max_no_progress = 50};
    struct study_progress now = {
        .runtime = 10, .nr_completed = 3, .nr_trials = 5, .has_one_objective = true};
    assert_null(study_is_over(&r, &now));
    now.nr_since_best = 4;
    assert_non_null(strstr(study_is_over(&r, &now), "max_num_trials_no_progress"));
    now.has_one_objective = false;
    assert_null(study_is_over(&r, &now));
    now.nr_trials = 11; /* more than, not as many as */
    assert_non_null(strstr(study_is_over(&r, &now), ".max_num_trials"));
    now.nr_completed = 2; /* too few: the rules below are not asked */
    assert_null(study_is_over(&r, &now));
    now.runtime = 100;
    assert_non_null(strstr(study_is_over(&r, &now), "maximum_runtime"));
    r.min_runtime = 200;
    assert_null(study_is_over(&r, &now));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measurements_are_put_in_order),
        cmocka_unit_test(test_median_rule),
        cmocka_unit_test(test_decay_rule_gives_up_on_the_hopeless_only),
        cmocka_unit_test(test_winners_are_rarely_stopped),
        cmocka_unit_test(test_convex_rule_ends_with_a_prediction),
        cmocka_unit_test(test_study_rules_in_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
