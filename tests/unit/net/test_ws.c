/* WebSocket: frames written by hand against a handler that echoes, close codes, limits. */
#include "harness.h"

#include "net/ws.h"

static struct ws *ws;
static int closed_code;
static unsigned closed, messages, drained;
static bool mute;

static void on_message(struct ws *w, void *arg, bool text, struct str bytes) {
    messages++;
    assert_ptr_equal(w, ws);
    if (!mute) {
        (void)ws_send(w, text, bytes);
    }
}

static void on_closed(struct ws *w, void *arg, int code) {
    closed++;
    closed_code = code;
    ws = NULL;
}

static void on_drain(struct ws *w, void *arg) {
    drained++;
}

static void handle_ws(struct xch *x, void *arg) {
    static const struct ws_ops ops = {
        .message = on_message, .closed = on_closed, .drain = on_drain};
    hx.requests++;
    if (ws_is_asked(x)) {
        ws = ws_accept(x, &ops, NULL);
    } else {
        xch_reply(x, 200, NULL, 0, STR("plain"));
    }
}

#define ASK                                                                                        \
    "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"     \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

static void expect_switch(void) {
    until(str_find(buf_str(&hx.rx), STR("\r\n\r\n")) > 0);
    size_t n = (size_t)str_find(buf_str(&hx.rx), STR("\r\n\r\n")) + 4;
    assert_true(str_starts(buf_str(&hx.rx), STR("HTTP/1.1 101 Switching Protocols\r\n")));
    /* the example of RFC 6455 1.3 */
    assert_true(str_find(buf_str(&hx.rx),
                         STR("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")) > 0);
    buf_consume(&hx.rx, n);
}

static void fresh(void) {
    ws = NULL;
    closed = messages = drained = 0;
    closed_code = 0;
    mute = false;
}

static void open_ws(void) {
    fresh();
    send_text(ASK);
    expect_switch();
}

static void begin(void) {
    start(handle_ws);
    open_ws();
}

/* ---- frames */

static void put_frame(struct buf *b, unsigned first, const void *payload, size_t n, bool masked) {
    static const unsigned char mask[4] = {0x11, 0xfe, 0x00, 0x7f};
    unsigned char head[10] = {(unsigned char)first};
    size_t at = 2;
    if (n < 126) {
        head[1] = (unsigned char)n;
    } else if (n < 65536) {
        head[1] = 126;
        head[2] = (unsigned char)(n >> 8);
        head[3] = (unsigned char)n;
        at = 4;
    } else {
        head[1] = 127;
        for (unsigned i = 0; i < 8; i++) {
            head[2 + i] = (unsigned char)((uint64_t)n >> (56 - 8 * i));
        }
        at = 10;
    }
    head[1] = (unsigned char)(head[1] | (masked ? 0x80 : 0));
    buf_put(b, head, at);
    if (masked) {
        buf_put(b, mask, 4);
    }
    for (size_t i = 0; i < n; i++) {
        buf_putc(b, (char)(((const unsigned char *)payload)[i] ^ (masked ? mask[i % 4] : 0)));
    }
}

static void send_frame(unsigned first, const void *payload, size_t n) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    put_frame(&b, first, payload, n, true);
    send_bytes(b.p, b.n);
}

struct frame {
    unsigned first;
    size_t n, total;
    const char *payload;
};

static bool frame_is_there(struct frame *f) {
    const unsigned char *p = (const unsigned char *)hx.rx.p;
    size_t at = 2;
    if (hx.rx.n < 2) {
        return false;
    }
    f->first = p[0];
    f->n = p[1];
    assert_true(f->n < 128); /* a server does not mask */
    if (f->n == 126) {
        if (hx.rx.n < 4) {
            return false;
        }
        f->n = (size_t)p[2] << 8 | p[3];
        at = 4;
    } else if (f->n == 127) {
        if (hx.rx.n < 10) {
            return false;
        }
        f->n = 0;
        for (unsigned i = 0; i < 8; i++) {
            f->n = f->n << 8 | p[2 + i];
        }
        at = 10;
    }
    f->total = at + f->n;
    f->payload = hx.rx.p + at;
    return hx.rx.n >= f->total;
}

static void expect_frame(unsigned first, const void *payload, size_t n) {
    struct frame f;
    until(frame_is_there(&f) || (assert_false(hx.eof), false));
    assert_int_equal(f.first, first);
    assert_int_equal(f.n, n);
    if (n) {
        assert_memory_equal(f.payload, payload, n);
    }
    buf_consume(&hx.rx, f.total);
}

/* A close frame with this code (0: without), then the end. */
static void expect_close(int code) {
    struct frame f;
    until(frame_is_there(&f) || (assert_false(hx.eof), false));
    assert_int_equal(f.first, 0x88);
    if (code == 0) {
        assert_int_equal(f.n, 0);
    } else {
        assert_true(f.n >= 2);
        assert_int_equal((unsigned char)f.payload[0] << 8 | (unsigned char)f.payload[1], code);
    }
    buf_consume(&hx.rx, f.total);
    expect_end();
    assert_int_equal(closed, 1);
    assert_null(ws);
}

/* ---- tests */

static void test_echo_of_every_length_form(void **state) {
    static const size_t sizes[] = {0, 1, 125, 126, 127, 65535, 65536, 300000};
    char *p = xmalloc(300000);
    memset(p, 'x', 300000);
    begin();
    for (size_t i = 0; i < NR_OF(sizes); i++) {
        send_frame(0x81, p, sizes[i]);
        expect_frame(0x81, p, sizes[i]);
        send_frame(0x82, p, sizes[i]);
        expect_frame(0x82, p, sizes[i]);
    }
    free(p);
    send_frame(0x88, "\x03\xe8", 2);
    expect_close(1000);
    assert_int_equal(closed_code, 1000);
    finish();
}

static void test_first_frame_with_the_handshake(void **state) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    start(handle_ws);
    fresh();
    buf_puts(&b, ASK);
    put_frame(&b, 0x81, "hi", 2, true);
    send_bytes(b.p, b.n);
    expect_switch();
    expect_frame(0x81, "hi", 2);
    finish();
    assert_int_equal(closed_code, WS_GONE);
}

static void test_fragments_and_control_between(void **state) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    begin();
    send_frame(0x01, "Hel", 3);
    send_frame(0x89, "ping", 4);
    send_frame(0x8a, "nobody asked", 12);
    send_frame(0x00, "", 0);
    send_frame(0x80, "lo", 2);
    expect_frame(0x8a, "ping", 4);
    expect_frame(0x81, "Hello", 5);
    /* a byte at a time, a character cut by the fragment */
    put_frame(&b, 0x01, "\xc3", 1, true);
    put_frame(&b, 0x80, "\xa9", 1, true);
    for (size_t i = 0; i < b.n; i++) {
        send_bytes(b.p + i, 1);
        poll_once();
    }
    expect_frame(0x81, "\xc3\xa9", 2);
    finish();
}

static void test_broken_frames_and_their_codes(void **state) {
    static const struct {
        const char *bytes; /* of one or two frames: first, payload */
        size_t n;
        unsigned first;
        int code;
    } cases[] = {
        {"x", 1, 0xc1, 1002}, /* RSV1 */
        {"x", 1, 0xa1, 1002}, /* RSV2 */
        {"x", 1, 0x91, 1002}, /* RSV3 */
        {"x", 1, 0x83, 1002}, /* reserved opcodes */
        {"x", 1, 0x8b, 1002},
        {"x", 1, 0x09, 1002}, /* a control frame in fragments */
        {"x", 1, 0x80, 1002}, /* continues nothing */
        {"x", 1, 0x00, 1002},
        {"\xff\xfe", 2, 0x81, 1007},         /* not UTF-8 */
        {"\xed\xa0\x80", 3, 0x81, 1007},     /* a surrogate */
        {"\xc0\xaf", 2, 0x81, 1007},         /* overlong */
        {"\xf4\x90\x80\x80", 4, 0x81, 1007}, /* past the end of Unicode */
        {"\xc3", 1, 0x81, 1007},             /* ends in the middle */
        {"\x03", 1, 0x88, 1002},             /* half a code */
        {"\x00\x00", 2, 0x88, 1002},         /* codes that may not be sent */
        {"\x03\xe7", 2, 0x88, 1002},
        {"\x03\xec", 2, 0x88, 1002},
        {"\x03\xed", 2, 0x88, 1002},
        {"\x03\xee", 2, 0x88, 1002},
        {"\x03\xf8", 2, 0x88, 1002},
        {"\x0b\xb7", 2, 0x88, 1002},
        {"\x03\xe8\xff", 3, 0x88, 1007}, /* the reason is not UTF-8 */
        {"", 0, 0x88, 0},                /* all right: no code */
        {"\x03\xe8", 2, 0x88, 1000},
        {"\x03\xe9"
         "bye",
         5, 0x88, 1001},
        {"\x0b\xb8", 2, 0x88, 3000},
        {"\x13\x87", 2, 0x88, 4999},
    };
    start(handle_ws);
    for (size_t i = 0; i < NR_OF(cases); i++) {
        if (i > 0) {
            reconnect();
        }
        open_ws();
        send_frame(cases[i].first, cases[i].bytes, cases[i].n);
        expect_close(cases[i].code);
        assert_int_equal(messages, 0);
    }
    finish();
}

static void test_broken_sequences(void **state) {
    static const char long_ping[126];
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    start(handle_ws);
    open_ws();
    put_frame(&b, 0x81, "x", 1, false); /* not masked */
    send_bytes(b.p, b.n);
    expect_close(1002);
    reconnect();
    open_ws();
    send_frame(0x01, "x", 1);
    send_frame(0x81, "y", 1); /* a message inside a message */
    expect_close(1002);
    reconnect();
    open_ws();
    buf_clear(&b);
    put_frame(&b, 0x89, long_ping, sizeof(long_ping), true); /* a control frame longer than 125 */
    send_bytes(b.p, b.n);
    expect_close(1002);
    reconnect();
    open_ws();
    send_bytes("\x82\x7e\x00\x05\x01\x02\x03\x04hello",
               13); /* a length in a longer form than needed */
    expect_close(1002);
    reconnect();
    open_ws();
    send_bytes("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04", 14); /* 2^64-1 */
    expect_close(1002);
    finish();
}

static void test_limits(void **state) {
    char *p = xcalloc(1, 3000);
    start(handle_ws);
    limits.max_ws_message = 2000;
    open_ws();
    send_frame(0x82, p, 2000);
    expect_frame(0x82, p, 2000);
    send_frame(0x82, p, 2001);
    expect_close(1009);
    reconnect();
    open_ws();
    send_frame(0x02, p, 1500); /* and in pieces */
    send_frame(0x80, p, 501);
    expect_close(1009);
    reconnect();
    open_ws();
    send_frame(0x02, p, 1);
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    for (unsigned i = 0; i < 1100; i++) {
        put_frame(&b, 0x00, p, 1, true);
    }
    send_bytes(b.p, b.n);
    expect_close(1008);
    assert_int_equal(messages, 0);
    free(p);
    finish();
}

/* Pings that are answered and whose answers nobody reads: the server stops reading. */
static void test_ping_flood(void **state) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    start(handle_ws);
    limits.max_write_queue = 65536;
    open_ws();
    struct conn *c = list_first(&hx.server->conns, struct conn, link);
    static const char payload[125];
    put_frame(&b, 0x89, payload, sizeof(payload), true);
    size_t taken = 0;
    for (unsigned idle = 0; idle < 20;) {
        ssize_t r = send(hx.fd, b.p, b.n, MSG_DONTWAIT | MSG_NOSIGNAL);
        idle = r == (ssize_t)b.n ? 0 : idle + 1;
        taken += r > 0 ? (size_t)r : 0;
        poll_once();
        assert_true(transport_queued(&c->t) < 4 * 65536);
        assert_true(taken < 16u << 20);
        if (r > 0 && r < (ssize_t)b.n) {
            break; /* cut in the middle: the socket is full */
        }
    }
    assert_non_null(ws);
    finish();
    assert_int_equal(closed_code, WS_GONE);
}

static void test_slow_reader(void **state) {
    static const char piece[65536];
    begin();
    size_t sent = 0;
    while (ws_send(ws, false, str_n(piece, sizeof(piece)))) {
        sent++;
        poll_once();
        assert_true(sent < 100);
    }
    sent++;
    until(drained == 1);
    for (size_t i = 0; i < sent; i++) {
        expect_frame(0x82, piece, sizeof(piece));
    }
    finish();
}

static void test_we_close(void **state) {
    begin();
    ws_close(ws, WS_NORMAL, "done");
    assert_int_equal(closed, 0); /* never from within */
    assert_true(ws_send(ws, true, STR("late")));
    ws_close(ws, WS_INTERNAL, "twice");
    expect_frame(0x88,
                 "\x03\xe8"
                 "done",
                 6);
    send_frame(0x81, "on the way", 10); /* crosses ours: nobody's */
    send_frame(0x88, "\x03\xe8", 2);
    expect_end();
    assert_int_equal(messages, 0);
    assert_int_equal(closed, 1);
    assert_int_equal(closed_code, 1000);
    finish();
}

static void test_the_peer_vanishes(void **state) {
    begin();
    client_close();
    watch();
    while (!closed) {
        loop_turn(hx.loop);
    }
    assert_int_equal(closed_code, WS_GONE);
    finish();
}

static void test_silence_is_asked_then_ended(void **state) {
    start(handle_ws);
    limits.ws_ping_ms = 10;
    open_ws();
    expect_frame(0x89, "", 0);
    send_frame(0x8a, "", 0);
    expect_frame(0x89, "", 0);
    until(hx.eof); /* no answer */
    assert_int_equal(closed, 1);
    assert_int_equal(closed_code, WS_GONE);
    finish();
}

static void test_shutdown_says_going_away(void **state) {
    begin();
    net_shutdown(hx.server, 10 * USEC_PER_SEC, on_stopped, NULL);
    struct frame f;
    until(frame_is_there(&f));
    assert_int_equal(f.first, 0x88);
    assert_memory_equal(f.payload, "\x03\xe9", 2);
    send_frame(0x88, "\x03\xe9", 2);
    until(hx.stopped || (client_close(), false));
    net_free(hx.server);
    loop_free(hx.loop);
    buf_fini(&hx.rx);
    buf_fini(&hx.body);
    assert_int_equal(closed, 1);
}

static void test_handshakes_refused(void **state) {
    static const struct {
        int status;
        const char *request;
    } cases[] = {
        {426, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Version: 13\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive\r\n"
              "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"},
        {400, "GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
              "Content-Length: 2\r\n\r\nhi"},
        {200, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"},
    };
    start(handle_ws);
    for (size_t i = 0; i < NR_OF(cases); i++) {
        if (i > 0) {
            reconnect();
        }
        fresh();
        send_text(cases[i].request);
        struct reply r = get_reply(false);
        assert_int_equal(r.status, cases[i].status);
        assert_null(ws);
        if (r.status == 426) {
            assert_non_null(strstr(r.head, "Sec-Websocket-Version: 13"));
        }
    }
    finish();
}

/* A client that did not wait: what it sent is HTTP still, frames are not, and a request is one. */
static void test_bytes_behind_a_refused_handshake(void **state) {
    static const char bad[] = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
                              "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Key: c2hvcnQ=\r\n\r\n";
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    start(handle_ws);
    fresh();
    buf_puts(&b, bad);
    buf_puts(&b, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    buf_puts(&b, bad);
    put_frame(&b, 0x81, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, true);
    send_bytes(b.p, b.n);
    expect_status(400);
    expect_body("plain");
    expect_status(400);
    expect_status(400); /* the frame: no request line */
    expect_end();
    assert_int_equal(hx.requests, 3);
    assert_int_equal(messages, 0);
    finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_of_every_length_form),
        cmocka_unit_test(test_first_frame_with_the_handshake),
        cmocka_unit_test(test_fragments_and_control_between),
        cmocka_unit_test(test_broken_frames_and_their_codes),
        cmocka_unit_test(test_broken_sequences),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_ping_flood),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_we_close),
        cmocka_unit_test(test_the_peer_vanishes),
        cmocka_unit_test(test_silence_is_asked_then_ended),
        cmocka_unit_test(test_shutdown_says_going_away),
        cmocka_unit_test(test_handshakes_refused),
        cmocka_unit_test(test_bytes_behind_a_refused_handshake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
