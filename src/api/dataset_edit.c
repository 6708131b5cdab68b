/* Changing the items of a dataset: the next generation's file on a lane, then the row that names
 * it. See datasets.h. */
#include "api/datasets_int.h"
#include "base/fail.h"
#include "base/log.h"
#include "sys/files.h"

#include <fcntl.h>

static void edit_end(struct dataset_edit *e) {
    struct datasets *d = e->d;
    struct str name = e->name;
    auto_free char *kept = str_dup(name);
    auto_arena struct arena *a = e->a;
    if (e->has_txn) {
        store_txn_fini(&e->txn);
    }
    dataset_view_release(e->from);
    if (e->turn.is_ours) {
        dataset_turn_release(d, &e->turn);
    }
    dataset_turn_release(d, &e->only);
    list_del(&e->link);
    free(e->to);
    d->stats.edits_running--;
    e->cb(e, e->failed ? &e->err : NULL); /* e may be gone after this */
    /* What the row named before, or what we wrote in vain. */
    datasets_tidy(d, str_of(kept));
    datasets_check_stopped(d);
}

static void edit_fail(struct dataset_edit *e, const struct err *err) {
    e->failed = true;
    e->err = *err;
    edit_end(e);
}

static void fail_missing(struct dataset_edit *e) {
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "The Dataset \"%.*s\" does not exist any more.", STR_ARG(e->name));
    edit_fail(e, &err);
}

static void fail_cancelled(struct dataset_edit *e) {
    struct err err;
    if (e->d->stopping) {
        err_set(&err, ERR_ABORTED,
                "The server was stopped meanwhile. Nothing was changed; repeat "
                "the request.");
    } else {
        err_set(&err, ERR_CANCELLED, "The operation was cancelled. Nothing was changed.");
    }
    edit_fail(e, &err);
}

/* ---- 3. the row */

static void on_committed(struct store_txn *t, const struct err *err) {
    struct dataset_edit *e = t->arg;
    if (err && err->code == ERR_NOT_FOUND) {
        fail_missing(e);
    } else if (err) {
        edit_fail(e, err);
    } else {
        edit_end(e);
    }
}

static void commit(struct dataset_edit *e, const struct store_row *row) {
    struct api *api = e->d->api;
    auto_buf struct buf status = BUF_INIT(BUF_NO_MAX);
    struct store_row now = *row;
    usec_t wall = api->clock->ops->wall(api->clock);
    dataset_status_encode(&status, &(struct dataset_status){.file = e->file, .counts = e->counts});
    now.status = arena_str(e->a, buf_str(&status));
    now.update_time = wall > row->update_time ? wall : row->update_time + 1;
    store_txn_init(&e->txn, on_committed, e);
    e->has_txn = true;
    store_txn_replace(&e->txn, &now);
    if (e->join) {
        e->has_joined = true;
        e->join(e, &e->txn, &now);
    }
    api->store->ops->commit(api->store, &e->txn);
}

static void on_row_again(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct dataset_edit *e = g->arg;
    struct dataset_status st;
    struct err why;
    if (!row && (!err || err->code == ERR_NOT_FOUND)) {
        fail_missing(e);
    } else if (!row) {
        edit_fail(e, err);
    } else if (e->cancel) {
        fail_cancelled(e);
    } else if (dataset_status_decode(row, &st, &why)) {
        edit_fail(e, &why);
    } else if (st.file != e->from->file) {
        err_set(&why, ERR_ABORTED,
                "The items of the dataset were replaced meanwhile. Nothing was changed; repeat the "
                "request.");
        edit_fail(e, &why);
    } else {
        commit(e, row);
    }
}

static void get_row(struct dataset_edit *e,
                    void (*cb)(struct store_get *, const struct store_row *, const struct err *)) {
    struct store *st = e->d->api->store;
    e->get = (struct store_get){.name = e->name, .arena = e->a, .cb = cb, .arg = e};
    st->ops->get(st, &e->get);
}

static void on_turn(struct dataset_turn *t) {
    get_row(CONTAINER_OF(t, struct dataset_edit, turn), on_row_again);
}

/* ---- 2. the file */

static int run(struct dataset_edit *e, struct err *err) {
    auto_free char *folder = dataset_folder(e->d, e->name);
    return file_mkdirs(AT_FDCWD, folder, 0750, err) || FAIL_POINT("api.dataset.edit", err) ||
                   e->run(e, dataset_view_path(e->from), e->to, &e->counts, err) ||
                   FAIL_POINT("api.dataset.written", err)
               ? -1
               : 0;
}

static void on_lane(struct lane_work *w) {
    struct dataset_edit *e = CONTAINER_OF(w, struct dataset_edit, work);
    e->failed = run(e, &e->err) != 0;
}

static void on_written(struct lane_work *w) {
    struct dataset_edit *e = CONTAINER_OF(w, struct dataset_edit, work);
    if (e->cancel || w->cancelled) {
        fail_cancelled(e);
    } else if (e->failed) {
        edit_end(e);
    } else {
        e->turn.fn = on_turn;
        dataset_turn_take(e->d, &e->turn, e->name);
    }
}

/* ---- 1. alone */

static void on_row(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct dataset_edit *e = g->arg;
    if (!row && (!err || err->code == ERR_NOT_FOUND)) {
        fail_missing(e);
        return;
    }
    if (!row) {
        edit_fail(e, err);
        return;
    }
    e->from = dataset_view_take(e->d, row);
    e->file = dataset_next_file(e->d);
    e->to = dataset_file(e->d, e->name, e->file);
    e->work = (struct lane_work){.run = on_lane, .done = on_written};
    lane_submit(e->d->edit_lane, &e->work);
}

static void on_alone(struct dataset_turn *t) {
    struct dataset_edit *e = CONTAINER_OF(t, struct dataset_edit, only);
    if (e->cancel) {
        fail_cancelled(e);
    } else {
        get_row(e, on_row);
    }
}

void dataset_edit_start(struct datasets *d, struct dataset_edit *e) {
    auto_free char *key = xasprintf("%.*s#items", STR_ARG(e->name));
    e->d = d;
    e->a = arena_new(ARENA_NO_MAX);
    e->name = arena_str(e->a, e->name);
    e->from = NULL;
    e->to = NULL;
    e->file = 0;
    e->has_txn = e->has_joined = e->failed = false;
    e->turn = (struct dataset_turn){0};
    e->only = (struct dataset_turn){.fn = on_alone};
    list_push_tail(&d->edits, &e->link);
    d->stats.edits_running++;
    d->stats.edits_total++;
    if (d->stopping) {
        e->cancel = true;
    }
    dataset_turn_take(d, &e->only, str_of(key));
}

void dataset_edit_cancel(struct dataset_edit *e) {
    e->cancel = true;
}

bool dataset_is_edited(struct datasets *d, struct str name) {
    struct dataset_edit *e;
    list_each (e, &d->edits, link) {
        if (str_eq(e->name, name)) {
            return true;
        }
    }
    return false;
}

void dataset_edits_cancel(struct datasets *d, struct str name) {
    struct dataset_edit *e;
    list_each (e, &d->edits, link) {
        if (str_eq(e->name, name)) {
            dataset_edit_cancel(e);
        }
    }
}
