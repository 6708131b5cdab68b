/* What tests over the memory store have in common: a clock that only moves when told, the store,
 * dice, an arena for what requests point to. */
#ifndef CUSP_TESTS_MEM_RIG_H
#define CUSP_TESTS_MEM_RIG_H

#include "base/arena.h"
#include "base/rng.h"
#include "store/store.h"
#include "vclock.h"

struct mem_rig {
    struct vclock clock;
    struct rng rng;
    struct store *store;
    struct arena *a;
};
void mem_rig_init(struct mem_rig *r);
/* After what used the store has stopped: nothing is left to do for it. */
void mem_rig_fini(struct mem_rig *r);
/* Until nothing happens any more; a chain of up to `turns` requests and timers. */
void mem_rig_settle(struct mem_rig *r, unsigned turns);
/* For the callback of a _stop(): *(bool *)arg. */
void mem_rig_on_stopped(void *arg);

#endif
