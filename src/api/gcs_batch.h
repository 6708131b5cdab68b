/* Batches: the pure part. */
#ifndef CUSP_API_GCS_BATCH_H
#define CUSP_API_GCS_BATCH_H

#include "base/arena.h"
#include "base/err.h"
#include "net/xch.h"

#define BATCH_MAX 100 /* requests of one batch, as the real service */

/* Views of the body and of the arena; names of headers are lower-case. */
struct batch_request {
    struct str method, path, query, body, content_id;
    struct headers headers;
};

/* out has room for BATCH_MAX. INVALID_ARGUMENT for anything but a well-formed batch; uploads,
 * downloads and batches within batches are refused too. Any thread. */
int gcs_batch_parse(struct arena *a, struct str content_type, struct str body,
                    struct batch_request *out, size_t *ret_n, struct err *err);

#endif
