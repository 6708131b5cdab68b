/* One SQLite connection and its prepared statements: the only place where SQLite's own conventions
 * (result codes, binding, columns) are translated. A connection belongs to one thread at a time. */
#ifndef CUSP_STORE_SQLITE_DB_H
#define CUSP_STORE_SQLITE_DB_H

#include "base/arena.h"
#include "base/err.h"
#include "store/store.h"

#include <sqlite3.h>

/* Statements kept prepared for a connection's life; the text is in sqlite_db.c. */
enum db_stmt {
    DB_BEGIN,
    DB_BEGIN_READ,
    DB_COMMIT,
    DB_ROLLBACK,
    DB_SAVEPOINT,
    DB_RELEASE,
    DB_ROLLBACK_TO,
    DB_ID_OF,
    DB_LIST_OF,
    DB_INSERT,
    DB_INSERT_LABEL,
    DB_UPDATE,
    DB_REPLACE,
    DB_UPDATE_TIME_OF,
    DB_DELETE,
    DB_DELETE_LABELS,
    DB_DELETE_EVENTS,
    DB_INSERT_EVENT,
    DB_KV_GET,
    DB_KV_PUT,
    DB_KV_DELETE,
    DB_KV_SCAN,
    DB_ROW_BY_NAME,
    DB_ROW_BY_ID,
    DB_LABELS,
    DB_EVENTS,
    DB_LIVE,
    DB_NEXT_PARENT,
    DB_COUNT_LABEL,
    DB_COUNT_LABEL_IN,
    DB_JOURNAL_MODE,
    DB_TOKEN_KEY,
    DB_STMT_NR
};

struct db {
    sqlite3 *handle;
    sqlite3_stmt *stmts[DB_STMT_NR]; /* prepared on first use */
};

enum db_mode { DB_WRITER, DB_READER };

int db_open(struct db *db, const char *path, enum db_mode mode, struct err *err) MUST_CHECK;
void db_close(struct db *db);

/* Reset and unbound. NULL with *err when it cannot be prepared. */
sqlite3_stmt *db_stmt(struct db *db, enum db_stmt which, struct err *err);
/* Steps a statement that gives no rows and resets it. */
int db_run(struct db *db, sqlite3_stmt *st, struct err *err) MUST_CHECK;
int db_run_simple(struct db *db, enum db_stmt which, struct err *err);
/* 1: a row, 0: the end, -1: *err. */
int db_step(sqlite3_stmt *st, struct err *err) MUST_CHECK;

/* From the connection's last error. Full disk: RESOURCE_EXHAUSTED; everything else: INTERNAL, or
 * UNAVAILABLE when trying again may help. */
int db_error(sqlite3 *handle, int rc, struct err *err);
int db_exec(sqlite3 *handle, const char *sql, struct err *err);
int db_pragma_u64(sqlite3 *handle, const char *sql, uint64_t *ret, struct err *err);

void db_bind_text(sqlite3_stmt *st, int at, struct str s);
void db_bind_blob(sqlite3_stmt *st, int at, struct str s);
void db_bind_u64(sqlite3_stmt *st, int at, uint64_t v);
/* The list that rows of this kind and parent are in, as labels have it. Not 0. Lists may share a
 * number: who finds rows by it compares kind and parent as well. Stored: never changes. */
uint64_t db_list_number(struct str kind, struct str parent);
/* View that lives until the next step. Never NULL. */
struct str db_column(sqlite3_stmt *st, int at);
static inline uint64_t db_column_u64(sqlite3_stmt *st, int at) {
    return (uint64_t)sqlite3_column_int64(st, at);
}

#endif
