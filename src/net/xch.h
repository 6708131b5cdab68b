/* CONTRACT. One request/response exchange, whatever the protocol (h1 now; h2, gRPC, WebSocket add
 * codecs).
 *
 * Life: the codec makes it when a request head is complete and calls the server's handler once, on
 * the loop thread. The handler must finish it exactly once (xch_reply, or xch_start ... xch_end, or
 * xch_abort), now or later. Handlers that finish later take a reference (xch_ref) or rely on the
 * codec's own, which lasts until the exchange is finished AND the peer has been served or is gone.
 * After the peer vanished (on_gone called) all reply functions are harmless no-ops; the exchange
 * must still be finished. A handler that took references and drops its last one unfinished has a
 * bug: 500 is replied (a started reply is broken off) and the bug is logged. A peer that ends its
 * side of the connection while a request is running counts as gone (there is no telling a
 * half-close from a vanished client). Finishing twice, or writing before xch_start, is logged and
 * ignored. Everything here: loop thread only. */
#ifndef CUSP_NET_XCH_H
#define CUSP_NET_XCH_H

#include "base/arena.h"
#include "base/err.h"
#include "base/time.h"

struct xch;

struct header {
    struct str name, value; /* name lower-case as received by xch_head (codecs lower it) */
};

struct headers {
    struct header *p;
    size_t n;
};

struct xch_head {
    struct str method;    /* "GET" */
    struct str scheme;    /* "http" | "https" */
    struct str authority; /* Host header as sent: clients want it back in absolute URLs */
    struct str path;      /* raw, percent-encoded, without query; starts with '/' */
    struct str query;     /* raw, without '?'; .p NULL when there was none */
    struct headers headers;
    int64_t content_length; /* -1 unknown (chunked) */
    bool has_body;
    struct str peer; /* "127.0.0.1:5555" */
};

const struct xch_head *xch_head(const struct xch *x);
/* First value of a header (lower-case name); .p NULL when absent. */
struct str xch_header(const struct xch *x, const char *lower_name);
/* Dies with the exchange. Bounded by limits.max_message_bytes. */
struct arena *xch_arena(struct xch *x);
uint64_t xch_door(const struct xch *x);     /* by which it came (net_door_open); 0: the listener */
uint64_t xch_id(const struct xch *x);       /* request id for logs and replies */
usec_t xch_started_at(const struct xch *x); /* mono */
/* HTTP/2: replies can end in trailers, and the stream can be reset without the connection. */
bool xch_is_h2(const struct xch *x);

struct xch *xch_ref(struct xch *x);
void xch_unref(struct xch *x);

/* Called once if the peer goes away (or the server closes) before the exchange is finished. Set it
 * before giving the loop back: once the peer is gone (xch_is_gone) it is not called any more. */
void xch_on_gone(struct xch *x, void (*fn)(struct xch *, void *arg), void *arg);
bool xch_is_gone(const struct xch *x);

/* ---- request body. No byte is read from the peer until a handler asks: credit starts at zero.
 * "Expect: 100-continue" is answered at the first grant. An exchange finished without reading its
 * body: the codec discards up to a small amount to keep the connection, else closes it. */
struct body_sink {
    /* Bytes arrived; the view is valid only during the call. The sink takes all of them. */
    void (*data)(struct xch *, void *arg, struct str bytes);
    /* Exactly once: err == NULL at the proper end, else why it broke off (RESOURCE_EXHAUSTED too
     * large, CANCELLED peer gone, INVALID_ARGUMENT bad framing, DEADLINE_EXCEEDED idle). After this
     * no more calls. The one exception: a handler that finishes the exchange first has dropped its
     * sink, and neither function is called any more. Never called from within the handler's own
     * calls. */
    void (*end)(struct xch *, void *arg, const struct err *err);
    /* May be NULL. Where the next bytes may be put, and for how many there is room; NULL: nowhere
     * now. What comes is then read straight into it and given to `data` as a view that begins
     * there: nothing needs copying. A hint: any bytes may come the other way as well. */
    char *(*room)(struct xch *, void *arg, size_t *ret_n);
};
/* max_bytes: past it `end` gets RESOURCE_EXHAUSTED naming the limit (HTTP 413 is the caller's). */
void xch_read_body(struct xch *x, uint64_t max_bytes, const struct body_sink *sink, void *arg);
/* Permits `bytes` more body bytes to be delivered (sums up). Streaming sinks grant as they drain.
 */
void xch_grant(struct xch *x, uint64_t bytes);
/* The client of this exchange speaks when it has something to say (a stream of messages): no
 * body_idle_timeout_ms. The caller bounds how many such exchanges there are. */
void xch_body_may_pause(struct xch *x);
/* Convenience: collects the whole body into the exchange's arena. */
void xch_collect_body(struct xch *x, uint64_t max_bytes,
                      void (*fn)(struct xch *, void *arg, struct str body, const struct err *err),
                      void *arg);

/* ---- reply. The codec adds Content-Length or chunking, Date, Connection; handlers never do.
 * Header views are copied. HEAD requests: body bytes are swallowed, the length is kept. */
void xch_reply(struct xch *x, int status, const struct header *h, size_t nr_h, struct str body);
/* Streaming: length -1 = unknown. */
void xch_start(struct xch *x, int status, const struct header *h, size_t nr_h, int64_t length);
/* Copies and queues. Returns false when the peer is slow and the source should pause until
 * on_drain (bytes given are queued all the same). */
bool xch_write(struct xch *x, struct str bytes);
void xch_on_drain(struct xch *x, void (*fn)(struct xch *, void *arg), void *arg);
/* Sends [offset, offset+len) of fd (sendfile where TLS is off; large files that are not in memory
 * are read by the server's lane: net/cold.h). The fd is duplicated, the caller may close its own.
 * Then the exchange ends by itself as if xch_end were called; functions given to xch_on_gone and
 * xch_on_drain are not called any more. */
void xch_send_file(struct xch *x, int fd, uint64_t offset, uint64_t len);
/* Before it: what is sent to a peer on this machine goes through memory, not by sendfile. For peers
 * that compute on what they read: they find the bytes in the processor's cache, where sendfile
 * leaves them a page after the other in the file's (a pull of 1 GB by skopeo: 2.4 s of system time
 * in the client and 0.2 s here by sendfile, 1.9 and 0.4 s so). */
void xch_warm_file(struct xch *x);
void xch_end(struct xch *x);
/* xch_end with trailers (HTTP/2; HTTP/1.1 only when the reply is chunked and the client said
 * "TE: trailers", else they are dropped). A reply without a body carries them in its one block of
 * headers. */
void xch_end_trailers(struct xch *x, const struct header *h, size_t nr_h);
/* Another protocol on this connection: replies 101 with these headers ("upgrade" among them) and
 * makes the exchange a tunnel. From now on xch_read_body and xch_grant deliver what the peer sends,
 * xch_write sends bytes as they are, and xch_end closes the connection. False, and nothing was
 * sent, where there is no such thing: HTTP/2, HTTP/1.0, a request with a body. */
bool xch_upgrade(struct xch *x, const struct header *h, size_t nr_h);
/* This reply ends when something else does, perhaps never: a server that stops breaks it off at
 * once (the peer sees that it is not whole, on_gone is called) instead of waiting for it. */
void xch_reply_is_endless(struct xch *x);
/* Breaks the connection/stream off: a started reply that cannot be completed honestly. */
void xch_abort(struct xch *x);

#endif
