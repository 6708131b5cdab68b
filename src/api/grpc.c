/* gRPC over HTTP/2: request head -> method -> message(s) -> handler, and the answers in frames and
 * trailers. HTTP/2 itself is net's, the byte formats are grpc_frame.c's, the handlers are the ones
 * that REST uses.
 *
 * A call is over for its client when `closed` is set: answered, gone, or its deadline passed. It is
 * over for us when the handler has answered too; until then it holds the exchange. While a handler
 * has it nothing here uses the call's arena, which readers of the store fill on their threads. */
#include "api/grpc.h"

#include "api/grpc_frame.h"
#include "api/grpc_status.h"
#include "api/rest.h"
#include "api/unbuilt.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "pb/pbmask.h"
#include "pb/rpc.h"

#include <stdarg.h>

#define REPLY_MAX (64u << 20)
#define STREAM_RETRY (5 * (usec_t)USEC_PER_SEC)

struct grpc {
    struct api *api;
    struct list streams; /* struct gcall.link */
    struct list reading; /* the same: of one message each, and that is not here yet */
    size_t nr_streams;
    bool retired;
};

struct gcall {
    struct call call; /* first: handlers know us by it */
    struct grpc *grpc;
    struct grpc_in in;
    struct timer deadline, told;
    bool timed;   /* deadline may be armed */
    bool closed;  /* for the client */
    bool running; /* the handler has it and owes an answer */
    bool started; /* the reply's head was sent */
    bool late;    /* the deadline passed while the handler had it: told when that answers */
    bool has_message, in_ended;

    /* streams */
    bool is_stream, asked, cancel_told;
    const struct call_listener *listener;
    void *arg;
    struct arena *msg_arena; /* of the client's present message */
    struct list link;
};

static struct gcall *gcall_of(struct call *c) {
    return CONTAINER_OF(c, struct gcall, call);
}

static struct clock *clock_of(const struct gcall *g) {
    return g->call.api->clock;
}

/* ---- the end of a call */

/* Nothing reaches the client any more. */
static void close_call(struct gcall *g) {
    struct clock *c = clock_of(g);
    g->closed = true;
    if (g->timed) {
        c->ops->disarm(c, &g->deadline);
        g->timed = false;
    }
}

/* The last that happens: the exchange may go. */
static void let_go(struct gcall *g) {
    struct clock *c = clock_of(g);
    grpc_in_fini(&g->in);
    c->ops->disarm(c, &g->told);
    list_del(&g->link);
    if (g->is_stream) {
        arena_free(g->msg_arena);
        g->grpc->nr_streams--;
        g->is_stream = false;
    }
    xch_unref(g->call.xch);
}

static void send_error(struct gcall *g, const struct api_error *e) {
    struct header h[GRPC_STATUS_HEADERS];
    if (g->started) {
        size_t n = grpc_status_headers(g->call.arena, e, h);
        xch_end_trailers(g->call.xch, h, n);
    } else {
        grpc_error(g->call.xch, e);
    }
}

/* For errors of ours, with the handler not called, or not to be told. */
static void refuse(struct gcall *g, const struct err *err) {
    struct api_error e;
    if (g->closed) {
        return;
    }
    api_error_from(g->call.arena, err, &e);
    send_error(g, &e);
    close_call(g);
}

static void tell_cancelled(struct gcall *g) {
    if (g->running && !g->cancel_told && g->listener && g->listener->cancelled) {
        g->cancel_told = true;
        g->listener->cancelled(&g->call, g->arg); /* may end the call, and with it g */
    }
}

static void refuse_late(struct gcall *g) {
    struct err err;
    err_set(&err, ERR_DEADLINE_EXCEEDED, "The deadline given by grpc-timeout has passed.");
    refuse(g, &err);
}

/* A handler that listens waits for something on this thread. One that does not may have lent the
 * call's arena to a reader on another: nothing can be said until it is back. The client has a clock
 * of its own. */
static void on_deadline(struct timer *t) {
    struct gcall *g = CONTAINER_OF(t, struct gcall, deadline);
    g->timed = false;
    if (g->running && !(g->listener && g->listener->cancelled)) {
        g->late = true;
        return;
    }
    refuse_late(g);
    if (g->running) {
        tell_cancelled(g);
    } else {
        let_go(g); /* it was still reading; finishing dropped the sink */
    }
}

static void on_gone(struct xch *x, void *arg) {
    struct gcall *g = arg;
    close_call(g);
    xch_abort(x); /* nothing is sent: it only counts as finished */
    if (g->running) {
        tell_cancelled(g);
    } else {
        let_go(g);
    }
}

/* ---- struct call_ops */

static const struct header reply_headers[] = {
    {STR("content-type"), STR("application/grpc")},
    {STR("grpc-accept-encoding"), STR(GRPC_ACCEPT_ENCODING)},
};
static const struct header ok_trailers[] = {{STR("grpc-status"), STR("0")}};

static void start(struct gcall *g) {
    if (!g->started) {
        g->started = true;
        xch_start(g->call.xch, 200, reply_headers, NR_OF(reply_headers), -1);
    }
}

/* Room for the head of a frame, to be filled by frame_end. */
static void frame_begin(struct buf *b) {
    (void)buf_put(b, "\0\0\0\0", GRPC_FRAME_HEAD);
}

static void frame_end(struct buf *b) {
    size_t n = b->n - GRPC_FRAME_HEAD;
    b->p[1] = (char)(n >> 24);
    b->p[2] = (char)(n >> 16);
    b->p[3] = (char)(n >> 8);
    b->p[4] = (char)n;
}

static void answer(struct gcall *g, struct buf *frame) {
    frame_end(frame);
    start(g);
    (void)xch_write(g->call.xch, buf_str(frame));
    xch_end_trailers(g->call.xch, ok_trailers, NR_OF(ok_trailers));
    close_call(g);
}

static void too_large(struct gcall *g) {
    struct err err;
    err_set(&err, ERR_RESOURCE_EXHAUSTED, "Reply is larger than the limit (%u bytes).", REPLY_MAX);
    refuse(g, &err);
}

static int put_message(struct buf *b, const ProtobufCMessage *msg) {
    frame_begin(b);
    return pb_pack(msg, b);
}

/* What the client asked for, where that is not simply all of msg. NULL: no memory. */
static const ProtobufCMessage *as_asked(const struct call *c, const ProtobufCMessage *msg) {
    if (c->json.mask) {
        ProtobufCMessage *own = pb_clone(c->arena, msg);
        if (own) {
            pb_mask_apply(c->json.mask, own);
        }
        return own;
    }
    return msg;
}

static void op_reply(struct call *c, const ProtobufCMessage *msg) {
    struct gcall *g = gcall_of(c);
    auto_buf struct buf b = BUF_INIT(REPLY_MAX);
    const ProtobufCMessage *out = g->closed || g->late ? NULL : as_asked(c, msg);
    if (g->closed) {
        /* told already */
    } else if (g->late) {
        refuse_late(g);
    } else if (!out || put_message(&b, out)) {
        too_large(g);
    } else {
        answer(g, &b);
    }
    let_go(g);
}

static void op_reply_packed(struct call *c, const struct str *parts, size_t nr) {
    struct gcall *g = gcall_of(c);
    auto_buf struct buf b = BUF_INIT(REPLY_MAX);
    frame_begin(&b);
    for (size_t i = 0; i < nr; i++) {
        (void)buf_put_str(&b, parts[i]);
    }
    if (g->closed) {
        /* told already */
    } else if (g->late) {
        refuse_late(g);
    } else if (b.full) {
        too_large(g);
    } else {
        answer(g, &b);
    }
    let_go(g);
}

static void op_fail(struct call *c, const struct api_error *e) {
    struct gcall *g = gcall_of(c);
    if (g->late) {
        refuse_late(g);
    } else if (!g->closed) {
        send_error(g, e);
        close_call(g);
    }
    let_go(g);
}

static bool op_send(struct call *c, const ProtobufCMessage *msg) {
    struct gcall *g = gcall_of(c);
    auto_buf struct buf b = BUF_INIT(REPLY_MAX);
    if (g->closed) {
        return true;
    }
    if (put_message(&b, msg)) {
        too_large(g);
        return true;
    }
    frame_end(&b);
    start(g);
    return xch_write(c->xch, buf_str(&b));
}

static void op_end(struct call *c) {
    struct gcall *g = gcall_of(c);
    if (!g->closed) {
        start(g);
        xch_end_trailers(c->xch, ok_trailers, NR_OF(ok_trailers));
        close_call(g);
    }
    let_go(g);
}

static void on_drain(struct xch *x, void *arg) {
    struct gcall *g = arg;
    if (!g->closed && g->listener->drained) {
        g->listener->drained(&g->call, g->arg);
    }
}

/* What could not be told from within the handler's own call. */
static void on_told(struct timer *t) {
    struct gcall *g = CONTAINER_OF(t, struct gcall, told);
    if (g->closed) {
        if (g->running) {
            tell_cancelled(g);
        }
    } else if (g->in_ended && g->asked) {
        g->asked = false;
        g->listener->message(&g->call, g->arg, NULL);
    }
}

static void tell_soon(struct gcall *g) {
    struct clock *c = clock_of(g);
    c->ops->arm(c, &g->told, c->ops->mono(c));
}

static void op_listen(struct call *c, const struct call_listener *l, void *arg) {
    struct gcall *g = gcall_of(c);
    g->listener = l;
    g->arg = arg;
    xch_on_drain(c->xch, on_drain, g);
    if (g->closed) {
        tell_soon(g);
    }
}

static void op_next(struct call *c) {
    struct gcall *g = gcall_of(c);
    g->asked = true;
    if (g->in_ended) {
        tell_soon(g);
    } else if (!g->closed) {
        xch_grant(c->xch, grpc_in_wants(&g->in));
    }
}

static const struct call_ops grpc_call_ops = {
    .reply = op_reply,
    .fail = op_fail,
    .reply_packed = op_reply_packed,
    .send = op_send,
    .end = op_end,
    .listen = op_listen,
    .next = op_next,
};

/* ---- requests: one message */

static void handle(struct gcall *g) {
    g->running = true;
    if (!g->is_stream) {
        list_del(&g->link);
    }
    call_handler_find(g->call.rpc->id)(&g->call);
}

/* The call ends here, the handler not having seen it. */
static void refuse_unread(struct gcall *g, const struct err *err) {
    refuse(g, err);
    let_go(g);
}

static void on_data(struct xch *x, void *arg, struct str bytes) {
    struct gcall *g = arg;
    struct call *c = &g->call;
    struct str msg;
    struct err err;
    int rc = 0;
    (void)x;
    while (bytes.n && (rc = grpc_in_take(&g->in, &bytes, &msg, &err)) > 0) {
        if (g->has_message) {
            err_set(&err, ERR_UNIMPLEMENTED, "%s takes one request message; the client sent more.",
                    c->rpc->full);
            rc = -1;
        } else {
            g->has_message = true;
            rc = pb_unpack(c->arena, c->rpc->input, msg, &c->req, &err);
        }
        if (rc < 0) {
            break;
        }
    }
    if (rc < 0) {
        refuse_unread(g, &err);
    }
}

/* How a request's bytes ended: whole, broken (*err says how), or with the client: on_gone follows.
 */
enum ending { ENDED_WHOLE, ENDED_BROKEN, ENDED_GONE };
static enum ending ending_of(struct gcall *g, const struct err *why, struct err *err) {
    if (why) {
        *err = *why;
        return why->code == ERR_CANCELLED ? ENDED_GONE : ENDED_BROKEN;
    }
    return grpc_in_end(&g->in, err) ? ENDED_BROKEN : ENDED_WHOLE;
}

static void on_end(struct xch *x, void *arg, const struct err *why) {
    struct gcall *g = arg;
    struct err err;
    enum ending e = ending_of(g, why, &err);
    if (e == ENDED_WHOLE && !g->has_message) {
        err_set(&err, ERR_UNIMPLEMENTED, "%s takes one request message; the client sent none.",
                g->call.rpc->full);
        e = ENDED_BROKEN;
    }
    if (e == ENDED_BROKEN) {
        refuse_unread(g, &err);
    } else if (e == ENDED_WHOLE) {
        grpc_in_fini(&g->in);
        handle(g);
    }
}

static const struct body_sink one_message = {.data = on_data, .end = on_end};

/* ---- requests: a stream of messages, each when the handler asks */

/* The handler has it: it hears of the end as of a client that is gone. */
static void break_stream(struct gcall *g, const struct err *err) {
    refuse(g, err);
    tell_soon(g);
}

static void on_stream_data(struct xch *x, void *arg, struct str bytes) {
    struct gcall *g = arg;
    ProtobufCMessage *m;
    struct str msg;
    struct err err;
    int rc = grpc_in_take(&g->in, &bytes, &msg, &err);
    if (rc == 0) {
        xch_grant(x, grpc_in_wants(&g->in)); /* credit was exact: none is left */
        return;
    }
    if (!g->msg_arena) {
        g->msg_arena = arena_new(limits.max_message_bytes);
    }
    arena_clear(g->msg_arena);
    if (rc < 0 || pb_unpack(g->msg_arena, g->call.rpc->input, msg, &m, &err)) {
        break_stream(g, &err);
        return;
    }
    g->asked = false;
    g->listener->message(&g->call, g->arg, m);
}

static void on_stream_end(struct xch *x, void *arg, const struct err *why) {
    struct gcall *g = arg;
    struct err err;
    enum ending e = ending_of(g, why, &err);
    if (e == ENDED_BROKEN) {
        break_stream(g, &err);
    } else if (e == ENDED_WHOLE) {
        g->in_ended = true;
        if (g->asked) {
            g->asked = false;
            g->listener->message(&g->call, g->arg, NULL);
        }
    }
}

static const struct body_sink many_messages = {.data = on_stream_data, .end = on_stream_end};

static int open_stream(struct gcall *g) {
    struct api_error e;
    struct err err;
    if (g->grpc->nr_streams >= limits.max_grpc_streams) {
        limits_hit(&limits.max_grpc_streams);
        err_set(&err, ERR_RESOURCE_EXHAUSTED,
                "Too many streaming calls are open: the limit max_grpc_streams is %llu.",
                (unsigned long long)limits.max_grpc_streams);
        api_error_from(g->call.arena, &err, &e);
        api_error_add_retry(g->call.arena, &e, STREAM_RETRY);
        send_error(g, &e);
        close_call(g);
        let_go(g);
        return -1;
    }
    g->is_stream = true;
    list_push_tail(&g->grpc->streams, &g->link);
    g->grpc->nr_streams++;
    xch_body_may_pause(g->call.xch);
    return 0;
}

/* ---- request heads */

void grpc_error(struct xch *x, const struct api_error *e) {
    struct header h[2 + GRPC_STATUS_HEADERS] = {reply_headers[0]};
    size_t n = 1;
    if (e->code == ERR_UNIMPLEMENTED) { /* perhaps for its compression: what would do */
        h[n++] = reply_headers[1];
    }
    n += grpc_status_headers(xch_arena(x), e, h + n);
    xch_start(x, 200, h, n, -1);
    xch_end_trailers(x, NULL, 0);
}

static void fail_head(struct xch *x, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void fail_head(struct xch *x, enum err_code code, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
    struct api_error e = {.code = code, .message = str_n(text, len)};
    grpc_error(x, &e);
}

bool grpc_is_spoken(const struct xch *x) {
    static const struct str type = STR("application/grpc");
    struct str t = xch_header(x, "content-type");
    if (!str_starts(t, type)) {
        return false;
    }
    return t.n == type.n || t.p[type.n] == '+' || t.p[type.n] == ';';
}

/* Errors in HTTP's terms, for what cannot be a gRPC client. */
static void fail_http(struct xch *x, int status, enum err_code code, const char *text) {
    struct api_error e = {.code = code, .message = str_of(text)};
    rest_error(x, status, &e);
}

static bool is_grpc_path(struct str path) {
    return path.n > 1 && rpc_find(str_sub(path, 1, path.n)) != NULL;
}

static void unknown_method(struct xch *x, struct str path) {
    struct str rest = str_sub(path, 1, path.n), service = str_cut(&rest, '/');
    if (!service.n || !rest.n || str_chr(rest, '/') >= 0) {
        fail_head(x, ERR_UNIMPLEMENTED, "Malformed method name \"%.*s\": expected /SERVICE/METHOD",
                  (int)(path.n > 200 ? 200 : path.n), path.p);
        return;
    }
    for (size_t i = 0; i < rpc_table_n; i++) {
        struct str full = str_n(rpc_table[i].full, rpc_table[i].full_len);
        if (str_starts(full, service) && full.p[service.n] == '/') {
            fail_head(x, ERR_UNIMPLEMENTED, "unknown method %.*s for service %.*s",
                      (int)(rest.n > 200 ? 200 : rest.n), rest.p, STR_ARG(service));
            return;
        }
    }
    fail_head(x, ERR_UNIMPLEMENTED, "unknown service %.*s",
              (int)(service.n > 200 ? 200 : service.n), service.p);
}

/* False when the call was refused. */
static bool check_head(struct xch *x, usec_t *ret_deadline, enum grpc_encoding *ret_encoding) {
    struct str t = xch_header(x, "content-type"), te = xch_header(x, "te");
    struct str timeout = xch_header(x, "grpc-timeout"), enc = xch_header(x, "grpc-encoding");
    usec_t after;
    if (t.n > sizeof("application/grpc") - 1 && t.p[sizeof("application/grpc") - 1] == '+' &&
        !str_starts(t, STR("application/grpc+proto"))) {
        fail_head(x, ERR_UNIMPLEMENTED,
                  "Content type \"%.*s\" is not supported: messages are protobuf "
                  "(application/grpc or application/grpc+proto)",
                  (int)(t.n > 100 ? 100 : t.n), t.p);
        return false;
    }
    if (!str_ieq(te, STR("trailers"))) {
        fail_head(x, ERR_INTERNAL,
                  "The request has no \"te: trailers\": something between client and server drops "
                  "trailers, and the status of a gRPC call is in them.");
        return false;
    }
    *ret_deadline = USEC_NEVER;
    if (timeout.p) {
        if (!grpc_timeout_parse(timeout, &after)) {
            fail_head(x, ERR_INTERNAL,
                      "Malformed grpc-timeout \"%.*s\": expected up to eight digits and one of H "
                      "M S m u n",
                      (int)(timeout.n > 40 ? 40 : timeout.n), timeout.p);
            return false;
        }
        *ret_deadline = xch_started_at(x) + after;
    }
    *ret_encoding = GRPC_IDENTITY;
    if (enc.p && !grpc_encoding_find(enc, ret_encoding)) {
        fail_head(x, ERR_UNIMPLEMENTED,
                  "Compression \"%.*s\" is not supported; supported are " GRPC_ACCEPT_ENCODING,
                  (int)(enc.n > 40 ? 40 : enc.n), enc.p);
        return false;
    }
    return true;
}

/* False when it is over already. */
static bool arm_deadline(struct gcall *g) {
    struct clock *c = clock_of(g);
    if (g->call.deadline == USEC_NEVER) {
        return true;
    }
    if (g->call.deadline <= c->ops->mono(c)) {
        refuse_late(g);
        let_go(g);
        return false;
    }
    g->deadline.fn = on_deadline;
    g->timed = true;
    c->ops->arm(c, &g->deadline, g->call.deadline);
    return true;
}

static void begin(struct grpc *gr, struct xch *x, const struct rpc_method *rpc) {
    struct gcall *g = arena_own(xch_arena(x), sizeof(*g));
    enum grpc_encoding encoding;
    usec_t deadline;
    if (!check_head(x, &deadline, &encoding)) {
        return;
    }
    g->grpc = gr;
    list_init(&g->link);
    g->told.fn = on_told; /* unary calls that wait listen, too */
    g->call = (struct call){
        .ops = &grpc_call_ops,
        .api = gr->api,
        .xch = xch_ref(x),
        .arena = xch_arena(x),
        .rpc = rpc,
        .body = STR(""),
        .json = {.version = rpc->is_beta ? PB_V1BETA1 : PB_V1},
        .deadline = deadline,
    };
    grpc_in_init(&g->in, encoding, "max_grpc_message", &limits.max_grpc_message);
    if (!arm_deadline(g)) {
        return;
    }
    if ((rpc->client_streams || rpc->server_streams) && open_stream(g)) {
        return;
    }
    if (!g->is_stream) {
        list_push_tail(&gr->reading, &g->link);
    }
    xch_on_gone(x, on_gone, g);
    if (rpc->client_streams) {
        xch_read_body(x, UINT64_MAX, &many_messages, g);
        handle(g);
    } else {
        /* A second message is refused by name, not by running out of credit. */
        xch_read_body(x, UINT64_MAX, &one_message, g);
        xch_grant(x, UINT64_MAX);
    }
}

bool grpc_handle(struct grpc *gr, struct xch *x) {
    const struct xch_head *h = xch_head(x);
    if (!grpc_is_spoken(x)) {
        if (str_eqc(h->method, "POST") && is_grpc_path(h->path)) {
            fail_http(x, 415, ERR_INVALID_ARGUMENT,
                      "This is a gRPC method: it takes content-type application/grpc over HTTP/2.");
            return true;
        }
        return false;
    }
    if (!xch_is_h2(x)) {
        fail_http(x, 415, ERR_INVALID_ARGUMENT,
                  "gRPC needs HTTP/2 (by ALPN \"h2\" or by prior knowledge); this is HTTP/1.1.");
    } else if (!str_eqc(h->method, "POST")) {
        fail_http(x, 405, ERR_INVALID_ARGUMENT, "gRPC methods are called by POST.");
    } else if (gr->retired) {
        fail_head(x, ERR_UNAVAILABLE, "The server is shutting down.");
    } else {
        const struct rpc_method *rpc = rpc_find(str_sub(h->path, 1, h->path.n));
        if (!rpc) {
            unknown_method(x, h->path);
        } else if (!call_handler_find(rpc->id)) {
            struct err err;
            (void)unbuilt_error(rpc, &err);
            fail_head(x, err.code, "%s", err.msg);
        } else {
            begin(gr, x, rpc);
        }
    }
    return true;
}

/* ---- the server's end */

struct grpc *grpc_new(struct api *a) {
    struct grpc *g = xcalloc(1, sizeof(*g));
    g->api = a;
    list_init(&g->streams);
    list_init(&g->reading);
    return g;
}

void grpc_free(struct grpc *g) {
    if (g) {
        CHECK(list_is_empty(&g->streams) && list_is_empty(&g->reading));
        free(g);
    }
}

size_t grpc_nr_streams(const struct grpc *g) {
    return g->nr_streams;
}

void grpc_retire(struct grpc *gr) {
    struct gcall *g, *next;
    struct err err;
    gr->retired = true;
    err_set(&err, ERR_UNAVAILABLE, "The server is shutting down.");
    list_each_safe (g, next, &gr->streams, link) {
        if (!g->closed && g->running && g->listener && g->listener->closing) {
            g->listener->closing(&g->call, g->arg);
        }
        if (g->closed) {
            continue; /* the codec still holds it, or the handler does */
        }
        refuse(g, &err);
        if (g->running) {
            tell_soon(g);
        } else {
            let_go(g);
        }
    }
    list_each_safe (g, next, &gr->reading, link) {
        refuse_unread(g, &err);
    }
}
