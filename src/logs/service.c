/* Service lines: what the server itself says about a job. One writer a job with at most one work on
 * the disk lane, so frames keep their order. A line that cannot be written (disk full) is kept and
 * tried again with the next line or after a pause; nothing waits for it. */
#include "logs/logs_int.h"

#include "base/log.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERVICE_QUEUE_MAX (256u * 1024u) /* bytes waiting for one job while the disk is full */
#define SERVICE_RETRY (2 * USEC_PER_SEC)

struct service_writer {
    struct logs *logs;
    char *job_id, *dir;
    uint64_t project; /* 0: not known */
    int fd;
    uint64_t seq;
    usec_t last; /* time of the last line: those after it are not before it, whatever the clock */
    bool opened, ended; /* ended: SEG_EOF is queued or on disk */
    struct buf queue;   /* frames not yet given to the lane; seq filled when written */
    struct lane_work work;
    bool busy, forget;
    struct timer retry;
    /* the work's: */
    struct buf batch;
    struct err err;
    bool failed, closing;
};

/* Queued form: u64 time, u8 stream, u8 flags, u32 length, text; numbered when it is written. */
static void queue_frame(struct service_writer *w, usec_t when, uint8_t stream, uint8_t flags,
                        struct str text) {
    uint32_t n = (uint32_t)text.n;
    /* The end is never dropped: followers wait for it. There is one, and it is 14 bytes. */
    if (stream != SEG_EOF && w->queue.n + text.n + 14 > SERVICE_QUEUE_MAX) {
        return;
    }
    buf_put(&w->queue, &when, sizeof(when));
    buf_put(&w->queue, &stream, 1);
    buf_put(&w->queue, &flags, 1);
    buf_put(&w->queue, &n, sizeof(n));
    buf_put_str(&w->queue, text);
}

static int write_all(int fd, struct str s) {
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? errno : EIO;
        }
        s = str_sub(s, (size_t)n, s.n);
    }
    return 0;
}

static int make_dirs(struct service_writer *w, struct err *err) {
    auto_free char *parent = xasprintf("%s/%s", w->logs->dir, w->job_id);
    if ((mkdir(parent, 0750) && errno != EEXIST) || (mkdir(w->dir, 0750) && errno != EEXIST)) {
        return err_sys(err, errno, "make service log directory");
    }
    return w->project ? owner_write(w->logs, w->job_id, w->project, err) : 0;
}

static void service_run(struct lane_work *work) {
    struct service_writer *w = CONTAINER_OF(work, struct service_writer, work);
    auto_buf struct buf out = BUF_INIT(BUF_NO_MAX);
    bool eof = false, already_ended = false;
    w->failed = false;
    if (!w->opened) {
        if (make_dirs(w, &w->err) ||
            seg_append_open(w->dir, &w->fd, &w->seq, &w->last, &already_ended, &w->err)) {
            w->failed = true;
            return;
        }
        w->opened = true;
        if (already_ended) { /* after a restart: the stream was closed before */
            buf_clear(&w->batch);
            return;
        }
    }
    uint64_t seq = w->seq;
    usec_t last = w->last;
    struct str rest = buf_str(&w->batch);
    while (rest.n) {
        struct seg_frame f = {.seq = seq++};
        uint32_t n;
        memcpy(&f.time, rest.p, 8);
        f.time = f.time > last ? f.time : last;
        last = f.time;
        f.stream = (uint8_t)rest.p[8];
        f.flags = (uint8_t)rest.p[9];
        memcpy(&n, rest.p + 10, 4);
        f.payload = str_sub(rest, 14, n);
        eof = f.stream == SEG_EOF;
        seg_encode(&out, &f);
        rest = str_sub(rest, 14 + n, rest.n);
    }
    off_t at = lseek(w->fd, 0, SEEK_CUR);
    int e = write_all(w->fd, buf_str(&out));
    if (e) {
        /* Back to the last whole frame: the whole batch is written again later. */
        if (ftruncate(w->fd, at) == 0) {
            lseek(w->fd, at, SEEK_SET);
        }
        err_sys(&w->err, e, "write service log");
        w->failed = true;
        return;
    }
    w->seq = seq;
    w->last = last;
    buf_clear(&w->batch);
    if (eof) {
        (void)fdatasync(w->fd); /* best effort: the events in the store say the same */
    }
}

static void writer_free(struct service_writer *w) {
    struct clock *c = loop_clock(w->logs->loop);
    c->ops->disarm(c, &w->retry);
    map_del(&w->logs->writers, str_of(w->job_id));
    if (w->fd >= 0) {
        close(w->fd);
    }
    buf_fini(&w->queue);
    buf_fini(&w->batch);
    free(w->job_id);
    free(w->dir);
    free(w);
}

static void pump(struct service_writer *w) {
    if (w->busy || (w->queue.n == 0 && w->batch.n == 0)) {
        return;
    }
    if (w->batch.n == 0) {
        struct buf empty = w->batch;
        w->batch = w->queue;
        w->queue = empty;
    }
    w->busy = true;
    lane_submit(w->logs->disk, &w->work);
}

static void service_retry(struct timer *t) {
    pump(CONTAINER_OF(t, struct service_writer, retry));
}

static void service_done(struct lane_work *work) {
    struct service_writer *w = CONTAINER_OF(work, struct service_writer, work);
    w->busy = false;
    if (w->forget || work->cancelled) {
        writer_free(w);
        return;
    }
    if (w->failed) {
        struct clock *c = loop_clock(w->logs->loop);
        log_warn("service log not written, will retry", "job=%s error=\"%s\"", w->job_id,
                 w->err.msg);
        c->ops->arm(c, &w->retry, c->ops->mono(c) + SERVICE_RETRY);
        return;
    }
    pump(w);
    if (!w->busy && w->ended) {
        writer_free(w);
    }
}

static struct service_writer *writer_of(struct logs *g, const char *job_id) {
    struct service_writer *w = map_get(&g->writers, str_of(job_id));
    if (!w) {
        w = xcalloc(1, sizeof(*w));
        w->logs = g;
        w->job_id = xstrdup(job_id);
        w->dir = xasprintf("%s/%s/service", g->dir, job_id);
        w->fd = -1;
        w->queue = BUF_INIT(BUF_NO_MAX);
        w->batch = BUF_INIT(BUF_NO_MAX);
        w->work.run = service_run;
        w->work.done = service_done;
        w->retry.fn = service_retry;
        map_put(&g->writers, str_of(job_id), w);
    }
    return w;
}

void service_set_owner(struct logs *g, const char *job_id, uint64_t project) {
    struct service_writer *w = writer_of(g, job_id);
    if (!w->busy) { /* the work reads it */
        w->project = project;
    }
}

void service_append(struct logs *g, const char *job_id, usec_t when, int severity, const char *text,
                    bool end) {
    struct service_writer *w = writer_of(g, job_id);
    if (w->ended) {
        return;
    }
    if (end) {
        w->ended = true;
        queue_frame(w, when, SEG_EOF, 0, STR(""));
    } else {
        uint8_t flags = (uint8_t)(severity / 100 << SEG_SEV_SHIFT);
        queue_frame(w, when, SEG_SERVICE, flags, str_of(text));
    }
    pump(w);
}

void service_forget(struct logs *g, const char *job_id) {
    struct service_writer *w = map_get(&g->writers, str_of(job_id));
    if (!w) {
        return;
    }
    if (w->busy) {
        w->forget = true;
    } else {
        writer_free(w);
    }
}
