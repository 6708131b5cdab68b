/* Uploads: media, multipart, resumable (reference 21 §3).
 *
 * Bytes never gather. A transfer owns two buffers: one fills from the network while the other is on
 * its way to the disk; the client may send (credit) only what has room. When the peer vanishes what
 * arrived is kept for a session and dropped for the others. */
#include "api/gcs_int.h"
#include "api/gcs_multipart.h"

#include "base/limits.h"
#include "net/unzip.h"

#define PACKED_STEP (32u << 10) /* packed bytes asked for, and bytes unpacked, at a time */

struct transfer {
    struct gcs_call *c;
    struct blob_upload *upload; /* multipart: made when the JSON part is known */
    uint64_t epoch;
    struct blob_put put;
    struct multipart mp;
    bool is_multipart, is_resumable;
    /* multipart sent as gzip: what came and is not unpacked yet */
    struct gunzip *gunzip;
    struct buf packed;
    bool has_more; /* the unpacker stopped for want of room, not of bytes */
    bool is_peer_done;
    /* resumable */
    struct blob_session session;
    struct content_range range;
    bool has_range;
    uint64_t skip;     /* bytes of this request that are stored already */
    uint64_t received; /* body bytes of this request */
    uint64_t credit;   /* granted and not yet come */
    /* two buffers */
    char *buf[2];
    size_t n[2], cap;
    int fill;
    bool writing, body_over, is_cut, is_final;
    struct err err;
    bool failed;
    struct blob_write write;
    struct blob_finish finish;
};

static void transfer_free(struct transfer *t) {
    blob_upload_unref(t->upload);
    if (t->is_multipart) {
        multipart_fini(&t->mp);
    }
    gunzip_free(t->gunzip);
    buf_fini(&t->packed);
    free(t->buf[0]);
    free(t->buf[1]);
    gcs_call_free(t->c);
    free(t);
}

static void answer_err(struct transfer *t, const struct err *err) {
    gcs_answer_err(t->c, err);
    transfer_free(t);
}

static void answer_object(struct transfer *t, const struct blob_meta *m) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    if (t->c->is_xml) {
        gcs_reply_facts(t->c, m);
    } else {
        gcs_put_object(&b, t->c->x, m);
        gcs_reply_json(t->c->x, 200, &b);
    }
    transfer_free(t);
}

/* 308: so far received; the header is left out while nothing is. Go, whose HTTP library takes a 308
 * for a redirection, asks to hear it in a header. */
static void answer_more(struct transfer *t) {
    uint64_t n = blob_upload_offset(t->upload);
    bool no_308 = str_ieq(xch_header(t->c->x, "x-guploader-no-308"), STR("yes"));
    char *range = arena_printf(t->c->a, "bytes=0-%llu", (unsigned long long)(n ? n - 1 : 0));
    struct header h[3];
    size_t nr = 0;
    h[nr++] = (struct header){STR("x-guploader-uploadid"), str_of(blob_upload_id(t->upload))};
    if (n) {
        h[nr++] = (struct header){STR("range"), str_of(range)};
    }
    if (no_308) {
        h[nr++] = (struct header){STR("x-http-status-code-override"), STR("308")};
    }
    xch_reply(t->c->x, no_308 ? 200 : 308, h, nr, STR(""));
    transfer_free(t);
}

/* ---- buffers ---- */

static void step(struct transfer *t);
static void unpack(struct transfer *t);

/* Keeps what may still come plus what is held below the room there is. The slack is for the few
 * bytes a multipart parser holds back and gives out later. */
static void regrant(struct transfer *t) {
    if (t->gunzip) { /* what it unpacks to nobody knows: a little at a time */
        if (!t->credit && !t->packed.n && !t->has_more && !t->failed && !t->is_peer_done) {
            t->credit = PACKED_STEP;
            xch_grant(t->c->x, PACKED_STEP);
        }
        return;
    }
    uint64_t room = t->cap < GCS_BUFFER ? t->cap : 2 * t->cap - 512;
    uint64_t used = t->n[0] + t->n[1] + t->credit;
    if (used < room && !t->failed && !t->body_over) {
        t->credit += room - used;
        xch_grant(t->c->x, room - used);
    }
}

static void written(struct blob_write *w, const struct err *err) {
    struct transfer *t = w->arg;
    t->writing = false;
    int done = 1 - t->fill;
    if (err && !t->failed) {
        t->failed = true;
        t->err = *err;
    }
    t->n[done] = 0;
    if (t->gunzip) {
        unpack(t);
    }
    regrant(t);
    step(t);
}

static void submit(struct transfer *t) {
    int i = t->fill;
    t->fill = 1 - i;
    t->writing = true;
    t->write = (struct blob_write){
        .bytes = str_n(t->buf[i], t->n[i]), .epoch = t->epoch, .cb = written, .arg = t};
    blob_upload_write(t->upload, &t->write);
}

static void start_multipart_upload(struct transfer *t);

/* Credit never exceeds the room of both buffers, so everything fits. */
static void store(void *arg, struct str s) {
    struct transfer *t = arg;
    if (!t->upload) {
        start_multipart_upload(t); /* first media bytes: the JSON part is complete */
    }
    while (s.n && !t->failed) {
        if (t->n[t->fill] == t->cap) {
            CHECK(!t->writing && t->upload);
            submit(t);
        }
        int i = t->fill;
        if (!t->buf[i]) {
            t->buf[i] = xmalloc(t->cap);
        }
        size_t room = t->cap - t->n[i], n = s.n < room ? s.n : room;
        if (s.p != t->buf[i] + t->n[i]) { /* else it was read there: body_room */
            memcpy(t->buf[i] + t->n[i], s.p, n);
        }
        t->n[i] += n;
        s = str_sub(s, n, s.n);
        if (t->n[i] == t->cap && !t->writing) {
            submit(t);
        }
    }
}

/* ---- the end of the body ---- */

static void finished(struct blob_finish *f, const struct blob_meta *m, const struct err *err) {
    struct transfer *t = f->arg;
    if (err) {
        answer_err(t, err);
    } else {
        answer_object(t, m);
    }
}

static void synced(struct blob_write *w, const struct err *err) {
    struct transfer *t = w->arg;
    if (err) {
        answer_err(t, err);
    } else {
        answer_more(t);
    }
}

static void complete(struct transfer *t) {
    if (t->is_final) {
        t->finish = (struct blob_finish){.epoch = t->epoch, .cb = finished, .arg = t};
        blob_upload_finish(t->upload, &t->finish);
    } else {
        t->write = (struct blob_write){
            .bytes = STR(""), .sync = true, .epoch = t->epoch, .cb = synced, .arg = t};
        blob_upload_write(t->upload, &t->write);
    }
}

static int check_length(struct transfer *t, struct err *err) {
    const struct content_range *r = &t->range;
    uint64_t offset = blob_upload_offset(t->upload);
    if (!t->has_range) {
        return 0;
    }
    if (r->has_last && t->received != r->last - r->first + 1) {
        return err_set(
            err, ERR_INVALID_ARGUMENT, "The body has %llu bytes but Content-Range says %llu.",
            (unsigned long long)t->received, (unsigned long long)(r->last - r->first + 1));
    }
    if (t->is_final && r->has_total && offset != r->total) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "The upload has %llu bytes but Content-Range says %llu.",
                       (unsigned long long)offset, (unsigned long long)r->total);
    }
    return 0;
}

/* Goes on with whatever is due; may free t. */
static void step(struct transfer *t) {
    if (t->writing) {
        return;
    }
    if (t->failed) {
        answer_err(t, &t->err);
        return;
    }
    if (t->n[t->fill] && t->upload && (t->n[t->fill] == t->cap || t->body_over)) {
        submit(t);
        return;
    }
    if (!t->body_over) {
        return;
    }
    if (t->is_cut || check_length(t, &t->err) < 0) {
        answer_err(t, &t->err); /* cut: nobody hears it, but the exchange must be finished */
        return;
    }
    complete(t);
}

/* ---- the body ---- */

static void body_is_over(struct transfer *t);

/* As much as the buffers have room for; goes on when one was written. */
static void unpack(struct transfer *t) {
    char out[PACKED_STEP];
    size_t n;
    while (!t->failed && (t->packed.n || t->has_more) &&
           t->n[0] + t->n[1] + PACKED_STEP + 512 <= 2 * t->cap) {
        struct str in = buf_str(&t->packed);
        if (gunzip_step(t->gunzip, &in, out, sizeof(out), &n, &t->err) < 0 ||
            multipart_feed(&t->mp, str_n(out, n), &t->err) < 0) {
            t->failed = true;
            return;
        }
        buf_consume(&t->packed, t->packed.n - in.n);
        t->has_more = n == sizeof(out);
    }
    if (t->is_peer_done && !t->body_over && !t->packed.n && !t->has_more && !t->failed) {
        if (!gunzip_is_done(t->gunzip)) {
            t->failed = true;
            err_set(&t->err, ERR_INVALID_ARGUMENT, "The gzip body ends too early");
        }
        body_is_over(t);
    }
}

static void start_multipart_upload(struct transfer *t) {
    struct err err;
    struct gcs_call *c = t->c;
    if (gcs_parse_object(c->a, multipart_json(&t->mp), &t->put, &err) < 0) {
        t->failed = true;
        t->err = err;
        return;
    }
    if (c->q.name.n) {
        t->put.name = c->q.name;
    }
    if (!t->put.content_type.n) {
        t->put.content_type = arena_str(c->a, multipart_media_type(&t->mp));
    }
    if (blob_check_object_name(t->put.name, &t->err) < 0) {
        t->failed = true;
        return;
    }
    t->upload = blob_upload_new(c->g->blob, &t->put);
}

static void body_data(struct xch *x, void *arg, struct str bytes) {
    struct transfer *t = arg;
    if (t->failed) {
        return;
    }
    t->received += bytes.n;
    t->credit -= bytes.n < t->credit ? bytes.n : t->credit;
    if (t->skip) {
        size_t n = t->skip < bytes.n ? (size_t)t->skip : bytes.n;
        t->skip -= n;
        bytes = str_sub(bytes, n, bytes.n);
    }
    if (t->gunzip) {
        buf_put_str(&t->packed, bytes);
        unpack(t);
    } else if (!t->is_multipart) {
        store(t, bytes);
    } else if (multipart_feed(&t->mp, bytes, &t->err) < 0) {
        t->failed = true;
    }
    regrant(t);
    step(t);
}

/* Media that is stored as it comes goes from the socket into the buffer it is written from. */
static char *body_room(struct xch *x, void *arg, size_t *ret_n) {
    struct transfer *t = arg;
    if (t->failed || t->is_multipart || t->gunzip || t->skip || !t->upload) {
        return NULL;
    }
    if (t->n[t->fill] == t->cap) {
        if (t->writing) {
            return NULL;
        }
        submit(t);
    }
    int i = t->fill;
    if (!t->buf[i]) {
        t->buf[i] = xmalloc(t->cap);
    }
    *ret_n = t->cap - t->n[i];
    return t->buf[i] + t->n[i];
}

static void body_is_over(struct transfer *t) {
    t->body_over = true;
    if (!t->failed && t->is_multipart) {
        if (multipart_end(&t->mp, &t->err) < 0) {
            t->failed = true;
        } else if (!t->upload && !t->failed) {
            start_multipart_upload(t); /* an empty object */
        }
    }
}

static void body_end(struct xch *x, void *arg, const struct err *err) {
    struct transfer *t = arg;
    t->is_peer_done = true;
    if (err) {
        t->body_over = t->is_cut = true;
        t->err = *err;
        if (!t->is_resumable) {
            t->failed = true;
        }
    } else if (t->gunzip) {
        unpack(t);
    } else {
        body_is_over(t);
    }
    step(t);
}

static void read_body(struct transfer *t) {
    static const struct body_sink sink = {.data = body_data, .end = body_end, .room = body_room};
    int64_t n = xch_head(t->c->x)->content_length;
    t->cap = n >= 0 && n < (int64_t)GCS_BUFFER && !t->gunzip ? (size_t)n + 1 : GCS_BUFFER;
    xch_read_body(t->c->x, limits.max_object_bytes, &sink, t);
    regrant(t);
}

static struct transfer *transfer_new(struct gcs_call *c) {
    struct transfer *t = xcalloc(1, sizeof(*t));
    t->c = c;
    t->is_final = true;
    t->put = (struct blob_put){.bucket = c->bucket, .name = c->q.name, .pre = c->q.pre, .size = -1};
    return t;
}

static int add_goog_hash(struct transfer *t, struct err *err) {
    struct goog_hash h;
    if (!goog_hash_parse(xch_header(t->c->x, "x-goog-hash"), &h)) {
        return err_field(err, ERR_INVALID_ARGUMENT, "x-goog-hash", "Malformed x-goog-hash header");
    }
    if (t->upload) {
        if (h.has_md5) {
            blob_upload_expect_md5(t->upload, h.md5);
        }
        if (h.has_crc32c) {
            blob_upload_expect_crc32c(t->upload, h.crc32c);
        }
        return 0;
    }
    if (h.has_md5) {
        t->put.has_expect_md5 = true;
        memcpy(t->put.expect_md5, h.md5, 16);
    }
    if (h.has_crc32c) {
        t->put.has_expect_crc32c = true;
        t->put.expect_crc32c = h.crc32c;
    }
    return 0;
}

/* ---- media and multipart ---- */

static void media(struct transfer *t) {
    struct err err;
    struct gcs_call *c = t->c;
    t->put.content_type = xch_header(c->x, "content-type");
    t->put.content_encoding = c->q.content_encoding;
    t->put.size = xch_head(c->x)->content_length;
    if ((c->is_xml && gcs_xml_facts(c, &t->put, &err) < 0) ||
        blob_check_object_name(t->put.name, &err) < 0 || add_goog_hash(t, &err) < 0) {
        answer_err(t, &err);
        return;
    }
    t->upload = blob_upload_new(c->g->blob, &t->put);
    read_body(t);
}

static void multipart(struct transfer *t) {
    struct err err;
    t->put.size = xch_head(t->c->x)->content_length;
    if (multipart_init(&t->mp, xch_header(t->c->x, "content-type"), limits.max_object_metadata,
                       store, t, &err) < 0 ||
        add_goog_hash(t, &err) < 0) {
        answer_err(t, &err);
        return;
    }
    t->is_multipart = true;
    if (xch_is_packed(t->c->x)) {
        t->gunzip = gunzip_new();
        buf_init(&t->packed, 2 * PACKED_STEP);
        t->put.size = -1;
    }
    read_body(t);
}

/* ---- resumable ---- */

static void session_started(struct blob_session *s, const struct err *err) {
    struct transfer *t = s->arg;
    if (err) {
        answer_err(t, err);
        return;
    }
    struct gcs_call *c = t->c;
    t->upload = s->upload;
    auto_buf struct buf url = BUF_INIT(BUF_NO_MAX);
    gcs_base_url(&url, c->x);
    buf_put_str(&url, xch_head(c->x)->path); /* the prefix the client chose */
    buf_printf(&url, "?uploadType=resumable&upload_id=%s", blob_upload_id(s->upload));
    struct header h[] = {{STR("location"), buf_str(&url)},
                         {STR("x-guploader-uploadid"), str_of(blob_upload_id(s->upload))}};
    xch_reply(c->x, c->is_xml ? 201 : 200, h, NR_OF(h), STR(""));
    transfer_free(t);
}

static void start_body(struct xch *x, void *arg, struct str body, const struct err *why) {
    struct transfer *t = arg;
    struct gcs_call *c = t->c;
    struct err err;
    uint64_t size;
    if (why) {
        answer_err(t, why);
        return;
    }
    if ((c->is_xml ? gcs_xml_facts(c, &t->put, &err)
                   : gcs_parse_object(c->a, body, &t->put, &err)) < 0 ||
        add_goog_hash(t, &err) < 0) {
        answer_err(t, &err);
        return;
    }
    if (c->q.name.n) {
        t->put.name = c->q.name;
    }
    if (!t->put.content_type.n) {
        t->put.content_type = xch_header(x, "x-upload-content-type");
    }
    if (str_to_u64(xch_header(x, "x-upload-content-length"), &size) && size <= INT64_MAX) {
        t->put.size = (int64_t)size;
    }
    if (blob_check_object_name(t->put.name, &err) < 0) {
        answer_err(t, &err);
        return;
    }
    t->session.cb = session_started;
    t->session.arg = t;
    blob_session_start(c->g->blob, &t->session, &t->put);
}

static void found_object(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = r->arg;
    if (err) {
        gcs_answer_err(c, err);
    } else if (c->is_xml) {
        gcs_reply_facts(c, r->meta);
    } else {
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        gcs_put_object(&b, c->x, r->meta);
        gcs_reply_json(c->x, 200, &b);
    }
    gcs_call_free(c);
}

/* The session made its object already: say so again. */
static void answer_complete(struct transfer *t, const struct blob_session *s) {
    struct gcs_call *c = t->c;
    c->req.bucket = arena_str(c->a, s->bucket);
    c->req.name = arena_str(c->a, s->name);
    c->req.hashes = BLOB_HASH_CRC32C;
    c->req.cb = found_object;
    t->c = NULL;
    free(t);
    blob_object_get(c->g->blob, &c->req);
}

static void chunk(struct transfer *t) {
    struct err err;
    const struct content_range *r = &t->range;
    uint64_t offset = blob_upload_offset(t->upload);
    bool has_body = xch_head(t->c->x)->has_body && xch_head(t->c->x)->content_length != 0;
    t->is_resumable = true;
    if (t->has_range && r->is_query) {
        t->is_final = r->has_total && r->total == offset;
        if (has_body) {
            err_set(&err, ERR_INVALID_ARGUMENT, "A status query has no body.");
            answer_err(t, &err);
            return;
        }
    } else if (t->has_range) {
        if (r->first > offset) {
            err_set(&err, ERR_INVALID_ARGUMENT,
                    "Invalid request. There were %llu byte(s) (or more) missing before byte %llu: "
                    "received so far %llu.",
                    (unsigned long long)(r->first - offset), (unsigned long long)r->first,
                    (unsigned long long)offset);
            answer_err(t, &err);
            return;
        }
        t->skip = offset - r->first;
        t->is_final = !r->has_last || (r->has_total && r->last + 1 == r->total);
    } else {
        t->skip = offset; /* the whole object again, of which we have a part */
    }
    if (t->is_final && add_goog_hash(t, &err) < 0) {
        answer_err(t, &err);
        return;
    }
    if (t->has_range && r->is_query) {
        if (t->is_final) {
            complete(t);
        } else {
            answer_more(t);
        }
        return;
    }
    read_body(t);
}

static void session_resumed(struct blob_session *s, const struct err *err) {
    struct transfer *t = s->arg;
    if (err) {
        answer_err(t, err);
    } else if (s->is_complete) {
        answer_complete(t, s);
    } else {
        t->upload = s->upload;
        t->epoch = s->epoch;
        chunk(t);
    }
}

static void session_cancelled(struct blob_session *s, const struct err *err) {
    struct transfer *t = s->arg;
    if (err) {
        answer_err(t, err);
        return;
    }
    gcs_reply_empty(t->c->x, 499);
    transfer_free(t);
}

static void resume(struct transfer *t) {
    struct err err;
    struct gcs_call *c = t->c;
    struct str range = xch_header(c->x, "content-range");
    t->session.id = c->q.upload_id;
    t->session.arg = t;
    if (str_eqc(xch_head(c->x)->method, "DELETE")) {
        t->session.cb = session_cancelled;
        blob_session_cancel(c->g->blob, &t->session);
        return;
    }
    t->has_range = range.p != NULL;
    if (t->has_range && !content_range_parse(range, &t->range)) {
        err_field(&err, ERR_INVALID_ARGUMENT, "content-range", "Invalid Content-Range: '%.*s'",
                  (int)(range.n > 100 ? 100 : range.n), range.p);
        answer_err(t, &err);
        return;
    }
    t->session.cb = session_resumed;
    blob_session_resume(c->g->blob, &t->session);
}

void gcs_upload(struct gcs_call *c) {
    struct err err;
    struct transfer *t = transfer_new(c);
    struct str method = xch_head(c->x)->method, type = c->q.upload_type;
    if (c->q.upload_id.n &&
        (str_eqc(method, "PUT") || str_eqc(method, "POST") || str_eqc(method, "DELETE"))) {
        resume(t);
    } else if (!str_eqc(method, "POST") && !str_eqc(method, "PUT")) {
        err_set(&err, ERR_INVALID_ARGUMENT, "An upload is a POST or a PUT");
        answer_err(t, &err);
    } else if (c->is_xml && str_eqc(method, "POST")) {
        xch_collect_plain(c->x, limits.max_object_metadata, start_body, t);
    } else if (c->is_xml || str_eqc(type, "media")) {
        media(t);
    } else if (str_eqc(type, "multipart")) {
        multipart(t);
    } else if (str_eqc(type, "resumable")) {
        xch_collect_plain(c->x, limits.max_object_metadata, start_body, t);
    } else {
        err_field(&err, ERR_INVALID_ARGUMENT, "uploadType", "Invalid uploadType: '%.*s'",
                  (int)(type.n > 100 ? 100 : type.n), type.p ? type.p : "");
        answer_err(t, &err);
    }
}
