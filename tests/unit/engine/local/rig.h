/* Drives the local engine with real containers: a busybox image in a data directory of its own, one
 * attempt at a time, what the sink heard as text. */
#ifndef TESTS_ENGINE_LOCAL_RIG_H
#define TESTS_ENGINE_LOCAL_RIG_H

#include "engine/engine.h"
#include "engine/image/image.h"
#include "engine/local/local.h"
#include "sys/lane.h"
#include "sys/loop.h"

#define RIG_MAX_REPLICAS 4

struct rig {
    char *dir; /* data directory */
    const char *runtime, *network;
    struct loop *loop;
    struct lane *disk;
    struct image_store *images;
    struct engine *engine;
    int nr_released;
};

struct try {
    struct rig *rig;
    struct pool_spec pools[RIG_MAX_REPLICAS];
    const char *argv[RIG_MAX_REPLICAS][8];
    struct job_spec spec;
    struct replica_run replicas[RIG_MAX_REPLICAS];
    struct attempt_run run;
    /* what the sink heard */
    bool staged, failed, released;
    unsigned nr_started, nr_exited, nr_lost;
    struct exit_info exits[RIG_MAX_REPLICAS];
    struct err why, lost_why[RIG_MAX_REPLICAS];
    usec_t started_mono;
    struct buf notes;
    struct buf measured; /* "REPLICA TAG VALUE STEP TIMESTAMP\n"; "exit REPLICA\n" between */
    unsigned nr_measured;
};

/* True when real containers can be run here; otherwise says so on stderr. */
bool rig_possible(void);
/* A fresh data directory with the image "bb" (shared between rigs of one process). */
char *rig_make_dir(void);
void rig_remove_dir(char *dir);
/* Opens engine, lane, images on rig->dir. */
void rig_open(struct rig *r);
void rig_close(struct rig *r);
/* Turns the loop until *flag (or *count >= n) or 60 s, which fails the test. */
void rig_wait(struct rig *r, const bool *flag);
void rig_wait_count(struct rig *r, const unsigned *count, unsigned n);

/* A job of n pools of one replica each that run `sh -c script`. id: decimal. */
void try_init(struct try *t, struct rig *r, const char *id, const char *const *scripts, unsigned n);
void try_fini(struct try *t);
void try_stage(struct try *t);
void try_launch(struct try *t); /* staged before, started after */
void try_wait_exits(struct try *t, unsigned n);
void try_release(struct try *t);
/* Owned text of DIR/PATH, "" when absent. */
char *rig_file(struct rig *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* stdout lines of the replica's log, in order, newline-terminated; owned. */
char *rig_log(struct rig *r, const char *id, const char *replica, int stream);
/* Turns the loop until the disk lane has nothing left to do. */
void rig_drain(struct rig *r);
/* Nothing of any job is left: run directories, cgroups, interfaces. Fails the test otherwise. */
void rig_expect_clean(struct rig *r);

#endif
