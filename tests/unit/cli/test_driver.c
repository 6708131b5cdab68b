/* Unit tests of what client drivers may say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cli/driver.h"

#define SAY(r, text) driver_line(r, STR(text))

static void test_cases_are_counted(void **state) {
    struct driver_run r = {0};
    assert_true(SAY(&r, "{\"client\":\"x\",\"version\":\"1.2\",\"case\":\"create\",\"ok\":true,"
                        "\"ms\":12,\"detail\":\"\"}"));
    assert_true(SAY(&r, "{\"case\":\"get\",\"ok\":false,\"ms\":1.5,\"detail\":\"why\"}"));
    assert_true(SAY(&r, "{\"case\":\"cancel\",\"skip\":true,\"detail\":\"cannot\"}"));
    assert_true(r.ok == 1 && r.failed == 1 && r.skipped == 1);
    assert_string_equal(r.version, "1.2");
    assert_string_equal(r.cases[1].detail, "why");
    assert_null(r.cases[0].detail);
    assert_true(r.cases[0].ms == 12);
    driver_run_fini(&r);
}

static void test_a_case_told_twice_counts_as_its_worse_telling(void **state) {
    struct driver_run r = {0};
    assert_true(SAY(&r, "{\"case\":\"get\",\"ok\":false,\"detail\":\"first\"}"));
    assert_true(SAY(&r, "{\"case\":\"get\",\"ok\":true}"));
    assert_true(SAY(&r, "{\"case\":\"create\",\"ok\":true}"));
    assert_true(SAY(&r, "{\"case\":\"create\",\"ok\":false,\"detail\":\"then\"}"));
    assert_true(r.ok == 0 && r.failed == 2);
    assert_string_equal(r.cases[1].detail, "first");
    assert_string_equal(r.cases[0].detail, "then");
    driver_run_fini(&r);
}

static void test_talk_is_no_result(void **state) {
    struct driver_run r = {0};
    assert_false(SAY(&r, ""));
    assert_false(SAY(&r, "warning: something"));
    assert_false(SAY(&r, "[1, 2]"));
    assert_false(SAY(&r, "\"create\""));
    assert_false(SAY(&r, "{\"case\":\"juggle\",\"ok\":true}"));
    assert_false(SAY(&r, "{\"case\":\"create\",\"ok\":\"true\"}"));
    assert_false(SAY(&r, "{\"case\":\"create\",\"skip\":false}"));
    assert_false(SAY(&r, "{\"case\":5,\"ok\":true}"));
    assert_false(SAY(&r, "{\"case\":\"create\",\"ok\":true"));
    assert_true(r.ok + r.failed + r.skipped == 0 && !r.not_run);
    driver_run_fini(&r);
}

static void test_not_running_is_told_with_a_remedy(void **state) {
    struct driver_run r = {0};
    assert_true(SAY(&r, "{\"client\":\"node\",\"skip\":\"node is not "
                        "installed\",\"install\":\"apt-get install nodejs\"}"));
    assert_string_equal(r.not_run, "node is not installed");
    assert_string_equal(r.install, "apt-get install nodejs");
    driver_run_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases_are_counted),
        cmocka_unit_test(test_a_case_told_twice_counts_as_its_worse_telling),
        cmocka_unit_test(test_talk_is_no_result),
        cmocka_unit_test(test_not_running_is_told_with_a_remedy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
