/* DatasetService: versions (a version keeps the file of items that its dataset had) and saved
 * queries, which are part of their dataset's row. */
#include "api/svc_dataset.h"

#include "api/etag.h"
#include "api/read_mask.h"
#include "base/limits.h"
#include "pb/pbcheck.h"
#include "pb/wkt.h"

#define DISPLAY_NAME_MAX 128u

static void reply_version(struct call *c, const struct store_row *row, const struct pb_mask *mask) {
    Aip__DatasetVersion *v;
    struct err err;
    if (dataset_version_message(c->arena, row, &v, &err)) {
        call_fail(c, &err);
        return;
    }
    pb_mask_apply(mask, &v->base);
    call_reply(c, &v->base);
}

static void check_display_name(const char *text, struct violations *vs) {
    struct str s = str_of(text);
    if (str_utf8_len(s) > DISPLAY_NAME_MAX) {
        violations_add(vs, "dataset_version.display_name",
                       "The display name has %zu characters; at most %u are allowed.",
                       str_utf8_len(s), DISPLAY_NAME_MAX);
    }
}

static bool pack_version(struct arena *a, const Aip__DatasetVersion *v, struct str *ret) {
    Aip__DatasetVersion *own = (Aip__DatasetVersion *)pb_clone(a, &v->base);
    if (!own) {
        return false;
    }
    own->name = own->etag = (char *)"";
    own->create_time = own->update_time = NULL;
    return pb_pack_in(a, &own->base, ret);
}

/* A change of a dataset's version or of the dataset itself, and the answer. */
struct version_call {
    struct dataset_change change;
    struct dataset_name name;
    struct store_row row;
    Google__Longrunning__Operation *op;
    const struct pb_mask *mask;
    struct store_get get;
    struct dataset_status status;
    Aip__DatasetVersion *version;
};

static void reply_op(struct dataset_change *ch) {
    struct version_call *v = ch->arg;
    datasets_tidy(ch->call->api->datasets, ch->dataset);
    svc_operation_reply(ch->call, v->op, ch->call->rpc->is_beta);
}

static void refuse(struct dataset_change *ch, const struct err *err) {
    dataset_change_end(ch);
    call_fail(ch->call, err);
}

/* The change begins: in the turn of v->name.dataset, on the row `name`. */
static void change(struct call *c, struct version_call *v, const char *what, struct str name,
                   void (*then)(struct dataset_change *, const struct store_row *),
                   void (*done)(struct dataset_change *)) {
    v->change = (struct dataset_change){.call = c,
                                        .dataset = v->name.dataset,
                                        .what = what,
                                        .name = name,
                                        .then = then,
                                        .done = done,
                                        .arg = v};
    dataset_change(&v->change);
}

static struct str version_name(struct call *c, const struct dataset_name *n) {
    return str_of(
        arena_printf(c->arena, "%.*s/datasetVersions/%.*s", STR_ARG(n->dataset), STR_ARG(n->id)));
}

/* ---- create ---- */

static void create_version(struct dataset_change *ch, const struct store_row *row) {
    struct version_call *v = ch->arg;
    struct call *c = ch->call;
    const Aip__CreateDatasetVersionRequest *req = (Aip__CreateDatasetVersionRequest *)c->req;
    Aip__DatasetVersion made = AIP__DATASET_VERSION__INIT, *msg;
    Aip__Dataset *ds;
    struct err err;
    usec_t now = c->api->clock->ops->wall(c->api->clock);
    if (dataset_message(c->arena, row, &ds, &err)) {
        refuse(ch, &err);
        return;
    }
    made.display_name = req->dataset_version->display_name;
    made.metadata = ds->metadata;
    made.model_reference = ds->model_reference;
    struct store_row version = {
        .name = str_of(arena_printf(c->arena, "%.*s/datasetVersions/%llu", STR_ARG(ch->dataset),
                                    (unsigned long long)rng_resource_id(c->api->rng))),
        .kind = STR(DATASET_VERSION_KIND),
        .parent = ch->dataset,
        .display_name = str_of(made.display_name),
        .create_time = now,
        .update_time = now,
        .status = row->status,
    };
    if (!pack_version(c->arena, &made, &version.spec) ||
        dataset_version_message(c->arena, &version, &msg, &err)) {
        err_set(&err, ERR_INVALID_ARGUMENT, "The version is too large.");
        refuse(ch, &err);
        return;
    }
    Aip__CreateDatasetVersionOperationMetadata meta =
        AIP__CREATE_DATASET_VERSION_OPERATION_METADATA__INIT;
    store_txn_insert(&ch->txn, &version);
    v->op = dataset_done_op(c, &ch->txn, v->name.parts.parent, v->name.parts.rest, true, &meta.base,
                            &msg->base);
    dataset_change_commit(ch);
}

void svc_dataset_version_create(struct call *c) {
    Aip__CreateDatasetVersionRequest *req = (Aip__CreateDatasetVersionRequest *)c->req;
    struct version_call *v = arena_own(c->arena, sizeof(*v));
    struct violations vs;
    struct err err;
    if (dataset_name_parse(c, req->parent, "parent", NULL, NULL, &v->name, &err)) {
        call_fail(c, &err);
        return;
    }
    violations_init(&vs, c->arena);
    if (!req->dataset_version) { /* nothing in it is required */
        req->dataset_version = arena_own(c->arena, sizeof(*req->dataset_version));
        aip__dataset_version__init(req->dataset_version);
    }
    check_display_name(req->dataset_version->display_name, &vs);
    if (vs.n) {
        call_fail_violations(c, &vs);
        return;
    }
    change(c, v, "Dataset", v->name.dataset, create_version, reply_op);
}

/* ---- get, list ---- */

struct get {
    struct dataset_fetch fetch;
    const struct pb_mask *mask;
};

static void on_got(struct dataset_fetch *f, const struct store_row *row) {
    struct get *g = f->arg;
    reply_version(f->call, row, g->mask);
}

void svc_dataset_version_get(struct call *c) {
    Aip__GetDatasetVersionRequest *req = (Aip__GetDatasetVersionRequest *)c->req;
    struct get *g = arena_own(c->arena, sizeof(*g));
    struct dataset_name n;
    struct err err;
    if (dataset_name_parse(c, req->name, "name", "datasetVersions", NULL, &n, &err) ||
        read_mask_parse(c->arena, req->read_mask, &aip__dataset_version__descriptor, &g->mask,
                        &err)) {
        call_fail(c, &err);
        return;
    }
    g->fetch = (struct dataset_fetch){
        .call = c, .what = "DatasetVersion", .name = version_name(c, &n), .then = on_got, .arg = g};
    dataset_fetch(&g->fetch);
}

static int list_message(struct listing *li, const struct store_row *row, ProtobufCMessage **ret,
                        struct err *err) {
    Aip__DatasetVersion *v;
    if (dataset_version_message(li->call->arena, row, &v, err)) {
        return -1;
    }
    *ret = &v->base;
    return 0;
}

static const struct listing_kind listed = {
    .word = "DatasetVersion",
    .resource = &aip__dataset_version__descriptor,
    .response = &aip__list_dataset_versions_response__descriptor,
    .schema = &dataset_version_schema,
    .message = list_message,
};

struct version_listing {
    struct dataset_fetch fetch;
    struct listing listing;
};

static void list_versions(struct dataset_fetch *f, const struct store_row *row) {
    struct version_listing *vl = f->arg;
    const Aip__ListDatasetVersionsRequest *req = (Aip__ListDatasetVersionsRequest *)f->call->req;
    vl->listing = (struct listing){.call = f->call,
                                   .kind = &listed,
                                   .list = {.kind = STR(DATASET_VERSION_KIND), .parent = f->name}};
    listing_run(&vl->listing,
                &(struct listing_asked){LISTING_ASKED(req), .order_by = str_of(req->order_by)});
}

void svc_dataset_version_list(struct call *c) {
    Aip__ListDatasetVersionsRequest *req = (Aip__ListDatasetVersionsRequest *)c->req;
    struct version_listing *vl = arena_own(c->arena, sizeof(*vl));
    struct dataset_name n;
    struct err err;
    if (dataset_name_parse(c, req->parent, "parent", NULL, NULL, &n, &err)) {
        call_fail(c, &err);
        return;
    }
    vl->fetch = (struct dataset_fetch){
        .call = c, .what = "Dataset", .name = n.dataset, .then = list_versions, .arg = vl};
    dataset_fetch(&vl->fetch);
}

/* ---- update ---- */

static void on_updated(struct dataset_change *ch) {
    struct version_call *v = ch->arg;
    reply_version(ch->call, &v->row, NULL);
}

static void update_version(struct dataset_change *ch, const struct store_row *row) {
    struct version_call *v = ch->arg;
    struct call *c = ch->call;
    const Aip__DatasetVersion *sent = ((Aip__UpdateDatasetVersionRequest *)c->req)->dataset_version;
    Aip__DatasetVersion *msg;
    struct err err;
    if (etag_check(str_of(sent->etag), row, &err) ||
        dataset_version_message(c->arena, row, &msg, &err)) {
        refuse(ch, &err);
        return;
    }
    msg->display_name = sent->display_name;
    v->row = *row;
    v->row.display_name = str_of(sent->display_name);
    v->row.update_time = dataset_change_time(c, row);
    if (!pack_version(c->arena, msg, &v->row.spec)) {
        err_set(&err, ERR_INVALID_ARGUMENT, "The version is too large.");
        refuse(ch, &err);
        return;
    }
    store_txn_replace(&ch->txn, &v->row);
    dataset_change_commit(ch);
}

void svc_dataset_version_update(struct call *c) {
    static const char *const allowed[] = {"display_name"};
    Aip__UpdateDatasetVersionRequest *req = (Aip__UpdateDatasetVersionRequest *)c->req;
    struct version_call *v = arena_own(c->arena, sizeof(*v));
    struct violations vs;
    struct err err;
    size_t nr;
    if (dataset_name_parse(c, req->dataset_version ? req->dataset_version->name : "",
                           "dataset_version.name", "datasetVersions", NULL, &v->name, &err)) {
        call_fail(c, &err);
        return;
    }
    violations_init(&vs, c->arena);
    (void)dataset_mask_paths(c, req->update_mask, allowed, NR_OF(allowed), &nr, &vs);
    check_display_name(req->dataset_version->display_name, &vs);
    if (vs.n) {
        call_fail_violations(c, &vs);
        return;
    }
    change(c, v, "DatasetVersion", version_name(c, &v->name), update_version, on_updated);
}

/* ---- delete ---- */

static void delete_version(struct dataset_change *ch, const struct store_row *row) {
    struct version_call *v = ch->arg;
    Aip__DeleteOperationMetadata meta = AIP__DELETE_OPERATION_METADATA__INIT;
    store_txn_delete(&ch->txn, ch->name);
    v->op = dataset_done_op(ch->call, &ch->txn, v->name.parts.parent, v->name.parts.rest, false,
                            &meta.base, NULL);
    dataset_change_commit(ch);
}

void svc_dataset_version_delete(struct call *c) {
    Aip__DeleteDatasetVersionRequest *req = (Aip__DeleteDatasetVersionRequest *)c->req;
    struct version_call *v = arena_own(c->arena, sizeof(*v));
    struct err err;
    if (dataset_name_parse(c, req->name, "name", "datasetVersions", NULL, &v->name, &err)) {
        call_fail(c, &err);
        return;
    }
    change(c, v, "DatasetVersion", version_name(c, &v->name), delete_version, reply_op);
}

/* ---- restore: the dataset's items become what they were ---- */

static void restore_dataset(struct store_get *g, const struct store_row *row,
                            const struct err *err) {
    struct version_call *v = g->arg;
    struct dataset_change *ch = &v->change;
    struct call *c = ch->call;
    struct err why;
    if (!row) {
        dataset_change_end(ch);
        if (err && err->code != ERR_NOT_FOUND) {
            call_fail(c, err);
        } else {
            dataset_fail_missing(c, "Dataset", ch->dataset);
        }
        return;
    }
    if (dataset_is_edited(c->api->datasets, ch->dataset)) {
        err_set(&why, ERR_FAILED_PRECONDITION,
                "The dataset cannot be restored while an import is under way: wait for it, or "
                "cancel it.");
        refuse(ch, &why);
        return;
    }
    auto_buf struct buf status = BUF_INIT(BUF_NO_MAX);
    struct store_row now = *row;
    dataset_status_encode(&status, &v->status);
    now.status = arena_str(c->arena, buf_str(&status));
    now.update_time = dataset_change_time(c, row);
    store_txn_replace(&ch->txn, &now);
    Aip__RestoreDatasetVersionOperationMetadata meta =
        AIP__RESTORE_DATASET_VERSION_OPERATION_METADATA__INIT;
    v->op = dataset_done_op(c, &ch->txn, v->name.parts.parent, v->name.parts.rest, true, &meta.base,
                            &v->version->base);
    dataset_change_commit(ch);
}

static void restore_version(struct dataset_change *ch, const struct store_row *row) {
    struct version_call *v = ch->arg;
    struct call *c = ch->call;
    struct err err;
    if (dataset_status_decode(row, &v->status, &err) ||
        dataset_version_message(c->arena, row, &v->version, &err)) {
        refuse(ch, &err);
        return;
    }
    v->get =
        (struct store_get){.name = ch->dataset, .arena = c->arena, .cb = restore_dataset, .arg = v};
    c->api->store->ops->get(c->api->store, &v->get);
}

void svc_dataset_version_restore(struct call *c) {
    Aip__RestoreDatasetVersionRequest *req = (Aip__RestoreDatasetVersionRequest *)c->req;
    struct version_call *v = arena_own(c->arena, sizeof(*v));
    struct err err;
    if (dataset_name_parse(c, req->name, "name", "datasetVersions", NULL, &v->name, &err)) {
        call_fail(c, &err);
        return;
    }
    change(c, v, "DatasetVersion", version_name(c, &v->name), restore_version, reply_op);
}

/* ---- saved queries ---- */

struct queries {
    struct dataset_fetch fetch;
    const struct pb_mask *mask;
    const struct filter *filter;
};

static ProtobufCMessage *query_at_hand(struct arena *a, const struct store_row *row) {
    return (ProtobufCMessage *)row->spec.p;
}
static const struct filter_schema query_schema = {&aip__saved_query__descriptor, query_at_hand};

static void list_queries(struct dataset_fetch *f, const struct store_row *row) {
    struct queries *q = f->arg;
    struct call *c = f->call;
    Aip__Dataset *ds;
    struct err err;
    if (dataset_message(c->arena, row, &ds, &err)) {
        call_fail(c, &err);
        return;
    }
    Aip__ListSavedQueriesResponse resp = AIP__LIST_SAVED_QUERIES_RESPONSE__INIT;
    resp.saved_queries = arena_own_array(c->arena, ds->n_saved_queries + 1, sizeof(void *));
    for (size_t i = 0; i < ds->n_saved_queries; i++) {
        Aip__SavedQuery *s = ds->saved_queries[i];
        const struct store_row at_hand = {.name = str_of(s->name),
                                          .display_name = str_of(s->display_name),
                                          .create_time = row->create_time,
                                          .update_time = row->create_time,
                                          .spec = str_n((const char *)s, sizeof(*s))};
        if (filter_matches(q->filter, &at_hand, c->arena)) {
            pb_mask_apply(q->mask, &s->base);
            resp.saved_queries[resp.n_saved_queries++] = s;
        }
    }
    call_reply(c, &resp.base);
}

void svc_dataset_queries(struct call *c) {
    Aip__ListSavedQueriesRequest *req = (Aip__ListSavedQueriesRequest *)c->req;
    struct queries *q = arena_own(c->arena, sizeof(*q));
    struct dataset_name n;
    struct err err;
    if (!dataset_page_size(c, req->page_size, 100, (unsigned)limits.max_page_size)) {
        return;
    }
    if (dataset_name_parse(c, req->parent, "parent", NULL, NULL, &n, &err) ||
        filter_parse(c->arena, str_of(req->filter), &query_schema, &q->filter, &err) ||
        read_mask_parse(c->arena, req->read_mask, &aip__saved_query__descriptor, &q->mask, &err)) {
        call_fail(c, &err);
        return;
    }
    q->fetch = (struct dataset_fetch){
        .call = c, .what = "Dataset", .name = n.dataset, .then = list_queries, .arg = q};
    dataset_fetch(&q->fetch);
}

static void delete_query(struct dataset_change *ch, const struct store_row *row) {
    struct version_call *v = ch->arg;
    struct call *c = ch->call;
    const Aip__DeleteSavedQueryRequest *req = (Aip__DeleteSavedQueryRequest *)c->req;
    enum annotation_kind kind;
    struct str set;
    Aip__Dataset *ds;
    struct err err;
    if (dataset_message(c->arena, row, &ds, &err)) {
        refuse(ch, &err);
        return;
    }
    const Aip__SavedQuery *gone = dataset_saved_query(ds, v->name.id, &kind, &set);
    if (!gone) {
        dataset_change_end(ch);
        dataset_fail_missing(c, "SavedQuery", str_of(req->name));
        return;
    }
    size_t n = 0;
    for (size_t i = 0; i < ds->n_saved_queries; i++) {
        if (ds->saved_queries[i] != gone) {
            ds->saved_queries[n++] = ds->saved_queries[i];
        }
    }
    ds->n_saved_queries = n;
    v->row = *row;
    v->row.update_time = dataset_change_time(c, row);
    if (!dataset_pack(c->arena, ds, &v->row.spec, &v->row.labels, &v->row.nr_labels)) {
        err_set(&err, ERR_INVALID_ARGUMENT, "The dataset is too large.");
        refuse(ch, &err);
        return;
    }
    Aip__DeleteOperationMetadata meta = AIP__DELETE_OPERATION_METADATA__INIT;
    store_txn_replace(&ch->txn, &v->row);
    v->op = dataset_done_op(c, &ch->txn, v->name.parts.parent, v->name.parts.rest, false,
                            &meta.base, NULL);
    dataset_change_commit(ch);
}

void svc_dataset_query_delete(struct call *c) {
    Aip__DeleteSavedQueryRequest *req = (Aip__DeleteSavedQueryRequest *)c->req;
    struct version_call *v = arena_own(c->arena, sizeof(*v));
    struct err err;
    if (dataset_name_parse(c, req->name, "name", "savedQueries", NULL, &v->name, &err)) {
        call_fail(c, &err);
        return;
    }
    change(c, v, "Dataset", v->name.dataset, delete_query, reply_op);
}
