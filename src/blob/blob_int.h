/* Private to src/blob: names on disk, beneath-only file access, metadata records, request steps. */
#ifndef CUSP_BLOB_BLOB_INT_H
#define CUSP_BLOB_BLOB_INT_H

#include "blob/blob.h"

#include "base/buf.h"
#include "base/map.h"
#include "base/rec.h"
#include "base/vec.h"
#include "sys/loop.h"

#include <dirent.h>
#include <sys/stat.h>

#define BLOB_ESC "%~"
#define BLOB_CHUNK 240              /* bytes of a long component held by one "%~+" directory */
#define BLOB_RAW_MAX 4000           /* bytes of a path below the bucket; the kernel takes 4096 */
#define BLOB_MD5_INLINE (64u << 20) /* larger uploads get an MD5 only when the client sent one */
#define BLOB_SESSION_LIFE (7ull * 24 * 3600 * USEC_PER_SEC)

struct blob {
    struct loop *loop;
    struct lane *disk;
    struct store *store;
    char *dir;
    int buckets_fd, uploads_fd;
    struct map external; /* name -> path (owned) of a directory that is a bucket; set at start */
    struct snaps *snaps;
    struct map locks;    /* "BUCKET/NAME" -> struct blob_lock */
    struct map sessions; /* id -> struct blob_upload, while someone holds it */
    size_t nr_sessions;  /* recorded ones, in use or not */
    uint64_t next_temp;
    struct blob_stats stats;
    size_t running; /* requests and uploads alive */
    bool is_closing;
    void (*close_cb)(void *arg);
    void *close_arg;
    struct loop_task close_task;
    struct blob_sweep *sweep; /* upload.c */
};

void blob_hold(struct blob *b);
void blob_drop(struct blob *b); /* lets a waiting close go on */

/* ---- name.c: escapes, pure ---- */
bool name_is_plain(struct str comp);
/* Appends the on-disk form of a component: "%~+..../%~fREST". */
void name_escape(struct buf *raw, struct str comp, bool is_dir);
enum name_kind { NAME_NONE, NAME_FILE, NAME_DIR, NAME_CHUNK };
/* What a directory entry stands for; *ret is the component or the part of it. In a chunk directory
 * only escaped entries count. */
enum name_kind name_decode(struct str entry, bool is_dir, bool in_chunk, struct str *ret);
const char *name_guess_type(struct str name);

/* ---- beneath.c: every path from a name goes through here. Return 0 or -errno. ---- */
int beneath_open(int dirfd, const char *path, int flags, mode_t mode); /* fd or -errno */
int beneath_stat(int dirfd, const char *path, struct stat *ret);
/* Path of the regular file that is object `name`, below the bucket's descriptor. -ENOENT. */
int place_find(int bucket_fd, struct str name, struct buf *ret_raw, struct stat *ret_st);
/* Where a new object goes; makes (durably) the directories above it. */
int place_make(int bucket_fd, struct str name, struct buf *ret_raw);
/* Opens the directory of raw; *ret_leaf points into raw. fd or -errno. */
int place_open_parent(int bucket_fd, const char *raw, const char **ret_leaf);
/* Removes the empty directories above raw, never the bucket's own. */
void place_prune(int bucket_fd, const char *raw);
/* Removes directories without files in them; -ENOTEMPTY when there is a file. */
int place_remove_tree_of_dirs(int dirfd);
int bucket_open_fd(const struct blob *b, struct str bucket,
                   struct err *err); /* fd or -1 with err */

/* ---- snap.c: sorted pictures of large directories, shared by lane threads ---- */
struct snaps;
struct snap_entry {
    uint32_t at; /* of the entry's name in text */
    uint16_t n;
    uint8_t skip, kind; /* bytes of escape before the part; enum name_kind */
    bool is_dir, is_escaped;
};
struct snap {
    struct list link;
    unsigned refs; /* under the cache's lock */
    dev_t dev;
    ino_t ino;
    int64_t ctime_ns;
    struct timespec mtime;
    struct buf text;
    VEC_OF(struct snap_entry) entries; /* in the order of the names below them */
    size_t bytes;
};
#define SNAP_DIR_SIZE 16384 /* st_size from which a directory counts as large */
struct snaps *snaps_new(off_t least_dir_size);
void snaps_free(struct snaps *s); /* NULL is fine */
/* A picture of an open directory, with a reference; NULL when it is small (or larger than memory is
 * given for): then d stands at its beginning. */
struct snap *snap_of(struct snaps *s, DIR *d);
void snap_unref(struct snaps *s, struct snap *p);
static inline struct str snap_name(const struct snap *p, const struct snap_entry *e) {
    return str_n(p->text.p + e->at, e->n);
}
static inline struct str snap_part(const struct snap *p, const struct snap_entry *e) {
    return str_n(p->text.p + e->at + e->skip, (size_t)(e->n - e->skip));
}
/* The entry's part (with '/' when it is a directory) beside key; <0, 0, >0. */
int snap_cmp(const struct snap *p, const struct snap_entry *e, struct str key);

/* ---- walk.c ---- */
bool walk_is_dir(int dirfd, const struct dirent *e, bool *ret_usable);
struct walk_opts {
    struct str prefix, delimiter, start, end, glob;
    bool with_folder_objects;
    struct str after; /* exclusive */
    bool skip_after;  /* also everything that begins with `after` */
    unsigned max;
    struct snaps *snaps; /* NULL: none */
};
struct walk_item {
    struct str name; /* terminated, in the arena */
    bool is_prefix;
    struct stat st;
};
struct walk_result {
    struct walk_item *items;
    size_t n;
    bool more;
};
int walk_list(int bucket_fd, const struct walk_opts *o, struct arena *a, struct walk_result *ret,
              struct err *err);

/* ---- glob.c: the patterns of list's matchGlob; pure ---- */
#define GLOB_MAX 1024 /* bytes of a pattern */
struct glob;
/* INVALID_ARGUMENT for unbalanced brackets and too long or too wide patterns. */
struct glob *glob_new(struct str pattern, struct err *err);
void glob_free(struct glob *g);
/* Time: length of the pattern times length of the name. */
bool glob_match(struct glob *g, struct str name);

/* ---- meta.c ---- */
int64_t meta_ctime_ns(const struct stat *st);
void meta_encode(struct buf *b, const struct blob_meta *m);
/* The same, and with it what the object is until the file that m speaks of is in its place. was may
 * be NULL: there is none until then. */
void meta_encode_coming(struct buf *b, const struct blob_meta *m, const struct blob_meta *was);
/* False when there is no row or it cannot be read (the object is then what its file says). */
bool meta_decode(struct arena *a, struct str row, struct blob_meta *ret);
/* True when m speaks of this very file. */
bool meta_matches(const struct blob_meta *m, const struct stat *st);
void meta_from_file(struct str bucket, struct str name, const struct stat *st,
                    struct blob_meta *ret);
enum meta_fit {
    META_FILE, /* no row speaks of the file: it speaks for itself */
    META_ROW,
    META_WAS /* another file is about to take its place, or did not get there */
};
/* m: what the file alone says; becomes what the row knows of that file. */
enum meta_fit meta_merge(struct arena *a, struct str row, struct blob_meta *m);
/* meta_from_file, then meta_merge. */
enum meta_fit meta_pick(struct arena *a, struct str row, struct str bucket, struct str name,
                        const struct stat *st, struct blob_meta *ret);
/* A generation for now that follows every one that the row and cur (may be NULL) know of. */
uint64_t meta_next_generation(struct arena *a, struct str row, const struct blob_meta *cur);
int meta_check_precond(const struct blob_precond *p, const struct blob_meta *cur, struct err *err);
void meta_encode_put(struct buf *b, const struct blob_put *p);
void meta_decode_put(struct arena *a, const struct rec *r, struct blob_put *ret);
void meta_copy_put(struct arena *a, const struct blob_put *in, struct blob_put *ret);

/* ---- object.c ---- */
/* Lane: opens the file of r's object; r->meta is what it is now, r->fd open, r->row_current. */
void object_load_run(struct blob_req *r);
void object_fail_missing(struct blob_req *r);

/* ---- blob.c ---- */
void bucket_encode(struct buf *b, const struct blob_bucket *k);
/* Lane: r->bucket_info from the directory and r->row. */
void bucket_load_run(struct blob_req *r);
int bucket_check_precond(const struct blob_precond *p, const struct blob_bucket *k,
                         struct err *err);

/* ---- digest.c: the only place that knows OpenSSL ---- */
struct digest;
struct digest *digest_new(bool with_md5);
void digest_free(struct digest *d);
void digest_update(struct digest *d, const void *p, size_t n);
void digest_drop_md5(struct digest *d);
uint64_t digest_length(const struct digest *d);
uint32_t digest_crc32c(const struct digest *d);
bool digest_md5(struct digest *d, uint8_t out[16]); /* ends it; false when not kept */
/* Of the first `size` bytes of a file; 0 or -errno. */
int digest_file(int fd, uint64_t size, struct digest *d);

/* ---- req.c: steps of a request, all on the loop ---- */
void req_begin(struct blob *b, struct blob_req *r);
void req_lane(struct blob_req *r, void (*fn)(struct blob_req *), void (*next)(struct blob_req *));
/* Result (or empty) in r->row. */
void req_row(struct blob_req *r, const char *space, struct str key,
             void (*next)(struct blob_req *));
struct store_txn *req_txn(struct blob_req *r);
void req_commit(struct blob_req *r, void (*next)(struct blob_req *));
/* Serialises changes of one object. next runs when the lock is ours (maybe at once). */
void req_lock(struct blob_req *r, struct str bucket, struct str name,
              void (*next)(struct blob_req *));
void req_unlock(struct blob_req *r);
void req_done(struct blob_req *r);
struct str req_key(struct blob_req *r, struct str bucket, struct str name);

/* sweep.c: removes what crashed and abandoned uploads left, at open and every hour. */
void upload_sweep(struct blob *b);
void upload_sweep_stop(struct blob *b);

#endif
