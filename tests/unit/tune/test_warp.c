/* Labels: src/tune/warp.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/rng.h"
#include "tune/warp.h"

#include <math.h>

static void test_quantiles_agree_with_the_distribution(void **state) {
    /* 50-digit values. */
    assert_true(fabs(warp_normal_quantile(0.975) - 1.959963984540054) < 1e-12);
    assert_true(fabs(warp_normal_quantile(1e-10) + 6.361340902404056) < 1e-9);
    for (double p = 0.001; p < 1; p += 0.001) {
        assert_true(fabs(0.5 * erfc(-warp_normal_quantile(p) / sqrt(2)) - p) < 1e-12);
    }
}

static void test_labels_keep_the_order_and_have_unit_variance(void **state) {
    struct rng rng;
    rng_seed(&rng, 3);
    for (int round = 0; round < 200; round++) {
        double y[40], was[40], mean = 0, var = 0;
        size_t n = 3 + rng_below(&rng, 38);
        for (size_t i = 0; i < n; i++) {
            y[i] = was[i] = round % 2 ? -exp(12 * rng_unit(&rng)) : (double)rng_below(&rng, 7);
        }
        y[0] = was[0] = round % 3 ? y[0] : -1e300;
        y[1] = was[1] = 50; /* never all equal */
        warp_labels(y, n);
        for (size_t i = 0; i < n; i++) {
            assert_true(isfinite(y[i]));
            mean += y[i] / (double)n;
            for (size_t k = 0; k < n; k++) {
                assert_true(was[i] < was[k] ? y[i] <= y[k] : was[i] > was[k] || y[i] == y[k]);
            }
        }
        for (size_t i = 0; i < n; i++) {
            var += (y[i] - mean) * (y[i] - mean) / (double)n;
        }
        assert_true(fabs(mean) < 1e-9 && fabs(var - 1) < 1e-9);
    }
}

static void test_equal_values_have_no_label(void **state) {
    double y[] = {4, 4, 4, 4}, one[] = {1e200};
    warp_labels(y, 4);
    warp_labels(one, 1);
    assert_true(y[0] == 0 && y[3] == 0 && one[0] == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles_agree_with_the_distribution),
        cmocka_unit_test(test_labels_keep_the_order_and_have_unit_variance),
        cmocka_unit_test(test_equal_values_have_no_label),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
