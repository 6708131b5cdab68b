/* Resumable uploads (reference 21 §3.3): a session is begun by one request, gets its bytes by
 * others, and answers how much it has. */
#include "api/gcs_transfer.h"

#include "base/limits.h"

/* 308: so far received; the header is left out while nothing is. Go, whose HTTP library takes a 308
 * for a redirection, asks to hear it in a header. */
void resumable_answer_more(struct transfer *t) {
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

int resumable_check_length(struct transfer *t, struct err *err) {
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

/* ---- begin ---- */

static void session_started(struct blob_session *s, const struct err *err) {
    struct transfer *t = s->arg;
    if (err) {
        transfer_answer_err(t, err);
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
        transfer_answer_err(t, why);
        return;
    }
    if ((c->is_xml ? gcs_xml_facts(c, &t->put, &err)
                   : gcs_parse_object(c->a, body, &t->put, &err)) < 0 ||
        transfer_add_hash(t, &err) < 0) {
        transfer_answer_err(t, &err);
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
        transfer_answer_err(t, &err);
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
        gcs_reply_facts(c, r->meta, STR(""));
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
            transfer_answer_err(t, &err);
            return;
        }
    } else if (t->has_range) {
        if (r->first > offset) {
            err_set(&err, ERR_INVALID_ARGUMENT,
                    "Invalid request. There were %llu byte(s) (or more) missing before byte %llu: "
                    "received so far %llu.",
                    (unsigned long long)(r->first - offset), (unsigned long long)r->first,
                    (unsigned long long)offset);
            transfer_answer_err(t, &err);
            return;
        }
        t->skip = offset - r->first;
        t->is_final = !r->has_last || (r->has_total && r->last + 1 == r->total);
    } else {
        t->skip = offset; /* the whole object again, of which we have a part */
    }
    if (t->is_final && transfer_add_hash(t, &err) < 0) {
        transfer_answer_err(t, &err);
        return;
    }
    if (t->has_range && r->is_query) {
        if (t->is_final) {
            transfer_complete(t);
        } else {
            resumable_answer_more(t);
        }
        return;
    }
    transfer_read_body(t);
}

static void session_resumed(struct blob_session *s, const struct err *err) {
    struct transfer *t = s->arg;
    if (err) {
        transfer_answer_err(t, err);
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
        transfer_answer_err(t, err);
        return;
    }
    gcs_reply_empty(t->c->x, 499);
    transfer_free(t);
}

void resumable_go_on(struct transfer *t) {
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
        transfer_answer_err(t, &err);
        return;
    }
    t->session.cb = session_resumed;
    blob_session_resume(c->g->blob, &t->session);
}

void resumable_start(struct transfer *t) {
    xch_collect_plain(t->c->x, limits.max_object_metadata, start_body, t);
}
