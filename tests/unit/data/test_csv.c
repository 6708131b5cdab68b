/* The CSV reader beside a slow and plain one, on random and on chosen texts. */
#include "base/arena.h"
#include "base/limits.h"
#include "base/rng.h"
#include "data/csv.h"
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <zlib.h>

/* ---- the plain reader: one character after the other over the whole text ---- */

struct plain {
    struct buf text; /* of the record */
    struct buf fields[40];
    size_t columns, at;
    uint64_t line, next_line;
    bool unclosed;
};

static void plain_fini(struct plain *p) {
    buf_fini(&p->text);
    for (size_t i = 0; i < NR_OF(p->fields); i++) {
        buf_fini(&p->fields[i]);
    }
}

static bool plain_record(struct plain *p, const char *s, size_t n) {
    if (p->at >= n) {
        return false;
    }
    buf_clear(&p->text);
    p->columns = 1;
    buf_clear(&p->fields[0]);
    p->line = p->next_line++;
    bool quoted = false, at_start = true;
    for (; p->at < n; p->at++) {
        char c = s[p->at];
        if (c == '\n' && !quoted) {
            break;
        }
        buf_putc(&p->text, c);
        p->next_line += c == '\n';
        if (quoted) {
            if (c == '"' && p->at + 1 < n && s[p->at + 1] == '"') {
                buf_putc(&p->text, '"');
                buf_putc(&p->fields[p->columns - 1], '"');
                p->at++;
            } else if (c == '"') {
                quoted = false;
            } else {
                buf_putc(&p->fields[p->columns - 1], c);
            }
        } else if (c == ',') {
            at_start = true;
            buf_clear(&p->fields[p->columns++]);
            continue;
        } else if (c == '"' && at_start) {
            quoted = true;
        } else {
            buf_putc(&p->fields[p->columns - 1], c);
        }
        at_start = false;
    }
    p->at++;
    p->unclosed = quoted;
    if (!quoted && p->text.n && p->text.p[p->text.n - 1] == '\r') {
        p->text.n--;
        if (p->fields[p->columns - 1].n) {
            p->fields[p->columns - 1].n--; /* the last character of the record is of its field */
        }
    }
    return true;
}

static void compare(const char *s, size_t n) {
    struct plain p = {.next_line = 1, .text = BUF_INIT(1 << 20)};
    for (size_t i = 0; i < NR_OF(p.fields); i++) {
        p.fields[i] = BUF_INIT(1 << 20);
    }
    struct csv_reader *r = csv_open(rig_fd(s, n), STR("gs://b/t.csv"));
    struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf scratch = BUF_INIT(1 << 20);
    struct err err = {0};
    for (;;) {
        struct csv_record rec;
        bool more = plain_record(&p, s, n);
        while (more && !p.text.n && !p.unclosed) {
            more = plain_record(&p, s, n);
        }
        int got = csv_next(r, &rec, &err);
        if (more && p.unclosed) {
            assert_int_equal(got, -1);
            assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
            break;
        }
        if (got != (int)more) {
            print_error("text: %.*s\nerr: %s\n", (int)n, s, err.msg);
        }
        assert_int_equal(got, more);
        if (!more) {
            break;
        }
        assert_int_equal(rec.text.n, p.text.n);
        assert_memory_equal(rec.text.p, p.text.p, p.text.n);
        assert_int_equal(rec.line, p.line);
        assert_int_equal(rec.columns, p.columns);
        arena_clear(a);
        struct str *fields = csv_fields(&rec, a), one;
        for (size_t i = 0; i < p.columns; i++) {
            assert_true(str_eq(fields[i], buf_str(&p.fields[i])));
            assert_true(csv_field(&rec, i, &scratch, &one));
            assert_true(str_eq(one, buf_str(&p.fields[i])));
        }
        assert_false(csv_field(&rec, p.columns, &scratch, &one));
        assert_true(rec.has_quotes || !memchr(rec.text.p, '"', rec.text.n));
    }
    arena_free(a);
    csv_close(r);
    plain_fini(&p);
}

static void test_any_text_reads_as_the_plain_reader_reads_it(void **state) {
    struct rng rng;
    char s[500];
    rng_seed(&rng, 7);
    for (int round = 0; round < 6000; round++) {
        static const char *const alphabets[] = {"ab,\n", "a,\"\n", "a\",\r\n", "abcdefgh,\n\"",
                                                "aaaaaaaaaaaaaaaaaaaaaaa,\"\n"};
        const char *alphabet = alphabets[rng_below(&rng, NR_OF(alphabets))];
        size_t n = rng_below(&rng, sizeof(s)), commas = 0;
        for (size_t i = 0; i < n; i++) {
            s[i] = alphabet[rng_below(&rng, strlen(alphabet))];
            commas = s[i] == '\n' ? 0 : commas + (s[i] == ',');
            if (s[i] == ',' && commas > 3) {
                s[i] = 'x';
            }
        }
        size_t all = 0;
        for (size_t i = 0; i < n; i++) { /* quotes may join lines: keep records within 40 columns */
            all += s[i] == ',';
            if (all >= NR_OF(((struct plain *)0)->fields) - 1 && s[i] == ',') {
                s[i] = 'y';
            }
        }
        compare(s, n);
    }
}

static void test_chosen_texts(void **state) {
    static const char *const texts[] = {"",
                                        "\n",
                                        "\n\n\n",
                                        "a",
                                        "a\n",
                                        "a,b",
                                        "a,b\r\n",
                                        "\"\"",
                                        "\"",
                                        "\"a\nb\",c\nd,e\n",
                                        "\"\"\"\"",
                                        "a\"b\",c\n",
                                        "\"a\"b,c\n",
                                        "\"a\" \"b,c\"\nx\n",
                                        "x\n\"a",
                                        ",\n,,\n",
                                        "\r\n\r\n",
                                        "a\rb\n",
                                        "5\" pipe,1\n6\" pipe,2\n"};
    for (size_t i = 0; i < NR_OF(texts); i++) {
        compare(texts[i], strlen(texts[i]));
    }
}

static struct csv_reader *reader_of(const char *s, size_t n) {
    return csv_open(rig_fd(s, n), STR("gs://b/t.csv"));
}

static void test_byte_order_mark_is_no_part_of_the_header(void **state) {
    struct csv_reader *r = reader_of("\xef\xbb\xbf\"a\",b\n", 9);
    struct csv_record rec;
    assert_int_equal(csv_next(r, &rec, NULL), 1);
    assert_true(str_eq(rec.text, STR("\"a\",b")));
    assert_int_equal(csv_next(r, &rec, NULL), 0);
    csv_close(r);
}

static void fails_with(struct csv_reader *r, const char *text) {
    struct err err = {0};
    struct csv_record rec;
    int got;
    while ((got = csv_next(r, &rec, &err)) == 1) {
    }
    assert_int_equal(got, -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    if (!strstr(err.msg, text)) {
        print_error("%s\n", err.msg);
    }
    assert_non_null(strstr(err.msg, text));
    csv_close(r);
}

static void test_utf16_is_named(void **state) {
    fails_with(reader_of("\xff\xfe"
                         "a\0,\0",
                         6),
               "gs://b/t.csv, line 1: the file is UTF-16");
}

static void test_unclosed_quote_names_the_line_it_began_in(void **state) {
    const char *s = "a,b\n1,2\n3,\"4\n5,6\n";
    fails_with(reader_of(s, strlen(s)), "gs://b/t.csv, line 3: a quoted field");
}

static char *repeat(char c, size_t n, size_t *ret_n) {
    char *p = xmalloc(n);
    memset(p, c, n);
    *ret_n = n;
    return p;
}

static void test_records_up_to_the_limit_are_read_and_no_longer_ones(void **state) {
    uint64_t was = limits.max_csv_record;
    limits.max_csv_record = 3u << 20;
    for (int more = 0; more < 2; more++) {
        size_t n;
        auto_free char *s = repeat('x', limits.max_csv_record + (size_t)more + 3, &n);
        memcpy(s, "a\n", 2);
        s[n - 1] = '\n';
        struct csv_reader *r = reader_of(s, n);
        struct csv_record rec;
        if (more) {
            fails_with(r, "max_csv_record");
            continue;
        }
        assert_int_equal(csv_next(r, &rec, NULL), 1);
        assert_int_equal(csv_next(r, &rec, NULL), 1);
        assert_int_equal(rec.text.n, limits.max_csv_record);
        assert_int_equal(csv_next(r, &rec, NULL), 0);
        csv_close(r);
    }
    size_t n;
    auto_free char *s = repeat('x', 12u << 20, &n); /* never ends: refused before all is read */
    s[0] = '"';
    fails_with(reader_of(s, n), "is a quote never closed?");
    limits.max_csv_record = was;
}

static void test_ten_thousand_columns(void **state) {
    auto_buf struct buf b = BUF_INIT(1 << 20), scratch = BUF_INIT(100);
    for (int line = 0; line < 3; line++) {
        for (int i = 0; i < 10000; i++) {
            buf_printf(&b, "%sc%d", i ? "," : "", i);
        }
        buf_putc(&b, '\n');
    }
    struct csv_reader *r = reader_of(b.p, b.n);
    struct csv_record rec;
    struct str f;
    for (int line = 0; line < 3; line++) {
        assert_int_equal(csv_next(r, &rec, NULL), 1);
        assert_int_equal(rec.columns, 10000);
        assert_true(csv_field(&rec, 9999, &scratch, &f));
        assert_true(str_eq(f, STR("c9999")));
    }
    csv_close(r);
}

/* ---- gzip ---- */

static void pack(struct buf *out, const char *s, size_t n) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)(uintptr_t)s;
    z.avail_in = (uInt)n;
    char *p = buf_reserve(out, n + 1000);
    z.next_out = (unsigned char *)p;
    z.avail_out = (uInt)n + 1000;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    buf_commit(out, n + 1000 - z.avail_out);
    deflateEnd(&z);
}

static size_t count_records(struct csv_reader *r) {
    struct csv_record rec;
    size_t n = 0;
    int got;
    while ((got = csv_next(r, &rec, NULL)) == 1) {
        assert_int_equal(rec.columns, 2);
        n++;
    }
    assert_int_equal(got, 0);
    csv_close(r);
    return n;
}

static void test_packed_files_of_several_members_are_one_text(void **state) {
    auto_buf struct buf text = BUF_INIT(1 << 24), gz = BUF_INIT(1 << 24);
    for (int i = 0; i < 200000; i++) {
        buf_printf(&text, "%d,%d\n", i, i * 7);
    }
    size_t half = text.n / 2;
    pack(&gz, text.p, half);
    pack(&gz, text.p + half, text.n - half);
    buf_put(&gz, "\0\0\0", 3); /* padding */
    assert_int_equal(count_records(reader_of(gz.p, gz.n)), 200000);
}

static void test_damaged_and_cut_gzip_data_are_named(void **state) {
    auto_buf struct buf gz = BUF_INIT(1 << 20);
    pack(&gz, "a,b\n1,2\n", 8);
    fails_with(reader_of(gz.p, gz.n - 6), "gs://b/t.csv: the gzip data ends early");
    gz.p[12] ^= 0x55;
    fails_with(reader_of(gz.p, gz.n), "gs://b/t.csv: the gzip data is damaged");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_text_reads_as_the_plain_reader_reads_it),
        cmocka_unit_test(test_chosen_texts),
        cmocka_unit_test(test_byte_order_mark_is_no_part_of_the_header),
        cmocka_unit_test(test_utf16_is_named),
        cmocka_unit_test(test_unclosed_quote_names_the_line_it_began_in),
        cmocka_unit_test(test_records_up_to_the_limit_are_read_and_no_longer_ones),
        cmocka_unit_test(test_ten_thousand_columns),
        cmocka_unit_test(test_packed_files_of_several_members_are_one_text),
        cmocka_unit_test(test_damaged_and_cut_gzip_data_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
