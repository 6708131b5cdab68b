/* The blocking wrappers of contract_store.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "contract_store.h"

struct wait {
    bool done;
    struct err err;
    void *ret;
};

static void wait_for(struct rig *r, struct wait *w) {
    assert_false(w->done); /* never from within the call itself */
    while (!w->done) {
        r->kind->turn(r);
    }
}

static void finish(struct wait *w, const struct err *err) {
    assert_false(w->done); /* exactly once */
    w->done = true;
    if (err) {
        assert_int_not_equal(err->code, ERR_OK);
        w->err = *err;
    }
}

static void on_commit(struct store_txn *t, const struct err *err) {
    finish(t->arg, err);
}

struct err rig_commit(struct rig *r, struct store_txn *t) {
    struct wait w = {0};
    t->cb = on_commit;
    t->arg = &w;
    r->s->ops->commit(r->s, t);
    wait_for(r, &w);
    store_txn_fini(t);
    return w.err;
}

static void on_get(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct wait *w = g->arg;
    assert_true((row == NULL) == (err != NULL));
    if (row) {
        *(struct store_row *)w->ret = *row;
    }
    finish(w, err);
}

struct err rig_get(struct rig *r, const char *name, struct arena *a, struct store_row *ret) {
    struct wait w = {.ret = ret};
    struct store_get g = {.name = str_of(name), .arena = a, .cb = on_get, .arg = &w};
    r->s->ops->get(r->s, &g);
    wait_for(r, &w);
    return w.err;
}

static void on_list(struct store_list *l, const struct store_row *rows, size_t nr, struct str next,
                    const struct err *err) {
    struct wait *w = l->arg;
    *(struct rig_page *)w->ret = (struct rig_page){.rows = rows, .nr = nr, .next = next};
    finish(w, err);
}

struct rig_page rig_list(struct rig *r, struct store_list *l) {
    struct rig_page page = {0};
    struct wait w = {.ret = &page};
    l->cb = on_list;
    l->arg = &w;
    r->s->ops->list(r->s, l);
    wait_for(r, &w);
    page.err = w.err;
    return page;
}

static void on_kv(struct store_kv_get *g, struct str value, const struct err *err) {
    struct wait *w = g->arg;
    *(struct str *)w->ret = value;
    finish(w, err);
}

struct str rig_kv(struct rig *r, const char *space, const char *key, struct arena *a) {
    struct str value = {0};
    struct wait w = {.ret = &value};
    struct store_kv_get g = {
        .space = space, .key = str_of(key), .arena = a, .cb = on_kv, .arg = &w};
    r->s->ops->kv_get(r->s, &g);
    wait_for(r, &w);
    assert_int_equal(w.err.code, 0);
    return value;
}

static void on_events(struct store_events *e, const struct store_event *ev, size_t n,
                      const struct err *err) {
    struct wait *w = e->arg;
    *(struct rig_events *)w->ret = (struct rig_events){ev, n};
    finish(w, err);
}

struct rig_events rig_events(struct rig *r, const char *owner, struct arena *a) {
    struct rig_events out = {0};
    struct wait w = {.ret = &out};
    struct store_events e = {.owner = str_of(owner), .arena = a, .cb = on_events, .arg = &w};
    r->s->ops->events(r->s, &e);
    wait_for(r, &w);
    assert_int_equal(w.err.code, 0);
    return out;
}

struct store_row rig_row(struct arena *a, uint64_t id, usec_t create_time) {
    struct store_row row = {
        .kind = STR("customJob"),
        .parent = STR("projects/1/locations/us-central1"),
        .state = STR("JOB_STATE_QUEUED"),
        .create_time = create_time,
        .update_time = create_time,
        .is_live = true,
        .spec = STR("spec\0bytes"),
        .status = STR("cusp-rec 1\n"),
    };
    row.name = str_of(arena_printf(a, "projects/1/locations/us-central1/customJobs/%llu",
                                   (unsigned long long)id));
    row.display_name = str_of(arena_printf(a, "job %llu", (unsigned long long)id));
    row.labels = arena_calloc(a, 2, sizeof(*row.labels));
    row.labels[0] = (struct store_label){STR("team"), STR("red")};
    row.labels[1] = (struct store_label){STR("a key"), STR("")};
    row.nr_labels = 2;
    return row;
}
