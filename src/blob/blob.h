/* CONTRACT. Object bytes: buckets are directories, objects are plain files (architecture notes §15
 * Blobs), so a file that training code writes under /gcs is an object at once. Metadata that a file
 * cannot carry (custom metadata, content type, generation, checksums) lives in the store's kv
 * spaces "bucket" and "object"; a file without a record is an object all the same (computed on
 * first read, cached by inode, size and times). Everything asynchronous runs on the disk lane and
 * completes on the loop.
 *
 * Object names and files. A name is cut at '/' into components. A component that can be a file name
 * is stored as it is. One that cannot is stored under an escape that begins with "%~":
 *     %~fX   the component X, as a file (last component)
 *     %~dX   the component X, as a directory
 *     %~+X   a directory holding the first 240 bytes of a long component; the rest follows inside
 * it Escaped are: "", ".", "..", components over 255 bytes, components that begin with "%~", and
 * the younger of two names of which one is an object and the other a "folder" ("a" and "a/b").
 * Names that begin with "%~" are reserved under /gcs. Files whose name is not a legal object name
 * (not UTF-8, line breaks), symbolic links and special files are not objects.
 *
 * Generation of an object: max(ctime of its file in microseconds, last recorded generation + 1). */
#ifndef CUSP_BLOB_BLOB_H
#define CUSP_BLOB_BLOB_H

#include "base/arena.h"
#include "base/err.h"
#include "base/time.h"
#include "store/store.h"
#include "sys/lane.h"

struct loop;
struct blob;

/* Makes DIR/buckets and DIR/uploads, removes what crashed uploads left behind. */
struct blob *blob_open(struct loop *l, struct lane *disk, struct store *st, const char *data_dir,
                       struct err *err);
/* Makes an existing directory (NFS, Lustre) the bucket `name`; its place below DIR/buckets stays an
 * empty directory. Before any request. FAILED_PRECONDITION when the name holds objects already. */
int blob_add_bucket(struct blob *b, const char *name, const char *path, struct err *err);
struct blob_stats {
    uint64_t bytes_direct; /* uploaded past the page cache (direct.c), since the start */
    uint64_t bytes_warmed; /* of those, read into idle memory for their first reader (warm.c) */
};

void blob_get_stats(const struct blob *b, struct blob_stats *ret);
/* Every request must have been given before; waits for those running, then cb on the loop. */
void blob_close(struct blob *b, void (*cb)(void *arg), void *arg);

/* gs://BUCKET/NAME -> file path (owned), pure path arithmetic plus escape rules plus an existence
 * check; any thread. INVALID_ARGUMENT for malformed URIs, NOT_FOUND naming the bucket or the
 * object. */
int blob_object_path(struct blob *b, const char *gs_uri, char **ret_path, struct err *err);

/* The same, opened for reading beneath the bucket's directory. The caller closes *ret_fd. */
int blob_object_open(struct blob *b, const char *gs_uri, int *ret_fd, uint64_t *ret_size,
                     struct err *err);

/* ---- objects by URI, for threads that read whole files. Any thread; they block. INVALID_ARGUMENT
 * for what is no gs:// URI, NOT_FOUND names the URI and what is missing. ---- */
int blob_stat_uri(struct blob *b, const char *gs_uri, uint64_t *ret_size,
                  struct err *err) MUST_CHECK;
/* Has it a bucket of ours? */
bool blob_uri_is_ours(struct blob *b, const char *gs_uri);
/* The objects that a URI stands for, in name order, as URIs in the arena: itself, or with a * in
 * its name all that match (* and ? stop at '/', ** does not, as in a list's matchGlob).
 * INVALID_ARGUMENT when there are more than max. */
int blob_expand_uri(struct blob *b, const char *gs_uri, size_t max, struct arena *a,
                    const char ***ret, size_t *ret_nr, struct err *err) MUST_CHECK;

/* ---- names (pure, any thread) ---- */
int blob_check_bucket_name(struct str bucket, struct err *err);
int blob_check_object_name(struct str name, struct err *err);

/* Is there a directory of this name right now? One look-up in our own directory; loop thread. */
bool blob_bucket_is_here(struct blob *b, struct str bucket);

/* ---- what is known of buckets and objects ---- */
struct blob_pair {
    struct str key, value;
};

struct blob_bucket {
    struct str name, location, storage_class;
    uint64_t project; /* number; 0: made by hand as a directory */
    uint64_t metageneration;
    usec_t time_created, updated;
    /* Opaque to this module, kept as given: what else the API knows of the bucket; its IAM policy.
     */
    struct str doc, policy;
};

struct blob_meta {
    struct str bucket, name;
    uint64_t generation, metageneration, size;
    usec_t time_created, updated;
    bool has_crc32c, has_md5;
    uint32_t crc32c;
    uint8_t md5[16];
    struct str content_type, content_encoding, cache_control, content_disposition, content_language,
        storage_class;
    struct str doc;      /* opaque, kept as given: what else the API knows of the object */
    uint64_t components; /* of a composite object (it has no MD5), else 0 */
    struct blob_pair *custom;
    size_t nr_custom;
    /* Identity of the file these facts are about, with size: by its change time, or where that is 0
     * (a rename would change it) by the time of its last write. */
    uint64_t ino;
    int64_t ctime_ns, mtime_ns;
};

struct blob_precond {
    bool has_gen, has_not_gen, has_metagen, has_not_metagen;
    uint64_t gen, not_gen, metagen, not_metagen; /* gen 0: must not exist */
};

/* ---- single requests ---- */
enum blob_hashes {
    BLOB_HASH_KNOWN,  /* only those already known */
    BLOB_HASH_CRC32C, /* compute crc32c when missing (and md5 of small objects) */
    BLOB_HASH_ALL,    /* both, up to limits.hash_on_read_bytes */
};

struct blob_item {
    bool is_prefix; /* then only meta->name counts */
    struct blob_meta *meta;
};

/* One request. blob_req_init, fill the inputs, call one of the functions below; cb runs once on the
 * loop, never from within the call; then blob_req_fini. Results live in the request's arena. */
struct blob_req {
    /* inputs; views are copied into the arena by blob_req_str or must outlive the request */
    struct str bucket, name;
    void (*cb)(struct blob_req *, const struct err *err);
    void *arg;
    struct blob_precond pre;
    uint64_t generation; /* 0: the live one; else it must be this one (NOT_FOUND otherwise) */
    enum blob_hashes hashes;
    bool want_fd;     /* object_get: also open the file */
    uint64_t project; /* bucket_create, bucket_list */
    struct str location, storage_class, doc;
    struct str prefix, delimiter, page_token, start_offset, end_offset; /* lists */
    struct str glob;          /* list: only names that match (glob.c), empty: all */
    bool with_folder_objects; /* list: "a/" is an item besides being the prefix of others */
    unsigned max;             /* > 0 */
    struct str src_name;      /* move */
    struct blob_precond src_pre;
    uint64_t src_generation;
    /* edit: changes meta or bucket_info (on the loop, the object locked, preconditions met); what
     * it points to lives in the request's arena. */
    int (*edit)(struct blob_req *, struct err *err);
    /* results */
    struct arena *arena;
    struct blob_meta *meta;
    int fd; /* blob_req_fini closes it */
    struct blob_bucket *bucket_info;
    struct blob_bucket *buckets;
    size_t nr_buckets;
    struct blob_item *items;
    size_t nr_items;
    struct str next_page; /* empty at the end */
    /* the module's */
    struct blob *b;
    struct lane_work work;
    struct store_kv_get kv;
    struct store_kv_scan scan;
    struct store_txn txn;
    void (*lane_fn)(struct blob_req *);
    void (*next)(struct blob_req *);
    struct err err;
    bool failed, locked, retried, has_txn, row_current, row_pending;
    struct str row, row2;
    struct blob_req *peer; /* move: holds the second lock */
    void *arg2;
    struct list lock_link;
    char *lock_key;
    size_t lock_key_n, cursor;
};

void blob_req_init(struct blob_req *r);
/* blob_req_init, and what every request about one object says. */
void blob_req_init_object(struct blob_req *r, struct str bucket, struct str name,
                          void (*cb)(struct blob_req *, const struct err *err), void *arg);
void blob_req_fini(struct blob_req *r);
struct str blob_req_str(struct blob_req *r, struct str s); /* copy into the arena */

/* ALREADY_EXISTS when there is one; bucket_info filled. */
void blob_bucket_create(struct blob *b, struct blob_req *r);
void blob_bucket_get(struct blob *b, struct blob_req *r);
/* In name order after page_token, at most max; those of `project`, and those made by hand. */
void blob_bucket_list(struct blob *b, struct blob_req *r);
/* Runs r->edit on bucket_info, counts the metageneration up and records it. */
void blob_bucket_edit(struct blob *b, struct blob_req *r);
/* ABORTED when there are objects in it. */
void blob_bucket_delete(struct blob *b, struct blob_req *r);

void blob_object_get(struct blob *b, struct blob_req *r);
/* Bytewise name order. Memory is bounded by max, not by the bucket. Hashes only where known. */
void blob_object_list(struct blob *b, struct blob_req *r);
void blob_object_delete(struct blob *b, struct blob_req *r);
/* Runs r->edit on meta, counts the metageneration up and records it. The bytes stay. */
void blob_object_edit(struct blob *b, struct blob_req *r);
/* src_name becomes name, both of r->bucket: one rename, facts and checksums go along. */
void blob_object_move(struct blob *b, struct blob_req *r);

/* ---- uploads: bytes come in slices, go to DIR/uploads on the disk lane, and become an object at
 * the finish (fsync, row, rename, fsync of the directory). */
struct blob_put {
    struct str bucket, name;
    struct str content_type, content_encoding, cache_control, content_disposition, content_language,
        storage_class, doc;
    uint64_t components; /* not 0: a composite object */
    const struct blob_pair *custom;
    size_t nr_custom;
    struct blob_precond pre;
    bool has_expect_crc32c, has_expect_md5;
    uint32_t expect_crc32c;
    uint8_t expect_md5[16];
    int64_t size; /* -1: not known in advance */
};

struct blob_upload;

/* A single-shot upload; copies put. No I/O happens before the first write. One reference. */
struct blob_upload *blob_upload_new(struct blob *b, const struct blob_put *put);
struct blob_upload *blob_upload_ref(struct blob_upload *u);
/* The last reference to an unfinished single-shot upload removes its bytes; a session's stay. */
void blob_upload_unref(struct blob_upload *u);
/* Checks to make at the finish, learnt late (x-goog-hash on the last chunk). */
void blob_upload_expect_md5(struct blob_upload *u, const uint8_t md5[16]);
void blob_upload_expect_crc32c(struct blob_upload *u, uint32_t crc);
/* Bytes safely taken so far (written, not only queued). */
uint64_t blob_upload_offset(const struct blob_upload *u);
const char *blob_upload_id(const struct blob_upload *u);
const struct blob_put *blob_upload_put(const struct blob_upload *u);

/* Writes run in the order given; bytes stay the caller's and must live until cb. After a failed
 * write all later ones fail alike (single-shot), or the offset stays where it was (session). */
struct blob_write {
    struct str bytes;
    bool from_file; /* instead: src_len bytes of src_fd from src_offset (ABORTED when it ends) */
    int src_fd;
    uint64_t src_offset, src_len;
    bool sync;      /* fdatasync afterwards: what is then reported as received is durable */
    uint64_t epoch; /* from blob_upload_resume; 0 for single-shot */
    void (*cb)(struct blob_write *, const struct err *err);
    void *arg;
    struct list link; /* the module's */
    bool is_late;     /* the module's: given after a newer request took the session over */
};
void blob_upload_write(struct blob_upload *u, struct blob_write *w);

/* Makes the object, after the writes given before. FAILED_PRECONDITION, INVALID_ARGUMENT
 * (checksums, names), NOT_FOUND (bucket), ABORTED (a newer request owns the session). meta is valid
 * during cb. */
struct blob_finish {
    uint64_t epoch; /* as in blob_write */
    void (*cb)(struct blob_finish *, const struct blob_meta *meta, const struct err *err);
    void *arg;
    struct list link; /* the module's */
};
void blob_upload_finish(struct blob_upload *u, struct blob_finish *f);

/* ---- files that the server writes by itself, for what it makes itself: made aside, they become
 * objects whole. A crash leaves nothing: what is aside is swept at the next start. */
#define BLOB_TEMP_ID 40
/* A new empty file, on the file system of the buckets; any thread. The caller closes *ret_fd. */
int blob_temp_make(struct blob *b, char ret_id[BLOB_TEMP_ID], int *ret_fd, struct err *err);
/* Removes it; any thread. One that has become an object is no longer there. */
void blob_temp_drop(struct blob *b, const char *id);

struct blob_adopt {
    /* in; views must outlive the request */
    struct blob_put put;
    const char *id; /* of the file, which nobody writes to any more */
    uint64_t size;
    uint32_t crc32c; /* of its bytes, which are not read again */
    /* Once, on the loop. As of blob_finish; DATA_LOSS when the file is not as large as was said.
     * Whatever err is, the file belongs to nobody any more. */
    void (*cb)(struct blob_adopt *, const struct blob_meta *meta, const struct err *err);
    void *arg;
    /* the module's */
    struct blob_upload *upload;
    struct blob_finish finish;
};
/* fsync, rename into the bucket, row: as an upload ends. A bucket on another file system gets a
 * copy. */
void blob_object_adopt(struct blob *b, struct blob_adopt *a);

/* ---- resumable sessions: survive a restart of the server; expire after a week. */
struct blob_session {
    struct str id; /* resume, cancel: in */
    void (*cb)(struct blob_session *, const struct err *err);
    void *arg;
    /* out: */
    struct blob_upload *upload; /* a reference for the caller, NULL when the object is complete */
    uint64_t epoch; /* writes of earlier epochs are refused: the newest request owns the session */
    bool is_complete;
    struct str bucket, name; /* is_complete; valid during cb */
    uint64_t generation;
    struct blob_req req; /* the module's */
};
/* RESOURCE_EXHAUSTED past limits.max_open_uploads. */
void blob_session_start(struct blob *b, struct blob_session *s, const struct blob_put *put);
/* NOT_FOUND for an unknown or expired id. Waits for writes of an earlier epoch. */
void blob_session_resume(struct blob *b, struct blob_session *s);
void blob_session_cancel(struct blob *b, struct blob_session *s);

/* ---- multipart uploads (XML API): numbered parts in any order, each sent again at will, and an
 * end that names those which make the object. They count as open uploads, survive a restart, and
 * are forgotten after a week. */
#define BLOB_PARTS_MAX 10000
#define BLOB_PART_MIN (5u << 20) /* bytes of every part but the last */

struct blob_part {
    uint64_t number, size; /* number from 1 */
    usec_t updated;
    uint8_t md5[16]; /* its ETag, in hex */
    uint32_t crc32c;
    struct str file; /* the module's */
};

/* One request; as a blob_req it completes once, on the loop, never from within the call. Results
 * are valid during cb. */
struct blob_parts {
    struct str id;           /* in; out of blob_parts_start */
    struct str bucket, name; /* in: the object's, as the path of the request says */
    void (*cb)(struct blob_parts *, const struct err *err);
    void *arg;
    uint64_t after; /* get: parts beyond this number, at most max (0: none are looked at) */
    unsigned max;
    const struct blob_part *chosen; /* finish: number and md5, ascending; at least one */
    size_t nr_chosen;
    struct blob_precond pre; /* finish: of the object */
    /* out */
    struct blob_put put; /* what was said at the start */
    usec_t created;
    struct blob_part *parts; /* get */
    size_t nr_parts;
    bool more;
    const struct blob_meta *meta; /* finish */
    /* the module's */
    void (*found)(struct blob_req *); /* what to do with the upload, locked and read */
    struct blob_req req;
    char new_id[40];
    const struct blob_part **order;
    size_t cursor;
    uint64_t offset, size;
    int src_fd;
    struct blob_upload *upload;
    struct blob_write write;
    struct blob_finish finish;
};
/* RESOURCE_EXHAUSTED past limits.max_open_uploads; NOT_FOUND (bucket); put is copied. */
void blob_parts_start(struct blob *b, struct blob_parts *p, const struct blob_put *put);
/* All: NOT_FOUND with field "uploadId" for an id that is unknown, expired, or of another object. */
void blob_parts_get(struct blob *b, struct blob_parts *p);
/* INVALID_ARGUMENT with field InvalidPart, InvalidPartOrder, EntityTooSmall: the upload stays as it
 * was. Else as blob_upload_finish; the parts that were not chosen go as well. */
void blob_parts_finish(struct blob *b, struct blob_parts *p);
void blob_parts_abort(struct blob *b, struct blob_parts *p);
/* The bytes of one part: written and finished as any upload is (blob_finish's meta then has size,
 * md5, crc32c and updated only). id must have been found by blob_parts_get. */
struct blob_upload *blob_part_new(struct blob *b, struct str id, uint64_t number,
                                  const struct blob_put *put);

/* The uploads of a bucket that were begun and have not ended, by object name, then id. As above;
 * NOT_FOUND when there is no such bucket. */
struct blob_open_upload {
    struct str name, id, storage_class;
    usec_t created;
};
struct blob_uploads {
    struct str bucket, prefix;
    struct str after_name, after_id; /* only what follows; no id: nothing of that name */
    void (*cb)(struct blob_uploads *, const struct err *err);
    void *arg;
    /* out */
    struct blob_open_upload *items;
    size_t nr;
    /* the module's */
    size_t cap;
    struct blob_req req;
};
void blob_uploads_list(struct blob *b, struct blob_uploads *u);

/* ---- copy and compose: one object of the bytes of others, which need not be in one bucket. */
struct blob_source {
    struct str bucket, name;
    uint64_t generation; /* 0: the live one */
    struct blob_precond pre;
};

struct blob_copy {
    /* in; views must outlive the request */
    const struct blob_source *src;
    size_t nr_src;
    struct blob_put put; /* the new object; size is ours to fill */
    bool is_compose;
    /* May complete put from what the first source is; called once, on the loop. May be NULL. */
    int (*facts)(struct blob_copy *, const struct blob_meta *first, struct err *err);
    uint64_t max_bytes; /* of one call, one source only; 0: copies all of it */
    struct str token;   /* of the call before; empty: begins */
    /* meta NULL and err NULL: there is more to do, next_token says where. */
    void (*cb)(struct blob_copy *, const struct blob_meta *meta, const struct err *err);
    void *arg;
    /* out */
    uint64_t size, copied;
    struct str next_token; /* valid during cb */
    /* the module's */
    struct blob *b;
    struct arena *arena;
    struct blob_req req;
    struct blob_open_source {
        int fd;
        uint64_t size, generation;
    } * open;
    size_t cursor;
    uint64_t offset, left;
    uint64_t epoch;
    struct blob_upload *upload;
    struct blob_session session;
    struct blob_write write;
    struct blob_finish finish;
};
/* NOT_FOUND, FAILED_PRECONDITION as of the sources and of put; INVALID_ARGUMENT for a token that is
 * not of this copy. After cb the struct is the caller's again. */
void blob_object_copy(struct blob *b, struct blob_copy *c);

/* ---- gzip objects for clients that do not take gzip ---- */
struct blob_inflate;
/* Takes fd. */
struct blob_inflate *blob_inflate_new(struct blob *b, int fd);
void blob_inflate_free(struct blob_inflate *f); /* not while a step is under way; NULL is fine */
/* One step: up to 256 KiB, valid during cb. err DATA_LOSS: not gzip. */
void blob_inflate_next(struct blob_inflate *f,
                       void (*cb)(void *arg, struct str bytes, bool is_last, const struct err *err),
                       void *arg);

#endif
