/* When things complete: commits, reads after them, and the load at start-up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "contract_int.h"

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
        f->rig.kind->turn(&f->rig);
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
        f->rig.kind->turn(&f->rig);
    }
    store_txn_fini(&c.t);
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
        f->rig.kind->turn(&f->rig);
    }
    assert_string_equal(buf_cstr(&w.seen), "job 1/2:1=a,2=b,;job 2/2:;");
    buf_fini(&w.seen);
}

int contract_order(const struct rig_kind *k) {
    const struct CMUnitTest tests[] = {
        T(test_commits_complete_in_order_and_failures_stay_alone),
        T(test_read_from_commit_callback_sees_the_commit),
        T(test_load_live_gives_live_rows_with_their_events),
    };
    return cmocka_run_group_tests_name(k->name, tests, NULL, NULL);
}
