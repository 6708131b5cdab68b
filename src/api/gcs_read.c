/* Resources that clients send: uploads, edits, copies; everything is checked and bounded here. */
#include "api/gcs_int.h"

#include "base/limits.h"
#include "base/time.h"

#include <jansson.h>

/* The library nests to 2,048; ours is a plain count of brackets outside strings. */
static bool is_too_deep(struct str s) {
    uint64_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > limits.max_json_depth) {
                return true;
            }
        } else if (c == '}' || c == ']') {
            depth -= depth > 0;
        }
    }
    return false;
}

int gcs_load_json(struct str text, json_t **ret, struct err *err) {
    json_error_t why;
    struct str t = text;
    while (t.n && strchr(" \t\r\n", t.p[0])) {
        t = str_sub(t, 1, t.n);
    }
    if (t.n == 0) {
        *ret = json_object();
        return 0;
    }
    if (t.n > limits.max_object_metadata) {
        limits_hit(&limits.max_object_metadata);
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "Metadata of %zu bytes exceeds the limit max_object_metadata (%llu)", t.n,
                       (unsigned long long)limits.max_object_metadata);
    }
    if (is_too_deep(t)) {
        limits_hit(&limits.max_json_depth);
        return err_set(err, ERR_INVALID_ARGUMENT, "JSON nested deeper than max_json_depth (%llu)",
                       (unsigned long long)limits.max_json_depth);
    }
    json_t *j = json_loadb(t.p, t.n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(j)) {
        bool is_json = j != NULL;
        json_decref(j);
        return err_set(err, ERR_INVALID_ARGUMENT, "Parse Error: %s",
                       is_json ? "not an object" : why.text);
    }
    *ret = j;
    return 0;
}

static int get_text(struct arena *a, const json_t *j, const char *key, struct str *ret,
                    struct err *err) {
    const json_t *v = json_object_get(j, key);
    if (!v || json_is_null(v)) {
        return 0;
    }
    if (!json_is_string(v)) {
        return err_field(err, ERR_INVALID_ARGUMENT, key, "Invalid value for %s: must be a string",
                         key);
    }
    *ret = arena_str(a, str_n(json_string_value(v), json_string_length(v)));
    return 0;
}

static int get_custom(struct arena *a, json_t *j, struct blob_put *put, struct err *err) {
    json_t *m = json_object_get(j, "metadata"), *v;
    const char *key;
    if (!m || json_is_null(m)) {
        return 0;
    }
    if (!json_is_object(m)) {
        return err_field(err, ERR_INVALID_ARGUMENT, "metadata",
                         "Invalid value for metadata: must be a map of strings");
    }
    struct blob_pair *p = arena_calloc(a, json_object_size(m) + 1, sizeof(*p));
    size_t n = 0;
    json_object_foreach(m, key, v) {
        if (json_is_null(v)) {
            continue;
        }
        if (!json_is_string(v)) {
            return err_field(err, ERR_INVALID_ARGUMENT, "metadata",
                             "Invalid value for metadata.%.100s: must be a string", key);
        }
        p[n++] =
            (struct blob_pair){arena_str(a, str_of(key)),
                               arena_str(a, str_n(json_string_value(v), json_string_length(v)))};
    }
    put->custom = p;
    put->nr_custom = n;
    return 0;
}

static int get_hashes(struct arena *a, const json_t *j, struct blob_put *put, struct err *err) {
    struct str md5 = {0}, crc = {0};
    uint8_t b[4];
    if (get_text(a, j, "md5Hash", &md5, err) < 0 || get_text(a, j, "crc32c", &crc, err) < 0) {
        return -1;
    }
    if (md5.n) {
        put->has_expect_md5 = hash_from_base64(md5, put->expect_md5, 16);
        if (!put->has_expect_md5) {
            return err_field(err, ERR_INVALID_ARGUMENT, "md5Hash", "Invalid MD5 value: '%.*s'",
                             (int)(md5.n > 100 ? 100 : md5.n), md5.p);
        }
    }
    if (crc.n) {
        put->has_expect_crc32c = hash_from_base64(crc, b, 4);
        if (!put->has_expect_crc32c) {
            return err_field(err, ERR_INVALID_ARGUMENT, "crc32c", "Invalid CRC32C value: '%.*s'",
                             (int)(crc.n > 100 ? 100 : crc.n), crc.p);
        }
        put->expect_crc32c =
            (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    }
    return 0;
}

/* ---- what is kept as it came: "doc", a JSON object in the record ---- */

static const char *const object_doc[] = {"customTime", "eventBasedHold", "temporaryHold",
                                         "retention",  "contexts",       NULL};
static const char *const bucket_doc[] = {"labels",
                                         "versioning",
                                         "lifecycle",
                                         "cors",
                                         "website",
                                         "logging",
                                         "encryption",
                                         "billing",
                                         "retentionPolicy",
                                         "autoclass",
                                         "iamConfiguration",
                                         "defaultEventBasedHold",
                                         "rpo",
                                         "ipFilter",
                                         "softDeletePolicy",
                                         "customPlacementConfig",
                                         "objectRetention",
                                         NULL};

/* Empty when nothing is in it. */
static struct str dump(struct arena *a, const json_t *doc) {
    if (!doc || json_object_size(doc) == 0) {
        return STR("");
    }
    char *text = json_dumps(doc, JSON_COMPACT);
    struct str out = arena_str(a, str_of(text));
    free(text);
    return out;
}

json_t *gcs_load_doc(struct str doc) {
    json_t *j = doc.n ? json_loadb(doc.p, doc.n, 0, NULL) : NULL;
    return json_is_object(j) ? j : json_object();
}

/* RFC 7396: null removes, objects merge, everything else replaces. An object in which nothing is
 * left is as if it had never been there, whoever emptied it: the same edit twice is the edit once.
 */
static void merge(json_t *into, const char *key, json_t *v) {
    if (json_is_null(v)) {
        json_object_del(into, key);
    } else if (json_is_object(v)) {
        json_t *inner = json_object_get(into, key);
        if (!json_is_object(inner)) {
            inner = json_object();
            json_object_set_new(into, key, inner);
        }
        const char *k;
        json_t *sub;
        json_object_foreach(v, k, sub) {
            merge(inner, k, sub);
        }
        if (json_object_size(inner) == 0) {
            json_object_del(into, key);
        }
    } else {
        json_object_set(into, key, v);
    }
}

static int check_custom_time(const json_t *doc, struct err *err) {
    const json_t *t = json_object_get(doc, "customTime");
    usec_t when;
    if (t &&
        (!json_is_string(t) || time_parse_rfc3339(str_of(json_string_value(t)), &when, NULL) < 0)) {
        return err_field(err, ERR_INVALID_ARGUMENT, "customTime",
                         "Invalid value for customTime: must be an RFC 3339 time");
    }
    return 0;
}

/* What would promise that nothing is ever lost: it is refused, where it would only be remembered.
 */
static int check_promises(const json_t *doc, struct err *err) {
    const json_t *versioning = json_object_get(json_object_get(doc, "versioning"), "enabled");
    const json_t *soft =
        json_object_get(json_object_get(doc, "softDeletePolicy"), "retentionDurationSeconds");
    bool keeps = json_is_string(soft) ? strcmp(json_string_value(soft), "0") != 0
                                      : soft && json_number_value(soft) != 0;
    if (json_is_true(versioning)) {
        return err_field(
            err, ERR_UNIMPLEMENTED, "versioning.enabled",
            "Object versioning is not available here: versioning.enabled can only be "
            "false. An object that is replaced or deleted is gone; copy what must stay "
            "to another name.");
    }
    if (keeps) {
        return err_field(err, ERR_UNIMPLEMENTED, "softDeletePolicy.retentionDurationSeconds",
                         "Soft delete is not available here: "
                         "softDeletePolicy.retentionDurationSeconds can only be 0. An object that "
                         "is deleted is gone.");
    }
    return 0;
}

static int merge_doc(struct arena *a, json_t *j, const char *const *keys, json_t *doc,
                     struct str *ret, struct err *err) {
    for (; *keys; keys++) {
        json_t *v = json_object_get(j, *keys);
        if (v) {
            merge(doc, *keys, v);
        }
    }
    int r = check_custom_time(doc, err) < 0 ? -1 : check_promises(doc, err);
    if (r == 0) {
        *ret = dump(a, doc);
        if (ret->n > limits.max_object_metadata) {
            limits_hit(&limits.max_object_metadata);
            r = err_set(err, ERR_INVALID_ARGUMENT,
                        "Metadata of %zu bytes exceeds the limit max_object_metadata (%llu)",
                        ret->n, (unsigned long long)limits.max_object_metadata);
        }
    }
    json_decref(doc);
    return r;
}

static int get_doc(struct arena *a, json_t *j, const char *const *keys, struct str *ret,
                   struct err *err) {
    return merge_doc(a, j, keys ? keys : object_doc, gcs_load_doc(*ret), ret, err);
}

int gcs_parse_object(struct arena *a, struct str text, struct blob_put *put, struct err *err) {
    json_t *j;
    if (gcs_load_json(text, &j, err) < 0) {
        return -1;
    }
    int r = get_text(a, j, "name", &put->name, err) < 0 ||
                    get_text(a, j, "contentType", &put->content_type, err) < 0 ||
                    get_text(a, j, "contentEncoding", &put->content_encoding, err) < 0 ||
                    get_text(a, j, "cacheControl", &put->cache_control, err) < 0 ||
                    get_text(a, j, "contentDisposition", &put->content_disposition, err) < 0 ||
                    get_text(a, j, "contentLanguage", &put->content_language, err) < 0 ||
                    get_text(a, j, "storageClass", &put->storage_class, err) < 0 ||
                    get_custom(a, j, put, err) < 0 || get_hashes(a, j, put, err) < 0 ||
                    get_doc(a, j, NULL, &put->doc, err) < 0
                ? -1
                : 0;
    json_decref(j);
    return r;
}

/* ---- edits: PATCH merges, PUT replaces ---- */

/* null and a PUT's silence both empty the field. */
static int edit_text(struct arena *a, const json_t *j, const char *key, bool is_update,
                     struct str *field, struct err *err) {
    const json_t *v = json_object_get(j, key);
    if (!v ? is_update : json_is_null(v)) {
        *field = STR("");
        return 0;
    }
    return get_text(a, j, key, field, err);
}

static int edit_custom(struct arena *a, json_t *j, bool is_update, struct blob_meta *m,
                       struct err *err) {
    json_t *v = json_object_get(j, "metadata");
    struct blob_put put = {0};
    if (!v && !is_update) {
        return 0;
    }
    if (get_custom(a, j, &put, err) < 0) {
        return -1;
    }
    if (is_update || json_is_null(v)) {
        m->custom = (struct blob_pair *)put.custom;
        m->nr_custom = put.nr_custom;
        return 0;
    }
    struct blob_pair *p = arena_calloc(a, m->nr_custom + put.nr_custom + 1, sizeof(*p));
    size_t n = 0, bytes = 0;
    for (size_t i = 0; i < m->nr_custom; i++) {
        char *key = arena_strndup(a, m->custom[i].key.p, m->custom[i].key.n);
        if (!json_object_get(v, key)) { /* null or a new value: not kept */
            p[n++] = m->custom[i];
        }
    }
    for (size_t i = 0; i < put.nr_custom; i++) {
        p[n++] = put.custom[i];
    }
    for (size_t i = 0; i < n; i++) {
        bytes += p[i].key.n + p[i].value.n;
    }
    if (bytes > limits.max_object_metadata) {
        limits_hit(&limits.max_object_metadata);
        return err_field(
            err, ERR_INVALID_ARGUMENT, "metadata",
            "Custom metadata of %zu bytes exceeds the limit max_object_metadata (%llu)", bytes,
            (unsigned long long)limits.max_object_metadata);
    }
    m->custom = p;
    m->nr_custom = n;
    return 0;
}

int gcs_edit_object(struct arena *a, struct str text, bool is_update, struct blob_meta *m,
                    struct err *err) {
    json_t *j;
    if (gcs_load_json(text, &j, err) < 0) {
        return -1;
    }
    struct str doc = is_update ? STR("") : m->doc;
    int r = edit_text(a, j, "contentType", is_update, &m->content_type, err) < 0 ||
                    edit_text(a, j, "contentEncoding", is_update, &m->content_encoding, err) < 0 ||
                    edit_text(a, j, "cacheControl", is_update, &m->cache_control, err) < 0 ||
                    edit_text(a, j, "contentDisposition", is_update, &m->content_disposition, err) <
                        0 ||
                    edit_text(a, j, "contentLanguage", is_update, &m->content_language, err) < 0 ||
                    edit_custom(a, j, is_update, m, err) < 0 || get_doc(a, j, NULL, &doc, err) < 0
                ? -1
                : 0;
    if (r == 0) {
        m->doc = doc;
    }
    json_decref(j);
    return r;
}

int gcs_parse_bucket(struct arena *a, struct str text, struct blob_bucket *ret, struct err *err) {
    json_t *j;
    if (gcs_load_json(text, &j, err) < 0) {
        return -1;
    }
    int r = get_text(a, j, "name", &ret->name, err) < 0 ||
                    get_text(a, j, "location", &ret->location, err) < 0 ||
                    get_text(a, j, "storageClass", &ret->storage_class, err) < 0 ||
                    get_doc(a, j, bucket_doc, &ret->doc, err) < 0
                ? -1
                : 0;
    json_decref(j);
    return r;
}

int gcs_edit_bucket(struct arena *a, struct str text, bool is_update, struct blob_bucket *k,
                    struct err *err) {
    json_t *j;
    if (gcs_load_json(text, &j, err) < 0) {
        return -1;
    }
    struct str doc = is_update ? gcs_kept_doc(a, k->doc) : k->doc, class = {0};
    int r =
        get_text(a, j, "storageClass", &class, err) < 0 || get_doc(a, j, bucket_doc, &doc, err) < 0
            ? -1
            : 0;
    if (r == 0) {
        k->doc = doc;
        k->storage_class = class.n ? class : k->storage_class;
    }
    json_decref(j);
    return r;
}

/* ---- compose ---- */

/* TensorFlow's append mode writes its body with single quotes. */
static struct str swap_quotes(struct arena *a, struct str text) {
    char *p = arena_strndup(a, text.p, text.n);
    for (size_t i = 0; p && i < text.n; i++) {
        p[i] = (char)(p[i] == '\'' ? '"' : p[i]);
    }
    return str_n(p, p ? text.n : 0);
}

static int get_generation(const json_t *v, const char *key, uint64_t *ret, bool *ret_has,
                          struct err *err) {
    if (!v || json_is_null(v)) {
        return 0;
    }
    bool ok = json_is_integer(v) && json_integer_value(v) >= 0;
    if (ok) {
        *ret = (uint64_t)json_integer_value(v);
    } else if (!json_is_string(v) ||
               !str_to_u64(str_n(json_string_value(v), json_string_length(v)), ret)) {
        return err_field(err, ERR_INVALID_ARGUMENT, key, "Invalid value for %s", key);
    }
    *ret_has = true;
    return 0;
}

static int get_sources(struct arena *a, const json_t *j, struct str bucket,
                       struct blob_source **ret, size_t *ret_n, struct err *err) {
    const json_t *list = json_object_get(j, "sourceObjects");
    size_t n = json_array_size(list);
    if (n == 0 || n > GCS_COMPOSE_MAX) {
        return err_field(err, ERR_INVALID_ARGUMENT, "sourceObjects",
                         n == 0 ? "You must provide at least one source component."
                                : "The number of source components provided (%zu) exceeds the "
                                  "maximum (%d).",
                         n, GCS_COMPOSE_MAX);
    }
    struct blob_source *src = arena_own_array(a, n, sizeof(*src));
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(list, i);
        bool has = false;
        src[i].bucket = bucket;
        if (!json_is_object(o) || get_text(a, o, "name", &src[i].name, err) < 0 ||
            get_generation(json_object_get(o, "generation"), "generation", &src[i].generation, &has,
                           err) < 0 ||
            get_generation(
                json_object_get(json_object_get(o, "objectPreconditions"), "ifGenerationMatch"),
                "ifGenerationMatch", &src[i].pre.gen, &src[i].pre.has_gen, err) < 0 ||
            src[i].name.n == 0) {
            return json_is_object(o) && src[i].name.n
                       ? -1
                       : err_field(err, ERR_INVALID_ARGUMENT, "sourceObjects",
                                   "Source component %zu has no name.", i);
        }
    }
    *ret = src;
    *ret_n = n;
    return 0;
}

int gcs_parse_compose(struct arena *a, struct str text, struct str bucket, struct blob_put *put,
                      struct blob_source **ret, size_t *ret_n, struct err *err) {
    json_t *j;
    if (gcs_load_json(text, &j, err) < 0 &&
        (str_chr(text, '\'') < 0 || gcs_load_json(swap_quotes(a, text), &j, NULL) < 0)) {
        return -1;
    }
    int r = get_sources(a, j, bucket, ret, ret_n, err);
    json_t *d = json_object_get(j, "destination");
    if (r == 0 && json_is_object(d)) {
        char *resource = json_dumps(d, JSON_COMPACT);
        r = gcs_parse_object(a, str_of(resource), put, err);
        free(resource);
    }
    json_decref(j);
    return r;
}
