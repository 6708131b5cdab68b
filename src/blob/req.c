/* Steps of a request: the disk lane, the store, the per-object lock. A request is a chain of `next`
 * functions on the loop; every chain has at least one asynchronous step, so no callback runs from
 * within the call that started it. */
#include "blob/blob_int.h"

#include <unistd.h>

#include "sys/loop.h"

struct blob_lock {
    struct list waiters;
};

void blob_hold(struct blob *b) {
    CHECK(!b->is_closing);
    b->running++;
}

void blob_req_init(struct blob_req *r) {
    *r = (struct blob_req){.arena = arena_new(ARENA_NO_MAX), .fd = -1};
    list_init(&r->lock_link);
}

void blob_req_init_object(struct blob_req *r, struct str bucket, struct str name,
                          void (*cb)(struct blob_req *, const struct err *err), void *arg) {
    blob_req_init(r);
    r->bucket = bucket;
    r->name = name;
    r->cb = cb;
    r->arg = arg;
}

void blob_req_fini(struct blob_req *r) {
    if (r->has_txn) {
        store_txn_fini(&r->txn);
    }
    if (r->fd >= 0) {
        close(r->fd);
    }
    free(r->lock_key);
    arena_free(r->arena);
    *r = (struct blob_req){.fd = -1};
}

struct str blob_req_str(struct blob_req *r, struct str s) {
    return s.n ? arena_str(r->arena, s) : STR("");
}

void req_begin(struct blob *b, struct blob_req *r) {
    r->b = b;
    blob_hold(b);
}

static void lane_run(struct lane_work *w) {
    struct blob_req *r = CONTAINER_OF(w, struct blob_req, work);
    r->lane_fn(r);
}

static void lane_done(struct lane_work *w) {
    struct blob_req *r = CONTAINER_OF(w, struct blob_req, work);
    if (w->cancelled) {
        r->failed = true;
        err_set(&r->err, ERR_UNAVAILABLE, "the server is closing");
    }
    r->next(r);
}

void req_lane(struct blob_req *r, void (*fn)(struct blob_req *), void (*next)(struct blob_req *)) {
    r->lane_fn = fn;
    r->next = next;
    r->work = (struct lane_work){.run = lane_run, .done = lane_done};
    lane_submit(r->b->disk, &r->work);
}

static void row_got(struct store_kv_get *g, struct str value, const struct err *err) {
    struct blob_req *r = g->arg;
    if (err) {
        r->failed = true;
        r->err = *err;
    }
    r->row = value;
    r->next(r);
}

void req_row(struct blob_req *r, const char *space, struct str key,
             void (*next)(struct blob_req *)) {
    r->next = next;
    r->kv = (struct store_kv_get){
        .space = space, .key = key, .arena = r->arena, .cb = row_got, .arg = r};
    r->b->store->ops->kv_get(r->b->store, &r->kv);
}

static void committed(struct store_txn *t, const struct err *err) {
    struct blob_req *r = t->arg;
    if (err) {
        r->failed = true;
        r->err = *err;
    }
    store_txn_fini(t);
    r->has_txn = false;
    r->next(r);
}

struct store_txn *req_txn(struct blob_req *r) {
    if (!r->has_txn) {
        store_txn_init(&r->txn, committed, r);
        r->has_txn = true;
    }
    return &r->txn;
}

void req_commit(struct blob_req *r, void (*next)(struct blob_req *)) {
    r->next = next;
    r->b->store->ops->commit(r->b->store, req_txn(r));
}

struct str req_key(struct blob_req *r, struct str bucket, struct str name) {
    char *p = arena_printf(r->arena, "%.*s/%.*s", STR_ARG(bucket), STR_ARG(name));
    return str_of(p);
}

void req_lock(struct blob_req *r, struct str bucket, struct str name,
              void (*next)(struct blob_req *)) {
    CHECK(!r->locked && !r->lock_key);
    r->lock_key = xasprintf("%.*s/%.*s", STR_ARG(bucket), STR_ARG(name));
    r->lock_key_n = strlen(r->lock_key);
    struct blob_lock *l = map_get(&r->b->locks, str_n(r->lock_key, r->lock_key_n));
    if (l) {
        r->next = next;
        list_push_tail(&l->waiters, &r->lock_link);
        return;
    }
    l = xcalloc(1, sizeof(*l));
    list_init(&l->waiters);
    map_put(&r->b->locks, str_n(r->lock_key, r->lock_key_n), l);
    r->locked = true;
    next(r);
}

void req_unlock(struct blob_req *r) {
    if (!r->locked) {
        return;
    }
    struct str key = str_n(r->lock_key, r->lock_key_n);
    struct blob_lock *l = map_get(&r->b->locks, key);
    struct blob_req *heir = NULL;
    r->locked = false;
    if (list_is_empty(&l->waiters)) {
        map_del(&r->b->locks, key);
        free(l);
    } else {
        heir = list_first(&l->waiters, struct blob_req, lock_link);
        list_del(&heir->lock_link);
        heir->locked = true;
    }
    free(take(&r->lock_key));
    if (heir) {
        heir->next(heir);
    }
}

void req_done(struct blob_req *r) {
    struct blob *b = r->b;
    req_unlock(r);
    r->cb(r, r->failed ? &r->err : NULL);
    blob_drop(b);
}
