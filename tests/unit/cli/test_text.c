/* Unit tests of flags, tables, durations, and how errors are laid out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cli/cli.h"

static int parse(struct args *a, struct err *err, char **argv) {
    int argc = 0;
    while (argv[argc]) {
        argc++;
    }
    return args_parse(a, argc, argv, err);
}
#define ARGV(...) ((char *[]){__VA_ARGS__, NULL})
#define FLAGS                                                                                      \
    {                                                                                              \
        {.name = "--a"}, {.name = "--b"}, {.name = "--on", .is_bool = true}, {                     \
            .name = "-r", .is_bool = true                                                          \
        }                                                                                          \
    }

static void test_flags_with_and_without_equals(void **state) {
    struct flag flags[] = FLAGS;
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    struct err err = {0};
    assert_int_equal(parse(&a, &err, ARGV("one", "--a=x=y", "--b", "-5", "two", "--on", "three")),
                     0);
    assert_string_equal(args_get(&a, "--a"), "x=y");
    assert_string_equal(args_get(&a, "--b"), "-5");
    assert_true(args_on(&a, "--on"));
    assert_false(args_on(&a, "-r"));
    assert_int_equal(a.nr_words, 3);
    assert_string_equal(a.words[1], "two");
    assert_string_equal(a.words[2], "three");
}

static void test_repeated_flags_keep_order_and_the_last_wins(void **state) {
    struct flag flags[] = FLAGS;
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    assert_int_equal(parse(&a, NULL, ARGV("--a", "1", "--a=", "--a=3", "--on", "--on=false")), 0);
    const struct flag *f = args_flag(&a, "--a");
    assert_int_equal(f->nr, 3);
    assert_string_equal(f->values[0], "1");
    assert_string_equal(f->values[1], "");
    assert_string_equal(args_get(&a, "--a"), "3");
    assert_false(args_on(&a, "--on"));
    assert_null(args_get(&a, "--b"));
    assert_null(args_flag(&a, "--none"));
}

static void test_words_after_two_dashes_and_a_single_dash(void **state) {
    struct flag flags[] = FLAGS;
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    assert_int_equal(parse(&a, NULL, ARGV("-", "--", "--a", "-r", "--")), 0);
    assert_int_equal(a.nr_words, 4);
    assert_string_equal(a.words[0], "-");
    assert_string_equal(a.words[1], "--a");
    assert_string_equal(a.words[3], "--");
    assert_null(args_get(&a, "--a"));
}

static void check_refused(char **argv, const char *want) {
    struct flag flags[] = FLAGS;
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    struct err err = {0};
    assert_int_equal(parse(&a, &err, argv), -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.msg, want));
}

static void test_wrong_flags_are_named(void **state) {
    check_refused(ARGV("--nope=1"), "--nope");
    check_refused(ARGV("--aa", "1"), "--aa");
    check_refused(ARGV("x", "--a"), "--a needs a value");
    check_refused(ARGV("--on=maybe"), "\"maybe\"");
    check_refused(ARGV("-x"), "-x");
}

static void check_table(const char *const (*rows)[3], size_t nr, const char *want) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    struct table *t = table_new(3, rows[0]);
    for (size_t i = 1; i < nr; i++) {
        table_row(t, rows[i]);
    }
    table_print(t, f);
    fclose(f);
    assert_string_equal(text, want);
    free(text);
}

static void test_tables_align_by_what_a_terminal_shows(void **state) {
    static const char *const rows[][3] = {
        {"ID", "NAME", "STATE"},
        {"1", "caf\xc3\xa9", "ok"},
        {"22", "\xe6\x97\xa5\xe6\x9c\xac", "wide"},
        {"3", "e\xcc\x81", "mark"},
        {"4", "\xff\xfe", "bytes"},
    };
    check_table(rows, NR_OF(rows),
                "ID  NAME  STATE\n"
                "1   caf\xc3\xa9  ok\n"
                "22  \xe6\x97\xa5\xe6\x9c\xac  wide\n"
                "3   e\xcc\x81     mark\n"
                "4   \xff\xfe    bytes\n");
}

static void test_tables_have_no_trailing_spaces_nor_control_characters(void **state) {
    static const char *const rows[][3] = {{"ID", "NAME", "STATE"},
                                          {"1", "", NULL},
                                          {"", "b", ""},
                                          {"3", "x\033[2Jy\n", "z"},
                                          {"", "", ""}};
    check_table(rows, NR_OF(rows),
                "ID  NAME     STATE\n"
                "1\n"
                "    b\n"
                "3   x [2Jy   z\n"
                "\n");
}

static void check_duration(double seconds, const char *want) {
    auto_buf struct buf b = BUF_INIT(64);
    duration_text(&b, seconds);
    assert_string_equal(b.p, want);
}

static void test_durations(void **state) {
    check_duration(0, "-");
    check_duration(-3, "-");
    check_duration(0.0001, "1 ms");
    check_duration(0.82, "820 ms");
    check_duration(0.99951, "1.0 s");
    check_duration(59.94, "59.9 s");
    check_duration(59.96, "1m 0s");
    check_duration(125, "2m 5s");
    check_duration(119.7, "2m 0s");
    check_duration(3599.9, "1h 0m");
    check_duration(7380, "2h 3m");
    check_duration(90000, "1d 1h");
    check_duration(1e15, "11574074074d 1h");
}

static void check_bytes(uint64_t n, const char *want) {
    auto_buf struct buf b = BUF_INIT(64);
    bytes_text(&b, n);
    assert_string_equal(b.p, want);
}

static void test_sizes(void **state) {
    check_bytes(0, "0 B");
    check_bytes(1023, "1023 B");
    check_bytes(1024, "1.0 KiB");
    check_bytes(1048575, "1.0 MiB");
    check_bytes(3u << 29, "1.5 GiB");
    check_bytes(UINT64_MAX, "16777216.0 TiB");
}

static void check_error(const char *msg, const char *want) {
    auto_buf struct buf b = BUF_INIT(4096);
    error_text(&b, msg);
    assert_string_equal(buf_cstr(&b), want);
}

static void test_violations_stand_one_a_line(void **state) {
    check_error(
        "List of found errors:\t1.Field: display_name; Message: Required.\t2.Field: "
        "a[0].b; Message: Bad; Message: \"x\".\t",
        "the request is not valid:\n  display_name: Required.\n  a[0].b: Bad; Message: \"x\".\n");
    check_error("List of found errors:\tsomething else\t12.Field: ;\t",
                "the request is not valid:\n  something else\n  12.Field: ;\n");
    check_error("List of found errors:\t", "the request is not valid:\n");
}

static void test_further_lines_are_indented(void **state) {
    check_error("plain", "plain\n");
    check_error("first\nsecond\n\nthird\n", "first\n  second\n\n  third\n");
    check_error("", "\n");
    auto_buf struct buf b = BUF_INIT(100);
    indent_text(&b, "a  \n  b\n\nc", "    ");
    assert_string_equal(b.p, "    a\n      b\n\n    c\n");
}

static void test_numbers_of_shown_json_are_short(void **state) {
    static const char text[] =
        "{\"z\":0.05,\"a\":[1,-2.5,1e300,null,true,false,[],{}],\"t\":\"caf\u00e9 \\u0001\\\\\"}";
    json_t *j = json_loads(text, 0, NULL);
    auto_free char *line = json_shown(j, 0), *none = json_shown(NULL, 2), *lines = json_shown(j, 2);
    assert_string_equal(line, "{\"z\":0.05,\"a\":[1,-2.5,1e+300,null,true,false,[],{}],"
                              "\"t\":\"caf\u00e9 \\u0001\\\\\"}");
    assert_string_equal(none, "");
    json_t *back = json_loads(lines, 0, NULL);
    assert_true(json_equal(back, j));
    assert_non_null(strstr(lines, "\n  \"z\": 0.05,\n"));
    json_decref(back);
    json_decref(j);
    json_t *deep = json_integer(1);
    for (int i = 0; i < 1000; i++) {
        deep = json_pack("[o]", deep);
    }
    auto_free char *cut = json_shown(deep, 0);
    assert_non_null(strstr(cut, "[null]"));
    json_decref(deep);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags_with_and_without_equals),
        cmocka_unit_test(test_repeated_flags_keep_order_and_the_last_wins),
        cmocka_unit_test(test_words_after_two_dashes_and_a_single_dash),
        cmocka_unit_test(test_wrong_flags_are_named),
        cmocka_unit_test(test_tables_align_by_what_a_terminal_shows),
        cmocka_unit_test(test_tables_have_no_trailing_spaces_nor_control_characters),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_violations_stand_one_a_line),
        cmocka_unit_test(test_further_lines_are_indented),
        cmocka_unit_test(test_numbers_of_shown_json_are_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
