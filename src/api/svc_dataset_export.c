/* DatasetService.ExportData (reference 08 §5): an errand around dataset_export.h. Also GET
 * /cusp/v1/DATASET:exports, which says how far exports have come. */
#include "api/svc.h"

#include "api/dataset_export.h"
#include "api/errand.h"
#include "api/names.h"
#include "api/svc_dataset.h"
#include "pb/rpc.h"

#define FIELD "export_config"

/* One export while it runs. */
struct export_errand {
    struct errand errand; /* first */
    Aip__InputDataConfig config;
    struct dataset_export export;
};

static void read_config(const Aip__ExportDataConfig *in, Aip__InputDataConfig *out,
                        struct arena *a);
static enum dataset_export_use use_of(const Aip__ExportDataConfig *in);

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
    struct export_errand *x = e->arg;
    struct arena *a = x->errand.a;
    Aip__ExportDataResponse resp = AIP__EXPORT_DATA_RESPONSE__INIT;
    Aip__Model__DataStats stats;
    if (err) {
        errand_end(&x->errand, NULL, NULL, err);
        return;
    }
    bool trains = e->use == DATASET_EXPORT_TRAINING;
    const char *const *files = trains ? e->uri : e->files;
    resp.n_exported_files = trains ? DATASET_EXPORT_SETS : e->nr_files;
    resp.exported_files = arena_own_array(a, resp.n_exported_files + 1, sizeof(char *));
    for (size_t i = 0; i < resp.n_exported_files; i++) {
        resp.exported_files[i] = arena_strdup(a, files[i]);
    }
    if (trains) {
        data_stats(e, &stats);
        resp.data_stats = &stats;
    }
    errand_end(&x->errand, NULL, &resp.base, NULL);
}

/* In every life to the same folder: its name has the time of the request. */
static void run_export(struct errand *e) {
    struct export_errand *x = (struct export_errand *)e;
    const Aip__ExportDataConfig *in = ((Aip__ExportDataRequest *)e->request)->export_config;
    read_config(in, &x->config, e->a);
    struct str dataset = rec_get(&e->facts, "dataset");
    x->config.dataset_id = arena_strndup(e->a, dataset.p, dataset.n);
    x->export = (struct dataset_export){.parent = e->parent,
                                        .config = &x->config,
                                        .field = FIELD,
                                        .use = use_of(in),
                                        .items_only = true,
                                        .timestamp = rec_get_u64(&e->facts, "timestamp", 0),
                                        .cb = on_exported,
                                        .arg = x};
    dataset_export_start(e->api->exports, &x->export);
}

static void stop_export(struct errand *e) {
    dataset_export_cancel(&((struct export_errand *)e)->export);
}

static void forget_export(struct errand *e) {
    dataset_export_fini(&((struct export_errand *)e)->export);
}

const struct errand_type dataset_export_errand = {
    .name = "exportData",
    .metadata = "ExportDataOperationMetadata",
    .request = &aip__export_data_request__descriptor,
    .size = sizeof(struct export_errand),
    .run = run_export,
    .stop = stop_export,
    .forget = forget_export,
};

/* ---- as it is asked for ---- */

struct exporting {
    struct call *call;
    struct name_parts name;
    Aip__InputDataConfig config;
    struct violations vs;
    struct dataset_export_check check;
};

static void on_checked(struct dataset_export_check *k, const struct err *err) {
    struct exporting *x = k->arg;
    struct call *c = x->call;
    Aip__ExportDataOperationMetadata metadata = AIP__EXPORT_DATA_OPERATION_METADATA__INIT;
    auto_buf struct buf facts = BUF_INIT(BUF_NO_MAX);
    if (err) {
        call_fail(c, err);
        return;
    }
    if (x->vs.n) {
        call_fail_violations(c, &x->vs);
        return;
    }
    metadata.gcs_output_directory = arena_strdup(c->arena, k->directory);
    rec_put(&facts, "dataset", x->name.canonical);
    rec_put_u64(&facts, "timestamp", k->timestamp);
    errand_begin(c, &dataset_export_errand,
                 &(struct operation_about){.parent = x->name.parent,
                                           .resource = x->name.rest,
                                           .is_nested = true,
                                           .metadata = &metadata.base},
                 buf_str(&facts));
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

static enum dataset_export_use use_of(const Aip__ExportDataConfig *in) {
    unsigned use = (unsigned)in->export_use;
    return use == AIP__EXPORT_DATA_CONFIG__EXPORT_USE__CUSTOM_CODE_TRAINING
               ? DATASET_EXPORT_TRAINING
               : DATASET_EXPORT_PLAIN;
}

static void check_use(const Aip__ExportDataConfig *in, struct violations *vs) {
    unsigned use = (unsigned)in->export_use;
    if (use_of(in) == DATASET_EXPORT_TRAINING) {
        if (in->split_case == AIP__EXPORT_DATA_CONFIG__SPLIT__NOT_SET) {
            violations_add(vs, FIELD ".fraction_split",
                           "An export for custom code training needs fraction_split or "
                           "filter_split.");
        }
    } else if (use != AIP__EXPORT_DATA_CONFIG__EXPORT_USE__EXPORT_USE_UNSPECIFIED) {
        violations_add(vs, FIELD ".export_use",
                       "Value %u is not supported; there are EXPORT_USE_UNSPECIFIED (0) and "
                       "CUSTOM_CODE_TRAINING (6).",
                       use);
    }
}

void svc_dataset_export(struct call *c) {
    Aip__ExportDataRequest *req = (Aip__ExportDataRequest *)c->req;
    struct exporting *x = arena_own(c->arena, sizeof(*x));
    struct err err;
    x->call = c;
    if (name_parse_in(c->api->projects, c->arena, str_of(req->name), "datasets", "name", &x->name,
                      &err)) {
        call_fail(c, &err);
        return;
    }
    violations_init(&x->vs, c->arena);
    if (!req->export_config) {
        violations_add(&x->vs, FIELD, "Required field is not set.");
        call_fail_violations(c, &x->vs);
        return;
    }
    read_config(req->export_config, &x->config, c->arena);
    x->config.dataset_id = arena_strndup(c->arena, x->name.canonical.p, x->name.canonical.n);
    check_use(req->export_config, &x->vs);
    x->check = (struct dataset_export_check){.parent = x->name.parent,
                                             .config = &x->config,
                                             .field = FIELD,
                                             .use = use_of(req->export_config),
                                             .items_only = true,
                                             .timestamp = c->api->clock->ops->wall(c->api->clock),
                                             .arena = c->arena,
                                             .vs = &x->vs,
                                             .cb = on_checked,
                                             .arg = x};
    dataset_export_check(c->api->exports, &x->check);
}

/* ---- how far they are ---- */

static void put_export(struct jw *w, const struct errand *e) {
    const struct export_errand *x = (const struct export_errand *)e;
    jw_object(w);
    jw_key(w, "operation");
    jw_str(w, operation_name(x->errand.op));
    jw_key(w, "done");
    jw_u64(w, x->export.done);
    jw_key(w, "total");
    jw_u64(w, x->export.total);
    jw_kv(w, "unit", x->export.format && strcmp(x->export.format, "csv") == 0 ? "bytes" : "items");
    jw_end_object(w);
}

bool dataset_exports_handle(struct api *api, struct xch *x) {
    return dataset_errands_reply(api, x, "exports", &dataset_export_errand, put_export);
}
