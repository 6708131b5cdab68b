/* VizierService: SuggestTrials and CheckTrialEarlyStoppingState, both long-running operations.
 *
 * A suggestion that is there already, or soon, makes an operation that is done when it is born: one
 * transaction, one answer. Clients that are told "not yet" ask again after a second or more, so the
 * call waits for what takes a moment only. What takes longer becomes an errand. */
#include "api/svc_vizier.h"

#include "api/vizier_suggest.h"
#include "base/limits.h"
#include "ctl/study_wish.h"
#include "pb/rpc.h"

#define CLIENT_ID_MAX 1024u                         /* bytes */
#define ANSWER_WITHIN (200 * (usec_t)USEC_PER_MSEC) /* of an operation that is not done */

/* ---- SuggestTrials ---- */

struct asking {
    struct call *call;
    struct vizier_name name;
    struct suggesting x;
    struct study_change change;
    struct timer patience;
    Google__Longrunning__Operation *msg;
};

static struct operation_about about(struct asking *k, struct arena *a) {
    return (struct operation_about){.parent = k->name.parts.parent,
                                    .resource = k->name.resource,
                                    .is_nested = true,
                                    .is_beta = k->call->rpc->is_beta,
                                    .metadata = suggesting_metadata(a, k->x.ask.client_id)};
}

static enum study_verdict decide_ask(struct study_change *ch, const struct study_view *v,
                                     struct study_batch *b, struct err *err) {
    struct asking *k = ch->arg;
    const ProtobufCMessage *response;
    enum study_verdict verdict = suggesting_decide(&k->x, v, b, &response, err);
    if (verdict == STUDY_SAVE) {
        struct operation_about ab = about(k, b->arena);
        k->msg =
            operation_insert_done(k->call->api->operations, b->txn, k->call->arena, &ab, response);
    }
    return verdict;
}

static void on_asked(struct study_change *ch, const struct study_view *v, const struct err *err) {
    struct asking *k = ch->arg;
    struct call *c = k->call;
    c->api->clock->ops->disarm(c->api->clock, &k->patience);
    if (k->x.vs.n) {
        call_fail_violations(c, &k->x.vs);
    } else if (err) {
        call_fail(c, err);
    } else {
        svc_operation_reply(c, k->msg, c->rpc->is_beta);
    }
}

static void on_patience(struct timer *t) {
    struct asking *k = CONTAINER_OF(t, struct asking, patience);
    struct call *c = k->call;
    if (study_withdraw(&k->change)) { /* else it is on its way */
        struct operation_about ab = about(k, c->arena);
        errand_begin(c, &suggest_errand, &ab,
                     suggest_errand_facts(c->arena, k->name.study, k->x.start_time));
    }
}

static void check_ask(const Aip__SuggestTrialsRequest *req, struct violations *vs) {
    if (req->suggestion_count <= 0) {
        violations_add(vs, "suggestion_count", "At least 1 trial is asked for; the request has %d.",
                       req->suggestion_count);
    } else if ((uint64_t)req->suggestion_count > limits.max_suggestions) {
        limits_hit(&limits.max_suggestions);
        violations_add(vs, "suggestion_count",
                       "At most %llu trials can be asked for at once (limit max_suggestions); the "
                       "request has %d.",
                       (unsigned long long)limits.max_suggestions, req->suggestion_count);
    } else if (req->n_contexts && req->n_contexts != (size_t)req->suggestion_count) {
        violations_add(vs, "contexts",
                       "There are as many contexts as suggestions, or none; the request has %zu "
                       "contexts and asks for %d suggestions.",
                       req->n_contexts, req->suggestion_count);
    }
    if (!req->client_id[0]) {
        violations_add(vs, "client_id", "Required field is not set.");
    } else if (strlen(req->client_id) > CLIENT_ID_MAX) {
        violations_add(vs, "client_id", "A client's id has at most %u bytes; the request has %zu.",
                       CLIENT_ID_MAX, strlen(req->client_id));
    }
}

void svc_vizier_suggest(struct call *c) {
    Aip__SuggestTrialsRequest *req = (Aip__SuggestTrialsRequest *)c->req;
    struct vizier_name n;
    struct violations vs;
    struct err err;
    if (vizier_study_parse(c, req->parent, "parent", &n, &err)) {
        call_fail(c, &err);
        return;
    }
    violations_init(&vs, c->arena);
    check_ask(req, &vs);
    if (vs.n) {
        call_fail_violations(c, &vs);
        return;
    }
    struct clock *clock = c->api->clock;
    struct asking *k = arena_own(c->arena, sizeof(*k));
    *k = (struct asking){.call = c, .name = n, .patience.fn = on_patience};
    suggesting_init(&k->x, c->arena, req, clock->ops->wall(clock));
    k->change =
        (struct study_change){.name = n.study, .decide = decide_ask, .cb = on_asked, .arg = k};
    clock->ops->arm(clock, &k->patience, clock->ops->mono(clock) + ANSWER_WITHIN);
    study_change(c->api->studies, &k->change);
}

/* ---- CheckTrialEarlyStoppingState ---- */

struct checking {
    struct call *call;
    struct vizier_name name;
    struct study_change change;
    Google__Longrunning__Operation *msg;
};

static enum study_verdict decide_check(struct study_change *ch, const struct study_view *v,
                                       struct study_batch *b, struct err *err) {
    struct checking *x = ch->arg;
    struct call *c = x->call;
    Aip__CheckTrialEarlyStoppingStateResponse resp =
        AIP__CHECK_TRIAL_EARLY_STOPPING_STATE_RESPONSE__INIT;
    Aip__CheckTrialEarlyStoppingStateMetatdata meta =
        AIP__CHECK_TRIAL_EARLY_STOPPING_STATE_METATDATA__INIT;
    bool should_stop;
    if (study_wish_check(v, b, x->name.trial, &should_stop, err)) {
        return STUDY_REFUSE;
    }
    resp.should_stop = should_stop;
    meta.study = arena_strndup(c->arena, x->name.study.p, x->name.study.n);
    meta.trial = arena_strndup(c->arena, x->name.parts.canonical.p, x->name.parts.canonical.n);
    x->msg = operation_insert_done(c->api->operations, b->txn, c->arena,
                                   &(struct operation_about){.parent = x->name.parts.parent,
                                                             .resource = x->name.resource,
                                                             .is_nested = true,
                                                             .is_beta = c->rpc->is_beta,
                                                             .metadata = &meta.base},
                                   &resp.base);
    return STUDY_SAVE;
}

static void on_check(struct study_change *ch, const struct study_view *v, const struct err *err) {
    struct checking *x = ch->arg;
    if (err) {
        call_fail(x->call, err);
    } else {
        svc_operation_reply(x->call, x->msg, x->call->rpc->is_beta);
    }
}

void svc_vizier_check(struct call *c) {
    struct checking *x = arena_own(c->arena, sizeof(*x));
    struct err err;
    x->call = c;
    if (vizier_trial_parse(c, ((Aip__CheckTrialEarlyStoppingStateRequest *)c->req)->trial_name,
                           "trial_name", &x->name, &err)) {
        call_fail(c, &err);
        return;
    }
    x->change = (struct study_change){
        .name = x->name.study, .decide = decide_check, .cb = on_check, .arg = x};
    study_change(c->api->studies, &x->change);
}
