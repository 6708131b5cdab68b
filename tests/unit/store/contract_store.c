/* What every store promises; see store.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "contract_store.h"
#include "base/limits.h"
#include "base/vec.h"
#include "store/filter.h"

static const struct rig_kind *kind;

struct fix {
    struct rig rig;
    struct arena *a;
};

static int setup(void **state) {
    struct fix *f = xcalloc(1, sizeof(*f));
    f->a = arena_new(ARENA_NO_MAX);
    f->rig.kind = kind;
    kind->open(&f->rig);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fix *f = *state;
    kind->close(&f->rig);
    arena_free(f->a);
    free(f);
    return 0;
}

static struct store_row insert(struct fix *f, uint64_t id, usec_t at) {
    struct store_row row = rig_row(f->a, id, at);
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    store_txn_insert(&t, &row);
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    return row;
}

static void put_event(struct store_txn *t, struct str owner, uint64_t seq, const char *body) {
    struct store_event ev = {.owner = owner,
                             .seq = seq,
                             .type = 7,
                             .version = 2,
                             .time = 1000 + seq,
                             .body = str_of(body)};
    store_txn_event(t, &ev);
}

static void assert_str(struct str a, struct str b) {
    assert_int_equal(a.n, b.n);
    if (a.n) {
        assert_memory_equal(a.p, b.p, a.n);
    }
}

static void assert_row(const struct store_row *a, const struct store_row *b) {
    assert_str(a->name, b->name);
    assert_str(a->kind, b->kind);
    assert_str(a->parent, b->parent);
    assert_str(a->display_name, b->display_name);
    assert_str(a->state, b->state);
    assert_true(a->create_time == b->create_time && a->update_time == b->update_time);
    assert_int_equal(a->is_live, b->is_live);
    assert_str(a->spec, b->spec);
    assert_str(a->status, b->status);
    assert_int_equal(a->nr_labels, b->nr_labels);
    for (size_t i = 0; i < a->nr_labels; i++) {
        assert_str(a->labels[i].key, b->labels[i].key);
        assert_str(a->labels[i].value, b->labels[i].value);
    }
}

static void test_inserted_row_reads_back_whole(void **state) {
    struct fix *f = *state;
    struct store_row row = insert(f, 1, 50), got;
    assert_int_equal(rig_get(&f->rig, row.name.p, f->a, &got).code, 0);
    assert_row(&got, &row);
    assert_int_equal(rig_get(&f->rig, "projects/1/nothing", f->a, &got).code, ERR_NOT_FOUND);
}

static void test_rows_survive_reopening(void **state) {
    struct fix *f = *state;
    struct store_row row = insert(f, 1, 50), got;
    f->rig.kind->again(&f->rig);
    assert_int_equal(rig_get(&f->rig, row.name.p, f->a, &got).code, 0);
    assert_row(&got, &row);
}

static void test_second_insert_of_a_name_fails_whole_transaction(void **state) {
    struct fix *f = *state;
    insert(f, 1, 50);
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
    struct store_row row = insert(f, 1, 50), got;
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
    struct store_row row = insert(f, 1, 50), other = rig_row(f->a, 2, 70), got;
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
    struct store_row row = insert(f, 1, 50), got;
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
    insert(f, 1, 70); /* the name is free again, without the old labels or events */
    assert_int_equal(rig_events(&f->rig, row.name.p, f->a).n, 0);
    assert_int_equal(rig_get(&f->rig, row.name.p, f->a, &got).code, 0);
    assert_int_equal(got.nr_labels, 2);
}

static void test_failed_delete_and_update_are_taken_back(void **state) {
    struct fix *f = *state;
    struct store_row row = insert(f, 1, 50), got;
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
        kind->turn(&f->rig);
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

/* ---- order of completions ---- */

struct order {
    struct store_txn t;
    unsigned *counter, place;
    bool failed;
};

static void on_order(struct store_txn *t, const struct err *err) {
    struct order *o = t->arg;
    o->place = ++*o->counter;
    o->failed = err != NULL;
}

static void test_commits_complete_in_order_and_failures_stay_alone(void **state) {
    struct fix *f = *state;
    enum { NR = 40 };
    struct order o[NR];
    unsigned counter = 0;
    for (unsigned i = 0; i < NR; i++) {
        o[i] = (struct order){.counter = &counter};
        store_txn_init(&o[i].t, on_order, &o[i]);
        struct store_row row = rig_row(f->a, i - (i % 5 == 4), i); /* every fifth repeats a name */
        store_txn_insert(&o[i].t, &row);
        put_event(&o[i].t, row.name, 1, "x");
        f->rig.s->ops->commit(f->rig.s, &o[i].t);
    }
    assert_int_equal(counter, 0);
    while (counter < NR) {
        kind->turn(&f->rig);
    }
    for (unsigned i = 0; i < NR; i++) {
        assert_int_equal(o[i].place, i + 1);
        assert_int_equal(o[i].failed, i % 5 == 4);
        store_txn_fini(&o[i].t);
    }
    struct store_stats st;
    f->rig.s->ops->get_stats(f->rig.s, &st);
    assert_int_equal(st.commits, NR);
    assert_true(st.batches > 0 && st.batches <= NR);
}

struct chain {
    struct fix *f;
    struct store_txn t;
    struct store_get g;
    bool committed, read;
};

static void chain_read(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct chain *c = g->arg;
    assert_non_null(row);
    assert_true(c->committed);
    c->read = true;
}

static void chain_commit(struct store_txn *t, const struct err *err) {
    struct chain *c = t->arg;
    assert_null(err);
    c->committed = true;
    c->f->rig.s->ops->get(c->f->rig.s, &c->g);
}

static void test_read_from_commit_callback_sees_the_commit(void **state) {
    struct fix *f = *state;
    struct chain c = {.f = f};
    struct store_row row = rig_row(f->a, 1, 1);
    c.g = (struct store_get){.name = row.name, .arena = f->a, .cb = chain_read, .arg = &c};
    store_txn_init(&c.t, chain_commit, &c);
    store_txn_insert(&c.t, &row);
    f->rig.s->ops->commit(f->rig.s, &c.t);
    assert_null(f->rig.s->ops->peek(f->rig.s, row.name)); /* not durable yet */
    while (!c.read) {
        kind->turn(&f->rig);
    }
    store_txn_fini(&c.t);
}

/* ---- lists ---- */

static struct store_list list_of(struct fix *f, unsigned page_size) {
    return (struct store_list){.kind = STR("customJob"),
                               .parent = STR("projects/1/locations/us-central1"),
                               .order = STORE_ORDER_CREATE_TIME,
                               .descending = true,
                               .page_size = page_size,
                               .arena = f->a};
}

static void test_list_pages_newest_first_and_stays_stable_under_inserts(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 7; i++) {
        insert(f, i, 100 + i / 2); /* pairs share a create time */
    }
    struct store_list l = list_of(f, 3);
    struct rig_page p = rig_list(&f->rig, &l);
    assert_int_equal(p.err.code, 0);
    assert_int_equal(p.nr, 3);
    assert_str(p.rows[0].display_name, STR("job 7"));
    assert_str(p.rows[2].display_name, STR("job 5"));
    assert_true(p.next.n > 0);
    assert_str(p.rows[0].spec, STR("spec\0bytes"));
    assert_int_equal(p.rows[0].nr_labels, 2);
    insert(f, 8, 500); /* newer than all: not on later pages */
    insert(f, 9, 102); /* a tie with 5 and 4: already passed, ties go by insertion */
    l.page_token = p.next;
    p = rig_list(&f->rig, &l);
    assert_int_equal(p.nr, 3);
    assert_str(p.rows[0].display_name, STR("job 4"));
    assert_str(p.rows[2].display_name, STR("job 2"));
    l.page_token = p.next;
    p = rig_list(&f->rig, &l);
    assert_int_equal(p.nr, 1);
    assert_str(p.rows[0].display_name, STR("job 1"));
    assert_int_equal(p.next.n, 0);
}

static void test_exactly_full_last_page_has_no_token(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 4; i++) {
        insert(f, i, i);
    }
    struct store_list l = list_of(f, 4);
    struct rig_page p = rig_list(&f->rig, &l);
    assert_int_equal(p.nr, 4);
    assert_int_equal(p.next.n, 0);
    l = list_of(f, 4);
    l.kind = STR("other");
    p = rig_list(&f->rig, &l);
    assert_int_equal(p.nr, 0);
    assert_int_equal(p.err.code, 0);
}

static void test_dash_location_lists_all_locations_of_the_project(void **state) {
    struct fix *f = *state;
    static const char *parents[] = {"projects/1/locations/a", "projects/1/locations/b",
                                    "projects/2/locations/a", "projects/1/locations/a/datasets/d",
                                    "projects/1/locations/",  "projects/1/locations/zz"};
    for (uint64_t i = 0; i < 18; i++) {
        struct store_row row = rig_row(f->a, i, 1000 - i);
        row.parent = str_of(parents[i % NR_OF(parents)]);
        struct store_txn t;
        store_txn_init(&t, NULL, NULL);
        store_txn_insert(&t, &row);
        assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    }
    struct store_list l = list_of(f, 2);
    l.parent = STR("projects/1/locations/-");
    struct str seen[18];
    size_t nr = 0;
    do {
        struct rig_page p = rig_list(&f->rig, &l);
        assert_int_equal(p.err.code, 0);
        for (size_t i = 0; i < p.nr; i++) {
            seen[nr++] = p.rows[i].display_name;
        }
        l.page_token = p.next;
    } while (l.page_token.n);
    static const char *want[] = {"job 0",  "job 1",  "job 5",  "job 6", "job 7",
                                 "job 11", "job 12", "job 13", "job 17"};
    assert_int_equal(nr, NR_OF(want));
    for (size_t i = 0; i < nr; i++) {
        assert_str(seen[i], str_of(want[i]));
    }
}

static void test_every_order_pages_through_all_rows_once(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 11; i++) {
        insert(f, i, i * 7 % 5); /* many ties */
    }
    for (int order = STORE_ORDER_CREATE_TIME; order <= STORE_ORDER_STATE; order++) {
        for (int desc = 0; desc < 2; desc++) {
            struct store_list l = list_of(f, 2);
            l.order = (enum store_order_field)order;
            l.descending = desc;
            if (order % 2) {
                l.nr_then = 2;
                l.then[0] = (struct store_order){STORE_ORDER_CREATE_TIME, !desc};
                l.then[1] = (struct store_order){STORE_ORDER_UPDATE_TIME, desc};
            }
            unsigned seen = 0;
            struct str last = {0};
            size_t nr = 0;
            do {
                struct rig_page p = rig_list(&f->rig, &l);
                assert_int_equal(p.err.code, 0);
                for (size_t i = 0; i < p.nr; i++, nr++) {
                    uint64_t id;
                    assert_true(str_to_u64(str_sub(p.rows[i].display_name, 4, 10), &id));
                    seen |= 1u << id;
                    if (order == STORE_ORDER_NAME && last.p) {
                        assert_true((str_cmp(p.rows[i].name, last) < 0) == desc);
                    }
                    last = p.rows[i].name;
                }
                l.page_token = p.next;
            } while (l.page_token.n);
            assert_int_equal(nr, 11);
            assert_int_equal(seen, 0xffe);
        }
    }
}

static void test_page_token_of_another_list_is_refused(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 4; i++) {
        insert(f, i, i);
    }
    struct store_list l = list_of(f, 2);
    struct str token = rig_list(&f->rig, &l).next;
    assert_true(token.n > 0);
    struct store_list wrong[6];
    for (size_t i = 0; i < NR_OF(wrong); i++) {
        wrong[i] = list_of(f, 2);
        wrong[i].page_token = token;
    }
    wrong[0].kind = STR("operation");
    wrong[1].parent = STR("projects/1/locations/-");
    wrong[2].filter_text = STR("state=X");
    wrong[3].descending = false;
    wrong[4].order = STORE_ORDER_UPDATE_TIME;
    wrong[5].nr_then = 1;
    for (size_t i = 0; i < NR_OF(wrong); i++) {
        struct rig_page p = rig_list(&f->rig, &wrong[i]);
        assert_int_equal(p.err.code, ERR_INVALID_ARGUMENT);
        assert_string_equal(p.err.field, "page_token");
    }
    l.page_token = STR("not base64 !");
    assert_int_equal(rig_list(&f->rig, &l).err.code, ERR_INVALID_ARGUMENT);
    f->rig.kind->again(&f->rig); /* tokens outlive the server */
    l.page_token = token;
    assert_int_equal(rig_list(&f->rig, &l).nr, 2);
}

static void test_list_filters(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 6; i++) {
        insert(f, i, i * USEC_PER_SEC);
    }
    struct store_list l = list_of(f, 10);
    l.filter_text = STR("labels.team=red AND create_time >= \"1970-01-01T00:00:03Z\" "
                        "-display_name=\"job 5\" labels:\"a key\" state:JOB_*");
    assert_int_equal(filter_parse(f->a, l.filter_text, NULL, &l.filter, NULL), 0);
    struct rig_page p = rig_list(&f->rig, &l);
    assert_int_equal(p.nr, 3);
    assert_str(p.rows[0].display_name, STR("job 6"));
    assert_str(p.rows[1].display_name, STR("job 4"));
    assert_str(p.rows[2].display_name, STR("job 3"));
}

static size_t nr_matching(struct fix *f, struct buf *filter) {
    struct store_list l = list_of(f, 10);
    l.filter_text = buf_str(filter);
    assert_int_equal(filter_parse(f->a, l.filter_text, NULL, &l.filter, NULL), 0);
    struct rig_page p = rig_list(&f->rig, &l);
    if (p.err.code) {
        fail_msg("%s: %s", buf_cstr(filter), p.err.msg);
    }
    return p.nr;
}

/* As wide and as deep as the parser lets through. */
static void test_the_largest_filters_are_answered(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 6; i++) {
        insert(f, i, i * USEC_PER_SEC);
    }
    for (int labels = 0; labels < 2; labels++) {
        auto_buf struct buf wide = BUF_INIT(BUF_NO_MAX), deep = BUF_INIT(BUF_NO_MAX);
        const char *field = labels ? "labels.team" : "display_name";
        for (unsigned i = 1; i < limits.max_filter_terms; i++) {
            buf_printf(&wide, "%s=no%u", field, i);
            buf_puts(&wide, " OR ");
        }
        buf_puts(&wide, "display_name=\"job 3\"");
        assert_int_equal(nr_matching(f, &wide), 1);
        /* NOT (no OR NOT (no OR ... (the one))): an even number of NOTs is none. */
        for (unsigned i = 0; i < limits.max_filter_depth; i++) {
            buf_puts(&deep, "NOT (");
            buf_printf(&deep, "%s=no%u", field, i);
            buf_puts(&deep, " OR ");
        }
        buf_puts(&deep, "display_name=\"job 3\"");
        for (unsigned i = 0; i < limits.max_filter_depth; i++) {
            buf_putc(&deep, ')');
        }
        assert_int_equal(nr_matching(f, &deep), limits.max_filter_depth % 2 ? 5 : 1);
    }
}

/* A filter that hardly anything passes does not look at the whole collection for one page. */
static void test_page_ends_short_after_many_refused_rows(void **state) {
    struct fix *f = *state;
    uint64_t was = limits.max_list_scan;
    for (uint64_t i = 1; i <= 40; i++) {
        insert(f, i, i);
    }
    struct store_row elsewhere = rig_row(f->a, 1000, 15);
    elsewhere.name = STR("projects/1/locations/europe-west4/customJobs/1000");
    elsewhere.parent = STR("projects/1/locations/europe-west4");
    elsewhere.display_name = STR("far job 33");
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    store_txn_insert(&t, &elsewhere);
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    struct store_list l = list_of(f, 2);
    l.parent = STR("projects/1/locations/-");
    l.filter_text = STR("display_name:*3*3*"); /* jobs 33 and far 33 */
    assert_int_equal(filter_parse(f->a, l.filter_text, NULL, &l.filter, NULL), 0);
    limits.max_list_scan = 7;
    size_t nr = 0, pages = 0;
    do {
        struct rig_page p = rig_list(&f->rig, &l);
        assert_int_equal(p.err.code, 0);
        nr += p.nr;
        pages++;
        l.page_token = p.next;
    } while (l.page_token.n);
    limits.max_list_scan = was;
    assert_int_equal(nr, 2);
    assert_in_range(pages, 5, 8);
}

/* What is inserted or deleted between two pages moves nothing else. */
static void test_pages_stay_stable_under_inserts_and_deletes(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 9; i++) {
        insert(f, i, 5); /* all tied */
    }
    struct store_list l = list_of(f, 3);
    assert_int_equal(order_parse(STR("state, create_time desc"), &l, NULL), 0);
    struct rig_page p = rig_list(&f->rig, &l);
    assert_int_equal(p.nr, 3);
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    store_txn_delete(&t, p.rows[2].name); /* the row that the token stands on */
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    insert(f, 20, 9); /* newer: belongs before the token */
    l.page_token = p.next;
    p = rig_list(&f->rig, &l);
    assert_int_equal(p.nr, 3);
    for (size_t i = 0; i < 3; i++) {
        auto_free char *want = xasprintf("job %zu", i + 4);
        assert_str(p.rows[i].display_name, str_of(want));
    }
}

static void test_answer_larger_than_the_arena_is_an_error(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 4; i++) {
        insert(f, i, i);
    }
    struct store_list l = list_of(f, 4);
    l.arena = arena_new(600);
    struct rig_page p = rig_list(&f->rig, &l);
    assert_int_equal(p.err.code, ERR_RESOURCE_EXHAUSTED);
    arena_free(l.arena);
}

/* ---- start-up ---- */

struct load {
    struct store_load l;
    struct buf seen;
    bool ended;
};

static void load_row(struct store_load *l, const struct store_row *row,
                     const struct store_event *ev, size_t nr) {
    struct load *w = l->arg;
    assert_true(row->is_live);
    buf_printf(&w->seen, "%.*s/%zu:", STR_ARG(row->display_name), row->nr_labels);
    for (size_t i = 0; i < nr; i++) {
        buf_printf(&w->seen, "%llu=%.*s,", (unsigned long long)ev[i].seq, STR_ARG(ev[i].body));
    }
    buf_puts(&w->seen, ";");
}

static void load_end(struct store_load *l, const struct err *err) {
    assert_null(err);
    ((struct load *)l->arg)->ended = true;
}

static void test_load_live_gives_live_rows_with_their_events(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 5; i++) {
        struct store_row row = rig_row(f->a, i, 100 - i);
        row.is_live = i != 3;
        row.kind = i == 5 ? STR("operation") : row.kind;
        struct store_txn t;
        store_txn_init(&t, NULL, NULL);
        store_txn_insert(&t, &row);
        if (i != 2) {
            put_event(&t, row.name, 1, "a");
            put_event(&t, row.name, 2, "b");
        }
        assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    }
    struct store_row gone = rig_row(f->a, 4, 0);
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    store_txn_update(&t, gone.name, STR("DONE"), STR(""), 7, false);
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    f->rig.kind->again(&f->rig);
    struct load w = {.seen = BUF_INIT(BUF_NO_MAX)};
    w.l =
        (struct store_load){.kind = STR("customJob"), .row = load_row, .end = load_end, .arg = &w};
    f->rig.s->ops->load_live(f->rig.s, &w.l);
    assert_false(w.ended);
    while (!w.ended) {
        kind->turn(&f->rig);
    }
    assert_string_equal(buf_cstr(&w.seen), "job 1/2:1=a,2=b,;job 2/2:;");
    buf_fini(&w.seen);
}

int contract_run(const struct rig_kind *k) {
    kind = k;
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
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
        T(test_commits_complete_in_order_and_failures_stay_alone),
        T(test_read_from_commit_callback_sees_the_commit),
        T(test_list_pages_newest_first_and_stays_stable_under_inserts),
        T(test_exactly_full_last_page_has_no_token),
        T(test_dash_location_lists_all_locations_of_the_project),
        T(test_every_order_pages_through_all_rows_once),
        T(test_page_token_of_another_list_is_refused),
        T(test_list_filters),
        T(test_the_largest_filters_are_answered),
        T(test_page_ends_short_after_many_refused_rows),
        T(test_pages_stay_stable_under_inserts_and_deletes),
        T(test_answer_larger_than_the_arena_is_an_error),
        T(test_load_live_gives_live_rows_with_their_events),
#undef T
    };
    return cmocka_run_group_tests_name(k->name, tests, NULL, NULL);
}
