/* The registry: who may change a model now, and looking models up. */
#include "ctl/model_int.h"

struct model_lock {
    struct list waiters; /* struct model_op; the first one holds it */
};

static void deliver_done(struct timer *t);

struct models *models_new(struct clock *clock, struct rng *rng, struct store *store) {
    struct models *m = xcalloc(1, sizeof(*m));
    m->clock = clock;
    m->rng = rng;
    m->store = store;
    map_init(&m->locks);
    list_init(&m->done);
    list_init(&m->ops);
    m->soon.fn = deliver_done;
    return m;
}

static void soon(struct models *m) {
    m->clock->ops->arm(m->clock, &m->soon, m->clock->ops->mono(m->clock));
}

void models_stop(struct models *m, void (*cb)(void *), void *arg) {
    m->is_stopping = true;
    m->stop_cb = cb;
    m->stop_arg = arg;
    soon(m);
}

uint64_t models_new_id(struct models *m) {
    return rng_resource_id(m->rng);
}

usec_t models_now(struct models *m, usec_t before) {
    usec_t now = m->clock->ops->wall(m->clock);
    if (now <= m->last_time) {
        now = m->last_time + 1;
    }
    if (now <= before) {
        now = before + 1;
    }
    m->last_time = now;
    return now;
}

/* ---- calls ---- */

void *model_op_new(struct models *m, size_t size, void (*deliver)(struct model_op *)) {
    struct model_op *op = xcalloc(1, size);
    op->m = m;
    op->arena = arena_new(ARENA_NO_MAX);
    op->deliver = deliver;
    list_init(&op->link);
    list_push_tail(&m->ops, &op->all);
    return op;
}

static void op_free(struct model_op *op) {
    list_del(&op->all);
    if (op->has_txn) {
        store_txn_fini(&op->txn);
    }
    if (op->forget) {
        op->forget(op);
    }
    arena_free(op->arena);
    free(op);
}

static void deliver_done(struct timer *t) {
    struct models *m = CONTAINER_OF(t, struct models, soon);
    struct list done;
    list_init(&done);
    list_move_all(&m->done, &done); /* what they ask for anew waits for the next turn */
    while (!list_is_empty(&done)) {
        struct model_op *op = list_first(&done, struct model_op, link);
        list_del(&op->link);
        if (op->locked) {
            void (*locked)(struct model_op *) = op->locked;
            op->locked = NULL;
            locked(op);
            continue;
        }
        op->deliver(op);
        op_free(op);
    }
    if (m->is_stopping && list_is_empty(&m->ops) && m->stop_cb) {
        void (*cb)(void *) = m->stop_cb;
        m->stop_cb = NULL;
        cb(m->stop_arg); /* may free m */
    }
}

/* After a simulated crash there may be calls that nobody will answer. */
void models_free(struct models *m) {
    const struct map_slot *slot;
    size_t it = 0;
    if (!m) {
        return;
    }
    m->clock->ops->disarm(m->clock, &m->soon);
    while (!list_is_empty(&m->ops)) {
        struct model_op *op = list_first(&m->ops, struct model_op, all);
        list_del(&op->link);
        op_free(op);
    }
    while ((slot = map_next(&m->locks, &it))) {
        free(slot->value);
    }
    map_fini(&m->locks);
    free(m);
}

static void later(struct model_op *op) {
    list_push_tail(&op->m->done, &op->link);
    soon(op->m);
}

bool model_op_refused(struct model_op *op) {
    struct err err;
    if (!op->m->is_stopping) {
        return false;
    }
    err_set(&err, ERR_UNAVAILABLE, "the server is stopping");
    model_op_finish(op, &err);
    return true;
}

void model_op_lock(struct model_op *op, void (*locked)(struct model_op *)) {
    struct model_lock *l = map_get(&op->m->locks, op->name);
    op->locked = locked;
    op->holds_lock = true;
    if (!l) {
        l = xcalloc(1, sizeof(*l));
        list_init(&l->waiters);
        (void)map_put(&op->m->locks, op->name, l);
        later(op);
        return;
    }
    list_push_tail(&l->waiters, &op->link);
}

static void unlock(struct model_op *op) {
    struct models *m = op->m;
    struct model_lock *l = map_get(&m->locks, op->name);
    op->holds_lock = false;
    CHECK(l);
    if (list_is_empty(&l->waiters)) {
        (void)map_del(&m->locks, op->name);
        free(l);
        return;
    }
    struct model_op *next = list_first(&l->waiters, struct model_op, link);
    list_del(&next->link);
    later(next);
}

void model_op_finish(struct model_op *op, const struct err *err) {
    if (err) {
        op->failed = true;
        op->err = *err;
    }
    if (op->holds_lock) {
        unlock(op);
    }
    op->locked = NULL;
    later(op);
}

/* ---- rows ---- */

char *model_version_name(struct arena *a, struct str model, uint64_t version) {
    return arena_printf(a, "%.*s@%llu", STR_ARG(model), (unsigned long long)version);
}

bool model_fact_is_indexed(struct str key) {
    return str_eqc(key, MODEL_FACT_PIPELINE) || str_eqc(key, MODEL_FACT_JOB) ||
           str_eqc(key, MODEL_FACT_DATASET) || str_eqc(key, MODEL_FACT_SOURCE);
}

struct str model_lineage_key(struct arena *a, struct str resource, struct str version_name) {
    return str_of(arena_printf(a, "%.*s\x01%.*s", STR_ARG(resource), STR_ARG(version_name)));
}

int model_fail_missing(struct err *err, struct str name, struct str version) {
    if (version.n) {
        return err_set(err, ERR_NOT_FOUND,
                       "The Model \"%.*s@%.*s\" does not exist: no version has that id or alias.",
                       (int)(name.n < 300 ? name.n : 300), name.p,
                       (int)(version.n < 140 ? version.n : 140), version.p);
    }
    return err_set(err, ERR_NOT_FOUND, "The Model \"%.*s\" does not exist.",
                   (int)(name.n < 300 ? name.n : 300), name.p);
}

void model_row_finish(struct arena *a, struct store_row *row, const struct model_record *m,
                      const struct version_record *v) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct model_labels labels = model_labels_merge(a, m->labels, v->labels);
    row->labels = (struct store_label *)labels.p;
    row->nr_labels = labels.n;
    if (str_eqc(row->kind, MODEL_KIND)) {
        model_record_encode(m, &b);
    } else {
        version_record_encode(v, &b);
    }
    row->status = arena_str(a, buf_str(&b));
}

/* ---- looking ---- */

static void on_version(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct model_get *mg = g->arg;
    struct err missing;
    if (err && err->code != ERR_NOT_FOUND) {
        mg->cb(mg, NULL, err);
    } else if (err || !row) {
        model_fail_missing(&missing, mg->name, mg->version);
        mg->cb(mg, NULL, &missing);
    } else {
        mg->found.version_row = row;
        mg->cb(mg, &mg->found, NULL);
    }
}

static void on_model(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct model_get *mg = g->arg;
    struct store *st = mg->models->store;
    struct err e;
    if (err ? err->code == ERR_NOT_FOUND : !row) {
        model_fail_missing(&e, mg->name, STR(""));
        err = &e;
    } else if (!err && model_row_state(mg->arena, row, &mg->found.state, &e)) {
        err = &e;
    }
    if (err) {
        mg->cb(mg, NULL, err);
        return;
    }
    bool is_named = mg->version.n && !str_eq(mg->version, STR("-"));
    mg->row = *row;
    mg->found.model = &mg->row;
    mg->found.version = model_state_resolve(mg->found.state, mg->version);
    if (!mg->found.version) {
        model_fail_missing(&e, mg->name, mg->version);
        mg->cb(mg, NULL, &e);
    } else if (!is_named && !mg->want_version) {
        mg->cb(mg, &mg->found, NULL);
    } else {
        mg->get = (struct store_get){
            .name = str_of(model_version_name(mg->arena, mg->name, mg->found.version)),
            .arena = mg->arena,
            .cb = on_version,
            .arg = mg};
        st->ops->get(st, &mg->get);
    }
}

void model_get(struct models *m, struct model_get *g) {
    g->models = m;
    g->found = (struct model_found){0};
    g->get = (struct store_get){.name = g->name, .arena = g->arena, .cb = on_model, .arg = g};
    m->store->ops->get(m->store, &g->get);
}
