/* One run of one container, from the lock to the exit record. Protocol: docs/internals/runner.md.
 */
#ifndef CUSP_RUNNER_RUN_H
#define CUSP_RUNNER_RUN_H

#include "base/rec.h"
#include "engine/bundle/rundir.h"
#include "runner/conf.h"
#include "runner/ctlsock.h"
#include "runner/pump.h"
#include "sys/cgroup.h"
#include "sys/proc.h"

enum run_phase {
    RUN_PREPARING, /* no runtime yet */
    RUN_STARTING,  /* the OCI runtime is at work */
    RUN_RUNNING,   /* the container's init lives */
    RUN_ENDED,     /* how it ended is known */
};

/* How it ended, as far as the exit record tells. */
struct outcome {
    const char *kind; /* RE_KIND */
    int value;
    char *why; /* owned, or NULL */
};

struct run {
    struct conf conf;
    struct arena *arena;
    char *dir; /* absolute */
    int dir_fd, lock_fd, ready_fd, log_fd;
    int signal_fd;
    int doors[RUNDIR_DOORS_MAX]; /* listening, for the server */
    size_t nr_doors;
    enum run_phase phase;
    struct cgroup_layout cgroups;
    struct pump pump;
    struct ctlsock ctl;
    pid_t runtime, init;
    int init_fd;        /* pidfd */
    int pending_signal; /* asked for before init existed */
    bool kill_asked;
    off_t log_start; /* of the runtime's part of runner.log */
    usec_t started_at, ended_at;
    struct cgroup_stats stats; /* at the end */
    struct outcome outcome;
};

/* Everything after the lock was taken; the caller has daemonised. lock_fd, ready_fd (or -1) and
 * dir_fd become the run's. Returns the process's exit code. */
int run_main(struct run *r);

#endif
