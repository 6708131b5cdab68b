/* Sorted pictures of large directories. A page of a list needs a few of a directory's entries, in
 * order, and the kernel gives all of them in none; so the picture made for one page serves the
 * next. It counts while the directory's times stand still, is not kept when the directory changed a
 * moment ago (a change within one clock tick would go unnoticed), and memory is bounded. */
#include "blob/blob_int.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#define SNAP_KEEP 8            /* pictures */
#define SNAP_BYTES (64u << 20) /* of one picture, and of all together */
#define SNAP_TICK (50ull * USEC_PER_MSEC)

struct snaps {
    pthread_mutex_t lock;
    struct list all; /* newest use first */
    size_t n, bytes;
    off_t least;
};

struct snaps *snaps_new(off_t least_dir_size) {
    struct snaps *s = xcalloc(1, sizeof(*s));
    s->least = least_dir_size;
    CHECK(pthread_mutex_init(&s->lock, NULL) == 0);
    list_init(&s->all);
    return s;
}

static void snap_free(struct snap *p) {
    free(p->text.p);
    vec_fini(&p->entries);
    free(p);
}

static void drop_last(struct snaps *s) {
    struct snap *p = CONTAINER_OF(s->all.prev, struct snap, link);
    list_del(&p->link);
    s->n--;
    s->bytes -= p->bytes;
    if (--p->refs == 0) {
        snap_free(p);
    }
}

void snaps_free(struct snaps *s) {
    if (!s) {
        return;
    }
    while (s->n) {
        drop_last(s);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void snap_unref(struct snaps *s, struct snap *p) {
    pthread_mutex_lock(&s->lock);
    bool is_last = --p->refs == 0;
    pthread_mutex_unlock(&s->lock);
    if (is_last) {
        snap_free(p);
    }
}

static bool is_of(const struct snap *p, const struct stat *st) {
    return p->dev == st->st_dev && p->ino == st->st_ino && p->ctime_ns == meta_ctime_ns(st) &&
           p->mtime.tv_sec == st->st_mtim.tv_sec && p->mtime.tv_nsec == st->st_mtim.tv_nsec;
}

static struct snap *find(struct snaps *s, const struct stat *st) {
    struct snap *hit = NULL;
    pthread_mutex_lock(&s->lock);
    for (struct list *l = s->all.next; l != &s->all; l = l->next) {
        struct snap *p = CONTAINER_OF(l, struct snap, link);
        if (is_of(p, st)) {
            hit = p;
            hit->refs++;
            list_del(&hit->link);
            list_push_head(&s->all, &hit->link);
            break;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return hit;
}

int snap_cmp(const struct snap *p, const struct snap_entry *e, struct str key) {
    struct str part = snap_part(p, e);
    size_t n = part.n < key.n ? part.n : key.n;
    int c = n ? memcmp(part.p, key.p, n) : 0;
    if (c || part.n > key.n) {
        return c ? c : !e->is_dir || part.n > key.n ? 1 : 0;
    }
    if (part.n == key.n) {
        return e->is_dir ? 1 : 0; /* "d/" after "d" */
    }
    return !e->is_dir             ? -1
           : key.p[part.n] != '/' ? ('/' < (unsigned char)key.p[part.n] ? -1 : 1)
           : part.n + 1 == key.n  ? 0
                                  : -1;
}

static int cmp_entries(const void *x, const void *y, void *arg) {
    const struct snap *p = arg;
    const struct snap_entry *a = x, *b = y;
    struct str s = snap_part(p, a), t = snap_part(p, b);
    size_t n = s.n < t.n ? s.n : t.n;
    int c = n ? memcmp(s.p, t.p, n) : 0;
    if (c) {
        return c;
    }
    /* The byte after the common part: that of the longer one, '/' of a directory, or none. */
    int u = s.n > n ? (unsigned char)s.p[n] : a->is_dir ? '/' : -1;
    int v = t.n > n ? (unsigned char)t.p[n] : b->is_dir ? '/' : -1;
    return u != v ? u - v : s.n != t.n ? (s.n < t.n ? -1 : 1) : a->is_escaped - b->is_escaped;
}

/* NULL: too large, or long names in it. d is read from where it stands. */
static struct snap *make(DIR *d, int fd, const struct stat *st) {
    struct snap *p = xcalloc(1, sizeof(*p));
    struct dirent *e;
    p->refs = 1;
    p->dev = st->st_dev;
    p->ino = st->st_ino;
    p->ctime_ns = meta_ctime_ns(st);
    p->mtime = st->st_mtim;
    list_init(&p->link);
    buf_init(&p->text, SNAP_BYTES);
    while ((e = readdir(d))) {
        struct str part, entry = str_of(e->d_name);
        bool usable;
        bool is_dir = walk_is_dir(fd, e, &usable);
        enum name_kind kind = usable ? name_decode(entry, is_dir, false, &part) : NAME_NONE;
        if (kind == NAME_NONE) {
            continue;
        }
        if (kind == NAME_CHUNK) { /* of a long name: where what is in it sorts is not seen here */
            snap_free(p);
            return NULL;
        }
        struct snap_entry s = {.at = (uint32_t)p->text.n,
                               .n = (uint16_t)entry.n,
                               .skip = (uint8_t)(part.p - entry.p),
                               .kind = (uint8_t)kind,
                               .is_dir = kind == NAME_DIR,
                               .is_escaped = str_starts(entry, STR(BLOB_ESC))};
        if (buf_put_str(&p->text, entry) < 0 || p->entries.n * sizeof(s) + p->text.n > SNAP_BYTES) {
            snap_free(p);
            return NULL;
        }
        vec_push(&p->entries, s);
    }
    if (p->entries.n) {
        qsort_r(p->entries.p, p->entries.n, sizeof(p->entries.p[0]), cmp_entries, p);
    }
    p->bytes = p->text.cap + p->entries.cap * sizeof(p->entries.p[0]);
    return p;
}

static void keep(struct snaps *s, struct snap *p) {
    pthread_mutex_lock(&s->lock);
    p->refs++;
    list_push_head(&s->all, &p->link);
    s->n++;
    s->bytes += p->bytes;
    while (s->n > 1 && (s->n > SNAP_KEEP || s->bytes > SNAP_BYTES)) {
        drop_last(s);
    }
    pthread_mutex_unlock(&s->lock);
}

struct snap *snap_of(struct snaps *s, DIR *d) {
    int fd = dirfd(d);
    struct stat st, after;
    if (fstat(fd, &st) < 0 || st.st_size < s->least) {
        return NULL;
    }
    struct snap *p = find(s, &st);
    if (p) {
        return p;
    }
    p = make(d, fd, &st);
    if (!p) {
        rewinddir(d);
        return NULL;
    }
    usec_t changed = (usec_t)st.st_mtim.tv_sec * USEC_PER_SEC + (usec_t)st.st_mtim.tv_nsec / 1000;
    if (fstat(fd, &after) == 0 && is_of(p, &after) && changed + SNAP_TICK < time_wall()) {
        keep(s, p);
    }
    return p;
}
