/* What nothing in the image store reaches, and its removal: at start, with an image, and when
 * asked. */
#include "base/fail.h"
#include "engine/image/registry_int.h"
#include "sys/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int list_dir(struct image_store *s, struct arena *a, const char *path, char ***ret,
                    size_t *ret_n, struct err *err) {
    int fd = openat(s->dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (d == NULL) {
        int why = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return err_sys(err, why, "list %s of the image store", path);
    }
    VEC_OF(char *) names = {0};
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            vec_push(&names, arena_strdup(a, e->d_name));
        }
    }
    (void)closedir(d);
    *ret = arena_memdup(a, names.p, names.n * sizeof(*names.p));
    *ret_n = names.n;
    vec_fini(&names);
    return 0;
}

/* A runner keeps a shared lock on the layers that its container has mounted (runner/run.c). What is
 * left for that reason goes with the next removal or start. */
static bool is_mounted(struct image_store *s, const char *layer) {
    auto_close int fd = openat(s->dir_fd, layer, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

static void add_all(struct hexset *h, const struct rec *r, const char *key) {
    struct str v;
    for (size_t it = 0; rec_next(r, key, &it, &v);) {
        hexset_add(h, v);
    }
}

struct live {
    struct hexset records, layers, blobs;
};

static void live_fini(struct live *l) {
    hexset_fini(&l->records);
    hexset_fini(&l->layers);
    hexset_fini(&l->blobs);
}

/* What references, pushed manifests and jobs reach. A record that cannot be read stops it: then
 * nobody can say which layers are free. A pushed manifest need not have been unpacked. */
static int find_live(struct image_store *s, struct arena *a, const struct image_prune *p,
                     struct live *l, struct err *err) {
    struct hexset pushed = {0};
    char **names;
    size_t n;
    int rc = registry_live(s, true, &pushed, &l->blobs, err);
    for (size_t i = 0; rc == 0 && i < s->refs.n; i++) {
        hexset_add(&pushed, str_of(s->refs.p[i].hex));
        rc = store_has_record(s, s->refs.p[i].hex)
                 ? 0
                 : err_set(err, ERR_DATA_LOSS, "image \"%.300s\" has no record", s->refs.p[i].name);
    }
    hexset_seal(&pushed);
    if (rc == 0) {
        rc = list_dir(s, a, "records", &names, &n, err);
    }
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct rec r;
        bool used = hexset_has(&pushed, names[i]) ||
                    (p != NULL && p->in_use != NULL &&
                     p->in_use(p->arg, arena_printf(a, "sha256:%s", names[i])));
        if (!hex_is_sha256(str_of(names[i])) || !used) {
            continue;
        }
        hexset_add(&l->records, str_of(names[i]));
        rc = store_read_record(s, a, names[i], &r, err);
        if (rc == 0) {
            add_all(&l->layers, &r, "layer");
            add_all(&l->blobs, &r, "blob");
        }
    }
    hexset_fini(&pushed);
    hexset_seal(&l->records);
    hexset_seal(&l->layers);
    hexset_seal(&l->blobs);
    return rc;
}

/* Out of everybody's sight at once, whatever is in it. */
static int set_aside(struct image_store *s, const char *path, const char *name, char **gone,
                     struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    if (*gone == NULL) {
        const char *dir = store_tmp_dir(s, a, err);
        if (dir == NULL) {
            return -1;
        }
        *gone = xstrdup(dir);
    }
    const char *to = arena_printf(a, "%s/%s", *gone, name);
    return renameat(s->dir_fd, path, s->dir_fd, to) < 0 ? err_sys(err, errno, "remove %s", path)
                                                        : 0;
}

static int sweep_dir(struct image_store *s, const char *dir, const struct hexset *keep,
                     bool is_layers, struct image_prune *p, char **gone, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    char **names;
    size_t n;
    if (list_dir(s, a, dir, &names, &n, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        const char *path = arena_printf(a, "%s/%s", dir, names[i]);
        struct str hex = str_sub(str_of(names[i]), 0, SHA256_HEX_LEN);
        const char *layer = arena_printf(a, "layers/%.*s", STR_ARG(hex));
        struct stat st;
        if (hexset_has(keep, names[i]) || (is_layers && is_mounted(s, layer))) {
            continue;
        }
        uint64_t bytes = 0;
        if (is_layers) {
            bytes = hex.n == strlen(names[i]) ? layer_size(s, names[i]) : 0;
        } else if (fstatat(s->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            bytes = (uint64_t)st.st_size;
        }
        if (FAIL_POINT("image.sweep.before_remove", err) < 0) {
            return -1;
        }
        if (is_layers ? set_aside(s, path, names[i], gone, err) < 0
                      : file_remove_tree(s->dir_fd, path, err) < 0) {
            return -1;
        }
        if (p != NULL) {
            p->bytes += bytes;
            p->layers += is_layers && hex.n == strlen(names[i]) ? 1 : 0;
            p->blobs += strcmp(dir, "blobs/sha256") == 0 ? 1 : 0;
            p->images += strcmp(dir, "records") == 0 ? 1 : 0;
        }
    }
    return 0;
}

int store_sweep(struct image_store *s, struct image_prune *p, char **ret_gone, struct err *err) {
    *ret_gone = NULL;
    if (s->importing > 0) {
        return 0; /* layers may be waiting for their record; the next removal or start does it */
    }
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct live l = {0};
    int rc = find_live(s, a, p, &l, err);
    if (rc == 0) {
        rc = sweep_dir(s, "records", &l.records, false, p, ret_gone, err);
    }
    if (rc == 0) {
        rc = sweep_dir(s, "layers", &l.layers, true, p, ret_gone, err);
    }
    if (rc == 0) {
        rc = sweep_dir(s, "blobs/sha256", &l.blobs, false, p, ret_gone, err);
    }
    live_fini(&l);
    return rc;
}

int store_sweep_gone(struct image_store *s, char *gone, struct err *err) {
    int rc = gone == NULL || (FAIL_POINT("image.sweep.before_files", err) == 0 &&
                              file_remove_tree(s->dir_fd, gone, err) == 0)
                 ? 0
                 : -1;
    free(gone);
    return rc;
}

int image_prune(struct image_store *s, struct image_prune *p, struct err *err) {
    char *gone = NULL;
    registry_expire_uploads(s);
    (void)pthread_mutex_lock(&s->lock);
    int rc = s->importing > 0
                 ? err_set(err, ERR_UNAVAILABLE, "an image is being imported; try again later")
                 : store_sweep(s, p, &gone, err);
    registry_expire_parts(s, true);
    (void)pthread_mutex_unlock(&s->lock);
    return store_sweep_gone(s, gone, rc < 0 ? NULL : err) < 0 ? -1 : rc;
}
