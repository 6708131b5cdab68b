/* See gzfile.h. Plain files cost one read(2) into the caller's buffer, nothing more. */
#include "data/gzfile.h"

#include <errno.h>
#include <unistd.h>
#include <zlib.h>

#define IN_SIZE ((size_t)128 << 10)
#define GZIP_WINDOW (15 + 16) /* zlib.h: largest window, gzip header expected */

struct gzfile {
    int fd;
    uint64_t bytes;
    unsigned char *in; /* NULL: plain */
    z_stream z;
    bool looked, eof, in_member;
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
    if (f->in) {
        inflateEnd(&f->z);
        free(f->in);
    }
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
        CHECK(inflateInit2(&f->z, GZIP_WINDOW) == Z_OK); /* fails for want of memory only */
        f->in_member = true;
    }
    return 0;
}

static int unpack(struct gzfile *f, char *p, size_t max, size_t *ret_n, struct err *err) {
    f->z.next_out = (unsigned char *)p;
    f->z.avail_out = (uInt)(max < (size_t)1 << 30 ? max : (size_t)1 << 30);
    uInt room = f->z.avail_out;
    while (f->z.avail_out == room) {
        if (!f->z.avail_in && !f->eof) {
            size_t n;
            if (read_some(f, f->in, IN_SIZE, &n, err) < 0) {
                return -1;
            }
            f->z.next_in = f->in;
            f->z.avail_in = (uInt)n;
            f->eof = n == 0;
        }
        if (!f->in_member) {
            /* Zero bytes behind a member are padding (tapes); anything else begins another. */
            while (f->z.avail_in && !*f->z.next_in) {
                f->z.next_in++;
                f->z.avail_in--;
            }
            if (!f->z.avail_in) {
                if (f->eof) {
                    break;
                }
                continue;
            }
            CHECK(inflateReset(&f->z) == Z_OK);
            f->in_member = true;
        }
        if (!f->z.avail_in && f->eof) {
            return err_set(err, ERR_INVALID_ARGUMENT, "the gzip data ends early");
        }
        int z = inflate(&f->z, Z_NO_FLUSH);
        if (z == Z_STREAM_END) {
            f->in_member = false;
        } else if (z != Z_OK && z != Z_BUF_ERROR) {
            return err_set(err, ERR_INVALID_ARGUMENT, "the gzip data is damaged (%s)",
                           f->z.msg ? f->z.msg : "no reason given");
        }
    }
    *ret_n = room - f->z.avail_out;
    return 0;
}

int gzfile_read(struct gzfile *f, char *p, size_t max, size_t *ret_n, struct err *err) {
    if (!f->looked && find_out(f, err) < 0) {
        return -1;
    }
    if (f->in) {
        return unpack(f, p, max, ret_n, err);
    }
    return read_some(f, p, max, ret_n, err);
}
