/* Sockets by plain system calls on the loop's readiness. With TLS, reads decrypt from the server's
 * shared room, and writes encrypt a slice at a time into the filter's output, which goes first. */
#include "net/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

/* A file slice is small enough that reading it from a slow disk does not hold the loop for long,
 * and one flush stops after FLUSH_TIME whatever the disk does. */
#define COPY_SLICE (256u << 10)
#define FILE_SLICE (512u * 1024u)
#define FLUSH_SLICES 4
#define FLUSH_TIME (8 * USEC_PER_MSEC)
#define TLS_SLICE (128u * 1024u) /* encrypted for one send */
#define KEEP_OUT (8u * 1024u)    /* an empty queue larger than this gives its memory back */

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
    tls_close(t->tls);
    t->tls = NULL;
    if (reset) {
        struct linger l = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)); /* fails on Unix sockets */
    }
    close(t->fd);
    t->fd = -1;
}

/* ---- reading */

static ptrdiff_t read_socket(struct transport *t, char *p, size_t n) {
    ssize_t r;
    do {
        r = recv(t->fd, p, n, 0);
    } while (r < 0 && errno == EINTR);
    t->more = r == (ssize_t)n; /* less: the socket is empty, the loop tells when it is not */
    if (r < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK ? TRANSPORT_AGAIN : TRANSPORT_BROKEN;
    }
    t->bytes_in += (uint64_t)r;
    return r;
}

int transport_start_tls(struct transport *t, const struct tls_creds *creds, char *room,
                        struct str first) {
    t->tls = tls_open(creds);
    t->tls_room = room;
    if (!t->tls) {
        return -1;
    }
    tls_feed(t->tls, first);
    tls_settle(t->tls);
    return 0;
}

ptrdiff_t transport_handshake(struct transport *t) {
    for (;;) {
        enum tls_rc rc = tls_handshake(t->tls);
        tls_settle(t->tls);
        if (rc != TLS_AGAIN) {
            return rc == TLS_OK ? 1 : rc == TLS_EOF ? TRANSPORT_EOF : TRANSPORT_BROKEN;
        }
        ptrdiff_t r = read_socket(t, t->tls_room, TRANSPORT_ROOM);
        if (r <= 0) {
            return r;
        }
        tls_feed(t->tls, str_n(t->tls_room, (size_t)r));
    }
}

static ptrdiff_t read_tls(struct transport *t, char *p, size_t n) {
    size_t got = 0, step;
    bool filled = false;
    enum tls_rc rc = TLS_AGAIN;
    if (!tls_has_pending(t->tls)) {
        /* Not more than asked for: it would have to be kept. */
        ptrdiff_t r = read_socket(t, t->tls_room, n < TRANSPORT_ROOM ? n : TRANSPORT_ROOM);
        if (r <= 0) {
            return r; /* an end without goodbye is an end: requests say where they end */
        }
        filled = t->more;
        tls_feed(t->tls, str_n(t->tls_room, (size_t)r));
    }
    while (got < n && (rc = tls_read(t->tls, p + got, n - got, &step)) == TLS_OK) {
        got += step;
    }
    tls_settle(t->tls);
    t->more = filled || tls_has_pending(t->tls);
    if (got > 0) {
        return (ptrdiff_t)got; /* an end after it is told by the next read */
    }
    return rc == TLS_EOF ? TRANSPORT_EOF : rc == TLS_BROKEN ? TRANSPORT_BROKEN : TRANSPORT_AGAIN;
}

ptrdiff_t transport_read(struct transport *t, char *p, size_t n) {
    return t->tls && !t->ended ? read_tls(t, p, n) : read_socket(t, p, n);
}

/* ---- writing */

struct buf *transport_out(struct transport *t) {
    CHECK(t->file < 0);
    if (t->out_at > 65536 && t->out_at > t->out.n / 2) {
        buf_consume(&t->out, t->out_at);
        t->out_at = 0;
    }
    return &t->out;
}

void transport_send_file(struct transport *t, int file, uint64_t at, uint64_t len, struct str tail,
                         bool copy) {
    CHECK(t->file < 0);
    t->file = file;
    t->file_at = at;
    t->file_left = len;
    t->file_tail = tail;
    t->no_sendfile = copy;
    /* Ask the kernel to be ahead of us: sendfile reads what is not cached on the loop's time. */
    (void)posix_fadvise(file, (off_t)at, (off_t)len, POSIX_FADV_SEQUENTIAL);
}

static int write_failed(void) {
    return errno == EAGAIN || errno == EWOULDBLOCK ? TRANSPORT_AGAIN : TRANSPORT_BROKEN;
}

/* Sends b from *at on. 0 when all went, else TRANSPORT_AGAIN or TRANSPORT_BROKEN. */
static int send_queue(struct transport *t, const struct buf *b, size_t *at, int flags,
                      bool *progress) {
    while (*at < b->n) {
        ssize_t r = send(t->fd, b->p + *at, b->n - *at, MSG_NOSIGNAL | flags);
        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r < 0) {
            return write_failed();
        }
        *at += (size_t)r;
        t->bytes_out += (uint64_t)r;
        *progress = true;
    }
    return 0;
}

size_t transport_push(struct transport *t, struct str bytes) {
    size_t n = 0;
    CHECK(!t->tls && transport_is_flushed(t));
    while (n < bytes.n) {
        ssize_t r = send(t->fd, bytes.p + n, bytes.n - n, MSG_NOSIGNAL);
        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r < 0) {
            break;
        }
        n += (size_t)r;
        t->bytes_out += (uint64_t)r;
    }
    return n;
}

static void queue_is_empty(struct transport *t) {
    t->out_at = 0;
    if (t->out.cap > KEEP_OUT) {
        buf_fini(&t->out);
    } else {
        buf_clear(&t->out);
    }
}

static int flush_bytes(struct transport *t, bool *progress) {
    int rc = send_queue(t, &t->out, &t->out_at, t->file >= 0 ? MSG_MORE : 0, progress);
    if (rc == 0) {
        queue_is_empty(t);
    }
    return rc;
}

/* Where sendfile is not taken or not wanted: one piece through memory. Bytes read from the file and
 * not taken by the socket are read again next time. */
static ssize_t copy_slice(struct transport *t, size_t n) {
    static char piece[COPY_SLICE]; /* the loop's thread: one at a time */
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

static int flush_clear(struct transport *t, bool *progress) {
    int rc = flush_bytes(t, progress);
    if (rc == 0 && t->file >= 0) {
        rc = flush_file(t, progress);
        if (rc == 0) {
            rc = flush_bytes(t, progress);
        }
    }
    return rc;
}

/* ---- writing through TLS */

static int flush_encrypted(struct transport *t, bool *progress) {
    size_t *at;
    struct buf *b = tls_out(t->tls, &at);
    int rc = send_queue(t, b, at, 0, progress);
    if (rc == 0) {
        tls_sent(t->tls);
    }
    return rc;
}

/* The next piece of what waits, encrypted: bytes first, then the file. */
static int encrypt_some(struct transport *t) {
    size_t left = t->out.n - t->out_at;
    enum tls_rc rc;
    if (left > 0) {
        size_t n = left < TLS_SLICE ? left : TLS_SLICE;
        rc = tls_write(t->tls, t->out.p + t->out_at, n);
        t->out_at += n;
        if (n == left) {
            queue_is_empty(t);
        }
        return rc == TLS_OK ? 0 : TRANSPORT_BROKEN;
    }
    size_t n = t->file_left < TLS_SLICE ? (size_t)t->file_left : TLS_SLICE;
    ssize_t r = pread(t->file, t->tls_room, n, (off_t)t->file_at);
    if (r <= 0 || tls_write(t->tls, t->tls_room, (size_t)r) != TLS_OK) {
        return TRANSPORT_BROKEN; /* truncated under us, as above */
    }
    t->file_at += (uint64_t)r;
    t->file_left -= (uint64_t)r;
    if (t->file_left == 0) {
        drop_file(t);
        buf_put_str(&t->out, t->file_tail);
    }
    return 0;
}

static int flush_tls(struct transport *t, bool *progress) {
    const unsigned most = FLUSH_SLICES * (FILE_SLICE / TLS_SLICE);
    usec_t began = t->file_left > TLS_SLICE ? time_mono() : 0;
    int rc = flush_encrypted(t, progress);
    for (unsigned i = 0; rc == 0 && !transport_is_flushed(t); i++) {
        if (i > 0 && began && (i >= most || time_mono() - began > FLUSH_TIME)) {
            return TRANSPORT_AGAIN; /* the others' turn */
        }
        rc = encrypt_some(t);
        rc = rc ? rc : flush_encrypted(t, progress);
    }
    return rc;
}

int transport_flush(struct transport *t, bool *ret_progress) {
    *ret_progress = false;
    int rc = t->tls ? flush_tls(t, ret_progress) : flush_clear(t, ret_progress);
    return rc == TRANSPORT_BROKEN ? TRANSPORT_BROKEN : 0;
}

bool transport_end_output(struct transport *t) {
    bool progress;
    if (t->tls) {
        tls_end(t->tls);
        if (flush_encrypted(t, &progress) == TRANSPORT_AGAIN) {
            return false;
        }
    }
    t->ended = true;
    (void)shutdown(t->fd, SHUT_WR); /* fails when the peer is gone; reading tells */
    return true;
}
