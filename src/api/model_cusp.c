/* See model_cusp.h. */
#include "api/model_cusp.h"

#include "api/call.h"
#include "api/cusp_path.h"
#include "api/model_message.h"
#include "api/seal.h"
#include "base/jw.h"
#include "ctl/model.h"

#define DIFFERENCES_MAX 100u /* shown; all are counted */
#define MODELS_MAX 1000u     /* of one answer */
#define REPLY_MAX ((size_t)16 << 20)

struct view {
    struct api *api;
    struct xch *xch;
    struct arena *a;
    bool is_verify, is_quick;
    struct name_parts name;
    struct model_get get;
    struct store_kv_get kv;
    struct store_kv_scan scan;
    /* what was found */
    struct str version_name, seal;
    uint64_t version;
    Aip__Model *model;
    struct version_record record;
    struct jw w;
    struct buf out;
    unsigned nr_shown;
};

static void fail(struct view *v, const struct err *err) {
    reply_error(v->xch, err);
    xch_unref(v->xch);
}

static void put_time(struct jw *w, const char *key, usec_t t) {
    auto_buf struct buf b = BUF_INIT(64);
    if (t) {
        time_format_rfc3339(&b, t);
        jw_kv(w, key, buf_cstr(&b));
    }
}

static void put_str(struct jw *w, const char *key, struct str s) {
    if (s.n) {
        jw_key(w, key);
        jw_str(w, s);
    }
}

static void begin(struct view *v) {
    v->out = BUF_INIT(REPLY_MAX);
    jw_init(&v->w, &v->out, 2);
    jw_object(&v->w);
    put_str(&v->w, "name", v->version_name);
}

static void finish(struct view *v) {
    jw_end_object(&v->w);
    buf_putc(&v->out, '\n');
    reply_json(v->xch, 200, buf_str(&v->out));
    buf_fini(&v->out);
    xch_unref(v->xch);
}

static void scan(struct view *v, struct str resource, struct str after,
                 void (*cb)(struct store_kv_scan *, const struct store_kv_pair *, size_t,
                            const struct err *));
static void on_copies(struct store_kv_scan *s, const struct store_kv_pair *p, size_t n,
                      const struct err *err);

/* ---- verify ---- */

static void put_side(struct jw *w, const char *size, const char *sum, const struct seal_file *f) {
    char hex[9];
    if (f) {
        jw_kv_u64_string(w, size, f->size);
        if (f->has_crc32c) {
            snprintf(hex, sizeof(hex), "%08x", f->crc32c);
            jw_kv(w, sum, hex);
        }
    }
}

static void put_difference(void *arg, enum seal_difference d, const struct seal_file *before,
                           const struct seal_file *after) {
    static const char *const words[] = {
        [SEAL_ADDED] = "ADDED", [SEAL_REMOVED] = "REMOVED", [SEAL_CHANGED] = "CHANGED"};
    struct view *v = arg;
    if (v->nr_shown++ < DIFFERENCES_MAX) {
        jw_object(&v->w);
        put_str(&v->w, "file", before ? before->name : after->name);
        jw_kv(&v->w, "what", words[d]);
        put_side(&v->w, "sizeThen", "crc32cThen", before);
        put_side(&v->w, "sizeNow", "crc32cNow", after);
        jw_end_object(&v->w);
    }
}

static void put_sealed(struct view *v) {
    struct jw *w = &v->w;
    struct seal_facts f;
    seal_describe(v->a, v->seal, &f);
    jw_kv(w, "artifactUri", v->model->artifact_uri);
    jw_kv_u64_string(w, "files", f.files);
    jw_kv_u64_string(w, "bytes", f.bytes);
    put_str(w, "digest", f.digest);
    put_time(w, "sealTime", v->record.create_time);
}

static void on_looked(void *arg, const struct seal_facts *f, const struct err *err) {
    struct view *v = arg;
    struct jw *w = &v->w;
    bool is_empty = err && err->code == ERR_INVALID_ARGUMENT;
    if (err && !is_empty) {
        fail(v, err);
        return;
    }
    begin(v);
    put_sealed(v);
    if (f) {
        jw_kv_u64_string(w, "filesNow", f->files);
        jw_kv_u64_string(w, "bytesNow", f->bytes);
        if (!v->is_quick) {
            put_str(w, "digestNow", f->digest);
        }
    }
    jw_key(w, "differences");
    jw_array(w);
    uint64_t n = seal_compare(v->seal, f ? f->text : STR(""), put_difference, v);
    jw_end_array(w);
    jw_kv_u64_string(w, "differenceCount", n);
    jw_kv(w, "state", is_empty ? "MISSING" : n ? "CHANGED" : "UNCHANGED");
    finish(v);
}

static void on_seal(struct store_kv_get *kv, struct str value, const struct err *err) {
    struct view *v = kv->arg;
    if (err) {
        fail(v, err);
        return;
    }
    v->seal = value;
    if (!v->is_verify) {
        scan(v, v->version_name, STR(""), on_copies);
        return;
    }
    (void)seal_begin(v->api->blob, &(struct seal_wish){.folder = str_of(v->model->artifact_uri),
                                                       .is_quick = v->is_quick,
                                                       .cb = on_looked,
                                                       .arg = v});
}

static void read_seal(struct view *v) {
    if (v->is_verify && !v->model->artifact_uri[0]) {
        begin(v);
        jw_kv(&v->w, "state", "NO_ARTIFACT");
        finish(v);
        return;
    }
    v->kv = (struct store_kv_get){
        .space = MODEL_SEAL_SPACE, .key = v->version_name, .arena = v->a, .cb = on_seal, .arg = v};
    v->api->store->ops->kv_get(v->api->store, &v->kv);
}

/* ---- lineage ---- */

static void put_list(struct jw *w, const char *key, const struct rec *facts, const char *fact) {
    struct str value;
    size_t it = 0;
    if (!rec_get(facts, fact).p) {
        return;
    }
    jw_key(w, key);
    jw_array(w);
    while (rec_next(facts, fact, &it, &value)) {
        jw_str(w, value);
    }
    jw_end_array(w);
}

static void put_models(struct jw *w, const char *key, const struct store_kv_pair *p, size_t n) {
    jw_key(w, key);
    jw_array(w);
    for (size_t i = 0; i < n; i++) {
        struct str name = p[i].key;
        (void)str_cut(&name, '\x01');
        jw_str(w, name);
    }
    jw_end_array(w);
}

static void on_copies(struct store_kv_scan *s, const struct store_kv_pair *p, size_t n,
                      const struct err *err) {
    struct view *v = s->arg;
    const struct rec *facts = &v->record.facts;
    struct jw *w = &v->w;
    if (err) {
        fail(v, err);
        return;
    }
    begin(v);
    put_time(w, "createTime", v->record.create_time);
    if (v->model->artifact_uri[0]) {
        jw_key(w, "artifact");
        jw_object(w);
        put_sealed(v);
        jw_end_object(w);
    }
    put_str(w, "trainingPipeline", rec_get(facts, MODEL_FACT_PIPELINE));
    put_list(w, "jobs", facts, MODEL_FACT_JOB);
    put_list(w, "datasets", facts, MODEL_FACT_DATASET);
    put_str(w, "annotationSchemaUri", rec_get(facts, MODEL_FACT_ANNOTATIONS));
    put_list(w, "images", facts, MODEL_FACT_IMAGE);
    put_list(w, "imageDigests", facts, MODEL_FACT_IMAGE_DIGEST);
    put_list(w, "packages", facts, MODEL_FACT_PACKAGE);
    put_str(w, "copiedFrom", rec_get(facts, MODEL_FACT_SOURCE));
    if (n) {
        put_models(w, "copies", p, n);
    }
    if (v->model->container_spec) {
        jw_kv(w, "servingImage", v->model->container_spec->image_uri);
    }
    finish(v);
}

static void scan(struct view *v, struct str resource, struct str after,
                 void (*cb)(struct store_kv_scan *, const struct store_kv_pair *, size_t,
                            const struct err *)) {
    v->scan =
        (struct store_kv_scan){.space = MODEL_LINEAGE_SPACE,
                               .prefix = str_of(arena_printf(v->a, "%.*s\x01", STR_ARG(resource))),
                               .max = MODELS_MAX,
                               .arena = v->a,
                               .cb = cb,
                               .arg = v};
    if (after.n) {
        v->scan.after =
            str_of(arena_printf(v->a, "%.*s%.*s", STR_ARG(v->scan.prefix), STR_ARG(after)));
    }
    v->api->store->ops->kv_scan(v->api->store, &v->scan);
}

/* ---- both begin with the version ---- */

static void on_version(struct model_get *g, const struct model_found *f, const struct err *err) {
    struct view *v = g->arg;
    struct model_view view;
    struct err e;
    if (err) {
        fail(v, err);
        return;
    }
    v->version_name = arena_str(v->a, f->version_row->name);
    if (model_view_read(v->a, f->model, &view, &e) ||
        model_message(v->a, &view, f->version_row, &v->model, &e) ||
        version_record_decode(v->a, arena_str(v->a, f->version_row->status), &v->record, &e)) {
        fail(v, &e);
    } else {
        read_seal(v);
    }
}

/* ---- what was made from something ---- */

static void on_models(struct store_kv_scan *s, const struct store_kv_pair *p, size_t n,
                      const struct err *err) {
    struct view *v = s->arg;
    if (err) {
        fail(v, err);
        return;
    }
    v->version_name = v->name.canonical;
    begin(v);
    put_models(&v->w, "models", p, n);
    if (n == MODELS_MAX) { /* ask again with ?after= the last one */
        jw_key(&v->w, "isPartial");
        jw_bool(&v->w, true);
    }
    finish(v);
}

static struct view *view_new(struct api *a, struct xch *x) {
    struct view *v = arena_own(xch_arena(x), sizeof(*v));
    v->api = a;
    v->xch = x;
    v->a = xch_arena(x);
    return v;
}

bool model_cusp_handle(struct api *a, struct xch *x) {
    struct str rest, version;
    struct err err;
    bool is_verify = cusp_path_match(x, ":verify", &rest);
    bool is_lineage = !is_verify && cusp_path_match(x, ":lineage", &rest);
    bool is_used_by = !is_verify && !is_lineage && cusp_path_match(x, ":models", &rest);
    if (!is_verify && !is_lineage && !is_used_by) {
        return false;
    }
    struct view *v = view_new(a, x);
    if (is_used_by ? name_parse(a->projects, v->a, rest, "name", &v->name, &err)
                   : name_parse_in(a->projects, v->a, rest, "models", "name", &v->name, &err)) {
        reply_error(x, &err);
        return true;
    }
    (void)xch_ref(x);
    if (is_used_by) {
        scan(v, v->name.canonical, cusp_query_get(x, "after"), on_models);
        return true;
    }
    v->is_verify = is_verify;
    v->is_quick = str_eqc(cusp_query_get(x, "quick"), "true");
    struct str model = model_name_cut(v->name.canonical, &version);
    v->get = (struct model_get){.name = model,
                                .version = version,
                                .want_version = true,
                                .arena = v->a,
                                .cb = on_version,
                                .arg = v};
    model_get(a->models, &v->get);
    return true;
}
