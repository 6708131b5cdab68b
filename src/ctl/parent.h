/* A parent: a resource that has its work done by jobs of its own. Training pipelines and tuning
 * jobs are parents. This is what they do alike: they are created, saved, tried again when the disk
 * is full, looked up by calls, loaded at the start and buried; one transaction at a time. What
 * their facts mean is their own affair (struct parent_kind). On the loop's thread, like all of
 * ctl. */
#ifndef CUSP_CTL_PARENT_H
#define CUSP_CTL_PARENT_H

#include "base/map.h"
#include "ctl/ctl.h"

struct call_op;
struct parent;
struct tuning_create;

/* What a kind of parent does its own way. All are set but where NULL is allowed. */
struct parent_kind {
    const char *kind;    /* of its rows: "trainingPipeline" */
    const char *noun;    /* for people: "training pipeline" */
    const uint64_t *max; /* how many may be unfinished; one of `limits` */
    const char *max_name;
    /* Of a row: nothing has happened to it yet. NULL with *err. */
    struct parent *(*make)(struct ctl *c, const struct store_row *row, struct err *err);
    /* Nothing of it is with the store, or with anybody, any more. */
    void (*free)(struct parent *p);
    /* Stored events, in order. */
    int (*replay)(struct parent *p, const struct store_event *ev, size_t nr,
                  struct err *err) MUST_CHECK;
    /* The fact that it was created goes into the inbox. */
    void (*begin)(struct parent *p, usec_t created);
    const char *(*state)(const struct parent *p); /* the durable one's name */
    bool (*is_over)(const struct parent *p);      /* its end is durable */
    /* A user waits for something to be saved: no pause is kept. */
    bool (*is_urgent)(const struct parent *p);
    /* Puts what waits, and the row, into the transaction. False: nothing to save after all. */
    bool (*gather)(struct parent *p, struct store_txn *txn);
    /* The transaction is durable: what it said is so now. */
    void (*saved)(struct parent *p);
    /* It was refused, as never made; facts found out go back into the inbox. */
    void (*refused)(struct parent *p, const struct err *err);
    /* Does what is due: everything known is durable, and nothing is under way. */
    void (*act)(struct parent *p);
    /* When something is due though nothing happens, mono; 0 never. NULL: never. */
    usec_t (*next_due)(struct parent *p);
    /* A child's creation: adds the facts of it to the transaction. NULL err: it was made. Otherwise
     * nothing was; a passing error is not told: it is tried again later. */
    void (*child_joins)(struct parent *p, struct str child, struct store_txn *txn);
    void (*child_made)(struct parent *p, const struct err *err, const struct store_row *row);
    /* Out of the list: lets go of what it follows. Answers what it can no longer do. */
    void (*retiring)(struct parent *p);
    /* Somebody still calls it back. */
    bool (*is_expected)(const struct parent *p);
    /* The server is gone; drops what it holds of others. NULL: nothing. */
    void (*abandon)(struct parent *p);
};

/* All parents of a kind. */
struct parents {
    const struct parent_kind *kind;
    struct ctl *ctl;
    bool is_served;        /* this server runs them */
    struct list live;      /* struct parent; those too whose creation is not durable yet */
    struct list graveyard; /* ended; freed when nobody calls them back */
    struct map by_name;    /* the live ones */
    size_t nr;             /* of them */
    uint64_t finished;
    struct store_load load;
    void (*loaded)(struct ctl *c, const struct err *err);
};

struct parent {
    const struct parent_kind *kind;
    struct parents *all;
    struct ctl *ctl;
    struct list link; /* parents.live, or graveyard */
    struct arena *arena;
    struct str name;          /* in the arena */
    uint64_t seq;             /* of the last durable event */
    struct list inbox;        /* facts that are not durable, the kind's */
    struct call_op *creation; /* the create that waits for its commit */

    /* The one transaction: ours, or somebody else's that it put facts into. */
    bool busy;
    bool ours; /* txn is with the store */
    struct store_txn txn;
    struct ctl_call child_call; /* a job's creation; pipelines: then its cancel */
    bool child_called;          /* it is not answered */

    /* Itself a child: who follows its life, and what adds to the transaction that makes it. */
    void (*watch)(void *arg, struct parent *p); /* after each commit; NULL: nobody */
    void *watch_arg;
    void (*join)(void *arg, struct str name, struct store_txn *txn);
    void *join_arg;

    struct timer timer;
    usec_t retry_due; /* mono; something is tried again then. 0 none */
    unsigned retries;
    bool pumping, retired;
};

void parents_init(struct parents *ps, struct ctl *c, const struct parent_kind *kind,
                  bool is_served);
void parents_fini(struct parents *ps);
/* Reads the live ones, then calls back, at once when there are none of the kind. */
void parents_load(struct parents *ps, void (*then)(struct ctl *c, const struct err *err));
void parents_pump(struct parents *ps);
/* Frees what has ended and is not called back any more; all: the server is gone. */
void parents_bury(struct parents *ps, bool all);

/* Of a new object: takes the arena. */
void parent_init(struct parent *p, struct parents *all, struct arena *a, struct str name);
/* NULL: none in memory. */
struct parent *parent_find(const struct parents *ps, struct str name);

/* ---- facts on their way ---- */

/* Saves what waits, else does what is due; again until there is nothing left to do. */
void parent_pump(struct parent *p);
/* Tried again after a growing pause. */
void parent_retry_later(struct parent *p);
/* The row as it will be, for kind->gather: inserted or updated. */
void parent_put_row(struct parent *p, struct store_txn *txn, const char *state, struct str status,
                    usec_t update_time, bool is_over);
/* Somebody else's transaction with facts of it has ended well: what saved does, and what follows.
 */
void parent_saved(struct parent *p);
/* The same request may go through another time. */
bool parent_is_passing(int code);
/* Makes a child; its parent's facts are in the same transaction. in's id and join are set here.
 * Busy until child_made. */
void parent_make_job(struct parent *p, struct arena *a, struct job_create *in);
void parent_make_tuning(struct parent *p, struct arena *a, struct tuning_create *in);

/* ---- calls ---- */

/* What a call creates: of the row all but name, times, state. */
struct parent_wish {
    struct str id;
    struct store_row row;
    void (*join)(void *arg, struct str name, struct store_txn *txn); /* may be NULL */
    void *join_arg;
};
void parent_create(struct parents *ps, const struct parent_wish *wish, struct ctl_call *call);
/* The live one that a call is about. NULL: the call is answered, or (stored) about to be, as is
 * right for one that is not in memory. */
struct parent *parent_asked(struct parents *ps, struct call_op *op,
                            void (*stored)(struct call_op *));
void parent_delete(struct parents *ps, struct str name, struct ctl_call *call);

#endif
