/* The way of an export: check (row, plan) -> files of the table -> a lane writes everything aside
 * -> note -> the folder is emptied -> files become objects -> labels (persist) -> the note goes.
 *
 * The note is what makes an export all or nothing: while it is there, the next start (or the
 * failure itself) removes what the folder holds. See docs/internals/export.md. */
#include "api/dataset_export_int.h"

#include "base/fail.h"
#include "base/limits.h"
#include "base/log.h"

#define LANE_THREADS 2
#define PROGRESS_EVERY (250 * (usec_t)USEC_PER_MSEC)

/* ---- the end ---- */

static void end(struct dataset_export_work *w) {
    struct dataset_exports *x = w->x;
    struct dataset_export *e = w->e;
    struct clock *clock = x->api->clock;
    clock->ops->disarm(clock, &w->timer);
    vec_fini(&w->files);
    export_tabular_fini(&w->table);
    export_items_fini(&w->items);
    dataset_view_release(take(&w->view));
    list_del(&w->link);
    w->is_over = true;
    x->running--;
    if (w->failed) {
        x->stats.failed++;
        log_info("dataset export failed", "dataset=%s error=\"%s\"", e->dataset ? e->dataset : "",
                 w->err.msg);
    } else {
        x->stats.done++;
        for (unsigned i = 0; i < DATASET_EXPORT_SETS; i++) {
            x->stats.items += e->items[i];
        }
    }
    e->cb(e, w->failed ? &w->err : NULL); /* e and w may be gone after this */
    if (x->stopping && x->running == 0) {
        loop_post(x->loop, &x->stop_task);
    }
}

static void discard_run(struct lane_work *l) {
    export_work_discard(CONTAINER_OF(l, struct dataset_export_work, lane));
}

static void discard_done(struct lane_work *l) {
    end(CONTAINER_OF(l, struct dataset_export_work, lane));
}

static void finish(struct dataset_export_work *w) {
    if (w->adopted < w->files.n) { /* on the lane: freeing gigabytes of blocks takes a while */
        w->lane = (struct lane_work){.run = discard_run, .done = discard_done};
        lane_submit(w->x->lane, &w->lane);
    } else {
        end(w);
    }
}

static void on_unnoted(struct store_txn *t, const struct err *err) {
    struct dataset_export_work *w = t->arg;
    store_txn_fini(t);
    if (err && !w->failed) {
        w->failed = true;
        w->err = *err;
    } else if (err) { /* the next start removes nothing more, and the note */
        log_warn("note of an export stays", "folder=%s error=\"%s\"", w->plan.directory, err->msg);
    }
    finish(w);
}

static struct str note_key(const struct dataset_export_work *w) {
    return str_of(arena_printf(w->arena, "%s/%s", w->plan.bucket, w->plan.folder));
}

static void remove_note(struct dataset_export_work *w) {
    struct store *st = w->x->api->store;
    store_txn_init(&w->txn, on_unnoted, w);
    store_txn_kv(&w->txn, EXPORT_NOTE_SPACE, note_key(w), (struct str){0});
    st->ops->commit(st, &w->txn);
}

static void on_wiped_after_failure(struct export_wipe *wipe, const struct err *err) {
    struct dataset_export_work *w = wipe->arg;
    if (err) { /* the note stays: the next start tries again */
        log_warn("folder of a failed export stays", "folder=%s error=\"%s\"", w->plan.directory,
                 err->msg);
        finish(w);
    } else {
        remove_note(w);
    }
}

static void wipe(struct dataset_export_work *w,
                 void (*cb)(struct export_wipe *, const struct err *)) {
    w->wipe = (struct export_wipe){
        .blob = w->x->blob, .bucket = w->plan.bucket, .folder = w->plan.folder, .cb = cb, .arg = w};
    export_wipe_start(&w->wipe);
}

static void fail(struct dataset_export_work *w, const struct err *err) {
    w->failed = true;
    w->err = *err;
    if (w->noted) {
        wipe(w, on_wiped_after_failure);
    } else {
        finish(w);
    }
}

/* True when somebody wants the export to end; it has then ended. */
static bool ends_here(struct dataset_export_work *w) {
    struct err err;
    if (!w->cancelled) {
        return false;
    }
    if (w->x->stopping) {
        err_set(&err, ERR_ABORTED,
                "The server was stopped during the export. Nothing of it is left; repeat it.");
    } else {
        err_set(&err, ERR_CANCELLED, "The export was cancelled.");
    }
    fail(w, &err);
    return true;
}

/* ---- labels ---- */

static int persist_run(struct dataset_edit *d, const char *from, const char *to,
                       struct item_counts *ret, struct err *err) {
    struct dataset_export_work *w = d->arg;
    return export_items_persist(&w->items, from, to, time_wall(), ret, err);
}

static void on_persisted(struct dataset_edit *d, const struct err *err) {
    struct dataset_export_work *w = d->arg;
    w->is_editing = false;
    if (err && !w->cancelled) {
        fail(w, err);
    } else if (!ends_here(w)) {
        remove_note(w);
    }
}

/* ---- objects ---- */

static void adopt_next(struct dataset_export_work *w);

static void on_adopted(struct blob_adopt *a, const struct blob_meta *meta, const struct err *err) {
    struct dataset_export_work *w = a->arg;
    struct err why;
    w->adopted++; /* either way the file is not ours any more */
    if (err) {
        fail(w, err);
    } else if (FAIL_POINT("api.export.adopted", &why) < 0) {
        fail(w, &why);
    } else {
        adopt_next(w);
    }
}

static void adopt_next(struct dataset_export_work *w) {
    if (ends_here(w)) {
        return;
    }
    if (w->adopted == w->files.n) {
        if (!w->plan.persists) {
            remove_note(w);
            return;
        }
        w->edit = (struct dataset_edit){
            .name = w->plan.row->name, .run = persist_run, .cb = on_persisted, .arg = w};
        w->is_editing = true;
        dataset_edit_start(w->x->api->datasets, &w->edit);
        return;
    }
    const struct export_file *f = &w->files.p[w->adopted];
    w->adopt = (struct blob_adopt){
        .put = {.bucket = str_of(w->plan.bucket),
                .name = str_of(arena_printf(w->arena, "%s%s", w->plan.folder, f->name)),
                .size = (int64_t)f->shard.size},
        .id = f->shard.id,
        .size = f->shard.size,
        .crc32c = f->shard.crc32c,
        .cb = on_adopted,
        .arg = w};
    blob_object_adopt(w->x->blob, &w->adopt);
}

static void on_wiped(struct export_wipe *wipe, const struct err *err) {
    struct dataset_export_work *w = wipe->arg;
    if (err) {
        fail(w, err);
    } else {
        adopt_next(w);
    }
}

static void on_noted(struct store_txn *t, const struct err *err) {
    struct dataset_export_work *w = t->arg;
    struct err why;
    store_txn_fini(t);
    if (err) {
        fail(w, err);
        return;
    }
    w->noted = true;
    if (FAIL_POINT("api.export.noted", &why) < 0) {
        fail(w, &why);
    } else {
        wipe(w, on_wiped); /* of an earlier try with the same timestamp */
    }
}

static void note(struct dataset_export_work *w) {
    struct store *st = w->x->api->store;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    rec_begin(&b);
    rec_put(&b, "bucket", str_of(w->plan.bucket));
    rec_put(&b, "folder", str_of(w->plan.folder));
    store_txn_init(&w->txn, on_noted, w);
    store_txn_kv(&w->txn, EXPORT_NOTE_SPACE, note_key(w), buf_str(&b));
    st->ops->commit(st, &w->txn);
}

/* ---- the lane ---- */

static void show_progress(struct dataset_export_work *w) {
    w->e->done = atomic_load(&w->watch.done);
    w->e->total = atomic_load(&w->watch.total);
    if (w->e->progress) {
        w->e->progress(w->e);
    }
}

static void on_timer(struct timer *t) {
    struct dataset_export_work *w = CONTAINER_OF(t, struct dataset_export_work, timer);
    struct clock *clock = w->x->api->clock;
    show_progress(w);
    clock->ops->arm(clock, t, clock->ops->mono(clock) + PROGRESS_EVERY);
}

static void list_results(struct dataset_export_work *w) {
    struct dataset_export *e = w->e;
    const char **files = arena_own_array(w->arena, w->files.n + 1, sizeof(*files));
    for (size_t i = 0; i < w->files.n; i++) {
        files[i] = arena_printf(w->arena, "%s%s", e->directory, w->files.p[i].name);
    }
    e->files = files;
    e->nr_files = w->files.n;
    for (int i = 0; e->use == DATASET_EXPORT_TRAINING && i < SPLIT_NR; i++) {
        e->uri[i] = arena_printf(w->arena, "%s%s-*.%s", e->directory,
                                 split_set_name((enum split_set)i), e->format);
    }
}

static void on_written(struct lane_work *l) {
    struct dataset_export_work *w = CONTAINER_OF(l, struct dataset_export_work, lane);
    struct clock *clock = w->x->api->clock;
    clock->ops->disarm(clock, &w->timer);
    if (l->cancelled) {
        w->cancelled = true;
    }
    if (ends_here(w)) {
        return;
    }
    if (w->failed) {
        fail(w, &w->err);
        return;
    }
    show_progress(w);
    list_results(w);
    note(w);
}

static void on_lane(struct lane_work *l) {
    struct dataset_export_work *w = CONTAINER_OF(l, struct dataset_export_work, lane);
    w->failed = export_work_run(w, &w->err) < 0;
    if (w->failed) {
        export_work_discard(w);
    }
}

static void write_aside(struct dataset_export_work *w) {
    struct clock *clock = w->x->api->clock;
    export_work_prepare(w);
    clock->ops->arm(clock, &w->timer, clock->ops->mono(clock) + PROGRESS_EVERY);
    w->lane = (struct lane_work){.run = on_lane, .done = on_written};
    lane_submit(w->x->lane, &w->lane);
}

/* ---- the beginning ---- */

static void on_checked(struct dataset_export_check *c, const struct err *err) {
    struct dataset_export_work *w = c->arg;
    struct dataset_export *e = w->e;
    struct err why;
    if (ends_here(w)) {
        return;
    }
    if (err) {
        fail(w, err);
        return;
    }
    if (violations_to_err(&w->vs, &why)) {
        fail(w, &why);
        return;
    }
    e->dataset = c->dataset.p;
    e->directory = c->directory;
    e->format = w->plan.is_table ? "csv" : "jsonl";
    write_aside(w);
}

void dataset_export_start(struct dataset_exports *x, struct dataset_export *e) {
    struct dataset_export_work *w = e->work = xcalloc(1, sizeof(*w));
    w->x = x;
    w->e = e;
    w->arena = arena_new(ARENA_NO_MAX);
    w->timer.fn = on_timer;
    w->cancelled = x->stopping;
    list_push_tail(&x->works, &w->link);
    violations_init(&w->vs, w->arena);
    w->check = (struct dataset_export_check){.parent = e->parent,
                                             .config = e->config,
                                             .field = e->field ? e->field : "input_data_config",
                                             .use = e->use,
                                             .items_only = e->items_only,
                                             .timestamp = e->timestamp,
                                             .arena = w->arena,
                                             .vs = &w->vs,
                                             .cb = on_checked,
                                             .arg = w,
                                             .plan = &w->plan};
    if (x->running++ >= limits.max_exports) {
        limits_hit(&limits.max_exports);
        w->check.is_refused = true;
    }
    dataset_export_check(x, &w->check);
}

void dataset_export_cancel(struct dataset_export *e) {
    struct dataset_export_work *w = e->work;
    if (!w || w->is_over) {
        return;
    }
    w->cancelled = true;
    atomic_store(&w->watch.cancel, true);
    if (w->is_editing) {
        dataset_edit_cancel(&w->edit);
    }
}

void dataset_export_fini(struct dataset_export *e) {
    struct dataset_export_work *w = take(&e->work);
    if (w) {
        CHECK(w->is_over);
        arena_free(w->arena);
        free(w);
    }
}

/* ---- the check ---- */

static void check_end(struct loop_task *t) {
    struct dataset_export_check *c = CONTAINER_OF(t, struct dataset_export_check, task);
    c->cb(c, c->err.code ? &c->err : NULL);
}

static void on_row(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct dataset_export_check *c = g->arg;
    if (row) {
        if (export_plan_make(c->arena, row, c, c->plan, &c->err) == 0) {
            c->dataset = row->name;
            c->directory = c->plan->directory;
        }
    } else if (!err || err->code == ERR_NOT_FOUND) {
        err_set(&c->err, ERR_NOT_FOUND, "The Dataset \"%.*s\" does not exist.",
                (int)(g->name.n > 300 ? 300 : g->name.n), g->name.p);
    } else {
        c->err = *err;
    }
    check_end(&c->task);
}

void dataset_export_check(struct dataset_exports *x, struct dataset_export_check *c) {
    struct str name;
    c->x = x;
    c->err = (struct err){0};
    if (!c->plan) {
        c->plan = arena_own(c->arena, sizeof(*c->plan));
    }
    if (c->is_refused) {
        err_set(&c->err, ERR_RESOURCE_EXHAUSTED,
                "%llu exports are under way or waiting (max_exports); try again later.",
                (unsigned long long)limits.max_exports);
    } else if (export_plan_check_early(c, &name)) {
        c->get = (struct store_get){.name = name, .arena = c->arena, .cb = on_row, .arg = c};
        x->api->store->ops->get(x->api->store, &c->get);
        return;
    }
    loop_task_init(&c->task, check_end);
    loop_post(x->loop, &c->task);
}

/* ---- the module ---- */

static void on_stop(struct loop_task *t) {
    struct dataset_exports *x = CONTAINER_OF(t, struct dataset_exports, stop_task);
    lane_close(take(&x->lane));
    x->stop_cb(x->stop_arg);
}

struct dataset_exports *dataset_exports_new(struct api *api, struct loop *loop, struct blob *blob) {
    struct dataset_exports *x = xcalloc(1, sizeof(*x));
    x->api = api;
    x->loop = loop;
    x->blob = blob;
    x->lane = lane_new(loop, "export", LANE_THREADS);
    list_init(&x->works);
    loop_task_init(&x->stop_task, on_stop);
    return x;
}

void dataset_exports_get_stats(const struct dataset_exports *x, struct dataset_exports_stats *ret) {
    *ret = x->stats;
    ret->running = x->running;
}

void dataset_exports_stop(struct dataset_exports *x, void (*cb)(void *arg), void *arg) {
    struct dataset_export_work *w;
    x->stopping = true;
    x->stop_cb = cb;
    x->stop_arg = arg;
    list_each (w, &x->works, link) {
        dataset_export_cancel(w->e);
    }
    if (x->running == 0) {
        loop_post(x->loop, &x->stop_task);
    }
}

void dataset_exports_free(struct dataset_exports *x) {
    if (x) {
        lane_close(x->lane);
        free(x);
    }
}
