/* TLS connections: a real handshake over a socket pair, and what can go wrong around it. */
#include "harness.h"

#include "tls_client.h"

static struct tls_client tc;

static void start_tls_server(void (*handler)(struct xch *, void *arg)) {
    struct err err;
    make_certificate();
    start(handler);
    hx.server->tls = NET_TLS_OPTIONAL;
    hx.server->tls_cert = cert_path;
    hx.server->tls_key = key_path;
    assert_int_equal(net_reload_tls(hx.server, &err), 0);
    drop_certificate();
}

/* On the harness's connection. */
static void shake(void) {
    int fd = hx.fd;
    hx.fd = -1;
    tls_client_open(&tc, fd);
    watch();
    while (!tls_client_step(&tc)) {
        assert_false(tc.broken);
        loop_turn(hx.loop);
    }
}

static void begin(void (*handler)(struct xch *, void *arg)) {
    start_tls_server(handler);
    shake();
}

static void done(void) {
    tls_client_close(&tc);
    finish();
}

static void say(const char *s, size_t n) {
    watch();
    while (n > 0) {
        int r = SSL_write(tc.ssl, s, (int)(n < 16384 ? n : 16384));
        if (r > 0) {
            s += r;
            n -= (size_t)r;
        } else {
            assert_int_equal(SSL_get_error(tc.ssl, r), SSL_ERROR_WANT_WRITE);
            loop_turn(hx.loop);
        }
    }
}

#define until_tls(cond)                                                                            \
    do {                                                                                           \
        watch();                                                                                   \
        while (tls_client_read(&tc), !(cond)) {                                                    \
            loop_turn(hx.loop);                                                                    \
        }                                                                                          \
    } while (0)

static void handle_scheme(struct xch *x, void *arg) {
    hx.requests++;
    xch_reply(x, 200, NULL, 0, xch_head(x)->scheme);
}

static void test_request_and_scheme(void **state) {
    static const char get[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    begin(handle_scheme);
    for (unsigned i = 0; i < 3; i++) {
        say(get, sizeof(get) - 1);
        until_tls(str_find(buf_str(&tc.rx), STR("\r\n\r\nhttps")) > 0);
        buf_clear(&tc.rx);
    }
    assert_int_equal(hx.requests, 3);
    done();
}

/* Many records in one read, and the end of a request in the middle of one. */
static void test_body_through_credit(void **state) {
    static const size_t size = 1 << 20;
    char head[100];
    char *body = xmalloc(size);
    for (size_t i = 0; i < size; i++) {
        body[i] = (char)(i * 7 + i / 1000);
    }
    begin(handle_echo);
    snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", size);
    say(head, strlen(head));
    say(body, size);
    until_tls(tc.rx.n > size && str_find(buf_str(&tc.rx), STR("\r\n\r\n")) > 0);
    size_t at = (size_t)str_find(buf_str(&tc.rx), STR("\r\n\r\n")) + 4;
    until_tls(tc.rx.n == at + size);
    assert_memory_equal(tc.rx.p + at, body, size);
    free(body);
    done();
}

static void test_credit_stops_reading(void **state) {
    static const char piece[8192];
    begin(handle_later);
    const char *head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n";
    say(head, strlen(head));
    until_tls(hx.requests == 1);
    static const struct body_sink sink = {.data = note_data, .end = note_end};
    xch_read_body(hx.x, UINT64_MAX, &sink, NULL);
    /* The socket fills, the server takes nothing. */
    size_t sent = 0;
    for (int r; (r = SSL_write(tc.ssl, piece, sizeof(piece))) > 0; sent += (size_t)r) {
    }
    for (unsigned i = 0; i < 10; i++) {
        poll_once();
    }
    assert_int_equal(hx.received, 0);
    xch_grant(hx.x, 20000);
    until_tls(hx.received == 20000);
    for (unsigned i = 0; i < 10; i++) {
        poll_once();
    }
    assert_int_equal(hx.received, 20000);
    xch_abort(hx.x);
    until_tls(tc.eof);
    assert_false(tc.goodbye);
    done();
}

static void handle_file(struct xch *x, void *arg) {
    FILE *f = tmpfile();
    char block[1024];
    assert_non_null(f);
    for (unsigned i = 0; i < 3000; i++) {
        memset(block, 'a' + (int)(i % 26), sizeof(block));
        assert_int_equal(fwrite(block, sizeof(block), 1, f), 1);
    }
    fflush(f);
    xch_start(x, 200, NULL, 0, 3000 * 1024 - 100);
    xch_send_file(x, fileno(f), 100, 3000 * 1024 - 100);
    fclose(f);
}

static void test_file(void **state) {
    static const char get[] = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    begin(handle_file);
    say(get, sizeof(get) - 1);
    until_tls(tc.eof);
    assert_true(tc.goodbye);
    size_t at = (size_t)str_find(buf_str(&tc.rx), STR("\r\n\r\n")) + 4;
    assert_int_equal(tc.rx.n - at, 3000 * 1024 - 100);
    for (size_t i = 0; i < tc.rx.n - at; i += 997) {
        assert_int_equal(tc.rx.p[at + i], 'a' + (int)((i + 100) / 1024 % 26));
    }
    done();
}

static void note_drain(struct xch *x, void *arg) {
    hx.drains++;
}

static void test_slow_reader_pauses_the_source(void **state) {
    static const char get[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    static const char piece[65536];
    begin(handle_later);
    say(get, sizeof(get) - 1);
    watch();
    while (hx.requests == 0) {
        loop_turn(hx.loop);
    }
    xch_on_drain(hx.x, note_drain, NULL);
    xch_start(hx.x, 200, NULL, 0, -1);
    size_t given = 0;
    bool ok;
    do {
        ok = xch_write(hx.x, str_n(piece, sizeof(piece)));
        given += sizeof(piece);
        poll_once();
        assert_true(given < 8u << 20);
    } while (ok);
    until_tls(hx.drains == 1);
    xch_end(hx.x);
    until_tls(tc.rx.n > given && memcmp(tc.rx.p + tc.rx.n - 5, "0\r\n\r\n", 5) == 0);
    done();
}

static void test_goodbye_is_gone(void **state) {
    static const char get[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    begin(handle_later);
    say(get, sizeof(get) - 1);
    until_tls(hx.requests == 1);
    SSL_shutdown(tc.ssl);
    watch();
    while (!hx.gone) {
        loop_turn(hx.loop);
    }
    xch_abort(hx.x);
    done();
}

static void test_clear_text_after_the_handshake(void **state) {
    begin(handle_echo);
    assert_int_equal(send(tc.fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, 0), 27);
    until_tls(tc.eof);
    assert_int_equal(hx.requests, 0);
    done();
}

/* What TLS answers by itself piles up only so far: then the server stops reading. */
static void test_key_update_flood(void **state) {
    unsigned sent = 0;
    begin(handle_echo);
    struct conn *c = list_first(&hx.server->conns, struct conn, link);
    while (sent < 200000) {
        if (SSL_key_update(tc.ssl, SSL_KEY_UPDATE_REQUESTED) != 1 ||
            SSL_do_handshake(tc.ssl) != 1) {
            break; /* the socket is full: nobody reads it any more */
        }
        sent++;
        poll_once();
    }
    assert_true(transport_encrypted(&c->t) < 2 * NET_READ_BODY);
    done();
}

static void test_handshake_timeout(void **state) {
    start_tls_server(handle_echo);
    limits.tls_handshake_timeout_ms = 20;
    send_bytes("\x16\x03\x01\x02\x00\x01\x00", 7);
    expect_end();
    assert_int_equal(hx.server->handshakes.open, 0);
    assert_int_equal(hx.server->handshakes.failed, 1);
    finish();
}

static void test_places_are_bounded_and_handed_on(void **state) {
    struct tls_client more[5];
    start_tls_server(handle_echo);
    limits.max_tls_handshakes = 2;
    /* Two that begin and say no more hold the places. */
    int half[2];
    for (unsigned i = 0; i < 2; i++) {
        half[i] = connect_client();
        assert_int_equal(send(half[i], "\x16\x03\x01\x02\x00\x01\x00", 7, 0), 7);
    }
    watch();
    while (hx.server->handshakes.open < 2) {
        loop_turn(hx.loop);
    }
    for (unsigned i = 0; i < NR_OF(more); i++) {
        tls_client_open(&more[i], connect_client());
        assert_false(tls_client_step(&more[i]));
    }
    for (unsigned turn = 0; turn < 20; turn++) {
        poll_once();
        for (unsigned i = 0; i < NR_OF(more); i++) {
            assert_false(tls_client_step(&more[i]));
        }
        assert_int_equal(hx.server->handshakes.open, 2);
    }
    close(half[0]); /* one place: the five go through it one after the other */
    watch();
    for (unsigned i = 0; i < NR_OF(more); i++) {
        while (!tls_client_step(&more[i])) {
            assert_false(more[i].broken);
            loop_turn(hx.loop);
            assert_true(hx.server->handshakes.open <= 2);
        }
    }
    while (hx.server->handshakes.done < NR_OF(more)) {
        loop_turn(hx.loop);
    }
    close(half[1]);
    for (unsigned i = 0; i < NR_OF(more); i++) {
        tls_client_close(&more[i]);
    }
    finish();
}

/* Shutdown in the middle of handshakes, and of a place being waited for. */
static void test_shutdown_meanwhile(void **state) {
    start_tls_server(handle_echo);
    limits.max_tls_handshakes = 1;
    int other = connect_client();
    send_bytes("\x16\x03\x01\x02\x00\x01\x00", 7);
    assert_int_equal(send(other, "\x16\x03\x01\x02\x00\x01\x00", 7, 0), 7);
    for (unsigned i = 0; i < 5; i++) {
        poll_once();
    }
    assert_int_equal(hx.server->handshakes.open, 1);
    finish();
    close(other);
}

static void test_required(void **state) {
    start_tls_server(handle_echo);
    hx.server->tls = NET_TLS_REQUIRED;
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    struct reply r = get_reply(false);
    assert_int_equal(r.status, 400);
    assert_non_null(strstr(r.body, "use https://"));
    expect_end();
    assert_int_equal(hx.requests, 0);
    reconnect();
    shake();
    done();
}

/* A TLS client inside TLS is just a client that sends garbage. */
static void test_no_tls_in_tls(void **state) {
    begin(handle_echo);
    say("\x16\x03\x01\x00\x05hello\r\n\r\n", 14);
    until_tls(tc.eof);
    assert_true(tc.rx.n > 12 && memcmp(tc.rx.p, "HTTP/1.1 400", 12) == 0);
    done();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_and_scheme),
        cmocka_unit_test(test_body_through_credit),
        cmocka_unit_test(test_credit_stops_reading),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_slow_reader_pauses_the_source),
        cmocka_unit_test(test_goodbye_is_gone),
        cmocka_unit_test(test_clear_text_after_the_handshake),
        cmocka_unit_test(test_key_update_flood),
        cmocka_unit_test(test_handshake_timeout),
        cmocka_unit_test(test_places_are_bounded_and_handed_on),
        cmocka_unit_test(test_shutdown_meanwhile),
        cmocka_unit_test(test_required),
        cmocka_unit_test(test_no_tls_in_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
