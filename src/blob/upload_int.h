/* Private to upload.c, publish.c, session.c, parts.c: an upload in progress. Loop thread owns it;
 * while `busy` the lane uses fd, digest, offset and temp state. */
#ifndef CUSP_BLOB_UPLOAD_INT_H
#define CUSP_BLOB_UPLOAD_INT_H

#include "blob/blob_int.h"

#include <sys/uio.h>

struct blob_upload {
    struct blob *b;
    unsigned refs;
    /* Also the file's name in DIR/uploads: "t-..." single-shot, "r-..." session, "m-..." part. */
    char id[40];
    bool is_session, is_complete, is_dead;
    bool is_adopted; /* the file is there already, its size and checksum are known */
    bool is_beside;  /* the bucket is another file system: the file goes there before its row */
    uint64_t part;   /* number of a part of a multipart upload; 0: none */
    char owner[40];  /* the multipart upload's id */
    struct arena *arena;
    struct blob_put put;
    int replaced_fd;       /* of the file this upload took the place of, or negative */
    int fd;                /* -1: file not made yet */
    uint64_t offset;       /* bytes in the file */
    uint64_t flushed;      /* writeback was started up to here */
    bool is_direct;        /* fd has O_DIRECT; the lane's */
    bool was_direct;       /* some of it went past the page cache */
    bool no_direct;        /* the file system does not take it */
    struct digest *digest; /* of the first digest_length() bytes */
    uint64_t epoch;
    /* Writes: all that wait go to the lane together, where they run in order. */
    struct list queue, batch;
    bool is_writing;
    size_t nr_written; /* of the batch, without fault */
    struct lane_work work;
    struct err err; /* of the write that failed; sticky when is_dead */
    bool failed;
    uint64_t failed_epoch; /* session: what else this request wrote would leave a gap */
    /* finish */
    struct list fins;        /* waiting */
    struct blob_finish *fin; /* under way */
    bool fin_refused;
    struct blob_req req;
    struct blob_meta meta;
    usec_t created;       /* sessions; of the whole, for parts */
    struct list resumers; /* struct blob_session waiting for the upload to fall idle */
};

/* kind: 't', 'r', 'm'; id NULL: a new one of that kind. */
struct blob_upload *upload_make(struct blob *b, const struct blob_put *put, const char *id,
                                char kind);
/* A secret one of that form: 35 bytes with its end. */
void upload_id_new(char *ret, size_t size, char kind);
/* "K-" and 32 hex digits: what comes from a client and becomes a key or a file's name. */
bool upload_id_is_legal(struct str id, char kind);
bool upload_is_idle(const struct blob_upload *u);
/* What the session's record says: in progress, or complete with this object. */
void session_encode(struct buf *b, const struct blob_upload *u);
void session_encode_done(struct buf *b, const struct blob_upload *u);
/* Lane: gives the file the time of writing that it is known by, and makes it durable. -1: errno. */
int upload_seal(int fd);
/* publish.c: the upload's file, sealed, becomes the object; ends in upload_finish_end. */
void publish(struct blob_req *r);
/* Called by upload.c whenever it falls idle. */
void session_wake(struct blob_upload *u);

/* parts.c: the last steps of a part, in place of those that make an object. r is the upload's; ends
 * in upload_finish_end. */
void part_record(struct blob_req *r);
void upload_finish_end(struct blob_req *r);

/* ---- direct.c */
#define UPLOAD_ALIGN 4096u  /* what any disk takes: offset, length and address */
#define UPLOAD_BATCH_MAX 16 /* pieces that go to the kernel together */

/* Writes all of v, which it uses up, at u->offset, which stays. 0 or -errno. */
int upload_put(struct blob_upload *u, struct iovec *v, int nr);
/* Before the file is read through u->fd. */
void upload_end_direct(struct blob_upload *u);

/* warm.c: an upload that is an object now and went past the page cache is read into it, in the
 * background. Takes u->fd then. Loop. */
void upload_warm(struct blob_upload *u);

#endif
