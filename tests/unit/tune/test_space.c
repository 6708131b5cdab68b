/* Parameters <-> features: src/tune/space.c (reference 30 §4, tests 1 and 9). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "tune/space.h"

#include <math.h>

static struct space open_space(const struct tune_param *p, size_t n, enum tune_algorithm alg) {
    static const struct tune_metric metric = {0};
    struct tune_study st = {
        .params = p, .nr_params = n, .metrics = &metric, .nr_metrics = 1, .algorithm = alg};
    struct space s;
    struct err err;
    assert_int_equal(space_init(&s, &st, &err), 0);
    return s;
}

static void test_scales_round_trip_at_ends_and_between(void **state) {
    static const double decades[] = {1e-300, 1e-3, 2, 500, 1e300};
    struct tune_param all[] = {
        {.type = TUNE_DOUBLE, .lo = -3, .hi = 9, .parent = -1},
        {.type = TUNE_DOUBLE, .lo = -1e308, .hi = 1e308, .parent = -1},
        {.type = TUNE_DOUBLE, .scale = TUNE_LOG, .lo = 1e-300, .hi = 1e300, .parent = -1},
        {.type = TUNE_DOUBLE, .scale = TUNE_LOG, .lo = 1e-5, .hi = 0.1, .parent = -1},
        {.type = TUNE_DOUBLE, .scale = TUNE_REVERSE_LOG, .lo = 0.5, .hi = 0.999, .parent = -1},
        {.type = TUNE_INTEGER, .lo = 1, .hi = 17, .parent = -1},
        {.type = TUNE_INTEGER, .scale = TUNE_LOG, .lo = 1, .hi = 100000, .parent = -1},
        {.type = TUNE_INTEGER, .lo = 9007199254740980, .hi = 9007199254740992, .parent = -1},
        {.type = TUNE_DISCRETE, .values = decades, .nr_values = 5, .scale = TUNE_LOG, .parent = -1},
    };
    struct space s = open_space(all, NR_OF(all), TUNE_BAYES);
    struct rng rng;
    rng_seed(&rng, 1);
    double x[NR_OF(all)], again[NR_OF(all)], v[NR_OF(all)], w[NR_OF(all)];
    for (int i = 0; i < 10000; i++) {
        for (size_t j = 0; j < s.d; j++) {
            x[j] = i == 0 ? 0 : i == 1 ? 1 : rng_unit(&rng);
        }
        space_snap(&s, x);
        space_decode(&s, x, v);
        space_encode(&s, v, again);
        space_decode(&s, again, w);
        for (size_t j = 0; j < s.d; j++) {
            const struct tune_param *p = &all[j];
            if (fabs(again[j] - x[j]) >= 1e-9) {
                print_message("parameter %zu: %.17g came back as %.17g\n", j, x[j], again[j]);
            }
            assert_true(fabs(again[j] - x[j]) < 1e-9);
            if (p->type == TUNE_DISCRETE) {
                bool is_one = false;
                for (size_t k = 0; k < p->nr_values; k++) {
                    is_one |= v[j] == p->values[k];
                }
                assert_true(is_one && w[j] == v[j]);
            } else {
                assert_true(v[j] >= p->lo && v[j] <= p->hi);
                assert_true(p->type == TUNE_DOUBLE || (v[j] == floor(v[j]) && w[j] == v[j]));
                assert_true(i > 1 || v[j] == (i ? p->hi : p->lo));
            }
        }
    }
    space_fini(&s);
}

static void test_reverse_log_is_denser_near_the_upper_end(void **state) {
    struct tune_param p = {
        .type = TUNE_DOUBLE, .scale = TUNE_REVERSE_LOG, .lo = 1, .hi = 100, .parent = -1};
    assert_true(space_encode_one(&p, 1) == 0 && space_encode_one(&p, 100) == 1);
    assert_true(space_decode_one(&p, 0.5) > 90);
}

static void test_what_cannot_be_searched_is_refused(void **state) {
    static const struct tune_metric metric = {0};
    struct tune_param bad[] = {
        {.type = TUNE_DOUBLE, .lo = 2, .hi = 1, .parent = -1},
        {.type = TUNE_DOUBLE, .lo = 0, .hi = 1, .scale = TUNE_LOG, .parent = -1},
        {.type = TUNE_DOUBLE, .lo = 0, .hi = NAN, .parent = -1},
        {.type = TUNE_DISCRETE, .parent = -1},
        {.type = TUNE_INTEGER, .lo = 0, .hi = 1, .parent = 0},
    };
    for (size_t i = 0; i < NR_OF(bad); i++) {
        struct tune_study st = {
            .params = &bad[i], .nr_params = 1, .metrics = &metric, .nr_metrics = 1};
        struct err err;
        assert_null(tuner_new(&st, &err));
        assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    }
}

static const double yes[] = {1}, three[] = {1, 3};
static const struct tune_param tree[] = {
    {.type = TUNE_CATEGORICAL, .nr_values = 2, .parent = -1},
    {.type = TUNE_INTEGER, .lo = 1, .hi = 3, .parent = 0, .when = yes, .nr_when = 1},
    {.type = TUNE_CATEGORICAL, .nr_values = 2, .parent = 1, .when = three, .nr_when = 2},
    {.type = TUNE_INTEGER, .lo = 0, .hi = 1, .parent = -1},
};

static void test_inactive_parameters_stand_still(void **state) {
    struct space s = open_space(tree, NR_OF(tree), TUNE_BAYES);
    struct rng rng;
    rng_seed(&rng, 7);
    double x[4], v[4];
    int seen = 0;
    for (int i = 0; i < 500; i++) {
        space_random(&s, &rng, x);
        space_decode(&s, x, v);
        assert_true(isnan(v[1]) == (v[0] != 1));
        assert_true(isnan(v[2]) == (isnan(v[1]) || v[1] == 2));
        assert_false(isnan(v[0]) || isnan(v[3]));
        seen |= isnan(v[1]) ? 1 : isnan(v[2]) ? 2 : 4;
        double again[4];
        space_encode(&s, v, again);
        assert_memory_equal(again, x, sizeof(x));
    }
    assert_int_equal(seen, 7);
    space_fini(&s);
}

/* 2 settings without the first branch, (1 + 2 * 2) * 2 with it. */
static void test_grid_walks_every_active_branch_once(void **state) {
    struct space s = open_space(tree, NR_OF(tree), TUNE_GRID);
    double all[64][4];
    size_t n = 0;
    while (n < 64 && space_grid(&s, n, all[n])) {
        n++;
    }
    assert_int_equal(n, 12);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++) {
            bool same = true;
            for (size_t j = 0; j < 4; j++) {
                same &= all[i][j] == all[k][j] || (isnan(all[i][j]) && isnan(all[k][j]));
            }
            assert_false(same);
        }
    }
    assert_true(all[0][3] == 0 && all[1][3] == 1); /* the last parameter is the fastest */
    space_fini(&s);
}

static void test_large_grids_are_indexed_not_walked(void **state) {
    struct tune_param p[6];
    for (size_t i = 0; i < NR_OF(p); i++) {
        p[i] = (struct tune_param){.type = TUNE_INTEGER, .lo = 0, .hi = 999, .parent = -1};
    }
    struct space s = open_space(p, NR_OF(p), TUNE_GRID);
    double v[6];
    assert_true(space_grid(&s, 123456789012ULL, v));
    assert_true(v[5] == 12 && v[4] == 789 && v[3] == 456 && v[2] == 123 && v[1] == 0);
    space_fini(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scales_round_trip_at_ends_and_between),
        cmocka_unit_test(test_reverse_log_is_denser_near_the_upper_end),
        cmocka_unit_test(test_what_cannot_be_searched_is_refused),
        cmocka_unit_test(test_inactive_parameters_stand_still),
        cmocka_unit_test(test_grid_walks_every_active_branch_once),
        cmocka_unit_test(test_large_grids_are_indexed_not_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
