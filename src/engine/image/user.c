/* Who a container runs as: USER of the image looked up in its own passwd and group files. The files
 * are found as the mounted overlay would show them (topmost layer first, whiteouts and opaque
 * directories hide what is below) without mounting anything, and read with RESOLVE_IN_ROOT, because
 * the image's author chooses what /etc is a link to. */
#include "base/limits.h"
#include "engine/image/image_int.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ACCOUNTS_MAX_BYTES ((size_t)1 << 20)

static bool is_opaque(int root, const char *path) {
    auto_close int fd = openat(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    char value[2] = {0};
    return fd >= 0 && fgetxattr(fd, "trusted.overlay.opaque", value, 1) == 1 && value[0] == 'y';
}

static bool is_whiteout(int root, const char *path) {
    struct stat st;
    return fstatat(root, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(st.st_mode) &&
           st.st_rdev == makedev(0, 0);
}

/* Appends etc/NAME of the topmost layer that has one. None: success, nothing appended. */
static int read_account_file(const struct image *img, const char *name, struct buf *ret,
                             struct err *err) {
    auto_free char *path = xasprintf("etc/%s", name);
    for (size_t i = 0; img->layers[i] != NULL; i++) {
        auto_close int root = open(img->layers[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root < 0) {
            return err_sys(err, errno, "open a layer of image \"%s\"", img->ref);
        }
        struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                               .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
        auto_close int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
        struct stat st;
        if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
            char chunk[4096];
            ssize_t n;
            while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
                if (buf_put(ret, chunk, (size_t)n) < 0) {
                    return err_set(err, ERR_INVALID_ARGUMENT, "/etc/%s of image \"%s\" is too long",
                                   name, img->ref);
                }
            }
            return n < 0 ? err_sys(err, errno, "read /etc/%s of image \"%s\"", name, img->ref) : 0;
        }
        if (is_whiteout(root, path) || is_whiteout(root, "etc") || is_opaque(root, "etc") ||
            is_opaque(root, ".")) {
            return 0;
        }
    }
    return 0;
}

struct account {
    struct str name, home;
    uint32_t uid, gid;
};

static bool to_id(struct str s, uint32_t *ret) {
    uint64_t v;
    if (!str_to_u64(s, &v) || v > INT32_MAX) {
        return false;
    }
    *ret = (uint32_t)v;
    return true;
}

/* name:password:uid:gid:text:home:shell; malformed lines are skipped, as libc does. */
static bool find_account(struct str passwd, struct str name, const uint32_t *uid,
                         struct account *ret) {
    while (passwd.p != NULL) {
        struct str line = str_cut(&passwd, '\n');
        struct account acc = {.name = str_cut(&line, ':')};
        (void)str_cut(&line, ':');
        struct str u = str_cut(&line, ':'), g = str_cut(&line, ':');
        (void)str_cut(&line, ':');
        acc.home = str_cut(&line, ':');
        if (!to_id(u, &acc.uid) || !to_id(g, &acc.gid)) {
            continue;
        }
        if (uid != NULL ? acc.uid == *uid : str_eq(acc.name, name)) {
            *ret = acc;
            return true;
        }
    }
    return false;
}

/* name:password:gid:member,member */
static bool find_group(struct str groups, struct str name, uint32_t *ret) {
    while (groups.p != NULL) {
        struct str line = str_cut(&groups, '\n'), n = str_cut(&line, ':');
        (void)str_cut(&line, ':');
        if (str_eq(n, name) && to_id(str_cut(&line, ':'), ret)) {
            return true;
        }
    }
    return false;
}

static void add_memberships(struct str groups, struct str user, struct image_user *ret) {
    while (groups.p != NULL) {
        struct str line = str_cut(&groups, '\n');
        (void)str_cut(&line, ':');
        (void)str_cut(&line, ':');
        uint32_t gid;
        if (!to_id(str_cut(&line, ':'), &gid) || gid == ret->gid) {
            continue;
        }
        while (line.p != NULL && ret->nr_extra < NR_OF(ret->extra_gids)) {
            if (str_eq(str_cut(&line, ','), user)) {
                ret->extra_gids[ret->nr_extra++] = gid;
                break;
            }
        }
    }
}

int image_lookup_user(const struct image *img, struct arena *a, struct image_user *ret,
                      struct err *err) {
    struct str group = str_of(img->user != NULL ? img->user : "");
    struct str user = str_cut(&group, ':');
    auto_buf struct buf passwd = BUF_INIT(ACCOUNTS_MAX_BYTES),
                        groups = BUF_INIT(ACCOUNTS_MAX_BYTES);
    if (read_account_file(img, "passwd", &passwd, err) < 0 ||
        read_account_file(img, "group", &groups, err) < 0) {
        return -1;
    }
    struct image_user u = {0};
    struct account acc = {0};
    bool is_number = user.n == 0 || to_id(user, &u.uid);
    bool known = find_account(buf_str(&passwd), user, is_number ? &u.uid : NULL, &acc);
    if (!is_number && !known) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "image \"%s\" runs as user \"%.*s\", which is not "
                       "in its /etc/passwd",
                       img->ref, STR_ARG(user));
    }
    if (known) {
        u.uid = acc.uid;
        u.gid = acc.gid;
    }
    if (group.p != NULL && group.n > 0) {
        if (!to_id(group, &u.gid) && !find_group(buf_str(&groups), group, &u.gid)) {
            return err_set(err, ERR_INVALID_ARGUMENT,
                           "image \"%s\" runs in group \"%.*s\", which is "
                           "not in its /etc/group",
                           img->ref, STR_ARG(group));
        }
    } else if (known) {
        add_memberships(buf_str(&groups), acc.name, &u); /* a named group means: only that one */
    }
    bool has_home = known && acc.home.n > 0 && acc.home.p[0] == '/';
    u.home = has_home ? arena_strndup(a, acc.home.p, acc.home.n) : u.uid == 0 ? "/root" : "/";
    *ret = u;
    return 0;
}
