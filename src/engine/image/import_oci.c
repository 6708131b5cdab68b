/* Images that bring their own configuration: an OCI layout directory, and what `docker save` writes
 * (the older shape with HEX/layer.tar, and the newer one that is an OCI layout with a manifest.json
 * beside it). Archives have been unpacked to plain files before they come here.
 *
 * Nothing is believed: every blob is hashed before it is parsed, sizes are bounded, paths inside
 * the JSON are opened beneath the layout's directory, and the number of layers must agree between
 * manifest and config. Digests: an OCI image is known by its manifest's, a docker one by its
 * config's (the image id docker shows). */
#include "base/limits.h"
#include "engine/image/image_int.h"
#include "engine/image/shelve.h"
#include "sys/files.h"

#include <fcntl.h>
#include <jansson.h>
#include <sys/utsname.h>
#include <unistd.h>

#define INDEX_MAX_DEPTH 4
#define IMAGES_MAX 64

static void json_auto(json_t **j) {
    json_decref(*j);
}
#define auto_json __attribute__((cleanup(json_auto)))

struct import {
    struct image_store *s;
    struct arena *a;
    int dir_fd;
    const char *forced_name; /* the caller's, or NULL */
    bool is_stored; /* dir_fd is the store's: blobs are where they belong, no name is given */
    struct unpack_progress *progress; /* may be NULL */
    struct shelve shelf;              /* of the image at hand */
    unsigned nr_images;
    char first_hex[SHA256_HEX_LEN + 1];
    char *first_name;
};

/* ---- reading JSON out of the layout */

static int read_bounded(int dir_fd, const char *path, struct buf *ret, struct err *err) {
    auto_close int fd = file_open_beneath(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0, err);
    if (fd < 0) {
        return err_wrap(err, "open %s of the image", path);
    }
    char chunk[16384];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
        if (buf_put(ret, chunk, (size_t)n) < 0) {
            limits_hit(&limits.image_max_manifest);
            return err_set(err, ERR_RESOURCE_EXHAUSTED,
                           "%s is longer than %llu bytes (limit image_max_manifest)", path,
                           (unsigned long long)limits.image_max_manifest);
        }
    }
    return n < 0 ? err_set(err, ERR_INVALID_ARGUMENT, "%s cannot be read", path) : 0;
}

static json_t *parse(const struct buf *b, const char *what, struct err *err) {
    json_error_t why;
    json_t *j = json_loadb(b->p != NULL ? b->p : "", b->n, JSON_REJECT_DUPLICATES, &why);
    if (j == NULL) {
        (void)err_set(err, ERR_INVALID_ARGUMENT, "%s is not JSON: %s (line %d)", what, why.text,
                      why.line);
    }
    return j;
}

static const char *string_of(const json_t *j, const char *key) {
    const char *v = json_string_value(json_object_get(j, key));
    return v != NULL ? v : "";
}

/* A descriptor {digest, size}: reads and verifies its blob. ret_hex gets the digest. */
static int read_blob(struct import *im, const json_t *descriptor, const char *what, struct buf *ret,
                     char ret_hex[SHA256_HEX_LEN + 1], struct err *err) {
    char got[SHA256_HEX_LEN + 1];
    if (!digest_parse(str_of(string_of(descriptor, "digest")), ret_hex)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "the %s has no sha256 digest", what);
    }
    if (read_bounded(im->dir_fd, arena_printf(im->a, "blobs/sha256/%s", ret_hex), ret, err) < 0) {
        return -1;
    }
    hash_of(buf_str(ret), got);
    if (strcmp(got, ret_hex) != 0) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "the %s has digest sha256:%s, its name says sha256:%s", what, got, ret_hex);
    }
    return 0;
}

/* ---- configuration */

static int strings_of(struct import *im, const json_t *config, const char *key, const char ***ret,
                      struct err *err) {
    const json_t *list = json_object_get(config, key);
    size_t n = json_array_size(list);
    if (list != NULL && !json_is_null(list) && !json_is_array(list)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s of the image's config is not a list", key);
    }
    const char **v = arena_calloc(im->a, n + 1, sizeof(*v));
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (s == NULL) {
            return err_set(err, ERR_INVALID_ARGUMENT, "%s of the image's config holds no text",
                           key);
        }
        v[i] = arena_strdup(im->a, s);
    }
    *ret = v;
    return 0;
}

const char *image_native_arch(void) {
#if defined(__x86_64__)
    return "amd64";
#elif defined(__aarch64__)
    return "arm64";
#else
    return "";
#endif
}

static int check_platform(const json_t *config, struct err *err) {
    const char *os = string_of(config, "os"), *arch = string_of(config, "architecture");
    if (os[0] != '\0' && strcmp(os, "linux") != 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "the image is for %s, not for linux", os);
    }
    if (arch[0] != '\0' && strcmp(arch, image_native_arch()) != 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "the image is for %s, this machine is %s", arch,
                       image_native_arch());
    }
    return 0;
}

/* Fills r from an image config; diff ids into r->layers. */
static int read_config(struct import *im, const json_t *config, struct image_record *r,
                       struct err *err) {
    const json_t *c = json_object_get(config, "config");
    const json_t *diffs = json_object_get(json_object_get(config, "rootfs"), "diff_ids");
    if (check_platform(config, err) < 0 ||
        strings_of(im, c, "Entrypoint", &r->entrypoint, err) < 0 ||
        strings_of(im, c, "Cmd", &r->cmd, err) < 0 || strings_of(im, c, "Env", &r->env, err) < 0) {
        return -1;
    }
    r->env = image_env_with_path(im->a, r->env);
    r->workdir = arena_strdup(im->a, string_of(c, "WorkingDir"));
    r->user = arena_strdup(im->a, string_of(c, "User"));
    r->nr_layers = json_array_size(diffs);
    if (r->nr_layers == 0 || r->nr_layers > limits.image_max_layers) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "the image has %zu layers, 1 to %llu are possible "
                       "(limit image_max_layers)",
                       r->nr_layers, (unsigned long long)limits.image_max_layers);
    }
    r->layers = arena_calloc(im->a, r->nr_layers, sizeof(*r->layers));
    for (size_t i = 0; i < r->nr_layers; i++) {
        char hex[SHA256_HEX_LEN + 1];
        if (!digest_parse(str_of(json_string_value(json_array_get(diffs, i))), hex)) {
            return err_set(err, ERR_INVALID_ARGUMENT, "diff id %zu of the image is no sha256", i);
        }
        r->layers[i] = arena_str(im->a, str_of(hex));
    }
    r->created = time_wall();
    return 0;
}

static int add_layer(struct import *im, const struct image_record *r, size_t i, const char *path,
                     const char *blob_hex, struct err *err) {
    char hex[SHA256_HEX_LEN + 1];
    /* What is on the shelf was hashed when it came; the diff id says what the rest is worth. */
    struct layer_want want = {.blob_hex = im->is_stored ? NULL : blob_hex,
                              .diff_hex = r->layers[i].p};
    if (layer_exists(im->s, want.diff_hex)) {
        return 0;
    }
    auto_close int fd =
        file_open_beneath(im->dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0, err);
    if (fd < 0) {
        return err_wrap(err, "layer %zu of %zu", i + 1, r->nr_layers);
    }
    if (layer_import(im->s, fd, &want, i == 0, hex, err) < 0) {
        return err_wrap(err, "layer %zu of %zu", i + 1, r->nr_layers);
    }
    return 0;
}

static int publish(struct import *im, const struct image_record *r, const char *own_name,
                   struct err *err) {
    const char *name = im->forced_name != NULL ? im->forced_name : own_name;
    if (im->nr_images >= IMAGES_MAX) {
        return err_set(err, ERR_INVALID_ARGUMENT, "the archive holds more than %d images",
                       IMAGES_MAX);
    }
    if (name == NULL || name[0] == '\0') {
        return err_field(err, ERR_INVALID_ARGUMENT, "name",
                         "the archive carries no name: give one");
    }
    im->shelf.name = name;
    if (shelve_image(im->s, &im->shelf, err) < 0 || store_publish(im->s, r, name, err) < 0) {
        return -1;
    }
    if (im->nr_images++ == 0) {
        memcpy(im->first_hex, r->hex, sizeof(r->hex));
        im->first_name = arena_strdup(im->a, name);
    }
    return 0;
}

static void shelf_layers(struct import *im, const struct buf *config, size_t n) {
    im->shelf.config = buf_str(config);
    im->shelf.paths = arena_calloc(im->a, n + 1, sizeof(*im->shelf.paths));
    im->shelf.nr_layers = n;
}

/* ---- OCI */

static int import_manifest(struct import *im, const json_t *descriptor, const char *own_name,
                           struct err *err) {
    struct image_record r = {.kind = "oci"};
    auto_buf struct buf text = BUF_INIT(limits.image_max_manifest);
    auto_buf struct buf config_text = BUF_INIT(limits.image_max_manifest);
    if (read_blob(im, descriptor, "manifest", &text, r.hex, err) < 0) {
        return -1;
    }
    auto_json json_t *manifest = parse(&text, "the manifest", err);
    if (manifest == NULL || read_blob(im, json_object_get(manifest, "config"), "config",
                                      &config_text, r.blobs[1], err) < 0) {
        return -1;
    }
    auto_json json_t *config = parse(&config_text, "the config", err);
    if (config == NULL || read_config(im, config, &r, err) < 0) {
        return -1;
    }
    const json_t *layers = json_object_get(manifest, "layers");
    if (json_array_size(layers) != r.nr_layers) {
        return err_set(err, ERR_INVALID_ARGUMENT, "the manifest has %zu layers, the config %zu",
                       json_array_size(layers), r.nr_layers);
    }
    const char *type = string_of(manifest, "mediaType");
    im->shelf.manifest = buf_str(&text);
    im->shelf.manifest_type =
        str_of(type[0] != '\0' ? type : "application/vnd.oci.image.manifest.v1+json");
    shelf_layers(im, &config_text, r.nr_layers);
    if (im->progress != NULL) {
        atomic_store(&im->progress->layers, (unsigned)r.nr_layers);
    }
    for (size_t i = 0; i < r.nr_layers; i++) {
        char blob[SHA256_HEX_LEN + 1];
        if (!digest_parse(str_of(string_of(json_array_get(layers, i), "digest")), blob)) {
            return err_set(err, ERR_INVALID_ARGUMENT, "layer %zu has no sha256 digest", i + 1);
        }
        im->shelf.paths[i] = arena_printf(im->a, "blobs/sha256/%s", blob);
        if (add_layer(im, &r, i, im->shelf.paths[i], blob, err) < 0) {
            return -1;
        }
        if (im->progress != NULL) {
            atomic_store(&im->progress->done, (unsigned)i + 1);
        }
    }
    memcpy(r.blobs[0], r.hex, sizeof(r.hex));
    if (im->is_stored) {
        return store_write_record(im->s, &r, err);
    }
    if (store_put_blob(im->s, r.blobs[0], buf_str(&text), err) < 0 ||
        store_put_blob(im->s, r.blobs[1], buf_str(&config_text), err) < 0) {
        return -1;
    }
    return publish(im, &r, own_name, err);
}

int import_stored(struct image_store *s, const char *hex, struct unpack_progress *progress,
                  struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct import im = {
        .s = s, .a = a, .dir_fd = s->dir_fd, .is_stored = true, .progress = progress};
    auto_json json_t *descriptor = json_pack("{s:s}", "digest", arena_printf(a, "sha256:%s", hex));
    return import_manifest(&im, descriptor, NULL, err);
}

static bool is_index(const json_t *descriptor) {
    const char *type = string_of(descriptor, "mediaType");
    return strstr(type, "image.index") != NULL || strstr(type, "manifest.list") != NULL;
}

/* An index may list platforms (ours is chosen) and attestations (no platform we have: ignored). */
static bool is_for_us(const json_t *descriptor) {
    const json_t *p = json_object_get(descriptor, "platform");
    return p == NULL || (strcmp(string_of(p, "os"), "linux") == 0 &&
                         strcmp(string_of(p, "architecture"), image_native_arch()) == 0);
}

static const char *name_of(const json_t *descriptor, const char *inherited) {
    const json_t *notes = json_object_get(descriptor, "annotations");
    const char *full = string_of(notes, "io.containerd.image.name");
    const char *ref = string_of(notes, "org.opencontainers.image.ref.name");
    /* A bare tag ("latest") names nothing outside its layout. */
    bool is_whole = strchr(ref, '/') != NULL || strchr(ref, ':') != NULL;
    return full[0] != '\0' ? full : is_whole ? ref : inherited;
}

static int import_index(struct import *im, const json_t *index, const char *name, unsigned depth,
                        struct err *err) {
    const json_t *list = json_object_get(index, "manifests");
    size_t i;
    json_t *d;
    if (depth > INDEX_MAX_DEPTH) {
        return err_set(err, ERR_INVALID_ARGUMENT, "the image's indexes are nested too deeply");
    }
    if (im->forced_name != NULL && depth == 0 && json_array_size(list) > 1) {
        size_t ours = 0;
        json_array_foreach((json_t *)list, i, d) {
            ours += is_for_us(d) ? 1 : 0;
        }
        if (ours > 1) {
            return err_field(err, ERR_INVALID_ARGUMENT, "name",
                             "the archive holds %zu images: one name cannot serve them all", ours);
        }
    }
    json_array_foreach((json_t *)list, i, d) {
        if (!is_for_us(d)) {
            continue;
        }
        if (!is_index(d)) {
            if (import_manifest(im, d, name_of(d, name), err) < 0) {
                return -1;
            }
            continue;
        }
        char hex[SHA256_HEX_LEN + 1];
        auto_buf struct buf text = BUF_INIT(limits.image_max_manifest);
        if (read_blob(im, d, "index", &text, hex, err) < 0) {
            return -1;
        }
        auto_json json_t *inner = parse(&text, "the index", err);
        if (inner == NULL || import_index(im, inner, name_of(d, name), depth + 1, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- docker save */

static int import_docker_image(struct import *im, const json_t *image, struct err *err) {
    struct image_record r = {.kind = "docker"};
    auto_buf struct buf text = BUF_INIT(limits.image_max_manifest);
    const char *config_path = string_of(image, "Config");
    if (read_bounded(im->dir_fd, config_path, &text, err) < 0) {
        return -1;
    }
    hash_of(buf_str(&text), r.hex);
    /* HEX.json or blobs/sha256/HEX: the name is a promise. */
    const char *slash = strrchr(config_path, '/');
    struct str base = str_sub(str_of(slash != NULL ? slash + 1 : config_path), 0, SHA256_HEX_LEN);
    if (hex_is_sha256(base) && !str_eqc(base, r.hex)) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "the config has digest sha256:%s, its name says sha256:%.*s", r.hex,
                       STR_ARG(base));
    }
    auto_json json_t *config = parse(&text, "the config", err);
    if (config == NULL || read_config(im, config, &r, err) < 0) {
        return -1;
    }
    const json_t *layers = json_object_get(image, "Layers");
    if (json_array_size(layers) != r.nr_layers) {
        return err_set(err, ERR_INVALID_ARGUMENT, "manifest.json has %zu layers, the config %zu",
                       json_array_size(layers), r.nr_layers);
    }
    im->shelf.manifest = (struct str){0};
    shelf_layers(im, &text, r.nr_layers);
    for (size_t i = 0; i < r.nr_layers; i++) {
        const char *path = json_string_value(json_array_get(layers, i));
        if (path == NULL) {
            return err_set(err, ERR_INVALID_ARGUMENT, "layer %zu of manifest.json is no text",
                           i + 1);
        }
        im->shelf.paths[i] = path;
        if (add_layer(im, &r, i, path, NULL, err) < 0) {
            return -1;
        }
    }
    memcpy(r.blobs[0], r.hex, sizeof(r.hex));
    if (store_put_blob(im->s, r.hex, buf_str(&text), err) < 0) {
        return -1;
    }
    const json_t *tags = json_object_get(image, "RepoTags");
    if (im->forced_name != NULL || json_array_size(tags) == 0) {
        return publish(im, &r, NULL, err);
    }
    for (size_t i = 0; i < json_array_size(tags); i++) {
        if (publish(im, &r, json_string_value(json_array_get(tags, i)), err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int import_docker(struct import *im, const json_t *list, struct err *err) {
    if (!json_is_array(list) || json_array_size(list) == 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "manifest.json lists no image");
    }
    if (im->forced_name != NULL && json_array_size(list) > 1) {
        return err_field(err, ERR_INVALID_ARGUMENT, "name",
                         "the archive holds %zu images: one name cannot serve them all",
                         json_array_size(list));
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (import_docker_image(im, json_array_get(list, i), err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- both */

bool layout_is_image(int dir_fd) {
    return faccessat(dir_fd, "index.json", F_OK, 0) == 0 ||
           faccessat(dir_fd, "manifest.json", F_OK, 0) == 0;
}

int import_layout(struct image_store *s, int dir_fd, bool is_ours, const char *name,
                  char ret_hex[SHA256_HEX_LEN + 1], char **ret_name, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct import im = {.s = s,
                        .a = a,
                        .dir_fd = dir_fd,
                        .forced_name = name,
                        .shelf = {.dir_fd = dir_fd, .fd = -1, .is_ours = is_ours}};
    /* manifest.json first: an archive with both has its names there in full. */
    bool is_docker = faccessat(dir_fd, "manifest.json", F_OK, 0) == 0;
    const char *file = is_docker ? "manifest.json" : "index.json";
    auto_buf struct buf text = BUF_INIT(limits.image_max_manifest);
    if (read_bounded(dir_fd, file, &text, err) < 0) {
        return -1;
    }
    auto_json json_t *j = parse(&text, file, err);
    if (j == NULL) {
        return -1;
    }
    if ((is_docker ? import_docker(&im, j, err) : import_index(&im, j, NULL, 0, err)) < 0) {
        return -1;
    }
    if (im.nr_images == 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "the archive holds no image for linux/%s",
                       image_native_arch());
    }
    memcpy(ret_hex, im.first_hex, sizeof(im.first_hex));
    *ret_name = xstrdup(im.first_name);
    return 0;
}
