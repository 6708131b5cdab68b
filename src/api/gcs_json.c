/* Resources and errors of the Cloud Storage API as JSON, both ways. */
#include "api/gcs_int.h"

#include "base/enc.h"
#include "base/jw.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <jansson.h>

/* ---- errors ---- */

int gcs_error_status(const struct err *err, const char **ret_reason) {
    switch ((int)err->code) {
    case ERR_INVALID_ARGUMENT:
    case ERR_OUT_OF_RANGE:
        *ret_reason = "invalid";
        return 400;
    case ERR_NOT_FOUND:
        *ret_reason = "notFound";
        return 404;
    case ERR_ALREADY_EXISTS:
    case ERR_ABORTED:
        *ret_reason = "conflict";
        return 409;
    case ERR_FAILED_PRECONDITION:
        *ret_reason = "conditionNotMet";
        return 412;
    case ERR_CANCELLED:
        *ret_reason = "cancelled";
        return 499;
    case ERR_PERMISSION_DENIED:
        *ret_reason = "forbidden";
        return 403;
    case ERR_RESOURCE_EXHAUSTED:
        if (err->sys == ENOSPC || err->sys == EDQUOT || err->sys == EFBIG) {
            *ret_reason = "insufficientStorage";
            return 507;
        }
        *ret_reason = "uploadTooLarge";
        return 413;
    case ERR_UNIMPLEMENTED:
        *ret_reason = "notImplemented";
        return 501;
    case ERR_UNAVAILABLE:
        *ret_reason = "backendError";
        return 503;
    default:
        *ret_reason = "internalError";
        return 500;
    }
}

static const struct header as_json = {STR("content-type"), STR("application/json; charset=UTF-8")};

void gcs_reply_json(struct xch *x, int status, const struct buf *b) {
    struct header h[] = {
        as_json, {STR("cache-control"), STR("no-cache, no-store, max-age=0, must-revalidate")}};
    xch_reply(x, status, h, NR_OF(h), buf_str(b));
}

void gcs_reply_empty(struct xch *x, int status) {
    xch_reply(x, status, NULL, 0, STR(""));
}

void gcs_reply_err(struct xch *x, const struct err *err) {
    const char *reason;
    int status = gcs_error_status(err, &reason);
    char text[128];
    const char *message = err->msg;
    if (status == 500) {
        log_error("storage request failed", "request=%llu error=\"%s\"",
                  (unsigned long long)xch_id(x), err->msg);
        snprintf(text, sizeof(text),
                 "Internal error; the server's log has more under request %llu.",
                 (unsigned long long)xch_id(x));
        message = text;
    } else if (status == 507) {
        log_warn("no space for an upload", "request=%llu error=\"%s\"",
                 (unsigned long long)xch_id(x), err->msg);
        snprintf(text, sizeof(text),
                 "The server's disk is full; nothing was stored. Free some space and try again.");
        message = text;
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct jw w;
    jw_init(&w, &b, 0);
    jw_object(&w);
    jw_key(&w, "error");
    jw_object(&w);
    jw_key(&w, "code");
    jw_i64(&w, status);
    jw_kv(&w, "message", message);
    jw_key(&w, "errors");
    jw_array(&w);
    jw_object(&w);
    jw_kv(&w, "message", message);
    jw_kv(&w, "domain", "global");
    jw_kv(&w, "reason", reason);
    if (err->field[0]) {
        jw_kv(&w, "location", err->field);
    }
    jw_end_object(&w);
    jw_end_array(&w);
    jw_end_object(&w);
    jw_end_object(&w);
    gcs_reply_json(x, status, &b);
}

/* ---- writing ---- */

void gcs_base_url(struct buf *b, const struct xch *x) {
    const struct xch_head *h = xch_head(x);
    buf_put_str(b, h->scheme.n ? h->scheme : STR("http"));
    buf_puts(b, "://");
    buf_put_str(b, h->authority);
}

static void kv_str(struct jw *w, const char *key, struct str v) {
    if (v.n) {
        jw_key(w, key);
        jw_str(w, v);
    }
}

static void kv_time(struct jw *w, const char *key, usec_t t) {
    auto_buf struct buf b = BUF_INIT(64);
    time_format_rfc3339(&b, t);
    kv_str(w, key, buf_str(&b));
}

static void kv_crc(struct jw *w, uint32_t crc) {
    uint8_t p[4] = {(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8), (uint8_t)crc};
    auto_buf struct buf b = BUF_INIT(64);
    enc_base64(&b, p, 4);
    kv_str(w, "crc32c", buf_str(&b));
}

static void kv_etag(struct jw *w, uint64_t generation, uint64_t metageneration) {
    auto_buf struct buf raw = BUF_INIT(64), b = BUF_INIT(128);
    buf_printf(&raw, "%llu/%llu", (unsigned long long)generation,
               (unsigned long long)metageneration);
    enc_base64(&b, raw.p, raw.n);
    kv_str(w, "etag", buf_str(&b));
}

void gcs_put_hashes(struct buf *b, const struct blob_meta *m) {
    if (m->has_crc32c) {
        uint8_t p[4] = {(uint8_t)(m->crc32c >> 24), (uint8_t)(m->crc32c >> 16),
                        (uint8_t)(m->crc32c >> 8), (uint8_t)m->crc32c};
        buf_puts(b, "crc32c=");
        enc_base64(b, p, 4);
    }
    if (m->has_md5) {
        buf_puts(b, b->n ? ",md5=" : "md5=");
        enc_base64(b, m->md5, 16);
    }
}

static void write_object(struct jw *w, const struct xch *x, const struct blob_meta *m) {
    auto_buf struct buf url = BUF_INIT(BUF_NO_MAX), path = BUF_INIT(BUF_NO_MAX),
                        id = BUF_INIT(BUF_NO_MAX);
    buf_put_str(&path, m->bucket);
    buf_puts(&path, "/o/");
    enc_percent(&path, m->name, "");
    jw_object(w);
    jw_kv(w, "kind", "storage#object");
    buf_printf(&id, "%.*s/%.*s/%llu", STR_ARG(m->bucket), STR_ARG(m->name),
               (unsigned long long)m->generation);
    kv_str(w, "id", buf_str(&id));
    gcs_base_url(&url, x);
    buf_printf(&url, "/storage/v1/b/%s", path.p);
    kv_str(w, "selfLink", buf_str(&url));
    buf_clear(&url);
    gcs_base_url(&url, x);
    buf_printf(&url, "/download/storage/v1/b/%s?generation=%llu&alt=media", path.p,
               (unsigned long long)m->generation);
    kv_str(w, "mediaLink", buf_str(&url));
    kv_str(w, "name", m->name);
    kv_str(w, "bucket", m->bucket);
    jw_kv_u64_string(w, "generation", m->generation);
    jw_kv_u64_string(w, "metageneration", m->metageneration);
    kv_str(w, "contentType", m->content_type);
    kv_str(w, "contentEncoding", m->content_encoding);
    kv_str(w, "cacheControl", m->cache_control);
    kv_str(w, "contentDisposition", m->content_disposition);
    kv_str(w, "contentLanguage", m->content_language);
    kv_str(w, "storageClass", m->storage_class);
    jw_kv_u64_string(w, "size", m->size);
    if (m->has_md5) {
        auto_buf struct buf md5 = BUF_INIT(64);
        enc_base64(&md5, m->md5, 16);
        kv_str(w, "md5Hash", buf_str(&md5));
    }
    if (m->has_crc32c) {
        kv_crc(w, m->crc32c);
    }
    kv_etag(w, m->generation, m->metageneration);
    kv_time(w, "timeCreated", m->time_created);
    kv_time(w, "updated", m->updated);
    kv_time(w, "timeStorageClassUpdated", m->time_created);
    kv_time(w, "timeFinalized", m->time_created);
    if (m->nr_custom) {
        jw_key(w, "metadata");
        jw_object(w);
        for (size_t i = 0; i < m->nr_custom; i++) {
            jw_key_str(w, m->custom[i].key);
            jw_str(w, m->custom[i].value);
        }
        jw_end_object(w);
    }
    jw_end_object(w);
}

void gcs_put_object(struct buf *b, const struct xch *x, const struct blob_meta *m) {
    struct jw w;
    jw_init(&w, b, 0);
    write_object(&w, x, m);
}

static void write_bucket(struct jw *w, const struct xch *x, const struct blob_bucket *k) {
    auto_buf struct buf url = BUF_INIT(BUF_NO_MAX);
    gcs_base_url(&url, x);
    buf_printf(&url, "/storage/v1/b/%.*s", STR_ARG(k->name));
    jw_object(w);
    jw_kv(w, "kind", "storage#bucket");
    kv_str(w, "id", k->name);
    kv_str(w, "selfLink", buf_str(&url));
    kv_str(w, "name", k->name);
    if (k->project) {
        jw_kv_u64_string(w, "projectNumber", k->project);
    }
    jw_kv_u64_string(w, "metageneration", k->metageneration);
    kv_str(w, "location", k->location);
    jw_kv(w, "locationType", str_chr(k->location, '-') >= 0 ? "region" : "multi-region");
    kv_str(w, "storageClass", k->storage_class);
    kv_etag(w, k->time_created, k->metageneration);
    kv_time(w, "timeCreated", k->time_created);
    kv_time(w, "updated", k->updated);
    jw_key(w, "iamConfiguration");
    jw_object(w);
    jw_key(w, "uniformBucketLevelAccess");
    jw_object(w);
    jw_key(w, "enabled");
    jw_bool(w, true);
    jw_end_object(w);
    jw_kv(w, "publicAccessPrevention", "inherited");
    jw_end_object(w);
    jw_key(w, "hierarchicalNamespace");
    jw_object(w);
    jw_key(w, "enabled");
    jw_bool(w, false);
    jw_end_object(w);
    jw_end_object(w);
}

void gcs_put_bucket(struct buf *b, const struct xch *x, const struct blob_bucket *k) {
    struct jw w;
    jw_init(&w, b, 0);
    write_bucket(&w, x, k);
}

/* Page tokens are the last name in URL-safe base64: opaque to clients, harmless when forged. */
static void kv_next_page(struct jw *w, struct str next) {
    if (next.n) {
        auto_buf struct buf t = BUF_INIT(BUF_NO_MAX);
        enc_base64url(&t, next.p, next.n);
        kv_str(w, "nextPageToken", buf_str(&t));
    }
}

void gcs_put_list(struct buf *b, const struct xch *x, const struct blob_req *r) {
    struct jw w;
    size_t objects = 0, prefixes = 0;
    for (size_t i = 0; i < r->nr_items; i++) {
        *(r->items[i].is_prefix ? &prefixes : &objects) += 1;
    }
    jw_init(&w, b, 0);
    jw_object(&w);
    jw_kv(&w, "kind", "storage#objects");
    kv_next_page(&w, r->next_page);
    /* Absent when empty: TensorFlow takes any value for a page to fetch. */
    if (objects) {
        jw_key(&w, "items");
        jw_array(&w);
        for (size_t i = 0; i < r->nr_items; i++) {
            if (!r->items[i].is_prefix) {
                write_object(&w, x, r->items[i].meta);
            }
        }
        jw_end_array(&w);
    }
    if (prefixes) {
        jw_key(&w, "prefixes");
        jw_array(&w);
        for (size_t i = 0; i < r->nr_items; i++) {
            if (r->items[i].is_prefix) {
                jw_str(&w, r->items[i].meta->name);
            }
        }
        jw_end_array(&w);
    }
    jw_end_object(&w);
}

void gcs_put_buckets(struct buf *b, const struct xch *x, const struct blob_req *r) {
    struct jw w;
    jw_init(&w, b, 0);
    jw_object(&w);
    jw_kv(&w, "kind", "storage#buckets");
    kv_next_page(&w, r->next_page);
    if (r->nr_buckets) {
        jw_key(&w, "items");
        jw_array(&w);
        for (size_t i = 0; i < r->nr_buckets; i++) {
            write_bucket(&w, x, &r->buckets[i]);
        }
        jw_end_array(&w);
    }
    jw_end_object(&w);
}

/* ---- reading ---- */

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

static int load(struct str text, json_t **ret, struct err *err) {
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

int gcs_parse_object(struct arena *a, struct str text, struct blob_put *put, struct err *err) {
    json_t *j;
    if (load(text, &j, err) < 0) {
        return -1;
    }
    int r = get_text(a, j, "name", &put->name, err) < 0 ||
                    get_text(a, j, "contentType", &put->content_type, err) < 0 ||
                    get_text(a, j, "contentEncoding", &put->content_encoding, err) < 0 ||
                    get_text(a, j, "cacheControl", &put->cache_control, err) < 0 ||
                    get_text(a, j, "contentDisposition", &put->content_disposition, err) < 0 ||
                    get_text(a, j, "contentLanguage", &put->content_language, err) < 0 ||
                    get_text(a, j, "storageClass", &put->storage_class, err) < 0 ||
                    get_custom(a, j, put, err) < 0 || get_hashes(a, j, put, err) < 0
                ? -1
                : 0;
    json_decref(j);
    return r;
}

int gcs_parse_bucket(struct arena *a, struct str text, struct str *ret_name,
                     struct str *ret_location, struct str *ret_class, struct err *err) {
    json_t *j;
    if (load(text, &j, err) < 0) {
        return -1;
    }
    int r = get_text(a, j, "name", ret_name, err) < 0 ||
                    get_text(a, j, "location", ret_location, err) < 0 ||
                    get_text(a, j, "storageClass", ret_class, err) < 0
                ? -1
                : 0;
    json_decref(j);
    return r;
}
