/* Uploads: media, multipart, and the bytes of every other kind (reference 21 §3; sessions are
 * gcs_resumable.c's, parts of the XML API gcs_parts.c's).
 *
 * Bytes never gather. A transfer owns a ring of pieces: one fills from the network while those
 * before it are on their way to the disk; the client may send (credit) only what has room. When the
 * peer vanishes what arrived is kept for a session and dropped for the others. */
#include "api/gcs_transfer.h"

#include "base/gunzip.h"
#include "base/limits.h"

#define PACKED_STEP (32u << 10) /* packed bytes asked for, and bytes unpacked, at a time */
#define PIECE_ALIGN 4096        /* whole pieces can go past the page cache: blob/direct.c */

void transfer_free(struct transfer *t) {
    blob_upload_unref(t->upload);
    if (t->is_multipart) {
        multipart_fini(&t->mp);
    }
    gunzip_free(t->gunzip);
    buf_fini(&t->packed);
    for (unsigned i = 0; i < GCS_PIECES; i++) {
        free(t->piece[i].p);
    }
    gcs_call_free(t->c);
    free(t);
}

void transfer_answer_err(struct transfer *t, const struct err *err) {
    gcs_answer_err(t->c, err);
    transfer_free(t);
}

void transfer_answer_object(struct transfer *t, const struct blob_meta *m) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    if (t->is_part) {
        gcs_reply_part(t->c, m);
    } else if (t->c->is_xml) {
        gcs_reply_facts(t->c, m, STR(""));
    } else {
        gcs_put_object(&b, t->c->x, m);
        gcs_reply_json(t->c->x, 200, &b);
    }
    transfer_free(t);
}

/* ---- buffers ---- */

static void step(struct transfer *t);
static void unpack(struct transfer *t);

/* Keeps what may still come plus what is held below the room there is: all pieces but one, which
 * makes up for those that go before they are full and for the few bytes a multipart parser holds
 * back and gives out later. */
static void regrant(struct transfer *t) {
    if (t->gunzip) { /* what it unpacks to nobody knows: a little at a time */
        if (!t->credit && !t->packed.n && !t->has_more && !t->failed && !t->is_peer_done) {
            t->credit = PACKED_STEP;
            xch_grant(t->c->x, PACKED_STEP);
        }
        return;
    }
    uint64_t room = t->nr == 1 ? t->cap : (t->nr - 1) * t->cap;
    uint64_t used = t->held + t->credit;
    if (used < room && !t->failed && !t->body_over) {
        t->credit += room - used;
        xch_grant(t->c->x, room - used);
    }
}

static void written(struct blob_write *w, const struct err *err) {
    struct piece *p = w->arg;
    struct transfer *t = p->t;
    if (err && !t->failed) {
        t->failed = true;
        t->err = *err;
    }
    t->held -= t->cap;
    p->n = 0;
    t->busy--;
    if (t->gunzip) {
        unpack(t);
    }
    regrant(t);
    step(t);
}

static void submit(struct transfer *t) {
    struct piece *p = &t->piece[t->fill];
    CHECK(t->upload && t->busy < t->nr);
    t->held += t->cap - p->n; /* what is left of it cannot be used meanwhile */
    t->busy++;
    t->fill = (t->fill + 1) % t->nr;
    p->write =
        (struct blob_write){.bytes = str_n(p->p, p->n), .epoch = t->epoch, .cb = written, .arg = p};
    blob_upload_write(t->upload, &p->write);
}

/* The piece to fill, or NULL while all are on their way. */
static struct piece *piece_to_fill(struct transfer *t) {
    struct piece *p = &t->piece[t->fill];
    if (t->busy == t->nr) {
        return NULL;
    }
    if (!p->p) {
        p->p = t->cap == GCS_PIECE ? aligned_alloc(PIECE_ALIGN, GCS_PIECE) : xmalloc(t->cap);
        CHECK(p->p);
        p->t = t;
    }
    return p;
}

static void start_multipart_upload(struct transfer *t);

/* Credit never exceeds the room of the pieces, so everything fits. */
static void store(void *arg, struct str s) {
    struct transfer *t = arg;
    if (!t->upload) {
        start_multipart_upload(t); /* first media bytes: the JSON part is complete */
    }
    while (s.n && !t->failed) {
        struct piece *p = piece_to_fill(t);
        CHECK(p);
        size_t room = t->cap - p->n, n = s.n < room ? s.n : room;
        if (s.p != p->p + p->n) { /* else it was read there: body_room */
            memcpy(p->p + p->n, s.p, n);
        }
        p->n += n;
        t->held += n;
        s = str_sub(s, n, s.n);
        if (p->n == t->cap) {
            submit(t);
        }
    }
}

/* ---- the end of the body ---- */

static void finished(struct blob_finish *f, const struct blob_meta *m, const struct err *err) {
    struct transfer *t = f->arg;
    if (err) {
        transfer_answer_err(t, err);
    } else {
        transfer_answer_object(t, m);
    }
}

static void synced(struct blob_write *w, const struct err *err) {
    struct transfer *t = w->arg;
    if (err) {
        transfer_answer_err(t, err);
    } else {
        resumable_answer_more(t);
    }
}

void transfer_complete(struct transfer *t) {
    if (t->is_final) {
        t->finish = (struct blob_finish){.epoch = t->epoch, .cb = finished, .arg = t};
        blob_upload_finish(t->upload, &t->finish);
    } else {
        t->write = (struct blob_write){
            .bytes = STR(""), .sync = true, .epoch = t->epoch, .cb = synced, .arg = t};
        blob_upload_write(t->upload, &t->write);
    }
}

/* Goes on with whatever is due; may free t. */
static void step(struct transfer *t) {
    if (t->body_over && !t->failed && t->upload && t->busy < t->nr && t->piece[t->fill].n) {
        submit(t); /* the last one */
    }
    if (t->busy) {
        return;
    }
    if (t->failed) {
        transfer_answer_err(t, &t->err);
        return;
    }
    if (!t->body_over) {
        return;
    }
    if (t->is_faulted) {
        gcs_fault_reply(t->c->x, t->fault_status);
        transfer_free(t);
        return;
    }
    if (t->is_cut || resumable_check_length(t, &t->err) < 0) {
        transfer_answer_err(t,
                            &t->err); /* cut: nobody hears it, but the exchange must be finished */
        return;
    }
    transfer_complete(t);
}

/* ---- the body ---- */

static void body_is_over(struct transfer *t);

/* As much as the buffers have room for; goes on when one was written. */
static void unpack(struct transfer *t) {
    char out[PACKED_STEP];
    size_t n;
    while (!t->failed && (t->packed.n || t->has_more) &&
           t->held + PACKED_STEP + 512 <= (t->nr - 1) * t->cap) {
        struct str in = buf_str(&t->packed);
        struct err why;
        if (gunzip_step(t->gunzip, &in, out, sizeof(out), &n, &why) < 0) {
            t->failed = true;
            err_set(&t->err, ERR_INVALID_ARGUMENT, "The body is not gzip, as its header says: %s",
                    why.msg);
            return;
        }
        if (n == 0 && in.n && gunzip_is_done(t->gunzip)) {
            t->failed = true;
            err_set(&t->err, ERR_INVALID_ARGUMENT,
                    "There are bytes after the end of the gzip body");
            return;
        }
        if (multipart_feed(&t->mp, str_n(out, n), &t->err) < 0) {
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

/* What a retry test lets through: the object's bytes up to the place where the call is to fail. */
static struct str fault_view(struct transfer *t, struct str bytes) {
    struct gcs_fault *f = &t->c->fault;
    uint64_t first = t->has_range ? t->range.first : 0, at = first + t->received;
    if (t->is_faulted) {
        return STR("");
    }
    if (!t->is_resumable || at + bytes.n < f->after) {
        return bytes;
    }
    bytes = str_sub(bytes, 0, f->after > at ? (size_t)(f->after - at) : 0);
    t->fault_status = f->status;
    t->is_faulted = true;
    gcs_fault_happens(f);
    return bytes;
}

static void body_data(struct xch *x, void *arg, struct str bytes) {
    struct transfer *t = arg;
    t->credit -= bytes.n < t->credit ? bytes.n : t->credit;
    if (t->failed) {
        return;
    }
    if (t->c->fault.status || t->is_faulted) {
        bytes = fault_view(t, bytes);
    }
    t->received += bytes.n;
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
    if (t->failed || t->is_faulted || t->is_multipart || t->gunzip || t->skip || !t->upload) {
        return NULL;
    }
    struct piece *p = piece_to_fill(t);
    if (!p) {
        return NULL;
    }
    *ret_n = t->cap - p->n;
    return p->p + p->n;
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

void transfer_read_body(struct transfer *t) {
    static const struct body_sink sink = {.data = body_data, .end = body_end, .room = body_room};
    int64_t n = xch_head(t->c->x)->content_length;
    bool is_small = n >= 0 && n < (int64_t)GCS_PIECE && !t->gunzip;
    t->cap = is_small ? (size_t)n + 1 : GCS_PIECE;
    t->nr = is_small ? 1 : GCS_PIECES;
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

int transfer_add_hash(struct transfer *t, struct err *err) {
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
        blob_check_object_name(t->put.name, &err) < 0 || transfer_add_hash(t, &err) < 0) {
        transfer_answer_err(t, &err);
        return;
    }
    t->upload = blob_upload_new(c->g->blob, &t->put);
    transfer_read_body(t);
}

/* A part of a multipart upload, which gcs_parts.c has found. */
static void part(struct transfer *t) {
    struct err err;
    struct gcs_call *c = t->c;
    struct blob_put facts = {0};
    if (gcs_xml_facts(c, &facts, &err) < 0 || transfer_add_hash(t, &err) < 0) {
        transfer_answer_err(t, &err);
        return;
    }
    if (facts.has_expect_md5) {
        t->put.has_expect_md5 = true;
        memcpy(t->put.expect_md5, facts.expect_md5, sizeof(facts.expect_md5));
    }
    t->is_part = true;
    t->put.name = c->name;
    t->put.size = xch_head(c->x)->content_length;
    t->upload = blob_part_new(c->g->blob, c->q.multipart_id, c->part, &t->put);
    transfer_read_body(t);
}

static void multipart(struct transfer *t) {
    struct err err;
    t->put.size = xch_head(t->c->x)->content_length;
    if (multipart_init(&t->mp, xch_header(t->c->x, "content-type"), limits.max_object_metadata,
                       store, t, &err) < 0 ||
        transfer_add_hash(t, &err) < 0) {
        transfer_answer_err(t, &err);
        return;
    }
    t->is_multipart = true;
    if (xch_is_packed(t->c->x)) {
        t->gunzip = gunzip_new();
        buf_init(&t->packed, 2 * PACKED_STEP);
        t->put.size = -1;
    }
    transfer_read_body(t);
}

void gcs_upload(struct gcs_call *c) {
    struct err err;
    struct transfer *t = transfer_new(c);
    struct str method = xch_head(c->x)->method, type = c->q.upload_type;
    if (c->part) {
        part(t);
    } else if (c->q.upload_id.n &&
               (str_eqc(method, "PUT") || str_eqc(method, "POST") || str_eqc(method, "DELETE"))) {
        resumable_go_on(t);
    } else if (!str_eqc(method, "POST") && !str_eqc(method, "PUT")) {
        err_set(&err, ERR_INVALID_ARGUMENT, "An upload is a POST or a PUT");
        transfer_answer_err(t, &err);
    } else if (c->is_xml && str_eqc(method, "POST")) {
        resumable_start(t);
    } else if (c->is_xml || str_eqc(type, "media")) {
        media(t);
    } else if (str_eqc(type, "multipart")) {
        multipart(t);
    } else if (str_eqc(type, "resumable")) {
        resumable_start(t);
    } else {
        err_field(&err, ERR_INVALID_ARGUMENT, "uploadType", "Invalid uploadType: '%.*s'",
                  (int)(type.n > 100 ? 100 : type.n), type.p ? type.p : "");
        transfer_answer_err(t, &err);
    }
}
