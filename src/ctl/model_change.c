/* Changes of what is registered: aliases, descriptions, labels, deletions. Each reads what it needs
 * while it holds the model, and is one transaction. */
#include "ctl/model_int.h"

#include "base/fail.h"
#include "base/limits.h"
#include "store/filter.h"

#define GATHER_PAGE 500u

struct change {
    struct model_op op; /* first */
    struct model_change *c;
    struct store_get get;
    struct store_row model, version; /* as they are, then as they become */
    struct model_record record;
    struct version_record version_record;
    uint64_t version_id;
    struct model_found found;
    /* Rows of several kinds, page by page. */
    struct store_list list;
    struct arena *page;
    struct str token;
    const char *const *kinds;
    void (*on_row)(struct change *, const struct store_row *);
    void (*gathered)(struct change *);
};

static void deliver(struct model_op *op) {
    struct change *ch = (struct change *)op;
    struct model_change *c = ch->c;
    bool is_gone = c->type == MODEL_DELETE || c->type == MODEL_DELETE_VERSION;
    c->cb(c, op->failed || is_gone ? NULL : &ch->found, op->failed ? &op->err : NULL);
}

static void forget(struct model_op *op) {
    arena_free(((struct change *)op)->page);
}

/* ---- the end of every change ---- */

static void on_committed(struct store_txn *t, const struct err *err) {
    struct change *ch = t->arg;
    (void)FAIL_POINT("model.change.after_commit", NULL);
    model_op_finish(&ch->op, err);
}

static void begin_txn(struct change *ch) {
    store_txn_init(&ch->op.txn, on_committed, ch);
    ch->op.has_txn = true;
}

static void commit(struct change *ch) {
    struct model_op *op = &ch->op;
    if (ch->c->join) {
        ch->c->join(ch->c->arg, &op->txn, &ch->found);
    }
    (void)FAIL_POINT("model.change.before_commit", NULL);
    op->m->store->ops->commit(op->m->store, &op->txn);
}

static void fail(struct change *ch, const struct err *err) {
    model_op_finish(&ch->op, err);
}

/* What the caller is shown: valid during its callback, as the operation's arena is. */
static void show(struct change *ch, bool with_version) {
    ch->found = (struct model_found){.model = &ch->model,
                                     .version_row = with_version ? &ch->version : NULL,
                                     .version = ch->version_id,
                                     .state = &ch->record.state};
}

/* Row of the model after `version` became, or stayed, its default. */
static void refresh_model(struct change *ch, const struct store_row *version,
                          const struct version_record *v) {
    ch->record.default_status = version->status;
    ch->model.spec = version->spec;
    model_row_finish(ch->op.arena, &ch->model, &ch->record, v);
}

/* ---- aliases ---- */

static void on_new_default(struct store_get *g, const struct store_row *row,
                           const struct err *err) {
    struct change *ch = g->arg;
    struct version_record v;
    struct err e;
    if (err || !row) {
        err_set(&e, ERR_DATA_LOSS, "%.*s is missing from its model", STR_ARG(g->name));
        fail(ch, err && err->code != ERR_NOT_FOUND ? err : &e);
        return;
    }
    if (version_record_decode(ch->op.arena, row->status, &v, &e)) {
        fail(ch, &e);
        return;
    }
    refresh_model(ch, row, &v);
    if (ch->c->type == MODEL_MERGE_ALIASES) {
        begin_txn(ch);
        show(ch, true);
    }
    store_txn_replace(&ch->op.txn, &ch->model);
    commit(ch);
}

/* The model's row follows its default version. */
static void follow_default(struct change *ch) {
    struct model_op *op = &ch->op;
    uint64_t version = model_state_default(&ch->record.state);
    ch->get = (struct store_get){
        .name = str_of(model_version_name(op->arena, op->name, version)),
        .arena = op->arena,
        .cb = on_new_default,
        .arg = ch,
    };
    op->m->store->ops->get(op->m->store, &ch->get);
}

static void merge_aliases(struct change *ch) {
    struct err err;
    if (model_state_merge(&ch->record.state, ch->version_id, ch->c->aliases, ch->c->nr_aliases,
                          &err)) {
        fail(ch, &err);
        return;
    }
    ch->model.update_time = models_now(ch->op.m, ch->model.update_time);
    follow_default(ch);
}

/* ---- updates ---- */

static void update_version(struct change *ch) {
    const struct model_change *c = ch->c;
    struct arena *a = ch->op.arena;
    struct version_record *v = &ch->version_record;
    v->update_time = models_now(ch->op.m, ch->model.update_time);
    if (c->sets_description) {
        v->description = c->description;
    }
    if (c->sets_labels) {
        v->labels = model_labels_copy(a, c->labels, c->nr_labels);
    }
    ch->version.update_time = ch->model.update_time = v->update_time;
    model_row_finish(a, &ch->version, &ch->record, v);
    begin_txn(ch);
    store_txn_replace(&ch->op.txn, &ch->version);
    if (model_state_default(&ch->record.state) == ch->version_id) {
        refresh_model(ch, &ch->version, v);
    }
    store_txn_replace(&ch->op.txn, &ch->model);
    show(ch, true);
    commit(ch);
}

/* The label columns of versions show the model's labels too. */
static void relabel(struct change *ch, const struct store_row *row) {
    struct store_row r = *row;
    struct version_record v;
    if (version_record_decode(ch->page, row->status, &v, NULL) == 0) {
        model_row_finish(ch->page, &r, &ch->record, &v);
        store_txn_replace(&ch->op.txn, &r);
    }
}

static void update_model(struct change *ch) {
    const struct model_change *c = ch->c;
    struct arena *a = ch->op.arena;
    struct version_record dflt;
    struct err err;
    if (version_record_decode(a, ch->record.default_status, &dflt, &err)) {
        fail(ch, &err);
        return;
    }
    ch->model.update_time = models_now(ch->op.m, ch->model.update_time);
    if (c->sets_display_name) {
        ch->model.display_name = c->display_name;
    }
    if (c->sets_description) {
        ch->record.description = c->description;
    }
    model_row_finish(a, &ch->model, &ch->record, &dflt);
    store_txn_replace(&ch->op.txn, &ch->model);
    show(ch, false);
    commit(ch);
}

/* ---- many rows ---- */

static void gather(struct change *ch);

static void next_kind(struct change *ch) {
    ch->kinds++;
    ch->token = STR("");
    if (*ch->kinds) {
        gather(ch);
    } else {
        ch->gathered(ch);
    }
}

static void on_page(struct store_list *l, const struct store_row *rows, size_t nr,
                    struct str next_token, const struct err *err) {
    struct change *ch = l->arg;
    if (err) {
        fail(ch, err);
        return;
    }
    for (size_t i = 0; i < nr; i++) {
        ch->on_row(ch, &rows[i]);
    }
    if (next_token.n) {
        ch->token = arena_str(ch->op.arena, next_token);
        gather(ch);
    } else {
        next_kind(ch);
    }
}

static void gather(struct change *ch) {
    struct model_op *op = &ch->op;
    if (ch->page) {
        arena_clear(ch->page);
    } else {
        ch->page = arena_new(ARENA_NO_MAX);
    }
    ch->list = (struct store_list){.kind = str_of(*ch->kinds),
                                   .parent = op->name,
                                   .order = STORE_ORDER_CREATE_TIME,
                                   .page_size = GATHER_PAGE,
                                   .page_token = ch->token,
                                   .arena = ch->page,
                                   .cb = on_page,
                                   .arg = ch};
    if (ch->c->type == MODEL_DELETE_VERSION) {
        ch->list.filter = filter_label(
            op->arena, STR(MODEL_VERSION_LABEL),
            str_of(arena_printf(op->arena, "%llu", (unsigned long long)ch->version_id)));
    }
    op->m->store->ops->list(op->m->store, &ch->list);
}

/* ---- deletions ---- */

static void drop_version(struct change *ch, const struct store_row *row,
                         const struct version_record *v) {
    struct store_txn *t = &ch->op.txn;
    store_txn_delete(t, row->name);
    store_txn_kv(t, MODEL_SEAL_SPACE, row->name, (struct str){0});
    if (v->token.n) {
        store_txn_kv(t, MODEL_TOKEN_SPACE, v->token, (struct str){0});
    }
    for (size_t i = 0; i < v->facts.n; i++) {
        if (model_fact_is_indexed(v->facts.p[i].key)) {
            store_txn_kv(t, MODEL_LINEAGE_SPACE,
                         model_lineage_key(ch->op.arena, v->facts.p[i].value, row->name),
                         (struct str){0});
        }
    }
}

static void drop(struct change *ch, const struct store_row *row) {
    struct version_record v;
    if (str_eqc(row->kind, MODEL_VERSION_KIND) &&
        version_record_decode(ch->page, row->status, &v, NULL) == 0) {
        drop_version(ch, row, &v);
    } else {
        store_txn_delete(&ch->op.txn, row->name);
    }
}

static void delete_model(struct change *ch) {
    show(ch, false);
    store_txn_delete(&ch->op.txn, ch->op.name);
    commit(ch);
}

static void delete_version(struct change *ch) {
    struct err err;
    show(ch, true);
    if (model_state_remove(&ch->record.state, ch->version_id, &err)) {
        fail(ch, &err);
        return;
    }
    drop_version(ch, &ch->version, &ch->version_record);
    ch->model.update_time = models_now(ch->op.m, ch->model.update_time);
    follow_default(ch);
}

/* ---- the beginning of every change ---- */

static void decided(struct change *ch) {
    static const char *const versions[] = {MODEL_VERSION_KIND, NULL};
    static const char *const belongings[] = {MODEL_SLICE_KIND, MODEL_EVALUATION_KIND, NULL};
    static const char *const everything[] = {MODEL_SLICE_KIND, MODEL_EVALUATION_KIND,
                                             MODEL_VERSION_KIND, NULL};
    const struct model_change *c = ch->c;
    struct arena *a = ch->op.arena;
    struct err err;
    if (c->guard && c->guard(c->arg, &ch->model, ch->version.name.n ? &ch->version : NULL, &err)) {
        fail(ch, &err);
        return;
    }
    switch (c->type) {
    case MODEL_ATTACH:
        begin_txn(ch);
        show(ch, true);
        commit(ch);
        break;
    case MODEL_MERGE_ALIASES:
        merge_aliases(ch);
        break;
    case MODEL_UPDATE_VERSION:
        update_version(ch);
        break;
    case MODEL_UPDATE:
        begin_txn(ch);
        if (c->sets_labels) {
            ch->record.labels = model_labels_copy(a, c->labels, c->nr_labels);
            ch->kinds = versions;
            ch->on_row = relabel;
            ch->gathered = update_model;
            gather(ch);
        } else {
            update_model(ch);
        }
        break;
    case MODEL_DELETE_VERSION:
    case MODEL_DELETE:
        begin_txn(ch);
        ch->kinds = c->type == MODEL_DELETE ? everything : belongings;
        ch->on_row = drop;
        ch->gathered = c->type == MODEL_DELETE ? delete_model : delete_version;
        gather(ch);
        break;
    }
}

static void on_version(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct change *ch = g->arg;
    struct err e;
    if (err || !row) {
        model_fail_missing(&e, ch->op.name, ch->c->version);
        fail(ch, err && err->code != ERR_NOT_FOUND ? err : &e);
    } else if (version_record_decode(ch->op.arena, row->status, &ch->version_record, &e)) {
        fail(ch, &e);
    } else {
        ch->version = *row;
        decided(ch);
    }
}

static void on_model(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct change *ch = g->arg;
    struct model_op *op = &ch->op;
    const struct model_change *c = ch->c;
    bool is_whole = c->type == MODEL_UPDATE || c->type == MODEL_DELETE;
    struct err e;
    if (err || !row) {
        model_fail_missing(&e, op->name, STR(""));
        fail(ch, err && err->code != ERR_NOT_FOUND ? err : &e);
        return;
    }
    ch->model = *row;
    if (model_record_decode(op->arena, row->status, &ch->record, &e)) {
        fail(ch, &e);
        return;
    }
    ch->version_id = model_state_resolve(&ch->record.state, is_whole ? STR("") : c->version);
    if (is_whole) {
        decided(ch);
    } else if (!ch->version_id) {
        model_fail_missing(&e, op->name, c->version);
        fail(ch, &e);
    } else {
        ch->get = (struct store_get){
            .name = str_of(model_version_name(op->arena, op->name, ch->version_id)),
            .arena = op->arena,
            .cb = on_version,
            .arg = ch};
        op->m->store->ops->get(op->m->store, &ch->get);
    }
}

static void locked(struct model_op *op) {
    struct change *ch = (struct change *)op;
    ch->get = (struct store_get){.name = op->name, .arena = op->arena, .cb = on_model, .arg = ch};
    op->m->store->ops->get(op->m->store, &ch->get);
}

void model_change(struct models *m, struct model_change *c) {
    struct change *ch = model_op_new(m, sizeof(*ch), deliver);
    ch->c = c;
    ch->op.forget = forget;
    if (!model_op_refused(&ch->op)) {
        ch->op.name = arena_str(ch->op.arena, c->name);
        model_op_lock(&ch->op, locked);
    }
}
