/* A whole world for the control plane: virtual clock, memory store that can be full, fake host that
 * outlives crashes, the server under test, and a model of what its users were told. */
#ifndef CUSP_TESTS_WORLD_H
#define CUSP_TESTS_WORLD_H

#include "base/rng.h"
#include "base/vec.h"
#include "ctl/ctl_int.h"
#include "vclock.h"

#define WORLD_PARENT "projects/123/locations/us-central1"

/* How a job is to be made; becomes its spec bytes. Zero values are sensible. */
struct wish {
    uint32_t workers;   /* replicas besides the primary */
    uint32_t cpu_milli; /* a replica; default 1000 */
    usec_t timeout, max_wait;
    enum job_strategy strategy;
    bool disable_retries;
    struct {
        char key[32], value[16];
    } labels[10];
    unsigned nr_labels;
};
void wish_label(struct wish *w, const char *key, uint64_t value);
void wish_label_text(struct wish *w, const char *key, const char *value);

/* What the users of the world know of one job. */
struct sim_job {
    char name[128], id[24];
    struct wish wish;
    bool created; /* acknowledged */
    bool refused; /* the create was answered with an error */
    bool deleted, delete_asked, cancel_asked, cancel_acked;
    enum job_state outcome; /* terminal state seen; never changes */
    char *status;           /* the terminal status record seen; never changes */
};

struct sim_call {
    struct ctl_call call;
    struct list link;
    struct world *w;
    size_t job; /* or pipeline */
    bool is_pipe, is_tune;
    enum { SIM_CREATE = 1, SIM_CANCEL, SIM_DELETE, SIM_EDIT, SIM_ADD, SIM_RERUN, SIM_STOP } kind;
};

struct sim_pipe;
struct sim_tune;

struct world {
    struct vclock clock;
    struct rng rng; /* the world's dice */
    struct rng ctl_rng;
    struct store shim;   /* what ctl sees */
    struct store *store; /* behind it */
    bool disk_full;
    bool broken_disk;    /* commits fail with INTERNAL */
    struct list refused; /* transactions to be refused, oldest first */
    struct engine *engine;
    struct ctl *ctl;
    struct ctl_config cfg;
    struct suggest_runner thinker; /* computes settings after a while */
    struct suggest_pool suggestions;
    struct list thoughts; /* struct thought: under way */
    bool is_up;           /* ctl_start has called back */
    unsigned fatals;
    struct list calls; /* struct sim_call waiting for their answer */
    VEC_OF(struct sim_job) jobs;
    VEC_OF(struct sim_pipe *) pipes; /* pipes.h */
    VEC_OF(struct sim_tune *) tunes; /* tunes.h */
    struct err last_err;             /* of the latest answer; code 0 for success */
    bool answered;
    struct buf log; /* service log lines: "ID SEVERITY TEXT\n" */
    bool keep_log, trace;
    /* What else goes down with the server; may be NULL. The store is that of the next life by then,
     * and what is being computed has not ended yet. */
    void (*on_crash)(void *arg);
    void *on_crash_arg;
};

/* A decode_spec that can read nothing. */
int world_decode_nothing(void *arg, struct arena *a, const struct store_row *row,
                         struct job_spec **ret, struct err *err);
void world_init(struct world *w, uint64_t seed, uint32_t cpu_milli);
void world_fini(struct world *w);
void world_boot(struct world *w);
/* Kill -9: pending commits survive by the toss of a coin (or as told), the host lives on. */
void world_crash(struct world *w, int keep_pending); /* 0 none, 1 all, 2 coin flips */
/* One thing happens: a store completion or a timer. False: nothing is left to happen. */
bool world_step(struct world *w);
/* Steps until nothing is left or max steps; returns how many. */
unsigned world_settle(struct world *w, unsigned max);
/* Asks; the answer arrives in a later step. Returns the job's index. */
size_t world_create(struct world *w, const struct wish *wish);
void world_cancel(struct world *w, size_t job);
void world_delete(struct world *w, size_t job);
/* The stored row; NULL when there is none. */
const struct store_row *world_row(struct world *w, size_t job);
enum job_state world_state(struct world *w, size_t job);
/* Terminated copy of the row's decoded status, in arena. */
void world_status(struct world *w, size_t job, struct arena *a, struct job_status *ret);
/* NULL, or what is wrong; valid until the next call. Over the whole world. */
const char *world_invariant(struct world *w);
/* When everything should be over: all finished, nothing held, logs of events whole. */
const char *world_final(struct world *w);
size_t world_events_of(struct world *w, const char *name, struct arena *a,
                       struct store_event **ret);
/* For pipes.c. */
void world_encode_wish(struct buf *b, const struct wish *w);
struct sim_call *world_new_call(struct world *w, size_t index, int kind, bool is_pipe);
size_t world_events(struct world *w, size_t job, struct arena *a, struct store_event **ret);

#endif
