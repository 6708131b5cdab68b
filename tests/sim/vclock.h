/* A clock that only moves when it is told to: the earliest timer fires, and that is the time. */
#ifndef CUSP_TESTS_VCLOCK_H
#define CUSP_TESTS_VCLOCK_H

#include "base/time.h"

struct vclock {
    struct clock base; /* first */
    struct heap timers;
    usec_t now; /* mono */
    usec_t wall_offset;
};

void vclock_init(struct vclock *v);
void vclock_fini(struct vclock *v);
bool vclock_fire_next(struct vclock *v); /* false: no timer is armed */
/* Fires everything due up to now + d, then stands there. */
void vclock_advance(struct vclock *v, usec_t d);

#endif
