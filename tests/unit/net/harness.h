/* A real server on one end of a socket pair, a scripted client on the other, one thread: the client
 * sends bytes, the loop turns until what the client waits for is there. A watchdog makes a wait
 * that never ends a failure. Included by the tests of net; defines static functions only. */
#ifndef CUSP_TESTS_NET_HARNESS_H
#define CUSP_TESTS_NET_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/limits.h"
#include "net/conn.h"
#include "net/net_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define WATCHDOG (10 * USEC_PER_SEC)

struct harness {
    struct loop *loop;
    struct net_server *server;
    int fd;        /* the client's end; -1 closed */
    struct buf rx; /* received and not yet expected */
    bool eof, reset;
    struct timer watchdog;
    bool stopped;

    /* what handlers saw */
    struct xch *x; /* of the last request */
    unsigned requests, gone, ends, drains;
    struct err end_err;
    struct buf body;   /* what sinks got */
    uint64_t received; /* bytes the sink got */
};

static struct harness hx;

static void watchdog_fired(struct timer *t) {
    fprintf(stderr, "watchdog: the client waits in vain; received so far: %.*s\n", (int)hx.rx.n,
            hx.rx.p ? hx.rx.p : "");
    abort();
}

static void watch(void) {
    struct clock *c = loop_clock(hx.loop);
    c->ops->arm(c, &hx.watchdog, c->ops->mono(c) + WATCHDOG);
}

/* A new connection to the server; returns the client's end. */
static int connect_client(void) {
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    if (net_adopt(hx.server, pair[0], "test:1")) {
        /* turned away: the client can still read why */
    }
    return pair[1];
}

static void start(void (*handler)(struct xch *, void *arg)) {
    static const struct limits fresh = {
#define X(name, def, what) .name = (def),
        LIMITS(X)
#undef X
    };
    limits = fresh;
    memset(&hx, 0, sizeof(hx));
    hx.rx = BUF_INIT(BUF_NO_MAX);
    hx.body = BUF_INIT(BUF_NO_MAX);
    hx.loop = loop_new();
    struct net_config cfg = {.handler = handler};
    hx.server = net_new(hx.loop, &cfg);
    hx.watchdog.fn = watchdog_fired;
    hx.fd = connect_client();
}

static void client_close(void) {
    mem_auto_close(&hx.fd);
    hx.fd = -1;
}

static void reconnect(void) {
    client_close();
    hx.fd = connect_client();
    buf_clear(&hx.rx);
    hx.eof = hx.reset = false;
}

static void on_stopped(void *arg) {
    hx.stopped = true;
}

/* Ends everything; nothing may be left of any exchange or connection. */
static void finish(void) {
    struct net_stats st;
    client_close();
    watch();
    net_shutdown(hx.server, 0, on_stopped, NULL);
    while (!hx.stopped) {
        loop_turn(hx.loop);
    }
    net_get_stats(hx.server, &st);
    assert_int_equal(st.connections_open, 0);
    assert_int_equal(st.exchanges_open, 0);
    net_free(hx.server);
    loop_free(hx.loop);
    buf_fini(&hx.rx);
    buf_fini(&hx.body);
}

static void receive(void) {
    char piece[65536];
    while (!hx.eof) {
        ssize_t r = recv(hx.fd, piece, sizeof(piece), MSG_DONTWAIT);
        if (r < 0 && errno == ECONNRESET) {
            hx.eof = hx.reset = true;
        } else if (r < 0) {
            return;
        } else if (r == 0) {
            hx.eof = true;
        } else {
            buf_put(&hx.rx, piece, (size_t)r);
        }
    }
}

/* Turns the loop until cond holds; cond may use hx. */
#define until(cond)                                                                                \
    do {                                                                                           \
        watch();                                                                                   \
        while (receive(), !(cond)) {                                                               \
            loop_turn(hx.loop);                                                                    \
        }                                                                                          \
    } while (0)

/* Handles what is ready, without waiting. */
static void poll_once(void) {
    uv_run(loop_uv(hx.loop), UV_RUN_NOWAIT);
}

static void send_bytes(const char *p, size_t n) {
    watch();
    while (n > 0) {
        ssize_t r = send(hx.fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (r < 0) {
            assert_true(errno == EAGAIN);
            loop_turn(hx.loop);
            continue;
        }
        p += r;
        n -= (size_t)r;
    }
}

static void send_text(const char *s) {
    send_bytes(s, strlen(s));
}

/* As many bytes as the socket takes without the server reading. */
static size_t send_what_fits(size_t most) {
    static const char piece[4096];
    size_t n = 0;
    while (n < most) {
        size_t want = most - n < sizeof(piece) ? most - n : sizeof(piece);
        ssize_t r = send(hx.fd, piece, want, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (r < 0) {
            break;
        }
        n += (size_t)r;
    }
    return n;
}

struct reply {
    int status;
    char head[2048];
    char body[4096];
    size_t body_n, total; /* total: bytes of rx this reply took */
};

static bool reply_is_there(struct reply *r, bool no_body) {
    struct str rx = buf_str(&hx.rx);
    ptrdiff_t end = str_find(rx, STR("\r\n\r\n"));
    uint64_t n = 0;
    if (end < 0) {
        return false;
    }
    memset(r, 0, sizeof(*r));
    assert_true((size_t)end < sizeof(r->head));
    memcpy(r->head, rx.p, (size_t)end);
    assert_int_equal(strncmp(r->head, "HTTP/1.1 ", 9), 0);
    assert_true(str_to_u64(str_n(r->head + 9, 3), &n));
    r->status = (int)n;
    r->total = (size_t)end + 4;
    struct str rest = str_sub(rx, r->total, rx.n);
    const char *cl = strstr(r->head, "content-length: ");
    if (no_body || r->status == 204 || r->status == 304 || r->status < 200) {
        return true;
    }
    if (cl) {
        struct str v = str_of(cl + 16);
        v = str_cut(&v, '\r');
        assert_true(str_to_u64(v, &n));
        if (rest.n < n) {
            return false;
        }
        r->body_n = n;
        r->total += n;
    } else if (strstr(r->head, "transfer-encoding: chunked")) {
        ptrdiff_t last = str_find(rest, STR("0\r\n\r\n"));
        if (last < 0) {
            return false;
        }
        r->body_n = (size_t)last + 5;
        r->total += r->body_n;
    } else {
        if (!hx.eof) {
            return false;
        }
        r->body_n = rest.n;
        r->total += rest.n;
    }
    size_t copy = r->body_n < sizeof(r->body) - 1 ? r->body_n : sizeof(r->body) - 1;
    memcpy(r->body, rest.p, copy);
    return true;
}

/* The next reply; chunked bodies are shown as sent. */
static struct reply get_reply(bool no_body) {
    struct reply r;
    until(reply_is_there(&r, no_body) || (assert_false(hx.eof), false));
    buf_consume(&hx.rx, r.total);
    return r;
}

static void expect_status(int status) {
    struct reply r = get_reply(false);
    assert_int_equal(r.status, status);
}

static void expect_body(const char *body) {
    struct reply r = get_reply(false);
    assert_int_equal(r.status, 200);
    assert_string_equal(r.body, body);
}

/* Nothing more comes and the server closes. */
static void expect_end(void) {
    until(hx.eof);
    assert_int_equal(hx.rx.n, 0);
}

/* ---- handlers */

static void note_gone(struct xch *x, void *arg) {
    hx.gone++;
}

static void note_data(struct xch *x, void *arg, struct str bytes) {
    hx.received += bytes.n;
    buf_put_str(&hx.body, bytes);
}

static void note_end(struct xch *x, void *arg, const struct err *err) {
    hx.ends++;
    hx.end_err = err ? *err : (struct err){.code = ERR_OK};
}

/* Remembers the exchange; the test finishes it. */
static void handle_later(struct xch *x, void *arg) {
    hx.requests++;
    hx.x = x;
    xch_on_gone(x, note_gone, NULL);
}

static void echo_body(struct xch *x, void *arg, struct str body, const struct err *err) {
    hx.ends++;
    if (err) {
        hx.end_err = *err;
        int status = err->code == ERR_RESOURCE_EXHAUSTED  ? 413
                     : err->code == ERR_DEADLINE_EXCEEDED ? 408
                                                          : 400;
        xch_reply(x, status, NULL, 0, str_of(err->msg));
    } else {
        xch_reply(x, 200, NULL, 0, body);
    }
}

/* Replies with the path, or with the body when there is one. */
static void handle_echo(struct xch *x, void *arg) {
    hx.requests++;
    hx.x = x;
    if (xch_head(x)->has_body) {
        xch_collect_body(x, limits.max_api_body, echo_body, NULL);
    } else {
        xch_reply(x, 200, NULL, 0, xch_head(x)->path);
    }
}

#endif
