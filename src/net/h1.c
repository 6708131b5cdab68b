/* HTTP/1.1 over one connection. Order of a request: the head is collected and linted whole, parsed,
 * dispatched; the body is delivered as the handler grants; the reply is queued; what is left of the
 * body is discarded within bounds; then the next head. */
#include "net/h1.h"

#include "base/limits.h"
#include "base/log.h"
#include "net/conn.h"
#include "net/net_int.h"

#define DISCARD_MAX 262144u /* of an unread request body, to keep the connection */
#define READ_AHEAD 16384u   /* bytes held of the requests behind the running one */
#define PUSH_TAIL 16384u    /* queued of a push that the socket did not take */
#define DIRECT_MIN 32768u   /* less is not worth a read of its own */
#define BLANK_MAX 4u        /* empty lines tolerated before a request (RFC 9112 2.2) */

static const struct codec_ops h1_ops;

static usec_t mono(const struct h1 *h) {
    struct clock *c = h->conn->server->clock;
    return c->ops->mono(c);
}

static struct buf *out_of(struct h1 *h) {
    return transport_out(&h->conn->t);
}

void h1_open(struct h1 *h, struct conn *c, usec_t now) {
    *h = (struct h1){.conn = c, .first = true, .head_since = now, .idle_since = now};
}

static void end(struct h1 *h) {
    h->reading = H1_ENDED;
    conn_finish(h->conn);
}

static void refuse(struct h1 *h, const struct h1_fault *f, bool with_body) {
    if (f->limit) {
        limits_hit(f->limit);
    }
    net_render_refusal(h->conn->server, out_of(h), f->status, f->what, f->limit_name, f->limit,
                       with_body);
    end(h);
}

/* ---- request heads */

/* "http://host/path?q" or "/path?q" to its parts (h1_lint has checked the form). */
static void split_target(struct xch_head *head, struct str target) {
    ptrdiff_t at = target.p[0] == '/' ? -1 : str_find(target, STR("://"));
    if (at >= 0) {
        target = str_sub(target, (size_t)at + 3, target.n);
        size_t n = 0;
        while (n < target.n && target.p[n] != '/' && target.p[n] != '?') {
            n++;
        }
        head->authority = str_n(target.p, n); /* overrules Host (RFC 9112 3.2.2) */
        target = str_sub(target, n, target.n);
    }
    ptrdiff_t q = str_chr(target, '?');
    head->path = q < 0 ? target : str_n(target.p, (size_t)q);
    head->query = q < 0 ? (struct str){NULL, 0} : str_sub(target, (size_t)q + 1, target.n);
    if (head->path.n == 0) {
        head->path = STR("/");
    }
}

static void on_body(void *arg, struct str bytes) {
    struct h1 *h = arg;
    if (xch_body_unwanted(h->x)) {
        h->discarded += bytes.n;
    }
    xch_deliver(h->x, bytes);
}

/* 0, or -1 with *f (the caller gives the exchange back). */
static int fill_head(struct h1 *h, struct xch *x, struct str raw, size_t nr_headers,
                     struct h1_fault *f) {
    char *copy = arena_memdup(x->arena, raw.p, raw.n);
    struct header *headers = arena_calloc(x->arena, nr_headers, sizeof(*headers));
    char *peer = arena_strdup(x->arena, h->conn->peer);
    if (!copy || !headers || !peer) {
        *f = (struct h1_fault){431, "The request head is too large.", "max_message_bytes",
                               &limits.max_message_bytes};
        return -1;
    }
    if (h1_parse_head(&h->parse, copy, raw.n, headers, nr_headers, on_body, h, f)) {
        return -1;
    }
    x->head = (struct xch_head){
        .method = h->parse.method,
        .scheme = h->conn->t.tls ? STR("https") : STR("http"),
        .headers = {h->parse.headers, h->parse.nr_headers},
        .content_length = h->parse.content_length,
        .has_body = !h->parse.done,
        .peer = str_of(peer),
    };
    x->head.authority = xch_header(x, "host");
    split_target(&x->head, h->parse.target);
    h->keep_alive = h->parse.keep_alive && !h->conn->server->stopping;
    h->head_only = str_eqc(x->head.method, "HEAD");
    struct str expect = xch_header(x, "expect");
    if (expect.p && !str_ieq(expect, STR("100-continue"))) {
        *f = (struct h1_fault){.status = 417, .what = "Unknown expectation."};
        return -1;
    }
    h->expect = expect.p && x->head.has_body && !h->parse.http10;
    return 0;
}

static void begin_exchange(struct h1 *h, struct str raw, size_t nr_headers, usec_t now) {
    struct h1_fault f;
    struct xch *x = xch_new(h->conn->server, &h1_ops, h);
    x->door = h->conn->door;
    h->replied = h->chunked_out = h->no_body = h->broken_body = h->tunnel = false;
    h->head_only = h->expect = false;
    h->out_left = -1;
    h->discarded = 0;
    h->first = false;
    if (fill_head(h, x, raw, nr_headers, &f)) {
        refuse(h, &f, !h->head_only);
        x->finished = true;
        xch_served(x);
        return;
    }
    h->x = x;
    h->reading = h->parse.done ? H1_WAITING : H1_BODY;
    h->body_since = now;
    xch_dispatch(x);
}

/* Returns bytes taken; 0: more are needed. */
static size_t take_head(struct h1 *h, struct str bytes, usec_t now) {
    struct h1_fault f;
    size_t nr_headers, skipped = 0;
    while (h->scan.at == 0 && bytes.n >= 2 && bytes.p[0] == '\r' && bytes.p[1] == '\n' &&
           h->blank_lines < BLANK_MAX) {
        h->blank_lines++;
        skipped += 2;
        bytes = str_sub(bytes, 2, bytes.n);
    }
    bool maybe_blank = h->scan.at == 0 && bytes.n == 1 && bytes.p[0] == '\r';
    ptrdiff_t n = maybe_blank ? 0 : h1_scan_head(&h->scan, bytes, &f);
    if (n == 0) {
        if (h->head_since == 0 && bytes.n > 0) {
            h->head_since = now;
        }
        return skipped;
    }
    if (n < 0 || h1_lint(str_n(bytes.p, (size_t)n), &nr_headers, &f)) {
        refuse(h, &f, true);
        return skipped;
    }
    h->scan = (struct h1_scan){0};
    h->blank_lines = 0;
    h->head_since = 0;
    begin_exchange(h, str_n(bytes.p, (size_t)n), nr_headers, now);
    return skipped + (size_t)n;
}

/* ---- request bodies */

/* How many body bytes may pass now. */
static uint64_t body_room(const struct h1 *h) {
    if (!h->tunnel && xch_body_unwanted(h->x)) {
        return h->discarded < DISCARD_MAX ? DISCARD_MAX - h->discarded : 0;
    }
    return h->x->credit;
}

static size_t take_tunnel(struct h1 *h, struct str bytes) {
    size_t n = bytes.n < h->x->credit ? bytes.n : (size_t)h->x->credit;
    if (n > 0) {
        xch_deliver(h->x, str_n(bytes.p, n));
    }
    return n;
}

static size_t take_body(struct h1 *h, struct str bytes, usec_t now) {
    struct h1_fault f;
    struct err err;
    if (h->tunnel) {
        return take_tunnel(h, bytes);
    }
    ptrdiff_t n = h1_parse_body(&h->parse, bytes, body_room(h), &f);
    if (n < 0) {
        h->broken_body = true;
        h->reading = H1_WAITING;
        if (f.limit) {
            limits_hit(f.limit);
            err_set(&err, ERR_INVALID_ARGUMENT, "%s The limit %s is %llu.", f.what, f.limit_name,
                    (unsigned long long)*f.limit);
        } else {
            err_set(&err, ERR_INVALID_ARGUMENT, "%s", f.what);
        }
        xch_body_end(h->x, &err);
        return bytes.n;
    }
    if (n > 0) {
        h->body_since = now;
        h->expect = false; /* it did not wait */
    }
    if (h->parse.done) {
        h->reading = H1_WAITING;
        xch_body_end(h->x, NULL);
    } else if (xch_body_unwanted(h->x) && h->discarded >= DISCARD_MAX) {
        h->broken_body = true;
        h->reading = H1_WAITING;
    }
    return (size_t)n;
}

/* The reply is complete and the request is behind us: next, or the end. */
static void next_request(struct h1 *h, usec_t now) {
    struct xch *x = h->x;
    bool keep = h->keep_alive && !h->broken_body && !h->conn->server->stopping;
    h->x = NULL;
    h->expect = false;
    xch_served(x);
    if (h->conn->state == CONN_DEAD) {
        return;
    }
    if (!keep) {
        end(h);
        return;
    }
    h->reading = H1_HEAD;
    h->idle_since = now;
}

/* The reply is complete, the request is not. When the connection ends anyway there is nothing to
 * discard for; and a client that announced its body with Expect and got the final status instead
 * will either send it or not: only closing is unambiguous. */
static void give_up_body(struct h1 *h) {
    if (h->expect || !h->keep_alive) {
        h->broken_body = true;
        h->reading = H1_WAITING;
    }
}

size_t h1_input(struct h1 *h, struct str bytes, usec_t now) {
    size_t used = 0, served = 0;
    h->blocked = false;
    while (h->conn->state == CONN_H1) {
        struct str rest = used ? str_sub(bytes, used, bytes.n) : bytes;
        size_t n = 0;
        switch (h->reading) {
        case H1_HEAD:
            if (rest.n == 0) {
                return used;
            }
            if (transport_has_file(&h->conn->t) || served >= limits.max_pipelined ||
                transport_queued(&h->conn->t) > limits.max_write_queue) {
                h->blocked = true;
                return used;
            }
            n = take_head(h, rest, now);
            used += n;
            served++;
            if (h->reading == H1_HEAD) {
                return used;
            }
            break;
        case H1_BODY:
            if (h->x->finished) {
                give_up_body(h);
            }
            if (h->reading == H1_BODY) {
                n = take_body(h, rest, now);
                used += n;
            }
            if (h->reading == H1_BODY && n == 0) {
                return used;
            }
            break;
        case H1_WAITING:
            if (!h->x->finished) {
                return used;
            }
            next_request(h, now);
            break;
        case H1_ENDED:
            return bytes.n;
        }
    }
    return used;
}

size_t h1_want(const struct h1 *h, size_t held) {
    uint64_t room;
    switch (h->reading) {
    case H1_HEAD:
        return h->blocked ? 0 : NET_READ_HEAD;
    case H1_BODY:
        room = body_room(h);
        if (room == 0) {
            return held == 0 && h1_parse_at_framing(&h->parse) ? 4096 : 0;
        }
        /* Never more than may be delivered (it would have to be held), but at least a head's worth.
         */
        return room < NET_READ_HEAD   ? NET_READ_HEAD
               : room < NET_READ_BODY ? (size_t)room
                                      : NET_READ_BODY;
    case H1_WAITING:
        return held < READ_AHEAD ? READ_AHEAD : 0;
    case H1_ENDED:
        break;
    }
    return 0;
}

char *h1_room(struct h1 *h, size_t *ret_n) {
    struct xch *x = h->x;
    size_t n = 0;
    /* In a body of known length all that comes, up to its end, is body. */
    if (h->reading != H1_BODY || h->tunnel || !x->sink.room || xch_body_unwanted(x) ||
        h->parse.chunked || h->parse.broken || x->credit < DIRECT_MIN ||
        h->parse.left < DIRECT_MIN) {
        return NULL;
    }
    char *p = x->sink.room(x, x->sink_arg, &n);
    n = n < x->credit ? n : (size_t)x->credit;
    n = n < h->parse.left ? n : (size_t)h->parse.left;
    if (!p || n < DIRECT_MIN) {
        return NULL;
    }
    *ret_n = n;
    return p;
}

void h1_eof(struct h1 *h, size_t held) {
    if (h->x && !h->x->finished) {
        h->conn->state = CONN_DEAD; /* whoever waits for the reply is gone */
    } else if (!(h->reading == H1_HEAD && h->blocked && held > 0)) {
        end(h);
    }
}

void h1_close(struct h1 *h) {
    struct xch *x = h->x;
    h->x = NULL;
    h->reading = H1_ENDED;
    if (x && x->finished) {
        xch_served(x);
    } else if (x) {
        xch_lost(x);
    }
}

bool h1_is_endless(const struct h1 *h) {
    return h->x && h->x->endless && !h->x->finished;
}

void h1_drained(struct h1 *h) {
    bool low = transport_queued(&h->conn->t) <= limits.max_write_queue / 2;
    if (h->x && low) {
        xch_drained(h->x);
    }
    if (h->x && h->x->finished && (h->reading == H1_WAITING || h->expect || !h->keep_alive)) {
        h->conn->again = true; /* finished just now, after input had its turn */
    }
    if (h->blocked && low && !transport_has_file(&h->conn->t)) {
        h->conn->again = true;
    }
}

/* ---- time */

usec_t h1_deadline(const struct h1 *h, size_t held) {
    switch (h->reading) {
    case H1_HEAD:
        if (h->blocked) {
            return USEC_NEVER;
        }
        if (h->first || held > 0) {
            return h->head_since + limits.header_timeout_ms * USEC_PER_MSEC;
        }
        return h->idle_since + limits.keepalive_timeout_ms * USEC_PER_MSEC;
    case H1_BODY:
        if (body_room(h) > 0 && !h->tunnel) {
            return h->body_since + limits.body_idle_timeout_ms * USEC_PER_MSEC;
        }
        return USEC_NEVER;
    case H1_WAITING:
    case H1_ENDED:
        break;
    }
    return USEC_NEVER;
}

void h1_timeout(struct h1 *h, size_t held) {
    struct err err;
    if (h->reading == H1_HEAD && held > 0) {
        struct h1_fault f = {408, "The request head did not arrive in time.", "header_timeout_ms",
                             &limits.header_timeout_ms};
        refuse(h, &f, true);
    } else if (h->reading == H1_HEAD) {
        end(h);
    } else if (h->reading == H1_BODY) {
        limits_hit(&limits.body_idle_timeout_ms);
        h->broken_body = true;
        h->reading = H1_WAITING;
        err_set(&err, ERR_DEADLINE_EXCEEDED,
                "The request body paused longer than the limit body_idle_timeout_ms (%llu ms).",
                (unsigned long long)limits.body_idle_timeout_ms);
        xch_body_end(h->x, &err);
    }
}

/* ---- replies */

static void put_u64(struct buf *b, uint64_t v, unsigned base) {
    char d[24];
    size_t n = sizeof(d);
    do {
        d[--n] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v);
    buf_put(b, d + n, sizeof(d) - n);
}

/* May the connection go on after this reply, as far as is known when its head is sent? */
static void decide_keep_alive(struct h1 *h, int64_t length) {
    struct xch *x = h->x;
    if (h->conn->server->stopping || h->broken_body || (length < 0 && h->parse.http10)) {
        h->keep_alive = false;
    }
    if (h->reading == H1_BODY && (h->expect || h->parse.left > DISCARD_MAX)) {
        /* Unless the handler goes on reading (a streamed reply to a streamed body). */
        h->keep_alive =
            h->keep_alive && !h->expect && !x->one_shot && x->sink_set && !x->sink_ended;
    }
}

/* "x-goog-hash" as "X-Goog-Hash": TensorFlow's gs:// looks for "Location" and "Range" letter by
 * letter, as Google writes them. */
static void put_name(struct buf *b, struct str name) {
    bool first = true;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        buf_putc(b, first && c >= 'a' && c <= 'z' ? (char)(c - ('a' - 'A')) : c);
        first = c == '-';
    }
}

static void send_head(struct xch *x, int status, const struct headers *hs, int64_t length) {
    struct h1 *h = x->stream;
    struct buf *b = out_of(h);
    h->replied = true;
    h->no_body = h->head_only || status == 204 || status == 304 || status < 200;
    decide_keep_alive(h, h->no_body ? 0 : length);
    h->chunked_out = length < 0 && !h->no_body && !h->parse.http10;
    h->out_left = length;
    buf_puts(b, "HTTP/1.1 ");
    put_u64(b, (uint64_t)status, 10);
    buf_putc(b, ' ');
    buf_puts(b, net_reason(status));
    buf_puts(b, "\r\ndate: ");
    buf_puts(b, net_date(h->conn->server));
    for (size_t i = 0; i < hs->n; i++) {
        if (!net_header_sendable(&hs->p[i])) {
            log_error("bug: reply header dropped", "name=%.*s", STR_ARG(hs->p[i].name));
            continue;
        }
        buf_puts(b, "\r\n");
        put_name(b, hs->p[i].name);
        buf_puts(b, ": ");
        buf_put_str(b, hs->p[i].value);
    }
    if (length >= 0 && status != 204 && status != 304 && status >= 200) {
        buf_puts(b, "\r\ncontent-length: ");
        put_u64(b, (uint64_t)length, 10);
    } else if (h->chunked_out) {
        buf_puts(b, "\r\ntransfer-encoding: chunked");
    }
    if (!h->keep_alive) {
        buf_puts(b, "\r\nconnection: close");
    } else if (h->parse.http10) {
        buf_puts(b, "\r\nconnection: keep-alive");
    }
    buf_puts(b, "\r\n\r\n");
    conn_kick(h->conn);
}

/* Counts n more bytes against the promised length; false (and broken off) when they do not fit. */
static bool count_out(struct h1 *h, uint64_t n, bool more) {
    if (h->no_body || h->out_left < 0) {
        return true;
    }
    if (n > (uint64_t)h->out_left || (!more && n < (uint64_t)h->out_left)) {
        log_error("bug: reply does not have its promised length", "left=%lld given=%llu",
                  (long long)h->out_left, (unsigned long long)n);
        conn_break(h->conn);
        conn_kick(h->conn);
        return false;
    }
    h->out_left -= (int64_t)n;
    return true;
}

static bool send_body(struct xch *x, const struct str *slices, size_t nr, bool more) {
    struct h1 *h = x->stream;
    uint64_t n = 0;
    if (h->conn->state == CONN_DEAD) {
        return true;
    }
    for (size_t i = 0; i < nr; i++) {
        n += slices[i].n;
    }
    if (!count_out(h, n, more)) {
        return true;
    }
    struct buf *b = out_of(h);
    if (!h->no_body) {
        if (h->chunked_out && n) {
            put_u64(b, n, 16);
            buf_puts(b, "\r\n");
        }
        for (size_t i = 0; i < nr; i++) {
            buf_put_str(b, slices[i]);
        }
        if (h->chunked_out && n) {
            buf_puts(b, "\r\n");
        }
        if (h->chunked_out && !more) {
            buf_puts(b, "0\r\n\r\n");
        }
    }
    conn_kick(h->conn);
    return transport_queued(&h->conn->t) <= limits.max_write_queue;
}

/* A little is queued where the socket is full: the connection tells when that is through. */
static bool push(struct xch *x, struct str bytes, size_t *ret_taken) {
    struct h1 *h = x->stream;
    struct transport *t = &h->conn->t;
    if (h->conn->state == CONN_DEAD || h->chunked_out || h->no_body || t->tls || h->out_left < 0 ||
        bytes.n > (uint64_t)h->out_left) {
        return false;
    }
    *ret_taken = 0;
    if (!transport_is_flushed(t)) {
        return true; /* it is watched for; a kick would come back here at once */
    }
    size_t n = transport_push(t, bytes);
    struct str tail = str_sub(bytes, n, PUSH_TAIL);
    buf_put_str(out_of(h), tail);
    h->conn->server->stats.bytes_out += n;
    h->out_left -= (int64_t)(n + tail.n);
    *ret_taken = n + tail.n;
    conn_kick(h->conn);
    return true;
}

static void send_file(struct xch *x, int fd, uint64_t offset, uint64_t len) {
    static const struct str chunk_end = STR("\r\n0\r\n\r\n");
    struct h1 *h = x->stream;
    if (h->conn->state == CONN_DEAD || !count_out(h, len, false) || h->no_body || len == 0) {
        mem_auto_close(&fd);
        if (len == 0 && h->conn->state != CONN_DEAD && h->chunked_out) {
            buf_puts(out_of(h), "0\r\n\r\n");
        }
        conn_kick(h->conn);
        return;
    }
    if (h->chunked_out) {
        put_u64(out_of(h), len, 16);
        buf_puts(out_of(h), "\r\n");
    }
    transport_send_file(&h->conn->t, fd, offset, len,
                        h->chunked_out ? chunk_end : (struct str){"", 0}, x->warm_file);
    conn_kick(h->conn);
}

/* Between the last chunk and the end, for clients that asked (RFC 9110 6.5.1); else dropped. */
static void send_trailers(struct xch *x, const struct headers *hs) {
    struct h1 *h = x->stream;
    struct str te = xch_header(x, "te");
    if (h->conn->state == CONN_DEAD || !h->chunked_out || !te.p ||
        str_find(te, STR("trailers")) < 0) {
        send_body(x, NULL, 0, false);
        return;
    }
    struct buf *b = out_of(h);
    buf_puts(b, "0\r\n");
    for (size_t i = 0; i < hs->n; i++) {
        if (net_header_sendable(&hs->p[i])) {
            buf_put_str(b, hs->p[i].name);
            buf_puts(b, ": ");
            buf_put_str(b, hs->p[i].value);
            buf_puts(b, "\r\n");
        }
    }
    buf_puts(b, "\r\n");
    conn_kick(h->conn);
}

static bool upgrade(struct xch *x, const struct headers *hs) {
    struct h1 *h = x->stream;
    if (h->parse.http10 || h->reading != H1_WAITING || h->conn->state != CONN_H1) {
        return false;
    }
    struct buf *b = out_of(h);
    buf_puts(b, "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n");
    for (size_t i = 0; i < hs->n; i++) {
        CHECK(net_header_sendable(&hs->p[i]));
        buf_printf(b, "%.*s: %.*s\r\n", STR_ARG(hs->p[i].name), STR_ARG(hs->p[i].value));
    }
    buf_puts(b, "\r\n");
    h->tunnel = h->replied = true;
    h->keep_alive = h->chunked_out = h->no_body = false;
    h->out_left = -1;
    h->reading = H1_BODY;
    conn_kick(h->conn);
    return true;
}

static void grant(struct xch *x) {
    struct h1 *h = x->stream;
    if (h->expect && !h->replied) {
        h->expect = false;
        buf_puts(out_of(h), "HTTP/1.1 100 Continue\r\n\r\n");
    }
    h->body_since = mono(h);
    conn_kick(h->conn);
}

static void reset(struct xch *x, enum reset_why why) {
    struct h1 *h = x->stream;
    (void)why; /* HTTP/1 has one way to say it */
    conn_break(h->conn);
    conn_kick(h->conn);
}

static const struct codec_ops h1_ops = {
    .name = "h1",
    .send_head = send_head,
    .send_body = send_body,
    .push = push,
    .send_trailers = send_trailers,
    .send_file = send_file,
    .upgrade = upgrade,
    .grant = grant,
    .reset = reset,
};
