/* Housekeeping of DIR/uploads: at open, files of single-shot uploads ("t-") go at once; files of
 * sessions ("r-") and parts ("m-") go when no row names them; rows of sessions, multipart uploads
 * and their parts go when they are too old. Then every hour. */
#include "blob/blob_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define SWEEP_EVERY (3600ull * USEC_PER_SEC)
#define DONE_LIFE (24ull * 3600 * USEC_PER_SEC)

struct blob_sweep {
    struct blob *b;
    struct blob_req req;
    struct timer timer;
    struct map orphans; /* session files found at open and not yet seen in a row */
    size_t found;
    bool is_first, is_running;
    size_t space; /* of `spaces`, being looked at */
    struct str after;
};

static const char *const spaces[] = {"upload", "multipart", "part"};

static void sweep_next(struct blob_req *r);

static void unlink_run(struct blob_req *r) {
    struct blob_sweep *s = r->arg;
    size_t it = 0;
    const struct map_slot *slot;
    while ((slot = map_next(&s->orphans, &it))) {
        (void)unlinkat(s->b->uploads_fd, slot->key, 0);
    }
}

static void sweep_end(struct blob_req *r) {
    struct blob_sweep *s = r->arg;
    struct blob *b = s->b;
    map_fini(&s->orphans);
    map_init(&s->orphans);
    if (s->is_first) {
        b->nr_sessions += s->found;
        s->is_first = false;
    }
    blob_req_fini(r);
    s->is_running = false;
    struct clock *c = loop_clock(b->loop);
    c->ops->arm(c, &s->timer, c->ops->mono(c) + SWEEP_EVERY);
    blob_drop(b);
}

static void sweep_rows(struct store_kv_scan *k, const struct store_kv_pair *p, size_t n,
                       const struct err *err) {
    struct blob_req *r = k->arg;
    struct blob_sweep *s = r->arg;
    usec_t now = time_wall();
    bool deletes = false;
    if (err) {
        sweep_end(r); /* without the rows nothing is known to be garbage */
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct rec rec;
        bool ok = rec_parse(r->arena, p[i].value, &rec, NULL) == 0;
        bool done = ok && rec_get_u64(&rec, "done", 0);
        usec_t created = ok ? rec_get_u64(&rec, "created", 0) : 0;
        bool is_part = s->space == 2, in_use = map_get(&s->b->sessions, p[i].key) != NULL;
        struct str file = is_part && ok ? rec_get(&rec, "file") : p[i].key;
        if (!in_use && created + (done ? DONE_LIFE : BLOB_SESSION_LIFE) < now) {
            store_txn_kv(req_txn(r), spaces[s->space], p[i].key, (struct str){0});
            deletes = true;
            map_put(&s->orphans, file, s);
            if (!done && !is_part && !s->is_first && s->b->nr_sessions > 0) {
                s->b->nr_sessions--;
            }
        } else {
            map_del(&s->orphans, file);
            s->found += s->is_first && !done && !is_part;
        }
    }
    s->after = n ? arena_str(r->arena, p[n - 1].key) : (struct str){0};
    s->space += n == 0;
    if (deletes) {
        req_commit(r, sweep_next);
    } else {
        sweep_next(r);
    }
}

static void sweep_next(struct blob_req *r) {
    struct blob_sweep *s = r->arg;
    if (r->failed) {
        sweep_end(r);
        return;
    }
    if (s->space < NR_OF(spaces)) {
        r->scan = (struct store_kv_scan){.space = spaces[s->space],
                                         .after = s->after,
                                         .max = 500,
                                         .arena = r->arena,
                                         .cb = sweep_rows,
                                         .arg = r};
        r->b->store->ops->kv_scan(r->b->store, &r->scan);
        return;
    }
    req_lane(r, unlink_run, sweep_end);
}

static void sweep_start(struct blob_sweep *s) {
    blob_req_init(&s->req);
    s->req.arg = s;
    s->after = (struct str){0};
    s->space = 0;
    s->is_running = true;
    req_begin(s->b, &s->req);
    sweep_next(&s->req);
}

static void sweep_timer(struct timer *t) {
    struct blob_sweep *s = CONTAINER_OF(t, struct blob_sweep, timer);
    if (!s->is_running && !s->b->is_closing) {
        sweep_start(s);
    }
}

void upload_sweep(struct blob *b) {
    struct blob_sweep *s = b->sweep = xcalloc(1, sizeof(*s));
    s->b = b;
    s->is_first = true;
    s->timer.fn = sweep_timer;
    map_init(&s->orphans);
    int fd = openat(b->uploads_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        if (strncmp(e->d_name, "t-", 2) == 0) {
            (void)unlinkat(fd, e->d_name, 0);
        } else if (strncmp(e->d_name, "r-", 2) == 0 || strncmp(e->d_name, "m-", 2) == 0) {
            map_put(&s->orphans, str_of(e->d_name), s);
        }
    }
    if (d) {
        closedir(d);
    }
    sweep_start(s);
}

void upload_sweep_stop(struct blob *b) {
    struct clock *c = loop_clock(b->loop);
    c->ops->disarm(c, &b->sweep->timer);
    map_fini(&b->sweep->orphans);
    free(b->sweep);
}
