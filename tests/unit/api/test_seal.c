/* Unit tests of seals as text: what one says, and how two differ. (Sealing real folders, and a
 * change of one that is found: tests/integration/test_models.py.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "api/seal.h"
#include "base/rng.h"

#define A "3 0a0b0c0d 111 a.txt\n"
#define B "5 00000001 112 dir/b c.bin\n"
#define BIG "9000000000 - 113 huge\n"

static struct str digest_of(struct arena *a, const char *text) {
    struct seal_facts f;
    seal_describe(a, str_of(text), &f);
    return f.digest;
}

static void test_lines_are_files(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct str text = STR(A B BIG);
    struct seal_facts facts;
    struct seal_file f;
    seal_describe(a, text, &facts);
    assert_int_equal(facts.files, 3);
    assert_int_equal(facts.bytes, 9000000008);
    assert_true(str_starts(facts.digest, STR("sha256:")));
    assert_int_equal(facts.digest.n, 7 + 64);
    assert_true(seal_next(&text, &f));
    assert_true(str_eqc(f.name, "a.txt"));
    assert_int_equal(f.size, 3);
    assert_int_equal(f.generation, 111);
    assert_true(f.has_crc32c);
    assert_int_equal(f.crc32c, 0x0a0b0c0d);
    assert_true(seal_next(&text, &f));
    assert_true(str_eqc(f.name, "dir/b c.bin")); /* names may have spaces */
    assert_true(seal_next(&text, &f));
    assert_false(f.has_crc32c);
    assert_false(seal_next(&text, &f));
}

static void test_the_digest_is_of_names_sizes_and_bytes(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct str d = digest_of(a, A B);
    assert_true(str_eq(d, digest_of(a, "3 0a0b0c0d 999 a.txt\n" B))); /* written again */
    assert_false(str_eq(d, digest_of(a, "4 0a0b0c0d 111 a.txt\n" B)));
    assert_false(str_eq(d, digest_of(a, "3 0a0b0c0e 111 a.txt\n" B)));
    assert_false(str_eq(d, digest_of(a, "3 0a0b0c0d 111 a.tx\n" B)));
    assert_false(str_eq(d, digest_of(a, A)));
}

struct diff {
    char text[1024];
};

static void note(void *arg, enum seal_difference d, const struct seal_file *before,
                 const struct seal_file *after) {
    static const char signs[] = {[SEAL_ADDED] = '+', [SEAL_REMOVED] = '-', [SEAL_CHANGED] = '!'};
    struct diff *diff = arg;
    size_t n = strlen(diff->text);
    struct str name = before ? before->name : after->name;
    assert_int_equal(before == NULL, d == SEAL_ADDED);
    assert_int_equal(after == NULL, d == SEAL_REMOVED);
    snprintf(diff->text + n, sizeof(diff->text) - n, "%c%.*s ", signs[d], STR_ARG(name));
}

static void check(const char *before, const char *after, const char *want, uint64_t nr) {
    struct diff d = {""};
    assert_int_equal(seal_compare(str_of(before), str_of(after), note, &d), nr);
    assert_string_equal(d.text, want);
}

static void test_two_seals_are_compared_file_by_file(void **state) {
    check(A B BIG, A B BIG, "", 0);
    check("", "", "", 0);
    check(A B, "", "-a.txt -dir/b c.bin ", 2);
    check("", A B, "+a.txt +dir/b c.bin ", 2);
    check(A B, "3 0a0b0c0d 999 a.txt\n" B, "", 0);        /* the same bytes again */
    check(A B, "3 0a0b0c0e 111 a.txt\n" B, "!a.txt ", 1); /* other bytes of the same length */
    check(A B, "4 0a0b0c0d 111 a.txt\n" B, "!a.txt ", 1); /* longer */
    check(A BIG, A "1 00000001 1 b\n" BIG, "+b ", 1);     /* between two */
    check(BIG, "9000000000 - 113 huge\n", "", 0);         /* without checksums: the generation */
    check(BIG, "9000000000 - 114 huge\n", "!huge ", 1);
    check(BIG, "9000000000 00000001 113 huge\n", "", 0); /* one side has none */
    check(A B, "3 0a0b0c0d 111 a\n" B, "+a -a.txt ", 2); /* renamed; names in order */
}

/* Random folders beside a plain count. */
static void test_random_folders(void **state) {
    struct rng rng;
    rng_seed(&rng, 9);
    for (unsigned round = 0; round < 500; round++) {
        auto_buf struct buf x = BUF_INIT(1 << 20), y = BUF_INIT(1 << 20);
        uint64_t want = 0;
        for (unsigned i = 0; i < 40; i++) {
            unsigned in_x = (unsigned)rng_below(&rng, 3), in_y = (unsigned)rng_below(&rng, 3);
            if (in_x) {
                buf_printf(&x, "%u %08x 1 f%02u\n", in_x, in_x, i);
            }
            if (in_y) {
                buf_printf(&y, "%u %08x 2 f%02u\n", in_y, in_y, i);
            }
            want += in_x != in_y;
        }
        struct diff d = {""};
        assert_int_equal(seal_compare(buf_str(&x), buf_str(&y), note, &d), want);
    }
}

static void test_what_does_not_read_ends_a_seal(void **state) {
    static const char *const bad[] = {"",           "x\n",        "3 0a0b0c0d 111\n",
                                      "3 zz 1 a\n", "-1 - 1 a\n", "3 0a0b0c0d x a\n"};
    for (size_t i = 0; i < NR_OF(bad); i++) {
        struct str text = str_of(bad[i]);
        struct seal_file f;
        assert_false(seal_next(&text, &f));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_files),
        cmocka_unit_test(test_the_digest_is_of_names_sizes_and_bytes),
        cmocka_unit_test(test_two_seals_are_compared_file_by_file),
        cmocka_unit_test(test_random_folders),
        cmocka_unit_test(test_what_does_not_read_ends_a_seal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
