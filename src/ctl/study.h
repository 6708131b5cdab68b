/* CONTRACT. A study: what is searched for, its trials, what they measured. The pure core that
 * tuning jobs and Vizier studies share (reference 04, 30): no I/O, no clock; one thread at a time.
 *
 * A study is the list of its events. Its owner makes an event, saves it in its own way
 * (store_event, type STUDY_EV_*), and applies it when it is durable; after a restart it applies the
 * saved ones again and has the same study. Trials are known by their ids, "1", "2", ..: never used
 * twice.
 *
 * Times are wall clock, in usec; elapsed times count from the trial's start and are never negative,
 * whatever the clocks did. Views that are handed out live until the next study_apply. */
#ifndef CUSP_CTL_STUDY_H
#define CUSP_CTL_STUDY_H

#include "base/arena.h"
#include "base/err.h"
#include "store/store.h"
#include "tune/stopping.h"
#include "tune/tuner.h"

struct study;

/* ---- what is searched for: flat, made by the API from a StudySpec ---- */

enum study_selection { STUDY_LAST = 0, STUDY_BEST }; /* MeasurementSelectionType */
enum study_stop_rule {
    STUDY_STOP_NONE = 0,
    STUDY_STOP_MEDIAN,
    STUDY_STOP_DECAY,
    STUDY_STOP_CONVEX
};

struct study_stopping {
    enum study_stop_rule rule;
    bool by_time;              /* t is elapsed seconds, else step counts */
    struct convex_rule convex; /* STUDY_STOP_CONVEX */
    int rate_param;            /* index of the learning rate's parameter; -1: none */
    bool update_all;           /* update_all_stopped_trials */
};

/* A tuning job's; Vizier studies have none (all 0: no bound). */
struct study_budget {
    uint32_t max_trials, parallel, max_failed;
};

struct study_spec {
    struct tune_study tune;       /* its seed too */
    const char *const *metric_id; /* by metric */
    enum study_selection selection;
    struct study_stopping stopping;
    struct study_rules rules;
    bool stop_asap; /* study_stopping_config.should_stop_asap */
    struct study_budget budget;
};

/* ---- trials ---- */

/* Trial.State as on the wire. */
enum study_trial_state {
    STUDY_TRIAL_UNSPECIFIED = 0,
    STUDY_TRIAL_REQUESTED = 1, /* exists, nobody runs it */
    STUDY_TRIAL_ACTIVE = 2,
    STUDY_TRIAL_STOPPING = 3, /* told to stop; ends when its runner says so */
    STUDY_TRIAL_SUCCEEDED = 4,
    STUDY_TRIAL_INFEASIBLE = 5
};
const char *study_trial_state_name(enum study_trial_state s); /* "ACTIVE" */
static inline bool study_trial_is_over(enum study_trial_state s) {
    return s == STUDY_TRIAL_SUCCEEDED || s == STUDY_TRIAL_INFEASIBLE;
}

/* One metric's value; is_set false: not reported (value is NAN then). */
struct study_value {
    double value; /* may be NAN or infinite when set */
    bool is_set;
};
struct study_measurement {
    int64_t step;
    usec_t elapsed;
    const struct study_value *v; /* by metric */
};

struct study_trial {
    uint64_t id;
    enum study_trial_state state;
    const double *setting;       /* by parameter; NAN: not active, or not decided (is_open) */
    usec_t start_time, end_time; /* 0: not yet */
    const char *client_id;       /* who has it (Vizier); NULL none */
    const char *job;             /* full name of its custom job; NULL none */
    const char *reason;          /* INFEASIBLE: why; may be NULL */
    bool by_hand;                /* its setting was given, not suggested */
    bool is_open;                /* REQUESTED with some values only; the others are decided when it
                                    is started, and until then all it can be is started or deleted */
    bool stop_by_rule;           /* STOPPING, or ended after it, because of automated stopping */
    bool has_final;
    bool is_predicted; /* final is what the convex rule predicts */
    struct study_measurement final;
    /* Measurements by (step, elapsed). At most limits.max_trial_measurements are kept: one more,
     * and every second goes, but for the first, the last and those that are best so far. */
    size_t nr_measurements;
    uint64_t nr_reported; /* all that came, but duplicates */
    uint64_t nr_dropped;  /* not kept, for the limit */
    uint64_t nr_redone;   /* not kept, as a later attempt of its job reported these steps again */
};
/* Its i-th measurement; v is valid until the next apply. */
struct study_measurement study_trial_measurement(const struct study *s, const struct study_trial *t,
                                                 size_t i);

/* ---- events ---- */

/* Types (append only), stored in store_event.type: both owners use these numbers. */
enum study_event_type {
    STUDY_EV_TRIALS_CREATED = 201,
    STUDY_EV_TRIAL_STARTED,
    STUDY_EV_MEASURED,
    STUDY_EV_TRIAL_STOPPING,
    STUDY_EV_TRIAL_ENDED,
    STUDY_EV_FINAL_REPLACED,
    STUDY_EV_TRIAL_DELETED,
    STUDY_EV_EDITED,
    STUDY_EV_STOPPED,
    STUDY_EV_LEARNED,
    STUDY_EV_END
};
const char *study_event_name(uint32_t type); /* "TRIALS_CREATED"; NULL: none of these */

struct study_new_trial {
    const double *setting; /* by parameter */
    enum study_trial_state
        state; /* REQUESTED or ACTIVE; start_time is the event's time when ACTIVE */
    bool by_hand;
    bool is_open;                /* REQUESTED only */
    const char *client_id, *job; /* may be NULL */
};
/* What a trial said of one metric. */
struct study_report {
    uint32_t metric; /* index */
    double value;
    int64_t step;
    usec_t at; /* MEASURED with is_whole: elapsed time. Else wall clock, as the reporter's clock had
                  it */
    /* How often its job had begun anew by then. What such a beginning reports takes the place of
     * all that was reported before it for the same step and later ones: who starts from nothing
     * leaves nothing of before, who resumes goes on with the curve. */
    uint32_t attempt;
};
/* An earlier study in this one's terms (tuner_learn): kept here, so that it teaches the same when
 * it is gone. */
#define STUDY_LESSONS 5          /* of one study */
#define STUDY_LESSON_TRIALS 300u /* of one lesson */
struct study_lesson {
    const char *from;                /* its name */
    const struct tune_trial *trials; /* TUNE_DONE */
    size_t nr;
};
/* One flat struct for all types: which fields a type carries is written next to them. */
struct study_event {
    enum study_event_type type;
    uint64_t seq; /* the owner's */
    usec_t time;  /* wall */
    uint64_t
        trial; /* TRIALS_CREATED: id of the first (study_next_id); STARTED .. DELETED: its id */
    const struct study_new_trial *trials; /* TRIALS_CREATED */
    size_t nr_trials;
    const char *client_id, *job; /* STARTED; NULL: stays as it is */
    const double *setting;       /* STARTED of an open trial: all of it. NULL else */
    /* MEASURED. is_whole: all are one measurement (same step, same at). Else each stands for
     * itself: it joins the latest measurement of its step if that has no value of its metric yet,
     * and one that is there already (same metric, step and at) changes nothing. ENDED with
     * has_final, and FINAL_REPLACED: the final measurement; at is elapsed time. */
    const struct study_report *reports;
    size_t nr_reports;
    bool is_whole;
    enum study_trial_state state; /* ENDED */
    bool has_final, is_predicted; /* ENDED; is_predicted also FINAL_REPLACED */
    const char *reason;           /* ENDED (INFEASIBLE), STOPPED; may be NULL */
    /* LEARNED: what an earlier study found, before this one has trials. */
    const struct study_lesson *lesson;
    bool by_rule;               /* STOPPING: automated stopping, not a person */
    struct study_budget budget; /* EDITED: the new one */
};
/* Bodies are recs. The same study's spec (its numbers of parameters and metrics) reads them. */
#define STUDY_EVENT_VERSION 1u
void study_event_encode(struct buf *b, const struct study_spec *spec, const struct study_event *ev);
int study_event_decode(struct arena *a, const struct study_spec *spec, const struct store_event *in,
                       struct study_event *ret, struct err *err) MUST_CHECK;

/* ---- the study ---- */

/* Copies the spec. created: where runtime counts from. Never NULL. */
struct study *study_new(const struct study_spec *spec, usec_t created);
void study_free(struct study *s); /* NULL is fine */
const struct study_spec *study_spec(const struct study *s);

/* Facts only. -1, DATA_LOSS: the event does not fit; the study is untouched. Copies the event. */
int study_apply(struct study *s, const struct study_event *ev, struct err *err) MUST_CHECK;
/* Would it fit? FAILED_PRECONDITION or NOT_FOUND worded for people, who ask for things that no
 * longer can be. Facts found out by the server always fit. */
int study_check(const struct study *s, const struct study_event *ev, struct err *err) MUST_CHECK;

uint64_t study_next_id(const struct study *s);
/* NULL: no such trial, or deleted. */
const struct study_trial *study_trial(const struct study *s, uint64_t id);
/* By id: the first with an id above this one (0: the first of all); NULL at the end. */
const struct study_trial *study_trial_after(const struct study *s, uint64_t id);

struct study_counts {
    uint32_t total; /* not deleted */
    uint32_t requested, active, stopping, succeeded, infeasible;
    uint64_t ever; /* deleted ones too */
};
struct study_counts study_counts(const struct study *s);
bool study_is_stopped(const struct study *s, const char **ret_reason);
/* Changes with every event that the next suggestion depends on: trials made, ended, deleted, finals
 * replaced. */
uint64_t study_version(const struct study *s);

/* What tuner_suggest wants: ended trials in the order they ended, then the others in the order they
 * were made; and how many suggestions there were (deleted trials' too). Copied into the arena:
 * may be read by another thread. An ended trial without a finite value of every metric is
 * TUNE_FAILED. */
const struct tune_trial *study_history(const struct study *s, struct arena *a, size_t *ret_nr);
uint64_t study_serial(const struct study *s);
/* In the order they were learned; they live as long as the study. */
const struct study_lesson *study_lessons(const struct study *s, size_t *ret_nr);

/* What the trial would count with if it ended now, by the study's selection type; metrics that the
 * chosen measurement lacks come from the latest before it. False: nothing usable (why, for people:
 * no measurement, a metric never reported, a value that is not finite). v in the arena. */
bool study_final(const struct study *s, const struct study_trial *t, struct arena *a,
                 struct study_measurement *ret, struct buf *why);
/* A measurement as the reports of an event, all set ones. In the arena. */
const struct study_report *study_reports_of(const struct study *s,
                                            const struct study_measurement *m, struct arena *a,
                                            size_t *ret_nr);

/* The best SUCCEEDED trial by the first objective (the lowest id of equals; safe ones first when
 * there are safety metrics); NULL none. */
const struct study_trial *study_best(const struct study *s);
/* Ids of SUCCEEDED trials no other is at least as good as in all objectives and better in one: for
 * one objective, all that equal the best. In the arena, increasing. */
const uint64_t *study_optimal(const struct study *s, struct arena *a, size_t *ret_nr);

/* Should this trial be stopped, by the study's rule? Only ACTIVE ones with something measured; a
 * trial all of whose values are not finite: yes. *ret_predicted (v in the arena) is the measurement
 * to end it with, when the rule has one (has: *ret_has). Compares with the newest
 * limits.max_stopping_trials ended trials. */
bool study_should_stop(struct study *s, const struct study_trial *t, struct arena *a,
                       struct study_measurement *ret_predicted, bool *ret_has);
/* What a trial that the convex rule stopped is to end with (reference 30 §3.3): false without a
 * prediction, as for other rules. v in the arena. */
bool study_predict(struct study *s, const struct study_trial *t, struct arena *a,
                   struct study_measurement *ret);
/* update_all_stopped_trials: new predictions for the trials that the convex rule ended, as
 * FINAL_REPLACED events without seq and time; to be asked for after a trial has completed. */
const struct study_event *study_replaced_finals(struct study *s, struct arena *a, size_t *ret_nr);

/* NULL: goes on. Else which rule of study_stopping_config ends it, as a path in StudySpec. */
const char *study_over(const struct study *s, usec_t now);
/* The same if it had this many trials more. */
const char *study_over_with(const struct study *s, size_t more, usec_t now);

#endif
