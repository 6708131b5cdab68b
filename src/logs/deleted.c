/* Logs that were deleted: what came before is hidden. */
#include "base/rec.h"
#include "logs/logs_int.h"
#include "logs/written.h"
#include "sys/files.h"

#include <fcntl.h>
#include <unistd.h>

#define TOMBS_MAX (1u << 20)

char *written_dir(struct logs *g, uint64_t project) {
    return xasprintf("%s/written/%llu", g->dir, (unsigned long long)project);
}

void tombs_load(struct logs *g, uint64_t project, struct arena *a, struct log_tombs *ret) {
    auto_free char *dir = written_dir(g, project);
    auto_buf struct buf b = BUF_INIT(TOMBS_MAX);
    struct rec rec;
    *ret = (struct log_tombs){.arena = a};
    auto_close int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0 || file_read(at, "deleted", &b, NULL) ||
        rec_parse(a, arena_str(a, buf_str(&b)), &rec, NULL)) {
        return;
    }
    size_t it = 0;
    struct str line;
    while (rec_next(&rec, "log", &it, &line)) {
        uint64_t when;
        struct str id = line;
        struct str first = str_cut(&id, ' ');
        if (str_to_u64(first, &when)) {
            vec_push(&ret->items, ((typeof(*ret->items.p)){id, when}));
        }
    }
}

bool tombs_hide(const struct log_tombs *t, const Google__Logging__V2__LogEntry *e) {
    const char *id = t->items.n ? strstr(e->log_name, "/logs/") : NULL;
    usec_t received = !id || !e->receive_timestamp
                          ? 0
                          : (usec_t)e->receive_timestamp->seconds * USEC_PER_SEC +
                                (usec_t)e->receive_timestamp->nanos / 1000;
    for (size_t i = 0; id && i < t->items.n; i++) {
        if (str_eqc(t->items.p[i].log_id, id + 6) && received <= t->items.p[i].when) {
            return true;
        }
    }
    return false;
}

bool tombs_hide_log(const struct log_tombs *t, struct str log_id, usec_t last) {
    for (size_t i = 0; i < t->items.n; i++) {
        if (str_eq(t->items.p[i].log_id, log_id)) {
            return last <= t->items.p[i].when;
        }
    }
    return false;
}

void tombs_fini(struct log_tombs *t) {
    vec_fini(&t->items);
}

static void delete_run(struct lane_work *work) {
    struct log_delete *d = CONTAINER_OF(work, struct log_delete, work);
    auto_free char *dir = written_dir(d->logs, d->project);
    auto_buf struct buf b = BUF_INIT(TOMBS_MAX);
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct log_tombs t;
    if (!names_has(d->logs, d->project, d->log_id)) {
        d->failed =
            err_set(&d->err, ERR_NOT_FOUND, "Log %.*s does not exist.", STR_ARG(d->log_id)) != 0;
        arena_free(a);
        return;
    }
    tombs_load(d->logs, d->project, a, &t);
    rec_begin(&b);
    for (size_t i = 0; i < t.items.n; i++) {
        if (!str_eq(t.items.p[i].log_id, d->log_id)) {
            char *line = arena_printf(a, "%llu %.*s", (unsigned long long)t.items.p[i].when,
                                      STR_ARG(t.items.p[i].log_id));
            rec_puts(&b, "log", line);
        }
    }
    rec_puts(&b, "log",
             arena_printf(a, "%llu %.*s", (unsigned long long)time_wall(), STR_ARG(d->log_id)));
    d->failed = b.full ? err_set(&d->err, ERR_RESOURCE_EXHAUSTED, "too many deleted logs") != 0
                       : file_mkdirs(AT_FDCWD, dir, 0750, &d->err) != 0;
    auto_close int at = d->failed ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    d->failed = d->failed || at < 0 ||
                file_write_atomic(at, "deleted", buf_str(&b), 0640, FILE_SYNC, &d->err) != 0;
    tombs_fini(&t);
    arena_free(a);
}

static void delete_done(struct lane_work *work) {
    struct log_delete *d = CONTAINER_OF(work, struct log_delete, work);
    if (work->cancelled) {
        err_set(&d->err, ERR_UNAVAILABLE, "the server is stopping");
        d->failed = true;
    }
    d->cb(d, d->failed ? &d->err : NULL);
}

void log_delete_start(struct logs *g, struct log_delete *d) {
    d->logs = g;
    d->work.run = delete_run;
    d->work.done = delete_done;
    lane_submit(g->disk, &d->work);
}
