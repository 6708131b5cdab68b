/* VizierService: trials (create, get, list, measure, complete, stop, delete, the optimal ones). */
#include "api/svc_vizier.h"

#include "api/listing.h"
#include "base/enc.h"
#include "base/limits.h"
#include "ctl/study_wish.h"

#include <math.h>

#define MEASUREMENTS_LEAST 2u /* of a trial, however many there are in all */
#define CLIENT_TEXT_MAX 4096u /* bytes of infeasible_reason */

struct trial_call {
    struct call *call;
    struct vizier_name name;
    struct study_change change;
    struct study_trial deleted;
    int (*wish)(struct trial_call *, const struct study_view *, struct study_batch *,
                struct violations *, struct err *);
    struct violations vs;
};

static void reply_trial(struct call *c, const struct study_view *v, uint64_t id) {
    const struct study_trial *t = study_trial(v->study, id);
    struct err err;
    if (t) {
        call_reply(c, &vizier_trial_message(c->arena, v, t, SIZE_MAX)->base);
    } else {
        err_set(&err, ERR_NOT_FOUND, "The Trial \"%.*s/trials/%llu\" does not exist.",
                (int)(v->name.n > 300 ? 300 : v->name.n), v->name.p, (unsigned long long)id);
        call_fail(c, &err);
    }
}

/* ---- what all changes have in common ---- */

static enum study_verdict decide(struct study_change *ch, const struct study_view *v,
                                 struct study_batch *b, struct err *err) {
    struct trial_call *tc = ch->arg;
    return tc->wish(tc, v, b, &tc->vs, err) ? STUDY_REFUSE : STUDY_SAVE;
}

static void on_changed(struct study_change *ch, const struct study_view *v, const struct err *err) {
    struct trial_call *tc = ch->arg;
    struct call *c = tc->call;
    if (tc->vs.n) {
        call_fail_violations(c, &tc->vs);
    } else if (err) {
        call_fail(c, err);
    } else {
        reply_trial(c, v, tc->name.trial);
    }
}

static void change_trial(struct trial_call *tc, const char *name, const char *field,
                         int (*wish)(struct trial_call *, const struct study_view *,
                                     struct study_batch *, struct violations *, struct err *)) {
    struct call *c = tc->call;
    struct err err;
    if (vizier_trial_parse(c, name, field, &tc->name, &err)) {
        call_fail(c, &err);
        return;
    }
    tc->wish = wish;
    violations_init(&tc->vs, c->arena);
    tc->change = (struct study_change){
        .name = tc->name.study, .decide = decide, .cb = on_changed, .arg = tc};
    study_change(c->api->studies, &tc->change);
}

static struct trial_call *begin(struct call *c) {
    struct trial_call *tc = arena_own(c->arena, sizeof(*tc));
    tc->call = c;
    return tc;
}

static void check_reason(const char *field, const char *reason, struct violations *vs) {
    size_t n = strlen(reason);
    if (n > CLIENT_TEXT_MAX) {
        violations_add(vs, field, "A reason has at most %u bytes; the request has %zu.",
                       CLIENT_TEXT_MAX, n);
    }
}

/* ---- create ---- */

/* A trial is REQUESTED, unless the client says how it ended: then it names all its parameters. */
static int read_end(struct trial_call *tc, const struct study_view *v, usec_t now,
                    const Aip__Trial *t, struct study_wish_trial *ret, struct violations *vs) {
    struct vizier_reports final = {0};
    if (t->state == AIP__TRIAL__STATE__INFEASIBLE) {
        ret->state = STUDY_TRIAL_INFEASIBLE;
        ret->reason = t->infeasible_reason[0] ? t->infeasible_reason : NULL;
    } else if (t->final_measurement) {
        if (vizier_measurement_read(tc->call->arena, v, t->final_measurement,
                                    "trial.final_measurement", true, 0, now, &final, vs)) {
            return -1;
        }
        ret->state = STUDY_TRIAL_SUCCEEDED;
        ret->final = final.p;
        ret->nr_final = final.nr;
    } else if (t->state == AIP__TRIAL__STATE__SUCCEEDED) {
        violations_add(vs, "trial.final_measurement",
                       "A trial that is created SUCCEEDED needs its final measurement.");
        return -1;
    }
    return 0;
}

static int wish_create(struct trial_call *tc, const struct study_view *v, struct study_batch *b,
                       struct violations *vs, struct err *err) {
    const Aip__Trial *t = ((Aip__CreateTrialRequest *)tc->call->req)->trial;
    const struct vizier_parsed *p = v->parsed;
    struct study_wish_trial in = {0};
    double *setting = arena_own_array(b->arena, p->plan.study.nr_params + 1, sizeof(*setting));
    in.setting = setting;
    if (read_end(tc, v, b->now, t, &in, vs) ||
        (in.state ? study_setting_from_trial(&p->plan, t, "trial", setting, vs)
                  : vizier_request_read(v, t, "trial", setting, &in.is_open, vs))) {
        return err_set(err, ERR_INVALID_ARGUMENT, "bad trial");
    }
    return study_wish_create(v, b, &in, &tc->name.trial, err);
}

void svc_vizier_create_trial(struct call *c) {
    Aip__CreateTrialRequest *req = (Aip__CreateTrialRequest *)c->req;
    struct trial_call *tc = begin(c);
    struct err err;
    if (vizier_study_parse(c, req->parent, "parent", &tc->name, &err)) {
        call_fail(c, &err);
        return;
    }
    violations_init(&tc->vs, c->arena);
    if (!req->trial) {
        violations_add(&tc->vs, "trial", "Required field is not set.");
    } else {
        check_reason("trial.infeasible_reason", req->trial->infeasible_reason, &tc->vs);
        if ((unsigned)req->trial->state > AIP__TRIAL__STATE__INFEASIBLE) {
            violations_add(&tc->vs, "trial.state", "State %d does not exist.",
                           (int)req->trial->state);
        }
    }
    if (tc->vs.n) {
        call_fail_violations(c, &tc->vs);
        return;
    }
    tc->wish = wish_create;
    tc->change = (struct study_change){
        .name = tc->name.study, .decide = decide, .cb = on_changed, .arg = tc};
    study_change(c->api->studies, &tc->change);
}

/* ---- measure, complete, stop, delete ---- */

static usec_t start_of(const struct study_view *v, uint64_t trial) {
    const struct study_trial *t = study_trial(v->study, trial);
    return t ? t->start_time : 0;
}

static int wish_measure(struct trial_call *tc, const struct study_view *v, struct study_batch *b,
                        struct violations *vs, struct err *err) {
    const Aip__Measurement *m = ((Aip__AddTrialMeasurementRequest *)tc->call->req)->measurement;
    struct vizier_reports r;
    if (!m) {
        violations_add(vs, "measurement", "Required field is not set.");
        return err_set(err, ERR_INVALID_ARGUMENT, "no measurement");
    }
    if (vizier_measurement_read(b->arena, v, m, "measurement", false, start_of(v, tc->name.trial),
                                b->now, &r, vs)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "bad measurement");
    }
    return study_wish_measure(v, b, tc->name.trial, r.p, r.nr, err);
}

void svc_vizier_measure(struct call *c) {
    change_trial(begin(c), ((Aip__AddTrialMeasurementRequest *)c->req)->trial_name, "trial_name",
                 wish_measure);
}

static int wish_complete(struct trial_call *tc, const struct study_view *v, struct study_batch *b,
                         struct violations *vs, struct err *err) {
    const Aip__CompleteTrialRequest *req = (Aip__CompleteTrialRequest *)tc->call->req;
    struct study_wish_end end = {.is_infeasible = req->trial_infeasible};
    struct vizier_reports r = {0};
    if (req->infeasible_reason[0] && !req->trial_infeasible) {
        violations_add(vs, "infeasible_reason",
                       "A reason is only for trials that are completed with trial_infeasible.");
    } else {
        check_reason("infeasible_reason", req->infeasible_reason, vs);
    }
    if (req->final_measurement && !req->trial_infeasible) {
        (void)!vizier_measurement_read(b->arena, v, req->final_measurement, "final_measurement",
                                       true, start_of(v, tc->name.trial), b->now, &r, vs);
    }
    if (vs->n) {
        return err_set(err, ERR_INVALID_ARGUMENT, "bad end");
    }
    end.reason = req->infeasible_reason[0] ? req->infeasible_reason : NULL;
    end.final = r.p;
    end.nr_final = r.nr;
    return study_wish_complete(v, b, tc->name.trial, &end, err);
}

void svc_vizier_complete(struct call *c) {
    change_trial(begin(c), ((Aip__CompleteTrialRequest *)c->req)->name, "name", wish_complete);
}

static int wish_stop(struct trial_call *tc, const struct study_view *v, struct study_batch *b,
                     struct violations *vs, struct err *err) {
    return study_wish_stop(v, b, tc->name.trial, err);
}

void svc_vizier_stop(struct call *c) {
    change_trial(begin(c), ((Aip__StopTrialRequest *)c->req)->name, "name", wish_stop);
}

static int wish_delete(struct trial_call *tc, const struct study_view *v, struct study_batch *b,
                       struct violations *vs, struct err *err) {
    return study_wish_delete(v, b, tc->name.trial, err);
}

static void on_deleted(struct study_change *ch, const struct study_view *v, const struct err *err) {
    struct trial_call *tc = ch->arg;
    Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
    if (err) {
        call_fail(tc->call, err);
    } else {
        call_reply(tc->call, &empty.base);
    }
}

void svc_vizier_delete_trial(struct call *c) {
    struct trial_call *tc = begin(c);
    struct err err;
    if (vizier_trial_parse(c, ((Aip__DeleteTrialRequest *)c->req)->name, "name", &tc->name, &err)) {
        call_fail(c, &err);
        return;
    }
    tc->wish = wish_delete;
    tc->change = (struct study_change){
        .name = tc->name.study, .decide = decide, .cb = on_deleted, .arg = tc};
    study_change(c->api->studies, &tc->change);
}

/* ---- looking ---- */

/* With the study, now or when it is loaded; then(v) answers the call. */
struct look {
    struct call *call;
    struct vizier_name name;
    struct study_change read;
    void (*then)(struct look *, const struct study_view *);
    uint64_t after; /* lists: trials above this id */
    unsigned page_size;
};

static void on_read(struct study_change *ch, const struct study_view *v, const struct err *err) {
    struct look *l = ch->arg;
    if (err) {
        call_fail(l->call, err);
    } else {
        l->then(l, v);
    }
}

static void look(struct look *l, void (*then)(struct look *, const struct study_view *)) {
    struct studies *s = l->call->api->studies;
    struct study_view v;
    l->then = then;
    if (study_peek(s, l->name.study, &v)) {
        then(l, &v);
        return;
    }
    l->read = (struct study_change){.name = l->name.study, .cb = on_read, .arg = l};
    study_read(s, &l->read);
}

static void reply_looked(struct look *l, const struct study_view *v) {
    reply_trial(l->call, v, l->name.trial);
}

void svc_vizier_get_trial(struct call *c) {
    struct look *l = arena_own(c->arena, sizeof(*l));
    struct err err;
    l->call = c;
    if (vizier_trial_parse(c, ((Aip__GetTrialRequest *)c->req)->name, "name", &l->name, &err)) {
        call_fail(c, &err);
    } else {
        look(l, reply_looked);
    }
}

static void reply_optimal(struct look *l, const struct study_view *v) {
    struct arena *a = l->call->arena;
    Aip__ListOptimalTrialsResponse *resp = arena_own(a, sizeof(*resp));
    auto_arena struct arena *mine = arena_new(ARENA_NO_MAX);
    size_t n;
    const uint64_t *ids = study_optimal(v->study, mine, &n);
    size_t each = n ? VIZIER_MEASUREMENTS_SHOWN / n : 0;
    aip__list_optimal_trials_response__init(resp);
    resp->optimal_trials = arena_own_array(a, n + 1, sizeof(*resp->optimal_trials));
    for (size_t i = 0; i < n; i++) {
        resp->optimal_trials[resp->n_optimal_trials++] =
            vizier_trial_message(a, v, study_trial(v->study, ids[i]),
                                 each > MEASUREMENTS_LEAST ? each : MEASUREMENTS_LEAST);
    }
    call_reply(l->call, &resp->base);
}

void svc_vizier_list_optimal(struct call *c) {
    struct look *l = arena_own(c->arena, sizeof(*l));
    struct err err;
    l->call = c;
    if (vizier_study_parse(c, ((Aip__ListOptimalTrialsRequest *)c->req)->parent, "parent", &l->name,
                           &err)) {
        call_fail(c, &err);
    } else {
        look(l, reply_optimal);
    }
}

/* ---- list ---- */

/* "HASH OF THE STUDY'S NAME:ID", so that a token is good for its own list only. */
static char *make_token(struct arena *a, struct str study, uint64_t id) {
    auto_buf struct buf b = BUF_INIT(128);
    char text[48];
    int n = snprintf(text, sizeof(text), "%016llx:%llu", (unsigned long long)str_hash(study),
                     (unsigned long long)id);
    enc_base64url(&b, text, (size_t)n);
    return arena_strndup(a, b.p, b.n);
}

static int read_token(const char *token, struct str study, uint64_t *ret, struct err *err) {
    auto_buf struct buf b = BUF_INIT(128);
    char want[24];
    struct str text;
    if (!token[0]) {
        *ret = 0;
        return 0;
    }
    snprintf(want, sizeof(want), "%016llx", (unsigned long long)str_hash(study));
    if (strlen(token) < 100 && enc_unbase64(str_of(token), &b)) {
        text = buf_str(&b);
        if (str_eqc(str_cut(&text, ':'), want) && str_to_u64(text, ret)) {
            return 0;
        }
    }
    return err_field(err, ERR_INVALID_ARGUMENT, "page_token",
                     "The page token \"%.80s\" is not one that this list has given.", token);
}

static void reply_page(struct look *l, const struct study_view *v) {
    struct arena *a = l->call->arena;
    Aip__ListTrialsResponse *resp = arena_own(a, sizeof(*resp));
    size_t total = study_counts(v->study).total, n = total < l->page_size ? total : l->page_size;
    size_t each = n ? VIZIER_MEASUREMENTS_SHOWN / n : 0;
    const struct study_trial *t;
    aip__list_trials_response__init(resp);
    resp->trials = arena_own_array(a, n + 1, sizeof(*resp->trials));
    for (t = study_trial_after(v->study, l->after); t && resp->n_trials < n;
         t = study_trial_after(v->study, t->id)) {
        resp->trials[resp->n_trials++] =
            vizier_trial_message(a, v, t, each > MEASUREMENTS_LEAST ? each : MEASUREMENTS_LEAST);
        l->after = t->id;
    }
    if (t) {
        resp->next_page_token = make_token(a, v->name, l->after);
    }
    call_reply(l->call, &resp->base);
}

void svc_vizier_list_trials(struct call *c) {
    Aip__ListTrialsRequest *req = (Aip__ListTrialsRequest *)c->req;
    struct look *l = arena_own(c->arena, sizeof(*l));
    struct err err;
    l->call = c;
    if (vizier_study_parse(c, req->parent, "parent", &l->name, &err) ||
        listing_page_size(req->page_size, (unsigned)limits.max_page_size,
                          (unsigned)limits.max_page_size, &l->page_size, &err) ||
        read_token(req->page_token, l->name.study, &l->after, &err)) {
        call_fail(c, &err);
    } else {
        look(l, reply_page);
    }
}
