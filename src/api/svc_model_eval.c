/* ModelService: evaluations and their slices, as others have computed them: taken, kept, listed. An
 * evaluation belongs to a version of a model and goes with it. Rows:
 *     modelEvaluation       PARENT/models/M/evaluations/E            label version=V
 *     modelEvaluationSlice  PARENT/models/M/evaluations/E/slices/S   labels version=V, evaluation=E
 * both with the parent PARENT/models/M. Clients see models/M@V in their names. */
#include "api/svc_model.h"

#include "api/listing.h"
#include "api/model_check.h"
#include "api/spec.h"
#include "base/limits.h"
#include "pb/pb.h"
#include "pb/pbcheck.h"
#include "pb/wkt.h"
#include "store/row.h"

#define EVALUATION_LABEL "evaluation"

/* "…/models/M[@V]/evaluations/E[/slices/S]" */
struct eval_name {
    struct name_parts parts;
    struct str model, version;    /* "PARENT/models/M"; as written, may be empty */
    struct str evaluation, slice; /* ids; empty: none */
    struct str row;               /* name of the row meant; empty: that of a model */
};

/* segments: how many follow "models/M", 0, 2 or 4. */
static int eval_name_parse(struct call *c, const char *text, const char *field, unsigned segments,
                           struct eval_name *ret, struct err *err) {
    struct eval_name n = {0};
    struct arena *a = c->arena;
    if (name_parse(c->api->projects, a, str_of(text), field, &n.parts, err)) {
        return -1;
    }
    struct str rest = n.parts.rest;
    struct str models = str_cut(&rest, '/'), model = str_cut(&rest, '/');
    struct str evaluations = segments >= 2 ? str_cut(&rest, '/') : STR("evaluations");
    n.evaluation = segments >= 2 ? str_cut(&rest, '/') : STR("");
    struct str slices = segments >= 4 ? str_cut(&rest, '/') : STR("slices");
    n.slice = segments >= 4 ? str_cut(&rest, '/') : STR("");
    struct str id = model_name_cut(model, &n.version);
    if (!str_eqc(models, MODEL_COLLECTION) || !id.n || rest.p ||
        !str_eqc(evaluations, "evaluations") || !str_eqc(slices, "slices") ||
        (segments >= 2 && !n.evaluation.n) || (segments >= 4 && !n.slice.n) ||
        (n.version.p && !n.version.n)) {
        return err_field(err, ERR_INVALID_ARGUMENT, field,
                         "Invalid resource name \"%.300s\": expected "
                         "projects/PROJECT/locations/LOCATION/models/MODEL[@VERSION]%s%s",
                         text, segments >= 2 ? "/evaluations/EVALUATION" : "",
                         segments >= 4 ? "/slices/SLICE" : "");
    }
    if (str_eqc(n.version, "-")) {
        n.version = STR("");
    }
    n.model = str_of(
        arena_printf(a, "%.*s/" MODEL_COLLECTION "/%.*s", STR_ARG(n.parts.parent), STR_ARG(id)));
    if (segments >= 2) {
        n.row = str_of(arena_printf(a, "%.*s/evaluations/%.*s%s%.*s", STR_ARG(n.model),
                                    STR_ARG(n.evaluation), segments >= 4 ? "/slices/" : "",
                                    STR_ARG(n.slice)));
    }
    *ret = n;
    return 0;
}

/* What clients call a row: with the version that it belongs to. */
static char *shown_name(struct arena *a, const struct store_row *row) {
    struct str version = store_row_label(row, STR(MODEL_VERSION_LABEL));
    struct str tail = str_sub(row->name, row->parent.n, row->name.n);
    return arena_printf(a, "%.*s@%.*s%.*s", STR_ARG(row->parent), STR_ARG(version), STR_ARG(tail));
}

static ProtobufCMessage *decode_evaluation(struct arena *a, const struct store_row *row) {
    ProtobufCMessage *msg;
    if (pb_unpack(a, &aip__model_evaluation__descriptor, row->spec, &msg, NULL)) {
        return NULL;
    }
    Aip__ModelEvaluation *e = (Aip__ModelEvaluation *)msg;
    e->name = shown_name(a, row);
    e->create_time = wkt_timestamp(a, row->create_time);
    return msg;
}

static ProtobufCMessage *decode_slice(struct arena *a, const struct store_row *row) {
    ProtobufCMessage *msg;
    if (pb_unpack(a, &aip__model_evaluation_slice__descriptor, row->spec, &msg, NULL)) {
        return NULL;
    }
    Aip__ModelEvaluationSlice *s = (Aip__ModelEvaluationSlice *)msg;
    s->name = shown_name(a, row);
    s->create_time = wkt_timestamp(a, row->create_time);
    return msg;
}

static const struct filter_schema evaluation_schema = {&aip__model_evaluation__descriptor,
                                                       decode_evaluation, NULL, 0};
static const struct filter_schema slice_schema = {&aip__model_evaluation_slice__descriptor,
                                                  decode_slice, NULL, 0};

static void fail_unreadable(struct call *c, const struct store_row *row) {
    struct err err;
    err_set(&err, ERR_DATA_LOSS, "%.*s does not read", STR_ARG(row->name));
    call_fail(c, &err);
}

/* ---- import ---- */

struct importing {
    struct call *call;
    struct eval_name parent;
    struct model_change change;
    struct store_get get;
    const char
        *what; /* the row that it hangs on: "ModelEvaluation"; and what is done when it is there */
    void (*join)(void *arg, struct store_txn *t, const struct model_found *f);
    ProtobufCMessage *reply;
};

static void insert(struct importing *in, struct store_txn *t, const struct model_found *f,
                   const char *kind, struct str name, struct str display_name,
                   const ProtobufCMessage *msg, struct store_row *ret) {
    struct call *c = in->call;
    struct arena *a = c->arena;
    usec_t now = c->api->clock->ops->wall(c->api->clock);
    struct store_label *labels = arena_own_array(a, 2, sizeof(*labels));
    labels[0] = (struct store_label){
        STR(MODEL_VERSION_LABEL), str_of(arena_printf(a, "%llu", (unsigned long long)f->version))};
    labels[1] = (struct store_label){STR(EVALUATION_LABEL), in->parent.evaluation};
    auto_buf struct buf spec = BUF_INIT(BUF_NO_MAX);
    (void)pb_pack(msg, &spec);
    *ret = (struct store_row){.name = name,
                              .kind = str_of(kind),
                              .parent = in->parent.model,
                              .display_name = display_name,
                              .create_time = now,
                              .update_time = now,
                              .spec = arena_str(a, buf_str(&spec)),
                              .labels = labels,
                              .nr_labels = in->parent.evaluation.n ? 2 : 1};
    store_txn_insert(t, ret);
}

static void on_imported(struct model_change *mc, const struct model_found *f,
                        const struct err *err) {
    struct importing *in = mc->arg;
    if (err) {
        call_fail(in->call, err);
    } else {
        call_reply(in->call, in->reply);
    }
}

static unsigned long long new_id(struct call *c) {
    return rng_resource_id(c->api->rng);
}

static void join_evaluation(void *arg, struct store_txn *t, const struct model_found *f) {
    struct importing *in = arg;
    struct call *c = in->call;
    const Aip__ModelEvaluation *e = ((Aip__ImportModelEvaluationRequest *)c->req)->model_evaluation;
    struct store_row row;
    struct str name = str_of(
        arena_printf(c->arena, "%.*s/evaluations/%llu", STR_ARG(in->parent.model), new_id(c)));
    insert(in, t, f, MODEL_EVALUATION_KIND, name, str_of(e->display_name), &e->base, &row);
    in->reply = decode_evaluation(c->arena, &row);
}

static void attach(struct importing *in,
                   void (*join)(void *, struct store_txn *, const struct model_found *)) {
    in->change = (struct model_change){.type = MODEL_ATTACH,
                                       .name = in->parent.model,
                                       .version = in->parent.version,
                                       .join = join,
                                       .cb = on_imported,
                                       .arg = in};
    model_change(in->call->api->models, &in->change);
}

void svc_model_evaluation_import(struct call *c) {
    Aip__ImportModelEvaluationRequest *req = (Aip__ImportModelEvaluationRequest *)c->req;
    struct importing *in = arena_own(c->arena, sizeof(*in));
    struct violations vs;
    struct err err;
    in->call = c;
    if (eval_name_parse(c, req->parent, "parent", 0, &in->parent, &err)) {
        call_fail(c, &err);
        return;
    }
    violations_init(&vs, c->arena);
    if (!req->model_evaluation) {
        violations_add(&vs, "model_evaluation", "Required field is not set.");
    } else {
        pb_clear_output_only(&req->model_evaluation->base);
        if (req->model_evaluation->display_name[0]) {
            display_name_check("model_evaluation.display_name", req->model_evaluation->display_name,
                               &vs);
        }
    }
    if (vs.n) {
        call_fail_violations(c, &vs);
        return;
    }
    attach(in, join_evaluation);
}

/* ---- slices ---- */

static void on_parent(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct importing *in = g->arg;
    struct call *c = in->call;
    struct err e;
    if (err ? err->code == ERR_NOT_FOUND : !row) {
        err_set(&e, ERR_NOT_FOUND, "The %s \"%.*s\" does not exist.", in->what, STR_ARG(g->name));
        call_fail(c, &e);
    } else if (err) {
        call_fail(c, err);
    } else {
        in->parent.version = arena_str(c->arena, store_row_label(row, STR(MODEL_VERSION_LABEL)));
        attach(in, in->join);
    }
}

/* To a row that must be there; its name is parent.row. */
static void attach_to(struct importing *in, const char *what,
                      void (*join)(void *arg, struct store_txn *t, const struct model_found *f)) {
    struct call *c = in->call;
    in->what = what;
    in->join = join;
    in->get =
        (struct store_get){.name = in->parent.row, .arena = c->arena, .cb = on_parent, .arg = in};
    c->api->store->ops->get(c->api->store, &in->get);
}

static void join_slices(void *arg, struct store_txn *t, const struct model_found *f) {
    struct importing *in = arg;
    struct call *c = in->call;
    struct arena *a = c->arena;
    Aip__BatchImportModelEvaluationSlicesRequest *req =
        (Aip__BatchImportModelEvaluationSlicesRequest *)c->req;
    Aip__BatchImportModelEvaluationSlicesResponse *resp = arena_own(a, sizeof(*resp));
    size_t n = req->n_model_evaluation_slices;
    aip__batch_import_model_evaluation_slices_response__init(resp);
    resp->imported_model_evaluation_slices = arena_own_array(a, n + 1, sizeof(char *));
    for (size_t i = 0; i < n; i++) {
        struct store_row row;
        struct str name =
            str_of(arena_printf(a, "%.*s/slices/%llu", STR_ARG(in->parent.row), new_id(c)));
        insert(in, t, f, MODEL_SLICE_KIND, name, STR(""), &req->model_evaluation_slices[i]->base,
               &row);
        resp->imported_model_evaluation_slices[resp->n_imported_model_evaluation_slices++] =
            shown_name(a, &row);
    }
    in->reply = &resp->base;
}

void svc_model_slices_import(struct call *c) {
    Aip__BatchImportModelEvaluationSlicesRequest *req =
        (Aip__BatchImportModelEvaluationSlicesRequest *)c->req;
    struct importing *in = arena_own(c->arena, sizeof(*in));
    struct err err;
    in->call = c;
    if (eval_name_parse(c, req->parent, "parent", 2, &in->parent, &err)) {
        call_fail(c, &err);
        return;
    }
    if (!req->n_model_evaluation_slices ||
        req->n_model_evaluation_slices > limits.max_model_slices) {
        err_field(&err, ERR_INVALID_ARGUMENT, "model_evaluation_slices",
                  "1 to max_model_slices (%llu) slices can be imported at once; there are %zu.",
                  (unsigned long long)limits.max_model_slices, req->n_model_evaluation_slices);
        call_fail(c, &err);
        return;
    }
    attach_to(in, "ModelEvaluation", join_slices);
}

/* ---- annotations of a slice: kept as events of its row, so they go with it. No method of the
 * service shows them again; EVALUATED_ANNOTATION is the type of the event, its body the message. */

#define EVALUATED_ANNOTATION 401u

static void join_annotations(void *arg, struct store_txn *t, const struct model_found *f) {
    struct importing *in = arg;
    struct call *c = in->call;
    Aip__BatchImportEvaluatedAnnotationsRequest *req =
        (Aip__BatchImportEvaluatedAnnotationsRequest *)c->req;
    Aip__BatchImportEvaluatedAnnotationsResponse *resp = arena_own(c->arena, sizeof(*resp));
    usec_t now = c->api->clock->ops->wall(c->api->clock);
    aip__batch_import_evaluated_annotations_response__init(resp);
    for (size_t i = 0; i < req->n_evaluated_annotations; i++) {
        auto_buf struct buf body = BUF_INIT(BUF_NO_MAX);
        (void)pb_pack(&req->evaluated_annotations[i]->base, &body);
        /* Batches of one model follow each other, at least a microsecond apart. */
        store_txn_event(t, &(struct store_event){.owner = in->parent.row,
                                                 .seq = now * 1024 + i,
                                                 .type = EVALUATED_ANNOTATION,
                                                 .version = 1,
                                                 .time = now,
                                                 .body = buf_str(&body)});
    }
    resp->imported_evaluated_annotations_count = (int32_t)req->n_evaluated_annotations;
    in->reply = &resp->base;
}

/* Their fields are output only in the contract, but this is how they come to be. */
static void check_annotations(const Aip__BatchImportEvaluatedAnnotationsRequest *req,
                              struct violations *vs) {
    size_t n = req->n_evaluated_annotations;
    if (!n || n > limits.max_model_slices) {
        violations_add(vs, "evaluated_annotations",
                       "1 to max_model_slices (%llu) annotations can be imported at once; there "
                       "are %zu.",
                       (unsigned long long)limits.max_model_slices, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const Aip__EvaluatedAnnotation *e = req->evaluated_annotations[i];
        char field[64];
        if (!e->type) {
            snprintf(field, sizeof(field), "evaluated_annotations[%zu].type", i);
            violations_add(vs, field, "Required: TRUE_POSITIVE, FALSE_POSITIVE or FALSE_NEGATIVE.");
        }
    }
}

void svc_model_annotations_import(struct call *c) {
    Aip__BatchImportEvaluatedAnnotationsRequest *req =
        (Aip__BatchImportEvaluatedAnnotationsRequest *)c->req;
    struct importing *in = arena_own(c->arena, sizeof(*in));
    struct violations vs;
    struct err err;
    in->call = c;
    if (eval_name_parse(c, req->parent, "parent", 4, &in->parent, &err)) {
        call_fail(c, &err);
        return;
    }
    violations_init(&vs, c->arena);
    check_annotations(req, &vs);
    if (vs.n) {
        call_fail_violations(c, &vs);
        return;
    }
    attach_to(in, "ModelEvaluationSlice", join_annotations);
}

/* ---- get ---- */

struct getting {
    struct call *call;
    struct eval_name name;
    struct store_get get;
    const char *what;
    ProtobufCMessage *(*decode)(struct arena *a, const struct store_row *row);
};

static void on_got(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct getting *gt = g->arg;
    struct call *c = gt->call;
    struct err e;
    uint64_t version;
    bool is_missing = err ? err->code == ERR_NOT_FOUND : !row;
    if (!is_missing && !err && str_to_u64(gt->name.version, &version)) {
        /* A version by its number must be its own; an alias may have moved on. */
        is_missing = !str_eq(gt->name.version, store_row_label(row, STR(MODEL_VERSION_LABEL)));
    }
    if (is_missing) {
        err_set(&e, ERR_NOT_FOUND, "The %s \"%.*s\" does not exist.", gt->what,
                STR_ARG(gt->name.parts.canonical));
        call_fail(c, &e);
        return;
    }
    if (err) {
        call_fail(c, err);
        return;
    }
    ProtobufCMessage *msg = gt->decode(c->arena, row);
    if (msg) {
        call_reply(c, msg);
    } else {
        fail_unreadable(c, row);
    }
}

static void get(struct call *c, const char *name, unsigned segments, const char *what,
                ProtobufCMessage *(*decode)(struct arena *, const struct store_row *)) {
    struct getting *gt = arena_own(c->arena, sizeof(*gt));
    struct err err;
    gt->call = c;
    gt->what = what;
    gt->decode = decode;
    if (eval_name_parse(c, name, "name", segments, &gt->name, &err)) {
        call_fail(c, &err);
        return;
    }
    gt->get = (struct store_get){.name = gt->name.row, .arena = c->arena, .cb = on_got, .arg = gt};
    c->api->store->ops->get(c->api->store, &gt->get);
}

void svc_model_evaluation_get(struct call *c) {
    get(c, ((Aip__GetModelEvaluationRequest *)c->req)->name, 2, "ModelEvaluation",
        decode_evaluation);
}

void svc_model_slice_get(struct call *c) {
    get(c, ((Aip__GetModelEvaluationSliceRequest *)c->req)->name, 4, "ModelEvaluationSlice",
        decode_slice);
}

/* ---- lists ---- */

struct eval_listing {
    struct listing listing;
    struct eval_name parent;
    bool of_slices;
    struct model_get model;
};

static int list_message(struct listing *li, const struct store_row *row, ProtobufCMessage **ret,
                        struct err *err) {
    const struct eval_listing *el = li->arg;
    struct arena *a = li->call->arena;
    ProtobufCMessage *m = el->of_slices ? decode_slice(a, row) : decode_evaluation(a, row);
    if (!m) {
        return err_set(err, ERR_DATA_LOSS, "What is stored does not read.");
    }
    *ret = m;
    return 0;
}

static const struct listing_kind listed_evaluations = {
    .word = "ModelEvaluation",
    .resource = &aip__model_evaluation__descriptor,
    .response = &aip__list_model_evaluations_response__descriptor,
    .schema = &evaluation_schema,
    .message = list_message,
};

static const struct listing_kind listed_slices = {
    .word = "ModelEvaluationSlice",
    .resource = &aip__model_evaluation_slice__descriptor,
    .response = &aip__list_model_evaluation_slices_response__descriptor,
    .schema = &slice_schema,
    .message = list_message,
};

/* Of one version; of one evaluation when slices are listed. */
static void on_model(struct model_get *g, const struct model_found *f, const struct err *err) {
    struct eval_listing *el = g->arg;
    struct store_list *l = &el->listing.list;
    struct call *c = el->listing.call;
    struct arena *a = c->arena;
    if (err) {
        call_fail(c, err);
        return;
    }
    struct str version = str_of(arena_printf(a, "%llu", (unsigned long long)f->version));
    const struct filter *own = filter_label(a, STR(MODEL_VERSION_LABEL), version);
    if (el->of_slices) {
        own = filter_label(a, STR(EVALUATION_LABEL), el->parent.evaluation);
    }
    l->filter = filter_and(a, own, l->filter);
    l->filter_text = str_of(arena_printf(a, "%.*s\n%.*s\n%.*s", STR_ARG(version),
                                         STR_ARG(el->parent.evaluation), STR_ARG(l->filter_text)));
    listing_start(&el->listing);
}

static void list(struct call *c, const char *parent, const struct listing_asked *q,
                 bool of_slices) {
    struct eval_listing *el = arena_own(c->arena, sizeof(*el));
    struct listing *li = &el->listing;
    struct err err;
    el->of_slices = of_slices;
    *li = (struct listing){.call = c,
                           .kind = of_slices ? &listed_slices : &listed_evaluations,
                           .arg = el,
                           .list.kind =
                               of_slices ? STR(MODEL_SLICE_KIND) : STR(MODEL_EVALUATION_KIND)};
    if (eval_name_parse(c, parent, "parent", of_slices ? 2 : 0, &el->parent, &err) ||
        listing_read(li, q, &err)) {
        call_fail(c, &err);
        return;
    }
    li->list.parent = el->parent.model;
    el->model = (struct model_get){.name = el->parent.model,
                                   .version = el->parent.version,
                                   .arena = c->arena,
                                   .cb = on_model,
                                   .arg = el};
    model_get(c->api->models, &el->model);
}

void svc_model_evaluation_list(struct call *c) {
    Aip__ListModelEvaluationsRequest *r = (Aip__ListModelEvaluationsRequest *)c->req;
    list(c, r->parent, &(struct listing_asked){LISTING_ASKED(r)}, false);
}

void svc_model_slice_list(struct call *c) {
    Aip__ListModelEvaluationSlicesRequest *r = (Aip__ListModelEvaluationSlicesRequest *)c->req;
    list(c, r->parent, &(struct listing_asked){LISTING_ASKED(r)}, true);
}
