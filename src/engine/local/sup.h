/* One run directory supervised from the server: its runner spawned, its start awaited, its end
 * noticed however it comes. Embedded in its owner; loop thread. The owner sets the first group of
 * fields and zeroes the rest.
 *
 * Order of calls to the owner: started (at most once), then ended (exactly once), unless sup_stop
 * is called first. Never from within sup_spawn or sup_attach. */
#ifndef CUSP_ENGINE_LOCAL_SUP_H
#define CUSP_ENGINE_LOCAL_SUP_H

#include "base/time.h"
#include "engine/engine.h"
#include "sys/lane.h"

struct local;
struct loop_fd;

enum sup_end {
    SUP_FAILED = 1, /* it never ran: the runner or the runtime says why */
    SUP_EXITED,     /* exit record */
    SUP_LOST,       /* no record and nobody who could still write one; leftovers were killed.
                       NOT_FOUND: nothing was ever started */
};

struct sup {
    struct local *eng;
    const char *dir;
    const char *nonce; /* sup_attach: a directory of another try counts as absent */
    void (*started)(struct sup *, usec_t started_at);
    void (*ended)(struct sup *, enum sup_end how, const struct exit_info *x, const struct err *why);
    void (*stopped)(struct sup *);

    struct lane_work work;
    struct timer again;
    struct loop_fd *ready_watch, *runner_watch;
    int ready_fd, runner_fd;
    char line[4352];
    size_t line_n;
    struct err fail_why;
    bool start_failed, spawned_here, working, told_started, over, stopping, kill_wanted;
    usec_t attached_at; /* monotonic; sup_attach */
    bool overdue;       /* what is still starting is to be removed at the next look */
    /* lane: */
    bool gave_up;
    int rc;
    struct err err;
    struct rundir_look *look;
};

/* Runs cusp-runner on the directory. */
void sup_spawn(struct sup *s);
/* Finds out what became of a runner started by an earlier server. */
void sup_attach(struct sup *s);
/* Everything in the replica gets SIGKILL, now or as soon as it can. */
void sup_kill(struct sup *s);
/* Asks the runner to signal init; what is gone already is left in peace. */
void sup_signal(struct sup *s, int signo);
/* Lets go of it without touching what runs; then stopped, possibly within the call. */
void sup_stop(struct sup *s);
/* Watches and timers off, nothing told any more (close). */
void sup_let_go(struct sup *s);
/* Frees what it holds; no work may be pending. Fine for one that never began. */
void sup_fini(struct sup *s);

#endif
