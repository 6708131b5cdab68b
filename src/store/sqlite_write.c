/* See sqlite_write.h. */
#include "store/sqlite_write.h"

#include "base/fail.h"
#include "store/txn.h"

/* Two ways to fail, told apart because they have different reach. */
enum outcome {
    DID_IT,
    REFUSED, /* a precondition: this transaction only */
    BROKE,   /* the database: the whole batch */
};

static enum outcome outcome_of(int rc) {
    return rc < 0 ? BROKE : DID_IT;
}

/* *ret_id 0: no such row. */
static enum outcome id_of(struct db *db, struct str name, uint64_t *ret_id, struct err *err) {
    sqlite3_stmt *st = db_stmt(db, DB_ID_OF, err);
    if (!st) {
        return BROKE;
    }
    db_bind_text(st, 1, name);
    int rc = db_step(st, err);
    *ret_id = rc > 0 ? db_column_u64(st, 0) : 0;
    sqlite3_reset(st);
    return outcome_of(rc);
}

static bool is_there_twice(const struct store_row *r, size_t at) {
    for (size_t i = 0; i < at; i++) {
        if (str_eq(r->labels[i].key, r->labels[at].key) &&
            str_eq(r->labels[i].value, r->labels[at].value)) {
            return true;
        }
    }
    return false;
}

/* list and created: of the row as it is in the database. */
static enum outcome put_labels(struct db *db, uint64_t id, const struct store_row *r, uint64_t list,
                               uint64_t created, struct err *err) {
    for (size_t i = 0; i < r->nr_labels; i++) {
        sqlite3_stmt *st = db_stmt(db, DB_INSERT_LABEL, err);
        if (!st) {
            return BROKE;
        }
        db_bind_u64(st, 1, id);
        db_bind_u64(st, 2, i);
        db_bind_text(st, 3, r->labels[i].key);
        db_bind_text(st, 4, r->labels[i].value);
        db_bind_u64(st, 5, is_there_twice(r, i) ? 0 : list);
        db_bind_u64(st, 6, created);
        if (db_run(db, st, err) < 0) {
            return BROKE;
        }
    }
    return DID_IT;
}

static enum outcome do_insert(struct db *db, const struct store_row *r, struct err *err) {
    sqlite3_stmt *st = db_stmt(db, DB_INSERT, err);
    if (!st) {
        return BROKE;
    }
    db_bind_text(st, 1, r->name);
    db_bind_text(st, 2, r->kind);
    db_bind_text(st, 3, r->parent);
    db_bind_text(st, 4, r->display_name);
    db_bind_text(st, 5, r->state);
    db_bind_u64(st, 6, r->create_time);
    db_bind_u64(st, 7, r->update_time);
    db_bind_u64(st, 8, r->is_live);
    db_bind_blob(st, 9, r->status);
    db_bind_blob(st, 10, r->spec);
    if (db_run(db, st, err) < 0) {
        return BROKE;
    }
    if (sqlite3_changes(db->handle) == 0) {
        store_err_exists(err, r->name);
        return REFUSED;
    }
    return put_labels(db, (uint64_t)sqlite3_last_insert_rowid(db->handle), r,
                      db_list_number(r->kind, r->parent), r->create_time, err);
}

static enum outcome do_update(struct db *db, const struct store_row *r, struct err *err) {
    sqlite3_stmt *st = db_stmt(db, DB_UPDATE, err);
    if (!st) {
        return BROKE;
    }
    db_bind_text(st, 1, r->name);
    db_bind_text(st, 2, r->state);
    db_bind_blob(st, 3, r->status);
    db_bind_u64(st, 4, r->update_time);
    db_bind_u64(st, 5, r->is_live);
    if (db_run(db, st, err) < 0) {
        return BROKE;
    }
    if (sqlite3_changes(db->handle) == 0) {
        store_err_missing(err, r->name);
        return REFUSED;
    }
    return DID_IT;
}

static enum outcome do_replace(struct db *db, const struct store_row *r, struct err *err) {
    uint64_t id = 0, list = 0, created = 0;
    sqlite3_stmt *st = db_stmt(db, DB_LIST_OF, err);
    if (!st) {
        return BROKE;
    }
    db_bind_text(st, 1, r->name);
    int rc = db_step(st, err);
    if (rc > 0) {
        id = db_column_u64(st, 0);
        list = db_list_number(db_column(st, 1), db_column(st, 2));
        created = db_column_u64(st, 3);
    }
    sqlite3_reset(st);
    if (rc < 0) {
        return BROKE;
    }
    if (!id) {
        store_err_missing(err, r->name);
        return REFUSED;
    }
    st = db_stmt(db, DB_REPLACE, err);
    if (!st) {
        return BROKE;
    }
    db_bind_u64(st, 1, id);
    db_bind_text(st, 2, r->display_name);
    db_bind_text(st, 3, r->state);
    db_bind_u64(st, 4, r->update_time);
    db_bind_u64(st, 5, r->is_live);
    db_bind_blob(st, 6, r->status);
    db_bind_blob(st, 7, r->spec);
    if (db_run(db, st, err) < 0 || !(st = db_stmt(db, DB_DELETE_LABELS, err))) {
        return BROKE;
    }
    db_bind_u64(st, 1, id);
    if (db_run(db, st, err) < 0) {
        return BROKE;
    }
    return put_labels(db, id, r, list, created, err);
}

static enum outcome do_expect(struct db *db, const struct store_row *r, struct err *err) {
    sqlite3_stmt *st = db_stmt(db, DB_UPDATE_TIME_OF, err);
    if (!st) {
        return BROKE;
    }
    db_bind_text(st, 1, r->name);
    int rc = db_step(st, err);
    if (rc < 0) {
        return BROKE;
    }
    bool same = rc > 0 && db_column_u64(st, 0) == r->update_time;
    sqlite3_reset(st);
    if (rc == 0) {
        store_err_missing(err, r->name);
    } else if (!same) {
        store_err_stale(err, r->name);
    }
    return same ? DID_IT : REFUSED;
}

static enum outcome do_delete(struct db *db, struct str name, struct err *err) {
    uint64_t id;
    if (id_of(db, name, &id, err) != DID_IT) {
        return BROKE;
    }
    if (!id) {
        store_err_missing(err, name);
        return REFUSED;
    }
    static const enum db_stmt all[] = {DB_DELETE_LABELS, DB_DELETE_EVENTS, DB_DELETE};
    for (size_t i = 0; i < NR_OF(all); i++) {
        sqlite3_stmt *st = db_stmt(db, all[i], err);
        if (!st) {
            return BROKE;
        }
        db_bind_u64(st, 1, id);
        if (db_run(db, st, err) < 0) {
            return BROKE;
        }
    }
    return DID_IT;
}

static enum outcome do_event(struct db *db, const struct store_event *ev, struct err *err) {
    uint64_t id;
    if (id_of(db, ev->owner, &id, err) != DID_IT) {
        return BROKE;
    }
    if (!id) {
        store_err_missing(err, ev->owner);
        return REFUSED;
    }
    sqlite3_stmt *st = db_stmt(db, DB_INSERT_EVENT, err);
    if (!st) {
        return BROKE;
    }
    db_bind_u64(st, 1, id);
    db_bind_u64(st, 2, ev->seq);
    db_bind_u64(st, 3, ev->type);
    db_bind_u64(st, 4, ev->version);
    db_bind_u64(st, 5, ev->time);
    db_bind_blob(st, 6, ev->body);
    if (db_run(db, st, err) < 0) {
        return BROKE;
    }
    if (sqlite3_changes(db->handle) == 0) {
        store_err_event_exists(err, ev);
        return REFUSED;
    }
    return DID_IT;
}

static enum outcome do_kv(struct db *db, const struct store_op *op, struct err *err) {
    bool deletes = !op->kv.value.p;
    sqlite3_stmt *st = db_stmt(db, deletes ? DB_KV_DELETE : DB_KV_PUT, err);
    if (!st) {
        return BROKE;
    }
    db_bind_text(st, 1, op->kv.space);
    db_bind_blob(st, 2, op->kv.key);
    if (!deletes) {
        db_bind_blob(st, 3, op->kv.value);
    }
    return outcome_of(db_run(db, st, err));
}

static enum outcome do_kv_expect(struct db *db, const struct store_op *op, struct err *err) {
    sqlite3_stmt *st = db_stmt(db, DB_KV_GET, err);
    if (!st) {
        return BROKE;
    }
    db_bind_text(st, 1, op->kv.space);
    db_bind_blob(st, 2, op->kv.key);
    int rc = db_step(st, err);
    if (rc < 0) {
        return BROKE;
    }
    bool same = rc > 0 ? op->kv.value.p && str_eq(op->kv.value, db_column(st, 0)) : !op->kv.value.p;
    sqlite3_reset(st);
    if (!same) {
        store_err_expect(err, op->kv.space, op->kv.key);
        return REFUSED;
    }
    return DID_IT;
}

static enum outcome do_op(struct db *db, const struct store_op *op, struct err *err) {
    switch (op->type) {
    case STORE_OP_INSERT:
        return do_insert(db, &op->row, err);
    case STORE_OP_UPDATE:
        return do_update(db, &op->row, err);
    case STORE_OP_REPLACE:
        return do_replace(db, &op->row, err);
    case STORE_OP_EXPECT:
        return do_expect(db, &op->row, err);
    case STORE_OP_DELETE:
        return do_delete(db, op->row.name, err);
    case STORE_OP_EVENT:
        return do_event(db, &op->event, err);
    case STORE_OP_KV:
        return do_kv(db, op, err);
    case STORE_OP_KV_EXPECT:
        return do_kv_expect(db, op, err);
    }
    CHECK(false);
    return BROKE;
}

static enum outcome do_ops(struct db *db, struct store_txn *t, struct err *err) {
    enum outcome out = DID_IT;
    for (const struct store_op *op = t->ops_head; op && out == DID_IT; op = op->next) {
        out = do_op(db, op, err);
    }
    return out;
}

/* A savepoint around a transaction keeps its refusal from its neighbours. */
static enum outcome do_guarded(struct db *db, struct store_txn *t, struct err *err) {
    if (db_run_simple(db, DB_SAVEPOINT, err) < 0) {
        return BROKE;
    }
    enum outcome out = do_ops(db, t, err);
    if (out == BROKE || (out == REFUSED && db_run_simple(db, DB_ROLLBACK_TO, err) < 0) ||
        db_run_simple(db, DB_RELEASE, err) < 0) {
        return BROKE;
    }
    return out;
}

/* REFUSED: one of them is, nothing was kept, and the batch has to be done again, guarded. */
static enum outcome do_batch(struct db *db, struct list *txns, bool guarded, struct err *err) {
    struct store_txn *t;
    if (FAIL_POINT("store.commit.before_begin", err) < 0 || db_run_simple(db, DB_BEGIN, err) < 0) {
        return BROKE;
    }
    list_each (t, txns, link) {
        err_clear(&t->err);
        enum outcome out = guarded ? do_guarded(db, t, &t->err) : do_ops(db, t, &t->err);
        t->failed = out == REFUSED;
        if (out == BROKE) {
            *err = t->err;
            return BROKE;
        }
        if (out == REFUSED && !guarded) {
            return db_run_simple(db, DB_ROLLBACK, err) < 0 ? BROKE : REFUSED;
        }
    }
    if (FAIL_POINT("store.commit.before_commit", err) < 0) {
        return BROKE;
    }
    return outcome_of(db_run_simple(db, DB_COMMIT, err));
}

void write_batch(struct db *db, struct list *txns) {
    struct err err = {0};
    /* SQLite copies every page that a savepoint may have to bring back, and refusals are rare: so
     * without savepoints first. */
    enum outcome out = do_batch(db, txns, false, &err);
    if (out == REFUSED) {
        out = do_batch(db, txns, true, &err);
    }
    if (out == DID_IT) {
        return;
    }
    /* SQLite may have rolled back by itself (full disk, I/O error). */
    if (!sqlite3_get_autocommit(db->handle)) {
        (void)db_run_simple(db, DB_ROLLBACK, NULL); /* in-memory: cannot fail for the same cause */
    }
    struct store_txn *t;
    list_each (t, txns, link) {
        t->failed = true;
        t->err = err;
    }
}
