/* HTTP/2 as a client sees it: nghttp2's client side against a real server on a socket pair. */
#include "harness.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>

#define MAX_STREAMS 4096

struct got {
    int status;
    size_t body_n;
    char body[512];
    char trailer[64], length[32];
    bool closed, ended_by_head;
    uint32_t code;
};

struct upload {
    size_t left;
    bool paused;
};

static struct {
    nghttp2_session *s;
    struct got got[MAX_STREAMS];
    struct upload up;
    bool goaway;
    uint32_t goaway_code;
    int32_t goaway_last;
    unsigned closed;
} cl;

static int c_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *n, size_t nn,
                    const uint8_t *v, size_t vn, uint8_t flags, void *arg) {
    struct got *g = &cl.got[f->hd.stream_id % MAX_STREAMS];
    if (!strcmp((const char *)n, ":status")) {
        g->status = (int)strtol((const char *)v, NULL, 10);
    } else if (!strcmp((const char *)n, "x-trailer")) {
        snprintf(g->trailer, sizeof(g->trailer), "%s", (const char *)v);
    } else if (!strcmp((const char *)n, "content-length")) {
        snprintf(g->length, sizeof(g->length), "%s", (const char *)v);
    }
    return 0;
}

static int c_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                  void *arg) {
    struct got *g = &cl.got[id % MAX_STREAMS];
    size_t room = sizeof(g->body) - 1;
    if (g->body_n < room) {
        memcpy(g->body + g->body_n, p, n < room - g->body_n ? n : room - g->body_n);
    }
    g->body_n += n;
    return 0;
}

static int c_close(nghttp2_session *s, int32_t id, uint32_t code, void *arg) {
    cl.got[id % MAX_STREAMS].closed = true;
    cl.got[id % MAX_STREAMS].code = code;
    cl.closed++;
    return 0;
}

static int c_frame(nghttp2_session *s, const nghttp2_frame *f, void *arg) {
    if (f->hd.type == NGHTTP2_GOAWAY) {
        cl.goaway = true;
        cl.goaway_code = f->goaway.error_code;
        cl.goaway_last = f->goaway.last_stream_id;
    } else if (f->hd.type == NGHTTP2_HEADERS && (f->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        cl.got[f->hd.stream_id % MAX_STREAMS].ended_by_head = true;
    }
    return 0;
}

static void client_open(bool auto_window) {
    nghttp2_session_callbacks *cb;
    nghttp2_option *opt;
    memset(&cl, 0, sizeof(cl));
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_header_callback(cb, c_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, c_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, c_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, c_frame);
    nghttp2_option_new(&opt);
    nghttp2_option_set_no_auto_window_update(opt, !auto_window);
    nghttp2_session_client_new2(&cl.s, cb, NULL, opt);
    nghttp2_option_del(opt);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(cl.s, 0, NULL, 0);
}

static void client_free(void) {
    nghttp2_session_del(cl.s);
    finish();
}

static void client_receive(void) {
    receive();
    if (hx.rx.n) {
        assert_true(nghttp2_session_mem_recv(cl.s, (uint8_t *)hx.rx.p, hx.rx.n) >= 0);
        buf_clear(&hx.rx);
    }
}

/* Takes what came, then sends what the client has to say. */
static void exchange_bytes(void) {
    const uint8_t *p;
    ssize_t n;
    client_receive();
    while (hx.fd >= 0 && !hx.eof && (n = nghttp2_session_mem_send(cl.s, &p)) > 0) {
        size_t at = 0;
        while (at < (size_t)n) {
            ssize_t r = send(hx.fd, p + at, (size_t)n - at, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (r < 0 && errno != EAGAIN) {
                client_receive(); /* the server closed: what it said is still read */
                return;
            }
            if (r < 0) {
                loop_turn(hx.loop);
                receive();
            } else {
                at += (size_t)r;
            }
        }
    }
}

#define until2(cond) until((exchange_bytes(), (cond)))

static ssize_t upload_read(nghttp2_session *s, int32_t id, uint8_t *p, size_t max, uint32_t *flags,
                           nghttp2_data_source *src, void *arg) {
    struct upload *u = src->ptr;
    size_t n = u->left < max ? u->left : max;
    if (u->paused && n == 0) {
        return NGHTTP2_ERR_DEFERRED;
    }
    memset(p, 'u', n);
    u->left -= n;
    if (u->left == 0 && !u->paused) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)n;
}

static nghttp2_nv field(const char *n, const char *v) {
    return (nghttp2_nv){(uint8_t *)n, (uint8_t *)v, strlen(n), strlen(v), 0};
}

static int32_t request_with(const char *method, const char *path, struct upload *up,
                            const char *extra, const char *value) {
    nghttp2_nv nv[] = {field(":method", method), field(":scheme", "http"),
                       field(":authority", "me:1"), field(":path", path),
                       field(extra ? extra : "x-none", value ? value : "")};
    nghttp2_data_provider dp = {.source = {.ptr = up}, .read_callback = upload_read};
    int32_t id = nghttp2_submit_request(cl.s, NULL, nv, extra ? 5 : 4, up ? &dp : NULL, NULL);
    assert_true(id > 0);
    return id;
}

static int32_t request(const char *method, const char *path) {
    return request_with(method, path, NULL, NULL, NULL);
}

static struct got *got(int32_t id) {
    return &cl.got[id % MAX_STREAMS];
}

/* ---- tests */

static void handle_look(struct xch *x, void *arg) {
    const struct xch_head *h = xch_head(x);
    auto_buf struct buf b = BUF_INIT(4096);
    buf_printf(&b, "%.*s|%.*s|%.*s|%s%.*s|%.*s|%.*s|%lld|%d", STR_ARG(h->method),
               STR_ARG(h->authority), STR_ARG(h->path), h->query.p ? "?" : "", STR_ARG(h->query),
               STR_ARG(xch_header(x, "x-mine")), STR_ARG(h->peer), (long long)h->content_length,
               h->has_body);
    xch_reply(x, 200, NULL, 0, buf_str(&b));
}

static void test_head_is_split_into_its_parts(void **state) {
    start(handle_look);
    client_open(true);
    int32_t id = request_with("GET", "/a%20b?x=1&y", NULL, "x-mine", "v");
    until2(got(id)->closed);
    assert_string_equal(got(id)->body, "GET|me:1|/a%20b|?x=1&y|v|test:1|0|0");
    client_free();
}

static void test_head_reply_has_the_length_and_no_body(void **state) {
    start(handle_echo);
    client_open(true);
    int32_t a = request("HEAD", "/four"), b = request("GET", "/g");
    until2(got(a)->closed && got(b)->closed);
    assert_string_equal(got(a)->length, "5");
    assert_int_equal(got(a)->body_n, 0);
    assert_string_equal(got(b)->body, "/g");
    client_free();
}

static void test_bodies_larger_than_every_window_pass_both_ways(void **state) {
    start(handle_echo);
    client_open(true);
    struct upload up = {.left = 3000000};
    int32_t id = request_with("POST", "/", &up, NULL, NULL);
    until2(got(id)->closed);
    assert_int_equal(got(id)->status, 200);
    assert_int_equal(got(id)->body_n, 3000000);
    assert_int_equal(got(id)->code, 0);
    client_free();
}

static void test_body_without_credit_is_held_to_the_window(void **state) {
    static const struct body_sink sink = {.data = note_data, .end = note_end};
    start(handle_later);
    client_open(true);
    struct upload up = {.left = 2000000};
    int32_t id = request_with("POST", "/", &up, NULL, NULL);
    until2(hx.requests == 1);
    struct xch *slow = hx.x;
    xch_read_body(slow, 4000000, &sink, NULL);
    int32_t other = request("GET", "/other"); /* is not held up */
    until2(hx.requests == 2);
    xch_reply(hx.x, 200, NULL, 0, STR("o"));
    until2(got(other)->closed);
    assert_true(up.left >= 2000000 - 262144 - 16384);
    assert_int_equal(hx.received, 0);
    nghttp2_submit_rst_stream(cl.s, 0, id, NGHTTP2_CANCEL);
    until2(hx.gone == 1);
    assert_int_equal(hx.ends, 1);
    assert_int_equal(hx.end_err.code, ERR_CANCELLED);
    xch_reply(slow, 200, NULL, 0, STR("")); /* nobody hears it */
    client_free();
}

static struct xch *held[128];

static void handle_hold(struct xch *x, void *arg) {
    held[hx.requests++] = x;
    xch_on_gone(x, note_gone, NULL);
}

static void test_streams_are_answered_in_any_order_up_to_the_limit(void **state) {
    start(handle_hold);
    limits.max_h2_streams = 10;
    client_close();
    hx.fd = connect_client();
    client_open(true);
    int32_t first = request("GET", "/0");
    until2(hx.requests == 1 && nghttp2_session_get_remote_settings(
                                   cl.s, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) == 10);
    for (int i = 1; i < 25; i++) {
        request("GET", "/n");
    }
    until2(hx.requests == 10);
    xch_reply(held[9], 200, NULL, 0, STR("last")); /* makes room for one */
    until2(hx.requests == 11);
    assert_false(got(first)->closed);
    assert_int_equal(cl.closed, 1);
    for (unsigned i = 0; i < hx.requests; i++) {
        if (i == 9) {
            continue;
        }
        xch_reply(held[i], 200, NULL, 0, STR("x"));
        if (hx.requests < 25) {
            unsigned n = hx.requests;
            until2(hx.requests > n);
        }
    }
    until2(cl.closed == 25);
    assert_int_equal(hx.gone, 0);
    client_free();
}

static void test_reset_stream_is_gone_once_and_the_connection_stays(void **state) {
    start(handle_later);
    client_open(true);
    int32_t id = request("GET", "/");
    until2(hx.requests == 1);
    struct xch *x = hx.x;
    xch_start(x, 200, NULL, 0, -1);
    xch_write(x, STR("begun"));
    until2(got(id)->body_n == 5);
    nghttp2_submit_rst_stream(cl.s, 0, id, NGHTTP2_CANCEL);
    until2(hx.gone == 1);
    assert_true(xch_is_gone(x));
    xch_write(x, STR("more"));
    xch_end(x);
    int32_t next = request("GET", "/2");
    until2(hx.requests == 2);
    xch_reply(hx.x, 200, NULL, 0, STR("ok"));
    until2(got(next)->closed);
    assert_int_equal(hx.gone, 1);
    client_free();
}

static void finish_gone(struct xch *x, void *arg) {
    hx.gone++;
    xch_abort(x);
}
static void handle_then_finish_when_gone(struct xch *x, void *arg) {
    hx.requests++;
    xch_on_gone(x, finish_gone, NULL);
}

static void test_rapid_reset_ends_the_connection(void **state) {
    start(handle_then_finish_when_gone);
    limits.max_h2_resets = 20;
    client_close();
    hx.fd = connect_client();
    client_open(true);
    for (int i = 0; i < 200 && !cl.goaway; i++) {
        int32_t id = request("GET", "/");
        exchange_bytes();
        nghttp2_submit_rst_stream(cl.s, 0, id, NGHTTP2_CANCEL);
        exchange_bytes();
        poll_once();
    }
    until2(cl.goaway || hx.eof);
    assert_true(hx.requests < 40);
    nghttp2_session_del(cl.s);
    finish();
}

static void test_oversize_heads_get_431_naming_the_limit(void **state) {
    static char big[20000];
    start(handle_echo);
    client_open(true);
    memset(big, 'h', sizeof(big) - 1);
    int32_t id = request_with("GET", "/", NULL, "x-big", big);
    until2(got(id)->closed);
    assert_int_equal(got(id)->status, 431);
    assert_non_null(strstr(got(id)->body, "max_header_line is 16384"));
    int32_t ok = request("GET", "/still");
    until2(got(ok)->closed);
    assert_string_equal(got(ok)->body, "/still");
    client_free();
}

static void test_bad_targets_and_hosts_are_refused(void **state) {
    start(handle_echo);
    client_open(true);
    int32_t star = request("OPTIONS", "*");
    int32_t host = request_with("GET", "/", NULL, "host", "other");
    until2(got(star)->closed && got(host)->closed);
    assert_int_equal(got(star)->status, 400);
    assert_int_equal(got(host)->status, 400);
    assert_int_equal(hx.requests, 0);
    client_free();
}

static void handle_trailers(struct xch *x, void *arg) {
    static const struct header t = {STR("x-trailer"), STR("done")};
    bool bare = str_eqc(xch_head(x)->path, "/bare");
    xch_start(x, 200, NULL, 0, -1);
    if (!bare) {
        xch_write(x, STR("body"));
    }
    xch_end_trailers(x, &t, 1);
}

static void test_trailers_follow_the_body_or_are_the_head(void **state) {
    start(handle_trailers);
    client_open(true);
    int32_t a = request("GET", "/x"), b = request("GET", "/bare");
    until2(got(a)->closed && got(b)->closed);
    assert_string_equal(got(a)->body, "body");
    assert_string_equal(got(a)->trailer, "done");
    assert_string_equal(got(b)->trailer, "done");
    assert_true(got(b)->ended_by_head);
    assert_int_equal(got(b)->status, 200);
    client_free();
}

static void test_http1_trailers_need_te_and_chunks(void **state) {
    start(handle_trailers);
    send_text("GET /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    until(str_find(buf_str(&hx.rx), STR("0\r\nx-trailer: done\r\n\r\n")) > 0);
    buf_clear(&hx.rx);
    send_text("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    until(str_find(buf_str(&hx.rx), STR("0\r\n\r\n")) > 0);
    assert_true(str_find(buf_str(&hx.rx), STR("x-trailer")) < 0);
    finish();
}

static void handle_file(struct xch *x, void *arg) {
    FILE *f = tmpfile();
    static char piece[100000];
    assert_non_null(f);
    memset(piece, 'f', sizeof(piece));
    for (int i = 0; i < 10; i++) {
        assert_int_equal(fwrite(piece, 1, sizeof(piece), f), sizeof(piece));
    }
    fflush(f);
    /* "/long" promises what the file does not have */
    uint64_t n = str_eqc(xch_head(x)->path, "/long") ? 2000000 : 999990;
    xch_start(x, 200, NULL, 0, (int64_t)n);
    xch_send_file(x, fileno(f), 10, n);
    fclose(f);
}

static void test_files_are_sent_and_a_truncated_one_is_reset(void **state) {
    start(handle_file);
    client_open(true);
    int32_t a = request("GET", "/a"), b = request("GET", "/long");
    until2(got(a)->closed && got(b)->closed);
    assert_int_equal(got(a)->body_n, 999990);
    assert_int_equal(got(a)->code, 0);
    assert_int_equal(got(b)->code, NGHTTP2_INTERNAL_ERROR);
    client_free();
}

static void test_shutdown_says_goaway_and_finishes_what_runs(void **state) {
    start(handle_later);
    client_open(true);
    int32_t id = request("GET", "/");
    until2(hx.requests == 1);
    net_shutdown(hx.server, 100 * USEC_PER_SEC, on_stopped, NULL);
    until2(cl.goaway);
    assert_int_equal(cl.goaway_code, 0);
    assert_int_equal(cl.goaway_last, id);
    assert_false(hx.stopped);
    xch_reply(hx.x, 200, NULL, 0, STR("in time"));
    until2(got(id)->closed && hx.eof);
    assert_string_equal(got(id)->body, "in time");
    assert_int_equal(hx.gone, 0);
    client_close();
    until(hx.stopped);
    net_free(hx.server);
    loop_free(hx.loop);
    buf_fini(&hx.rx);
    buf_fini(&hx.body);
    nghttp2_session_del(cl.s);
}

static unsigned written;
static void write_more(struct xch *x, void *arg) {
    static char piece[65536];
    hx.drains++;
    while (written < 40) {
        written++;
        if (!xch_write(x, str_n(piece, sizeof(piece)))) {
            return;
        }
    }
    xch_end(x);
}

static void handle_stream(struct xch *x, void *arg) {
    written = 0;
    hx.requests++;
    xch_on_gone(x, finish_gone, NULL);
    xch_on_drain(x, write_more, NULL);
    xch_start(x, 200, NULL, 0, -1);
    write_more(x, NULL);
}

static void test_slow_source_is_paused_and_resumed(void **state) {
    start(handle_stream);
    client_open(true);
    int32_t id = request("GET", "/");
    until2(got(id)->closed);
    assert_int_equal(got(id)->body_n, 40 * 65536);
    assert_true(hx.drains > 1);
    client_free();
}

static void test_client_that_gives_no_window_is_cut_off(void **state) {
    start(handle_stream);
    limits.write_stall_timeout_ms = 30;
    client_open(false); /* never updates a window */
    int32_t id = request("GET", "/");
    until2(got(id)->closed);
    assert_int_equal(got(id)->code, NGHTTP2_CANCEL);
    assert_int_equal(hx.gone, 1);
    assert_true(written < 40);
    client_free();
}

static void test_body_that_pauses_ends_by_the_limit(void **state) {
    start(handle_echo);
    limits.body_idle_timeout_ms = 30;
    client_open(true);
    struct upload up = {.left = 10, .paused = true};
    int32_t id = request_with("POST", "/", &up, NULL, NULL);
    until2(got(id)->closed);
    assert_int_equal(got(id)->status, 408);
    assert_int_equal(hx.ends, 1);
    client_free();
}

static void test_idle_and_silent_connections_end(void **state) {
    start(handle_echo);
    limits.keepalive_timeout_ms = 30;
    client_open(true);
    until2(cl.goaway && hx.eof);
    assert_int_equal(cl.goaway_code, 0);
    nghttp2_session_del(cl.s);
    limits.header_timeout_ms = 30;
    reconnect();
    send_text("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); /* no SETTINGS follow */
    until(hx.eof);
    finish();
}

static void test_garbage_after_the_preface_gets_goaway(void **state) {
    start(handle_echo);
    client_open(true);
    send_text("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.eof);
    assert_true(hx.rx.n > 9);
    assert_true(nghttp2_session_mem_recv(cl.s, (uint8_t *)hx.rx.p, hx.rx.n) > 0);
    buf_clear(&hx.rx);
    assert_true(cl.goaway);
    assert_int_equal(hx.requests, 0);
    nghttp2_session_del(cl.s);
    finish();
}

static void test_vanished_client_is_gone_on_every_stream(void **state) {
    start(handle_then_finish_when_gone);
    client_open(true);
    request("GET", "/1");
    request("GET", "/2");
    until2(hx.requests == 2);
    client_close();
    watch();
    while (hx.gone < 2) {
        loop_turn(hx.loop);
    }
    nghttp2_session_del(cl.s);
    finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_is_split_into_its_parts),
        cmocka_unit_test(test_head_reply_has_the_length_and_no_body),
        cmocka_unit_test(test_bodies_larger_than_every_window_pass_both_ways),
        cmocka_unit_test(test_body_without_credit_is_held_to_the_window),
        cmocka_unit_test(test_streams_are_answered_in_any_order_up_to_the_limit),
        cmocka_unit_test(test_reset_stream_is_gone_once_and_the_connection_stays),
        cmocka_unit_test(test_rapid_reset_ends_the_connection),
        cmocka_unit_test(test_oversize_heads_get_431_naming_the_limit),
        cmocka_unit_test(test_bad_targets_and_hosts_are_refused),
        cmocka_unit_test(test_trailers_follow_the_body_or_are_the_head),
        cmocka_unit_test(test_http1_trailers_need_te_and_chunks),
        cmocka_unit_test(test_files_are_sent_and_a_truncated_one_is_reset),
        cmocka_unit_test(test_shutdown_says_goaway_and_finishes_what_runs),
        cmocka_unit_test(test_slow_source_is_paused_and_resumed),
        cmocka_unit_test(test_client_that_gives_no_window_is_cut_off),
        cmocka_unit_test(test_body_that_pauses_ends_by_the_limit),
        cmocka_unit_test(test_idle_and_silent_connections_end),
        cmocka_unit_test(test_garbage_after_the_preface_gets_goaway),
        cmocka_unit_test(test_vanished_client_is_gone_on_every_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
