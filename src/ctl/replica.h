/* One container of an attempt: what is known of it. Facts only; moved by the attempt's apply.
 *
 *   NONE ──► UP ──► EXITED        waits in NONE for the engine to start it, in UP for its end
 *     │       └───► LOST
 *     ├───────────► EXITED        its start was not seen (server was down) or the runtime refused
 * it └───────────► LOST */
#ifndef CUSP_CTL_REPLICA_H
#define CUSP_CTL_REPLICA_H

#include "base/sm.h"
#include "ctl/events.h"
#include "ctl/outcome.h"

enum replica_state { REPLICA_NONE = 0, REPLICA_UP, REPLICA_EXITED, REPLICA_LOST };

struct replica {
    struct sm sm;
    usec_t started_at;
    struct exit_info *exit; /* EXITED; owned */
    char *why;              /* LOST; owned, may be NULL */
    bool never_started;     /* LOST from NONE with NOT_FOUND */
    bool own_end;           /* ended before anything was told to stop: its end means something */
    /* Memory only, cleared by a restart: */
    int signalled; /* last signal handed to the engine */
    bool reported; /* the engine has spoken of it since reattach */
    bool missing;  /* ... and said that its directory was never created */
};

void replica_init(struct replica *r, unsigned id);
void replica_fini(struct replica *r);
/* Applies the event to the replica; a repeat of what is known changes nothing. own: see own_end. */
void replica_apply(struct replica *r, const struct event *ev, bool own);
static inline bool replica_has_ended(const struct replica *r) {
    return r->sm.state >= REPLICA_EXITED;
}
struct ending replica_ending(const struct replica *r, bool is_primary);

#endif
