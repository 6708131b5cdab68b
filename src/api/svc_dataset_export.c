/* DatasetService.ExportData (reference 08 §5): an operation around dataset_export.h. */
#include "api/svc.h"

#include "api/dataset_export.h"
#include "api/names.h"
#include "api/operations.h"
#include "pb/rpc.h"

#define FIELD "export_config"

/* One export; lives from the request to the end of its operation. */
struct export_call {
    struct arena *arena;
    struct call *call; /* NULL once it is answered */
    struct api *api;
    Aip__InputDataConfig config;
    struct violations vs;
    struct dataset_export_check check;
    struct dataset_export export;
    struct store_txn txn;
    struct operation *op;
    struct str parent, resource;
    bool is_beta;
};

static void export_call_free(struct export_call *x) {
    dataset_export_fini(&x->export);
    arena_free(x->arena);
    free(x);
}

/* ---- the operation's end ---- */

static void data_stats(const struct dataset_export *e, Aip__Model__DataStats *s) {
    aip__model__data_stats__init(s);
    s->training_data_items_count = (int64_t)e->items[0];
    s->validation_data_items_count = (int64_t)e->items[1];
    s->test_data_items_count = (int64_t)e->items[2];
    s->training_annotations_count = (int64_t)e->annotations[0];
    s->validation_annotations_count = (int64_t)e->annotations[1];
    s->test_annotations_count = (int64_t)e->annotations[2];
}

static void on_exported(struct dataset_export *e, const struct err *err) {
    struct export_call *x = e->arg;
    Aip__ExportDataResponse resp = AIP__EXPORT_DATA_RESPONSE__INIT;
    Aip__Model__DataStats stats;
    if (err) {
        operation_finish(x->op, NULL, NULL, err);
        export_call_free(x);
        return;
    }
    bool trains = e->use == DATASET_EXPORT_TRAINING;
    const char *const *files = trains ? e->uri : e->files;
    resp.n_exported_files = trains ? DATASET_EXPORT_SETS : e->nr_files;
    resp.exported_files = arena_own_array(x->arena, resp.n_exported_files + 1, sizeof(char *));
    for (size_t i = 0; i < resp.n_exported_files; i++) {
        resp.exported_files[i] = arena_strdup(x->arena, files[i]);
    }
    if (trains) {
        data_stats(e, &stats);
        resp.data_stats = &stats;
    }
    operation_finish(x->op, NULL, &resp.base, NULL);
    export_call_free(x);
}

static void on_cancel(struct operation *op, void *arg) {
    struct export_call *x = arg;
    dataset_export_cancel(&x->export);
}

/* ---- its beginning ---- */

static void on_begun(struct store_txn *t, const struct err *err) {
    struct export_call *x = t->arg;
    struct call *c = x->call;
    store_txn_fini(t);
    x->call = NULL;
    if (err) {
        operation_drop(x->op);
        call_fail(c, err);
        export_call_free(x);
        return;
    }
    operation_committed(x->op);
    Google__Longrunning__Operation *msg = operation_message(x->op, c->arena);
    dataset_export_start(x->api->exports, &x->export);
    svc_operation_reply(c, msg, x->is_beta);
}

static void on_checked(struct dataset_export_check *k, const struct err *err) {
    struct export_call *x = k->arg;
    struct call *c = x->call;
    if (err || x->vs.n) {
        if (err) {
            call_fail(c, err);
        } else {
            call_fail_violations(c, &x->vs);
        }
        export_call_free(x);
        return;
    }
    Aip__ExportDataOperationMetadata metadata = AIP__EXPORT_DATA_OPERATION_METADATA__INIT;
    metadata.gcs_output_directory = arena_strdup(x->arena, k->directory);
    store_txn_init(&x->txn, on_begun, x);
    x->op = operation_begin(x->api->operations, &x->txn,
                            &(struct operation_about){.parent = x->parent,
                                                      .resource = x->resource,
                                                      .is_nested = true,
                                                      .is_beta = x->is_beta,
                                                      .metadata = &metadata.base,
                                                      .cancel = on_cancel,
                                                      .arg = x});
    c->api->store->ops->commit(c->api->store, &x->txn);
}

/* The same fields under another message's name; what they point to is shared. */
static void read_config(const Aip__ExportDataConfig *in, Aip__InputDataConfig *out,
                        struct arena *a) {
    aip__input_data_config__init(out);
    out->annotations_filter = in->annotations_filter;
    out->saved_query_id = in->saved_query_id;
    out->annotation_schema_uri = in->annotation_schema_uri;
    if (in->destination_case == AIP__EXPORT_DATA_CONFIG__DESTINATION_GCS_DESTINATION) {
        out->destination_case = AIP__INPUT_DATA_CONFIG__DESTINATION_GCS_DESTINATION;
        out->gcs_destination = in->gcs_destination;
    }
    if (in->split_case == AIP__EXPORT_DATA_CONFIG__SPLIT_FRACTION_SPLIT) {
        Aip__FractionSplit *f = arena_own(a, sizeof(*f));
        aip__fraction_split__init(f);
        f->training_fraction = in->fraction_split->training_fraction;
        f->validation_fraction = in->fraction_split->validation_fraction;
        f->test_fraction = in->fraction_split->test_fraction;
        out->split_case = AIP__INPUT_DATA_CONFIG__SPLIT_FRACTION_SPLIT;
        out->fraction_split = f;
    } else if (in->split_case == AIP__EXPORT_DATA_CONFIG__SPLIT_FILTER_SPLIT) {
        Aip__FilterSplit *f = arena_own(a, sizeof(*f));
        aip__filter_split__init(f);
        f->training_filter = in->filter_split->training_filter;
        f->validation_filter = in->filter_split->validation_filter;
        f->test_filter = in->filter_split->test_filter;
        out->split_case = AIP__INPUT_DATA_CONFIG__SPLIT_FILTER_SPLIT;
        out->filter_split = f;
    }
}

static enum dataset_export_use check_use(const Aip__ExportDataConfig *in, struct violations *vs) {
    unsigned use = (unsigned)in->export_use;
    if (use == AIP__EXPORT_DATA_CONFIG__EXPORT_USE__CUSTOM_CODE_TRAINING) {
        if (in->split_case == AIP__EXPORT_DATA_CONFIG__SPLIT__NOT_SET) {
            violations_add(vs, FIELD ".fraction_split",
                           "An export for custom code training needs fraction_split or "
                           "filter_split.");
        }
        return DATASET_EXPORT_TRAINING;
    }
    if (use != AIP__EXPORT_DATA_CONFIG__EXPORT_USE__EXPORT_USE_UNSPECIFIED) {
        violations_add(vs, FIELD ".export_use",
                       "Value %u is not supported; there are EXPORT_USE_UNSPECIFIED (0) and "
                       "CUSTOM_CODE_TRAINING (6).",
                       use);
    }
    return DATASET_EXPORT_PLAIN;
}

void svc_dataset_export(struct call *c) {
    Aip__ExportDataRequest *req = (Aip__ExportDataRequest *)c->req;
    struct name_parts n;
    struct err err;
    if (name_parse_in(c->api->projects, c->arena, str_of(req->name), "datasets", "name", &n,
                      &err)) {
        call_fail(c, &err);
        return;
    }
    struct export_call *x = xcalloc(1, sizeof(*x));
    x->arena = arena_new(ARENA_NO_MAX);
    x->call = c;
    x->api = c->api;
    x->parent = arena_str(x->arena, n.parent);
    x->resource = arena_str(x->arena, n.rest);
    x->is_beta = c->route ? c->json.version == PB_V1BETA1 : c->rpc->is_beta;
    violations_init(&x->vs, x->arena);
    if (!req->export_config) {
        violations_add(&x->vs, FIELD, "Required field is not set.");
        call_fail_violations(c, &x->vs);
        export_call_free(x);
        return;
    }
    Aip__ExportDataConfig *in =
        (Aip__ExportDataConfig *)pb_clone(x->arena, &req->export_config->base);
    usec_t now = c->api->clock->ops->wall(c->api->clock);
    read_config(in, &x->config, x->arena);
    x->config.dataset_id = arena_strndup(x->arena, n.canonical.p, n.canonical.n);
    enum dataset_export_use use = check_use(in, &x->vs);
    x->export = (struct dataset_export){.parent = x->parent,
                                        .config = &x->config,
                                        .field = FIELD,
                                        .use = use,
                                        .items_only = true,
                                        .timestamp = now,
                                        .cb = on_exported,
                                        .arg = x};
    x->check = (struct dataset_export_check){.parent = x->parent,
                                             .config = &x->config,
                                             .field = FIELD,
                                             .use = use,
                                             .items_only = true,
                                             .timestamp = now,
                                             .arena = x->arena,
                                             .vs = &x->vs,
                                             .cb = on_checked,
                                             .arg = x};
    dataset_export_check(c->api->exports, &x->check);
}
