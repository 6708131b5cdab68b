/* Lines of the service log that tell a tuning job's story. */
#include <math.h>

#include "ctl/tuning_int.h"

void tuning_say(struct tuning *t, usec_t when, int severity, const char *text) {
    const struct ctl_config *cfg = &t->base.ctl->cfg;
    if (cfg->service_log) {
        cfg->service_log(cfg->log_arg, t->spec.project_number, t->spec.id.p, when, severity, text);
    }
}

static const char *metric(const struct tuning *t, uint32_t i) {
    return t->spec.study->metric_id[i];
}

static unsigned long long ull(uint64_t v) {
    return v;
}

static void say_started(struct tuning *t, const struct tuning_fact *f) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    const struct study_trial *x = study_trial(t->study, f->study.trial);
    buf_printf(&b, "Trial %llu runs as %s.", ull(x->id), x->job ? x->job : "a custom job");
    tuning_say(t, f->time, 200, buf_cstr(&b));
}

/* The parameters by number: their names are the API's, which words the job's own arguments. */
static void say_created(struct tuning *t, const struct tuning_fact *f) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    buf_printf(&b, "Trial %llu is made%s.", ull(f->study.trial),
               f->study.trials[0].by_hand ? " by hand" : "");
    tuning_say(t, f->time, 200, buf_cstr(&b));
}

static void say_ended(struct tuning *t, const struct tuning_fact *f) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    const struct study_trial *x = study_trial(t->study, f->study.trial),
                             *best = study_best(t->study);
    if (x->state == STUDY_TRIAL_INFEASIBLE) {
        buf_printf(&b, "Trial %llu ended without a result: %s", ull(x->id),
                   x->reason ? x->reason : "");
        tuning_say(t, f->time, 400, buf_cstr(&b));
        return;
    }
    buf_printf(&b, "Trial %llu ended%s:", ull(x->id), x->stop_by_rule ? ", stopped early" : "");
    for (uint32_t i = 0; i < t->spec.study->tune.nr_metrics; i++) {
        buf_printf(&b, "%s %s %.6g", i ? "," : "", metric(t, i), x->final.v[i].value);
    }
    if (best == x) {
        buf_puts(&b, "; it is the best so far.");
    } else if (best) {
        buf_printf(&b, "; the best so far is trial %llu with %s %.6g.", ull(best->id), metric(t, 0),
                   best->final.v[0].value);
    }
    tuning_say(t, f->time, 200, buf_cstr(&b));
}

void tuning_narrate_redone(struct tuning *t, uint64_t trial, const struct study_report *r,
                           size_t nr_reports, uint64_t nr) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    const struct study_report *first = &r[0]; /* of the latest attempt, by its steps */
    for (size_t i = 1; i < nr_reports; i++) {
        if (r[i].attempt > first->attempt ||
            (r[i].attempt == first->attempt && r[i].step < first->step)) {
            first = &r[i];
        }
    }
    if (nr) {
        buf_printf(&b,
                   "Trial %llu began again (attempt %u of its job): %llu measurement%s of before, "
                   "from step %lld on, no longer count%s.",
                   ull(trial), first->attempt + 1, ull(nr), nr == 1 ? "" : "s",
                   (long long)first->step, nr == 1 ? "s" : "");
        tuning_say(t, ctl_wall(t->base.ctl), 300, buf_cstr(&b));
    }
}

void tuning_narrate_measure(struct tuning *t, uint64_t trial, const struct study_report *r) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    buf_printf(&b, "Trial %llu at step %lld: %s %.6g.", ull(trial), (long long)r->step,
               metric(t, r->metric), r->value);
    tuning_say(t, ctl_wall(t->base.ctl), 200, buf_cstr(&b));
}

static void say_end(struct tuning *t, const struct tuning_fact *f) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    const struct study_trial *best = study_best(t->study);
    if (t->status.state == JOB_STATE_SUCCEEDED) {
        buf_printf(&b, "Hyperparameter tuning job completed successfully after %u trials",
                   t->status.nr_trials);
        if (best) {
            buf_printf(&b, "; the best is trial %llu with %s %.6g", ull(best->id), metric(t, 0),
                       best->final.v[0].value);
        }
        buf_puts(&b, ".");
    } else if (t->status.state == JOB_STATE_CANCELLED) {
        buf_puts(&b, "Hyperparameter tuning job is cancelled.");
    } else {
        buf_puts(&b, t->status.error_msg ? t->status.error_msg : "");
    }
    tuning_say(t, f->time, t->status.state == JOB_STATE_FAILED ? 500 : 200, buf_cstr(&b));
    tuning_say(t, f->time, 0, NULL); /* no more lines */
}

void tuning_narrate(struct tuning *t, const struct tuning_fact *f) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    switch (f->type) {
    case STUDY_EV_TRIALS_CREATED:
        say_created(t, f);
        break;
    case STUDY_EV_TRIAL_STARTED:
        say_started(t, f);
        break;
    case STUDY_EV_TRIAL_STOPPING:
        buf_printf(&b, "Trial %llu is stopped%s.", ull(f->study.trial),
                   f->study.by_rule ? ": it is not going to be among the best" : " as was asked");
        tuning_say(t, f->time, 200, buf_cstr(&b));
        break;
    case STUDY_EV_TRIAL_ENDED:
        say_ended(t, f);
        break;
    case STUDY_EV_EDITED:
        buf_printf(&b, "From now on: %u trials, %u at a time.", f->study.budget.max_trials,
                   f->study.budget.parallel);
        tuning_say(t, f->time, 200, buf_cstr(&b));
        break;
    case STUDY_EV_STOPPED:
        buf_printf(&b, "No more trials are begun: %s.", f->study.reason ? f->study.reason : "");
        tuning_say(t, f->time, 200, buf_cstr(&b));
        break;
    case STUDY_EV_LEARNED:
        buf_printf(&b, "What %s found is known here.", f->study.lesson->from);
        tuning_say(t, f->time, 200, buf_cstr(&b));
        break;
    case TUNING_EV_DONE:
        say_end(t, f);
        break;
    default:
        break;
    }
}
