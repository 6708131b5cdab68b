/* The HTTP/2 codec: preface and SETTINGS are given, then the input is the client's frames, in
 * pieces. Nothing may leak, nobody may be told twice. Input: byte 0 how pieces are cut, byte 1 what
 * handlers do, the rest frames. */
#include "base/limits.h"
#include "base/log.h"
#include "net/net_int.h"

#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct request {
    struct xch *x;
    unsigned ended, gone;
    bool finished;
};

static struct loop *loop;
static uint8_t temper;
static struct request requests[8192];
static size_t nr_requests;

static void finish(struct request *r, struct str body) {
    static const struct header trailer = {STR("x-t"), STR("v")};
    CHECK(!r->finished);
    r->finished = true;
    xch_start(r->x, 200, NULL, 0, -1);
    xch_write(r->x, body);
    xch_end_trailers(r->x, &trailer, 1);
}

static void on_gone(struct xch *x, void *arg) {
    struct request *r = arg;
    CHECK(++r->gone == 1 && !r->finished);
}

static void on_data(struct xch *x, void *arg, struct str bytes) {
    struct request *r = arg;
    CHECK(!r->ended && bytes.n > 0 && bytes.n <= 3);
    xch_grant(x, bytes.n);
}

static void on_end(struct xch *x, void *arg, const struct err *err) {
    struct request *r = arg;
    CHECK(++r->ended == 1);
    finish(r, STR("ended"));
}

static void handle(struct xch *x, void *arg) {
    static const struct body_sink sink = {.data = on_data, .end = on_end};
    CHECK(nr_requests < NR_OF(requests) && xch_head(x)->path.p[0] == '/');
    struct request *r = &requests[nr_requests++];
    *r = (struct request){.x = x};
    xch_on_gone(x, on_gone, r);
    switch ((temper + nr_requests) % 4) {
    case 0:
        xch_read_body(x, 50, &sink, r);
        xch_grant(x, 3);
        break;
    case 1:
        finish(r, xch_head(x)->path);
        break;
    case 2:
        r->finished = true;
        xch_abort(x);
        break;
    default: /* answered late, or gone before */
        break;
    }
}

static void answer_late(bool all) {
    for (size_t i = 0; i < nr_requests; i++) {
        if (!requests[i].finished && (all || requests[i].gone)) {
            finish(&requests[i], STR("late"));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    char back[65536];
    int pair[2];
    if (size < 2 || size > 50000) {
        return 0;
    }
    if (!loop) {
        loop = loop_new();
        log_init(LOG_ERROR + 1, false);
        limits.max_header_bytes = 2000;
        limits.max_header_line = 500;
        limits.max_h2_streams = 5;
        limits.max_h2_resets = 20;
    }
    size_t piece = data[0] ? data[0] : SIZE_MAX;
    temper = data[1];
    nr_requests = 0;
    struct net_config cfg = {.handler = handle};
    struct net_server *s = net_new(loop, &cfg);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    CHECK(net_adopt(s, pair[0], "fuzz") == 0);
    CHECK(send(pair[1], hello, sizeof(hello) - 1, MSG_NOSIGNAL) == sizeof(hello) - 1);
    for (size_t at = 2; at < size;) {
        size_t n = size - at < piece ? size - at : piece;
        ssize_t r = send(pair[1], data + at, n, MSG_NOSIGNAL);
        at += r > 0 ? (size_t)r : 0;
        uv_run(loop_uv(loop), UV_RUN_NOWAIT);
        answer_late(at % 2);
        uv_run(loop_uv(loop), UV_RUN_NOWAIT);
        ssize_t got = recv(pair[1], back, sizeof(back), 0);
        if (got == 0 || (r < 0 && got < 0)) {
            break;
        }
    }
    close(pair[1]);
    while (s->stats.connections_open > 0) {
        uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    }
    answer_late(true);
    uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    CHECK(s->stats.exchanges_open == 0);
    net_free(s);
    uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    return 0;
}
