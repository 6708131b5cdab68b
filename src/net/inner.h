/* A request within a request: what a batch body holds is given to an ordinary handler as an
 * exchange of its own, and the reply comes back as bytes instead of going to a peer. Loop thread
 * only. */
#ifndef CUSP_NET_INNER_H
#define CUSP_NET_INNER_H

#include "base/buf.h"
#include "net/xch.h"
#include "sys/loop.h"

struct inner {
    /* in; views must live until done */
    struct str method, path, query, body; /* path raw, without query */
    struct headers headers;               /* names lower-case */
    size_t max_reply;                     /* bytes; more makes the reply broken */
    void (*done)(struct inner *);         /* once, never from within inner_run */
    void *arg;
    /* out */
    int status;
    struct headers reply_headers;
    struct buf reply;
    bool broken; /* the handler broke off, sent a file, or sent more than max_reply */
    /* the module's */
    struct xch *x;
    struct arena *arena;
    struct loop *loop;
    struct loop_task task;
    size_t delivered;
    bool body_over, over;
};

/* Scheme, authority and peer are the outer exchange's, which must live until done. */
void inner_run(struct inner *in, struct xch *outer, void (*handler)(struct xch *, void *arg),
               void *arg);
void inner_fini(struct inner *in);

#endif
