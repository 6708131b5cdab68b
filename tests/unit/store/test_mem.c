/* The memory store: the contract, stepped by hand and on a loop; and crashes of the simulator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "contract_store.h"
#include "sys/loop.h"

static void stepped_open(struct rig *r) {
    r->s = store_mem_new(NULL);
}

static void stepped_turn(struct rig *r) {
    assert_true(store_mem_step(r->s));
}

static void stepped_again(struct rig *r) {
    r->s = store_mem_crash(r->s, NULL, NULL);
}

static void on_closed(void *arg) {
    ((struct rig *)arg)->closed = true;
}

static void stepped_close(struct rig *r) {
    r->s->ops->close(r->s, on_closed, r);
    assert_false(store_mem_step(r->s));
    assert_true(r->closed);
}

static const struct rig_kind stepped = {"mem, stepped", stepped_open, stepped_turn, stepped_again,
                                        stepped_close};

static void looped_open(struct rig *r) {
    r->loop = loop_new();
    r->s = store_mem_new(r->loop);
}

static void looped_turn(struct rig *r) {
    loop_turn(r->loop);
}

static void looped_again(struct rig *r) {
    (void)r; /* on a loop this store cannot be left and found again: the handle stays */
}

static void looped_close(struct rig *r) {
    r->s->ops->close(r->s, on_closed, r);
    assert_false(r->closed);
    while (!r->closed) {
        looped_turn(r);
    }
    loop_free(r->loop);
}

static const struct rig_kind looped = {"mem, on a loop", looped_open, looped_turn, looped_again,
                                       looped_close};

/* ---- crashes ---- */

static bool keep_two(void *arg) {
    return ++*(int *)arg <= 2;
}

static void must_not_run(struct store_txn *t, const struct err *err) {
    fail_msg("callback of a transaction that the crash took away");
}

static void test_crash_keeps_delivered_and_a_prefix_of_pending_commits(void **state) {
    struct rig r = {.kind = &stepped};
    stepped_open(&r);
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct store_txn t[4];
    for (uint64_t i = 0; i < 4; i++) {
        struct store_row row = rig_row(a, i, i);
        store_txn_init(&t[i], must_not_run, NULL);
        store_txn_insert(&t[i], &row);
        if (i == 0) {
            assert_int_equal(rig_commit(&r, &t[i]).code, 0);
        } else {
            r.s->ops->commit(r.s, &t[i]);
        }
    }
    int asked = 0;
    r.s = store_mem_crash(r.s, keep_two, &asked);
    assert_int_equal(asked, 3);
    for (uint64_t i = 0; i < 4; i++) {
        struct store_row row = rig_row(a, i, i), got;
        assert_int_equal(rig_get(&r, row.name.p, a, &got).code, i < 3 ? 0 : ERR_NOT_FOUND);
        if (i > 0) {
            store_txn_fini(&t[i]); /* the caller's, as ever */
        }
    }
    assert_false(store_mem_step(r.s));
    arena_free(a);
    stepped_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash_keeps_delivered_and_a_prefix_of_pending_commits),
    };
    int failed = contract_run(&stepped) + contract_run(&looped);
    return failed + cmocka_run_group_tests_name("mem crash", tests, NULL, NULL);
}
