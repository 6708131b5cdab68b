/* A list of transfers and the threads that do them. */
#include "cli/transfer.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#define THREADS_DEFAULT 8
#define THREADS_MAX 64
#define PROGRESS_US 100000

struct pool {
    struct transfers *set;
    struct cli quiet; /* outages are said once, by whoever meets them first */
    atomic_size_t next, done, failed;
    atomic_ullong moved;
    atomic_bool stop, ended;
    uint64_t total;
    usec_t began;
    bool tty;
    pthread_mutex_t lock; /* stderr, and what follows */
    struct err first;
};

void transfers_add(struct transfers *t, enum transfer_kind kind, const char *src, const char *dst,
                   uint64_t size, const struct object_facts *facts) {
    struct transfer x = {.kind = kind, .src = xstrdup(src), .dst = xstrdup(dst), .size = size};
    if (facts) {
        x.facts = *facts;
        x.known = true;
    }
    vec_push(&t->v, x);
}

void transfers_fini(struct transfers *t) {
    for (size_t i = 0; i < t->v.n; i++) {
        free(t->v.p[i].src);
        free(t->v.p[i].dst);
    }
    vec_fini(&t->v);
}

static int copy(const struct cli *c, const struct transfer *x, struct err *err) {
    auto_uri struct uri a = {0}, b = {0};
    if (uri_parse(x->src, &a, err) || uri_parse(x->dst, &b, err)) {
        return -1;
    }
    if (!*a.raw_name) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s is a bucket: use cp -r", x->src);
    }
    auto_free char *path =
        xasprintf("/storage/v1/b/%s/o/%s/copyTo/b/%s/o/%s", a.bucket, a.name, b.bucket, b.name);
    json_t *body = json_object();
    int rc = http_json(c, "POST", path, body, NULL, err);
    json_decref(body);
    return rc;
}

static int remove_object(const struct cli *c, const struct transfer *x, struct err *err) {
    auto_uri struct uri u = {0};
    if (uri_parse(x->src, &u, err)) {
        return -1;
    }
    auto_free char *path = xasprintf("/storage/v1/b/%s/o/%s", u.bucket, u.name);
    return http_json(c, "DELETE", path, NULL, NULL, err);
}

static int do_one(struct pool *p, const struct transfer *x, struct err *err) {
    switch (x->kind) {
    case TRANSFER_UPLOAD:
        return transfer_upload(&p->quiet, x, &p->moved, err);
    case TRANSFER_DOWNLOAD:
        return transfer_download(&p->quiet, x, &p->moved, err);
    case TRANSFER_COPY:
        return copy(&p->quiet, x, err);
    case TRANSFER_REMOVE:
        return remove_object(&p->quiet, x, err);
    }
    return -1;
}

/* Under the lock. */
static void clear_line(struct pool *p) {
    if (p->tty) {
        fputs("\r\033[K", stderr);
    }
}

static void told(struct pool *p, const struct transfer *x, int rc, const struct err *err) {
    pthread_mutex_lock(&p->lock);
    if (rc) {
        if (!p->failed) {
            p->first = *err;
        }
        atomic_fetch_add(&p->failed, 1);
        if (p->set->v.n > 1) {
            clear_line(p);
            fprintf(stderr, "cusp: %s: %s\n", x->src, err->msg);
        }
        if (err->code == ERR_UNAVAILABLE || err->code == ERR_RESOURCE_EXHAUSTED) {
            p->stop = true;
        }
    } else if (!p->set->cli->quiet && !(p->tty && p->set->v.n > 1)) {
        clear_line(p);
        if (x->kind == TRANSFER_REMOVE) {
            fprintf(stderr, "Removed %s\n", x->src);
        } else {
            fprintf(stderr, "%s -> %s\n", x->src, x->dst);
        }
    }
    atomic_fetch_add(&p->done, 1);
    pthread_mutex_unlock(&p->lock);
}

static void *work(void *arg) {
    struct pool *p = arg;
    for (;;) {
        size_t i = atomic_fetch_add(&p->next, 1);
        struct err err = {0};
        if (i >= p->set->v.n || p->stop) {
            break;
        }
        const struct transfer *x = &p->set->v.p[i];
        told(p, x, do_one(p, x, &err), &err);
    }
    return NULL;
}

static void *work_in_thread(void *arg) {
    (void)work(arg);
    http_thread_end();
    return NULL;
}

static void rate_text(struct buf *b, uint64_t bytes, usec_t took) {
    buf_puts(b, ", ");
    bytes_text(b, took ? (uint64_t)((double)bytes * USEC_PER_SEC / (double)took) : bytes);
    buf_puts(b, "/s");
}

static void show(struct pool *p) {
    auto_buf struct buf b = BUF_INIT(512);
    usec_t took = time_mono() - p->began;
    uint64_t moved = p->moved;
    size_t n = p->set->v.n;
    if (n > 1) {
        buf_printf(&b, "%zu of %zu objects", (size_t)p->done, n);
    } else {
        buf_printf(&b, "%.40s", path_base(p->set->v.p[0].src));
    }
    if (moved) {
        buf_puts(&b, ", ");
        bytes_text(&b, moved);
        if (p->total) {
            buf_puts(&b, " of ");
            bytes_text(&b, p->total);
            buf_printf(&b, " (%.0f%%)", (double)moved * 100 / (double)p->total);
        }
        rate_text(&b, moved, took);
    }
    pthread_mutex_lock(&p->lock);
    fprintf(stderr, "\r\033[K%s", buf_cstr(&b));
    pthread_mutex_unlock(&p->lock);
}

/* Only while somebody looks at it, and not for what is over in a blink. */
static void *watch(void *arg) {
    struct pool *p = arg;
    bool shown = false;
    while (!p->ended) {
        if (time_mono() - p->began > 5 * PROGRESS_US) {
            show(p);
            shown = true;
        }
        usleep(PROGRESS_US);
    }
    if (shown) {
        clear_line(p);
    }
    return NULL;
}

static void summary(const struct pool *p) {
    auto_buf struct buf b = BUF_INIT(512);
    usec_t took = time_mono() - p->began;
    buf_printf(&b, "%zu objects", p->done - p->failed);
    if (p->moved) {
        buf_puts(&b, ", ");
        bytes_text(&b, p->moved);
    }
    buf_puts(&b, " in ");
    duration_text(&b, (double)took / USEC_PER_SEC);
    if (p->moved) {
        rate_text(&b, p->moved, took);
    }
    fprintf(stderr, "%s\n", buf_cstr(&b));
}

int transfers_run(struct transfers *t, struct err *err) {
    struct pool p = {.set = t,
                     .quiet = *t->cli,
                     .began = time_mono(),
                     .tty = isatty(STDERR_FILENO) && !t->cli->quiet,
                     .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[THREADS_MAX], watcher;
    unsigned want = t->threads ? t->threads : THREADS_DEFAULT, nr = 0;
    want = want > THREADS_MAX ? THREADS_MAX : want;
    want = want > t->v.n ? (unsigned)t->v.n : want;
    p.quiet.quiet = t->v.n > 1 || t->cli->quiet;
    for (size_t i = 0; i < t->v.n; i++) {
        p.total += t->v.p[i].size;
    }
    bool watched = p.tty && pthread_create(&watcher, NULL, watch, &p) == 0;
    while (nr + 1 < want && pthread_create(&threads[nr], NULL, work_in_thread, &p) == 0) {
        nr++; /* this thread is one of them */
    }
    (void)work(&p);
    while (nr) {
        pthread_join(threads[--nr], NULL);
    }
    p.ended = true;
    if (watched) {
        pthread_join(watcher, NULL);
    }
    if (t->v.n > 1 && !t->cli->quiet) {
        summary(&p);
    }
    if (p.failed) {
        *err = p.first;
        if (t->v.n > 1) {
            err_set(err, p.first.code, "%zu of %zu failed%s", (size_t)p.failed, t->v.n,
                    p.stop ? " and the rest was not tried" : "");
        }
        return -1;
    }
    return 0;
}
