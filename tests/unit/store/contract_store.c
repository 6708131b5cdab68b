/* What every store promises; see store.h. The groups have files of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "contract_int.h"

static const struct rig_kind *kind;

int fix_setup(void **state) {
    struct fix *f = xcalloc(1, sizeof(*f));
    f->a = arena_new(ARENA_NO_MAX);
    f->rig.kind = kind;
    kind->open(&f->rig);
    *state = f;
    return 0;
}

int fix_teardown(void **state) {
    struct fix *f = *state;
    kind->close(&f->rig);
    arena_free(f->a);
    free(f);
    return 0;
}

struct store_row insert_row(struct fix *f, uint64_t id, usec_t at) {
    struct store_row row = rig_row(f->a, id, at);
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    store_txn_insert(&t, &row);
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    return row;
}

void put_event(struct store_txn *t, struct str owner, uint64_t seq, const char *body) {
    struct store_event ev = {.owner = owner,
                             .seq = seq,
                             .type = 7,
                             .version = 2,
                             .time = 1000 + seq,
                             .body = str_of(body)};
    store_txn_event(t, &ev);
}

void assert_str(struct str a, struct str b) {
    assert_int_equal(a.n, b.n);
    if (a.n) {
        assert_memory_equal(a.p, b.p, a.n);
    }
}

void assert_row(const struct store_row *a, const struct store_row *b) {
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

int contract_run(const struct rig_kind *k) {
    kind = k;
    return contract_rows(k) + contract_order(k) + contract_lists(k);
}
