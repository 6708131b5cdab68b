/* Multipart uploads of the XML API: the pure part. */
#ifndef CUSP_API_GCS_PARTS_H
#define CUSP_API_GCS_PARTS_H

#include "base/arena.h"
#include "base/err.h"
#include "blob/blob.h"

/* Number and MD5 of each part the body names, in its order, in the arena; at least one, at most
 * BLOB_PARTS_MAX. INVALID_ARGUMENT with field MalformedCompleteMultipartUpload. Any thread. */
int gcs_parse_parts(struct arena *a, struct str body, struct blob_part **ret, size_t *ret_n,
                    struct err *err);

#endif
