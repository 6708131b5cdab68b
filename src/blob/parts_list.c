/* The open multipart uploads of one bucket, by the names of their objects. Rows are kept by id, so
 * all of them are looked at (limits.max_open_uploads bounds how many there are). */
#include "blob/upload_int.h"

#define SCAN_BATCH 500

static void list_end(struct blob_req *r) {
    struct blob_uploads *u = r->arg;
    struct blob *b = r->b;
    struct blob_req done = *r; /* cb may free u, and with it r */
    u->cb(u, done.failed ? &done.err : NULL);
    blob_req_fini(&done);
    blob_drop(b);
}

static int open_cmp(const void *x, const void *y) {
    const struct blob_open_upload *a = x, *b = y;
    int by_name = str_cmp(a->name, b->name);
    return by_name ? by_name : str_cmp(a->id, b->id);
}

static bool is_wanted(const struct blob_uploads *u, const struct blob_open_upload *o) {
    int beside = str_cmp(o->name, u->after_name);
    return str_starts(o->name, u->prefix) &&
           (!u->after_name.n || beside > 0 ||
            (beside == 0 && u->after_id.n && str_cmp(o->id, u->after_id) > 0));
}

static void keep(struct blob_req *r, struct blob_open_upload o) {
    struct blob_uploads *u = r->arg;
    if (u->nr == u->cap) {
        size_t cap = u->cap ? 2 * u->cap : 64;
        struct blob_open_upload *more = arena_calloc(r->arena, cap, sizeof(*more));
        if (u->nr) {
            memcpy(more, u->items, u->nr * sizeof(*more));
        }
        u->items = more;
        u->cap = cap;
    }
    u->items[u->nr++] = o;
}

static void list_rows(struct store_kv_scan *s, const struct store_kv_pair *kv, size_t n,
                      const struct err *err);

static void list_scan(struct blob_req *r, struct str after) {
    r->scan = (struct store_kv_scan){.space = "multipart",
                                     .after = after,
                                     .max = SCAN_BATCH,
                                     .arena = r->arena,
                                     .cb = list_rows,
                                     .arg = r};
    r->b->store->ops->kv_scan(r->b->store, &r->scan);
}

static void list_rows(struct store_kv_scan *s, const struct store_kv_pair *kv, size_t n,
                      const struct err *err) {
    struct blob_req *r = s->arg;
    struct blob_uploads *u = r->arg;
    usec_t now = time_wall();
    if (err) {
        r->failed = true;
        r->err = *err;
        list_end(r);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct rec rec;
        struct blob_put put;
        if (rec_parse(r->arena, kv[i].value, &rec, NULL) < 0) {
            continue;
        }
        meta_decode_put(r->arena, &rec, &put);
        struct blob_open_upload o = {.id = kv[i].key,
                                     .name = put.name,
                                     .storage_class = put.storage_class,
                                     .created = rec_get_u64(&rec, "created", 0)};
        if (str_eq(put.bucket, u->bucket) && o.created + BLOB_SESSION_LIFE >= now &&
            is_wanted(u, &o)) {
            keep(r, o);
        }
    }
    if (n == SCAN_BATCH) {
        list_scan(r, kv[n - 1].key);
        return;
    }
    if (u->nr) {
        qsort(u->items, u->nr, sizeof(u->items[0]), open_cmp);
    }
    list_end(r);
}

static void list_looked(struct blob_req *r) {
    if (r->failed) {
        list_end(r);
    } else {
        list_scan(r, STR(""));
    }
}

static void list_run(struct blob_req *r) {
    struct blob_uploads *u = r->arg;
    auto_close int bucket = bucket_open_fd(r->b, u->bucket, &r->err);
    r->failed = bucket < 0;
}

void blob_uploads_list(struct blob *b, struct blob_uploads *u) {
    struct blob_req *r = &u->req;
    blob_req_init(r);
    r->arg = u;
    u->items = NULL;
    u->nr = u->cap = 0;
    req_begin(b, r);
    req_lane(r, list_run, list_looked);
}
