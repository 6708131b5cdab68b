/* Control groups: v1, hybrid and v2 behind one set of calls. A path here ("/cusp/ID") names the
 * cgroup of that name below the root of every hierarchy that is mounted.
 *
 * The layout holds a descriptor of every hierarchy's root, so it keeps working when a hierarchy is
 * unmounted later (crun on hybrid wants the unified one hidden). Blocking calls; any thread. */
#ifndef CUSP_SYS_CGROUP_H
#define CUSP_SYS_CGROUP_H

#include "base/err.h"
#include "base/time.h"

#include <sys/types.h>

#define CGROUP_MAX_HIERARCHIES 24

enum cgroup_kind {
    CGROUP_NONE,   /* nothing mounted: limits and killing by cgroup are impossible */
    CGROUP_V1,     /* controllers in v1 hierarchies, no unified one */
    CGROUP_HYBRID, /* controllers in v1 hierarchies, plus a unified one (without those) */
    CGROUP_V2,     /* unified only */
};

struct cgroup_hierarchy {
    int root_fd;
    bool unified;
    char name[40];  /* "cpu,cpuacct", "name=systemd", "" for unified */
    char mount[96]; /* where it is mounted; "" when longer */
};

struct cgroup_layout {
    enum cgroup_kind kind;
    size_t nr;
    struct cgroup_hierarchy h[CGROUP_MAX_HIERARCHIES];
};

/* Reads /proc/self/mountinfo and opens the roots. CGROUP_NONE is success. */
int cgroup_layout_open(struct cgroup_layout *ret, struct err *err) MUST_CHECK;
void cgroup_layout_close(struct cgroup_layout *l);
const char *cgroup_kind_name(enum cgroup_kind k); /* "v1", "hybrid", "v2", "none" */

struct cgroup_limits {
    uint64_t mem_bytes; /* 0: none; swap is not added on top */
    uint64_t cpu_milli; /* thousandths of a processor, 0: none */
    uint64_t pids;      /* 0: none */
};
/* Makes the cgroup (and its parents) in every hierarchy, and sets limits there. An existing one is
 * reused. On v2 the controllers are enabled on the way down, and for children of path. */
int cgroup_make(const struct cgroup_layout *l, const char *path, const struct cgroup_limits *limits,
                struct err *err) MUST_CHECK;
/* Moves a process into path in every hierarchy, making it where needed. Failure in one hierarchy
 * does not keep it out of the others; the last one is reported. */
int cgroup_enter(const struct cgroup_layout *l, const char *path, pid_t pid, struct err *err);

/* Sends SIGKILL to everything in path and below until nothing is left or the time is over
 * (DEADLINE_EXCEEDED). Never kills the caller. A path that does not exist is success. v2:
 * cgroup.kill; v1: freeze, kill, thaw, repeat, so that a fork bomb cannot outrun it. */
int cgroup_kill_all(const struct cgroup_layout *l, const char *path, usec_t limit,
                    struct err *err) MUST_CHECK;
/* Processes in path and below (0 when it does not exist). */
size_t cgroup_count(const struct cgroup_layout *l, const char *path);
/* Removes path and its children in every hierarchy; they must be empty of processes (retries for a
 * moment: the kernel needs one after a kill). A path that does not exist is success. */
int cgroup_remove(const struct cgroup_layout *l, const char *path, struct err *err) MUST_CHECK;

struct cgroup_stats {
    uint64_t cpu_usec;
    uint64_t mem_bytes;
    uint64_t mem_peak;  /* 0: the kernel does not tell */
    uint64_t mem_limit; /* 0: none */
    uint64_t
        oom_kills; /* processes killed for this cgroup's memory, descendants that exist included */
    uint64_t pids;
    uint64_t pids_refused; /* forks refused by the pids limit */
};
/* Fields the host cannot give are 0. NOT_FOUND when path exists in no hierarchy. */
int cgroup_read_stats(const struct cgroup_layout *l, const char *path, struct cgroup_stats *ret,
                      struct err *err) MUST_CHECK;

#endif
