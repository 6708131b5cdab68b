/* Looks for damage in SQLite's write-ahead log before SQLite reads it. SQLite takes the log up to
 * the first frame whose checksum is wrong and drops the rest without a word: right for the torn end
 * of a crash, where nobody was answered, and wrong for a flipped bit in the middle, behind which
 * are commits that were answered. Format: sqlite.org/fileformat2.html, "The Write-Ahead Log".
 * Start-up only, before the database is opened; blocks. */
#ifndef CUSP_STORE_WAL_CHECK_H
#define CUSP_STORE_WAL_CHECK_H

#include "base/err.h"

struct wal_state {
    uint64_t commits; /* that SQLite will see */
    /* Of the same log behind the first frame that is wrong. One may be what a crash tore; more
     * were complete before it, so they are lost by damage. */
    uint64_t commits_behind;
    bool bad_header; /* the log has content, and SQLite will take none of it */
};

/* path: of the log. No file, or an empty one, is fine. UNAVAILABLE when it cannot be read. */
int wal_check(const char *path, struct wal_state *ret, struct err *err) MUST_CHECK;

/* For the log of the database at path: says in the server's log what is lost, and keeps the damaged
 * file beside it ("PATH-wal.damaged") because SQLite is about to overwrite it. Fails when it cannot
 * be kept: then nothing was touched. */
int wal_check_report(const char *path, struct err *err) MUST_CHECK;

#endif
