#include "mem_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

void mem_rig_init(struct mem_rig *r) {
    vclock_init(&r->clock);
    r->clock.wall_offset = 1000000;
    rng_seed(&r->rng, 7);
    r->store = store_mem_new(NULL);
    r->a = arena_new(ARENA_NO_MAX);
}

void mem_rig_fini(struct mem_rig *r) {
    r->store->ops->close(r->store, NULL, NULL);
    assert_false(store_mem_step(r->store));
    arena_free(r->a);
    vclock_fini(&r->clock);
}

void mem_rig_settle(struct mem_rig *r, unsigned turns) {
    for (unsigned i = 0; i < turns; i++) {
        while (store_mem_step(r->store)) {
        }
        vclock_advance(&r->clock, 0);
    }
}

void mem_rig_on_stopped(void *arg) {
    *(bool *)arg = true;
}
