/* Private to src/api/gcs*.c: one call of the Cloud Storage API. */
#ifndef CUSP_API_GCS_INT_H
#define CUSP_API_GCS_INT_H

#include "api/gcs.h"
#include "api/gcs_range.h"
#include "api/gcs_retry.h"
#include "base/buf.h"
#include "blob/blob.h"
#include "net/packed_body.h"

#define GCS_PIECE (1u << 20) /* of an upload's bytes: a write to the disk */
#define GCS_PIECES 4         /* of one upload; made when needed */

#define GCS_COMPOSE_MAX 32 /* source objects of one compose */

struct json_t;

struct api_gcs {
    struct blob *blob;
    struct store *store;     /* HMAC keys */
    const char *data_dir;    /* signing-keys */
    struct gcs_retry *retry; /* NULL unless tests asked for it */
};

/* Query parameters, decoded once. Unknown ones are ignored, as by the real service. */
struct gcs_query {
    struct str project, name, prefix, delimiter, page_token, start_offset, end_offset, upload_type,
        upload_id, alt, match_glob, rewrite_token, content_encoding, account, raw;
    struct str marker, start_after, continuation, list_type, max_keys; /* XML */
    struct str multipart_id, part_number, max_parts, part_marker;
    struct str max_uploads, key_marker, upload_marker;
    struct str response_type, response_disposition; /* XML: instead of what is recorded */
    struct str max_results, generation, projection, source_generation, max_rewritten;
    bool trailing_delimiter, soft_deleted;
    struct blob_precond pre, src_pre;
};

/* One call. Holds a reference to its exchange and a request of its own; freed by gcs_call_free. */
struct gcs_call {
    struct api_gcs *g;
    struct xch *x;
    struct arena *a; /* the exchange's */
    struct gcs_query q;
    struct str bucket, name; /* decoded path */
    uint64_t part;           /* of a multipart upload; 0: none */
    struct gcs_fault fault;
    bool is_xml;
    void (*next)(struct gcs_call *);                 /* after the signature was checked */
    struct str why_not, why_canonical;               /* XML errors about a signature show both */
    struct str body;                                 /* of an edit: the JSON as it came */
    bool is_update;                                  /* PUT, which replaces; PATCH merges */
    void (*start)(struct blob *, struct blob_req *); /* after the body: gcs_edit */
    struct blob_req req;
};

struct gcs_call *gcs_call_new(struct api_gcs *g, struct xch *x);
void gcs_call_free(struct gcs_call *c);

/* A handler's first line in a callback: NULL (and the call is answered) when err says so. */
struct gcs_call *gcs_call_of(struct blob_req *r, const struct err *err);
void gcs_fail(struct gcs_call *c, const struct err *err);       /* answers and frees */
void gcs_answer_err(struct gcs_call *c, const struct err *err); /* in the call's dialect */
void gcs_not_built(struct gcs_call *c);
/* Collects the body into c->body, sets the edit and its callback, and starts it. */
void gcs_edit(struct gcs_call *c, int (*edit)(struct blob_req *, struct err *),
              void (*cb)(struct blob_req *, const struct err *),
              void (*start)(struct blob *, struct blob_req *));
/* 204 without a body: the callback of whatever deletes. */
void gcs_gone_out(struct blob_req *r, const struct err *err);
/* max and page_token of a list from the query. */
int gcs_page(struct gcs_call *c, struct err *err);
/* The rest of a path, cut at '/': percent-decoded parts. */
int gcs_unpercent(struct gcs_call *c, struct str raw, struct str *ret, struct err *err);

/* ---- gcs_bucket.c: take the call over ---- */
void gcs_buckets(struct gcs_call *c, struct str method);
/* tail: what follows the bucket ("", "iam", "storageLayout", ...). */
void gcs_bucket(struct gcs_call *c, struct str method, struct str tail);

/* ---- gcs_notify.c */
#define GCS_NOTIFICATIONS "notificationConfigs" /* of a bucket's path, and of its doc */
/* Takes the call over when that is what it is about. */
bool gcs_notifications(struct gcs_call *c, struct str method, struct str tail);
/* What a PUT of the bucket leaves of its doc. */
struct str gcs_kept_doc(struct arena *a, struct str doc);
int gcs_lock_retention(struct blob_req *r, struct err *err); /* an edit */
/* rest: "PROJECT/serviceAccount", ... */
void gcs_project(struct gcs_call *c, struct str method, struct str rest);
/* ---- gcs_object.c ---- */
void gcs_objects(struct gcs_call *c, struct str method);
void gcs_object(struct gcs_call *c, struct str method);
/* raw: what follows "/o/" of a path that is more than an object, "SRC/rewriteTo/b/B/o/DST". False:
 * it is just an object's name. */
bool gcs_object_verb(struct gcs_call *c, struct str method, struct str raw);

/* x-goog-copy-source of the XML API: "/BUCKET/OBJECT", raw. */
void gcs_xml_copy(struct gcs_call *c, struct str source);

/* ---- gcs_batch.c: takes the call over ---- */
void gcs_batch(struct gcs_call *c);

/* ---- gcs_keys.c ---- */
struct gcs_hmac_key {
    struct str access_id; /* in */
    void (*cb)(struct gcs_hmac_key *, const struct err *err);
    void *arg;
    struct str project, email, secret, state; /* "ACTIVE", "INACTIVE" */
    usec_t created, updated;
    struct store_kv_get kv;
};
/* NOT_FOUND when there is none. Never calls back from within. */
void gcs_hmac_find(struct api_gcs *g, struct arena *a, struct gcs_hmac_key *k);
void gcs_hmac_keys(struct gcs_call *c, struct str method, struct str project, struct str id);

/* ---- gcs_sign.c ---- */
bool gcs_is_signed(const struct gcs_call *c);
/* Goes on with next when the signature is right, else answers. */
void gcs_verify(struct gcs_call *c, void (*next)(struct gcs_call *));

/* ---- gcs_xml.c ---- */
void gcs_xml_err(struct gcs_call *c, const struct err *err);
int gcs_xml_facts(struct gcs_call *c, struct blob_put *put, struct err *err);
void gcs_xml_copied(struct gcs_call *c, const struct blob_meta *m);
#define GCS_XML_HEAD "<?xml version='1.0' encoding='UTF-8'?>"
void gcs_xml_element(struct buf *b, const char *name, struct str value);
void gcs_xml_time(struct buf *b, const char *name, usec_t t);
void gcs_xml_etag(struct buf *b, const struct blob_meta *m);
void gcs_xml_reply(struct xch *x, int status, const struct buf *b);

/* ---- gcs_parts.c: takes the call over when it is about a multipart upload, else false ---- */
bool gcs_parts(struct gcs_call *c, struct str method);
/* gcs_parts_list.c */
void gcs_parts_list_uploads(struct gcs_call *c);

/* ---- gcs_fields.c ---- */
int gcs_select_fields(struct xch *x, struct str json, struct buf *ret, struct err *err);

/* ---- gcs_json.c, gcs_read.c ---- */
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
int gcs_parse_bucket(struct arena *a, struct str json, struct blob_bucket *ret, struct err *err);
/* PATCH (merge) or PUT (is_update) of what is recorded. */
int gcs_edit_object(struct arena *a, struct str json, bool is_update, struct blob_meta *m,
                    struct err *err);
int gcs_edit_bucket(struct arena *a, struct str json, bool is_update, struct blob_bucket *k,
                    struct err *err);
int gcs_parse_compose(struct arena *a, struct str json, struct str bucket, struct blob_put *put,
                      struct blob_source **ret, size_t *ret_n, struct err *err);
int gcs_load_json(struct str text, struct json_t **ret, struct err *err); /* always an object */
struct json_t *gcs_load_doc(struct str doc);                              /* never NULL */
void gcs_put_hashes(struct buf *b, const struct blob_meta *m);            /* x-goog-hash value */

/* ---- gcs_query.c ---- */
int gcs_parse_query(struct arena *a, struct str raw, struct gcs_query *ret, struct err *err);
bool gcs_has_word(struct str raw_query, const char *word); /* "?uploads", "?acl=..." */

/* ---- gcs_upload.c: takes the call over ---- */
void gcs_upload(struct gcs_call *c);
/* ---- gcs_download.c: takes the call over; meta_only answers JSON ---- */
/* What an upload of the XML API answers: facts in headers, and body (XML or nothing). */
void gcs_reply_facts(struct gcs_call *c, const struct blob_meta *m, struct str body);
void gcs_reply_part(struct gcs_call *c, const struct blob_meta *m);
void gcs_download(struct gcs_call *c);

#endif
