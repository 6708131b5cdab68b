/* Unit tests of strings, numbers, times, encodings, JSON writing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>

#include "base/enc.h"
#include "base/jw.h"
#include "base/near.h"
#include "base/rng.h"
#include "base/time.h"

static void test_numbers_refuse_junk_and_overflow(void **state) {
    uint64_t u;
    int64_t i;
    assert_true(str_to_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
    assert_false(str_to_u64(STR("18446744073709551616"), &u));
    assert_false(str_to_u64(STR(""), &u));
    assert_false(str_to_u64(STR("1 "), &u));
    assert_true(str_to_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_false(str_to_i64(STR("9223372036854775808"), &i));
}

static void test_utf8_refuses_overlong_surrogate_and_truncated(void **state) {
    assert_true(str_is_utf8(STR("h\xc3\xa9llo \xe2\x82\xac \xf0\x9f\x98\x80")));
    assert_false(str_is_utf8(STR("\xc0\xaf")));
    assert_false(str_is_utf8(STR("\xed\xa0\x80")));
    assert_false(str_is_utf8(STR("\xf4\x90\x80\x80")));
    assert_false(str_is_utf8(STR("\xe2\x82")));
}

static void check_time(const char *in, usec_t want) {
    usec_t t = 0;
    assert_int_equal(time_parse_rfc3339(str_of(in), &t, NULL), 0);
    assert_true(t == want);
}

static void test_utf8_is_checked_at_every_place(void **state) {
    char text[] = "0123456789abcdefghij";
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        char was = text[i];
        assert_true(str_is_utf8(str_of(text)));
        text[i] = (char)0xff;
        assert_false(str_is_utf8(str_of(text)));
        text[i] = was;
    }
}

static void test_rfc3339_round_trips_and_refuses_nonsense(void **state) {
    usec_t t;
    check_time("1970-01-01T00:00:00Z", 0);
    check_time("2024-02-29T23:59:59.123456Z", 1709251199123456u);
    check_time("2024-03-01T02:59:59.123456789+03:00", 1709251199123456u);
    static const char *const bad[] = {"",
                                      "2023-02-29T00:00:00Z",
                                      "2024-01-01",
                                      "2024-01-01T24:00:00Z",
                                      "2024-01-01T00:00:00",
                                      "2024-01-01T00:00:00.Z",
                                      "2024-01-01T00:00:00Zx",
                                      "1969-12-31T23:59:59Z"};
    for (size_t i = 0; i < NR_OF(bad); i++) {
        assert_int_equal(time_parse_rfc3339(str_of(bad[i]), &t, NULL), -1);
    }
    auto_buf struct buf b = BUF_INIT(100);
    time_format_rfc3339(&b, 1709251199123456u);
    assert_string_equal(b.p, "2024-02-29T23:59:59.123456Z");
    buf_clear(&b);
    time_format_rfc3339(&b, 1709251199120000u);
    assert_string_equal(b.p, "2024-02-29T23:59:59.120Z");
    buf_clear(&b);
    time_format_rfc3339_nano(&b, 1709251199000000u);
    assert_string_equal(b.p, "2024-02-29T23:59:59.000000000Z");
}

static void test_durations_parse_and_print(void **state) {
    usec_t d;
    assert_int_equal(time_parse_duration(STR("3600s"), &d, NULL), 0);
    assert_true(d == 3600000000u);
    assert_int_equal(time_parse_duration(STR("1.5s"), &d, NULL), 0);
    assert_true(d == 1500000u);
    assert_int_equal(time_parse_duration(STR("-1s"), &d, NULL), -1);
    assert_int_equal(time_parse_duration(STR("1.s"), &d, NULL), -1);
    assert_int_equal(time_parse_duration(STR("10"), &d, NULL), -1);
}

static void test_base64_both_alphabets_and_crc32c_vectors(void **state) {
    auto_buf struct buf b = BUF_INIT(100);
    enc_base64(&b, "\xfb\xff\xfe", 3);
    assert_string_equal(b.p, "+//+");
    buf_clear(&b);
    assert_true(enc_unbase64(STR("-__-"), &b));
    assert_memory_equal(b.p, "\xfb\xff\xfe", 3);
    buf_clear(&b);
    assert_true(enc_unbase64(STR("aGk="), &b));
    assert_string_equal(b.p, "hi");
    assert_false(enc_unbase64(STR("a"), &b));
    assert_false(enc_unbase64(STR("a b="), &b));
    /* RFC 3720 B.4: 32 bytes of zero; and the usual check value. */
    char zero[32] = {0};
    assert_int_equal(enc_crc32c(0, zero, 32), 0x8a9136aa);
    assert_int_equal(enc_crc32c(0, "123456789", 9), 0xe3069283);
}

static void test_percent_coding_refuses_bad_escapes_and_nul(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct str s;
    assert_true(enc_unpercent(a, STR("a%2Fb+c"), false, &s) && str_eqc(s, "a/b+c"));
    assert_true(enc_unpercent(a, STR("a+b"), true, &s) && str_eqc(s, "a b"));
    assert_false(enc_unpercent(a, STR("%2"), false, &s));
    assert_false(enc_unpercent(a, STR("%zz"), false, &s));
    assert_false(enc_unpercent(a, STR("%00"), false, &s));
}

static void test_json_writer_finds_what_to_escape_at_every_place(void **state) {
    static const struct {
        const char *in, *out;
    } sp[] = {{"\"", "\\\""},           {"\\", "\\\\"}, {"\x1f", "\\u001f"},
              {"\x7f", "\\u007f"},      {"\n", "\\n"},  {"\x80", "\xef\xbf\xbd"},
              {"\xc3\xa4", "\xc3\xa4"}, {" ", " "},     {"~", "~"}};
    for (size_t k = 0; k < sizeof(sp) / sizeof(sp[0]); k++) {
        for (int at = 0; at < 20; at++) {
            char in[64], want[64];
            auto_buf struct buf b = BUF_INIT(100);
            struct jw w;
            snprintf(in, sizeof(in), "%.*s%s%.*s", at, " abcdefghijklmnopqrst", sp[k].in, 20 - at,
                     "!]^_`0123456789#$%&'");
            snprintf(want, sizeof(want), "\"%.*s%s%.*s\"", at, " abcdefghijklmnopqrst", sp[k].out,
                     20 - at, "!]^_`0123456789#$%&'");
            jw_init(&w, &b, 0);
            jw_cstr(&w, in);
            assert_string_equal(buf_cstr(&b), want);
        }
    }
}

static void test_json_writer_indents_far_and_writes_every_integer(void **state) {
    auto_buf struct buf b = BUF_INIT(1000);
    auto_buf struct buf want = BUF_INIT(1000);
    struct jw w;
    jw_init(&w, &b, 9);
    for (int i = 0; i < 8; i++) {
        jw_array(&w);
    }
    jw_i64(&w, INT64_MIN);
    jw_i64(&w, INT64_MAX);
    jw_u64(&w, UINT64_MAX);
    jw_u64(&w, 0);
    buf_printf(&want, "\n%72s-9223372036854775808,\n%72s9223372036854775807,", "", "");
    buf_printf(&want, "\n%72s18446744073709551615,\n%72s0", "", "");
    assert_non_null(strstr(buf_cstr(&b), buf_cstr(&want)));
}

static void test_json_writer_escapes_and_indents(void **state) {
    auto_buf struct buf b = BUF_INIT(1000);
    struct jw w;
    jw_init(&w, &b, 2);
    jw_object(&w);
    jw_key(&w, "a");
    jw_str(&w, str_n("q\"\\\n\x01\xff\xc3\xa9", 8));
    jw_key(&w, "l");
    jw_array(&w);
    jw_double(&w, 0.1);
    jw_double(&w, NAN);
    jw_i64_string(&w, -3);
    jw_end_array(&w);
    jw_key(&w, "e");
    jw_object(&w);
    jw_end_object(&w);
    jw_end_object(&w);
    assert_string_equal(b.p,
                        "{\n  \"a\": \"q\\\"\\\\\\n\\u0001\xef\xbf\xbd\xc3\xa9\",\n  \"l\": [\n"
                        "    0.1,\n    \"NaN\",\n    \"-3\"\n  ],\n  \"e\": {}\n}");
}

/* The shortest decimal that reads back as v, by trying every length. */
static void shortest(double v, char *ret, size_t room) {
    double back;
    for (int prec = 1; prec <= 17; prec++) {
        int n = snprintf(ret, room, "%.*g", prec, v);
        if (str_to_double(str_n(ret, (size_t)n), &back) && back == v) {
            return;
        }
    }
}

static void assert_written(double v, const char *want) {
    auto_buf struct buf b = BUF_INIT(100);
    struct jw w;
    jw_init(&w, &b, 0);
    jw_double(&w, v);
    assert_string_equal(buf_cstr(&b), want);
}

static void test_json_writer_writes_the_shortest_number(void **state) {
    struct rng r;
    char want[40];
    assert_written(-0.0, "-0");
    assert_written(1000, "1000");
    assert_written(1e15, "1e+15");
    assert_written(1.5e-7, "1.5e-07");
    assert_written(5e-324, "5e-324");
    assert_written(2.2250738585072009e-308, "2.225073858507201e-308");
    assert_written(9007199254740993.0, "9007199254740992");
    assert_written(0x1p-44, "5.684341886080802e-14"); /* %.16g of it does not read back */
    assert_written(0.000123456789012345678, "0.00012345678901234567");
    assert_written(123456789012345.67, "123456789012345.67");
    assert_written(1234567890123456, "1234567890123456");
    assert_written(-1.7976931348623157e308, "-1.7976931348623157e+308");
    rng_seed(&r, 17);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = rng_u64(&r);
        double v;
        memcpy(&v, &bits, sizeof(v)); /* any double */
        if (i % 2) {                  /* what people write */
            v = (double)(bits >> 40) / pow(10, (double)(i % 23));
        }
        if (!isfinite(v) || v == trunc(v)) {
            continue;
        }
        shortest(v, want, sizeof(want));
        assert_written(v, want);
    }
}

/* Where the double below is nearer than the one above. */
static void test_json_writer_reads_powers_of_two_back(void **state) {
    char plain[40];
    double back;
    for (int e = -1074; e < 1024; e++) {
        auto_buf struct buf b = BUF_INIT(100);
        struct jw w;
        jw_init(&w, &b, 0);
        jw_double(&w, ldexp(1, e));
        assert_true(str_to_double(buf_str(&b), &back) && back == ldexp(1, e));
        shortest(back, plain, sizeof(plain));
        assert_true(b.n <= strlen(plain) || back == trunc(back));
    }
}

static const char *meant(const char *typed) {
    static const char *const words[] = {
        "custom-jobs", "hp-tuning-jobs", "models", "storage", "data_dir", "ls", "tls", "config"};
    struct near n = {.typed = str_of(typed)};
    for (size_t i = 0; i < NR_OF(words); i++) {
        near_try(&n, words[i]);
    }
    const char *best = near_best(&n);
    return best ? best : "none";
}

static void test_the_word_that_was_meant_is_found(void **state) {
    static const struct {
        const char *typed, *want;
    } t[] = {{"custom-job", "custom-jobs"},
             {"Custom_Jobs", "custom-jobs"},
             {"jobs", "custom-jobs"},
             {"tuning", "hp-tuning-jobs"},
             {"model", "models"},
             {"strorage", "storage"},
             {"data-dri", "data_dir"},
             {"sl", "ls"},
             {"cofnig", "config"},
             {"conf", "config"},
             {"burn", "none"},
             {"x", "none"},
             {"", "none"},
             {"-", "none"},
             {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "none"}};
    for (size_t i = 0; i < NR_OF(t); i++) {
        assert_string_equal(meant(t[i].typed), t[i].want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_refuse_junk_and_overflow),
        cmocka_unit_test(test_utf8_refuses_overlong_surrogate_and_truncated),
        cmocka_unit_test(test_utf8_is_checked_at_every_place),
        cmocka_unit_test(test_rfc3339_round_trips_and_refuses_nonsense),
        cmocka_unit_test(test_durations_parse_and_print),
        cmocka_unit_test(test_base64_both_alphabets_and_crc32c_vectors),
        cmocka_unit_test(test_percent_coding_refuses_bad_escapes_and_nul),
        cmocka_unit_test(test_json_writer_escapes_and_indents),
        cmocka_unit_test(test_json_writer_finds_what_to_escape_at_every_place),
        cmocka_unit_test(test_json_writer_indents_far_and_writes_every_integer),
        cmocka_unit_test(test_json_writer_writes_the_shortest_number),
        cmocka_unit_test(test_json_writer_reads_powers_of_two_back),
        cmocka_unit_test(test_the_word_that_was_meant_is_found),
    };
    return cmocka_run_group_tests_name("base text", tests, NULL, NULL);
}
