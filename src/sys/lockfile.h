/* Lock files: an flock held by a process for its whole life. Held means alive; the kernel lets go
 * when the last descriptor of the open file closes, however the holder ends. */
#ifndef CUSP_SYS_LOCKFILE_H
#define CUSP_SYS_LOCKFILE_H

#include "base/err.h"

/* Takes the lock (creating the file): descriptor >= 0, close-on-exec, closing it releases.
 * -1 with ABORTED when somebody else holds it. Forked children share the lock. */
int lockfile_take(int dirfd, const char *path, struct err *err) MUST_CHECK;

enum lockfile_state { LOCKFILE_FREE, LOCKFILE_HELD, LOCKFILE_ABSENT, LOCKFILE_ERROR };
/* Looks without keeping: takes and releases at once when free, so a holder starting in the very
 * same instant may see ABORTED; lockfile_take retries over that. LOCKFILE_ERROR fills *err. */
enum lockfile_state lockfile_probe(int dirfd, const char *path, struct err *err) MUST_CHECK;

#endif
