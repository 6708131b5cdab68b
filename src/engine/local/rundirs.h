/* Run directories (engine/bundle/rundir.h) from the server's side: made whole or not at all, looked
 * at, and removed with everything that belongs to them. Every function blocks: disk lane. */
#ifndef CUSP_ENGINE_LOCAL_RUNDIRS_H
#define CUSP_ENGINE_LOCAL_RUNDIRS_H

#include "base/arena.h"
#include "engine/bundle/bundle.h"
#include "engine/engine.h"
#include "sys/cgroup.h"

#include <sys/types.h>

/* Everything a run directory says; strings are borrowed. Paths are absolute. */
struct rundir_plan {
    const char *job, *replica, *nonce;
    uint32_t attempt;
    const char *log_dir;
    const char *runtime; /* crun or runc */
    bool hide_unified;
    const char *container; /* id */
    const char **lowers;   /* topmost first, NULL-terminated */
    const char *cgroup, *runner_cgroup;
    uint64_t mem_bytes;                         /* 0: no limit */
    uint32_t cpu_milli, pids;                   /* 0: no limit */
    const char *net;                            /* "bridge" | "host" | "none" */
    const char *bridge, *veth, *addr, *gateway; /* bridge only; addr with prefix length */
    const char **doors;                         /* NULL-terminated "ADDRESS:PORT"; may be NULL */
    bool foreground;
    bool metrics; /* of a tuning trial: the directory for its metrics is there, and mounted */
    const char *hosts, *resolv, *hostname; /* file texts; hostname also names the container */
    struct bundle_spec
        bundle; /* rootfs, cgroup_path, hostname, limits and the etc mounts are filled in here */
};

/* Makes DIR (its parents too) with all its files: readers see it complete or not at all. Not
 * synced: what must survive a power cut is in the store. ALREADY_EXISTS when there is one. */
int rundir_create(const char *dir, const struct rundir_plan *plan, struct err *err) MUST_CHECK;

enum rundir_state {
    RUNDIR_ABSENT = 1,
    RUNDIR_FRESH,    /* no runner ever worked here, none does */
    RUNDIR_STARTING, /* the runner lives, the container does not yet */
    RUNDIR_RUNNING,
    RUNDIR_EXITED, /* exit is filled */
    RUNDIR_DEAD,   /* the runner is gone and recorded no exit */
};

struct rundir_look {
    enum rundir_state state;
    char nonce[33];
    char cgroup[128];  /* "" of a copy: it is not ours to touch */
    bool is_copy;      /* of another data directory, whose own this is (RC_HOME) */
    char addr[24];     /* on the bridge, with prefix length; "" none */
    int pidfd;         /* RUNNING, STARTING (may be -1 then): the runner's; the caller closes it */
    usec_t started_at; /* RUNNING */
    struct exit_info exit;
};
/* Tells what is there. RUNNING is told only of a runner whose pid, start time and boot match. */
int rundir_look(const char *dir, struct rundir_look *ret, struct err *err) MUST_CHECK;

/* Kills what lives in it (runner, container, everything in its cgroup), then removes the directory,
 * its cgroups and its empty parents up to (not including) run_root. The run.lock is held while that
 * happens, so that a runner that comes late finds nothing to run. Absent is success. */
int rundir_remove(const char *run_root, const char *dir, const struct cgroup_layout *cg,
                  struct err *err) MUST_CHECK;

/* Calls fn for every DIR/JOB/aN/REPLICA below run_root and, with job NULL, for every other entry
 * there (leftovers of interrupted work). */
int rundir_each(const char *run_root,
                void (*fn)(void *arg, const char *dir, const char *job, uint32_t attempt),
                void *arg, struct err *err) MUST_CHECK;

#endif
