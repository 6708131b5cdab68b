/* The whole codec: a real connection on a socket pair is fed arbitrary bytes in arbitrary pieces
 * while handlers of every temper answer. Nothing may leak, nobody may be told twice, and whatever
 * comes back is HTTP (or the two foreign refusals). Input: byte 0 how pieces are cut, byte 1 the
 * handlers' temper, the rest is the client's. */
#include "base/limits.h"
#include "base/log.h"
#include "net/conn.h"
#include "net/net_int.h"

#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum temper { COLLECT, TRICKLE, IGNORE, LATER, STREAM, DROP, ABORT, LATE_READ, TEMPER_NR };

struct request {
    struct xch *x;
    unsigned ended, gone;
    bool finished;
};

static struct loop *loop;
static uint8_t temper;
static struct request requests[4096];
static size_t nr_requests;

static void finish(struct request *r, int status, struct str body) {
    r->finished = true;
    xch_reply(r->x, status, NULL, 0, body);
}

static void on_gone(struct xch *x, void *arg) {
    struct request *r = arg;
    CHECK(++r->gone == 1 && !r->finished);
}

static void on_data(struct xch *x, void *arg, struct str bytes) {
    struct request *r = arg;
    CHECK(!r->finished && !r->ended && bytes.n > 0 && bytes.n <= 3);
    xch_grant(x, bytes.n);
}

static void on_end(struct xch *x, void *arg, const struct err *err) {
    struct request *r = arg;
    CHECK(++r->ended == 1 && !r->finished);
    finish(r, err ? 400 : 200, STR("trickled"));
}

static void on_collected(struct xch *x, void *arg, struct str body, const struct err *err) {
    struct request *r = arg;
    CHECK(++r->ended == 1 && !r->finished);
    finish(r, err ? 413 : 200, err ? str_of(err->msg) : body);
}

static void trickle(struct request *r) {
    static const struct body_sink sink = {.data = on_data, .end = on_end};
    xch_read_body(r->x, 50, &sink, r);
    xch_grant(r->x, 3);
}

static void handle(struct xch *x, void *arg) {
    struct request *r = &requests[nr_requests++ % NR_OF(requests)];
    const struct xch_head *h = xch_head(x);
    CHECK(h->path.n > 0 && h->path.p[0] == '/' && h->method.n > 0);
    *r = (struct request){.x = x};
    xch_on_gone(x, on_gone, r);
    switch ((enum temper)((temper + nr_requests) % TEMPER_NR)) {
    case COLLECT:
        xch_collect_body(x, 50, on_collected, r);
        break;
    case TRICKLE:
        trickle(r);
        break;
    case IGNORE:
        finish(r, 200, h->path);
        break;
    case STREAM:
        xch_start(x, 200, NULL, 0, -1);
        xch_write(x, h->path);
        r->finished = true;
        xch_end(x);
        break;
    case DROP:
        r->finished = true;
        xch_ref(x);
        xch_unref(x);
        break;
    case ABORT:
        r->finished = true;
        xch_abort(x);
        break;
    case LATER:
    case LATE_READ:
    case TEMPER_NR:
        break; /* by answer_late */
    }
}

static void answer_late(void) {
    for (size_t i = 0; i < nr_requests && i < NR_OF(requests); i++) {
        struct request *r = &requests[i];
        if (r->finished || r->ended) {
            continue;
        }
        enum temper t = (enum temper)((temper + i + 1) % TEMPER_NR);
        if (t == LATER) {
            finish(r, 200, STR("late"));
        } else if (t == LATE_READ) {
            /* only once: a sink that was set is not set again */
            if (r->gone) {
                finish(r, 200, STR("nobody"));
            } else if (!r->x->sink_set) {
                trickle(r);
            }
        } else if (r->gone) {
            finish(r, 200, STR("nobody"));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int pair[2];
    char back[65536];
    size_t nr_back = 0;
    ssize_t r;
    if (size < 2 || size > 100000) {
        return 0;
    }
    if (!loop) {
        loop = loop_new();
        log_init(LOG_ERROR + 1, false);
        limits.max_header_bytes = 2000;
        limits.max_header_line = 500;
        limits.max_header_count = 20;
        limits.max_chunk_ext = 20;
        limits.max_pipelined = 3;
    }
    size_t piece = data[0] ? data[0] : SIZE_MAX;
    temper = data[1];
    nr_requests = 0;
    struct net_config cfg = {.handler = handle};
    struct net_server *s = net_new(loop, &cfg);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    CHECK(net_adopt(s, pair[0], "fuzz") == 0);
    for (size_t at = 2; at < size;) {
        size_t n = size - at < piece ? size - at : piece;
        r = send(pair[1], data + at, n, MSG_NOSIGNAL);
        if (r > 0) {
            at += (size_t)r;
        }
        uv_run(loop_uv(loop), UV_RUN_NOWAIT);
        answer_late();
        uv_run(loop_uv(loop), UV_RUN_NOWAIT);
        ssize_t got = recv(pair[1], back + nr_back, sizeof(back) - nr_back, 0);
        nr_back += got > 0 ? (size_t)got : 0;
        if (got == 0 || (r < 0 && got < 0)) {
            break; /* ended by the server, or stuck for want of credit */
        }
    }
    if (nr_back > 9) {
        CHECK(memcmp(back, "HTTP/1.1 ", 9) == 0 || back[0] == 0x15 || back[0] == 0);
    }
    close(pair[1]);
    while (s->stats.connections_open > 0) {
        uv_run(loop_uv(loop), UV_RUN_NOWAIT);
        answer_late();
    }
    answer_late();
    uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    answer_late();
    CHECK(s->stats.exchanges_open == 0);
    net_free(s);
    uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    return 0;
}
