/* Whose turn it is to do TLS handshake work, which costs a good part of a millisecond each: a few a
 * turn of the loop, first come first served, so that a flood of new clients delays itself and not
 * the requests of those already in; and at most max_tls_handshakes begun and not complete, later
 * ones wait as the few bytes they sent. Loop thread only. */
#ifndef CUSP_NET_HANDSHAKES_H
#define CUSP_NET_HANDSHAKES_H

#include "base/list.h"
#include "sys/loop.h"

struct conn;

struct handshakes {
    struct loop *loop;
    struct list due;     /* have a place, or may find one */
    struct list waiting; /* no place */
    struct loop_task task;
    uint64_t open;
    uint64_t done, resumed, failed; /* totals, for metrics */
};

void handshakes_init(struct handshakes *h, struct loop *l);
void handshakes_fini(struct handshakes *h);
/* Bytes are there for it: it will run with has_turn set. */
void handshakes_want(struct conn *c);
/* Complete or not, it works no more. Harmless for connections that never began. */
void handshakes_done(struct conn *c, bool ok);

#endif
