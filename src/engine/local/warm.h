/* Warm starts of Python tasks: a trial's container begins as the memory of a Python that imported
 * its frameworks earlier (docs/internals/warm-workers.md). This is the engine's side: which start a
 * replica gets, the memory images under DIR/warm, and the containers that make them.
 *
 *   DIR/warm/tools-ID/fs        our programs, a layer
 *   DIR/warm/KEY/fs             the memory image, a layer
 *   DIR/warm/KEY/used           its time: when a replica was last staged with it
 *   DIR/warm/KEY.why            why there is none; tried again later
 *
 * A job never waits for an image and never fails for lack of one. */
#ifndef CUSP_ENGINE_LOCAL_WARM_H
#define CUSP_ENGINE_LOCAL_WARM_H

#include "base/buf.h"
#include "engine/local/env.h"
#include "engine/local/warm_policy.h"
#include "sys/lane.h"

#include <stdatomic.h>

struct local;
struct local_attempt;
struct local_replica;

#define WARM_JOB "warm" /* stands for the job in run directories of those that are made */
#define WARM_LAYERS 2u
#define WARM_WHY_MAX 512

/* Whether a replica that was staged warm was so in the end: the container decides that (thaw.c),
 * and what it left is read when it has ended. Embedded in the replica; loop thread. */
struct warm_start {
    bool is_staged; /* lane: its first program is thaw */
    bool is_found;  /* after a restart of the server: it may be one */
    bool working, finished;
    struct lane_work work;
    void (*on_finished)(struct local_replica *);
    char why[WARM_WHY_MAX]; /* lane; "": warm */
};

/* What happened since the server started, counted on lanes. Replicas, not jobs. */
struct warm_counts {
    atomic_ullong warm;              /* that have ended */
    atomic_ullong cold[WARM_NR_WHY]; /* of those that asked */
    atomic_ullong made, failed;      /* images */
    atomic_ullong images, bytes;     /* that there are, as of the last look */
};

/* What makes one image; everything in the attempt's arena. */
struct warm_want {
    const char *key, *imports, *cwd;
    const char **argv;   /* the prefix only */
    const char **env;    /* warm_env's */
    const char **lowers; /* of the replica, topmost first */
    uint64_t mem_bytes;
    uint32_t cpu_milli, pool;
};

/* [lane] How the replica starts. Warm: *argv is replaced and layers to put on top are filled in
 * (topmost first; unused: NULL). Cold: nothing is changed. Says why through the attempt's notes,
 * and remembers what to make. lowers are those it would have without us. */
void warm_stage(struct local_replica *r, const struct env_input *in, const struct env *env,
                const char **lowers, const char ***argv, const char *ret_layers[WARM_LAYERS]);
/* It has ended: counts and says which start it was, then on_finished; never from within.
 * warm_must_finish: this was not done and has to be. */
bool warm_must_finish(const struct local_replica *r);
void warm_finish(struct local_replica *r, void (*on_finished)(struct local_replica *));
/* The attempt is staged: an image that it would have liked is made, for the next one. */
void warm_make(struct local_attempt *a);

/* warm_store.c [lane] */
/* Our programs as a layer, made when missing. */
int warm_tools_layer(struct local *eng, const char **ret, struct err *err) MUST_CHECK;
/* Digest of our programs, the kernel and the processor: memory of another of these does not fit. */
void warm_tools_id(char ret_hex[17]);
bool warm_is_built(void);
/* Takes the image that was made below `upper` (what a container wrote: nothing in it is believed).
 */
int warm_keep(struct local *eng, const char *upper, const char *key, struct err *err) MUST_CHECK;
/* What a container left in the file `name` beside our programs, as one line; "" nothing. "why": why
 * it made no image, "cold": why it did not start warm. */
void warm_read_left(const char *upper, const char *name, char *ret, size_t size);
void warm_note_why(struct local *eng, const char *key, const char *why);
/* Removes images unused for limits.warm_idle_s, the longest unused beyond limits.warm_max_images
 * and limits.warm_max_bytes, and leftovers. What a run directory names stays. */
void warm_tidy(struct local *eng);

/* Appends to /metrics. Any thread. */
void warm_metrics(const struct local *eng, struct buf *b);

/* As those of packages.h, of the containers that make images. */
bool warm_is_running(const struct local *eng, const char *dir);
bool warm_is_cgroup(const struct local *eng, const char *name);
void warm_let_go(struct local *eng);
void warm_free(struct local *eng);

#endif
