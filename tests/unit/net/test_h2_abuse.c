/* HTTP/2 clients that break the rules or lean on them, as frames written by hand: what each gets,
 * that it costs bounded memory, and that nobody is told twice. */
#include "harness.h"

#define HEADERS 1
#define DATA 0
#define PRIORITY 2
#define RST_STREAM 3
#define SETTINGS 4
#define PUSH_PROMISE 5
#define PING 6
#define GOAWAY 7
#define WINDOW_UPDATE 8
#define CONTINUATION 9
#define END_STREAM 1
#define END_HEADERS 4
#define PADDED 8

enum {
    NO_ERROR,
    PROTOCOL_ERROR,
    INTERNAL_ERROR,
    FLOW_CONTROL_ERROR,
    SETTINGS_TIMEOUT,
    STREAM_CLOSED,
    FRAME_SIZE_ERROR,
    REFUSED_STREAM,
    CANCEL,
    COMPRESSION_ERROR,
    CONNECT_ERROR,
    ENHANCE_YOUR_CALM
};

/* :method GET, :scheme http, :path /, :authority a, all from the static table but the last */
#define GET_HEAD                                                                                   \
    "\x82\x86\x84\x41\x01"                                                                         \
    "a"
#define POST_HEAD                                                                                  \
    "\x83\x86\x84\x41\x01"                                                                         \
    "a"

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static void put_frame(struct buf *b, unsigned type, unsigned flags, uint32_t id, const void *p,
                      size_t n) {
    const unsigned char h[9] = {
        (unsigned char)(n >> 16),  (unsigned char)(n >> 8),  (unsigned char)n,
        (unsigned char)type,       (unsigned char)flags,     (unsigned char)(id >> 24),
        (unsigned char)(id >> 16), (unsigned char)(id >> 8), (unsigned char)id};
    buf_put(b, h, sizeof(h));
    buf_put(b, p, n);
}

static void frame(unsigned type, unsigned flags, uint32_t id, const void *p, size_t n) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    put_frame(&b, type, flags, id, p, n);
    send_bytes(b.p, b.n);
}

#define FRAME(type, flags, id, text) frame(type, flags, id, text, sizeof(text) - 1)

static void get(uint32_t id) {
    FRAME(HEADERS, END_HEADERS | END_STREAM, id, GET_HEAD);
}

static void begin(void (*handler)(struct xch *x, void *arg)) {
    start(handler);
    send_bytes(preface, sizeof(preface) - 1);
    FRAME(SETTINGS, 0, 0, "");
}

/* ---- what came back */

struct seen {
    bool goaway;
    uint32_t goaway_code;
    uint32_t reset_code, reset_id; /* of the last RST_STREAM */
    unsigned resets, data_frames, heads, ended;
    size_t data;
};

static uint32_t u32(const char *p) {
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

/* Whole frames in hx.rx, summed up; they stay there. */
static struct seen look(void) {
    struct seen s = {0};
    for (size_t at = 0; at + 9 <= hx.rx.n;) {
        const char *p = hx.rx.p + at;
        size_t n = u32(p) >> 8;
        unsigned type = (unsigned char)p[3], flags = (unsigned char)p[4];
        if (at + 9 + n > hx.rx.n) {
            break;
        }
        if (type == GOAWAY) {
            s.goaway = true;
            s.goaway_code = u32(p + 13);
        } else if (type == RST_STREAM) {
            s.resets++;
            s.reset_id = u32(p + 5);
            s.reset_code = u32(p + 9);
        } else if (type == DATA) {
            s.data_frames++;
            s.data += n;
        } else if (type == HEADERS) {
            s.heads++;
        }
        s.ended += (type == DATA || type == HEADERS) && (flags & END_STREAM);
        at += 9 + n;
    }
    return s;
}

/* GOAWAY with this code and the end of the connection. */
static void expect_goaway(uint32_t code) {
    until(hx.eof);
    assert_true(look().goaway);
    assert_int_equal(look().goaway_code, code);
}

static void expect_reset(uint32_t id, uint32_t code) {
    until(look().resets == 1 || (assert_false(hx.eof), false));
    assert_int_equal(look().reset_id, id);
    assert_int_equal(look().reset_code, code);
}

/* It still serves. */
static void expect_served(uint32_t id) {
    unsigned heads = look().heads;
    get(id);
    until(look().heads == heads + 1 || (assert_false(hx.eof), false));
}

/* The server took no notice so far; it may close, or go on, but holds little. */
static void flood(const struct buf *b, unsigned times) {
    for (unsigned i = 0; i < times; i++) {
        ssize_t r = send(hx.fd, b->p, b->n, MSG_DONTWAIT | MSG_NOSIGNAL);
        poll_once();
        if (r >= 0 && r < (ssize_t)b->n) {
            return; /* it does not read any more */
        }
        if (r < 0 && errno != EAGAIN) {
            return; /* it has closed */
        }
    }
}

/* ---- tests */

static void test_rules_of_frames(void **state) {
    static const struct {
        unsigned type, flags;
        uint32_t id;
        const char *p;
        size_t n;
        uint32_t code;
    } cases[] = {
        {DATA, 0, 0, "x", 1, PROTOCOL_ERROR}, /* on no stream */
        {DATA, 0, 1, "x", 1, PROTOCOL_ERROR}, /* on one that is not open */
        {HEADERS, 5, 0, GET_HEAD, 6, PROTOCOL_ERROR},
        {HEADERS, 5, 2, GET_HEAD, 6, PROTOCOL_ERROR},         /* even */
        {HEADERS, 13, 1, "\x07" GET_HEAD, 7, PROTOCOL_ERROR}, /* nothing but padding */
        {HEADERS, 13, 1, "\xff" GET_HEAD, 7, PROTOCOL_ERROR}, /* more of it than there is */
        {HEADERS, 5, 1, "\xff\xff\xff\xff\x0f", 5, COMPRESSION_ERROR}, /* no such index */
        {HEADERS, 5, 1, "\x3f\xe1\xff\x3f", 4, COMPRESSION_ERROR},     /* table larger than ours */
        {HEADERS, 5, 1, "\x40\x7f\xff\xff\xff\xff\xff\xff\x7f", 9, COMPRESSION_ERROR},
        {PRIORITY, 0, 0, "\0\0\0\0\1", 5, PROTOCOL_ERROR},
        {RST_STREAM, 0, 0, "\0\0\0\0", 4, PROTOCOL_ERROR},
        {RST_STREAM, 0, 1, "\0\0\0\0", 4, PROTOCOL_ERROR}, /* of a stream that is idle */
        {RST_STREAM, 0, 1, "\0\0\0", 3, FRAME_SIZE_ERROR},
        {SETTINGS, 0, 1, "", 0, PROTOCOL_ERROR},
        {SETTINGS, 0, 0, "\0\2\0\0", 4, FRAME_SIZE_ERROR},
        {SETTINGS, 1, 0, "\0\2\0\0\0\0", 6, FRAME_SIZE_ERROR},     /* an ACK that says something */
        {SETTINGS, 0, 0, "\0\2\0\0\0\2", 6, PROTOCOL_ERROR},       /* ENABLE_PUSH 2 */
        {SETTINGS, 0, 0, "\0\4\x80\0\0\0", 6, FLOW_CONTROL_ERROR}, /* INITIAL_WINDOW_SIZE 2^31 */
        {SETTINGS, 0, 0, "\0\5\0\0\0\1", 6, PROTOCOL_ERROR},       /* MAX_FRAME_SIZE 1 */
        {PUSH_PROMISE, 4, 1, "\0\0\0\2" GET_HEAD, 10, PROTOCOL_ERROR},
        {PING, 0, 1, "12345678", 8, PROTOCOL_ERROR},
        {PING, 0, 0, "1234567", 7, FRAME_SIZE_ERROR},
        {GOAWAY, 0, 1, "\0\0\0\0\0\0\0\0", 8, PROTOCOL_ERROR},
        {WINDOW_UPDATE, 0, 0, "\0\0\0\0", 4, PROTOCOL_ERROR},
        {WINDOW_UPDATE, 0, 0, "\0\0\0", 3, FRAME_SIZE_ERROR},
        {WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", 4, FLOW_CONTROL_ERROR},
        {WINDOW_UPDATE, 0, 1, "\0\0\0\1", 4, PROTOCOL_ERROR}, /* of a stream that is idle */
        {CONTINUATION, 4, 1, GET_HEAD, 6, PROTOCOL_ERROR},    /* of nothing */
    };
    start(handle_echo);
    for (size_t i = 0; i < NR_OF(cases); i++) {
        if (i > 0) {
            reconnect();
        }
        send_bytes(preface, sizeof(preface) - 1);
        FRAME(SETTINGS, 0, 0, "");
        frame(cases[i].type, cases[i].flags, cases[i].id, cases[i].p, cases[i].n);
        until(hx.eof || look().resets || look().heads);
        struct seen s = look();
        if (!s.goaway || s.goaway_code != cases[i].code || hx.requests) {
            fail_msg("case %zu: goaway=%d code=%u requests=%u", i, s.goaway, s.goaway_code,
                     hx.requests);
        }
    }
    finish();
}

static void test_frames_out_of_order(void **state) {
    static char big[16385];
    start(handle_echo);
    send_bytes(preface, sizeof(preface) - 1);
    get(1); /* before SETTINGS */
    expect_goaway(PROTOCOL_ERROR);
    reconnect();
    send_bytes(preface, sizeof(preface) - 1);
    FRAME(SETTINGS, 0, 0, "");
    frame(DATA, 0, 1, big, sizeof(big)); /* larger than we take */
    expect_goaway(FRAME_SIZE_ERROR);
    reconnect();
    send_bytes(preface, sizeof(preface) - 1);
    FRAME(SETTINGS, 0, 0, "");
    FRAME(HEADERS, END_STREAM, 1, GET_HEAD);
    FRAME(PING, 0, 0, "12345678"); /* in the middle of a head */
    expect_goaway(PROTOCOL_ERROR);
    reconnect();
    send_bytes(preface, sizeof(preface) - 1);
    FRAME(SETTINGS, 0, 0, "");
    expect_served(5);
    get(3); /* backwards: nghttp2 takes it for a closed one and lets it be */
    expect_served(7);
    assert_int_equal(hx.requests, 2);
    reconnect();
    send_bytes(preface, sizeof(preface) - 1);
    FRAME(SETTINGS, 0, 0, "");
    frame(0x77, 0xff, 9, "whatever", 8); /* an unknown kind is nobody's business */
    expect_served(1);
    finish();
}

static void test_malformed_heads_reset_their_stream(void **state) {
    static const struct {
        const char *p;
        size_t n;
    } cases[] = {
        {"\x82\x86\x41\x01"
         "a",
         5}, /* no :path */
        {"\x82\x82\x86\x84\x41\x01"
         "a",
         7}, /* two methods */
        {"\x82\x86\x84\x41\x01"
         "a\x84",
         7}, /* two paths */
        {"\x82\x86\x84\x41\x01"
         "a\x40\x01X\x01"
         "1",
         11}, /* upper case */
        {"\x82\x86\x84\x40\x01x\x01"
         "1\x41\x01"
         "a",
         11}, /* pseudo header late */
        {"\x82\x86\x84\x41\x01"
         "a\x40\x0a"
         "connection\x05"
         "close",
         24},
        {"\x82\x86\x84\x41\x01"
         "a\x40\x02te\x04gzip",
         15},
        {"\x82\x86\x84\x41\x01"
         "a\x40\x07:status\x03"
         "200",
         19}, /* a reply's */
        {"\x82\x86\x84\x41\x01"
         "a\x40\x01x\x03"
         "a\rb",
         13}, /* CR in a value */
        {"\x82\x86\x84\x41\x01"
         "a\x40\x01x\x03"
         "a\0b",
         13},
        {"\x82\x86\x84\x41\x01"
         "a\x5c\x01"
         "1\x5c\x01"
         "1",
         12}, /* two lengths */
        {"\x82\x86\x84\x41\x01"
         "a\x5c\x02"
         "+1",
         10}, /* not a number */
        {"\x82\x86\x84\x41\x01"
         "a\x5c\x01"
         "5",
         9}, /* body ends too early */
    };
    begin(handle_echo);
    for (size_t i = 0; i < NR_OF(cases); i++) {
        uint32_t id = (uint32_t)(2 * i + 1);
        buf_clear(&hx.rx);
        frame(HEADERS, END_HEADERS | END_STREAM, id, cases[i].p, cases[i].n);
        until(look().resets == 1 || look().heads || hx.eof);
        struct seen s = look();
        if (s.resets != 1 || s.reset_id != id || s.reset_code != PROTOCOL_ERROR || hx.requests) {
            fail_msg("case %zu: resets=%u code=%u heads=%u goaway=%d eof=%d requests=%u", i,
                     s.resets, s.reset_code, s.heads, s.goaway, hx.eof, hx.requests);
        }
    }
    buf_clear(&hx.rx);
    expect_served(101);
    finish();
}

/* CVE-2024-28182 and its kind: a head that never ends. */
static void test_continuation_flood(void **state) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    begin(handle_echo);
    FRAME(HEADERS, END_STREAM, 1, GET_HEAD);
    put_frame(&b, CONTINUATION, 0, 1, "\x40\x01x\x01y", 5);
    for (unsigned i = 0; i < 40; i++) {
        send_bytes(b.p, b.n);
    }
    expect_goaway(ENHANCE_YOUR_CALM);
    assert_int_equal(hx.requests, 0);
    reconnect();
    send_bytes(preface, sizeof(preface) - 1);
    FRAME(SETTINGS, 0, 0, "");
    FRAME(HEADERS, END_STREAM, 1, GET_HEAD);
    buf_clear(&b);
    put_frame(&b, CONTINUATION, 0, 1, "", 0); /* without even a byte */
    flood(&b, 1000);
    until(hx.eof);
    assert_int_equal(hx.requests, 0);
    finish();
}

/* One entry of the table, referred to again and again: 4 KB a byte. */
static void test_hpack_bomb(void **state) {
    static char value[4000], again[12000];
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    begin(handle_echo);
    memset(value, 'v', sizeof(value));
    buf_put(&b, GET_HEAD, 6);
    buf_put(&b, "\x40\x01x\x7f\xa1\x1e", 6); /* length 127 + 33 + 30 * 128 = 4000 */
    buf_put(&b, value, sizeof(value));
    memset(again, 0xbe, sizeof(again)); /* the newest entry of the dynamic table */
    buf_put(&b, again, sizeof(again));
    assert_true(b.n <= 16384);
    struct conn *c = list_first(&hx.server->conns, struct conn, link);
    frame(HEADERS, END_HEADERS | END_STREAM, 1, b.p, b.n);
    until(look().heads || look().goaway || look().resets);
    assert_int_equal(hx.requests, 0);
    assert_true(c->in.cap <= NET_READ_HEAD * 2);
    if (!hx.eof && !look().goaway) {
        buf_clear(&hx.rx);
        expect_served(3); /* the table is still in step */
    }
    finish();
}

static void test_window_updates_of_a_stream(void **state) {
    begin(handle_later);
    get(1);
    until(hx.requests == 1);
    struct xch *x = hx.x;
    FRAME(WINDOW_UPDATE, 0, 1, "\x7f\xff\xff\xff");
    expect_reset(1, FLOW_CONTROL_ERROR);
    assert_int_equal(hx.gone, 1);
    xch_abort(x);
    buf_clear(&hx.rx);
    get(3);
    until(hx.requests == 2);
    FRAME(WINDOW_UPDATE, 0, 3, "\0\0\0\0"); /* RFC 9113 6.9: the stream; nghttp2: all */
    expect_goaway(PROTOCOL_ERROR);
    assert_int_equal(hx.gone, 2);
    xch_abort(hx.x);
    finish();
}

/* A larger initial window on top of what a stream was given already. */
static void test_settings_that_overflow_a_window(void **state) {
    begin(handle_later);
    get(1);
    until(hx.requests == 1);
    FRAME(WINDOW_UPDATE, 0, 1, "\x7f\xff\0\0"); /* just fits */
    FRAME(SETTINGS, 0, 0, "\0\4\x7f\xff\xff\xff");
    until(hx.gone == 1); /* that stream or the connection: either ends it */
    assert_true(look().resets == 1 ? look().reset_code == FLOW_CONTROL_ERROR
                                   : look().goaway_code == FLOW_CONTROL_ERROR);
    xch_abort(hx.x);
    finish();
}

static void test_tiny_windows_are_served_a_byte_at_a_time(void **state) {
    begin(handle_later);
    FRAME(SETTINGS, 0, 0, "\0\4\0\0\0\1");
    get(1);
    until(hx.requests == 1);
    xch_reply(hx.x, 200, NULL, 0, STR("slowly but surely"));
    for (unsigned n = 1; n <= 17; n++) {
        until(look().data == n);
        assert_int_equal(look().data_frames, n);
        FRAME(WINDOW_UPDATE, 0, 1, "\0\0\0\1");
    }
    until(look().ended == 1);
    assert_int_equal(hx.gone, 0);
    finish();
}

/* Smaller windows than what is on its way make them negative (RFC 9113 6.9.2). */
static void test_windows_taken_back(void **state) {
    static char page[40000];
    begin(handle_later);
    get(1);
    until(hx.requests == 1);
    xch_start(hx.x, 200, NULL, 0, sizeof(page) * 2);
    xch_write(hx.x, str_n(page, sizeof(page)));
    until(look().data == sizeof(page));
    FRAME(SETTINGS, 0, 0, "\0\4\0\0\0\0");
    for (unsigned i = 0; i < 5; i++) {
        poll_once();
    }
    xch_write(hx.x, str_n(page, sizeof(page)));
    xch_end(hx.x);
    for (unsigned i = 0; i < 20; i++) {
        poll_once();
    }
    receive();
    assert_int_equal(look().data, sizeof(page));
    FRAME(WINDOW_UPDATE, 0, 1, "\0\2\0\0");
    FRAME(WINDOW_UPDATE, 0, 0, "\0\2\0\0");
    until(look().ended == 1);
    assert_int_equal(look().data, 2 * sizeof(page));
    finish();
}

static void test_body_past_the_window(void **state) {
    static char block[16384];
    begin(handle_later);
    FRAME(HEADERS, END_HEADERS, 1, POST_HEAD);
    until(hx.requests == 1);
    /* 256 KiB are promised, nobody has given credit. */
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    for (unsigned i = 0; i < 17; i++) {
        put_frame(&b, DATA, 0, 1, block, sizeof(block));
    }
    send_bytes(b.p, b.n);
    until(hx.gone == 1);
    assert_true(look().resets ? look().reset_code == FLOW_CONTROL_ERROR
                              : look().goaway_code == FLOW_CONTROL_ERROR);
    xch_abort(hx.x);
    finish();
}

static void finish_gone(struct xch *x, void *arg) {
    hx.gone++;
    xch_abort(x);
}

static void note_and_grant(struct xch *x, void *arg, struct str bytes) {
    hx.received += bytes.n;
    xch_grant(x, bytes.n);
}

static void handle_upload(struct xch *x, void *arg) {
    static const struct body_sink sink = {.data = note_and_grant, .end = note_end};
    hx.requests++;
    hx.x = x;
    xch_on_gone(x, finish_gone, NULL);
    xch_read_body(x, UINT64_MAX, &sink, NULL);
    xch_grant(x, 1000);
}

/* Padding counts against the windows: what nobody sees must be given back as well. */
static void test_padding_is_given_back(void **state) {
    static char padded[257];
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    begin(handle_upload);
    FRAME(HEADERS, END_HEADERS, 1, POST_HEAD);
    until(hx.requests == 1);
    padded[0] = (char)255; /* one byte of body */
    put_frame(&b, DATA, PADDED, 1, padded, sizeof(padded));
    const unsigned frames = 3 * 1048576 / sizeof(padded);
    watch();
    for (unsigned i = 0; i < frames; i++) {
        send_bytes(b.p, b.n);
        receive();
        assert_false(look().goaway || look().resets || hx.eof);
        if (hx.rx.n > 100000) {
            buf_clear(&hx.rx);
        }
        while (hx.received < i) { /* a real client would look at its windows */
            loop_turn(hx.loop);
        }
    }
    FRAME(DATA, END_STREAM, 1, "");
    until(hx.ends == 1);
    assert_int_equal(hx.received, frames);
    assert_int_equal(hx.end_err.code, ERR_OK);
    xch_reply(hx.x, 200, NULL, 0, STR(""));
    finish();
}

/* Frames that say nothing, on an open stream. */
static void test_empty_data_flood(void **state) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    begin(handle_upload);
    FRAME(HEADERS, END_HEADERS, 1, POST_HEAD);
    until(hx.requests == 1);
    for (unsigned i = 0; i < 1000; i++) {
        put_frame(&b, DATA, 0, 1, "", 0);
    }
    flood(&b, 50);
    struct conn *c =
        list_is_empty(&hx.server->conns) ? NULL : list_first(&hx.server->conns, struct conn, link);
    assert_true(!c || transport_queued(&c->t) < 65536);
    finish();
    assert_int_equal(hx.gone, 1);
}

/* Each wants an answer, and the client reads none: the queue stays small, then it ends. */
static void answer_flood(unsigned type, const char *payload, size_t n) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    size_t most = 0;
    begin(handle_echo);
    for (unsigned i = 0; i < 100; i++) {
        put_frame(&b, type, 0, 0, payload, n);
    }
    for (unsigned i = 0; i < 3000; i++) {
        ssize_t r = send(hx.fd, b.p, b.n, MSG_DONTWAIT | MSG_NOSIGNAL);
        poll_once();
        if (list_is_empty(&hx.server->conns)) {
            break;
        }
        struct conn *c = list_first(&hx.server->conns, struct conn, link);
        most = transport_queued(&c->t) > most ? transport_queued(&c->t) : most;
        if (r != (ssize_t)b.n) {
            break;
        }
    }
    assert_true(most < 600000);
    finish();
}

static void test_ping_flood(void **state) {
    answer_flood(PING, "12345678", 8);
}

static void test_settings_flood(void **state) {
    answer_flood(SETTINGS, "\0\3\0\0\0\x64", 6);
}

static void test_priority_storm(void **state) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    begin(handle_echo);
    for (uint32_t i = 0; i < 2000; i++) {
        const char dep[5] = {0, 0, (char)(i >> 8), (char)(i & 0xfe), 16};
        put_frame(&b, PRIORITY, 0, 2 * i + 1001, dep, sizeof(dep));
    }
    for (unsigned i = 0; i < 10; i++) {
        send_bytes(b.p, b.n);
        poll_once();
    }
    expect_served(1);
    finish();
}

static void test_goaway_in_the_middle(void **state) {
    begin(handle_later);
    get(1);
    until(hx.requests == 1);
    FRAME(GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0");
    for (unsigned i = 0; i < 5; i++) {
        poll_once();
    }
    assert_int_equal(hx.gone, 0);
    xch_reply(hx.x, 200, NULL, 0, STR("still"));
    until(hx.eof); /* answered, then closed */
    assert_int_equal(look().data, 5);
    assert_int_equal(look().ended, 1);
    finish();
}

static void handle_until_gone(struct xch *x, void *arg) {
    hx.requests++;
    xch_on_gone(x, finish_gone, NULL);
}

/* CVE-2025-8671: the client makes the server do the resetting. */
static void test_made_you_reset(void **state) {
    start(handle_until_gone);
    limits.max_h2_resets = 20;
    reconnect();
    send_bytes(preface, sizeof(preface) - 1);
    FRAME(SETTINGS, 0, 0, "");
    for (uint32_t id = 1; id < 1000 && !hx.eof; id += 2) {
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        put_frame(&b, HEADERS, END_HEADERS | END_STREAM, id, GET_HEAD, 6);
        put_frame(&b, WINDOW_UPDATE, 0, id, "\x7f\xff\xff\xff", 4);
        if (send(hx.fd, b.p, b.n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            break;
        }
        poll_once();
        receive();
    }
    expect_goaway(ENHANCE_YOUR_CALM);
    assert_true(hx.requests <= 22);
    assert_int_equal(hx.gone, hx.requests);
    finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_of_frames),
        cmocka_unit_test(test_frames_out_of_order),
        cmocka_unit_test(test_malformed_heads_reset_their_stream),
        cmocka_unit_test(test_continuation_flood),
        cmocka_unit_test(test_hpack_bomb),
        cmocka_unit_test(test_window_updates_of_a_stream),
        cmocka_unit_test(test_settings_that_overflow_a_window),
        cmocka_unit_test(test_tiny_windows_are_served_a_byte_at_a_time),
        cmocka_unit_test(test_windows_taken_back),
        cmocka_unit_test(test_body_past_the_window),
        cmocka_unit_test(test_padding_is_given_back),
        cmocka_unit_test(test_empty_data_flood),
        cmocka_unit_test(test_ping_flood),
        cmocka_unit_test(test_settings_flood),
        cmocka_unit_test(test_priority_storm),
        cmocka_unit_test(test_goaway_in_the_middle),
        cmocka_unit_test(test_made_you_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
