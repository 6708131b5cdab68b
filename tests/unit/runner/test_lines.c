/* Line splitting and tails: every way of cutting the input gives the same pieces. */
#include "runner/lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void collect(void *arg, struct str piece, bool partial) {
    struct buf *b = arg;
    buf_printf(b, "[%.*s%s]", STR_ARG(piece), partial ? "+" : "");
}

/* Feeds text in chunks of `step` bytes; what came out as "[line][part+]". */
static char *split(const char *text, size_t max, size_t step) {
    auto_buf struct buf out = BUF_INIT(BUF_NO_MAX);
    struct lines l;
    lines_init(&l, max);
    struct str rest = str_of(text);
    while (rest.n) {
        lines_feed(&l, str_sub(rest, 0, step), collect, &out);
        rest = str_sub(rest, step, rest.n);
    }
    lines_end(&l, collect, &out);
    lines_fini(&l);
    return buf_take(&out, NULL);
}

static void lines_do_not_depend_on_chunks(void **state) {
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"", ""},
        {"a\n", "[a]"},
        {"a", "[a]"},
        {"\n", "[]"},
        {"\n\na\n\n", "[][][a][]"},
        {"one\ntwo\nthree", "[one][two][three]"},
        {"12345678\n", "[12345678]"},      /* exactly the maximum */
        {"123456789\n", "[12345678+][9]"}, /* one more */
        {"12345678", "[12345678]"},
        {"1234567890123456\n", "[12345678+][90123456]"},
        {"12345678901234567\nx\n", "[12345678+][90123456+][7][x]"},
        {"123456789", "[12345678+][9]"},
        {"a\rb\r\nc\n", "[a\rb\r][c]"},
    };
    for (size_t i = 0; i < NR_OF(cases); i++) {
        for (size_t step = 1; step <= 20; step++) {
            auto_free char *got = split(cases[i].text, 8, step);
            if (strcmp(got, cases[i].expected) != 0) {
                fail_msg("case %zu in chunks of %zu: %s, not %s", i, step, got, cases[i].expected);
            }
        }
    }
}

static char *tail_of(const char *const *pieces, bool last_partial) {
    struct tail t = {0};
    auto_buf struct buf out = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; pieces[i]; i++) {
        tail_add(&t, str_of(pieces[i]), last_partial && !pieces[i + 1]);
    }
    tail_text(&t, &out);
    tail_fini(&t);
    buf_puts(&out, "");
    return buf_take(&out, NULL);
}

static void tail_keeps_the_last_lines(void **state) {
    (void)state;
    const char *none[] = {NULL};
    auto_free char *empty = tail_of(none, false);
    assert_string_equal(empty, "");

    const char *pieces[31] = {NULL};
    char names[30][8];
    auto_buf struct buf expected = BUF_INIT(BUF_NO_MAX);
    for (int i = 0; i < 30; i++) {
        snprintf(names[i], sizeof(names[i]), "l%d", i);
        pieces[i] = names[i];
        if (i >= 10) {
            buf_printf(&expected, "%s%s", i > 10 ? "\n" : "", names[i]);
        }
    }
    auto_free char *got = tail_of(pieces, false);
    assert_string_equal(got, buf_cstr(&expected));
}

static void tail_joins_parts_of_a_line(void **state) {
    (void)state;
    struct tail t = {0};
    auto_buf struct buf out = BUF_INIT(BUF_NO_MAX);
    tail_add(&t, STR("before"), false);
    tail_add(&t, STR("a"), true);
    tail_add(&t, STR("b"), true);
    tail_add(&t, STR("c"), false);
    tail_add(&t, STR("after"), false);
    tail_text(&t, &out);
    assert_string_equal(buf_cstr(&out), "before\nabc\nafter");
    tail_fini(&t);
}

static void tail_is_bounded_and_keeps_characters_whole(void **state) {
    (void)state;
    struct tail t = {0};
    auto_buf struct buf out = BUF_INIT(BUF_NO_MAX);
    auto_buf struct buf line = BUF_INIT(BUF_NO_MAX);
    for (int i = 0; i < 3000; i++) {
        buf_puts(&line, "\xc3\xa4"); /* two bytes each */
    }
    buf_putc(&line, '.'); /* the cut falls inside a character */
    tail_add(&t, STR("gone"), false);
    tail_add(&t, buf_str(&line), false);
    tail_text(&t, &out);
    assert_true(out.n <= TAIL_BYTES && out.n >= TAIL_BYTES - 1);
    assert_true(str_is_utf8(buf_str(&out)));
    tail_fini(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_do_not_depend_on_chunks),
        cmocka_unit_test(tail_keeps_the_last_lines),
        cmocka_unit_test(tail_joins_parts_of_a_line),
        cmocka_unit_test(tail_is_bounded_and_keeps_characters_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
