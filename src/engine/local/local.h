/* CONTRACT. The local engine: containers on this host, one cusp-runner a replica. */
#ifndef CUSP_ENGINE_LOCAL_H
#define CUSP_ENGINE_LOCAL_H

#include "engine/engine.h"

struct arena;
struct loop;
struct lane;
struct image_store;

struct engine_local_opts {
    struct loop *loop;
    struct lane *disk;       /* blocking file work */
    const char *data_dir;    /* absolute */
    const char *runner_path; /* absolute path of cusp-runner */
    const char
        *runtime; /* "auto" | "crun" | "runc" | absolute path; auto probes once and remembers */
    const char *network; /* "bridge" (default) | "host" | "none" */
    const char *subnet;  /* "10.201.0.0/16" */
    struct image_store *images;
    uint32_t cpu_milli; /* capacity override, 0 = host */
    uint64_t mem_bytes; /* capacity override, 0 = host minus a reserve */
    /* Directories outside data_dir that appear as /gcs/NAME: SOURCE, NAME, ..., NULL. Outlives the
     * engine. May be NULL. */
    const char **gcs_mounts;
    /* gs://BUCKET/NAME -> path of the file on disk (owned string), NOT_FOUND etc. Any thread. */
    int (*object_path)(void *arg, const char *gs_uri, char **ret_path, struct err *err);
    void *object_arg;
    /* Extra environment for every container (e.g. STORAGE_EMULATOR_HOST=…%GATEWAY%…),
     * NULL-terminated. */
    const char **extra_env;
};

struct engine *engine_local_new(const struct engine_local_opts *o, struct err *err);

/* Digests of the images that unreleased attempts were given, NULL-terminated, in the arena. An
 * attempt that was picked up after a restart, or is only now looking for its image, is answered for
 * by what its URI names today. [loop] Reads small files. */
const char **engine_local_images_in_use(struct engine *e, struct arena *a);

/* What the probe found, for `cuspd` start-up lines and /metrics: "runc 1.1.5, cgroup hybrid,
 * network bridge cusp0 (nft)". */
const char *engine_local_describe(struct engine *e);

#endif
