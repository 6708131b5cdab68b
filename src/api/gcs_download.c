/* Object metadata and content: JSON, or the file itself with ranges (reference 21 §4). */
#include "api/gcs_int.h"

#include "base/enc.h"

#define MAX_HEADERS 24

static void reply_not_modified(struct gcs_call *c) {
    gcs_reply_empty(c->x, 304);
    gcs_call_free(c);
}

static void metadata_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = r->arg;
    if (err && err->code == ERR_FAILED_PRECONDITION && (strstr(err->field, "NotMatch") != NULL)) {
        reply_not_modified(c); /* a conditional read that has nothing new to tell */
        return;
    }
    if (err) {
        gcs_reply_err(c->x, err);
        gcs_call_free(c);
        return;
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    gcs_put_object(&b, c->x, r->meta);
    gcs_reply_json(c->x, 200, &b);
    gcs_call_free(c);
}

struct out {
    struct header h[MAX_HEADERS];
    size_t n;
    struct arena *a;
};

static void put(struct out *o, const char *name, struct str value) {
    if (value.n && o->n < MAX_HEADERS) {
        /* Values come from metadata a client once sent: nothing that ends a header line may pass.
         */
        for (size_t i = 0; i < value.n; i++) {
            if ((unsigned char)value.p[i] < 0x20 || value.p[i] == 0x7f) {
                return;
            }
        }
        o->h[o->n++] = (struct header){str_of(name), arena_str(o->a, value)};
    }
}

static void put_u64(struct out *o, const char *name, uint64_t v) {
    char *s = arena_printf(o->a, "%llu", (unsigned long long)v);
    put(o, name, str_of(s));
}

static void put_facts(struct out *o, const struct blob_meta *m) {
    auto_buf struct buf hash = BUF_INIT(256), etag = BUF_INIT(256), raw = BUF_INIT(64);
    put(o, "content-type", m->content_type.n ? m->content_type : STR("application/octet-stream"));
    put(o, "content-encoding", m->content_encoding);
    put(o, "cache-control", m->cache_control);
    put(o, "content-disposition", m->content_disposition);
    put(o, "content-language", m->content_language);
    put(o, "accept-ranges", STR("bytes"));
    put_u64(o, "x-goog-generation", m->generation);
    put_u64(o, "x-goog-metageneration", m->metageneration);
    put(o, "x-goog-storage-class", m->storage_class);
    put(o, "x-goog-stored-content-encoding",
        m->content_encoding.n ? m->content_encoding : STR("identity"));
    put_u64(o, "x-goog-stored-content-length", m->size);
    gcs_put_hashes(&hash, m);
    put(o, "x-goog-hash", buf_str(&hash));
    buf_printf(&raw, "%llu/%llu", (unsigned long long)m->generation,
               (unsigned long long)m->metageneration);
    buf_putc(&etag, '"');
    enc_base64(&etag, raw.p, raw.n);
    buf_putc(&etag, '"');
    put(o, "etag", buf_str(&etag));
}

static void media_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = r->arg;
    if (err) {
        metadata_out(r, err);
        return;
    }
    const struct blob_meta *m = r->meta;
    struct out o = {.a = c->a};
    uint64_t first, n;
    enum range_kind kind = range_parse(xch_header(c->x, "range"), m->size, &first, &n);
    put_facts(&o, m);
    if (kind == RANGE_UNSATISFIABLE) {
        char *range = arena_printf(c->a, "bytes */%llu", (unsigned long long)m->size);
        struct header h[] = {{STR("content-range"), str_of(range)},
                             {STR("content-type"), STR("text/plain")}};
        xch_reply(c->x, 416, h, 2, STR("The requested range cannot be satisfied."));
        gcs_call_free(c);
        return;
    }
    struct str none_match = xch_header(c->x, "if-none-match");
    if (none_match.n && str_eq(none_match, o.h[o.n - 1].value)) {
        xch_reply(c->x, 304, o.h, o.n, STR(""));
        gcs_call_free(c);
        return;
    }
    if (kind == RANGE_PART) {
        char *range =
            arena_printf(c->a, "bytes %llu-%llu/%llu", (unsigned long long)first,
                         (unsigned long long)(first + n - 1), (unsigned long long)m->size);
        put(&o, "content-range", str_of(range));
    }
    xch_start(c->x, kind == RANGE_PART ? 206 : 200, o.h, o.n, (int64_t)n);
    if (n == 0 || str_eqc(xch_head(c->x)->method, "HEAD")) {
        xch_end(c->x);
    } else {
        xch_send_file(c->x, r->fd, first, n);
    }
    gcs_call_free(c);
}

void gcs_download(struct gcs_call *c) {
    bool is_media = str_eqc(c->q.alt, "media");
    c->req.want_fd = is_media;
    /* A partial read has no use for a checksum of the whole that nobody computed yet. */
    c->req.hashes = !is_media                             ? BLOB_HASH_ALL
                    : xch_header(c->x, "range").p != NULL ? BLOB_HASH_KNOWN
                                                          : BLOB_HASH_CRC32C;
    c->req.cb = is_media ? media_out : metadata_out;
    blob_object_get(c->g->blob, &c->req);
}
