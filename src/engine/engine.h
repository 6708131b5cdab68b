/* CONTRACT. Engines run attempts: the whole gang of a job's replicas, or none of it.
 * Implementations: fake (scripted timers; tests and simulator), local (containers on this host),
 * slurm (later).
 *
 * All calls and all sink calls happen on the loop thread; sink calls never from within an engine
 * call. One attempt_run per try; owned by ctl from before stage until sink.released. Every method
 * is asynchronous: it returns 0 = accepted (results come through the sink) or -1 = refused (*err
 * says why; nothing was started). Engines never retry and never decide outcomes. */
#ifndef CUSP_ENGINE_ENGINE_H
#define CUSP_ENGINE_ENGINE_H

#include "base/err.h"
#include "base/rec.h"
#include "engine/job_spec.h"

struct engine {
    const struct engine_ops *ops;
};

enum exit_kind {
    EXIT_UNKNOWN = 0, /* never success */
    EXIT_CODE,        /* exited by itself: value = code */
    EXIT_SIGNAL,      /* value = signal number */
    EXIT_OOM,         /* killed for memory: value = code or 128+signal; limit/peak filled */
    EXIT_RUNTIME      /* the OCI runtime could not start or run it: why filled */
};

struct exit_info {
    enum exit_kind kind;
    int value;
    uint64_t mem_limit_bytes, mem_peak_bytes;
    usec_t started_at, ended_at; /* wall */
    char why[256];               /* EXIT_RUNTIME; "" otherwise */
    char stderr_tail[4096]; /* last lines of stderr (at most 20), newline separated; may be "" */
};

struct start_info {
    usec_t started_at; /* wall: the container's process exists */
};

/* What place() decided for one replica; part of the event log, so plain data. */
struct placement {
    char node[64];
    uint32_t cpu_milli; /* granted; less than asked when clamped */
    uint64_t mem_bytes;
    uint32_t devices[16];
    uint32_t nr_devices;
    bool clamped;
};

struct replica_run {
    uint32_t pool, index;
    char name[32]; /* "workerpool0-0" */
    struct placement place;
};

/* One measurement that a replica of a tuning trial reported (reference 02 §7). */
struct metric_report {
    const char *tag;  /* the name it was reported under; borrowed, at most METRIC_TAG_MAX bytes */
    double value;     /* may be NaN or infinite */
    int64_t step;     /* global_step */
    usec_t timestamp; /* wall, by the reporter's clock */
};
#define METRIC_TAG_MAX 128u

/* What staging found under a name that a job gives: the same name may stand for other bytes
 * tomorrow. */
enum input_kind { INPUT_IMAGE, INPUT_PACKAGE };
struct staged_input {
    enum input_kind kind;
    const char *uri;    /* as the job has it */
    const char *digest; /* "sha256:…": of an image's manifest, of a package file's bytes; the fake
                         * engine's are "fake:…" */
};

struct attempt_run {
    const struct job_spec *spec;
    uint32_t attempt; /* from 1 */
    char nonce[33];   /* hex; same nonce = same try (restart between intent and launch) */
    struct replica_run *replicas;
    uint32_t nr_replicas;
    const struct engine_sink *sink;
    /* The engine's, from sink.staged until release: every image and package once, in the order of
     * the pools. */
    const struct staged_input *inputs;
    size_t nr_inputs;
    void *owner; /* ctl's attempt */
    void *priv;  /* engine's, freed by release */
};

enum stage_step { STAGE_IMAGE = 1, STAGE_PACKAGES, STAGE_BUNDLE };

struct engine_sink {
    /* Between stage and staged: a step finished after `took`. For "where the time went". */
    void (*step)(struct attempt_run *, enum stage_step, usec_t took);
    void (*staged)(struct attempt_run *);
    /* A line for the job's service log (image pulled, clamped, installing…). severity 200/400/500.
     */
    void (*note)(struct attempt_run *, int severity, const char *text);
    /* What staging is at, for somebody who asks why the job does not run; NULL: nothing to say any
     * more. Not kept. The member may be NULL. */
    void (*waiting)(struct attempt_run *, const char *text);
    void (*replica_started)(struct attempt_run *, uint32_t replica, const struct start_info *);
    /* Only of jobs with a trial_id; r is the engine's and lives for the call. In the order they
     * were reported, all of them before the replica's exit. After a restart of the server, or of
     * the engine's own reading, earlier ones come again: (timestamp, tag, step) tells. The member
     * may be NULL. */
    void (*measured)(struct attempt_run *, uint32_t replica, const struct metric_report *r,
                     size_t n);
    void (*replica_exited)(struct attempt_run *, uint32_t replica, const struct exit_info *);
    /* The replica's supervisor is gone without a recorded exit; its container (if any) was killed.
     */
    void (*replica_lost)(struct attempt_run *, uint32_t replica, const struct err *why);
    /* stage or launch failed as a whole; nothing of the attempt runs any more. */
    void (*attempt_failed)(struct attempt_run *, const struct err *why);
    /* release finished: run directories sealed, nothing of it is left on the host but logs. */
    void (*released)(struct attempt_run *);
};

struct capacity {
    uint32_t cpu_milli;
    uint64_t mem_bytes;
    struct {
        char type[48]; /* accelerator type name it can stand for */
        uint32_t index;
    } devices[64];
    uint32_t nr_devices;
    char node[64];
};

#define ENGINE_REATTACH 1u
#define ENGINE_EXEC 2u
#define ENGINE_STATS 4u

struct engine_ops {
    const char *name;
    unsigned caps;
    void (*capacity)(struct engine *, struct capacity *ret);
    /* Images, packages, bundles. Ends with sink.staged or sink.attempt_failed. */
    int (*stage)(struct engine *, struct attempt_run *, struct err *);
    /* After staged, and after LAUNCH_INTENT is durable. Ends with replica_started for every replica
     * or attempt_failed. */
    int (*launch)(struct engine *, struct attempt_run *, struct err *);
    /* After a server restart, for an attempt with a LAUNCH_INTENT: finds run directories. Then
     * reports each replica: replica_started (again) if alive, replica_exited if its exit is
     * recorded (also when it happened while the server was down), replica_lost otherwise. A replica
     * whose directory was never created is reported lost with code NOT_FOUND. NULL: cannot. */
    int (*reattach)(struct engine *, struct attempt_run *, struct err *);
    /* signo to the replica's init process; SIGKILL kills everything in the replica. Exits arrive as
     * usual. A replica that is gone already: 0, nothing happens. */
    int (*signal)(struct engine *, struct attempt_run *, uint32_t replica, int signo, struct err *);
    /* Cleans up; any phase; ends with sink.released. Kills what still runs. */
    void (*release)(struct engine *, struct attempt_run *);
    /* After start-up reattachment: removes run directories, containers, cgroups, mounts of attempts
     * for which is_live(job id, attempt) says false. */
    void (*sweep)(struct engine *, bool (*is_live)(void *arg, const char *job_id, uint32_t attempt),
                  void *arg);
    void (*close)(struct engine *); /* leaves containers running */
};

struct clock;
struct engine_fake_opts {
    struct clock *clock;
    uint32_t cpu_milli;
    uint64_t mem_bytes;
};
/* Scripted by job labels. Without any: staging takes no time, every replica runs 10 ms and exits 0.
 *   cusp-test-stage-ms=N, cusp-test-run-ms=N   how long
 *   cusp-test-exit=CODE, cusp-test-signal=N, cusp-test-oom=1, cusp-test-runtime-error=1
 *                                              how the acting replica ends
 *   cusp-test-lose=1                           its supervisor vanishes instead
 *   cusp-test-lose-replica=N                   the same, and replica N is the acting one
 *   cusp-test-replica=N                        who acts; default 0, the primary
 *   cusp-test-fail=stage|launch, cusp-test-fail-code=N   as a whole; default code NOT_FOUND
 *                                              (stage), INTERNAL (launch)
 *   cusp-test-until-attempt=N                  all of the above mischief only up to attempt N
 *   cusp-test-ignore-term=1                    only KILL ends it
 * Tuning trials (job_spec.trial_id):
 *   cusp-test-metric=ID                        the acting replica reports ID
 *   cusp-test-metric-steps=N                   so often, evenly over its life; default 3
 *   cusp-test-metric-as=nothing|nan|inf|other  mischief: no report; values that are NaN or
 *                                              infinite; ID with "-other" behind it
 *   cusp-test-trials=N_N_N                     all mischief only in these trials; default: every
 * one The value at step k (from 1) of N is S + (N - k) / N with S = the sum over the arguments
 * `--name=x` of (x - 0.5)^2, where a text that is no number counts as length / 10: the last one is
 * S. Step k is reported k / (N + 1) of the way through. */
struct engine *engine_fake_new(const struct engine_fake_opts *o);
/* Simulator: the fake host survives a server crash (its "containers" run on under the same clock).
 * The old engine is dead afterwards; attempt_runs it knew are not touched. close() of the last one
 * frees the host. */
struct engine *engine_fake_survivor(struct engine *old);
/* What is on the fake host now; for tests and invariants. */
struct engine_fake_census {
    uint32_t nr_containers; /* with any trace left: alive, or ended and not released */
    uint32_t nr_alive;
    uint32_t cpu_milli; /* granted to those alive */
    uint64_t mem_bytes;
    uint64_t nr_launched; /* containers ever started */
    uint32_t nr_double;   /* starts that must never be: of a replica that is there already, of a job
                             with another attempt alive, of a job of one replica that succeeded */
};
void engine_fake_count(struct engine *e, struct engine_fake_census *ret);
/* Live containers of one job, by attempt: how many attempts of it have any alive. */
uint32_t engine_fake_live_attempts(struct engine *e, const char *job_id);

#endif
