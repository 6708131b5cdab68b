/* Every limit at n and n + 1, and every timer with a small value. */
#include "harness.h"

static uint64_t rejections(const char *name) {
    struct limit_info li[LIMITS_COUNT];
    limits_list(li);
    for (size_t i = 0; i < LIMITS_COUNT; i++) {
        if (strcmp(li[i].name, name) == 0) {
            return li[i].rejections;
        }
    }
    fail_msg("no limit %s", name);
    return 0;
}

/* The next reply is a refusal that names the limit and its value, is counted, and is the last. */
static void expect_refusal(int status, const char *limit, uint64_t before) {
    char want[128];
    struct reply r = get_reply(false);
    uint64_t value = 0;
    struct limit_info li[LIMITS_COUNT];
    limits_list(li);
    for (size_t i = 0; i < LIMITS_COUNT; i++) {
        value = strcmp(li[i].name, limit) == 0 ? li[i].value : value;
    }
    assert_int_equal(r.status, status);
    snprintf(want, sizeof(want), "The limit %s is %llu.", limit, (unsigned long long)value);
    assert_non_null(strstr(r.body, want));
    snprintf(want, sizeof(want), "\"code\": %d", status);
    assert_non_null(strstr(r.body, want));
    assert_non_null(strstr(r.head, "application/json"));
    assert_non_null(strstr(r.head, "connection: close"));
    assert_int_equal(rejections(limit), before + 1);
    expect_end();
}

/* Request with a head of exactly n bytes. */
static void send_head_of(size_t n) {
    static const char start_[] = "GET / HTTP/1.1\r\nHost: a\r\n";
    auto_buf struct buf b = BUF_INIT(1 << 20);
    buf_puts(&b, start_);
    while (b.n + 2 < n) {
        size_t left = n - b.n - 2; /* of headers, each at least "x:\r\n" */
        size_t line = left > 100 + 4 ? 100 : left;
        buf_puts(&b, "x:");
        for (size_t i = 4; i < line; i++) {
            buf_putc(&b, 'v');
        }
        buf_puts(&b, "\r\n");
    }
    buf_puts(&b, "\r\n");
    assert_int_equal(b.n, n);
    send_bytes(b.p, b.n);
}

static void test_max_header_bytes(void **state) {
    start(handle_echo);
    limits.max_header_bytes = 1000;
    uint64_t before = rejections("max_header_bytes");
    send_head_of(1000);
    expect_status(200);
    send_head_of(1001);
    expect_refusal(431, "max_header_bytes", before);
    finish();
}

static void test_max_header_bytes_without_an_end_of_the_head(void **state) {
    start(handle_echo);
    limits.max_header_bytes = 1000;
    uint64_t before = rejections("max_header_bytes");
    send_text("GET / HTTP/1.1\r\nx: ");
    for (int i = 0; i < 1000; i++) {
        ssize_t r = send(hx.fd, "v", 1, MSG_NOSIGNAL);
        if (r < 0) {
            break;
        }
        poll_once();
    }
    expect_refusal(431, "max_header_bytes", before);
    finish();
}

static void send_line_of(size_t n, bool request_line) {
    auto_buf struct buf b = BUF_INIT(1 << 20);
    buf_puts(&b, request_line ? "GET /" : "GET / HTTP/1.1\r\nx:");
    for (size_t i = request_line ? 5 + 9 : 2; i < n; i++) {
        buf_putc(&b, 'v');
    }
    buf_puts(&b, request_line ? " HTTP/1.1\r\nHost: a\r\n\r\n" : "\r\nHost: a\r\n\r\n");
    send_bytes(b.p, b.n);
}

static void test_max_header_line(void **state) {
    start(handle_echo);
    limits.max_header_line = 50;
    uint64_t before = rejections("max_header_line");
    send_line_of(50, false);
    expect_status(200);
    send_line_of(50, true);
    expect_status(200);
    send_line_of(51, false);
    expect_refusal(431, "max_header_line", before);
    reconnect();
    send_line_of(51, true);
    expect_refusal(414, "max_header_line", before + 1);
    finish();
}

static void send_headers(unsigned n) {
    auto_buf struct buf b = BUF_INIT(1 << 20);
    buf_puts(&b, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (unsigned i = 1; i < n; i++) {
        buf_printf(&b, "h%u: v\r\n", i);
    }
    buf_puts(&b, "\r\n");
    send_bytes(b.p, b.n);
}

static void test_max_header_count(void **state) {
    start(handle_echo);
    limits.max_header_count = 5;
    uint64_t before = rejections("max_header_count");
    send_headers(5);
    expect_status(200);
    send_headers(6);
    expect_refusal(431, "max_header_count", before);
    finish();
}

static void test_max_api_body_known_length_and_chunked(void **state) {
    start(handle_echo);
    limits.max_api_body = 4;
    uint64_t before = rejections("max_api_body");
    send_text("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd");
    expect_body("abcd");
    send_text(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n");
    expect_body("abcd");
    send_text("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde");
    struct reply r = get_reply(false);
    assert_int_equal(r.status, 413);
    assert_string_equal(r.body, "Request body exceeds the limit max_api_body (4 bytes).");
    send_text("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
              "2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n");
    r = get_reply(false);
    assert_int_equal(r.status, 413);
    assert_int_equal(hx.end_err.code, ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(rejections("max_api_body"), before + 2);
    send_text("GET /still HTTP/1.1\r\nHost: a\r\n\r\n"); /* small: the rest was discarded */
    expect_body("/still");
    finish();
}

static void send_ext(unsigned n) {
    auto_buf struct buf b = BUF_INIT(1 << 20);
    buf_puts(&b, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;");
    for (unsigned i = 0; i < n; i++) {
        buf_putc(&b, 'e');
    }
    buf_puts(&b, "\r\nok\r\n0\r\n\r\n");
    send_bytes(b.p, b.n);
}

static void test_max_chunk_ext(void **state) {
    start(handle_echo);
    limits.max_chunk_ext = 10;
    uint64_t before = rejections("max_chunk_ext");
    send_ext(10);
    expect_body("ok");
    send_ext(11);
    struct reply r = get_reply(false);
    assert_int_equal(r.status, 400);
    assert_int_equal(rejections("max_chunk_ext"), before + 1);
    expect_end();
    finish();
}

static void test_trailers_are_bounded(void **state) {
    auto_buf struct buf b = BUF_INIT(1 << 20);
    start(handle_echo);
    limits.max_header_line = 100;
    buf_puts(&b, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
    for (int i = 0; i < 50; i++) {
        buf_puts(&b, "t: v\r\n");
    }
    buf_puts(&b, "\r\n");
    send_bytes(b.p, b.n);
    struct reply r = get_reply(false);
    assert_int_equal(r.status, 400); /* the handler's word for a broken body */
    assert_non_null(strstr(r.body, "trailers"));
    expect_end();
    finish();
}

static void test_max_connections(void **state) {
    start(handle_echo);
    limits.max_connections = 2;
    uint64_t before = rejections("max_connections");
    int first = take_fd(&hx.fd);
    reconnect();
    send_text("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_body("/2");
    int second = take_fd(&hx.fd);
    reconnect();
    expect_refusal(503, "max_connections", before);
    close(second);
    watch();
    while (hx.server->stats.connections_open > 1) {
        loop_turn(hx.loop);
    }
    reconnect(); /* room again */
    send_text("GET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_body("/3");
    close(first);
    finish();
}

static void test_exchange_memory_is_bounded(void **state) {
    start(handle_echo);
    limits.max_message_bytes = 300;
    uint64_t before = rejections("max_message_bytes");
    send_head_of(400);
    expect_refusal(431, "max_message_bytes", before);
    finish();
}

/* ---- timers */

#define SHORT_MS 30

static usec_t since;

static void assert_took_at_least(uint64_t ms) {
    assert_true(time_mono() - since >= ms * USEC_PER_MSEC);
}

static void test_header_timer_answers_408_to_half_a_head(void **state) {
    start(handle_echo);
    limits.header_timeout_ms = SHORT_MS;
    reconnect();
    uint64_t before = rejections("header_timeout_ms");
    since = time_mono();
    send_text("GET / HTTP/1.1\r\nHost:");
    expect_refusal(408, "header_timeout_ms", before);
    assert_took_at_least(SHORT_MS - 1);
    finish();
}

static void test_header_timer_is_not_reset_by_trickling(void **state) {
    start(handle_echo);
    limits.header_timeout_ms = SHORT_MS;
    send_text("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_status(200);
    since = time_mono();
    send_text("GET / HTTP/1.1\r\nX: ");
    watch();
    while (receive(), hx.rx.n == 0) {
        (void)!send(hx.fd, "y", 1, MSG_NOSIGNAL | MSG_DONTWAIT); /* a byte a turn, for ever */
        loop_turn(hx.loop);
    }
    assert_took_at_least(SHORT_MS - 1);
    assert_true(time_mono() - since < 5 * USEC_PER_SEC);
    expect_status(408);
    finish();
}

static void test_header_timer_closes_a_silent_connection_without_a_word(void **state) {
    start(handle_echo);
    limits.header_timeout_ms = SHORT_MS;
    since = time_mono();
    reconnect();
    expect_end();
    assert_took_at_least(SHORT_MS - 1);
    finish();
}

static void test_header_timer_counts_while_the_protocol_is_unknown(void **state) {
    start(handle_echo);
    limits.header_timeout_ms = SHORT_MS;
    reconnect();
    uint64_t before = rejections("header_timeout_ms");
    send_text("PRI");
    expect_refusal(408, "header_timeout_ms", before);
    finish();
}

static void test_keepalive_timer_closes_an_idle_connection(void **state) {
    start(handle_echo);
    limits.keepalive_timeout_ms = SHORT_MS;
    send_text("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_status(200);
    since = time_mono();
    expect_end();
    assert_took_at_least(SHORT_MS - 5);
    finish();
}

static void test_body_idle_timer_ends_the_sink(void **state) {
    start(handle_echo);
    limits.body_idle_timeout_ms = SHORT_MS;
    uint64_t before = rejections("body_idle_timeout_ms");
    since = time_mono();
    send_text("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    struct reply r = get_reply(false);
    assert_int_equal(r.status, 408);
    assert_non_null(strstr(r.body, "body_idle_timeout_ms (30 ms)"));
    assert_int_equal(hx.end_err.code, ERR_DEADLINE_EXCEEDED);
    assert_int_equal(rejections("body_idle_timeout_ms"), before + 1);
    assert_took_at_least(SHORT_MS - 1);
    expect_end();
    finish();
}

static void later_task(struct timer *t) {
    static const struct body_sink sink = {.data = note_data, .end = note_end};
    xch_read_body(hx.x, 100, &sink, NULL);
    xch_grant(hx.x, 100);
}

static void test_body_idle_timer_rests_while_the_handler_grants_nothing(void **state) {
    struct timer t = {.fn = later_task};
    start(handle_later);
    limits.body_idle_timeout_ms = SHORT_MS;
    send_text("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    until(hx.requests == 1);
    struct clock *c = loop_clock(hx.loop);
    c->ops->arm(c, &t, c->ops->mono(c) + 3 * SHORT_MS * USEC_PER_MSEC);
    until(hx.ends == 1);
    assert_int_equal(hx.end_err.code, ERR_OK);
    assert_int_equal(hx.received, 3);
    xch_reply(hx.x, 200, NULL, 0, STR("ok"));
    expect_body("ok");
    finish();
}

static void test_running_request_has_no_timer(void **state) {
    start(handle_later);
    limits.header_timeout_ms = limits.keepalive_timeout_ms = limits.body_idle_timeout_ms = SHORT_MS;
    limits.write_stall_timeout_ms = SHORT_MS;
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    usec_t end = time_mono() + 3 * SHORT_MS * USEC_PER_MSEC;
    while (time_mono() < end) {
        poll_once();
    }
    assert_int_equal(hx.gone, 0);
    xch_reply(hx.x, 200, NULL, 0, STR("ok"));
    expect_body("ok");
    finish();
}

static void test_write_stall_timer_drops_a_client_that_does_not_read(void **state) {
    static char piece[65536];
    start(handle_later);
    limits.write_stall_timeout_ms = SHORT_MS;
    uint64_t before = rejections("write_stall_timeout_ms");
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    struct xch *x = hx.x;
    xch_start(x, 200, NULL, 0, -1);
    while (xch_write(x, str_n(piece, sizeof(piece)))) {
    }
    since = time_mono();
    watch();
    while (hx.gone == 0) {
        loop_turn(hx.loop); /* the client reads nothing */
    }
    assert_took_at_least(SHORT_MS - 1);
    assert_int_equal(hx.gone, 1);
    assert_int_equal(rejections("write_stall_timeout_ms"), before + 1);
    xch_end(x);
    finish();
}

static void test_refused_client_that_goes_on_sending_can_read_why(void **state) {
    start(handle_echo);
    send_text("BAD\r\n\r\n");
    until(hx.rx.n > 0); /* refused; the server discards what still comes */
    assert_int_equal(send_what_fits(100000), 100000);
    expect_status(400);
    client_close();
    watch();
    while (hx.server->stats.connections_open > 0) {
        loop_turn(hx.loop);
    }
    finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_max_header_bytes),
        cmocka_unit_test(test_max_header_bytes_without_an_end_of_the_head),
        cmocka_unit_test(test_max_header_line),
        cmocka_unit_test(test_max_header_count),
        cmocka_unit_test(test_max_api_body_known_length_and_chunked),
        cmocka_unit_test(test_max_chunk_ext),
        cmocka_unit_test(test_trailers_are_bounded),
        cmocka_unit_test(test_max_connections),
        cmocka_unit_test(test_exchange_memory_is_bounded),
        cmocka_unit_test(test_header_timer_answers_408_to_half_a_head),
        cmocka_unit_test(test_header_timer_is_not_reset_by_trickling),
        cmocka_unit_test(test_header_timer_closes_a_silent_connection_without_a_word),
        cmocka_unit_test(test_header_timer_counts_while_the_protocol_is_unknown),
        cmocka_unit_test(test_keepalive_timer_closes_an_idle_connection),
        cmocka_unit_test(test_body_idle_timer_ends_the_sink),
        cmocka_unit_test(test_body_idle_timer_rests_while_the_handler_grants_nothing),
        cmocka_unit_test(test_running_request_has_no_timer),
        cmocka_unit_test(test_write_stall_timer_drops_a_client_that_does_not_read),
        cmocka_unit_test(test_refused_client_that_goes_on_sending_can_read_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
