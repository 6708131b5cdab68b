/* HTTP/2 by nghttp2 1.52. The library keeps frames, HPACK, windows and the state of streams; we
 * keep what belongs to exchanges. It calls us back while it is fed or drained (h2_input,
 * h2_output), and only there are streams freed; what handlers do in between is queued with it and
 * kicks the connection. */
#include "net/h2.h"

#include "base/limits.h"
#include "base/log.h"
#include "net/conn.h"
#include "net/net_int.h"
#include "net/xch_int.h"

#include <nghttp2/nghttp2.h>
#include <unistd.h>

#define STREAM_WINDOW                                                                              \
    262144                  /* request bytes held for one exchange that gave no credit, at most    \
                             */
#define CONN_WINDOW 1048576 /* for all of a connection */
#define OUT_HIGH 262144u    /* frames are taken from nghttp2 while less is queued to the socket */
#define CONTINUATIONS 8     /* a head of max_header_bytes needs four; a flood gets GOAWAY */

struct h2 {
    struct conn *conn;
    nghttp2_session *session;
    struct list streams;
    unsigned nr_bodies;  /* streams with a request body */
    bool settled;        /* the client's SETTINGS came: it speaks HTTP/2 */
    bool full;           /* frames are waiting for the socket */
    bool granted;        /* credit was given since bodies were last looked at */
    bool draining;       /* GOAWAY is sent or received */
    uint64_t broken_off; /* requests that ended without a reply; forgiven by the second */
    usec_t broken_at;    /* when that was last reckoned */
    usec_t opened_at, idle_since, head_since; /* head_since: 0 when no head is half here */
};

struct stream {
    struct h2 *h;
    struct xch *x;
    int32_t id;
    struct list link;

    /* request */
    size_t head_bytes, headers_max;
    const char *refused; /* what is wrong with the head; then status and limit tell more */
    int refused_status;
    const char *limit_name;
    const uint64_t *limit;
    bool dispatched, has_body, in_end, expect;
    struct buf in; /* came before there was credit; at most STREAM_WINDOW */
    usec_t body_since;

    /* reply */
    nghttp2_nv *head; /* in the arena until submitted */
    size_t nr_head;
    bool head_due, no_body, ended;
    int64_t out_left; /* of the promised length; -1 */
    struct buf out;   /* queued bytes are out.p[out_at..out.n) */
    size_t out_at;
    int file; /* sent after them; -1 */
    uint64_t file_at, file_left;
    nghttp2_nv *trailers;
    size_t nr_trailers;
    usec_t out_since; /* when bytes last moved on to the client */
};

static usec_t mono(const struct h2 *h) {
    struct clock *c = h->conn->server->clock;
    return c->ops->mono(c);
}

static size_t queued(const struct stream *st) {
    return st->out.n - st->out_at;
}

static void reset_stream(struct stream *st, uint32_t code) {
    (void)nghttp2_submit_rst_stream(st->h->session, NGHTTP2_FLAG_NONE, st->id, code);
    conn_kick(st->h->conn);
}

/* ---- request bodies */

static void consume(struct stream *st, size_t n) {
    (void)nghttp2_session_consume(st->h->session, st->id, n);
}

static void end_body(struct stream *st) {
    if (st->in_end && st->in.n == 0 && !st->x->body_done) {
        xch_body_end(st->x, NULL);
    }
}

static void take_body(struct stream *st, struct str bytes) {
    struct xch *x = st->x;
    st->body_since = mono(st->h);
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
static void pump(struct stream *st) {
    struct xch *x = st->x;
    while (st->in.n > 0 && !xch_body_unwanted(x) && x->credit > 0) {
        size_t n = st->in.n < x->credit ? st->in.n : (size_t)x->credit;
        xch_deliver(x, str_n(st->in.p, n));
        buf_consume(&st->in, n);
        consume(st, n);
        st->body_since = mono(st->h);
    }
    if (st->in.n > 0 && xch_body_unwanted(x)) {
        consume(st, st->in.n);
        buf_fini(&st->in);
    }
    end_body(st);
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

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
                     void *arg) {
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

static void head_complete(struct stream *st, bool has_body) {
    st->has_body = has_body;
    st->dispatched = true;
    st->body_since = mono(st->h);
    st->h->nr_bodies += has_body;
    check_head(st);
    if (st->refused) {
        reply_refusal(st);
    } else {
        xch_dispatch(st->x);
    }
}

/* ---- callbacks of nghttp2: input */

static const struct codec_ops h2_ops;

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg) {
    struct h2 *h = arg;
    h->head_since = mono(h);
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    struct stream *st = xcalloc(1, sizeof(*st));
    st->h = h;
    st->id = frame->hd.stream_id;
    st->file = -1;
    st->in = BUF_INIT(STREAM_WINDOW);
    st->out = BUF_INIT(BUF_NO_MAX);
    st->out_left = -1;
    st->x = xch_new(h->conn->server, &h2_ops, st);
    list_push_tail(&h->streams, &st->link);
    (void)nghttp2_session_set_stream_user_data(session, st->id, st);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg) {
    struct h2 *h = arg;
    bool last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK)) {
        h->settled = true;
    } else if (frame->hd.type == NGHTTP2_GOAWAY) {
        h->draining = true;
    } else if (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) {
        struct stream *st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (frame->hd.type == NGHTTP2_HEADERS) {
            h->head_since = 0;
        }
        if (!st) {
            return 0;
        }
        if (!st->dispatched) {
            head_complete(st, !last);
        } else if (last) {
            st->in_end = true;
            end_body(st);
        }
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *arg) {
    struct stream *st = nghttp2_session_get_stream_user_data(session, id);
    if (!st) {
        (void)nghttp2_session_consume(session, id, n);
    } else {
        take_body(st, str_n((const char *)p, n));
    }
    return 0;
}

static void stream_free(struct stream *st) {
    struct xch *x = st->x;
    struct h2 *h = st->h;
    list_del(&st->link);
    h->nr_bodies -= st->dispatched && st->has_body;
    h->idle_since = mono(h);
    (void)nghttp2_session_set_stream_user_data(h->session, st->id, NULL);
    if (!st->dispatched) {
        x->finished = true; /* no handler has seen it */
        h->head_since = 0;
    }
    if (x->finished) {
        xch_served(x);
    } else {
        xch_lost(x);
    }
    mem_auto_close(&st->file);
    buf_fini(&st->in);
    buf_fini(&st->out);
    free(st);
}

/* A request that was dispatched and came to nothing by the client's doing: reset by it, or by us
 * because it broke a rule (CVE-2023-44487, CVE-2025-8671). nghttp2's own limit sees only the
 * former, and not in every version. */
static void count_broken(struct stream *st, uint32_t code) {
    struct h2 *h = st->h;
    usec_t now = mono(h);
    if (!st->dispatched || st->x->finished || code == NGHTTP2_NO_ERROR) {
        return;
    }
    uint64_t forgiven = (now - h->broken_at) / USEC_PER_SEC *
                        (limits.max_h2_resets / 10 ? limits.max_h2_resets / 10 : 1);
    if (forgiven) {
        h->broken_off -= forgiven < h->broken_off ? forgiven : h->broken_off;
        h->broken_at = now;
    }
    if (++h->broken_off > limits.max_h2_resets) {
        limits_hit(&limits.max_h2_resets);
        (void)nghttp2_session_terminate_session(h->session, NGHTTP2_ENHANCE_YOUR_CALM);
    }
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg) {
    struct stream *st = nghttp2_session_get_stream_user_data(session, id);
    if (st) {
        count_broken(st, code);
        if (st->in.n) { /* the connection's window is for the other streams */
            (void)nghttp2_session_consume_connection(session, st->in.n);
        }
        stream_free(st);
    }
    return 0;
}

/* ---- callbacks of nghttp2: output */

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg) {
    bool reply = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (reply && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
        nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0) {
        /* Answered before the request was read to its end: the rest need not be sent (RFC
         * 9113 8.1). */
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                        NGHTTP2_NO_ERROR);
    }
    return 0;
}

static ssize_t end_of_reply(struct stream *st, uint32_t *flags) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (st->trailers) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        (void)nghttp2_submit_trailer(st->h->session, st->id, st->trailers, st->nr_trailers);
    }
    return 0;
}

static ssize_t read_reply(nghttp2_session *session, int32_t id, uint8_t *p, size_t max,
                          uint32_t *flags, nghttp2_data_source *source, void *arg) {
    struct stream *st = source->ptr;
    ssize_t r = 0;
    if (queued(st) > 0) {
        r = (ssize_t)(queued(st) < max ? queued(st) : max);
        memcpy(p, st->out.p + st->out_at, (size_t)r);
        st->out_at += (size_t)r;
        if (queued(st) == 0) {
            buf_clear(&st->out);
            st->out_at = 0;
        }
    } else if (st->file >= 0 && st->file_left > 0) {
        r = pread(st->file, p, st->file_left < max ? st->file_left : max, (off_t)st->file_at);
        if (r <= 0) { /* truncated under us: the promised length cannot be kept */
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
        st->file_at += (uint64_t)r;
        st->file_left -= (uint64_t)r;
    }
    st->out_since = mono(st->h);
    if (queued(st) == 0 && st->file_left == 0 && st->ended) {
        (void)end_of_reply(st, flags);
    } else if (r == 0) {
        return NGHTTP2_ERR_DEFERRED;
    }
    return r;
}

/* ---- replies */

static nghttp2_nv nv(struct str name, struct str value) {
    return (nghttp2_nv){.name = (uint8_t *)name.p,
                        .namelen = name.n,
                        .value = (uint8_t *)value.p,
                        .valuelen = value.n};
}

/* Copies into the arena; NULL when that is full. */
static nghttp2_nv *copy_headers(struct arena *a, const struct headers *hs, size_t spare,
                                size_t *ret_n) {
    nghttp2_nv *out = arena_calloc(a, hs->n + spare + 1, sizeof(*out));
    size_t n = spare;
    for (size_t i = 0; out && i < hs->n; i++) {
        if (!net_header_sendable(&hs->p[i])) {
            log_error("bug: reply header dropped", "name=%.*s", STR_ARG(hs->p[i].name));
            continue;
        }
        out[n++] = nv(arena_str(a, hs->p[i].name), arena_str(a, hs->p[i].value));
    }
    *ret_n = n;
    return out;
}

static struct str number(struct arena *a, int64_t v) {
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)v);
    const char *p = arena_strdup(a, text);
    return p ? str_of(p) : STR("0");
}

/* The head waits until it is known whether anything follows: a reply without body ends with it, as
 * gRPC's errors must. */
static void send_head(struct xch *x, int status, const struct headers *hs, int64_t length) {
    struct stream *st = x->stream;
    st->no_body = str_eqc(x->head.method, "HEAD") || status == 204 || status == 304;
    st->out_left = st->no_body ? -1 : length;
    st->head = copy_headers(x->arena, hs, 2, &st->nr_head);
    if (!st->head) {
        reset_stream(st, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    st->head[0] = nv(STR(":status"), number(x->arena, status));
    st->head[1] = nv(STR("date"), arena_str(x->arena, str_of(net_date(st->h->conn->server))));
    if (length >= 0 && status != 204 && status != 304) {
        st->head[st->nr_head++] = nv(STR("content-length"), number(x->arena, length));
    }
    st->head_due = true;
    st->out_since = mono(st->h);
    conn_kick(st->h->conn);
}

static void submit_head(struct stream *st) {
    nghttp2_data_provider source = {.source = {.ptr = st}, .read_callback = read_reply};
    bool bare = st->no_body || (st->ended && queued(st) == 0 && st->file < 0);
    st->head_due = false;
    if (bare && st->trailers) { /* nothing between them: one block says it all */
        size_t n = st->nr_head + st->nr_trailers;
        nghttp2_nv *all = arena_calloc(st->x->arena, n, sizeof(*all));
        if (all) {
            memcpy(all, st->head, st->nr_head * sizeof(*all));
            memcpy(all + st->nr_head, st->trailers, st->nr_trailers * sizeof(*all));
            st->head = all;
            st->nr_head = n;
        }
    }
    if (nghttp2_submit_response(st->h->session, st->id, st->head, st->nr_head,
                                bare ? NULL : &source)) {
        reset_stream(st, NGHTTP2_INTERNAL_ERROR);
    }
}

/* Counts n more bytes against the promised length; false (and broken off) when they do not fit. */
static bool count_out(struct stream *st, uint64_t n, bool more) {
    if (st->no_body || st->out_left < 0) {
        return true;
    }
    if (n > (uint64_t)st->out_left || (!more && n < (uint64_t)st->out_left)) {
        log_error("bug: reply does not have its promised length", "left=%lld given=%llu",
                  (long long)st->out_left, (unsigned long long)n);
        reset_stream(st, NGHTTP2_INTERNAL_ERROR);
        return false;
    }
    st->out_left -= (int64_t)n;
    return true;
}

/* New bytes, or the end: nghttp2 is to ask again. */
static void resume(struct stream *st) {
    if (!st->head_due) {
        (void)nghttp2_session_resume_data(st->h->session, st->id);
    }
    conn_kick(st->h->conn);
}

static bool send_body(struct xch *x, const struct str *slices, size_t nr, bool more) {
    struct stream *st = x->stream;
    uint64_t n = 0;
    for (size_t i = 0; i < nr; i++) {
        n += slices[i].n;
    }
    if (!count_out(st, n, more)) {
        return true;
    }
    if (queued(st) == 0) {
        st->out_since = mono(st->h);
    } else if (st->out_at > 65536 && st->out_at > st->out.n / 2) {
        buf_consume(&st->out, st->out_at);
        st->out_at = 0;
    }
    for (size_t i = 0; i < nr && !st->no_body; i++) {
        buf_put_str(&st->out, slices[i]);
    }
    st->ended = !more;
    resume(st);
    return queued(st) <= limits.max_write_queue / 4; /* many streams share a connection */
}

static void send_trailers(struct xch *x, const struct headers *hs) {
    struct stream *st = x->stream;
    st->trailers = copy_headers(x->arena, hs, 0, &st->nr_trailers);
    if (!st->trailers) {
        reset_stream(st, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    (void)send_body(x, NULL, 0, false);
}

static void send_file(struct xch *x, int fd, uint64_t offset, uint64_t len) {
    struct stream *st = x->stream;
    if (!count_out(st, len, false) || st->no_body || len == 0) {
        mem_auto_close(&fd);
        st->ended = true;
        resume(st);
        return;
    }
    st->file = fd;
    st->file_at = offset;
    st->file_left = len;
    st->ended = true;
    st->out_since = mono(st->h);
    resume(st);
}

static void grant(struct xch *x) {
    struct stream *st = x->stream;
    if (st->expect && !x->started) {
        nghttp2_nv status = nv(STR(":status"), STR("100"));
        (void)nghttp2_submit_headers(st->h->session, NGHTTP2_FLAG_NONE, st->id, NULL, &status, 1,
                                     NULL);
    }
    st->expect = false;
    st->body_since = mono(st->h);
    st->h->granted = true;
    conn_kick(st->h->conn);
}

static void reset(struct xch *x, enum reset_why why) {
    (void)why;
    reset_stream(x->stream, NGHTTP2_INTERNAL_ERROR);
}

static const struct codec_ops h2_ops = {
    .name = "h2",
    .send_head = send_head,
    .send_body = send_body,
    .send_trailers = send_trailers,
    .send_file = send_file,
    .grant = grant,
    .reset = reset,
};

/* ---- the connection */

static void lose_streams(struct h2 *h) {
    while (!list_is_empty(&h->streams)) {
        stream_free(list_first(&h->streams, struct stream, link));
    }
}

static void end(struct h2 *h) {
    lose_streams(h);
    conn_finish(h->conn);
}

static int new_session(struct h2 *h) {
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *opt = NULL;
    int rc = -1;
    if (nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&opt) == 0) {
        nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
        nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
        nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
        nghttp2_option_set_no_auto_window_update(opt, 1);
        nghttp2_option_set_no_closed_streams(opt, 1);
#ifdef HAVE_NGHTTP2_RESET_LIMIT
        uint64_t rate = limits.max_h2_resets / 10;
        nghttp2_option_set_stream_reset_rate_limit(opt, limits.max_h2_resets, rate ? rate : 1);
#endif
#ifdef HAVE_NGHTTP2_MAX_CONTINUATIONS
        nghttp2_option_set_max_continuations(opt, CONTINUATIONS);
#endif
        rc = nghttp2_session_server_new2(&h->session, cb, h, opt);
    }
    nghttp2_option_del(opt);
    nghttp2_session_callbacks_del(cb);
    return rc;
}

struct h2 *h2_open(struct conn *c, usec_t now) {
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)limits.max_h2_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)limits.max_header_bytes},
    };
    struct h2 *h = xcalloc(1, sizeof(*h));
    h->conn = c;
    h->opened_at = h->idle_since = h->broken_at = now;
    list_init(&h->streams);
    if (new_session(h) ||
        nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, NR_OF(settings)) ||
        nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW)) {
        h2_close(h);
        return NULL;
    }
    return h;
}

void h2_close(struct h2 *h) {
    if (h) {
        lose_streams(h);
        nghttp2_session_del(h->session);
        free(h);
    }
}

static bool is_flood(ssize_t error) {
#ifdef HAVE_NGHTTP2_MAX_CONTINUATIONS
    if (error == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS) {
        return true;
    }
#endif
    return error == NGHTTP2_ERR_FLOODED;
}

void h2_input(struct h2 *h, struct str bytes, usec_t now) {
    ssize_t r = nghttp2_session_mem_recv(h->session, (const uint8_t *)bytes.p, bytes.n);
    if (r < 0) {
        log_info("HTTP/2 client broken off", "peer=%s error=\"%s\"", h->conn->peer,
                 nghttp2_strerror((int)r));
        (void)nghttp2_session_terminate_session(h->session, is_flood(r) ? NGHTTP2_ENHANCE_YOUR_CALM
                                                                        : NGHTTP2_PROTOCOL_ERROR);
        h2_output(h, now);
        if (h->conn->state == CONN_H2) {
            end(h);
        }
    }
}

size_t h2_want(const struct h2 *h) {
    if (transport_queued(&h->conn->t) > OUT_HIGH) {
        return 0;
    }
    return h->nr_bodies ? NET_READ_BODY : NET_READ_HEAD;
}

void h2_output(struct h2 *h, usec_t now) {
    struct stream *st;
    do {
        h->granted = false;
        list_each (st, &h->streams, link) {
            pump(st);
        }
    } while (h->granted);
    list_each (st, &h->streams, link) {
        if (st->head_due) {
            submit_head(st);
        }
    }
    h->full = false;
    for (;;) {
        const uint8_t *p;
        if (transport_queued(&h->conn->t) > OUT_HIGH) {
            h->full = true;
            return;
        }
        ssize_t n = nghttp2_session_mem_send(h->session, &p);
        if (n <= 0) {
            if (n < 0) {
                end(h);
                return;
            }
            break;
        }
        buf_put(transport_out(&h->conn->t), p, (size_t)n);
    }
    if (!nghttp2_session_want_read(h->session) || (h->draining && list_is_empty(&h->streams))) {
        end(h);
    }
}

void h2_drained(struct h2 *h) {
    struct stream *st;
    list_each (st, &h->streams, link) {
        if (queued(st) <= limits.max_write_queue / 8) {
            xch_drained(st->x);
        }
    }
    if (h->full && transport_queued(&h->conn->t) <= OUT_HIGH) {
        h->conn->again = true;
    }
}

void h2_eof(struct h2 *h, usec_t now) {
    struct stream *st;
    list_each (st, &h->streams, link) {
        if (!st->x->finished) {
            h->conn->state = CONN_DEAD; /* whoever waits for the reply is gone */
            return;
        }
    }
    h2_output(h, now);
    if (h->conn->state == CONN_H2 && !h->full) {
        end(h);
    }
}

void h2_retire(struct h2 *h) {
    if (!h->draining) {
        h->draining = true;
        (void)nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
                                    nghttp2_session_get_last_proc_stream_id(h->session),
                                    NGHTTP2_NO_ERROR, NULL, 0);
    }
}

/* ---- time */

static bool waits_for_body(const struct stream *st) {
    return st->dispatched && st->has_body && !st->in_end && st->x->credit > 0 &&
           !st->x->may_pause && !xch_body_unwanted(st->x);
}

static bool waits_for_window(const struct stream *st) {
    return !st->head_due && (queued(st) > 0 || st->file_left > 0);
}

usec_t h2_deadline(const struct h2 *h) {
    usec_t d = USEC_NEVER, at;
    struct stream *st;
    if (!h->settled) {
        d = h->opened_at + limits.header_timeout_ms * USEC_PER_MSEC;
    } else if (list_is_empty(&h->streams)) {
        d = h->idle_since + limits.keepalive_timeout_ms * USEC_PER_MSEC;
    }
    if (h->head_since) {
        at = h->head_since + limits.header_timeout_ms * USEC_PER_MSEC;
        d = at < d ? at : d;
    }
    list_each (st, &h->streams, link) {
        if (waits_for_body(st)) {
            at = st->body_since + limits.body_idle_timeout_ms * USEC_PER_MSEC;
            d = at < d ? at : d;
        }
        if (waits_for_window(st)) {
            at = st->out_since + limits.write_stall_timeout_ms * USEC_PER_MSEC;
            d = at < d ? at : d;
        }
    }
    return d;
}

static void stream_timeout(struct stream *st, usec_t now) {
    struct err err;
    if (waits_for_body(st) && now >= st->body_since + limits.body_idle_timeout_ms * USEC_PER_MSEC) {
        limits_hit(&limits.body_idle_timeout_ms);
        err_set(&err, ERR_DEADLINE_EXCEEDED,
                "The request body paused longer than the limit body_idle_timeout_ms (%llu ms).",
                (unsigned long long)limits.body_idle_timeout_ms);
        xch_body_end(st->x, &err);
    }
    if (waits_for_window(st) &&
        now >= st->out_since + limits.write_stall_timeout_ms * USEC_PER_MSEC) {
        limits_hit(&limits.write_stall_timeout_ms);
        st->out_since = now;
        reset_stream(st, NGHTTP2_CANCEL);
    }
}

void h2_timeout(struct h2 *h, usec_t now) {
    usec_t head = limits.header_timeout_ms * USEC_PER_MSEC;
    struct stream *st;
    if ((!h->settled && now >= h->opened_at + head) ||
        (h->head_since && now >= h->head_since + head)) {
        limits_hit(&limits.header_timeout_ms);
        h->settled = true;
        h->head_since = 0;
        (void)nghttp2_session_terminate_session(h->session, NGHTTP2_ENHANCE_YOUR_CALM);
    } else if (list_is_empty(&h->streams) &&
               now >= h->idle_since + limits.keepalive_timeout_ms * USEC_PER_MSEC) {
        h->idle_since = now;
        h2_retire(h);
    } else {
        list_each (st, &h->streams, link) {
            stream_timeout(st, now);
        }
    }
}
