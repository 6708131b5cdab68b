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
    case ERR_DEADLINE_EXCEEDED:
        /* The body stood still. The one reason that Google documents for 408, to be tried again
         * (cloud.google.com/storage/docs/json_api/v1/status-codes); so do the clients. */
        *ret_reason = "uploadBrokenConnection";
        return 408;
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
    auto_buf struct buf part = BUF_INIT(BUF_NO_MAX);
    struct err err;
    struct str q = xch_head(x)->query;
    if (status == 200 && str_find(q, STR("fields=")) >= 0) {
        if (gcs_select_fields(x, buf_str(b), &part, &err) < 0) {
            gcs_reply_err(x, &err);
            return;
        }
        b = &part;
    }
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

/* The members of a record's doc, but for what others write. */
static void write_doc(struct jw *w, struct str doc) {
    if (!doc.n) {
        return;
    }
    json_t *j = gcs_load_doc(doc), *v;
    const char *key;
    json_object_foreach(j, key, v) {
        if (strcmp(key, "iamConfiguration") == 0 || strcmp(key, GCS_NOTIFICATIONS) == 0) {
            continue;
        }
        char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
        jw_key(w, key);
        jw_raw(w, str_of(text));
        free(text);
    }
    json_decref(j);
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
    auto_buf struct buf created = BUF_INIT(64);
    time_format_rfc3339(&created, m->time_created);
    kv_str(w, "timeCreated", buf_str(&created));
    if (m->updated == m->time_created) { /* lists format the same time by the hundred thousand */
        kv_str(w, "updated", buf_str(&created));
    } else {
        kv_time(w, "updated", m->updated);
    }
    kv_str(w, "timeStorageClassUpdated", buf_str(&created));
    kv_str(w, "timeFinalized", buf_str(&created));
    if (m->components) {
        jw_key(w, "componentCount");
        jw_u64(w, m->components);
    }
    write_doc(w, m->doc);
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

/* What a client set, over the defaults. */
static void write_iam_configuration(struct jw *w, struct str doc) {
    json_t *j = gcs_load_doc(doc);
    json_t *given = json_object_get(j, "iamConfiguration");
    json_t *conf = json_pack("{s:{s:b}, s:s}", "uniformBucketLevelAccess", "enabled", 1,
                             "publicAccessPrevention", "inherited");
    if (json_is_object(given)) {
        json_object_update(conf, given);
    }
    char *text = json_dumps(conf, JSON_COMPACT);
    jw_key(w, "iamConfiguration");
    jw_raw(w, str_of(text));
    free(text);
    json_decref(conf);
    json_decref(j);
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
    write_iam_configuration(w, k->doc);
    write_doc(w, k->doc);
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
