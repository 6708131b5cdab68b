/* The control plane's own state, shared by the files of ctl. */
#ifndef CUSP_CTL_CTL_INT_H
#define CUSP_CTL_CTL_INT_H

#include <pthread.h>

#include "base/map.h"
#include "ctl/job.h"
#include "ctl/parent.h"
#include "ctl/place.h"
#include "ctl/suggest.h"

/* Applied facts that nobody waits for may be saved this much later, with the next ones. */
#define FLUSH_DELAY (20 * USEC_PER_MSEC)
/* Saving again after the disk was full. */
#define FULL_DELAY_MIN (100 * USEC_PER_MSEC)
#define FULL_DELAY_MAX (5 * USEC_PER_SEC)
/* Jobs at the front of the queue whose images and bundles are prepared before their turn. */
#define STAGE_AHEAD 4u

struct ctl {
    struct ctl_config cfg;
    pthread_t owner;
    struct capacity total;
    struct ledger ledger;
    struct queue queue;
    struct list jobs;          /* live, and those whose creation is not durable yet */
    struct list graveyard;     /* finished, freed when the outermost call returns */
    struct map by_name, by_id; /* -> struct job */
    struct map aside;          /* ids of live rows that could not be rebuilt -> &aside_mark */
    size_t nr_jobs;
    struct parents pipelines, tunings;
    struct list tunings_read; /* ended ones that were looked at, the latest first */
    uint64_t trials_total;
    struct suggest_pool own_pool; /* when cfg has none */
    uint32_t nr_works;            /* exports, seals, uploads under way */
    uint64_t finished_total;
    usec_t last_create; /* wall; of the newest job */
    unsigned depth;     /* of entries: ctl_enter */
    bool need_schedule; /* something was freed or queued */
    bool is_started, is_stopping;
    bool is_dead;          /* a commit failed for good: cfg.fatal was called */
    uint32_t nr_in_flight; /* transactions and reads with the store */
    uint32_t nr_attaching; /* attempts whose replicas were not all reported yet */
    struct list ops;       /* struct call_op, all of them */
    struct list done_ops;  /* struct call_op to be answered by `soon` */
    struct timer soon;
    void (*start_cb)(void *arg, const struct err *err);
    void *start_arg;
    struct err start_err;
    bool start_pending; /* start_cb is due */
    struct store_load load;
    void (*stop_cb)(void *arg);
    void *stop_arg;
};

/* Every way in (API call, engine sink, timer, store callback) is bracketed by these: the outermost
 * leave runs the scheduler and frees what was finished. */
void ctl_enter(struct ctl *c);
void ctl_leave(struct ctl *c);
void ctl_check_owner(const struct ctl *c);
/* Answers that must not come from within the call that caused them are sent from a timer. */
void ctl_soon(struct ctl *c);
void ctl_fatal(struct ctl *c, const struct err *err);
static inline usec_t ctl_wall(struct ctl *c) {
    return c->cfg.clock->ops->wall(c->cfg.clock);
}
static inline usec_t ctl_mono(struct ctl *c) {
    return c->cfg.clock->ops->mono(c->cfg.clock);
}
/* Nothing may be started any more. */
static inline bool ctl_is_idle(const struct ctl *c) {
    return c->is_stopping || c->is_dead;
}
struct job *ctl_find(struct ctl *c, struct str name);
void ctl_adopt(struct ctl *c, struct job *j);  /* into list and maps */
void ctl_retire(struct ctl *c, struct job *j); /* out of them, into the graveyard */
/* A live record that cannot be rebuilt: it is reported, keeps what it has on the host, can be
 * deleted, and does not stop the server. */
void ctl_set_aside(struct ctl *c, const struct store_row *row, const struct err *err);
struct str name_last_segment(struct str name);

/* ---- call.c: what waits for an answer ---- */
struct call_op {
    struct list link; /* job.trial_ops, then ctl.done_ops */
    struct list all;  /* ctl.ops */
    bool has_txn;     /* txn needs store_txn_fini */
    struct ctl *ctl;
    struct ctl_call *call;
    struct err err;
    bool failed;
    bool has_row;
    struct arena *arena; /* row lives here */
    struct store_row row;
    struct str name;
    struct store_get get;
    struct store_txn txn;
};
struct call_op *call_new(struct ctl *c, struct ctl_call *call, struct str name);
/* True: the server starts or stops, and the call was answered so. */
bool call_refuse_when_dead(struct ctl *c, struct call_op *op);
/* Of something that is not in memory: a finished one stays as it is; or it is deleted. */
void call_cancel_stored(struct call_op *op);
/* An edit of something that has ended. */
void call_edit_stored(struct call_op *op);
void call_delete_stored(struct call_op *op);
void call_finish_not_found(struct call_op *op);
/* A delete of one that has not ended. */
void call_finish_live(struct call_op *op, const char *noun, const char *state);
/* Everything of a new row that lives until the answer is sent, but state and status. */
void call_fill_row(struct call_op *op, const struct store_row *in, usec_t now);
/* Never the same time twice: first come, first served within a microsecond too. */
usec_t call_create_time(struct ctl *c);
/* err NULL: success. The answer is sent from the timer. */
void call_finish(struct call_op *op, const struct err *err);
void call_deliver(struct ctl *c);
/* Frees calls that will never be answered (ctl_free). */
void call_abandon(struct ctl *c);

/* ---- restart.c ---- */
void restart_begin(struct ctl *c);
/* An attempt was fully reported. */
void restart_attached(struct ctl *c);

#endif
