/* DatasetService: create, get, list, update, delete (reference 08 §1). */
#include "api/svc_dataset.h"

#include "api/etag.h"
#include "api/read_mask.h"
#include "base/limits.h"
#include "base/map.h"
#include "blob/blob.h"
#include "data/csv.h"
#include "pb/pbcheck.h"
#include "pb/pbupdate.h"
#include "pb/wkt.h"

#define LOOK_AT_RECORDS 100u /* of a table, for columns that do not match the header */

static void reply_row(struct call *c, const struct store_row *row, const struct pb_mask *mask) {
    Aip__Dataset *ds;
    struct err err;
    if (dataset_message(c->arena, row, &ds, &err)) {
        call_fail(c, &err);
        return;
    }
    pb_mask_apply(mask, &ds->base);
    call_reply(c, &ds->base);
}

/* ---- create ---- */

struct create {
    struct call *call;
    struct name_parts parent;
    Aip__Dataset *ds;
    struct lane_work work;
    const char **uris; /* of the table's files */
    size_t nr_uris;
    struct err err;
    bool failed;
    struct store_txn txn;
    Google__Longrunning__Operation *op;
};

static void on_created(struct store_txn *t, const struct err *err) {
    struct create *cr = t->arg;
    struct call *c = cr->call;
    struct err copy;
    if (err) {
        copy = *err;
    }
    store_txn_fini(&cr->txn);
    if (err) {
        call_fail(c, &copy);
    } else {
        svc_operation_reply(c, cr->op, c->rpc->is_beta);
    }
}

static void name_saved_queries(struct call *c, Aip__Dataset *ds, struct str name, usec_t now) {
    for (size_t i = 0; i < ds->n_saved_queries; i++) {
        Aip__SavedQuery *q = ds->saved_queries[i];
        q->name = arena_printf(c->arena, "%.*s/savedQueries/%llu", STR_ARG(name),
                               (unsigned long long)rng_resource_id(c->api->rng));
        q->create_time = q->update_time = wkt_timestamp(c->arena, now);
        q->annotation_filter =
            arena_printf(c->arena, "labels.\"%s\"=\"%s\"", ANNOTATION_SET_LABEL, q->display_name);
        q->etag = (char *)"";
        q->annotation_spec_count = 0;
    }
}

static void commit_create(struct create *cr) {
    struct call *c = cr->call;
    struct err err;
    usec_t now = c->api->clock->ops->wall(c->api->clock);
    struct str resource = str_of(
        arena_printf(c->arena, "datasets/%llu", (unsigned long long)rng_resource_id(c->api->rng)));
    struct store_row row = {
        .name = str_of(
            arena_printf(c->arena, "%.*s/%.*s", STR_ARG(cr->parent.parent), STR_ARG(resource))),
        .kind = STR(DATASET_KIND),
        .parent = cr->parent.parent,
        .display_name = str_of(cr->ds->display_name),
        .create_time = now,
        .update_time = now,
    };
    auto_buf struct buf status = BUF_INIT(BUF_NO_MAX);
    dataset_status_encode(&status, &(struct dataset_status){0});
    row.status = arena_str(c->arena, buf_str(&status));
    dataset_fill(c->arena, cr->ds);
    name_saved_queries(c, cr->ds, row.name, now);
    Aip__Dataset *made;
    if (!dataset_pack(c->arena, cr->ds, &row.spec, &row.labels, &row.nr_labels)) {
        err_set(&err, ERR_INVALID_ARGUMENT, "The dataset is larger than max_message_bytes (%llu).",
                (unsigned long long)limits.max_message_bytes);
        call_fail(c, &err);
        return;
    }
    if (dataset_message(c->arena, &row, &made, &err)) {
        call_fail(c, &err);
        return;
    }
    Aip__CreateDatasetOperationMetadata meta = AIP__CREATE_DATASET_OPERATION_METADATA__INIT;
    store_txn_init(&cr->txn, on_created, cr);
    store_txn_insert(&cr->txn, &row);
    cr->op =
        dataset_done_op(c, &cr->txn, cr->parent.parent, resource, true, &meta.base, &made->base);
    c->api->store->ops->commit(c->api->store, &cr->txn);
}

static int check_columns(struct csv_reader *r, const struct csv_record *header, const char *uri,
                         struct err *err) {
    struct csv_record rec;
    size_t columns = header->columns;
    int rc;
    for (unsigned i = 0; i < LOOK_AT_RECORDS && (rc = csv_next(r, &rec, err)) != 0; i++) {
        if (rc < 0) {
            return -1;
        }
        if (rec.columns != columns) {
            return csv_fail(r, rec.line, err, "the row has %zu columns, the header has %zu",
                            rec.columns, columns);
        }
    }
    return 0;
}

static int check_header(struct csv_reader *r, const char *uri, struct arena *a, struct err *err) {
    struct csv_record header;
    int rc = csv_next(r, &header, err);
    if (rc < 0) {
        return -1;
    }
    if (rc == 0) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "%.300s is empty: its first line must name the columns", uri);
    }
    if (header.columns > limits.max_table_columns) {
        limits_hit(&limits.max_table_columns);
        return csv_fail(r, header.line, err,
                        "the header has %zu columns; at most %llu are allowed (max_table_columns)",
                        header.columns, (unsigned long long)limits.max_table_columns);
    }
    struct str *names = csv_fields(&header, a);
    struct map seen;
    map_init(&seen);
    for (size_t i = 0; i < header.columns && rc > 0; i++) {
        if (!str_is_utf8(names[i])) {
            rc = csv_fail(r, header.line, err, "the name of column %zu is not UTF-8", i + 1);
        } else if (names[i].n && map_put(&seen, names[i], names)) {
            rc = csv_fail(r, header.line, err, "two columns are named \"%.*s\"",
                          (int)(names[i].n > 100 ? 100 : names[i].n), names[i].p);
        }
    }
    map_fini(&seen);
    return rc < 0 ? -1 : check_columns(r, &header, uri, err);
}

/* On the lane: every URI stands for a file, and the first file (by name) says what the columns are.
 */
static int check_table(struct create *cr, struct err *err) {
    struct blob *b = datasets_blob(cr->call->api->datasets);
    const char *first = NULL;
    uint64_t size;
    int fd;
    for (size_t i = 0; i < cr->nr_uris; i++) {
        const char **files;
        size_t n;
        if (blob_expand_uri(b, cr->uris[i], limits.max_import_files, cr->call->arena, &files, &n,
                            err)) {
            return -1;
        }
        if (!first || strcmp(files[0], first) < 0) {
            first = files[0];
        }
    }
    if (blob_object_open(b, first, &fd, &size, err)) {
        return -1;
    }
    struct csv_reader *r = csv_open(fd, str_of(first));
    int rc = check_header(r, first, cr->call->arena, err);
    csv_close(r);
    return rc;
}

static void on_lane(struct lane_work *w) {
    struct create *cr = CONTAINER_OF(w, struct create, work);
    cr->failed = check_table(cr, &cr->err) != 0;
}

static void on_checked(struct lane_work *w) {
    struct create *cr = CONTAINER_OF(w, struct create, work);
    struct err err;
    if (w->cancelled) {
        err_set(&err, ERR_UNAVAILABLE, "the server is closing");
        call_fail(cr->call, &err);
    } else if (cr->failed) {
        if (!cr->err.field[0]) {
            snprintf(cr->err.field, sizeof(cr->err.field),
                     "dataset.metadata.input_config.gcs_source.uri");
        }
        call_fail(cr->call, &cr->err);
    } else {
        commit_create(cr);
    }
}

static int parse_parent(struct call *c, const char *parent, struct name_parts *ret,
                        struct err *err) {
    if (name_parse(c->api->projects, c->arena, str_of(parent), "parent", ret, err)) {
        return -1;
    }
    if (str_eqc(ret->location, "-") || ret->rest.n) {
        return err_field(err, ERR_INVALID_ARGUMENT, "parent",
                         "\"%.200s\" names no place for a dataset: expected "
                         "projects/PROJECT/locations/LOCATION",
                         parent);
    }
    return 0;
}

void svc_dataset_create(struct call *c) {
    Aip__CreateDatasetRequest *req = (Aip__CreateDatasetRequest *)c->req;
    struct create *cr = arena_own(c->arena, sizeof(*cr));
    struct violations vs;
    const char *bigquery = NULL;
    struct err err;
    cr->call = c;
    cr->ds = req->dataset;
    if (parse_parent(c, req->parent, &cr->parent, &err)) {
        call_fail(c, &err);
        return;
    }
    violations_init(&vs, c->arena);
    if (!cr->ds) {
        violations_add(&vs, "dataset", "Required field is not set.");
    } else {
        dataset_check(cr->ds, &vs);
    }
    if (vs.n) {
        call_fail_violations(c, &vs);
        return;
    }
    if (dataset_type_media(dataset_type_of(str_of(cr->ds->metadata_schema_uri))) !=
        ITEM_MEDIA_NONE) {
        commit_create(cr);
        return;
    }
    dataset_table_sources(c->arena, cr->ds, &cr->uris, &cr->nr_uris, &bigquery);
    if (bigquery) {
        err_field(&err, ERR_FAILED_PRECONDITION,
                  "dataset.metadata.input_config.bigquery_source.uri",
                  "BigQuery is not configured: \"%.200s\" cannot be read. Give the table as CSV "
                  "files in gcs_source.",
                  bigquery);
        call_fail(c, &err);
        return;
    }
    cr->work = (struct lane_work){.run = on_lane, .done = on_checked};
    lane_submit(datasets_lane(c->api->datasets), &cr->work);
}

/* ---- get, list ---- */

struct get {
    struct dataset_fetch fetch;
    const struct pb_mask *mask;
};

static void on_got(struct dataset_fetch *f, const struct store_row *row) {
    struct get *g = f->arg;
    reply_row(f->call, row, g->mask);
}

void svc_dataset_get(struct call *c) {
    Aip__GetDatasetRequest *req = (Aip__GetDatasetRequest *)c->req;
    struct get *g = arena_own(c->arena, sizeof(*g));
    struct dataset_name n;
    struct err err;
    if (dataset_name_parse(c, req->name, "name", NULL, NULL, &n, &err) ||
        read_mask_parse(c->arena, req->read_mask, &aip__dataset__descriptor, &g->mask, &err)) {
        call_fail(c, &err);
        return;
    }
    g->fetch = (struct dataset_fetch){
        .call = c, .what = "Dataset", .name = n.dataset, .then = on_got, .arg = g};
    dataset_fetch(&g->fetch);
}

static int list_message(struct listing *li, const struct store_row *row, ProtobufCMessage **ret,
                        struct err *err) {
    Aip__Dataset *ds;
    if (dataset_message(li->call->arena, row, &ds, err)) {
        return -1;
    }
    *ret = &ds->base;
    return 0;
}

static const struct listing_kind listed = {
    .word = "Dataset",
    .resource = &aip__dataset__descriptor,
    .response = &aip__list_datasets_response__descriptor,
    .schema = &dataset_schema,
    .message = list_message,
};

void svc_dataset_list(struct call *c) {
    Aip__ListDatasetsRequest *req = (Aip__ListDatasetsRequest *)c->req;
    listing_below(c, req->parent, STR(DATASET_KIND), &listed,
                  &(struct listing_asked){LISTING_ASKED(req), .order_by = str_of(req->order_by)});
}

/* ---- update ---- */

struct update {
    struct dataset_change change;
    const Aip__Dataset *sent;
    char **paths;
    size_t nr_paths;
    struct store_row row; /* as it will be */
};

static void on_updated(struct dataset_change *ch) {
    struct update *u = ch->arg;
    reply_row(ch->call, &u->row, NULL);
}

static void update_row(struct dataset_change *ch, const struct store_row *row) {
    struct update *u = ch->arg;
    struct call *c = ch->call;
    struct violations vs;
    Aip__Dataset *ds;
    struct err err;
    violations_init(&vs, c->arena);
    if (etag_check(str_of(u->sent->etag), row, &err) || dataset_message(c->arena, row, &ds, &err)) {
        dataset_change_end(ch);
        call_fail(c, &err);
        return;
    }
    err_set(&err, ERR_INVALID_ARGUMENT, "The dataset is too large.");
    if (pb_update_apply(c->arena, u->paths, u->nr_paths, &u->sent->base, &ds->base, &vs, &err) ==
        0) {
        dataset_check_changed(ds, &vs);
    }
    dataset_fill(c->arena, ds);
    u->row = *row;
    if (vs.n || !dataset_pack(c->arena, ds, &u->row.spec, &u->row.labels, &u->row.nr_labels)) {
        dataset_change_end(ch);
        if (vs.n) {
            call_fail_violations(c, &vs);
        } else {
            call_fail(c, &err);
        }
        return;
    }
    u->row.display_name = str_of(ds->display_name);
    u->row.update_time = dataset_change_time(c, row);
    store_txn_replace(&ch->txn, &u->row);
    dataset_change_commit(ch);
}

void svc_dataset_update(struct call *c) {
    static const char *const allowed[] = {"display_name", "description", "labels"};
    Aip__UpdateDatasetRequest *req = (Aip__UpdateDatasetRequest *)c->req;
    struct update *u = arena_own(c->arena, sizeof(*u));
    struct dataset_name n;
    struct violations vs;
    struct err err;
    if (dataset_name_parse(c, req->dataset ? req->dataset->name : "", "dataset.name", NULL, NULL,
                           &n, &err)) {
        call_fail(c, &err);
        return;
    }
    violations_init(&vs, c->arena);
    u->paths = dataset_mask_paths(c, req->update_mask, allowed, NR_OF(allowed), &u->nr_paths, &vs);
    if (vs.n) {
        call_fail_violations(c, &vs);
        return;
    }
    u->sent = req->dataset;
    u->change = (struct dataset_change){.call = c,
                                        .dataset = n.dataset,
                                        .what = "Dataset",
                                        .name = n.dataset,
                                        .then = update_row,
                                        .done = on_updated,
                                        .arg = u};
    dataset_change(&u->change);
}

/* ---- delete ---- */

struct delete {
    struct dataset_change change;
    struct name_parts parts;
    struct store_list versions;
    Google__Longrunning__Operation *op;
};

static void on_deleted(struct dataset_change *ch) {
    struct delete *d = ch->arg;
    datasets_tidy(ch->call->api->datasets, ch->dataset);
    svc_operation_reply(ch->call, d->op, ch->call->rpc->is_beta);
}

static void on_versions(struct store_list *l, const struct store_row *rows, size_t nr,
                        struct str next_token, const struct err *err) {
    struct delete *d = l->arg;
    struct dataset_change *ch = &d->change;
    struct call *c = ch->call;
    struct err copy;
    if (err) {
        copy = *err;
        dataset_change_end(ch);
        call_fail(c, &copy);
        return;
    }
    for (size_t i = 0; i < nr; i++) {
        store_txn_delete(&ch->txn, rows[i].name);
    }
    if (next_token.n) {
        d->versions.page_token = next_token;
        c->api->store->ops->list(c->api->store, &d->versions);
        return;
    }
    Aip__DeleteOperationMetadata meta = AIP__DELETE_OPERATION_METADATA__INIT;
    store_txn_delete(&ch->txn, ch->name);
    d->op = dataset_done_op(c, &ch->txn, d->parts.parent, d->parts.rest, false, &meta.base, NULL);
    dataset_change_commit(ch);
}

static void delete_row(struct dataset_change *ch, const struct store_row *row) {
    struct delete *d = ch->arg;
    struct call *c = ch->call;
    dataset_edits_cancel(c->api->datasets, ch->name);
    d->versions = (struct store_list){.kind = STR(DATASET_VERSION_KIND),
                                      .parent = ch->name,
                                      .order = STORE_ORDER_CREATE_TIME,
                                      .page_size = 1000,
                                      .arena = c->arena,
                                      .cb = on_versions,
                                      .arg = d};
    c->api->store->ops->list(c->api->store, &d->versions);
}

void svc_dataset_delete(struct call *c) {
    Aip__DeleteDatasetRequest *req = (Aip__DeleteDatasetRequest *)c->req;
    struct delete *d = arena_own(c->arena, sizeof(*d));
    struct dataset_name n;
    struct err err;
    if (dataset_name_parse(c, req->name, "name", NULL, NULL, &n, &err)) {
        call_fail(c, &err);
        return;
    }
    d->parts = n.parts;
    d->change = (struct dataset_change){.call = c,
                                        .dataset = n.dataset,
                                        .what = "Dataset",
                                        .name = n.dataset,
                                        .then = delete_row,
                                        .done = on_deleted,
                                        .arg = d};
    dataset_change(&d->change);
}
