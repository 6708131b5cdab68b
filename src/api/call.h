/* CONTRACT. One decoded API request on its way through a handler, and the ways to answer it.
 *
 * Protocol-neutral: rest.c and grpc.c make calls, each with its own struct call_ops, and a handler
 * cannot tell which. Loop thread. A call lives in its exchange's arena and holds a reference to the
 * exchange until it is answered; every handler answers exactly once, with call_reply, one of the
 * call_fail functions, or (streams) call_end. Answering a client that is gone, or one whose
 * deadline passed meanwhile, is harmless and still due. A handler may lend the arena to a store
 * request until its callback; it listens (call_listen) only while it has not. */
#ifndef CUSP_API_CALL_H
#define CUSP_API_CALL_H

#include "api/api.h"
#include "api/error.h"
#include "base/jw.h"
#include "net/xch.h"
#include "pb/pb.h"
#include "pb/violations.h"

struct call;
struct route;
struct rpc_method;
struct call_listener;

/* What a dialect does with an answer. The first two end the call and drop its exchange. */
struct call_ops {
    void (*reply)(struct call *, const ProtobufCMessage *);
    void (*fail)(struct call *, const struct api_error *);
    /* NULL: packed messages mean nothing here. Ends the call. */
    void (*reply_packed)(struct call *, const struct str *parts, size_t nr);
    /* Streams. All NULL in a dialect that has none. */
    bool (*send)(struct call *, const ProtobufCMessage *);
    void (*end)(struct call *);
    void (*listen)(struct call *, const struct call_listener *, void *arg);
    void (*next)(struct call *);
};

struct call {
    const struct call_ops *ops;
    struct api *api;
    struct xch *xch;
    struct arena *arena;
    const struct route *route; /* NULL over gRPC */
    const struct rpc_method *rpc;
    ProtobufCMessage *req;    /* the method's input message, path and query merged in; NULL when the
                                 client streams */
    struct str body;          /* the JSON body as sent, in the arena; empty when there was none */
    struct pb_json_opts json; /* json.mask selects in every dialect; the rest is REST's */
    struct str order_by;      /* query parameter orderBy where the message has none (reference 01
                                 §1) */
    usec_t deadline;          /* mono; USEC_NEVER: the client set none */
};

/* What a handler is given: call->req is of the method's input type. */
typedef void (*call_handler)(struct call *);
/* NULL: known, not built yet. Indexed by enum rpc_id. */
call_handler call_handler_find(unsigned rpc_id);

void call_reply(struct call *c, const ProtobufCMessage *msg);
/* For answers that are stored packed: true where call_reply_packed will do (not when the client
 * asked for some fields only). The parts one after the other are the message's bytes: by the rules
 * of the format later parts win over earlier ones, field by field. */
bool call_takes_packed(const struct call *c);
void call_reply_packed(struct call *c, const struct str *parts, size_t nr);

/* INTERNAL texts are logged and replaced by a generic sentence with the request id. */
void call_fail(struct call *c, const struct err *err);
/* "List of found errors:\t1.Field: …; Message: ….\t" (reference 10 §8). */
void call_fail_violations(struct call *c, const struct violations *v);
/* What could not be decoded: the same details, the message as plain sentences. */
void call_fail_decoding(struct call *c, const struct err *err, const struct violations *v);
/* With details of the handler's own (api/error.h). */
void call_fail_error(struct call *c, const struct api_error *e);

/* ---- streams, for methods whose contract says so. None of the listener's functions is called from
 * within a call_* function. */
struct call_listener {
    /* After call_send said false: the client has caught up. May be NULL. */
    void (*drained)(struct call *, void *arg);
    /* Once, when nobody waits for the call any more: client gone, or deadline passed. The call is
     * still to be ended, now or later. May be NULL. */
    void (*cancelled)(struct call *, void *arg);
    /* The server is about to stop: last words may be sent, the call is then ended UNAVAILABLE by
     * itself and `cancelled` follows. May be NULL. */
    void (*closing)(struct call *, void *arg);
    /* One message of a streaming client, asked for by call_next; NULL: it has sent all it will. May
     * be NULL where clients do not stream. msg is in a buffer of its own that is used again after
     * the next call_next. */
    void (*message)(struct call *, void *arg, const ProtobufCMessage *msg);
};
/* Before giving the loop back. */
void call_listen(struct call *c, const struct call_listener *l, void *arg);
/* Asks for one message of a streaming client. Not while one is asked for. */
void call_next(struct call *c);
/* Queues one message of the answer. False: the client is slow, send no more until drained (what was
 * given is sent all the same). */
bool call_send(struct call *c, const ProtobufCMessage *msg);
/* The end of a stream, status OK. */
void call_end(struct call *c);

/* ---- requests that never became a call: the error in the client's own language. */
void reply_error(struct xch *x, const struct err *err);
/* JSON text with the usual headers. */
void reply_json(struct xch *x, int http_status, struct str json);

#endif
