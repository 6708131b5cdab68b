/* Requests that wait: how long, how many, and that each is let go exactly once. Virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "api/hold.h"
#include "base/limits.h"
#include "vclock.h"

struct waiter {
    struct hold hold;
    unsigned nr;
    enum hold_end end;
};

static void on_let_go(struct hold *w, enum hold_end end) {
    struct waiter *x = w->arg;
    x->nr++;
    x->end = end;
}

static bool begin(struct holds *h, struct waiter *x, enum hold_kind kind, const char *name,
                  usec_t until) {
    *x = (struct waiter){0};
    x->hold = (struct hold){.kind = kind, .name = str_of(name), .fn = on_let_go, .arg = x};
    return hold_begin(h, &x->hold, until);
}

static void test_let_go_when_time_is_up_or_the_end_came(void **state) {
    struct vclock v;
    vclock_init(&v);
    struct holds *h = holds_new(&v.base);
    struct waiter a, b, other;
    usec_t now = v.now;
    assert_true(begin(h, &a, HOLD_GET, "job", now + 100));
    assert_true(begin(h, &b, HOLD_GET, "job", now + 1000));
    assert_true(begin(h, &other, HOLD_GET, "another", now + 1000));
    vclock_advance(&v, 99);
    assert_int_equal(a.nr, 0);
    vclock_advance(&v, 1);
    assert_int_equal(a.nr, 1);
    assert_int_equal(a.end, HOLD_TIME_UP);
    holds_release(h, STR("job"));
    assert_int_equal(b.nr, 0); /* not from within the call */
    vclock_advance(&v, 0);
    assert_int_equal(b.nr, 1);
    assert_int_equal(b.end, HOLD_ENDED);
    assert_int_equal(a.nr + other.nr, 1);
    vclock_advance(&v, 5000);
    assert_int_equal(other.nr, 1);
    assert_int_equal(other.end, HOLD_TIME_UP);
    struct hold_stats st;
    holds_get_stats(h, &st);
    assert_int_equal(st.held[HOLD_GET], 0);
    assert_int_equal(st.total[HOLD_GET], 3);
    assert_int_equal(st.ended[HOLD_GET], 1);
    holds_close(h);
    holds_free(h);
    vclock_fini(&v);
}

static void test_no_more_than_the_limit_of_each_kind(void **state) {
    struct vclock v;
    vclock_init(&v);
    struct holds *h = holds_new(&v.base);
    struct waiter w[5];
    uint64_t max_get = limits.hold_get_max, max_wait = limits.max_operation_waits;
    limits.hold_get_max = 2;
    limits.max_operation_waits = 1;
    assert_true(begin(h, &w[0], HOLD_GET, "a", v.now + 10));
    assert_true(begin(h, &w[1], HOLD_GET, "a", v.now + 20));
    assert_false(begin(h, &w[2], HOLD_GET, "a", v.now + 30));
    assert_true(begin(h, &w[3], HOLD_WAIT, "a", v.now + 30));
    assert_false(begin(h, &w[4], HOLD_WAIT, "a", v.now + 30));
    vclock_advance(&v, 10); /* one leaves, one may come */
    assert_true(begin(h, &w[0], HOLD_GET, "a", v.now + 10));
    assert_false(begin(h, &w[2], HOLD_GET, "a", v.now + 30));
    limits.hold_get_max = max_get;
    limits.max_operation_waits = max_wait;
    holds_close(h);
    assert_false(begin(h, &w[2], HOLD_GET, "a", v.now + 30));
    vclock_advance(&v, 0);
    assert_int_equal(w[0].end, HOLD_CLOSING);
    assert_int_equal(w[1].nr + w[3].nr, 2);
    holds_free(h);
    vclock_fini(&v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_let_go_when_time_is_up_or_the_end_came),
        cmocka_unit_test(test_no_more_than_the_limit_of_each_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
