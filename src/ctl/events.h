/* Events: the facts of a job's life, in the form that apply sees and in the form that is stored.
 * One flat struct for all types: which fields a type carries is written next to them. Types are
 * append only; a body is a rec, so fields can be added without a new version. */
#ifndef CUSP_CTL_EVENTS_H
#define CUSP_CTL_EVENTS_H

#include "base/arena.h"
#include "ctl/ctl.h"

#define EVENT_VERSION 1u

enum deadline_kind { DEADLINE_RUN = 1, DEADLINE_WAIT };

struct event {
    enum event_type type;
    uint64_t seq; /* from 1, per job, without gaps */
    usec_t time;  /* wall */
    uint32_t attempt;

    uint32_t replica;               /* REPLICA_* */
    const struct placement *places; /* ATTEMPT_PLACED: one a replica */
    uint32_t nr_places;
    enum stage_step step;              /* ATTEMPT_STEP */
    usec_t took;                       /* ATTEMPT_STEP */
    const struct staged_input *inputs; /* ATTEMPT_STAGED; none in logs of earlier versions */
    size_t nr_inputs;
    const char *nonce;            /* LAUNCH_INTENT */
    usec_t started_at;            /* REPLICA_STARTED */
    const struct exit_info *exit; /* REPLICA_EXITED */
    int code;        /* REPLICA_LOST, ATTEMPT_FAILED, RETRY, JOB_DONE: google.rpc code */
    const char *msg; /* same; may be NULL */
    bool forced;     /* ATTEMPT_FAILED: ctl gave up waiting, something may still run */
    enum deadline_kind deadline;         /* DEADLINE */
    int signo;                           /* STOP_SENT */
    unsigned policy;                     /* RETRY: enum policy, which budget it is taken from */
    usec_t not_before;                   /* RETRY: wall; 0 = at once */
    enum job_state state;                /* JOB_DONE */
    const struct metric_report *reports; /* MEASURED */
    size_t nr_reports;
};

/* Body only; type, seq and time are the row's own columns. */
void event_encode(struct buf *b, const struct event *ev);
/* Everything in ret lives in the arena. Unknown type or version, or a bad body: DATA_LOSS. */
int event_decode(struct arena *a, const struct store_event *in, struct event *ret,
                 struct err *err) MUST_CHECK;

#endif
