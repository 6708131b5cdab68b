/* Manifests and tags on the shelf. A manifest is believed after everything it names was looked at:
 * its media type, its own digest, that each blob is in the repository and as long as it says. */
#include "base/fail.h"
#include "base/jw.h"
#include "base/limits.h"
#include "engine/image/registry_int.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOTES_MAX ((size_t)1 << 20) /* annotations kept for referrers */
#define REFERRERS_MAX ((size_t)16 << 20)

static const struct type {
    const char *media_type;
    bool is_index;
} types[] = {
    {"application/vnd.oci.image.manifest.v1+json", false},
    {"application/vnd.oci.image.index.v1+json", true},
    {"application/vnd.docker.distribution.manifest.v2+json", false},
    {"application/vnd.docker.distribution.manifest.list.v2+json", true},
};

struct put {
    struct image_store *s;
    struct arena *a;
    struct str repo;
    const struct type *type;
    json_t *doc;
    struct buf rec;
    char subject[SHA256_HEX_LEN + 1];
    const char *artifact_type;
    bool has_layers;
};

static const char *text_of(const json_t *j, const char *key) {
    const char *v = json_string_value(json_object_get(j, key));
    return v != NULL ? v : "";
}

static int invalid(struct err *err, const char *what) {
    return err_field(err, ERR_INVALID_ARGUMENT, "MANIFEST_INVALID", "the manifest %s", what);
}

static const struct type *type_of(struct str media_type) {
    ptrdiff_t end = str_chr(media_type, ';');
    struct str bare = str_trim(end >= 0 ? str_sub(media_type, 0, (size_t)end) : media_type);
    for (size_t i = 0; i < NR_OF(types); i++) {
        if (str_eqc(bare, types[i].media_type)) {
            return &types[i];
        }
    }
    return NULL;
}

/* ---- checking */

static int check_descriptor(const json_t *d, const char *what, char ret_hex[SHA256_HEX_LEN + 1],
                            uint64_t *ret_size, struct err *err) {
    const json_t *size = json_object_get(d, "size");
    if (!json_is_object(d) || !digest_parse(str_of(text_of(d, "digest")), ret_hex)) {
        return err_field(err, ERR_INVALID_ARGUMENT, "MANIFEST_INVALID",
                         "%s of the manifest has no sha256 digest", what);
    }
    if (!json_is_integer(size) || json_integer_value(size) < 0) {
        return err_field(err, ERR_INVALID_ARGUMENT, "MANIFEST_INVALID",
                         "%s of the manifest has no size", what);
    }
    *ret_size = (uint64_t)json_integer_value(size);
    return 0;
}

/* Layers that their publisher serves from elsewhere need not be here. */
static bool is_foreign(const json_t *d) {
    const char *type = text_of(d, "mediaType");
    return json_array_size(json_object_get(d, "urls")) > 0 &&
           (strstr(type, "foreign") != NULL || strstr(type, "nondistributable") != NULL);
}

static int take_blob(struct put *p, const json_t *d, const char *what, struct err *err) {
    char hex[SHA256_HEX_LEN + 1];
    uint64_t size, is;
    if (check_descriptor(d, what, hex, &size, err) < 0) {
        return -1;
    }
    if (!repo_has_blob(p->s, p->repo, hex) || store_blob_size(p->s, hex, &is) < 0) {
        return is_foreign(d) ? 0
                             : err_field(err, ERR_NOT_FOUND, "MANIFEST_BLOB_UNKNOWN",
                                         "%s sha256:%s was not pushed to repository %.*s", what,
                                         hex, STR_ARG(p->repo));
    }
    if (is != size) {
        return err_field(err, ERR_INVALID_ARGUMENT, "SIZE_INVALID",
                         "%s sha256:%s has %llu bytes, the manifest says %llu", what, hex,
                         (unsigned long long)is, (unsigned long long)size);
    }
    rec_puts(&p->rec, "blob", hex);
    return 0;
}

static int take_image(struct put *p, struct err *err) {
    const json_t *layers = json_object_get(p->doc, "layers");
    const json_t *config = json_object_get(p->doc, "config");
    size_t i;
    json_t *d;
    if (!json_is_array(layers) || take_blob(p, config, "the config", err) < 0) {
        return json_is_array(layers) ? -1 : invalid(err, "has no list of layers");
    }
    json_array_foreach((json_t *)layers, i, d) {
        auto_free char *what = xasprintf("layer %zu", i + 1);
        if (take_blob(p, d, what, err) < 0) {
            return -1;
        }
    }
    const char *config_type = text_of(config, "mediaType");
    if (p->artifact_type[0] == '\0') {
        p->artifact_type = config_type;
    }
    p->has_layers = strcmp(config_type, "application/vnd.oci.image.config.v1+json") == 0 ||
                    strcmp(config_type, "application/vnd.docker.container.image.v1+json") == 0;
    return 0;
}

/* "HEX os/arch": what an index is asked for later. */
static int take_index(struct put *p, struct err *err) {
    const json_t *list = json_object_get(p->doc, "manifests");
    size_t i;
    json_t *d;
    if (!json_is_array(list)) {
        return invalid(err, "has no list of manifests");
    }
    json_array_foreach((json_t *)list, i, d) {
        char hex[SHA256_HEX_LEN + 1];
        uint64_t size;
        if (check_descriptor(d, "an entry", hex, &size, err) < 0) {
            return -1;
        }
        const json_t *on = json_object_get(d, "platform");
        const char *os = text_of(on, "os"), *arch = text_of(on, "architecture");
        if (on != NULL && (strlen(os) > 64 || strlen(arch) > 64)) {
            return invalid(err, "names a platform of more than 64 letters");
        }
        auto_free char *line =
            on != NULL ? xasprintf("%s %s/%s", hex, os, arch) : xasprintf("%s", hex);
        rec_puts(&p->rec, "child", line);
    }
    p->has_layers = true;
    return 0;
}

static int take_subject(struct put *p, struct err *err) {
    const json_t *subject = json_object_get(p->doc, "subject");
    uint64_t size;
    if (subject == NULL) {
        return 0;
    }
    if (check_descriptor(subject, "the subject", p->subject, &size, err) < 0) {
        return -1;
    }
    rec_puts(&p->rec, "subject", p->subject);
    return 0;
}

static int take_notes(struct put *p, struct err *err) {
    const json_t *notes = json_object_get(p->doc, "annotations");
    if (notes == NULL) {
        return 0;
    }
    if (!json_is_object(notes)) {
        return invalid(err, "has annotations that are not an object");
    }
    auto_free char *text = json_dumps(notes, JSON_COMPACT);
    if (text != NULL && strlen(text) < NOTES_MAX) {
        rec_puts(&p->rec, "annotations", text);
    }
    return 0;
}

static int take_manifest(struct put *p, struct str media_type, struct str bytes, struct err *err) {
    json_error_t why;
    p->doc = json_loadb(bytes.p != NULL ? bytes.p : "", bytes.n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(p->doc)) {
        return err_field(err, ERR_INVALID_ARGUMENT, "MANIFEST_INVALID",
                         "the manifest is not a JSON object: %s (line %d)", why.text, why.line);
    }
    const char *own = text_of(p->doc, "mediaType");
    p->type = type_of(media_type.n > 0 ? media_type : str_of(own));
    if (p->type == NULL) {
        struct str shown = media_type.n > 0 ? media_type : str_of(own);
        return err_field(err, ERR_INVALID_ARGUMENT, "MANIFEST_INVALID",
                         "the manifest's media type \"%.*s\" is none of: OCI image manifest, OCI "
                         "image index, docker manifest v2 (schema 2), docker manifest list",
                         (int)(shown.n > 120 ? 120 : shown.n), shown.p != NULL ? shown.p : "");
    }
    if (own[0] != '\0' && strcmp(own, p->type->media_type) != 0) {
        return err_field(err, ERR_INVALID_ARGUMENT, "MANIFEST_INVALID",
                         "the manifest says its mediaType is \"%.120s\", Content-Type says \"%s\"",
                         own, p->type->media_type);
    }
    const json_t *version = json_object_get(p->doc, "schemaVersion");
    if (json_integer_value(version) != 2) {
        return invalid(err, "has another schemaVersion than 2");
    }
    p->artifact_type = text_of(p->doc, "artifactType");
    rec_puts(&p->rec, "type", p->type->media_type);
    rec_put_u64(&p->rec, "size", bytes.n);
    if ((p->type->is_index ? take_index(p, err) : take_image(p, err)) < 0 ||
        take_subject(p, err) < 0 || take_notes(p, err) < 0) {
        return -1;
    }
    if (p->artifact_type[0] != '\0') {
        rec_puts(&p->rec, "artifact", p->artifact_type);
    }
    return p->rec.full ? invalid(err, "refers to too many things") : 0;
}

/* ---- writing */

static int make_room(struct put *p, const char *hex, struct err *err) {
    char **names;
    size_t n;
    const char *dir = repo_path(p->a, p->repo, "manifests", NULL);
    if (faccessat(p->s->dir_fd, arena_printf(p->a, "%s/%s", dir, hex), F_OK, 0) == 0) {
        return 0;
    }
    if (store_names(p->s, p->a, dir, &names, &n, err) < 0) {
        return -1;
    }
    if (n >= limits.registry_max_manifests) {
        limits_hit(&limits.registry_max_manifests);
        return err_field(err, ERR_RESOURCE_EXHAUSTED, "TOOMANYREQUESTS",
                         "repository %.*s has %zu manifests already (limit registry_max_manifests)",
                         STR_ARG(p->repo), n);
    }
    return 0;
}

static int write_tag(struct put *p, struct str tag, const char *hex, struct err *err) {
    char **names;
    size_t n;
    const char *dir = repo_path(p->a, p->repo, "tags", NULL);
    const char *path = arena_printf(p->a, "%s/%.*s@", dir, STR_ARG(tag));
    if (faccessat(p->s->dir_fd, path, F_OK, 0) < 0) {
        if (store_names(p->s, p->a, dir, &names, &n, err) < 0) {
            return -1;
        }
        if (n >= limits.registry_max_manifests) {
            limits_hit(&limits.registry_max_manifests);
            return err_field(err, ERR_RESOURCE_EXHAUSTED, "TOOMANYREQUESTS",
                             "repository %.*s has %zu tags already (limit registry_max_manifests)",
                             STR_ARG(p->repo), n);
        }
    }
    return file_write_atomic(p->s->dir_fd, path, str_of(hex), 0600, FILE_SYNC, err);
}

static int write_subject(struct put *p, const char *hex, struct err *err) {
    const char *dir = repo_path(p->a, p->repo, "referrers", p->subject);
    if (file_mkdirs(p->s->dir_fd, dir, 0700, err) < 0 ||
        file_fsync_dir(p->s->dir_fd, repo_path(p->a, p->repo, "referrers", NULL), err) < 0) {
        return -1;
    }
    return store_mark(p->s, p->a, dir, hex, err);
}

static int write_manifest(struct put *p, const char *hex, struct str tag, struct str bytes,
                          struct err *err) {
    uint64_t size;
    const char *path = repo_path(p->a, p->repo, "manifests", hex);
    if (make_room(p, hex, err) < 0) {
        return -1;
    }
    if (store_blob_size(p->s, hex, &size) < 0 && store_put_blob(p->s, hex, bytes, err) < 0) {
        return -1;
    }
    if (p->subject[0] != '\0' && write_subject(p, hex, err) < 0) {
        return -1;
    }
    if (FAIL_POINT("registry.manifest.before_write", err) < 0 ||
        file_write_atomic(p->s->dir_fd, path, buf_str(&p->rec), 0600, FILE_SYNC, err) < 0 ||
        FAIL_POINT("registry.tag.before_write", err) < 0) {
        return -1;
    }
    return tag.p != NULL ? write_tag(p, tag, hex, err) : 0;
}

/* A manifest that is all that stands between two requests for the same tag: the lock is held from
 * the look at the blobs to the tag. */
static int put_one(struct image_store *s, struct arena *a, struct str repo, struct str reference,
                   struct str media_type, struct str bytes, bool is_copy,
                   struct registry_manifest *ret, struct err *err) {
    struct put p = {.s = s, .a = a, .repo = repo, .rec = BUF_INIT(REGISTRY_REC_MAX)};
    char hex[SHA256_HEX_LEN + 1], want[SHA256_HEX_LEN + 1];
    bool by_digest = str_chr(reference, ':') >= 0;
    hash_of(bytes, hex);
    if (by_digest ? registry_check_digest(reference, want, err) < 0
                  : registry_check_tag(reference, err) < 0) {
        return -1;
    }
    if (by_digest && strcmp(hex, want) != 0) {
        return err_field(err, ERR_INVALID_ARGUMENT, "DIGEST_INVALID",
                         "the manifest has digest sha256:%s, not sha256:%s", hex, want);
    }
    rec_begin(&p.rec);
    (void)pthread_mutex_lock(&s->lock);
    int rc = repo_make(s, repo, err);
    if (rc == 0) {
        rc = take_manifest(&p, media_type, bytes, err);
    }
    if (rc == 0 && !is_copy) {
        (void)unlinkat(s->dir_fd, repo_path(a, repo, "pulled", NULL), 0);
    }
    if (rc == 0) {
        rc = write_manifest(&p, hex, by_digest ? (struct str){0} : reference, bytes, err);
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (rc == 0) {
        *ret = (struct registry_manifest){
            .media_type = p.type->media_type, .size = bytes.n, .is_image = p.has_layers};
        memcpy(ret->hex, hex, sizeof(hex));
        memcpy(ret->subject, p.subject, sizeof(p.subject));
    }
    json_decref(p.doc);
    buf_fini(&p.rec);
    return rc;
}

int registry_manifest_put(struct image_store *s, struct arena *a, struct str repo,
                          struct str reference, struct str media_type, struct str bytes,
                          struct registry_manifest *ret, struct err *err) {
    return put_one(s, a, repo, reference, media_type, bytes, false, ret, err);
}

int registry_manifest_copy(struct image_store *s, struct arena *a, struct str repo,
                           struct str reference, struct str media_type, struct str bytes,
                           struct registry_manifest *ret, struct err *err) {
    return put_one(s, a, repo, reference, media_type, bytes, true, ret, err);
}

/* ---- reading */

int manifest_rec(struct image_store *s, struct arena *a, struct str repo, const char *hex,
                 struct rec *ret, struct err *err) {
    auto_buf struct buf b = BUF_INIT(REGISTRY_REC_MAX);
    struct err why = {0};
    if (file_read(s->dir_fd, repo_path(a, repo, "manifests", hex), &b, &why) < 0) {
        if (why.code == ERR_NOT_FOUND) {
            return err_field(err, ERR_NOT_FOUND, "MANIFEST_UNKNOWN",
                             "repository %.*s has no manifest sha256:%s", STR_ARG(repo), hex);
        }
        return err_set(err, why.code, "%s", why.msg);
    }
    return rec_parse(a, arena_str(a, buf_str(&b)), ret, err);
}

static bool repo_exists(struct image_store *s, struct str repo) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    return faccessat(s->dir_fd, repo_path(a, repo, "tags", NULL), F_OK, 0) == 0;
}

static int name_unknown(struct str repo, struct err *err) {
    return err_field(err, ERR_NOT_FOUND, "NAME_UNKNOWN", "there is no repository %.*s",
                     STR_ARG(repo));
}

static int read_tag(struct image_store *s, struct str repo, struct str tag,
                    char ret_hex[SHA256_HEX_LEN + 1], struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf b = BUF_INIT(256);
    struct err why = {0};
    const char *path =
        arena_printf(a, "%s@", repo_path(a, repo, "tags", arena_strndup(a, tag.p, tag.n)));
    if (file_read(s->dir_fd, path, &b, &why) < 0) {
        return why.code != ERR_NOT_FOUND ? err_set(err, why.code, "%s", why.msg)
               : !repo_exists(s, repo)
                   ? name_unknown(repo, err)
                   : err_field(err, ERR_NOT_FOUND, "MANIFEST_UNKNOWN",
                               "repository %.*s has no tag \"%.*s\"", STR_ARG(repo), STR_ARG(tag));
    }
    if (!hex_is_sha256(buf_str(&b))) {
        return err_set(err, ERR_DATA_LOSS, "tag %.*s of repository %.*s is damaged", STR_ARG(tag),
                       STR_ARG(repo));
    }
    memcpy(ret_hex, b.p, SHA256_HEX_LEN);
    ret_hex[SHA256_HEX_LEN] = '\0';
    return 0;
}

int manifest_find(struct image_store *s, struct str repo, struct str reference,
                  char ret_hex[SHA256_HEX_LEN + 1], struct err *err) {
    if (str_chr(reference, ':') >= 0) {
        if (registry_check_digest(reference, ret_hex, err) < 0) {
            return -1;
        }
        return repo_exists(s, repo) ? 0 : name_unknown(repo, err);
    }
    if (registry_check_tag(reference, err) < 0) {
        return -1;
    }
    return read_tag(s, repo, reference, ret_hex, err);
}

int registry_manifest_get(struct image_store *s, struct arena *a, struct str repo,
                          struct str reference, bool want_bytes, struct registry_manifest *ret,
                          struct err *err) {
    struct registry_manifest m = {0};
    struct rec r;
    (void)pthread_mutex_lock(&s->lock);
    int rc = manifest_find(s, repo, reference, m.hex, err);
    if (rc == 0) {
        rc = manifest_rec(s, a, repo, m.hex, &r, err);
    }
    auto_buf struct buf b = BUF_INIT(limits.image_max_manifest);
    if (rc == 0 && want_bytes) {
        rc = file_read(s->dir_fd, arena_printf(a, "blobs/sha256/%s", m.hex), &b, err);
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (rc < 0) {
        return -1;
    }
    m.media_type = rec_get_cstr(&r, "type");
    m.size = rec_get_u64(&r, "size", 0);
    m.bytes = arena_str(a, buf_str(&b));
    *ret = m;
    return 0;
}

/* ---- removing */

static int remove_tags_on(struct image_store *s, struct arena *a, struct str repo, const char *hex,
                          struct err *err) {
    char **names;
    size_t n;
    if (store_names(s, a, repo_path(a, repo, "tags", NULL), &names, &n, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        char at[SHA256_HEX_LEN + 1];
        struct str tag = str_sub(str_of(names[i]), 0, strlen(names[i]) - 1);
        if (read_tag(s, repo, tag, at, err) < 0) {
            return -1;
        }
        if (strcmp(at, hex) == 0 &&
            unlinkat(s->dir_fd, repo_path(a, repo, "tags", names[i]), 0) < 0) {
            return err_sys(err, errno, "remove tag %s", names[i]);
        }
    }
    return file_fsync_dir(s->dir_fd, repo_path(a, repo, "tags", NULL), err);
}

int manifest_remove(struct image_store *s, struct arena *a, struct str repo, const char *hex,
                    struct err *err) {
    struct rec r;
    if (manifest_rec(s, a, repo, hex, &r, err) < 0 || remove_tags_on(s, a, repo, hex, err) < 0) {
        return -1;
    }
    const char *subject = rec_get_cstr(&r, "subject");
    if (unlinkat(s->dir_fd, repo_path(a, repo, "manifests", hex), 0) < 0) {
        return err_sys(err, errno, "remove manifest %s", hex);
    }
    if (subject != NULL) { /* left behind it would be ignored */
        const char *dir = repo_path(a, repo, "referrers", subject);
        (void)unlinkat(s->dir_fd, arena_printf(a, "%s/%s", dir, hex), 0);
        (void)unlinkat(s->dir_fd, dir, AT_REMOVEDIR);
    }
    return file_fsync_dir(s->dir_fd, repo_path(a, repo, "manifests", NULL), err);
}

static int remove_tag(struct image_store *s, struct arena *a, struct str repo, struct str tag,
                      struct err *err) {
    const char *path =
        arena_printf(a, "%s@", repo_path(a, repo, "tags", arena_strndup(a, tag.p, tag.n)));
    if (unlinkat(s->dir_fd, path, 0) < 0) {
        return err_sys(err, errno, "remove tag %.*s", STR_ARG(tag));
    }
    return file_fsync_dir(s->dir_fd, repo_path(a, repo, "tags", NULL), err);
}

int registry_manifest_delete(struct image_store *s, struct str repo, struct str reference,
                             struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    char hex[SHA256_HEX_LEN + 1];
    (void)pthread_mutex_lock(&s->lock);
    int rc = manifest_find(s, repo, reference, hex, err);
    if (rc == 0) {
        rc = str_chr(reference, ':') >= 0 ? manifest_remove(s, a, repo, hex, err)
                                          : remove_tag(s, a, repo, reference, err);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- discovery */

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void cut_page(char **names, size_t n, struct str last, size_t max,
                     struct registry_page *ret) {
    size_t from = 0;
    if (n > 0) { /* an empty list has no array */
        qsort(names, n, sizeof(*names), by_bytes);
    }
    while (last.p != NULL && from < n && str_cmp(str_of(names[from]), last) <= 0) {
        from++;
    }
    *ret = (struct registry_page){.names = names + from, .n = n - from};
    if (ret->n > max) {
        ret->n = max;
        ret->has_more = true;
    }
}

int registry_tags(struct image_store *s, struct arena *a, struct str repo, struct str last,
                  size_t max, struct registry_page *ret, struct err *err) {
    char **names;
    size_t n;
    if (!repo_exists(s, repo)) {
        return name_unknown(repo, err);
    }
    if (store_names(s, a, repo_path(a, repo, "tags", NULL), &names, &n, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        names[i][strlen(names[i]) - 1] = '\0'; /* the @ */
    }
    cut_page(names, n, last, max, ret);
    return 0;
}

int registry_catalog(struct image_store *s, struct arena *a, struct str last, size_t max,
                     struct registry_page *ret, struct err *err) {
    char **dirs;
    size_t n, kept = 0;
    if (store_names(s, a, "repos", &dirs, &n, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        char **manifests;
        size_t nr;
        struct str repo = repo_of_dir(a, dirs[i]);
        if (store_names(s, a, repo_path(a, repo, "manifests", NULL), &manifests, &nr, err) < 0) {
            return -1;
        }
        if (nr > 0) { /* a repository in which nothing ever became an image is nothing to show */
            dirs[kept++] = (char *)repo.p;
        }
    }
    cut_page(dirs, kept, last, max, ret);
    return 0;
}

static void put_referrer(struct jw *w, const struct rec *r, const char *hex) {
    struct str notes = rec_get(r, "annotations");
    auto_free char *digest = xasprintf("sha256:%s", hex);
    jw_object(w);
    jw_kv(w, "mediaType", rec_get_cstr(r, "type"));
    jw_kv(w, "digest", digest);
    jw_key(w, "size");
    jw_u64(w, rec_get_u64(r, "size", 0));
    jw_kv(w, "artifactType", rec_get_cstr(r, "artifact"));
    if (notes.p != NULL) {
        jw_key(w, "annotations");
        jw_raw(w, notes);
    }
    jw_end_object(w);
}

int registry_referrers(struct image_store *s, struct arena *a, struct str repo, const char *hex,
                       struct str artifact_type, struct str *ret_json, struct err *err) {
    char **names;
    size_t n;
    auto_buf struct buf b = BUF_INIT(REFERRERS_MAX);
    struct jw w;
    if (store_names(s, a, repo_path(a, repo, "referrers", hex), &names, &n, err) < 0) {
        return -1;
    }
    if (n > 0) { /* an empty list has no array */
        qsort(names, n, sizeof(*names), by_bytes);
    }
    jw_init(&w, &b, 0);
    jw_object(&w);
    jw_key(&w, "schemaVersion");
    jw_u64(&w, 2);
    jw_kv(&w, "mediaType", "application/vnd.oci.image.index.v1+json");
    jw_key(&w, "manifests");
    jw_array(&w);
    for (size_t i = 0; i < n; i++) {
        struct rec r;
        struct err why = {0};
        if (manifest_rec(s, a, repo, names[i], &r, &why) < 0) {
            if (why.code == ERR_NOT_FOUND) {
                continue; /* its manifest was removed, or never got to be written */
            }
            return err_set(err, why.code, "%s", why.msg);
        }
        if (artifact_type.p == NULL || str_eq(artifact_type, rec_get(&r, "artifact"))) {
            put_referrer(&w, &r, names[i]);
        }
    }
    jw_end_array(&w);
    jw_end_object(&w);
    if (b.full) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "the list of referrers is too long");
    }
    *ret_json = arena_str(a, buf_str(&b));
    return 0;
}
