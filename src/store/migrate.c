/* Migrations. steps[i] leads from version i to i + 1; a step that was released is never edited,
 * because databases out there have it. tests/unit/store/data keeps a dump of every released
 * version.
 *
 * `PRAGMA user_version` holds the version; `PRAGMA application_id` says that the file is ours. */
#include "store/migrate.h"

#include "base/fail.h"
#include "store/sqlite_db.h"

#define APPLICATION_ID 0x63757370 /* "cusp" */

static const char *const steps[] = {
    /* 1: resources of any kind, their labels and events, small facts, and our own.
     * resource.id grows with every insert: labels and events of a new job land on the pages that
     * were written last, and it breaks ties in lists. spec stands last: reading the columns before
     * it does not touch its overflow pages. */
    "CREATE TABLE resource ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,"
    "  parent TEXT NOT NULL, display_name TEXT NOT NULL, state TEXT NOT NULL,"
    "  create_time INTEGER NOT NULL, update_time INTEGER NOT NULL, is_live INTEGER NOT NULL,"
    "  status BLOB NOT NULL, spec BLOB NOT NULL);"
    "CREATE INDEX resource_list ON resource(kind, parent, create_time, id);"
    "CREATE INDEX resource_state ON resource(kind, parent, state, create_time, id);"
    "CREATE INDEX resource_live ON resource(kind, id) WHERE is_live = 1;"
    "CREATE TABLE label ("
    "  resource INTEGER NOT NULL, place INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,"
    "  PRIMARY KEY (resource, place)) WITHOUT ROWID;"
    "CREATE INDEX label_value ON label(key, value, resource);"
    "CREATE TABLE event ("
    "  resource INTEGER NOT NULL, seq INTEGER NOT NULL, type INTEGER NOT NULL,"
    "  version INTEGER NOT NULL, time INTEGER NOT NULL, body BLOB NOT NULL,"
    "  PRIMARY KEY (resource, seq)) WITHOUT ROWID;"
    "CREATE TABLE kv ("
    "  space TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,"
    "  PRIMARY KEY (space, key)) WITHOUT ROWID;"
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
    "INSERT INTO meta VALUES ('token_key', randomblob(32));",
    /* 2: kinds that are looked up by display name. Of the others nobody pays for it. */
    "CREATE INDEX resource_named ON resource(kind, parent, display_name, create_time, id)"
    "  WHERE kind IN ('model', 'dataset');",
    /* 3: labels know the list of their row (a number made of kind and parent) and when the row was
     * made: who asks for a label finds its rows of one list, in list order. A pair that a row has
     * twice is in no list (0) the second time, so that no row is found twice. */
    "ALTER TABLE label ADD COLUMN list INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE label ADD COLUMN created INTEGER NOT NULL DEFAULT 0;"
    "UPDATE label SET (list, created) = (SELECT list_number(kind, parent), create_time"
    "  FROM resource WHERE id = label.resource) WHERE NOT EXISTS (SELECT 1 FROM label AS l"
    "  WHERE l.resource = label.resource AND l.place < label.place AND l.key = label.key"
    "  AND l.value = label.value);"
    "DROP INDEX label_value;"
    "CREATE INDEX label_listed ON label(key, value, list, created, resource);",
};
_Static_assert(sizeof(steps) / sizeof(steps[0]) == STORE_SCHEMA_VERSION, "one step a version");

static void sql_list_number(sqlite3_context *c, int nr, sqlite3_value **v) {
    struct str text[2];
    if (FAIL_POINT("store.migrate.row", NULL) < 0) {
        sqlite3_result_error_code(c, SQLITE_FULL); /* as if the disk had no room for this row */
        return;
    }
    for (int i = 0; i < 2; i++) {
        const void *p = sqlite3_value_blob(v[i]);
        text[i] = str_n(p ? p : "", (size_t)sqlite3_value_bytes(v[i]));
    }
    sqlite3_result_int64(c, (sqlite3_int64)db_list_number(text[0], text[1]));
}

/* Runs the statements of a step one by one. */
static int run_step(sqlite3 *db, const char *sql, struct err *err) {
    while (*sql) {
        sqlite3_stmt *st;
        if (FAIL_POINT("store.migrate.statement", err) < 0) {
            return -1;
        }
        int rc = sqlite3_prepare_v2(db, sql, -1, &st, &sql);
        if (rc == SQLITE_OK) {
            sqlite3_step(st);
            rc = sqlite3_finalize(st); /* what the step came to */
        }
        if (rc != SQLITE_OK) {
            return db_error(db, rc, err);
        }
    }
    return 0;
}

int migrate_run(struct sqlite3 *db, struct err *err) {
    uint64_t version, app, nr_tables;
    if (db_pragma_u64(db, "PRAGMA user_version", &version, err) < 0 ||
        db_pragma_u64(db, "PRAGMA application_id", &app, err) < 0 ||
        db_pragma_u64(db, "SELECT count(*) FROM sqlite_schema", &nr_tables, err) < 0) {
        return -1;
    }
    if (app != APPLICATION_ID && (nr_tables > 0 || version > 0)) {
        return err_set(err, ERR_FAILED_PRECONDITION, "the file is not a cusp database");
    }
    if (version > STORE_SCHEMA_VERSION) {
        return err_set(err, ERR_FAILED_PRECONDITION,
                       "the database has schema version %llu, made by a newer cusp; this one knows "
                       "versions up to %d. Use the newer program, or restore a backup.",
                       (unsigned long long)version, STORE_SCHEMA_VERSION);
    }
    int rc = sqlite3_create_function_v2(db, "list_number", 2, SQLITE_UTF8 | SQLITE_DETERMINISTIC,
                                        NULL, sql_list_number, NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        return db_error(db, rc, err);
    }
    for (; version < STORE_SCHEMA_VERSION; version++) {
        char mark[96];
        snprintf(mark, sizeof(mark),
                 "PRAGMA application_id = %d; PRAGMA user_version = %llu; COMMIT", APPLICATION_ID,
                 (unsigned long long)version + 1);
        if (db_exec(db, "BEGIN IMMEDIATE", err) < 0 || run_step(db, steps[version], err) < 0 ||
            FAIL_POINT("store.migrate.before_commit", err) < 0 || db_exec(db, mark, err) < 0) {
            (void)db_exec(db, "ROLLBACK", NULL); /* nothing to roll back is fine */
            return err_wrap(err, "bring the database to schema version %llu",
                            (unsigned long long)version + 1);
        }
    }
    return 0;
}
