/* Large objects go to the disk past the page cache. They have to get there before they are answered
 * for anyway; what is saved is the copy, and the pages: finding a gigabyte of them pushes out what
 * jobs have there, and on a virtual machine whose host took the free ones back each costs a fault
 * (2.3 s a GiB were measured, for 0.25 s of copying). The first bytes, the last odd ones, and
 * whatever does not begin where a disk likes it go through the page cache; so does everything where
 * the file system knows no other way. On the disk lane. */
#include "blob/upload_int.h"
#include "sys/direct.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Whether the file is in that state now. */
static bool set_direct(struct blob_upload *u, bool on) {
    if (on == u->is_direct) {
        return on;
    }
    int flags = fcntl(u->fd, F_GETFL);
    if (flags < 0 || fcntl(u->fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) < 0) {
        u->no_direct = true; /* file systems without it say so here or when written to */
        return u->is_direct;
    }
    u->is_direct = on;
    u->was_direct |= on;
    return on;
}

static bool is_aligned(uint64_t at, const struct iovec *v) {
    return at % UPLOAD_ALIGN == 0 && v->iov_len >= UPLOAD_ALIGN &&
           (uintptr_t)v->iov_base % UPLOAD_ALIGN == 0;
}

/* The front of v that is written in one go, into part; the last of it may be shortened. */
static int next_part(struct blob_upload *u, uint64_t at, const struct iovec *v, int nr,
                     struct iovec *part) {
    int n = 0;
    bool direct = at >= DIRECT_FROM && !u->no_direct && is_aligned(at, v);
    direct = set_direct(u, direct);
    for (; n < nr && (!direct || is_aligned(at, v + n)); n++) {
        part[n] = v[n];
        if (direct && v[n].iov_len % UPLOAD_ALIGN) {
            part[n].iov_len -= v[n].iov_len % UPLOAD_ALIGN;
            return n + 1;
        }
        at += v[n].iov_len;
    }
    return n;
}

/* Takes n written bytes off the front of *v. */
static void advance(struct iovec **v, int *nr, size_t n) {
    while (*nr && n >= (*v)->iov_len) {
        n -= (*v)->iov_len;
        (*v)++;
        (*nr)--;
    }
    if (n) {
        (*v)->iov_base = (char *)(*v)->iov_base + n;
        (*v)->iov_len -= n;
    }
}

int upload_put(struct blob_upload *u, struct iovec *v, int nr) {
    uint64_t at = u->offset;
    while (nr && v->iov_len == 0) {
        v++;
        nr--;
    }
    while (nr) {
        struct iovec part[UPLOAD_BATCH_MAX];
        int nr_part = next_part(u, at, v, nr, part);
        ssize_t n = pwritev(u->fd, part, nr_part, (off_t)at);
        if (n < 0 && errno == EINVAL && u->is_direct && !u->no_direct) {
            u->no_direct = true;
        } else if (n < 0 && errno != EINTR) {
            return -errno;
        } else if (n == 0) {
            return -EIO;
        } else if (n > 0) {
            at += (uint64_t)n;
            advance(&v, &nr, (size_t)n);
        }
    }
    return 0;
}

void upload_end_direct(struct blob_upload *u) {
    (void)set_direct(u, false);
}
