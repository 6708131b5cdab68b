/* Unpacking gzip on the way out, for clients that cannot: a step at a time on the disk lane. */
#include "base/gunzip.h"
#include "blob/blob_int.h"

#include <errno.h>
#include <unistd.h>

#define INFLATE_IN (64u << 10)
#define INFLATE_OUT (256u << 10)

struct blob_inflate {
    struct blob *b;
    int fd;
    uint64_t offset;
    struct gunzip *gunzip;
    struct str left; /* read and not unpacked yet: the end of in */
    bool is_over, failed;
    struct err err;
    char in[INFLATE_IN], out[INFLATE_OUT];
    size_t n;
    struct lane_work work;
    void (*cb)(void *arg, struct str bytes, bool is_last, const struct err *err);
    void *arg;
};

struct blob_inflate *blob_inflate_new(struct blob *b, int fd) {
    struct blob_inflate *f = xcalloc(1, sizeof(*f));
    f->b = b;
    f->fd = fd;
    f->gunzip = gunzip_new();
    blob_hold(b);
    return f;
}

void blob_inflate_free(struct blob_inflate *f) {
    if (f) {
        gunzip_free(f->gunzip);
        close(f->fd);
        blob_drop(f->b);
        free(f);
    }
}

static int fail(struct blob_inflate *f, const char *why) {
    f->failed = true;
    return err_set(&f->err, ERR_DATA_LOSS, "The object says gzip but cannot be unpacked: %s", why);
}

/* Nothing left and 0: the end of the file. */
static int read_more(struct blob_inflate *f) {
    ssize_t n;
    do {
        n = pread(f->fd, f->in, sizeof(f->in), (off_t)f->offset);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return fail(f, "it cannot be read");
    }
    f->offset += (uint64_t)n;
    f->left = str_n(f->in, (size_t)n);
    return 0;
}

/* Members may follow one another; what is no member is padding. */
static int next_member(struct blob_inflate *f) {
    if (!f->left.n && read_more(f) < 0) {
        return -1;
    }
    f->is_over = !f->left.n || f->left.p[0] != 0x1f;
    if (!f->is_over) {
        gunzip_again(f->gunzip);
    }
    return 0;
}

static void step_run(struct lane_work *w) {
    struct blob_inflate *f = CONTAINER_OF(w, struct blob_inflate, work);
    f->n = 0;
    while (f->n < sizeof(f->out) && !f->is_over && !f->failed) {
        size_t n = 0;
        struct err err;
        if (!f->left.n && read_more(f) < 0) {
            break;
        }
        if (!f->left.n) {
            fail(f, "it ends too early");
        } else if (gunzip_step(f->gunzip, &f->left, f->out + f->n, sizeof(f->out) - f->n, &n,
                               &err) < 0) {
            fail(f, err.msg);
        } else if (gunzip_is_done(f->gunzip)) {
            (void)next_member(f);
        }
        f->n += n;
    }
}

static void step_done(struct lane_work *w) {
    struct blob_inflate *f = CONTAINER_OF(w, struct blob_inflate, work);
    if (w->cancelled) {
        f->failed = true;
        f->n = 0;
        err_set(&f->err, ERR_UNAVAILABLE, "the server is closing");
    }
    f->cb(f->arg, str_n(f->out, f->n), f->is_over, f->failed ? &f->err : NULL);
}

void blob_inflate_next(struct blob_inflate *f,
                       void (*cb)(void *arg, struct str bytes, bool is_last, const struct err *err),
                       void *arg) {
    f->cb = cb;
    f->arg = arg;
    f->work = (struct lane_work){.run = step_run, .done = step_done};
    lane_submit(f->b->disk, &f->work);
}
