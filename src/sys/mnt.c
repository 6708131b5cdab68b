/* Mounts: see mnt.h. Overlay layers are handed over one by one ("lowerdir+", Linux 6.7); before
 * that the whole list must fit the one page of mount(2) options, so the layers are named relative
 * to their common directory. */
#include "sys/mnt.h"
#include "base/buf.h"
#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OPTIONS_MAX 4095 /* one page, terminated */

/* glibc's <sys/mount.h> and <linux/mount.h> cannot be included together everywhere. */
extern int mount(const char *source, const char *target, const char *type, unsigned long flags,
                 const void *data);
extern int umount2(const char *target, int flags);
#ifndef MS_REC
#define MS_REC 16384
#endif
#ifndef MS_SLAVE
#define MS_SLAVE (1 << 19)
#endif
#define DETACH 2 /* MNT_DETACH */

int mnt_private(struct err *err) {
    if (unshare(CLONE_NEWNS) < 0) {
        return err_sys(err, errno, "new mount namespace");
    }
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0) {
        return err_sys(err, errno, "make mounts private");
    }
    return 0;
}

int mnt_hide(const char *path, struct err *err) {
    if (umount2(path, DETACH) < 0 && errno != EINVAL) {
        return err_sys(err, errno, "hide %s", path);
    }
    return 0;
}

static int fs_set(int fs, const char *key, const char *value) {
    return (int)syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0);
}

/* 0, or an errno; EINVAL and ENOSYS mean "an older kernel". */
static int overlay_new(const char *const *lower, size_t nr_lower, const char *upper,
                       const char *work, const char *target) {
    auto_close int fs = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
    if (fs < 0) {
        return errno;
    }
    for (size_t i = 0; i < nr_lower; i++) {
        if (fs_set(fs, "lowerdir+", lower[i]) < 0) {
            return errno;
        }
    }
    if (fs_set(fs, "upperdir", upper) < 0 || fs_set(fs, "workdir", work) < 0 ||
        syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return errno;
    }
    auto_close int m = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
    (void)FAIL_POINT("mnt.overlay.before_attach", NULL); /* abort and delay only */
    if (m < 0 || syscall(SYS_move_mount, m, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        return errno;
    }
    return 0;
}

/* Length of the common directory of all lower paths, up to and including a '/'. */
static size_t common_dir(const char *const *lower, size_t nr) {
    size_t n = (size_t)(strrchr(lower[0], '/') - lower[0]) + 1;
    for (size_t i = 1; i < nr; i++) {
        while (strncmp(lower[i], lower[0], n) != 0) {
            do {
                n--;
            } while (n > 1 && lower[0][n - 1] != '/');
        }
    }
    return n;
}

/* Colons separate layers and commas options; a backslash takes their meaning. */
static void put_escaped(struct buf *b, const char *path) {
    for (; *path; path++) {
        if (strchr(":,\\", *path)) {
            buf_putc(b, '\\');
        }
        buf_putc(b, *path);
    }
}

int mnt_overlay_classic(const char *const *lower, size_t nr_lower, const char *upper,
                        const char *work, const char *target, struct err *err) {
    size_t skip = common_dir(lower, nr_lower);
    auto_buf struct buf o = BUF_INIT(OPTIONS_MAX);
    buf_puts(&o, "lowerdir=");
    for (size_t i = 0; i < nr_lower; i++) {
        if (i) {
            buf_putc(&o, ':');
        }
        put_escaped(&o, lower[i][skip] ? lower[i] + skip : ".");
    }
    buf_puts(&o, ",upperdir=");
    put_escaped(&o, upper);
    buf_puts(&o, ",workdir=");
    put_escaped(&o, work);
    if (o.full) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED,
                       "%zu image layers do not fit the kernel's mount options", nr_lower);
    }
    auto_close int home = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    auto_free char *dir = xstrndup(lower[0], skip);
    if (home < 0 || chdir(dir) < 0) {
        return err_sys(err, errno, "enter %s", dir);
    }
    int e = mount("overlay", target, "overlay", 0, buf_cstr(&o)) < 0 ? errno : 0;
    if (fchdir(home) < 0) {
        return err_sys(err, errno, "return to the run directory");
    }
    return e ? err_sys(err, e, "mount overlay") : 0;
}

int mnt_overlay(const char *const *lower, size_t nr_lower, const char *upper, const char *work,
                const char *target, struct err *err) {
    if (FAIL_POINT("mnt.overlay.before_mount", err) < 0) {
        return -1;
    }
    int e = overlay_new(lower, nr_lower, upper, work, target);
    if (e == 0) {
        return FAIL_POINT("mnt.overlay.after_mount", err);
    }
    if (e != EINVAL && e != ENOSYS) {
        return err_sys(err, e, "mount overlay");
    }
    return mnt_overlay_classic(lower, nr_lower, upper, work, target, err);
}
