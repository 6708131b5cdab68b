/* Rows, events and key/values; lists are in sqlite_list.c. See sqlite_read.h. */
#include "store/sqlite_read.h"

#include "base/vec.h"
#include "store/sqlite_read_int.h"

int read_arena_full(struct err *err) {
    return err_set(err, ERR_RESOURCE_EXHAUSTED, "the answer does not fit the request's memory");
}

int read_begin(struct db *db, struct err *err) {
    return db_run_simple(db, DB_BEGIN_READ, err);
}

int read_end(struct db *db, int rc) {
    if (!sqlite3_get_autocommit(db->handle)) {
        (void)db_run_simple(db, DB_COMMIT, NULL); /* ends a read: nothing to lose */
    }
    return rc;
}

bool read_keep(struct arena *a, struct str s, struct str *ret) {
    *ret = arena_str(a, s);
    return ret->p;
}

int read_labels(struct db *db, uint64_t id, struct arena *a, struct store_row *row,
                struct err *err) {
    VEC_OF(struct store_label) v = {0};
    sqlite3_stmt *st = db_stmt(db, DB_LABELS, err);
    if (!st) {
        return -1;
    }
    db_bind_u64(st, 1, id);
    int rc;
    bool fits = true;
    while (fits && (rc = db_step(st, err)) > 0) {
        struct store_label l;
        fits = read_keep(a, db_column(st, 0), &l.key) && read_keep(a, db_column(st, 1), &l.value);
        vec_push(&v, l);
    }
    sqlite3_reset(st);
    struct store_label *p = fits ? arena_calloc(a, v.n, sizeof(*p)) : NULL;
    if (p && v.n) {
        memcpy(p, v.p, v.n * sizeof(*p));
    }
    row->labels = p;
    row->nr_labels = v.n;
    vec_fini(&v);
    if (!p) {
        return read_arena_full(err);
    }
    return rc < 0 ? -1 : 0;
}

int read_row_columns(struct db *db, sqlite3_stmt *st, struct arena *a, struct store_row *ret,
                     struct err *err) {
    struct store_row row = {.create_time = db_column_u64(st, 6),
                            .update_time = db_column_u64(st, 7),
                            .is_live = db_column_u64(st, 8)};
    struct {
        int column;
        struct str *to;
    } texts[] = {{1, &row.name},  {2, &row.kind},   {3, &row.parent}, {4, &row.display_name},
                 {5, &row.state}, {9, &row.status}, {10, &row.spec}};
    for (size_t i = 0; i < NR_OF(texts); i++) {
        if (!read_keep(a, db_column(st, texts[i].column), texts[i].to)) {
            return read_arena_full(err);
        }
    }
    if (read_labels(db, db_column_u64(st, 0), a, &row, err) < 0) {
        return -1;
    }
    *ret = row;
    return 0;
}

static int row_by_name(struct db *db, struct str name, struct arena *a, struct store_row **ret,
                       struct err *err) {
    sqlite3_stmt *st = db_stmt(db, DB_ROW_BY_NAME, err);
    if (!st) {
        return -1;
    }
    db_bind_text(st, 1, name);
    int rc = db_step(st, err);
    if (rc == 0) {
        return err_set(err, ERR_NOT_FOUND, "%.*s not found", STR_ARG(name));
    }
    struct store_row *row = rc > 0 ? arena_alloc(a, sizeof(*row)) : NULL;
    if (rc > 0) {
        rc = row ? read_row_columns(db, st, a, row, err) : read_arena_full(err);
    }
    sqlite3_reset(st);
    if (rc == 0) {
        *ret = row;
    }
    return rc;
}

int read_row(struct db *db, struct str name, struct arena *a, struct store_row **ret,
             struct err *err) {
    if (read_begin(db, err) < 0) {
        return -1;
    }
    return read_end(db, row_by_name(db, name, a, ret, err));
}

int read_kv(struct db *db, const struct store_kv_get *g, struct str *ret, struct err *err) {
    sqlite3_stmt *st = db_stmt(db, DB_KV_GET, err);
    if (!st) {
        return -1;
    }
    db_bind_text(st, 1, str_of(g->space));
    db_bind_blob(st, 2, g->key);
    int rc = db_step(st, err);
    struct str value = {0};
    if (rc > 0) {
        rc = read_keep(g->arena, db_column(st, 0), &value) ? 0 : read_arena_full(err);
    }
    sqlite3_reset(st);
    if (rc == 0) {
        *ret = value;
    }
    return rc;
}

int read_kv_scan(struct db *db, const struct store_kv_scan *s, struct store_kv_pair **ret,
                 size_t *ret_nr, struct err *err) {
    CHECK(s->max > 0);
    sqlite3_stmt *st = db_stmt(db, DB_KV_SCAN, err);
    if (!st) {
        return -1;
    }
    db_bind_text(st, 1, str_of(s->space));
    db_bind_blob(st, 2, str_cmp(s->after, s->prefix) > 0 ? s->after : s->prefix);
    VEC_OF(struct store_kv_pair) v = {0};
    int rc = 0;
    bool fits = true;
    while (fits && v.n < s->max && (rc = db_step(st, err)) > 0) {
        struct str key = db_column(st, 0);
        struct store_kv_pair pair;
        if (!str_starts(key, s->prefix)) {
            break;
        }
        if (s->after.n && str_eq(key, s->after)) {
            continue;
        }
        fits = read_keep(s->arena, key, &pair.key) &&
               read_keep(s->arena, db_column(st, 1), &pair.value);
        vec_push(&v, pair);
    }
    sqlite3_reset(st);
    struct store_kv_pair *out = fits ? arena_calloc(s->arena, v.n, sizeof(*out)) : NULL;
    if (rc >= 0 && out) {
        if (v.n) {
            memcpy(out, v.p, v.n * sizeof(*out));
        }
        *ret = out;
        *ret_nr = v.n;
    }
    vec_fini(&v);
    if (!out) {
        return read_arena_full(err);
    }
    return rc < 0 ? -1 : 0;
}

/* Events of a row known by its id; owner is a view the caller keeps. */
static int events_by_id(struct db *db, uint64_t id, struct str owner, struct arena *a,
                        struct store_event **ret, size_t *ret_nr, struct err *err) {
    sqlite3_stmt *st = db_stmt(db, DB_EVENTS, err);
    if (!st) {
        return -1;
    }
    db_bind_u64(st, 1, id);
    VEC_OF(struct store_event) v = {0};
    int rc;
    bool fits = true;
    while (fits && (rc = db_step(st, err)) > 0) {
        struct store_event ev = {.owner = owner,
                                 .seq = db_column_u64(st, 0),
                                 .type = (uint32_t)db_column_u64(st, 1),
                                 .version = (uint32_t)db_column_u64(st, 2),
                                 .time = db_column_u64(st, 3)};
        fits = read_keep(a, db_column(st, 4), &ev.body);
        vec_push(&v, ev);
    }
    sqlite3_reset(st);
    struct store_event *out = fits ? arena_calloc(a, v.n, sizeof(*out)) : NULL;
    if (out) {
        if (v.n) {
            memcpy(out, v.p, v.n * sizeof(*out));
        }
        *ret = out;
        *ret_nr = v.n;
    }
    vec_fini(&v);
    if (!out) {
        return read_arena_full(err);
    }
    return rc < 0 ? -1 : 0;
}

static int events_by_owner(struct db *db, const struct store_events *e, struct store_event **ret,
                           size_t *ret_nr, struct err *err) {
    sqlite3_stmt *st = db_stmt(db, DB_ID_OF, err);
    if (!st) {
        return -1;
    }
    db_bind_text(st, 1, e->owner);
    int rc = db_step(st, err);
    uint64_t id = rc > 0 ? db_column_u64(st, 0) : 0;
    sqlite3_reset(st);
    struct str owner;
    if (rc < 0) {
        return -1;
    }
    if (!read_keep(e->arena, e->owner, &owner)) {
        return read_arena_full(err);
    }
    return events_by_id(db, id, owner, e->arena, ret, ret_nr, err); /* id 0 owns nothing */
}

int read_events(struct db *db, const struct store_events *e, struct store_event **ret,
                size_t *ret_nr, struct err *err) {
    if (read_begin(db, err) < 0) {
        return -1;
    }
    return read_end(db, events_by_owner(db, e, ret, ret_nr, err));
}

static int live_rows(struct db *db, struct store_load *l, struct err *err) {
    sqlite3_stmt *st = db_stmt(db, DB_LIVE, err);
    if (!st) {
        return -1;
    }
    db_bind_text(st, 1, l->kind);
    struct arena *a = arena_new(ARENA_NO_MAX);
    int rc;
    while ((rc = db_step(st, err)) > 0) {
        struct store_row row;
        struct store_event *events;
        size_t nr;
        arena_clear(a);
        rc = read_row_columns(db, st, a, &row, err);
        if (rc < 0 ||
            (rc = events_by_id(db, db_column_u64(st, 0), row.name, a, &events, &nr, err)) < 0) {
            break;
        }
        l->row(l, &row, events, nr);
    }
    sqlite3_reset(st);
    arena_free(a);
    return rc;
}

int read_live(struct db *db, struct store_load *l, struct err *err) {
    if (read_begin(db, err) < 0) {
        return -1;
    }
    return read_end(db, live_rows(db, l, err));
}

int read_token_key(struct db *db, uint8_t ret[TOKEN_KEY_BYTES], struct err *err) {
    sqlite3_stmt *st = db_stmt(db, DB_TOKEN_KEY, err);
    if (!st) {
        return -1;
    }
    int rc = db_step(st, err);
    struct str key = rc > 0 ? db_column(st, 0) : STR("");
    if (rc >= 0 && key.n != TOKEN_KEY_BYTES) {
        rc = err_set(err, ERR_DATA_LOSS, "the database's key for page tokens is missing");
    } else if (rc > 0) {
        memcpy(ret, key.p, TOKEN_KEY_BYTES);
        rc = 0;
    }
    sqlite3_reset(st);
    return rc;
}
