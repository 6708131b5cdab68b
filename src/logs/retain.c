#include "logs/retain.h"

#include "base/fail.h"
#include "base/limits.h"
#include "base/log.h"
#include "logs/catalog.h"
#include "logs/locate.h"
#include "logs/measure.h"
#include "store/store.h"
#include "sys/files.h"
#include "sys/seglog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DELETED_MAX 1000u           /* taken up in one look */
#define SILENCE (10 * USEC_PER_SEC) /* an open log of which it is asked whether its job lives */
#define SOON (10 * USEC_PER_MSEC)

/* One project's jobs as a look finds and leaves them. */
struct shelf {
    uint64_t project;
    struct catalog all;
    bool is_changed; /* the index has to be written anew */
};

/* What may go for want of room: a job, or a segment of written entries. */
struct candidate {
    usec_t last;
    uint64_t bytes;
    struct shelf *shelf; /* NULL: a segment */
    size_t item;
    char *path;
};

struct gone {
    uint64_t job, project;
};

struct retain {
    struct logs *logs;
    struct log_retention how;
    struct timer timer;
    bool is_busy, is_stopped, again;
    struct arena *arena;
    struct store_kv_scan scan;
    struct store_txn txn;
    struct lane_work work;
    VEC_OF(struct gone) deleted;
    /* the work's: */
    usec_t now;
    VEC_OF(struct shelf *) shelves;
    VEC_OF(struct candidate) candidates;
    VEC_OF(uint64_t) silent;
    struct log_usage usage;
    bool failed;
};

/* ---- removing, on the lane */

static char *gone_dir(struct logs *g) {
    return xasprintf("%s/.gone", g->dir);
}

/* The job's log is away for every reader when this returns; its bytes go at the end of the look. */
static int take_away(struct retain *r, uint64_t project, uint64_t job) {
    struct logs *g = r->logs;
    auto_free char *gone = gone_dir(g);
    auto_free char *from = xasprintf("%s/%llu", g->dir, (unsigned long long)job);
    auto_free char *to = xasprintf("%s/%llu", gone, (unsigned long long)job);
    auto_free char *mark = xasprintf("%s/projects/%llu/%llu", g->dir, (unsigned long long)project,
                                     (unsigned long long)job);
    struct err err;
    if (FAIL_POINT("logs.remove.before_rename", NULL) || file_mkdirs(AT_FDCWD, gone, 0750, &err) ||
        (rename(from, to) && errno != ENOENT)) {
        log_warn("log not removed, will retry", "job=%llu", (unsigned long long)job);
        r->failed = true;
        return -1;
    }
    (void)unlink(mark); /* a mark without a log says nothing */
    (void)FAIL_POINT("logs.remove.after_rename", NULL);
    return 0;
}

/* What was taken away, now or before a crash. */
static void empty_gone(struct retain *r) {
    auto_free char *gone = gone_dir(r->logs);
    struct err err;
    if (access(gone, F_OK) == 0 && file_remove_tree(AT_FDCWD, gone, &err)) {
        log_warn("removed logs are still there", "error=\"%s\"", err.msg);
    }
}

static void drop_item(struct retain *r, struct shelf *s, size_t i, uint64_t *counter) {
    const struct catalog_item *it = &s->all.items.p[i];
    if (take_away(r, s->project, it->job) == 0) {
        r->usage.removed_bytes += it->bytes;
        (*counter)++;
        s->all.items.p[i].job = 0; /* left out below */
        s->is_changed = s->is_changed || !it->is_open;
    }
}

static void forget_dropped(struct shelf *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->all.items.n; i++) {
        if (s->all.items.p[i].job) {
            s->all.items.p[n++] = s->all.items.p[i];
        }
    }
    s->all.items.n = n;
}

/* ---- the index */

static void mark_again(struct retain *r, uint64_t project) {
    DIR *d = opendir(r->logs->dir);
    struct dirent *e;
    uint64_t job;
    while (d && (e = readdir(d))) {
        uint64_t owner;
        struct err err;
        if (str_to_u64(str_of(e->d_name), &job) && owner_read(r->logs, e->d_name, &owner) &&
            owner == project && owner_write(r->logs, e->d_name, project, &err)) {
            log_warn("log not found again", "job=%s error=\"%s\"", e->d_name, err.msg);
        }
    }
    if (d) {
        closedir(d);
    }
}

static void load_shelf(void *arg, uint64_t project) {
    struct retain *r = arg;
    struct shelf *s = xcalloc(1, sizeof(*s));
    struct err err;
    s->project = project;
    if (catalog_load(r->logs, project, 0, USEC_NEVER, &s->all, &err)) {
        log_error("index of ended logs is made again", "project=%llu error=\"%s\"",
                  (unsigned long long)project, err.msg);
        auto_free char *path =
            xasprintf("%s/projects/%llu/.ended", r->logs->dir, (unsigned long long)project);
        mark_again(r, project);
        (void)unlink(path);
        catalog_fini(&s->all);
        if (catalog_load(r->logs, project, 0, USEC_NEVER, &s->all, &err)) {
            r->failed = true;
        }
    }
    vec_push(&r->shelves, s);
}

struct naming {
    struct retain *r;
    uint64_t project;
};

static void note_task(void *arg, const char *dir, const char *task, uint32_t attempt) {
    struct naming *n = arg;
    struct err err;
    if (attempt > 0 && catalog_add_task(n->r->logs, n->project, task, seg_last_line(dir), &err)) {
        log_warn("name of a log not noted", "error=\"%s\"", err.msg);
    }
}

static void note_tasks(struct retain *r, uint64_t project, uint64_t job) {
    struct naming n = {r, project};
    char id[24];
    snprintf(id, sizeof(id), "%llu", (unsigned long long)job);
    (void)streams_each(r->logs, id, note_task, &n);
}

/* Logs that are complete get their record, cut to the size a job may have. */
static void settle(struct retain *r, struct shelf *s) {
    VEC_OF(struct catalog_item) complete = {0};
    VEC_OF(size_t) places = {0};
    struct err err;
    for (size_t i = 0; i < s->all.items.n; i++) {
        struct catalog_item *it = &s->all.items.p[i];
        struct log_measure m;
        if (!it->is_open) {
            continue;
        }
        log_measure(r->logs, it->job, &m);
        it->bytes = m.bytes;
        if (!m.is_there) {
            (void)take_away(r, s->project, it->job); /* its mark */
            it->job = 0;
        } else if (m.is_complete || (m.is_closed && m.last + LOG_UNFINISHED_QUIET < r->now)) {
            uint64_t cut = 0;
            if (limits.log_job_bytes && m.bytes > limits.log_job_bytes) {
                cut = log_cut(r->logs, it->job, m.bytes - limits.log_job_bytes);
                r->usage.removed_bytes += cut;
                log_warn("log of a job cut to its end",
                         "job=%llu removed_bytes=%llu log_job_bytes=%llu",
                         (unsigned long long)it->job, (unsigned long long)cut,
                         (unsigned long long)limits.log_job_bytes);
            }
            it->bytes = m.bytes - cut;
            note_tasks(r, s->project, it->job);
            vec_push(&complete,
                     ((struct catalog_item){it->job, m.first, m.last, it->bytes, false}));
            vec_push(&places, i);
        } else if (!m.is_closed && m.last + SILENCE < r->now) {
            vec_push(&r->silent, it->job);
        }
    }
    if (complete.n && catalog_add(r->logs, s->project, complete.p, complete.n, &err)) {
        log_warn("index of ended logs not written, will retry", "error=\"%s\"", err.msg);
        r->failed = true;
    } else {
        for (size_t i = 0; i < complete.n; i++) {
            s->all.items.p[places.p[i]] = complete.p[i];
        }
    }
    vec_fini(&complete);
    vec_fini(&places);
    forget_dropped(s);
}

/* ---- what goes */

static void drop_deleted(struct retain *r, struct shelf *s) {
    for (size_t d = 0; d < r->deleted.n && r->how.drop_deleted; d++) {
        for (size_t i = 0; i < s->all.items.n; i++) {
            if (s->all.items.p[i].job && s->all.items.p[i].job == r->deleted.p[d].job) {
                drop_item(r, s, i, &r->usage.removed_deleted);
            }
        }
    }
    forget_dropped(s);
}

static bool is_old(const struct retain *r, usec_t last) {
    return limits.log_retention_s && last + limits.log_retention_s * USEC_PER_SEC < r->now;
}

static void drop_old(struct retain *r, struct shelf *s) {
    for (size_t i = 0; i < s->all.items.n; i++) {
        const struct catalog_item *it = &s->all.items.p[i];
        if (!it->is_open && is_old(r, it->last)) {
            drop_item(r, s, i, &r->usage.removed_age);
        }
    }
    forget_dropped(s);
    for (size_t i = 0; i < s->all.items.n; i++) {
        const struct catalog_item *it = &s->all.items.p[i];
        r->usage.bytes += it->bytes;
        if (!it->is_open && it->bytes) {
            vec_push(&r->candidates, ((struct candidate){it->last, it->bytes, s, i, NULL}));
        }
    }
    r->usage.jobs += s->all.items.n;
}

static void remove_segment(struct retain *r, const char *path, uint64_t bytes) {
    CHECK(path);
    auto_free char *index = xasprintf("%.*sidx", (int)strlen(path) - 3, path); /* for "seg" */
    if (unlink(path) == 0) {
        r->usage.removed_bytes += bytes;
    }
    (void)unlink(index);
}

/* Written entries lie in order of arrival: a segment is as old as what came last. The one that is
 * being written stays. */
static void drop_written(struct retain *r, const char *dir) {
    uint32_t first, end;
    seg_range(dir, &first, &end);
    for (uint32_t i = first; i < end; i++) {
        char name[32];
        struct stat st;
        snprintf(name, sizeof(name), SEG_NAME_FMT, i);
        auto_free char *path = xasprintf("%s/%s", dir, name);
        if (stat(path, &st)) {
            continue;
        }
        usec_t last = (usec_t)st.st_mtim.tv_sec * USEC_PER_SEC;
        if (i + 1 < end && is_old(r, last)) {
            remove_segment(r, path, (uint64_t)st.st_size);
            continue;
        }
        r->usage.bytes += (uint64_t)st.st_size;
        if (i + 1 < end) {
            vec_push(&r->candidates,
                     ((struct candidate){
                         .last = last, .bytes = (uint64_t)st.st_size, .path = take(&path)}));
        }
    }
}

static void look_at_written(struct retain *r) {
    auto_free char *dir = xasprintf("%s/written", r->logs->dir);
    DIR *d = opendir(dir);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        if (e->d_name[0] != '.') {
            auto_free char *sub = xasprintf("%s/%s", dir, e->d_name);
            drop_written(r, sub);
        }
    }
    if (d) {
        closedir(d);
    }
}

static int by_last(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    return x->last < y->last ? -1 : x->last > y->last;
}

static void drop_for_room(struct retain *r) {
    if (r->candidates.n) {
        qsort(r->candidates.p, r->candidates.n, sizeof(r->candidates.p[0]), by_last);
    }
    for (size_t i = 0; i < r->candidates.n; i++) {
        struct candidate *c = &r->candidates.p[i];
        if (limits.log_total_bytes && r->usage.bytes > limits.log_total_bytes) {
            if (c->shelf) {
                drop_item(r, c->shelf, c->item, &r->usage.removed_size);
                r->usage.jobs--;
            } else {
                remove_segment(r, c->path, c->bytes);
            }
            r->usage.bytes -= c->bytes;
        }
        free(c->path);
    }
    vec_fini(&r->candidates);
}

static void write_index(struct retain *r, struct shelf *s) {
    struct err err;
    forget_dropped(s);
    if (s->is_changed && catalog_replace(r->logs, s->project, &s->all, &err)) {
        log_warn("index of ended logs not written, will retry", "error=\"%s\"", err.msg);
        r->failed = true;
    }
}

static void retain_run(struct lane_work *work) {
    struct retain *r = CONTAINER_OF(work, struct retain, work);
    r->now = time_wall();
    r->usage.bytes = r->usage.jobs = 0;
    r->failed = false;
    empty_gone(r);
    catalog_each_project(r->logs, load_shelf, r);
    for (size_t i = 0; i < r->shelves.n; i++) {
        drop_deleted(r, r->shelves.p[i]);
        settle(r, r->shelves.p[i]);
        drop_old(r, r->shelves.p[i]);
    }
    look_at_written(r);
    drop_for_room(r);
    for (size_t i = 0; i < r->shelves.n; i++) {
        write_index(r, r->shelves.p[i]);
        catalog_fini(&r->shelves.p[i]->all);
        free(r->shelves.p[i]);
    }
    vec_fini(&r->shelves);
    empty_gone(r);
}

/* ---- a look, on the loop: the store is asked who was deleted, the lane works, the store is told
 */

static void next_look(struct retain *r) {
    struct clock *c = loop_clock(r->logs->loop);
    usec_t in = r->again ? SOON : limits.log_sweep_s * USEC_PER_SEC;
    arena_clear(r->arena);
    r->deleted.n = r->silent.n = 0;
    r->is_busy = r->again = false;
    r->logs->usage.looks++;
    if (!r->is_stopped) {
        c->ops->arm(c, &r->timer, c->ops->mono(c) + in);
    }
}

static void on_told(struct store_txn *t, const struct err *err) {
    struct retain *r = t->arg;
    if (err) {
        log_warn("deleted jobs are looked at again", "error=\"%s\"", err->msg);
    }
    store_txn_fini(t);
    next_look(r);
}

static void tell_store(struct retain *r) {
    store_txn_init(&r->txn, on_told, r);
    for (size_t i = 0; i < r->deleted.n; i++) {
        char id[24];
        snprintf(id, sizeof(id), "%llu", (unsigned long long)r->deleted.p[i].job);
        store_txn_kv(&r->txn, LOG_SPACE_DELETED, str_of(id), (struct str){0});
    }
    r->how.store->ops->commit(r->how.store, &r->txn);
}

static void retain_done(struct lane_work *work) {
    struct retain *r = CONTAINER_OF(work, struct retain, work);
    r->usage.looks = r->logs->usage.looks;
    r->logs->usage = r->usage;
    for (size_t i = 0; i < r->silent.n && !r->is_stopped && !work->cancelled; i++) {
        char id[24];
        snprintf(id, sizeof(id), "%llu", (unsigned long long)r->silent.p[i]);
        if (!r->how.is_live(r->how.arg, id)) {
            /* The server died between the job's end and the last line about it. */
            logs_service_end(r->logs, id);
        }
    }
    if (r->is_stopped || work->cancelled || r->failed || !r->deleted.n) {
        next_look(r);
    } else {
        tell_store(r);
    }
}

static void on_deleted_known(struct store_kv_scan *s, const struct store_kv_pair *p, size_t n,
                             const struct err *err) {
    struct retain *r = s->arg;
    for (size_t i = 0; i < n && !err; i++) {
        struct gone g;
        if (str_to_u64(p[i].key, &g.job) && str_to_u64(p[i].value, &g.project)) {
            vec_push(&r->deleted, g);
        }
    }
    r->again = r->again || n == DELETED_MAX;
    if (err || r->is_stopped) {
        next_look(r);
    } else {
        lane_submit(r->logs->disk, &r->work);
    }
}

static void look(struct timer *t) {
    struct retain *r = CONTAINER_OF(t, struct retain, timer);
    r->is_busy = true;
    r->scan = (struct store_kv_scan){.space = LOG_SPACE_DELETED,
                                     .max = DELETED_MAX,
                                     .arena = r->arena,
                                     .cb = on_deleted_known,
                                     .arg = r};
    r->how.store->ops->kv_scan(r->how.store, &r->scan);
}

void logs_retain_start(struct logs *g, const struct log_retention *how) {
    struct retain *r = xcalloc(1, sizeof(*r));
    CHECK(!g->retain);
    g->retain = r;
    r->logs = g;
    r->how = *how;
    r->arena = arena_new(ARENA_NO_MAX);
    r->timer.fn = look;
    r->work.run = retain_run;
    r->work.done = retain_done;
    look(&r->timer);
}

void logs_retain_stop(struct logs *g) {
    if (g->retain) {
        struct clock *c = loop_clock(g->loop);
        c->ops->disarm(c, &g->retain->timer);
        g->retain->is_stopped = true;
    }
}

void logs_retain_soon(struct logs *g) {
    struct retain *r = g->retain;
    struct clock *c = loop_clock(g->loop);
    if (r && r->is_busy) {
        r->again = true;
    } else if (r && !r->is_stopped) {
        c->ops->arm(c, &r->timer, c->ops->mono(c) + SOON);
    }
}

void retain_free(struct retain *r) {
    if (r) {
        vec_fini(&r->deleted);
        vec_fini(&r->silent);
        arena_free(r->arena);
        free(r);
    }
}

void logs_get_usage(const struct logs *g, struct log_usage *ret) {
    *ret = g->usage;
}
