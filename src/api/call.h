/* One decoded API request on its way through a handler, and the ways to answer it.
 * Protocol-neutral: REST makes them today, gRPC will. Loop thread. A call lives in its exchange's
 * arena and holds a reference to the exchange until it is answered; every handler answers exactly
 * once. */
#ifndef CUSP_API_CALL_H
#define CUSP_API_CALL_H

#include "api/api.h"
#include "base/jw.h"
#include "net/xch.h"
#include "pb/pb.h"
#include "pb/violations.h"

struct route;
struct rpc_method;

struct call {
    struct api *api;
    struct xch *xch;
    struct arena *arena;
    const struct route *route;
    const struct rpc_method *rpc;
    ProtobufCMessage *req; /* the method's input message, path and query merged in */
    struct str body;       /* the JSON body as sent, in the arena; empty when there was none */
    struct pb_json_opts json;
    struct str order_by; /* query parameter orderBy where the message has none (reference 01 §1) */
};

/* What a handler is given: call->req is of the method's input type. */
typedef void (*call_handler)(struct call *);
/* NULL: known, not built yet. Indexed by enum rpc_id. */
call_handler call_handler_find(unsigned rpc_id);

void call_reply(struct call *c, const ProtobufCMessage *msg);
/* INTERNAL texts are logged and replaced by a generic sentence with the request id. */
void call_fail(struct call *c, const struct err *err);
/* "List of found errors:\t1.Field: …; Message: ….\t" (reference 10 §8). */
void call_fail_violations(struct call *c, const struct violations *v);

/* What could not be decoded: the same details, the message as plain sentences. */
void call_fail_decoding(struct call *c, const struct err *err, const struct violations *v);

/* The same error form for requests that never became a call. */
void reply_error(struct xch *x, const struct err *err);
/* JSON text with the usual headers. */
void reply_json(struct xch *x, int http_status, struct str json);

#endif
