/* What this host can do, found by doing it: a container that runs true is started with each
 * installed OCI runtime through cusp-runner, exactly as a job's would be. The answer is remembered
 * in DIR/probe until the runtimes, the runner or the boot change. Blocks (start-up only). */
#ifndef CUSP_ENGINE_LOCAL_PROBE_H
#define CUSP_ENGINE_LOCAL_PROBE_H

#include "base/buf.h"
#include "base/err.h"
#include "sys/cgroup.h"

struct probe_result {
    char runtime[256];     /* absolute path; "" when none works */
    char runtime_text[64]; /* "crun 1.8.1" */
    bool hide_unified;
    char net[8];       /* "bridge" | "host" | "none" */
    char net_text[64]; /* "bridge cusp0 (nftables)" */
    char warning[512]; /* what does not work, for the start-up lines; "" when all does */
};

struct probe_input {
    const char *data_dir, *runner_path;
    const char *runtime; /* "auto", "crun", "runc" or absolute */
    const char *network; /* "bridge", "host", "none" */
    const char *subnet, *bridge, *gateway;
    unsigned prefix_len;
    const char *instance;
    const struct cgroup_layout *cgroups;
};

/* FAILED_PRECONDITION with what each runtime said when none works. */
int probe_host(const struct probe_input *in, struct probe_result *ret, struct err *err) MUST_CHECK;

/* What no container can be asked: whether memory.memsw exists (v1), the hard limit of descriptors.
 */
bool probe_swap_limit(const struct cgroup_layout *l);
uint64_t probe_nofile(void);

#endif
