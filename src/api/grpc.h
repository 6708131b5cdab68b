/* gRPC: the second dialect of struct call (docs/internals/grpc.md). Loop thread. */
#ifndef CUSP_API_GRPC_H
#define CUSP_API_GRPC_H

#include "api/call.h"

/* What belongs to all gRPC calls of a server: the streams that are open. */
struct grpc;

struct grpc *grpc_new(struct api *a);
/* After the network is closed. NULL is fine. */
void grpc_free(struct grpc *g);
/* The server is about to stop: streams say their last words (call_listener.closing) and end with
 * UNAVAILABLE; calls whose message is not here yet, and calls that come now, end the same way. */
void grpc_retire(struct grpc *g);
/* Streaming calls now open. */
size_t grpc_nr_streams(const struct grpc *g);

/* Answers and returns true, or false when x is not gRPC. */
bool grpc_handle(struct grpc *g, struct xch *x);
/* Does the client speak gRPC (whatever it asks for)? */
bool grpc_is_spoken(const struct xch *x);
/* A call that is over before it began: the status, in one block of headers. */
void grpc_error(struct xch *x, const struct api_error *e);

#endif
