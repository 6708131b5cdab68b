/* Checked state machines. */
#include "base/sm.h"
#include "base/trace.h"

void sm_init(struct sm *m, const struct sm_state *table, unsigned initial, const char *what,
             unsigned id, void (*invariant)(const struct sm *)) {
    *m = (struct sm){table, invariant, what, id, initial};
}

void sm_move(struct sm *m, unsigned to) {
    trace_put("%s %u: %s -> %s", m->what, m->id, sm_name(m), m->table[to].name);
    CHECK(sm_may(m, to));
    m->state = to;
    if (m->invariant) {
        m->invariant(m);
    }
}
