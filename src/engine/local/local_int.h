/* Private to engine/local: the engine, one attempt, one replica, and what their files share.
 *
 * Threads: everything belongs to the loop thread, except that while a lane work is pending the
 * work's own fields (named "lane:" below) belong to it. Lane functions read the job's spec and the
 * engine's options, which never change. */
#ifndef CUSP_ENGINE_LOCAL_INT_H
#define CUSP_ENGINE_LOCAL_INT_H

#include "base/arena.h"
#include "base/list.h"
#include "base/vec.h"
#include "engine/engine.h"
#include "engine/image/image.h"
#include "engine/image/pull.h"
#include "engine/local/ipam.h"
#include "engine/local/local.h"
#include "engine/local/metrics.h"
#include "engine/local/names.h"
#include "engine/local/probe.h"
#include "engine/local/sup.h"
#include "engine/local/warm.h"
#include "sys/cgroup.h"
#include "sys/lane.h"
#include "sys/loop.h"

#define LOCAL_BRIDGE "cusp0"

struct local {
    struct engine base; /* first */
    struct loop *loop;
    struct clock *clock;
    struct lane *disk;
    struct arena *arena; /* copies of the options */
    struct engine_local_opts opts;
    char instance[NAMES_INSTANCE_SIZE];
    char *run_root, *log_root, *pkg_root, *bucket_root;
    char *warm_root, *warm_tools; /* warm.h; the tools' layer */
    struct warm_counts warm;
    struct cgroup_layout cgroups;
    struct probe_result probe;
    struct ipam ipam;
    struct ipam host_doors; /* addresses of doors where jobs share the host's network */
    char *gateway;          /* how containers reach this host */
    struct capacity capacity;
    char describe[768];

    struct metrics_hub metrics;
    struct list attempts, installs, makings;
    size_t pending; /* lane works not yet done */
    bool closing;
};

/* Lane works of the engine: counted, so that close can wait for them. local_done is the first call
 * of every `done`; true = the engine is closing and the caller returns at once (everything is freed
 * when the last one is done). */
void local_submit(struct local *eng, struct lane_work *w);
bool local_done(struct local *eng);

enum att_phase {
    ATT_STAGING = 1,
    ATT_STAGED,
    ATT_LAUNCHING,
    ATT_RUNNING, /* launched or reattached */
    ATT_FAILING, /* what started is being taken down */
    ATT_FAILED,  /* attempt_failed was told */
    ATT_RELEASING
};

struct local_replica {
    struct local_attempt *att;
    uint32_t nr, pool, index;
    const char *name, *dir, *log_dir;
    char addr[IPAM_ADDR_SIZE]; /* lane: "" none */
    char veth[NAMES_VETH_SIZE];
    struct sup sup;
    struct door_ask *door_ask; /* under way */
    uint64_t door;             /* 0: closed */
    struct metrics metrics;
    struct warm_start warm;
    bool started, ended;
    usec_t started_at;
    /* An end that arrived while others of the gang were still starting. */
    struct exit_info exit;
    enum sup_end end;
    struct err end_why;
    bool told_end;
};

struct local_note {
    int severity;
    char *text;
};

struct local_pool {
    struct image image;
    struct image_user user;
    const char *pkg_key;      /* TASK_PYTHON: layer key, NULL otherwise */
    const char *pkg_layer;    /* absolute directory */
    const char **pkg_digests; /* "sha256:…" of each of the pool's packages */
    bool pulled;              /* the puller has had its turn */
    const char *trust_layer;  /* the doors' CA in the image's bundles; NULL: none */
};

struct pkg_install;

struct local_attempt {
    struct list link; /* eng->attempts */
    struct local *eng;
    struct attempt_run *run;
    struct arena *arena;
    enum att_phase phase;
    bool releasing; /* release was called; no more sink calls but released */
    struct local_replica *reps;
    uint32_t nr_reps, nr_started, nr_ended;
    struct err fail_why;
    struct timer start_limit;

    struct lane_work work;
    bool working;
    /* lane: results of the work */
    int rc;
    struct err err;
    struct local_pool *pools;
    usec_t took_image, took_packages, took_bundle, packages_since;
    struct staged_input *inputs;
    size_t nr_inputs;
    VEC_OF(struct local_note) notes;
    struct warm_want *warm_want; /* a memory image to make for later runs; NULL none */
    uint32_t need_pool;          /* pool whose package layer is missing; UINT32_MAX none */

    uint32_t need_image; /* pool whose image the puller is to bring; UINT32_MAX none */
    struct pull_wait pull;
    usec_t pull_since;

    struct pkg_install *install; /* waiting for this one */
    struct list install_link;
};

/* attempt.c */
struct local_attempt *local_attempt_new(struct local *eng, struct attempt_run *run);
void local_attempt_free(struct local_attempt *a);
/* Tells the sink, unless the attempt is being released. */
void attempt_note(struct local_attempt *a, int severity, const char *text);
void attempt_fail(struct local_attempt *a, const struct err *why);
/* Any thread that owns the work: remembered, told when the work is done. */
void attempt_note_later(struct local_attempt *a, int severity, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
void attempt_tell_notes(struct local_attempt *a);
int attempt_launch(struct local_attempt *a, struct err *err);
int local_attempt_reattach(struct local_attempt *a, struct err *err);
void attempt_release(struct local_attempt *a);
/* Called when the last pending work of a releasing attempt is done. */
void attempt_release_step(struct local_attempt *a);

/* stage.c */
int stage_begin(struct local_attempt *a, struct err *err);
/* A package layer is there (why NULL) or could not be made. */
void stage_packages_ready(struct local_attempt *a, const struct err *why);

/* images.c: images that are not ready to run */
/* Whether pool p's image has to go through the puller first; if not, it is resolved. [lane] */
int images_ready(struct local_attempt *a, uint32_t p, bool *ret_ready, struct err *err);
void images_want(struct local_attempt *a, uint32_t p); /* stage_images_ready hears about it */
void images_forget(struct local_attempt *a);
/* stage.c: the puller has brought a->need_image, or why not. */
void stage_images_ready(struct local_attempt *a, const struct err *why);

/* doors.c: the replica's sockets are asked for and given to the server; taken back. */
void doors_want(struct local_replica *r);
void doors_drop(struct local_replica *r);
/* The engine closes: nothing is asked again; what is open stays with the server. */
void doors_let_go(struct local_replica *r);
/* Where programs in the replica reach the server; NULL-terminated "ADDRESS:PORT", and the host part
 * of them. NULL and "" without doors. [lane] */
int doors_plan(struct local_replica *r, const char ***ret, const char **ret_address,
               struct err *err);

/* trust.c: the layer that makes an image trust the doors' CA; made once an image. [lane] */
int trust_layer(struct local *eng, struct arena *a, const struct image *img, const char **ret,
                struct err *err);
/* Removes layers that are not of an image there is, or of an older CA, and not mounted. [lane] */
void trust_tidy(struct local *eng);

/* The strings of a NULL-terminated list, or of none at NULL, in the arena: the copy is never NULL.
 */
const char **local_copy_list(struct arena *a, const char **list);
/* Fills what every container of this host has in common. */
struct rundir_plan;
void local_plan_common(struct local *eng, struct rundir_plan *plan);
/* /etc/resolv.conf for a container, made from the host's. [lane] */
void local_resolv(struct local *eng, struct buf *out);

#endif
