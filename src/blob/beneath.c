/* Files below a bucket. Every path made from a name passes beneath_open: the kernel refuses to
 * leave the directory and to follow any symbolic link, so a link that training code left under /gcs
 * leads nowhere. Synchronous, any thread. */
#include "blob/blob_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

int beneath_open(int dirfd, const char *path, int flags, mode_t mode) {
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC | O_NOCTTY),
        .mode = (flags & O_CREAT) ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
    };
    if (flags & O_PATH) {
        how.flags &= ~(uint64_t)O_NOCTTY;
    }
    for (int tries = 0; tries < 16; tries++) {
        long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
        if (fd >= 0) {
            return (int)fd;
        }
        if (errno != EAGAIN && errno != EINTR) { /* EAGAIN: a rename raced with the walk */
            return -errno;
        }
    }
    return -EAGAIN;
}

int beneath_stat(int dirfd, const char *path, struct stat *ret) {
    auto_close int fd = beneath_open(dirfd, path, O_PATH | O_NOFOLLOW, 0);
    if (fd < 0) {
        int e = fd;
        fd = -1;
        return e;
    }
    return fstat(fd, ret) < 0 ? -errno : 0;
}

/* Appends "/" (unless first) and the component's form; false when the path gets too long. */
static bool append(struct buf *raw, struct str comp, bool is_dir, bool is_escaped) {
    if (raw->n) {
        buf_putc(raw, '/');
    }
    if (is_escaped) {
        name_escape(raw, comp, is_dir);
    } else {
        buf_put_str(raw, comp);
    }
    return !raw->full;
}

static void cut_back(struct buf *raw, size_t n) {
    raw->n = n;
    raw->full = false;
    if (raw->p) {
        raw->p[n] = 0;
    }
}

/* Depth-first over the few ways a name may be stored; the work is bounded by directories that
 * exist. */
static int find_in(int fd, struct str rest, struct buf *raw, struct stat *st) {
    struct str after = rest;
    struct str comp = str_cut(&after, '/');
    bool is_last = after.p == NULL;
    size_t mark = raw->n;
    int result = -ENOENT;
    for (int escaped = name_is_plain(comp) ? 0 : 1; escaped < 2; escaped++) {
        cut_back(raw, mark);
        if (!append(raw, comp, !is_last, escaped)) {
            return -ENAMETOOLONG;
        }
        int r = beneath_stat(fd, raw->p, st);
        if (r == 0 && is_last && S_ISREG(st->st_mode)) {
            return 0;
        }
        if (r == 0 && !is_last && S_ISDIR(st->st_mode)) {
            r = find_in(fd, after, raw, st);
            if (r == 0) {
                return 0;
            }
        }
        if (r < 0 && r != -ENOENT && r != -ENOTDIR && r != -ELOOP && r != -ENAMETOOLONG &&
            r != -EXDEV) {
            result = r;
        }
    }
    return result;
}

int place_find(int bucket_fd, struct str name, struct buf *ret_raw, struct stat *ret_st) {
    buf_clear(ret_raw);
    struct str rest = name;
    bool all_plain = true;
    while (rest.p) {
        all_plain = name_is_plain(str_cut(&rest, '/')) && all_plain;
    }
    if (all_plain) {
        buf_put_str(ret_raw, name);
        if (!ret_raw->full && beneath_stat(bucket_fd, ret_raw->p, ret_st) == 0 &&
            S_ISREG(ret_st->st_mode)) {
            return 0;
        }
        buf_clear(ret_raw);
    }
    return find_in(bucket_fd, name, ret_raw, ret_st);
}

int place_open_parent(int bucket_fd, const char *raw, const char **ret_leaf) {
    const char *slash = strrchr(raw, '/');
    *ret_leaf = slash ? slash + 1 : raw;
    if (!slash) {
        return beneath_open(bucket_fd, ".", O_RDONLY | O_DIRECTORY, 0);
    }
    auto_free char *dir = xstrndup(raw, (size_t)(slash - raw));
    return beneath_open(bucket_fd, dir, O_RDONLY | O_DIRECTORY, 0);
}

/* mkdir of the last component of raw, durable. Existing directory: fine; other file: -ENOTDIR. */
static int make_dir(int bucket_fd, const char *raw) {
    struct stat st;
    int r = beneath_stat(bucket_fd, raw, &st);
    if (r == 0) {
        return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
    }
    if (r != -ENOENT) {
        return r;
    }
    const char *leaf;
    auto_close int parent = place_open_parent(bucket_fd, raw, &leaf);
    if (parent < 0) {
        int e = parent;
        parent = -1;
        return e;
    }
    if (mkdirat(parent, leaf, 0755) < 0 && errno != EEXIST) {
        return -errno;
    }
    return fsync(parent) < 0 ? -errno : 0;
}

/* Makes every directory named in raw from byte `from` on (chunks may add several). */
static int make_dirs_from(int bucket_fd, struct buf *raw, size_t from, bool with_last) {
    for (size_t i = from + 1; i <= raw->n; i++) {
        if (raw->p[i] == '/' || (i == raw->n && with_last)) {
            auto_free char *part = xstrndup(raw->p, i);
            int r = make_dir(bucket_fd, part);
            if (r < 0) {
                return r;
            }
        }
    }
    return 0;
}

int place_make(int bucket_fd, struct str name, struct buf *raw) {
    struct stat st;
    int r = place_find(bucket_fd, name, raw, &st);
    if (r != -ENOENT) {
        return r;
    }
    buf_clear(raw);
    struct str rest = name;
    while (rest.p) {
        struct str comp = str_cut(&rest, '/');
        bool is_last = rest.p == NULL;
        size_t mark = raw->n;
        r = -ENOTDIR;
        if (name_is_plain(comp)) {
            if (!append(raw, comp, !is_last, false)) {
                return -ENAMETOOLONG;
            }
            if (is_last) {
                int s = beneath_stat(bucket_fd, raw->p, &st);
                r = s == 0 && S_ISDIR(st.st_mode) ? -EISDIR : 0;
            } else {
                r = make_dir(bucket_fd, raw->p);
            }
        }
        if (r == -ENOTDIR || r == -EISDIR || r == -ELOOP) {
            cut_back(raw, mark);
            if (!append(raw, comp, !is_last, true)) {
                return -ENAMETOOLONG;
            }
            r = make_dirs_from(bucket_fd, raw, mark, !is_last);
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

void place_prune(int bucket_fd, const char *raw) {
    auto_free char *path = xstrdup(raw);
    for (;;) {
        char *slash = strrchr(path, '/');
        if (!slash) {
            return;
        }
        *slash = 0;
        const char *leaf;
        auto_close int parent = place_open_parent(bucket_fd, path, &leaf);
        if (parent < 0 || unlinkat(parent, leaf, AT_REMOVEDIR) < 0) {
            return;
        }
    }
}

int place_remove_tree_of_dirs(int dirfd) {
    int dup = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dup < 0) {
        return -errno;
    }
    DIR *d = fdopendir(dup);
    if (!d) {
        int e = errno;
        close(dup);
        return -e;
    }
    int r = 0;
    struct dirent *e;
    while (r == 0 && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        auto_close int sub =
            openat(dirfd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub < 0) {
            /* A link or a special file is not an object: it goes with its bucket. */
            struct stat st;
            if (fstatat(dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode)) {
                r = unlinkat(dirfd, e->d_name, 0) < 0 ? -errno : 0;
            } else {
                r = -ENOTEMPTY;
            }
            continue;
        }
        r = place_remove_tree_of_dirs(sub);
        if (r == 0 && unlinkat(dirfd, e->d_name, AT_REMOVEDIR) < 0) {
            r = -errno;
        }
    }
    closedir(d);
    return r;
}

int bucket_open_fd(const struct blob *b, struct str bucket, struct err *err) {
    if (blob_check_bucket_name(bucket, err) < 0) {
        return -1;
    }
    auto_free char *name = str_dup(bucket);
    const char *external = map_get(&b->external, bucket);
    int fd;
    if (external) {
        fd = open(external, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        fd = fd < 0 ? -errno : fd;
    } else {
        fd = beneath_open(b->buckets_fd, name, O_RDONLY | O_DIRECTORY, 0);
    }
    if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP) {
        return err_set(err, ERR_NOT_FOUND, "The specified bucket does not exist: %s", name);
    }
    if (fd < 0) {
        return err_sys(err, -fd, "open bucket %s", name);
    }
    return fd;
}

/* gs://BUCKET/NAME taken apart and looked up: the bucket's descriptor, or -1. */
static int find_uri(struct blob *b, const char *gs_uri, struct str *ret_bucket, struct buf *raw,
                    struct stat *st, struct err *err) {
    struct str rest = str_of(gs_uri);
    if (!str_starts(rest, STR("gs://"))) {
        return err_set(err, ERR_INVALID_ARGUMENT, "Not a gs:// URI: %.300s", gs_uri);
    }
    rest = str_sub(rest, 5, rest.n);
    struct str bucket = *ret_bucket = str_cut(&rest, '/');
    if (!rest.p || rest.n == 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "No object name in %.300s", gs_uri);
    }
    if (blob_check_object_name(rest, err) < 0) {
        return -1;
    }
    auto_close int fd = bucket_open_fd(b, bucket, err);
    if (fd < 0) {
        return -1;
    }
    int r = place_find(fd, rest, raw, st);
    if (r == -ENOENT || r == -ENAMETOOLONG) {
        return err_set(err, ERR_NOT_FOUND, "No such object: %.*s/%.*s", STR_ARG(bucket),
                       STR_ARG(rest));
    }
    if (r < 0) {
        return err_sys(err, -r, "look up %.300s", gs_uri);
    }
    return take_fd(&fd);
}

int blob_object_path(struct blob *b, const char *gs_uri, char **ret_path, struct err *err) {
    auto_buf struct buf raw = BUF_INIT(BLOB_RAW_MAX);
    struct stat st;
    struct str bucket;
    auto_close int fd = find_uri(b, gs_uri, &bucket, &raw, &st, err);
    if (fd < 0) {
        return -1;
    }
    const char *external = map_get(&b->external, bucket);
    *ret_path = external ? xasprintf("%s/%s", external, raw.p)
                         : xasprintf("%s/buckets/%.*s/%s", b->dir, STR_ARG(bucket), raw.p);
    return 0;
}

int blob_object_open(struct blob *b, const char *gs_uri, int *ret_fd, uint64_t *ret_size,
                     struct err *err) {
    auto_buf struct buf raw = BUF_INIT(BLOB_RAW_MAX);
    struct stat st;
    struct str bucket;
    auto_close int dir = find_uri(b, gs_uri, &bucket, &raw, &st, err);
    if (dir < 0) {
        return -1;
    }
    auto_close int fd = beneath_open(dir, raw.p, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0 && fd != -ENOENT) {
        return err_sys(err, -fd, "open %.300s", gs_uri);
    }
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) { /* it changed under us */
        return err_set(err, ERR_NOT_FOUND, "No such object: %.300s", gs_uri + 5);
    }
    *ret_fd = take_fd(&fd);
    *ret_size = (uint64_t)st.st_size;
    return 0;
}
