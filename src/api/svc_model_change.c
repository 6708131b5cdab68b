/* ModelService: update, mergeVersionAliases, deleteVersion, delete (reference 07 §3, §5). */
#include "api/svc_model.h"

#include "api/model_check.h"
#include "api/operations.h"
#include "api/spec.h"
#include "pb/pbupdate.h"
#include "pb/rpc.h"
#include "pb/wkt.h"

struct changing {
    struct call *call;
    struct model_name name;
    struct model_change change;
    struct str etag;
    Google__Longrunning__Operation *op; /* of deletes */
};

static struct changing *changing_new(struct call *c, const char *name, const char *field,
                                     enum model_change_type type) {
    struct changing *ch = arena_own(c->arena, sizeof(*ch));
    struct err err;
    ch->call = c;
    if (model_name_parse(c, name, field, &ch->name, &err)) {
        call_fail(c, &err);
        return NULL;
    }
    ch->change = (struct model_change){
        .type = type, .name = ch->name.model, .version = ch->name.version, .arg = ch};
    return ch;
}

static void on_changed(struct model_change *mc, const struct model_found *f,
                       const struct err *err) {
    struct changing *ch = mc->arg;
    if (err) {
        call_fail(ch->call, err);
    } else {
        model_reply(ch->call, f->model, f->version_row);
    }
}

/* ---- update ---- */

enum level { OF_NEITHER, OF_MODEL, OF_VERSION, OF_BOTH };

static enum level level_of(struct str path) {
    if (str_eqc(path, "display_name") || str_eqc(path, "description")) {
        return OF_MODEL;
    }
    return str_eqc(path, "version_description") ? OF_VERSION
           : str_eqc(path, "labels")            ? OF_BOTH
                                                : OF_NEITHER;
}

static void set_field(struct changing *ch, const Aip__Model *m, struct str path) {
    struct model_change *mc = &ch->change;
    struct arena *a = ch->call->arena;
    if (str_eqc(path, "display_name")) {
        mc->sets_display_name = true;
        mc->display_name = str_of(m->display_name);
    } else if (str_eqc(path, "labels")) {
        struct store_label *labels = arena_own_array(a, m->n_labels + 1, sizeof(*labels));
        for (size_t i = 0; i < m->n_labels; i++) {
            labels[i] =
                (struct store_label){str_of(m->labels[i]->key), str_of(m->labels[i]->value)};
        }
        mc->sets_labels = true;
        mc->labels = labels;
        mc->nr_labels = m->n_labels;
    } else {
        mc->sets_description = true;
        mc->description =
            str_of(mc->type == MODEL_UPDATE ? m->description : m->version_description);
    }
}

static void set_all(struct changing *ch, const Aip__Model *m) {
    static const char *const of_model[] = {"display_name", "description", "labels"};
    static const char *const of_version[] = {"version_description", "labels"};
    bool is_model = ch->change.type == MODEL_UPDATE;
    size_t n = is_model ? NR_OF(of_model) : NR_OF(of_version);
    for (size_t i = 0; i < n; i++) {
        set_field(ch, m, str_of(is_model ? of_model[i] : of_version[i]));
    }
}

/* One path of the mask; every mistake ends the request. */
static int take_path(struct changing *ch, const Aip__Model *m, struct str path, struct err *err) {
    auto_buf struct buf snake = BUF_INIT(BUF_NO_MAX);
    bool is_model = ch->change.type == MODEL_UPDATE;
    wkt_path_to_snake(&snake, path);
    struct str p = arena_str(ch->call->arena, buf_str(&snake));
    enum level level = level_of(p);
    if (pb_path_check_read(&aip__model__descriptor, p, "update_mask", err)) {
        return -1;
    }
    if (str_eqc(p, "etag")) {
        return 0; /* compared, not set */
    }
    if (level == OF_NEITHER) {
        return err_field(err, ERR_INVALID_ARGUMENT, "update_mask",
                         "\"%.*s\" cannot be updated: %s may be.", (int)(p.n < 200 ? p.n : 200),
                         p.p,
                         is_model ? "of a model display_name, description and labels"
                                  : "of a model version version_description and labels");
    }
    if (level != OF_BOTH && (level == OF_MODEL) != is_model) {
        return err_field(
            err, ERR_FAILED_PRECONDITION, "update_mask",
            is_model
                ? "\"%.*s\" belongs to a version of the model: name the version, %.*s@VERSION. The "
                  "model and a version cannot be updated by one request."
                : "\"%.*s\" belongs to the model: name it without a version, %.*s. The model and a "
                  "version cannot be updated by one request.",
            STR_ARG(p), STR_ARG(ch->name.model));
    }
    set_field(ch, m, p);
    return 0;
}

static int guard(void *arg, const struct store_row *model, const struct store_row *version,
                 struct err *err) {
    struct changing *ch = arg;
    struct arena *a = ch->call->arena;
    struct model_view view;
    struct version_record v;
    if (model_view_read(a, model, &view, err) ||
        version_record_decode(a, version ? version->status : view.record.default_status, &v, err)) {
        return -1;
    }
    return model_etag_check(a, ch->etag, &view, &v, version, err);
}

static int check_values(struct changing *ch, const Aip__Model *m) {
    const struct model_change *mc = &ch->change;
    struct violations vs;
    violations_init(&vs, ch->call->arena);
    if (mc->sets_display_name) {
        display_name_check("model.display_name", m->display_name, &vs);
    }
    if (mc->sets_labels) {
        labels_check("model.labels", m->n_labels, (Aip__CustomJob__LabelsEntry *const *)m->labels,
                     &vs);
    }
    if (mc->sets_description) {
        model_check_description(mc->type == MODEL_UPDATE ? "model.description"
                                                         : "model.version_description",
                                mc->description, &vs);
    }
    if (vs.n) {
        call_fail_violations(ch->call, &vs);
        return -1;
    }
    return 0;
}

void svc_model_update(struct call *c) {
    Aip__UpdateModelRequest *req = (Aip__UpdateModelRequest *)c->req;
    const Aip__Model *m = req->model;
    struct err err;
    if (!m || !req->update_mask || !req->update_mask->n_paths) {
        err_field(&err, ERR_INVALID_ARGUMENT, m ? "update_mask" : "model",
                  "Required field is not set.");
        call_fail(c, &err);
        return;
    }
    struct changing *ch = changing_new(c, m->name, "model.name", MODEL_UPDATE);
    if (!ch) {
        return;
    }
    if (ch->name.version.n) {
        ch->change.type = MODEL_UPDATE_VERSION;
    }
    size_t n = req->update_mask->n_paths;
    for (size_t i = 0; i < n; i++) {
        struct str path = str_of(req->update_mask->paths[i]);
        if (str_eqc(path, "*") && n == 1) {
            set_all(ch, m);
        } else if (str_eqc(path, "*")) {
            err_field(&err, ERR_INVALID_ARGUMENT, "update_mask", "\"*\" must be the only path.");
            call_fail(c, &err);
            return;
        } else if (take_path(ch, m, path, &err)) {
            call_fail(c, &err);
            return;
        }
    }
    if (check_values(ch, m)) {
        return;
    }
    ch->etag = str_of(m->etag);
    ch->change.guard = guard;
    ch->change.cb = on_changed;
    model_change(c->api->models, &ch->change);
}

/* ---- aliases ---- */

/* Refuses names without a version. */
static bool needs_version(struct changing *ch, const char *why) {
    struct err err;
    if (ch->name.version.n) {
        return true;
    }
    err_field(&err, ERR_INVALID_ARGUMENT, "name", "%.*s names no version: %s",
              (int)(ch->name.model.n < 300 ? ch->name.model.n : 300), ch->name.model.p, why);
    call_fail(ch->call, &err);
    return false;
}

void svc_model_merge_aliases(struct call *c) {
    Aip__MergeVersionAliasesRequest *req = (Aip__MergeVersionAliasesRequest *)c->req;
    struct changing *ch = changing_new(c, req->name, "name", MODEL_MERGE_ALIASES);
    if (!ch || !needs_version(ch, "write …/models/MODEL@VERSION:mergeVersionAliases.")) {
        return;
    }
    struct str *aliases = arena_own_array(c->arena, req->n_version_aliases + 1, sizeof(*aliases));
    for (size_t i = 0; i < req->n_version_aliases; i++) {
        aliases[i] = str_of(req->version_aliases[i]);
    }
    ch->change.aliases = aliases;
    ch->change.nr_aliases = req->n_version_aliases;
    ch->change.cb = on_changed;
    model_change(c->api->models, &ch->change);
}

/* ---- deletions: done when they are answered, operation and all ---- */

static void join_delete(void *arg, struct store_txn *t, const struct model_found *f) {
    struct changing *ch = arg;
    struct call *c = ch->call;
    Aip__DeleteOperationMetadata meta = AIP__DELETE_OPERATION_METADATA__INIT;
    ch->op = operation_insert_done(c->api->operations, t, c->arena,
                                   &(struct operation_about){.parent = ch->name.parts.parent,
                                                             .resource = ch->name.resource,
                                                             .is_beta = c->rpc->is_beta,
                                                             .metadata = &meta.base},
                                   NULL);
}

static void on_deleted(struct model_change *mc, const struct model_found *f,
                       const struct err *err) {
    struct changing *ch = mc->arg;
    if (err) {
        call_fail(ch->call, err);
    } else {
        svc_operation_reply(ch->call, ch->op, ch->call->rpc->is_beta);
    }
}

void svc_model_delete_version(struct call *c) {
    struct changing *ch = changing_new(c, ((Aip__DeleteModelVersionRequest *)c->req)->name, "name",
                                       MODEL_DELETE_VERSION);
    if (ch && needs_version(ch, "write …/models/MODEL@VERSION:deleteVersion, or delete the whole "
                                "model.")) {
        ch->change.join = join_delete;
        ch->change.cb = on_deleted;
        model_change(c->api->models, &ch->change);
    }
}

void svc_model_delete(struct call *c) {
    struct changing *ch =
        changing_new(c, ((Aip__DeleteModelRequest *)c->req)->name, "name", MODEL_DELETE);
    struct err err;
    if (ch && ch->name.version.n) {
        err_field(&err, ERR_INVALID_ARGUMENT, "name",
                  "A version is deleted by %.*s:deleteVersion; without a version the whole model "
                  "is deleted.",
                  (int)(ch->name.parts.canonical.n < 300 ? ch->name.parts.canonical.n : 300),
                  ch->name.parts.canonical.p);
        call_fail(c, &err);
    } else if (ch) {
        ch->change.join = join_delete;
        ch->change.cb = on_deleted;
        model_change(c->api->models, &ch->change);
    }
}
