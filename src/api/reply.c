/* Answers: messages as JSON, errors in Google's form (reference 10 §8), for calls and bare
 * requests. */
#include "api/call.h"

#include "base/log.h"

#define ERROR_BODY_MAX (256u * 1024u)
#define REPLY_MAX (64u << 20)

static const struct header json_headers[] = {
    {{"content-type", 12}, {"application/json; charset=UTF-8", 31}},
    {{"vary", 4}, {"Origin, X-Origin, Referer", 25}},
    {{"cache-control", 13}, {"private", 7}},
    {{"x-content-type-options", 22}, {"nosniff", 7}},
};

void reply_json(struct xch *x, int http_status, struct str json) {
    xch_reply(x, http_status, json_headers, NR_OF(json_headers), json);
}

static void error_body(struct buf *b, const struct err *err, struct str message,
                       const struct violations *vs) {
    struct jw w;
    jw_init(&w, b, 2);
    jw_object(&w);
    jw_key(&w, "error");
    jw_object(&w);
    jw_key(&w, "code");
    jw_i64(&w, err_code_http(err->code));
    jw_key(&w, "message");
    jw_str(&w, message);
    jw_kv(&w, "status", err_code_name(err->code));
    if (err->field[0] || (vs && vs->n)) {
        jw_key(&w, "details");
        jw_array(&w);
        jw_object(&w);
        jw_kv(&w, "@type", "type.googleapis.com/google.rpc.BadRequest");
        jw_key(&w, "fieldViolations");
        jw_array(&w);
        for (size_t i = 0; vs && i < vs->n; i++) {
            jw_object(&w);
            if (vs->v[i].field.n) {
                jw_key(&w, "field");
                jw_str(&w, vs->v[i].field);
            }
            jw_key(&w, "description");
            jw_str(&w, vs->v[i].description);
            jw_end_object(&w);
        }
        if (!vs || !vs->n) {
            jw_object(&w);
            jw_kv(&w, "field", err->field);
            jw_key(&w, "description");
            jw_str(&w, message);
            jw_end_object(&w);
        }
        jw_end_array(&w);
        jw_end_object(&w);
        jw_end_array(&w);
    }
    jw_end_object(&w);
    jw_end_object(&w);
    buf_putc(b, '\n');
}

static void send_error(struct xch *x, const struct err *err, struct str message,
                       const struct violations *vs) {
    auto_buf struct buf b = BUF_INIT(ERROR_BODY_MAX);
    char hidden[128];
    if (err->code == ERR_INTERNAL || err->code == ERR_UNKNOWN || err->code == ERR_DATA_LOSS) {
        /* The text may hold host paths: it goes to our log, the peer gets the number to ask for. */
        const struct xch_head *h = xch_head(x);
        log_error("internal error", "request=%llu %.*s %.*s error=\"%s\"",
                  (unsigned long long)xch_id(x), STR_ARG(h->method), STR_ARG(h->path), err->msg);
        int n = snprintf(
            hidden, sizeof(hidden),
            "Internal error encountered. The server's log has the cause under request=%llu.",
            (unsigned long long)xch_id(x));
        message = str_n(hidden, (size_t)n);
    }
    error_body(&b, err, message, vs);
    reply_json(x, err_code_http(err->code), buf_str(&b));
}

void reply_error(struct xch *x, const struct err *err) {
    send_error(x, err, str_of(err->msg), NULL);
}

void call_fail(struct call *c, const struct err *err) {
    struct xch *x = c->xch;
    send_error(x, err, str_of(err->msg), NULL);
    xch_unref(x);
}

void call_fail_violations(struct call *c, const struct violations *vs) {
    struct xch *x = c->xch;
    struct err err;
    auto_buf struct buf text = BUF_INIT(ERROR_BODY_MAX / 2);
    (void)violations_to_err(vs, &err);
    violations_list_text(vs, &text);
    send_error(x, &err, buf_str(&text), vs);
    xch_unref(x);
}

void call_fail_decoding(struct call *c, const struct err *err, const struct violations *vs) {
    struct xch *x = c->xch;
    auto_buf struct buf text = BUF_INIT(ERROR_BODY_MAX / 2);
    if (vs->n) {
        violations_plain_text(vs, &text);
    } else {
        buf_puts(&text, err->msg);
    }
    send_error(x, err, buf_str(&text), vs);
    xch_unref(x);
}

void call_reply(struct call *c, const ProtobufCMessage *msg) {
    struct xch *x = c->xch;
    auto_buf struct buf b = BUF_INIT(REPLY_MAX);
    struct err err;
    if (pb_to_json(msg, &c->json, &b, &err)) {
        call_fail(c, &err);
        return;
    }
    buf_putc(&b, '\n');
    reply_json(x, 200, buf_str(&b));
    xch_unref(x);
}
