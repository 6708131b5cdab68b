/* ModelService: get, list, listVersions (reference 07 §1). */
#include "api/svc_model.h"

#include "api/listing.h"

int model_name_parse(struct call *c, const char *name, const char *field, struct model_name *ret,
                     struct err *err) {
    struct model_name n = {0};
    if (name_parse_in(c->api->projects, c->arena, str_of(name), MODEL_COLLECTION, field, &n.parts,
                      err)) {
        return -1;
    }
    n.model = model_name_cut(n.parts.canonical, &n.version);
    n.resource = str_sub(n.model, n.parts.parent.n + 1, n.model.n);
    if (str_eqc(n.parts.location, "-")) {
        return err_field(err, ERR_INVALID_ARGUMENT, field,
                         "Location \"-\" stands for all locations in lists; a model has one.");
    }
    if (str_ends(n.model, STR("/")) || (n.version.p && !n.version.n) ||
        str_chr(n.version, '@') >= 0) {
        return err_field(err, ERR_INVALID_ARGUMENT, field,
                         "Invalid resource name \"%.200s\": a version id or alias must follow the "
                         "one '@'.",
                         name);
    }
    if (str_eqc(n.version, "-")) {
        n.version = STR("");
    }
    *ret = n;
    return 0;
}

void model_reply(struct call *c, const struct store_row *model, const struct store_row *version) {
    struct model_view view;
    Aip__Model *m;
    struct err err;
    if (model_view_read(c->arena, model, &view, &err) ||
        model_message(c->arena, &view, version, &m, &err)) {
        call_fail(c, &err);
    } else {
        call_reply(c, &m->base);
    }
}

/* ---- get ---- */

static void on_got(struct model_get *g, const struct model_found *f, const struct err *err) {
    struct call *c = g->arg;
    if (err) {
        call_fail(c, err);
    } else {
        model_reply(c, f->model, f->version_row);
    }
}

void svc_model_get(struct call *c) {
    Aip__GetModelRequest *req = (Aip__GetModelRequest *)c->req;
    struct model_name n;
    struct err err;
    if (model_name_parse(c, req->name, "name", &n, &err)) {
        call_fail(c, &err);
        return;
    }
    const struct store_row *row =
        n.version.n ? NULL : c->api->store->ops->peek(c->api->store, n.model);
    if (row) {
        model_reply(c, row, NULL);
        return;
    }
    struct model_get *g = arena_own(c->arena, sizeof(*g));
    *g = (struct model_get){
        .name = n.model, .version = n.version, .arena = c->arena, .cb = on_got, .arg = c};
    model_get(c->api->models, g);
}

/* ---- lists ---- */

/* Models: li->arg NULL; versions: li->arg is the struct model_view of their model. */
static int list_message(struct listing *li, const struct store_row *row, ProtobufCMessage **ret,
                        struct err *err) {
    const struct model_view *model = li->arg;
    struct arena *a = li->call->arena;
    struct model_view own;
    Aip__Model *m;
    if (model ? model_message(a, model, row, &m, err)
              : model_view_read(a, row, &own, err) || model_message(a, &own, NULL, &m, err)) {
        return -1;
    }
    *ret = &m->base;
    return 0;
}

static const struct listing_kind listed_models = {
    .word = "Model",
    .resource = &aip__model__descriptor,
    .response = &aip__list_models_response__descriptor,
    .message = list_message,
};

static const struct listing_kind listed_versions = {
    .word = "model version",
    .resource = &aip__model__descriptor,
    .response = &aip__list_model_versions_response__descriptor,
    .schema = &model_version_schema,
    .message = list_message,
};

/* Orders that this kind documents, and no others. */
static int check_order(const struct store_list *l, bool has_display_name, struct err *err) {
    for (unsigned i = 0; i <= l->nr_then; i++) {
        enum store_order_field f = i ? l->then[i - 1].field : l->order;
        if (f != STORE_ORDER_CREATE_TIME && f != STORE_ORDER_UPDATE_TIME &&
            !(has_display_name && f == STORE_ORDER_DISPLAY_NAME)) {
            return err_field(err, ERR_INVALID_ARGUMENT, "order_by",
                             "Only %screate_time and update_time can be ordered by here.",
                             has_display_name ? "display_name, " : "");
        }
    }
    return 0;
}

void svc_model_list(struct call *c) {
    Aip__ListModelsRequest *req = (Aip__ListModelsRequest *)c->req;
    struct listing *li = arena_own(c->arena, sizeof(*li));
    struct name_parts n;
    struct err err;
    if (name_parse(c->api->projects, c->arena, str_of(req->parent), "parent", &n, &err)) {
        call_fail(c, &err);
        return;
    }
    *li = (struct listing){.call = c,
                           .kind = &listed_models,
                           .schema = model_schema(c->arena, n.parent),
                           .list = {.kind = STR(MODEL_KIND), .parent = n.parent}};
    const struct listing_asked q = {LISTING_ASKED(req), .order_by = str_of(req->order_by)};
    if (listing_read(li, &q, &err) || check_order(&li->list, true, &err)) {
        call_fail(c, &err);
    } else {
        listing_start(li);
    }
}

struct version_listing {
    struct listing listing;
    struct store_get get;
    struct store_row row;
    struct model_view model; /* whose versions are listed */
};

static void on_parent(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct version_listing *vl = g->arg;
    struct call *c = vl->listing.call;
    struct err e;
    if (err ? err->code == ERR_NOT_FOUND : !row) {
        err_set(&e, ERR_NOT_FOUND, "The Model \"%.*s\" does not exist.", STR_ARG(g->name));
        call_fail(c, &e);
        return;
    }
    if (err) {
        call_fail(c, err);
        return;
    }
    vl->row = *row; /* its parts are in the call's arena */
    if (model_view_read(c->arena, &vl->row, &vl->model, &e)) {
        call_fail(c, &e);
    } else {
        listing_start(&vl->listing);
    }
}

void svc_model_list_versions(struct call *c) {
    Aip__ListModelVersionsRequest *req = (Aip__ListModelVersionsRequest *)c->req;
    struct version_listing *vl = arena_own(c->arena, sizeof(*vl));
    struct model_name n;
    struct err err;
    vl->listing = (struct listing){.call = c,
                                   .kind = &listed_versions,
                                   .arg = &vl->model,
                                   .list.kind = STR(MODEL_VERSION_KIND)};
    const struct listing_asked q = {LISTING_ASKED(req), .order_by = str_of(req->order_by)};
    if (model_name_parse(c, req->name, "name", &n, &err) || listing_read(&vl->listing, &q, &err) ||
        check_order(&vl->listing.list, false, &err)) {
        call_fail(c, &err);
        return;
    }
    vl->listing.list.parent = n.model;
    vl->get = (struct store_get){.name = n.model, .arena = c->arena, .cb = on_parent, .arg = vl};
    c->api->store->ops->get(c->api->store, &vl->get);
}

/* Tuned models have checkpoints; none is made here. */
static void on_checkpoints(struct model_get *g, const struct model_found *f,
                           const struct err *err) {
    struct call *c = g->arg;
    Aip__ListModelVersionCheckpointsResponse resp =
        AIP__LIST_MODEL_VERSION_CHECKPOINTS_RESPONSE__INIT;
    if (err) {
        call_fail(c, err);
    } else {
        call_reply(c, &resp.base);
    }
}

void svc_model_list_checkpoints(struct call *c) {
    Aip__ListModelVersionCheckpointsRequest *req =
        (Aip__ListModelVersionCheckpointsRequest *)c->req;
    struct model_get *g = arena_own(c->arena, sizeof(*g));
    struct model_name n;
    struct err err;
    if (model_name_parse(c, req->name, "name", &n, &err)) {
        call_fail(c, &err);
        return;
    }
    *g = (struct model_get){
        .name = n.model, .version = n.version, .arena = c->arena, .cb = on_checkpoints, .arg = c};
    model_get(c->api->models, g);
}
