/* Uploads: one transaction holds the version, the model's new state, and what the caller adds. */
#include "ctl/model_int.h"

#include "base/fail.h"

struct upload {
    struct model_op op; /* first */
    struct model_upload *u;
    struct store_get get;
    struct store_kv_get kv;
    struct model_uploaded done;
    struct err refused; /* by the first commit, perhaps for the token's sake */
};

static void begin(struct upload *up);

static void deliver(struct model_op *op) {
    struct upload *up = (struct upload *)op;
    up->u->cb(up->u, op->failed ? NULL : &up->done, op->failed ? &op->err : NULL);
}

/* ---- the same again ---- */

static void on_again_model(struct store_get *g, const struct store_row *row,
                           const struct err *err) {
    struct upload *up = g->arg;
    struct model_op *op = &up->op;
    const struct model_state *s;
    struct err e;
    if (err || !row) {
        model_fail_missing(&e, up->done.name, STR(""));
        model_op_finish(op, err && err->code != ERR_NOT_FOUND ? err : &e);
        return;
    }
    if (model_row_state(op->arena, row, &s, &e)) {
        model_op_finish(op, &e);
        return;
    }
    up->done.aliases = model_state_aliases(s, up->done.version, &up->done.nr_aliases);
    model_op_finish(op, NULL);
}

static void on_token(struct store_kv_get *kv, struct str value, const struct err *err) {
    struct upload *up = kv->arg;
    struct model_op *op = &up->op;
    if (err) {
        model_op_finish(op, err);
        return;
    }
    if (!value.p && up->refused.code) { /* it was not about the token */
        model_op_finish(op, &up->refused);
        return;
    }
    if (!value.p) {
        begin(up);
        return;
    }
    struct str version;
    up->done.version_name = arena_str(op->arena, value);
    up->done.name = arena_str(op->arena, model_name_cut(value, &version));
    up->done.is_again = true;
    (void)str_to_u64(version, &up->done.version);
    up->get = (struct store_get){
        .name = up->done.name, .arena = op->arena, .cb = on_again_model, .arg = up};
    op->m->store->ops->get(op->m->store, &up->get);
}

static void look_for_token(struct upload *up) {
    struct store *st = up->op.m->store;
    up->kv = (struct store_kv_get){.space = MODEL_TOKEN_SPACE,
                                   .key = up->u->token,
                                   .arena = up->op.arena,
                                   .cb = on_token,
                                   .arg = up};
    st->ops->kv_get(st, &up->kv);
}

/* ---- a new version ---- */

static void on_committed(struct store_txn *t, const struct err *err) {
    struct upload *up = t->arg;
    struct model_op *op = &up->op;
    struct err e;
    (void)FAIL_POINT("model.upload.after_commit", NULL);
    if (err && err->code == ERR_FAILED_PRECONDITION && up->u->token.n) {
        /* Somebody else's upload for the same token was quicker? */
        up->refused = *err;
        store_txn_fini(&op->txn);
        op->has_txn = false;
        look_for_token(up);
        return;
    }
    if (err && err->code == ERR_ALREADY_EXISTS) { /* another kind of row: ids of ours are unused */
        err_field(&e, ERR_ALREADY_EXISTS, "model_id", "The Model \"%.*s\" already exists.",
                  (int)(op->name.n < 300 ? op->name.n : 300), op->name.p);
        err = &e;
    }
    model_op_finish(op, err);
}

static void index_facts(struct store_txn *t, struct arena *a, const struct rec *facts,
                        struct str version_name) {
    for (size_t i = 0; i < facts->n; i++) {
        if (model_fact_is_indexed(facts->p[i].key)) {
            store_txn_kv(t, MODEL_LINEAGE_SPACE,
                         model_lineage_key(a, facts->p[i].value, version_name), STR(""));
        }
    }
}

/* The facts as given, without those that are ours to say. */
static int read_facts(struct arena *a, struct str lines, struct rec *ret, struct err *err) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct version_record v;
    rec_begin(&b);
    rec_put_u64(&b, "version", 1);
    buf_put_str(&b, lines);
    if (version_record_decode(a, arena_str(a, buf_str(&b)), &v, err)) {
        return err_wrap(err, "facts of a model version");
    }
    *ret = v.facts;
    return 0;
}

static int make_version(struct upload *up, struct model_record *m, struct store_row *model,
                        bool is_new, struct err *err) {
    struct model_op *op = &up->op;
    const struct model_upload *u = up->u;
    struct arena *a = op->arena;
    struct version_record v = {.description = u->version_description, .token = u->token};
    if (read_facts(a, u->facts, &v.facts, err) ||
        model_state_add(&m->state, u->aliases, u->nr_aliases, &v.version, err)) {
        return -1;
    }
    v.create_time = v.update_time = models_now(op->m, is_new ? 0 : model->update_time);
    if (!is_new) { /* a new model's labels are the model's */
        v.labels = model_labels_copy(a, u->labels, u->nr_labels);
    }
    up->done.name = op->name;
    up->done.version = v.version;
    up->done.version_name = str_of(model_version_name(a, op->name, v.version));
    up->done.aliases = model_state_aliases(&m->state, v.version, &up->done.nr_aliases);
    struct store_row row = {.name = up->done.version_name,
                            .kind = STR(MODEL_VERSION_KIND),
                            .parent = op->name,
                            .create_time = v.create_time,
                            .update_time = v.update_time,
                            .spec = u->spec};
    model_row_finish(a, &row, m, &v);
    model->update_time = v.update_time;
    if (model_state_default(&m->state) == v.version) {
        m->default_status = row.status;
        model->spec = u->spec;
        model_row_finish(a, model, m, &v);
    } else {
        struct version_record dflt;
        if (version_record_decode(a, m->default_status, &dflt, err)) {
            return -1;
        }
        model_row_finish(a, model, m, &dflt);
    }
    struct store_txn *t = &op->txn;
    store_txn_init(t, on_committed, up);
    op->has_txn = true;
    if (is_new) {
        model->create_time = v.create_time;
        store_txn_insert(t, model);
    } else {
        store_txn_replace(t, model);
    }
    store_txn_insert(t, &row);
    index_facts(t, a, &v.facts, row.name);
    if (u->seal.n) {
        store_txn_kv(t, MODEL_SEAL_SPACE, row.name, u->seal);
    }
    if (u->token.n) {
        store_txn_kv_expect(t, MODEL_TOKEN_SPACE, u->token, (struct str){0});
        store_txn_kv(t, MODEL_TOKEN_SPACE, u->token, row.name);
    }
    return 0;
}

static void on_model(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct upload *up = g->arg;
    struct model_op *op = &up->op;
    const struct model_upload *u = up->u;
    struct model_record m = {0};
    struct store_row model;
    struct err e;
    bool is_here = !err && row, is_new = !u->parent_model.n;
    int rc = 0;
    if (err && err->code != ERR_NOT_FOUND) {
        model_op_finish(op, err);
        return;
    }
    if (is_new) {
        rc = is_here ? err_field(&e, ERR_ALREADY_EXISTS, "model_id",
                                 "The Model \"%.*s\" already exists.", STR_ARG(op->name))
                     : 0;
        model = (struct store_row){.name = op->name,
                                   .kind = STR(MODEL_KIND),
                                   .parent = u->parent,
                                   .display_name = u->display_name};
        model_state_init(&m.state, op->arena);
        m.description = u->description;
        m.labels = model_labels_copy(op->arena, u->labels, u->nr_labels);
    } else if (is_here) {
        model = *row;
        rc = model_record_decode(op->arena, row->status, &m, &e);
    } else {
        rc = err_field(&e, ERR_NOT_FOUND, "parent_model", "The Model \"%.*s\" does not exist.",
                       STR_ARG(op->name));
    }
    if (rc || make_version(up, &m, &model, is_new, &e)) {
        model_op_finish(op, &e);
        return;
    }
    if (u->join) {
        u->join(u->join_arg, &op->txn, &up->done);
    }
    (void)FAIL_POINT("model.upload.before_commit", NULL);
    op->m->store->ops->commit(op->m->store, &op->txn);
}

static void locked(struct model_op *op) {
    struct upload *up = (struct upload *)op;
    up->get = (struct store_get){.name = op->name, .arena = op->arena, .cb = on_model, .arg = up};
    op->m->store->ops->get(op->m->store, &up->get);
}

/* The model's name, and whether it may be that. */
static int name_of(struct models *m, struct arena *a, const struct model_upload *u, struct str *ret,
                   struct err *err) {
    const char *fault = u->model_id.n ? model_id_fault(u->model_id) : NULL;
    if (u->model_id.n && u->parent_model.n) {
        return err_field(err, ERR_INVALID_ARGUMENT, "model_id",
                         "model_id \"%.*s\" and parent_model cannot both be set: a new version has "
                         "its model's id.",
                         (int)(u->model_id.n < 100 ? u->model_id.n : 100), u->model_id.p);
    }
    if (fault) {
        return err_field(err, ERR_INVALID_ARGUMENT, "model_id", "Model id \"%.*s\" %s",
                         (int)(u->model_id.n < 100 ? u->model_id.n : 100), u->model_id.p, fault);
    }
    if (u->parent_model.n) {
        struct str rest = u->parent_model;
        if (!str_starts(rest, u->parent) ||
            !str_starts(str_sub(rest, u->parent.n, rest.n), STR("/models/"))) {
            return err_field(err, ERR_INVALID_ARGUMENT, "parent_model",
                             "The parent model \"%.*s\" must be in %.*s, where the version is "
                             "made.",
                             (int)(rest.n < 300 ? rest.n : 300), rest.p, STR_ARG(u->parent));
        }
        *ret = rest;
    } else if (u->model_id.n) {
        *ret =
            str_of(arena_printf(a, "%.*s/models/%.*s", STR_ARG(u->parent), STR_ARG(u->model_id)));
    } else {
        *ret = str_of(arena_printf(a, "%.*s/models/%llu", STR_ARG(u->parent),
                                   (unsigned long long)(u->own_id ? u->own_id : models_new_id(m))));
    }
    return 0;
}

static void begin(struct upload *up) {
    struct model_op *op = &up->op;
    struct err err;
    if (name_of(op->m, op->arena, up->u, &op->name, &err)) {
        model_op_finish(op, &err);
    } else {
        model_op_lock(op, locked);
    }
}

void model_upload(struct models *m, struct model_upload *u) {
    struct upload *up = model_op_new(m, sizeof(*up), deliver);
    up->u = u;
    if (model_op_refused(&up->op)) {
        return;
    }
    if (u->token.n) {
        look_for_token(up);
    } else {
        begin(up);
    }
}

/* ---- looking ahead ---- */

struct check {
    struct model_op op; /* first */
    struct model_upload_check *c;
    struct store_get get;
};

static void deliver_check(struct model_op *op) {
    struct check *ck = (struct check *)op;
    ck->c->cb(ck->c, op->failed ? &op->err : NULL);
}

static void on_checked(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct check *ck = g->arg;
    const struct model_upload *u = ck->c->u;
    bool is_here = !err && row;
    struct err e;
    if (err && err->code != ERR_NOT_FOUND) {
        model_op_finish(&ck->op, err);
    } else if (u->parent_model.n && !is_here) {
        err_field(&e, ERR_NOT_FOUND, "parent_model", "The Model \"%.*s\" does not exist.",
                  STR_ARG(ck->op.name));
        model_op_finish(&ck->op, &e);
    } else if (!u->parent_model.n && is_here) {
        err_field(&e, ERR_ALREADY_EXISTS, "model_id", "The Model \"%.*s\" already exists.",
                  STR_ARG(ck->op.name));
        model_op_finish(&ck->op, &e);
    } else {
        model_op_finish(&ck->op, NULL);
    }
}

void model_upload_check(struct models *m, struct model_upload_check *c) {
    struct check *ck = model_op_new(m, sizeof(*ck), deliver_check);
    struct model_op *op = &ck->op;
    struct model_state s;
    struct err err;
    uint64_t version;
    ck->c = c;
    if (model_op_refused(op)) {
        return;
    }
    model_state_init(&s, op->arena);
    if (name_of(m, op->arena, c->u, &op->name, &err) ||
        model_state_add(&s, c->u->aliases, c->u->nr_aliases, &version, &err)) {
        model_op_finish(op, &err);
        return;
    }
    ck->get = (struct store_get){.name = op->name, .arena = op->arena, .cb = on_checked, .arg = ck};
    m->store->ops->get(m->store, &ck->get);
}
