/* A job: the public resource, its event log, its attempts one after another.
 *
 * Facts come in two kinds. What the engine, the clock or ctl itself found out is applied at once
 * and saved soon; when there is no room on the disk it is kept and saved later. What a user asks
 * for (create, cancel) is saved first and applied when durable, so that a refused commit leaves
 * nothing behind; it is called a trial here. Doing (launch, signal, release) waits until the facts
 * that justify it are durable. */
#ifndef CUSP_CTL_JOB_H
#define CUSP_CTL_JOB_H

#include "ctl/attempt.h"
#include "ctl/measures.h"
#include "ctl/queue.h"

struct ctl;
struct call_op;

/* One encoded event on its way: inbox (not applied) -> unsaved (applied) -> saved (freed). */
struct fact {
    struct list link;
    struct store_event ev; /* owner unset; body points behind the struct */
};

/* What this job holds of the machine. Outlives its attempt until the end of it is durable. */
struct hold {
    uint32_t attempt, nr;
    bool cpu, devices; /* still held */
    struct placement *places;
};

struct job {
    struct ctl *ctl;
    struct list link; /* ctl.jobs, or ctl.graveyard */
    struct arena *arena;
    struct job_spec *spec;
    struct str name; /* in arena */
    uint64_t id;
    struct job_status status;
    char *error_msg; /* owned; what status.error_msg points at */
    bool cancel_requested;
    uint32_t used[POLICY_NR]; /* retries taken from each budget */
    struct attempt *attempt;

    struct measures *measures; /* of a tuning trial; owned. NULL: none reported yet */
    uint64_t seq, durable;     /* last applied, last saved */
    struct list inbox, unsaved;
    size_t nr_in_flight; /* first so many of unsaved are in txn */
    bool committing;     /* txn is with the store; cleared by on_commit */
    struct store_txn txn;
    struct fact *trial; /* a cancel that waits for its commit */
    bool trial_in_flight;
    struct list trial_ops;    /* struct call_op waiting for it */
    struct call_op *creation; /* the create that waits for its commit */
    usec_t flush_due;         /* mono; unsaved facts that may wait a little. 0 none */
    usec_t retry_due;         /* mono; the disk was full. 0 none */
    unsigned retries;
    struct err retry_err;

    /* Who follows its life, and what adds to the transaction that makes it. */
    void (*watch)(void *arg, struct job *j); /* after each commit; NULL: nobody */
    void *watch_arg;
    void (*join)(void *arg, struct job *j, struct store_txn *t);
    void *join_arg;

    struct timer timer;
    struct queue_node qnode;
    struct hold *hold;
    bool draining;
    bool retired; /* in the graveyard */
};

/* ---- facts (job.c) ---- */
struct job *job_new(struct ctl *c, struct arena *arena, struct str name, struct job_spec *spec);
void job_free(struct job *j);
/* Made when it is asked for. */
struct measures *job_measures(struct job *j);
/* Facts only: no clock, no engine, no store, no other object. */
int job_apply(struct job *j, const struct event *ev, struct err *err) MUST_CHECK;
void job_check(const struct job *j);
bool job_is_born(const struct job *j); /* its creation is durable */
bool job_is_terminal(const struct job *j);
bool job_may_cancel(const struct job *j); /* nothing is decided yet, or only a retry */
bool job_is_settled(const struct job *j); /* every applied fact is durable, none waits */
/* The status record as it would be after the trial, if there is one. */
void job_encode_status(const struct job *j, struct buf *b, usec_t now, bool with_cancel);

/* ---- doing (job_act.c) ---- */
/* Starts what is due; idempotent. */
void job_act(struct job *j);
/* Makes queue membership and holdings what the facts say. */
void job_reconcile(struct job *j);
void job_rearm(struct job *j);

/* ---- the door (job_post.c) ---- */
/* Appends, applies, acts, saves. From within handling of the same job it only appends. ev->time 0:
 * now; ev->seq is set here. */
void job_post(struct job *j, struct event ev);
/* Applies and acts until nothing is left to do, then saves. */
void job_drain(struct job *j);
/* Appends the creation, applied but not acted upon until saved. */
void job_begin(struct job *j);
void job_try_cancel(struct job *j, struct call_op *op);

/* ---- words (job_words.c) ---- */
/* Message of the job's error, when its attempt ended with VERDICT_FAILED; returns the code. */
int job_error(const struct job *j, struct buf *ret_msg);
/* Service log lines that belong to an event; called once, when it has become durable. */
void job_narrate(struct job *j, const struct event *ev);
/* Why it waits, "" when it does not. */
void job_explain(const struct job *j, struct buf *ret);

#endif
