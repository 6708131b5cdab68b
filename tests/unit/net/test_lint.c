/* The raw checks: the table of malformed requests, chunk framing in every split, protocol sniffing,
 * listen addresses. */
#include "harness.h"

#include "net/sniff.h"

#include <stdlib.h>

static int hex(char c) {
    return c >= 'a' ? c - 'a' + 10 : c >= 'A' ? c - 'A' + 10 : c - '0';
}

/* C escapes and {N:c}; CHECKs the table's own syntax. */
static void unescape(struct buf *b, struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '\\') {
            c = s.p[++i];
            if (c == 'x') {
                buf_putc(b, (char)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2])));
                i += 2;
            } else {
                buf_putc(b, c == 'r'   ? '\r'
                            : c == 'n' ? '\n'
                            : c == 't' ? '\t'
                            : c == '0' ? '\0'
                                       : c);
            }
        } else if (c == '{') {
            struct str rest = str_sub(s, i + 1, s.n);
            struct str count = str_cut(&rest, ':');
            uint64_t n = 0;
            assert_true(str_to_u64(count, &n));
            for (uint64_t k = 0; k < n; k++) {
                buf_putc(b, rest.p[0]);
            }
            i += count.n + 3;
        } else {
            buf_putc(b, c);
        }
    }
}

static void one_case(int status, struct str bytes, unsigned line, size_t piece) {
    reconnect();
    for (size_t at = 0; at < bytes.n && !hx.eof; at += piece) {
        size_t n = bytes.n - at < piece ? bytes.n - at : piece;
        ssize_t r = send(hx.fd, bytes.p + at, n, MSG_NOSIGNAL);
        poll_once();
        receive();
        if (r < 0) {
            break; /* refused before the end */
        }
    }
    struct reply r = get_reply(false);
    if (r.status != status) {
        fail_msg("h1_reject.txt line %u: answered %d (%s), expected %d", line, r.status, r.body,
                 status);
    }
    if (status != 200) {
        if (!str_starts(str_of(r.body), STR("{")) && hx.ends == 0) {
            fail_msg("h1_reject.txt line %u: not a JSON error: %s", line, r.body);
        }
        expect_end();
    }
}

static void test_malformed_requests_are_refused_and_their_neighbours_pass(void **state) {
    char line[4096];
    unsigned no = 0, cases = 0;
    FILE *f = fopen(WIRE_DIR "/h1_reject.txt", "r");
    assert_non_null(f);
    start(handle_echo);
    while (fgets(line, sizeof(line), f)) {
        struct str s = str_of(line);
        uint64_t status;
        no++;
        s.n -= s.n && s.p[s.n - 1] == '\n';
        if (s.n == 0 || s.p[0] == '#') {
            continue;
        }
        assert_true(str_to_u64(str_cut(&s, ' '), &status));
        auto_buf struct buf b = BUF_INIT(1 << 20);
        unescape(&b, s);
        hx.ends = 0;
        one_case((int)status, buf_str(&b), no, b.n);
        hx.ends = 0;
        one_case((int)status, buf_str(&b), no, b.n > 5000 ? 1000 : 1); /* and byte by byte */
        cases++;
    }
    fclose(f);
    assert_true(cases > 100);
    finish();
}

static void collect(void *arg, struct str bytes) {
    buf_put_str(arg, bytes);
}

static void test_chunked_body_reads_the_same_in_every_split(void **state) {
    static const char head[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    static const char body[] =
        "3\r\nabc\r\n10;e=\"1\"\r\n0123456789abcdef\r\n1\r\n!\r\n0\r\nT: v\r\n\r\n"
        "GET /next";
    h1_parse_setup();
    for (size_t cut = 0; cut < sizeof(body); cut++) {
        for (uint64_t credit = 1; credit < 20; credit += 6) {
            struct h1_parse p;
            struct h1_fault f;
            struct header headers[2];
            char copy[sizeof(head)];
            auto_buf struct buf got = BUF_INIT(100);
            struct str in = {body, cut};
            size_t used = 0;
            memcpy(copy, head, sizeof(head));
            assert_int_equal(
                h1_parse_head(&p, copy, sizeof(head) - 1, headers, 2, collect, &got, &f), 0);
            assert_false(p.done);
            while (!p.done) {
                ptrdiff_t n = h1_parse_body(&p, str_sub(in, used, in.n), credit, &f);
                assert_true(n >= 0);
                used += (size_t)n;
                if (n == 0) {
                    assert_int_equal(used, in.n); /* stuck only for want of bytes */
                    in.n = sizeof(body) - 1;
                }
            }
            assert_string_equal(buf_cstr(&got), "abc0123456789abcdef!");
            assert_string_equal(body + used, "GET /next");
        }
    }
}

static void test_credit_is_never_passed_and_framing_needs_none(void **state) {
    char head[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    struct h1_parse p;
    struct h1_fault f;
    struct header headers[2];
    auto_buf struct buf got = BUF_INIT(100);
    assert_int_equal(h1_parse_head(&p, head, sizeof(head) - 1, headers, 2, collect, &got, &f), 0);
    assert_true(h1_parse_at_framing(&p));
    assert_int_equal(h1_parse_body(&p, STR("5\r\nhello\r\n0\r\n\r\n"), 0, &f), 3);
    assert_false(h1_parse_at_framing(&p));
    assert_int_equal(got.n, 0);
    assert_int_equal(h1_parse_body(&p, STR("hello\r\n0\r\n\r\n"), 4, &f), 4);
    assert_int_equal(h1_parse_body(&p, STR("o\r\n0\r\n\r\n"), 1, &f), 8);
    assert_true(p.done);
    assert_string_equal(buf_cstr(&got), "hello");
}

static void test_sniffing_decides_as_early_as_it_can(void **state) {
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_int_equal(sniff_first_bytes((struct str){NULL, 0}), SNIFF_MORE);
    assert_int_equal(sniff_first_bytes(STR("\x16")), SNIFF_TLS);
    assert_int_equal(sniff_first_bytes(STR("G")), SNIFF_H1);
    assert_int_equal(sniff_first_bytes(STR("PO")), SNIFF_H1);
    for (size_t n = 1; n < SNIFF_MAX; n++) {
        assert_int_equal(sniff_first_bytes(str_n(preface, n)), SNIFF_MORE);
    }
    assert_int_equal(sniff_first_bytes(STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore")), SNIFF_H2);
    assert_int_equal(sniff_first_bytes(STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\rX")), SNIFF_H1);
}

static void test_loopback_addresses_are_known(void **state) {
    assert_true(net_is_loopback("127.0.0.1:80"));
    assert_true(net_is_loopback("127.9.9.9:80"));
    assert_true(net_is_loopback("localhost:0"));
    assert_true(net_is_loopback("[::1]:80"));
    assert_true(net_is_loopback("unix:/tmp/x"));
    assert_false(net_is_loopback("0.0.0.0:80"));
    assert_false(net_is_loopback("[::]:80"));
    assert_false(net_is_loopback("192.168.1.1:80"));
    assert_false(net_is_loopback("nonsense"));
}

static void test_bad_listen_addresses_are_errors(void **state) {
    static const char *const bad[] = {"",
                                      "80",
                                      "localhost",
                                      "localhost:",
                                      "1.2.3:4",
                                      "127.0.0.1:65536",
                                      "127.0.0.1:x",
                                      "[::1:80",
                                      "unix:",
                                      "host.example:80",
                                      ":80"};
    struct loop *l = loop_new();
    struct err err;
    for (size_t i = 0; i < NR_OF(bad); i++) {
        struct net_config cfg = {.listen = bad[i], .handler = handle_echo};
        assert_null(net_listen(l, &cfg, &err));
        assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    }
    loop_free(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed_requests_are_refused_and_their_neighbours_pass),
        cmocka_unit_test(test_chunked_body_reads_the_same_in_every_split),
        cmocka_unit_test(test_credit_is_never_passed_and_framing_needs_none),
        cmocka_unit_test(test_sniffing_decides_as_early_as_it_can),
        cmocka_unit_test(test_loopback_addresses_are_known),
        cmocka_unit_test(test_bad_listen_addresses_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
