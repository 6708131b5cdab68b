/* WebSocket: the handshake is given, the input is what the client sends from then on, in pieces.
 * Whatever it is, the end is told exactly once and nothing leaks. Input: byte 0 how pieces are cut,
 * byte 1 what the handler does with messages, the rest frames. */
#include "base/limits.h"
#include "base/log.h"
#include "net/net_int.h"
#include "net/ws.h"

#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static uint8_t temper;
static unsigned accepted, ended;

static void on_message(struct ws *w, void *arg, bool text, struct str bytes) {
    CHECK(ended == 0 && bytes.n <= limits.max_ws_message && (!text || str_is_utf8(bytes)));
    if (temper % 3 == 0) {
        (void)ws_send(w, text, bytes);
    } else if (temper % 3 == 1) {
        ws_close(w, WS_NORMAL, "enough");
    }
}

static void on_closed(struct ws *w, void *arg, int code) {
    CHECK(++ended == 1 && code >= 1000 && code < 5000);
}

static void handle(struct xch *x, void *arg) {
    static const struct ws_ops ops = {.message = on_message, .closed = on_closed};
    accepted += ws_accept(x, &ops, NULL) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char hello[] =
        "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    char back[65536];
    int pair[2];
    if (size < 2 || size > 50000) {
        return 0;
    }
    if (!loop) {
        loop = loop_new();
        log_init(LOG_ERROR + 1, false);
        limits.max_ws_message = 3000;
        limits.max_write_queue = 10000;
    }
    size_t piece = data[0] ? data[0] : SIZE_MAX;
    temper = data[1];
    accepted = ended = 0;
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
        ssize_t got = recv(pair[1], back, sizeof(back), 0);
        if (got == 0 || (r < 0 && got < 0)) {
            break;
        }
    }
    close(pair[1]);
    while (s->stats.connections_open > 0) {
        uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    }
    uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    CHECK(ended == accepted && s->stats.exchanges_open == 0);
    net_free(s);
    uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    return 0;
}
