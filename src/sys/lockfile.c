/* Lock files: see lockfile.h. */
#include "sys/lockfile.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#define TAKE_TRIES 5
#define TAKE_PAUSE_USEC 2000 /* a probe holds the lock for microseconds */

int lockfile_take(int dirfd, const char *path, struct err *err) {
    auto_close int fd = openat(dirfd, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_sys(err, errno, "open %s", path);
    }
    for (int i = 0; i < TAKE_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            return take_fd(&fd);
        }
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return err_sys(err, errno, "lock %s", path);
        }
        usleep(TAKE_PAUSE_USEC);
    }
    return err_set(err, ERR_ABORTED, "%s is held by another process", path);
}

enum lockfile_state lockfile_probe(int dirfd, const char *path, struct err *err) {
    auto_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        return LOCKFILE_ABSENT;
    }
    if (fd < 0) {
        err_sys(err, errno, "open %s", path);
        return LOCKFILE_ERROR;
    }
    if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
        return LOCKFILE_FREE;
    }
    if (errno == EWOULDBLOCK) {
        return LOCKFILE_HELD;
    }
    err_sys(err, errno, "lock %s", path);
    return LOCKFILE_ERROR;
}
