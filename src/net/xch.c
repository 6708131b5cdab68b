/* The protocol-neutral exchange: references, the body sink with its credit, the reply's order. What
 * goes over the wire is the codec's. Every callback into the handler is made from here. */
#include "net/xch_int.h"

#include "base/limits.h"
#include "base/log.h"
#include "net/net_int.h"

#include <fcntl.h>
#include <unistd.h>

#define SPARE_MAX 256       /* exchanges kept for reuse */
#define COLLECT_SMALL 65536 /* bodies up to this come into the arena in one piece */

static void release(struct xch *x) {
    if (x->refs || x->pins || x->held) {
        return;
    }
    struct net_server *s = x->server;
    x->magic = 0;
    buf_fini(&x->collect);
    s->stats.exchanges_open--;
    if (s->nr_spare < SPARE_MAX) {
        arena_clear(x->arena);
        list_push_head(&s->spare, &x->link);
        s->nr_spare++;
    } else {
        xch_free_spare(x);
    }
    net_unref(s);
}

void xch_free_spare(struct xch *x) {
    arena_free(x->arena);
    free(x);
}

struct xch *xch_new(struct net_server *s, const struct codec_ops *codec, void *stream) {
    struct xch *x;
    struct arena *a;
    if (s->nr_spare) {
        x = list_first(&s->spare, struct xch, link);
        list_del(&x->link);
        s->nr_spare--;
        a = x->arena;
    } else {
        x = xmalloc(sizeof(*x));
        a = arena_new(limits.max_message_bytes);
    }
    memset(x, 0, sizeof(*x));
    x->magic = XCH_MAGIC;
    x->held = true;
    x->codec = codec;
    x->stream = stream;
    x->server = s;
    x->arena = a;
    x->id = s->next_id++;
    x->started_at = s->clock->ops->mono(s->clock);
    buf_init(&x->collect, 0);
    list_init(&x->notify_link);
    list_init(&x->link);
    s->refs++;
    s->stats.exchanges_open++;
    s->stats.exchanges_total++;
    return x;
}

void xch_dispatch_to(struct xch *x, void (*handler)(struct xch *, void *arg), void *arg) {
    x->body_done = !x->head.has_body;
    x->pins++;
    handler(x, arg);
    x->pins--;
    release(x);
}

void xch_dispatch(struct xch *x) {
    xch_dispatch_to(x, x->server->handler, x->server->arg);
}

/* ---- for the handler: looking */

const struct xch_head *xch_head(const struct xch *x) {
    return &x->head;
}

struct str xch_header(const struct xch *x, const char *lower_name) {
    struct str name = str_of(lower_name);
    for (size_t i = 0; i < x->head.headers.n; i++) {
        if (str_eq(x->head.headers.p[i].name, name)) {
            return x->head.headers.p[i].value;
        }
    }
    return (struct str){NULL, 0};
}

struct arena *xch_arena(struct xch *x) {
    return x->arena;
}

uint64_t xch_door(const struct xch *x) {
    return x->door;
}

uint64_t xch_id(const struct xch *x) {
    return x->id;
}

usec_t xch_started_at(const struct xch *x) {
    return x->started_at;
}

bool xch_is_h2(const struct xch *x) {
    return strcmp(x->codec->name, "h2") == 0;
}

bool xch_is_gone(const struct xch *x) {
    return x->gone;
}

void xch_on_gone(struct xch *x, void (*fn)(struct xch *, void *arg), void *arg) {
    x->gone_fn = fn;
    x->gone_arg = arg;
}

struct xch *xch_ref(struct xch *x) {
    CHECK(x->magic == XCH_MAGIC);
    x->refs++;
    return x;
}

void xch_unref(struct xch *x) {
    CHECK(x->magic == XCH_MAGIC && x->refs > 0);
    if (--x->refs == 0 && !x->finished) {
        log_error("bug: exchange dropped unfinished", "request=%llu method=%.*s path=%.*s",
                  (unsigned long long)x->id, STR_ARG(x->head.method), STR_ARG(x->head.path));
        if (x->started) {
            xch_abort(x);
        } else {
            static const struct header type = {STR("content-type"),
                                               STR("application/json; charset=UTF-8")};
            xch_reply(x, 500, &type, 1,
                      STR("{\n  \"error\": {\n    \"code\": 500,\n    \"message\": \"Internal "
                          "error encountered.\",\n    \"status\": \"INTERNAL\"\n  }\n}\n"));
        }
        return; /* finishing released it if nobody else holds it */
    }
    release(x);
}

/* ---- request body */

static void owe(struct xch *x) {
    struct net_server *s = x->server;
    if (list_is_empty(&x->notify_link)) {
        x->pins++;
        list_push_tail(&s->notify, &x->notify_link);
        loop_post(s->loop, &s->work);
    }
}

/* Remembers an error to be told by xch_notify. */
static void owe_err(struct xch *x, const struct err *err) {
    x->body_err = arena_memdup(x->arena, err, sizeof(*err));
    if (!x->body_err) { /* the handler filled the arena */
        static const struct err full = {.code = ERR_RESOURCE_EXHAUSTED,
                                        .msg = "request memory exhausted (max_message_bytes)"};
        x->body_err = (struct err *)&full;
    }
    owe(x);
}

static void end_sink(struct xch *x, const struct err *err) {
    if (x->finished || !x->sink_set || x->sink_ended) {
        return;
    }
    x->sink_ended = true;
    x->pins++;
    if (x->sink.end) {
        x->sink.end(x, x->sink_arg, err);
    }
    x->pins--;
    release(x);
}

void xch_notify(struct xch *x) {
    if (x->body_err) {
        end_sink(x, x->body_err);
    } else if (x->body_done) {
        end_sink(x, NULL);
    }
    x->pins--; /* owe() */
    release(x);
}

/* The caller gave a number; the client and the metrics deserve the name of the limit it came from.
 */
static void over_limit(struct xch *x, struct err *err) {
    static const struct {
        const char *name;
        const uint64_t *value;
    } known[] = {
        {"max_api_body", &limits.max_api_body},
        {"max_object_metadata", &limits.max_object_metadata},
        {"max_object_bytes", &limits.max_object_bytes},
        {"image_max_upload", &limits.image_max_upload},
    };
    for (size_t i = 0; i < NR_OF(known); i++) {
        if (x->max_body == *known[i].value) {
            limits_hit(known[i].value);
            err_set(err, ERR_RESOURCE_EXHAUSTED, "Request body exceeds the limit %s (%llu bytes).",
                    known[i].name, (unsigned long long)x->max_body);
            return;
        }
    }
    err_set(err, ERR_RESOURCE_EXHAUSTED, "Request body exceeds the limit of %llu bytes.",
            (unsigned long long)x->max_body);
}

void xch_read_body(struct xch *x, uint64_t max_bytes, const struct body_sink *sink, void *arg) {
    struct err err;
    CHECK(!x->sink_set);
    if (x->finished) {
        log_error("bug: body asked for after the reply", "request=%llu", (unsigned long long)x->id);
        return;
    }
    x->sink = *sink;
    x->sink_arg = arg;
    x->sink_set = true;
    x->max_body = max_bytes;
    if (x->gone) {
        err_set(&err, ERR_CANCELLED, "The client went away.");
        owe_err(x, &err);
    } else if (x->head.content_length > 0 && (uint64_t)x->head.content_length > max_bytes) {
        over_limit(x, &err);
        owe_err(x, &err);
    } else if (x->body_done) {
        owe(x);
    }
}

void xch_grant(struct xch *x, uint64_t bytes) {
    if (x->finished || x->gone || x->body_done || x->sink_ended || x->body_err || bytes == 0) {
        return;
    }
    CHECK(x->sink_set);
    if (__builtin_add_overflow(x->credit, bytes, &x->credit)) {
        x->credit = UINT64_MAX;
    }
    x->codec->grant(x);
}

void xch_reply_is_endless(struct xch *x) {
    x->endless = true;
}

void xch_body_may_pause(struct xch *x) {
    x->may_pause = true;
}

void xch_deliver(struct xch *x, struct str bytes) {
    struct err err;
    x->credit -= bytes.n < x->credit ? bytes.n : x->credit;
    x->received += bytes.n;
    if (xch_body_unwanted(x) || !x->sink_set) {
        return;
    }
    if (x->received > x->max_body) {
        over_limit(x, &err);
        end_sink(x, &err);
        return;
    }
    if (x->sink.data) {
        x->sink.data(x, x->sink_arg, bytes); /* the codec holds x */
    }
}

void xch_body_end(struct xch *x, const struct err *err) {
    x->body_done = err == NULL;
    end_sink(x, err);
}

static void collect_data(struct xch *x, void *arg, struct str bytes) {
    (void)arg;
    if (x->collect_room) {
        memcpy(x->collect_room + x->received - bytes.n, bytes.p, bytes.n);
    } else {
        (void)buf_put_str(&x->collect, bytes); /* max is max_body, which xch_deliver enforces */
    }
}

static void collect_end(struct xch *x, void *arg, const struct err *err) {
    (void)arg;
    struct str body = x->collect_room ? str_n(x->collect_room, x->received)
                                      : str_n(buf_cstr(&x->collect), x->collect.n);
    x->collect_fn(x, x->collect_arg, err ? (struct str){NULL, 0} : body, err);
}

void xch_collect_body(struct xch *x, uint64_t max_bytes,
                      void (*fn)(struct xch *, void *arg, struct str body, const struct err *err),
                      void *arg) {
    static const struct body_sink sink = {.data = collect_data, .end = collect_end};
    int64_t n = x->head.content_length;
    x->collect_fn = fn;
    x->collect_arg = arg;
    if (n > 0 && n <= COLLECT_SMALL && (uint64_t)n <= max_bytes) {
        x->collect_room = arena_alloc(x->arena, (size_t)n + 1);
    }
    buf_init(&x->collect, max_bytes < BUF_NO_MAX ? (size_t)max_bytes : BUF_NO_MAX);
    xch_read_body(x, max_bytes, &sink, NULL);
    /* One byte past the limit, so that a chunked body over it is noticed. */
    xch_grant(x, max_bytes < UINT64_MAX ? max_bytes + 1 : max_bytes);
}

/* ---- reply */

static bool may_reply(struct xch *x, bool needs_start, const char *what) {
    CHECK(x->magic == XCH_MAGIC);
    if (x->finished || x->started != needs_start) {
        log_error("bug: reply functions out of order",
                  "request=%llu call=%s finished=%d started=%d", (unsigned long long)x->id, what,
                  x->finished, x->started);
        return false;
    }
    return true;
}

static void finish(struct xch *x) {
    x->finished = true;
    if (x->server->finished && !x->within) {
        x->server->finished(x, x->status, x->server->arg);
    }
    if (x->gone) {
        x->held = false;
        release(x);
    }
}

void xch_reply(struct xch *x, int status, const struct header *h, size_t nr_h, struct str body) {
    if (!may_reply(x, false, "xch_reply")) {
        return;
    }
    x->started = true;
    x->status = status;
    if (!x->gone) {
        struct headers hs = {(struct header *)h, nr_h};
        x->one_shot = true;
        x->codec->send_head(x, status, &hs, (int64_t)body.n);
        x->codec->send_body(x, &body, 1, false);
    }
    finish(x);
}

void xch_start(struct xch *x, int status, const struct header *h, size_t nr_h, int64_t length) {
    if (!may_reply(x, false, "xch_start")) {
        return;
    }
    x->started = true;
    x->status = status;
    if (!x->gone) {
        struct headers hs = {(struct header *)h, nr_h};
        x->codec->send_head(x, status, &hs, length);
    }
}

bool xch_write(struct xch *x, struct str bytes) {
    if (!may_reply(x, true, "xch_write") || x->gone || bytes.n == 0) {
        return true;
    }
    bool ok = x->codec->send_body(x, &bytes, 1, true);
    x->paused = x->paused || !ok;
    return ok;
}

size_t xch_feed(struct xch *x, struct str bytes) {
    size_t taken;
    if (!x->gone && !x->finished && x->codec->push && x->codec->push(x, bytes, &taken)) {
        x->paused = taken < bytes.n;
        return taken;
    }
    (void)xch_write(x, bytes);
    return bytes.n;
}

void xch_on_drain(struct xch *x, void (*fn)(struct xch *, void *arg), void *arg) {
    x->drain_fn = fn;
    x->drain_arg = arg;
}

void xch_send_file(struct xch *x, int fd, uint64_t offset, uint64_t len) {
    if (!may_reply(x, true, "xch_send_file")) {
        return;
    }
    if (!x->gone && cold_send(x, fd, offset, len)) {
        return;
    }
    if (!x->gone) {
        int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (own >= 0) {
            x->codec->send_file(x, own, offset, len);
        } else {
            log_error("file not sent: no descriptor", "request=%llu", (unsigned long long)x->id);
            x->codec->reset(x, RESET_ABORT);
        }
    }
    finish(x);
}

void xch_warm_file(struct xch *x) {
    struct str peer = x->head.peer;
    x->warm_file = str_starts(peer, STR("127.")) || str_starts(peer, STR("[::1]"));
}

void xch_end(struct xch *x) {
    if (!may_reply(x, true, "xch_end")) {
        return;
    }
    if (!x->gone) {
        x->codec->send_body(x, NULL, 0, false);
    }
    finish(x);
}

void xch_end_trailers(struct xch *x, const struct header *h, size_t nr_h) {
    if (!may_reply(x, true, "xch_end_trailers")) {
        return;
    }
    if (!x->gone) {
        struct headers hs = {(struct header *)h, nr_h};
        x->codec->send_trailers(x, &hs);
    }
    finish(x);
}

bool xch_upgrade(struct xch *x, const struct header *h, size_t nr_h) {
    struct headers hs = {(struct header *)h, nr_h};
    if (!may_reply(x, false, "xch_upgrade") || x->gone || !x->codec->upgrade || x->head.has_body ||
        !x->codec->upgrade(x, &hs)) {
        return false;
    }
    x->started = true;
    x->status = 101;
    x->body_done = false; /* the body is what comes from now on */
    return true;
}

void xch_abort(struct xch *x) {
    CHECK(x->magic == XCH_MAGIC);
    if (x->finished) {
        return;
    }
    if (!x->gone) {
        x->codec->reset(x, RESET_ABORT);
    }
    finish(x);
}

/* ---- for the codec: ends */

void xch_drained(struct xch *x) {
    if (x->paused && !x->finished) {
        x->paused = false;
        if (x->drain_fn) {
            x->drain_fn(x, x->drain_arg);
        }
    }
}

void xch_served(struct xch *x) {
    CHECK(x->finished);
    x->stream = NULL;
    x->gone = true; /* nothing reaches the peer through x any more */
    x->held = false;
    release(x);
}

void xch_lost(struct xch *x) {
    struct err err;
    x->gone = true;
    x->stream = NULL;
    x->pins++;
    if (!x->finished && x->sink_set && !x->body_done) {
        err_set(&err, ERR_CANCELLED, "The client went away.");
        end_sink(x, &err);
    }
    if (!x->finished && x->gone_fn) {
        x->gone_fn(x, x->gone_arg);
    }
    if (x->finished) {
        x->held = false;
    }
    x->pins--;
    release(x);
}
