/* The XML face of the storage API (reference 21 §1): /BUCKET/OBJECT, or
 * BUCKET.storage.googleapis.com, as TensorFlow, Go, signed URLs and plain HTTP tools use it. Facts
 * travel in headers, errors and lists are XML. Bytes take the same roads as in the JSON API. */
#include "api/gcs_int.h"

#include "base/enc.h"
#include "base/limits.h"

#define XML_NS " xmlns='http://doc.s3.amazonaws.com/2006-03-01'"

static void put_text(struct buf *b, struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '<') {
            buf_puts(b, "&lt;");
        } else if (c == '>') {
            buf_puts(b, "&gt;");
        } else if (c == '&') {
            buf_puts(b, "&amp;");
        } else if (c < 0x20) {
            buf_printf(b, "&#%u;", c);
        } else {
            buf_putc(b, (char)c);
        }
    }
}

void gcs_xml_element(struct buf *b, const char *name, struct str value) {
    buf_printf(b, "<%s>", name);
    put_text(b, value);
    buf_printf(b, "</%s>", name);
}

void gcs_xml_reply(struct xch *x, int status, const struct buf *b) {
    struct header h = {STR("content-type"), STR("application/xml; charset=UTF-8")};
    xch_reply(x, status, &h, 1, buf_str(b));
}

void gcs_xml_err(struct gcs_call *c, const struct err *err) {
    const char *reason, *code;
    int status = gcs_error_status(err, &reason);
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    switch (status) {
    case 400:
        code = strcmp(err->field, "content-md5") == 0 ? "InvalidDigest"
               : strcmp(err->field, "MD5 hash") == 0 || strcmp(err->field, "CRC32C") == 0
                   ? "BadDigest"
               : err->field[0] >= 'A' && err->field[0] <= 'Z' && !strchr(err->field, '-')
                   ? err->field /* named by who found it: InvalidPart, ... */
                   : "InvalidArgument";
        break;
    case 403:
        code = strcmp(err->field, "X-Goog-Credential") == 0  ? "InvalidAccessKeyId"
               : strcmp(err->field, "X-Goog-Expires") == 0   ? "ExpiredToken"
               : strcmp(err->field, "X-Goog-Signature") == 0 ? "SignatureDoesNotMatch"
                                                             : "AccessDenied";
        break;
    case 404:
        code = strcmp(err->field, "uploadId") == 0 ? "NoSuchUpload"
               : strstr(err->msg, "bucket")        ? "NoSuchBucket"
                                                   : "NoSuchKey";
        break;
    case 408:
        code = "RequestTimeout";
        break;
    case 409:
        code = "BucketNotEmpty";
        break;
    case 412:
        code = "PreconditionFailed";
        break;
    case 413:
        code = "EntityTooLarge";
        break;
    case 501:
        code = "NotImplemented";
        break;
    case 507:
        code = "InsufficientStorage";
        break;
    default:
        code = "InternalError";
    }
    buf_puts(&b, GCS_XML_HEAD "<Error>");
    gcs_xml_element(&b, "Code", str_of(code));
    gcs_xml_element(&b, "Message",
                    status == 500 ? STR("We encountered an internal error. Please try again.")
                                  : str_of(err->msg));
    if (status == 400) { /* Python's client looks for it */
        gcs_xml_element(&b, "Details", str_of(err->msg));
    }
    if (c->why_not.n) {
        gcs_xml_element(&b, "StringToSign", c->why_not);
        gcs_xml_element(&b, "CanonicalRequest", c->why_canonical);
    }
    buf_puts(&b, "</Error>");
    gcs_xml_reply(c->x, status, &b);
}

/* ---- uploads: facts from headers ---- */

static int number_header(struct xch *x, const char *name, uint64_t *ret, bool *has,
                         struct err *err) {
    struct str v = xch_header(x, name);
    if (!v.p) {
        return 0;
    }
    if (!str_to_u64(v, ret)) {
        return err_field(err, ERR_INVALID_ARGUMENT, name, "Invalid value for %s: '%.*s'", name,
                         (int)(v.n > 50 ? 50 : v.n), v.p);
    }
    *has = true;
    return 0;
}

static int read_preconds(struct xch *x, struct blob_precond *p, struct err *err) {
    return number_header(x, "x-goog-if-generation-match", &p->gen, &p->has_gen, err) < 0 ||
                   number_header(x, "x-goog-if-metageneration-match", &p->metagen, &p->has_metagen,
                                 err) < 0
               ? -1
               : 0;
}

int gcs_xml_facts(struct gcs_call *c, struct blob_put *put, struct err *err) {
    const struct headers *h = &xch_head(c->x)->headers;
    struct str md5 = xch_header(c->x, "content-md5"), when = xch_header(c->x, "x-goog-custom-time");
    usec_t t;
    put->name = c->name;
    put->content_type = xch_header(c->x, "content-type");
    put->content_encoding = xch_header(c->x, "content-encoding");
    put->cache_control = xch_header(c->x, "cache-control");
    put->content_disposition = xch_header(c->x, "content-disposition");
    put->content_language = xch_header(c->x, "content-language");
    put->storage_class = xch_header(c->x, "x-goog-storage-class");
    if (when.n) {
        if (time_parse_rfc3339(when, &t, NULL) < 0) {
            return err_field(err, ERR_INVALID_ARGUMENT, "x-goog-custom-time",
                             "Invalid value for x-goog-custom-time: must be an RFC 3339 time");
        }
        put->doc = str_of(arena_printf(c->a, "{\"customTime\":\"%.*s\"}", STR_ARG(when)));
    }
    if (md5.n) {
        put->has_expect_md5 = hash_from_base64(md5, put->expect_md5, 16);
        if (!put->has_expect_md5) {
            return err_field(err, ERR_INVALID_ARGUMENT, "content-md5",
                             "The MD5 you specified in Content-MD5 was invalid.");
        }
    }
    struct blob_pair *custom = arena_own_array(c->a, h->n + 1, sizeof(*custom));
    for (size_t i = 0; i < h->n; i++) {
        struct str name = h->p[i].name;
        if (str_starts(name, STR("x-goog-meta-")) && name.n > 12) {
            custom[put->nr_custom++] = (struct blob_pair){str_sub(name, 12, name.n), h->p[i].value};
        }
    }
    put->custom = custom;
    return 0;
}

/* ---- lists ---- */

void gcs_xml_etag(struct buf *b, const struct blob_meta *m) {
    buf_puts(b, "<ETag>\"");
    if (m->has_md5) {
        enc_hex(b, m->md5, 16);
    } else {
        buf_printf(b, "-%llx", (unsigned long long)m->generation);
    }
    buf_puts(b, "\"</ETag>");
}

void gcs_xml_time(struct buf *b, const char *name, usec_t t) {
    auto_buf struct buf text = BUF_INIT(64);
    time_format_rfc3339(&text, t - t % 1000);
    gcs_xml_element(b, name, buf_str(&text));
}

static void put_contents(struct buf *b, const struct blob_meta *m) {
    buf_puts(b, "<Contents>");
    gcs_xml_element(b, "Key", m->name);
    buf_printf(b, "<Generation>%llu</Generation><MetaGeneration>%llu</MetaGeneration>",
               (unsigned long long)m->generation, (unsigned long long)m->metageneration);
    gcs_xml_time(b, "LastModified", m->updated);
    gcs_xml_etag(b, m);
    buf_printf(b, "<Size>%llu</Size></Contents>", (unsigned long long)m->size);
}

static void list_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = gcs_call_of(r, err);
    if (!c) {
        return;
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX), token = BUF_INIT(BUF_NO_MAX);
    bool is_v2 = str_eqc(c->q.list_type, "2");
    buf_puts(&b, GCS_XML_HEAD "<ListBucketResult" XML_NS ">");
    gcs_xml_element(&b, "Name", c->bucket);
    gcs_xml_element(&b, "Prefix", c->q.prefix);
    if (!is_v2) {
        gcs_xml_element(&b, "Marker", c->q.marker);
    }
    if (c->q.delimiter.n) {
        gcs_xml_element(&b, "Delimiter", c->q.delimiter);
    }
    buf_printf(&b, "<MaxKeys>%u</MaxKeys>", r->max);
    buf_printf(&b, "<IsTruncated>%s</IsTruncated>", r->next_page.n ? "true" : "false");
    if (r->next_page.n && is_v2) {
        enc_base64url(&token, r->next_page.p, r->next_page.n);
        gcs_xml_element(&b, "NextContinuationToken", buf_str(&token));
    } else if (r->next_page.n) {
        gcs_xml_element(&b, "NextMarker", str_sub(r->next_page, 1, r->next_page.n));
    }
    for (size_t i = 0; i < r->nr_items; i++) {
        if (!r->items[i].is_prefix) {
            put_contents(&b, r->items[i].meta);
        }
    }
    for (size_t i = 0; i < r->nr_items; i++) {
        if (r->items[i].is_prefix) {
            buf_puts(&b, "<CommonPrefixes>");
            gcs_xml_element(&b, "Prefix", r->items[i].meta->name);
            buf_puts(&b, "</CommonPrefixes>");
        }
    }
    buf_puts(&b, "</ListBucketResult>");
    gcs_xml_reply(c->x, 200, &b);
    gcs_call_free(c);
}

static void list(struct gcs_call *c) {
    struct err err;
    c->q.max_results = c->q.max_keys;
    if (c->q.continuation.n) {
        c->q.page_token = c->q.continuation;
    }
    if (gcs_page(c, &err) < 0) {
        gcs_fail(c, &err);
        return;
    }
    struct str after = c->q.marker.n ? c->q.marker : c->q.start_after;
    if (after.n && !c->req.page_token.n) {
        /* A marker that is a prefix of the last page stands for all that begins with it. */
        bool is_prefix = c->q.delimiter.n && str_ends(after, c->q.delimiter);
        c->req.page_token =
            str_of(arena_printf(c->a, "%c%.*s", is_prefix ? 'p' : 'n', STR_ARG(after)));
    }
    c->req.prefix = c->q.prefix;
    c->req.delimiter = c->q.delimiter;
    c->req.cb = list_out;
    blob_object_list(c->g->blob, &c->req);
}

static void bucket_head_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = gcs_call_of(r, err);
    if (c) {
        gcs_reply_empty(c->x, 200);
        gcs_call_free(c);
    }
}

static void location_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = gcs_call_of(r, err);
    if (c) {
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        buf_puts(&b, GCS_XML_HEAD);
        gcs_xml_element(&b, "LocationConstraint", r->bucket_info->location);
        gcs_xml_reply(c->x, 200, &b);
        gcs_call_free(c);
    }
}

static void on_bucket(struct gcs_call *c, struct str method) {
    static const char *const unbuilt[] = {"acl",     "cors",       "lifecycle",       "logging",
                                          "policy",  "tagging",    "website",         "delete",
                                          "billing", "versioning", "encryptionConfig"};
    c->req.bucket = c->bucket;
    for (size_t i = 0; i < NR_OF(unbuilt); i++) {
        if (gcs_has_word(c->q.raw, unbuilt[i])) {
            gcs_not_built(c);
            return;
        }
    }
    if (str_eqc(method, "HEAD")) {
        c->req.cb = bucket_head_out;
        blob_bucket_get(c->g->blob, &c->req);
    } else if (str_eqc(method, "GET") && gcs_has_word(c->q.raw, "uploads")) {
        gcs_parts_list_uploads(c);
    } else if (str_eqc(method, "GET") && gcs_has_word(c->q.raw, "location")) {
        c->req.cb = location_out;
        blob_bucket_get(c->g->blob, &c->req);
    } else if (str_eqc(method, "GET")) {
        list(c);
    } else if (str_eqc(method, "DELETE")) {
        c->req.cb = gcs_gone_out;
        blob_bucket_delete(c->g->blob, &c->req);
    } else if (str_eqc(method, "POST") &&
               str_starts(xch_header(c->x, "content-type"), STR("multipart/form-data"))) {
        struct err err;
        err_field(&err, ERR_UNIMPLEMENTED, "policy",
                  "Uploads of HTML forms (POST policy documents) are not available here: send the "
                  "object with PUT to a signed URL.");
        gcs_fail(c, &err);
    } else {
        gcs_not_built(c);
    }
}

/* ---- objects ---- */

static void on_object(struct gcs_call *c, struct str method) {
    struct err err;
    c->req.bucket = c->bucket;
    c->req.name = c->name;
    if (read_preconds(c->x, &c->q.pre, &err) < 0 || blob_check_object_name(c->name, &err) < 0) {
        gcs_fail(c, &err);
        return;
    }
    c->req.pre = c->q.pre;
    if (c->q.generation.n && !str_to_u64(c->q.generation, &c->req.generation)) {
        err_field(&err, ERR_INVALID_ARGUMENT, "generation", "Invalid argument.");
        gcs_fail(c, &err);
        return;
    }
    if (gcs_parts(c, method)) {
        return;
    }
    if (c->q.upload_id.n) {
        gcs_upload(c);
    } else if (gcs_has_word(c->q.raw, "acl") || gcs_has_word(c->q.raw, "uploads") ||
               gcs_has_word(c->q.raw, "uploadId")) {
        gcs_not_built(c);
    } else if (str_eqc(method, "GET") || str_eqc(method, "HEAD")) {
        c->q.alt = STR("media");
        gcs_download(c);
    } else if (str_eqc(method, "DELETE")) {
        c->req.cb = gcs_gone_out;
        blob_object_delete(c->g->blob, &c->req);
    } else if (str_eqc(method, "PUT") && xch_header(c->x, "x-goog-copy-source").n) {
        gcs_xml_copy(c, xch_header(c->x, "x-goog-copy-source"));
    } else if (str_eqc(method, "PUT") || (str_eqc(method, "POST") &&
                                          str_eqc(xch_header(c->x, "x-goog-resumable"), "start"))) {
        gcs_upload(c);
    } else {
        gcs_not_built(c);
    }
}

void gcs_xml_copied(struct gcs_call *c, const struct blob_meta *m) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    buf_puts(&b, GCS_XML_HEAD "<CopyObjectResult>");
    gcs_xml_time(&b, "LastModified", m->updated);
    gcs_xml_etag(&b, m);
    buf_puts(&b, "</CopyObjectResult>");
    gcs_xml_reply(c->x, 200, &b);
}

/* ---- whose path it is ---- */

static struct str host_of(const struct xch *x) {
    struct str rest = xch_head(x)->authority;
    return str_cut(&rest, ':');
}

/* False: not ours. The bucket and the raw name are views of the request. */
static bool find_target(struct api_gcs *g, const struct xch *x, struct str *ret_bucket,
                        struct str *ret_name) {
    static const struct str home = {".storage.googleapis.com", 23};
    struct str host = host_of(x), path = xch_head(x)->path, rest;
    path = str_sub(path, 1, path.n);
    if (str_ends(host, home) &&
        blob_check_bucket_name(str_sub(host, 0, host.n - home.n), NULL) == 0) {
        *ret_bucket = str_sub(host, 0, host.n - home.n);
        *ret_name = path;
        return true;
    }
    rest = path;
    *ret_bucket = str_cut(&rest, '/');
    *ret_name = rest.p ? rest : STR("");
    if (blob_check_bucket_name(*ret_bucket, NULL) < 0 || str_eqc(*ret_bucket, "v1beta1")) {
        return false;
    }
    /* On an address that is not storage's own, only a bucket that exists has paths: what else may
     * be served there keeps its 404. */
    return str_eqc(host, "storage.googleapis.com") || blob_bucket_is_here(g->blob, *ret_bucket);
}

static void dispatch(struct gcs_call *c) {
    struct str method = xch_head(c->x)->method;
    if (c->name.n) {
        on_object(c, method);
    } else {
        on_bucket(c, method);
    }
}

bool api_gcs_handle_xml(struct api_gcs *g, struct xch *x) {
    struct str bucket, raw;
    struct err err;
    if (!find_target(g, x, &bucket, &raw)) {
        return false;
    }
    struct gcs_call *c = gcs_call_new(g, x);
    c->is_xml = true;
    c->bucket = bucket;
    if (g->retry &&
        gcs_retry_intercept(g->retry, x, xch_head(x)->method, xch_head(x)->path, true, &c->fault)) {
        gcs_call_free(c);
        return true;
    }
    if (gcs_parse_query(c->a, xch_head(x)->query, &c->q, &err) < 0 ||
        gcs_unpercent(c, raw, &c->name, &err) < 0) {
        gcs_fail(c, &err);
        return true;
    }
    if (gcs_is_signed(c)) {
        gcs_verify(c, dispatch);
    } else {
        dispatch(c);
    }
    return true;
}
