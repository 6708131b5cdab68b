/* Request bodies as HTTP carried them: compression within limits, byte order marks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/rest_body.h"
#include "net/unzip.h"
#include "base/limits.h"

#include <zlib.h>

static struct buf pack(const void *p, size_t n, enum unzip_kind kind) {
    struct buf b = BUF_INIT(BUF_NO_MAX);
    z_stream z = {.next_in = (Bytef *)p, .avail_in = (uInt)n};
    assert_int_equal(
        deflateInit2(&z, 9, Z_DEFLATED, kind == UNZIP_GZIP ? 15 + 16 : 15, 9, Z_DEFAULT_STRATEGY),
        Z_OK);
    size_t room = deflateBound(&z, n);
    z.next_out = (Bytef *)buf_reserve(&b, room);
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    buf_commit(&b, room - z.avail_out);
    (void)deflateEnd(&z);
    return b;
}

static void test_text_comes_out_as_it_went_in_up_to_the_limit_exactly(void **state) {
    static const size_t sizes[] = {0, 1, 100, 16384, 16385, 300000};
    char *text = xmalloc(300001);
    struct err err;
    for (size_t i = 0; i < 300001; i++) {
        text[i] = (char)('a' + i * i % 26);
    }
    for (size_t i = 0; i < NR_OF(sizes); i++) {
        for (int kind = UNZIP_GZIP; kind <= UNZIP_DEFLATE; kind++) {
            auto_buf struct buf packed = pack(text, sizes[i], (enum unzip_kind)kind);
            auto_buf struct buf out = BUF_INIT(sizes[i]), tight = BUF_INIT(sizes[i] - 1);
            assert_int_equal(unzip((enum unzip_kind)kind, buf_str(&packed), &out, &err), 0);
            assert_true(str_eq(buf_str(&out), str_n(text, sizes[i])));
            if (sizes[i]) {
                assert_int_equal(unzip((enum unzip_kind)kind, buf_str(&packed), &tight, &err), -1);
                assert_int_equal(err.code, ERR_RESOURCE_EXHAUSTED);
            }
        }
    }
    free(text);
}

static void test_damage_is_told_apart(void **state) {
    auto_buf struct buf packed = pack("{\"a\":1}", 7, UNZIP_GZIP);
    struct err err;
    for (size_t n = 0; n < packed.n; n++) { /* cut anywhere */
        auto_buf struct buf out = BUF_INIT(100);
        assert_int_equal(unzip(UNZIP_GZIP, str_n(packed.p, n), &out, &err), -1);
        assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
        assert_string_equal(err.msg, "it ends too early");
    }
    buf_putc(&packed, 'x');
    auto_buf struct buf out = BUF_INIT(100);
    assert_int_equal(unzip(UNZIP_GZIP, buf_str(&packed), &out, &err), -1);
    assert_string_equal(err.msg, "something follows its end");
    packed.p[packed.n / 2] ^= 0x55;
    buf_clear(&out);
    assert_int_equal(unzip(UNZIP_GZIP, buf_str(&packed), &out, &err), -1);
    assert_int_equal(unzip(UNZIP_DEFLATE, STR("plain text"), &out, &err), -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
}

static int text_of(struct arena *a, const char *encoding, struct str raw, struct str *ret,
                   int *status, struct err *err) {
    *status = 0;
    return rest_body_text(a, str_of(encoding), raw, ret, status, err);
}

static void test_bodies_are_unpacked_by_their_encoding(void **state) {
    auto_arena struct arena *a = arena_new(1 << 20);
    auto_buf struct buf gz = pack("{}", 2, UNZIP_GZIP), zl = pack("{}", 2, UNZIP_DEFLATE);
    struct str text;
    struct err err;
    int status;
    static const char *const gzip_names[] = {"gzip", " GZip ", "x-gzip"};
    for (size_t i = 0; i < NR_OF(gzip_names); i++) {
        assert_int_equal(text_of(a, gzip_names[i], buf_str(&gz), &text, &status, &err), 0);
        assert_true(str_eqc(text, "{}"));
    }
    assert_int_equal(text_of(a, "deflate", buf_str(&zl), &text, &status, &err), 0);
    assert_true(str_eqc(text, "{}"));
    assert_int_equal(text_of(a, "identity", STR("{}"), &text, &status, &err), 0);
    assert_int_equal(text_of(a, "gzip", STR(""), &text, &status, &err), 0); /* no body at all */
    assert_int_equal(text.n, 0);
    assert_int_equal(text_of(a, "", STR("\xef\xbb\xbf{}"), &text, &status, &err), 0);
    assert_true(str_eqc(text, "{}"));

    static const char *const others[] = {"br", "zstd", "gzip, gzip", "compress"};
    for (size_t i = 0; i < NR_OF(others); i++) {
        assert_int_equal(text_of(a, others[i], STR("{}"), &text, &status, &err), -1);
        assert_int_equal(status, 415);
        assert_non_null(strstr(err.msg, others[i]));
    }
    assert_int_equal(text_of(a, "gzip", STR("{}"), &text, &status, &err), -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    assert_int_equal(status, 0);
}

static void test_a_bomb_stops_at_max_api_body(void **state) {
    uint64_t before = limits.max_api_body;
    auto_arena struct arena *a = arena_new(1 << 20);
    char *zeros = xcalloc(1, 10 << 20);
    auto_buf struct buf bomb = pack(zeros, 10 << 20, UNZIP_GZIP);
    struct str text;
    struct err err;
    int status;
    free(zeros);
    limits.max_api_body = 4096;
    assert_int_equal(text_of(a, "gzip", buf_str(&bomb), &text, &status, &err), -1);
    assert_int_equal(err.code, ERR_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(err.msg, "max_api_body (4096 bytes)"));
    limits.max_api_body = before;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_comes_out_as_it_went_in_up_to_the_limit_exactly),
        cmocka_unit_test(test_damage_is_told_apart),
        cmocka_unit_test(test_bodies_are_unpacked_by_their_encoding),
        cmocka_unit_test(test_a_bomb_stops_at_max_api_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
