/* The pure parsers of the storage API: multipart bodies fed in pieces of every size, ranges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "api/gcs_multipart.h"
#include "api/gcs_range.h"

static void take_media(void *arg, struct str bytes) {
    buf_put_str(arg, bytes);
}

static int parse(struct str type, struct str body, size_t piece, struct buf *json, struct buf *mime,
                 struct buf *data) {
    struct multipart m;
    struct err err;
    if (multipart_init(&m, type, 1000, take_media, data, &err) < 0) {
        return -1;
    }
    int r = 0;
    for (size_t at = 0; r == 0 && at < body.n; at += piece) {
        auto_free char *copy =
            str_dup(str_sub(body, at, piece)); /* its own memory: ASan sees overreads */
        r = multipart_feed(&m, str_n(copy, str_sub(body, at, piece).n), &err);
    }
    r = r < 0 ? r : multipart_end(&m, &err);
    if (r == 0) {
        buf_put_str(json, multipart_json(&m));
        buf_put_str(mime, multipart_media_type(&m));
    } else {
        assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    }
    multipart_fini(&m);
    return r;
}

static void check(const char *type, struct str body, const char *json, const char *mime,
                  struct str data) {
    for (size_t piece = 1; piece <= body.n + 1; piece++) {
        auto_buf struct buf j = BUF_INIT(BUF_NO_MAX), t = BUF_INIT(BUF_NO_MAX),
                            d = BUF_INIT(BUF_NO_MAX);
        assert_int_equal(parse(str_of(type), body, piece, &j, &t, &d), 0);
        assert_true(str_eq(str_trim(buf_str(&j)), str_of(json)) ||
                    strncmp(buf_cstr(&j), json, strlen(json)) == 0);
        assert_string_equal(buf_cstr(&t), mime);
        assert_true(str_eq(buf_str(&d), data));
    }
}

static void test_every_dialect_in_pieces_of_every_size(void **state) {
    check(
        "multipart/related; boundary=\"===1==\"", /* Python */
        STR("--===1==\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n{\"name\": \"x\"}\r\n"
            "--===1==\r\ncontent-type: text/plain\r\n\r\nhello\r\n--===1==--"),
        "{\"name\": \"x\"}", "text/plain", STR("hello"));
    check("multipart/related; boundary='===2=='", /* gcloud */
          STR("--===2==\nContent-Type: application/json\nMIME-Version: 1.0\n\n{\"name\":\"x\"}\n"
              "--===2==\nContent-Type: a/b\nMIME-Version: 1.0\nContent-Transfer-Encoding: "
              "binary\n\nda\r\nta\n\n--===2==--"),
          "{\"name\":\"x\"}", "a/b", STR("da\r\nta\n"));
    check("multipart/related; boundary=\"==0==\"", /* gcsfs */
          STR("--==0==\nContent-Type: application/json; "
              "charset=UTF-8\n\n{}\n--==0==\nContent-Type: a/b\n\n"
              "data\r\n--==0==--"),
          "{}", "a/b", STR("data\r"));
    check(
        "multipart/related; boundary=\"==0==\"", /* without a line end before the last delimiter */
        STR("--==0==\nContent-Type: application/json\n\n{}\n--==0==\nContent-Type: "
            "a/b\n\ndata--==0==--"),
        "{}", "a/b", STR("data"));
    check("multipart/related; boundary=0c1b-uuid", /* Node */
          STR("--0c1b-uuid\r\nContent-Type: "
              "application/json\r\n\r\n{}\r\n--0c1b-uuid\r\nContent-Type: a/b\r\n\r\n"
              "\r\n--0c1b-uui\r\n--0c1b-uuidX\r\n--0c1b-uuid--\r\n"),
          "{}", "a/b", STR("\r\n--0c1b-uui\r\n--0c1b-uuidX"));
    check("multipart/related; charset=x; Boundary=B; q=1",
          STR("preamble\r\n--B\r\n\r\n{}\r\n--B\r\n\r\n\r\n--B--\r\nepilogue\r\n--B--"), "{}", "",
          STR(""));
}

static void test_broken_multipart_bodies_are_refused(void **state) {
    static const char *const types[] = {
        "multipart/related", "multipart/related; boundary=", "multipart/related; boundary=\"x", ""};
    static const char *const bodies[] = {
        "",
        "--B",
        "--B\r\n",
        "--B\r\n\r\n{}",
        "--B\r\n\r\n{}\r\n--B--",
        "--B\r\n\r\n{}\r\n--B\r\n\r\ndata",
        "--B\r\n--B\r\n\r\n{}",
        "--B\r\n\r\n{}\r\n--B\r\n\r\ndata\r\n--B",
        "no delimiter at all\r\n\r\n",
        "--B\r\n\r\n{}\r\n--B\r\n\r\ndata\r\n--B-",
    };
    auto_buf struct buf j = BUF_INIT(BUF_NO_MAX), t = BUF_INIT(BUF_NO_MAX),
                        d = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < NR_OF(types); i++) {
        assert_int_equal(parse(str_of(types[i]), STR(""), 1, &j, &t, &d), -1);
    }
    for (size_t i = 0; i < NR_OF(bodies); i++) {
        for (size_t piece = 1; piece < 30; piece++) {
            if (parse(STR("multipart/related; boundary=B"), str_of(bodies[i]), piece, &j, &t, &d) !=
                -1) {
                fail_msg("taken: %s", bodies[i]);
            }
        }
    }
    auto_free char *big = xmalloc(20000);
    memset(big, 'x', 20000);
    memcpy(big, "--B\r\n\r\n", 7);
    assert_int_equal(
        parse(STR("multipart/related; boundary=B"), str_n(big, 20000), 999, &j, &t, &d), -1);
}

static void test_ranges(void **state) {
    static const struct {
        const char *h;
        uint64_t size;
        enum range_kind kind;
        uint64_t first, n;
    } cases[] = {
        {"bytes=0-", 10, RANGE_PART, 0, 10},
        {"bytes=2-4", 10, RANGE_PART, 2, 3},
        {"bytes=2-400", 10, RANGE_PART, 2, 8},
        {"bytes=-3", 10, RANGE_PART, 7, 3},
        {"bytes=-30", 10, RANGE_PART, 0, 10},
        {"bytes=10-", 10, RANGE_UNSATISFIABLE, 0, 10},
        {"bytes=-0", 10, RANGE_UNSATISFIABLE, 0, 10},
        {"bytes=0-", 0, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=4-2", 10, RANGE_WHOLE, 0, 10},
        {"bytes=1-2,4-5", 10, RANGE_WHOLE, 0, 10},
        {"", 10, RANGE_WHOLE, 0, 10},
        {"bytes=", 10, RANGE_WHOLE, 0, 10},
        {"bytes=a-b", 10, RANGE_WHOLE, 0, 10},
        {"bytes=18446744073709551616-", 10, RANGE_WHOLE, 0, 10},
        {"bytes=0-18446744073709551615", 10, RANGE_PART, 0, 10},
    };
    for (size_t i = 0; i < NR_OF(cases); i++) {
        uint64_t first, n;
        enum range_kind k = range_parse(str_of(cases[i].h), cases[i].size, &first, &n);
        if (k != cases[i].kind || first != cases[i].first || n != cases[i].n) {
            fail_msg("%s", cases[i].h);
        }
    }
}

static void test_content_ranges(void **state) {
    struct content_range c;
    assert_true(content_range_parse(STR("bytes 0-9/10"), &c) && c.has_last && c.has_total &&
                c.last == 9 && c.total == 10);
    assert_true(content_range_parse(STR("bytes 5-9/*"), &c) && c.first == 5 && c.has_last &&
                !c.has_total && !c.is_query);
    assert_true(content_range_parse(STR("bytes 0-*/*"), &c) && !c.has_last && !c.has_total &&
                !c.is_query);
    assert_true(content_range_parse(STR("bytes */10"), &c) && c.is_query && c.has_total);
    assert_true(content_range_parse(STR("bytes */*"), &c) && c.is_query && !c.has_total);
    static const char *const bad[] = {"",
                                      "bytes",
                                      "bytes 0-9",
                                      "bytes 9-0/10",
                                      "bytes 0-10/10",
                                      "bytes 11-*/10",
                                      "lines 0-1/2",
                                      "bytes -5/10",
                                      "bytes 0-1/x",
                                      "bytes 0-18446744073709551615/*",
                                      "bytes 1/2"};
    for (size_t i = 0; i < NR_OF(bad); i++) {
        if (content_range_parse(str_of(bad[i]), &c)) {
            fail_msg("taken: %s", bad[i]);
        }
    }
}

static void test_goog_hash(void **state) {
    struct goog_hash h;
    assert_true(goog_hash_parse(STR("crc32c=4waSgw==, md5=JfnnlDI7RTiF9RgfG2JNCw=="), &h));
    assert_true(h.has_crc32c && h.crc32c == 0xe3069283 && h.has_md5 && h.md5[0] == 0x25);
    assert_true(goog_hash_parse((struct str){0}, &h) && !h.has_md5 && !h.has_crc32c);
    assert_false(goog_hash_parse(STR("md5=AAAA"), &h));
    assert_false(goog_hash_parse(STR("crc32c=!"), &h));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_dialect_in_pieces_of_every_size),
        cmocka_unit_test(test_broken_multipart_bodies_are_refused),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_content_ranges),
        cmocka_unit_test(test_goog_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
