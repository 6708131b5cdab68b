/* Replies the server gives by itself, before any handler is there: Google-shaped JSON that names
 * the limit and its value. */
#include "base/jw.h"
#include "base/log.h"
#include "net/net_int.h"

static const struct {
    int status;
    const char *reason,
        *rpc; /* rpc: google.rpc code name for the body, for statuses we answer with */
} statuses[] = {
    {200, "OK", NULL},
    {201, "Created", NULL},
    {202, "Accepted", NULL},
    {204, "No Content", NULL},
    {206, "Partial Content", NULL},
    {301, "Moved Permanently", NULL},
    {302, "Found", NULL},
    {304, "Not Modified", NULL},
    {307, "Temporary Redirect", NULL},
    {308, "Resume Incomplete", NULL}, /* what Cloud Storage's resumable uploads say */
    {400, "Bad Request", "INVALID_ARGUMENT"},
    {401, "Unauthorized", NULL},
    {403, "Forbidden", NULL},
    {404, "Not Found", NULL},
    {405, "Method Not Allowed", NULL},
    {408, "Request Timeout", "DEADLINE_EXCEEDED"},
    {409, "Conflict", NULL},
    {410, "Gone", NULL},
    {411, "Length Required", NULL},
    {412, "Precondition Failed", NULL},
    {413, "Content Too Large", "RESOURCE_EXHAUSTED"},
    {414, "URI Too Long", "RESOURCE_EXHAUSTED"},
    {415, "Unsupported Media Type", NULL},
    {416, "Range Not Satisfiable", NULL},
    {417, "Expectation Failed", "INVALID_ARGUMENT"},
    {426, "Upgrade Required", "INVALID_ARGUMENT"},
    {429, "Too Many Requests", NULL},
    {431, "Request Header Fields Too Large", "RESOURCE_EXHAUSTED"},
    {499, "Client Closed Request", NULL},
    {500, "Internal Server Error", "INTERNAL"},
    {501, "Not Implemented", "UNIMPLEMENTED"},
    {503, "Service Unavailable", "UNAVAILABLE"},
    {504, "Gateway Timeout", NULL},
    {505, "HTTP Version Not Supported", "UNIMPLEMENTED"},
    {507, "Insufficient Storage", NULL},
};

const char *net_reason(int http_status) {
    for (size_t i = 0; i < NR_OF(statuses); i++) {
        if (statuses[i].status == http_status) {
            return statuses[i].reason;
        }
    }
    return "Unknown";
}

static const char *rpc_name(int http_status) {
    for (size_t i = 0; i < NR_OF(statuses); i++) {
        if (statuses[i].status == http_status && statuses[i].rpc) {
            return statuses[i].rpc;
        }
    }
    return "UNKNOWN";
}

/* The codec's own headers, and values that would split the reply, are dropped: a handler that sends
 * them has a bug, the client must not pay for it. */
bool net_header_sendable(const struct header *hd) {
    static const struct str ours[] = {STR("content-length"), STR("transfer-encoding"),
                                      STR("connection"), STR("date")};
    for (size_t i = 0; i < NR_OF(ours); i++) {
        if (hd->name.n == ours[i].n && str_ieq(hd->name, ours[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < hd->value.n; i++) {
        if ((unsigned char)hd->value.p[i] < 0x20 && hd->value.p[i] != '\t') {
            return false;
        }
    }
    return hd->name.n > 0;
}

void net_render_refusal_body(struct buf *body, int http_status, const char *what,
                             const char *limit_name, const uint64_t *limit) {
    auto_buf struct buf msg = BUF_INIT(1024);
    struct jw w;
    buf_puts(&msg, what);
    if (limit_name) {
        buf_printf(&msg, " The limit %s is %llu.", limit_name, (unsigned long long)*limit);
    }
    jw_init(&w, body, 2);
    jw_object(&w);
    jw_key(&w, "error");
    jw_object(&w);
    jw_key(&w, "code");
    jw_i64(&w, http_status);
    jw_kv(&w, "message", buf_cstr(&msg));
    jw_kv(&w, "status", rpc_name(http_status));
    jw_end_object(&w);
    jw_end_object(&w);
    buf_putc(body, '\n');
}

void net_render_refusal(struct net_server *s, struct buf *out, int http_status, const char *what,
                        const char *limit_name, const uint64_t *limit, bool with_body) {
    auto_buf struct buf body = BUF_INIT(4096);
    net_render_refusal_body(&body, http_status, what, limit_name, limit);
    buf_printf(out,
               "HTTP/1.1 %d %s\r\ndate: %s\r\ncontent-type: application/json; charset=UTF-8\r\n"
               "content-length: %zu\r\nconnection: close\r\n\r\n",
               http_status, net_reason(http_status), net_date(s), body.n);
    if (with_body) {
        buf_put_str(out, buf_str(&body));
    }
}

/* In clear text, as servers without TLS answer: programs written in Go (docker's among them) go on
 * with http:// when what comes back begins with HTTP/, and others name a wrong version number,
 * which people know; after an alert they would look for something amiss with certificates. */
void net_refuse_tls(struct net_server *s, struct buf *out, const char *peer) {
    const char *why = s->tls == NET_TLS_OFF
                          ? "tls = off: clear text only"
                          : "no certificate: run `cusp tls init`, then send SIGHUP to cuspd";
    auto_buf struct buf what = BUF_INIT(1024);
    log_info("TLS client refused", "peer=%s why=\"%s\"", peer, why);
    buf_printf(&what, "This port does not speak TLS (%s): use http://%s instead of https://.", why,
               s->address ? s->address : "");
    net_render_refusal(s, out, 400, buf_cstr(&what), NULL, NULL, true);
}

static void put_frame(struct buf *out, uint8_t type, struct str head, struct str text) {
    uint32_t n = (uint32_t)(head.n + text.n);
    const char h[9] = {(char)(n >> 16), (char)(n >> 8), (char)n, (char)type};
    buf_put(out, h, sizeof(h));
    buf_put_str(out, head);
    buf_put_str(out, text);
}

void net_refuse_cleartext(struct net_server *s, struct buf *out, const char *peer, bool is_h2) {
    auto_buf struct buf what = BUF_INIT(1024);
    log_info("clear text client refused", "peer=%s tls=required", peer);
    buf_printf(&what, "This port speaks TLS only (tls = required): use https://%s",
               s->address ? s->address : "");
    if (!is_h2) {
        buf_puts(&what, " instead of http://.");
        net_render_refusal(s, out, 400, buf_cstr(&what), NULL, NULL, true);
        return;
    }
    /* RFC 9113 6.5, 6.8, 7: SETTINGS, then GOAWAY of stream 0 with INADEQUATE_SECURITY. */
    put_frame(out, 4, STR(""), STR(""));
    put_frame(out, 7, str_n("\0\0\0\0\0\0\0\x0c", 8), buf_str(&what));
}
