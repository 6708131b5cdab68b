/* HTTP/2 requests: heads from header callbacks, checked for what nghttp2 lets pass, and bodies by
 * the exchange's credit. What the sink took is given back to the windows; what comes before its
 * credit waits in the stream, at most a stream's window. */
#include "net/h2_int.h"

#include "base/limits.h"

/* ---- request bodies */

static void consume(struct stream *st, size_t n) {
    (void)nghttp2_session_consume(st->h->session, st->id, n);
}

void h2_end_body(struct stream *st) {
    if (st->in_end && st->in.n == 0 && !st->x->body_done) {
        xch_body_end(st->x, NULL);
    }
}

void h2_take_body(struct stream *st, struct str bytes) {
    struct xch *x = st->x;
    st->body_since = h2_mono(st->h);
    if (st->in.n == 0 && !xch_body_unwanted(x) && x->credit > 0) {
        size_t n = bytes.n < x->credit ? bytes.n : (size_t)x->credit;
        xch_deliver(x, str_n(bytes.p, n));
        consume(st, n);
        bytes = str_sub(bytes, n, bytes.n);
    }
    if (xch_body_unwanted(x)) {
        consume(st, bytes.n);
    } else if (bytes.n > 0) {
        buf_put_str(&st->in, bytes); /* flow control keeps the peer below its maximum */
    }
}

/* What was held, now that there is credit or nobody wants it. */
void h2_pump_body(struct stream *st) {
    struct xch *x = st->x;
    while (st->in.n > 0 && !xch_body_unwanted(x) && x->credit > 0) {
        size_t n = st->in.n < x->credit ? st->in.n : (size_t)x->credit;
        xch_deliver(x, str_n(st->in.p, n));
        buf_consume(&st->in, n);
        consume(st, n);
        st->body_since = h2_mono(st->h);
    }
    if (st->in.n > 0 && xch_body_unwanted(x)) {
        consume(st, st->in.n);
        buf_fini(&st->in);
    }
    h2_end_body(st);
}

/* ---- request heads */

static void refuse(struct stream *st, int status, const char *what, const char *limit_name,
                   const uint64_t *limit) {
    if (!st->refused) {
        st->refused = what;
        st->refused_status = status;
        st->limit_name = limit_name;
        st->limit = limit;
    }
}

#define REFUSE_LIMIT(st, what, name) refuse(st, 431, what, #name, &limits.name)

static bool pseudo_header(struct stream *st, struct str name, struct str value) {
    struct xch_head *head = &st->x->head;
    char *p = arena_memdup(st->x->arena, value.p, value.n);
    struct str copy = str_n(p ? p : "", p ? value.n : 0);
    if (!p && value.n) {
        REFUSE_LIMIT(st, "The request head is too large.", max_message_bytes);
    } else if (str_eqc(name, ":method")) {
        head->method = copy;
    } else if (str_eqc(name, ":scheme")) {
        head->scheme = copy;
    } else if (str_eqc(name, ":authority")) {
        head->authority = copy;
    } else if (str_eqc(name, ":path")) {
        ptrdiff_t q = str_chr(copy, '?');
        head->path = q < 0 ? copy : str_n(copy.p, (size_t)q);
        head->query = q < 0 ? (struct str){NULL, 0} : str_sub(copy, (size_t)q + 1, copy.n);
    }
    return true;
}

static void add_header(struct stream *st, struct str name, struct str value) {
    struct arena *a = st->x->arena;
    struct headers *hs = &st->x->head.headers;
    if (hs->n == st->headers_max) {
        size_t max = st->headers_max ? 2 * st->headers_max : 16;
        struct header *grown = arena_calloc(a, max, sizeof(*grown));
        if (!grown) {
            REFUSE_LIMIT(st, "The request head is too large.", max_message_bytes);
            return;
        }
        for (size_t i = 0; i < hs->n; i++) {
            grown[i] = hs->p[i];
        }
        hs->p = grown;
        st->headers_max = max;
    }
    char *p = arena_alloc(a, name.n + value.n + 1);
    if (!p) {
        REFUSE_LIMIT(st, "The request head is too large.", max_message_bytes);
        return;
    }
    for (size_t i = 0; i < name.n; i++) {
        p[i] = name.p[i]; /* nghttp2 refuses upper case */
    }
    if (value.n) {
        memcpy(p + name.n, value.p, value.n);
    }
    hs->p[hs->n++] = (struct header){str_n(p, name.n), str_n(p + name.n, value.n)};
}

int h2_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                 size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg) {
    struct stream *st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    struct str n = str_n((const char *)name, name_n), v = str_n((const char *)value, value_n);
    if (!st || st->dispatched || st->refused) {
        return 0; /* trailers of a request are nobody's */
    }
    st->head_bytes += name_n + value_n + 32; /* as RFC 9113 6.5.2 counts */
    if (name_n + value_n > limits.max_header_line) {
        REFUSE_LIMIT(st, "A header line is too long.", max_header_line);
    } else if (st->head_bytes > limits.max_header_bytes) {
        REFUSE_LIMIT(st, "The request head is too large.", max_header_bytes);
    } else if (st->x->head.headers.n >= limits.max_header_count) {
        REFUSE_LIMIT(st, "The request has too many headers.", max_header_count);
    } else if (name_n > 0 && name[0] == ':') {
        pseudo_header(st, n, v);
    } else {
        add_header(st, n, v);
    }
    return 0;
}

/* What nghttp2 lets pass and HTTP/1.1 here would not. */
static void check_head(struct stream *st) {
    struct xch_head *head = &st->x->head;
    struct str host = xch_header(st->x, "host"), length = xch_header(st->x, "content-length");
    struct str expect = xch_header(st->x, "expect");
    uint64_t n = 0;
    if (st->refused) {
        return;
    }
    if (st->h->conn->t.tls) {
        head->scheme = STR("https"); /* whatever it claims; behind a proxy its word counts */
    }
    if (!head->authority.n) {
        head->authority = host;
    } else if (host.p && !str_ieq(host, head->authority)) {
        refuse(st, 400, "Host and :authority differ.", NULL, NULL);
    }
    if (!head->path.n || head->path.p[0] != '/') {
        refuse(st, 400, "The request target must be a path.", NULL, NULL);
    }
    for (size_t i = 0; i < head->path.n; i++) {
        unsigned char c = (unsigned char)head->path.p[i];
        if (c <= 0x20 || c >= 0x7f) {
            refuse(st, 400, "The request target holds a forbidden character.", NULL, NULL);
        }
    }
    if (length.p && !str_to_u64(length, &n)) {
        refuse(st, 400, "Bad Content-Length.", NULL, NULL);
    }
    if (expect.p && !str_ieq(expect, STR("100-continue"))) {
        refuse(st, 417, "Unknown expectation.", NULL, NULL);
    }
    st->expect = expect.p && st->has_body;
    head->has_body = st->has_body;
    head->content_length = !st->has_body ? 0 : length.p && n < INT64_MAX ? (int64_t)n : -1;
    st->x->door = st->h->conn->door;
    head->peer = str_of(st->h->conn->peer);
    char *peer = arena_strdup(st->x->arena, st->h->conn->peer);
    head->peer = peer ? str_of(peer) : STR("");
}

/* gRPC clients make UNKNOWN of an HTTP status; they read these two headers (and the content type
 * may be among what was not kept: then it is the HTTP form). */
static void refuse_grpc(struct stream *st) {
    char text[256];
    int n = st->limit ? snprintf(text, sizeof(text), "%s The limit %s is %llu.", st->refused,
                                 st->limit_name, (unsigned long long)*st->limit)
                      : snprintf(text, sizeof(text), "%s", st->refused);
    const struct header h[] = {{STR("content-type"), STR("application/grpc")},
                               {STR("grpc-status"), st->limit ? STR("8") : STR("13")},
                               {STR("grpc-message"), str_n(text, n < 0 ? 0 : (size_t)n)}};
    xch_start(st->x, 200, h, NR_OF(h), -1);
    xch_end_trailers(st->x, NULL, 0);
}

static void reply_refusal(struct stream *st) {
    static const struct header type = {STR("content-type"), STR("application/json; charset=UTF-8")};
    auto_buf struct buf body = BUF_INIT(4096);
    if (st->limit) {
        limits_hit(st->limit);
    }
    if (str_starts(xch_header(st->x, "content-type"), STR("application/grpc"))) {
        refuse_grpc(st);
        return;
    }
    net_render_refusal_body(&body, st->refused_status, st->refused, st->limit_name, st->limit);
    xch_reply(st->x, st->refused_status, &type, 1, buf_str(&body));
}

void h2_head_complete(struct stream *st, bool has_body) {
    st->has_body = has_body;
    st->dispatched = true;
    st->body_since = h2_mono(st->h);
    st->h->nr_bodies += has_body;
    check_head(st);
    if (st->refused) {
        reply_refusal(st);
    } else {
        xch_dispatch(st->x);
    }
}
