/* Files: see files.h. */
#include "sys/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REMOVE_DEPTH_MAX 256 /* directory levels of a tree we remove; each holds one descriptor */

int file_read(int dirfd, const char *path, struct buf *out, struct err *err) {
    auto_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(err, errno, "open %s", path);
    }
    size_t start = out->n;
    for (;;) {
        char chunk[16384];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            out->n = start;
            return err_sys(err, errno, "read %s", path);
        }
        if (n == 0) {
            return 0;
        }
        if (buf_put(out, chunk, (size_t)n) < 0) {
            out->n = start;
            return err_set(err, ERR_RESOURCE_EXHAUSTED, "read %s: more than %zu bytes", path,
                           out->max);
        }
    }
}

int file_write_all(int fd, struct str data, struct err *err) {
    while (data.n) {
        ssize_t n = write(fd, data.p, data.n);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_sys(err, errno, "write");
        }
        data = str_sub(data, (size_t)n, data.n);
    }
    return 0;
}

int file_poke(int dirfd, const char *path, const char *value) {
    auto_close int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    return write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

/* The directory part of path, "." when it has none. Owned. */
static char *dir_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) {
        return xstrdup(".");
    }
    return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

int file_fsync_dir(int dirfd, const char *path, struct err *err) {
    auto_close int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0) {
        return err_sys(err, errno, "sync directory %s", path);
    }
    return 0;
}

static int write_temporary(int dirfd, const char *tmp, struct str data, mode_t mode,
                           enum file_sync sync, struct err *err) {
    auto_close int fd =
        openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0) {
        return err_sys(err, errno, "create %s", tmp);
    }
    if (file_write_all(fd, data, err) < 0) {
        return err_wrap(err, "%s", tmp);
    }
    if (sync == FILE_SYNC && fsync(fd) < 0) {
        return err_sys(err, errno, "sync %s", tmp);
    }
    return 0;
}

int file_write_atomic(int dirfd, const char *path, struct str data, mode_t mode,
                      enum file_sync sync, struct err *err) {
    auto_free char *tmp = xasprintf("%s.tmp", path);
    if (write_temporary(dirfd, tmp, data, mode, sync, err) < 0) {
        unlinkat(dirfd, tmp, 0);
        return -1;
    }
    if (renameat(dirfd, tmp, dirfd, path) < 0) {
        int e = errno;
        unlinkat(dirfd, tmp, 0);
        return err_sys(err, e, "rename %s", tmp);
    }
    if (sync == FILE_SYNC) {
        auto_free char *dir = dir_of(path);
        return file_fsync_dir(dirfd, dir, err);
    }
    return 0;
}

int file_mkdirs(int dirfd, const char *path, mode_t mode, struct err *err) {
    if (mkdirat(dirfd, path, mode) == 0 || errno == EEXIST) {
        return 0;
    }
    if (errno != ENOENT) {
        return err_sys(err, errno, "create directory %s", path);
    }
    auto_free char *part = xstrdup(path);
    for (char *p = part + 1; *p; p++) {
        if (*p == '/') {
            *p = 0;
            if (mkdirat(dirfd, part, mode) < 0 && errno != EEXIST) {
                return err_sys(err, errno, "create directory %s", part);
            }
            *p = '/';
        }
    }
    if (mkdirat(dirfd, path, mode) < 0 && errno != EEXIST) {
        return err_sys(err, errno, "create directory %s", path);
    }
    return 0;
}

static int remove_below(int dirfd, const char *name, dev_t dev, int depth, struct err *err) {
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT) {
        return 0;
    }
    if (errno != EISDIR && errno != EPERM) {
        return err_sys(err, errno, "remove %s", name);
    }
    if (depth >= REMOVE_DEPTH_MAX) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "remove %s: more than %d levels", name,
                       REMOVE_DEPTH_MAX);
    }
    auto_close int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_sys(err, errno, "open %s", name);
    }
    if (st.st_dev != dev) {
        return err_set(err, ERR_FAILED_PRECONDITION, "remove %s: something is mounted there", name);
    }
    int list_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    DIR *d = list_fd < 0 ? NULL : fdopendir(list_fd);
    if (!d) {
        int e = errno;
        mem_auto_close(&list_fd);
        return err_sys(err, e, "list %s", name);
    }
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            rc = remove_below(fd, e->d_name, dev, depth + 1, err);
        }
    }
    closedir(d);
    if (rc == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
        return err_sys(err, errno, "remove %s", name);
    }
    return rc;
}

int file_remove_tree(int dirfd, const char *path, struct err *err) {
    struct stat st;
    if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return errno == ENOENT ? 0 : err_sys(err, errno, "remove %s", path);
    }
    return remove_below(dirfd, path, st.st_dev, 0, err);
}

int file_open_beneath(int root_fd, const char *path, int flags, mode_t mode, struct err *err) {
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .mode = flags & (O_CREAT | O_TMPFILE) ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
    if (fd < 0 && errno == EXDEV) {
        return err_set(err, ERR_INVALID_ARGUMENT, "path %s leaves its directory", path);
    }
    return fd < 0 ? err_sys(err, errno, "open %s", path) : fd;
}
