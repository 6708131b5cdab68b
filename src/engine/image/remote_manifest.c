/* What other registries send as a manifest: bytes from outside, read with limits, nothing believed
 * but what a digest will prove. Pure. */
#include "base/limits.h"
#include "engine/image/image_int.h"
#include "engine/image/remote.h"

#include <jansson.h>

#define PLATFORMS_SHOWN 12

const char remote_manifest_types[] = "application/vnd.oci.image.index.v1+json, "
                                     "application/vnd.oci.image.manifest.v1+json, "
                                     "application/vnd.docker.distribution.manifest.list.v2+json, "
                                     "application/vnd.docker.distribution.manifest.v2+json";

static const struct kind {
    const char *media_type;
    bool is_index;
} kinds[] = {
    {"application/vnd.oci.image.manifest.v1+json", false},
    {"application/vnd.oci.image.index.v1+json", true},
    {"application/vnd.docker.distribution.manifest.v2+json", false},
    {"application/vnd.docker.distribution.manifest.list.v2+json", true},
};

static void json_auto(json_t **j) {
    json_decref(*j);
}
#define auto_json __attribute__((cleanup(json_auto)))

static int bad(struct err *err, const char *what) {
    return err_set(err, ERR_INVALID_ARGUMENT, "its manifest %s", what);
}

static const char *text_of(const json_t *j, const char *key) {
    const char *v = json_string_value(json_object_get(j, key));
    return v != NULL ? v : "";
}

static const struct kind *kind_of(struct str type) {
    ptrdiff_t end = str_chr(type, ';');
    struct str bare = str_trim(end >= 0 ? str_sub(type, 0, (size_t)end) : type);
    for (size_t i = 0; i < NR_OF(kinds); i++) {
        if (str_eqc(bare, kinds[i].media_type)) {
            return &kinds[i];
        }
    }
    return NULL;
}

static int read_descriptor(const json_t *d, const char *what, struct remote_blob *ret,
                           struct err *err) {
    const json_t *size = json_object_get(d, "size");
    struct remote_blob b = {0};
    if (!digest_parse(str_of(text_of(d, "digest")), b.hex)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s in its manifest has no sha256 digest", what);
    }
    if (!json_is_integer(size) || json_integer_value(size) < 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s in its manifest has no size", what);
    }
    b.size = (uint64_t)json_integer_value(size);
    if (b.size > limits.registry_max_blob) {
        limits_hit(&limits.registry_max_blob);
        return err_set(err, ERR_RESOURCE_EXHAUSTED,
                       "%s has %llu bytes, %llu are possible (limit registry_max_blob)", what,
                       (unsigned long long)b.size, (unsigned long long)limits.registry_max_blob);
    }
    *ret = b;
    return 0;
}

/* ---- an image */

static int add_blob(struct remote_manifest *m, const json_t *d, const char *what, struct err *err) {
    struct remote_blob b;
    if (read_descriptor(d, what, &b, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < m->nr_blobs; i++) {
        if (strcmp(m->blobs[i].hex, b.hex) == 0) {
            return m->blobs[i].size == b.size
                       ? 0
                       : err_set(err, ERR_INVALID_ARGUMENT,
                                 "its manifest gives two sizes to sha256:%s", b.hex);
        }
    }
    m->blobs[m->nr_blobs++] = b;
    m->size += b.size; /* at most image_max_layers x registry_max_blob */
    return 0;
}

static int read_image(struct arena *a, const json_t *doc, struct remote_manifest *m,
                      struct err *err) {
    const json_t *layers = json_object_get(doc, "layers");
    const json_t *config = json_object_get(doc, "config");
    const char *config_type = text_of(config, "mediaType");
    size_t n = json_array_size(layers);
    if (!json_is_array(layers) || !json_is_object(config)) {
        return bad(err, "has no config or no list of layers");
    }
    if (strcmp(config_type, "application/vnd.oci.image.config.v1+json") != 0 &&
        strcmp(config_type, "application/vnd.docker.container.image.v1+json") != 0) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "it is no container image but an artifact of type \"%.120s\"", config_type);
    }
    if (n == 0 || n > limits.image_max_layers) {
        limits_hit(&limits.image_max_layers);
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "its manifest has %zu layers, 1 to %llu are possible (limit "
                       "image_max_layers)",
                       n, (unsigned long long)limits.image_max_layers);
    }
    m->blobs = arena_calloc(a, n + 1, sizeof(*m->blobs));
    if (add_blob(m, config, "the config", err) < 0) {
        return -1;
    }
    if (m->blobs[0].size > limits.image_max_manifest) {
        limits_hit(&limits.image_max_manifest);
        return err_set(err, ERR_RESOURCE_EXHAUSTED,
                       "its config has %llu bytes, %llu are possible (limit image_max_manifest)",
                       (unsigned long long)m->blobs[0].size,
                       (unsigned long long)limits.image_max_manifest);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *d = json_array_get(layers, i);
        char what[32];
        (void)snprintf(what, sizeof(what), "layer %zu", i + 1);
        if (json_array_size(json_object_get(d, "urls")) > 0) {
            return err_set(err, ERR_UNIMPLEMENTED,
                           "%s is kept by its publisher at an address of its own, not by the "
                           "registry; such images cannot be pulled",
                           what);
        }
        if (add_blob(m, d, what, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- an index */

/* 2: just ours; 1: could run here; 0: not. */
static int fitness(const json_t *entry, const char *arch) {
    const json_t *p = json_object_get(entry, "platform");
    const char *variant = text_of(p, "variant");
    if (strcmp(text_of(p, "os"), "linux") != 0 || strcmp(text_of(p, "architecture"), arch) != 0) {
        return p == NULL ? 1 : 0;
    }
    return variant[0] == '\0' || strcmp(variant, strcmp(arch, "arm64") == 0 ? "v8" : "v1") == 0 ? 2
                                                                                                : 1;
}

static int none_for_us(const json_t *list, const char *arch, struct err *err) {
    auto_buf struct buf b = BUF_INIT(512);
    size_t i, n = 0;
    json_t *d;
    json_array_foreach((json_t *)list, i, d) {
        const json_t *p = json_object_get(d, "platform");
        const char *os = text_of(p, "os");
        if (n < PLATFORMS_SHOWN && os[0] != '\0' && strcmp(os, "unknown") != 0) {
            (void)buf_printf(&b, "%s%.20s/%.20s", n > 0 ? ", " : "", os,
                             text_of(p, "architecture"));
            n++;
        }
    }
    return err_set(err, ERR_NOT_FOUND, "it is not made for linux/%s, only for: %s", arch,
                   n > 0 ? buf_cstr(&b) : "nothing");
}

static int read_index(const json_t *doc, const char *arch, struct remote_manifest *m,
                      struct err *err) {
    const json_t *list = json_object_get(doc, "manifests");
    const json_t *best = NULL;
    int fits = 0;
    size_t i;
    json_t *d;
    if (!json_is_array(list)) {
        return bad(err, "is an index without a list of manifests");
    }
    json_array_foreach((json_t *)list, i, d) {
        int f = kind_of(str_of(text_of(d, "mediaType"))) != NULL ? fitness(d, arch) : 0;
        if (f > fits) {
            fits = f;
            best = d;
        }
    }
    if (best == NULL) {
        return none_for_us(list, arch, err);
    }
    return read_descriptor(best, "the entry for this machine", &m->child, err);
}

int remote_manifest_read(struct arena *a, struct str media_type, struct str bytes, const char *arch,
                         struct remote_manifest *ret, struct err *err) {
    json_error_t why;
    struct remote_manifest m = {0};
    auto_json json_t *doc =
        json_loadb(bytes.p != NULL ? bytes.p : "", bytes.n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(doc)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "its manifest is not a JSON object: %.200s",
                       doc == NULL ? why.text : "it is something else");
    }
    const char *own = text_of(doc, "mediaType");
    const struct kind *k = kind_of(media_type);
    if (k == NULL) { /* registries on plain file servers say text/plain or nothing */
        k = kind_of(str_of(own));
    }
    if (json_integer_value(json_object_get(doc, "schemaVersion")) == 1) {
        return bad(err, "is of the format that docker gave up in 2017 (schema 1): push the image "
                        "again with a current client");
    }
    if (k == NULL || json_integer_value(json_object_get(doc, "schemaVersion")) != 2) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "its manifest is of type \"%.120s\", not an image or an index",
                       own[0] != '\0' ? own : "");
    }
    if (own[0] != '\0' && strcmp(own, k->media_type) != 0) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "its manifest says it is \"%.120s\", the registry says \"%s\"", own,
                       k->media_type);
    }
    m.media_type = k->media_type;
    m.is_index = k->is_index;
    if ((k->is_index ? read_index(doc, arch, &m, err) : read_image(a, doc, &m, err)) < 0) {
        return -1;
    }
    *ret = m;
    return 0;
}
