/* One try at running all replicas of a job. attempt.c holds the facts (apply), attempt_act.c starts
 * what is due and listens to the engine.
 *
 *   NEW ─► WAITING ─► PLACED ─► STAGING ─► STARTING ─► RUNNING
 *             │          │         │           │  │        │
 *             │          │         │           │  └► STOPPING ◄┘   (a verdict is in, something
 * lives) └──────────┴─────────┴───────────┴────────┬──┘ COLLECTING ─► DONE
 *
 * Waits: WAITING for capacity, quota, or the pause before a retry. PLACED, STAGING for the engine's
 * `staged` (it may have staged ahead while WAITING). STARTING for the commit of the intent, then
 * for every replica to be up. RUNNING for a deciding end. STOPPING for the ends of the others:
 * TERM, grace, KILL, grace. COLLECTING for `released`. DONE for nothing: the job decides at once.
 */
#ifndef CUSP_CTL_ATTEMPT_H
#define CUSP_CTL_ATTEMPT_H

#include "ctl/replica.h"

enum phase {
    PHASE_NEW = 0,
    PHASE_WAITING,
    PHASE_PLACED,
    PHASE_STAGING,
    PHASE_STARTING,
    PHASE_RUNNING,
    PHASE_STOPPING,
    PHASE_COLLECTING,
    PHASE_DONE
};

/* Where the engine stands with this attempt, in this life of the server. Memory only. */
enum engine_side {
    SIDE_IDLE = 0, /* it knows nothing (run == NULL) */
    SIDE_STAGING,  /* ends with staged or attempt_failed */
    SIDE_STAGED,
    SIDE_LAUNCHED,  /* launch accepted, or reattached */
    SIDE_ATTACHING, /* ends when every replica was reported */
    SIDE_RELEASING  /* ends with released */
};

struct job;

struct attempt {
    struct job *job;
    struct sm sm; /* enum phase */
    uint32_t nr;
    uint32_t nr_replicas;
    struct replica *replicas;
    struct placement *places; /* from PLACED on; owned */
    char nonce[33];           /* from STARTING on */
    usec_t not_before;        /* wall; earliest placing (pause before a retry) */
    usec_t intent_at, up_at, collect_at;
    uint64_t intent_seq;
    enum policy policy; /* of the event that decided */
    enum verdict verdict;
    int fail_code; /* ATTEMPT_FAILED, DEADLINE: 0 = the replicas' ends say why */
    char *fail_msg;
    bool gone;      /* nothing of it runs any more, whatever the replicas' records say */
    int stop_signo; /* last STOP_SENT; 0 none */
    usec_t stop_at;
    /* Memory only: */
    bool replayed; /* made from stored events: the engine may hold leftovers of it */
    bool relaunch; /* intent without any trace of a launch: release, stage, launch again */
    enum engine_side side;
    char *waiting_for;       /* what staging is at, in the engine's words; NULL: nothing long */
    struct attempt_run *run; /* owned, from the first engine call until released */
};

struct attempt *attempt_new(struct job *j, uint32_t nr);
void attempt_free(struct attempt *a); /* run must be gone, or the engine closed */
/* Facts only. -1: the event does not fit the attempt (a stored log that contradicts itself). */
int attempt_apply(struct attempt *a, const struct event *ev, struct err *err) MUST_CHECK;
void attempt_check(const struct attempt *a); /* the invariant, CHECKed */
/* Replicas that may be alive: not ended, and the attempt is not gone. */
uint32_t attempt_nr_alive(const struct attempt *a);

/* Starts what is due; idempotent. Called with nothing unapplied. */
void attempt_act(struct attempt *a);
/* Prepares images and bundles while the job still waits; no-op when already begun or when which
 * devices it gets matters. */
void attempt_stage_ahead(struct attempt *a);
/* After a restart: asks the engine what became of it. */
void attempt_reattach(struct attempt *a);
/* When act has something to do next, wall; USEC_NEVER when only events can tell. */
usec_t attempt_next_due(const struct attempt *a);

#endif
