/* Following one job's log: cursors over every segment directory of the job, read in batches on the
 * disk lane, merged by time, handed to the reader line by line with back-pressure. Of a stream that
 * has more than a batch nothing is known behind it: lines of others that are later wait for its
 * next one.
 *
 * States: READING (a lane work runs) -> DELIVERING (lines in the batch) -> WAITING (for inotify or
 * the once-a-second safety look) -> READING ... The follow ends after the service stream's SEG_EOF
 * and one more pass over everything that found nothing new. */
#include "logs/logs_int.h"

#include "base/limits.h"
#include "logs/entry.h"
#include "logs/locate.h"
#include "logs/recognise.h"
#include "sys/seglog.h"

#include <dirent.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_BYTES (256u * 1024u)
#define BLIND_POLL (20 * USEC_PER_MSEC) /* a directory is not watched (yet) */

struct source {
    char *task; /* "workerpool0-0", "service" */
    uint32_t attempt;
    struct seg_cursor cursor;
    struct buf data;             /* whole frames */
    size_t used;                 /* of it: delivered with this batch */
    bool has_more;               /* perhaps, behind data */
    usec_t latest;               /* of data's times */
    struct trace_state trace[2]; /* open in what stdout, stderr printed last */
};

struct line {
    struct seg_frame f;
    struct source *src;
    size_t order; /* keeps equal times in source order */
};

struct log_follow {
    struct logs *logs;
    struct list link;
    struct log_follow_opts o;
    char *job_id, *task, *dir;
    VEC_OF(struct source *) sources;
    VEC_OF(char *) seen_dirs; /* watched directories */
    int inotify;              /* own descriptor, so closing it drops the watches; -1: none left */
    struct loop_fd *watch;
    bool blind; /* some directory is not there yet, or there is no inotify instance */
    VEC_OF(struct line) lines;
    size_t next_line;
    uint64_t bytes; /* of the segments that the first pass found */
    bool busy, dirty, paused, stopped, last_pass, in_delivery, has_begun;
    struct lane_work work;
    struct loop_task kick;
    struct timer safety;
    struct err err;
    bool failed;
    struct arena *scratch; /* of the line that is looked at; NULL until one needs it */
};

static bool has_source(struct log_follow *f, const char *dir) {
    for (size_t i = 0; i < f->sources.n; i++) {
        if (strcmp(f->sources.p[i]->cursor.dir, dir) == 0) {
            return true;
        }
    }
    return false;
}

static void watch_dir(struct log_follow *f, const char *dir) {
    for (size_t i = 0; i < f->seen_dirs.n; i++) {
        if (strcmp(f->seen_dirs.p[i], dir) == 0) {
            return;
        }
    }
    if (inotify_add_watch(f->inotify, dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO) >= 0) {
        vec_push(&f->seen_dirs, xstrdup(dir));
    } else {
        f->blind = true;
    }
}

/* A reader that comes again goes on behind what it has; where that cannot be found it gets all of
 * the stream, and passes over what it knows. */
static void begin_behind(struct log_follow *f, struct source *s) {
    for (size_t i = 0; i < f->o.nr_after; i++) {
        const struct log_place *p = &f->o.after[i];
        uint64_t seq;
        usec_t time;
        if (p->attempt == s->attempt && str_eqc(p->task, s->task) && p->seq < UINT64_MAX &&
            seg_locate(&s->cursor, LOCATE_SEQ, p->seq + 1, &seq, &time, NULL)) {
            s->cursor.file = 0;
            s->cursor.offset = 0;
        }
    }
}

static void add_source(struct log_follow *f, const char *dir, const char *task, uint32_t attempt) {
    watch_dir(f, dir);
    /* The service stream is always read: its end is the end of the log. */
    if (has_source(f, dir) || (f->task && strcmp(f->task, task) != 0 && attempt != 0)) {
        return;
    }
    struct source *s = xcalloc(1, sizeof(*s));
    s->task = xstrdup(task);
    s->attempt = attempt;
    s->data = BUF_INIT(BUF_NO_MAX);
    seg_cursor_init(&s->cursor, dir);
    begin_behind(f, s);
    vec_push(&f->sources, s);
}

static void scan_attempt(struct log_follow *f, const char *dir, uint32_t attempt) {
    watch_dir(f, dir);
    DIR *d = opendir(dir);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        if (e->d_name[0] != '.') {
            auto_free char *sub = xasprintf("%s/%s", dir, e->d_name);
            add_source(f, sub, e->d_name, attempt);
        }
    }
    if (d) {
        closedir(d);
    }
}

/* Watches are set before a directory is listed, so what appears in between is not missed. */
static void scan(struct log_follow *f) {
    watch_dir(f, f->dir);
    DIR *d = opendir(f->dir);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        uint64_t attempt;
        auto_free char *sub = xasprintf("%s/%s", f->dir, e->d_name);
        if (strcmp(e->d_name, "service") == 0) {
            add_source(f, sub, "service", 0);
        } else if (e->d_name[0] == 'a' && str_to_u64(str_of(e->d_name + 1), &attempt)) {
            scan_attempt(f, sub, (uint32_t)attempt);
        }
    }
    if (d) {
        closedir(d);
    }
}

static void count_bytes(struct log_follow *f) {
    for (size_t i = 0; i < f->sources.n; i++) {
        const char *dir = f->sources.p[i]->cursor.dir;
        uint32_t first, end;
        seg_range(dir, &first, &end);
        for (uint32_t k = first; k < end; k++) {
            char name[32];
            struct stat st;
            snprintf(name, sizeof(name), SEG_NAME_FMT, k);
            auto_free char *path = xasprintf("%s/%s", dir, name);
            f->bytes += stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
        }
    }
}

/* The last frame's, unless the clock was set back. */
static usec_t latest_time(const struct buf *data) {
    struct str rest = buf_str(data);
    struct seg_frame f;
    usec_t latest = 0;
    ssize_t n;
    while (rest.n && (n = seg_decode(rest, &f)) > 0) {
        latest = f.time > latest ? f.time : latest;
        rest = str_sub(rest, (size_t)n, rest.n);
    }
    return latest;
}

static void follow_run(struct lane_work *work) {
    struct log_follow *f = CONTAINER_OF(work, struct log_follow, work);
    f->blind = false;
    scan(f);
    if (!f->has_begun && f->o.on_begin) {
        count_bytes(f);
    }
    for (size_t i = 0; i < f->sources.n; i++) {
        struct source *s = f->sources.p[i];
        buf_consume(&s->data, s->used);
        s->used = 0;
        if (s->data.n < BATCH_BYTES &&
            seg_cursor_read(&s->cursor, &s->data, BATCH_BYTES - s->data.n, &f->err)) {
            f->failed = true;
            return;
        }
        s->has_more = s->data.n >= BATCH_BYTES;
        s->latest = s->has_more ? latest_time(&s->data) : USEC_NEVER;
    }
}

static int by_time(const void *a, const void *b) {
    const struct line *x = a, *y = b;
    if (x->f.time != y->f.time) {
        return x->f.time < y->f.time ? -1 : 1;
    }
    return x->order < y->order ? -1 : x->order > y->order;
}

static void free_follow(struct log_follow *f) {
    struct clock *c = loop_clock(f->logs->loop);
    c->ops->disarm(c, &f->safety);
    loop_unpost(f->logs->loop, &f->kick);
    list_del(&f->link);
    f->logs->nr_follows--;
    for (size_t i = 0; i < f->sources.n; i++) {
        struct source *s = f->sources.p[i];
        seg_cursor_fini(&s->cursor);
        buf_fini(&s->data);
        free(s->task);
        free(s);
    }
    for (size_t i = 0; i < f->seen_dirs.n; i++) {
        free(f->seen_dirs.p[i]);
    }
    if (f->inotify >= 0) {
        loop_fd_unwatch(f->watch);
        close(f->inotify);
    }
    vec_fini(&f->sources);
    vec_fini(&f->seen_dirs);
    vec_fini(&f->lines);
    free(f->job_id);
    arena_free(f->scratch);
    free(f->task);
    free(f->dir);
    free(f);
}

static void finish(struct log_follow *f, const struct err *err) {
    void (*on_end)(void *, const struct err *) = f->o.on_end;
    void *arg = f->o.arg;
    struct err copy;
    if (err) {
        copy = *err;
    }
    free_follow(f);
    on_end(arg, err ? &copy : NULL);
}

static void start_read(struct log_follow *f) {
    f->busy = true;
    f->dirty = false;
    lane_submit(f->logs->disk, &f->work);
}

static bool service_ended(const struct log_follow *f) {
    for (size_t i = 0; i < f->sources.n; i++) {
        if (f->sources.p[i]->attempt == 0 && f->sources.p[i]->cursor.eof_seen) {
            return true;
        }
    }
    return false;
}

/* After the batch is delivered: read on, wait, or end. */
static void next(struct log_follow *f, bool had_news) {
    if (had_news || f->dirty) {
        f->last_pass = false;
        start_read(f);
    } else if (!f->o.follow || f->last_pass) {
        finish(f, NULL);
    } else if (service_ended(f)) {
        f->last_pass = true; /* one more look at everything, then the end */
        start_read(f);
    } else {
        struct clock *c = loop_clock(f->logs->loop);
        c->ops->arm(c, &f->safety,
                    c->ops->mono(c) + (f->blind ? BLIND_POLL : f->logs->safety_poll));
    }
}

/* As the line's entry has it (gather.c, entry.c), of which it may be a part. */
static int severity_of(struct log_follow *f, const struct line *l) {
    const struct seg_frame *fr = &l->f;
    if (fr->stream != SEG_STDOUT && fr->stream != SEG_STDERR) {
        return (fr->flags >> SEG_SEV_SHIFT) * 100;
    }
    struct trace_state *trace = &l->src->trace[fr->stream == SEG_STDERR];
    bool is_whole = !(fr->flags & SEG_PARTIAL), strict = f->logs->strict;
    if (!strict && is_whole &&
        (trace_takes(trace, fr->payload) || trace_opens(trace, fr->payload))) {
        return SEVERITY_ERROR;
    }
    struct recognised r;
    trace->kind = TRACE_NONE;
    recognise_line(fr->payload, fr->stream, strict, &r);
    if (r.is_object) {
        f->scratch = f->scratch ? f->scratch : arena_new(ARENA_NO_MAX);
        arena_clear(f->scratch);
        entry_object_severity(f->scratch, fr->payload, strict, &r.severity);
    }
    return r.severity;
}

static void deliver(struct log_follow *f) {
    bool had_news = f->lines.n > 0;
    f->in_delivery = true;
    while (f->next_line < f->lines.n && !f->paused && !f->stopped) {
        const struct line *l = &f->lines.p[f->next_line++];
        if (l->f.stream == SEG_EOF) {
            continue;
        }
        if (f->task && strcmp(l->src->task, f->task) != 0) {
            continue;
        }
        struct log_line out = {.time = l->f.time,
                               .task = l->src->task,
                               .attempt = l->src->attempt,
                               .seq = l->f.seq,
                               .stream = l->f.stream,
                               .severity = severity_of(f, l),
                               .partial = l->f.flags & SEG_PARTIAL,
                               .text = l->f.payload};
        f->paused = !f->o.on_line(f->o.arg, &out);
    }
    f->in_delivery = false;
    if (f->stopped) {
        free_follow(f);
    } else if (!f->paused) {
        f->lines.n = f->next_line = 0;
        next(f, had_news);
    }
}

/* Into f->lines what of the batch can be ordered for certain. */
static void take_lines(struct log_follow *f) {
    usec_t known = USEC_NEVER;
    size_t order = 0;
    for (size_t i = 0; i < f->sources.n; i++) {
        const struct source *s = f->sources.p[i];
        known = s->has_more && s->latest < known ? s->latest : known;
    }
    for (size_t i = 0; i < f->sources.n; i++) {
        struct source *s = f->sources.p[i];
        struct str rest = buf_str(&s->data);
        struct line l = {.src = s};
        ssize_t n;
        while (rest.n && (n = seg_decode(rest, &l.f)) > 0 && l.f.time <= known) {
            l.order = order++;
            vec_push(&f->lines, l);
            rest = str_sub(rest, (size_t)n, rest.n);
            s->used += (size_t)n;
        }
    }
}

static void follow_done(struct lane_work *work) {
    struct log_follow *f = CONTAINER_OF(work, struct log_follow, work);
    f->busy = false;
    if (f->stopped) {
        free_follow(f);
        return;
    }
    if (work->cancelled || f->failed) {
        if (work->cancelled) {
            err_set(&f->err, ERR_UNAVAILABLE, "the server is stopping");
        }
        finish(f, &f->err);
        return;
    }
    if (!f->has_begun) {
        f->has_begun = true;
        f->in_delivery = true;
        if (f->o.on_begin) {
            f->o.on_begin(f->o.arg, f->bytes);
        }
        f->in_delivery = false;
        if (f->stopped) {
            free_follow(f);
            return;
        }
    }
    take_lines(f);
    if (f->lines.n) {
        qsort(f->lines.p, f->lines.n, sizeof(f->lines.p[0]), by_time);
    }
    f->next_line = 0;
    deliver(f);
}

static void follow_kick(struct loop_task *t) {
    struct log_follow *f = CONTAINER_OF(t, struct log_follow, kick);
    if (f->lines.n) {
        deliver(f); /* resumed in the middle of a batch */
    } else if (!f->busy) {
        start_read(f);
    }
}

static void follow_safety(struct timer *t) {
    struct log_follow *f = CONTAINER_OF(t, struct log_follow, safety);
    if (!f->busy && !f->lines.n) {
        start_read(f);
    }
}

static void follow_news(void *arg, bool readable, bool writable) {
    struct log_follow *f = arg;
    _Alignas(struct inotify_event) char buf[4096];
    while (read(f->inotify, buf, sizeof(buf)) > 0) {
        /* which directory it was does not matter: a pass looks at all of them */
    }
    if (f->busy || f->lines.n) {
        f->dirty = true; /* looked at again when this turn is over */
    } else {
        struct clock *c = loop_clock(f->logs->loop);
        c->ops->disarm(c, &f->safety);
        start_read(f);
    }
}

struct log_follow *log_follow_start(struct logs *g, const struct log_follow_opts *o,
                                    struct err *err) {
    if (g->nr_follows >= limits.max_follow_streams) {
        limits_hit(&limits.max_follow_streams);
        err_set(err, ERR_RESOURCE_EXHAUSTED,
                "max_follow_streams (%llu) log streams are open already",
                (unsigned long long)limits.max_follow_streams);
        return NULL;
    }
    struct log_follow *f = xcalloc(1, sizeof(*f));
    f->logs = g;
    f->o = *o;
    f->job_id = xstrdup(o->job_id);
    f->task = xstrdup(o->task);
    f->o.job_id = f->job_id;
    f->o.task = f->task;
    f->dir = xasprintf("%s/%s", g->dir, o->job_id);
    f->work.run = follow_run;
    f->work.done = follow_done;
    f->safety.fn = follow_safety;
    loop_task_init(&f->kick, follow_kick);
    f->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (f->inotify >= 0) {
        f->watch = loop_fd_watch(g->loop, f->inotify, true, false, follow_news, f);
    }
    list_push_tail(&g->follows, &f->link);
    g->nr_follows++;
    start_read(f);
    return f;
}

void log_follow_resume(struct log_follow *f) {
    if (f->paused) {
        f->paused = false;
        if (!f->in_delivery) {
            loop_post(f->logs->loop, &f->kick);
        }
    }
}

void log_follow_stop(struct log_follow *f) {
    if (f->busy || f->in_delivery) {
        f->stopped = true;
    } else {
        free_follow(f);
    }
}

void follow_stop_all(struct logs *g) {
    struct log_follow *f, *tmp;
    list_each_safe (f, tmp, &g->follows, link) {
        log_follow_stop(f);
    }
}
