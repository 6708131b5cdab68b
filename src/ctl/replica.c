/* Replica facts. */
#include "ctl/replica.h"

#include "base/mem.h"

static const struct sm_state states[] = {
    [REPLICA_NONE] = {"none", SM_TO(REPLICA_UP) | SM_TO(REPLICA_EXITED) | SM_TO(REPLICA_LOST),
                      false},
    [REPLICA_UP] = {"up", SM_TO(REPLICA_EXITED) | SM_TO(REPLICA_LOST), false},
    [REPLICA_EXITED] = {"exited", 0, true},
    [REPLICA_LOST] = {"lost", 0, true},
};

static void invariant(const struct sm *sm) {
    const struct replica *r = CONTAINER_OF(sm, struct replica, sm);
    CHECK((sm->state == REPLICA_EXITED) == (r->exit != NULL));
    CHECK(!r->never_started || (sm->state == REPLICA_LOST && !r->started_at));
}

void replica_init(struct replica *r, unsigned id) {
    *r = (struct replica){0};
    sm_init(&r->sm, states, REPLICA_NONE, "replica", id, invariant);
}

void replica_fini(struct replica *r) {
    free(r->exit);
    free(r->why);
}

void replica_apply(struct replica *r, const struct event *ev, bool own) {
    if (replica_has_ended(r)) {
        return;
    }
    if (ev->type == EV_REPLICA_STARTED) {
        if (r->sm.state == REPLICA_NONE) {
            r->started_at = ev->started_at ? ev->started_at : ev->time;
            sm_move(&r->sm, REPLICA_UP);
        }
        return;
    }
    r->own_end = own;
    if (ev->type == EV_REPLICA_EXITED) {
        r->exit = xmalloc(sizeof(*r->exit));
        *r->exit = *ev->exit;
        sm_move(&r->sm, REPLICA_EXITED);
        return;
    }
    CHECK(ev->type == EV_REPLICA_LOST);
    r->never_started = r->sm.state == REPLICA_NONE && ev->code == ERR_NOT_FOUND;
    r->why = xstrdup(ev->msg);
    sm_move(&r->sm, REPLICA_LOST);
}

struct ending replica_ending(const struct replica *r, bool is_primary) {
    return (struct ending){.is_primary = is_primary,
                           .is_lost = r->sm.state == REPLICA_LOST,
                           .never_started = r->never_started,
                           .x = r->exit};
}
