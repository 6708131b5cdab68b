/* One page: sources (a replica's log each) and written entries are merged, on the disk lane. Jobs
 * whose logs are complete wait in the order of their times until the page gets there: a list that
 * names no job opens the few that it shows. Nothing is kept between pages: a position says where to
 * go on, and finding it again takes a few reads. */
#include "logs/search.h"

#include "base/limits.h"
#include "logs/catalog.h"
#include "logs/family.h"
#include "logs/source.h"
#include "logs/written.h"

/* A job that is not opened yet. */
struct waiting {
    usec_t key; /* nothing of it is before; descending: after */
    uint64_t job;
    size_t scope;
};

/* What clients wrote to one project. */
struct queue {
    struct log_tombs tombs;
    struct written_found found;
    size_t at;
};

struct run {
    struct log_search *s;
    struct logs *g;
    struct source_rules rules;
    struct query_scope scope;
    VEC_OF(struct waiting) jobs; /* sorted; the first is the last of the array */
    VEC_OF(struct source *) sources;
    struct queue *queues;                /* one a scope */
    size_t adding;                       /* the scope whose job is being opened */
    const char *job_id, *family, *trial; /* family NULL: it is listed as itself */
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

static void position_at(usec_t t, struct log_position *ret) {
    *ret = (struct log_position){.sec = (int64_t)(t / USEC_PER_SEC),
                                 .nanos = (int32_t)(t % USEC_PER_SEC) * 1000};
}

/* ---- jobs and their sources */

static void add_stream(void *arg, const char *dir, const char *task, uint32_t attempt) {
    struct run *r = arg;
    struct source *s = r->family && !attempt /* the tuning job tells their story itself */
                           ? NULL
                           : source_new(&r->rules, r->job_id, dir, task, attempt);
    if (s) {
        s->scope = r->adding;
        s->shown_as = r->family ? xstrdup(r->family) : NULL;
        s->trial = r->family ? xstrdup(r->trial) : NULL;
        vec_push(&r->sources, s);
    }
}

static void open_job(struct run *r, size_t scope, const char *job_id) {
    r->adding = scope;
    r->job_id = job_id;
    (void)streams_each(r->g, job_id, add_stream, r);
}

static void add_trial(void *arg, const char *child_id, const char *trial) {
    struct run *r = arg;
    r->job_id = child_id;
    r->trial = trial;
    (void)streams_each(r->g, child_id, add_stream, r);
}

/* A job that the query names: with the trials that it has. */
static void open_family(struct run *r, size_t scope, const char *job_id) {
    open_job(r, scope, job_id);
    r->family = job_id;
    family_each(r->g, job_id, add_trial, r);
    r->family = NULL;
}

static bool is_job_id(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return false;
        }
    }
    return s.n > 0 && s.n <= 20;
}

static int all_jobs(struct run *r, size_t scope) {
    struct catalog c;
    /* A damaged index: what of it can be read, until the next look makes it again. */
    usec_t to =
        r->rules.to < USEC_NEVER - GATHER_OWN_USEC ? r->rules.to + GATHER_OWN_USEC : USEC_NEVER;
    bool is_damaged =
        catalog_load(r->g, r->s->scopes[scope].project, r->rules.from, to, &c, r->err);
    if (is_damaged && r->err->code != ERR_DATA_LOSS) {
        catalog_fini(&c);
        return -1;
    }
    for (size_t i = 0; i < c.items.n; i++) {
        const struct catalog_item *it = &c.items.p[i];
        char id[24];
        if (it->is_open) {
            snprintf(id, sizeof(id), "%llu", (unsigned long long)it->job);
            open_job(r, scope, id);
            continue;
        }
        usec_t last = it->last < r->rules.to ? it->last : r->rules.to;
        usec_t first = it->first > GATHER_OWN_USEC ? it->first - GATHER_OWN_USEC : 0;
        vec_push(&r->jobs, ((struct waiting){r->rules.descending ? last : first, it->job, scope}));
    }
    catalog_fini(&c);
    return 0;
}

/* The one that comes first at the end. */
static int ascending_back(const void *a, const void *b) {
    const struct waiting *x = a, *y = b;
    return x->key > y->key ? -1 : x->key < y->key;
}
static int descending_back(const void *a, const void *b) {
    return ascending_back(b, a);
}

static int collect(struct run *r) {
    for (size_t i = 0; i < r->s->nr_scopes; i++) {
        if (r->scope.any_job && all_jobs(r, i)) {
            return -1;
        }
        for (size_t k = 0; !r->scope.any_job && k < r->scope.nr_jobs; k++) {
            auto_free char *id = str_dup(r->scope.jobs[k]);
            if (is_job_id(r->scope.jobs[k]) && owner_is(r->g, id, r->s->scopes[i].project)) {
                open_family(r, i, id);
            }
        }
    }
    if (r->jobs.n) {
        qsort(r->jobs.p, r->jobs.n, sizeof(r->jobs.p[0]),
              r->rules.descending ? descending_back : ascending_back);
    }
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
    return r->rules.descending ? cmp > 0 : cmp < 0;
}

/* Whether the next job that waits could have something before (or at the time of) this source. */
static bool job_is_next(const struct run *r, const struct source *best) {
    if (!r->jobs.n) {
        return false;
    }
    usec_t key = r->jobs.p[r->jobs.n - 1].key;
    return !best || (r->rules.descending ? key >= best->key : key <= best->key);
}

static void open_next_job(struct run *r) {
    struct waiting w = r->jobs.p[--r->jobs.n];
    char id[24];
    snprintf(id, sizeof(id), "%llu", (unsigned long long)w.job);
    open_job(r, w.scope, id);
}

/* The source whose head comes next; NULL: none has any. */
static int next_source(struct run *r, struct source **ret) {
    for (;;) {
        struct source *best = NULL;
        for (size_t i = 0; i < r->sources.n;) {
            struct source *s = r->sources.p[i];
            if (s->opened && s->at == s->end && source_fill(&r->rules, s, r->err)) {
                return -1;
            }
            if (s->opened && !source_has_head(s)) {
                source_free(s);
                r->sources.p[i] = r->sources.p[--r->sources.n];
                continue;
            }
            best = !best || is_before(r, s, best) ? s : best;
            i++;
        }
        if (job_is_next(r, best)) {
            open_next_job(r);
        } else if (!best || best->opened) {
            *ret = best;
            return 0;
        } else if (source_fill(&r->rules, best, r->err)) {
            return -1;
        }
    }
}

static bool is_past(const struct run *r, const struct log_position *p) {
    int cmp = log_position_cmp(p, &r->s->after);
    return !r->s->has_after || (r->s->descending ? cmp < 0 : cmp > 0);
}

static bool comes_before(const struct run *r, const struct log_position *a,
                         const struct log_position *b) {
    int cmp = log_position_cmp(a, b);
    return r->s->descending ? cmp > 0 : cmp < 0;
}

/* The written entry that comes before *head (NULL: any). */
static struct queue *next_written(struct run *r, const struct log_position *head) {
    struct queue *best = NULL;
    struct log_position at, p;
    for (size_t i = 0; i < r->s->nr_scopes; i++) {
        struct queue *q = &r->queues[i];
        if (q->at == q->found.nr) {
            continue;
        }
        log_position_of(q->found.entries[q->at], &p);
        if ((!head || comes_before(r, &p, head)) && (!best || comes_before(r, &p, &at))) {
            best = q;
            at = p;
        }
    }
    return best;
}

/* What clients wrote was looked at only so far: whether p lies beyond, and where that is. */
static bool is_beyond(const struct run *r, const struct log_position *p,
                      struct log_position *ret_limit) {
    bool any = false;
    for (size_t i = 0; i < r->s->nr_scopes; i++) {
        const struct written_found *f = &r->queues[i].found;
        struct log_position limit;
        if (f->is_cut) {
            position_at(f->cut_at, &limit);
            if (!any || comes_before(r, &limit, ret_limit)) {
                *ret_limit = limit;
            }
            any = true;
        }
    }
    return any && (!p || !comes_before(r, p, ret_limit));
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
    if (!same_entry(r, e)) { /* the same insertId in one log: a client that retried */
        vec_push(&r->found, e);
    }
    return 0;
}

static int give_captured(struct run *r, const struct source *src, const struct captured *c) {
    struct log_search *s = r->s;
    struct entry_origin o = {.project = s->scopes[src->scope].id,
                             .job_id = str_of(src->job_id),
                             .shown_as = str_of(src->shown_as),
                             .trial = src->trial,
                             .task = src->task,
                             .attempt = src->attempt,
                             .strict = r->rules.strict};
    arena_clear(r->scratch);
    Google__Logging__V2__LogEntry *e = entry_make(r->scratch, &o, c);
    return e && query_matches(s->query, e) && !tombs_hide(&r->queues[src->scope].tombs, e)
               ? give(r, entry_make(s->arena, &o, c))
               : 0;
}

/* The next line, unless it lies outside of the times asked for: then all others do too. */
static const struct captured *next_line(struct run *r, struct source *src,
                                        struct log_position *ret) {
    const struct captured *c = src ? source_head(&r->rules, src) : NULL;
    if (!c || (r->rules.descending ? c->time < r->rules.from
                                   : c->time > r->rules.to || c->time >= r->rules.blocked)) {
        return NULL;
    }
    position_at(c->time, ret);
    snprintf(ret->insert_id, sizeof(ret->insert_id), "%s", src->id);
    return c;
}

static int merge(struct run *r) {
    struct log_search *s = r->s;
    uint64_t scanned = 0;
    size_t start = arena_used(s->arena);
    for (;;) {
        struct source *src;
        struct log_position head, limit;
        if (next_source(r, &src)) {
            return -1;
        }
        const struct captured *c = next_line(r, src, &head);
        struct queue *q = next_written(r, c ? &head : NULL);
        if (q) {
            log_position_of(q->found.entries[q->at], &head);
        }
        if (is_beyond(r, c || q ? &head : NULL, &limit)) {
            s->more = true;
            s->last = limit;
            return 0;
        }
        if (!c && !q) {
            s->more = false;
            return 0;
        }
        if (r->found.n >= s->page_size || scanned >= limits.max_list_scan ||
            arena_used(s->arena) - start > LOG_PAGE_BYTES) {
            s->more = true;
            return 0;
        }
        if (q) {
            s->last = head;
            if (give(r, q->found.entries[q->at++])) {
                return -1;
            }
            continue;
        }
        scanned++;
        if (is_past(r, &head)) {
            if (give_captured(r, src, c)) {
                return -1;
            }
            s->last = head;
        }
        source_drop_head(&r->rules, src);
    }
}

static int find_written(struct run *r, struct arena *a) {
    for (size_t i = 0; i < r->s->nr_scopes; i++) {
        struct queue *q = &r->queues[i];
        tombs_load(r->g, r->s->scopes[i].project, a, &q->tombs);
        if (written_find(r->g, r->s, i, &r->scope, &q->tombs, &q->found, r->err)) {
            return -1;
        }
    }
    return 0;
}

static void search_run(struct lane_work *work) {
    struct log_search *s = CONTAINER_OF(work, struct log_search, work);
    struct run r = {.s = s, .g = s->logs, .err = &s->err};
    struct arena *a = arena_new(ARENA_NO_MAX);
    r.scratch = arena_new(ARENA_NO_MAX);
    r.queues = xcalloc(s->nr_scopes, sizeof(*r.queues));
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
    r.rules = (struct source_rules){.descending = s->descending,
                                    .strict = s->logs->strict,
                                    .from = r.scope.from,
                                    .to = r.scope.to,
                                    .blocked = USEC_NEVER,
                                    .task = r.scope.task};
    s->failed = find_written(&r, a) || collect(&r) || merge(&r);
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
    for (size_t i = 0; i < s->nr_scopes; i++) {
        tombs_fini(&r.queues[i].tombs);
    }
    vec_fini(&r.sources);
    vec_fini(&r.jobs);
    vec_fini(&r.found);
    free(r.queues);
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
