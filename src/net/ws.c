/* WebSocket over an exchange that has become a tunnel. Bytes come by the exchange's credit, which
 * is given back as they are understood and withheld while the peer does not read what we answer. */
#include "net/ws.h"

#include "base/enc.h"
#include "base/limits.h"
#include "net/net_int.h"
#include "net/xch_int.h"

#include <openssl/evp.h>
#include <wslay/wslay.h>

#define CREDIT 65536u
#define MAX_FRAGMENTS 1024u /* of one message; each costs memory beside its bytes */
#define CLOSE_WAIT (2 * USEC_PER_SEC)
#define REASON_MAX 123u

struct ws {
    struct xch *x;
    struct ws_ops ops;
    void *arg;
    wslay_event_context_ptr ctx;
    struct list link; /* in the server's list, for its shutdown */
    struct str fed;   /* being understood */
    unsigned fragments;
    uint64_t owed;      /* credit used and not yet given back */
    bool slow;          /* the peer does not take what is queued */
    bool closing;       /* our close frame is queued */
    bool heard;         /* bytes came since the last ping */
    struct timer timer; /* of the next ping; of the end once closing */
};

/* ---- the handshake */

/* Is `token` among the comma-separated words? */
static bool has_token(struct str list, struct str token) {
    while (list.p) {
        if (str_ieq(str_trim(str_cut(&list, ',')), token)) {
            return true;
        }
    }
    return false;
}

bool ws_is_asked(const struct xch *x) {
    struct str upgrade = xch_header(x, "upgrade");
    return upgrade.p && has_token(upgrade, STR("websocket"));
}

static const char *bad_handshake(const struct xch *x, struct str key, struct buf *nonce) {
    struct str connection = xch_header(x, "connection");
    if (!str_eqc(x->head.method, "GET") || x->head.has_body) {
        return "A WebSocket handshake is a GET without a body.";
    }
    if (!connection.p || !has_token(connection, STR("upgrade"))) {
        return "A WebSocket handshake needs \"Connection: Upgrade\".";
    }
    if (!key.p || !enc_unbase64(key, nonce) || nonce->n != 16) {
        return "Sec-WebSocket-Key must be 16 bytes in base64.";
    }
    return NULL;
}

static void refuse(struct xch *x, int status, const char *what) {
    static const struct header h[] = {
        {STR("content-type"), STR("application/json; charset=UTF-8")},
        {STR("sec-websocket-version"), STR("13")}, /* RFC 6455 4.4 */
    };
    auto_buf struct buf body = BUF_INIT(4096);
    net_render_refusal_body(&body, status, what, NULL, NULL);
    xch_reply(x, status, h, NR_OF(h), buf_str(&body));
}

/* RFC 6455 4.2.2, step 5.4. */
static void accept_value(struct str key, struct buf *out) {
    auto_buf struct buf text = BUF_INIT(256);
    unsigned char digest[20];
    size_t n = sizeof(digest);
    buf_put_str(&text, key);
    buf_puts(&text, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    CHECK(EVP_Q_digest(NULL, "SHA1", NULL, text.p, text.n, digest, &n) == 1);
    enc_base64(out, digest, n);
}

/* ---- the end */

static void ws_free(struct ws *w) {
    struct clock *c = w->x->server->clock;
    c->ops->disarm(c, &w->timer);
    list_del(&w->link);
    wslay_event_context_free(w->ctx);
    xch_unref(w->x);
    free(w);
}

static void finish(struct ws *w, int code) {
    if (code == WS_GONE) {
        xch_abort(w->x);
    } else {
        xch_end(w->x);
    }
    if (w->ops.closed) {
        w->ops.closed(w, w->arg, code);
    }
    ws_free(w);
}

/* Nothing more is to be said or heard? Then it is over, and w with it. */
static bool is_over(const struct ws *w) {
    return !wslay_event_want_read(w->ctx) && !wslay_event_want_write(w->ctx);
}

static int end_code(const struct ws *w) {
    uint16_t theirs = wslay_event_get_status_code_received(w->ctx);
    uint16_t ours = wslay_event_get_status_code_sent(w->ctx);
    return wslay_event_get_close_received(w->ctx) && theirs ? theirs : ours ? ours : WS_GONE;
}

/* ---- wslay's callbacks */

static ssize_t recv_cb(wslay_event_context_ptr ctx, uint8_t *p, size_t n, int flags, void *arg) {
    struct ws *w = arg;
    (void)flags;
    if (w->fed.n == 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    n = n < w->fed.n ? n : w->fed.n;
    memcpy(p, w->fed.p, n);
    w->fed = str_sub(w->fed, n, w->fed.n);
    return (ssize_t)n;
}

static ssize_t send_cb(wslay_event_context_ptr ctx, const uint8_t *p, size_t n, int flags,
                       void *arg) {
    struct ws *w = arg;
    (void)ctx;
    (void)flags;
    w->slow = !xch_write(w->x, str_n((const char *)p, n));
    return (ssize_t)n;
}

static void refuse_frame(struct ws *w, int code, const char *why) {
    (void)wslay_event_queue_close(w->ctx, (uint16_t)code, (const uint8_t *)why, strlen(why));
    wslay_event_shutdown_read(w->ctx);
    w->closing = true;
}

/* What wslay lets pass. */
static void on_frame_start(wslay_event_context_ptr ctx,
                           const struct wslay_event_on_frame_recv_start_arg *f, void *arg) {
    struct ws *w = arg;
    (void)ctx;
    if (f->opcode == WSLAY_TEXT_FRAME || f->opcode == WSLAY_BINARY_FRAME) {
        w->fragments = 0;
    } else if (f->opcode == WSLAY_CONTINUATION_FRAME && ++w->fragments > MAX_FRAGMENTS) {
        refuse_frame(w, WS_POLICY, "too many fragments");
    } else if (f->opcode == WSLAY_CONNECTION_CLOSE && f->payload_length == 1) {
        refuse_frame(w, WSLAY_CODE_PROTOCOL_ERROR, "half a close code"); /* RFC 6455 5.5.1 */
    }
}

static void on_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *m,
                       void *arg) {
    struct ws *w = arg;
    (void)ctx;
    bool data = m->opcode == WSLAY_TEXT_FRAME || m->opcode == WSLAY_BINARY_FRAME;
    if (data && !w->closing && w->ops.message) {
        w->ops.message(w, w->arg, m->opcode == WSLAY_TEXT_FRAME,
                       str_n((const char *)m->msg, m->msg_length));
    }
}

/* ---- bytes */

static void flush(struct ws *w) {
    (void)wslay_event_send(w->ctx); /* its only failure is memory; reading then ends it */
}

/* Not while answers pile up: pings would make pongs without end. */
static void give_credit(struct ws *w) {
    if (!w->slow && w->owed > 0) {
        uint64_t n = w->owed;
        w->owed = 0;
        xch_grant(w->x, n);
    }
}

static void on_bytes(struct xch *x, void *arg, struct str bytes) {
    struct ws *w = arg;
    (void)x;
    w->fed = bytes;
    w->heard = true;
    w->owed += bytes.n;
    int rc = wslay_event_recv(w->ctx);
    w->fed = (struct str){NULL, 0};
    if (rc < 0) {
        /* A frame wslay cannot even take apart: it would close without a code. Ours, unless a close
         * frame went out already. */
        if (!wslay_event_get_close_sent(w->ctx)) {
            xch_write(x, str_n("\x88\x02\x03\xea", 4));
        }
        finish(w, WSLAY_CODE_PROTOCOL_ERROR);
        return;
    }
    flush(w);
    if (is_over(w)) {
        finish(w, end_code(w));
        return;
    }
    give_credit(w);
}

static void on_gone(struct xch *x, void *arg) {
    (void)x;
    finish(arg, WS_GONE);
}

static void on_drain(struct xch *x, void *arg) {
    struct ws *w = arg;
    (void)x;
    w->slow = false;
    give_credit(w);
    if (!w->closing && w->ops.drain) {
        w->ops.drain(w, w->arg);
    }
}

static void arm(struct ws *w, usec_t in) {
    struct clock *c = w->x->server->clock;
    c->ops->arm(c, &w->timer, c->ops->mono(c) + in);
}

static void on_timer(struct timer *t) {
    struct ws *w = CONTAINER_OF(t, struct ws, timer);
    if (w->closing) {
        finish(w, end_code(w)); /* it does not say goodbye */
    } else if (!w->heard) {
        limits_hit(&limits.ws_ping_ms);
        finish(w, WS_GONE);
    } else {
        static const struct wslay_event_msg ping = {.opcode = WSLAY_PING};
        w->heard = false;
        (void)wslay_event_queue_msg(w->ctx, &ping);
        flush(w);
        arm(w, limits.ws_ping_ms * USEC_PER_MSEC);
    }
}

/* ---- for handlers */

struct ws *ws_accept(struct xch *x, const struct ws_ops *ops, void *arg) {
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = recv_cb,
        .send_callback = send_cb,
        .on_frame_recv_start_callback = on_frame_start,
        .on_msg_recv_callback = on_message,
    };
    static const struct body_sink sink = {.data = on_bytes};
    auto_buf struct buf nonce = BUF_INIT(64);
    auto_buf struct buf accept = BUF_INIT(64);
    struct str key = xch_header(x, "sec-websocket-key");
    struct str version = xch_header(x, "sec-websocket-version");
    if (version.p && !str_eqc(version, "13")) {
        refuse(x, 426, "Sec-WebSocket-Version must be 13.");
        return NULL;
    }
    const char *bad = bad_handshake(x, key, &nonce);
    if (bad || !version.p) {
        refuse(x, 400, bad ? bad : "Sec-WebSocket-Version is missing.");
        return NULL;
    }
    accept_value(key, &accept);
    const struct header h[] = {
        {STR("upgrade"), STR("websocket")},
        {STR("sec-websocket-accept"), buf_str(&accept)},
    };
    struct ws *w = xcalloc(1, sizeof(*w));
    w->ops = *ops;
    w->arg = arg;
    w->heard = true;
    w->timer.fn = on_timer;
    list_init(&w->link);
    CHECK(wslay_event_context_server_init(&w->ctx, &callbacks, w) == 0); /* else no memory */
    wslay_event_config_set_max_recv_msg_length(w->ctx, limits.max_ws_message);
    if (!xch_upgrade(x, h, NR_OF(h))) {
        refuse(x, 400, "WebSocket needs HTTP/1.1.");
        wslay_event_context_free(w->ctx);
        free(w);
        return NULL;
    }
    w->x = xch_ref(x);
    list_push_tail(&x->server->websockets, &w->link);
    xch_on_gone(x, on_gone, w);
    xch_on_drain(x, on_drain, w);
    xch_read_body(x, UINT64_MAX, &sink, w);
    xch_grant(x, CREDIT);
    arm(w, limits.ws_ping_ms * USEC_PER_MSEC);
    return w;
}

bool ws_send(struct ws *w, bool text, struct str bytes) {
    const struct wslay_event_msg m = {
        .opcode = text ? WSLAY_TEXT_FRAME : WSLAY_BINARY_FRAME,
        .msg = (const uint8_t *)bytes.p,
        .msg_length = bytes.n,
    };
    if (w->closing || wslay_event_queue_msg(w->ctx, &m)) {
        return true; /* it is closing, for whichever side's reason: `closed` follows */
    }
    flush(w);
    return !w->slow;
}

void ws_close(struct ws *w, int code, const char *reason) {
    size_t n = strlen(reason);
    if (w->closing) {
        return;
    }
    w->closing = true;
    n = n < REASON_MAX ? n : REASON_MAX;
    while (n > 0 && !str_is_utf8(str_n(reason, n))) {
        n--; /* cut in the middle of a character */
    }
    (void)wslay_event_queue_close(w->ctx, (uint16_t)code, (const uint8_t *)reason, n);
    flush(w);
    arm(w, CLOSE_WAIT);
}

void net_close_websockets(struct net_server *s) {
    struct ws *w;
    list_each (w, &s->websockets, link) {
        ws_close(w, WS_GOING_AWAY, "the server is stopping");
    }
}
