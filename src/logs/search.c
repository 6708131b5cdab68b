/* One page: sources (a replica's log each) are read in blocks and merged, on the disk lane. Nothing
 * is kept between pages: a position says where to go on, and finding it again takes a few reads. */
#include "logs/search.h"

#include "base/limits.h"
#include "logs/locate.h"
#include "logs/written.h"
#include "pb/pb.h"

#include <dirent.h>
#include <unistd.h>

#define BLOCK_FIRST 256u /* frames a source is read for at once; doubled up to */
#define BLOCK_MAX 4096u
#define BLOCK_BYTES (8u << 20)

struct source {
    char *job_id, *task;
    uint32_t attempt;
    struct seg_cursor cursor;
    usec_t first, last; /* of its frames; last by the file's time */
    struct arena *arena;
    struct gather gather;
    bool opened, finished;
    size_t at, end; /* items still to be given: [at, end), backwards when descending */
    unsigned block;
    uint64_t next_seq; /* ascending: next frame to read; descending: frames below it are left */
    bool relocate;     /* ascending: the cursor does not stand at next_seq */
    /* head: */
    usec_t key;
    char id[40];
};

struct run {
    struct log_search *s;
    struct logs *g;
    struct query_scope scope;
    struct log_tombs tombs;
    VEC_OF(struct source *) sources;
    Google__Logging__V2__LogEntry **written;
    size_t nr_written, written_at;
    usec_t blocked; /* ascending: something at this time is not complete yet */
    struct arena *scratch;
    VEC_OF(Google__Logging__V2__LogEntry *) found;
    struct err *err;
};

int log_position_cmp(const struct log_position *a, const struct log_position *b) {
    if (a->sec != b->sec) {
        return a->sec < b->sec ? -1 : 1;
    }
    if (a->nanos != b->nanos) {
        return a->nanos < b->nanos ? -1 : 1;
    }
    return strcmp(a->insert_id, b->insert_id);
}

void log_position_of(const Google__Logging__V2__LogEntry *e, struct log_position *ret) {
    ret->sec = e->timestamp ? e->timestamp->seconds : 0;
    ret->nanos = e->timestamp ? e->timestamp->nanos : 0;
    snprintf(ret->insert_id, sizeof(ret->insert_id), "%s", e->insert_id);
}

/* ---- sources */

static void add_source(struct run *r, const char *job_id, const char *dir, const char *task,
                       uint32_t attempt) {
    usec_t last, first = seg_first(dir, &last);
    if ((r->scope.task.p && !str_eqc(r->scope.task, task)) || first == USEC_NEVER ||
        first > r->scope.to ||
        (r->scope.from > USEC_PER_SEC && last < r->scope.from - USEC_PER_SEC)) {
        return;
    }
    struct source *s = xcalloc(1, sizeof(*s));
    s->job_id = xstrdup(job_id);
    s->task = xstrdup(task);
    s->attempt = attempt;
    s->first = first;
    s->last = last;
    s->block = BLOCK_FIRST;
    /* Until it is opened: where it cannot be earlier, or (a file is written after its lines were
     * stamped) later than. */
    s->key = !r->s->descending ? first : last < r->scope.to ? last : r->scope.to;
    seg_cursor_init(&s->cursor, dir);
    vec_push(&r->sources, s);
}

static void source_free(struct source *s) {
    if (s->opened) {
        gather_fini(&s->gather);
    }
    arena_free(s->arena);
    seg_cursor_fini(&s->cursor);
    free(s->job_id);
    free(s->task);
    free(s);
}

static void add_job(void *arg, const char *job_id) {
    struct run *r = arg;
    auto_free char *dir = xasprintf("%s/%s", r->g->dir, job_id);
    DIR *d = opendir(dir);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        uint64_t attempt;
        auto_free char *sub = xasprintf("%s/%s", dir, e->d_name);
        if (strcmp(e->d_name, "service") == 0) {
            add_source(r, job_id, sub, "service", 0);
        } else if (e->d_name[0] == 'a' && str_to_u64(str_of(e->d_name + 1), &attempt)) {
            DIR *tasks = opendir(sub);
            struct dirent *t;
            while (tasks && (t = readdir(tasks))) {
                if (t->d_name[0] != '.') {
                    auto_free char *at = xasprintf("%s/%s", sub, t->d_name);
                    add_source(r, job_id, at, t->d_name, (uint32_t)attempt);
                }
            }
            if (tasks) {
                closedir(tasks);
            }
        }
    }
    if (d) {
        closedir(d);
    }
}

static bool is_job_id(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return false;
        }
    }
    return s.n > 0 && s.n <= 20;
}

static void collect(struct run *r) {
    if (r->scope.any_job) {
        owner_each(r->g, r->s->project, add_job, r);
        return;
    }
    for (size_t i = 0; i < r->scope.nr_jobs; i++) {
        if (is_job_id(r->scope.jobs[i])) {
            auto_free char *id = str_dup(r->scope.jobs[i]);
            if (owner_is(r->g, id, r->s->project)) {
                add_job(r, id);
            }
        }
    }
}

/* ---- blocks */

static void set_head(struct run *r, struct source *s) {
    if (s->at == s->end) {
        return;
    }
    const struct captured *c = &s->gather.items.p[r->s->descending ? s->end - 1 : s->at];
    s->key = c->time;
    entry_insert_id(s->id, str_of(s->job_id), s->task, s->attempt, c->seq);
}

static void restart_gather(struct run *r, struct source *s) {
    if (s->opened) {
        gather_fini(&s->gather);
    }
    arena_free(s->arena);
    s->arena = arena_new(ARENA_NO_MAX);
    gather_init(&s->gather, s->arena, r->g->strict);
    s->opened = true;
}

/* Frames from the cursor on until `enough` of them begin and all entries among them are complete,
 * or the data ends (*ret_ended). stop_seq: no entry that begins there or later is wanted. */
static int read_block(struct source *s, uint64_t enough_seq, bool *ret_ended, struct err *err) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    size_t bytes = 0;
    *ret_ended = false;
    for (;;) {
        buf_clear(&b);
        if (seg_cursor_read(&s->cursor, &b, 1, err)) {
            return -1;
        }
        struct str rest = buf_str(&b);
        struct seg_frame f;
        ssize_t n;
        if (!rest.n) {
            *ret_ended = true;
            return 0;
        }
        bytes += rest.n;
        while (rest.n && (n = seg_decode(rest, &f)) > 0) {
            gather_add(&s->gather, &f);
            s->next_seq = f.seq + 1;
            rest = str_sub(rest, (size_t)n, rest.n);
        }
        bool settled = gather_settled(&s->gather) == s->gather.items.n;
        if ((s->next_seq >= enough_seq || bytes > BLOCK_BYTES) &&
            (settled || s->next_seq >= enough_seq + 2 * GATHER_FRAMES)) {
            return 0;
        }
    }
}

/* The cursor to frame `seq`, or where entries can be told apart before it. */
static int seek_seq(struct source *s, uint64_t seq, bool back_off, struct err *err) {
    usec_t time;
    uint64_t from = !back_off ? seq : seq > GATHER_FRAMES ? seq - GATHER_FRAMES : 0;
    return seg_locate(&s->cursor, LOCATE_SEQ, from, &s->next_seq, &time, err);
}

static int fill_ascending(struct run *r, struct source *s) {
    bool ended;
    uint64_t seq;
    usec_t time;
    if (!s->opened) {
        if (seg_locate(&s->cursor, LOCATE_TIME, r->scope.from, &seq, &time, r->err) ||
            (seq > 0 && seek_seq(s, seq, true, r->err))) {
            return -1;
        }
        s->next_seq = seq;
    } else if (s->relocate && seek_seq(s, s->next_seq, false, r->err)) {
        return -1;
    }
    restart_gather(r, s);
    if (read_block(s, s->next_seq + s->block, &ended, r->err)) {
        return -1;
    }
    s->block = s->block * 2 < BLOCK_MAX ? s->block * 2 : BLOCK_MAX;
    size_t settled = gather_settled(&s->gather);
    s->relocate = false;
    if (ended) {
        /* What more lines could belong to waits until they cannot any more. */
        if (!s->cursor.eof_seen && settled < s->gather.items.n &&
            s->gather.items.p[settled].time + GATHER_USEC > time_wall()) {
            usec_t t = s->gather.items.p[settled].time;
            r->blocked = t < r->blocked ? t : r->blocked;
        } else {
            settled = s->gather.items.n;
        }
        s->finished = true;
    } else if (settled < s->gather.items.n) {
        s->next_seq = s->gather.items.p[settled].seq;
        s->relocate = true;
    }
    gather_end(&s->gather);
    s->at = 0;
    s->end = settled;
    while (s->at < s->end && s->gather.items.p[s->at].time < r->scope.from) {
        s->at++;
    }
    return 0;
}

static int fill_descending(struct run *r, struct source *s) {
    bool ended;
    usec_t time;
    if (!s->opened) {
        usec_t to = r->scope.to < UINT64_MAX - 1 ? r->scope.to + 1 : UINT64_MAX;
        if (seg_locate(&s->cursor, LOCATE_TIME, to, &s->next_seq, &time, r->err)) {
            return -1;
        }
    }
    uint64_t end = s->next_seq, begin = end > s->block ? end - s->block : 0;
    if (seek_seq(s, begin, true, r->err)) {
        return -1;
    }
    restart_gather(r, s);
    if (end > 0 && read_block(s, end, &ended, r->err)) {
        return -1;
    }
    gather_end(&s->gather);
    s->at = 0;
    s->end = s->gather.items.n;
    while (s->end && s->gather.items.p[s->end - 1].seq >= end) {
        s->end--;
    }
    while (s->at < s->end && s->gather.items.p[s->at].seq < begin) {
        s->at++;
    }
    s->next_seq = begin;
    s->finished = begin == 0 || (s->at < s->end && s->gather.items.p[s->at].time < r->scope.from);
    s->block = s->block * 2 < BLOCK_MAX ? s->block * 2 : BLOCK_MAX;
    return 0;
}

/* ---- the merge */

static bool is_before(const struct run *r, const struct source *a, const struct source *b) {
    int cmp = a->key < b->key ? -1 : a->key > b->key;
    if (cmp == 0 && a->opened && b->opened) {
        cmp = strcmp(a->id, b->id);
    } else if (cmp == 0) { /* what is not opened may have something before */
        return b->opened && !a->opened;
    }
    return r->s->descending ? cmp > 0 : cmp < 0;
}

/* The source whose head comes next; NULL: none has any. */
static int next_source(struct run *r, struct source **ret) {
    for (;;) {
        struct source *best = NULL;
        for (size_t i = 0; i < r->sources.n; i++) {
            struct source *s = r->sources.p[i];
            while (s->opened && s->at == s->end && !s->finished) {
                if (r->s->descending ? fill_descending(r, s) : fill_ascending(r, s)) {
                    return -1;
                }
                set_head(r, s);
            }
            if ((!s->opened || s->at < s->end) && (!best || is_before(r, s, best))) {
                best = s;
            }
        }
        if (!best || best->opened) {
            *ret = best;
            return 0;
        }
        if (r->s->descending ? fill_descending(r, best) : fill_ascending(r, best)) {
            return -1;
        }
        set_head(r, best);
    }
}

static bool is_past(const struct run *r, const struct log_position *p) {
    int cmp = log_position_cmp(p, &r->s->after);
    return !r->s->has_after || (r->s->descending ? cmp < 0 : cmp > 0);
}

static bool take_written(struct run *r, const struct log_position *head) {
    if (r->written_at == r->nr_written) {
        return false;
    }
    struct log_position p;
    log_position_of(r->written[r->written_at], &p);
    int cmp = head ? log_position_cmp(&p, head) : -1;
    return !head || (r->s->descending ? cmp > 0 : cmp < 0);
}

static bool same_entry(const struct run *r, const Google__Logging__V2__LogEntry *e) {
    if (!r->found.n) {
        return false;
    }
    struct log_position a, b;
    log_position_of(r->found.p[r->found.n - 1], &a);
    log_position_of(e, &b);
    return log_position_cmp(&a, &b) == 0 &&
           strcmp(r->found.p[r->found.n - 1]->log_name, e->log_name) == 0;
}

static int give(struct run *r, Google__Logging__V2__LogEntry *e) {
    if (!e) {
        return err_set(r->err, ERR_RESOURCE_EXHAUSTED, "a page of log entries is too large");
    }
    if (!same_entry(r,
                    e)) { /* the same insertId in one log: written again by a client that retried */
        vec_push(&r->found, e);
    }
    return 0;
}

static int merge(struct run *r) {
    struct log_search *s = r->s;
    uint64_t scanned = 0;
    size_t start = arena_used(s->arena);
    for (;;) {
        struct source *src;
        struct log_position head;
        if (next_source(r, &src)) {
            return -1;
        }
        const struct captured *c =
            src ? &src->gather.items.p[s->descending ? src->end - 1 : src->at] : NULL;
        if (c && (s->descending ? c->time < r->scope.from
                                : c->time > r->scope.to || c->time >= r->blocked)) {
            c = NULL; /* this is the smallest: the others are out too */
        }
        if (c) {
            head.sec = (int64_t)(c->time / USEC_PER_SEC);
            head.nanos = (int32_t)(c->time % USEC_PER_SEC) * 1000;
            memcpy(head.insert_id, src->id, sizeof(src->id));
        }
        bool from_written = take_written(r, c ? &head : NULL);
        if (!c && !from_written) {
            s->more = false;
            return 0;
        }
        if (r->found.n >= s->page_size || scanned >= limits.max_list_scan ||
            arena_used(s->arena) - start > LOG_PAGE_BYTES) {
            s->more = true;
            return 0;
        }
        if (from_written) {
            log_position_of(r->written[r->written_at], &s->last);
            if (give(r, r->written[r->written_at++])) {
                return -1;
            }
            continue;
        }
        scanned++;
        if (is_past(r, &head)) {
            struct entry_origin o = {.project = s->project_id,
                                     .job_id = str_of(src->job_id),
                                     .task = src->task,
                                     .attempt = src->attempt,
                                     .strict = r->g->strict};
            arena_clear(r->scratch);
            Google__Logging__V2__LogEntry *e = entry_make(r->scratch, &o, c);
            if (e && query_matches(s->query, e) && !tombs_hide(&r->tombs, e) &&
                give(r, entry_make(s->arena, &o, c))) {
                return -1;
            }
            s->last = head;
        }
        if (s->descending) {
            src->end--;
        } else {
            src->at++;
        }
        set_head(r, src);
    }
}

static void search_run(struct lane_work *work) {
    struct log_search *s = CONTAINER_OF(work, struct log_search, work);
    struct run r = {.s = s, .g = s->logs, .blocked = USEC_NEVER, .err = &s->err};
    struct arena *a = arena_new(ARENA_NO_MAX);
    r.scratch = arena_new(ARENA_NO_MAX);
    query_get_scope(s->query, a, &r.scope);
    if (s->has_after) {
        usec_t t = (usec_t)s->after.sec * USEC_PER_SEC + (usec_t)s->after.nanos / 1000;
        if (s->descending) {
            r.scope.to = t < r.scope.to ? t : r.scope.to;
        } else {
            r.scope.from = t > r.scope.from ? t : r.scope.from;
        }
        s->last = s->after;
    }
    tombs_load(s->logs, s->project, a, &r.tombs);
    collect(&r);
    s->failed = written_find(s->logs, s, r.scope.from, r.scope.to, &r.tombs, s->arena, &r.written,
                             &r.nr_written, &s->err) ||
                merge(&r);
    if (!s->failed) {
        s->nr_entries = r.found.n;
        s->entries = arena_own_array(s->arena, r.found.n + 1, sizeof(*s->entries));
        for (size_t i = 0; i < r.found.n; i++) {
            s->entries[i] = r.found.p[i];
        }
    }
    for (size_t i = 0; i < r.sources.n; i++) {
        source_free(r.sources.p[i]);
    }
    vec_fini(&r.sources);
    vec_fini(&r.found);
    tombs_fini(&r.tombs);
    arena_free(r.scratch);
    arena_free(a);
}

static void search_done(struct lane_work *work) {
    struct log_search *s = CONTAINER_OF(work, struct log_search, work);
    if (work->cancelled) {
        err_set(&s->err, ERR_UNAVAILABLE, "the server is stopping");
        s->failed = true;
    }
    s->cb(s, s->failed ? &s->err : NULL);
}

void log_search_start(struct logs *g, struct log_search *s) {
    s->logs = g;
    s->work.run = search_run;
    s->work.done = search_done;
    lane_submit(g->disk, &s->work);
}

/* ---- names */

struct names {
    struct log_names *n;
    struct map seen;
    VEC_OF(char *) ids;
};

static void add_name(void *arg, struct str id) {
    struct names *n = arg;
    if (!map_get(&n->seen, id)) {
        vec_push(&n->ids, str_dup(id));
        map_put(&n->seen, id, n);
    }
}

static void add_job_names(void *arg, const char *job_id) {
    struct names *n = arg;
    auto_free char *dir = xasprintf("%s/%s", n->n->logs->dir, job_id);
    DIR *d = opendir(dir);
    struct dirent *e;
    auto_free char *own = xasprintf("ml.googleapis.com%%2F%s", job_id);
    add_name(n, str_of(own));
    while (d && (e = readdir(d))) {
        uint64_t attempt;
        auto_free char *sub = xasprintf("%s/%s", dir, e->d_name);
        DIR *tasks = e->d_name[0] == 'a' && str_to_u64(str_of(e->d_name + 1), &attempt)
                         ? opendir(sub)
                         : NULL;
        struct dirent *t;
        while (tasks && (t = readdir(tasks))) {
            if (t->d_name[0] != '.') {
                add_name(n, str_of(t->d_name));
            }
        }
        if (tasks) {
            closedir(tasks);
        }
    }
    if (d) {
        closedir(d);
    }
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_run(struct lane_work *work) {
    struct log_names *n = CONTAINER_OF(work, struct log_names, work);
    struct names found = {.n = n};
    map_init(&found.seen);
    (void)!written_names(n->logs, n->project, add_name, &found, NULL);
    owner_each(n->logs, n->project, add_job_names, &found);
    if (found.ids.n) {
        qsort(found.ids.p, found.ids.n, sizeof(found.ids.p[0]), by_text);
    }
    n->ids = arena_own_array(n->arena, found.ids.n + 1, sizeof(*n->ids));
    for (size_t i = 0; i < found.ids.n; i++) {
        n->ids[n->nr_ids++] = arena_str(n->arena, str_of(found.ids.p[i]));
        free(found.ids.p[i]);
    }
    vec_fini(&found.ids);
    map_fini(&found.seen);
}

static void names_done(struct lane_work *work) {
    struct log_names *n = CONTAINER_OF(work, struct log_names, work);
    struct err err;
    if (work->cancelled) {
        err_set(&err, ERR_UNAVAILABLE, "the server is stopping");
    }
    n->cb(n, work->cancelled ? &err : NULL);
}

void log_names_start(struct logs *g, struct log_names *n) {
    n->logs = g;
    n->work.run = names_run;
    n->work.done = names_done;
    lane_submit(g->disk, &n->work);
}
