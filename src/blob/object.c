/* Reading, listing and deleting objects. A record counts only while it speaks of the very file that
 * is there; otherwise the file speaks for itself. */
#include "blob/blob_int.h"

#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define SCAN_BATCH 256
/* A younger file may still change within one clock tick */
#define SETTLED_USEC (2 * USEC_PER_SEC)

void object_fail_missing(struct blob_req *r) {
    r->failed = true;
    err_set(&r->err, ERR_NOT_FOUND, "No such object: %.*s/%.*s", STR_ARG(r->bucket),
            STR_ARG(r->name));
}

/* The file of r's object, open. On failure r is failed. */
static int open_object(struct blob_req *r, struct buf *raw, struct stat *st, int bucket_fd) {
    if (blob_check_object_name(r->name, &r->err) < 0) {
        r->failed = true;
        return -1;
    }
    int e = place_find(bucket_fd, r->name, raw, st);
    int fd = e < 0 ? e : beneath_open(bucket_fd, raw->p, O_RDONLY | O_NONBLOCK, 0);
    if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP || fd == -ENAMETOOLONG) {
        object_fail_missing(r);
        return -1;
    }
    if (fd < 0 || fstat(fd, st) < 0) {
        r->failed = true;
        return err_sys(&r->err, fd < 0 ? -fd : errno, "open object %.*s/%.*s", STR_ARG(r->bucket),
                       STR_ARG(r->name));
    }
    return fd;
}

void object_load_run(struct blob_req *r) {
    auto_close int bucket = bucket_open_fd(r->b, r->bucket, &r->err);
    if (bucket < 0) {
        r->failed = true;
        return;
    }
    auto_buf struct buf raw = BUF_INIT(BLOB_RAW_MAX);
    struct stat st;
    int fd = open_object(r, &raw, &st, bucket);
    if (fd < 0) {
        return;
    }
    if (r->fd >= 0) {
        close(r->fd);
    }
    r->fd = fd;
    r->meta = arena_alloc(r->arena, sizeof(*r->meta));
    enum meta_fit fit = meta_pick(r->arena, r->row, r->bucket, r->name, &st, r->meta);
    r->row_current = fit != META_FILE;
    r->row_pending = fit == META_WAS;
}

static bool wants_hash(const struct blob_req *r) {
    const struct blob_meta *m = r->meta;
    return r->hashes != BLOB_HASH_KNOWN && m->size <= limits.hash_on_read_bytes &&
           (!m->has_crc32c || (r->hashes == BLOB_HASH_ALL && !m->has_md5 && !m->components));
}

static void hash_run(struct blob_req *r) {
    struct blob_meta *m = r->meta;
    struct digest *d =
        digest_new(!m->components && (r->hashes == BLOB_HASH_ALL || m->size <= BLOB_MD5_INLINE));
    struct stat st;
    /* A file that changes under our hands has no checksum; it is answered without. */
    if (digest_file(r->fd, m->size, d) == 0 && fstat(r->fd, &st) == 0 && meta_matches(m, &st)) {
        m->has_crc32c = true;
        m->crc32c = digest_crc32c(d);
        m->has_md5 = digest_md5(d, m->md5) || m->has_md5;
    }
    digest_free(d);
}

static void get_finish(struct blob_req *r) {
    r->failed =
        false; /* the cached facts lost a race with a newer change: they were right when read */
    if (!r->want_fd && r->fd >= 0) {
        close(r->fd);
        r->fd = -1;
    }
    req_done(r);
}

static void get_hashed(struct blob_req *r) {
    if (r->failed) {
        req_done(r);
        return;
    }
    struct blob_meta *m = r->meta;
    bool settled = r->row_current || (usec_t)(m->ctime_ns / 1000) + SETTLED_USEC < time_wall();
    if (!m->has_crc32c || !settled || r->row_pending) { /* the row is of the file that comes */
        get_finish(r);
        return;
    }
    auto_buf struct buf row = BUF_INIT(BUF_NO_MAX);
    meta_encode(&row, m);
    struct str key = req_key(r, r->bucket, r->name);
    store_txn_kv_expect(req_txn(r), "object", key, r->row);
    store_txn_kv(req_txn(r), "object", key, buf_str(&row));
    req_commit(r, get_finish);
}

static void get_relock(struct blob_req *r);

static void get_checked(struct blob_req *r) {
    if (!r->failed && !r->row_current && !r->locked) {
        /* No row speaks of this file. If a change is under way its row comes in a moment: look
         * again when nobody holds the object. */
        req_lock(r, r->bucket, r->name, get_relock);
        return;
    }
    req_unlock(r);
    if (!r->failed && r->generation && r->generation != r->meta->generation) {
        object_fail_missing(r);
    }
    if (!r->failed && meta_check_precond(&r->pre, r->meta, &r->err) < 0) {
        r->failed = true;
    }
    if (r->failed) {
        req_done(r);
    } else if (wants_hash(r)) {
        req_lane(r, hash_run, get_hashed);
    } else {
        get_finish(r);
    }
}

static void get_row(struct blob_req *r) {
    if (r->failed) {
        req_done(r);
        return;
    }
    req_lane(r, object_load_run, get_checked);
}

static void get_relock(struct blob_req *r) {
    req_row(r, "object", req_key(r, r->bucket, r->name), get_row);
}

void blob_object_get(struct blob *b, struct blob_req *r) {
    req_begin(b, r);
    get_relock(r);
}

/* ---- list ---- */

static void list_run(struct blob_req *r) {
    r->failed = true;
    auto_close int fd = bucket_open_fd(r->b, r->bucket, &r->err);
    if (fd < 0) {
        return;
    }
    struct walk_opts o = {.prefix = r->prefix,
                          .delimiter = r->delimiter,
                          .start = r->start_offset,
                          .end = r->end_offset,
                          .snaps = r->b->snaps,
                          .glob = r->glob,
                          .with_folder_objects = r->with_folder_objects,
                          .max = r->max};
    if (r->page_token.n) { /* 'p' PREFIX or 'n' NAME: what the last page ended with */
        o.after = str_sub(r->page_token, 1, r->page_token.n);
        o.skip_after = r->page_token.p[0] == 'p';
    }
    struct walk_result res;
    if (walk_list(fd, &o, r->arena, &res, &r->err) < 0) {
        return;
    }
    r->items = arena_calloc(r->arena, res.n ? res.n : 1, sizeof(*r->items));
    r->nr_items = res.n;
    for (size_t i = 0; i < res.n; i++) {
        struct blob_meta *m = arena_alloc(r->arena, sizeof(*m));
        meta_from_file(r->bucket, res.items[i].name, &res.items[i].st, m);
        r->items[i] = (struct blob_item){res.items[i].is_prefix, m};
    }
    if (res.more) {
        const struct walk_item *last = &res.items[res.n - 1];
        r->next_page = str_of(
            arena_printf(r->arena, "%c%.*s", last->is_prefix ? 'p' : 'n', STR_ARG(last->name)));
    }
    r->cursor = 0;
    r->failed = false;
}

static void merge_next(struct blob_req *r);

/* Rows come in the same order as items, so both lists advance together. */
static void merge_rows(struct store_kv_scan *s, const struct store_kv_pair *p, size_t n,
                       const struct err *err) {
    struct blob_req *r = s->arg;
    if (err) {
        r->failed = true;
        r->err = *err;
    }
    size_t skip = r->bucket.n + 1;
    struct str last = n ? str_sub(p[n - 1].key, skip, p[n - 1].key.n) : STR("");
    for (size_t k = 0; r->cursor < r->nr_items; r->cursor++) {
        struct blob_item *it = &r->items[r->cursor];
        if (n == SCAN_BATCH && str_cmp(it->meta->name, last) > 0) {
            break; /* the batch ends before this item */
        }
        if (it->is_prefix) {
            continue;
        }
        while (k < n && str_cmp(str_sub(p[k].key, skip, p[k].key.n), it->meta->name) < 0) {
            k++;
        }
        if (k < n && str_eq(str_sub(p[k].key, skip, p[k].key.n), it->meta->name)) {
            (void)meta_merge(r->arena, p[k].value, it->meta);
        }
    }
    arena_free(s->arena);
    merge_next(r);
}

static void merge_got(struct blob_req *r) {
    if (r->failed) {
        req_done(r);
        return;
    }
    struct blob_meta *m = r->items[r->cursor++].meta;
    (void)meta_merge(r->arena, r->row, m);
    r->scan = (struct store_kv_scan){.space = "object",
                                     .prefix = req_key(r, r->bucket, STR("")),
                                     .after = req_key(r, r->bucket, m->name),
                                     .max = SCAN_BATCH,
                                     .arena = arena_new(ARENA_NO_MAX),
                                     .cb = merge_rows,
                                     .arg = r};
    r->b->store->ops->kv_scan(r->b->store, &r->scan);
}

static void merge_next(struct blob_req *r) {
    while (!r->failed && r->cursor < r->nr_items && r->items[r->cursor].is_prefix) {
        r->cursor++;
    }
    if (r->failed || r->cursor >= r->nr_items) {
        req_done(r);
        return;
    }
    req_row(r, "object", req_key(r, r->bucket, r->items[r->cursor].meta->name), merge_got);
}

void blob_object_list(struct blob *b, struct blob_req *r) {
    CHECK(r->max > 0);
    req_begin(b, r);
    req_lane(r, list_run, merge_next);
}

/* ---- delete ---- */

static void delete_run(struct blob_req *r) {
    auto_close int bucket = bucket_open_fd(r->b, r->bucket, &r->err);
    if (bucket < 0) {
        r->failed = true;
        return;
    }
    auto_buf struct buf raw = BUF_INIT(BLOB_RAW_MAX);
    struct stat st;
    auto_close int fd = open_object(r, &raw, &st, bucket);
    if (fd < 0) {
        return;
    }
    struct blob_meta cur;
    (void)meta_pick(r->arena, r->row, r->bucket, r->name, &st, &cur);
    if (r->generation && r->generation != cur.generation) {
        object_fail_missing(r);
        return;
    }
    if (meta_check_precond(&r->pre, &cur, &r->err) < 0) {
        r->failed = true;
        return;
    }
    const char *leaf;
    auto_close int parent = place_open_parent(bucket, raw.p, &leaf);
    if (parent < 0 || unlinkat(parent, leaf, 0) < 0 || fsync(parent) < 0) {
        r->failed = true;
        err_sys(&r->err, parent < 0 ? -parent : errno, "delete object %.*s/%.*s",
                STR_ARG(r->bucket), STR_ARG(r->name));
        return;
    }
    place_prune(bucket, raw.p);
}

static void delete_told(struct blob_req *r) {
    r->failed = false; /* the object is gone; a row without its file says nothing */
    req_done(r);
}

static void delete_gone(struct blob_req *r) {
    if (r->failed) {
        req_done(r);
        return;
    }
    store_txn_kv(req_txn(r), "object", req_key(r, r->bucket, r->name), (struct str){0});
    req_commit(r, delete_told);
}

static void delete_row(struct blob_req *r) {
    if (r->failed) {
        req_done(r);
        return;
    }
    req_lane(r, delete_run, delete_gone);
}

static void delete_locked(struct blob_req *r) {
    req_row(r, "object", req_key(r, r->bucket, r->name), delete_row);
}

void blob_object_delete(struct blob *b, struct blob_req *r) {
    req_begin(b, r);
    req_lock(r, r->bucket, r->name, delete_locked);
}
