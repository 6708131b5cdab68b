/* What is known by the published contract and not built: the error says what to do instead. Pure.
 */
#ifndef CUSP_API_UNBUILT_H
#define CUSP_API_UNBUILT_H

#include "base/err.h"
#include "pb/rpc.h"

/* UNIMPLEMENTED, naming the method and the way to the same end here. Returns -1. */
int unbuilt_error(const struct rpc_method *rpc, struct err *err);

#endif
