/* Inside of an exchange, for codecs. A codec calls the xch_* functions below as the request comes
 * in and implements codec_ops for what the handler does with the reply. */
#ifndef CUSP_NET_XCH_INT_H
#define CUSP_NET_XCH_INT_H

#include "base/list.h"
#include "net/xch.h"

struct net_server;

enum reset_why {
    RESET_ABORT, /* the handler gave up a reply it had begun */
    RESET_BUG,   /* the handler broke its promise (length, unfinished) */
};

/* How a protocol carries a reply. Called only while the peer is there; never calls back into the
 * handler from within. h1.c and h2.c each have a table. */
struct codec_ops {
    const char *name;
    /* Once, before any body. length: -1 when unknown. Header views are copied. */
    void (*send_head)(struct xch *, int status, const struct headers *, int64_t length);
    /* Body pieces, copied; more == false ends the message. True: keep going; false: the peer is
     * slow, pause until xch_drained. */
    bool (*send_body)(struct xch *, const struct str *slices, size_t n, bool more);
    /* As send_body with more to come, but without a copy: as many bytes as the peer takes now.
     * Fewer than all: xch_drained follows. False, and nothing was taken: not for this reply.
     * NULL: never. */
    bool (*push)(struct xch *, struct str bytes, size_t *ret_taken);
    /* Ends the message; dropped where the client cannot take them. */
    void (*send_trailers)(struct xch *, const struct headers *);
    /* The rest of the body from a file; takes fd; ends the message. */
    void (*send_file)(struct xch *, int fd, uint64_t offset, uint64_t len);
    /* Sends 101 and passes bytes from then on; false when it cannot. NULL: never. */
    bool (*upgrade)(struct xch *, const struct headers *);
    /* x->credit grew. */
    void (*grant)(struct xch *);
    void (*reset)(struct xch *, enum reset_why);
};

#define XCH_MAGIC 0x78636821u

struct xch {
    unsigned magic;
    unsigned refs; /* the handler's */
    unsigned pins; /* ours, while callbacks run or a notification is due */
    bool held;     /* by the codec: until finished and served, or finished and gone */
    const struct codec_ops *codec;
    void *stream; /* the codec's; NULL once gone or done */
    struct net_server *server;
    struct arena *arena;
    struct xch_head head;
    uint64_t id, door;
    usec_t started_at;
    int status; /* of the reply, once its head was given */

    bool within;    /* another exchange: net/inner.h */
    bool started;   /* the reply's head was given */
    bool finished;  /* the handler is done with it */
    bool one_shot;  /* xch_reply: nothing more of the body will be wanted once the head is sent */
    bool gone;      /* the peer is */
    bool warm_file; /* xch_warm_file, and the peer is on this machine */
    bool endless;   /* the reply: a server that stops does not wait for it */

    struct body_sink sink;
    void *sink_arg;
    bool sink_set, sink_ended;
    bool may_pause; /* no idle limit on the body */
    bool body_done; /* the codec has seen the proper end (at once when there is none) */
    uint64_t credit, max_body, received;
    struct err *body_err; /* due to be told to the sink; in the arena */

    void (*collect_fn)(struct xch *, void *arg, struct str body, const struct err *err);
    void *collect_arg;
    char *collect_room; /* in the arena, for small bodies of known length */
    struct buf collect; /* else */

    void (*gone_fn)(struct xch *, void *arg);
    void *gone_arg;
    void (*drain_fn)(struct xch *, void *arg);
    void *drain_arg;
    bool paused; /* a write returned false */

    struct list notify_link; /* in server->notify while `body_err` or an end is due */
    struct list link;        /* in server->spare while not in use */
};

/* A fresh exchange with an empty arena; the codec fills head, then dispatches. */
struct xch *xch_new(struct net_server *s, const struct codec_ops *codec, void *stream);
void xch_dispatch(struct xch *x); /* calls the handler */
void xch_dispatch_to(struct xch *x, void (*handler)(struct xch *, void *arg), void *arg);
/* Body bytes arrived; consumes credit. After the sink has ended or the handler finished they are
 * dropped. */
void xch_deliver(struct xch *x, struct str bytes);
/* err NULL: the proper end. */
void xch_body_end(struct xch *x, const struct err *err);
/* The sink wants no more (or the exchange is finished): what still comes is to be discarded. */
static inline bool xch_body_unwanted(const struct xch *x) {
    return x->finished || x->sink_ended;
}
void xch_drained(struct xch *x);
/* The peer vanished: tells sink and handler; the codec must not touch x afterwards. */
void xch_lost(struct xch *x);
/* Finished and served: the codec lets go. */
void xch_served(struct xch *x);
/* From the server's task: ends that could not be told from within the handler's own call. */
void xch_notify(struct xch *x);
/* xch_write for a source that keeps what was not taken. Returns how many bytes were; x->paused: go
 * on in on_drain. */
size_t xch_feed(struct xch *x, struct str bytes);
/* Frees the memory of a spare exchange. */
void xch_free_spare(struct xch *x);

#endif
