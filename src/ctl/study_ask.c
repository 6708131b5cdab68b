#include "ctl/study_ask.h"

#include "ctl/study_wish.h"

#include <math.h>

/* ---- what is there already ---- */

struct matching {
    const struct study_view *v;
    const struct study_ask *ask;
    struct arena *arena;
    struct study_given *given; /* by slot; id 0: none yet; setting: what an open one fixes */
    size_t nr, nr_open;
};

static study_context context_of(const struct study_ask *ask, size_t slot) {
    return ask->contexts ? ask->contexts[slot] : NULL;
}

/* What the slot's context and the trial fix; false: it does not fit. *ret, of one that is open. */
static bool fits(struct matching *m, size_t slot, const struct study_trial *t, double **ret) {
    const struct tune_study *s = &study_spec(m->v->study)->tune;
    study_context context = context_of(m->ask, slot);
    *ret = NULL;
    if (!t->is_open) {
        return study_context_has(s, context, t->setting);
    }
    *ret = arena_own_array(m->arena, s->nr_params + 1, sizeof(**ret));
    return study_context_join(s, t->setting, context, *ret);
}

/* Gives the trial to the first slot that it fits. */
static void match(struct matching *m, const struct study_trial *t, int how) {
    double *fixed;
    for (size_t i = 0; i < m->ask->count; i++) {
        if (!m->given[i].id && fits(m, i, t, &fixed)) {
            m->given[i] = (struct study_given){t->id, how, fixed};
            m->nr_open += t->is_open;
            m->nr++;
            return;
        }
    }
}

static bool is_its_own(const struct study_ask *ask, const struct study_trial *t) {
    return t->state == STUDY_TRIAL_ACTIVE && t->client_id &&
           strcmp(t->client_id, ask->client_id) == 0;
}

/* Only trials that have not ended are of interest, and they are few; who has many ended ones should
 * not pay for them with each question. */
static void match_all(struct matching *m) {
    const struct study *s = m->v->study;
    struct study_counts n = study_counts(s);
    if (n.active) {
        for (const struct study_trial *t = study_trial_after(s, 0); t && m->nr < m->ask->count;
             t = study_trial_after(s, t->id)) {
            if (is_its_own(m->ask, t)) {
                match(m, t, GIVEN_ITS_OWN);
            }
        }
    }
    if (n.requested) {
        for (const struct study_trial *t = study_trial_after(s, 0); t && m->nr < m->ask->count;
             t = study_trial_after(s, t->id)) {
            if (t->state == STUDY_TRIAL_REQUESTED &&
                (!t->client_id || strcmp(t->client_id, m->ask->client_id) == 0)) {
                match(m, t, GIVEN_REQUESTED);
            }
        }
    }
}

/* ---- new ones ---- */

/* The settings that the study tries next, in the slots that are free yet. */
static void add_trials(const struct study_view *v, struct study_batch *b,
                       const struct study_ask *ask, struct study_given *given,
                       const double *settings, size_t nr) {
    const struct tune_study *tune = &study_spec(v->study)->tune;
    struct study_new_trial *trials = arena_own_array(b->arena, nr, sizeof(*trials));
    uint64_t id = study_next_id(v->study);
    size_t slot = 0;
    for (size_t i = 0; i < nr; i++) {
        double *own = arena_own_array(b->arena, tune->nr_params + 1, sizeof(*own));
        while (given[slot].id) {
            slot++;
        }
        memcpy(own, settings + i * tune->nr_params, tune->nr_params * sizeof(*own));
        if (context_of(ask, slot)) {
            study_context_apply(tune, context_of(ask, slot), own);
        }
        given[slot] = (struct study_given){id + i, GIVEN_NEW, own};
        trials[i] = (struct study_new_trial){
            .setting = own, .state = STUDY_TRIAL_ACTIVE, .client_id = ask->client_id};
    }
    study_batch_add(
        b, &(struct study_event){
               .type = STUDY_EV_TRIALS_CREATED, .trial = id, .trials = trials, .nr_trials = nr});
}

/* How many new ones the study would still take of those that are missing; *ret_over: why no more,
 * NULL else. */
static int room_for_new(const struct study_view *v, usec_t now, size_t missing, size_t *ret,
                        const char **ret_over, struct err *err) {
    *ret = 0;
    *ret_over = NULL;
    while (*ret < missing && !(*ret_over = study_over_with(v->study, *ret, now))) {
        ++*ret;
    }
    return study_wish_room(v, *ret, err);
}

/* ---- requested ones ---- */

/* Hands them out. What an open one does not fix is as the study would try next (settings, nr of
 * them), or, when it has nothing more to try, in the middle. */
static void start_requested(const struct study_view *v, struct study_batch *b,
                            const struct study_ask *ask, struct study_given *given,
                            const double *settings, size_t nr) {
    const struct tune_study *tune = &study_spec(v->study)->tune;
    size_t used = 0;
    for (size_t i = 0; i < ask->count; i++) {
        struct study_given *g = &given[i];
        if (!g->id || g->how != GIVEN_REQUESTED) {
            continue;
        }
        if (g->setting) {
            double *own = arena_own_array(b->arena, tune->nr_params + 1, sizeof(*own));
            for (size_t j = 0; j < tune->nr_params; j++) {
                own[j] = used < nr ? settings[used * tune->nr_params + j] : NAN;
            }
            study_context_apply(tune, g->setting, own);
            g->setting = own;
            used++;
        }
        study_batch_add(b, &(struct study_event){.type = STUDY_EV_TRIAL_STARTED,
                                                 .trial = g->id,
                                                 .setting = g->setting,
                                                 .client_id = ask->client_id});
    }
}

enum study_verdict study_ask(const struct study_view *v, struct study_batch *b,
                             const struct study_ask *ask, struct study_given *given, size_t *ret_nr,
                             struct err *err) {
    struct matching m = {v, ask, b->arena, given, 0, 0};
    const double *settings = NULL;
    const char *over = NULL;
    size_t nr_new = 0, nr = 0;
    memset(given, 0, ask->count * sizeof(*given));
    match_all(&m);
    bool is_open = m.nr < ask->count && !study_is_stopped(v->study, NULL);
    if (is_open && room_for_new(v, b->now, ask->count - m.nr, &nr_new, &over, err)) {
        return STUDY_REFUSE;
    }
    if (nr_new + m.nr_open) {
        enum suggest_answer answer = study_batch_suggest(b, nr_new + m.nr_open, &settings, &nr);
        if (answer == SUGGEST_LATER) {
            return STUDY_LATER;
        }
        nr = answer == SUGGEST_NONE ? 0 : nr;
    }
    /* New ones first: a grid goes on behind them, and what only completes a trial is no step. */
    size_t wanted = nr_new;
    nr_new = nr < nr_new ? nr : nr_new;
    size_t skip = nr_new * study_spec(v->study)->tune.nr_params;
    start_requested(v, b, ask, given, settings ? settings + skip : NULL, nr - nr_new);
    if (nr_new) {
        add_trials(v, b, ask, given, settings, nr_new);
    }
    if (is_open && m.nr + nr_new < ask->count) {
        study_batch_add(
            b, &(struct study_event){.type = STUDY_EV_STOPPED,
                                     .reason = nr_new < wanted ? "every setting was tried" : over});
    }
    size_t n = 0; /* without the slots that stay empty */
    for (size_t i = 0; i < ask->count; i++) {
        if (given[i].id) {
            given[n++] = given[i];
        }
    }
    *ret_nr = n;
    return STUDY_SAVE;
}
