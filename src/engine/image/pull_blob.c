/* One blob of another registry: fetched into partial/HEX, in as many pieces as it takes, hashed on
 * the way, and a blob of the shelf only when the digest is right.
 *
 * partial/HEX is named by the digest, so whoever needs the blob next goes on with it: the same pull
 * after a broken line, a pull after a kill -9, another image with the same layer. Bytes of an
 * earlier life are read once to know their hash. If the whole is wrong and part of it was from
 * then, or of another reply, it is fetched once more from the start before anybody is accused. */
#include "base/fail.h"
#include "base/limits.h"
#include "engine/image/pull_int.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLUSH_EVERY ((uint64_t)8 << 20)

struct fetch {
    struct pull_plan *p;
    struct plan_blob *b;
    int fd;
    struct hash *hash; /* of the `at` bytes that are here */
    uint64_t at;
    bool has_old;  /* they came in several pieces, of which one may be wrong */
    bool has_lies; /* some of them are not what was asked for */
    uint64_t best; /* the furthest it ever got: progress is what lies beyond */
};

static char *partial_path(struct arena *a, const char *hex) {
    return arena_printf(a, "partial/%s", hex);
}

static int start_over(struct fetch *f, struct err *err) {
    hash_free(f->hash);
    f->hash = hash_new();
    f->at = 0;
    f->has_old = false;
    atomic_store(&f->b->got, 0);
    return ftruncate(f->fd, 0) < 0 ? err_sys(err, errno, "empty a part of a layer") : 0;
}

/* What lies there from an earlier try. */
static int take_up(struct fetch *f, struct err *err) {
    auto_free char *chunk = xmalloc(1u << 18);
    struct stat st;
    ssize_t n;
    f->hash = hash_new();
    if (fstat(f->fd, &st) < 0) {
        return err_sys(err, errno, "look at a part of a layer");
    }
    if ((uint64_t)st.st_size > f->b->what.size) {
        return start_over(f, err);
    }
    while ((n = pread(f->fd, chunk, 1u << 18, (off_t)f->at)) > 0) {
        hash_add(f->hash, chunk, (size_t)n);
        f->at += (uint64_t)n;
        if (remote_is_cancelled(f->p->session)) {
            return err_set(err, ERR_CANCELLED, "cancelled");
        }
    }
    f->best = f->at;
    atomic_store(&f->b->got, f->at);
    return n < 0 ? err_sys(err, errno, "read a part of a layer") : 0;
}

static int on_bytes(void *arg, uint64_t at, struct str bytes, struct err *err) {
    struct fetch *f = arg;
    if (at != f->at && (at != 0 || start_over(f, err) < 0)) {
        return at != 0 ? err_set(err, ERR_UNAVAILABLE, "bytes out of order") : -1;
    }
    if (bytes.n > f->b->what.size - f->at) {
        f->has_lies = true;
        return err_set(err, ERR_FAILED_PRECONDITION,
                       "registry %s sends more of sha256:%.12s than the %llu bytes that the "
                       "manifest says",
                       remote_place(f->p->session, f->p->place), f->b->what.hex,
                       (unsigned long long)f->b->what.size);
    }
    if (FAIL_POINT("pull.blob.write", err) < 0) {
        return -1;
    }
    for (size_t done = 0; done < bytes.n;) {
        ssize_t n = pwrite(f->fd, bytes.p + done, bytes.n - done, (off_t)(f->at + done));
        if (n < 0 && errno != EINTR) {
            return err_sys(err, errno, "write a part of a layer");
        }
        done += n > 0 ? (size_t)n : 0;
    }
    hash_add(f->hash, bytes.p, bytes.n);
    if ((f->at + bytes.n) / FLUSH_EVERY != f->at / FLUSH_EVERY) {
        /* The disk starts early, so that the flush at the end has little to wait for. */
        (void)sync_file_range(f->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    }
    f->at += bytes.n;
    atomic_store(&f->b->got, f->at);
    return 0;
}

/* Until all bytes are here. A try that got further than any before counts as none. */
static int fetch_all(struct fetch *f, size_t place, struct err *err) {
    struct remote_session *s = f->p->session;
    auto_free char *path = xasprintf("blobs/sha256:%s", f->b->what.hex);
    auto_free char *what = xasprintf("blob sha256:%.12s", f->b->what.hex);
    unsigned tries = 0;
    while (f->at < f->b->what.size) {
        struct remote_req q = {.method = "GET",
                               .path = path,
                               .fd = -1,
                               .from = f->at,
                               .max = 65536,
                               .sink = on_bytes,
                               .arg = f};
        struct err why = {0};
        f->has_old = f->has_old || f->at > 0;
        int rc = remote_do(s, place, &q, &why);
        if (rc == 0 && q.status == 416) { /* it has less than we: one of us is wrong */
            q.can_retry = true;
            (void)err_set(&why, ERR_FAILED_PRECONDITION,
                          "registry %s has fewer bytes of sha256:%.12s than "
                          "the manifest says",
                          remote_place(s, place), f->b->what.hex);
            rc = start_over(f, &why) < 0 ? -1 : 0;
        } else if (rc == 0 && q.status >= 300) {
            (void)remote_refused(s, place, &q, what, &why);
        } else if (rc == 0) {
            q.can_retry = true; /* a proper end before the end */
            (void)err_set(&why, ERR_UNAVAILABLE,
                          "registry %s ended sha256:%.12s after %llu of %llu bytes",
                          remote_place(s, place), f->b->what.hex, (unsigned long long)f->at,
                          (unsigned long long)f->b->what.size);
        }
        buf_fini(&q.reply);
        if (f->at == f->b->what.size) {
            break;
        }
        tries = f->at > f->best ? 1 : tries + 1;
        f->best = f->at > f->best ? f->at : f->best;
        if (remote_pause(s, &q, tries, &why) < 0) {
            if (err != NULL) {
                *err = why;
            }
            return -1;
        }
    }
    return 0;
}

static int check(struct fetch *f, size_t place, struct err *err) {
    char got[SHA256_HEX_LEN + 1];
    hash_hex(f->hash, got);
    f->has_lies = strcmp(got, f->b->what.hex) != 0;
    if (!f->has_lies) {
        return 0;
    }
    return err_set(
        err, ERR_FAILED_PRECONDITION,
        "registry %s sent bytes of digest sha256:%s for sha256:%s; none of them was kept",
        remote_place(f->p->session, place), got, f->b->what.hex);
}

static int fetch_from(struct fetch *f, size_t place, struct err *err) {
    if (fetch_all(f, place, err) < 0) {
        return -1;
    }
    bool had_old = f->has_old;
    int rc = check(f, place, err);
    if (rc < 0 && (start_over(f, err) < 0 || !had_old)) {
        return -1;
    }
    f->best = 0;
    return rc < 0 && (fetch_all(f, place, err) < 0 || check(f, place, err) < 0) ? -1 : 0;
}

/* What a lie left, and what fills a full disk, is of no use to a next try. */
static void drop_useless(struct fetch *f, const char *path, const struct err *why) {
    if (f->at == 0 || f->has_lies || why->sys != 0) {
        (void)unlinkat(f->p->store->dir_fd, path, 0);
        atomic_store(&f->b->got, 0);
    }
}

/* A mirror that fails is asked no more for this blob; the registry itself has the last word. */
static int fetch(struct pull_plan *p, struct plan_blob *b, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const char *path = partial_path(a, b->what.hex);
    struct fetch f = {.p = p, .b = b};
    size_t last = remote_main_place(p->session);
    auto_close int fd =
        openat(p->store->dir_fd, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    f.fd = fd;
    if (fd < 0) {
        return err_sys(err, errno, "make a file for a layer");
    }
    int rc = take_up(&f, err);
    if (rc == 0) {
        rc = fetch_from(&f, p->place, err);
        if (rc < 0 && p->place != last && !remote_is_cancelled(p->session)) {
            rc = fetch_from(&f, last, err);
        }
    }
    if (rc == 0 && fsync(fd) < 0) {
        rc = err_sys(err, errno, "flush a layer");
    }
    if (rc == 0) {
        rc = FAIL_POINT("pull.blob.before_adopt", err);
    }
    if (rc == 0) {
        rc = registry_blob_adopt(p->store, str_of(p->ref->shelf), b->what.hex, path, err);
    } else {
        drop_useless(&f, path, err);
    }
    hash_free(f.hash);
    return rc;
}

/* Ours alone, or -1 when the wait for another's was cancelled. */
static int claim(struct pull_plan *p, struct store_claim *c, const char *hex, struct err *err) {
    while (!store_claim(p->store, c, hex)) {
        if (remote_is_cancelled(p->session)) {
            return err_set(err, ERR_CANCELLED, "cancelled");
        }
    }
    return 0;
}

int pull_blob(struct pull_plan *p, size_t i, struct err *err) {
    struct plan_blob *b = &p->blobs[i];
    struct store_claim c;
    uint64_t size;
    if (claim(p, &c, b->what.hex, err) < 0) {
        return -1;
    }
    int rc = 0;
    if (store_blob_size(p->store, b->what.hex, &size) == 0 && size == b->what.size) {
        rc = registry_blob_adopt(p->store, str_of(p->ref->shelf), b->what.hex, NULL, err);
    } else {
        rc = fetch(p, b, err);
    }
    store_unclaim(p->store, &c);
    if (rc == 0) {
        atomic_store(&b->got, b->what.size);
        atomic_store(&b->here, true);
    }
    return rc;
}
