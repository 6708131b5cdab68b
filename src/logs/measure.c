#include "logs/measure.h"

#include "logs/locate.h"
#include "sys/seglog.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLOCK_LAG (20 * USEC_PER_MSEC) /* a file's time is the kernel's coarse one */

struct segment {
    char *path;
    usec_t time;
    uint64_t bytes;
    bool is_last; /* of its stream */
};
struct walk {
    struct log_measure *m;
    VEC_OF(struct segment) segments; /* when wanted */
    bool want_segments;
};

static bool has_end_mark(const char *dir) {
    struct seg_cursor c;
    uint64_t seq;
    usec_t time;
    seg_cursor_init(&c, dir);
    bool ended = seg_locate(&c, LOCATE_SEQ, UINT64_MAX, &seq, &time, NULL) == 0 && c.eof_seen;
    seg_cursor_fini(&c);
    return ended;
}

static void walk_stream(struct walk *w, const char *dir, bool is_service) {
    struct log_measure *m = w->m;
    uint32_t first, end;
    usec_t last, begin = seg_first(dir, &last);
    bool ended = has_end_mark(dir);
    seg_range(dir, &first, &end);
    m->first = begin < m->first ? begin : m->first;
    m->last = last + CLOCK_LAG > m->last ? last + CLOCK_LAG : m->last;
    m->is_complete = m->is_complete && ended;
    m->is_closed = m->is_closed || (is_service && ended);
    for (uint32_t i = first; i < end; i++) {
        char name[32];
        struct stat st;
        snprintf(name, sizeof(name), SEG_NAME_FMT, i);
        auto_free char *path = xasprintf("%s/%s", dir, name);
        if (stat(path, &st)) {
            continue;
        }
        m->bytes += (uint64_t)st.st_size;
        if (w->want_segments) {
            vec_push(&w->segments, ((struct segment){
                                       .path = take(&path),
                                       .time = (usec_t)st.st_mtim.tv_sec * USEC_PER_SEC +
                                               (usec_t)st.st_mtim.tv_nsec / 1000,
                                       .bytes = (uint64_t)st.st_size,
                                       .is_last = i + 1 == end,
                                   }));
        }
    }
}

static void on_stream(void *arg, const char *dir, const char *task, uint32_t attempt) {
    walk_stream(arg, dir, attempt == 0);
}

static void walk(struct logs *g, uint64_t job, struct walk *w) {
    char id[24];
    snprintf(id, sizeof(id), "%llu", (unsigned long long)job);
    *w->m = (struct log_measure){.first = USEC_NEVER, .is_complete = true};
    w->m->is_there = streams_each(g, id, on_stream, w);
    w->m->is_complete = w->m->is_complete && w->m->is_closed;
}

void log_measure(struct logs *g, uint64_t job, struct log_measure *ret) {
    struct walk w = {.m = ret};
    walk(g, job, &w);
}

static int by_age(const void *a, const void *b) {
    const struct segment *x = a, *y = b;
    return x->time != y->time ? (x->time < y->time ? -1 : 1) : strcmp(x->path, y->path);
}

uint64_t log_cut(struct logs *g, uint64_t job, uint64_t bytes) {
    struct log_measure m;
    struct walk w = {.m = &m, .want_segments = true};
    uint64_t cut = 0;
    walk(g, job, &w);
    if (w.segments.n) {
        qsort(w.segments.p, w.segments.n, sizeof(w.segments.p[0]), by_age);
    }
    for (size_t i = 0; i < w.segments.n; i++) {
        struct segment *s = &w.segments.p[i];
        if (cut < bytes && !s->is_last && unlink(s->path) == 0) {
            cut += s->bytes;
        }
        free(s->path);
    }
    vec_fini(&w.segments);
    return cut;
}
