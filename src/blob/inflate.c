/* Unpacking gzip on the way out, for clients that cannot: a step at a time on the disk lane. */
#include "blob/blob_int.h"

#include <errno.h>
#include <unistd.h>
#include <zlib.h>

#define INFLATE_IN (64u << 10)
#define INFLATE_OUT (256u << 10)

struct blob_inflate {
    struct blob *b;
    int fd;
    uint64_t offset;
    z_stream z;
    bool is_over, failed;
    struct err err;
    unsigned char in[INFLATE_IN], out[INFLATE_OUT];
    size_t n;
    struct lane_work work;
    void (*cb)(void *arg, struct str bytes, bool is_last, const struct err *err);
    void *arg;
};

struct blob_inflate *blob_inflate_new(struct blob *b, int fd) {
    struct blob_inflate *f = xcalloc(1, sizeof(*f));
    f->b = b;
    f->fd = fd;
    CHECK(inflateInit2(&f->z, 15 + 16) == Z_OK); /* 16: gzip, nothing else */
    blob_hold(b);
    return f;
}

void blob_inflate_free(struct blob_inflate *f) {
    if (f) {
        inflateEnd(&f->z);
        close(f->fd);
        blob_drop(f->b);
        free(f);
    }
}

static int fail(struct blob_inflate *f, const char *why) {
    f->failed = true;
    return err_set(&f->err, ERR_DATA_LOSS, "The object says gzip but cannot be unpacked: %s", why);
}

static int read_more(struct blob_inflate *f) {
    ssize_t n;
    do {
        n = pread(f->fd, f->in, sizeof(f->in), (off_t)f->offset);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        return fail(f, n < 0 ? "it cannot be read" : "it ends too early");
    }
    f->offset += (uint64_t)n;
    f->z.next_in = f->in;
    f->z.avail_in = (unsigned)n;
    return 0;
}

static void step_run(struct lane_work *w) {
    struct blob_inflate *f = CONTAINER_OF(w, struct blob_inflate, work);
    f->z.next_out = f->out;
    f->z.avail_out = sizeof(f->out);
    while (f->z.avail_out && !f->is_over && !f->failed) {
        if (f->z.avail_in == 0 && read_more(f) < 0) {
            break;
        }
        int r = inflate(&f->z, Z_NO_FLUSH);
        if (r == Z_STREAM_END) { /* members may follow one another; what is no member is padding */
            ssize_t n = 0;
            if (f->z.avail_in == 0) {
                n = pread(f->fd, f->in, sizeof(f->in), (off_t)f->offset);
                f->offset += n > 0 ? (uint64_t)n : 0;
                f->z.next_in = f->in;
                f->z.avail_in = n > 0 ? (unsigned)n : 0;
            }
            f->is_over =
                f->z.avail_in == 0 || f->z.next_in[0] != 0x1f || inflateReset(&f->z) != Z_OK;
        } else if (r != Z_OK && r != Z_BUF_ERROR) {
            fail(f, f->z.msg ? f->z.msg : "bad data");
        }
    }
    f->n = sizeof(f->out) - f->z.avail_out;
}

static void step_done(struct lane_work *w) {
    struct blob_inflate *f = CONTAINER_OF(w, struct blob_inflate, work);
    if (w->cancelled) {
        f->failed = true;
        f->n = 0;
        err_set(&f->err, ERR_UNAVAILABLE, "the server is closing");
    }
    f->cb(f->arg, str_n((const char *)f->out, f->n), f->is_over, f->failed ? &f->err : NULL);
}

void blob_inflate_next(struct blob_inflate *f,
                       void (*cb)(void *arg, struct str bytes, bool is_last, const struct err *err),
                       void *arg) {
    f->cb = cb;
    f->arg = arg;
    f->work = (struct lane_work){.run = step_run, .done = step_done};
    lane_submit(f->b->disk, &f->work);
}
