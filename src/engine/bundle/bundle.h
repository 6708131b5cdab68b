/* CONTRACT. config.json of an OCI bundle, produced by one pure function from a resolved struct;
 * golden-tested. */
#ifndef CUSP_ENGINE_BUNDLE_H
#define CUSP_ENGINE_BUNDLE_H

#include "base/buf.h"
#include "base/err.h"

struct bundle_mount {
    const char *source, *dest; /* absolute */
    bool read_only;
    /* a bind mount (rbind); file or directory */
};

/* A host device to give to the container; the caller has looked at it (stat), we only write it
 * down. */
struct bundle_device {
    const char *path; /* inside the container */
    char type;        /* 'c' or 'b' */
    uint32_t major, minor;
};

struct bundle_spec {
    const char **argv; /* NULL-terminated */
    const char **env;  /* "NAME=value", NULL-terminated */
    const char *cwd;
    uint32_t uid, gid;
    const uint32_t *extra_gids;
    size_t nr_extra_gids;
    const char *hostname;
    const char *rootfs; /* absolute path of the mount point */
    const struct bundle_mount *mounts;
    size_t nr_mounts;
    const char *cgroup_path; /* "/cusp/ID/c" */
    uint64_t mem_bytes;      /* 0: none */
    uint32_t cpu_milli;      /* 0: none */
    uint32_t pids;           /* 0: none */
    uint64_t shm_bytes;
    bool own_netns; /* false: inherit the runtime's (the runner unshared it already) */
    const struct bundle_device *device_nodes;
    size_t nr_device_nodes;
    /* What the host cannot do; the engine probes, the default (false) is the strict one. */
    bool no_cgroup_ns;  /* kernel without cgroup namespaces */
    bool no_swap_limit; /* cgroup v1 without swap accounting: memory.memsw.* is missing */
    bool mount_cgroup;  /* show the container its own cgroup, read-only, under /sys/fs/cgroup */
    /* Open descriptors (soft and hard); 0: as inherited. Raising what the runner has needs
     * CAP_SYS_RESOURCE, which a nested host may lack, and the runtime then refuses to start: the
     * caller clamps to its own hard limit. */
    uint64_t nofile;
    const char *seccomp_arch; /* "SCMP_ARCH_X86_64"; NULL: the machine we were compiled for */
};

/* Appends to out. Strict defaults: no new privileges, minimal capabilities, seccomp, masked and
 * read-only paths. Any thread; out is untouched on failure. INVALID_ARGUMENT for what a job's image
 * or spec can get wrong (empty command, relative working directory), INTERNAL for the caller's own.
 */
int bundle_config_json(const struct bundle_spec *s, struct buf *out, struct err *err) MUST_CHECK;

#endif
