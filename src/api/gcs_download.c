/* Object metadata and content: JSON, or the file itself with ranges (reference 21 §4). */
#include "api/gcs_int.h"

#include "base/enc.h"

#include <unistd.h>

#define MAX_HEADERS 28 /* besides custom metadata */
#define CUT_MAX (1u << 20)

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
        gcs_fail(c, err);
        return;
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    gcs_put_object(&b, c->x, r->meta);
    gcs_reply_json(c->x, 200, &b);
    gcs_call_free(c);
}

struct out {
    struct header *h;
    size_t n, max;
    struct arena *a;
};

static void put(struct out *o, const char *name, struct str value) {
    if (value.n && o->n < o->max) {
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

static void put_etag(struct out *o, const struct gcs_call *c, const struct blob_meta *m) {
    auto_buf struct buf etag = BUF_INIT(256), raw = BUF_INIT(64);
    buf_putc(&etag, '"');
    if (c->is_xml && m->has_md5) { /* plain HTTP clients take it for the MD5 */
        enc_hex(&etag, m->md5, 16);
    } else {
        buf_printf(&raw, "%llu/%llu", (unsigned long long)m->generation,
                   (unsigned long long)m->metageneration);
        enc_base64(&etag, raw.p, raw.n);
    }
    buf_putc(&etag, '"');
    put(o, "etag", buf_str(&etag));
}

static void put_last_modified(struct out *o, usec_t when) {
    char text[64];
    time_t t = (time_t)(when / USEC_PER_SEC);
    struct tm tm;
    if (gmtime_r(&t, &tm)) {
        strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        put(o, "last-modified", str_of(text));
    }
}

static void put_custom(struct out *o, const struct blob_meta *m) {
    for (size_t i = 0; i < m->nr_custom; i++) {
        auto_buf struct buf name = BUF_INIT(BUF_NO_MAX);
        bool is_token = true;
        buf_puts(&name, "x-goog-meta-");
        for (size_t k = 0; k < m->custom[i].key.n; k++) {
            char ch = m->custom[i].key.p[k];
            is_token = is_token && ch > 0x20 && ch < 0x7f && !strchr("\"(),/:;<=>?@[\\]{}", ch);
            buf_putc(&name, (char)(ch >= 'A' && ch <= 'Z' ? ch + 32 : ch));
        }
        if (is_token && m->custom[i].key.n) { /* others cannot be a header */
            put(o, arena_str(o->a, buf_str(&name)).p, m->custom[i].value);
        }
    }
}

static struct out out_new(struct gcs_call *c, const struct blob_meta *m) {
    size_t max = MAX_HEADERS + (c->is_xml ? m->nr_custom : 0);
    return (struct out){
        .a = c->a, .max = max, .h = arena_own_array(c->a, max, sizeof(struct header))};
}

/* The etag comes first. */
static void put_facts(struct out *o, const struct gcs_call *c, const struct blob_meta *m,
                      bool is_unpacked) {
    auto_buf struct buf hash = BUF_INIT(256);
    put_etag(o, c, m);
    struct str type = c->is_xml && c->q.response_type.n ? c->q.response_type : m->content_type;
    struct str disposition = c->is_xml && c->q.response_disposition.n ? c->q.response_disposition
                                                                      : m->content_disposition;
    put(o, "content-type", type.n ? type : STR("application/octet-stream"));
    put(o, "content-encoding", is_unpacked ? STR("") : m->content_encoding);
    put_last_modified(o, m->updated);
    put(o, "cache-control", m->cache_control);
    put(o, "content-disposition", disposition);
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
    if (m->components) {
        put_u64(o, "x-goog-component-count", m->components);
    }
    if (c->is_xml) {
        put_custom(o, m);
    }
}

void gcs_reply_part(struct gcs_call *c, const struct blob_meta *m) {
    auto_buf struct buf hash = BUF_INIT(256), etag = BUF_INIT(64);
    struct out o = out_new(c, m);
    buf_putc(&etag, '"');
    enc_hex(&etag, m->md5, 16);
    buf_putc(&etag, '"');
    put(&o, "etag", buf_str(&etag));
    gcs_put_hashes(&hash, m);
    put(&o, "x-goog-hash", buf_str(&hash));
    xch_reply(c->x, 200, o.h, o.n, STR(""));
}

void gcs_reply_facts(struct gcs_call *c, const struct blob_meta *m, struct str body) {
    auto_buf struct buf hash = BUF_INIT(256);
    struct out o = out_new(c, m);
    put(&o, "content-type", body.n ? STR("application/xml; charset=UTF-8") : STR(""));
    put_etag(&o, c, m);
    put_u64(&o, "x-goog-generation", m->generation);
    put_u64(&o, "x-goog-metageneration", m->metageneration);
    gcs_put_hashes(&hash, m);
    put(&o, "x-goog-hash", buf_str(&hash));
    put_u64(&o, "x-goog-stored-content-length", m->size);
    put(&o, "x-goog-stored-content-encoding",
        m->content_encoding.n ? m->content_encoding : STR("identity"));
    xch_reply(c->x, 200, o.h, o.n, body);
}

/* ---- gzip for those who do not take it ---- */

struct unpacking {
    struct gcs_call *c;
    struct blob_inflate *f;
    bool is_started, is_last, waiting;
};

static void unpack_free(struct unpacking *u) {
    xch_on_drain(u->c->x, NULL, NULL);
    blob_inflate_free(u->f);
    gcs_call_free(u->c);
    free(u);
}

static void unpack_step(void *arg, struct str bytes, bool is_last, const struct err *err);

static void unpack_drained(struct xch *x, void *arg) {
    struct unpacking *u = arg;
    if (u->waiting) {
        u->waiting = false;
        blob_inflate_next(u->f, unpack_step, u);
    }
}

static void unpack_gone(struct xch *x, void *arg) {
    unpack_drained(x, arg); /* the next step sees that nobody listens */
}

static void unpack_step(void *arg, struct str bytes, bool is_last, const struct err *err) {
    struct unpacking *u = arg;
    struct xch *x = u->c->x;
    if (err || xch_is_gone(x)) {
        if (err && !u->is_started) {
            gcs_answer_err(u->c, err);
        } else {
            xch_abort(x);
        }
        unpack_free(u);
        return;
    }
    if (!u->is_started) {
        struct out o = out_new(u->c, u->c->req.meta);
        put_facts(&o, u->c, u->c->req.meta, true);
        put(&o, "warning", STR("214 UploadServer gunzipped"));
        put(&o, "vary", STR("Accept-Encoding"));
        xch_start(x, 200, o.h, o.n, -1);
        u->is_started = true;
    }
    bool go_on = xch_write(x, bytes);
    if (is_last) {
        xch_end(x);
        unpack_free(u);
    } else if (go_on) {
        blob_inflate_next(u->f, unpack_step, u);
    } else {
        u->waiting = true;
    }
}

/* The real service unpacks unless the client or the object forbids it. */
static bool wants_unpacking(const struct gcs_call *c, const struct blob_meta *m) {
    return str_eqc(m->content_encoding, "gzip") &&
           str_find(m->cache_control, STR("no-transform")) < 0 &&
           str_find(xch_header(c->x, "accept-encoding"), STR("gzip")) < 0 && m->size > 0 &&
           !str_eqc(xch_head(c->x)->method, "HEAD");
}

static void unpack(struct gcs_call *c) {
    struct unpacking *u = xcalloc(1, sizeof(*u));
    u->c = c;
    u->f = blob_inflate_new(c->g->blob, take_fd(&c->req.fd));
    xch_on_drain(c->x, unpack_drained, u);
    xch_on_gone(c->x, unpack_gone, u);
    blob_inflate_next(u->f, unpack_step, u);
}

/* A retry test: so many bytes, then the connection breaks. */
static void cut_download(struct gcs_call *c, uint64_t first) {
    struct gcs_retry *r = c->fault.from;
    size_t n = c->fault.after < CUT_MAX ? (size_t)c->fault.after : CUT_MAX;
    auto_free char *p = xmalloc(n);
    ssize_t got = pread(c->req.fd, p, n, (off_t)first);
    gcs_fault_happens(&c->fault);
    xch_write(c->x, str_n(p, got > 0 ? (size_t)got : 0));
    gcs_fault_cut(r, c->x);
}

static void media_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = r->arg;
    if (err) {
        metadata_out(r, err);
        return;
    }
    const struct blob_meta *m = r->meta;
    struct out o = out_new(c, m);
    uint64_t first, n;
    enum range_kind kind = range_parse(xch_header(c->x, "range"), m->size, &first, &n);
    if (wants_unpacking(c, m)) {
        unpack(c);
        return;
    }
    put_facts(&o, c, m, false);
    if (kind == RANGE_UNSATISFIABLE) {
        char *range = arena_printf(c->a, "bytes */%llu", (unsigned long long)m->size);
        struct header h[] = {{STR("content-range"), str_of(range)},
                             {STR("content-type"), STR("text/plain")}};
        xch_reply(c->x, 416, h, 2, STR("The requested range cannot be satisfied."));
        gcs_call_free(c);
        return;
    }
    struct str none_match = xch_header(c->x, "if-none-match");
    if (none_match.n && str_eq(none_match, o.h[0].value)) {
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
    if (c->fault.cuts_download && n > c->fault.after) {
        cut_download(c, first);
    } else if (n == 0 || str_eqc(xch_head(c->x)->method, "HEAD")) {
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
