/* CONTRACT. Lanes: named worker threads for work that may block. `run` is called on a lane thread,
 * `done` on the loop thread, always, exactly once, also when the lane closes before the work began
 * (then run is skipped and work->cancelled is set). The work struct is embedded in the caller's
 * object; submitting never allocates and never fails.
 * Works of one lane with one thread run in submission order; with more threads in any order. */
#ifndef CUSP_SYS_LANE_H
#define CUSP_SYS_LANE_H

#include "base/list.h"
#include "base/time.h"

struct loop; /* sys/loop.h */
struct lane;

struct lane_work {
    void (*run)(struct lane_work *);
    void (*done)(struct lane_work *);
    bool cancelled;
    struct list link; /* the lane's */
    usec_t queued_at; /* the lane's, for metrics */
};

struct lane_stats {
    const char *name;
    unsigned threads, depth; /* depth: queued + running */
    uint64_t finished;
    usec_t wait_total, run_total; /* sums over finished works */
};

struct lane *lane_new(struct loop *loop, const char *name, unsigned threads);
void lane_submit(struct lane *l, struct lane_work *w);
/* Waits for running works, cancels queued ones, delivers every `done`, frees. Loop thread; not from
 * within a `done` of this lane (post a loop task). */
void lane_close(struct lane *l);
void lane_get_stats(struct lane *l, struct lane_stats *ret);

#endif
