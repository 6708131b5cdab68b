/* gRPC's byte formats: timeouts, frames, compression, status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/grpc_frame.h"
#include "api/grpc_status.h"
#include "base/enc.h"
#include "pb/aip.h"
#include "pb/pb.h"

#include <zlib.h>

/* ---- timeouts */

static void test_a_timeout_is_digits_and_a_unit(void **state) {
    static const struct {
        const char *text;
        usec_t want;
    } good[] = {
        {"1H", 3600000000u},
        {"2M", 120000000u},
        {"3S", 3000000u},
        {"250m", 250000u},
        {"7u", 7u},
        {"0m", 0},
        {"0n", 0},
        {"1n", 1}, /* shorter than a microsecond, and still not over */
        {"1000n", 1},
        {"1001n", 2},
        {"00000001S", 1000000u},
        {"99999999H", 99999999ull * 3600000000ull},
    };
    for (size_t i = 0; i < NR_OF(good); i++) {
        usec_t t = 12345;
        assert_true(grpc_timeout_parse(str_of(good[i].text), &t));
        assert_int_equal(t, good[i].want);
    }
}

static void test_a_malformed_timeout_is_refused(void **state) {
    static const char *const bad[] = {"",           "S",   "1",   "1s",  "-1S",      "+1S",
                                      "1.5S",       " 1S", "1S ", "1 S", "1Sm",      "0x1S",
                                      "999999999S", "1h",  "1d",  "mS",  "1\xc2\xb5"};
    for (size_t i = 0; i < NR_OF(bad); i++) {
        usec_t t = 77;
        assert_false(grpc_timeout_parse(str_of(bad[i]), &t));
        assert_int_equal(t, 77);
    }
}

/* ---- frames */

static uint64_t small_limit = 100;

static void put_frame(struct buf *b, unsigned char flag, struct str msg) {
    unsigned char head[GRPC_FRAME_HEAD] = {flag, (unsigned char)(msg.n >> 24),
                                           (unsigned char)(msg.n >> 16),
                                           (unsigned char)(msg.n >> 8), (unsigned char)msg.n};
    buf_put(b, head, sizeof(head));
    buf_put_str(b, msg);
}

/* windowBits 15 is zlib, 31 gzip. */
static void put_packed(struct buf *b, int bits, struct str plain) {
    z_stream z = {.next_in = (Bytef *)plain.p, .avail_in = (uInt)plain.n};
    char out[8192];
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, bits, 9, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_out = (Bytef *)out;
    z.avail_out = sizeof(out);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    buf_put(b, out, sizeof(out) - z.avail_out);
    deflateEnd(&z);
}

static void test_messages_come_out_however_the_body_is_cut(void **state) {
    auto_buf struct buf body = BUF_INIT(BUF_NO_MAX);
    put_frame(&body, 0, STR("hello"));
    put_frame(&body, 0, STR(""));
    put_frame(&body, 0, STR("world"));
    for (size_t piece = 1; piece <= body.n; piece++) {
        auto_buf struct buf got = BUF_INIT(BUF_NO_MAX);
        struct grpc_in in;
        struct err err;
        grpc_in_init(&in, GRPC_IDENTITY, "small", &small_limit);
        for (size_t at = 0; at < body.n; at += piece) {
            struct str bytes = str_sub(buf_str(&body), at, piece), msg;
            int rc = 1;
            while (bytes.n && (rc = grpc_in_take(&in, &bytes, &msg, &err)) > 0) {
                buf_put_str(&got, msg);
                buf_putc(&got, ';');
            }
            assert_true(rc >= 0);
        }
        assert_int_equal(grpc_in_end(&in, &err), 0);
        assert_string_equal(buf_cstr(&got), "hello;;world;");
        grpc_in_fini(&in);
    }
}

static void test_wants_is_exactly_what_completes_the_next_step(void **state) {
    auto_buf struct buf body = BUF_INIT(BUF_NO_MAX);
    struct grpc_in in;
    struct err err;
    struct str msg, bytes;
    put_frame(&body, 0, STR("hello"));
    bytes = buf_str(&body);
    grpc_in_init(&in, GRPC_IDENTITY, "small", &small_limit);
    assert_int_equal(grpc_in_wants(&in), 5);
    struct str two = str_sub(bytes, 0, 2);
    assert_int_equal(grpc_in_take(&in, &two, &msg, &err), 0);
    assert_int_equal(grpc_in_wants(&in), 3);
    struct str six = str_sub(bytes, 2, 4);
    assert_int_equal(grpc_in_take(&in, &six, &msg, &err), 0);
    assert_int_equal(grpc_in_wants(&in), 4);
    struct str rest = str_sub(bytes, 6, 99);
    assert_int_equal(grpc_in_take(&in, &rest, &msg, &err), 1);
    assert_int_equal(grpc_in_wants(&in), 5);
    grpc_in_fini(&in);
}

/* One frame through a fresh reader: 1 and the message in got, or -1 and err. */
static int take_one(enum grpc_encoding e, struct str body, struct buf *got, struct err *err) {
    struct grpc_in in;
    struct str msg;
    grpc_in_init(&in, e, "small", &small_limit);
    int rc = grpc_in_take(&in, &body, &msg, err);
    if (rc > 0) {
        buf_put_str(got, msg);
    }
    grpc_in_fini(&in);
    return rc;
}

static void test_a_message_of_the_limit_passes_and_one_more_byte_does_not(void **state) {
    char text[101];
    struct err err;
    memset(text, 'x', sizeof(text));
    for (size_t n = 100; n <= 101; n++) {
        auto_buf struct buf body = BUF_INIT(BUF_NO_MAX), got = BUF_INIT(BUF_NO_MAX);
        put_frame(&body, 0, str_n(text, n));
        assert_int_equal(take_one(GRPC_IDENTITY, buf_str(&body), &got, &err), n == 100 ? 1 : -1);
    }
    assert_int_equal(err.code, ERR_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(err.msg, "101 bytes"));
    assert_non_null(strstr(err.msg, "small (100"));
}

static void test_compressed_messages_are_unpacked_up_to_the_limit(void **state) {
    char text[5000];
    struct err err;
    memset(text, 'x', sizeof(text));
    for (int gz = 0; gz < 2; gz++) {
        for (size_t n = 0; n <= 5000; n += n < 99 ? 99 : n < 101 ? 1 : 4899) {
            auto_buf struct buf packed = BUF_INIT(BUF_NO_MAX), body = BUF_INIT(BUF_NO_MAX),
                                got = BUF_INIT(BUF_NO_MAX);
            put_packed(&packed, gz ? 31 : 15, str_n(text, n));
            put_frame(&body, 1, buf_str(&packed));
            int rc = take_one(gz ? GRPC_GZIP : GRPC_DEFLATE, buf_str(&body), &got, &err);
            assert_int_equal(rc, n <= 100 ? 1 : -1);
            if (rc > 0) {
                assert_int_equal(got.n, n);
            } else {
                assert_int_equal(err.code, ERR_RESOURCE_EXHAUSTED);
                assert_non_null(strstr(err.msg, "small (100"));
            }
        }
    }
}

static void test_damaged_compression_is_an_internal_error(void **state) {
    auto_buf struct buf packed = BUF_INIT(BUF_NO_MAX), got = BUF_INIT(BUF_NO_MAX);
    struct err err;
    put_packed(&packed, 31, STR("some message that is packed"));
    static const char *const want[] = {"ends too early", "follows its end", "incorrect"};
    for (int how = 0; how < 3; how++) {
        auto_buf struct buf cut = BUF_INIT(BUF_NO_MAX), body = BUF_INIT(BUF_NO_MAX);
        buf_put(&cut, packed.p, how == 0 ? packed.n - 3 : packed.n);
        if (how == 1) {
            buf_puts(&cut, "tail");
        } else if (how == 2) {
            cut.p[0] = 'X';
        }
        put_frame(&body, 1, buf_str(&cut));
        assert_int_equal(take_one(GRPC_GZIP, buf_str(&body), &got, &err), -1);
        assert_int_equal(err.code, ERR_INTERNAL);
        assert_non_null(strstr(err.msg, want[how]));
    }
    auto_buf struct buf none = BUF_INIT(BUF_NO_MAX);
    put_frame(&none, 1, STR(""));
    assert_int_equal(take_one(GRPC_GZIP, buf_str(&none), &got, &err), -1);
}

static void test_flags_that_nobody_defined_are_refused(void **state) {
    auto_buf struct buf body = BUF_INIT(BUF_NO_MAX), got = BUF_INIT(BUF_NO_MAX);
    struct err err;
    put_frame(&body, 2, STR("x"));
    assert_int_equal(take_one(GRPC_GZIP, buf_str(&body), &got, &err), -1);
    assert_int_equal(err.code, ERR_INTERNAL);
    body.p[0] = 1; /* compressed, but nothing said how */
    assert_int_equal(take_one(GRPC_IDENTITY, buf_str(&body), &got, &err), -1);
    assert_int_equal(err.code, ERR_INTERNAL);
}

static void test_a_body_that_ends_inside_a_frame_is_named(void **state) {
    struct grpc_in in;
    struct err err;
    struct str msg, head = {"\0\0", 2}, more = {"\0\0\5ab", 5};
    grpc_in_init(&in, GRPC_IDENTITY, "small", &small_limit);
    assert_int_equal(grpc_in_end(&in, &err), 0);
    assert_int_equal(grpc_in_take(&in, &head, &msg, &err), 0);
    assert_int_equal(grpc_in_end(&in, &err), -1);
    assert_non_null(strstr(err.msg, "2 of 5 bytes"));
    assert_int_equal(grpc_in_take(&in, &more, &msg, &err), 0);
    assert_int_equal(grpc_in_end(&in, &err), -1);
    assert_non_null(strstr(err.msg, "2 of 5 bytes came"));
    grpc_in_fini(&in);
}

/* ---- status */

static struct str find(const struct header *h, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++) {
        if (str_eqc(h[i].name, name)) {
            return h[i].value;
        }
    }
    return (struct str){NULL, 0};
}

static void test_messages_are_percent_encoded(void **state) {
    auto_buf struct buf b = BUF_INIT(1000);
    grpc_percent(&b, STR("a b\t100% \xc3\xa9~\x7f"));
    assert_string_equal(buf_cstr(&b), "a b%09100%25 %C3%A9~%7F");
}

static void test_details_are_a_status_with_the_same_message(void **state) {
    auto_arena struct arena *a = arena_new(1 << 20);
    auto_buf struct buf raw = BUF_INIT(1 << 20);
    struct header h[GRPC_STATUS_HEADERS];
    struct api_error e;
    struct err err;
    ProtobufCMessage *m;
    err_field(&err, ERR_INVALID_ARGUMENT, "parent", "no such %s", "thing");
    api_error_from(a, &err, &e);
    size_t n = grpc_status_headers(a, &e, h);
    assert_int_equal(n, 3);
    assert_true(str_eqc(find(h, n, "grpc-status"), "3"));
    assert_true(str_eqc(find(h, n, "grpc-message"), "no such thing"));
    struct str bin = find(h, n, "grpc-status-details-bin");
    assert_int_equal(str_chr(bin, '='), -1);
    assert_true(enc_unbase64(bin, &raw));
    assert_int_equal(pb_unpack(a, &google__rpc__status__descriptor, buf_str(&raw), &m, &err), 0);
    const Google__Rpc__Status *st = (const Google__Rpc__Status *)m;
    assert_int_equal(st->code, 3);
    assert_string_equal(st->message, "no such thing");
    assert_int_equal(st->n_details, 1);
    assert_string_equal(st->details[0]->type_url, "type.googleapis.com/google.rpc.BadRequest");
}

static void test_an_error_without_details_has_no_details(void **state) {
    auto_arena struct arena *a = arena_new(1 << 20);
    struct header h[GRPC_STATUS_HEADERS];
    struct api_error e = {.code = ERR_NOT_FOUND, .message = STR("gone")};
    assert_int_equal(grpc_status_headers(a, &e, h), 2);
}

static void test_large_errors_are_cut_to_what_clients_take(void **state) {
    auto_arena struct arena *a = arena_new(1 << 22);
    auto_buf struct buf text = BUF_INIT(1 << 20), raw = BUF_INIT(1 << 20);
    struct violations vs;
    struct header h[GRPC_STATUS_HEADERS];
    struct api_error e;
    struct err err;
    ProtobufCMessage *m;
    violations_init(&vs, a);
    for (int i = 0; i < 90; i++) {
        violations_add(&vs, "job_spec.worker_pool_specs", "Violation %d, which goes on \xc3\xa9.",
                       i);
    }
    violations_list_text(&vs, &text);
    api_error_from_violations(a, &vs, buf_str(&text), &e);
    size_t n = grpc_status_headers(a, &e, h), all = 0;
    for (size_t i = 0; i < n; i++) {
        all += h[i].name.n + h[i].value.n + 32;
    }
    assert_int_equal(n, 3);
    assert_true(all < 8192);
    assert_true(enc_unbase64(find(h, n, "grpc-status-details-bin"), &raw));
    assert_int_equal(pb_unpack(a, &google__rpc__status__descriptor, buf_str(&raw), &m, &err), 0);
    const Google__Rpc__Status *st = (const Google__Rpc__Status *)m;
    assert_int_equal(strlen(st->message) <= GRPC_MESSAGE_MAX, 1);
    assert_true(str_ends(str_of(st->message), STR("...")));
    assert_int_equal(st->n_details, 1);
    struct str value = str_n((const char *)st->details[0]->value.data, st->details[0]->value.len);
    assert_int_equal(pb_unpack(a, &google__rpc__bad_request__descriptor, value, &m, &err), 0);
    const Google__Rpc__BadRequest *bad = (const Google__Rpc__BadRequest *)m;
    assert_true(bad->n_field_violations > 10 && bad->n_field_violations < 90);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_timeout_is_digits_and_a_unit),
        cmocka_unit_test(test_a_malformed_timeout_is_refused),
        cmocka_unit_test(test_messages_come_out_however_the_body_is_cut),
        cmocka_unit_test(test_wants_is_exactly_what_completes_the_next_step),
        cmocka_unit_test(test_a_message_of_the_limit_passes_and_one_more_byte_does_not),
        cmocka_unit_test(test_compressed_messages_are_unpacked_up_to_the_limit),
        cmocka_unit_test(test_damaged_compression_is_an_internal_error),
        cmocka_unit_test(test_flags_that_nobody_defined_are_refused),
        cmocka_unit_test(test_a_body_that_ends_inside_a_frame_is_named),
        cmocka_unit_test(test_messages_are_percent_encoded),
        cmocka_unit_test(test_details_are_a_status_with_the_same_message),
        cmocka_unit_test(test_an_error_without_details_has_no_details),
        cmocka_unit_test(test_large_errors_are_cut_to_what_clients_take),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
