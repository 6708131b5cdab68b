/* Images that came as a file, put on the shelf beside what they were unpacked to: other machines
 * pull them from /v2/, and `cusp images push` sends them on. Their layers stay the bytes they were.
 * Where the archive has no manifest of its own (docker save, plain root file systems) one is made.
 */
#include "base/jw.h"
#include "base/limits.h"
#include "base/rng.h"
#include "engine/image/registry_int.h"
#include "engine/image/remote.h"
#include "engine/image/shelve.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define CONFIG_TYPE "application/vnd.oci.image.config.v1+json"
#define COPY_BYTES ((size_t)1 << 18)

struct shelved_layer {
    char hex[SHA256_HEX_LEN + 1];
    uint64_t size;
    const char *type;
};

/* What registries know of compression; NULL: nothing they would take. */
static const char *layer_type(int fd) {
    unsigned char m[6] = {0};
    ssize_t n = pread(fd, m, sizeof(m), 0);
    if (n >= 2 && m[0] == 0x1f && m[1] == 0x8b) {
        return "application/vnd.oci.image.layer.v1.tar+gzip";
    }
    if (n >= 4 && m[0] == 0x28 && m[1] == 0xb5 && m[2] == 0x2f && m[3] == 0xfd) {
        return "application/vnd.oci.image.layer.v1.tar+zstd";
    }
    bool other = (n >= 3 && memcmp(m, "BZh", 3) == 0) || (n >= 6 && memcmp(m,
                                                                           "\xfd"
                                                                           "7zXZ",
                                                                           6) == 0);
    return other ? NULL : "application/vnd.oci.image.layer.v1.tar";
}

/* The whole of `from`, hashed; copied to `to` unless that is -1. */
static int hash_copy(int from, int to, struct shelved_layer *ret, struct err *err) {
    auto_free char *chunk = xmalloc(COPY_BYTES);
    struct hash *h = hash_new();
    off_t at = 0;
    int rc = 0;
    while (rc == 0) {
        ssize_t n = pread(from, chunk, COPY_BYTES, at);
        if (n <= 0) {
            rc = n < 0 ? err_sys(err, errno, "read a layer") : 0;
            break;
        }
        hash_add(h, chunk, (size_t)n);
        at += n;
        rc = to >= 0 ? file_write_all(to, str_n(chunk, (size_t)n), err) : 0;
    }
    hash_hex(h, ret->hex);
    hash_free(h);
    ret->size = (uint64_t)at;
    return rc;
}

/* A second name for a file of our own, which nobody will write to again. */
static bool link_it(struct image_store *s, int fd, const char *tmp) {
    char self[64];
    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, self, s->dir_fd, tmp, AT_SYMLINK_FOLLOW) == 0;
}

static int shelve_layer(struct image_store *s, struct str repo, int fd, bool is_ours,
                        struct shelved_layer *ret, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    uint64_t id;
    rng_secret(&id, sizeof(id));
    const char *tmp = arena_printf(a, "tmp/layer-%016llx", (unsigned long long)id);
    ret->type = layer_type(fd);
    bool linked = is_ours && link_it(s, fd, tmp);
    auto_close int to =
        linked ? -1
               : openat(s->dir_fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (!linked && to < 0) {
        return err_sys(err, errno, "make a file for a layer");
    }
    int rc = hash_copy(fd, to, ret, err);
    if (rc == 0 && fsync(linked ? fd : to) < 0) {
        rc = err_sys(err, errno, "flush a layer");
    }
    if (rc == 0) {
        rc = registry_blob_adopt(s, repo, ret->hex, tmp, err);
    }
    if (rc < 0) {
        (void)unlinkat(s->dir_fd, tmp, 0);
    }
    return rc;
}

static int shelve_bytes(struct image_store *s, struct str repo, struct str bytes,
                        char ret_hex[SHA256_HEX_LEN + 1], struct err *err) {
    uint64_t size;
    hash_of(bytes, ret_hex);
    if (store_blob_size(s, ret_hex, &size) < 0 && store_put_blob(s, ret_hex, bytes, err) < 0) {
        return -1;
    }
    return registry_blob_adopt(s, repo, ret_hex, NULL, err);
}

static void put_descriptor(struct jw *w, const char *type, const char *hex, uint64_t size) {
    auto_free char *digest = xasprintf("sha256:%s", hex);
    jw_object(w);
    jw_kv(w, "mediaType", type);
    jw_kv(w, "digest", digest);
    jw_key(w, "size");
    jw_u64(w, size);
    jw_end_object(w);
}

static void make_manifest(struct buf *b, const char *config_hex, size_t config_size,
                          const struct shelved_layer *layers, size_t n) {
    struct jw w;
    jw_init(&w, b, 0);
    jw_object(&w);
    jw_key(&w, "schemaVersion");
    jw_u64(&w, 2);
    jw_kv(&w, "mediaType", MANIFEST_TYPE);
    jw_key(&w, "config");
    put_descriptor(&w, CONFIG_TYPE, config_hex, config_size);
    jw_key(&w, "layers");
    jw_array(&w);
    for (size_t i = 0; i < n; i++) {
        put_descriptor(&w, layers[i].type, layers[i].hex, layers[i].size);
    }
    jw_end_array(&w);
    jw_end_object(&w);
}

static void put_list(struct jw *w, const char *key, const char *const *v) {
    if (v == NULL || v[0] == NULL) {
        return;
    }
    jw_key(w, key);
    jw_array(w);
    for (size_t i = 0; v[i] != NULL; i++) {
        jw_cstr(w, v[i]);
    }
    jw_end_array(w);
}

void shelve_make_config(const struct image_record *r, struct buf *ret) {
    struct jw w;
    jw_init(&w, ret, 0);
    jw_object(&w);
    jw_kv(&w, "architecture", image_native_arch());
    jw_kv(&w, "os", "linux");
    jw_key(&w, "config");
    jw_object(&w);
    put_list(&w, "Entrypoint", r->entrypoint);
    put_list(&w, "Cmd", r->cmd);
    put_list(&w, "Env", r->env);
    jw_kv(&w, "WorkingDir", r->workdir);
    jw_kv(&w, "User", r->user);
    jw_end_object(&w);
    jw_key(&w, "rootfs");
    jw_object(&w);
    jw_kv(&w, "type", "layers");
    jw_key(&w, "diff_ids");
    jw_array(&w);
    for (size_t i = 0; i < r->nr_layers; i++) {
        auto_free char *id = xasprintf("sha256:%.*s", STR_ARG(r->layers[i]));
        jw_cstr(&w, id);
    }
    jw_end_array(&w);
    jw_end_object(&w);
    jw_end_object(&w);
}

/* Where an image of this name is served. False: no registry has such names. */
static bool place_of(struct arena *a, const char *name, struct str *ret_repo, struct str *ret_tag) {
    const char *canonical = image_name_canonical(a, str_of(name));
    struct registry_name n;
    struct remote_ref r;
    if (!registry_parse_name(str_of(canonical), &n) || n.tag.p == NULL) {
        return false;
    }
    *ret_repo = n.repo;
    *ret_tag = n.tag;
    if (n.host.p != NULL) {
        if (remote_ref_parse(a, str_of(canonical), &r, NULL) < 0) {
            return false;
        }
        *ret_repo = str_of(r.shelf);
    }
    return true;
}

static int open_layer(const struct shelve *in, size_t i, int *ret_fd, struct err *err) {
    *ret_fd = in->fd >= 0
                  ? dup(in->fd)
                  : file_open_beneath(in->dir_fd, in->paths[i], O_RDONLY | O_CLOEXEC, 0, err);
    return *ret_fd < 0 ? (in->fd >= 0 ? err_sys(err, errno, "open a layer") : -1) : 0;
}

int shelve_image(struct image_store *s, const struct shelve *in, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf manifest = BUF_INIT(limits.image_max_manifest);
    struct str repo, tag;
    struct registry_manifest m;
    char config_hex[SHA256_HEX_LEN + 1];
    if (!place_of(a, in->name, &repo, &tag)) {
        return 0;
    }
    struct shelved_layer *layers = arena_calloc(a, in->nr_layers + 1, sizeof(*layers));
    if (registry_mark_pulled(s, repo, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < in->nr_layers; i++) {
        auto_close int fd = -1;
        if (open_layer(in, i, &fd, err) < 0) {
            return -1;
        }
        if (layer_type(fd) == NULL) {
            return 0; /* unpacked here, and nobody else could */
        }
        if (shelve_layer(s, repo, fd, in->is_ours, &layers[i], err) < 0) {
            return -1;
        }
    }
    if (shelve_bytes(s, repo, in->config, config_hex, err) < 0) {
        return -1;
    }
    struct str bytes = in->manifest;
    if (bytes.p == NULL) {
        make_manifest(&manifest, config_hex, in->config.n, layers, in->nr_layers);
        bytes = buf_str(&manifest);
    }
    struct err why = {0};
    int rc = registry_manifest_copy(s, a, repo, tag,
                                    in->manifest.p == NULL ? STR(MANIFEST_TYPE) : in->manifest_type,
                                    bytes, &m, &why);
    /* Good enough to be unpacked, and yet not what a registry may hand out. */
    if (rc < 0 && why.code != ERR_INVALID_ARGUMENT && why.code != ERR_NOT_FOUND) {
        *err = why;
        return -1;
    }
    return 0;
}
