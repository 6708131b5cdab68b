/* The HTTP/1.1 codec of one connection: heads and bodies in, replies out, strictly one exchange at
 * a time (pipelined requests wait as bytes, so replies are in order by construction). The
 * connection (net/conn.h) reads, flushes and keeps the time; the codec says what it wants next. */
#ifndef CUSP_NET_H1_H
#define CUSP_NET_H1_H

#include "net/h1_parse.h"
#include "net/xch_int.h"

struct conn;

enum h1_reading {
    H1_HEAD,    /* of the next request */
    H1_BODY,    /* of x: delivered by credit, or discarded */
    H1_WAITING, /* the request is in; the reply is the handler's business */
    H1_ENDED,   /* nothing more will be read as HTTP */
};

struct h1 {
    struct conn *conn;
    enum h1_reading reading;
    struct h1_scan scan;
    struct h1_parse parse;
    struct xch *x; /* NULL in H1_HEAD and H1_ENDED */
    unsigned blank_lines;
    bool first; /* no request yet on this connection */
    bool
        blocked; /* complete input may be there, but output must drain first (or others go first) */
    usec_t head_since, idle_since, body_since;

    /* of x */
    bool keep_alive, expect, head_only;
    bool replied; /* head sent */
    bool chunked_out, no_body;
    bool tunnel;      /* 101 was sent: bytes pass both ways until x is finished */
    int64_t out_left; /* of a reply with a length; -1 */
    uint64_t discarded;
    bool broken_body; /* framing is lost, or the rest is too much to discard */
};

void h1_open(struct h1 *h, struct conn *c, usec_t now);
/* Takes what it can; returns how many bytes. The rest is to be shown again, with more. */
size_t h1_input(struct h1 *h, struct str bytes, usec_t now);
/* How many bytes are worth reading now; `held`: bytes shown and not taken. */
size_t h1_want(const struct h1 *h, size_t held);
/* Where the sink of a large body wants the next bytes, and how many; NULL: in the shared room. Only
 * with nothing held. */
char *h1_room(struct h1 *h, size_t *ret_n);
/* The peer will send no more. */
void h1_eof(struct h1 *h, size_t held);
/* The connection is being closed, whoever wanted it. */
void h1_close(struct h1 *h);
void h1_drained(struct h1 *h);
/* When the peer must have sent something; USEC_NEVER when it is not its turn. */
usec_t h1_deadline(const struct h1 *h, size_t held);
void h1_timeout(struct h1 *h, size_t held);
/* Between requests. */
static inline bool h1_is_idle(const struct h1 *h) {
    return h->reading == H1_HEAD && !h->blocked;
}
/* In a reply without an end of its own. */
bool h1_is_endless(const struct h1 *h);

#endif
