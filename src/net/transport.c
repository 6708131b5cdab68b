/* Sockets by plain system calls on the loop's readiness. */
#include "net/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

/* A file slice is small enough that reading it from a slow disk does not hold the loop for long,
 * and one flush stops after FLUSH_TIME whatever the disk does. */
#define FILE_SLICE (512u * 1024u)
#define FLUSH_SLICES 4
#define FLUSH_TIME (8 * USEC_PER_MSEC)
#define KEEP_OUT (8u * 1024u) /* an empty queue larger than this gives its memory back */

int transport_open(struct transport *t, struct loop *l, int fd,
                   void (*fn)(void *arg, bool readable, bool writable), void *arg) {
    *t = (struct transport){.fd = fd, .file = -1, .out = BUF_INIT(BUF_NO_MAX)};
    t->watch = loop_fd_watch(l, fd, true, false, fn, arg);
    if (!t->watch) {
        close(fd);
        return -1;
    }
    return 0;
}

static void drop_file(struct transport *t) {
    if (t->file >= 0) {
        close(t->file);
        t->file = -1;
    }
}

void transport_close(struct transport *t, bool reset) {
    loop_fd_unwatch(t->watch);
    t->watch = NULL;
    drop_file(t);
    buf_fini(&t->out);
    if (reset) {
        struct linger l = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)); /* fails on Unix sockets */
    }
    close(t->fd);
    t->fd = -1;
}

ptrdiff_t transport_read(struct transport *t, char *p, size_t n) {
    ssize_t r;
    do {
        r = recv(t->fd, p, n, 0);
    } while (r < 0 && errno == EINTR);
    if (r < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK ? TRANSPORT_AGAIN : TRANSPORT_BROKEN;
    }
    t->bytes_in += (uint64_t)r;
    return r;
}

struct buf *transport_out(struct transport *t) {
    CHECK(t->file < 0);
    if (t->out_at > 65536 && t->out_at > t->out.n / 2) {
        buf_consume(&t->out, t->out_at);
        t->out_at = 0;
    }
    return &t->out;
}

void transport_send_file(struct transport *t, int file, uint64_t at, uint64_t len,
                         struct str tail) {
    CHECK(t->file < 0);
    t->file = file;
    t->file_at = at;
    t->file_left = len;
    t->file_tail = tail;
    t->no_sendfile = false;
    /* Ask the kernel to be ahead of us: sendfile reads what is not cached on the loop's time. */
    (void)posix_fadvise(file, (off_t)at, (off_t)len, POSIX_FADV_SEQUENTIAL);
}

static int write_failed(void) {
    return errno == EAGAIN || errno == EWOULDBLOCK ? TRANSPORT_AGAIN : TRANSPORT_BROKEN;
}

/* 0 when the queue is empty, else TRANSPORT_AGAIN or TRANSPORT_BROKEN. */
static int flush_bytes(struct transport *t, bool *progress) {
    while (t->out_at < t->out.n) {
        int flags = MSG_NOSIGNAL | (t->file >= 0 ? MSG_MORE : 0);
        ssize_t r = send(t->fd, t->out.p + t->out_at, t->out.n - t->out_at, flags);
        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r < 0) {
            return write_failed();
        }
        t->out_at += (size_t)r;
        t->bytes_out += (uint64_t)r;
        *progress = true;
    }
    t->out_at = 0;
    if (t->out.cap > KEEP_OUT) {
        buf_fini(&t->out);
    } else {
        buf_clear(&t->out);
    }
    return 0;
}

/* For files that sendfile does not take: one piece through memory. Bytes read from the file and not
 * taken by the socket are read again next time. */
static ssize_t copy_slice(struct transport *t, size_t n) {
    char piece[65536];
    ssize_t r = pread(t->file, piece, n < sizeof(piece) ? n : sizeof(piece), (off_t)t->file_at);
    return r <= 0 ? r : send(t->fd, piece, (size_t)r, MSG_NOSIGNAL);
}

static ssize_t send_slice(struct transport *t, size_t n) {
    if (!t->no_sendfile) {
        off_t at = (off_t)t->file_at;
        ssize_t r = sendfile(t->fd, t->file, &at, n);
        if (r >= 0 || (errno != EINVAL && errno != ENOSYS)) {
            return r;
        }
        t->no_sendfile = true;
    }
    return copy_slice(t, n);
}

static int flush_file(struct transport *t, bool *progress) {
    usec_t began = t->file_left > FILE_SLICE ? time_mono() : 0;
    for (unsigned i = 0; t->file_left > 0; i++) {
        if (i > 0 && (i >= FLUSH_SLICES || time_mono() - began > FLUSH_TIME)) {
            return TRANSPORT_AGAIN; /* the others' turn; the socket stays writable */
        }
        ssize_t r = send_slice(t, t->file_left < FILE_SLICE ? (size_t)t->file_left : FILE_SLICE);
        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r < 0) {
            return write_failed();
        }
        if (r == 0) {
            return TRANSPORT_BROKEN; /* truncated under us: the promised length cannot be kept */
        }
        t->file_at += (uint64_t)r;
        t->file_left -= (uint64_t)r;
        t->bytes_out += (uint64_t)r;
        *progress = true;
    }
    drop_file(t);
    buf_put_str(&t->out, t->file_tail);
    return 0;
}

int transport_flush(struct transport *t, bool *ret_progress) {
    *ret_progress = false;
    int rc = flush_bytes(t, ret_progress);
    if (rc == 0 && t->file >= 0) {
        rc = flush_file(t, ret_progress);
        if (rc == 0) {
            rc = flush_bytes(t, ret_progress);
        }
    }
    return rc == TRANSPORT_BROKEN ? TRANSPORT_BROKEN : 0;
}

void transport_end_output(struct transport *t) {
    (void)shutdown(t->fd, SHUT_WR); /* fails when the peer is gone; reading tells */
}
