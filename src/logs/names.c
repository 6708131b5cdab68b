/* The names of a project's logs. */
#include "logs/catalog.h"
#include "logs/locate.h"
#include "logs/search.h"
#include "logs/written.h"

struct names {
    struct log_names *n;
    struct log_tombs tombs;
    struct map seen;
    VEC_OF(char *) ids;
};

/* last: when the newest line of it was received; needed of a log that was deleted only. */
static void add_name(void *arg, struct str id, usec_t last) {
    struct names *n = arg;
    if (!map_get(&n->seen, id) && !tombs_hide_log(&n->tombs, id, last)) {
        vec_push(&n->ids, str_dup(id));
        map_put(&n->seen, id, n);
    }
}

static void add_task(void *arg, struct str task, usec_t last) {
    add_name(arg, task, last);
}

/* Of a stream; the file is only read when it matters. */
static void add_stream_name(struct names *n, struct str id, const char *dir) {
    add_name(n, id, tombs_hide_log(&n->tombs, id, 0) ? seg_last_line(dir) : 0);
}

static void service_name(const char *job, char ret[64]) {
    (void)snprintf(ret, 64, "ml.googleapis.com%%2F%s", job);
}

struct open_job {
    struct names *n;
    const char *id;
};

static void add_stream(void *arg, const char *dir, const char *task, uint32_t attempt) {
    const struct open_job *job = arg;
    char own[64];
    service_name(job->id, own);
    add_stream_name(job->n, str_of(attempt > 0 ? task : own), dir);
}

static void add_job(struct names *n, const struct catalog_item *it) {
    char id[24], own[64];
    snprintf(id, sizeof(id), "%llu", (unsigned long long)it->job);
    struct open_job open = {n, id};
    service_name(id, own);
    if (it->is_open) {
        (void)streams_each(n->n->logs, id, add_stream, &open);
    }
    auto_free char *dir = xasprintf("%s/%s/service", n->n->logs->dir, id);
    add_stream_name(n, str_of(own), dir);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void find_names(struct names *found) {
    struct logs *g = found->n->logs;
    uint64_t project = found->n->project;
    struct catalog c;
    map_init(&found->seen);
    struct arena *a = arena_new(ARENA_NO_MAX);
    tombs_load(g, project, a, &found->tombs);
    (void)!written_names(g, project, add_name, found, NULL);
    (void)!catalog_load(g, project, 0, USEC_NEVER, &c, NULL);
    for (size_t i = 0; i < c.items.n; i++) {
        add_job(found, &c.items.p[i]);
    }
    catalog_each_task(g, project, add_task, found);
    catalog_fini(&c);
    tombs_fini(&found->tombs);
    arena_free(a);
}

static void names_fini(struct names *found) {
    for (size_t i = 0; i < found->ids.n; i++) {
        free(found->ids.p[i]);
    }
    vec_fini(&found->ids);
    map_fini(&found->seen);
}

static void names_run(struct lane_work *work) {
    struct log_names *n = CONTAINER_OF(work, struct log_names, work);
    struct names found = {.n = n};
    find_names(&found);
    if (found.ids.n) {
        qsort(found.ids.p, found.ids.n, sizeof(found.ids.p[0]), by_text);
    }
    n->ids = arena_own_array(n->arena, found.ids.n + 1, sizeof(*n->ids));
    for (size_t i = 0; i < found.ids.n; i++) {
        n->ids[n->nr_ids++] = arena_str(n->arena, str_of(found.ids.p[i]));
    }
    names_fini(&found);
}

bool names_has(struct logs *g, uint64_t project, struct str id) {
    struct log_names n = {.project = project, .logs = g};
    struct names found = {.n = &n};
    find_names(&found);
    bool has = map_get(&found.seen, id) != NULL;
    names_fini(&found);
    return has;
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
