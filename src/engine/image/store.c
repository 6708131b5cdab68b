/* The image store's directory: opening, sweeping, records, references, listing, removal.
 *
 *   records/HEX        rec: what running an image takes (layers, config); HEX = image digest
 *   layers/HEX/        one unpacked layer, HEX = diff id; HEX.size beside it
 *   blobs/sha256/HEX   manifests and configs as they came, for whoever wants to see them
 *   refs               rec: "ref = HEX NAME", replaced atomically; the only thing that makes an
 *                      image exist
 *   tmp/               work of imports; anything in it at open is garbage
 *
 * Written in that order, so a crash leaves only things that no reference reaches; opening removes
 * them. The server's lock on the data directory keeps two processes out of each other's way. */
#include "base/fail.h"
#include "base/limits.h"
#include "base/rng.h"
#include "engine/image/image_int.h"
#include "sys/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_FORMAT 1
#define RECORD_MAX_BYTES ((size_t)8 << 20)

/* ---- references */

static struct image_ref *find_ref(struct image_store *s, struct str canonical) {
    for (size_t i = 0; i < s->refs.n; i++) {
        if (str_eqc(canonical, s->refs.p[i].name)) {
            return &s->refs.p[i];
        }
    }
    return NULL;
}

static int read_refs(struct image_store *s, struct err *err) {
    auto_buf struct buf b = BUF_INIT(RECORD_MAX_BYTES);
    struct err why = {0};
    if (file_read(s->dir_fd, "refs", &b, &why) < 0) {
        if (why.code == ERR_NOT_FOUND) {
            return 0;
        }
        if (err != NULL) {
            *err = why;
        }
        return -1;
    }
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct rec r;
    if (rec_parse(a, buf_str(&b), &r, err) < 0) {
        return err_wrap(err, "read the list of images");
    }
    struct str v;
    for (size_t it = 0; rec_next(&r, "ref", &it, &v);) {
        struct image_ref ref = {0};
        struct str hex = str_cut(&v, ' ');
        if (!hex_is_sha256(hex) || v.p == NULL || v.n == 0) {
            return err_set(err, ERR_DATA_LOSS, "the list of images is damaged");
        }
        memcpy(ref.hex, hex.p, hex.n);
        ref.name = str_dup(v);
        vec_push(&s->refs, ref);
    }
    return 0;
}

static int write_refs(struct image_store *s, struct err *err) {
    auto_buf struct buf b = BUF_INIT(RECORD_MAX_BYTES);
    rec_begin(&b);
    for (size_t i = 0; i < s->refs.n; i++) {
        auto_free char *line = xasprintf("%s %s", s->refs.p[i].hex, s->refs.p[i].name);
        rec_puts(&b, "ref", line);
    }
    if (b.full) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "too many images");
    }
    if (FAIL_POINT("image.refs.before_write", err) < 0) {
        return -1;
    }
    return file_write_atomic(s->dir_fd, "refs", buf_str(&b), 0600, FILE_SYNC, err);
}

/* ---- sweeping */

static bool layer_is_used(const struct rec *records, size_t n, const char *hex) {
    for (size_t i = 0; i < n; i++) {
        struct str v;
        for (size_t it = 0; rec_next(&records[i], "layer", &it, &v);) {
            if (str_eqc(v, hex)) {
                return true;
            }
        }
    }
    return false;
}

static bool blob_is_used(const struct rec *records, size_t n, const char *hex) {
    for (size_t i = 0; i < n; i++) {
        struct str v;
        for (size_t it = 0; rec_next(&records[i], "blob", &it, &v);) {
            if (str_eqc(v, hex)) {
                return true;
            }
        }
    }
    return false;
}

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

static int read_record(struct image_store *s, struct arena *a, const char *hex, struct rec *ret,
                       struct err *err) {
    auto_buf struct buf b = BUF_INIT(RECORD_MAX_BYTES);
    if (file_read(s->dir_fd, arena_printf(a, "records/%s", hex), &b, err) < 0) {
        return err_wrap(err, "image sha256:%.12s", hex);
    }
    if (rec_parse(a, arena_str(a, buf_str(&b)), ret, err) < 0) {
        return err_wrap(err, "image sha256:%.12s", hex);
    }
    if (rec_get_u64(ret, "format", 0) != RECORD_FORMAT) {
        return err_set(err, ERR_FAILED_PRECONDITION,
                       "image sha256:%.12s was written by another version", hex);
    }
    return 0;
}

/* A runner keeps a shared lock on the layers that its container has mounted (runner/run.c). What is
 * left for that reason goes with the next removal or start. */
static bool is_mounted(struct image_store *s, const char *layer) {
    auto_close int fd = openat(s->dir_fd, layer, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

/* Removes what no reference reaches. Called with the lock held (or before there are threads). A
 * record that cannot be read stops it: then nobody can say which layers are free. */
static int sweep(struct image_store *s, struct err *err) {
    if (s->importing > 0) {
        return 0; /* layers may be waiting for their record; the next removal or start does it */
    }
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct rec *live = arena_calloc(a, s->refs.n + 1, sizeof(*live));
    for (size_t i = 0; i < s->refs.n; i++) {
        if (read_record(s, a, s->refs.p[i].hex, &live[i], err) < 0) {
            return -1;
        }
    }
    static const char *const dirs[] = {"records", "layers", "blobs/sha256"};
    for (size_t d = 0; d < NR_OF(dirs); d++) {
        char **names;
        size_t n;
        if (list_dir(s, a, dirs[d], &names, &n, err) < 0) {
            return -1;
        }
        for (size_t i = 0; i < n; i++) {
            struct str hex = str_sub(str_of(names[i]), 0, SHA256_HEX_LEN);
            char *h = arena_strndup(a, hex.p, hex.n);
            bool used = false;
            if (d == 0) {
                for (size_t k = 0; k < s->refs.n && !used; k++) {
                    used = strcmp(s->refs.p[k].hex, names[i]) == 0;
                }
            } else if (d == 1) {
                used = layer_is_used(live, s->refs.n, h);
            } else {
                used = blob_is_used(live, s->refs.n, h);
            }
            const char *path = arena_printf(a, "%s/%s", dirs[d], names[i]);
            if (!used && !(d == 1 && is_mounted(s, arena_printf(a, "layers/%s", h))) &&
                file_remove_tree(s->dir_fd, path, err) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

/* ---- open and close */

struct image_store *image_store_open(const char *dir, struct err *err) {
    static const char *const parts[] = {"blobs/sha256", "layers", "records", "tmp"};
    struct image_store *s = xcalloc(1, sizeof(*s));
    s->dir_fd = -1;
    (void)pthread_mutex_init(&s->lock, NULL);
    if (file_mkdirs(AT_FDCWD, dir, 0700, err) < 0) {
        goto fail;
    }
    s->dir = realpath(dir, NULL);
    s->dir_fd = s->dir != NULL ? open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (s->dir_fd < 0) {
        (void)err_sys(err, errno, "open the image store");
        goto fail;
    }
    /* Files of images keep their owners and modes: nobody but us walks in here from outside. */
    if (fchmod(s->dir_fd, 0700) < 0) {
        (void)err_sys(err, errno, "protect the image store");
        goto fail;
    }
    if (file_remove_tree(s->dir_fd, "tmp", err) < 0) {
        goto fail;
    }
    for (size_t i = 0; i < NR_OF(parts); i++) {
        if (file_mkdirs(s->dir_fd, parts[i], 0700, err) < 0) {
            goto fail;
        }
    }
    if (read_refs(s, err) < 0 || sweep(s, err) < 0) {
        goto fail;
    }
    return s;
fail:
    (void)err_wrap(err, "images");
    image_store_close(s);
    return NULL;
}

void image_store_close(struct image_store *s) {
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < s->refs.n; i++) {
        free(s->refs.p[i].name);
    }
    for (size_t i = 0; i < s->aliases.n; i++) {
        free(s->aliases.p[i].pattern);
        free(s->aliases.p[i].local);
    }
    vec_fini(&s->refs);
    vec_fini(&s->aliases);
    if (s->dir_fd >= 0) {
        (void)close(s->dir_fd);
    }
    (void)pthread_mutex_destroy(&s->lock);
    free(s->dir);
    free(s);
}

void store_import_begin(struct image_store *s) {
    (void)pthread_mutex_lock(&s->lock);
    s->importing++;
    (void)pthread_mutex_unlock(&s->lock);
}

void store_import_end(struct image_store *s) {
    (void)pthread_mutex_lock(&s->lock);
    s->importing--;
    (void)pthread_mutex_unlock(&s->lock);
}

char *store_tmp_dir(struct image_store *s, struct arena *a, struct err *err) {
    uint64_t id;
    rng_secret(&id, sizeof(id));
    char *path = arena_printf(a, "tmp/%016llx", (unsigned long long)id);
    if (mkdirat(s->dir_fd, path, 0700) < 0) {
        (void)err_sys(err, errno, "make a work directory for images");
        return NULL;
    }
    return path;
}

void store_drop_tmp(struct image_store *s, const char *tmp) {
    struct err ignored = {0};
    if (file_remove_tree(s->dir_fd, tmp, &ignored) < 0) {
        return; /* nothing refers to it; the next open tries again */
    }
}

int store_put_blob(struct image_store *s, const char *hex, struct str bytes, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    return file_write_atomic(s->dir_fd, arena_printf(a, "blobs/sha256/%s", hex), bytes, 0600,
                             FILE_SYNC, err);
}

/* ---- records */

static void put_list(struct buf *b, const char *key, const char **v) {
    for (size_t i = 0; v != NULL && v[i] != NULL; i++) {
        rec_puts(b, key, v[i]);
    }
}

static int write_record(struct image_store *s, const struct image_record *r, struct err *err) {
    auto_buf struct buf b = BUF_INIT(RECORD_MAX_BYTES);
    rec_begin(&b);
    rec_put_u64(&b, "format", RECORD_FORMAT);
    rec_puts(&b, "kind", r->kind);
    rec_put_u64(&b, "created", r->created);
    for (size_t i = 0; i < r->nr_layers; i++) {
        rec_put(&b, "layer", r->layers[i]);
    }
    for (size_t i = 0; i < NR_OF(r->blobs) && r->blobs[i][0] != '\0'; i++) {
        rec_puts(&b, "blob", r->blobs[i]);
    }
    put_list(&b, "entrypoint", r->entrypoint);
    put_list(&b, "cmd", r->cmd);
    put_list(&b, "env", r->env);
    rec_puts(&b, "workdir", r->workdir);
    rec_puts(&b, "user", r->user);
    if (b.full) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "the image's configuration passes %zu bytes",
                       RECORD_MAX_BYTES);
    }
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    return file_write_atomic(s->dir_fd, arena_printf(a, "records/%s", r->hex), buf_str(&b), 0600,
                             FILE_SYNC, err);
}

int store_publish(struct image_store *s, const struct image_record *r, const char *name,
                  struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    if (image_name_check(str_of(name), err) < 0) {
        return -1;
    }
    const char *canonical = image_name_canonical(a, str_of(name));
    (void)pthread_mutex_lock(&s->lock);
    int rc = write_record(s, r, err);
    if (rc == 0) {
        struct image_ref *ref = find_ref(s, str_of(canonical)), before = {0};
        bool added = ref == NULL;
        if (added) {
            if (s->refs.n >= limits.image_max_count) {
                limits_hit(&limits.image_max_count);
                rc = err_set(err, ERR_RESOURCE_EXHAUSTED,
                             "there are %zu images already (limit image_max_count)", s->refs.n);
            } else {
                vec_push(&s->refs, ((struct image_ref){.name = xstrdup(canonical)}));
                ref = &s->refs.p[s->refs.n - 1];
            }
        }
        if (ref != NULL) {
            before = *ref;
            memcpy(ref->hex, r->hex, sizeof(ref->hex));
            rc = write_refs(s, err);
        }
        if (rc < 0 && ref != NULL) { /* memory says what the disk says */
            if (added) {
                free(ref->name);
                s->refs.n--;
            } else {
                *ref = before;
            }
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

static const char **get_list(const struct rec *r, struct arena *a, const char *key) {
    size_t n = 0;
    struct str v;
    for (size_t it = 0; rec_next(r, key, &it, &v);) {
        n++;
    }
    const char **list = arena_calloc(a, n + 1, sizeof(*list));
    n = 0;
    for (size_t it = 0; rec_next(r, key, &it, &v);) {
        list[n++] = arena_strndup(a, v.p, v.n);
    }
    return list;
}

int store_load(struct image_store *s, struct arena *a, const char *hex, const char *ref,
               struct image *ret, struct err *err) {
    struct rec r;
    if (read_record(s, a, hex, &r, err) < 0) {
        return -1;
    }
    const char **diffs = get_list(&r, a, "layer");
    size_t n = 0;
    uint64_t size = 0;
    while (diffs[n] != NULL) {
        n++;
    }
    const char **layers = arena_calloc(a, n + 1, sizeof(*layers));
    for (size_t i = 0; i < n; i++) {
        if (!layer_exists(s, diffs[i])) {
            return err_set(err, ERR_DATA_LOSS, "layer %.12s of image \"%s\" is missing on disk",
                           diffs[i], ref);
        }
        layers[n - 1 - i] = arena_printf(a, "%s/layers/%s", s->dir, diffs[i]);
        size += layer_size(s, diffs[i]);
    }
    const char *workdir = rec_get_cstr(&r, "workdir"), *user = rec_get_cstr(&r, "user");
    *ret = (struct image){
        .ref = arena_strdup(a, ref),
        .digest = arena_printf(a, "sha256:%s", hex),
        .layers = layers,
        .entrypoint = get_list(&r, a, "entrypoint"),
        .cmd = get_list(&r, a, "cmd"),
        .env = get_list(&r, a, "env"),
        .workdir = workdir != NULL && workdir[0] == '/' ? workdir : "/",
        .user = user != NULL ? user : "",
        .size_bytes = size,
        .created = rec_get_u64(&r, "created", 0),
    };
    return 0;
}

/* ---- looking up */

int image_store_add_alias(struct image_store *s, const char *pattern, const char *local,
                          struct err *err) {
    if (pattern[0] == '\0' || image_name_check(str_of(local), err) < 0) {
        return pattern[0] == '\0' ? err_set(err, ERR_INVALID_ARGUMENT, "an image alias is empty")
                                  : err_wrap(err, "image alias \"%s\"", pattern);
    }
    struct image_alias alias = {xstrdup(pattern), xstrdup(local)};
    (void)pthread_mutex_lock(&s->lock);
    vec_push(&s->aliases, alias);
    (void)pthread_mutex_unlock(&s->lock);
    return 0;
}

/* NAME, NAME@sha256:HEX, sha256:HEX. Copies the reference out, so the lock can be dropped. */
static bool lookup(struct image_store *s, struct arena *a, struct str uri, struct image_ref *ret) {
    char hex[SHA256_HEX_LEN + 1];
    struct str name = uri;
    bool by_digest = false;
    const char *at = uri.n > 0 ? memrchr(uri.p, '@', uri.n) : NULL;
    if (at != NULL) {
        size_t i = (size_t)(at - uri.p);
        by_digest = digest_parse(str_sub(uri, i + 1, uri.n), hex);
        name = str_sub(uri, 0, i);
    } else {
        by_digest = digest_parse(uri, hex);
    }
    const char *canonical = image_name_canonical(a, name);
    for (size_t i = 0; i < s->refs.n; i++) {
        struct image_ref *r = &s->refs.p[i];
        if (by_digest ? strcmp(r->hex, hex) == 0 : strcmp(r->name, canonical) == 0) {
            *ret = *r;
            ret->name = arena_strdup(a, r->name);
            return true;
        }
    }
    return false;
}

static bool lookup_alias(struct image_store *s, struct arena *a, struct str uri,
                         struct image_ref *ret, const char **ret_missing, const char **ret_recipe) {
    for (size_t i = s->aliases.n; i-- > 0;) {
        const struct image_alias *alias = &s->aliases.p[i];
        if (alias_matches(str_of(alias->pattern), uri)) {
            if (lookup(s, a, str_of(alias->local), ret)) {
                return true;
            }
            *ret_missing = arena_strdup(a, alias->local);
            return false; /* the configured answer, even if the built-in table had another */
        }
    }
    const char *local;
    for (size_t i = 0; (local = alias_builtin(a, uri, i, ret_recipe)) != NULL; i++) {
        *ret_missing = local;
        if (lookup(s, a, str_of(local), ret)) {
            return true;
        }
    }
    return false;
}

int image_resolve(struct image_store *s, struct arena *a, const char *uri, struct image *ret,
                  struct err *err) {
    struct image_ref ref;
    const char *missing = NULL, *recipe = NULL;
    struct str u = str_of(uri);
    (void)pthread_mutex_lock(&s->lock);
    bool found = lookup(s, a, u, &ref) || lookup_alias(s, a, u, &ref, &missing, &recipe);
    int rc = found ? store_load(s, a, ref.hex, ref.name, ret, err) : 0;
    (void)pthread_mutex_unlock(&s->lock);
    if (found) {
        return rc;
    }
    if (recipe != NULL) {
        return err_set(
            err, ERR_NOT_FOUND,
            "image \"%.300s\" is not on this machine; build it with: cusp images build %s", uri,
            recipe);
    }
    return err_set(err, ERR_NOT_FOUND,
                   "image \"%.300s\" is not on this machine; import it with: "
                   "cusp images import FILE --name=%.300s",
                   uri, missing != NULL ? missing : uri);
}

int image_list(struct image_store *s, struct arena *a, struct image **ret, size_t *ret_n,
               struct err *err) {
    int rc = 0;
    (void)pthread_mutex_lock(&s->lock);
    struct image *list = arena_calloc(a, s->refs.n + 1, sizeof(*list));
    size_t n = s->refs.n;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = store_load(s, a, s->refs.p[i].hex, s->refs.p[i].name, &list[i], err);
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (rc == 0) {
        *ret = list;
        *ret_n = n;
    }
    return rc;
}

int image_remove(struct image_store *s, const char *ref,
                 bool (*in_use)(void *arg, const char *digest), void *arg, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct image_ref found;
    int rc = 0;
    (void)pthread_mutex_lock(&s->lock);
    if (!lookup(s, a, str_of(ref), &found)) {
        rc = err_set(err, ERR_NOT_FOUND, "there is no image \"%.300s\"", ref);
    } else if (in_use != NULL && in_use(arg, arena_printf(a, "sha256:%s", found.hex))) {
        rc =
            err_set(err, ERR_FAILED_PRECONDITION, "image \"%.300s\" is used by a running job", ref);
    } else {
        size_t i = (size_t)(find_ref(s, str_of(found.name)) - s->refs.p);
        struct image_ref gone = s->refs.p[i];
        vec_remove(&s->refs, i);
        rc = write_refs(s, err);
        if (rc < 0) {
            vec_push(&s->refs, gone);
        } else {
            free(gone.name);
            rc = sweep(s, err);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}
