/* Blobs on the shelf and the uploads that become them.
 *
 * An upload is a file that grows; the digest is computed as bytes pass. After a restart the file is
 * there and the digest is not: then the finish reads it once more, which also catches whatever a
 * power failure made of its last pages. Nothing is believed before that comparison. */
#include "base/fail.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/rng.h"
#include "engine/image/registry_int.h"
#include "sys/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ID_LEN 32
#define FLUSH_EVERY ((uint64_t)8 << 20)

struct registry_upload {
    struct list link; /* store's, lock held */
    struct image_store *s;
    char id[ID_LEN + 1];
    char *repo, *path;
    int fd;            /* -1 between requests */
    struct hash *hash; /* of all bytes so far; NULL: unknown, the finish reads the file */
    uint64_t size;
    bool busy, broken;
};

/* ---- small parts */

char *repo_path(struct arena *a, struct str repo, const char *part, const char *name) {
    char *dir = arena_strndup(a, repo.p, repo.n);
    for (char *c = dir; *c != '\0'; c++) {
        *c = *c == '/' ? '+' : *c;
    }
    return name != NULL ? arena_printf(a, "repos/%s/%s/%s", dir, part, name)
                        : arena_printf(a, "repos/%s/%s", dir, part);
}

struct str repo_of_dir(struct arena *a, const char *dir) {
    char *name = arena_strdup(a, dir);
    for (char *c = name; *c != '\0'; c++) {
        *c = *c == '+' ? '/' : *c;
    }
    return str_of(name);
}

int store_names(struct image_store *s, struct arena *a, const char *path, char ***ret,
                size_t *ret_n, struct err *err) {
    int fd = openat(s->dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *ret = NULL;
    *ret_n = 0;
    if (fd < 0 && errno == ENOENT) {
        return 0;
    }
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (d == NULL) {
        int why = errno;
        mem_auto_close(&fd);
        return err_sys(err, why, "list %s of the image store", path);
    }
    VEC_OF(char *) names = {0};
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] != '.' && !str_ends(str_of(e->d_name), STR(".tmp"))) {
            vec_push(&names, arena_strdup(a, e->d_name));
        }
    }
    (void)closedir(d);
    *ret = arena_memdup(a, names.p, names.n * sizeof(*names.p));
    *ret_n = names.n;
    vec_fini(&names);
    return 0;
}

int repo_make(struct image_store *s, struct str repo, struct err *err) {
    static const char *const parts[] = {"uploads", "blobs", "referrers", "manifests", "tags"};
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct stat st;
    if (fstatat(s->dir_fd, repo_path(a, repo, "tags", NULL), &st, AT_SYMLINK_NOFOLLOW) == 0) {
        return 0;
    }
    char **names;
    size_t n;
    if (store_names(s, a, "repos", &names, &n, err) < 0) {
        return -1;
    }
    if (n >= limits.registry_max_repos) {
        limits_hit(&limits.registry_max_repos);
        return err_field(err, ERR_RESOURCE_EXHAUSTED, "TOOMANYREQUESTS",
                         "there are %zu repositories already (limit registry_max_repos)", n);
    }
    for (size_t i = 0; i < NR_OF(parts); i++) {
        if (file_mkdirs(s->dir_fd, repo_path(a, repo, parts[i], NULL), 0700, err) < 0) {
            return -1;
        }
    }
    if (file_fsync_dir(s->dir_fd, repo_path(a, repo, ".", NULL), err) < 0) {
        return -1;
    }
    return file_fsync_dir(s->dir_fd, "repos", err);
}

int store_mark(struct image_store *s, struct arena *a, const char *dir, const char *name,
               struct err *err) {
    auto_close int fd = openat(s->dir_fd, arena_printf(a, "%s/%s", dir, name),
                               O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || futimens(fd, NULL) < 0) {
        return err_sys(err, errno, "mark %s in the image store", name);
    }
    return file_fsync_dir(s->dir_fd, dir, err);
}

int store_blob_size(struct image_store *s, const char *hex, uint64_t *ret) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct stat st;
    if (fstatat(s->dir_fd, arena_printf(a, "blobs/sha256/%s", hex), &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(st.st_mode)) {
        return -1;
    }
    *ret = (uint64_t)st.st_size;
    return 0;
}

bool repo_has_blob(struct image_store *s, struct str repo, const char *hex) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    return faccessat(s->dir_fd, repo_path(a, repo, "blobs", hex), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int blob_unknown(struct str repo, const char *hex, struct err *err) {
    return err_field(err, ERR_NOT_FOUND, "BLOB_UNKNOWN", "repository %.*s has no blob sha256:%s",
                     STR_ARG(repo), hex);
}

/* ---- blobs */

int registry_blob_open(struct image_store *s, struct str repo, const char *hex, bool touch,
                       int *ret_fd, uint64_t *ret_size, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const char *mark = repo_path(a, repo, "blobs", hex);
    int rc = 0;
    (void)pthread_mutex_lock(&s->lock); /* a prune must not fall between the look and the touch */
    auto_close int fd = -1;
    if (faccessat(s->dir_fd, mark, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
        rc = blob_unknown(repo, hex, err);
    } else {
        fd = openat(s->dir_fd, arena_printf(a, "blobs/sha256/%s", hex),
                    O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        rc = fd < 0 ? blob_unknown(repo, hex, err) : 0;
    }
    if (rc == 0 && touch && utimensat(s->dir_fd, mark, NULL, 0) < 0) {
        rc = err_sys(err, errno, "touch blob %s", hex);
    }
    (void)pthread_mutex_unlock(&s->lock);
    struct stat st;
    if (rc == 0 && fstat(fd, &st) < 0) {
        rc = err_sys(err, errno, "look at blob %s", hex);
    }
    if (rc == 0) {
        *ret_size = (uint64_t)st.st_size;
        if (ret_fd != NULL) {
            *ret_fd = take_fd(&fd);
        }
    }
    return rc;
}

/* Lock held; the blob's file is there. */
static int mark_blob(struct image_store *s, struct str repo, const char *hex, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    if (repo_make(s, repo, err) < 0) {
        return -1;
    }
    return store_mark(s, a, repo_path(a, repo, "blobs", NULL), hex, err);
}

int registry_blob_mount(struct image_store *s, struct str repo, struct str from, const char *hex,
                        struct err *err) {
    uint64_t size;
    (void)pthread_mutex_lock(&s->lock);
    int rc = !repo_has_blob(s, from, hex) || store_blob_size(s, hex, &size) < 0
                 ? blob_unknown(from, hex, err)
             : FAIL_POINT("registry.mount.before_mark", err) < 0 ? -1
                                                                 : mark_blob(s, repo, hex, err);
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

static int repo_uses_blob(struct image_store *s, struct str repo, const char *hex, bool *ret,
                          struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    char **names;
    size_t n;
    *ret = false;
    if (store_names(s, a, repo_path(a, repo, "manifests", NULL), &names, &n, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < n && !*ret; i++) {
        struct rec r;
        struct str v;
        if (manifest_rec(s, a, repo, names[i], &r, err) < 0) {
            return -1;
        }
        for (size_t it = 0; !*ret && rec_next(&r, "blob", &it, &v);) {
            *ret = str_eqc(v, hex);
        }
    }
    return 0;
}

int registry_blob_delete(struct image_store *s, struct str repo, const char *hex, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    bool used = false;
    int rc = 0;
    (void)pthread_mutex_lock(&s->lock);
    if (!repo_has_blob(s, repo, hex)) {
        rc = blob_unknown(repo, hex, err);
    } else if (repo_uses_blob(s, repo, hex, &used, err) < 0) {
        rc = -1;
    } else if (used) {
        rc = err_field(err, ERR_FAILED_PRECONDITION, "DENIED",
                       "a manifest of repository %.*s refers to blob sha256:%s: delete that first",
                       STR_ARG(repo), hex);
    } else if (unlinkat(s->dir_fd, repo_path(a, repo, "blobs", hex), 0) < 0) {
        rc = err_sys(err, errno, "remove blob %s", hex);
    } else {
        rc = file_fsync_dir(s->dir_fd, repo_path(a, repo, "blobs", NULL), err);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- uploads */

static void upload_free(struct registry_upload *u) { /* lock held, or closing */
    list_del(&u->link);
    u->s->nr_uploads--;
    mem_auto_close(&u->fd);
    hash_free(u->hash);
    free(u->repo);
    free(u->path);
    free(u);
}

static struct registry_upload *upload_new(struct image_store *s, struct str repo, const char *id) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct registry_upload *u = xcalloc(1, sizeof(*u));
    u->s = s;
    memcpy(u->id, id, ID_LEN);
    u->repo = str_dup(repo);
    u->path = xstrdup(repo_path(a, repo, "uploads", u->id));
    u->fd = -1;
    u->busy = true;
    list_push_tail(&s->uploads, &u->link);
    s->nr_uploads++;
    return u;
}

/* ---- those that nobody continues */

static void expire_files(struct image_store *s, const char *dir) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    char **names;
    size_t n;
    time_t now = time(NULL);
    if (store_names(s, a, dir, &names, &n, NULL) < 0) {
        return; /* the next time tries again */
    }
    for (size_t i = 0; i < n; i++) {
        const char *path = arena_printf(a, "%s/%s", dir, names[i]);
        struct stat st;
        if (fstatat(s->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            now - st.st_mtime > (time_t)limits.registry_upload_keep_s) {
            struct registry_upload *u, *next;
            bool busy = false;
            list_each_safe (u, next, &s->uploads, link) {
                if (strcmp(u->path, path) == 0) {
                    busy = u->busy;
                    if (!busy) {
                        upload_free(u);
                    }
                    break;
                }
            }
            if (!busy) {
                (void)unlinkat(s->dir_fd, path, 0);
            }
        }
    }
}

static void expire_uploads(struct image_store *s) { /* lock held */
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    char **repos;
    size_t n;
    if (store_names(s, a, "repos", &repos, &n, NULL) == 0) {
        for (size_t i = 0; i < n; i++) {
            expire_files(s, arena_printf(a, "repos/%s/uploads", repos[i]));
        }
    }
}

void registry_expire_uploads(struct image_store *s) {
    (void)pthread_mutex_lock(&s->lock);
    expire_uploads(s);
    (void)pthread_mutex_unlock(&s->lock);
}

int registry_upload_start(struct image_store *s, struct str repo, struct registry_upload **ret,
                          struct err *err) {
    uint8_t raw[ID_LEN / 2];
    char id[ID_LEN + 1];
    rng_secret(raw, sizeof(raw));
    for (size_t i = 0; i < sizeof(raw); i++) {
        (void)snprintf(id + 2 * i, 3, "%02x", raw[i]);
    }
    int rc = 0;
    (void)pthread_mutex_lock(&s->lock);
    if (s->nr_uploads >= limits.registry_max_uploads) {
        expire_uploads(s);
    }
    if (s->nr_uploads >= limits.registry_max_uploads) {
        limits_hit(&limits.registry_max_uploads);
        rc = err_field(err, ERR_RESOURCE_EXHAUSTED, "TOOMANYREQUESTS",
                       "%u uploads are under way already (limit registry_max_uploads)",
                       s->nr_uploads);
    }
    if (rc == 0) {
        rc = repo_make(s, repo, err);
    }
    if (rc == 0) {
        struct registry_upload *u = upload_new(s, repo, id);
        u->hash = hash_new();
        u->fd = openat(s->dir_fd, u->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (u->fd < 0) {
            rc = err_sys(err, errno, "make a file for the upload");
            upload_free(u);
        } else {
            *ret = u;
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

static int upload_unknown(struct str repo, struct str id, struct err *err) {
    return err_field(err, ERR_NOT_FOUND, "BLOB_UPLOAD_UNKNOWN",
                     "repository %.*s has no upload \"%.*s\" under way", STR_ARG(repo),
                     (int)(id.n > 64 ? 64 : id.n), id.p ? id.p : "");
}

static bool id_is_good(struct str id) {
    for (size_t i = 0; i < id.n; i++) {
        if (strchr("0123456789abcdef", id.p[i]) == NULL || id.p[i] == '\0') {
            return false;
        }
    }
    return id.n == ID_LEN;
}

int registry_upload_open(struct image_store *s, struct str repo, struct str id,
                         struct registry_upload **ret, struct err *err) {
    struct registry_upload *u = NULL, *i;
    struct stat st;
    int rc = 0;
    if (!id_is_good(id)) {
        return upload_unknown(repo, id, err);
    }
    (void)pthread_mutex_lock(&s->lock);
    list_each (i, &s->uploads, link) {
        if (str_eqc(id, i->id) && str_eqc(repo, i->repo)) {
            u = i;
            break;
        }
    }
    if (u != NULL && u->busy) {
        rc = err_field(err, ERR_ABORTED, "BLOB_UPLOAD_INVALID",
                       "another request is writing to upload %s", u->id);
    } else {
        if (u == NULL) { /* begun before a restart, or never */
            auto_free char *text = str_dup(id);
            u = upload_new(s, repo, text);
        }
        u->busy = true;
        u->fd = openat(s->dir_fd, u->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (u->fd < 0 || fstat(u->fd, &st) < 0) {
            upload_free(u);
            rc = upload_unknown(repo, id, err);
        } else if (u->hash == NULL || u->size != (uint64_t)st.st_size) {
            hash_free(u->hash);
            u->hash = NULL;
            u->size = (uint64_t)st.st_size;
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (rc == 0) {
        *ret = u;
    }
    return rc;
}

const char *registry_upload_id(const struct registry_upload *u) {
    return u->id;
}

uint64_t registry_upload_size(const struct registry_upload *u) {
    return u->size;
}

int registry_upload_write(struct registry_upload *u, struct str bytes, struct err *err) {
    size_t done = 0;
    if (u->broken) {
        return err_field(err, ERR_ABORTED, "BLOB_UPLOAD_INVALID", "the upload was broken off");
    }
    while (done < bytes.n) {
        ssize_t n = -1;
        struct err why = {0};
        if (FAIL_POINT("registry.upload.write", &why) == 0) {
            n = pwrite(u->fd, bytes.p + done, bytes.n - done, (off_t)(u->size + done));
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n < 0) {
                (void)err_sys(&why, errno, "write the upload");
            }
        }
        if (n < 0) {
            u->broken = true;
            if (err != NULL) {
                *err = why;
            }
            return -1;
        }
        done += (size_t)n;
    }
    if (u->hash != NULL) {
        hash_add(u->hash, bytes.p, bytes.n);
    }
    /* The disk starts early, so that the flush at the end has little to wait for. */
    if ((u->size + bytes.n) / FLUSH_EVERY != u->size / FLUSH_EVERY) {
        (void)sync_file_range(u->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    }
    u->size += bytes.n;
    return 0;
}

void registry_upload_cancel(struct registry_upload *u) {
    struct image_store *s = u->s;
    (void)pthread_mutex_lock(&s->lock);
    (void)unlinkat(s->dir_fd, u->path, 0);
    upload_free(u);
    (void)pthread_mutex_unlock(&s->lock);
}

void registry_upload_release(struct registry_upload *u) {
    if (u->broken) {
        registry_upload_cancel(u);
        return;
    }
    (void)pthread_mutex_lock(&u->s->lock);
    mem_auto_close(&u->fd);
    u->fd = -1;
    u->busy = false;
    (void)pthread_mutex_unlock(&u->s->lock);
}

static int hash_file(struct registry_upload *u, struct err *err) {
    auto_free char *chunk = xmalloc(1u << 18);
    off_t at = 0;
    ssize_t n;
    u->hash = hash_new();
    while ((n = pread(u->fd, chunk, 1u << 18, at)) > 0) {
        hash_add(u->hash, chunk, (size_t)n);
        at += n;
    }
    return n < 0 ? err_sys(err, errno, "read the upload") : 0;
}

static int name_blob(struct registry_upload *u, const char *hex, bool flushed, struct err *err) {
    struct image_store *s = u->s;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    uint64_t size;
    if (store_blob_size(s, hex, &size) < 0) { /* else it is here: ours is not needed */
        if (!flushed && fsync(u->fd) < 0) {   /* was here a moment ago: a prune took it */
            return err_sys(err, errno, "flush the upload");
        }
        if (renameat(s->dir_fd, u->path, s->dir_fd, arena_printf(a, "blobs/sha256/%s", hex)) < 0) {
            return err_sys(err, errno, "name blob %s", hex);
        }
        if (file_fsync_dir(s->dir_fd, "blobs/sha256", err) < 0) {
            return -1;
        }
    }
    if (FAIL_POINT("registry.blob.before_mark", err) < 0) {
        return -1;
    }
    return mark_blob(s, str_of(u->repo), hex, err);
}

int registry_upload_finish(struct registry_upload *u, const char *hex, struct err *err) {
    struct image_store *s = u->s;
    char got[SHA256_HEX_LEN + 1] = "";
    int rc = 0;
    if (u->broken) {
        rc = err_field(err, ERR_ABORTED, "BLOB_UPLOAD_INVALID", "the upload was broken off");
    }
    if (rc == 0 && u->hash == NULL) {
        rc = hash_file(u, err);
    }
    if (rc == 0) {
        hash_hex(u->hash, got);
        if (strcmp(got, hex) != 0) {
            rc = err_field(err, ERR_INVALID_ARGUMENT, "DIGEST_INVALID",
                           "the %llu bytes sent have digest sha256:%s, not sha256:%s",
                           (unsigned long long)u->size, got, hex);
        }
    }
    uint64_t known;
    bool flushed = rc == 0 && store_blob_size(s, hex, &known) < 0;
    if (flushed && fsync(u->fd) < 0) { /* what is here already needs no second copy on the disk */
        rc = err_sys(err, errno, "flush the upload");
    }
    if (rc == 0) {
        rc = FAIL_POINT("registry.blob.before_rename", err);
    }
    (void)pthread_mutex_lock(&s->lock);
    if (rc == 0) {
        rc = name_blob(u, hex, flushed, err);
    }
    (void)unlinkat(s->dir_fd, u->path, 0);
    upload_free(u);
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

void registry_close(struct image_store *s) {
    struct registry_upload *u, *next;
    list_each_safe (u, next, &s->uploads, link) {
        upload_free(u); /* the files stay */
    }
}
