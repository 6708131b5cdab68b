/* CONTRACT. The control plane: decides, remembers through the store, acts through engines. No I/O,
 * no locks, no clock of its own. Loop thread only (ctl_check_owner in every public function). */
#ifndef CUSP_CTL_CTL_H
#define CUSP_CTL_CTL_H

#include "base/err.h"
#include "base/rng.h"
#include "base/time.h"
#include "engine/engine.h"
#include "store/store.h"

struct ctl;
struct pipeline_ops;
struct tuning_ops;
struct suggest_pool;

/* JobState values as on the wire (reference 01 §5). */
enum job_state {
    JOB_STATE_UNSPECIFIED = 0,
    JOB_STATE_QUEUED = 1,
    JOB_STATE_PENDING = 2,
    JOB_STATE_RUNNING = 3,
    JOB_STATE_SUCCEEDED = 4,
    JOB_STATE_FAILED = 5,
    JOB_STATE_CANCELLING = 6,
    JOB_STATE_CANCELLED = 7,
    JOB_STATE_PAUSED = 8,
    JOB_STATE_EXPIRED = 9,
    JOB_STATE_UPDATING = 10,
    JOB_STATE_PARTIALLY_SUCCEEDED = 11
};
const char *job_state_name(enum job_state s); /* "JOB_STATE_RUNNING" */
bool job_state_is_terminal(enum job_state s);
bool job_state_read(struct str name, enum job_state *ret); /* false: no such state */

/* The mutable half of a job, stored as a rec in store_row.status. */
struct job_status {
    enum job_state state;
    usec_t create_time, start_time, end_time, update_time; /* wall; 0 = not yet */
    int error_code;                                        /* google.rpc code, 0 none */
    const char *error_msg;                                 /* NULL none */
    uint32_t attempt;                                      /* current or last, from 1; 0 none yet */
    const char *pending_reason;                            /* why it waits, NULL when it does not */
    /* where the time went, usec; 0 = not reached */
    usec_t t_queued, t_image, t_packages, t_bundle, t_start, t_run, t_collect;
};
void job_status_encode(struct buf *b, const struct job_status *s);
int job_status_decode(struct arena *a, struct str rec, struct job_status *ret, struct err *err);

struct ctl_config {
    struct clock *clock;
    struct rng *rng;
    struct store *store;
    struct engine *engine;
    /* Rebuilds a job_spec from a stored row's spec bytes (the API's business); everything in arena.
     */
    int (*decode_spec)(void *arg, struct arena *a, const struct store_row *row,
                       struct job_spec **ret, struct err *err);
    void *decode_arg;
    /* Service log line of a job ("Job is preparing.", clamps, errors; reference 11 §4). Each
     * line is sent once, after the fact it tells of is durable. text NULL: the job is finished, no
     * more lines follow. The member may be NULL. */
    void (*service_log)(void *arg, uint64_t project, const char *job_id, usec_t when, int severity,
                        const char *text);
    void *log_arg;
    /* A tuning job's trial has this job (ids): for who keeps logs, and shows theirs together. After
     * a restart once more, while it runs. arg: log_arg. The member may be NULL. */
    void (*trial_log)(void *arg, const char *tuning_id, uint64_t trial, const char *job_id);
    /* How pipelines have work done (ctl/pipeline.h). NULL: there are none. */
    const struct pipeline_ops *pipelines;
    void *pipelines_arg;
    /* How the trials of tuning jobs are worded (ctl/tuning.h). NULL: there are none. */
    const struct tuning_ops *tunings;
    void *tunings_arg;
    /* Where their settings are computed (ctl/suggest.h); outlives ctl and every computation. NULL:
     * in the call itself. */
    struct suggest_pool *suggestions;
    /* The end of a job, a pipeline, or a tuning job is durable and can be read. From within ctl's
     * own work: do little, and call nothing of ctl. May be NULL. */
    void (*job_done)(void *arg, struct str name);
    void *done_arg;
    /* A commit failed for another reason than a precondition or a full disk: memory and store no
     * longer agree. The server stops. */
    void (*fatal)(void *arg, const struct err *err);
    void *fatal_arg;
    bool strict_machines; /* refuse machine types larger than the host instead of clamping */
    uint32_t max_running; /* quota: replicas that may run at once; 0 = by capacity only */
    bool hold;            /* starts nothing: jobs are accepted and wait (benchmarks, maintenance) */
    usec_t stop_grace;    /* TERM -> KILL, default 30 s */
    const char *console_url; /* for the pointer sentence in error messages; may be NULL */
};

struct ctl *ctl_new(const struct ctl_config *cfg);
/* Loads, coldplugs, catches up (architecture notes §11), asks the engine to sweep, then cb. Calls
 * made before are refused with UNAVAILABLE. */
void ctl_start(struct ctl *c, void (*cb)(void *arg, const struct err *err), void *arg);
/* Stops deciding; running attempts are left alone. cb when nothing is in flight to the store. */
void ctl_stop(struct ctl *c, void (*cb)(void *arg), void *arg);
void ctl_free(struct ctl *c);

/* ---- calls. The caller owns `struct ctl_call` until cb; cb once, after the commit is durable.
 * ---- */
struct ctl_call {
    void (*cb)(struct ctl_call *, const struct err *err, const struct store_row *row);
    void *arg;
    struct list link; /* ctl's */
    _Alignas(16) char priv[128];
};

struct job;
struct job_create {
    struct str kind;   /* "customJob" */
    struct str parent; /* "projects/NUMBER/locations/LOC" */
    struct str id;     /* chosen by the caller with rng_resource_id (ctl_new_id) */
    struct str display_name;
    struct str spec; /* message bytes, kept verbatim */
    const struct store_label *labels;
    size_t nr_labels;
    /* Adds to the transaction that makes the job; called once for it, at most. May be NULL. */
    void (*join)(void *arg, struct job *j, struct store_txn *t);
    void *join_arg;
};
/* New unused decimal id. */
uint64_t ctl_new_id(struct ctl *c);
/* row in cb: the created row. spec is decoded through decode_spec (a refusal is returned as the
 * error). */
void ctl_job_create(struct ctl *c, const struct job_create *in, struct ctl_call *call);
/* NOT_FOUND when there is no such job; a finished one: success, nothing changes. */
void ctl_job_cancel(struct ctl *c, struct str name, struct ctl_call *call);
/* FAILED_PRECONDITION unless terminal. The same transaction names the job in this space of the
 * store (key: its id, value: its project's number), for whoever keeps things about jobs: they take
 * it out. */
#define CTL_SPACE_DELETED "deletedJob"
void ctl_job_delete(struct ctl *c, struct str name, struct ctl_call *call);

/* Now, from memory: why a live job waits, queue position (1-based, 0 not queued). False when not
 * live. */
bool ctl_job_explain(struct ctl *c, struct str name, struct buf *ret_reason,
                     unsigned *ret_position);
/* How near its end a live job is. */
struct job_outlook {
    bool is_queued;                 /* waits for capacity, quota, or the pause before a retry */
    usec_t create_time, start_time; /* wall; 0: not yet */
    usec_t end_began; /* wall; its outcome is decided and it is being taken down. 0: not yet */
};
/* From memory; false when not live. A job whose end is not durable yet is live. */
bool ctl_job_outlook(struct ctl *c, struct str name, struct job_outlook *ret);
/* True while the job (by id) has this attempt live: engine sweep, image removal. */
bool ctl_attempt_is_live(struct ctl *c, const char *job_id, uint32_t attempt);

/* A job (by id) that has not ended, or that could not be rebuilt. */
bool ctl_job_is_live(struct ctl *c, const char *job_id);

struct ctl_stats {
    uint64_t queued, pending, running, finished_total;
    uint32_t cpu_milli_held, cpu_milli_total;
    uint64_t mem_held, mem_total;
    usec_t oldest_queued_age;
    uint64_t pipelines_live, pipelines_finished_total;
    uint64_t tunings_live, tunings_finished_total, trials_total; /* trials: made in this life */
};
void ctl_get_stats(struct ctl *c, struct ctl_stats *ret);

/* Event types (append only), stored in store_event.type; bodies are recs. Documented in
 * docs/internals/control-plane.md. Those of pipelines begin at 101 (ctl/pipeline.h),
 * of studies at 201 (ctl/study.h), of tuning jobs at 301 (ctl/tuning.h). */
enum event_type {
    EV_JOB_CREATED = 1,
    EV_ATTEMPT_PLACED,
    EV_ATTEMPT_STEP,
    EV_ATTEMPT_STAGED,
    EV_LAUNCH_INTENT,
    EV_REPLICA_STARTED,
    EV_REPLICA_EXITED,
    EV_REPLICA_LOST,
    EV_ATTEMPT_FAILED,
    EV_CANCEL_REQUESTED,
    EV_DEADLINE,
    EV_STOP_SENT,
    EV_ATTEMPT_RELEASED,
    EV_RETRY,
    EV_JOB_DONE,
    EV_MEASURED, /* of tuning trials */
    EV_TYPE_NR
};
const char *event_type_name(uint32_t type);

#endif
