/* Entity tags: stable while nothing changes, another one for every change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "api/etag.h"

static void test_changes_with_every_part_of_the_row(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct store_row row = {.name = STR("projects/1/locations/l/datasets/7"),
                            .display_name = STR("d"),
                            .state = STR(""),
                            .update_time = 5,
                            .spec = STR("ab"),
                            .status = STR("c")};
    struct str was = etag_of(a, &row);
    struct err err = {0};
    assert_string_equal(was.p, "I1YWEkDgRds=");
    assert_int_equal(etag_check(was, &row, &err), 0);
    assert_int_equal(etag_check(STR(""), &row, &err), 0);
    assert_int_equal(etag_check(STR("*"), &row, &err), 0);
    assert_int_equal(etag_check(str_of(arena_printf(a, "\"%s\"", was.p)), &row, &err), 0);
    assert_int_equal(etag_check(str_of(arena_printf(a, "W/\"%s\"", was.p)), &row, &err), 0);
    struct store_row other[6];
    for (size_t i = 0; i < NR_OF(other); i++) {
        other[i] = row;
    }
    other[0].update_time = 6;
    other[1].spec = STR("a");
    other[1].status = STR("bc"); /* the same bytes, cut elsewhere */
    other[2].display_name = STR("e");
    other[3].state = STR("X");
    other[4].status = STR("");
    other[5].name = STR("projects/1/locations/l/datasets/8");
    for (size_t i = 0; i < NR_OF(other); i++) {
        assert_int_equal(etag_check(was, &other[i], &err), -1);
        assert_int_equal(err.code, ERR_ABORTED);
        assert_string_equal(err.field, "etag");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_changes_with_every_part_of_the_row)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
