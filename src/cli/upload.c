/* A file to gs://. Small ones in one request; larger ones in a resumable session that a later run
 * can take up: its URL is a record in the cache, named after everything that must be the same. */
#include "cli/transfer.h"

#include "base/enc.h"
#include "base/rec.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESUMABLE_FROM (8u << 20) /* less is sent again as fast as it is asked about */

struct sending {
    const struct cli *cli;
    const char *file;
    int fd;
    uint64_t size, at; /* at: bytes of the file that crc covers */
    uint32_t crc;
    atomic_ullong *moved;
};

static void on_sent(void *arg, struct str bytes) {
    struct sending *s = arg;
    s->crc = enc_crc32c(s->crc, bytes.p, bytes.n);
    s->at += bytes.n;
    atomic_fetch_add(s->moved, bytes.n);
}

/* To byte n of the file, with the checksum of all before it. */
static int seek_to(struct sending *s, uint64_t n, struct err *err) {
    static _Thread_local char bytes[262144];
    if (n != s->at) {
        atomic_fetch_sub(s->moved, s->at);
        s->at = 0;
        s->crc = 0;
        while (s->at < n) {
            size_t want = n - s->at < sizeof(bytes) ? (size_t)(n - s->at) : sizeof(bytes);
            ssize_t got = pread(s->fd, bytes, want, (off_t)s->at);
            if (got <= 0) {
                return err_sys(err, got < 0 ? errno : ESTALE, "read %s", s->file);
            }
            s->crc = enc_crc32c(s->crc, bytes, (size_t)got);
            s->at += (uint64_t)got;
        }
        atomic_fetch_add(s->moved, s->at);
    }
    return lseek(s->fd, (off_t)n, SEEK_SET) < 0 ? err_sys(err, errno, "read %s", s->file) : 0;
}

/* What the server stored is what was read, or it goes again. */
static int check(const struct sending *s, const struct uri *u, struct http_reply *r,
                 struct err *err) {
    struct object_facts f;
    json_t *j = json_loadb(r->body.p, r->body.n, 0, NULL);
    object_facts_of(j, &f);
    json_decref(j);
    if (f.size == s->at && (!f.has_crc || f.crc == s->crc)) {
        return 0;
    }
    auto_free char *path = xasprintf("/storage/v1/b/%s/o/%s?ifGenerationMatch=%llu", u->bucket,
                                     u->name, (unsigned long long)f.generation);
    (void)http_json(s->cli, "DELETE", path, NULL, NULL, NULL);
    return err_set(err, ERR_DATA_LOSS,
                   "%s: what arrived differs from what was read (did the file change meanwhile?); "
                   "the object was removed",
                   s->file);
}

static int send_whole(struct sending *s, const struct uri *u, uint64_t size, struct err *err) {
    auto_free char *path =
        xasprintf("/upload/storage/v1/b/%s/o?uploadType=media&name=%s", u->bucket, u->name);
    struct outage out = {0};
    for (;;) {
        struct http_req q = {.method = "POST",
                             .path = path,
                             .headers = {"Content-Type: application/octet-stream"},
                             .has_body = true,
                             .fd = s->fd,
                             .size = size,
                             .sent = on_sent,
                             .arg = s};
        struct http_reply r;
        struct err e = {0};
        if (http_do(s->cli, &q, &r, &e) == 0) {
            int rc = check(s, u, &r, err);
            http_reply_fini(&r);
            return rc;
        }
        out.reached |= s->at > 0;
        if (size == UPLOAD_UNKNOWN || !server_may_return(s->cli, &e, &out)) {
            *err = e;
            return -1;
        }
        if (seek_to(s, 0, err)) {
            return -1;
        }
    }
}

/* ---- sessions */

/* The record's path: a hash of what the session is for. Owned; NULL without a home. */
static char *record_of(const struct sending *s, const char *dst, const struct stat *st) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    auto_free char *full = realpath(s->file, NULL);
    auto_free char *key =
        xasprintf("%s\n%s\n%s\n%llu\n%lld.%09ld\n%llu", s->cli->endpoint, dst,
                  full ? full : s->file, (unsigned long long)s->size, (long long)st->st_mtim.tv_sec,
                  st->st_mtim.tv_nsec, (unsigned long long)st->st_ino);
    auto_free char *dir = cache && *cache == '/' ? xasprintf("%s/cusp/uploads", cache)
                          : home && *home == '/' ? xasprintf("%s/.cache/cusp/uploads", home)
                                                 : NULL;
    if (!dir || file_mkdirs(AT_FDCWD, dir, 0700, NULL)) {
        return NULL;
    }
    return xasprintf("%s/%016llx", dir, (unsigned long long)str_hash(str_of(key)));
}

static void remember(const char *record, const char *session, const char *dst) {
    auto_buf struct buf b = BUF_INIT(1 << 16);
    rec_begin(&b);
    rec_puts(&b, "session", session);
    rec_puts(&b, "object", dst);
    if (record && file_write_atomic(AT_FDCWD, record, buf_str(&b), 0600, FILE_NO_SYNC, NULL)) {
        return; /* then this run is the only one */
    }
}

/* Owned session URL of an earlier run, or NULL. */
static char *recall(const char *record, const char *dst) {
    auto_buf struct buf b = BUF_INIT(1 << 16);
    struct arena *a = arena_new(1 << 17);
    struct rec r;
    char *session = NULL;
    if (record && file_read(AT_FDCWD, record, &b, NULL) == 0 &&
        rec_parse(a, buf_str(&b), &r, NULL) == 0 && str_eqc(rec_get(&r, "object"), dst)) {
        session = xstrdup(rec_get_cstr(&r, "session"));
    }
    arena_free(a);
    return session;
}

static int open_session(const struct sending *s, const struct uri *u, char **ret, struct err *err) {
    auto_free char *path =
        xasprintf("/upload/storage/v1/b/%s/o?uploadType=resumable&name=%s", u->bucket, u->name);
    auto_free char *length =
        xasprintf("X-Upload-Content-Length: %llu", (unsigned long long)s->size);
    struct http_req q = {.method = "POST",
                         .path = path,
                         .headers = {"X-Upload-Content-Type: application/octet-stream", length,
                                     "Content-Length: 0"}};
    struct http_reply r;
    if (http_do(s->cli, &q, &r, err)) {
        return -1;
    }
    http_reply_fini(&r);
    if (!r.location[0]) {
        return err_set(err, ERR_INTERNAL, "the server opened an upload without saying where");
    }
    *ret = xstrdup(r.location);
    return 0;
}

/* Asks how far the session is: 0 more is to come from *next on, 1 it is done and *r is the object.
 */
static int ask_session(const struct sending *s, const char *session, uint64_t *next,
                       struct http_reply *r, struct err *err) {
    auto_free char *range = xasprintf("Content-Range: bytes */%llu", (unsigned long long)s->size);
    struct http_req q = {.method = "PUT", .path = session, .headers = {range, "Content-Length: 0"}};
    if (http_do(s->cli, &q, r, err)) {
        return -1;
    }
    if (r->status != 308) {
        return 1;
    }
    struct str last = str_of(r->range);
    uint64_t n = 0;
    (void)str_cut(&last, '-');
    *next = last.n && str_to_u64(last, &n) ? n + 1 : 0;
    http_reply_fini(r);
    return 0;
}

/* 1: done, *r is the object; 0: the server wants the rest after all. */
static int send_rest(struct sending *s, const char *session, struct http_reply *r,
                     struct err *err) {
    auto_free char *range =
        xasprintf("Content-Range: bytes %llu-%llu/%llu", (unsigned long long)s->at,
                  (unsigned long long)s->size - 1, (unsigned long long)s->size);
    struct http_req q = {.method = "PUT",
                         .path = session,
                         .headers = {range},
                         .has_body = true,
                         .fd = s->fd,
                         .size = s->size - s->at,
                         .sent = on_sent,
                         .arg = s};
    if (http_do(s->cli, &q, r, err)) {
        return -1;
    }
    if (r->status == 308) {
        http_reply_fini(r);
        return 0;
    }
    return 1;
}

static int send_session(struct sending *s, const char *session, bool old, struct http_reply *r,
                        struct err *err) {
    struct outage out = {.reached = true};
    bool ask = old;
    for (;;) {
        struct err e = {0};
        uint64_t next = 0, before = s->at;
        int rc = ask ? ask_session(s, session, &next, r, &e) : 0;
        if (rc == 1) {
            return seek_to(s, s->size, err) ? -1 : 0; /* the checksum of it all */
        }
        if (rc == 0 && seek_to(s, next, err)) {
            return -1;
        }
        before = s->at;
        rc = rc ? rc : send_rest(s, session, r, &e);
        if (rc == 1) {
            return 0;
        }
        if (s->at > before) {
            out = (struct outage){.reached = true};
        }
        if (rc < 0 && !server_may_return(s->cli, &e, &out)) {
            *err = e;
            return -1;
        }
        ask = true;
    }
}

static int send_resumable(struct sending *s, const struct uri *u, const char *dst,
                          const struct stat *st, struct err *err) {
    auto_free char *record = record_of(s, dst, st);
    auto_free char *session = recall(record, dst);
    struct http_reply r;
    struct err e = {0};
    bool old = session != NULL;
    int rc = old ? send_session(s, session, true, &r, &e) : -1;
    if (rc && (!old || e.code == ERR_NOT_FOUND || e.code == ERR_INVALID_ARGUMENT)) {
        free(session); /* none, or one that the server has forgotten */
        session = NULL;
        if (seek_to(s, 0, err) || open_session(s, u, &session, err)) {
            return -1;
        }
        remember(record, session, dst);
        rc = send_session(s, session, false, &r, &e);
    }
    if (rc) {
        if (e.code != ERR_OK) {
            *err = e;
        }
        return -1;
    }
    if (record) {
        unlink(record);
    }
    rc = check(s, u, &r, err);
    http_reply_fini(&r);
    return rc;
}

int transfer_upload(const struct cli *c, const struct transfer *x, atomic_ullong *moved,
                    struct err *err) {
    auto_uri struct uri u = {0};
    struct stat st;
    auto_close int fd = open(x->src, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        return err_sys(err, errno, "open %s", x->src);
    }
    if (S_ISDIR(st.st_mode)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s is a directory: use cp -r", x->src);
    }
    if (uri_parse(x->dst, &u, err)) {
        return -1;
    }
    struct sending s = {.cli = c, .file = x->src, .fd = fd, .moved = moved};
    s.size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : UPLOAD_UNKNOWN;
    if (s.size == UPLOAD_UNKNOWN || s.size < RESUMABLE_FROM) {
        return send_whole(&s, &u, s.size, err);
    }
    return send_resumable(&s, &u, x->dst, &st, err);
}
