/* gs:// to a file: the file appears whole, checked, or not at all. What is no file (/dev/null, a
 * pipe) gets the bytes as they come. */
#include "cli/transfer.h"

#include "base/enc.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct sink {
    int fd, failed; /* failed: errno of write */
    uint32_t crc;
    uint64_t n;
    atomic_ullong *moved; /* may be NULL */
};

static bool to_fd(void *arg, struct str bytes) {
    struct sink *s = arg;
    s->crc = enc_crc32c(s->crc, bytes.p, bytes.n);
    s->n += bytes.n;
    if (s->moved) {
        atomic_fetch_add(s->moved, bytes.n);
    }
    while (bytes.n) {
        ssize_t n = write(s->fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            s->failed = n < 0 ? errno : EIO;
            return false;
        }
        bytes = str_sub(bytes, (size_t)n, bytes.n);
    }
    return true;
}

int object_to_fd(const struct cli *c, const char *src, int fd, const char *what, struct err *err) {
    auto_uri struct uri u = {0};
    struct sink s = {.fd = fd};
    if (uri_parse(src, &u, err)) {
        return -1;
    }
    if (!*u.raw_name) {
        return err_set(err, ERR_INVALID_ARGUMENT, "\"%s\" names a bucket, not an object", src);
    }
    auto_free char *path = xasprintf("/download/storage/v1/b/%s/o/%s?alt=media", u.bucket, u.name);
    int rc = http_stream(c, path, to_fd, &s, err);
    return s.failed ? err_sys(err, s.failed, "write %s", what) : rc;
}

/* What an earlier run left, with its checksum. */
static int begin(const char *part, uint64_t size, struct sink *s, struct err *err) {
    static _Thread_local char bytes[262144];
    s->fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (s->fd < 0) {
        return err_sys(err, errno, "open %s", part);
    }
    for (;;) {
        ssize_t n = read(s->fd, bytes, sizeof(bytes));
        if (n < 0 && errno != EINTR) {
            return err_sys(err, errno, "read %s", part);
        }
        if (n <= 0) {
            break;
        }
        s->crc = enc_crc32c(s->crc, bytes, (size_t)n);
        s->n += (uint64_t)n;
    }
    if (s->n > size) { /* not ours: begin anew */
        s->crc = 0;
        s->n = 0;
        if (ftruncate(s->fd, 0) || lseek(s->fd, 0, SEEK_SET)) {
            return err_sys(err, errno, "empty %s", part);
        }
    }
    atomic_fetch_add(s->moved, s->n);
    return 0;
}

static int begin_stream(const char *file, struct sink *s, struct err *err) {
    s->fd = open(file, O_WRONLY | O_CLOEXEC);
    return s->fd < 0 ? err_sys(err, errno, "open %s", file) : 0;
}

static int fetch(const struct cli *c, const struct uri *u, const struct object_facts *f,
                 struct sink *s, const char *file, struct err *err) {
    auto_free char *path =
        xasprintf("/download/storage/v1/b/%s/o/%s?alt=media&ifGenerationMatch=%llu", u->bucket,
                  u->name, (unsigned long long)f->generation);
    struct outage out = {.reached = true};
    while (s->n < f->size) {
        auto_free char *range = xasprintf("Range: bytes=%llu-", (unsigned long long)s->n);
        struct http_req q = {.method = "GET",
                             .path = path,
                             .headers = {s->n ? range : NULL},
                             .sink = to_fd,
                             .arg = s};
        struct http_reply r;
        struct err e = {0};
        uint64_t before = s->n;
        int rc = http_do(c, &q, &r, &e);
        if (s->failed) {
            return err_sys(err, s->failed, "write %s", file);
        }
        if (rc == 0) {
            http_reply_fini(&r);
            break;
        }
        if (s->n > before) {
            out = (struct outage){.reached = true};
        }
        if (!server_may_return(c, &e, &out)) {
            *err = e;
            return -1;
        }
    }
    return s->n == f->size ? 0
                           : err_set(err, ERR_DATA_LOSS, "%llu bytes came of %llu",
                                     (unsigned long long)s->n, (unsigned long long)f->size);
}

int transfer_download(const struct cli *c, const struct transfer *x, atomic_ullong *moved,
                      struct err *err) {
    auto_uri struct uri u = {0};
    struct object_facts f = x->facts;
    struct sink s = {.fd = -1, .moved = moved};
    if (uri_parse(x->src, &u, err)) {
        return -1;
    }
    if (!*u.raw_name) {
        return err_set(err, ERR_INVALID_ARGUMENT, "\"%s\" names a bucket, not an object", x->src);
    }
    if (!x->known && object_look(c, &u, &f, err)) {
        return -1;
    }
    bool stream = out_is_stream(x->dst);
    auto_free char *part =
        stream ? NULL : xasprintf("%s.cusp-part-%llu", x->dst, (unsigned long long)f.generation);
    int rc = stream ? begin_stream(x->dst, &s, err) : begin(part, f.size, &s, err);
    auto_close int fd = s.fd;
    rc = rc ? rc : fetch(c, &u, &f, &s, x->dst, err);
    if (rc == 0 && f.has_crc && s.crc != f.crc) {
        rc = err_set(err, ERR_DATA_LOSS,
                     "%s: the bytes that came have another checksum than the object", x->src);
        if (part) {
            unlink(part); /* to go on with it would never be right */
        }
    }
    if (rc == 0 && part && rename(part, x->dst)) {
        rc = err_sys(err, errno, "rename %s", x->dst);
    }
    if (rc && part && s.n == 0) {
        unlink(part);
    }
    return rc;
}
