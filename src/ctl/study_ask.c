#include "ctl/study_ask.h"

#include "ctl/study_wish.h"

#include <math.h>

#define SAME 1e-10 /* of values (StudySpec: discrete ones are at least that far apart) */

/* ---- contexts ---- */

static bool fits(const struct tune_study *s, study_context context, const double *setting) {
    for (size_t j = 0; context && j < s->nr_params; j++) {
        if (!isnan(context[j]) && !(fabs(context[j] - setting[j]) <= SAME)) {
            return false; /* NAN, a parameter that is not active, fits no value */
        }
    }
    return true;
}

static bool is_active(const struct tune_study *s, size_t j, const double *setting) {
    const struct tune_param *p = &s->params[j];
    for (size_t k = 0; p->parent >= 0 && k < p->nr_when; k++) {
        if (fabs(p->when[k] - setting[p->parent]) <= SAME) {
            return true;
        }
    }
    return p->parent < 0;
}

static double middle(const struct tune_param *p) {
    if (p->has_default) {
        return p->default_value;
    }
    if (p->type == TUNE_CATEGORICAL) {
        return 0;
    }
    if (p->type == TUNE_DISCRETE) {
        return p->values[p->nr_values / 2];
    }
    double x = p->scale == TUNE_LOG           ? sqrt(p->lo) * sqrt(p->hi)
               : p->scale == TUNE_REVERSE_LOG ? p->lo + p->hi - sqrt(p->lo) * sqrt(p->hi)
                                              : p->lo + (p->hi - p->lo) / 2;
    x = p->type == TUNE_INTEGER ? nearbyint(x) : x;
    return fmin(fmax(x, p->lo), p->hi);
}

void study_context_apply(const struct tune_study *s, study_context context, double *setting) {
    for (size_t j = 0; j < s->nr_params; j++) { /* parents come first */
        if (!isnan(context[j])) {
            setting[j] = context[j];
        }
        if (!is_active(s, j, setting)) {
            setting[j] = NAN;
        } else if (isnan(setting[j])) {
            setting[j] = middle(&s->params[j]);
        }
    }
}

/* ---- what is there already ---- */

struct matching {
    const struct study_view *v;
    const struct study_ask *ask;
    struct study_given *given; /* by slot; id 0: none yet */
    size_t nr;
};

static study_context context_of(const struct study_ask *ask, size_t slot) {
    return ask->contexts ? ask->contexts[slot] : NULL;
}

/* Gives the trial to the first slot that it fits. */
static void match(struct matching *m, const struct study_trial *t, int how) {
    const struct tune_study *s = &study_spec(m->v->study)->tune;
    for (size_t i = 0; i < m->ask->count; i++) {
        if (!m->given[i].id && fits(s, context_of(m->ask, i), t->setting)) {
            m->given[i].id = t->id;
            m->given[i].how = how;
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

static void complete_study(struct study_batch *b, const char *reason) {
    study_batch_add(b, &(struct study_event){.type = STUDY_EV_STOPPED, .reason = reason});
}

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

/* All that are still missing, in one batch. */
static enum study_verdict add_new(const struct study_view *v, struct study_batch *b,
                                  const struct study_ask *ask, struct study_given *given,
                                  size_t missing, size_t *ret_nr, struct err *err) {
    const double *settings;
    const char *over = NULL;
    size_t want = 0, nr = 0;
    while (want < missing && !(over = study_over_with(v->study, want, b->now))) {
        want++;
    }
    if (study_wish_room(v, want, err)) {
        return STUDY_REFUSE;
    }
    if (want) {
        enum suggest_answer answer = study_batch_suggest(b, want, &settings, &nr);
        if (answer == SUGGEST_LATER) {
            return STUDY_LATER;
        }
        nr = answer == SUGGEST_NONE ? 0 : nr;
    }
    if (nr) {
        add_trials(v, b, ask, given, settings, nr);
    }
    if (nr < missing) {
        complete_study(b, nr < want ? "every setting was tried" : over);
    }
    *ret_nr = nr;
    return STUDY_SAVE;
}

enum study_verdict study_ask(const struct study_view *v, struct study_batch *b,
                             const struct study_ask *ask, struct study_given *given, size_t *ret_nr,
                             struct err *err) {
    struct matching m = {v, ask, given, 0};
    memset(given, 0, ask->count * sizeof(*given));
    match_all(&m);
    for (size_t i = 0; i < ask->count; i++) {
        if (given[i].id && given[i].how == GIVEN_REQUESTED) {
            study_batch_add(b, &(struct study_event){.type = STUDY_EV_TRIAL_STARTED,
                                                     .trial = given[i].id,
                                                     .client_id = ask->client_id});
        }
    }
    if (m.nr < ask->count && !study_is_stopped(v->study, NULL)) {
        size_t nr;
        enum study_verdict verdict = add_new(v, b, ask, given, ask->count - m.nr, &nr, err);
        if (verdict != STUDY_SAVE) {
            return verdict;
        }
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
