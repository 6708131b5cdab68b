/* Lines of the hypertune library's file, and of programs that write it themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/buf.h"
#include "engine/local/metrics_file.h"

static void add(void *arg, const struct metric_report *r) {
    (void)buf_printf(arg, "%s=%g@%lld/%llu ", r->tag, r->value, (long long)r->step,
                     (unsigned long long)r->timestamp);
}

static void expect_from(const char *text, bool is_tail, const char *want) {
    auto_buf struct buf b = BUF_INIT(1 << 20);
    metrics_parse(str_of(text), is_tail, add, &b);
    assert_string_equal(buf_cstr(&b), want);
}

static void expect(const char *text, const char *want) {
    expect_from(text, false, want);
}

static void test_a_line_of_the_library(void **state) {
    expect("{\"checkpoint_path\": \"\", \"global_step\": \"12\", \"timestamp\": 1772359200.25, "
           "\"trial\": \"3\", \"val_loss\": \"0.4312\"}\n",
           "val_loss=0.4312@12/1772359200250000 ");
}

static void test_values_that_are_no_numbers(void **state) {
    expect("{\"a\": \"nan\"}\n{\"a\": \"inf\"}\n{\"a\": \"-inf\"}\n{\"a\": NaN}\n{\"a\": "
           "-Infinity}\n{\"a\": \"1e400\"}\n",
           "a=nan@0/0 a=inf@0/0 a=-inf@0/0 a=nan@0/0 a=-inf@0/0 a=inf@0/0 ");
    expect("{\"a\": \"\"}\n{\"a\": \"x\"}\n{\"a\": \"1 2\"}\n{\"a\": {}}\n{\"a\": null}\n", "");
}

static void test_a_last_line_cut_short_waits(void **state) {
    static const char whole[] = "{\"global_step\": \"1\", \"a\": \"12.5\"}";
    for (size_t n = 0; n < strlen(whole); n++) {
        auto_free char *cut = xasprintf("{\"b\": 1}\n%.*s", (int)n, whole);
        expect(cut, "b=1@0/0 ");
    }
    expect(whole, "a=12.5@1/0 ");
}

static void test_a_reading_from_the_middle_skips_the_first_line(void **state) {
    expect_from("\"a\": \"9\"}\n{\"a\": \"1\"}\n", true, "a=1@0/0 ");
    expect_from("{\"a\": \"9\"}", true, "");
}

static void test_lines_that_are_something_else_are_passed_over(void **state) {
    expect("hello\n[1]\n{\"a\": 1} x\n{\"a\" 1}\n{}\n\n{\"a\": 1,}\n{'a': 1}\n{\"b\": 2}\n",
           "b=2@0/0 ");
}

static void test_names_are_unescaped_and_bounded(void **state) {
    expect("{\"training/hptuning/metric\": \"1\"}\n", "training/hptuning/metric=1@0/0 ");
    expect("{\"r\\u00e9\\\"\\u20ac\": \"1\"}\n", "r\xc3\xa9\"\xe2\x82\xac=1@0/0 ");
    expect("{\"a\\u0000b\": \"1\"}\n{\"\": \"1\"}\n{\"\\x\": \"1\"}\n", "");
    char line[512], name[METRIC_TAG_MAX + 2];
    memset(name, 'n', sizeof(name));
    (void)snprintf(line, sizeof(line), "{\"%.*s\": 1}", (int)METRIC_TAG_MAX + 1, name);
    expect(line, "");
    (void)snprintf(line, sizeof(line), "{\"%.*s\": 1}", (int)METRIC_TAG_MAX, name);
    auto_free char *want = xasprintf("%.*s=1@0/0 ", (int)METRIC_TAG_MAX, name);
    expect(line, want);
}

static void test_senseless_times_and_steps_are_zero(void **state) {
    expect("{\"a\": 1, \"timestamp\": -5, \"global_step\": \"x\"}\n", "a=1@0/0 ");
    expect("{\"a\": 1, \"timestamp\": 1e300, \"global_step\": 1e300}\n", "a=1@0/0 ");
    expect("{\"a\": 1, \"timestamp\": NaN, \"global_step\": \"-3\"}\n", "a=1@-3/0 ");
}

static void test_a_line_may_hold_several_but_not_many(void **state) {
    expect("{\"a\": 1, \"b\": 2, \"global_step\": 4}\n", "a=1@4/0 b=2@4/0 ");
    auto_buf struct buf b = BUF_INIT(1 << 16), want = BUF_INIT(1 << 16);
    for (unsigned i = 0; i < METRICS_LINE_TAGS + 3; i++) {
        (void)buf_printf(&b, "%c\"m%u\": %u", i ? ',' : '{', i, i);
        if (i < METRICS_LINE_TAGS) {
            (void)buf_printf(&want, "m%u=%u@0/0 ", i, i);
        }
    }
    (void)buf_puts(&b, "}\n");
    expect(buf_cstr(&b), buf_cstr(&want));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line_of_the_library),
        cmocka_unit_test(test_values_that_are_no_numbers),
        cmocka_unit_test(test_a_last_line_cut_short_waits),
        cmocka_unit_test(test_a_reading_from_the_middle_skips_the_first_line),
        cmocka_unit_test(test_lines_that_are_something_else_are_passed_over),
        cmocka_unit_test(test_names_are_unescaped_and_bounded),
        cmocka_unit_test(test_senseless_times_and_steps_are_zero),
        cmocka_unit_test(test_a_line_may_hold_several_but_not_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
