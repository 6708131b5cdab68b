/* The metrics of one replica of a tuning trial: its file is read whenever it changes, and once more
 * when the replica has ended. Embedded in the replica; loop thread.
 *
 * The directory belongs to the job: whatever it puts there, only a regular file directly in it is
 * opened, without waiting; of more than limits.max_metrics_bytes only the end is read. */
#ifndef CUSP_ENGINE_LOCAL_METRICS_H
#define CUSP_ENGINE_LOCAL_METRICS_H

#include "base/arena.h"
#include "base/vec.h"
#include "engine/engine.h"
#include "sys/lane.h"

struct local;
struct local_replica;
struct loop_fd;

#define METRICS_DIR "hypertune" /* in the run directory */
#define METRICS_NAME "output.metrics"
/* Where it appears in the container: what the environment names, and what the library takes when
 * the program has cleared it. */
#define METRICS_MOUNT "/var/hypertune"
#define METRICS_MOUNT_OLD "/tmp/hypertune"
#define METRICS_PATH METRICS_MOUNT "/" METRICS_NAME

/* One inotify instance for all of them. */
struct metrics_hub {
    int fd; /* -1: the kernel gives none; files are looked at every second then */
    struct loop_fd *watch;
};
void metrics_hub_open(struct local *eng);
void metrics_hub_close(struct local *eng);

struct metrics {
    struct local_replica *rep; /* NULL: never begun */
    struct lane_work work;
    struct timer pause;
    int wd;                /* -1: not watched */
    bool working, changed; /* changed while being read, or in the pause after that */
    bool resting;          /* pause is armed */
    bool finishing, finished;
    void (*on_finished)(struct local_replica *);
    /* lane: */
    struct arena *arena; /* the reports' tags */
    VEC_OF(struct metric_report) fresh;
    VEC_OF(uint64_t) seen, now; /* sorted hashes of the reports of the last reading, and of this */
};

/* The replica runs: reports go to the sink from here on, those that are there already too. */
void metrics_begin(struct local_replica *r);
/* It has ended: on_finished is called when everything it left has been told. Never from within. */
void metrics_finish(struct local_replica *r, void (*on_finished)(struct local_replica *));
/* Nothing is told any more; a pending reading ends by itself (metrics.working). */
void metrics_let_go(struct local_replica *r);
void metrics_fini(struct local_replica *r);

#endif
