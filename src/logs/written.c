#include "logs/written.h"

#include "logs/written_index.h"
#include "pb/pb.h"
#include "sys/seglog.h"

#include <pthread.h>

/* ---- writing: one work at a time takes all that wait */

struct out { /* one project's; used by the work only */
    struct seglog log;
};

struct written {
    struct logs *logs;
    pthread_mutex_t lock; /* of tails: searches run beside each other */
    struct map tails;     /* project's number as text -> struct written_index of its last segment */
    struct list waiting, taken; /* struct log_write */
    struct map outs;            /* project's number as text -> struct out */
    struct lane_work work;
    bool busy;
};

static struct out *out_of(struct written *w, uint64_t project, struct err *err) {
    char key[24];
    snprintf(key, sizeof(key), "%llu", (unsigned long long)project);
    struct out *o = map_get(&w->outs, str_of(key));
    if (!o) {
        auto_free char *dir = xasprintf("%s/written/%s", w->logs->dir, key);
        o = xcalloc(1, sizeof(*o));
        if (seglog_open(&o->log, dir, time_mono(), err)) {
            seglog_fini(&o->log);
            free(o);
            return NULL;
        }
        map_put(&w->outs, str_of(key), o);
    }
    return o;
}

static int add_entry(struct out *o, const Google__Logging__V2__LogEntry *e, struct err *err) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    if (pb_pack(&e->base, &b)) {
        return err_set(err, ERR_INTERNAL, "a log entry could not be packed");
    }
    struct seg_frame f = {.stream = SEG_ENTRY, .payload = buf_str(&b)};
    f.time = (usec_t)e->timestamp->seconds * USEC_PER_SEC + (usec_t)e->timestamp->nanos / 1000;
    seglog_add(&o->log, &f);
    return 0;
}

static void write_run(struct lane_work *work) {
    struct written *w = CONTAINER_OF(work, struct written, work);
    struct log_write *lw;
    list_each (lw, &w->taken, link) {
        struct out *o = out_of(w, lw->project, &lw->err);
        lw->failed = !o;
        for (size_t i = 0; o && !lw->failed && i < lw->nr; i++) {
            lw->failed = add_entry(o, lw->entries[i], &lw->err) != 0;
        }
    }
    size_t it = 0;
    const struct map_slot *slot;
    while ((slot = map_next(&w->outs, &it))) {
        struct out *o = slot->value;
        if (o->log.out.n || o->log.dirty) {
            o->log.next_sync = 0; /* before anybody is told */
            seglog_flush(&o->log, time_mono());
        }
    }
    list_each (lw, &w->taken, link) {
        struct out *o = out_of(w, lw->project, NULL);
        if (!lw->failed && o && o->log.refused) {
            /* What waits is written when there is room; the client that tries again has the same
             * insertIds. */
            lw->failed = true;
            err_sys(&lw->err, o->log.refused, "write log entries");
        }
    }
}

static void pump(struct written *w) {
    struct log_write *lw, *tmp;
    if (w->busy || list_is_empty(&w->waiting)) {
        return;
    }
    list_each_safe (lw, tmp, &w->waiting, link) {
        list_del(&lw->link);
        list_push_tail(&w->taken, &lw->link);
    }
    w->busy = true;
    lane_submit(w->logs->disk, &w->work);
}

static void write_done(struct lane_work *work) {
    struct written *w = CONTAINER_OF(work, struct written, work);
    struct log_write *lw, *tmp;
    bool cancelled = work->cancelled;
    w->busy = false;
    list_each_safe (lw, tmp, &w->taken, link) {
        list_del(&lw->link);
        if (cancelled) {
            err_set(&lw->err, ERR_UNAVAILABLE, "the server is stopping");
            lw->failed = true;
        }
        lw->cb(lw, lw->failed ? &lw->err : NULL);
    }
    if (!cancelled) {
        pump(w);
        return;
    }
    list_each_safe (lw, tmp, &w->waiting, link) {
        list_del(&lw->link);
        err_set(&lw->err, ERR_UNAVAILABLE, "the server is stopping");
        lw->cb(lw, &lw->err);
    }
}

void log_write_start(struct logs *g, struct log_write *lw) {
    list_push_tail(&g->written->waiting, &lw->link);
    pump(g->written);
}

struct written *written_new(struct logs *g) {
    struct written *w = xcalloc(1, sizeof(*w));
    w->logs = g;
    list_init(&w->waiting);
    list_init(&w->taken);
    map_init(&w->outs);
    map_init(&w->tails);
    CHECK(pthread_mutex_init(&w->lock, NULL) == 0);
    w->work.run = write_run;
    w->work.done = write_done;
    return w;
}

void written_free(struct written *w) {
    size_t it = 0;
    const struct map_slot *slot;
    while ((slot = map_next(&w->outs, &it))) {
        struct out *o = slot->value;
        seglog_fini(&o->log);
        free(o);
    }
    map_fini(&w->outs);
    it = 0;
    while ((slot = map_next(&w->tails, &it))) {
        written_index_fini(slot->value);
        free(slot->value);
    }
    map_fini(&w->tails);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* ---- what is known of the segment being written */

int written_tail(struct logs *g, uint64_t project, const char *dir, uint32_t file,
                 int (*fn)(void *arg, const struct written_index *x), void *arg, struct err *err) {
    struct written *w = g->written;
    char key[24];
    snprintf(key, sizeof(key), "%llu", (unsigned long long)project);
    pthread_mutex_lock(&w->lock);
    struct written_index *x = map_get(&w->tails, str_of(key));
    int rc = 0;
    if (x && x->file < file) { /* it is full now */
        rc = written_index_update(x, dir, false, err);
        written_index_fini(x);
        written_index_init(x, file);
    } else if (!x) {
        x = xcalloc(1, sizeof(*x));
        written_index_init(x, file);
        map_put(&w->tails, str_of(key), x);
    }
    rc = rc || x->file != file ? rc : written_index_update(x, dir, true, err);
    rc = rc || x->file != file ? rc : fn(arg, x);
    pthread_mutex_unlock(&w->lock);
    return rc;
}
