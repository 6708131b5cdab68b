/* VizierService: studies (create, get, list, delete, lookup). Trials are in svc_vizier_trial.c,
 * suggestions and early stopping in svc_vizier_ask.c. */
#include "api/svc_vizier.h"

#include "api/listing.h"
#include "api/spec.h"
#include "api/vizier_learn.h"
#include "base/limits.h"
#include "pb/pbcheck.h"

/* ---- names ---- */

/* Takes "COLLECTION/ID" off the front. */
static bool take_step(struct str *rest, const char *collection, struct str *ret_id) {
    struct str in = str_cut(rest, '/');
    *ret_id = str_cut(rest, '/');
    return str_eqc(in, collection) && ret_id->n > 0;
}

static int parse(struct call *c, const char *name, const char *field, bool is_trial,
                 struct vizier_name *ret, struct err *err) {
    struct vizier_name n = {.trial = 0};
    struct str id, trial = {0};
    if (name_parse(c->api->projects, c->arena, str_of(name), field, &n.parts, err)) {
        return -1;
    }
    struct str rest = n.parts.rest;
    if (!take_step(&rest, "studies", &id) || (is_trial && !take_step(&rest, "trials", &trial)) ||
        rest.n || str_eqc(n.parts.location, "-")) {
        return err_field(err, ERR_INVALID_ARGUMENT, field,
                         "Invalid resource name \"%.200s\": expected "
                         "projects/PROJECT/locations/LOCATION/studies/ID%s",
                         name, is_trial ? "/trials/ID" : "");
    }
    n.study =
        str_of(arena_printf(c->arena, "%.*s/studies/%.*s", STR_ARG(n.parts.parent), STR_ARG(id)));
    n.resource = n.parts.rest;
    if (is_trial && (!str_to_u64(trial, &n.trial) || !n.trial || trial.p[0] == '0')) {
        return err_set(err, ERR_NOT_FOUND, "The Trial \"%.300s\" does not exist.", name);
    }
    *ret = n;
    return 0;
}

int vizier_study_parse(struct call *c, const char *name, const char *field, struct vizier_name *ret,
                       struct err *err) {
    return parse(c, name, field, false, ret, err);
}

int vizier_trial_parse(struct call *c, const char *name, const char *field, struct vizier_name *ret,
                       struct err *err) {
    return parse(c, name, field, true, ret, err);
}

static int parse_parent(struct call *c, const char *name, struct name_parts *ret, struct err *err) {
    return name_parse_home(c->api->projects, c->arena, name, "a study has one", ret, err);
}

static void reply_row(struct call *c, const struct store_row *row) {
    Aip__Study *m;
    struct err err;
    if (vizier_study_message(c->arena, row, &m, &err)) {
        call_fail(c, &err);
    } else {
        call_reply(c, &m->base);
    }
}

static void fail_missing(struct call *c, struct str name) {
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "The Study \"%.*s\" does not exist.",
            (int)(name.n > 300 ? 300 : name.n), name.p);
    call_fail(c, &err);
}

/* ---- create ---- */

struct creation {
    struct call *call;
    struct study_create create;
    struct vizier_learn learn;
};

static void on_created(struct study_create *cr, const struct store_row *row,
                       const struct err *err) {
    struct call *c = cr->arg;
    if (err) {
        call_fail(c, err);
    } else {
        reply_row(c, row);
    }
}

static void create(struct creation *k) {
    struct call *c = k->call;
    Aip__CreateStudyRequest *req = (Aip__CreateStudyRequest *)c->req;
    struct study_create *cr = &k->create;
    struct err err;
    if (!pb_pack_in(c->arena, &req->study->base, &cr->spec)) {
        err_set(&err, ERR_INVALID_ARGUMENT, "The study is larger than max_message_bytes (%llu).",
                (unsigned long long)limits.max_message_bytes);
        call_fail(c, &err);
        return;
    }
    cr->id =
        str_of(arena_printf(c->arena, "%llu", (unsigned long long)rng_resource_id(c->api->rng)));
    cr->display_name = str_of(req->study->display_name);
    cr->flat = &k->learn.flat;
    cr->lessons = k->learn.lessons;
    cr->nr_lessons = k->learn.nr;
    cr->cb = on_created;
    cr->arg = c;
    study_create(c->api->studies, cr);
}

static void on_learned(struct vizier_learn *l, const struct err *err) {
    struct creation *k = l->arg;
    if (err) {
        call_fail(k->call, err);
    } else {
        create(k);
    }
}

static void check_study(const Aip__CreateStudyRequest *req, struct violations *vs) {
    if (!req->study) {
        violations_add(vs, "study", "Required field is not set.");
        return;
    }
    pb_clear_output_only(&req->study->base);
    display_name_check("study.display_name", req->study->display_name, vs);
    if (req->study->study_spec) {
        study_spec_check(req->study->study_spec, "study.study_spec", vs);
    } else {
        violations_add(vs, "study.study_spec", "Required field is not set.");
    }
}

void svc_vizier_create_study(struct call *c) {
    Aip__CreateStudyRequest *req = (Aip__CreateStudyRequest *)c->req;
    struct creation *k = arena_own(c->arena, sizeof(*k));
    struct name_parts parent;
    struct violations vs;
    struct err err;
    if (parse_parent(c, req->parent, &parent, &err)) {
        call_fail(c, &err);
        return;
    }
    violations_init(&vs, c->arena);
    check_study(req, &vs);
    if (vs.n) {
        call_fail_violations(c, &vs);
        return;
    }
    k->call = c;
    k->create.parent = parent.parent;
    k->learn = (struct vizier_learn){.api = c->api,
                                     .a = c->arena,
                                     .parent = parent.parent,
                                     .spec = req->study->study_spec,
                                     .cb = on_learned,
                                     .arg = k};
    if (vizier_learn_wanted(req->study->study_spec)) {
        vizier_learn(&k->learn);
    } else {
        create(k);
    }
}

/* ---- get, lookup ---- */

struct fetch {
    struct call *call;
    struct store_get get;
    struct store_kv_get kv;
    const char *display_name;
};

static void on_row(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct fetch *f = g->arg;
    if (err && err->code != ERR_NOT_FOUND) {
        call_fail(f->call, err);
    } else if (!row || !str_eqc(row->kind, STUDY_KIND)) {
        fail_missing(f->call, g->name);
    } else {
        reply_row(f->call, row);
    }
}

static void fetch_row(struct fetch *f, struct str name) {
    struct store *st = f->call->api->store;
    const struct store_row *row = st->ops->peek(st, name);
    if (row && str_eqc(row->kind, STUDY_KIND)) {
        reply_row(f->call, row);
        return;
    }
    f->get = (struct store_get){.name = name, .arena = f->call->arena, .cb = on_row, .arg = f};
    st->ops->get(st, &f->get);
}

void svc_vizier_get_study(struct call *c) {
    struct fetch *f = arena_own(c->arena, sizeof(*f));
    struct vizier_name n;
    struct err err;
    f->call = c;
    if (vizier_study_parse(c, ((Aip__GetStudyRequest *)c->req)->name, "name", &n, &err)) {
        call_fail(c, &err);
    } else {
        fetch_row(f, n.study);
    }
}

static void on_name(struct store_kv_get *kv, struct str value, const struct err *err) {
    struct fetch *f = kv->arg;
    struct err e;
    if (err) {
        call_fail(f->call, err);
    } else if (!value.p) {
        err_field(&e, ERR_NOT_FOUND, "display_name",
                  "There is no Study with the display name \"%.200s\".", f->display_name);
        call_fail(f->call, &e);
    } else {
        fetch_row(f, value);
    }
}

void svc_vizier_lookup_study(struct call *c) {
    Aip__LookupStudyRequest *req = (Aip__LookupStudyRequest *)c->req;
    struct fetch *f = arena_own(c->arena, sizeof(*f));
    struct name_parts parent;
    struct violations vs;
    struct err err;
    if (parse_parent(c, req->parent, &parent, &err)) {
        call_fail(c, &err);
        return;
    }
    violations_init(&vs, c->arena);
    display_name_check("display_name", req->display_name, &vs);
    if (vs.n) {
        call_fail_violations(c, &vs);
        return;
    }
    f->call = c;
    f->display_name = req->display_name;
    f->kv = (struct store_kv_get){
        .space = STUDY_NAME_SPACE,
        .key = study_name_key(c->arena, parent.parent, str_of(req->display_name)),
        .arena = c->arena,
        .cb = on_name,
        .arg = f};
    c->api->store->ops->kv_get(c->api->store, &f->kv);
}

/* ---- list ---- */

static int list_message(struct listing *li, const struct store_row *row, ProtobufCMessage **ret,
                        struct err *err) {
    Aip__Study *m;
    if (vizier_study_message(li->call->arena, row, &m, err)) {
        return -1;
    }
    *ret = &m->base;
    return 0;
}

static const struct listing_kind listed = {
    .word = "Study",
    .resource = &aip__study__descriptor,
    .response = &aip__list_studies_response__descriptor,
    .schema = &vizier_study_schema,
    .message = list_message,
};

void svc_vizier_list_studies(struct call *c) {
    Aip__ListStudiesRequest *req = (Aip__ListStudiesRequest *)c->req;
    listing_below(c, req->parent, STR(STUDY_KIND), &listed,
                  &(struct listing_asked){
                      .filter = "", .page_token = req->page_token, .page_size = req->page_size});
}

/* ---- delete ---- */

static void on_removed(struct study_change *ch, const struct study_view *v, const struct err *err) {
    struct call *c = ch->arg;
    Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
    if (err) {
        call_fail(c, err);
    } else {
        call_reply(c, &empty.base);
    }
}

void svc_vizier_delete_study(struct call *c) {
    struct study_change *ch = arena_own(c->arena, sizeof(*ch));
    struct vizier_name n;
    struct err err;
    if (vizier_study_parse(c, ((Aip__DeleteStudyRequest *)c->req)->name, "name", &n, &err)) {
        call_fail(c, &err);
        return;
    }
    *ch = (struct study_change){.name = n.study, .cb = on_removed, .arg = c};
    study_remove(c->api->studies, ch);
}
