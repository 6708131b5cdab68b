/* The queue of TLS handshakes. */
#include "net/handshakes.h"

#include "base/limits.h"
#include "net/conn.h"
#include "net/net_int.h"

#define WORK_A_TURN 2

static void give_turns(struct loop_task *t) {
    struct handshakes *h = CONTAINER_OF(t, struct handshakes, task);
    for (unsigned i = 0; i < WORK_A_TURN && !list_is_empty(&h->due);) {
        struct conn *c = list_first(&h->due, struct conn, turn_link);
        list_del(&c->turn_link);
        if (!c->in_handshake && h->open >= limits.max_tls_handshakes) {
            limits_hit(&limits.max_tls_handshakes);
            list_push_tail(&h->waiting, &c->turn_link);
            continue;
        }
        h->open += !c->in_handshake;
        c->in_handshake = c->has_turn = true;
        i++;
        conn_run(c); /* may free it */
    }
    if (!list_is_empty(&h->due)) {
        loop_post(h->loop, &h->task);
    }
}

void handshakes_init(struct handshakes *h, struct loop *l) {
    h->loop = l;
    list_init(&h->due);
    list_init(&h->waiting);
    loop_task_init(&h->task, give_turns);
}

void handshakes_fini(struct handshakes *h) {
    loop_unpost(h->loop, &h->task);
}

void handshakes_want(struct conn *c) {
    struct handshakes *h = &c->server->handshakes;
    if (list_is_empty(&c->turn_link)) {
        list_push_tail(&h->due, &c->turn_link);
        loop_post(h->loop, &h->task);
    }
}

void handshakes_done(struct conn *c, bool ok) {
    struct handshakes *h = &c->server->handshakes;
    list_del(&c->turn_link);
    if (!c->in_handshake) {
        return;
    }
    c->in_handshake = false;
    h->open--;
    h->done += ok;
    h->failed += !ok;
    h->resumed += ok && tls_was_resumed(c->t.tls);
    if (!list_is_empty(&h->waiting)) {
        struct conn *next = list_first(&h->waiting, struct conn, turn_link);
        list_del(&next->turn_link);
        handshakes_want(next);
    }
}
