/* Reading what clients wrote: of all segments the blocks that can have what is asked for, in the
 * order of their times, no further than the page needs. */
#include "logs/written.h"

#include "base/limits.h"
#include "logs/written_index.h"
#include "pb/pb.h"
#include "sys/seglog.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct place { /* a block of a segment */
    uint32_t file;
    struct written_block block;
};

struct find {
    struct logs *g;
    const struct log_search *s;
    usec_t from, to;
    uint64_t jobs; /* bits of the jobs asked for; all of them: any */
    const struct log_tombs *tombs;
    struct arena *scratch;
    VEC_OF(struct place) places;
    uint32_t file; /* of the index being looked at */
    VEC_OF(struct {
        struct log_position at;
        Google__Logging__V2__LogEntry *e;
    })
    best; /* sorted */
    struct err *err;
};

/* ---- which blocks */

static int add_places(void *arg, const struct written_index *x) {
    struct find *d = arg;
    for (size_t i = 0; i < x->blocks.n; i++) {
        const struct written_block *b = &x->blocks.p[i];
        if (b->frames && b->min <= d->to && b->max >= d->from &&
            (d->jobs == UINT64_MAX || (b->jobs & d->jobs))) {
            vec_push(&d->places, ((struct place){x->file, *b}));
        }
    }
    return 0;
}

/* Calls fn with the index of every segment. */
static int each_index(struct logs *g, uint64_t project,
                      int (*fn)(void *arg, const struct written_index *x), void *arg,
                      struct err *err) {
    auto_free char *dir = written_dir(g, project);
    uint32_t first, end;
    int rc = 0;
    seg_range(dir, &first, &end);
    for (uint32_t i = first; i < end && rc == 0; i++) {
        if (i + 1 == end) {
            rc = written_tail(g, project, dir, i, fn, arg, err);
            continue;
        }
        struct written_index x;
        written_index_init(&x, i);
        rc = written_index_update(&x, dir, false, err) || fn(arg, &x) ? -1 : 0;
        written_index_fini(&x);
    }
    return rc;
}

static int ascending(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    return x->block.min < y->block.min ? -1 : x->block.min > y->block.min;
}
static int descending(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    return x->block.max > y->block.max ? -1 : x->block.max < y->block.max;
}

/* ---- what is in them */

static int consider(struct find *d, const struct seg_frame *f) {
    ProtobufCMessage *m;
    struct log_position p;
    size_t want = d->s->page_size + 1;
    if (f->stream != SEG_ENTRY || f->time < d->from || f->time > d->to) {
        return 0;
    }
    arena_clear(d->scratch);
    if (pb_unpack(d->scratch, &google__logging__v2__log_entry__descriptor, f->payload, &m, NULL)) {
        return 0; /* whole by its checksum, so of a format we do not know */
    }
    Google__Logging__V2__LogEntry *e = (Google__Logging__V2__LogEntry *)m;
    log_position_of(e, &p);
    int sign = d->s->descending ? -1 : 1;
    if ((d->s->has_after && sign * log_position_cmp(&p, &d->s->after) <= 0) ||
        (d->best.n == want && sign * log_position_cmp(&p, &d->best.p[want - 1].at) >= 0) ||
        tombs_hide(d->tombs, e) || !query_matches(d->s->query, e)) {
        return 0;
    }
    size_t i = d->best.n;
    while (i > 0 && sign * log_position_cmp(&p, &d->best.p[i - 1].at) < 0) {
        i--;
    }
    if (i > 0 && log_position_cmp(&p, &d->best.p[i - 1].at) == 0 &&
        strcmp(d->best.p[i - 1].e->log_name, e->log_name) == 0) {
        return 0; /* written twice */
    }
    if (pb_unpack(d->s->arena, &google__logging__v2__log_entry__descriptor, f->payload, &m,
                  d->err)) {
        return -1;
    }
    typeof(*d->best.p) item = {p, (Google__Logging__V2__LogEntry *)m};
    vec_push(&d->best, item);
    memmove(d->best.p + i + 1, d->best.p + i, (d->best.n - 1 - i) * sizeof(*d->best.p));
    d->best.p[i] = item;
    d->best.n = d->best.n > want ? want : d->best.n;
    return 0;
}

static int read_place(struct find *d, const char *dir, const struct place *at) {
    char name[32];
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    snprintf(name, sizeof(name), SEG_NAME_FMT, at->file);
    auto_free char *path = xasprintf("%s/%s", dir, name);
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) { /* too old since the index was read */
        return errno == ENOENT ? 0 : err_sys(d->err, errno, "open written log entries");
    }
    char *p = buf_reserve(&b, at->block.bytes);
    ssize_t got = pread(fd, p, at->block.bytes, (off_t)at->block.offset);
    if (got < 0) {
        return err_sys(d->err, errno, "read written log entries");
    }
    struct str rest = str_n(p, (size_t)got);
    struct seg_frame f;
    ssize_t n;
    while (rest.n && (n = seg_decode(rest, &f)) > 0) {
        if (consider(d, &f)) {
            return -1;
        }
        rest = str_sub(rest, (size_t)n, rest.n);
    }
    return rest.n ? err_set(d->err, ERR_DATA_LOSS, "written log entries of segment %u are damaged",
                            at->file)
                  : 0;
}

/* Whether nothing in this block, or behind it, can be on the page. */
static bool is_full(const struct find *d, const struct written_block *b) {
    if (d->best.n < d->s->page_size + 1) {
        return false;
    }
    const struct log_position *last = &d->best.p[d->best.n - 1].at;
    usec_t t = (usec_t)last->sec * USEC_PER_SEC + (usec_t)last->nanos / 1000;
    return d->s->descending ? b->max < t : b->min > t;
}

/* The next page can begin at this block, and is further than this one's beginning. */
static bool may_cut(const struct find *d, const struct written_block *b) {
    return d->s->descending ? b->max + 1 < d->to : b->min > d->from;
}

/* Entries that the page must not have: others before them were not looked at. */
static void leave_out(struct find *d, struct written_found *ret) {
    struct log_position limit = {.sec = (int64_t)(ret->cut_at / USEC_PER_SEC),
                                 .nanos = (int32_t)(ret->cut_at % USEC_PER_SEC) * 1000};
    int sign = d->s->descending ? -1 : 1;
    while (d->best.n && sign * log_position_cmp(&d->best.p[d->best.n - 1].at, &limit) >= 0) {
        d->best.n--;
    }
}

static int read_places(struct find *d, const char *dir, struct written_found *ret) {
    uint64_t scanned = 0;
    if (d->places.n) {
        qsort(d->places.p, d->places.n, sizeof(d->places.p[0]),
              d->s->descending ? descending : ascending);
    }
    for (size_t i = 0; i < d->places.n; i++) {
        const struct written_block *b = &d->places.p[i].block;
        if (is_full(d, b)) {
            return 0;
        }
        if (scanned >= limits.max_list_scan && may_cut(d, b)) {
            ret->is_cut = true;
            ret->cut_at = d->s->descending ? b->max + 1 : b->min;
            leave_out(d, ret);
            return 0;
        }
        if (read_place(d, dir, &d->places.p[i])) {
            return -1;
        }
        scanned += b->frames;
    }
    return 0;
}

int written_find(struct logs *g, const struct log_search *s, size_t scope,
                 const struct query_scope *where, const struct log_tombs *tombs,
                 struct written_found *ret, struct err *err) {
    uint64_t project = s->scopes[scope].project;
    auto_free char *dir = written_dir(g, project);
    struct find d = {
        .g = g, .s = s, .from = where->from, .to = where->to, .tombs = tombs, .err = err};
    usec_t keep = limits.log_retention_s * USEC_PER_SEC, now = time_wall();
    *ret = (struct written_found){0};
    if (keep && keep < now && d.from < now - keep) {
        d.from = now - keep; /* older ones are gone, or will be when their segment goes */
    }
    d.jobs = where->any_job ? UINT64_MAX : 0;
    for (size_t i = 0; !where->any_job && i < where->nr_jobs; i++) {
        d.jobs |= written_index_bit(where->jobs[i]);
    }
    d.scratch = arena_new(ARENA_NO_MAX);
    int rc = each_index(g, project, add_places, &d, err) || read_places(&d, dir, ret) ? -1 : 0;
    if (rc == 0) {
        ret->entries = arena_own_array(s->arena, d.best.n + 1, sizeof(*ret->entries));
        ret->nr = d.best.n;
        for (size_t i = 0; i < d.best.n; i++) {
            ret->entries[i] = d.best.p[i].e;
        }
    }
    vec_fini(&d.places);
    vec_fini(&d.best);
    arena_free(d.scratch);
    return rc;
}

/* ---- names */

struct name_walk {
    void (*fn)(void *arg, struct str id, usec_t last);
    void *arg;
};

static int walk_names(void *arg, const struct written_index *x) {
    struct name_walk *w = arg;
    for (size_t i = 0; i < x->names.n; i++) {
        w->fn(w->arg, str_of(x->names.p[i].id), x->names.p[i].last);
    }
    return 0;
}

int written_names(struct logs *g, uint64_t project,
                  void (*fn)(void *arg, struct str id, usec_t last), void *arg, struct err *err) {
    struct name_walk w = {fn, arg};
    return each_index(g, project, walk_names, &w, err);
}
