/* One entry of a tar archive becomes one file, directory or link below a root descriptor, or is
 * refused. Nothing an archive says can name anything outside that root: every path is taken apart
 * first, its parent is opened with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS, and the last component is
 * created with calls that never follow links. So a symbolic link in the archive is only ever text
 * for the container that will see it, never a way for a later entry.
 *
 * Kept: modes without set-user-id and set-group-id on files (the tree lies on the host, where such
 * a file would be a real privilege; inside, no_new_privs makes them useless anyway), numeric owners
 * (as root), times, user.* attributes. Dropped and counted: device nodes and sockets (the runtime
 * makes /dev), other attributes (trusted.overlay.* would redirect the mount, security.capability
 * grants what jobs do not get). */
#include "base/limits.h"
#include "engine/image/image_int.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PATH_MAX_BYTES 4096u /* the kernel's PATH_MAX: longer names could not be opened again */
#define COMPONENT_MAX_BYTES 255u
#define XATTR_MAX_BYTES 65536u

void unpack_init(struct unpack *u, int root_fd) {
    *u = (struct unpack){.root_fd = root_fd, .parent_fd = -1};
}

static void forget_parent(struct unpack *u) {
    if (u->parent_fd >= 0) {
        (void)close(u->parent_fd);
    }
    u->parent_fd = -1;
    free(u->parent);
    u->parent = NULL;
}

void unpack_fini(struct unpack *u) {
    forget_parent(u);
    for (size_t i = 0; i < u->dirs.n; i++) {
        free(u->dirs.p[i].path);
    }
    vec_fini(&u->dirs);
}

int unpack_clean_path(const char *path, struct buf *ret, struct err *err) {
    struct str rest = str_of(path);
    if (rest.n >= PATH_MAX_BYTES) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "a path in the archive has %zu bytes, more than %u", rest.n,
                       PATH_MAX_BYTES - 1);
    }
    if (rest.n > 0 && rest.p[0] == '/') {
        return err_set(err, ERR_INVALID_ARGUMENT, "the archive holds the absolute path \"%s\"",
                       path);
    }
    while (rest.p != NULL) {
        struct str part = str_cut(&rest, '/');
        if (part.n == 0 || str_eqc(part, ".")) {
            continue;
        }
        if (str_eqc(part, "..")) {
            return err_set(err, ERR_INVALID_ARGUMENT,
                           "the archive holds a path with \"..\": \"%s\"", path);
        }
        if (part.n > COMPONENT_MAX_BYTES) {
            return err_set(err, ERR_INVALID_ARGUMENT, "the archive holds a file name of %zu bytes",
                           part.n);
        }
        if (ret->n > 0 && buf_putc(ret, '/') < 0) {
            break;
        }
        if (buf_put_str(ret, part) < 0) {
            break;
        }
    }
    if (ret->full) {
        return err_set(err, ERR_INVALID_ARGUMENT, "a path in the archive is too long");
    }
    return 0;
}

static int open_beneath(int root_fd, const char *path, uint64_t flags) {
    struct open_how how = {
        .flags = flags | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, root_fd, path[0] != '\0' ? path : ".", &how, sizeof(how));
}

static int refuse_path(struct err *err, const char *path, int errnum) {
    if (errnum == ELOOP) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "the archive writes through a symbolic link: \"%s\"", path);
    }
    if (errnum == ENOTDIR) {
        return err_set(err, ERR_INVALID_ARGUMENT, "the archive writes below a file: \"%s\"", path);
    }
    if (errnum == EXDEV) {
        return err_set(err, ERR_INVALID_ARGUMENT, "the archive leaves its root: \"%s\"", path);
    }
    return err_sys(err, errnum, "open \"%s\" of the image", path);
}

/* Missing parents are ordinary (layers often omit them): made as a new directory of root's. */
static int make_parents(struct unpack *u, const char *path, struct err *err) {
    auto_close int at = dup(u->root_fd);
    if (at < 0) {
        return err_sys(err, errno, "duplicate a descriptor");
    }
    struct str rest = str_of(path);
    while (rest.p != NULL) {
        auto_free char *part = str_dup(str_cut(&rest, '/'));
        if (mkdirat(at, part, 0755) < 0 && errno != EEXIST) {
            return err_sys(err, errno, "make directory \"%s\" of the image", path);
        }
        int next = open_beneath(at, part, O_RDONLY | O_DIRECTORY);
        if (next < 0) {
            return refuse_path(err, path, errno);
        }
        (void)close(at);
        at = next;
    }
    return 0;
}

/* Descriptor of the directory `path`, cached for its neighbours; borrowed. */
static int parent_of(struct unpack *u, const char *path, struct err *err) {
    if (u->parent_fd >= 0 && strcmp(u->parent, path) == 0) {
        return u->parent_fd;
    }
    forget_parent(u);
    int fd = open_beneath(u->root_fd, path, O_RDONLY | O_DIRECTORY);
    if (fd < 0 && errno == ENOENT) {
        if (make_parents(u, path, err) < 0) {
            return -1;
        }
        fd = open_beneath(u->root_fd, path, O_RDONLY | O_DIRECTORY);
    }
    if (fd < 0) {
        return refuse_path(err, path, errno);
    }
    u->parent_fd = fd;
    u->parent = xstrdup(path);
    return fd;
}

/* Later entries replace earlier ones, as tar does; a directory only when it is empty. */
static int clear_way(struct unpack *u, int parent, const char *base, const char *path,
                     struct err *err) {
    struct stat st;
    if (fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return errno == ENOENT ? 0 : err_sys(err, errno, "look at \"%s\" of the image", path);
    }
    if (unlinkat(parent, base, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) == 0) {
        return 0;
    }
    if (errno == ENOTEMPTY || errno == EEXIST) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "the archive replaces the directory \"%s\", which is not empty", path);
    }
    return err_sys(err, errno, "replace \"%s\" of the image", path);
}

static struct timespec mtime_of(struct archive_entry *e) {
    if (!archive_entry_mtime_is_set(e)) {
        return (struct timespec){0};
    }
    return (struct timespec){archive_entry_mtime(e), archive_entry_mtime_nsec(e)};
}

static uint32_t id_of(int64_t id) {
    return id < 0 || id > INT32_MAX ? 0 : (uint32_t)id; /* nonsense belongs to root */
}

static void set_xattrs(int fd, struct archive_entry *e) {
    const char *name;
    const void *value;
    size_t n;
    (void)archive_entry_xattr_reset(e);
    while (archive_entry_xattr_next(e, &name, &value, &n) == ARCHIVE_OK) {
        struct str s = str_of(name);
        if (n <= XATTR_MAX_BYTES && str_starts(s, STR("user.")) &&
            !str_starts(s, STR("user.overlay."))) {
            /* Attributes are an extra: a file system without them still holds the image. */
            (void)fsetxattr(fd, name, value, n, 0);
        }
    }
}

static int bad_archive(struct archive *ar, const char *path, struct err *err) {
    const char *why = archive_error_string(ar);
    return err_set(err, ERR_INVALID_ARGUMENT, "cannot read \"%s\" from the archive: %s", path,
                   why != NULL ? why : "it is damaged");
}

static int write_data(int fd, struct archive *ar, uint64_t size, const char *path,
                      struct err *err) {
    const void *p;
    size_t n;
    la_int64_t at;
    int rc;
    while ((rc = archive_read_data_block(ar, &p, &n, &at)) == ARCHIVE_OK) {
        if (at < 0 || (uint64_t)at > size || n > size - (uint64_t)at) {
            return err_set(err, ERR_INVALID_ARGUMENT, "\"%s\" is longer than its header says",
                           path);
        }
        for (size_t done = 0; done < n;) {
            ssize_t w = pwrite(fd, (const char *)p + done, n - done, at + (off_t)done);
            if (w < 0 && errno == EINTR) {
                continue;
            }
            if (w <= 0) {
                return err_sys(err, w < 0 ? errno : EIO, "write \"%s\" of the image", path);
            }
            done += (size_t)w;
        }
    }
    if (rc != ARCHIVE_EOF) {
        return bad_archive(ar, path, err);
    }
    struct stat st;
    if (fstat(fd, &st) < 0 || ((uint64_t)st.st_size < size && ftruncate(fd, (off_t)size) < 0)) {
        return err_sys(err, errno, "size \"%s\" of the image", path); /* a hole at the end */
    }
    return 0;
}

static int put_file(struct unpack *u, struct archive *ar, struct archive_entry *e, int parent,
                    const char *base, const char *path, struct err *err) {
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    auto_close int fd = openat(parent, base, flags, 0600);
    if (fd < 0 && errno == EEXIST) {
        if (clear_way(u, parent, base, path, err) < 0) {
            return -1;
        }
        fd = openat(parent, base, flags, 0600);
    }
    if (fd < 0) {
        return err_sys(err, errno, "create \"%s\" of the image", path);
    }
    uint64_t size = (uint64_t)archive_entry_size(e);
    if (write_data(fd, ar, size, path, err) < 0) {
        return -1;
    }
    if (u->keep_meta) {
        set_xattrs(fd, e);
        if (geteuid() == 0 &&
            fchown(fd, id_of(archive_entry_uid(e)), id_of(archive_entry_gid(e))) < 0) {
            return err_sys(err, errno, "set the owner of \"%s\" of the image", path);
        }
        if (fchmod(fd, archive_entry_perm(e) & 01777) < 0) {
            return err_sys(err, errno, "set the mode of \"%s\" of the image", path);
        }
        (void)futimens(fd, (struct timespec[]){mtime_of(e), mtime_of(e)});
    }
    return 0;
}

static int put_dir(struct unpack *u, struct archive_entry *e, int parent, const char *base,
                   const char *path, struct err *err) {
    if (mkdirat(parent, base, 0700) < 0) {
        struct stat st;
        if (errno != EEXIST || fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            return err_sys(err, errno, "make directory \"%s\" of the image", path);
        }
        if (!S_ISDIR(st.st_mode)) {
            if (clear_way(u, parent, base, path, err) < 0) {
                return -1;
            }
            if (mkdirat(parent, base, 0700) < 0) {
                return err_sys(err, errno, "make directory \"%s\" of the image", path);
            }
        }
    }
    if (u->keep_meta) {
        auto_close int fd = openat(parent, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0) {
            set_xattrs(fd, e);
        }
    }
    return 0;
}

static int put_symlink(struct unpack *u, struct archive_entry *e, int parent, const char *base,
                       const char *path, struct err *err) {
    const char *target = archive_entry_symlink(e);
    if (target == NULL || target[0] == '\0' || strlen(target) >= PATH_MAX_BYTES) {
        return err_set(err, ERR_INVALID_ARGUMENT, "the link \"%s\" has no usable target", path);
    }
    if (clear_way(u, parent, base, path, err) < 0) {
        return -1;
    }
    if (symlinkat(target, parent, base) < 0) {
        return err_sys(err, errno, "make link \"%s\" of the image", path);
    }
    if (u->keep_meta) {
        if (geteuid() == 0 && fchownat(parent, base, id_of(archive_entry_uid(e)),
                                       id_of(archive_entry_gid(e)), AT_SYMLINK_NOFOLLOW) < 0) {
            return err_sys(err, errno, "set the owner of \"%s\" of the image", path);
        }
        (void)utimensat(parent, base, (struct timespec[]){mtime_of(e), mtime_of(e)},
                        AT_SYMLINK_NOFOLLOW);
    }
    return 0;
}

/* Splits at the last slash: *ret_dir owned, returned base points into path. */
static const char *split(const char *path, char **ret_dir) {
    const char *slash = strrchr(path, '/');
    *ret_dir = slash != NULL ? xstrndup(path, (size_t)(slash - path)) : xstrdup("");
    return slash != NULL ? slash + 1 : path;
}

static int put_hardlink(struct unpack *u, struct archive_entry *e, int parent, const char *base,
                        const char *path, struct err *err) {
    auto_buf struct buf target = BUF_INIT(PATH_MAX_BYTES);
    if (unpack_clean_path(archive_entry_hardlink(e), &target, err) < 0) {
        return err_wrap(err, "hard link \"%s\"", path);
    }
    if (target.n == 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "the hard link \"%s\" has no target", path);
    }
    if (strcmp(buf_cstr(&target), path) == 0) {
        return 0;
    }
    auto_free char *dir = NULL;
    const char *name = split(buf_cstr(&target), &dir);
    auto_close int from = open_beneath(u->root_fd, dir, O_RDONLY | O_DIRECTORY);
    if (from < 0) {
        return refuse_path(err, buf_cstr(&target), errno);
    }
    struct stat st;
    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISDIR(st.st_mode)) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "the hard link \"%s\" points to \"%s\", which is not in the archive", path,
                       buf_cstr(&target));
    }
    if (clear_way(u, parent, base, path, err) < 0) {
        return -1;
    }
    if (linkat(from, name, parent, base, 0) < 0) {
        return err_sys(err, errno, "make hard link \"%s\" of the image", path);
    }
    return 0;
}

/* ".wh.NAME" hides NAME of the layers below, ".wh..wh..opq" all of its directory. Overlayfs spells
 * these as a 0:0 character device and an attribute of the directory. */
static int put_whiteout(struct unpack *u, int parent, const char *base, const char *path,
                        struct err *err) {
    const char *hidden = base + 4;
    if (strcmp(base, ".wh..wh..opq") == 0) {
        if (!u->is_base && fsetxattr(parent, "trusted.overlay.opaque", "y", 1, 0) < 0) {
            return err_sys(err, errno, "mark \"%s\" opaque (images need root)", path);
        }
        return 0;
    }
    if (strncmp(hidden, ".wh.", 4) == 0) {
        u->skipped++; /* bookkeeping of aufs */
        return 0;
    }
    if (hidden[0] == '\0' || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "the whiteout \"%s\" hides nothing", path);
    }
    if (u->is_base) {
        return 0;
    }
    if (mknodat(parent, hidden, S_IFCHR | 0000, 0) < 0 && errno != EEXIST) {
        return err_sys(err, errno, "make the whiteout \"%s\" (images need root)", path);
    }
    return 0;
}

static void remember_dir(struct unpack *u, struct archive_entry *e, const char *path) {
    struct unpack_dir d = {
        .path = xstrdup(path),
        .mode = archive_entry_perm(e) & 03777, /* set-group-id on a directory is only inheritance */
        .uid = id_of(archive_entry_uid(e)),
        .gid = id_of(archive_entry_gid(e)),
        .mtime = mtime_of(e),
    };
    vec_push(&u->dirs, d);
}

static int count_entry(struct unpack *u, struct archive_entry *e, const char *path,
                       struct err *err) {
    if (++u->entries > limits.image_max_entries) {
        limits_hit(&limits.image_max_entries);
        return err_set(err, ERR_RESOURCE_EXHAUSTED,
                       "the archive has more than %llu entries (limit "
                       "image_max_entries)",
                       (unsigned long long)limits.image_max_entries);
    }
    int64_t size = archive_entry_size(e);
    if (size < 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "\"%s\" has a negative size", path);
    }
    /* As declared: a sparse file costs nothing on disk and much to whoever reads it. */
    if (archive_entry_filetype(e) == AE_IFREG && archive_entry_hardlink(e) == NULL) {
        if ((uint64_t)size > limits.image_max_bytes - u->bytes) {
            limits_hit(&limits.image_max_bytes);
            return err_set(err, ERR_RESOURCE_EXHAUSTED,
                           "the archive unpacks to more than %llu bytes "
                           "(limit image_max_bytes)",
                           (unsigned long long)limits.image_max_bytes);
        }
        u->bytes += (uint64_t)size;
    }
    return 0;
}

int unpack_entry(struct unpack *u, struct archive *ar, struct archive_entry *e, struct err *err) {
    const char *raw = archive_entry_pathname(e);
    if (raw == NULL) {
        return err_set(err, ERR_INVALID_ARGUMENT, "entry %llu of the archive has no readable name",
                       (unsigned long long)u->entries);
    }
    auto_buf struct buf clean = BUF_INIT(PATH_MAX_BYTES);
    if (unpack_clean_path(raw, &clean, err) < 0) {
        return -1;
    }
    const char *path = buf_cstr(&clean);
    if (count_entry(u, e, path, err) < 0) {
        return -1;
    }
    unsigned type = archive_entry_filetype(e);
    const bool is_link = archive_entry_hardlink(e) != NULL;
    if (path[0] == '\0') {
        if (type != AE_IFDIR) {
            return err_set(err, ERR_INVALID_ARGUMENT, "the archive's root is not a directory");
        }
        remember_dir(u, e, "");
        return 0;
    }
    auto_free char *dir = NULL;
    const char *base = split(path, &dir);
    int parent = parent_of(u, dir, err);
    if (parent < 0) {
        return -1;
    }
    if (u->keep_meta && strncmp(base, ".wh.", 4) == 0) {
        return put_whiteout(u, parent, base, path, err);
    }
    if (is_link) {
        return put_hardlink(u, e, parent, base, path, err);
    }
    switch (type) {
    case AE_IFREG:
        return put_file(u, ar, e, parent, base, path, err);
    case AE_IFDIR:
        if (put_dir(u, e, parent, base, path, err) < 0) {
            return -1;
        }
        remember_dir(u, e, path);
        return 0;
    case AE_IFLNK:
        return put_symlink(u, e, parent, base, path, err);
    case AE_IFIFO:
        if (clear_way(u, parent, base, path, err) < 0) {
            return -1;
        }
        if (mkfifoat(parent, base, archive_entry_perm(e) & 0777) < 0) {
            return err_sys(err, errno, "make pipe \"%s\" of the image", path);
        }
        return 0;
    default:
        u->skipped++;
        return 0;
    }
}

/* Deepest last in the archive, so backwards: a directory is done before its parent loses w or x. */
int unpack_finish(struct unpack *u, struct err *err) {
    forget_parent(u);
    for (size_t i = u->dirs.n; i-- > 0;) {
        const struct unpack_dir *d = &u->dirs.p[i];
        auto_close int fd = open_beneath(u->root_fd, d->path, O_RDONLY | O_DIRECTORY);
        if (fd < 0) {
            if (errno == ENOTDIR || errno == ENOENT || errno == ELOOP) {
                continue; /* replaced by a later entry */
            }
            return err_sys(err, errno, "open directory \"%s\" of the image", d->path);
        }
        if (!u->keep_meta) {
            continue;
        }
        if (geteuid() == 0 && fchown(fd, d->uid, d->gid) < 0) {
            return err_sys(err, errno, "set the owner of \"%s\" of the image", d->path);
        }
        if (fchmod(fd, d->mode) < 0) {
            return err_sys(err, errno, "set the mode of \"%s\" of the image", d->path);
        }
        (void)futimens(fd, (struct timespec[]){d->mtime, d->mtime});
    }
    return 0;
}
