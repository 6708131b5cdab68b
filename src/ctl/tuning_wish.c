/* Editing a live tuning job: what is asked for is granted as facts, or refused with the rule. */
#include "ctl/tuning_int.h"

void tuning_wish_free(struct tuning_wish *w) {
    list_del(&w->link);
    free(w->setting);
    free(w);
}

static void grant(struct tuning *t, struct tuning_wish *w, struct tuning_fact *f) {
    f->op = w->op;
    f->is_of_wish = true;
    list_push_tail(&t->granting, &f->link);
}

static int check_edit(const struct tuning_status *s, const struct tuning_edit *e,
                      const struct study_budget *b, struct err *err) {
    if (e->max_trials && e->max_trials < s->nr_trials) {
        return err_field(err, ERR_INVALID_ARGUMENT, "max_trial_count",
                         "max_trial_count cannot be lowered to %u: %u trials exist already.",
                         e->max_trials, s->nr_trials);
    }
    if (b->max_failed > b->max_trials) {
        return err_field(err, ERR_INVALID_ARGUMENT, "max_failed_trial_count",
                         "max_failed_trial_count %u is larger than max_trial_count %u.",
                         b->max_failed, b->max_trials);
    }
    return 0;
}

static int edit(struct tuning *t, struct tuning_wish *w, const struct tuning_status *s,
                struct err *err) {
    const struct tuning_edit *e = &w->edit;
    struct study_budget b = {e->max_trials ? e->max_trials : s->max_trials,
                             e->parallel ? e->parallel : s->parallel,
                             e->set_max_failed ? e->max_failed : s->max_failed};
    if (check_edit(s, e, &b, err) != 0) {
        return -1;
    }
    grant(t, w, tuning_fact_study(t, (struct study_event){.type = STUDY_EV_EDITED, .budget = b}));
    return 0;
}

/* Trials that facts on the way make: ids go on behind them. */
static int add(struct tuning *t, struct tuning_wish *w, const struct tuning_status *s,
               struct err *err) {
    uint64_t id = study_next_id(t->study) + (s->nr_trials - t->status.nr_trials);
    const double *setting = w->setting;
    if (w->kind == WISH_RERUN) {
        const struct study_trial *of = study_trial(t->study, w->trial);
        if (!of) {
            return err_set(err, ERR_NOT_FOUND, "%.*s has no trial %llu.", STR_ARG(t->spec.name),
                           (unsigned long long)w->trial);
        }
        if (!study_trial_is_over(of->state)) {
            return err_set(err, ERR_FAILED_PRECONDITION,
                           "Trial %llu is %s; only a trial that has ended can be run again.",
                           (unsigned long long)of->id, study_trial_state_name(of->state));
        }
        setting = of->setting;
    }
    if (s->nr_trials >= s->max_trials) {
        return err_set(err, ERR_FAILED_PRECONDITION,
                       "All %u trials of max_trial_count are made; raise it to add another.",
                       s->max_trials);
    }
    struct study_new_trial x = {
        .setting = setting, .state = STUDY_TRIAL_REQUESTED, .by_hand = true};
    grant(t, w,
          tuning_fact_study(
              t, (struct study_event){
                     .type = STUDY_EV_TRIALS_CREATED, .trial = id, .trials = &x, .nr_trials = 1}));
    w->add->ret_id = id;
    return 0;
}

static bool is_ended_by(const struct tuning *t, uint64_t trial) {
    const struct tuning_fact *f;
    list_each (f, &t->in_flight, link) {
        if ((f->type == STUDY_EV_TRIAL_ENDED || f->type == STUDY_EV_TRIAL_STOPPING) &&
            f->study.trial == trial) {
            return true;
        }
    }
    return false;
}

static bool is_started_by(const struct tuning *t, uint64_t trial) {
    const struct tuning_fact *f;
    list_each (f, &t->in_flight, link) {
        if (f->type == STUDY_EV_TRIAL_STARTED && f->study.trial == trial) {
            return true;
        }
    }
    return false;
}

struct study_event tuning_named(const struct tuning_run *r) {
    return (struct study_event){
        .type = STUDY_EV_TRIAL_STARTED, .trial = r->trial, .job = r->job_name};
}

static int stop(struct tuning *t, struct tuning_wish *w, struct err *err) {
    const struct study_trial *x = study_trial(t->study, w->trial);
    if (!x) {
        return err_set(err, ERR_NOT_FOUND, "%.*s has no trial %llu.", STR_ARG(t->spec.name),
                       (unsigned long long)w->trial);
    }
    if (study_trial_is_over(x->state) || x->state == STUDY_TRIAL_STOPPING ||
        is_ended_by(t, x->id)) {
        return 0;
    }
    if (x->state == STUDY_TRIAL_REQUESTED && !tuning_run_of(t, x->id)) {
        grant(t, w,
              tuning_fact_study(t,
                                (struct study_event){.type = STUDY_EV_TRIAL_ENDED,
                                                     .trial = x->id,
                                                     .state = STUDY_TRIAL_INFEASIBLE,
                                                     .reason = "It was stopped before it began."}));
        return 0;
    }
    /* Its job may run, and report, before it hears of it: that needs a time to count from. */
    if (x->state == STUDY_TRIAL_REQUESTED && !is_started_by(t, x->id)) {
        struct tuning_fact *f = tuning_fact_study(t, tuning_named(tuning_run_of(t, x->id)));
        f->is_of_wish = true;
        list_push_tail(&t->granting, &f->link);
    }
    grant(t, w,
          tuning_fact_study(t,
                            (struct study_event){.type = STUDY_EV_TRIAL_STOPPING, .trial = x->id}));
    return 0;
}

static int refuse_over(const struct tuning *t, const struct tuning_status *s, struct err *err) {
    if (tuning_is_over(s)) {
        return err_set(err, ERR_FAILED_PRECONDITION,
                       "%.*s is in state %s; only a tuning job that goes on can be edited.",
                       STR_ARG(t->spec.name), job_state_name(s->state));
    }
    return err_set(err, ERR_FAILED_PRECONDITION,
                   "%.*s is about to end as %s; only a tuning job that goes on can be edited.",
                   STR_ARG(t->spec.name), job_state_name(s->ending));
}

void tuning_consider(struct tuning *t, struct tuning_wish *w, struct tuning_status *next) {
    struct err err;
    int rc = 0;
    bool is_ending = next->ending || tuning_is_over(next);
    if (w->kind == WISH_CANCEL) {
        if (!is_ending) {
            grant(t, w,
                  tuning_fact_own(t, (struct tuning_event){.type = TUNING_EV_CANCEL_REQUESTED}));
        }
    } else if (is_ending && w->kind == WISH_STOP) {
        rc = 0; /* it is being stopped */
    } else if (is_ending) {
        rc = refuse_over(t, next, &err);
    } else if (w->kind == WISH_EDIT) {
        rc = edit(t, w, next, &err);
    } else if (w->kind == WISH_STOP) {
        rc = stop(t, w, &err);
    } else {
        rc = add(t, w, next, &err);
    }
    if (list_is_empty(&t->granting)) {
        call_finish(w->op, rc ? &err : NULL);
    }
    tuning_wish_free(w);
}
