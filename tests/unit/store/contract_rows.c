/* Rows, their events, and keys with values: what a transaction changes, and what it leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "contract_int.h"

static void test_inserted_row_reads_back_whole(void **state) {
    struct fix *f = *state;
    struct store_row row = insert_row(f, 1, 50), got;
    assert_int_equal(rig_get(&f->rig, row.name.p, f->a, &got).code, 0);
    assert_row(&got, &row);
    assert_int_equal(rig_get(&f->rig, "projects/1/nothing", f->a, &got).code, ERR_NOT_FOUND);
}

static void test_rows_survive_reopening(void **state) {
    struct fix *f = *state;
    struct store_row row = insert_row(f, 1, 50), got;
    f->rig.kind->again(&f->rig);
    assert_int_equal(rig_get(&f->rig, row.name.p, f->a, &got).code, 0);
    assert_row(&got, &row);
}

static void test_second_insert_of_a_name_fails_whole_transaction(void **state) {
    struct fix *f = *state;
    insert_row(f, 1, 50);
    struct store_row one = rig_row(f->a, 1, 60), two = rig_row(f->a, 2, 60), got;
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    store_txn_insert(&t, &two);
    put_event(&t, two.name, 1, "x");
    store_txn_kv(&t, "space", STR("k"), STR("v"));
    store_txn_insert(&t, &one);
    struct err err = rig_commit(&f->rig, &t);
    assert_int_equal(err.code, ERR_ALREADY_EXISTS);
    assert_non_null(strstr(err.msg, one.name.p));
    assert_int_equal(rig_get(&f->rig, two.name.p, f->a, &got).code, ERR_NOT_FOUND);
    assert_null(f->rig.s->ops->peek(f->rig.s, two.name));
    assert_null(rig_kv(&f->rig, "space", "k", f->a).p);
    assert_int_equal(rig_events(&f->rig, two.name.p, f->a).n, 0);
}

static void test_update_changes_the_mutable_half_only(void **state) {
    struct fix *f = *state;
    struct store_row row = insert_row(f, 1, 50), got;
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    store_txn_update(&t, row.name, STR("JOB_STATE_RUNNING"), STR("s2"), 99, false);
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    assert_int_equal(rig_get(&f->rig, row.name.p, f->a, &got).code, 0);
    row.state = STR("JOB_STATE_RUNNING");
    row.status = STR("s2");
    row.update_time = 99;
    row.is_live = false;
    assert_row(&got, &row);
    const struct store_row *seen = f->rig.s->ops->peek(f->rig.s, row.name);
    if (seen) {
        assert_row(seen, &row);
    }
    store_txn_init(&t, NULL, NULL);
    store_txn_update(&t, STR("nobody"), STR(""), STR(""), 1, true);
    assert_int_equal(rig_commit(&f->rig, &t).code, ERR_NOT_FOUND);
}

static void test_replace_changes_what_clients_edit(void **state) {
    struct fix *f = *state;
    struct store_row row = insert_row(f, 1, 50), other = rig_row(f->a, 2, 70), got;
    struct store_label label = {STR("team"), STR("blue")};
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    put_event(&t, row.name, 1, "one");
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    struct store_row change = {.name = row.name,
                               .display_name = STR("renamed"),
                               .state = STR("S"),
                               .spec = STR("another spec"),
                               .status = STR("another status"),
                               .update_time = 99,
                               .is_live = false,
                               .labels = &label,
                               .nr_labels = 1};
    store_txn_init(&t, NULL, NULL);
    store_txn_expect(&t, row.name, row.update_time);
    store_txn_replace(&t, &change);
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    change.kind = row.kind;
    change.parent = row.parent;
    change.create_time = row.create_time;
    const struct store_row *seen = f->rig.s->ops->peek(f->rig.s, row.name);
    if (seen) {
        assert_row(seen, &change);
    }
    f->rig.kind->again(&f->rig);
    assert_int_equal(rig_get(&f->rig, row.name.p, f->a, &got).code, 0);
    assert_row(&got, &change);
    assert_int_equal(rig_events(&f->rig, row.name.p, f->a).n, 1);

    /* Refused, and with what came before it. */
    store_txn_init(&t, NULL, NULL);
    store_txn_replace(&t, &row);
    put_event(&t, row.name, 2, "two");
    store_txn_insert(&t, &other);
    store_txn_expect(&t, row.name, 98);
    struct err err = rig_commit(&f->rig, &t);
    assert_int_equal(err.code, ERR_ABORTED);
    assert_int_equal(rig_get(&f->rig, row.name.p, f->a, &got).code, 0);
    assert_row(&got, &change);
    struct rig_events ev = rig_events(&f->rig, row.name.p, f->a);
    assert_int_equal(ev.n, 1);
    assert_str(ev.p[0].owner, row.name);
    store_txn_init(&t, NULL, NULL);
    store_txn_replace(&t, &other);
    assert_int_equal(rig_commit(&f->rig, &t).code, ERR_NOT_FOUND);
    store_txn_init(&t, NULL, NULL);
    store_txn_expect(&t, other.name, other.update_time);
    assert_int_equal(rig_commit(&f->rig, &t).code, ERR_NOT_FOUND);
}

static void test_delete_takes_labels_and_events_along(void **state) {
    struct fix *f = *state;
    struct store_row row = insert_row(f, 1, 50), got;
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    put_event(&t, row.name, 1, "x");
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    store_txn_init(&t, NULL, NULL);
    store_txn_delete(&t, row.name);
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    assert_int_equal(rig_get(&f->rig, row.name.p, f->a, &got).code, ERR_NOT_FOUND);
    assert_null(f->rig.s->ops->peek(f->rig.s, row.name));
    assert_int_equal(rig_events(&f->rig, row.name.p, f->a).n, 0);
    store_txn_init(&t, NULL, NULL);
    store_txn_delete(&t, row.name);
    assert_int_equal(rig_commit(&f->rig, &t).code, ERR_NOT_FOUND);
    insert_row(f, 1, 70); /* the name is free again, without the old labels or events */
    assert_int_equal(rig_events(&f->rig, row.name.p, f->a).n, 0);
    assert_int_equal(rig_get(&f->rig, row.name.p, f->a, &got).code, 0);
    assert_int_equal(got.nr_labels, 2);
}

static void test_failed_delete_and_update_are_taken_back(void **state) {
    struct fix *f = *state;
    struct store_row row = insert_row(f, 1, 50), got;
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    put_event(&t, row.name, 1, "one");
    store_txn_kv(&t, "s", STR("k"), STR("old"));
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    store_txn_init(&t, NULL, NULL);
    store_txn_update(&t, row.name, STR("X"), STR("X"), 99, false);
    put_event(&t, row.name, 2, "two");
    store_txn_kv(&t, "s", STR("k"), STR("new"));
    store_txn_kv(&t, "s", STR("k"), (struct str){0});
    store_txn_delete(&t, row.name);
    struct store_row fresh = rig_row(f->a, 1, 60);
    store_txn_insert(&t, &fresh);
    store_txn_kv_expect(&t, "s", STR("other"), STR("value"));
    assert_int_equal(rig_commit(&f->rig, &t).code, ERR_FAILED_PRECONDITION);
    assert_int_equal(rig_get(&f->rig, row.name.p, f->a, &got).code, 0);
    assert_row(&got, &row);
    struct rig_events ev = rig_events(&f->rig, row.name.p, f->a);
    assert_int_equal(ev.n, 1);
    assert_str(ev.p[0].body, STR("one"));
    assert_str(rig_kv(&f->rig, "s", "k", f->a), STR("old"));
}

static void test_events_come_back_in_order_of_seq(void **state) {
    struct fix *f = *state;
    struct store_row row = rig_row(f->a, 1, 50);
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    store_txn_insert(&t, &row);
    put_event(&t, row.name, 3, "three");
    put_event(&t, row.name, 1, "one");
    put_event(&t, row.name, 2, "");
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    store_txn_init(&t, NULL, NULL);
    put_event(&t, row.name, 2, "again");
    assert_int_equal(rig_commit(&f->rig, &t).code, ERR_ALREADY_EXISTS);
    store_txn_init(&t, NULL, NULL);
    put_event(&t, STR("nobody"), 1, "x");
    assert_int_equal(rig_commit(&f->rig, &t).code, ERR_NOT_FOUND);
    struct rig_events ev = rig_events(&f->rig, row.name.p, f->a);
    assert_int_equal(ev.n, 3);
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(ev.p[i].seq, i + 1);
        assert_int_equal(ev.p[i].type, 7);
        assert_int_equal(ev.p[i].version, 2);
        assert_int_equal(ev.p[i].time, 1001 + i);
        assert_str(ev.p[i].owner, row.name);
    }
    assert_str(ev.p[0].body, STR("one"));
    assert_str(ev.p[2].body, STR("three"));
}

static void test_kv_values_preconditions_and_deletion(void **state) {
    struct fix *f = *state;
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    store_txn_kv_expect(&t, "object", STR("b/x"), (struct str){0});
    store_txn_kv(&t, "object", STR("b/x"), STR("1"));
    store_txn_kv(&t, "object", STR("b/empty"), STR(""));
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    assert_str(rig_kv(&f->rig, "object", "b/x", f->a), STR("1"));
    assert_non_null(rig_kv(&f->rig, "object", "b/empty", f->a).p);
    assert_null(rig_kv(&f->rig, "other", "b/x", f->a).p);

    store_txn_init(&t, NULL, NULL);
    store_txn_kv_expect(&t, "object", STR("b/x"), (struct str){0});
    store_txn_kv(&t, "object", STR("b/x"), STR("2"));
    assert_int_equal(rig_commit(&f->rig, &t).code, ERR_FAILED_PRECONDITION);
    assert_str(rig_kv(&f->rig, "object", "b/x", f->a), STR("1"));

    store_txn_init(&t, NULL, NULL);
    store_txn_kv_expect(&t, "object", STR("b/empty"), STR(""));
    store_txn_kv_expect(&t, "object", STR("b/x"), STR("1"));
    store_txn_kv(&t, "object", STR("b/x"), (struct str){0});
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    assert_null(rig_kv(&f->rig, "object", "b/x", f->a).p);
}

struct scan_wait {
    bool done;
    const struct store_kv_pair *p;
    size_t n;
};

static void on_scan(struct store_kv_scan *s, const struct store_kv_pair *p, size_t n,
                    const struct err *err) {
    assert_null(err);
    *(struct scan_wait *)s->arg = (struct scan_wait){true, p, n};
}

static struct scan_wait scan(struct fix *f, struct str prefix, struct str after, unsigned max) {
    struct scan_wait w = {0};
    struct store_kv_scan s = {.space = "s",
                              .prefix = prefix,
                              .after = after,
                              .max = max,
                              .arena = f->a,
                              .cb = on_scan,
                              .arg = &w};
    f->rig.s->ops->kv_scan(f->rig.s, &s);
    while (!w.done) {
        f->rig.kind->turn(&f->rig);
    }
    return w;
}

static void test_kv_scan_pages_through_a_prefix_in_byte_order(void **state) {
    struct fix *f = *state;
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    static const char *keys[] = {"a",
                                 "b/1",
                                 "b/2",
                                 "b/\xff",
                                 "b/\xff\xff"
                                 "z",
                                 "b0",
                                 "B/1"};
    for (size_t i = 0; i < NR_OF(keys); i++) {
        store_txn_kv(&t, "s", str_of(keys[i]), str_of(keys[i]));
    }
    store_txn_kv(&t, "s2", STR("b/1"), STR("no"));
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    struct scan_wait w = scan(f, STR("b/"), STR(""), 3);
    assert_int_equal(w.n, 3);
    assert_str(w.p[0].key, STR("b/1"));
    assert_str(w.p[0].value, STR("b/1"));
    assert_str(w.p[2].key, STR("b/\xff"));
    w = scan(f, STR("b/"), w.p[2].key, 3);
    assert_int_equal(w.n, 1);
    assert_str(w.p[0].key, STR("b/\xff\xff"
                               "z"));
    w = scan(f, STR(""), STR(""), 100);
    assert_int_equal(w.n, 7);
    assert_str(w.p[0].key, STR("B/1"));
    w = scan(f, STR("b/\xff"), STR("a"), 100);
    assert_int_equal(w.n, 2);
}

int contract_rows(const struct rig_kind *k) {
    const struct CMUnitTest tests[] = {
        T(test_inserted_row_reads_back_whole),
        T(test_rows_survive_reopening),
        T(test_second_insert_of_a_name_fails_whole_transaction),
        T(test_update_changes_the_mutable_half_only),
        T(test_replace_changes_what_clients_edit),
        T(test_delete_takes_labels_and_events_along),
        T(test_failed_delete_and_update_are_taken_back),
        T(test_events_come_back_in_order_of_seq),
        T(test_kv_values_preconditions_and_deletion),
        T(test_kv_scan_pages_through_a_prefix_in_byte_order),
    };
    return cmocka_run_group_tests_name(k->name, tests, NULL, NULL);
}
