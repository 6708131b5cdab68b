/* What is known of a tuning job, but for its study: facts noted in a plain value. Pure. */
#include "ctl/tuning_int.h"

static void note_ending(struct tuning_status *s, const struct tuning_event *ev) {
    s->ending = ev->state;
    s->error_code = ev->code;
    s->error_msg = ev->msg;
}

static void note_own(struct tuning_status *s, const struct tuning_fact *f) {
    const struct tuning_event *ev = &f->own;
    switch (ev->type) {
    case TUNING_EV_CREATED:
        s->create_time = f->time;
        break;
    case TUNING_EV_TRIAL_FAILED:
        s->nr_failed++;
        break;
    case TUNING_EV_CANCEL_REQUESTED:
        s->cancel_requested = true;
        note_ending(s, &(struct tuning_event){
                           .state = JOB_STATE_CANCELLED, .code = ERR_CANCELLED, .msg = "CANCELED"});
        break;
    case TUNING_EV_ENDING:
        note_ending(s, ev);
        break;
    case TUNING_EV_DONE:
        note_ending(s, ev);
        s->state = ev->state;
        s->ending = JOB_STATE_UNSPECIFIED;
        s->end_time = f->time;
        break;
    case TUNING_EV_TRIAL_JOB:
        break;
    case TUNING_EV_END:
        CHECK(!"not an event type");
    }
}

static void note_study(struct tuning_status *s, const struct tuning_fact *f) {
    const struct study_event *ev = &f->study;
    if (ev->type == STUDY_EV_TRIALS_CREATED) {
        s->nr_trials += (uint32_t)ev->nr_trials;
    } else if (ev->type == STUDY_EV_TRIAL_STARTED && !s->start_time) {
        s->start_time = f->time;
    } else if (ev->type == STUDY_EV_TRIAL_ENDED) {
        s->nr_succeeded += ev->state == STUDY_TRIAL_SUCCEEDED;
        s->nr_infeasible += ev->state == STUDY_TRIAL_INFEASIBLE;
    } else if (ev->type == STUDY_EV_EDITED) {
        s->max_trials = ev->budget.max_trials;
        s->parallel = ev->budget.parallel;
        s->max_failed = ev->budget.max_failed;
    }
}

void tuning_note(struct tuning_status *s, const struct tuning_fact *f) {
    if (tuning_fact_is_of_study(f)) {
        note_study(s, f);
    } else {
        note_own(s, f);
    }
    if (!tuning_is_over(s)) {
        s->state = s->cancel_requested ? JOB_STATE_CANCELLING
                   : s->start_time     ? JOB_STATE_RUNNING
                                       : JOB_STATE_PENDING;
    }
    s->update_time = f->time > s->update_time ? f->time : s->update_time;
}

/* Without a number of the user's: when the very first trial fails, they all will; later on, when
 * most do. */
bool tuning_has_failed(const struct tuning_status *s) {
    uint32_t ended = tuning_nr_ended(s);
    if (s->max_failed) {
        return s->nr_failed >= s->max_failed;
    }
    return (ended == 1 && s->nr_failed == 1) || (s->nr_failed >= 5 && s->nr_failed * 2 > ended);
}
