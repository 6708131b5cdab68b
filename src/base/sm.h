/* Checked state machines: a table of allowed successors, an invariant run after every move, and a
 * trace record. The machine is embedded in its object; names are for traces and messages. */
#ifndef CUSP_BASE_SM_H
#define CUSP_BASE_SM_H

#include "base/check.h"

struct sm_state {
    const char *name;
    uint64_t next; /* bit i set: may move to state i */
    bool terminal;
};

struct sm {
    const struct sm_state *table;
    void (*invariant)(const struct sm *); /* may be NULL; CHECKs */
    const char *what;                     /* "attempt", for traces */
    unsigned id;                          /* of the object, for traces */
    unsigned state;
};

#define SM_TO(x) (UINT64_C(1) << (x))

void sm_init(struct sm *m, const struct sm_state *table, unsigned initial, const char *what,
             unsigned id, void (*invariant)(const struct sm *));
/* CHECKs that the edge exists. */
void sm_move(struct sm *m, unsigned to);
static inline bool sm_may(const struct sm *m, unsigned to) {
    return (m->table[m->state].next >> to) & 1;
}
static inline const char *sm_name(const struct sm *m) {
    return m->table[m->state].name;
}

#endif
