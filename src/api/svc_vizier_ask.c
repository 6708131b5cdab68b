/* VizierService: SuggestTrials and CheckTrialEarlyStoppingState, both long-running operations.
 *
 * A suggestion that is computed already makes an operation that is done when it is born: one
 * transaction, one answer. Else the operation is begun and answered, and ends with the trials. One
 * that the server's end has interrupted is ended ABORTED by the next life (api/operations.h); who
 * asks again with the same client_id is given the trials that were made for it. */
#include "api/svc_vizier.h"

#include "api/operations.h"
#include "base/limits.h"
#include "ctl/study_ask.h"
#include "ctl/study_wish.h"
#include "pb/rpc.h"
#include "pb/wkt.h"

#define CLIENT_ID_MAX 1024u /* bytes */

/* ---- SuggestTrials ---- */

struct asking {
    struct call *call; /* NULL: answered */
    struct api *api;
    struct arena *a;
    struct str name, parent, resource;
    bool is_beta;
    struct study_change change;
    struct study_ask ask;
    struct study_given *given;
    bool has_contexts; /* they were read */
    usec_t start_time;
    struct violations vs;                /* in the call's arena */
    Google__Longrunning__Operation *msg; /* done when it is born */
    struct operation *op;                /* else */
    bool is_ending, is_cancelled;
};

static void asking_free(struct asking *x) {
    arena_free(x->a); /* x too */
}

static const ProtobufCMessage *ask_metadata(struct arena *a, const char *client_id) {
    Aip__SuggestTrialsMetadata *m = arena_own(a, sizeof(*m));
    aip__suggest_trials_metadata__init(m);
    m->client_id = (char *)client_id;
    return &m->base;
}

/* As it will be when the batch is saved. */
static Aip__Trial *given_message(const struct asking *x, const struct study_view *v,
                                 const struct study_batch *b, const struct study_given *g) {
    struct study_trial t = {.id = g->id, .setting = g->setting};
    if (g->how != GIVEN_NEW) {
        t = *study_trial(v->study, g->id);
    }
    if (g->how == GIVEN_ITS_OWN) {
        return vizier_trial_message(b->arena, v, study_trial(v->study, g->id), SIZE_MAX);
    }
    t.state = STUDY_TRIAL_ACTIVE;
    t.start_time = b->now;
    t.client_id = x->ask.client_id;
    t.nr_measurements = 0;
    return vizier_trial_message(b->arena, v, &t, 0);
}

static const ProtobufCMessage *ask_response(const struct asking *x, const struct study_view *v,
                                            const struct study_batch *b, size_t nr) {
    Aip__SuggestTrialsResponse *r = arena_own(b->arena, sizeof(*r));
    aip__suggest_trials_response__init(r);
    r->trials = arena_own_array(b->arena, nr + 1, sizeof(*r->trials));
    for (size_t i = 0; i < nr; i++) {
        r->trials[r->n_trials++] = given_message(x, v, b, &x->given[i]);
    }
    r->study_state = nr < x->ask.count || str_eqc(v->row->state, STUDY_STATE_COMPLETED)
                         ? AIP__STUDY__STATE__COMPLETED
                         : AIP__STUDY__STATE__ACTIVE;
    r->start_time = wkt_timestamp(b->arena, x->start_time);
    r->end_time = wkt_timestamp(b->arena, b->now);
    return &r->base;
}

static void cancel(struct operation *op, void *arg) {
    ((struct asking *)arg)->is_cancelled = true; /* looked at with the next suggestion */
}

static struct operation_about about(struct asking *x, struct arena *a) {
    return (struct operation_about){.parent = x->parent,
                                    .resource = x->resource,
                                    .is_nested = true,
                                    .is_beta = x->is_beta,
                                    .metadata = ask_metadata(a, x->ask.client_id),
                                    .cancel = cancel,
                                    .arg = x};
}

static int read_contexts(struct asking *x, const struct study_view *v) {
    const Aip__SuggestTrialsRequest *req = (Aip__SuggestTrialsRequest *)x->call->req;
    const double **all = NULL;
    char at[32];
    if (req->n_contexts) {
        all = arena_own_array(x->a, req->n_contexts, sizeof(*all));
    }
    for (size_t i = 0; i < req->n_contexts; i++) {
        snprintf(at, sizeof(at), "contexts[%zu]", i);
        (void)!vizier_context_read(x->a, v, req->contexts[i], at, &all[i], &x->vs);
    }
    x->ask.contexts = all;
    x->has_contexts = true;
    return x->vs.n ? -1 : 0;
}

/* The first decision answers the call; later ones lead the operation to its end. */
static enum study_verdict decide_ask(struct study_change *ch, const struct study_view *v,
                                     struct study_batch *b, struct err *err) {
    struct asking *x = ch->arg;
    struct operations *ops = x->api->operations;
    bool is_whole = false;
    size_t nr = 0;
    if (x->is_cancelled) {
        err_set(err, ERR_CANCELLED, "The operation was cancelled.");
        return STUDY_REFUSE;
    }
    if (!x->has_contexts && read_contexts(x, v)) {
        err_set(err, ERR_INVALID_ARGUMENT, "bad contexts");
        return STUDY_REFUSE;
    }
    enum study_verdict verdict = study_ask(v, b, &x->ask, x->given, &nr, &is_whole, err);
    if (verdict == STUDY_REFUSE || (verdict == STUDY_LATER && x->op)) {
        return verdict;
    }
    if (verdict == STUDY_SAVE && is_whole) {
        const ProtobufCMessage *response = ask_response(x, v, b, nr);
        if (x->op) {
            operation_finish_in(x->op, b->txn, NULL, response, NULL);
            x->is_ending = true;
        } else {
            struct operation_about ab = about(x, b->arena);
            x->msg = operation_insert_done(ops, b->txn, x->a, &ab, response);
        }
    } else if (!x->op) {
        if (verdict == STUDY_LATER) {
            b->nr = 0; /* what is there already is given together with what is to come */
        }
        struct operation_about ab = about(x, b->arena);
        x->op = operation_begin(ops, b->txn, &ab);
    }
    return STUDY_SAVE;
}

static void on_first(struct asking *x, const struct err *err) {
    struct call *c = x->call;
    x->call = NULL;
    if (err) {
        if (x->op) {
            operation_drop(x->op);
        }
        if (x->vs.n) {
            call_fail_violations(c, &x->vs);
        } else {
            call_fail(c, err);
        }
        asking_free(x);
    } else if (x->msg) {
        svc_operation_reply(c, x->msg, x->is_beta);
        asking_free(x);
    } else {
        operation_committed(x->op);
        svc_operation_reply(c, operation_message(x->op, c->arena), x->is_beta);
        study_change(x->api->studies, &x->change);
    }
}

static void on_asked(struct study_change *ch, const struct study_view *v, const struct err *err) {
    struct asking *x = ch->arg;
    if (x->call) {
        on_first(x, err);
    } else if (err) {
        if (x->is_ending) {
            operation_resumed(x->op);
        }
        if (err->code != ERR_UNAVAILABLE) { /* the next life of the server ends it */
            operation_finish(x->op, NULL, NULL, err);
        }
        asking_free(x);
    } else if (x->is_ending) {
        operation_ended(x->op);
        asking_free(x);
    } else {
        study_change(x->api->studies, &x->change);
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
        violations_add(vs, "client_id", "A client's id has at most %u bytes.", CLIENT_ID_MAX);
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
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct asking *x = arena_own(a, sizeof(*x));
    *x = (struct asking){.call = c,
                         .api = c->api,
                         .a = a,
                         .name = arena_str(a, n.study),
                         .parent = arena_str(a, n.parts.parent),
                         .resource = arena_str(a, n.resource),
                         .is_beta = c->rpc->is_beta,
                         .start_time = c->api->clock->ops->wall(c->api->clock),
                         .vs = vs};
    x->ask.client_id = arena_strdup(a, req->client_id);
    x->ask.count = (size_t)req->suggestion_count;
    x->given = arena_own_array(a, x->ask.count, sizeof(*x->given));
    x->change =
        (struct study_change){.name = x->name, .decide = decide_ask, .cb = on_asked, .arg = x};
    study_change(c->api->studies, &x->change);
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
