/* The end of an upload: its file takes the object's place, and nobody ever sees one without its
 * facts.
 *
 * The row comes first. It names the file that is about to come (inode, size, time of writing: none
 * of them changes by a rename) and, as "was", what the object is until then. So whichever file is
 * found in the place, the row has its facts: when there is no room for the row, when the rename
 * fails, and when the server is killed at any moment, the old object stays what it was. Then the
 * rename and the fsync of its directory; then the answer. */
#include "blob/upload_int.h"

#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define COPY_STEP (1u << 20) /* bytes copied at once */

int upload_seal(int fd) {
    /* Finer than the clock that the kernel stamps files with: whoever writes to the file later
     * gives it another time. */
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
    (void)clock_gettime(CLOCK_REALTIME, &times[1]);
    return futimens(fd, times) < 0 || fsync(fd) < 0 ? -1 : 0;
}

static void fill_meta(struct blob_upload *u, const struct stat *st, uint64_t generation) {
    const struct blob_put *p = &u->put;
    struct blob_meta m;
    meta_from_file(p->bucket, p->name, st, &m);
    m.generation = generation;
    m.time_created = m.updated = time_wall();
    m.ctime_ns = 0; /* the rename changes it */
    m.has_crc32c = u->meta.has_crc32c;
    m.crc32c = u->meta.crc32c;
    m.has_md5 = u->meta.has_md5;
    memcpy(m.md5, u->meta.md5, sizeof(m.md5));
    m.content_type = p->content_type.n ? p->content_type : m.content_type;
    m.content_encoding = p->content_encoding;
    m.cache_control = p->cache_control;
    m.content_disposition = p->content_disposition;
    m.content_language = p->content_language;
    m.storage_class = p->storage_class.n ? p->storage_class : m.storage_class;
    m.doc = p->doc;
    m.components = p->components;
    m.custom = (struct blob_pair *)p->custom;
    m.nr_custom = p->nr_custom;
    u->meta = m;
}

/* ---- a bucket that is another file system: a copy beside the object, under a name that lists do
 * not show. A crash leaves that file behind, never a part of an object. ---- */

static char *beside_name(const struct blob_upload *u) {
    return xasprintf("%st%s", BLOB_ESC, u->id);
}

/* u->fd becomes the copy's. The file in DIR/uploads stays until the end: a session goes on with it
 * when this fails. */
static int copy_beside(struct blob_upload *u, int parent) {
    auto_free char *temp = beside_name(u);
    auto_close int fd = openat(parent, temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    auto_free char *p = xmalloc(COPY_STEP);
    int e = fd < 0 ? -errno : 0;
    for (uint64_t at = 0; e == 0 && at < u->offset;) {
        size_t want = u->offset - at < COPY_STEP ? (size_t)(u->offset - at) : COPY_STEP;
        ssize_t n = pread(u->fd, p, want, (off_t)at);
        ssize_t put = n > 0 ? pwrite(fd, p, (size_t)n, (off_t)at) : n;
        if (put < 0 && errno == EINTR) {
            continue;
        }
        e = put < 0 ? -errno : put == 0 ? -EIO : 0;
        at += put > 0 ? (uint64_t)put : 0;
    }
    if (e == 0 && upload_seal(fd) < 0) {
        e = -errno;
    }
    if (e < 0) {
        (void)unlinkat(parent, temp, 0);
        return e;
    }
    close(u->fd);
    u->fd = take_fd(&fd);
    return 0;
}

/* The directory of the object to be, made where it is missing; -EAGAIN when directories changed
 * under us. *ret_leaf points into raw. */
static int open_place(struct blob_upload *u, int bucket, struct buf *raw, const char **ret_leaf) {
    int e = place_make(bucket, u->put.name, raw);
    int parent = e < 0 ? e : place_open_parent(bucket, raw->p, ret_leaf);
    return parent == -ENOENT || parent == -ENOTDIR ? -EAGAIN : parent;
}

static void fail_place(struct blob_req *r, int e) {
    struct blob_upload *u = r->arg;
    if (e == -ENAMETOOLONG) {
        err_field(&r->err, ERR_INVALID_ARGUMENT, "name",
                  "The object name has too many parts to be stored");
    } else if (e == -EAGAIN && faccessat(u->b->uploads_fd, u->id, F_OK, 0) == 0) {
        err_set(&r->err, ERR_NOT_FOUND, "The specified bucket does not exist: %.*s",
                STR_ARG(u->put.bucket));
    } else {
        err_sys(&r->err, -e, "store object %.*s/%.*s", STR_ARG(u->put.bucket),
                STR_ARG(u->put.name));
    }
}

/* ---- before the row ---- */

static void look_run(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    r->failed = true;
    auto_close int bucket = bucket_open_fd(u->b, u->put.bucket, &r->err);
    if (bucket < 0) {
        return;
    }
    auto_buf struct buf raw = BUF_INIT(BLOB_RAW_MAX);
    struct stat st, bucket_st;
    struct blob_meta *cur = NULL;
    int e = place_find(bucket, u->put.name, &raw, &st);
    if (e < 0 && e != -ENOENT && e != -ENAMETOOLONG) {
        err_sys(&r->err, -e, "look up object %.*s/%.*s", STR_ARG(u->put.bucket),
                STR_ARG(u->put.name));
        return; /* not to be taken for "there is none" */
    }
    if (e == 0) {
        cur = r->meta = arena_alloc(r->arena, sizeof(*cur));
        (void)meta_pick(r->arena, r->row, u->put.bucket, u->put.name, &st, cur);
        if (u->replaced_fd < 0) {
            /* Held until after the answer: the last close of a file frees its blocks. */
            u->replaced_fd = beneath_open(bucket, raw.p, O_PATH | O_NOFOLLOW, 0);
        }
    }
    if (meta_check_precond(&u->put.pre, cur, &r->err) < 0) {
        return;
    }
    const char *leaf;
    auto_close int parent = -1;
    int got = -EAGAIN;
    for (int tries = 0; tries < 5 && got == -EAGAIN; tries++) {
        got = open_place(u, bucket, &raw, &leaf);
    }
    parent = got;
    e = got < 0 ? got : fstat(u->fd, &st) < 0 || fstat(parent, &bucket_st) < 0 ? -errno : 0;
    u->is_beside = u->is_beside || (e == 0 && st.st_dev != bucket_st.st_dev);
    if (e == 0 && u->is_beside && (e = copy_beside(u, parent)) == 0 && fstat(u->fd, &st) < 0) {
        e = -errno;
    }
    if (e < 0) {
        fail_place(r, e);
        return;
    }
    fill_meta(u, &st, meta_next_generation(r->arena, r->row, cur));
    r->failed = FAIL_POINT("blob.put.before_row", &r->err) < 0;
}

/* ---- after it ---- */

/* One try at moving the file in place. */
static int move_in(struct blob_upload *u, int bucket, bool *is_in) {
    auto_buf struct buf raw = BUF_INIT(BLOB_RAW_MAX);
    const char *leaf;
    auto_free char *temp = u->is_beside ? beside_name(u) : xstrdup(u->id);
    auto_close int parent = open_place(u, bucket, &raw, &leaf);
    if (parent < 0) {
        return parent;
    }
    if (renameat(u->is_beside ? parent : u->b->uploads_fd, temp, parent, leaf) < 0) {
        int e = -errno;
        return e == -ENOENT || e == -ENOTDIR || e == -EISDIR || e == -ENOTEMPTY ? -EAGAIN : e;
    }
    *is_in = true;
    if (u->is_beside) {
        (void)unlinkat(u->b->uploads_fd, u->id, 0);
    }
    return fsync(parent) < 0 ? -errno : 0;
}

static void place_run(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    r->failed = true;
    auto_close int bucket = bucket_open_fd(u->b, u->put.bucket, &r->err);
    if (bucket < 0 || FAIL_POINT("blob.put.before_rename", &r->err) < 0) {
        return;
    }
    int e = -EAGAIN;
    bool is_in = false;
    for (int tries = 0; tries < 5 && e == -EAGAIN; tries++) {
        e = move_in(u, bucket, &is_in);
    }
    if (is_in) {
        (void)FAIL_POINT("blob.put.after_rename", NULL); /* one that kills */
    }
    if (e < 0) {
        r->row_current =
            is_in; /* it is the object, though not known to be durable: its row stays */
        r->retried = e == -EXDEV && !u->is_beside;
        fail_place(r, e);
        return;
    }
    r->failed = false;
}

/* ---- giving up ---- */

static void abandon_run(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    auto_buf struct buf raw = BUF_INIT(BLOB_RAW_MAX);
    auto_close int bucket = bucket_open_fd(u->b, u->put.bucket, NULL);
    const char *leaf;
    if (bucket < 0) {
        return;
    }
    (void)place_make(bucket, u->put.name, &raw);
    if (!raw.n) {
        return;
    }
    auto_close int parent = place_open_parent(bucket, raw.p, &leaf);
    if (parent >= 0 && u->is_beside) {
        auto_free char *temp = beside_name(u);
        int fd = openat(u->b->uploads_fd, u->id, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        (void)unlinkat(parent, temp, 0);
        if (fd >= 0) {
            close(u->fd);
            u->fd = fd;
        }
    }
    place_prune(bucket, raw.p); /* directories that were made for it */
}

static void publish_again(struct blob_req *r);

/* The answer is why it failed, whatever became of tidying up. */
static void abandoned(struct blob_req *r) {
    r->err = *(const struct err *)r->arg2;
    r->failed = true;
    if (r->retried) {
        publish_again(r);
        return;
    }
    upload_finish_end(r);
}

static void abandon_files(struct blob_req *r) {
    req_lane(r, abandon_run, abandoned);
}

static void give_up(struct blob_req *r) {
    r->arg2 = arena_memdup(r->arena, &r->err, sizeof(r->err));
    abandon_files(r);
}

/* The row as it was; when there is no room for that either, the one that is there says the same. */
static void take_back(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    r->arg2 = arena_memdup(r->arena, &r->err, sizeof(r->err));
    store_txn_kv(req_txn(r), "object", req_key(r, u->put.bucket, u->put.name), r->row);
    if (u->is_session) {
        auto_buf struct buf open = BUF_INIT(BUF_NO_MAX);
        session_encode(&open, u);
        store_txn_kv(req_txn(r), "upload", str_of(u->id), buf_str(&open));
    }
    req_commit(r, abandon_files);
}

/* ---- the chain ---- */

static void placed(struct blob_req *r) {
    if (!r->failed || r->row_current) {
        upload_finish_end(r);
    } else {
        take_back(r);
    }
}

static void noted(struct blob_req *r) {
    if (r->failed) {
        give_up(r);
    } else {
        req_lane(r, place_run, placed);
    }
}

static void looked(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    if (r->failed) {
        give_up(r);
        return;
    }
    auto_buf struct buf row = BUF_INIT(BUF_NO_MAX), done = BUF_INIT(BUF_NO_MAX);
    meta_encode_coming(&row, &u->meta, r->meta);
    store_txn_kv(req_txn(r), "object", req_key(r, u->put.bucket, u->put.name), buf_str(&row));
    if (u->is_session) {
        session_encode_done(&done, u);
        store_txn_kv(req_txn(r), "upload", str_of(u->id), buf_str(&done));
    }
    req_commit(r, noted);
}

static void row_got(struct blob_req *r) {
    if (r->failed) {
        upload_finish_end(r);
    } else {
        req_lane(r, look_run, looked);
    }
}

static void locked(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    req_row(r, "object", req_key(r, u->put.bucket, u->put.name), row_got);
}

/* Two mounts of one file system between which nothing is renamed. */
static void publish_again(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    u->is_beside = true;
    r->retried = r->failed = false;
    r->meta = NULL;
    locked(r);
}

void publish(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    req_lock(r, u->put.bucket, u->put.name, locked);
}
