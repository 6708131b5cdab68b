/* The shelf's side of a pull: blobs that come as files, what a prune must leave alone meanwhile,
 * and who fetches what. */
#include "base/fail.h"
#include "base/limits.h"
#include "engine/image/registry_int.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- pins */

void registry_pin(struct image_store *s, struct registry_pin *p) {
    hexset_seal(&p->blobs);
    (void)pthread_mutex_lock(&s->lock);
    list_push_tail(&s->pins, &p->link);
    (void)pthread_mutex_unlock(&s->lock);
}

void registry_unpin(struct image_store *s, struct registry_pin *p) {
    (void)pthread_mutex_lock(&s->lock);
    if (p->link.next != NULL) { /* zeroed: never pinned */
        list_del(&p->link);
    }
    (void)pthread_mutex_unlock(&s->lock);
    hexset_fini(&p->blobs);
}

bool registry_is_pinned(struct image_store *s, const char *hex) {
    const struct registry_pin *p;
    list_each (p, &s->pins, link) {
        if (hexset_has(&p->blobs, hex)) {
            return true;
        }
    }
    return false;
}

/* ---- claims */

static bool is_claimed(struct image_store *s, const char *hex) {
    const struct store_claim *c;
    list_each (c, &s->claims, link) {
        if (strcmp(c->hex, hex) == 0) {
            return true;
        }
    }
    return false;
}

bool store_claim(struct image_store *s, struct store_claim *c, const char *hex) {
    struct timespec at;
    (void)clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += 1;
    (void)pthread_mutex_lock(&s->lock);
    if (is_claimed(s, hex)) {
        (void)pthread_cond_timedwait(&s->unclaimed, &s->lock, &at);
    }
    bool ours = !is_claimed(s, hex);
    if (ours) {
        c->hex = hex;
        list_push_tail(&s->claims, &c->link);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return ours;
}

void store_unclaim(struct image_store *s, struct store_claim *c) {
    (void)pthread_mutex_lock(&s->lock);
    list_del(&c->link);
    (void)pthread_cond_broadcast(&s->unclaimed);
    (void)pthread_mutex_unlock(&s->lock);
}

/* ---- blobs */

static int adopt(struct image_store *s, struct arena *a, struct str repo, const char *hex,
                 const char *path, struct err *err) {
    uint64_t size;
    bool is_here = store_blob_size(s, hex, &size) == 0;
    if (path != NULL && !is_here) {
        if (renameat(s->dir_fd, path, s->dir_fd, arena_printf(a, "blobs/sha256/%s", hex)) < 0) {
            return err_sys(err, errno, "name blob %s", hex);
        }
        if (file_fsync_dir(s->dir_fd, "blobs/sha256", err) < 0) {
            return -1;
        }
    } else if (path != NULL) {
        (void)unlinkat(s->dir_fd, path, 0);
    } else if (!is_here) {
        return err_set(err, ERR_ABORTED, "blob sha256:%.12s was removed a moment ago", hex);
    }
    if (repo_make(s, repo, err) < 0) {
        return -1;
    }
    return store_mark(s, a, repo_path(a, repo, "blobs", NULL), hex, err);
}

int registry_blob_adopt(struct image_store *s, struct str repo, const char *hex, const char *path,
                        struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    (void)pthread_mutex_lock(&s->lock);
    int rc = adopt(s, a, repo, hex, path, err);
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

void registry_expire_parts(struct image_store *s, bool all) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    char **names;
    size_t n;
    time_t now = time(NULL);
    if (store_names(s, a, "partial", &names, &n, NULL) < 0) {
        return; /* the next time tries again */
    }
    for (size_t i = 0; i < n; i++) {
        const char *path = arena_printf(a, "partial/%s", names[i]);
        struct stat st;
        if (!is_claimed(s, names[i]) && !registry_is_pinned(s, names[i]) &&
            (all || (fstatat(s->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                     now - st.st_mtime > (time_t)limits.registry_upload_keep_s))) {
            (void)unlinkat(s->dir_fd, path, 0);
        }
    }
}

/* ---- repositories of copies */

int registry_mark_pulled(struct image_store *s, struct str repo, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    char **names;
    size_t n;
    (void)pthread_mutex_lock(&s->lock);
    int rc = store_names(s, a, repo_path(a, repo, "manifests", NULL), &names, &n, err);
    if (rc == 0 && n == 0 && !registry_is_pulled(s, repo)) {
        rc = repo_make(s, repo, err);
        if (rc == 0) {
            rc = store_mark(s, a, repo_path(a, repo, ".", NULL), "pulled", err);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

static bool is_marked(struct image_store *s, struct arena *a, const char *hex) {
    char **dirs;
    size_t n;
    if (store_names(s, a, "repos", &dirs, &n, NULL) < 0) {
        return true; /* nobody can say: it stays */
    }
    for (size_t i = 0; i < n; i++) {
        if (repo_has_blob(s, repo_of_dir(a, dirs[i]), hex)) {
            return true;
        }
    }
    return false;
}

static int reject(struct image_store *s, struct arena *a, struct str repo, const char *top,
                  const char *image, struct err *err) {
    struct rec r;
    struct str blob;
    if (manifest_rec(s, a, repo, image, &r, err) < 0 ||
        (strcmp(top, image) != 0 && manifest_remove(s, a, repo, top, err) < 0) ||
        manifest_remove(s, a, repo, image, err) < 0) {
        return -1;
    }
    for (size_t it = 0; rec_next(&r, "blob", &it, &blob);) {
        const char *hex = arena_strndup(a, blob.p, blob.n);
        if (registry_is_pinned(s, hex)) {
            continue;
        }
        (void)unlinkat(s->dir_fd, repo_path(a, repo, "blobs", hex), 0);
        if (!is_marked(s, a, hex)) {
            (void)unlinkat(s->dir_fd, arena_printf(a, "blobs/sha256/%s", hex), 0);
        }
    }
    return 0;
}

int registry_reject_copy(struct image_store *s, struct str repo, const char *top, const char *image,
                         struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    (void)pthread_mutex_lock(&s->lock);
    int rc = registry_is_pulled(s, repo) ? reject(s, a, repo, top, image, err) : 0;
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

int registry_keep_digest(struct image_store *s, struct str repo, const char *hex, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct rec r;
    (void)pthread_mutex_lock(&s->lock);
    int rc = manifest_rec(s, a, repo, hex, &r, err);
    if (rc == 0) {
        const char *tag = arena_printf(a, "sha256-%s@", hex);
        rc = file_write_atomic(s->dir_fd, repo_path(a, repo, "tags", tag), str_of(hex), 0600,
                               FILE_SYNC, err);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

bool registry_is_pulled(struct image_store *s, struct str repo) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    return faccessat(s->dir_fd, repo_path(a, repo, "pulled", NULL), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}
