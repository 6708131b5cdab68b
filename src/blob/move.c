/* Moving an object within its bucket: one rename under both objects' locks (taken in the order of
 * their names). A rename changes the file's change time, so the record is written anew afterwards.
 * A crash in between must not cost the object its metadata: the facts are put down first in the
 * space "moving" (by the new name), and the next start finishes what it finds there. */
#include "blob/blob_int.h"

#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define RECOVER_MAX 10000 /* moves under way at once are bounded by connections */

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
                    struct buf *raw, struct stat *st, struct blob_meta *ret, struct err *err) {
    struct blob_meta old;
    int e = place_find(bucket, name, raw, st);
    if (e < 0) {
        if (e != -ENOENT && e != -ENAMETOOLONG) {
            err_sys(err, -e, "look up object %.*s/%.*s", STR_ARG(r->bucket), STR_ARG(name));
        }
        return false;
    }
    bool has_old = meta_decode(r->arena, row, &old);
    if (has_old && meta_matches(&old, st)) {
        *ret = old;
    } else {
        meta_from_file(r->arena, r->bucket, name, st, has_old ? &old : NULL, ret);
    }
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

static void move_run(struct blob_req *r) {
    struct blob_meta src, dst;
    struct stat st, dst_st;
    struct err err = {0};
    r->failed = true;
    auto_buf struct buf raw = BUF_INIT(BLOB_RAW_MAX), dst_raw = BUF_INIT(BLOB_RAW_MAX);
    auto_close int bucket = bucket_open_fd(r->b, r->bucket, &r->err);
    if (bucket < 0 || blob_check_object_name(r->src_name, &r->err) < 0 ||
        blob_check_object_name(r->name, &r->err) < 0) {
        return;
    }
    bool has_src = look_up(bucket, r, r->src_name, r->row2, &raw, &st, &src, &err);
    if (!has_src || (r->src_generation && r->src_generation != src.generation)) {
        if (err.code) {
            r->err = err;
        } else {
            err_set(&r->err, ERR_NOT_FOUND, "No such object: %.*s/%.*s", STR_ARG(r->bucket),
                    STR_ARG(r->src_name));
        }
        return;
    }
    bool has_dst = look_up(bucket, r, r->name, r->row, &dst_raw, &dst_st, &dst, &err);
    if (err.code) {
        r->err = err;
        return;
    }
    if (meta_check_precond(&r->src_pre, &src, &r->err) < 0 ||
        meta_check_precond(&r->pre, has_dst ? &dst : NULL, &r->err) < 0 ||
        FAIL_POINT("blob.move.before_rename", &r->err) < 0) {
        return;
    }
    r->fd = beneath_open(bucket, raw.p, O_RDONLY | O_NONBLOCK, 0);
    int e = r->fd < 0 ? r->fd : -EAGAIN;
    for (int tries = 0; tries < 5 && e == -EAGAIN; tries++) {
        e = rename_once(r, bucket, raw.p);
    }
    if (e < 0 || fstat(r->fd, &st) < 0) {
        err_sys(&r->err, e < 0 ? -e : errno, "move object %.*s/%.*s", STR_ARG(r->bucket),
                STR_ARG(r->src_name));
        return;
    }
    if (FAIL_POINT("blob.move.after_rename", &r->err) < 0) {
        return;
    }
    place_prune(bucket, raw.p);
    struct blob_meta *m = r->meta = arena_alloc(r->arena, sizeof(*m));
    meta_from_file(r->arena, r->bucket, r->name, &st, has_dst ? &dst : NULL, m);
    uint64_t generation = m->generation;
    usec_t now = m->time_created;
    *m = src;
    m->bucket = r->bucket;
    m->name = r->name;
    m->generation = generation;
    m->metageneration = 1;
    m->time_created = m->updated = now;
    m->ino = st.st_ino;
    m->ctime_ns = meta_ctime_ns(&st);
    r->failed = false;
}

/* The note goes with the result, whatever that is; the result is told when it is gone. */
static void note_removed(struct blob_req *r) {
    struct err *why = r->arg2;
    if (why) {
        r->failed = true;
        r->err = *why;
    }
    move_end(r);
}

static void move_made(struct blob_req *r) {
    struct str key = req_key(r, r->bucket, r->name);
    if (r->failed && !r->row2.p) {
        move_end(r);
        return;
    }
    if (r->failed) {
        r->arg2 = arena_memdup(r->arena, &r->err, sizeof(r->err));
        r->failed = false;
    } else {
        auto_buf struct buf row = BUF_INIT(BUF_NO_MAX);
        meta_encode(&row, r->meta);
        store_txn_kv(req_txn(r), "object", key, buf_str(&row));
        store_txn_kv(req_txn(r), "object", req_key(r, r->bucket, r->src_name), (struct str){0});
    }
    store_txn_kv(req_txn(r), "moving", key, (struct str){0});
    req_commit(r, note_removed);
}

static void move_noted(struct blob_req *r) {
    if (r->failed) {
        move_end(r);
        return;
    }
    req_lane(r, move_run, move_made);
}

static void move_dst_row(struct blob_req *r) {
    if (r->failed) {
        move_end(r);
        return;
    }
    if (!r->row2.p) { /* the source is a file without a record: nothing to lose */
        move_noted(r);
        return;
    }
    auto_buf struct buf note = BUF_INIT(BUF_NO_MAX);
    rec_begin(&note);
    rec_put(&note, "bucket", r->bucket);
    rec_put(&note, "src", r->src_name);
    rec_put(&note, "dst", r->name);
    rec_put(&note, "row", r->row2);
    store_txn_kv(req_txn(r), "moving", req_key(r, r->bucket, r->name), buf_str(&note));
    req_commit(r, move_noted);
}

static void move_src_row(struct blob_req *r) {
    if (r->failed) {
        move_end(r);
        return;
    }
    r->row2 = r->row;
    req_row(r, "object", req_key(r, r->bucket, r->name), move_dst_row);
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
    req_row(r, "object", req_key(r, r->bucket, r->src_name), move_src_row);
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

/* ---- after a crash ---- */

static void recover_end(struct blob_req *r) {
    struct blob *b = r->b;
    blob_req_fini(r);
    free(r);
    b->recovered_cb(b->recovered_arg);
    blob_drop(b);
}

/* Lane: of each note, is the file under the new name the one that was to be moved? */
static void recover_run(struct blob_req *r) {
    for (size_t i = 0; i < r->nr_items; i++) {
        struct blob_meta *m = r->items[i].meta;
        struct stat st;
        auto_buf struct buf raw = BUF_INIT(BLOB_RAW_MAX);
        auto_close int bucket = bucket_open_fd(r->b, m->bucket, NULL);
        r->items[i].is_prefix = bucket >= 0 && place_find(bucket, m->name, &raw, &st) == 0 &&
                                st.st_ino == m->ino && (uint64_t)st.st_size == m->size;
        if (r->items[i].is_prefix) {
            struct blob_meta now;
            meta_from_file(r->arena, m->bucket, m->name, &st, m, &now);
            m->generation = now.generation;
            m->time_created = m->updated = now.time_created;
            m->metageneration = 1;
            m->ctime_ns = now.ctime_ns;
        }
    }
}

static void recover_looked(struct blob_req *r) {
    for (size_t i = 0; !r->failed && i < r->nr_items; i++) {
        const struct blob_meta *m = r->items[i].meta;
        struct str key = req_key(r, m->bucket, m->name);
        if (r->items[i].is_prefix) {
            auto_buf struct buf row = BUF_INIT(BUF_NO_MAX);
            meta_encode(&row, m);
            store_txn_kv(req_txn(r), "object", key, buf_str(&row));
        }
        store_txn_kv(req_txn(r), "moving", key, (struct str){0});
    }
    if (r->failed || r->nr_items == 0) {
        recover_end(r);
    } else {
        req_commit(r, recover_end);
    }
}

static void recover_rows(struct store_kv_scan *s, const struct store_kv_pair *p, size_t n,
                         const struct err *err) {
    struct blob_req *r = s->arg;
    r->items = arena_calloc(r->arena, n + 1, sizeof(*r->items));
    for (size_t i = 0; !err && i < n; i++) {
        struct rec rec;
        struct blob_meta *m = arena_alloc(r->arena, sizeof(*m));
        if (rec_parse(r->arena, p[i].value, &rec, NULL) == 0 &&
            meta_decode(r->arena, rec_get(&rec, "row"), m)) {
            m->bucket = rec_get(&rec, "bucket");
            m->name = rec_get(&rec, "dst");
            r->items[r->nr_items++] = (struct blob_item){.meta = m};
        }
    }
    req_lane(r, recover_run, recover_looked);
}

void blob_recover(struct blob *b, void (*cb)(void *arg), void *arg) {
    b->recovered_cb = cb;
    b->recovered_arg = arg;
    struct blob_req *r = xcalloc(1, sizeof(*r));
    blob_req_init(r);
    req_begin(b, r);
    r->scan = (struct store_kv_scan){
        .space = "moving", .max = RECOVER_MAX, .arena = r->arena, .cb = recover_rows, .arg = r};
    b->store->ops->kv_scan(b->store, &r->scan);
}
