/* ModelService: get, list, listVersions (reference 07 §1). */
#include "api/svc_model.h"

#include "api/read_mask.h"
#include "base/limits.h"
#include "base/log.h"
#include "pb/pbmask.h"

#define PAGE_SIZE_DEFAULT 100

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

struct listing {
    struct call *call;
    const struct pb_mask *mask;
    struct store_list list;
    struct store_get get;
    struct store_row row;
    struct model_view model; /* whose versions are listed; row NULL: models are */
};

static void on_listed(struct store_list *l, const struct store_row *rows, size_t nr,
                      struct str next_token, const struct err *err) {
    struct listing *li = l->arg;
    struct call *c = li->call;
    struct err e;
    if (err) {
        call_fail(c, err);
        return;
    }
    Aip__Model **models = arena_own_array(c->arena, nr + 1, sizeof(*models));
    size_t n = 0;
    for (size_t i = 0; i < nr; i++) {
        struct model_view view;
        bool is_version = li->model.row;
        if ((!is_version && model_view_read(c->arena, &rows[i], &view, &e)) ||
            model_message(c->arena, is_version ? &li->model : &view, is_version ? &rows[i] : NULL,
                          &models[n], &e)) {
            log_error("model left out of a list", "error=\"%s\"", e.msg);
            continue;
        }
        pb_mask_apply(li->mask, &models[n++]->base);
    }
    char *token = next_token.n ? arena_strndup(c->arena, next_token.p, next_token.n) : NULL;
    if (li->model.row) {
        Aip__ListModelVersionsResponse *resp = arena_own(c->arena, sizeof(*resp));
        aip__list_model_versions_response__init(resp);
        resp->models = models;
        resp->n_models = n;
        resp->next_page_token = token ? token : resp->next_page_token;
        call_reply(c, &resp->base);
    } else {
        Aip__ListModelsResponse *resp = arena_own(c->arena, sizeof(*resp));
        aip__list_models_response__init(resp);
        resp->models = models;
        resp->n_models = n;
        resp->next_page_token = token ? token : resp->next_page_token;
        call_reply(c, &resp->base);
    }
}

struct list_asked {
    const char *filter, *order_by, *page_token;
    int page_size;
    const Google__Protobuf__FieldMask *read_mask;
    const struct filter_schema *schema;
    bool has_display_name; /* may be ordered by it */
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

/* Fills li->list but for kind and parent. */
static int read_asked(struct listing *li, const struct list_asked *q, struct err *err) {
    struct call *c = li->call;
    const struct filter *filter = NULL;
    unsigned size = q->page_size > 0 ? (unsigned)q->page_size : PAGE_SIZE_DEFAULT;
    if (q->page_size < 0) {
        return err_field(err, ERR_INVALID_ARGUMENT, "page_size",
                         "Page size %d is negative; leave it out or give 1 to %llu.", q->page_size,
                         (unsigned long long)limits.max_page_size);
    }
    if (read_mask_parse(c->arena, q->read_mask, &aip__model__descriptor, &li->mask, err) ||
        (q->filter[0] && filter_parse(c->arena, str_of(q->filter), q->schema, &filter, err))) {
        return -1;
    }
    li->list.filter = filter;
    li->list.filter_text = str_of(q->filter);
    li->list.page_size = size > limits.max_page_size ? (unsigned)limits.max_page_size : size;
    li->list.page_token = str_of(q->page_token);
    li->list.arena = c->arena;
    li->list.cb = on_listed;
    li->list.arg = li;
    return order_parse(str_of(q->order_by), &li->list, err) ||
                   check_order(&li->list, q->has_display_name, err)
               ? -1
               : 0;
}

void svc_model_list(struct call *c) {
    Aip__ListModelsRequest *req = (Aip__ListModelsRequest *)c->req;
    struct name_parts n;
    struct err err;
    struct listing *li = arena_own(c->arena, sizeof(*li));
    li->call = c;
    if (name_parse(c->api->projects, c->arena, str_of(req->parent), "parent", &n, &err)) {
        call_fail(c, &err);
        return;
    }
    const struct list_asked q = {.filter = req->filter,
                                 .order_by = req->order_by,
                                 .page_token = req->page_token,
                                 .page_size = req->page_size,
                                 .read_mask = req->read_mask,
                                 .schema = model_schema(c->arena, n.parent),
                                 .has_display_name = true};
    if (read_asked(li, &q, &err)) {
        call_fail(c, &err);
        return;
    }
    li->list.kind = STR(MODEL_KIND);
    li->list.parent = n.parent;
    c->api->store->ops->list(c->api->store, &li->list);
}

static void on_parent(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct listing *li = g->arg;
    struct call *c = li->call;
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
    li->row = *row; /* its parts are in the call's arena */
    if (model_view_read(c->arena, &li->row, &li->model, &e)) {
        call_fail(c, &e);
    } else {
        c->api->store->ops->list(c->api->store, &li->list);
    }
}

void svc_model_list_versions(struct call *c) {
    Aip__ListModelVersionsRequest *req = (Aip__ListModelVersionsRequest *)c->req;
    struct model_name n;
    struct err err;
    struct listing *li = arena_own(c->arena, sizeof(*li));
    const struct list_asked q = {.filter = req->filter,
                                 .order_by = req->order_by,
                                 .page_token = req->page_token,
                                 .page_size = req->page_size,
                                 .read_mask = req->read_mask,
                                 .schema = &model_version_schema};
    li->call = c;
    if (model_name_parse(c, req->name, "name", &n, &err) || read_asked(li, &q, &err)) {
        call_fail(c, &err);
        return;
    }
    li->list.kind = STR(MODEL_VERSION_KIND);
    li->list.parent = n.model;
    li->get = (struct store_get){.name = n.model, .arena = c->arena, .cb = on_parent, .arg = li};
    c->api->store->ops->get(c->api->store, &li->get);
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
