/* An error as gRPC sends it: grpc-status, grpc-message, grpc-status-details-bin. Pure. */
#ifndef CUSP_API_GRPC_STATUS_H
#define CUSP_API_GRPC_STATUS_H

#include "api/error.h"
#include "net/xch.h"

#define GRPC_STATUS_HEADERS 3 /* at most */

/* Clients refuse metadata of more than some 8 KiB and then show that instead of the error. So the
 * message is cut to this many bytes and violations are left out, the last first, while the details
 * need more than that. */
#define GRPC_MESSAGE_MAX 1500
#define GRPC_DETAILS_MAX 2400

/* Fills h; returns how many. Texts are in the arena. */
size_t grpc_status_headers(struct arena *a, const struct api_error *e,
                           struct header h[GRPC_STATUS_HEADERS]);

#endif
