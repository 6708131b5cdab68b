/* A layer that makes an image trust the doors' CA: the image's own bundle of authorities with the
 * CA in front, at DOOR_BUNDLE (what the variables point to) and in place of the bundles themselves,
 * for programs that read no variables; and as a trust store for Java at DOOR_STORE. An overlay
 * layer and not a mount, so that a package manager in the container can still replace the files.
 * Made once for an image and a CA: DIR/trust/IMAGE-CA. Removed when the image or the CA is no more
 * and no container has it mounted. */
#include "engine/local/local_int.h"

#include "base/log.h"
#include "engine/bundle/rundir.h"
#include "engine/local/rundirs.h"
#include "pki/pki.h"
#include "sys/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define BUNDLE_MAX (8u << 20)
#define CERTS_MAX 1024 /* the public ones are some 150 */
#define CONTENTS "2 "  /* goes into the names: layers of older contents are made again */
#define TMP_AGE (3600) /* seconds after which a half-made one is nobody's */

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

/* Java's own store is not read: what it trusts is what the bundle trusts. */
static int put_store(int dir, struct str bundle, struct err *err) {
    auto_buf struct buf b = BUF_INIT(BUNDLE_MAX);
    X509 **certs = xcalloc(CERTS_MAX, sizeof(X509 *));
    size_t n = pki_read_certs(bundle, certs, CERTS_MAX);
    int rc = pki_trust_store(&b, certs, n, "cusp", DOOR_STORE_PASSWORD, err);
    for (size_t i = 0; i < n; i++) {
        X509_free(certs[i]);
    }
    free(certs);
    return rc < 0 ? -1 : put_file(dir, DOOR_STORE + 1, buf_str(&b), err);
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
    return put_file(dir, DOOR_BUNDLE + 1, buf_str(&main_bundle), err) < 0
               ? -1
               : put_store(dir, buf_str(&main_bundle), err);
}

static const char *layer_name(const struct local *eng, struct arena *a, const char *image_digest) {
    struct str digest = str_of(image_digest);
    (void)str_cut(&digest, ':');
    const char *contents = arena_printf(a, CONTENTS "%s", eng->opts.doors->ca_pem);
    return arena_printf(a, "%.*s-%016llx", STR_ARG(digest),
                        (unsigned long long)str_hash(str_of(contents)));
}

int trust_layer(struct local *eng, struct arena *a, const struct image *img, const char **ret,
                struct err *err) {
    const struct engine_doors *d = eng->opts.doors;
    *ret = NULL;
    if (d == NULL || d->ca_pem == NULL || strcmp(eng->probe.net, "host") == 0) {
        return 0;
    }
    const char *layer =
        arena_printf(a, "%s/trust/%s", eng->opts.data_dir, layer_name(eng, a, img->digest));
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

/* -- removal ---------------------------------------------------------------------------------- */

struct tidy {
    VEC_OF(char *) names; /* of layers that may go; taken out (NULL) when somebody needs them */
};

static void keep(struct tidy *t, const char *name) {
    for (size_t i = 0; i < t->names.n; i++) {
        if (t->names.p[i] != NULL && strcmp(t->names.p[i], name) == 0) {
            free(take(&t->names.p[i]));
        }
    }
}

static void list_layers(struct tidy *t, const char *dir) {
    DIR *d = opendir(dir);
    struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL) {
        struct stat st;
        if (e->d_name[0] == '.') {
            continue;
        }
        bool half_made = strstr(e->d_name, ".tmp-") != NULL;
        if (half_made && (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
                          st.st_mtime + TMP_AGE > (time_t)(time_wall() / USEC_PER_SEC))) {
            continue;
        }
        vec_push(&t->names, xstrdup(e->d_name));
    }
    if (d != NULL) {
        closedir(d);
    }
}

/* What a run directory mounts is needed as long as it is there: also after a restart, when nobody
 * remembers what its attempt was given. */
static void keep_mounted(void *arg, const char *dir, const char *job, uint32_t attempt) {
    struct tidy *t = arg;
    auto_free char *path = xasprintf("%s/" RUNDIR_CONF, dir);
    auto_buf struct buf conf = BUF_INIT(BUNDLE_MAX);
    if (file_read(AT_FDCWD, path, &conf, NULL) < 0) {
        return; /* a leftover */
    }
    for (size_t i = 0; i < t->names.n; i++) {
        auto_free char *part = xasprintf("/trust/%s", t->names.p[i] != NULL ? t->names.p[i] : "/");
        if (str_find(buf_str(&conf), str_of(part)) >= 0) {
            free(take(&t->names.p[i]));
        }
    }
}

/* An attempt that is being staged is safe: its image cannot be removed (images_in_use). */
void trust_tidy(struct local *eng) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const struct engine_doors *d = eng->opts.doors;
    const char *dir = arena_printf(a, "%s/trust", eng->opts.data_dir);
    struct tidy t = {0};
    struct image *images;
    size_t n;
    struct err err = {0};
    list_layers(&t, dir);
    bool known = image_list(eng->opts.images, a, &images, &n, &err) == 0;
    for (size_t i = 0; known && d != NULL && d->ca_pem != NULL && i < n; i++) {
        keep(&t, layer_name(eng, a, images[i].digest));
    }
    known = known && rundir_each(eng->run_root, keep_mounted, &t, &err) == 0;
    for (size_t i = 0; i < t.names.n; i++) {
        if (known && t.names.p[i] != NULL &&
            file_remove_tree(AT_FDCWD, arena_printf(a, "%s/%s", dir, t.names.p[i]), &err) < 0) {
            log_warn("a layer of authorities stays", "name=%s error=\"%s\"", t.names.p[i], err.msg);
        }
        free(t.names.p[i]);
    }
    vec_fini(&t.names);
}
