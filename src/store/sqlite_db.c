/* See sqlite_db.h. */
#include "store/sqlite_db.h"

#include <errno.h>

#define ROW_COLUMNS                                                                                \
    "id, name, kind, parent, display_name, state, create_time, update_time, is_live, status, spec"

static const char *const texts[DB_STMT_NR] = {
    [DB_BEGIN] = "BEGIN IMMEDIATE",
    [DB_BEGIN_READ] = "BEGIN",
    [DB_COMMIT] = "COMMIT",
    [DB_ROLLBACK] = "ROLLBACK",
    [DB_SAVEPOINT] = "SAVEPOINT one",
    [DB_RELEASE] = "RELEASE one",
    [DB_ROLLBACK_TO] = "ROLLBACK TO one",
    [DB_ID_OF] = "SELECT id FROM resource WHERE name = ?1",
    [DB_INSERT] = "INSERT INTO resource (name, kind, parent, display_name, state, create_time, "
                  "update_time, is_live, status, spec) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10) "
                  "ON CONFLICT (name) DO NOTHING",
    [DB_LIST_OF] = "SELECT id, kind, parent, create_time FROM resource WHERE name = ?1",
    [DB_INSERT_LABEL] = "INSERT INTO label (resource, place, key, value, list, created) "
                        "VALUES (?1,?2,?3,?4,?5,?6)",
    [DB_UPDATE] = "UPDATE resource SET state = ?2, status = ?3, update_time = ?4, is_live = ?5 "
                  "WHERE name = ?1",
    [DB_REPLACE] = "UPDATE resource SET display_name = ?2, state = ?3, update_time = ?4, "
                   "is_live = ?5, status = ?6, spec = ?7 WHERE id = ?1",
    [DB_UPDATE_TIME_OF] = "SELECT update_time FROM resource WHERE name = ?1",
    [DB_DELETE] = "DELETE FROM resource WHERE id = ?1",
    [DB_DELETE_LABELS] = "DELETE FROM label WHERE resource = ?1",
    [DB_DELETE_EVENTS] = "DELETE FROM event WHERE resource = ?1",
    [DB_INSERT_EVENT] = "INSERT INTO event (resource, seq, type, version, time, body) "
                        "VALUES (?1,?2,?3,?4,?5,?6) ON CONFLICT DO NOTHING",
    [DB_KV_GET] = "SELECT value FROM kv WHERE space = ?1 AND key = ?2",
    [DB_KV_PUT] = "INSERT INTO kv (space, key, value) VALUES (?1,?2,?3) "
                  "ON CONFLICT (space, key) DO UPDATE SET value = excluded.value",
    [DB_KV_DELETE] = "DELETE FROM kv WHERE space = ?1 AND key = ?2",
    [DB_KV_SCAN] = "SELECT key, value FROM kv WHERE space = ?1 AND key >= ?2 ORDER BY key",
    [DB_ROW_BY_NAME] = "SELECT " ROW_COLUMNS " FROM resource WHERE name = ?1",
    [DB_ROW_BY_ID] = "SELECT " ROW_COLUMNS " FROM resource WHERE id = ?1",
    [DB_LABELS] = "SELECT key, value FROM label WHERE resource = ?1 ORDER BY place",
    [DB_EVENTS] = "SELECT seq, type, version, time, body FROM event WHERE resource = ?1 "
                  "ORDER BY seq",
    [DB_LIVE] = "SELECT " ROW_COLUMNS " FROM resource INDEXED BY resource_live "
                "WHERE kind = ?1 AND is_live = 1 ORDER BY id",
    [DB_NEXT_PARENT] = "SELECT parent FROM resource WHERE kind = ?1 AND parent > ?2 "
                       "ORDER BY parent LIMIT 1",
    [DB_COUNT_LABEL] = "SELECT count(*) FROM (SELECT 1 FROM label WHERE key = ?1 AND value = ?2 "
                       "LIMIT ?3)",
    [DB_COUNT_LABEL_IN] = "SELECT count(*) FROM (SELECT 1 FROM label WHERE key = ?1 AND "
                          "value = ?2 AND list = ?4 LIMIT ?3)",
    [DB_JOURNAL_MODE] = "PRAGMA journal_mode",
    [DB_TOKEN_KEY] = "SELECT value FROM meta WHERE key = 'token_key'",
};

int db_error(sqlite3 *handle, int rc, struct err *err) {
    int sys = handle ? sqlite3_system_errno(handle) : 0;
    const char *text = handle ? sqlite3_errmsg(handle) : sqlite3_errstr(rc);
    switch (rc & 0xff) {
    case SQLITE_FULL:
        err_set(
            err, ERR_RESOURCE_EXHAUSTED,
            "the disk that holds the database is full: nothing was changed; free some space and "
            "try again");
        sys = ENOSPC;
        break;
    case SQLITE_IOERR:
        if (sys == ENOSPC || sys == EDQUOT) {
            return db_error(handle, SQLITE_FULL, err);
        }
        err_set(err, ERR_UNAVAILABLE, "the database could not be read or written: %s", text);
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        err_set(err, ERR_UNAVAILABLE, "another program is using the database: %s", text);
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        err_set(err, ERR_DATA_LOSS, "the database is damaged: %s", text);
        break;
    case SQLITE_CANTOPEN:
        err_set(err, ERR_INTERNAL, "the database cannot be opened: %s", text);
        break;
    default:
        err_set(err, ERR_INTERNAL, "database: %s", text);
        break;
    }
    if (err) {
        err->sys = sys;
    }
    return -1;
}

int db_exec(sqlite3 *handle, const char *sql, struct err *err) {
    int rc = sqlite3_exec(handle, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : db_error(handle, rc, err);
}

int db_pragma_u64(sqlite3 *handle, const char *sql, uint64_t *ret, struct err *err) {
    sqlite3_stmt *st;
    int rc = sqlite3_prepare_v2(handle, sql, -1, &st, NULL);
    if (rc != SQLITE_OK) {
        return db_error(handle, rc, err);
    }
    rc = sqlite3_step(st);
    uint64_t v = rc == SQLITE_ROW ? db_column_u64(st, 0) : 0;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        db_error(handle, rc, err);
        sqlite3_finalize(st);
        return -1;
    }
    sqlite3_finalize(st);
    *ret = v;
    return 0;
}

/* Each connection has a small page cache: the operating system has the pages anyway, and an idle
 * server must stay small. The writer's holds the hot pages of a batch. */
static const char *const setup_of[] = {
    [DB_WRITER] = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -2048;"
                  "PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 33554432;"
                  "PRAGMA mmap_size = 0; PRAGMA temp_store = FILE",
    [DB_READER] = "PRAGMA cache_size = -512; PRAGMA mmap_size = 0; PRAGMA temp_store = FILE;"
                  "PRAGMA query_only = 1",
};

int db_open(struct db *db, const char *path, enum db_mode mode, struct err *err) {
    *db = (struct db){0};
    int flags =
        SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
        (mode == DB_WRITER ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
    int rc = sqlite3_open_v2(path, &db->handle, flags, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_extended_result_codes(db->handle, 1);
        sqlite3_busy_timeout(db->handle, 2000); /* backups and `sqlite3 cusp.db` by hand */
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_LOOKASIDE, NULL, 256, 128);
        rc = sqlite3_exec(db->handle, setup_of[mode], NULL, NULL, NULL);
    }
    if (rc != SQLITE_OK) {
        db_error(db->handle, rc, err);
        db_close(db);
        return err_wrap(err, "open %s", path);
    }
    return 0;
}

void db_close(struct db *db) {
    for (size_t i = 0; i < DB_STMT_NR; i++) {
        sqlite3_finalize(db->stmts[i]);
    }
    sqlite3_close_v2(db->handle);
    *db = (struct db){0};
}

sqlite3_stmt *db_stmt(struct db *db, enum db_stmt which, struct err *err) {
    if (!db->stmts[which]) {
        int rc = sqlite3_prepare_v3(db->handle, texts[which], -1, SQLITE_PREPARE_PERSISTENT,
                                    &db->stmts[which], NULL);
        if (rc != SQLITE_OK) {
            db_error(db->handle, rc, err);
            return NULL;
        }
    }
    sqlite3_reset(db->stmts[which]);
    return db->stmts[which];
}

int db_step(sqlite3_stmt *st, struct err *err) {
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        return 1;
    }
    if (rc == SQLITE_DONE) {
        sqlite3_reset(st);
        return 0;
    }
    db_error(sqlite3_db_handle(st), rc, err);
    sqlite3_reset(st);
    return -1;
}

int db_run(struct db *db, sqlite3_stmt *st, struct err *err) {
    int rc = db_step(st, err);
    CHECK(rc <= 0);
    return rc;
}

int db_run_simple(struct db *db, enum db_stmt which, struct err *err) {
    sqlite3_stmt *st = db_stmt(db, which, err);
    return st ? db_run(db, st, err) : -1;
}

/* Bound values are lent for the statement's run: callers keep them until the next step or reset. */
void db_bind_text(sqlite3_stmt *st, int at, struct str s) {
    sqlite3_bind_text64(st, at, s.p ? s.p : "", s.n, SQLITE_STATIC, SQLITE_UTF8);
}

void db_bind_blob(sqlite3_stmt *st, int at, struct str s) {
    sqlite3_bind_blob64(st, at, s.p ? s.p : "", s.n, SQLITE_STATIC);
}

void db_bind_u64(sqlite3_stmt *st, int at, uint64_t v) {
    sqlite3_bind_int64(st, at, (sqlite3_int64)v);
}

uint64_t db_list_number(struct str kind, struct str parent) {
    uint64_t n = str_hash(parent) * 31 + str_hash(kind);
    return n ? n : 1;
}

struct str db_column(sqlite3_stmt *st, int at) {
    const void *p = sqlite3_column_blob(st, at);
    size_t n = (size_t)sqlite3_column_bytes(st, at);
    return p ? str_n(p, n) : STR("");
}
