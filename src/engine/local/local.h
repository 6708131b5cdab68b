/* CONTRACT. The local engine: containers on this host, one cusp-runner a replica. */
#ifndef CUSP_ENGINE_LOCAL_H
#define CUSP_ENGINE_LOCAL_H

#include "engine/engine.h"
#include "engine/local/warm_policy.h"

struct arena;
struct buf;
struct loop;
struct lane;
struct image_store;
struct puller;

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
    /* Unpacks images and fetches those that are not here. NULL: only what is here, unpacked while
     * staging. Outlives the engine. */
    struct puller *puller;
    enum warm_mode warm_mode; /* WARM_OFF unless set */
    const char *warm_imports; /* modules of warm starts when a job names none; may be NULL */
    uint32_t cpu_milli;       /* capacity override, 0 = host */
    uint64_t mem_bytes;       /* capacity override, 0 = host minus a reserve */
    /* Directories outside data_dir that appear as /gcs/NAME: SOURCE, NAME, ..., NULL. Outlives the
     * engine. May be NULL. */
    const char **gcs_mounts;
    /* gs://BUCKET/NAME -> path of the file on disk (owned string), NOT_FOUND etc. Any thread. */
    int (*object_path)(void *arg, const char *gs_uri, char **ret_path, struct err *err);
    void *object_arg;
    /* Extra environment for every container (e.g. STORAGE_EMULATOR_HOST=…%DOOR%…),
     * NULL-terminated. */
    const char **extra_env;
    /* May be NULL: containers have no door to the server. Outlives the engine. */
    const struct engine_doors *doors;
};

/* How programs in a container reach the server, and how the server knows whose they are: sockets
 * that listen inside the container's own network namespace, made before it starts (cusp-runner),
 * accepted from by the server. Addresses: DOOR_ADDRESS, ports 80 and 443; where jobs share the
 * host's network (or have none of their own), an address of 127/8 for each replica and
 * DOOR_HOST_PORT. */
#define DOOR_ADDRESS "169.254.169.254"
#define DOOR_HOST_PORT "8780"
struct engine_doors {
    /* A replica runs (or runs still, after a restart): takes the sockets. Returns a number for
     * `close`, never 0. Loop thread. spec lives until close. */
    uint64_t (*open)(void *arg, const struct job_spec *spec, const char *replica, const int *fds,
                     size_t nr);
    void (*close)(void *arg, uint64_t id);
    void *arg;
    /* Both NULL-terminated. host_env: instead of env where the replica shares the host's network.
     */
    const char **env, **host_env;
    /* Names that resolve to the door (not with the host's network); NULL-terminated. */
    const char **names;
    /* PEM of a CA that containers are to trust, or NULL: with their image's own ones it is in
     * DOOR_BUNDLE and DOOR_STORE, and in the places where distributions keep theirs. */
    const char *ca_pem;
};
#define DOOR_BUNDLE "/.cusp/ca-bundle.pem"
/* The same as a PKCS #12 trust store, for Java. */
#define DOOR_STORE "/.cusp/ca-bundle.p12"
#define DOOR_STORE_PASSWORD "changeit"

struct engine *engine_local_new(const struct engine_local_opts *o, struct err *err);

/* Digests of the images that unreleased attempts were given, NULL-terminated, in the arena. An
 * attempt that was picked up after a restart, or is only now looking for its image, is answered for
 * by what its URI names today. [loop] Reads small files. */
const char **engine_local_images_in_use(struct engine *e, struct arena *a);

/* Removes what was made for images that are gone (layers of authorities). After an image was
 * removed; the engine does it at a sweep by itself. [loop] The work is done on the lane. */
void engine_local_tidy(struct engine *e);

/* What the probe found, for `cuspd` start-up lines and /metrics: "runc 1.1.5, cgroup hybrid,
 * network bridge cusp0 (nft)". */
const char *engine_local_describe(struct engine *e);

/* Appends to /metrics: warm starts. [loop] */
void engine_local_metrics(struct engine *e, struct buf *b);

#endif
