/* HTTP/1.1 as a client sees it: byte scripts against a real server on a socket pair. */
#include "harness.h"

#include <stdlib.h>

static void test_replies_carry_length_and_date_and_the_connection_stays(void **state) {
    start(handle_echo);
    send_text("GET /one HTTP/1.1\r\nHost: a\r\n\r\n");
    struct reply r = get_reply(false);
    assert_int_equal(r.status, 200);
    assert_string_equal(r.body, "/one");
    assert_non_null(strstr(r.head, "\r\ndate: "));
    assert_non_null(strstr(r.head, " GMT"));
    assert_null(strstr(r.head, "connection:"));
    send_text("GET /two HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_body("/two");
    assert_false(hx.eof);
    finish();
}

static void handle_look(struct xch *x, void *arg) {
    const struct xch_head *h = xch_head(x);
    auto_buf struct buf b = BUF_INIT(4096);
    buf_printf(&b, "%.*s|%.*s|%.*s|%s%.*s|%.*s|%.*s|%lld", STR_ARG(h->method),
               STR_ARG(h->authority), STR_ARG(h->path), h->query.p ? "?" : "", STR_ARG(h->query),
               STR_ARG(xch_header(x, "x-mixed")), STR_ARG(h->peer), (long long)h->content_length);
    assert_null(xch_header(x, "absent").p);
    xch_reply(x, 200, NULL, 0, buf_str(&b));
}

static void test_head_is_split_into_its_parts(void **state) {
    start(handle_look);
    send_text("GET /a%20b?x=1&y HTTP/1.1\r\nHost: me:80\r\nX-MiXed:  Va lue \t\r\n\r\n");
    expect_body("GET|me:80|/a%20b|?x=1&y|Va lue|test:1|0");
    send_text("DELETE /p? HTTP/1.1\r\nhOsT: me\r\nX-Mixed:\r\n\r\n");
    expect_body("DELETE|me|/p|?||test:1|0");
    send_text("GET http://other:99?q HTTP/1.1\r\nHost: me\r\n\r\n");
    expect_body("GET|other:99|/|?q||test:1|0");
    finish();
}

static void test_head_may_come_one_byte_at_a_time(void **state) {
    static const char req[] =
        "\r\nPOST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n2;ext=\"v\"\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
        "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    start(handle_echo);
    for (size_t i = 0; i < sizeof(req) - 1; i++) {
        send_bytes(req + i, 1);
        loop_turn(hx.loop);
    }
    expect_body("abcde");
    expect_body("/next");
    finish();
}

static void test_head_request_has_the_length_and_no_body(void **state) {
    start(handle_echo);
    send_text("HEAD /four HTTP/1.1\r\nHost: a\r\n\r\nGET /g HTTP/1.1\r\nHost: a\r\n\r\n");
    struct reply r = get_reply(true);
    assert_non_null(strstr(r.head, "content-length: 5"));
    expect_body("/g");
    finish();
}

static void handle_204(struct xch *x, void *arg) {
    xch_reply(x, 204, NULL, 0, STR("must not be seen"));
}

static void test_204_has_neither_length_nor_body(void **state) {
    start(handle_204);
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    struct reply r = get_reply(false);
    assert_int_equal(r.status, 204);
    assert_null(strstr(r.head, "content-length"));
    expect_status(204);
    assert_int_equal(hx.rx.n, 0);
    finish();
}

static void test_http_10_closes_unless_it_asks_to_stay(void **state) {
    start(handle_echo);
    send_text("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    struct reply r = get_reply(false);
    assert_non_null(strstr(r.head, "connection: keep-alive"));
    send_text("GET /b HTTP/1.0\r\n\r\n");
    r = get_reply(false);
    assert_non_null(strstr(r.head, "connection: close"));
    expect_end();
    finish();
}

static void test_connection_close_is_honoured(void **state) {
    start(handle_echo);
    send_text("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
              "GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    struct reply r = get_reply(false);
    assert_non_null(strstr(r.head, "connection: close"));
    expect_end();
    assert_int_equal(hx.requests, 1);
    finish();
}

/* ---- pipelining */

static void test_pipelined_replies_come_in_order_although_the_first_is_late(void **state) {
    start(handle_later);
    send_text("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    struct xch *first = hx.x;
    xch_reply(first, 200, NULL, 0, STR("one"));
    expect_body("one");
    until(hx.requests == 2);
    xch_reply(hx.x, 200, NULL, 0, STR("two"));
    expect_body("two");
    finish();
}

static void test_more_pipelined_requests_than_the_limit_are_all_answered(void **state) {
    start(handle_echo);
    limits.max_pipelined = 3;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    char want[16];
    for (int i = 0; i < 100; i++) {
        buf_printf(&b, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i);
    }
    send_bytes(b.p, b.n);
    for (int i = 0; i < 100; i++) {
        snprintf(want, sizeof(want), "/%d", i);
        expect_body(want);
    }
    finish();
}

static void test_read_ahead_behind_a_running_request_is_bounded(void **state) {
    start(handle_later);
    int small = 4096;
    assert_int_equal(setsockopt(hx.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    send_text("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    size_t sent = 0, n;
    do { /* each turn the server takes some, until it takes no more */
        n = send_what_fits(1 << 20);
        sent += n;
        poll_once();
    } while (n);
    assert_true(sent < 256 * 1024);
    xch_reply(hx.x, 200, NULL, 0, STR("ok"));
    expect_body("ok");
    expect_status(414); /* what came behind was one endless line */
    finish();
}

/* ---- request bodies */

static void test_body_of_known_length_and_chunked_are_collected(void **state) {
    start(handle_echo);
    send_text("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    expect_body("hello");
    send_text("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
              "A\r\n0123456789\r\n0\r\n\r\n");
    expect_body("0123456789");
    send_text("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    expect_body("");
    finish();
}

static void test_large_body_arrives_whole(void **state) {
    enum { N = 3000000 };
    start(handle_later);
    char *big = xmalloc(N);
    for (size_t i = 0; i < N; i++) {
        big[i] = (char)(i * 7 % 251);
    }
    static const struct body_sink sink = {.data = note_data, .end = note_end};
    send_text("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n");
    until(hx.requests == 1);
    xch_read_body(hx.x, N, &sink, NULL);
    xch_grant(hx.x, N);
    send_bytes(big, N);
    until(hx.ends == 1);
    assert_int_equal(hx.end_err.code, ERR_OK);
    assert_int_equal(hx.body.n, N);
    assert_memory_equal(hx.body.p, big, N);
    xch_reply(hx.x, 200, NULL, 0, STR("ok"));
    expect_body("ok");
    free(big);
    finish();
}

static void test_sink_gets_no_more_than_it_granted(void **state) {
    static const struct body_sink sink = {.data = note_data, .end = note_end};
    static const char *const heads[] = {
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n",
    };
    start(handle_later);
    for (size_t i = 0; i < NR_OF(heads); i++) {
        hx.ends = hx.requests = 0;
        hx.received = 0;
        send_text(heads[i]);
        until(hx.requests == 1);
        xch_read_body(hx.x, 100, &sink, NULL);
        assert_int_equal(hx.received, 0);
        xch_grant(hx.x, 3);
        until(hx.received > 0);
        assert_int_equal(hx.received, 3);
        xch_grant(hx.x, 2);
        xch_grant(hx.x, 4);
        until(hx.received > 3);
        assert_int_equal(hx.received, 9);
        assert_int_equal(hx.ends, 0);
        xch_grant(hx.x, 1); /* exactly the rest: the end comes without further credit */
        until(hx.ends == 1);
        assert_int_equal(hx.received, 10);
        xch_reply(hx.x, 200, NULL, 0, STR("ok"));
        expect_body("ok");
    }
    finish();
}

static void test_nothing_is_read_from_the_peer_without_credit(void **state) {
    start(handle_later);
    send_text("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    until(hx.requests == 1);
    size_t sent = 0, n;
    do {
        n = send_what_fits(100000000 - sent);
        sent += n;
        if (n && sent < 1 << 20) {
            poll_once(); /* the body is not among what is ready */
        }
    } while (n && sent < 50000000);
    assert_true(sent < 1 << 20); /* the kernel's buffers, nothing else */
    xch_reply(hx.x, 200, NULL, 0, STR("no thanks"));
    struct reply r = get_reply(false);
    assert_non_null(strstr(r.head, "connection: close")); /* too much left to discard */
    finish();
}

static void handle_ignore_body(struct xch *x, void *arg) {
    hx.requests++;
    xch_reply(x, 200, NULL, 0, STR("ignored"));
}

static void test_small_unread_body_is_discarded_and_the_connection_stays(void **state) {
    start(handle_ignore_body);
    send_text("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
    expect_body("ignored");
    send_text("loPOST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    expect_body("ignored");
    send_text("0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_body("ignored");
    assert_int_equal(hx.requests, 3);
    finish();
}

static void test_endless_unread_body_ends_the_connection(void **state) {
    start(handle_ignore_body);
    send_text("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n");
    expect_body("ignored");
    size_t sent = 0;
    watch();
    while (!hx.eof && sent < 100000000) {
        sent += send_what_fits(65536);
        loop_turn(hx.loop);
        receive();
    }
    assert_true(hx.eof);
    assert_true(sent < 4000000);
    finish();
}

static void test_expect_100_is_answered_at_the_first_grant(void **state) {
    static const struct body_sink sink = {.data = note_data, .end = note_end};
    start(handle_later);
    send_text("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n");
    until(hx.requests == 1);
    xch_read_body(hx.x, 10, &sink, NULL);
    poll_once();
    receive();
    assert_int_equal(hx.rx.n, 0);
    xch_grant(hx.x, 1);
    until(hx.rx.n > 0);
    assert_string_equal(hx.rx.p, "HTTP/1.1 100 Continue\r\n\r\n");
    buf_clear(&hx.rx);
    xch_grant(hx.x, 1);
    send_text("ab");
    until(hx.ends == 1);
    xch_reply(hx.x, 200, NULL, 0, STR("ok"));
    expect_body("ok"); /* and no second 100 */
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 2);
    xch_reply(hx.x, 200, NULL, 0, STR("ok"));
    expect_body("ok");
    finish();
}

static void test_expect_100_refused_gets_the_final_status_and_the_end(void **state) {
    start(handle_ignore_body);
    send_text("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    struct reply r = get_reply(false);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "connection: close"));
    expect_end();
    finish();
}

static void handle_read_none(struct xch *x, void *arg) {
    static const struct body_sink sink = {.data = note_data, .end = note_end};
    hx.x = x;
    xch_read_body(x, 10, &sink, NULL);
    assert_int_equal(hx.ends, 0); /* never from within the call */
}

static void test_sink_of_a_request_without_body_ends_properly(void **state) {
    start(handle_read_none);
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.ends == 1);
    assert_int_equal(hx.end_err.code, ERR_OK);
    assert_int_equal(hx.received, 0);
    xch_reply(hx.x, 200, NULL, 0, STR("ok"));
    expect_body("ok");
    finish();
}

static void test_broken_chunk_in_the_middle_ends_the_sink_with_an_error(void **state) {
    start(handle_echo);
    send_text("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n");
    struct reply r = get_reply(false);
    assert_int_equal(r.status, 400);
    assert_int_equal(hx.ends, 1);
    expect_end();
    finish();
}

static void test_limit_inside_a_body_is_named(void **state) {
    uint64_t usual = limits.max_chunk_ext;
    start(handle_echo);
    limits.max_chunk_ext = 4;
    send_text("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;abcde\r\n");
    struct reply r = get_reply(false);
    assert_int_equal(r.status, 400);
    assert_non_null(strstr(r.body, "The limit max_chunk_ext is 4."));
    limits.max_chunk_ext = usual;
    expect_end();
    finish();
}

/* ---- replies */

static void test_reply_of_unknown_length_is_chunked(void **state) {
    start(handle_later);
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    xch_start(hx.x, 200, NULL, 0, -1);
    xch_write(hx.x, STR("hello "));
    xch_write(hx.x, STR(""));
    until(str_find(buf_str(&hx.rx), STR("hello")) > 0); /* out before the end */
    xch_write(hx.x, STR("wonderful world!"));
    xch_end(hx.x);
    struct reply r = get_reply(false);
    assert_string_equal(r.body, "6\r\nhello \r\n10\r\nwonderful world!\r\n0\r\n\r\n");
    send_text("GET / HTTP/1.0\r\n\r\n"); /* no chunks there: the end of the stream is the end */
    until(hx.requests == 2);
    xch_start(hx.x, 200, NULL, 0, -1);
    xch_write(hx.x, STR("hello"));
    xch_end(hx.x);
    r = get_reply(false);
    assert_null(strstr(r.head, "chunked"));
    assert_string_equal(r.body, "hello");
    expect_end();
    finish();
}

static void test_reply_of_known_length_may_be_written_in_pieces(void **state) {
    start(handle_later);
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    xch_start(hx.x, 200, NULL, 0, 5);
    xch_write(hx.x, STR("he"));
    xch_write(hx.x, STR("llo"));
    xch_end(hx.x);
    expect_body("hello");
    finish();
}

static void test_reply_short_of_its_length_is_broken_off(void **state) {
    start(handle_later);
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    xch_start(hx.x, 200, NULL, 0, 5);
    xch_write(hx.x, STR("he"));
    xch_end(hx.x);
    until(hx.eof);
    assert_true(str_find(buf_str(&hx.rx), STR("hello")) < 0);
    finish();
}

static void test_reply_longer_than_its_length_is_broken_off(void **state) {
    start(handle_later);
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    struct xch *x = hx.x;
    xch_start(x, 200, NULL, 0, 2);
    xch_write(x, STR("hello"));
    until(hx.eof);
    assert_int_equal(hx.gone, 1);
    xch_end(x);
    finish();
}

static void test_header_values_cannot_split_the_reply(void **state) {
    static const struct header h[] = {
        {STR("x-good"), STR("yes")},
        {STR("x-bad"), STR("a\r\nset-cookie: evil")},
        {STR("Content-Length"), STR("99")},
    };
    start(handle_later);
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    xch_reply(hx.x, 200, h, NR_OF(h), STR("ok"));
    struct reply r = get_reply(false);
    assert_non_null(strstr(r.head, "X-Good: yes"));
    assert_null(strstr(r.head, "evil"));
    assert_null(strstr(r.head, "99"));
    assert_string_equal(r.body, "ok");
    finish();
}

static void handle_drop(struct xch *x, void *arg) {
    xch_ref(x);
    if (str_eqc(xch_head(x)->path, "/started")) {
        xch_start(x, 200, NULL, 0, -1);
    }
    xch_unref(x);
}

static void test_exchange_dropped_unfinished_replies_500(void **state) {
    start(handle_drop);
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    struct reply r = get_reply(false);
    assert_int_equal(r.status, 500);
    assert_non_null(strstr(r.body, "\"INTERNAL\""));
    send_text("GET /started HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.eof); /* a started reply can only be broken off */
    assert_true(str_find(buf_str(&hx.rx), STR("0\r\n\r\n")) < 0);
    finish();
}

static void test_double_finish_is_ignored(void **state) {
    start(handle_later);
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    struct xch *x = xch_ref(hx.x);
    xch_reply(x, 200, NULL, 0, STR("once"));
    xch_reply(x, 200, NULL, 0, STR("twice"));
    assert_true(xch_write(x, STR("never")));
    expect_body("once");
    assert_int_equal(hx.rx.n, 0);
    xch_unref(x);
    finish();
}

static void test_abort_breaks_the_connection_off(void **state) {
    start(handle_later);
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    xch_start(hx.x, 200, NULL, 0, -1);
    xch_write(hx.x, STR("some"));
    until(hx.rx.n > 0);
    xch_abort(hx.x);
    until(hx.eof);
    assert_true(str_find(buf_str(&hx.rx), STR("0\r\n\r\n")) < 0);
    assert_int_equal(hx.gone, 0); /* it was our own doing */
    finish();
}

/* ---- back-pressure of replies */

static void note_drain(struct xch *x, void *arg) {
    hx.drains++;
}

static void test_slow_reader_pauses_the_source_until_it_drains(void **state) {
    static char piece[65536];
    start(handle_later);
    limits.max_write_queue = 200000;
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    xch_on_drain(hx.x, note_drain, NULL);
    xch_start(hx.x, 200, NULL, 0, -1);
    size_t written = 0;
    bool go = true;
    /* The client reads nothing: sooner or later the source must pause. */
    while (go && written < 50000000) {
        go = xch_write(hx.x, str_n(piece, sizeof(piece)));
        written += sizeof(piece);
        poll_once();
    }
    assert_false(go);
    assert_int_equal(hx.drains, 0);
    assert_true(written < 2000000);
    until(hx.drains == 1); /* until() reads */
    assert_true(xch_write(hx.x, str_n(piece, 10)));
    xch_end(hx.x);
    until(hx.rx.n > written && str_ends(buf_str(&hx.rx), STR("0\r\n\r\n")));
    finish();
}

/* ---- files */

static int temp_file(size_t n) {
    char path[] = "/tmp/cusp-net-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    for (size_t i = 0; i < n; i += 4096) {
        char piece[4096];
        for (size_t j = 0; j < sizeof(piece); j++) {
            piece[j] = (char)((i + j) % 249 + 1);
        }
        size_t m = n - i < sizeof(piece) ? n - i : sizeof(piece);
        assert_int_equal(write(fd, piece, m), m);
    }
    return fd;
}

static void test_file_range_is_sent_and_the_next_request_waits_for_it(void **state) {
    enum { N = 5000000, AT = 1000, LEN = 4000000 };
    start(handle_later);
    int fd = temp_file(N);
    send_text("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    xch_start(hx.x, 206, NULL, 0, LEN);
    xch_send_file(hx.x, fd, AT, LEN);
    close(fd); /* the server has its own */
    until(hx.requests == 2);
    receive();
    ptrdiff_t head = str_find(buf_str(&hx.rx), STR("\r\n\r\n"));
    assert_true(head > 0);
    /* The next request began only when the whole file was out. */
    until(hx.rx.n == (size_t)head + 4 + LEN);
    for (size_t i = 0; i < LEN; i++) {
        if (hx.rx.p[(size_t)head + 4 + i] != (char)((AT + i) % 249 + 1)) {
            fail_msg("byte %zu differs", i);
        }
    }
    buf_clear(&hx.rx);
    xch_reply(hx.x, 200, NULL, 0, STR("after"));
    expect_body("after");
    finish();
}

static void test_file_goes_out_as_one_chunk_when_the_length_was_not_given(void **state) {
    start(handle_later);
    int fd = temp_file(10);
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    xch_start(hx.x, 200, NULL, 0, -1);
    xch_write(hx.x, STR("ab"));
    xch_send_file(hx.x, fd, 0, 10);
    struct reply r = get_reply(false);
    assert_string_equal(r.body, "2\r\nab\r\na\r\n\1\2\3\4\5\6\7\10\11\12\r\n0\r\n\r\n");
    send_text("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 2);
    xch_start(hx.x, 200, NULL, 0, 10);
    xch_send_file(hx.x, fd, 0, 10);
    r = get_reply(true);
    assert_non_null(strstr(r.head, "content-length: 10"));
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 3);
    xch_start(hx.x, 200, NULL, 0, 0);
    xch_send_file(hx.x, fd, 3, 0);
    expect_body("");
    close(fd);
    finish();
}

static void test_file_shorter_than_promised_breaks_the_connection_off(void **state) {
    start(handle_later);
    int fd = temp_file(1000);
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    xch_start(hx.x, 200, NULL, 0, 2000);
    xch_send_file(hx.x, fd, 0, 2000);
    until(hx.eof);
    close(fd);
    finish();
}

static void test_file_that_cannot_sendfile_is_copied(void **state) {
    start(handle_later);
    int fd =
        open("/proc/self/status", O_RDONLY | O_CLOEXEC); /* sendfile from proc: EINVAL or not */
    assert_true(fd >= 0);
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    xch_start(hx.x, 200, NULL, 0, 20);
    xch_send_file(hx.x, fd, 0, 20);
    struct reply r = get_reply(false);
    assert_int_equal(r.body_n, 20);
    assert_int_equal(strncmp(r.body, "Name:", 5), 0);
    close(fd);
    finish();
}

/* ---- other protocols */

static void test_tls_is_refused_clearly_and_http2_is_told_apart(void **state) {
    start(handle_echo);
    send_bytes("\x16\x03\x01\x02\x00\x01", 6);
    struct reply r = get_reply(false);
    assert_int_equal(r.status, 400); /* in clear text: Go's clients look for HTTP/ */
    assert_non_null(memmem(r.body, r.body_n, "does not speak TLS", 18));
    reconnect();
    send_text("PRI * HTTP/2.0\r\n");
    loop_turn(hx.loop);
    send_text("\r\nSM\r\n\r\n");
    until(hx.rx.n >= 9);
    assert_int_equal(hx.rx.p[3], 4); /* the server's SETTINGS */
    reconnect();
    send_text("P"); /* could be either */
    loop_turn(hx.loop);
    send_text("OST /p HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_body("/p");
    assert_int_equal(hx.requests, 1);
    finish();
}

static struct {
    char *p; /* where the body is wanted */
    size_t n, direct;
    unsigned asked;
} place;

static char *offer_room(struct xch *x, void *arg, size_t *ret_n) {
    place.asked++;
    *ret_n = hx.received < 500000 ? 100000 : 10; /* later too little to be worth it */
    return place.p + hx.received;
}

static void take_in_place(struct xch *x, void *arg, struct str bytes) {
    if (bytes.p == place.p + hx.received) {
        place.direct += bytes.n;
        assert_true(bytes.n <= 100000);
    } else {
        memcpy(place.p + hx.received, bytes.p, bytes.n);
    }
    hx.received += bytes.n;
    xch_grant(x, bytes.n);
}

static void handle_in_place(struct xch *x, void *arg) {
    static const struct body_sink sink = {
        .data = take_in_place, .end = note_end, .room = offer_room};
    if (!xch_head(x)->has_body) {
        handle_echo(x, arg);
        return;
    }
    hx.x = x;
    xch_read_body(x, UINT64_MAX, &sink, NULL);
    xch_grant(x, 300000);
}

/* Read where the sink wants it, never past the body: the next request follows at once. */
static void test_body_read_into_the_sinks_own_room(void **state) {
    static const size_t size = 1000000;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    start(handle_in_place);
    place.p = xmalloc(size);
    place.direct = place.asked = 0;
    buf_printf(&b, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", size);
    for (size_t i = 0; i < size; i++) {
        buf_putc(&b, (char)(i * 31 + i / 999));
    }
    size_t head = b.n - size;
    buf_puts(&b, "GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    send_bytes(b.p, b.n);
    until(hx.ends == 1);
    assert_int_equal(hx.received, size);
    assert_memory_equal(place.p, b.p + head, size);
    assert_true(place.direct > 300000 && place.direct < 700000 && place.asked > 5);
    xch_reply(hx.x, 200, NULL, 0, STR("done"));
    expect_body("done");
    expect_body("/next");
    free(place.p);
    finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_body_read_into_the_sinks_own_room),
        cmocka_unit_test(test_replies_carry_length_and_date_and_the_connection_stays),
        cmocka_unit_test(test_head_is_split_into_its_parts),
        cmocka_unit_test(test_head_may_come_one_byte_at_a_time),
        cmocka_unit_test(test_head_request_has_the_length_and_no_body),
        cmocka_unit_test(test_204_has_neither_length_nor_body),
        cmocka_unit_test(test_http_10_closes_unless_it_asks_to_stay),
        cmocka_unit_test(test_connection_close_is_honoured),
        cmocka_unit_test(test_pipelined_replies_come_in_order_although_the_first_is_late),
        cmocka_unit_test(test_more_pipelined_requests_than_the_limit_are_all_answered),
        cmocka_unit_test(test_read_ahead_behind_a_running_request_is_bounded),
        cmocka_unit_test(test_body_of_known_length_and_chunked_are_collected),
        cmocka_unit_test(test_large_body_arrives_whole),
        cmocka_unit_test(test_sink_gets_no_more_than_it_granted),
        cmocka_unit_test(test_nothing_is_read_from_the_peer_without_credit),
        cmocka_unit_test(test_small_unread_body_is_discarded_and_the_connection_stays),
        cmocka_unit_test(test_endless_unread_body_ends_the_connection),
        cmocka_unit_test(test_expect_100_is_answered_at_the_first_grant),
        cmocka_unit_test(test_expect_100_refused_gets_the_final_status_and_the_end),
        cmocka_unit_test(test_sink_of_a_request_without_body_ends_properly),
        cmocka_unit_test(test_broken_chunk_in_the_middle_ends_the_sink_with_an_error),
        cmocka_unit_test(test_limit_inside_a_body_is_named),
        cmocka_unit_test(test_reply_of_unknown_length_is_chunked),
        cmocka_unit_test(test_reply_of_known_length_may_be_written_in_pieces),
        cmocka_unit_test(test_reply_short_of_its_length_is_broken_off),
        cmocka_unit_test(test_reply_longer_than_its_length_is_broken_off),
        cmocka_unit_test(test_header_values_cannot_split_the_reply),
        cmocka_unit_test(test_exchange_dropped_unfinished_replies_500),
        cmocka_unit_test(test_double_finish_is_ignored),
        cmocka_unit_test(test_abort_breaks_the_connection_off),
        cmocka_unit_test(test_slow_reader_pauses_the_source_until_it_drains),
        cmocka_unit_test(test_file_range_is_sent_and_the_next_request_waits_for_it),
        cmocka_unit_test(test_file_goes_out_as_one_chunk_when_the_length_was_not_given),
        cmocka_unit_test(test_file_shorter_than_promised_breaks_the_connection_off),
        cmocka_unit_test(test_file_that_cannot_sendfile_is_copied),
        cmocka_unit_test(test_tls_is_refused_clearly_and_http2_is_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
