/* Private to src/api/gcs*.c: one call of the Cloud Storage API. */
#ifndef CUSP_API_GCS_INT_H
#define CUSP_API_GCS_INT_H

#include "api/gcs.h"
#include "api/gcs_range.h"
#include "base/buf.h"
#include "blob/blob.h"

#define GCS_BUFFER                                                                                 \
    (512u << 10) /* each transfer has two; larger ones fall out of the processor's cache */

struct api_gcs {
    struct blob *blob;
};

/* Query parameters, decoded once. Unknown ones are ignored, as by the real service. */
struct gcs_query {
    struct str project, name, prefix, delimiter, page_token, start_offset, end_offset, upload_type,
        upload_id, alt;
    struct str max_results, generation, projection;
    struct blob_precond pre;
};

/* One call. Holds a reference to its exchange and a request of its own; freed by gcs_call_free. */
struct gcs_call {
    struct api_gcs *g;
    struct xch *x;
    struct arena *a; /* the exchange's */
    struct gcs_query q;
    struct str bucket, name; /* decoded path */
    struct blob_req req;
};

struct gcs_call *gcs_call_new(struct api_gcs *g, struct xch *x);
void gcs_call_free(struct gcs_call *c);

/* ---- gcs_json.c ---- */
/* 507 for a full disk: official clients report it at once, where 429 and 503 make them try again.
 */
int gcs_error_status(const struct err *err, const char **ret_reason);
void gcs_reply_err(struct xch *x, const struct err *err);
void gcs_reply_json(struct xch *x, int status, const struct buf *b);
void gcs_reply_empty(struct xch *x, int status);
/* "http://HOST" as the client named us. */
void gcs_base_url(struct buf *b, const struct xch *x);
void gcs_put_object(struct buf *b, const struct xch *x, const struct blob_meta *m);
void gcs_put_bucket(struct buf *b, const struct xch *x, const struct blob_bucket *k);
void gcs_put_list(struct buf *b, const struct xch *x, const struct blob_req *r);
void gcs_put_buckets(struct buf *b, const struct xch *x, const struct blob_req *r);
/* Fills put (name, type, custom metadata, hashes) from an object resource; empty text is fine. */
int gcs_parse_object(struct arena *a, struct str json, struct blob_put *put, struct err *err);
int gcs_parse_bucket(struct arena *a, struct str json, struct str *ret_name,
                     struct str *ret_location, struct str *ret_class, struct err *err);
void gcs_put_hashes(struct buf *b, const struct blob_meta *m); /* x-goog-hash value */

/* ---- gcs_query.c ---- */
int gcs_parse_query(struct arena *a, struct str raw, struct gcs_query *ret, struct err *err);

/* ---- gcs_upload.c: takes the call over ---- */
void gcs_upload(struct gcs_call *c);
/* ---- gcs_download.c: takes the call over; meta_only answers JSON ---- */
void gcs_download(struct gcs_call *c);

#endif
