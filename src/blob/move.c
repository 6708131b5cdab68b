/* Moving an object within its bucket: one rename under both objects' locks (taken in the order of
 * their names). As with uploads (publish.c) the new name's row comes first, with what is there
 * until the rename; the old name's row goes afterwards, and says nothing once its file is away. So
 * at any moment, and whatever there is no room for, each of the two names has its own facts or is
 * gone. */
#include "blob/blob_int.h"

#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static void move_end(struct blob_req *r) {
    struct blob_req *peer = take(&r->peer);
    req_unlock(peer);
    blob_req_fini(peer);
    free(peer);
    if (r->fd >= 0) {
        close(take_fd(&r->fd));
    }
    req_done(r);
}

static bool look_up(int bucket, struct blob_req *r, struct str name, struct str row,
                    struct buf *raw, struct blob_meta *ret, struct err *err) {
    struct stat st;
    int e = place_find(bucket, name, raw, &st);
    if (e < 0) {
        if (e != -ENOENT && e != -ENAMETOOLONG) {
            err_sys(err, -e, "look up object %.*s/%.*s", STR_ARG(r->bucket), STR_ARG(name));
        }
        return false;
    }
    (void)meta_pick(r->arena, row, r->bucket, name, &st, ret);
    return true;
}

static int rename_once(struct blob_req *r, int bucket, const char *from_raw) {
    auto_buf struct buf raw = BUF_INIT(BLOB_RAW_MAX);
    const char *leaf, *from_leaf;
    int e = place_make(bucket, r->name, &raw);
    if (e < 0) {
        return e == -ENOENT || e == -ENOTDIR ? -EAGAIN : e;
    }
    auto_close int from = place_open_parent(bucket, from_raw, &from_leaf);
    auto_close int parent = place_open_parent(bucket, raw.p, &leaf);
    if (from < 0 || parent < 0) {
        return from < 0 ? from : parent;
    }
    if (renameat(from, from_leaf, parent, leaf) < 0) {
        e = -errno;
        return e == -ENOTDIR || e == -EISDIR || e == -ENOTEMPTY ? -EAGAIN : e;
    }
    return fsync(parent) < 0 || fsync(from) < 0 ? -errno : 0;
}

/* ---- before the row ---- */

struct move {
    struct blob_meta src, dst;
    bool has_dst;
};

static void look_run(struct blob_req *r) {
    struct move *v = r->arg2;
    struct err err = {0};
    struct stat st;
    r->failed = true;
    auto_buf struct buf raw = BUF_INIT(BLOB_RAW_MAX), dst_raw = BUF_INIT(BLOB_RAW_MAX);
    auto_close int bucket = bucket_open_fd(r->b, r->bucket, &r->err);
    if (bucket < 0 || blob_check_object_name(r->src_name, &r->err) < 0 ||
        blob_check_object_name(r->name, &r->err) < 0) {
        return;
    }
    bool has_src = look_up(bucket, r, r->src_name, r->row2, &raw, &v->src, &err);
    if (!has_src || (r->src_generation && r->src_generation != v->src.generation)) {
        if (err.code) {
            r->err = err;
        } else {
            err_set(&r->err, ERR_NOT_FOUND, "No such object: %.*s/%.*s", STR_ARG(r->bucket),
                    STR_ARG(r->src_name));
        }
        return;
    }
    v->has_dst = look_up(bucket, r, r->name, r->row, &dst_raw, &v->dst, &err);
    if (err.code) {
        r->err = err;
        return;
    }
    if (meta_check_precond(&r->src_pre, &v->src, &r->err) < 0 ||
        meta_check_precond(&r->pre, v->has_dst ? &v->dst : NULL, &r->err) < 0) {
        return;
    }
    r->fd = beneath_open(bucket, raw.p, O_RDONLY | O_NONBLOCK, 0);
    if (r->fd < 0 || fstat(r->fd, &st) < 0) {
        err_sys(&r->err, r->fd < 0 ? -r->fd : errno, "move object %.*s/%.*s", STR_ARG(r->bucket),
                STR_ARG(r->src_name));
        return;
    }
    struct blob_meta file, *m = r->meta = arena_alloc(r->arena, sizeof(*m));
    meta_from_file(r->bucket, r->name, &st, &file);
    *m = v->src;
    m->bucket = r->bucket;
    m->name = r->name;
    m->generation = meta_next_generation(r->arena, r->row, v->has_dst ? &v->dst : NULL);
    m->metageneration = 1;
    m->time_created = m->updated = time_wall();
    m->ctime_ns = 0; /* the rename changes it */
    m->mtime_ns = file.mtime_ns;
    r->failed = FAIL_POINT("blob.move.before_row", &r->err) < 0;
}

/* ---- after it ---- */

static void move_run(struct blob_req *r) {
    struct move *v = r->arg2;
    struct stat st;
    r->failed = true;
    auto_buf struct buf raw = BUF_INIT(BLOB_RAW_MAX);
    auto_close int bucket = bucket_open_fd(r->b, r->bucket, &r->err);
    if (bucket < 0 || FAIL_POINT("blob.move.before_rename", &r->err) < 0) {
        return;
    }
    int e = place_find(bucket, r->src_name, &raw, &st);
    e = e < 0 ? e : -EAGAIN;
    for (int tries = 0; tries < 5 && e == -EAGAIN; tries++) {
        e = rename_once(r, bucket, raw.p);
    }
    if (e < 0 || fstat(r->fd, &st) < 0) {
        err_sys(&r->err, e < 0 ? -e : errno, "move object %.*s/%.*s", STR_ARG(r->bucket),
                STR_ARG(r->src_name));
        return;
    }
    (void)FAIL_POINT("blob.move.after_rename", NULL); /* one that kills */
    place_prune(bucket, raw.p);
    /* A file that a job writes is known by its change time, as before. */
    r->meta->ctime_ns = v->src.ctime_ns ? meta_ctime_ns(&st) : 0;
    r->failed = false;
}

static void move_told(struct blob_req *r) {
    r->failed = false; /* it has moved, whether or not the older rows could be tidied up */
    move_end(r);
}

static void move_taken_back(struct blob_req *r) {
    r->err = *(const struct err *)r->arg2;
    r->failed = true;
    move_end(r);
}

static void moved(struct blob_req *r) {
    struct str key = req_key(r, r->bucket, r->name);
    if (r->failed) {
        r->arg2 = arena_memdup(r->arena, &r->err, sizeof(r->err));
        store_txn_kv(req_txn(r), "object", key, r->row);
        req_commit(r, move_taken_back);
        return;
    }
    auto_buf struct buf row = BUF_INIT(BUF_NO_MAX);
    meta_encode(&row, r->meta);
    store_txn_kv(req_txn(r), "object", key, buf_str(&row));
    store_txn_kv(req_txn(r), "object", req_key(r, r->bucket, r->src_name), (struct str){0});
    req_commit(r, move_told);
}

static void noted(struct blob_req *r) {
    if (r->failed) {
        move_end(r);
    } else {
        req_lane(r, move_run, moved);
    }
}

static void looked(struct blob_req *r) {
    const struct move *v = r->arg2;
    if (r->failed) {
        move_end(r);
        return;
    }
    auto_buf struct buf row = BUF_INIT(BUF_NO_MAX);
    meta_encode_coming(&row, r->meta, v->has_dst ? &v->dst : NULL);
    store_txn_kv(req_txn(r), "object", req_key(r, r->bucket, r->name), buf_str(&row));
    req_commit(r, noted);
}

static void dst_row(struct blob_req *r) {
    if (r->failed) {
        move_end(r);
        return;
    }
    r->arg2 = arena_calloc(r->arena, 1, sizeof(struct move));
    req_lane(r, look_run, looked);
}

static void src_row(struct blob_req *r) {
    if (r->failed) {
        move_end(r);
        return;
    }
    r->row2 = r->row;
    req_row(r, "object", req_key(r, r->bucket, r->name), dst_row);
}

static void nothing_run(struct blob_req *r) {}

static void move_onto_itself(struct blob_req *r) {
    r->failed = true;
    err_field(&r->err, ERR_INVALID_ARGUMENT, "destinationObject",
              "The source and the destination of a move are the same object.");
    req_done(r);
}

static void second_locked(struct blob_req *second) {
    struct blob_req *r = second->peer ? second : second->arg;
    req_row(r, "object", req_key(r, r->bucket, r->src_name), src_row);
}

static void first_locked(struct blob_req *first) {
    struct blob_req *r = first->peer ? first : first->arg, *peer = r->peer;
    struct blob_req *second = first == r ? peer : r;
    req_lock(second, r->bucket, second == r ? r->name : r->src_name, second_locked);
}

void blob_object_move(struct blob *b, struct blob_req *r) {
    req_begin(b, r);
    if (str_eq(r->src_name, r->name)) {
        req_lane(r, nothing_run, move_onto_itself);
        return;
    }
    struct blob_req *peer = r->peer = xcalloc(1, sizeof(*peer));
    blob_req_init(peer); /* it only waits for and holds the source's lock */
    peer->b = b;
    peer->arg = r;
    if (str_cmp(r->name, r->src_name) < 0) {
        req_lock(r, r->bucket, r->name, first_locked);
    } else {
        req_lock(peer, r->bucket, r->src_name, first_locked);
    }
}
