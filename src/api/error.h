/* What an error is on the wire, in whatever dialect: a google.rpc.Status with its details. REST
 * shows them as JSON (reference 10 §8), gRPC as grpc-status, grpc-message and
 * grpc-status-details-bin; both from here. Pure data in an arena; one thread at a time. */
#ifndef CUSP_API_ERROR_H
#define CUSP_API_ERROR_H

#include "base/arena.h"
#include "base/err.h"
#include "pb/violations.h"

#include <protobuf-c/protobuf-c.h>

#define API_ERROR_DETAILS_MAX 8

struct api_error {
    enum err_code code;
    struct str message;
    /* google.rpc.BadRequest, ErrorInfo, RetryInfo ...; views, as long-lived as what they were made
     * from. */
    const ProtobufCMessage *details[API_ERROR_DETAILS_MAX];
    size_t nr_details;
};

/* From our own error value. One with a field gets a BadRequest that names it. err must live as long
 * as *ret is used; what is made is in the arena. */
void api_error_from(struct arena *a, const struct err *err, struct api_error *ret);
/* INVALID_ARGUMENT with all of vs as its BadRequest; message is the caller's. */
void api_error_from_violations(struct arena *a, const struct violations *vs, struct str message,
                               struct api_error *ret);
/* "Try again after this long": google.rpc.RetryInfo. For refusals that pass by themselves. */
void api_error_add_retry(struct arena *a, struct api_error *e, uint64_t after_usec);
/* Past API_ERROR_DETAILS_MAX a detail is dropped. */
void api_error_add(struct api_error *e, const ProtobufCMessage *detail);

/* INTERNAL, UNKNOWN and DATA_LOSS: their text may hold host paths. */
bool api_error_is_private(enum err_code code);

#endif
