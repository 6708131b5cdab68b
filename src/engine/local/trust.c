/* A layer that makes an image trust the doors' CA: the image's own bundle of authorities with the
 * CA in front, at DOOR_BUNDLE (what the variables point to) and in place of the bundles themselves,
 * for programs that read no variables. An overlay layer and not a mount, so that a package manager
 * in the container can still replace the files. Made once for an image and a CA. */
#include "engine/local/local_int.h"

#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define BUNDLE_MAX (8u << 20)

/* Where distributions keep the bundle itself; what are links elsewhere leads to one of these. */
static const char *const places[] = {
    "etc/ssl/certs/ca-certificates.crt",                /* Debian, Alpine */
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* Fedora, RHEL */
    "etc/pki/tls/certs/ca-bundle.crt",                  /* older ones of these */
    "var/lib/ca-certificates/ca-bundle.pem",            /* SUSE */
    "etc/ssl/cert.pem",                                 /* Alpine */
};

/* 1: read from the topmost layer that has it; 0: no such regular file, or links on the way. */
static int read_place(const struct image *img, const char *path, struct buf *b, struct err *err) {
    for (size_t i = 0; img->layers[i] != NULL; i++) {
        auto_close int root = open(img->layers[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                               .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS};
        struct stat st;
        if (root < 0) {
            return err_sys(err, errno, "open a layer of image \"%s\"", img->ref);
        }
        auto_close int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
        if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
            auto_free char *self = xasprintf("/proc/self/fd/%d", fd);
            return file_read(AT_FDCWD, self, b, err) < 0 ? -1 : 1;
        }
        if (fd < 0 && errno != ENOENT && errno != ENOTDIR) {
            return 0; /* a link or a whiteout */
        }
    }
    return 0;
}

static int put_file(int dir, const char *path, struct str text, struct err *err) {
    auto_free char *parent = xstrdup(path);
    char *slash = strrchr(parent, '/');
    *slash = 0;
    return file_mkdirs(dir, parent, 0755, err) < 0 ||
                   file_write_atomic(dir, path, text, 0644, FILE_NO_SYNC, err) < 0
               ? -1
               : 0;
}

static int fill(int dir, const char *ca, const struct image *img, struct err *err) {
    auto_buf struct buf main_bundle = BUF_INIT(BUNDLE_MAX);
    bool any = false;
    buf_puts(&main_bundle, ca);
    for (size_t i = 0; i < NR_OF(places); i++) {
        auto_buf struct buf own = BUF_INIT(BUNDLE_MAX), all = BUF_INIT(BUNDLE_MAX);
        int got = read_place(img, places[i], &own, err);
        if (got < 0) {
            return -1;
        }
        buf_puts(&all, ca);
        buf_put_str(&all, buf_str(&own));
        if (got == 1 && put_file(dir, places[i], buf_str(&all), err) < 0) {
            return -1;
        }
        if (got == 1 && !any) {
            any = true;
            buf_put_str(&main_bundle, buf_str(&own));
        }
    }
    /* An image without one has its authorities inside programs, which the variables would replace
     * by ours alone: the host's are better than none. */
    for (size_t i = 0; i < NR_OF(places) && !any; i++) {
        auto_free char *host = xasprintf("/%s", places[i]);
        any = file_read(AT_FDCWD, host, &main_bundle, NULL) == 0;
    }
    return put_file(dir, DOOR_BUNDLE + 1, buf_str(&main_bundle), err);
}

int trust_layer(struct local *eng, struct arena *a, const struct image *img, const char **ret,
                struct err *err) {
    const struct engine_doors *d = eng->opts.doors;
    *ret = NULL;
    if (d == NULL || d->ca_pem == NULL || strcmp(eng->probe.net, "host") == 0) {
        return 0;
    }
    struct str digest = str_of(img->digest);
    (void)str_cut(&digest, ':');
    const char *layer =
        arena_printf(a, "%s/trust/%.*s-%016llx", eng->opts.data_dir, STR_ARG(digest),
                     (unsigned long long)str_hash(str_of(d->ca_pem)));
    if (access(layer, F_OK) == 0) {
        *ret = layer;
        return 0;
    }
    /* Jobs that start together make it more than once; the first rename wins. */
    auto_free char *tmp = xasprintf("%s.tmp-XXXXXX", layer);
    auto_free char *parent = xasprintf("%s/trust", eng->opts.data_dir);
    if (file_mkdirs(AT_FDCWD, parent, 0755, err) < 0) {
        return -1;
    }
    if (mkdtemp(tmp) == NULL) {
        return err_sys(err, errno, "make %s", tmp);
    }
    auto_close int dir = open(tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = dir < 0 || fchmod(dir, 0755) < 0 ? err_sys(err, errno, "open %s", tmp)
                                              : fill(dir, d->ca_pem, img, err);
    if (rc == 0 && rename(tmp, layer) < 0 && errno != EEXIST && errno != ENOTEMPTY) {
        rc = err_sys(err, errno, "make %s", layer);
    }
    if (access(tmp, F_OK) == 0) {
        (void)!file_remove_tree(AT_FDCWD, tmp, NULL);
    }
    *ret = rc == 0 ? layer : NULL;
    return rc < 0 ? err_wrap(err, "authorities of image \"%s\"", img->ref) : 0;
}
