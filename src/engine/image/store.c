/* The image store's directory: opening, records, references, listing, removal.
 *
 *   records/HEX        rec: what running an image takes (layers, config); HEX = image digest
 *   layers/HEX/        one unpacked layer, HEX = diff id; HEX.size beside it
 *   blobs/sha256/HEX   manifests and configs as they came, for whoever wants to see them
 *   refs               rec: "ref = HEX NAME", replaced atomically; the only thing that makes an
 *                      image exist
 *   tmp/               work of imports; anything in it at open is garbage
 *
 * Written in that order, so a crash leaves only things that no reference reaches; opening removes
 * them (store_sweep.c). The server's lock on the data directory keeps two processes out of each
 * other's way. */
#include "base/fail.h"
#include "base/limits.h"
#include "base/rng.h"
#include "engine/image/registry_int.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_FORMAT 1
#define RECORD_MAX_BYTES ((size_t)8 << 20)

/* ---- references */

struct image_ref *store_find_ref(struct image_store *s, struct str canonical) {
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

/* ---- open and close */

struct image_store *image_store_open(const char *dir, struct err *err) {
    static const char *const parts[] = {"blobs/sha256", "layers", "partial",
                                        "records",      "repos",  "tmp"};
    struct image_store *s = xcalloc(1, sizeof(*s));
    char *gone = NULL;
    s->dir_fd = -1;
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_mutex_init(&s->unpack_lock, NULL);
    list_init(&s->uploads);
    list_init(&s->pins);
    list_init(&s->claims);
    (void)pthread_cond_init(&s->unclaimed, NULL);
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
    registry_expire_uploads(s);
    registry_expire_parts(s, false);
    if (read_refs(s, err) < 0 || store_sweep(s, NULL, &gone, err) < 0) {
        goto fail;
    }
    if (store_sweep_gone(s, gone, err) == 0) {
        return s;
    }
    gone = NULL;
fail:
    free(gone);
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
    registry_close(s);
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_mutex_destroy(&s->unpack_lock);
    (void)pthread_cond_destroy(&s->unclaimed);
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

int store_write_record(struct image_store *s, const struct image_record *r, struct err *err) {
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
    int rc = store_write_record(s, r, err);
    if (rc == 0) {
        struct image_ref *ref = store_find_ref(s, str_of(canonical)), before = {0};
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

int store_read_record(struct image_store *s, struct arena *a, const char *hex, struct rec *ret,
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

bool store_has_record(struct image_store *s, const char *hex) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    return faccessat(s->dir_fd, arena_printf(a, "records/%s", hex), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
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
    if (store_read_record(s, a, hex, &r, err) < 0) {
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

int image_list(struct image_store *s, struct arena *a, struct image **ret, size_t *ret_n,
               struct err *err) {
    int rc = 0;
    (void)pthread_mutex_lock(&s->lock);
    struct registry_tag *tags = NULL;
    size_t n = s->refs.n, nr_tags = 0;
    rc = registry_all_tags(s, a, &tags, &nr_tags, err);
    struct image *list = arena_calloc(a, n + nr_tags + 1, sizeof(*list));
    for (size_t i = 0; i < s->refs.n && rc == 0; i++) {
        rc = store_load(s, a, s->refs.p[i].hex, s->refs.p[i].name, &list[i], err);
    }
    for (size_t i = 0; i < nr_tags && rc == 0; i++) {
        const char *canonical = image_name_canonical(a, str_of(tags[i].name));
        if (store_find_ref(s, str_of(canonical)) != NULL) {
            continue; /* imported, and served under the same name */
        }
        if (store_has_record(s,
                             tags[i].hex)) { /* others are still being unpacked, or are no images */
            rc = store_load(s, a, tags[i].hex, tags[i].name, &list[n++], err);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (rc == 0) {
        *ret = list;
        *ret_n = n;
    }
    return rc;
}

/* The tag goes; with its last tag the manifest goes too. What it was made of waits for a prune. */
static int remove_pushed(struct image_store *s, struct arena *a, const char *ref,
                         bool (*in_use)(void *arg, const char *digest), void *arg,
                         bool *ret_was_copy, struct err *err) {
    struct registry_name n;
    struct registry_tag *tags;
    size_t nr_tags, same = 0;
    char hex[SHA256_HEX_LEN + 1], image[SHA256_HEX_LEN + 1];
    bool ignored;
    (void)pthread_mutex_lock(&s->lock);
    bool found = registry_parse_name(str_of(ref), &n) &&
                 (registry_find(s, a, str_of(ref), false, image, &ignored, NULL) ||
                  registry_find_foreign(s, a, str_of(ref), image, &n.repo, NULL)) &&
                 (n.tag.p == NULL || manifest_find(s, n.repo, n.tag, hex, NULL) == 0);
    *ret_was_copy = found && registry_is_pulled(s, n.repo);
    (void)pthread_mutex_unlock(&s->lock);
    if (!found) {
        return err_set(err, ERR_NOT_FOUND, "there is no image \"%.300s\"", ref);
    }
    if (in_use != NULL && in_use(arg, arena_printf(a, "sha256:%s", image))) {
        return err_set(err, ERR_FAILED_PRECONDITION, "image \"%.300s\" is used by a running job",
                       ref);
    }
    if (n.tag.p == NULL) {
        return registry_manifest_delete(s, n.repo, str_of(arena_printf(a, "sha256:%s", n.hex)),
                                        err);
    }
    if (registry_all_tags(s, a, &tags, &nr_tags, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < nr_tags; i++) {
        char at[SHA256_HEX_LEN + 1];
        same += str_eqc(n.repo, tags[i].repo) &&
                manifest_find(s, n.repo, str_of(tags[i].tag), at, NULL) == 0 &&
                strcmp(at, hex) == 0;
    }
    return registry_manifest_delete(
        s, n.repo, same > 1 ? n.tag : str_of(arena_printf(a, "sha256:%s", hex)), err);
}

/* Copies and imports take no room once they are removed; what was pushed waits for a prune. */
static int tidy(struct image_store *s, bool (*in_use)(void *arg, const char *digest), void *arg,
                struct err *err) {
    struct image_prune p = {.in_use = in_use, .arg = arg};
    char *gone = NULL;
    (void)pthread_mutex_lock(&s->lock);
    int rc = registry_drop_copies(s, err) < 0 ? -1 : store_sweep(s, &p, &gone, err);
    (void)pthread_mutex_unlock(&s->lock);
    return store_sweep_gone(s, gone, rc < 0 ? NULL : err) < 0 ? -1 : rc;
}

/* The name goes, and what is served under it. */
static int remove_named(struct image_store *s, const char *ref, char **ret_name,
                        bool (*in_use)(void *arg, const char *digest), void *arg, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct image_ref found;
    int rc = 0;
    (void)pthread_mutex_lock(&s->lock);
    if (!store_lookup(s, a, str_of(ref), &found)) {
        *ret_name = NULL;
    } else if (in_use != NULL && in_use(arg, arena_printf(a, "sha256:%s", found.hex))) {
        rc =
            err_set(err, ERR_FAILED_PRECONDITION, "image \"%.300s\" is used by a running job", ref);
    } else {
        *ret_name = xstrdup(found.name);
        size_t i = (size_t)(store_find_ref(s, str_of(found.name)) - s->refs.p);
        struct image_ref gone = s->refs.p[i];
        vec_remove(&s->refs, i);
        rc = write_refs(s, err);
        if (rc < 0) {
            vec_push(&s->refs, gone);
        } else {
            free(gone.name);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

int image_remove(struct image_store *s, const char *ref,
                 bool (*in_use)(void *arg, const char *digest), void *arg, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_free char *name = NULL;
    struct err why = {0};
    bool was_copy = false;
    if (remove_named(s, ref, &name, in_use, arg, err) < 0) {
        return -1;
    }
    int rc = remove_pushed(s, a, name != NULL ? name : ref, in_use, arg, &was_copy, &why);
    if (rc < 0 && (name == NULL || why.code != ERR_NOT_FOUND)) {
        *err = why;
        return -1;
    }
    return name != NULL || was_copy ? tidy(s, in_use, arg, err) : 0;
}
