/* REST's answers: messages as JSON, errors in Google's JSON form (reference 10 §8). */
#include "api/rest.h"

#include "api/route.h"
#include "base/log.h"
#include "pb/wkt.h"

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

/* {"@type": ..., fields}: what google.protobuf.Any looks like in JSON. */
static void write_detail(struct jw *w, struct arena *a, const ProtobufCMessage *m) {
    Google__Protobuf__Any *any = wkt_any(a, m);
    struct err err;
    if (!any || pb_write_json(w, &any->base, NULL, &err)) {
        log_warn("error detail left out: no memory", "type=%s", m->descriptor->name);
    }
}

/* What the older form calls a code. */
static const char *reason(enum err_code code) {
    static const char *const reasons[ERR_CODE_NR] = {
        [ERR_INVALID_ARGUMENT] = "badRequest",
        [ERR_FAILED_PRECONDITION] = "failedPrecondition",
        [ERR_OUT_OF_RANGE] = "outOfRange",
        [ERR_UNAUTHENTICATED] = "authError",
        [ERR_PERMISSION_DENIED] = "forbidden",
        [ERR_NOT_FOUND] = "notFound",
        [ERR_ALREADY_EXISTS] = "alreadyExists",
        [ERR_ABORTED] = "aborted",
        [ERR_RESOURCE_EXHAUSTED] = "rateLimitExceeded",
        [ERR_UNIMPLEMENTED] = "notImplemented",
    };
    return reasons[code] ? reasons[code] : "backendError";
}

static void write_old_form(struct jw *w, const struct api_error *e) {
    jw_key(w, "errors");
    jw_array(w);
    jw_object(w);
    jw_key(w, "message");
    jw_str(w, e->message);
    jw_kv(w, "domain", "global");
    jw_kv(w, "reason", reason(e->code));
    jw_end_object(w);
    jw_end_array(w);
}

void rest_error(struct xch *x, int http_status, const struct api_error *e) {
    auto_buf struct buf b = BUF_INIT(ERROR_BODY_MAX);
    struct std_params asked;
    struct err unread;
    struct jw w;
    if (route_std_params(xch_head(x)->query, xch_arena(x), &asked, &unread)) {
        asked = (struct std_params){0}; /* perhaps it is what the error is about */
    }
    jw_init(&w, &b, asked.is_compact ? 0 : 2);
    jw_object(&w);
    jw_key(&w, "error");
    jw_object(&w);
    jw_key(&w, "code");
    jw_i64(&w, http_status);
    jw_key(&w, "message");
    jw_str(&w, e->message);
    if (asked.old_errors || e->code == ERR_UNAUTHENTICATED) { /* the storage clients read it */
        write_old_form(&w, e);
    }
    jw_kv(&w, "status", err_code_name(e->code));
    if (e->nr_details) {
        jw_key(&w, "details");
        jw_array(&w);
        for (size_t i = 0; i < e->nr_details; i++) {
            write_detail(&w, xch_arena(x), e->details[i]);
        }
        jw_end_array(&w);
    }
    jw_end_object(&w);
    jw_end_object(&w);
    buf_putc(&b, '\n');
    reply_json(x, http_status, buf_str(&b));
}

static void fail(struct call *c, const struct api_error *e) {
    struct xch *x = c->xch;
    rest_error(x, err_code_http(e->code), e);
    xch_unref(x);
}

static void reply(struct call *c, const ProtobufCMessage *msg) {
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

const struct call_ops rest_call_ops = {.reply = reply, .fail = fail};
