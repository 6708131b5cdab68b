/* Clients that vanish at every step, and shutdown. */
#include "harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

static const struct body_sink sink = {.data = note_data, .end = note_end};

static void wait_for_no_connections(void) {
    watch();
    while (hx.server->stats.connections_open > 0) {
        loop_turn(hx.loop);
    }
}

static void test_before_the_head_is_complete_nobody_hears_of_it(void **state) {
    static const char req[] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
    start(handle_later);
    for (size_t n = 0; n < sizeof(req) - 1; n++) {
        reconnect();
        send_bytes(req, n);
        poll_once();
        client_close();
        wait_for_no_connections();
    }
    assert_int_equal(hx.requests, 0);
    finish();
}

static void test_while_the_handler_works_it_is_told_once_and_replies_go_nowhere(void **state) {
    start(handle_later);
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    client_close();
    wait_for_no_connections();
    assert_int_equal(hx.gone, 1);
    assert_true(xch_is_gone(hx.x));
    assert_true(str_eqc(xch_head(hx.x)->path, "/")); /* still there until finished */
    xch_start(hx.x, 200, NULL, 0, -1);
    assert_true(xch_write(hx.x, STR("nobody")));
    xch_end(hx.x);
    assert_int_equal(hx.gone, 1);
    finish();
}

static void test_with_unread_pipelined_requests_behind(void **state) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    start(handle_later);
    for (int i = 0; i < 3000; i++) {
        buf_puts(&b, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    ssize_t r = send(hx.fd, b.p, b.n, MSG_DONTWAIT | MSG_NOSIGNAL);
    assert_true(r > 40000); /* more than the server reads ahead */
    until(hx.requests == 1);
    poll_once();
    poll_once();
    client_close();
    wait_for_no_connections();
    assert_int_equal(hx.gone, 1);
    xch_reply(hx.x, 200, NULL, 0, STR("x"));
    finish();
}

static void test_before_any_credit(void **state) {
    start(handle_later);
    send_text("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    until(hx.requests == 1);
    xch_read_body(hx.x, 100, &sink, NULL);
    client_close();
    wait_for_no_connections();
    assert_int_equal(hx.ends, 1);
    assert_int_equal(hx.end_err.code, ERR_CANCELLED);
    assert_int_equal(hx.gone, 1);
    xch_abort(hx.x);
    finish();
}

static void test_in_the_middle_of_the_body(void **state) {
    static const char *const reqs[] = {
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    };
    start(handle_later);
    for (size_t i = 0; i < NR_OF(reqs); i++) {
        reconnect();
        hx.requests = hx.ends = hx.gone = 0;
        hx.received = 0;
        send_text(reqs[i]);
        until(hx.requests == 1);
        xch_read_body(hx.x, 100, &sink, NULL);
        xch_grant(hx.x, 100);
        until(hx.received == 3);
        client_close();
        wait_for_no_connections();
        assert_int_equal(hx.ends, 1);
        assert_int_equal(hx.end_err.code, ERR_CANCELLED);
        assert_int_equal(hx.gone, 1);
        xch_reply(hx.x, 200, NULL, 0, STR("x"));
    }
    finish();
}

static void end_aborts(struct xch *x, void *arg, const struct err *err) {
    note_end(x, arg, err);
    xch_abort(x);
}

static void test_handler_that_finishes_in_its_sink_is_not_told_again(void **state) {
    static const struct body_sink aborting = {.data = note_data, .end = end_aborts};
    start(handle_later);
    send_text("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    until(hx.requests == 1);
    xch_read_body(hx.x, 100, &aborting, NULL);
    xch_grant(hx.x, 100);
    until(hx.received == 3);
    client_close();
    wait_for_no_connections();
    assert_int_equal(hx.ends, 1);
    assert_int_equal(hx.gone, 0);
    finish();
}

static void test_body_asked_for_after_the_client_vanished_ends_with_an_error(void **state) {
    start(handle_later);
    send_text("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
    until(hx.requests == 1);
    client_close();
    wait_for_no_connections();
    xch_read_body(hx.x, 100, &sink, NULL);
    xch_grant(hx.x, 100);
    assert_int_equal(hx.ends, 0); /* not from within */
    watch();
    while (hx.ends == 0) {
        loop_turn(hx.loop);
    }
    assert_int_equal(hx.end_err.code, ERR_CANCELLED);
    xch_reply(hx.x, 200, NULL, 0, STR("x"));
    finish();
}

static void test_in_the_middle_of_the_reply(void **state) {
    static char piece[65536];
    start(handle_later);
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    xch_start(hx.x, 200, NULL, 0, -1);
    while (xch_write(hx.x, str_n(piece, sizeof(piece)))) {
        poll_once();
    }
    client_close();
    wait_for_no_connections();
    assert_int_equal(hx.gone, 1);
    assert_true(xch_write(hx.x, STR("more")));
    xch_end(hx.x);
    finish();
}

static void test_in_the_middle_of_a_file(void **state) {
    start(handle_later);
    int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 50000000), 0);
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    xch_start(hx.x, 200, NULL, 0, 50000000);
    xch_send_file(hx.x, fd, 0, 50000000);
    close(fd);
    until(hx.rx.n > 100000);
    client_close();
    wait_for_no_connections();
    assert_int_equal(hx.gone, 0); /* the handler had finished */
    finish();
}

static void test_references_keep_the_exchange_after_everything_is_over(void **state) {
    start(handle_later);
    send_text("GET /kept HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    struct xch *x = xch_ref(hx.x);
    xch_reply(x, 200, NULL, 0, STR("ok"));
    expect_body("ok");
    client_close();
    wait_for_no_connections();
    assert_true(str_eqc(xch_head(x)->path, "/kept"));
    assert_int_equal(hx.server->stats.exchanges_open, 1);
    xch_unref(x);
    assert_int_equal(hx.server->stats.exchanges_open, 0);
    finish();
}

static void test_server_memory_outlives_net_free_while_exchanges_do(void **state) {
    start(handle_later);
    send_text("GET /kept HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    struct xch *x = hx.x;
    watch();
    net_shutdown(hx.server, 0, on_stopped, NULL);
    while (!hx.stopped) {
        loop_turn(hx.loop);
    }
    assert_int_equal(hx.gone, 1);
    net_free(hx.server);
    xch_reply(x, 200, NULL, 0, STR("late")); /* frees the last of it */
    client_close();
    loop_free(hx.loop);
    buf_fini(&hx.rx);
    buf_fini(&hx.body);
}

/* ---- shutdown */

static void test_shutdown_lets_the_running_exchange_finish_and_closes_idle_ones(void **state) {
    start(handle_later);
    int idle = connect_client();
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /never HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    net_shutdown(hx.server, 10 * USEC_PER_SEC, on_stopped, NULL);
    char c;
    watch();
    while (recv(idle, &c, 1, MSG_DONTWAIT) != 0) {
        loop_turn(hx.loop);
    }
    assert_int_equal(hx.gone, 0);
    assert_false(hx.stopped);
    xch_reply(hx.x, 200, NULL, 0, STR("done"));
    struct reply r = get_reply(false);
    assert_string_equal(r.body, "done");
    assert_non_null(strstr(r.head, "connection: close"));
    expect_end();
    usec_t since = time_mono();
    watch();
    while (!hx.stopped) {
        loop_turn(hx.loop);
    }
    assert_true(time_mono() - since < USEC_PER_SEC); /* although neither client closes its end */
    assert_int_equal(hx.requests, 1);
    close(idle);
    client_close();
    net_free(hx.server);
    loop_free(hx.loop);
    buf_fini(&hx.rx);
    buf_fini(&hx.body);
}

static void test_shutdown_with_nothing_open_calls_back_but_not_from_within(void **state) {
    start(handle_later);
    client_close();
    wait_for_no_connections();
    net_shutdown(hx.server, USEC_PER_SEC, on_stopped, NULL);
    assert_false(hx.stopped);
    watch();
    while (!hx.stopped) {
        loop_turn(hx.loop);
    }
    net_free(hx.server);
    loop_free(hx.loop);
}

/* ---- the real listener */

static void listen_at(const char *at, void (*handler)(struct xch *, void *)) {
    struct net_config cfg = {.listen = at, .handler = handler};
    struct err err;
    memset(&hx, 0, sizeof(hx));
    hx.fd = -1;
    hx.rx = BUF_INIT(BUF_NO_MAX);
    hx.watchdog.fn = watchdog_fired;
    hx.loop = loop_new();
    hx.server = net_listen(hx.loop, &cfg, &err);
    if (!hx.server) {
        fail_msg("%s", err.msg);
    }
}

static void connect_to(const void *address, socklen_t n, int family) {
    hx.fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(hx.fd, address, n), 0);
}

static void connect_tcp(void) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct str a = str_of(net_address(hx.server));
    uint64_t port;
    assert_true(str_eqc(str_cut(&a, ':'), "127.0.0.1"));
    assert_true(str_to_u64(a, &port) && port > 0);
    in.sin_port = htons((uint16_t)port);
    connect_to(&in, sizeof(in), AF_INET);
}

static void test_listens_on_a_free_tcp_port_and_says_which(void **state) {
    listen_at("127.0.0.1:0", handle_echo);
    connect_tcp();
    send_text("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_body("/x");
    finish();
}

static void test_a_tcp_reset_is_noticed_whatever_the_connection_waits_for(void **state) {
    struct linger l = {.l_onoff = 1};
    listen_at("127.0.0.1:0", handle_later);
    for (unsigned step = 0; step < 3; step++) {
        hx.gone = hx.requests = hx.ends = 0;
        hx.received = 0;
        connect_tcp();
        send_text("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
        until(hx.requests == 1);
        if (step > 0) { /* 0: resting without credit */
            xch_read_body(hx.x, 10, &sink, NULL);
            xch_grant(hx.x, step == 1 ? 3 : 10); /* 1: credit is spent, 2: waiting for the client */
            until(hx.received == 3);
        }
        assert_int_equal(setsockopt(hx.fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)), 0);
        client_close();
        wait_for_no_connections();
        assert_int_equal(hx.gone, 1);
        assert_int_equal(hx.ends, step > 0);
        xch_reply(hx.x, 200, NULL, 0, STR("x"));
    }
    finish();
}

static void test_a_broken_off_reply_does_not_look_like_its_end(void **state) {
    listen_at("127.0.0.1:0", handle_later);
    connect_tcp();
    send_text("GET / HTTP/1.0\r\n\r\n"); /* the end of the stream is the end of the body */
    until(hx.requests == 1);
    xch_start(hx.x, 200, NULL, 0, -1);
    xch_write(hx.x, STR("half"));
    until(str_ends(buf_str(&hx.rx), STR("half")));
    xch_abort(hx.x);
    until(hx.eof);
    assert_true(hx.reset);
    finish();
}

static void test_listens_on_a_unix_socket_and_removes_its_file(void **state) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct net_config cfg = {.handler = handle_echo};
    struct err err;
    char at[64];
    snprintf(un.sun_path, sizeof(un.sun_path), "/tmp/cusp-net-%d.sock", (int)getpid());
    snprintf(at, sizeof(at), "unix:%.50s", un.sun_path);
    /* As after a crash: the file is there, nobody listens. */
    int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(stale, (struct sockaddr *)&un, sizeof(un)), 0);
    close(stale);
    listen_at(at, handle_echo);
    assert_string_equal(net_address(hx.server), at);
    cfg.listen = at;
    assert_null(net_listen(hx.loop, &cfg, &err)); /* a living server's socket is not taken away */
    connect_to(&un, sizeof(un), AF_UNIX);
    send_text("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_body("/x");
    finish();
    assert_int_equal(access(un.sun_path, F_OK), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_before_the_head_is_complete_nobody_hears_of_it),
        cmocka_unit_test(test_while_the_handler_works_it_is_told_once_and_replies_go_nowhere),
        cmocka_unit_test(test_with_unread_pipelined_requests_behind),
        cmocka_unit_test(test_before_any_credit),
        cmocka_unit_test(test_in_the_middle_of_the_body),
        cmocka_unit_test(test_handler_that_finishes_in_its_sink_is_not_told_again),
        cmocka_unit_test(test_body_asked_for_after_the_client_vanished_ends_with_an_error),
        cmocka_unit_test(test_in_the_middle_of_the_reply),
        cmocka_unit_test(test_in_the_middle_of_a_file),
        cmocka_unit_test(test_references_keep_the_exchange_after_everything_is_over),
        cmocka_unit_test(test_server_memory_outlives_net_free_while_exchanges_do),
        cmocka_unit_test(test_shutdown_lets_the_running_exchange_finish_and_closes_idle_ones),
        cmocka_unit_test(test_shutdown_with_nothing_open_calls_back_but_not_from_within),
        cmocka_unit_test(test_listens_on_a_free_tcp_port_and_says_which),
        cmocka_unit_test(test_a_tcp_reset_is_noticed_whatever_the_connection_waits_for),
        cmocka_unit_test(test_a_broken_off_reply_does_not_look_like_its_end),
        cmocka_unit_test(test_listens_on_a_unix_socket_and_removes_its_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
