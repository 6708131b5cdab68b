#include "data/shard.h"

#include "base/buf.h"
#include "base/enc.h"
#include "base/fail.h"
#include "data/pages.h"
#include "data/split.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define BUFFER ((size_t)512 << 10)
#define BUFFERS 4u
/* Written so many at once: for larger writes the kernel looks for larger pieces of memory, which
 * are rarely those that were just in use, and spends twice the time on copying to them. */
#define WRITE_AT_ONCE ((size_t)32 << 10)
#define WRITEBACK_STEP (8u << 20) /* starts writeback this often, so that the fsync is short */

/* ---- the writer: buffers in a ring, written in the order they were filled ---- */

struct shard_writer {
    struct {
        char *p;
        size_t n;
    } ring[BUFFERS];
    /* Under the lock. The ring's chunks from `first` on are to be written; the one behind them is
     * being filled. */
    pthread_mutex_t lock;
    pthread_cond_t more, less;
    size_t first, nr;
    bool stop, failed;
    struct err err;
    pthread_t thread;
    bool has_thread;
    /* Of the thread while chunks are waiting, else of whoever fills. */
    int fd;
    uint32_t crc32c;
    uint64_t size, flushed;
};

static int write_out(struct shard_writer *w, const char *p, size_t n, struct err *err) {
    if (FAIL_POINT("data.shard.write", err) < 0) {
        return -1;
    }
    w->crc32c = enc_crc32c(w->crc32c, p, n);
    while (n) {
        ssize_t put = write(w->fd, p, n < WRITE_AT_ONCE ? n : WRITE_AT_ONCE);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return err_sys(err, errno, "write exported data");
        }
        p += put;
        n -= (size_t)put;
        w->size += (uint64_t)put;
    }
    if (w->size - w->flushed >= WRITEBACK_STEP) {
        (void)sync_file_range(w->fd, (off_t)w->flushed, (off_t)(w->size - w->flushed),
                              SYNC_FILE_RANGE_WRITE);
        w->flushed = w->size; /* only a hint: the fsync decides */
    }
    return 0;
}

static void *write_loop(void *arg) {
    struct shard_writer *w = arg;
    struct err err;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->nr && !w->stop) {
            pthread_cond_wait(&w->more, &w->lock);
        }
        if (w->stop) {
            break;
        }
        size_t at = w->first;
        bool skip = w->failed;
        pthread_mutex_unlock(&w->lock);
        bool failed = !skip && write_out(w, w->ring[at].p, w->ring[at].n, &err) < 0;
        pthread_mutex_lock(&w->lock);
        if (failed) {
            w->failed = true;
            w->err = err;
        }
        w->first = (w->first + 1) % BUFFERS;
        w->nr--;
        pthread_cond_signal(&w->less);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static struct shard_writer *writer_new(void) {
    struct shard_writer *w = xcalloc(1, sizeof(*w));
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->more, NULL);
    pthread_cond_init(&w->less, NULL);
    w->fd = -1;
    w->ring[0].p = pages_new(BUFFER);
    return w;
}

static void writer_free(struct shard_writer *w) {
    if (w->has_thread) {
        pthread_mutex_lock(&w->lock);
        w->stop = true;
        pthread_cond_signal(&w->more);
        pthread_mutex_unlock(&w->lock);
        CHECK(pthread_join(w->thread, NULL) == 0);
    }
    for (size_t i = 0; i < BUFFERS; i++) {
        pages_free(w->ring[i].p, BUFFER);
    }
    pthread_cond_destroy(&w->less);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* The server's signals are the loop's. False: there is none to be had, and writing is done here. */
static bool start_thread(struct shard_writer *w) {
    sigset_t all, old;
    if (w->has_thread) {
        return true;
    }
    for (size_t i = 1; i < BUFFERS; i++) {
        w->ring[i].p = pages_new(BUFFER);
    }
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    w->has_thread = pthread_create(&w->thread, NULL, write_loop, w) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    for (size_t i = 1; i < BUFFERS && !w->has_thread; i++) {
        pages_free(take(&w->ring[i].p), BUFFER);
    }
    return w->has_thread;
}

/* n bytes of the buffer that is being filled; *ret_next is filled next. */
static int writer_give(struct shard_writer *w, size_t n, char **ret_next, struct err *err) {
    if (!start_thread(w)) {
        return write_out(w, *ret_next, n, err);
    }
    pthread_mutex_lock(&w->lock);
    w->ring[(w->first + w->nr) % BUFFERS].n = n;
    w->nr++;
    pthread_cond_signal(&w->more);
    while (w->nr == BUFFERS) {
        pthread_cond_wait(&w->less, &w->lock);
    }
    *ret_next = w->ring[(w->first + w->nr) % BUFFERS].p;
    bool failed = w->failed;
    if (failed && err) {
        *err = w->err;
    }
    pthread_mutex_unlock(&w->lock);
    return failed ? -1 : 0;
}

/* Until all that was given is in the file. */
static int writer_drain(struct shard_writer *w, struct err *err) {
    pthread_mutex_lock(&w->lock);
    while (w->nr) {
        pthread_cond_wait(&w->less, &w->lock);
    }
    bool failed = w->failed;
    if (failed && err) {
        *err = w->err;
    }
    pthread_mutex_unlock(&w->lock);
    return failed ? -1 : 0;
}

/* ---- shards ---- */

void shards_init(struct shards *s, const struct shard_place *place, uint64_t max_bytes,
                 struct str header) {
    *s = (struct shards){.place = place, .max_bytes = max_bytes, .fd = -1};
    s->header = header.n ? str_dup(header) : NULL;
    s->header_n = header.n;
    s->w = writer_new();
    s->p = s->w->ring[0].p;
}

void shards_release(struct shards *s) {
    s->done.n = 0;
}

void shards_fini(struct shards *s) {
    if (s->w) {
        writer_free(take(&s->w)); /* before the file that it writes is closed */
    }
    if (s->fd >= 0) {
        close(take_fd(&s->fd));
        s->place->drop(s->place->arg, s->cur.id);
    }
    for (size_t i = 0; i < s->done.n; i++) {
        s->place->drop(s->place->arg, s->done.p[i].id);
    }
    vec_fini(&s->done);
    free(take(&s->header));
}

static int give(struct shards *s, struct err *err) {
    size_t n = s->n;
    s->n = 0;
    s->cur.size += n;
    return writer_give(s->w, n, &s->p, err);
}

/* Every write but a shard's last is of whole buffers: in the file and in memory bytes then have the
 * same place in their page, without which the kernel copies at a quarter of the speed. */
static int put_bytes(struct shards *s, const char *p, size_t n, struct err *err) {
    while (n) {
        size_t part = n < BUFFER - s->n ? n : BUFFER - s->n;
        memcpy(s->p + s->n, p, part);
        s->n += part;
        p += part;
        n -= part;
        if (s->n == BUFFER && give(s, err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int begin(struct shards *s, struct err *err) {
    s->cur = (struct shard){.size = 0};
    if (s->place->make(s->place->arg, s->cur.id, &s->fd, err) < 0) {
        return -1;
    }
    s->w->fd = s->fd; /* it has nothing to do now */
    s->w->crc32c = 0;
    s->w->size = s->w->flushed = 0;
    return s->header_n ? put_bytes(s, s->header, s->header_n, err) : 0;
}

/* The last part of a shard is written here: small exports need no thread. */
static int end(struct shards *s, struct err *err) {
    size_t n = s->n;
    s->n = 0;
    s->cur.size += n;
    if (writer_drain(s->w, err) < 0 || (n && write_out(s->w, s->p, n, err) < 0) ||
        FAIL_POINT("data.shard.before_fsync", err) < 0) {
        return -1;
    }
    if (fsync(s->fd) < 0) {
        return err_sys(err, errno, "store exported data");
    }
    close(take_fd(&s->fd));
    s->cur.crc32c = s->w->crc32c;
    vec_push(&s->done, s->cur);
    return 0;
}

int shards_put(struct shards *s, struct str record, struct err *err) {
    uint64_t size = s->cur.size + s->n;
    if (s->fd >= 0 && size > s->header_n && size + record.n + 1 > s->max_bytes && end(s, err) < 0) {
        return -1;
    }
    if (s->fd < 0 && begin(s, err) < 0) {
        return -1;
    }
    s->records++;
    if (record.n + 1 < BUFFER - s->n) { /* as nearly always */
        memcpy(s->p + s->n, record.p, record.n);
        s->p[s->n + record.n] = '\n';
        s->n += record.n + 1;
        return 0;
    }
    return put_bytes(s, record.p, record.n, err) < 0 ? -1 : put_bytes(s, "\n", 1, err);
}

int shards_finish(struct shards *s, struct err *err) {
    if (s->fd < 0 && s->done.n == 0 && begin(s, err) < 0) {
        return -1;
    }
    return s->fd >= 0 ? end(s, err) : 0;
}

void shard_name(struct buf *b, const char *set, size_t at, size_t of, const char *ext) {
    buf_printf(b, "%s-%05zu-of-%05zu.%s", set, at, of, ext);
}

static bool is_shard_of(struct str name, const char *set) {
    struct str rest = str_sub(name, strlen(set), name.n);
    uint64_t at, of;
    return str_starts(name, str_of(set)) && rest.n > sizeof("-00000-of-00001.") - 1 &&
           rest.p[0] == '-' && str_to_u64(str_sub(rest, 1, 5), &at) &&
           str_eq(str_sub(rest, 6, 4), STR("-of-")) && str_to_u64(str_sub(rest, 10, 5), &of) &&
           (str_eq(str_sub(rest, 15, rest.n), STR(".csv")) ||
            str_eq(str_sub(rest, 15, rest.n), STR(".jsonl"))) &&
           at < of;
}

bool shard_name_is(struct str name, const char *extra) {
    for (enum split_set s = SPLIT_TRAINING; s < SPLIT_NR; s++) {
        if (is_shard_of(name, split_set_name(s))) {
            return true;
        }
    }
    return extra && is_shard_of(name, extra);
}
