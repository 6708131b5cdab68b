/* run.conf: what the server wants this runner to do. Read once, never changed. */
#ifndef CUSP_RUNNER_CONF_H
#define CUSP_RUNNER_CONF_H

#include "base/arena.h"
#include "base/err.h"

struct conf {
    const char *job, *attempt, *replica, *nonce;
    const char *log_dir, *runtime, *runtime_root, *container;
    const char **lower; /* topmost first, NULL-terminated; may be empty: no overlay */
    size_t nr_lower;
    const char *cgroup;        /* NULL: none */
    const char *runner_cgroup; /* NULL: stay */
    bool hide_unified, foreground;
    uint64_t mem_limit, cpu_milli, pids_limit;
    const char *net;   /* "bridge", "none", "host" */
    const char **door; /* "ADDRESS:PORT" */
    size_t nr_doors;
    const char *net_bridge, *net_veth, *net_addr, *net_gateway;
};

/* From the text of run.conf; everything lives in the arena. INVALID_ARGUMENT names the key. */
int conf_parse(struct arena *a, struct str text, struct conf *ret, struct err *err) MUST_CHECK;

#endif
