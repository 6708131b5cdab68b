/* Pump: see pump.h. */
#include "runner/pump.h"
#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define PIPE_BYTES (256 * 1024) /* room for bursts while we wait for the disk */

static int open_stream(struct pump *p, size_t i, int *ret_child, struct err *err) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return err_sys(err, errno, "pipe");
    }
    fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES); /* refused over the user's pipe quota: fine */
    fcntl(ends[0], F_SETFL, O_NONBLOCK);      /* our end only */
    struct pump_stream *s = &p->in[i];
    *s = (struct pump_stream){.pump = p, .fd = ends[0], .stream = i == 0 ? SEG_STDOUT : SEG_STDERR};
    lines_init(&s->lines, limits.log_line_bytes);
    *ret_child = ends[1];
    return 0;
}

int pump_open(struct pump *p, const char *log_dir, usec_t now, int ret_child[2], struct err *err) {
    *p = (struct pump){.in = {{.fd = -1}, {.fd = -1}}};
    ret_child[0] = ret_child[1] = -1;
    if (seglog_open(&p->log, log_dir, now, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < 2; i++) {
        if (open_stream(p, i, &ret_child[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}

void pump_fini(struct pump *p) {
    for (size_t i = 0; i < 2; i++) {
        mem_auto_close(&p->in[i].fd);
        lines_fini(&p->in[i].lines);
    }
    seglog_fini(&p->log);
    tail_fini(&p->tail);
}

static void take_piece(void *arg, struct str piece, bool partial) {
    struct pump_stream *s = arg;
    const struct seg_frame f = {.time = seglog_in_order(&s->pump->log, s->read_at),
                                .stream = s->stream,
                                .flags = partial ? SEG_PARTIAL : 0,
                                .payload = piece};
    seglog_add(&s->pump->log, &f);
    if (s->stream == SEG_STDERR) {
        tail_add(&s->pump->tail, piece, partial);
    }
}

static void end_stream(struct pump_stream *s) {
    if (s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
        s->read_at = time_wall();
        lines_end(&s->lines, take_piece, s);
    }
}

void pump_read(struct pump *p, size_t i) {
    struct pump_stream *s = &p->in[i];
    char chunk[PUMP_READ_BYTES];
    ssize_t n = read(s->fd, chunk, sizeof(chunk));
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        end_stream(s);
        return;
    }
    s->read_at = time_wall();
    lines_feed(&s->lines, str_n(chunk, (size_t)n), take_piece, s);
}

void pump_finish(struct pump *p, usec_t wall, usec_t now) {
    end_stream(&p->in[0]);
    end_stream(&p->in[1]);
    seglog_finish(&p->log, wall, now);
}
