/* readMask of list requests: which fields of each resource are answered (AIP-157). Pure. */
#ifndef CUSP_API_READ_MASK_H
#define CUSP_API_READ_MASK_H

#include "pb/aip.h"
#include "pb/pbmask.h"

/* m NULL or empty, or "*": *ret NULL, everything. INVALID_ARGUMENT on read_mask names a path that
 * the resource does not have. To be used with pb_mask_apply on each resource of the answer. */
int read_mask_parse(struct arena *a, const Google__Protobuf__FieldMask *m,
                    const ProtobufCMessageDescriptor *desc, const struct pb_mask **ret,
                    struct err *err) MUST_CHECK;

#endif
