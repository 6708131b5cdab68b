/* CONTRACT. config.json of an OCI bundle, produced by one pure function from a resolved struct; golden-tested. */
#ifndef CUSP_ENGINE_BUNDLE_H
#define CUSP_ENGINE_BUNDLE_H

#include "base/buf.h"
#include "base/err.h"

struct bundle_mount {
    const char *source, *dest; /* absolute */
    bool read_only;
    /* a bind mount (rbind); file or directory */
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
    const char *cgroup_path;  /* "/cusp/ID/c" */
    uint64_t mem_bytes;       /* 0: none */
    uint32_t cpu_milli;       /* 0: none */
    uint32_t pids;            /* 0: none */
    uint64_t shm_bytes;
    bool own_netns;           /* false: inherit the runtime's (the runner unshared it already) */
    const char **devices;     /* host device nodes to pass, NULL-terminated; may be NULL */
};

/* Strict defaults: no new privileges, minimal capabilities, seccomp, masked and read-only paths. */
int bundle_config_json(const struct bundle_spec *s, struct buf *out, struct err *err) MUST_CHECK;

#endif
