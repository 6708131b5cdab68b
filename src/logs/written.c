#include "logs/written.h"

#include "base/log.h"
#include "base/rec.h"
#include "logs/logs_int.h"
#include "pb/pb.h"
#include "sys/files.h"
#include "sys/seglog.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define TOMBS_MAX (1u << 20)

/* ---- writing: one work at a time takes all that wait */

struct out { /* one project's; used by the work only */
    struct seglog log;
};

struct written {
    struct logs *logs;
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
    free(w);
}

/* ---- deleting */

static char *project_dir(struct logs *g, uint64_t project) {
    return xasprintf("%s/written/%llu", g->dir, (unsigned long long)project);
}

void tombs_load(struct logs *g, uint64_t project, struct arena *a, struct log_tombs *ret) {
    auto_free char *dir = project_dir(g, project);
    auto_buf struct buf b = BUF_INIT(TOMBS_MAX);
    struct rec rec;
    *ret = (struct log_tombs){.arena = a};
    auto_close int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0 || file_read(at, "deleted", &b, NULL) ||
        rec_parse(a, arena_str(a, buf_str(&b)), &rec, NULL)) {
        return;
    }
    size_t it = 0;
    struct str line;
    while (rec_next(&rec, "log", &it, &line)) {
        uint64_t when;
        struct str id = line;
        struct str first = str_cut(&id, ' ');
        if (str_to_u64(first, &when)) {
            vec_push(&ret->items, ((typeof(*ret->items.p)){id, when}));
        }
    }
}

bool tombs_hide(const struct log_tombs *t, const Google__Logging__V2__LogEntry *e) {
    const char *id = t->items.n ? strstr(e->log_name, "/logs/") : NULL;
    usec_t received = !id || !e->receive_timestamp
                          ? 0
                          : (usec_t)e->receive_timestamp->seconds * USEC_PER_SEC +
                                (usec_t)e->receive_timestamp->nanos / 1000;
    for (size_t i = 0; id && i < t->items.n; i++) {
        if (str_eqc(t->items.p[i].log_id, id + 6) && received <= t->items.p[i].when) {
            return true;
        }
    }
    return false;
}

void tombs_fini(struct log_tombs *t) {
    vec_fini(&t->items);
}

static void delete_run(struct lane_work *work) {
    struct log_delete *d = CONTAINER_OF(work, struct log_delete, work);
    auto_free char *dir = project_dir(d->logs, d->project);
    auto_buf struct buf b = BUF_INIT(TOMBS_MAX);
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct log_tombs t;
    tombs_load(d->logs, d->project, a, &t);
    rec_begin(&b);
    for (size_t i = 0; i < t.items.n; i++) {
        if (!str_eq(t.items.p[i].log_id, d->log_id)) {
            char *line = arena_printf(a, "%llu %.*s", (unsigned long long)t.items.p[i].when,
                                      STR_ARG(t.items.p[i].log_id));
            rec_puts(&b, "log", line);
        }
    }
    rec_puts(&b, "log",
             arena_printf(a, "%llu %.*s", (unsigned long long)time_wall(), STR_ARG(d->log_id)));
    d->failed = b.full ? err_set(&d->err, ERR_RESOURCE_EXHAUSTED, "too many deleted logs") != 0
                       : file_mkdirs(AT_FDCWD, dir, 0750, &d->err) != 0;
    auto_close int at = d->failed ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    d->failed = d->failed || at < 0 ||
                file_write_atomic(at, "deleted", buf_str(&b), 0640, FILE_SYNC, &d->err) != 0;
    tombs_fini(&t);
    arena_free(a);
}

static void delete_done(struct lane_work *work) {
    struct log_delete *d = CONTAINER_OF(work, struct log_delete, work);
    if (work->cancelled) {
        err_set(&d->err, ERR_UNAVAILABLE, "the server is stopping");
        d->failed = true;
    }
    d->cb(d, d->failed ? &d->err : NULL);
}

void log_delete_start(struct logs *g, struct log_delete *d) {
    d->logs = g;
    d->work.run = delete_run;
    d->work.done = delete_done;
    lane_submit(g->disk, &d->work);
}

/* ---- reading */

static int each_frame(struct logs *g, uint64_t project,
                      int (*fn)(void *arg, const struct seg_frame *f), void *arg, struct err *err) {
    auto_free char *dir = project_dir(g, project);
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct seg_cursor c;
    seg_cursor_init(&c, dir);
    int rc = 0;
    while (rc == 0) {
        buf_clear(&b);
        rc = seg_cursor_read(&c, &b, 1 << 20, err);
        struct str rest = buf_str(&b);
        struct seg_frame f;
        ssize_t n;
        if (rc == 0 && !rest.n) {
            break;
        }
        while (rc == 0 && rest.n && (n = seg_decode(rest, &f)) > 0) {
            rc = f.stream == SEG_ENTRY ? fn(arg, &f) : 0;
            rest = str_sub(rest, (size_t)n, rest.n);
        }
    }
    seg_cursor_fini(&c);
    return rc;
}

struct find {
    const struct log_search *s;
    usec_t from, to;
    const struct log_tombs *tombs;
    struct arena *arena, *scratch;
    VEC_OF(struct {
        struct log_position at;
        Google__Logging__V2__LogEntry *e;
    })
    best; /* sorted */
    struct err *err;
};

static int consider(void *arg, const struct seg_frame *f) {
    struct find *d = arg;
    ProtobufCMessage *m;
    struct log_position p;
    size_t want = d->s->page_size + 1;
    if (f->time < d->from || f->time > d->to) {
        return 0;
    }
    arena_clear(d->scratch);
    if (pb_unpack(d->scratch, &google__logging__v2__log_entry__descriptor, f->payload, &m, NULL)) {
        return 0; /* whole by its checksum, so of a format we do not know */
    }
    Google__Logging__V2__LogEntry *e = (Google__Logging__V2__LogEntry *)m;
    log_position_of(e, &p);
    int sign = d->s->descending ? -1 : 1;
    if ((d->s->has_after && sign * log_position_cmp(&p, &d->s->after) <= 0) ||
        (d->best.n == want && sign * log_position_cmp(&p, &d->best.p[want - 1].at) >= 0) ||
        tombs_hide(d->tombs, e) || !query_matches(d->s->query, e)) {
        return 0;
    }
    size_t i = d->best.n;
    while (i > 0 && sign * log_position_cmp(&p, &d->best.p[i - 1].at) < 0) {
        i--;
    }
    if (i > 0 && log_position_cmp(&p, &d->best.p[i - 1].at) == 0 &&
        strcmp(d->best.p[i - 1].e->log_name, e->log_name) == 0) {
        return 0; /* written twice */
    }
    if (pb_unpack(d->arena, &google__logging__v2__log_entry__descriptor, f->payload, &m, d->err)) {
        return -1;
    }
    typeof(*d->best.p) item = {p, (Google__Logging__V2__LogEntry *)m};
    vec_push(&d->best, item);
    memmove(d->best.p + i + 1, d->best.p + i, (d->best.n - 1 - i) * sizeof(*d->best.p));
    d->best.p[i] = item;
    d->best.n = d->best.n > want ? want : d->best.n;
    return 0;
}

int written_find(struct logs *g, const struct log_search *s, usec_t from, usec_t to,
                 const struct log_tombs *tombs, struct arena *a,
                 Google__Logging__V2__LogEntry ***ret, size_t *ret_nr, struct err *err) {
    struct find d = {.s = s, .from = from, .to = to, .tombs = tombs, .arena = a, .err = err};
    d.scratch = arena_new(ARENA_NO_MAX);
    int rc = each_frame(g, s->project, consider, &d, err);
    if (rc == 0) {
        *ret = arena_own_array(a, d.best.n + 1, sizeof(**ret));
        *ret_nr = d.best.n;
        for (size_t i = 0; i < d.best.n; i++) {
            (*ret)[i] = d.best.p[i].e;
        }
    }
    vec_fini(&d.best);
    arena_free(d.scratch);
    return rc;
}

struct name_walk {
    void (*fn)(void *arg, struct str id);
    void *arg;
    struct arena *arena;
    struct buf last;
};

static int walk_name(void *arg, const struct seg_frame *f) {
    struct name_walk *w = arg;
    ProtobufCMessage *m;
    arena_clear(w->arena);
    if (pb_unpack(w->arena, &google__logging__v2__log_entry__descriptor, f->payload, &m, NULL) ==
        0) {
        const char *id = strstr(((Google__Logging__V2__LogEntry *)m)->log_name, "/logs/");
        if (id && !str_eqc(buf_str(&w->last), id + 6)) { /* runs of one log are the rule */
            buf_clear(&w->last);
            buf_puts(&w->last, id + 6);
            w->fn(w->arg, buf_str(&w->last));
        }
    }
    return 0;
}

int written_names(struct logs *g, uint64_t project, void (*fn)(void *arg, struct str id), void *arg,
                  struct err *err) {
    struct name_walk w = {.fn = fn, .arg = arg, .last = BUF_INIT(BUF_NO_MAX)};
    w.arena = arena_new(ARENA_NO_MAX);
    int rc = each_frame(g, project, walk_name, &w, err);
    arena_free(w.arena);
    buf_fini(&w.last);
    return rc;
}
