/* What a tuning job's facts call for: jobs of trials, followed, stopped; its own end. Called with
 * every fact durable and no transaction under way. */
#include "ctl/tuning_int.h"

/* Rules that look at the clock are looked at this often. */
#define RULES_EVERY USEC_PER_SEC

static void finish(struct tuning *t, enum job_state state, int code, const char *msg) {
    tuning_queue(
        t, (struct tuning_event){.type = TUNING_EV_DONE, .state = state, .code = code, .msg = msg});
}

/* ---- a trial's job ---- */

/* The trial cannot have one. */
static void post_refused(struct tuning *t, const struct err *err) {
    if (t->making.type) {
        tuning_queue_study(t, t->making, false);
    }
    tuning_queue_study(t,
                       (struct study_event){.type = STUDY_EV_TRIAL_ENDED,
                                            .trial = t->making_trial,
                                            .state = STUDY_TRIAL_INFEASIBLE,
                                            .reason = err->msg},
                       false);
    tuning_queue(t, (struct tuning_event){
                        .type = TUNING_EV_TRIAL_FAILED, .trial = t->making_trial, .msg = err->msg});
}

void tuning_child_joins(struct parent *p, struct str child, struct store_txn *txn) {
    struct tuning *t = tuning_of(p);
    struct study_new_trial trial;
    if (t->making.type) {
        trial = *t->making.trials;
        trial.job = child.p;
        struct study_event ev = t->making;
        ev.trials = &trial;
        tuning_join(t, txn, &ev, NULL);
    } else {
        tuning_join(t, txn, NULL,
                    &(struct tuning_event){
                        .type = TUNING_EV_TRIAL_JOB, .trial = t->making_trial, .job = child.p});
    }
}

void tuning_child_made(struct parent *p, const struct err *err, const struct store_row *row) {
    struct tuning *t = tuning_of(p);
    tuning_joined(t, !err);
    if (!err) {
        auto_free char *name = xstrndup(row->name.p, row->name.n);
        (void)tuning_run_new(t, t->making_trial, name);
        p->ctl->trials_total++;
    } else if (!parent_is_passing(err->code)) {
        post_refused(t, err);
    }
}

/* trial: as it is, or as it will be. */
static void make_child(struct tuning *t, const struct study_trial *trial) {
    struct ctl *c = t->base.ctl;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct job_create in = {0};
    struct err err;
    t->making_trial = trial->id;
    if (c->cfg.tunings->trial_job(c->cfg.tunings_arg, a, &t->spec, trial, &in, &err) != 0) {
        post_refused(t, &err);
        return;
    }
    parent_make_job(&t->base, a, &in);
}

static void begin_trial(struct tuning *t, const struct study_trial *waiting,
                        const double *setting) {
    if (waiting) {
        t->making = (struct study_event){0};
        make_child(t, waiting);
        return;
    }
    size_t nr = t->spec.study->tune.nr_params;
    free(t->making_setting);
    t->making_setting = xcalloc(nr + 1, sizeof(*t->making_setting));
    memcpy(t->making_setting, setting, nr * sizeof(*setting));
    t->making_new =
        (struct study_new_trial){.setting = t->making_setting, .state = STUDY_TRIAL_REQUESTED};
    t->making = (struct study_event){.type = STUDY_EV_TRIALS_CREATED,
                                     .trial = study_next_id(t->study),
                                     .trials = &t->making_new,
                                     .nr_trials = 1};
    make_child(t, &(struct study_trial){.id = t->making.trial,
                                        .state = STUDY_TRIAL_REQUESTED,
                                        .setting = t->making_setting});
}

/* ---- what is due ---- */

/* The first trial that was made by hand and has no job yet. */
static const struct study_trial *next_waiting(struct tuning *t) {
    const struct study_trial *x = study_trial_after(t->study, t->first_open - 1);
    while (x && study_trial_is_over(x->state)) {
        x = study_trial_after(t->study, x->id);
    }
    t->first_open = x ? x->id : study_next_id(t->study);
    for (; x; x = study_trial_after(t->study, x->id)) {
        if (x->state == STUDY_TRIAL_REQUESTED && !tuning_run_of(t, x->id)) {
            return x;
        }
    }
    return NULL;
}

static void post_over(struct tuning *t, uint64_t trial, const char *reason) {
    tuning_queue_study(t,
                       (struct study_event){.type = STUDY_EV_TRIAL_ENDED,
                                            .trial = trial,
                                            .state = STUDY_TRIAL_INFEASIBLE,
                                            .reason = reason},
                       false);
}

static void wind_up(struct tuning *t) {
    struct tuning_run *r;
    const struct study_trial *x;
    list_each (r, &t->runs, link) {
        tuning_run_cancel(r);
    }
    for (x = next_waiting(t); x; x = study_trial_after(t->study, x->id)) {
        if (x->state == STUDY_TRIAL_REQUESTED && !tuning_run_of(t, x->id)) {
            post_over(t, x->id, "It was not begun before its tuning job ended.");
        }
    }
    if (list_is_empty(&t->runs) && list_is_empty(&t->base.inbox)) {
        finish(t, t->status.ending, t->status.error_code, t->status.error_msg);
    }
}

/* Every trial is done, and there will be no more. */
static void conclude(struct tuning *t) {
    if (t->status.nr_succeeded) {
        finish(t, JOB_STATE_SUCCEEDED, 0, NULL);
        return;
    }
    const struct study_trial *x = NULL, *last = NULL;
    while ((x = study_trial_after(t->study, x ? x->id : 0))) {
        last = x->reason ? x : last;
    }
    auto_free char *msg =
        last ? xasprintf("Trial %llu: %s", (unsigned long long)last->id, last->reason)
             : xasprintf("No trial was made.");
    finish(t, JOB_STATE_FAILED, ERR_INVALID_ARGUMENT, msg);
}

/* Automated stopping: after each measurement. */
static void judge(struct tuning *t, struct tuning_run *r) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const struct study_trial *x = study_trial(t->study, r->trial);
    struct study_measurement predicted;
    bool has_predicted;
    r->is_fresh = false;
    if (t->spec.study->stopping.rule != STUDY_STOP_NONE && x->state == STUDY_TRIAL_ACTIVE &&
        study_should_stop(t->study, x, a, &predicted, &has_predicted)) {
        tuning_queue_study(t,
                           (struct study_event){
                               .type = STUDY_EV_TRIAL_STOPPING, .trial = r->trial, .by_rule = true},
                           false);
    }
}

/* update_all_stopped_trials: with what is known now. */
static void predict_anew(struct tuning *t) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    size_t n;
    const struct study_event *ev = study_replaced_finals(t->study, a, &n);
    t->has_ended = false;
    for (size_t i = 0; i < n; i++) {
        tuning_queue_study(t, ev[i], false);
    }
}

static void stop_all(struct tuning *t) {
    struct tuning_run *r;
    list_each (r, &t->runs, link) {
        const struct study_trial *x = study_trial(t->study, r->trial);
        if (x->state == STUDY_TRIAL_ACTIVE || x->state == STUDY_TRIAL_REQUESTED) {
            if (x->state == STUDY_TRIAL_REQUESTED) {
                tuning_queue_study(t, tuning_named(r), false);
            }
            tuning_queue_study(t,
                               (struct study_event){.type = STUDY_EV_TRIAL_STOPPING,
                                                    .trial = r->trial,
                                                    .by_rule = true},
                               false);
        }
    }
}

static void check_rules(struct tuning *t) {
    const char *rule;
    if (study_is_stopped(t->study, NULL)) {
        return;
    }
    rule = study_over(t->study, ctl_wall(t->base.ctl));
    if (rule) {
        tuning_queue_study(t, (struct study_event){.type = STUDY_EV_STOPPED, .reason = rule},
                           false);
        if (t->spec.study->stop_asap) {
            stop_all(t);
        }
    }
}

static bool may_begin(const struct tuning *t) {
    uint32_t parallel =
        t->status.parallel < t->status.max_trials ? t->status.parallel : t->status.max_trials;
    return t->nr_runs < parallel;
}

static void on_ready(void *arg) {
    struct tuning *t = arg;
    struct ctl *c = t->base.ctl;
    ctl_enter(c);
    parent_pump(&t->base);
    ctl_leave(c);
}

static struct suggester *suggester_of(struct tuning *t) {
    struct ctl *c = t->base.ctl;
    if (!t->suggester) {
        t->suggester =
            suggester_new(c->cfg.suggestions ? c->cfg.suggestions : &c->own_pool, on_ready, t);
    }
    return t->suggester;
}

static void begin_next(struct tuning *t) {
    const struct study_trial *waiting = next_waiting(t);
    const double *setting;
    bool wants_more = t->status.nr_trials < t->status.max_trials && !t->is_exhausted &&
                      !study_is_stopped(t->study, NULL);
    if (waiting && may_begin(t)) {
        begin_trial(t, waiting, NULL);
    } else if (!waiting && wants_more && may_begin(t)) {
        enum suggest_answer o = suggester_take(suggester_of(t), t->study, &setting);
        if (o == SUGGEST_READY) {
            begin_trial(t, NULL, setting);
        } else if (o == SUGGEST_NONE) {
            t->is_exhausted = true;
            begin_next(t);
        }
    } else if (!waiting && wants_more) {
        suggester_prepare(suggester_of(t), t->study); /* for the moment when a place is free */
    } else if (!waiting && list_is_empty(&t->runs)) {
        conclude(t);
    }
}

void tuning_act(struct parent *p) {
    struct tuning *t = tuning_of(p);
    struct tuning_run *r;
    list_each (r, &t->runs, link) {
        if (!r->looked) {
            tuning_run_look(r);
        }
        if (study_trial(t->study, r->trial)->state == STUDY_TRIAL_STOPPING) {
            tuning_run_cancel(r);
        }
        tuning_run_advance(r);
    }
    if (!list_is_empty(&t->base.inbox)) {
        return;
    }
    if (t->status.ending) {
        wind_up(t);
        return;
    }
    if (t->has_ended) {
        predict_anew(t);
    }
    if (!list_is_empty(&t->base.inbox)) {
        return; /* what comes now is compared with them */
    }
    list_each (r, &t->runs, link) {
        if (r->is_fresh) {
            judge(t, r);
        }
    }
    if (list_is_empty(&t->base.inbox)) {
        check_rules(t);
    }
    if (list_is_empty(&t->base.inbox)) {
        begin_next(t);
    }
}

usec_t tuning_next_due(struct parent *p) {
    const struct tuning *t = tuning_of(p);
    const struct study_rules *r = &t->spec.study->rules;
    bool by_clock = (r->min_runtime && r->min_runtime != USEC_NEVER) ||
                    (r->max_runtime && r->max_runtime != USEC_NEVER) ||
                    (r->max_no_progress && r->max_no_progress != USEC_NEVER);
    bool is_live = !t->status.ending && !t->base.creation && t->base.ctl->is_started &&
                   !ctl_is_idle(t->base.ctl);
    return by_clock && is_live && !study_is_stopped(t->study, NULL)
               ? ctl_mono(t->base.ctl) + RULES_EVERY
               : 0;
}
