/* What the shelf keeps alive, and how a name in a job becomes an image that was pushed. */
#include "base/limits.h"
#include "engine/image/registry_int.h"
#include "engine/image/remote.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INDEX_MAX_DEPTH 4
#define HOST_MAX 256

/* ---- sets of digests */

void hexset_add(struct hexset *h, struct str hex) {
    struct hexset_item item = {0};
    if (hex_is_sha256(hex)) {
        memcpy(item.hex, hex.p, SHA256_HEX_LEN);
        vec_push(&h->v, item);
    }
}

static int by_hex(const void *a, const void *b) {
    return memcmp(a, b, SHA256_HEX_LEN);
}

void hexset_seal(struct hexset *h) {
    if (h->v.n > 0) {
        qsort(h->v.p, h->v.n, sizeof(*h->v.p), by_hex);
    }
}

bool hexset_has(const struct hexset *h, const char *hex) {
    return h->v.n > 0 && strlen(hex) >= SHA256_HEX_LEN &&
           bsearch(hex, h->v.p, h->v.n, sizeof(*h->v.p), by_hex) != NULL;
}

void hexset_fini(struct hexset *h) {
    vec_fini(&h->v);
}

/* ---- what is alive */

/* Marks that are young may belong to a push that has not come to its manifest. */
static int live_blobs(struct image_store *s, struct arena *a, struct str repo, bool drop,
                      struct hexset *used, struct hexset *blobs, struct err *err) {
    char **names;
    size_t n;
    time_t now = time(NULL);
    const char *dir = repo_path(a, repo, "blobs", NULL);
    if (store_names(s, a, dir, &names, &n, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        const char *path = arena_printf(a, "%s/%s", dir, names[i]);
        bool young = fstatat(s->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                     now - st.st_mtime < (time_t)limits.registry_blob_grace_s;
        if (hexset_has(used, names[i]) || young || !drop || registry_is_pinned(s, names[i])) {
            hexset_add(blobs, str_of(names[i]));
        } else if (unlinkat(s->dir_fd, path, 0) < 0) {
            return err_sys(err, errno, "forget blob %s", names[i]);
        }
    }
    return 0;
}

/* Of copies what no tag leads to is nobody's: the tag has moved on, and a digest that somebody
 * asked for has a tag of its own. */
static int drop_untagged(struct image_store *s, struct str repo, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct hexset wanted = {0};
    char **names;
    size_t n;
    int rc = store_names(s, a, repo_path(a, repo, "tags", NULL), &names, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        char hex[SHA256_HEX_LEN + 1];
        struct str line;
        struct rec r;
        rc = manifest_find(s, repo, str_sub(str_of(names[i]), 0, strlen(names[i]) - 1), hex, err);
        if (rc == 0) {
            hexset_add(&wanted, str_of(hex));
            rc = manifest_rec(s, a, repo, hex, &r, err);
        }
        for (size_t it = 0; rc == 0 && rec_next(&r, "child", &it, &line);) {
            hexset_add(&wanted, str_sub(line, 0, SHA256_HEX_LEN));
        }
    }
    hexset_seal(&wanted);
    if (rc == 0) {
        rc = store_names(s, a, repo_path(a, repo, "manifests", NULL), &names, &n, err);
    }
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (!hexset_has(&wanted, names[i]) && !registry_is_pinned(s, names[i]) &&
            unlinkat(s->dir_fd, repo_path(a, repo, "manifests", names[i]), 0) < 0) {
            rc = err_sys(err, errno, "forget manifest %s", names[i]);
        }
    }
    hexset_fini(&wanted);
    return rc;
}

/* A repository's manifests, and the blobs they are made of. */
static int manifests_of(struct image_store *s, struct arena *a, struct str repo,
                        struct hexset *manifests, struct hexset *used, struct err *err) {
    char **names;
    size_t n;
    int rc = store_names(s, a, repo_path(a, repo, "manifests", NULL), &names, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct rec r;
        struct str v;
        rc = manifest_rec(s, a, repo, names[i], &r, err);
        hexset_add(manifests, str_of(names[i]));
        for (size_t it = 0; rc == 0 && rec_next(&r, "blob", &it, &v);) {
            hexset_add(used, v);
        }
    }
    hexset_seal(used);
    return rc;
}

static void add_set(struct hexset *to, const struct hexset *from) {
    for (size_t i = 0; i < from->v.n; i++) {
        hexset_add(to, str_n(from->v.p[i].hex, SHA256_HEX_LEN));
    }
}

static int live_repo(struct image_store *s, struct str repo, bool drop, struct hexset *images,
                     struct hexset *blobs, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct hexset manifests = {0}, used = {0};
    if (drop && registry_is_pulled(s, repo) && drop_untagged(s, repo, err) < 0) {
        return -1;
    }
    int rc = manifests_of(s, a, repo, &manifests, &used, err);
    add_set(images, &manifests);
    add_set(blobs, &manifests);
    add_set(blobs, &used);
    if (rc == 0) {
        rc = live_blobs(s, a, repo, drop, &used, blobs, err);
    }
    hexset_fini(&manifests);
    hexset_fini(&used);
    return rc;
}

static int drop_blobs(struct image_store *s, struct str repo, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct hexset manifests = {0}, used = {0};
    char **names;
    size_t n;
    int rc = manifests_of(s, a, repo, &manifests, &used, err);
    if (rc == 0) {
        rc = store_names(s, a, repo_path(a, repo, "blobs", NULL), &names, &n, err);
    }
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (!hexset_has(&used, names[i]) && !registry_is_pinned(s, names[i]) &&
            unlinkat(s->dir_fd, repo_path(a, repo, "blobs", names[i]), 0) < 0) {
            rc = err_sys(err, errno, "forget blob %s", names[i]);
        }
    }
    hexset_fini(&manifests);
    hexset_fini(&used);
    return rc;
}

int registry_drop_copies(struct image_store *s, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    char **dirs;
    size_t n;
    if (store_names(s, a, "repos", &dirs, &n, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        struct str repo = repo_of_dir(a, dirs[i]);
        /* Nobody's import may stand between its blobs and its manifest. */
        if (s->importing == 0 && registry_is_pulled(s, repo) &&
            (drop_untagged(s, repo, err) < 0 || drop_blobs(s, repo, err) < 0)) {
            return -1;
        }
    }
    return 0;
}

/* A repository in which nothing is left, or to which nothing was ever completed. */
static int drop_empty(struct image_store *s, struct str repo, struct err *err) {
    static const char *const parts[] = {"uploads", "blobs", "manifests", "tags"};
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    for (size_t i = 0; i < NR_OF(parts); i++) {
        char **names;
        size_t n;
        if (store_names(s, a, repo_path(a, repo, parts[i], NULL), &names, &n, err) < 0) {
            return -1;
        }
        if (n > 0) {
            return 0;
        }
    }
    const char *path = repo_path(a, repo, "", NULL);
    return file_remove_tree(s->dir_fd, arena_strndup(a, path, strlen(path) - 1), err);
}

int registry_live(struct image_store *s, bool drop, struct hexset *images, struct hexset *blobs,
                  struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    char **dirs;
    size_t n;
    if (store_names(s, a, "repos", &dirs, &n, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        struct str repo = repo_of_dir(a, dirs[i]);
        if (live_repo(s, repo, drop, images, blobs, err) < 0 ||
            (drop && drop_empty(s, repo, err) < 0)) {
            return -1;
        }
    }
    return 0;
}

/* ---- names to images */

/* A manifest stands for itself, an index for its entry that runs here. */
static int pick(struct image_store *s, struct arena *a, struct str repo, const char *hex,
                unsigned depth, char ret_hex[SHA256_HEX_LEN + 1], struct err *err) {
    auto_free char *ours = xasprintf("linux/%s", image_native_arch());
    struct rec r;
    struct str line;
    if (manifest_rec(s, a, repo, hex, &r, err) < 0) {
        return -1;
    }
    const char *type = rec_get_cstr(&r, "type");
    if (type == NULL || (strstr(type, "index") == NULL && strstr(type, "list") == NULL)) {
        memmove(ret_hex, hex, SHA256_HEX_LEN + 1);
        return 0;
    }
    for (size_t it = 0; depth < INDEX_MAX_DEPTH && rec_next(&r, "child", &it, &line);) {
        struct str rest = line;
        char child[SHA256_HEX_LEN + 1] = "";
        struct str digits = str_cut(&rest, ' ');
        if ((rest.p != NULL && !str_eqc(rest, ours)) || !hex_is_sha256(digits)) {
            continue;
        }
        memcpy(child, digits.p, SHA256_HEX_LEN);
        if (pick(s, a, repo, child, depth + 1, ret_hex, NULL) == 0) {
            return 0;
        }
    }
    return err_field(err, ERR_NOT_FOUND, "MANIFEST_UNKNOWN",
                     "repository %.*s: the index sha256:%.12s has no image for %s here",
                     STR_ARG(repo), hex, ours);
}

int registry_pick(struct image_store *s, struct str repo, const char *hex,
                  char ret_hex[SHA256_HEX_LEN + 1], struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    (void)pthread_mutex_lock(&s->lock);
    int rc = pick(s, a, repo, hex, 0, ret_hex, err);
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

void registry_set_port(struct image_store *s, unsigned port) {
    (void)pthread_mutex_lock(&s->lock);
    s->own_port = port;
    (void)pthread_mutex_unlock(&s->lock);
}

/* Does this host part mean us? The port must be ours; the host a way to name this machine. */
/* The port of a host that is this machine; 0: it is another one, or names no port. */
static uint64_t port_here(struct str host) {
    char machine[HOST_MAX] = "";
    const char *colon = host.n > 0 ? memrchr(host.p, ':', host.n) : NULL;
    uint64_t n = 0;
    if (colon == NULL) {
        return 0;
    }
    size_t i = (size_t)(colon - host.p);
    struct str name = str_sub(host, 0, i);
    (void)gethostname(machine, sizeof(machine) - 1);
    bool is_here = str_eqc(name, "localhost") || str_starts(name, STR("127.")) ||
                   str_eqc(name, "[::1]") || str_ieq(name, str_of(machine));
    return is_here && str_to_u64(str_sub(host, i + 1, host.n), &n) ? n : 0;
}

static bool is_own_host(unsigned port, struct str host) {
    return port != 0 && port_here(host) == port;
}

unsigned registry_other_port(struct image_store *s, struct str name) {
    struct registry_name n;
    uint64_t port = registry_parse_name(name, &n) && n.host.p != NULL ? port_here(n.host) : 0;
    return port != 0 && port != s->own_port ? s->own_port : 0;
}

bool registry_find(struct image_store *s, struct arena *a, struct str name, bool need_host,
                   char ret_hex[SHA256_HEX_LEN + 1], bool *ret_is_ours, struct err *err) {
    struct registry_name n;
    char hex[SHA256_HEX_LEN + 1];
    *ret_is_ours = false;
    if (!registry_parse_name(name, &n)) {
        return false;
    }
    *ret_is_ours = n.host.p != NULL && is_own_host(s->own_port, n.host);
    if (n.host.p != NULL ? !*ret_is_ours : need_host) {
        return false;
    }
    if (n.tag.p != NULL ? manifest_find(s, n.repo, n.tag, hex, NULL) < 0
                        : (memcpy(hex, n.hex, sizeof(hex)), false)) {
        return false;
    }
    return pick(s, a, n.repo, hex, 0, ret_hex, err) == 0;
}

bool registry_find_foreign(struct image_store *s, struct arena *a, struct str name,
                           char ret_hex[SHA256_HEX_LEN + 1], struct str *ret_repo,
                           struct err *err) {
    struct remote_ref r;
    char hex[SHA256_HEX_LEN + 1];
    if (remote_ref_parse(a, name, &r, NULL) < 0) {
        return false;
    }
    const char *repos[] = {remote_is_google(str_of(r.host)) ? r.repo : r.shelf, r.shelf};
    for (size_t i = 0; i < NR_OF(repos); i++) {
        struct str repo = str_of(repos[i]);
        if (r.tag == NULL) {
            memcpy(hex, r.hex, sizeof(hex));
        } else if (manifest_find(s, repo, str_of(r.tag), hex, NULL) < 0) {
            continue;
        }
        if (pick(s, a, repo, hex, 0, ret_hex, err) == 0) {
            if (ret_repo != NULL) {
                *ret_repo = repo;
            }
            if (err != NULL) {
                *err = (struct err){0}; /* of the place before */
            }
            return true;
        }
        if (r.tag == NULL && err != NULL && err->code == ERR_NOT_FOUND) {
            *err = (struct err){0}; /* not here at all */
        }
    }
    return false;
}

int registry_all_tags(struct image_store *s, struct arena *a, struct registry_tag **ret,
                      size_t *ret_n, struct err *err) {
    VEC_OF(struct registry_tag) out = {0};
    struct registry_page repos, tags;
    int rc = registry_catalog(s, a, (struct str){0}, SIZE_MAX, &repos, err);
    for (size_t i = 0; rc == 0 && i < repos.n; i++) {
        struct str repo = str_of(repos.names[i]);
        bool is_copy = registry_is_pulled(s, repo);
        const char *name = is_copy ? remote_name_of_shelf(a, repos.names[i]) : repos.names[i];
        rc = registry_tags(s, a, repo, (struct str){0}, SIZE_MAX, &tags, err);
        for (size_t k = 0; rc == 0 && k < tags.n; k++) {
            struct registry_tag t = {.repo = repos.names[i], .tag = tags.names[k]};
            bool pinned =
                is_copy && strncmp(t.tag, "sha256-", 7) == 0 && hex_is_sha256(str_of(t.tag + 7));
            t.name = pinned ? arena_printf(a, "%s@sha256:%s", name, t.tag + 7)
                            : arena_printf(a, "%s:%s", name, t.tag);
            char hex[SHA256_HEX_LEN + 1];
            if (manifest_find(s, repo, str_of(tags.names[k]), hex, NULL) == 0 &&
                pick(s, a, repo, hex, 0, t.hex, NULL) == 0) {
                vec_push(&out, t);
            }
        }
    }
    if (rc == 0) {
        *ret = arena_memdup(a, out.p, out.n * sizeof(*out.p));
        *ret_n = out.n;
    }
    vec_fini(&out);
    return rc;
}

int registry_unpack(struct image_store *s, struct str repo, const char *hex, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    char image[SHA256_HEX_LEN + 1];
    struct rec r;
    (void)pthread_mutex_lock(&s->lock);
    int rc = pick(s, a, repo, hex, 0, image, err);
    if (rc == 0) {
        rc = manifest_rec(s, a, repo, image, &r, err);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc < 0 ? -1 : store_unpack(s, image, NULL, err);
}
