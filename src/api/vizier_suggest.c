/* See vizier_suggest.h. */
#include "api/vizier_suggest.h"

#include "base/fail.h"
#include "base/limits.h"
#include "pb/wkt.h"

/* ---- the answer ---- */

void suggesting_init(struct suggesting *x, struct arena *a, const Aip__SuggestTrialsRequest *req,
                     usec_t start_time) {
    *x = (struct suggesting){.req = req, .a = a, .start_time = start_time};
    x->ask.client_id = req->client_id;
    x->ask.count = (size_t)req->suggestion_count;
    x->given = arena_own_array(a, x->ask.count, sizeof(*x->given));
    violations_init(&x->vs, a);
}

const ProtobufCMessage *suggesting_metadata(struct arena *a, const char *client_id) {
    Aip__SuggestTrialsMetadata *m = arena_own(a, sizeof(*m));
    aip__suggest_trials_metadata__init(m);
    m->client_id = (char *)client_id;
    return &m->base;
}

static int read_contexts(struct suggesting *x, const struct study_view *v) {
    const Aip__SuggestTrialsRequest *req = x->req;
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

/* As it will be when the batch is saved. */
static Aip__Trial *given_message(const struct suggesting *x, const struct study_view *v,
                                 const struct study_batch *b, const struct study_given *g) {
    struct study_trial t = {.id = g->id, .setting = g->setting};
    if (g->how != GIVEN_NEW) {
        t = *study_trial(v->study, g->id);
    }
    if (g->how == GIVEN_ITS_OWN) {
        return vizier_trial_message(b->arena, v, study_trial(v->study, g->id), SIZE_MAX);
    }
    t.state = STUDY_TRIAL_ACTIVE;
    t.setting = g->setting ? g->setting : t.setting;
    t.start_time = b->now;
    t.client_id = x->ask.client_id;
    t.nr_measurements = 0;
    return vizier_trial_message(b->arena, v, &t, 0);
}

static const ProtobufCMessage *response_of(const struct suggesting *x, const struct study_view *v,
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

enum study_verdict suggesting_decide(struct suggesting *x, const struct study_view *v,
                                     struct study_batch *b, const ProtobufCMessage **ret,
                                     struct err *err) {
    size_t nr;
    if (!x->has_contexts && read_contexts(x, v)) {
        err_set(err, ERR_INVALID_ARGUMENT, "bad contexts");
        return STUDY_REFUSE;
    }
    enum study_verdict verdict = study_ask(v, b, &x->ask, x->given, &nr, err);
    if (verdict == STUDY_SAVE) {
        *ret = response_of(x, v, b, nr);
    }
    return verdict;
}

/* ---- the errand ---- */

#define STUDY "study"
#define START "start"

struct suggest_errand {
    struct errand e;
    struct suggesting x;
    struct study_change change;
};

struct str suggest_errand_facts(struct arena *a, struct str study, usec_t start_time) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    rec_put(&b, STUDY, study);
    rec_put_u64(&b, START, start_time);
    return arena_str(a, buf_str(&b));
}

static enum study_verdict decide(struct study_change *ch, const struct study_view *v,
                                 struct study_batch *b, struct err *err) {
    struct suggest_errand *se = ch->arg;
    const ProtobufCMessage *response;
    if (errand_must_stop(&se->e)) {
        err_set(err, ERR_CANCELLED, "The operation was cancelled.");
        return STUDY_REFUSE;
    }
    enum study_verdict verdict = suggesting_decide(&se->x, v, b, &response, err);
    if (verdict == STUDY_SAVE) {
        (void)FAIL_POINT("suggest.before_end", NULL);
        errand_join(&se->e, b->txn, NULL, response);
    }
    return verdict;
}

static void on_decided(struct study_change *ch, const struct study_view *v, const struct err *err) {
    struct suggest_errand *se = ch->arg;
    if (err && !se->e.is_ending) {
        errand_end(&se->e, NULL, NULL, err);
    } else {
        errand_joined(&se->e, err);
    }
}

static void run(struct errand *e) {
    struct suggest_errand *se = CONTAINER_OF(e, struct suggest_errand, e);
    usec_t now = e->api->clock->ops->wall(e->api->clock);
    suggesting_init(&se->x, e->a, (Aip__SuggestTrialsRequest *)e->request,
                    rec_get_u64(&e->facts, START, now));
    se->change = (struct study_change){
        .name = rec_get(&e->facts, STUDY), .decide = decide, .cb = on_decided, .arg = se};
    study_change(e->api->studies, &se->change);
}

/* What is on its way to the store ends as it will. */
static void stop(struct errand *e) {
    struct suggest_errand *se = CONTAINER_OF(e, struct suggest_errand, e);
    struct err err;
    if (e->is_running && study_withdraw(&se->change)) {
        err_set(&err, ERR_CANCELLED, "The operation was cancelled.");
        errand_end(e, NULL, NULL, &err);
    }
}

const struct errand_type suggest_errand = {
    .name = "suggest",
    .metadata = "SuggestTrialsMetadata",
    .request = &aip__suggest_trials_request__descriptor,
    .size = sizeof(struct suggest_errand),
    .run = run,
    .stop = stop,
};
