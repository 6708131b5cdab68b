/* DatasetService.ImportData (reference 08 §4): an errand that adds the items of files to a dataset,
 * all of an import at once or nothing. Also GET /cusp/v1/DATASET:imports, which says how far
 * imports have come. */
#include "api/svc_dataset.h"

#include "api/errand.h"
#include "api/import_contents.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/vec.h"
#include "blob/blob.h"
#include "data/import.h"

#define PROGRESS_EVERY (2 * (usec_t)USEC_PER_SEC)

/* One import while it runs. */
struct import {
    struct errand errand; /* first */
    struct store_get get;
    struct dataset_edit edit;
    struct import_source *sources;
    size_t nr;
    const char **patterns; /* of source i: pattern_from[i] to pattern_from[i + 1] */
    size_t *pattern_from;
    struct import_watch watch;
    struct import_contents contents;
    struct item_merge_stats merged;
    struct buf last_bucket; /* is_ours */
    bool last_is_ours;
    struct timer timer;
    usec_t began;
};

static const Aip__ImportDataRequest *request_of(const struct import *im) {
    return (const Aip__ImportDataRequest *)im->errand.request;
}

/* ---- what an operation tells ---- */

static Google__Rpc__Status *status_of(struct arena *a, enum err_code code, const char *text) {
    Google__Rpc__Status *s = arena_own(a, sizeof(*s));
    google__rpc__status__init(s);
    s->code = (int)code;
    s->message = arena_strdup(a, text);
    return s;
}

static Aip__ImportDataOperationMetadata *metadata_of(struct arena *a, const struct import *im) {
    Aip__ImportDataOperationMetadata *m = arena_own(a, sizeof(*m));
    aip__import_data_operation_metadata__init(m);
    Aip__GenericOperationMetadata *g = arena_own(a, sizeof(*g));
    aip__generic_operation_metadata__init(g);
    m->generic_metadata = g;
    size_t n = atomic_load(&im->watch.nr_failures);
    unsigned long long failed = atomic_load(&im->watch.failed);
    g->partial_failures = arena_own_array(a, n + 1, sizeof(*g->partial_failures));
    for (size_t i = 0; i < n; i++) {
        const struct import_failure *f = &im->watch.failures[i];
        const char *text = f->text;
        if (i + 1 == IMPORT_FAILURES_MAX && failed > IMPORT_FAILURES_MAX) {
            text = arena_printf(a, "%s (and %llu more; %llu of %llu lines were not imported)",
                                f->text, failed - IMPORT_FAILURES_MAX, failed,
                                (unsigned long long)atomic_load(&im->watch.lines));
        }
        g->partial_failures[g->n_partial_failures++] = status_of(a, f->code, text);
    }
    return m;
}

static void on_timer(struct timer *t) {
    struct import *im = CONTAINER_OF(t, struct import, timer);
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    operation_progress(im->errand.op, &metadata_of(a, im)->base);
    im->errand.api->clock->ops->arm(im->errand.api->clock, &im->timer,
                                    im->errand.api->clock->ops->mono(im->errand.api->clock) +
                                        PROGRESS_EVERY);
}

/* ---- the edit ---- */

static int open_uri(void *arg, const char *uri, int *ret_fd, uint64_t *ret_size, struct err *err) {
    struct import *im = arg;
    return blob_object_open(datasets_blob(im->errand.api->datasets), uri, ret_fd, ret_size, err);
}

/* Lines name one bucket after the other: what was found of the last one holds for the next. */
static bool is_ours(struct import *im, struct str uri) {
    struct str bucket = str_sub(uri, 5, uri.n);
    bucket = str_cut(&bucket, '/');
    if (!im->last_bucket.n || !str_eq(bucket, buf_str(&im->last_bucket))) {
        buf_clear(&im->last_bucket);
        buf_put_str(&im->last_bucket, bucket);
        im->last_is_ours = blob_uri_is_ours(datasets_blob(im->errand.api->datasets), uri.p);
    }
    return im->last_is_ours;
}

/* Objects of our own buckets must be there; what lies elsewhere is not for us to know. */
static int check_uri(void *arg, struct str uri, bool *ret_has_size, uint64_t *ret_size,
                     struct err *err) {
    struct import *im = arg;
    struct err why;
    if (!is_ours(im, uri)) {
        return 0;
    }
    *ret_has_size =
        blob_stat_uri(datasets_blob(im->errand.api->datasets), uri.p, ret_size, &why) == 0;
    if (*ret_has_size || why.code != ERR_NOT_FOUND) {
        return 0;
    }
    *err = why;
    return -1;
}

static int expand(struct import *im, struct err *err) {
    struct blob *b = datasets_blob(im->errand.api->datasets);
    size_t total = 0;
    for (size_t i = 0; i < im->nr; i++) {
        VEC_OF(const char *) all = {0};
        for (size_t k = im->pattern_from[i]; k < im->pattern_from[i + 1]; k++) {
            const char **files;
            size_t n;
            if (blob_expand_uri(b, im->patterns[k], limits.max_import_files - total, im->errand.a,
                                &files, &n, err)) {
                vec_fini(&all);
                return -1;
            }
            total += n;
            for (size_t m = 0; m < n; m++) {
                vec_push(&all, files[m]);
            }
        }
        im->sources[i].uris = arena_memdup(im->errand.a, all.p, all.n * sizeof(*all.p));
        im->sources[i].nr_uris = all.n;
        vec_fini(&all);
    }
    return 0;
}

static int nothing_read(const struct import *im, struct err *err) {
    const struct import_watch *w = &im->watch;
    if (atomic_load(&w->lines) == 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "The files hold no lines to import.");
    }
    return err_set(err, ERR_INVALID_ARGUMENT,
                   "None of the %llu lines could be imported. The first: %.700s",
                   (unsigned long long)atomic_load(&w->lines), w->failures[0].text);
}

static int run(struct dataset_edit *e, const char *from, const char *to, struct item_counts *ret,
               struct err *err) {
    struct import *im = e->arg;
    const struct import_io io = {.open = open_uri, .check = check_uri, .arg = im};
    if (expand(im, err)) {
        return -1;
    }
    struct items_writer *w = items_write_begin(from, to, time_wall(), err);
    if (!w) {
        return -1;
    }
    im->watch.cancel = &e->cancel;
    import_contents_init(&im->contents, datasets_loop(im->errand.api->datasets),
                         datasets_blob(im->errand.api->datasets));
    if (items_write_contents(w, &im->contents.contents, err) ||
        import_run(w, im->sources, im->nr, &io, &im->watch, err) ||
        (atomic_load(&im->watch.lines) == atomic_load(&im->watch.failed) &&
         nothing_read(im, err))) {
        items_write_drop(w);
        return -1;
    }
    items_write_stats(w, &im->merged);
    return items_write_finish(w, ret, err);
}

static void join(struct dataset_edit *e, struct store_txn *t, const struct store_row *now) {
    struct import *im = e->arg;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    Aip__ImportDataResponse resp = AIP__IMPORT_DATA_RESPONSE__INIT;
    im->errand.api->clock->ops->disarm(im->errand.api->clock, &im->timer);
    errand_join(&im->errand, t, &metadata_of(a, im)->base, &resp.base);
}

static void on_edited(struct dataset_edit *e, const struct err *err) {
    struct import *im = e->arg;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    datasets_count_import(im->errand.api->datasets, !err, err ? 0 : atomic_load(&im->watch.lines),
                          err ? 0 : atomic_load(&im->watch.failed));
    if (!err) {
        log_info("import", "dataset=%.*s lines=%llu failed=%llu new=%llu merged=%llu ms=%llu",
                 STR_ARG(e->name), (unsigned long long)atomic_load(&im->watch.lines),
                 (unsigned long long)atomic_load(&im->watch.failed),
                 (unsigned long long)im->merged.items_new,
                 (unsigned long long)im->merged.items_merged,
                 (unsigned long long)((time_mono() - im->began) / USEC_PER_MSEC));
        errand_joined(&im->errand, NULL);
        return;
    }
    log_warn("import failed", "dataset=%.*s error=\"%s\"", STR_ARG(e->name), err->msg);
    if (e->has_joined) {
        errand_joined(&im->errand, err);
    } else {
        errand_end(&im->errand, &metadata_of(a, im)->base, NULL, err);
    }
}

/* ---- what a request may say ---- */

static void check_import_labels(const char *field, size_t n,
                                Aip__ImportDataConfig__DataItemLabelsEntry *const *labels,
                                bool is_item, struct violations *vs) {
    if (n > limits.max_item_labels) {
        limits_hit(&limits.max_item_labels);
        violations_add(vs, field,
                       "At most %llu labels may be given (max_item_labels); the request "
                       "has %zu.",
                       (unsigned long long)limits.max_item_labels, n);
    }
    for (size_t i = 0; i < n; i++) {
        if (is_item && strcmp(labels[i]->key, ML_USE_LABEL) == 0 &&
            ml_use_of(str_of(labels[i]->value)) == ML_USE_NONE) {
            violations_add(vs, field,
                           "%s is \"%.60s\"; it must be \"training\", \"validation\" or \"test\".",
                           ML_USE_LABEL, labels[i]->value);
        }
    }
}

static struct item_labels labels_of(struct arena *a, size_t n,
                                    Aip__ImportDataConfig__DataItemLabelsEntry *const *labels,
                                    enum ml_use *use) {
    struct store_label *p = arena_own_array(a, n + 1, sizeof(*p));
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (use && strcmp(labels[i]->key, ML_USE_LABEL) == 0) {
            *use = ml_use_of(str_of(labels[i]->value));
        } else {
            p[k++] = (struct store_label){arena_str(a, str_of(labels[i]->key)),
                                          arena_str(a, str_of(labels[i]->value))};
        }
    }
    return (struct item_labels){p, k};
}

static void check_config(const Aip__ImportDataConfig *cfg, size_t at, struct violations *vs) {
    char field[80];
    snprintf(field, sizeof(field), "import_configs[%zu].gcs_source.uris", at);
    if (cfg->source_case != AIP__IMPORT_DATA_CONFIG__SOURCE_GCS_SOURCE ||
        cfg->gcs_source->n_uris == 0) {
        violations_add(vs, field, "Required: Cloud Storage URIs of import files; * is a wildcard.");
    } else if (cfg->gcs_source->n_uris > limits.max_import_files) {
        limits_hit(&limits.max_import_files);
        violations_add(vs, field, "At most %llu URIs may be given (max_import_files).",
                       (unsigned long long)limits.max_import_files);
    } else {
        for (size_t i = 0; i < cfg->gcs_source->n_uris; i++) {
            struct str rest = str_of(cfg->gcs_source->uris[i]);
            bool is_gs = str_starts(rest, STR("gs://"));
            rest = str_sub(rest, 5, rest.n);
            struct str bucket = str_cut(&rest, '/');
            if (!is_gs || !bucket.n || !rest.n) {
                violations_add(vs, field,
                               "\"%.200s\" is not a Cloud Storage URI such as gs://BUCKET/PATH.",
                               cfg->gcs_source->uris[i]);
            }
        }
    }
    snprintf(field, sizeof(field), "import_configs[%zu].data_item_labels", at);
    check_import_labels(field, cfg->n_data_item_labels, cfg->data_item_labels, true, vs);
    snprintf(field, sizeof(field), "import_configs[%zu].annotation_labels", at);
    check_import_labels(field, cfg->n_annotation_labels, (void *)cfg->annotation_labels, false, vs);
}

/* The format, when the dataset can hold it. */
static const struct import_format *check_format(const Aip__ImportDataConfig *cfg, size_t at,
                                                enum dataset_type type, struct violations *vs) {
    const struct import_format *f = import_format_find(str_of(cfg->import_schema_uri));
    char field[80];
    auto_buf struct buf known = BUF_INIT(4096);
    snprintf(field, sizeof(field), "import_configs[%zu].import_schema_uri", at);
    if (f && annotation_media(f->kind) == dataset_type_media(type)) {
        return f;
    }
    for (size_t i = 0; import_format_at(i); i++) {
        if (annotation_media(import_format_at(i)->kind) == dataset_type_media(type)) {
            buf_printf(&known, "%s%s", known.n ? ", " : "", import_format_at(i)->name);
        }
    }
    if (!cfg->import_schema_uri[0]) {
        violations_add(vs, field, "Required field is not set.");
    } else {
        violations_add(vs, field,
                       "\"%.200s\" is no format of %s datasets; these are: gs://google-cloud-"
                       "aiplatform/schema/dataset/ioformat/NAME_io_format_1.0.0.yaml with NAME one "
                       "of %s.",
                       cfg->import_schema_uri, dataset_type_name(type), buf_cstr(&known));
    }
    return NULL;
}

/* Annotations that say no annotation set belong to the dataset's saved query of their kind. */
static struct str set_of(const Aip__Dataset *ds, const struct import_format *f) {
    for (size_t i = 0; i < ds->n_saved_queries; i++) {
        const struct import_format *q =
            import_format_of_problem(str_of(ds->saved_queries[i]->problem_type));
        if (q && q->kind == f->kind) {
            return str_of(ds->saved_queries[i]->display_name);
        }
    }
    return STR("");
}

/* ---- while it runs ---- */

static void take_sources(struct import *im, const Aip__Dataset *ds, struct violations *vs) {
    const Aip__ImportDataRequest *req = request_of(im);
    struct arena *a = im->errand.a;
    size_t total = 0;
    im->nr = req->n_import_configs;
    im->sources = arena_own_array(a, im->nr, sizeof(*im->sources));
    im->pattern_from = arena_own_array(a, im->nr + 1, sizeof(*im->pattern_from));
    for (size_t i = 0; i < im->nr; i++) {
        total += req->import_configs[i]->gcs_source->n_uris;
    }
    im->patterns = arena_own_array(a, total, sizeof(*im->patterns));
    total = 0;
    for (size_t i = 0; i < im->nr; i++) {
        const Aip__ImportDataConfig *cfg = req->import_configs[i];
        struct import_source *s = &im->sources[i];
        s->format = check_format(cfg, i, dataset_type_of(str_of(ds->metadata_schema_uri)), vs);
        s->item_labels = labels_of(a, cfg->n_data_item_labels, cfg->data_item_labels, &s->use);
        s->annotation_labels =
            labels_of(a, cfg->n_annotation_labels, (void *)cfg->annotation_labels, NULL);
        s->set_name = s->format ? arena_str(a, set_of(ds, s->format)) : STR("");
        im->pattern_from[i] = total;
        for (size_t k = 0; k < cfg->gcs_source->n_uris; k++) {
            im->patterns[total++] = arena_strdup(a, cfg->gcs_source->uris[k]);
        }
    }
    im->pattern_from[im->nr] = total;
}

static int take_dataset(struct import *im, const struct store_row *row, struct err *err) {
    struct violations vs;
    Aip__Dataset *ds;
    if (!row) {
        return err_set(err, ERR_NOT_FOUND, "The Dataset \"%.*s\" does not exist any more.",
                       STR_ARG(im->edit.name));
    }
    if (dataset_message(im->errand.a, row, &ds, err)) {
        return -1;
    }
    violations_init(&vs, im->errand.a);
    take_sources(im, ds, &vs);
    return violations_to_err(&vs, err) ? -1 : 0;
}

static void on_dataset(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct import *im = g->arg;
    struct clock *clock = im->errand.api->clock;
    struct err why;
    if (err && err->code != ERR_NOT_FOUND) {
        errand_end(&im->errand, NULL, NULL, err);
    } else if (take_dataset(im, row, &why)) {
        errand_end(&im->errand, NULL, NULL, &why);
    } else {
        im->edit.run = run;
        im->edit.join = join;
        im->edit.cb = on_edited;
        im->edit.arg = im;
        im->timer.fn = on_timer;
        clock->ops->arm(clock, &im->timer, clock->ops->mono(clock) + PROGRESS_EVERY);
        dataset_edit_start(im->errand.api->datasets, &im->edit);
    }
}

static void run_import(struct errand *e) {
    struct import *im = (struct import *)e;
    im->last_bucket = BUF_INIT(BUF_NO_MAX);
    im->began = time_mono();
    im->edit.name = rec_get(&e->facts, "dataset");
    im->get = (struct store_get){.name = im->edit.name, .arena = e->a, .cb = on_dataset, .arg = im};
    e->api->store->ops->get(e->api->store, &im->get);
}

static void stop_import(struct errand *e) {
    dataset_edit_cancel(&((struct import *)e)->edit);
}

static void forget_import(struct errand *e) {
    struct import *im = (struct import *)e;
    e->api->clock->ops->disarm(e->api->clock, &im->timer);
    buf_fini(&im->last_bucket);
}

const struct errand_type dataset_import_errand = {
    .name = "importData",
    .metadata = "ImportDataOperationMetadata",
    .request = &aip__import_data_request__descriptor,
    .size = sizeof(struct import),
    .run = run_import,
    .stop = stop_import,
    .forget = forget_import,
};

/* ---- as it is asked for ---- */

struct importing {
    struct dataset_fetch fetch;
    struct dataset_name name;
};

static size_t count_imports(struct api *api) {
    const struct errand *e = NULL;
    size_t n = 0;
    while ((e = errands_next(api->errands, &dataset_import_errand, e))) {
        n++;
    }
    return n;
}

static int check_dataset(struct call *c, const struct store_row *row, struct violations *vs,
                         struct err *err) {
    const Aip__ImportDataRequest *req = (Aip__ImportDataRequest *)c->req;
    Aip__Dataset *ds;
    if (dataset_message(c->arena, row, &ds, err)) {
        return -1;
    }
    enum dataset_type type = dataset_type_of(str_of(ds->metadata_schema_uri));
    if (dataset_type_media(type) == ITEM_MEDIA_NONE) {
        return err_field(err, ERR_INVALID_ARGUMENT, "name",
                         "Nothing can be imported into a %s dataset: its rows are the files that "
                         "its metadata names.",
                         dataset_type_name(type));
    }
    for (size_t i = 0; i < req->n_import_configs; i++) {
        (void)check_format(req->import_configs[i], i, type, vs);
    }
    size_t waiting = count_imports(c->api);
    if (waiting >= limits.max_imports_waiting) {
        limits_hit(&limits.max_imports_waiting);
        return err_set(err, ERR_RESOURCE_EXHAUSTED,
                       "%zu imports are under way or waiting; max_imports_waiting is %llu.",
                       waiting, (unsigned long long)limits.max_imports_waiting);
    }
    return 0;
}

static void begin_import(struct dataset_fetch *f, const struct store_row *row) {
    struct importing *r = f->arg;
    struct call *c = f->call;
    auto_buf struct buf facts = BUF_INIT(BUF_NO_MAX);
    Aip__ImportDataOperationMetadata meta = AIP__IMPORT_DATA_OPERATION_METADATA__INIT;
    Aip__GenericOperationMetadata generic = AIP__GENERIC_OPERATION_METADATA__INIT;
    struct violations vs;
    struct err err;
    violations_init(&vs, c->arena);
    if (check_dataset(c, row, &vs, &err)) {
        call_fail(c, &err);
        return;
    }
    if (vs.n) {
        call_fail_violations(c, &vs);
        return;
    }
    meta.generic_metadata = &generic;
    rec_put(&facts, "dataset", r->name.dataset);
    errand_begin(c, &dataset_import_errand,
                 &(struct operation_about){.parent = r->name.parts.parent,
                                           .resource = r->name.parts.rest,
                                           .is_nested = true,
                                           .metadata = &meta.base},
                 buf_str(&facts));
}

void svc_dataset_import(struct call *c) {
    Aip__ImportDataRequest *req = (Aip__ImportDataRequest *)c->req;
    struct importing *r = arena_own(c->arena, sizeof(*r));
    struct violations vs;
    struct err err;
    if (dataset_name_parse(c, req->name, "name", NULL, NULL, &r->name, &err)) {
        call_fail(c, &err);
        return;
    }
    violations_init(&vs, c->arena);
    if (!req->n_import_configs) {
        violations_add(&vs, "import_configs", "Required field is not set.");
    }
    for (size_t i = 0; i < req->n_import_configs; i++) {
        check_config(req->import_configs[i], i, &vs);
    }
    if (vs.n) {
        call_fail_violations(c, &vs);
        return;
    }
    r->fetch = (struct dataset_fetch){
        .call = c, .what = "Dataset", .name = r->name.dataset, .then = begin_import, .arg = r};
    dataset_fetch(&r->fetch);
}

/* ---- how far they are ---- */

static void put_import(struct jw *w, const struct errand *e) {
    const struct import *im = (const struct import *)e;
    const struct import_watch *v = &im->watch;
    jw_object(w);
    jw_key(w, "operation");
    jw_str(w, operation_name(im->errand.op));
    jw_key(w, "bytesDone");
    jw_u64(w, atomic_load(&v->bytes_done));
    jw_key(w, "bytesTotal");
    jw_u64(w, atomic_load(&v->bytes_total));
    jw_key(w, "lines");
    jw_u64(w, atomic_load(&v->lines));
    jw_key(w, "failedLines");
    jw_u64(w, atomic_load(&v->failed));
    jw_end_object(w);
}

bool dataset_imports_handle(struct api *api, struct xch *x) {
    return dataset_errands_reply(api, x, "imports", &dataset_import_errand, put_import);
}
