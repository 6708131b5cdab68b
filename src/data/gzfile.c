/* See gzfile.h. Plain files cost one read(2) into the caller's buffer, nothing more. */
#include "data/gzfile.h"

#include "base/gunzip.h"

#include <errno.h>
#include <unistd.h>

#define IN_SIZE ((size_t)128 << 10)

struct gzfile {
    int fd;
    uint64_t bytes;
    struct gunzip *gunzip; /* NULL: plain */
    char *in;
    struct str left; /* of in: read and not unpacked yet */
    bool looked, eof;
};

struct gzfile *gzfile_new(int fd) {
    struct gzfile *f = xcalloc(1, sizeof(*f));
    f->fd = fd;
    return f;
}

void gzfile_free(struct gzfile *f) {
    if (!f) {
        return;
    }
    gunzip_free(f->gunzip);
    free(f->in);
    close(f->fd);
    free(f);
}

uint64_t gzfile_bytes_read(const struct gzfile *f) {
    return f->bytes;
}

static int read_some(struct gzfile *f, void *p, size_t max, size_t *ret, struct err *err) {
    for (;;) {
        ssize_t n = read(f->fd, p, max);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_sys(err, errno, "read");
        }
        f->bytes += (uint64_t)n;
        *ret = (size_t)n;
        return 0;
    }
}

/* Takes nothing: reads that begin at whole pages cost the kernel half. */
static int find_out(struct gzfile *f, struct err *err) {
    unsigned char head[2];
    ssize_t n;
    do {
        n = pread(f->fd, head, sizeof(head), 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return err_sys(err, errno, "read");
    }
    f->looked = true;
    if (n == 2 && head[0] == 0x1f && head[1] == 0x8b) {
        f->in = xmalloc(IN_SIZE);
        f->gunzip = gunzip_new();
    }
    return 0;
}

/* False: the end of the file is the end of the text. */
static bool next_member(struct gzfile *f) {
    /* Zero bytes behind a member are padding (tapes); anything else begins another. */
    while (f->left.n && !*f->left.p) {
        f->left = str_sub(f->left, 1, f->left.n);
    }
    if (f->left.n) {
        gunzip_again(f->gunzip);
    }
    return f->left.n || !f->eof;
}

static int unpack(struct gzfile *f, char *p, size_t max, size_t *ret_n, struct err *err) {
    size_t n = 0;
    while (!n) {
        struct err why;
        if (!f->left.n && !f->eof) {
            size_t got;
            if (read_some(f, f->in, IN_SIZE, &got, err) < 0) {
                return -1;
            }
            f->left = str_n(f->in, got);
            f->eof = got == 0;
        }
        if (gunzip_is_done(f->gunzip) && !next_member(f)) {
            break;
        }
        if (!f->left.n && f->eof) {
            return err_set(err, ERR_INVALID_ARGUMENT, "the gzip data ends early");
        }
        if (gunzip_step(f->gunzip, &f->left, p, max, &n, &why) < 0) {
            return err_set(err, ERR_INVALID_ARGUMENT, "the gzip data is damaged (%s)", why.msg);
        }
    }
    *ret_n = n;
    return 0;
}

int gzfile_read(struct gzfile *f, char *p, size_t max, size_t *ret_n, struct err *err) {
    if (!f->looked && find_out(f, err) < 0) {
        return -1;
    }
    if (f->gunzip) {
        return unpack(f, p, max, ret_n, err);
    }
    return read_some(f, p, max, ret_n, err);
}
