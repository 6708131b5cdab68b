/* The database's schema, and how an older one becomes the newest. Numbered, forward only. */
#ifndef CUSP_STORE_MIGRATE_H
#define CUSP_STORE_MIGRATE_H

#include "base/err.h"

struct sqlite3;

/* Schema version this program writes. */
#define STORE_SCHEMA_VERSION 3

/* Brings the open database to STORE_SCHEMA_VERSION, each step in its own transaction. A database
 * made by a newer program, or by another program, is refused with FAILED_PRECONDITION and left
 * alone. */
int migrate_run(struct sqlite3 *db, struct err *err) MUST_CHECK;

#endif
