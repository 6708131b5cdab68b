/* Shared by sqlite_read.c and sqlite_list.c. */
#ifndef CUSP_STORE_SQLITE_READ_INT_H
#define CUSP_STORE_SQLITE_READ_INT_H

#include "store/sqlite_db.h"

int read_arena_full(struct err *err);
/* One snapshot for several statements. read_end passes rc through. */
int read_begin(struct db *db, struct err *err);
int read_end(struct db *db, int rc);
bool read_keep(struct arena *a, struct str s, struct str *ret);
int read_labels(struct db *db, uint64_t id, struct arena *a, struct store_row *row,
                struct err *err);
/* st stands on a row selected with ROW_COLUMNS. */
int read_row_columns(struct db *db, sqlite3_stmt *st, struct arena *a, struct store_row *ret,
                     struct err *err);

#endif
