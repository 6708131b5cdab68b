/* ModelService: upload and copy (reference 07 §6, §7). An upload's artefact is sealed while its
 * operation runs; the version, its aliases and the end of the operation are one transaction. */
#include "api/svc_model.h"

#include "api/model_check.h"
#include "api/errand.h"
#include "api/seal.h"
#include "base/limits.h"
#include "pb/pb.h"
#include "pb/pbcheck.h"
#include "pb/rpc.h"
#include "pb/wkt.h"

/* What of a message is kept beside it. */
static void fill_upload(struct arena *a, const Aip__Model *m, struct model_upload *u) {
    struct store_label *labels = arena_own_array(a, m->n_labels + 1, sizeof(*labels));
    struct str *aliases = arena_own_array(a, m->n_version_aliases + 1, sizeof(*aliases));
    for (size_t i = 0; i < m->n_labels; i++) {
        labels[i] = (struct store_label){str_of(m->labels[i]->key), str_of(m->labels[i]->value)};
    }
    for (size_t i = 0; i < m->n_version_aliases; i++) {
        aliases[i] = str_of(m->version_aliases[i]);
    }
    u->display_name = str_of(m->display_name);
    u->description = str_of(m->description);
    u->version_description = str_of(m->version_description);
    u->labels = labels;
    u->nr_labels = m->n_labels;
    u->aliases = aliases;
    u->nr_aliases = m->n_version_aliases;
}

/* ---- upload: while it runs ---- */

struct upload_errand {
    struct errand errand; /* first */
    struct seal *seal;
    struct model_upload up;
};

static const Aip__UploadModelRequest *request_of(const struct upload_errand *upload) {
    return (const Aip__UploadModelRequest *)upload->errand.request;
}

static void join(void *arg, struct store_txn *t, const struct model_uploaded *u) {
    struct upload_errand *upload = arg;
    Aip__UploadModelResponse resp = AIP__UPLOAD_MODEL_RESPONSE__INIT;
    resp.model = arena_strndup(upload->errand.a, u->name.p, u->name.n);
    resp.model_version_id = arena_printf(upload->errand.a, "%llu", (unsigned long long)u->version);
    errand_join(&upload->errand, t, NULL, &resp.base);
}

static void on_uploaded(struct model_upload *u, const struct model_uploaded *up,
                        const struct err *err) {
    struct upload_errand *upload = u->arg;
    if (!err &&
        up->is_again) { /* made by an earlier life, whose end of the operation is there too */
        struct err lost;
        err_set(&lost, ERR_ABORTED, "The operation had ended already.");
        errand_end(&upload->errand, NULL, NULL, &lost);
        return;
    }
    errand_joined(&upload->errand, err);
}

static void make_version(struct upload_errand *upload, const struct seal_facts *seal) {
    const Aip__UploadModelRequest *req = request_of(upload);
    struct arena *a = upload->errand.a;
    struct model_upload *u = &upload->up;
    struct str version;
    uint64_t own_id = rec_get_u64(&upload->errand.facts, "own_id", 0);
    struct err err;
    *u = (struct model_upload){
        .parent = upload->errand.parent,
        .model_id = str_of(req->model_id),
        .own_id = own_id,
        .parent_model = model_name_cut(rec_get(&upload->errand.facts, "parent_model"), &version),
        .token = arena_str(a, operation_name(upload->errand.op)),
        .join = join,
        .join_arg = upload,
        .cb = on_uploaded,
        .arg = upload};
    fill_upload(a, req->model, u);
    if (seal) {
        u->seal = arena_str(a, seal->text);
    }
    if (!model_message_pack(a, req->model, &u->spec)) {
        err_set(&err, ERR_RESOURCE_EXHAUSTED, "The model needs more memory than allowed.");
        errand_end(&upload->errand, NULL, NULL, &err);
        return;
    }
    model_upload(upload->errand.api->models, u);
}

static void on_progress(void *arg, uint64_t files, uint64_t bytes) {
    struct upload_errand *upload = arg;
    errand_progress(&upload->errand, NULL);
}

static void on_sealed(void *arg, const struct seal_facts *f, const struct err *err) {
    struct upload_errand *upload = arg;
    upload->seal = NULL;
    if (err || errand_must_stop(&upload->errand)) {
        struct err stopped;
        err_set(&stopped, ERR_CANCELLED, "The operation was cancelled.");
        errand_end(&upload->errand, NULL, NULL, err ? err : &stopped);
    } else {
        make_version(upload, f);
    }
}

static void run_upload(struct errand *e) {
    struct upload_errand *upload = (struct upload_errand *)e;
    const Aip__Model *m = request_of(upload)->model;
    if (!m->artifact_uri[0]) {
        make_version(upload, NULL);
        return;
    }
    upload->seal = seal_begin(e->api->blob, &(struct seal_wish){.folder = str_of(m->artifact_uri),
                                                                .progress = on_progress,
                                                                .cb = on_sealed,
                                                                .arg = upload});
}

static void stop_upload(struct errand *e) {
    struct upload_errand *upload = (struct upload_errand *)e;
    if (upload->seal) {
        seal_cancel(upload->seal);
    } /* else the version is being made: that takes no time, and is not half done */
}

const struct errand_type model_upload_errand = {
    .name = "upload",
    .metadata = "UploadModelOperationMetadata",
    .request = &aip__upload_model_request__descriptor,
    .size = sizeof(struct upload_errand),
    .run = run_upload,
    .stop = stop_upload,
};

/* ---- upload: as it is asked for ---- */

struct uploading {
    struct call *call;
    struct name_parts parent;
    struct model_upload up; /* as far as it is checked */
    struct model_upload_check check;
};

static void on_checked(struct model_upload_check *ck, const struct err *err) {
    struct uploading *ul = ck->arg;
    struct call *c = ul->call;
    const Aip__UploadModelRequest *req = (Aip__UploadModelRequest *)c->req;
    auto_buf struct buf facts = BUF_INIT(BUF_NO_MAX);
    Aip__UploadModelOperationMetadata meta = AIP__UPLOAD_MODEL_OPERATION_METADATA__INIT;
    struct str resource;
    if (err) {
        call_fail(c, err);
        return;
    }
    if (ul->up.parent_model.n) {
        resource = str_sub(ul->up.parent_model, ul->parent.parent.n + 1, ul->up.parent_model.n);
        rec_put(&facts, "parent_model", ul->up.parent_model);
    } else if (req->model_id[0]) {
        resource = str_of(arena_printf(c->arena, MODEL_COLLECTION "/%s", req->model_id));
    } else {
        uint64_t id = models_new_id(c->api->models);
        resource = str_of(arena_printf(c->arena, MODEL_COLLECTION "/%llu", (unsigned long long)id));
        rec_put_u64(&facts, "own_id", id);
    }
    errand_begin(c, &model_upload_errand,
                 &(struct operation_about){.parent = ul->parent.parent,
                                           .resource = resource,
                                           .is_nested = true,
                                           .metadata = &meta.base},
                 buf_str(&facts));
}

/* "PARENT" of a request that makes something in it. */
static int parent_of(struct call *c, const char *parent, struct name_parts *ret, struct err *err) {
    return name_parse_home(c->api->projects, c->arena, parent, "a model needs one", ret, err);
}

void svc_model_upload(struct call *c) {
    Aip__UploadModelRequest *req = (Aip__UploadModelRequest *)c->req;
    struct uploading *ul = arena_own(c->arena, sizeof(*ul));
    struct model_name in = {0};
    struct violations vs;
    struct err err;
    ul->call = c;
    if (parent_of(c, req->parent, &ul->parent, &err) ||
        (req->parent_model[0] &&
         model_name_parse(c, req->parent_model, "parent_model", &in, &err))) {
        call_fail(c, &err);
        return;
    }
    violations_init(&vs, c->arena);
    if (req->model) {
        pb_clear_output_only(&req->model->base); /* clients send whole resources back */
        model_check(req->model, "model", false, &vs);
    } else {
        violations_add(&vs, "model", "Required field is not set.");
    }
    if (vs.n) {
        call_fail_violations(c, &vs);
        return;
    }
    ul->up.parent = ul->parent.parent;
    ul->up.model_id = str_of(req->model_id);
    ul->up.parent_model = in.model;
    ul->check = (struct model_upload_check){.u = &ul->up, .cb = on_checked, .arg = ul};
    model_upload_check(c->api->models, &ul->check);
}

/* ---- copy: nothing is moved, so it is done when it is answered ---- */

struct copying {
    struct call *call;
    struct name_parts parent;
    struct model_name source;
    struct model_get get;
    struct store_kv_get kv;
    struct model_upload up;
    Google__Longrunning__Operation *op;
};

static void join_copy(void *arg, struct store_txn *t, const struct model_uploaded *u) {
    struct copying *cp = arg;
    struct call *c = cp->call;
    Aip__CopyModelResponse resp = AIP__COPY_MODEL_RESPONSE__INIT;
    Aip__CopyModelOperationMetadata meta = AIP__COPY_MODEL_OPERATION_METADATA__INIT;
    resp.model = arena_strndup(c->arena, u->name.p, u->name.n);
    resp.model_version_id = arena_printf(c->arena, "%llu", (unsigned long long)u->version);
    cp->op = operation_insert_done(
        c->api->operations, t, c->arena,
        &(struct operation_about){.parent = cp->parent.parent,
                                  .resource = str_sub(u->name, cp->parent.parent.n + 1, u->name.n),
                                  .is_nested = true,
                                  .is_beta = c->rpc->is_beta,
                                  .metadata = &meta.base},
        &resp.base);
}

static void on_copied(struct model_upload *u, const struct model_uploaded *up,
                      const struct err *err) {
    struct copying *cp = u->arg;
    if (err) {
        call_fail(cp->call, err);
    } else {
        svc_operation_reply(cp->call, cp->op, cp->call->rpc->is_beta);
    }
}

static void on_seal(struct store_kv_get *kv, struct str value, const struct err *err) {
    struct copying *cp = kv->arg;
    if (err) {
        call_fail(cp->call, err);
        return;
    }
    cp->up.seal = value;
    model_upload(cp->call->api->models, &cp->up);
}

/* What the copy keeps of where the original came from; the rest is found through the original. */
static bool is_kept(struct str key) {
    return !str_eqc(key, MODEL_FACT_PIPELINE) && !str_eqc(key, MODEL_FACT_JOB) &&
           !str_eqc(key, MODEL_FACT_DATASET) && !str_eqc(key, MODEL_FACT_SOURCE);
}

static void put_facts(struct buf *b, const struct version_record *v, struct str source) {
    rec_put(b, MODEL_FACT_SOURCE, source);
    for (size_t i = 0; i < v->facts.n; i++) {
        if (is_kept(v->facts.p[i].key)) {
            auto_free char *key = str_dup(v->facts.p[i].key);
            rec_put(b, key, v->facts.p[i].value);
        }
    }
}

static int fill_copy(struct copying *cp, const struct model_found *f, struct err *err) {
    struct call *c = cp->call;
    Aip__CopyModelRequest *req = (Aip__CopyModelRequest *)c->req;
    auto_buf struct buf facts = BUF_INIT(BUF_NO_MAX);
    struct model_view view;
    struct version_record v;
    Aip__Model *m;
    if (model_view_read(c->arena, f->model, &view, err) ||
        model_message(c->arena, &view, f->version_row, &m, err) ||
        version_record_decode(c->arena, f->version_row->status, &v, err)) {
        return -1;
    }
    m->n_version_aliases = 0;
    if (req->encryption_spec) {
        m->encryption_spec = req->encryption_spec;
    }
    fill_upload(c->arena, m, &cp->up);
    put_facts(&facts, &v, f->version_row->name);
    cp->up.facts = arena_str(c->arena, buf_str(&facts));
    return model_message_pack(c->arena, m, &cp->up.spec)
               ? 0
               : err_set(err, ERR_RESOURCE_EXHAUSTED, "The model needs more memory than allowed.");
}

static void on_source(struct model_get *g, const struct model_found *f, const struct err *err) {
    struct copying *cp = g->arg;
    struct call *c = cp->call;
    struct err e;
    if (err) {
        e = *err;
        if (e.code == ERR_NOT_FOUND) {
            err_field(&e, ERR_NOT_FOUND, "source_model", "%s", err->msg);
        }
        call_fail(c, &e);
        return;
    }
    if (fill_copy(cp, f, &e)) {
        call_fail(c, &e);
        return;
    }
    cp->kv = (struct store_kv_get){.space = MODEL_SEAL_SPACE,
                                   .key = arena_str(c->arena, f->version_row->name),
                                   .arena = c->arena,
                                   .cb = on_seal,
                                   .arg = cp};
    c->api->store->ops->kv_get(c->api->store, &cp->kv);
}

void svc_model_copy(struct call *c) {
    Aip__CopyModelRequest *req = (Aip__CopyModelRequest *)c->req;
    struct copying *cp = arena_own(c->arena, sizeof(*cp));
    struct model_name in = {0};
    struct err err;
    bool has_parent =
        req->destination_model_case == AIP__COPY_MODEL_REQUEST__DESTINATION_MODEL_PARENT_MODEL &&
        req->parent_model[0];
    bool has_id =
        req->destination_model_case == AIP__COPY_MODEL_REQUEST__DESTINATION_MODEL_MODEL_ID;
    cp->call = c;
    if (parent_of(c, req->parent, &cp->parent, &err) ||
        model_name_parse(c, req->source_model, "source_model", &cp->source, &err) ||
        (has_parent && model_name_parse(c, req->parent_model, "parent_model", &in, &err))) {
        call_fail(c, &err);
        return;
    }
    cp->up = (struct model_upload){.parent = cp->parent.parent,
                                   .model_id = has_id ? str_of(req->model_id) : STR(""),
                                   .parent_model = in.model,
                                   .join = join_copy,
                                   .join_arg = cp,
                                   .cb = on_copied,
                                   .arg = cp};
    cp->get = (struct model_get){.name = cp->source.model,
                                 .version = cp->source.version,
                                 .want_version = true,
                                 .arena = c->arena,
                                 .cb = on_source,
                                 .arg = cp};
    model_get(c->api->models, &cp->get);
}
