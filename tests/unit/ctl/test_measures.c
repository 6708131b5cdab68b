/* Unit tests of what is kept of a trial's reports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>

#include "base/limits.h"
#include "ctl/events.h"
#include "ctl/measures.h"

static struct metric_report at(const char *tag, double value, int64_t step) {
    return (struct metric_report){
        .tag = tag, .value = value, .step = step, .timestamp = 1000 + (usec_t)step};
}

/* Reports, saves what was picked; how many that were. */
static size_t feed(struct measures *m, const struct metric_report *r, size_t n, bool flush) {
    struct metric_vec picked = {0};
    measures_pick(m, 1, r, n, flush, &picked);
    measures_apply(m, m->all.n + 1, 1, picked.p, picked.n);
    size_t k = picked.n;
    vec_fini(&picked);
    return k;
}

static void test_what_comes_again_is_not_saved_again(void **state) {
    struct measures m;
    measures_init(&m);
    struct metric_report r[] = {at("loss", 3, 1), at("acc", 1, 1), at("loss", 2, 2)};
    assert_int_equal(feed(&m, r, 2, false), 2);
    assert_int_equal(feed(&m, r, 3, false), 1);
    assert_int_equal(feed(&m, r, 3, true), 0);
    assert_int_equal(m.all.n, 3);
    assert_string_equal(measures_tag(&m, &m.all.p[1]), "acc");
    assert_int_equal(m.all.p[2].step, 2);
    measures_fini(&m);
}

static void test_a_million_reports_are_thinned_and_the_best_and_last_stay(void **state) {
    struct measures m;
    measures_init(&m);
    for (int64_t i = 1; i <= 1000000; i++) {
        struct metric_report r = at("loss", i == 777777 ? -5 : i == 888888 ? 1e9 : 100, i);
        (void)feed(&m, &r, 1, false);
    }
    (void)feed(&m, NULL, 0, true);
    assert_true(m.all.n > limits.max_trial_reports && m.all.n < limits.max_trial_reports + 5000);
    assert_int_equal(m.all.p[m.all.n - 1].step, 1000000);
    bool has_min = false, has_max = false;
    for (size_t i = 0; i < m.all.n; i++) {
        has_min = has_min || m.all.p[i].step == 777777;
        has_max = has_max || m.all.p[i].step == 888888;
    }
    assert_true(has_min && has_max);
    assert_int_equal(feed(&m, NULL, 0, true), 0);
    measures_fini(&m);
}

static void test_names_are_bounded(void **state) {
    struct measures m;
    measures_init(&m);
    for (uint64_t i = 0; i < limits.max_trial_tags + 10; i++) {
        char tag[32];
        snprintf(tag, sizeof(tag), "m%llu", (unsigned long long)i);
        struct metric_report r = at(tag, 1, 1);
        assert_int_equal(feed(&m, &r, 1, false), i < limits.max_trial_tags);
    }
    measures_fini(&m);
}

static void test_reports_come_back_from_the_log_as_they_went(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf b = BUF_INIT(1 << 20);
    struct metric_report r[] = {at("a=b\nc", 0.1, -3), at("x", NAN, 1), at("x", -INFINITY, 2),
                                at("x", 5e-324, 3)};
    struct event in = {.type = EV_MEASURED, .attempt = 2, .reports = r, .nr_reports = 4}, out;
    struct err err;
    event_encode(&b, &in);
    struct store_event stored = {
        .seq = 7, .type = EV_MEASURED, .version = EVENT_VERSION, .body = buf_str(&b)};
    assert_int_equal(event_decode(a, &stored, &out, &err), 0);
    assert_int_equal(out.nr_reports, 4);
    assert_string_equal(out.reports[0].tag, "a=b\nc");
    assert_true(out.reports[0].value == 0.1 && out.reports[0].step == -3);
    assert_true(isnan(out.reports[1].value) && isinf(out.reports[2].value));
    assert_true(out.reports[2].value < 0 && out.reports[3].value == 5e-324);
    assert_int_equal(out.reports[3].timestamp, 1003);
    stored.body = STR("cusp-rec 1\nattempt=1\n");
    assert_int_equal(event_decode(a, &stored, &out, &err), -1);
    stored.body = STR("cusp-rec 1\nattempt=1\ntag=x\nvalue=1.5x\n");
    assert_int_equal(event_decode(a, &stored, &out, &err), -1);
    assert_int_equal(err.code, ERR_DATA_LOSS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_comes_again_is_not_saved_again),
        cmocka_unit_test(test_a_million_reports_are_thinned_and_the_best_and_last_stay),
        cmocka_unit_test(test_names_are_bounded),
        cmocka_unit_test(test_reports_come_back_from_the_log_as_they_went),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
