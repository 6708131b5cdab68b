/* Multipart uploads of the XML API, as transfer managers use them: POST ?uploads begins, PUT
 * ?partNumber=&uploadId= brings parts in any order, POST ?uploadId= names those that make the
 * object, DELETE ?uploadId= drops them all, GET ?uploadId= lists them. The bytes of a part take the
 * road of every upload (gcs_upload.c). */
#include "api/gcs_parts.h"
#include "api/gcs_int.h"

#include "base/enc.h"
#include "base/limits.h"

/* Clients find their way in the answers by this namespace. */
#define NAMESPACE " xmlns='http://s3.amazonaws.com/doc/2006-03-01/'"
#define LIST_MAX 1000

struct parts_call {
    struct gcs_call *c;
    struct blob_parts p;
    struct blob_put put; /* start */
};

static struct gcs_call *end(struct parts_call *k) {
    struct gcs_call *c = k->c;
    free(k);
    return c;
}

static void fail(struct parts_call *k, const struct err *err) {
    struct err copy = *err;
    gcs_fail(end(k), &copy);
}

static struct parts_call *parts_call_new(struct gcs_call *c,
                                         void (*cb)(struct blob_parts *, const struct err *)) {
    struct parts_call *k = xcalloc(1, sizeof(*k));
    k->c = c;
    k->p.id = c->q.multipart_id;
    k->p.bucket = c->bucket;
    k->p.name = c->name;
    k->p.cb = cb;
    k->p.arg = k;
    return k;
}

static void put_target(struct buf *b, const struct gcs_call *c) {
    gcs_xml_element(b, "Bucket", c->bucket);
    gcs_xml_element(b, "Key", c->name);
}

static void put_md5(struct buf *b, const uint8_t md5[16]) {
    buf_puts(b, "<ETag>\"");
    enc_hex(b, md5, 16);
    buf_puts(b, "\"</ETag>");
}

/* ---- begin ---- */

static void started(struct blob_parts *p, const struct err *err) {
    struct parts_call *k = p->arg;
    if (err) {
        fail(k, err);
        return;
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    buf_puts(&b, GCS_XML_HEAD "<InitiateMultipartUploadResult" NAMESPACE ">");
    put_target(&b, k->c);
    gcs_xml_element(&b, "UploadId", p->id);
    buf_puts(&b, "</InitiateMultipartUploadResult>");
    gcs_xml_reply(k->c->x, 200, &b);
    gcs_call_free(end(k));
}

static void begin(struct gcs_call *c) {
    struct parts_call *k = parts_call_new(c, started);
    struct err err;
    k->put = (struct blob_put){.bucket = c->bucket, .size = -1};
    if (gcs_xml_facts(c, &k->put, &err) < 0) {
        fail(k, &err);
        return;
    }
    k->put.has_expect_md5 = false; /* of an empty body, if anything */
    blob_parts_start(c->g->blob, &k->p, &k->put);
}

/* ---- a part ---- */

static void part_allowed(struct blob_parts *p, const struct err *err) {
    struct parts_call *k = p->arg;
    if (err) {
        fail(k, err);
        return;
    }
    struct gcs_call *c = end(k);
    gcs_upload(c);
}

static void part(struct gcs_call *c) {
    struct err err;
    if (!str_to_u64(c->q.part_number, &c->part) || c->part < 1 || c->part > BLOB_PARTS_MAX) {
        err_field(&err, ERR_INVALID_ARGUMENT, "partNumber",
                  "Invalid value for partNumber: '%.*s' is not a number from 1 to %d",
                  (int)(c->q.part_number.n > 50 ? 50 : c->q.part_number.n),
                  c->q.part_number.p ? c->q.part_number.p : "", BLOB_PARTS_MAX);
        gcs_fail(c, &err);
        return;
    }
    blob_parts_get(c->g->blob, &parts_call_new(c, part_allowed)->p);
}

/* ---- the end ---- */

static void completed(struct blob_parts *p, const struct err *err) {
    struct parts_call *k = p->arg;
    if (err) {
        fail(k, err);
        return;
    }
    struct gcs_call *c = k->c;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX), url = BUF_INIT(BUF_NO_MAX);
    gcs_base_url(&url, c->x);
    buf_put_str(&url, xch_head(c->x)->path);
    buf_puts(&b, GCS_XML_HEAD "<CompleteMultipartUploadResult" NAMESPACE ">");
    gcs_xml_element(&b, "Location", buf_str(&url));
    put_target(&b, c);
    gcs_xml_etag(&b, p->meta);
    buf_puts(&b, "</CompleteMultipartUploadResult>");
    gcs_reply_facts(c, p->meta, buf_str(&b));
    gcs_call_free(end(k));
}

static void complete_body(struct xch *x, void *arg, struct str body, const struct err *why) {
    struct parts_call *k = arg;
    struct blob_part *parts;
    struct err err;
    if (why) {
        fail(k, why);
        return;
    }
    if (gcs_parse_parts(k->c->a, body, &parts, &k->p.nr_chosen, &err) < 0) {
        fail(k, &err);
        return;
    }
    k->p.chosen = parts;
    k->p.pre = k->c->q.pre;
    blob_parts_finish(k->c->g->blob, &k->p);
}

static void aborted(struct blob_parts *p, const struct err *err) {
    struct parts_call *k = p->arg;
    if (err) {
        fail(k, err);
        return;
    }
    gcs_reply_empty(k->c->x, 204);
    gcs_call_free(end(k));
}

/* ---- what is there ---- */

static void listed(struct blob_parts *p, const struct err *err) {
    struct parts_call *k = p->arg;
    if (err) {
        fail(k, err);
        return;
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    buf_puts(&b, GCS_XML_HEAD "<ListPartsResult" NAMESPACE ">");
    put_target(&b, k->c);
    gcs_xml_element(&b, "UploadId", p->id);
    gcs_xml_element(&b, "StorageClass",
                    p->put.storage_class.n ? p->put.storage_class : STR("STANDARD"));
    buf_printf(&b, "<PartNumberMarker>%llu</PartNumberMarker>", (unsigned long long)p->after);
    if (p->more) {
        buf_printf(&b, "<NextPartNumberMarker>%llu</NextPartNumberMarker>",
                   (unsigned long long)p->parts[p->nr_parts - 1].number);
    }
    buf_printf(&b, "<MaxParts>%u</MaxParts><IsTruncated>%s</IsTruncated>", p->max,
               p->more ? "true" : "false");
    for (size_t i = 0; i < p->nr_parts; i++) {
        buf_printf(&b, "<Part><PartNumber>%llu</PartNumber>",
                   (unsigned long long)p->parts[i].number);
        gcs_xml_time(&b, "LastModified", p->parts[i].updated);
        put_md5(&b, p->parts[i].md5);
        buf_printf(&b, "<Size>%llu</Size></Part>", (unsigned long long)p->parts[i].size);
    }
    buf_puts(&b, "</ListPartsResult>");
    gcs_xml_reply(k->c->x, 200, &b);
    gcs_call_free(end(k));
}

static void list(struct gcs_call *c) {
    struct parts_call *k = parts_call_new(c, listed);
    struct err err;
    uint64_t max = LIST_MAX;
    if ((c->q.max_parts.n && (!str_to_u64(c->q.max_parts, &max) || max == 0)) ||
        (c->q.part_marker.n && (!str_to_u64(c->q.part_marker, &k->p.after)))) {
        err_field(&err, ERR_INVALID_ARGUMENT, "max-parts",
                  "Invalid value for max-parts or part-number-marker: a number is expected");
        fail(k, &err);
        return;
    }
    k->p.after = k->p.after < BLOB_PARTS_MAX ? k->p.after : BLOB_PARTS_MAX;
    k->p.max = (unsigned)(max < LIST_MAX ? max : LIST_MAX);
    blob_parts_get(c->g->blob, &k->p);
}

bool gcs_parts(struct gcs_call *c, struct str method) {
    bool has_id = c->q.multipart_id.n > 0, is_post = str_eqc(method, "POST");
    if (!has_id && is_post && gcs_has_word(c->q.raw, "uploads")) {
        begin(c);
    } else if (has_id && str_eqc(method, "PUT")) {
        part(c);
    } else if (has_id && is_post) {
        xch_collect_plain(c->x, limits.max_api_body, complete_body, parts_call_new(c, completed));
    } else if (has_id && str_eqc(method, "DELETE")) {
        blob_parts_abort(c->g->blob, &parts_call_new(c, aborted)->p);
    } else if (has_id && str_eqc(method, "GET")) {
        list(c);
    } else {
        return false;
    }
    return true;
}
