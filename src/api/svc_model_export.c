/* ModelService: export. The files that were sealed with the version are copied to a folder of their
 * own, each compared with its seal; what is no longer what was registered is not exported. */
#include "api/svc_model.h"

#include "api/errand.h"
#include "api/seal.h"
#include "pb/rpc.h"
#include "pb/wkt.h"

#define FORMAT "custom-trained"
/* Of one file in one go: the server may be asked to stop in between. */
#define SLICE ((uint64_t)256 << 20)

struct export_errand {
    struct errand errand; /* first */
    struct store_kv_get kv;
    struct str source_bucket, source_prefix, bucket, prefix;
    struct str seal, rest; /* all lines, those not copied yet */
    struct seal_file file; /* being copied */
    struct arena *step;    /* of one file */
    struct blob_source src;
    struct blob_copy copy;
    bool is_busy; /* a copy or removal is under way */
    /* Taking back what was copied. */
    struct blob_req removal;
    struct err why;
};

static void next_file(struct export_errand *x);

static const ProtobufCMessage *metadata_of(struct arena *a, struct str output) {
    Aip__ExportModelOperationMetadata *m = arena_own(a, sizeof(*m));
    aip__export_model_operation_metadata__init(m);
    m->output_info = arena_own(a, sizeof(*m->output_info));
    aip__export_model_operation_metadata__output_info__init(m->output_info);
    m->output_info->artifact_output_uri = arena_strndup(a, output.p, output.n);
    return &m->base;
}

static const ProtobufCMessage *metadata(struct export_errand *x) {
    return metadata_of(x->errand.a, rec_get(&x->errand.facts, "output"));
}

/* ---- taking back ---- */

static void remove_next(struct export_errand *x);

static void on_removed(struct blob_req *r, const struct err *err) {
    struct export_errand *x = r->arg;
    blob_req_fini(r);
    x->is_busy = false;
    remove_next(x);
}

/* x->seal: those that may have been copied. */
static void remove_next(struct export_errand *x) {
    struct seal_file f;
    bool is_stopping = errand_must_stop(&x->errand) && !x->errand.is_cancelled;
    if (is_stopping || x->seal.n <= x->rest.n || !seal_next(&x->seal, &f)) {
        errand_end(&x->errand, metadata(x), NULL, &x->why);
        return;
    }
    blob_req_init_object(&x->removal, x->bucket, STR(""), on_removed, x);
    x->removal.name = blob_req_str(
        &x->removal,
        str_of(arena_printf(x->step, "%.*s%.*s", STR_ARG(x->prefix), STR_ARG(f.name))));
    x->is_busy = true;
    blob_object_delete(x->errand.api->blob, &x->removal);
}

static void fail(struct export_errand *x, const struct err *err) {
    x->why = *err;
    remove_next(x);
}

/* ---- copying ---- */

static int facts(struct blob_copy *c, const struct blob_meta *first, struct err *err) {
    struct export_errand *x = c->arg; /* what `first` holds goes when this returns */
    c->put.content_type = arena_str(x->step, first->content_type);
    c->put.content_encoding = arena_str(x->step, first->content_encoding);
    struct blob_pair *custom = arena_own_array(x->step, first->nr_custom + 1, sizeof(*custom));
    for (size_t i = 0; i < first->nr_custom; i++) {
        custom[i] = (struct blob_pair){arena_str(x->step, first->custom[i].key),
                                       arena_str(x->step, first->custom[i].value)};
    }
    c->put.custom = custom;
    c->put.nr_custom = first->nr_custom;
    return 0;
}

static int compare(const struct export_errand *x, const struct blob_meta *m, struct err *err) {
    if (m->size == x->file.size &&
        (!x->file.has_crc32c || !m->has_crc32c || m->crc32c == x->file.crc32c)) {
        return 0;
    }
    return err_set(
        err, ERR_FAILED_PRECONDITION,
        "gs://%.*s/%.*s%.*s has changed since the version was uploaded (%llu bytes then, "
        "%llu now); what was registered cannot be exported any more.",
        STR_ARG(x->source_bucket), STR_ARG(x->source_prefix), STR_ARG(x->file.name),
        (unsigned long long)x->file.size, (unsigned long long)m->size);
}

static void copy(struct export_errand *x);

static void on_copied(struct blob_copy *c, const struct blob_meta *meta, const struct err *err) {
    struct export_errand *x = c->arg;
    struct err e;
    x->is_busy = false;
    if (err && err->code == ERR_NOT_FOUND) {
        err_set(&e, ERR_FAILED_PRECONDITION,
                "gs://%.*s/%.*s%.*s was removed since the version was uploaded; what was "
                "registered cannot be exported any more.",
                STR_ARG(x->source_bucket), STR_ARG(x->source_prefix), STR_ARG(x->file.name));
        fail(x, &e);
    } else if (err) {
        fail(x, err);
    } else if (meta && compare(x, meta, &e)) {
        fail(x, &e);
    } else if (errand_must_stop(&x->errand)) {
        err_set(&e, ERR_CANCELLED, "The operation was cancelled.");
        fail(x, &e);
    } else if (meta) {
        next_file(x);
    } else {
        struct str token = arena_str(x->step, c->next_token);
        c->token = token;
        copy(x);
    }
}

static void copy(struct export_errand *x) {
    struct str token = x->copy.token;
    x->copy = (struct blob_copy){
        .src = &x->src,
        .nr_src = 1,
        .put = {.bucket = x->bucket,
                .name = str_of(
                    arena_printf(x->step, "%.*s%.*s", STR_ARG(x->prefix), STR_ARG(x->file.name))),
                .size = -1},
        .facts = facts,
        .max_bytes = SLICE,
        .token = token,
        .cb = on_copied,
        .arg = x,
    };
    x->is_busy = true;
    errand_progress(&x->errand, metadata(x));
    blob_object_copy(x->errand.api->blob, &x->copy);
}

static void next_file(struct export_errand *x) {
    Aip__ExportModelResponse resp = AIP__EXPORT_MODEL_RESPONSE__INIT;
    struct err err;
    if (errand_must_stop(&x->errand)) {
        err_set(&err, ERR_CANCELLED, "The operation was cancelled.");
        fail(x, &err);
    } else if (!seal_next(&x->rest, &x->file)) {
        errand_end(&x->errand, metadata(x), &resp.base, NULL);
    } else {
        arena_clear(x->step);
        x->src = (struct blob_source){
            .bucket = x->source_bucket,
            .name = str_of(arena_printf(x->step, "%.*s%.*s", STR_ARG(x->source_prefix),
                                        STR_ARG(x->file.name)))};
        x->copy.token = STR("");
        copy(x);
    }
}

static void on_seal(struct store_kv_get *kv, struct str value, const struct err *err) {
    struct export_errand *x = kv->arg;
    struct err e;
    if (err || !value.n) {
        err_set(&e, ERR_NOT_FOUND, "%.*s was deleted before it was exported.", STR_ARG(kv->key));
        x->why = err ? *err : e;
        errand_end(&x->errand, metadata(x), NULL, &x->why);
        return;
    }
    x->seal = x->rest = value;
    next_file(x);
}

static void run_export(struct errand *e) {
    struct export_errand *x = (struct export_errand *)e;
    const struct rec *r = &e->facts;
    struct err err;
    x->step = arena_new(ARENA_NO_MAX);
    if (seal_folder(e->a, rec_get(r, "source"), "artifact_uri", &x->source_bucket,
                    &x->source_prefix, &err) ||
        seal_folder(e->a, rec_get(r, "output"), "output_uri_prefix", &x->bucket, &x->prefix,
                    &err)) {
        errand_end(e, NULL, NULL, &err);
        return;
    }
    x->kv = (struct store_kv_get){.space = MODEL_SEAL_SPACE,
                                  .key = rec_get(r, "version"),
                                  .arena = e->a,
                                  .cb = on_seal,
                                  .arg = x};
    e->api->store->ops->kv_get(e->api->store, &x->kv);
}

static void stop_export(struct errand *e) {
    /* Looked at after every slice. */
}

static void forget_export(struct errand *e) {
    arena_free(((struct export_errand *)e)->step);
}

const struct errand_type model_export_errand = {
    .name = "export",
    .metadata = "ExportModelOperationMetadata",
    .request = &aip__export_model_request__descriptor,
    .size = sizeof(struct export_errand),
    .run = run_export,
    .stop = stop_export,
    .forget = forget_export,
};

/* ---- as it is asked for ---- */

struct exporting {
    struct call *call;
    struct model_name name;
    struct str bucket, prefix; /* below which a folder is made */
    struct model_get get;
};

#define DESTINATION "output_config.artifact_destination.output_uri_prefix"

static int check_destination(struct exporting *x, struct err *err) {
    struct call *c = x->call;
    const Aip__ExportModelRequest__OutputConfig *o =
        ((Aip__ExportModelRequest *)c->req)->output_config;
    if (!o) {
        return err_field(err, ERR_INVALID_ARGUMENT, "output_config", "Required field is not set.");
    }
    if (o->export_format_id[0] && strcmp(o->export_format_id, FORMAT) != 0) {
        return err_field(err, ERR_INVALID_ARGUMENT, "output_config.export_format_id",
                         "Export format \"%.100s\" is not one of the model's: %s.",
                         o->export_format_id, FORMAT);
    }
    if (o->image_destination && o->image_destination->output_uri[0]) {
        return err_field(err, ERR_INVALID_ARGUMENT, "output_config.image_destination",
                         "Models of format %s are exported as an ARTIFACT only, to "
                         "artifact_destination; their container image is where it was.",
                         FORMAT);
    }
    if (!o->artifact_destination || !o->artifact_destination->output_uri_prefix[0]) {
        return err_field(err, ERR_INVALID_ARGUMENT, DESTINATION, "Required field is not set.");
    }
    if (seal_folder(c->arena, str_of(o->artifact_destination->output_uri_prefix), DESTINATION,
                    &x->bucket, &x->prefix, err)) {
        return -1;
    }
    if (!blob_bucket_is_here(c->api->blob, x->bucket)) {
        return err_field(err, ERR_NOT_FOUND, DESTINATION, "The bucket \"%.*s\" does not exist.",
                         STR_ARG(x->bucket));
    }
    return 0;
}

/* The display name as a part of an object's name. */
static char *folder_of(struct arena *a, const Aip__Model *m, usec_t now) {
    auto_buf struct buf time = BUF_INIT(64);
    char *name = arena_strdup(a, m->display_name);
    usec_t ms = now / USEC_PER_MSEC % 1000;
    for (char *p = name; *p; p++) {
        if (*p == '/' || (unsigned char)*p < ' ' || *p == 0x7f || strchr("*?[]#", *p)) {
            *p = '_';
        }
    }
    time_format_rfc3339(&time, now / USEC_PER_SEC * USEC_PER_SEC);
    return arena_printf(a, "model-export-%s-%.*s.%03uZ", name, (int)(time.n - 1), time.p,
                        (unsigned)ms);
}

static void on_found(struct model_get *g, const struct model_found *f, const struct err *err) {
    struct exporting *x = g->arg;
    struct call *c = x->call;
    auto_buf struct buf facts = BUF_INIT(BUF_NO_MAX);
    struct model_view view;
    Aip__Model *m;
    struct err e;
    if (err) {
        call_fail(c, err);
        return;
    }
    if (model_view_read(c->arena, f->model, &view, &e) ||
        model_message(c->arena, &view, f->version_row, &m, &e)) {
        call_fail(c, &e);
        return;
    }
    if (!m->artifact_uri[0]) {
        err_set(&e, ERR_FAILED_PRECONDITION,
                "The Model \"%s\" has no artefact (artifactUri), so there is nothing to export.",
                m->name);
        call_fail(c, &e);
        return;
    }
    struct str output = str_of(arena_printf(
        c->arena, "gs://%.*s/%.*s%s/" FORMAT "/", STR_ARG(x->bucket), STR_ARG(x->prefix),
        folder_of(c->arena, m, c->api->clock->ops->wall(c->api->clock))));
    rec_put(&facts, "version", f->version_row->name);
    rec_puts(&facts, "source", m->artifact_uri);
    rec_put(&facts, "output", output);
    errand_begin(c, &model_export_errand,
                 &(struct operation_about){.parent = x->name.parts.parent,
                                           .resource = x->name.resource,
                                           .is_nested = true,
                                           .metadata = metadata_of(c->arena, output)},
                 buf_str(&facts));
}

void svc_model_export(struct call *c) {
    Aip__ExportModelRequest *req = (Aip__ExportModelRequest *)c->req;
    struct exporting *x = arena_own(c->arena, sizeof(*x));
    struct err err;
    x->call = c;
    if (model_name_parse(c, req->name, "name", &x->name, &err) || check_destination(x, &err)) {
        call_fail(c, &err);
        return;
    }
    x->get = (struct model_get){.name = x->name.model,
                                .version = x->name.version,
                                .want_version = true,
                                .arena = c->arena,
                                .cb = on_found,
                                .arg = x};
    model_get(c->api->models, &x->get);
}
