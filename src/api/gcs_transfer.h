/* Private to gcs_upload.c and gcs_resumable.c: an upload under way. */
#ifndef CUSP_API_GCS_TRANSFER_H
#define CUSP_API_GCS_TRANSFER_H

#include "api/gcs_int.h"
#include "api/gcs_multipart.h"

struct gunzip;

struct transfer {
    struct gcs_call *c;
    struct blob_upload *upload; /* multipart: made when the JSON part is known */
    uint64_t epoch;
    struct blob_put put;
    struct multipart mp;
    bool is_multipart, is_resumable, is_part;
    /* multipart sent as gzip: what came and is not unpacked yet */
    struct gunzip *gunzip;
    struct buf packed;
    bool has_more; /* the unpacker stopped for want of room, not of bytes */
    bool is_peer_done;
    /* resumable */
    struct blob_session session;
    struct content_range range;
    bool has_range;
    uint64_t skip;     /* bytes of this request that are stored already */
    uint64_t received; /* body bytes of this request */
    uint64_t credit;   /* granted and not yet come */
    /* Pieces, a ring: `busy` of them, up to the one being filled, are on their way to the disk. */
    struct piece {
        struct transfer *t;
        char *p;
        size_t n;
        struct blob_write write;
    } piece[GCS_PIECES];
    size_t cap, held; /* bytes of a piece; bytes of all that cannot be filled now */
    unsigned nr, fill, busy;
    bool body_over, is_cut, is_final;
    bool is_faulted; /* a retry test said so: the rest is dropped and the call fails */
    unsigned fault_status;
    struct err err;
    bool failed;
    struct blob_write write;
    struct blob_finish finish;
};

void transfer_answer_err(struct transfer *t, const struct err *err); /* these two free t */
void transfer_answer_object(struct transfer *t, const struct blob_meta *m);
void transfer_free(struct transfer *t);
/* Bytes from now on; the end comes by itself. */
void transfer_read_body(struct transfer *t);
/* All bytes are stored: makes the object, or (not is_final) makes them durable. */
void transfer_complete(struct transfer *t);
/* x-goog-hash and, in the XML API, Content-MD5 of a part. */
int transfer_add_hash(struct transfer *t, struct err *err);

/* ---- gcs_resumable.c ---- */
void resumable_start(struct transfer *t);
void resumable_go_on(struct transfer *t);
/* 308: so far received. Frees t. */
void resumable_answer_more(struct transfer *t);
/* Does the body keep the promises of Content-Range? */
int resumable_check_length(struct transfer *t, struct err *err);

#endif
