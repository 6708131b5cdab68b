/* Some parameters of a setting that are fixed: what they fix with them, which agree. Pure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "ctl/study_context.h"

#include <math.h>

static void test_what_is_fixed_fixes_its_parents(void **state) {
    (void)state;
    static const double zero[] = {0}, one_two[] = {1, 2}, two[] = {2};
    /* 0 has children 1 (when 0), 2 (when 1 or 2), 3 (when 2); 4 is a child of 2. */
    static const struct tune_param p[] = {
        {.type = TUNE_CATEGORICAL, .nr_values = 3, .parent = -1},
        {.type = TUNE_DOUBLE, .hi = 1, .parent = 0, .when = zero, .nr_when = 1},
        {.type = TUNE_INTEGER, .lo = 1, .hi = 2, .parent = 0, .when = one_two, .nr_when = 2},
        {.type = TUNE_DOUBLE, .hi = 1, .parent = 0, .when = two, .nr_when = 1},
        {.type = TUNE_DOUBLE, .hi = 1, .parent = 2, .when = two, .nr_when = 1},
    };
    const struct tune_study s = {.params = p, .nr_params = 5};
    const size_t none = s.nr_params;
    double ret[5];
    /* The grandchild fixes both above it, the sibling which value that is. */
    const double both[] = {NAN, NAN, NAN, 0.25, 0.5}, grand[] = {NAN, NAN, NAN, NAN, 0.5};
    const double clash[] = {NAN, 0.5, NAN, 0.5, NAN}, closed[] = {0, NAN, NAN, NAN, 0.5};
    const double all[] = {1, NAN, 1, NAN, NAN}, some[] = {1, NAN, NAN, NAN, NAN};
    assert_int_equal(study_context_conflict(&s, both), none);
    assert_int_equal(study_context_conflict(&s, grand), none);
    assert_int_equal(study_context_conflict(&s, clash), 0);
    assert_int_equal(study_context_conflict(&s, closed), 0);
    double x[] = {0, 0.75, NAN, NAN, NAN};
    study_context_apply(&s, both, x);
    assert_true(x[0] == 2 && isnan(x[1]) && x[2] == 2 && x[3] == 0.25 && x[4] == 0.5);
    double y[] = {2, NAN, 1, 0.125, NAN}; /* what is there already and suits stays */
    study_context_apply(&s, grand, y);
    assert_true(y[0] == 2 && y[2] == 2 && y[3] == 0.125 && y[4] == 0.5);
    assert_true(study_context_is_open(&s, some) && study_context_is_open(&s, grand));
    assert_false(study_context_is_open(&s, all));
    assert_true(study_context_join(&s, some, NULL, ret) && ret[0] == 1);
    assert_false(study_context_join(&s, some, closed, ret)); /* two values */
    const double third[] = {NAN, NAN, NAN, 0.5, NAN};
    assert_false(study_context_join(&s, some, third, ret)); /* not active together */
    assert_true(study_context_join(&s, grand, third, ret) && ret[3] == 0.5 && ret[4] == 0.5);
    assert_true(study_context_has(&s, some, all) && study_context_has(&s, NULL, all));
    assert_false(study_context_has(&s, third, all));
}

static void test_a_context_opens_and_closes_what_depends_on_it(void **state) {
    (void)state;
    static const double first[] = {0}, second[] = {1};
    static const struct tune_param p[] = {
        {.type = TUNE_CATEGORICAL, .nr_values = 2, .parent = -1},
        {.type = TUNE_DOUBLE,
         .lo = 1,
         .hi = 100,
         .scale = TUNE_LOG,
         .parent = 0,
         .when = first,
         .nr_when = 1},
        {.type = TUNE_INTEGER, .lo = 1, .hi = 9, .parent = 0, .when = second, .nr_when = 1},
    };
    const struct tune_study s = {.params = p, .nr_params = 3};
    static const double context[] = {0, NAN, NAN};
    double setting[] = {1, NAN, 4};
    study_context_apply(&s, context, setting);
    assert_true(setting[0] == 0 && fabs(setting[1] - 10) < 1e-9 && isnan(setting[2]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_fixed_fixes_its_parents),
        cmocka_unit_test(test_a_context_opens_and_closes_what_depends_on_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
