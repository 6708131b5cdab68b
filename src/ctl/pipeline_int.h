/* A pipeline's object and the facts of its life, shared by the files of ctl that move it. */
#ifndef CUSP_CTL_PIPELINE_INT_H
#define CUSP_CTL_PIPELINE_INT_H

#include "ctl/ctl_int.h"
#include "ctl/pipeline.h"

#define PIPELINE_EVENT_VERSION 1u

/* One flat struct for all types: which fields a type carries is written next to them. */
struct pipeline_event {
    enum pipeline_event_type type;
    uint64_t seq; /* from 1, per pipeline, without gaps */
    usec_t time;  /* wall */

    struct pipeline_data data;   /* EXPORTED */
    const char *child;           /* CHILD_CREATED */
    usec_t started_at;           /* CHILD_RUNNING, CHILD_DONE; 0: it never ran */
    enum job_state child_state;  /* CHILD_DONE */
    uint64_t best_trial;         /* CHILD_DONE of a tuning job; 0 none */
    const char *best_job;        /* the same; NULL none */
    enum pipeline_state state;   /* DONE */
    int code;                    /* CHILD_DONE, DONE: google.rpc code */
    const char *msg;             /* same; may be NULL */
    struct pipeline_model model; /* DONE */
};

/* ---- pipeline_events.c: the stored form ---- */
void pipeline_event_encode(struct buf *b, const struct pipeline_event *ev);
int pipeline_event_decode(struct arena *a, const struct store_event *in, struct pipeline_event *ret,
                          struct err *err) MUST_CHECK;
const char *pipeline_event_name(uint32_t type); /* NULL: none of ours */
/* Data and model as keys of a record, for events and the status alike. */
void pipeline_data_put(struct buf *b, const struct pipeline_data *d);
void pipeline_data_get(const struct rec *r, struct pipeline_data *ret);
void pipeline_model_put(struct buf *b, const struct pipeline_model *m);
void pipeline_model_get(const struct rec *r, struct pipeline_model *ret);

/* ---- pipeline_facts.c: pure ---- */
/* Facts only. -1: the event does not fit (a stored log that contradicts itself); s is untouched. */
int pipeline_apply(struct pipeline_status *s, const struct pipeline_spec *spec,
                   const struct pipeline_event *ev, struct err *err) MUST_CHECK;
void pipeline_check(const struct pipeline_status *s, const struct pipeline_spec *spec);
static inline bool pipeline_is_over(const struct pipeline_status *s) {
    return s->phase == PIPELINE_DONE;
}

/* ---- the object ---- */

/* One fact on its way to the store. In the pipeline's arena. */
struct pipeline_fact {
    struct list link;
    struct pipeline_event ev;
    struct str body; /* encoded */
};

struct pipeline {
    struct parent base;
    struct pipeline_spec spec;     /* in arena */
    struct pipeline_status status; /* durable */

    /* The one transaction: ours, the child's creation, or the upload. */
    struct pipeline_status next;  /* what holds when it is durable */
    size_t nr_in_flight;          /* first so many of inbox are in it */
    struct pipeline_fact *joined; /* the fact in somebody else's transaction */
    bool trial_in_flight;
    struct pipeline_fact *trial; /* a cancel that waits for its commit */
    struct list trial_ops;       /* struct call_op waiting for it */

    /* The child. Memory only. */
    struct job *child;            /* watched; NULL: not looked at, or gone */
    struct parent *tuned;         /* the same, when it is a tuning job */
    bool looked;                  /* its row was asked for, or it is watched */
    bool told_running, told_done; /* facts that are in the inbox or durable */
    bool cancelling_child;        /* the cancel was asked for in this life */
    struct store_get get;
    struct arena *get_arena;
    struct tuning_read read;
    bool reading; /* read is with the store */

    /* Work at others. */
    struct pipeline_work work;
    enum { WORK_NONE = 0, WORK_EXPORT, WORK_SEAL, WORK_SEALED, WORK_UPLOAD } working;
    bool work_cancelled;
};
static inline struct pipeline *pipeline_of(const struct parent *p) {
    return CONTAINER_OF(p, struct pipeline, base);
}

/* pipeline_post.c */
struct pipeline *pipeline_new(struct ctl *c, struct arena *a, const struct pipeline_spec *spec);
void pipeline_free(struct pipeline *p);
/* A fact; ev.time 0: now. Saved, applied, acted upon. */
void pipeline_post(struct pipeline *p, struct pipeline_event ev);
/* Puts a fact into somebody else's transaction, in place of the one put there before. */
void pipeline_join(struct pipeline *p, struct store_txn *t, struct pipeline_event ev);
/* That transaction's end. */
void pipeline_joined(struct pipeline *p, bool is_durable);
void pipeline_try_cancel(struct pipeline *p, struct call_op *op);
/* For struct parent_kind. */
bool pipeline_is_urgent(const struct parent *p);
bool pipeline_gather(struct parent *p, struct store_txn *txn);
void pipeline_saved(struct parent *p);
void pipeline_refused(struct parent *p, const struct err *err);

/* pipeline_act.c */
void pipeline_act(struct parent *p);
void pipeline_child_joins(struct parent *p, struct str child, struct store_txn *txn);
void pipeline_child_made(struct parent *p, const struct err *err, const struct store_row *row);
/* Asks an export or a seal to end early. */
void pipeline_stop_work(struct pipeline *p);
/* The child said something durable, or goes away. */
void pipeline_child_moved(void *arg, struct job *child);

/* pipeline_tuned.c: the child of a pipeline that is tuned */
void pipeline_make_tuned(struct pipeline *p);
void pipeline_look_at_tuned(struct pipeline *p);
/* For either kind of child. The status' strings are copied. */
void pipeline_fail(struct pipeline *p, const struct err *err);
void pipeline_fail_lost(struct pipeline *p, const char *what);

/* pipeline_call.c */
extern const struct parent_kind pipeline_kind;

#endif
