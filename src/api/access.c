/* DIR/access.log: lines are collected and written on the lane a moment later, so that a request
 * never waits for it. What was collected when the process is killed is lost; it says who did what,
 * it is no ledger. */
#include "api/identity_int.h"
#include "base/limits.h"
#include "base/log.h"
#include "sys/files.h"
#include "sys/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DELAY (200 * USEC_PER_MSEC)
#define HELD_MAX (8u << 20) /* lines beyond are dropped and counted */

struct access_log {
    struct loop *loop;
    struct lane *disk;
    char *path;
    struct buf held;
    uint64_t dropped;
    struct timer timer;
    bool due, working, closed;
    /* lane: */
    struct lane_work work;
    struct buf out;
};

static void set_aside(const char *path, int fd) {
    struct stat st;
    auto_free char *old = xasprintf("%s.1", path);
    if (fstat(fd, &st) == 0 && (uint64_t)st.st_size >= limits.access_log_bytes) {
        (void)!rename(path, old); /* cannot be: it goes on growing, which is seen */
    }
}

static int write_out(struct access_log *l, struct err *err) {
    auto_close int fd = open(l->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_sys(err, errno, "open %s", l->path);
    }
    int rc = file_write_all(fd, buf_str(&l->out), err);
    set_aside(l->path, fd);
    return rc;
}

static void work_run(struct lane_work *w) {
    struct access_log *l = CONTAINER_OF(w, struct access_log, work);
    struct err err;
    if (write_out(l, &err)) {
        log_error("access log", "error=\"%s\"", err.msg);
    }
}

static void begin(struct access_log *l);

static void work_done(struct lane_work *w) {
    struct access_log *l = CONTAINER_OF(w, struct access_log, work);
    l->working = false;
    buf_clear(&l->out);
    if (l->held.n && !l->due && !w->cancelled) {
        begin(l);
    }
}

static void begin(struct access_log *l) {
    struct clock *c = loop_clock(l->loop);
    l->due = true;
    c->ops->arm(c, &l->timer, c->ops->mono(c) + DELAY);
}

static void on_time(struct timer *t) {
    struct access_log *l = CONTAINER_OF(t, struct access_log, timer);
    l->due = false;
    if (l->working) {
        return; /* its end begins anew */
    }
    struct buf empty = l->out;
    l->out = l->held;
    l->held = empty;
    if (l->dropped) {
        log_warn("access log lines dropped", "lines=%llu", (unsigned long long)l->dropped);
        l->dropped = 0;
    }
    l->working = true;
    lane_submit(l->disk, &l->work);
}

struct access_log *access_log_new(struct loop *loop, struct lane *disk, const char *data_dir) {
    struct access_log *l = xcalloc(1, sizeof(*l));
    l->loop = loop;
    l->disk = disk;
    l->path = xasprintf("%s/access.log", data_dir);
    buf_init(&l->held, HELD_MAX);
    buf_init(&l->out, HELD_MAX);
    l->timer.fn = on_time;
    l->work.run = work_run;
    l->work.done = work_done;
    return l;
}

void access_log_put(struct access_log *l, struct str line) {
    if (l->held.n + line.n + 1 > HELD_MAX) {
        l->dropped++;
        return;
    }
    buf_put_str(&l->held, line);
    buf_putc(&l->held, '\n');
    if (!l->due && !l->working) {
        begin(l);
    }
}

/* The lane is closed: what is still held is written here, at the very end. */
void access_log_free(struct access_log *l) {
    if (!l) {
        return;
    }
    struct clock *c = loop_clock(l->loop);
    c->ops->disarm(c, &l->timer);
    if (l->held.n) {
        struct buf empty = l->out;
        l->out = l->held;
        l->held = empty;
        work_run(&l->work);
    }
    buf_fini(&l->held);
    buf_fini(&l->out);
    free(l->path);
    free(l);
}
