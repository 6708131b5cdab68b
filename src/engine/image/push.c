/* An image of the shelf goes to another registry: blobs that it does not have, manifests, the tag.
 * Of an index that came as a copy only the entry for this machine is here; then that is what goes.
 */
#include "base/limits.h"
#include "engine/image/pull_int.h"

#include <unistd.h>

struct push_src {
    struct push_job *j;
    struct arena *a;
    struct str repo; /* on the shelf */
};

/* ---- what is to go */

static int locate(struct push_src *p, char ret_hex[SHA256_HEX_LEN + 1], struct err *err) {
    struct image_store *s = p->j->store;
    struct str name = str_of(p->j->image);
    struct registry_name n;
    char image[SHA256_HEX_LEN + 1];
    bool ours;
    if (!registry_parse_name(name, &n)) {
        return err_field(err, ERR_INVALID_ARGUMENT, "image", "\"%.300s\" is not an image's name",
                         p->j->image);
    }
    (void)pthread_mutex_lock(&s->lock);
    bool found = registry_find(s, p->a, name, false, image, &ours, NULL);
    p->repo = n.repo;
    if (!found) {
        found = registry_find_foreign(s, p->a, name, image, &p->repo, NULL);
    }
    if (found && n.tag.p != NULL) {
        found = manifest_find(s, p->repo, n.tag, ret_hex, NULL) == 0;
    } else if (found) {
        memcpy(ret_hex, n.hex, SHA256_HEX_LEN + 1);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return found ? 0
                 : err_field(err, ERR_NOT_FOUND, "image",
                             "image \"%.300s\" is not among those that can be pushed (pushed, "
                             "pulled or imported here; those that older versions imported are to "
                             "be imported again)",
                             p->j->image);
}

static int manifest_of(struct push_src *p, const char *hex, struct registry_manifest *ret,
                       struct err *err) {
    return registry_manifest_get(p->j->store, p->a, p->repo,
                                 str_of(arena_printf(p->a, "sha256:%s", hex)), true, ret, err);
}

static bool is_index(const struct registry_manifest *m) {
    return strstr(m->media_type, "index") != NULL || strstr(m->media_type, "list") != NULL;
}

static int rec_of(struct push_src *p, const char *hex, struct rec *ret, struct err *err) {
    (void)pthread_mutex_lock(&p->j->store->lock);
    int rc = manifest_rec(p->j->store, p->a, p->repo, hex, ret, err);
    (void)pthread_mutex_unlock(&p->j->store->lock);
    return rc;
}

/* ---- one blob */

static void on_sent(void *arg, uint64_t n) {
    struct push_job *j = arg;
    atomic_fetch_add(&j->sent, n);
}

/* 1: it is there; 0: it is not. */
static int has_blob(struct push_job *j, const char *hex, struct err *err) {
    auto_free char *path = xasprintf("blobs/sha256:%s", hex);
    for (unsigned tries = 1;; tries++) {
        struct remote_req q = {.method = "HEAD", .path = path, .fd = -1, .max = 65536};
        int rc = remote_do(j->session, remote_main_place(j->session), &q, err);
        buf_fini(&q.reply);
        if (rc == 0 && !q.can_retry) {
            return q.status == 200;
        }
        if (rc == 0) {
            (void)remote_refused(j->session, remote_main_place(j->session), &q, path, err);
        }
        if (remote_pause(j->session, &q, tries, err) < 0) {
            return -1;
        }
    }
}

static int begin_upload(struct push_job *j, char **ret_url, const char *hex, struct err *err) {
    struct remote_req q = {
        .method = "POST", .path = "blobs/uploads/", .fd = -1, .max = 65536, .has_body = true};
    int rc = remote_get(j->session, remote_main_place(j->session), &q, "beginning an upload", err);
    if (rc == 0 && q.location[0] == '\0') {
        rc = err_set(err, ERR_UNAVAILABLE, "registry %s does not say where to upload to",
                     j->ref->host);
    } else if (rc == 0) {
        *ret_url = xasprintf("%s%cdigest=sha256%%3A%s", q.location,
                             strchr(q.location, '?') != NULL ? '&' : '?', hex);
    }
    buf_fini(&q.reply);
    return rc;
}

static int send_blob(struct push_job *j, const char *hex, int fd, uint64_t size, struct err *err) {
    auto_free char *what = xasprintf("blob sha256:%.12s", hex);
    for (unsigned tries = 1;; tries++) {
        auto_free char *url = NULL;
        unsigned long long before = atomic_load(&j->sent);
        struct remote_req q = {.method = "PUT",
                               .content_type = "application/octet-stream",
                               .has_body = true,
                               .fd = fd,
                               .fd_size = size,
                               .max = 65536,
                               .sent = on_sent,
                               .arg = j};
        if (begin_upload(j, &url, hex, err) < 0) {
            return -1;
        }
        q.path = url;
        int rc = remote_do(j->session, remote_main_place(j->session), &q, err);
        if (rc == 0 && q.status < 300) {
            buf_fini(&q.reply);
            return 0;
        }
        if (rc == 0) {
            (void)remote_refused(j->session, remote_main_place(j->session), &q, what, err);
        }
        buf_fini(&q.reply);
        atomic_store(&j->sent, before);
        if (remote_pause(j->session, &q, tries, err) < 0) {
            return -1;
        }
    }
}

static int push_blob(struct push_src *p, const char *hex, struct err *err) {
    struct push_job *j = p->j;
    uint64_t size;
    int has = has_blob(j, hex, err);
    auto_close int fd = -1;
    if (has < 0 || registry_blob_open(j->store, p->repo, hex, true, &fd, &size, err) < 0) {
        return -1;
    }
    if (has > 0) {
        atomic_fetch_add(&j->sent, size);
    } else if (send_blob(j, hex, fd, size, err) < 0) {
        return -1;
    }
    atomic_fetch_add(&j->parts_done, 1);
    return 0;
}

/* ---- manifests */

static int put_manifest(struct push_src *p, const char *reference,
                        const struct registry_manifest *m, struct err *err) {
    struct push_job *j = p->j;
    auto_free char *path = xasprintf("manifests/%s", reference);
    struct remote_req q = {.method = "PUT",
                           .path = path,
                           .content_type = m->media_type,
                           .has_body = true,
                           .body = m->bytes,
                           .fd = -1,
                           .max = 65536};
    int rc = remote_get(j->session, remote_main_place(j->session), &q, path, err);
    if (rc == 0 && q.digest[0] != '\0' && !str_ends(str_of(q.digest), str_of(m->hex))) {
        rc = err_set(err, ERR_FAILED_PRECONDITION, "registry %s took the manifest sha256:%s for %s",
                     j->ref->host, m->hex, q.digest);
    }
    buf_fini(&q.reply);
    return rc;
}

static int push_one(struct push_src *p, const struct registry_manifest *m, const char *reference,
                    struct err *err) {
    struct rec r;
    struct str hex;
    if (rec_of(p, m->hex, &r, err) < 0) {
        return -1;
    }
    for (size_t it = 0; rec_next(&r, "blob", &it, &hex);) {
        if (push_blob(p, arena_strndup(p->a, hex.p, hex.n), err) < 0) {
            return -1;
        }
    }
    return put_manifest(p, reference, m, err);
}

static int count(struct push_src *p, const char *hex, struct err *err) {
    struct rec r;
    struct str blob;
    uint64_t size;
    if (rec_of(p, hex, &r, err) < 0) {
        return -1;
    }
    for (size_t it = 0; rec_next(&r, "blob", &it, &blob);) {
        const char *b = arena_strndup(p->a, blob.p, blob.n);
        if (store_blob_size(p->j->store, b, &size) == 0) {
            atomic_fetch_add(&p->j->total, size);
        }
        atomic_fetch_add(&p->j->parts, 1);
    }
    return 0;
}

/* The entries of an index; 1 when all are here, 0 when not. */
static int children_of(struct push_src *p, const char *hex, char ***ret, size_t *ret_n,
                       struct err *err) {
    VEC_OF(char *) v = {0};
    struct rec r, child;
    struct str line;
    int all = 1;
    if (rec_of(p, hex, &r, err) < 0) {
        return -1;
    }
    for (size_t it = 0; rec_next(&r, "child", &it, &line);) {
        char *c = arena_strndup(p->a, line.p, line.n < SHA256_HEX_LEN ? line.n : SHA256_HEX_LEN);
        all = all && rec_of(p, c, &child, NULL) == 0;
        vec_push(&v, c);
    }
    *ret = arena_memdup(p->a, v.p, v.n * sizeof(*v.p));
    *ret_n = v.n;
    vec_fini(&v);
    return all;
}

static int push_index(struct push_src *p, const struct registry_manifest *m, struct err *err) {
    struct push_job *j = p->j;
    struct registry_manifest child;
    char hex[SHA256_HEX_LEN + 1], **list;
    size_t n;
    int all = children_of(p, m->hex, &list, &n, err);
    if (all < 0) {
        return -1;
    }
    if (all == 0) {
        j->gave_child = true;
        if (registry_pick(j->store, p->repo, m->hex, hex, err) < 0 ||
            manifest_of(p, hex, &child, err) < 0 || count(p, hex, err) < 0) {
            return -1;
        }
        (void)snprintf(j->digest, sizeof(j->digest), "sha256:%s", hex);
        return push_one(p, &child, j->ref->tag, err);
    }
    for (size_t i = 0; i < n; i++) {
        if (count(p, list[i], err) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < n; i++) {
        const char *reference = arena_printf(p->a, "sha256:%s", list[i]);
        if (manifest_of(p, list[i], &child, err) < 0) {
            return -1;
        }
        if (is_index(&child)) {
            return err_set(err, ERR_UNIMPLEMENTED, "an index within an index cannot be pushed");
        }
        if (push_one(p, &child, reference, err) < 0) {
            return -1;
        }
    }
    return put_manifest(p, j->ref->tag, m, err);
}

int push_image(struct push_job *j, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct push_src p = {.j = j, .a = a};
    struct registry_manifest m;
    char hex[SHA256_HEX_LEN + 1];
    if (locate(&p, hex, err) < 0 || manifest_of(&p, hex, &m, err) < 0) {
        return -1;
    }
    (void)snprintf(j->digest, sizeof(j->digest), "sha256:%s", hex);
    if (is_index(&m)) {
        return push_index(&p, &m, err);
    }
    return count(&p, hex, err) < 0 || push_one(&p, &m, j->ref->tag, err) < 0 ? -1 : 0;
}
