/* Files: whole reads with a bound, atomic durable writes, directory trees, and paths from outside
 * resolved beneath a directory. All calls block; none logs. dirfd arguments take AT_FDCWD.
 * (Not called file.h: that is a system header, which would then be hidden from everybody.) */
#ifndef CUSP_SYS_FILES_H
#define CUSP_SYS_FILES_H

#include "base/buf.h"
#include "base/err.h"

#include <sys/types.h>

/* Appends the whole file to *out; RESOURCE_EXHAUSTED when it would pass out->max. Works for /proc
 * and cgroup files (size unknown in advance). */
int file_read(int dirfd, const char *path, struct buf *out, struct err *err) MUST_CHECK;

enum file_sync {
    FILE_NO_SYNC, /* atomic against readers and process death, not against power loss */
    FILE_SYNC,    /* file and directory are on disk when this returns */
};
/* Writes PATH.tmp, then renames it to PATH: readers see the old or the new content, never a part.
 * One writer at a time for a path. The temporary is removed on failure. */
int file_write_atomic(int dirfd, const char *path, struct str data, mode_t mode,
                      enum file_sync sync, struct err *err) MUST_CHECK;

/* Writes all of data to fd; retries short writes and EINTR. */
int file_write_all(int fd, struct str data, struct err *err) MUST_CHECK;
/* One write(2) of a small value into an existing file (cgroup, /proc). 0 or -errno. */
int file_poke(int dirfd, const char *path, const char *value) MUST_CHECK;
int file_fsync_dir(int dirfd, const char *path, struct err *err) MUST_CHECK;

/* mkdir -p; existing directories are fine. */
int file_mkdirs(int dirfd, const char *path, mode_t mode, struct err *err) MUST_CHECK;
/* rm -r of PATH below dirfd, never following links nor crossing into another file system. A path
 * that does not exist is success. */
int file_remove_tree(int dirfd, const char *path, struct err *err) MUST_CHECK;

/* open(2) of a path from outside: no component may leave root_fd (no "..", no absolute link, no
 * /proc magic link). Descriptor >= 0 (close-on-exec), or -1 with *err. */
int file_open_beneath(int root_fd, const char *path, int flags, mode_t mode,
                      struct err *err) MUST_CHECK;

#endif
