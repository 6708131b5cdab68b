/* CONTRACT. Hyperparameter tuning jobs: settings are suggested, each is tried by a custom job of
 * its own, what the jobs report decides the next. ctl decides the order, remembers it, and has the
 * API word the jobs. What a study is, and what its trials mean, is ctl/study.h's. Loop thread.
 *
 *   (suggested) ─► trial + its job, one transaction ─► followed ─► ended ─┐
 *        ▲                                                               │
 *        └───────────── while the budget lasts ◄─────────────────────────┘
 *
 * Every fact is saved first and applied when durable; a tuning job has at most one transaction with
 * the store. That a trial has a job is saved in the transaction that makes the job: no trial has
 * two, no job is without its trial, whenever the server dies. What a trial reports while it runs is
 * durable in the log of its job; with its end it is taken over, thinned, into the tuning job's.
 *
 * Rules: reference 04 §5-§8. A trial is REQUESTED until its job runs, then ACTIVE. */
#ifndef CUSP_CTL_TUNING_H
#define CUSP_CTL_TUNING_H

#include "ctl/ctl.h"

#define TUNING_KIND "hyperparameterTuningJob"

struct study; /* ctl/study.h */
struct study_trial;
struct study_spec;

/* All that is known of a tuning job but what its user sent and its trials; as it is stored in
 * store_row.status. */
struct tuning_status {
    enum job_state state;
    usec_t create_time, start_time, end_time, update_time; /* wall; 0 = not yet */
    int error_code;                                        /* google.rpc code, 0 none */
    const char *error_msg;                                 /* NULL none */
    bool cancel_requested;
    /* What its outcome will be once the trials that still run are stopped; UNSPECIFIED: it goes
     * on. error_* tell of it already. */
    enum job_state ending;
    uint32_t max_trials, parallel, max_failed; /* as sent, or as edited since */
    uint32_t nr_trials; /* made so far, of any state; not more than max_trials */
    uint32_t nr_succeeded, nr_infeasible;
    uint32_t nr_failed;  /* of the infeasible: those that count as failures */
    uint64_t best_trial; /* study_best's id; 0: none succeeded yet */
};
void tuning_status_encode(struct buf *b, const struct tuning_status *s);
int tuning_status_decode(struct arena *a, struct str rec, struct tuning_status *ret,
                         struct err *err) MUST_CHECK;

/* ---- what ctl has done by others ---- */

struct tuning_spec {
    struct str name, parent, id;
    uint64_t project_number;
    const char *display_name;
    /* The rules, with the budget as sent; its seed is the same each time it is decoded. */
    const struct study_spec *study;
    const void *parsed; /* the API's */
};

struct tuning_ops {
    /* Reads a stored row; everything in the arena. A refusal is create's error. */
    int (*decode)(void *arg, struct arena *a, const struct store_row *row, struct tuning_spec *ret,
                  struct err *err);
    /* The custom job of a trial, all but its id: named "<display name>-trial-<trial id>", its
     * output below its base directory's "<trial id>/", the parameters appended to its arguments.
     * The spec tells decode_spec the trial's id (job_spec.trial_id). In the arena. An error makes
     * the trial infeasible. */
    int (*trial_job)(void *arg, struct arena *a, const struct tuning_spec *spec,
                     const struct study_trial *trial, struct job_create *ret, struct err *err);
};

/* ---- calls; as those of jobs (ctl.h) ---- */

struct tuning_create {
    struct str parent, id; /* ctl_new_id */
    struct str display_name;
    struct str spec; /* message bytes, kept verbatim */
    const struct store_label *labels;
    size_t nr_labels;
    /* Adds to the transaction that makes it; once for each that is given to the store. May be NULL.
     */
    void (*join)(void *arg, struct str name, struct store_txn *t);
    void *join_arg;
};
/* row in cb: the created row. */
void ctl_tuning_create(struct ctl *c, const struct tuning_create *in, struct ctl_call *call);
/* NOT_FOUND when there is none; one that has ended: success, nothing changes. Trials that run are
 * stopped; then it is CANCELLED. */
void ctl_tuning_cancel(struct ctl *c, struct str name, struct ctl_call *call);
/* FAILED_PRECONDITION unless it has ended. The trials' jobs stay. */
void ctl_tuning_delete(struct ctl *c, struct str name, struct ctl_call *call);

/* Edits of a live one: FAILED_PRECONDITION for one that has ended, or is ending. */
struct tuning_edit {
    /* 0: as it is. INVALID_ARGUMENT, naming field and rule: fewer trials than there are already.
     * More in parallel than trials: accepted, capped silently. */
    uint32_t max_trials, parallel;
    bool set_max_failed;
    uint32_t max_failed; /* 0: ctl decides; else not more than max_trials */
};
void ctl_tuning_edit(struct ctl *c, struct str name, const struct tuning_edit *in,
                     struct ctl_call *call);

/* A trial by hand: it is part of the budget (FAILED_PRECONDITION when there is none left, which
 * max_trials says) and is started before anything suggested. in is the caller's until cb. */
struct tuning_add {
    const double *setting; /* as the tuner's (tune/tuner.h), checked by the caller; copied */
    size_t nr;             /* of parameters */
    uint64_t ret_id;       /* set before cb succeeds */
};
void ctl_tuning_add_trial(struct ctl *c, struct str name, struct tuning_add *in,
                          struct ctl_call *call);
/* Once more the setting of a trial that has ended (FAILED_PRECONDITION unless it has; NOT_FOUND
 * without such a trial); in->setting is not looked at. */
void ctl_tuning_rerun_trial(struct ctl *c, struct str name, uint64_t trial, struct tuning_add *in,
                            struct ctl_call *call);
/* Stops a trial: it ends SUCCEEDED with what it has measured, or INFEASIBLE without. One that has
 * ended: success, nothing changes. */
void ctl_tuning_stop_trial(struct ctl *c, struct str name, uint64_t trial, struct ctl_call *call);

/* ---- looking ---- */

/* A tuning job and all its trials, whether it is live (with what its trials have measured by now)
 * or has ended (from the store, and a cache of those read last). The caller's until cb. */
struct tuning_read {
    struct str name; /* valid until cb */
    /* row NULL: NOT_FOUND, or err. status and study are later than row's or as late; all are valid
     * during the call. Never from within ctl_tuning_read. */
    void (*cb)(struct tuning_read *, const struct store_row *row,
               const struct tuning_status *status, const struct study *study,
               const struct err *err);
    void *arg;
    _Alignas(16) char priv[512]; /* ctl's */
};
void ctl_tuning_read(struct ctl *c, struct tuning_read *r);

/* How near its end a live one is; false when not live. As ctl_job_outlook. */
bool ctl_tuning_outlook(struct ctl *c, struct str name, struct job_outlook *ret);

/* Event types (append only), stored in store_event.type beside those of studies (ctl/study.h). */
enum tuning_event_type {
    TUNING_EV_CREATED = 301,
    TUNING_EV_TRIAL_JOB,    /* trial, job */
    TUNING_EV_TRIAL_FAILED, /* trial, msg: its end, just before, counts as a failure */
    TUNING_EV_CANCEL_REQUESTED,
    TUNING_EV_ENDING, /* state, code, msg: running trials are stopped */
    TUNING_EV_DONE,   /* state, code, msg */
    TUNING_EV_END
};

#endif
