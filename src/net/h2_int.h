/* Inside of the HTTP/2 codec: what a connection and a stream are, for the three files that share
 * them. h2.c keeps the session and the time, h2_request.c takes requests apart, h2_reply.c makes
 * replies. Loop thread only. */
#ifndef CUSP_NET_H2_INT_H
#define CUSP_NET_H2_INT_H

#include "net/conn.h"
#include "net/h2.h"
#include "net/net_int.h"
#include "net/xch_int.h"

#include <nghttp2/nghttp2.h>

struct h2 {
    struct conn *conn;
    nghttp2_session *session;
    struct list streams;
    unsigned nr_bodies;  /* streams with a request body */
    bool settled;        /* the client's SETTINGS came: it speaks HTTP/2 */
    bool full;           /* frames are waiting for the socket */
    bool granted;        /* credit was given since bodies were last looked at */
    bool draining;       /* GOAWAY is sent or received */
    uint64_t broken_off; /* requests that ended without a reply; forgiven by the second */
    usec_t broken_at;    /* when that was last reckoned */
    usec_t opened_at, idle_since, head_since; /* head_since: 0 when no head is half here */
};

struct stream {
    struct h2 *h;
    struct xch *x;
    int32_t id;
    struct list link;

    /* request */
    size_t head_bytes, headers_max;
    const char *refused; /* what is wrong with the head; then status and limit tell more */
    int refused_status;
    const char *limit_name;
    const uint64_t *limit;
    bool dispatched, has_body, in_end, expect;
    struct buf in; /* came before there was credit; at most STREAM_WINDOW */
    usec_t body_since;

    /* reply */
    nghttp2_nv *head; /* in the arena until submitted */
    size_t nr_head;
    bool head_due, no_body, ended;
    int64_t out_left; /* of the promised length; -1 */
    struct buf out;   /* queued bytes are out.p[out_at..out.n) */
    size_t out_at;
    int file; /* sent after them; -1 */
    uint64_t file_at, file_left;
    nghttp2_nv *trailers;
    size_t nr_trailers;
    usec_t out_since; /* when bytes last moved on to the client */
};

static inline usec_t h2_mono(const struct h2 *h) {
    struct clock *c = h->conn->server->clock;
    return c->ops->mono(c);
}

static inline size_t h2_queued(const struct stream *st) {
    return st->out.n - st->out_at;
}

static inline void h2_reset_stream(struct stream *st, uint32_t code) {
    (void)nghttp2_submit_rst_stream(st->h->session, NGHTTP2_FLAG_NONE, st->id, code);
    conn_kick(st->h->conn);
}

/* ---- requests */

/* nghttp2's callback, a header of a head that is coming in. */
int h2_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                 size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg);
/* The head is there: the handler is called, or the head is refused. */
void h2_head_complete(struct stream *st, bool has_body);
/* Body bytes came: delivered as far as there is credit, else held. */
void h2_take_body(struct stream *st, struct str bytes);
/* Delivers what was held, now that there is credit or nobody wants it. */
void h2_pump_body(struct stream *st);
/* Tells the proper end of the body once all of it is delivered. */
void h2_end_body(struct stream *st);

/* ---- replies */

extern const struct codec_ops h2_ops;
/* Hands the head of a reply to nghttp2, with what is known of its body by now. */
void h2_submit_head(struct stream *st);

#endif
