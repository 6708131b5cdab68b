/* Which set a row goes to: fractions, strata, times. */
#include "base/limits.h"
#include "base/rng.h"
#include "base/vec.h"
#include "data/split.h"
#include "base/time.h"
#include "rig.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

static const struct split_fractions usual = {{0.8, 0.1, 0.1}};

static void normalises_to(double a, double b, double c, double x, double y, double z) {
    struct split_fractions in = {{a, b, c}}, out;
    assert_int_equal(split_fractions_normalise(&in, &out, NULL), 0);
    assert_true(fabs(out.of[0] - x) < 1e-9);
    assert_true(fabs(out.of[1] - y) < 1e-9);
    assert_true(fabs(out.of[2] - z) < 1e-9);
}

static void test_what_is_missing_to_one_goes_to_sets_without_a_fraction(void **state) {
    normalises_to(0, 0, 0, 0.8, 0.1, 0.1);
    normalises_to(0.8, 0.1, 0.1, 0.8, 0.1, 0.1);
    normalises_to(0.6, 0, 0, 0.6, 0.2, 0.2);
    normalises_to(0.6, 0, 0.3, 0.6, 0.1, 0.3);
    normalises_to(0, 0.1, 0.1, 0.8, 0.1, 0.1);
    normalises_to(0.5, 0.2, 0.2, 0.6, 0.2, 0.2);
    normalises_to(0.7, 0.2, 0.1, 0.7, 0.2, 0.1);
    normalises_to(1, 0, 0, 1, 0, 0);
}

static void refused(double a, double b, double c, const char *field, const char *text) {
    struct split_fractions in = {{a, b, c}}, out;
    struct err err = {0};
    assert_int_equal(split_fractions_normalise(&in, &out, &err), -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    assert_string_equal(err.field, field);
    assert_non_null(strstr(err.msg, text));
}

static void test_fractions_that_cannot_be_are_refused(void **state) {
    refused(0.8, 0.2, 0.1, "", "0.8, 0.2 and 0.1 sum to 1.1");
    refused(-0.1, 0.2, 0.1, "training_fraction", "-0.1");
    refused(0.1, 1.5, 0, "validation_fraction", "1.5");
    refused(0.1, 0, NAN, "test_fraction", "nan");
}

struct tally {
    uint64_t of[SPLIT_NR + 1];
};

static struct tally rows(struct split *s, const char *uri, size_t n) {
    struct tally t = {0};
    split_source(s, str_of(uri));
    for (size_t i = 0; i < n; i++) {
        t.of[split_row(s, STR(""))]++;
    }
    return t;
}

static void test_fractions_are_kept_among_any_ten_tens(void **state) {
    struct split *s = split_new(SPLIT_BY_FRACTION, &usual, 42, -1);
    struct tally t = rows(s, "gs://b/iris.csv", 150);
    assert_int_equal(t.of[SPLIT_TRAINING], 120);
    assert_int_equal(t.of[SPLIT_VALIDATION], 15);
    assert_int_equal(t.of[SPLIT_TEST], 15);
    split_free(s);
    struct split_fractions odd = {{0.63, 0.22, 0.15}};
    s = split_new(SPLIT_BY_FRACTION, &odd, 42, -1);
    t = rows(s, "gs://b/x.csv", 100000);
    for (int i = 0; i < SPLIT_NR; i++) {
        assert_true(fabs((double)t.of[i] / 100000 - odd.of[i]) < 0.003);
    }
    split_free(s);
}

static void test_a_set_with_no_fraction_gets_nothing(void **state) {
    struct split_fractions two = {{0.7, 0.3, 0}}, last = {{0, 0, 1}};
    struct split *s = split_new(SPLIT_BY_FRACTION, &two, 1, -1);
    assert_int_equal(rows(s, "u", 100000).of[SPLIT_TEST], 0);
    split_free(s);
    s = split_new(SPLIT_BY_FRACTION, &last, 1, -1);
    assert_int_equal(rows(s, "u", 1000).of[SPLIT_TEST], 1000);
    split_free(s);
}

static void test_a_place_decides_and_nothing_around_it(void **state) {
    struct split *a = split_new(SPLIT_BY_FRACTION, &usual, 9, -1);
    struct split *b = split_new(SPLIT_BY_FRACTION, &usual, 9, -1);
    struct rng rng;
    rng_seed(&rng, 3);
    split_source(a, STR("gs://b/one"));
    split_source(b, STR("gs://b/other")); /* was here before */
    (void)split_row(b, STR(""));
    split_source(b, STR("gs://b/one"));
    enum split_set sets[1000];
    for (size_t i = 0; i < NR_OF(sets); i++) {
        sets[i] = split_row(a, STR(""));
    }
    for (int i = 0; i < 3000; i++) {
        uint64_t at = rng_below(&rng, NR_OF(sets));
        assert_int_equal(split_at(b, at), sets[at]);
    }
    split_free(a);
    split_free(b);
}

static void test_neither_source_nor_seed_repeats_another(void **state) {
    struct split *a = split_new(SPLIT_BY_FRACTION, &usual, 1, -1);
    struct split *b = split_new(SPLIT_BY_FRACTION, &usual, 2, -1);
    size_t same_seed = 0, same_source = 0, n = 10000;
    split_source(a, STR("x"));
    split_source(b, STR("x"));
    for (size_t i = 0; i < n; i++) {
        same_seed += split_at(a, i) == split_at(b, i);
    }
    split_source(b, STR("x"));
    struct split *c = split_new(SPLIT_BY_FRACTION, &usual, 1, -1);
    split_source(c, STR("y"));
    for (size_t i = 0; i < n; i++) {
        same_source += split_at(a, i) == split_at(c, i);
    }
    /* By chance 0.66 agree. */
    assert_in_range(same_seed, 6200, 7000);
    assert_in_range(same_source, 6200, 7000);
    split_free(a);
    split_free(b);
    split_free(c);
}

static void test_predefined_takes_the_three_words_only(void **state) {
    struct split *s = split_new(SPLIT_BY_PREDEFINED, &usual, 1, -1);
    split_source(s, STR("x"));
    assert_int_equal(split_row(s, STR("training")), SPLIT_TRAINING);
    assert_int_equal(split_row(s, STR("validation")), SPLIT_VALIDATION);
    assert_int_equal(split_row(s, STR("test")), SPLIT_TEST);
    assert_int_equal(split_row(s, STR("TRAINING")), SPLIT_NONE);
    assert_int_equal(split_row(s, STR("")), SPLIT_NONE);
    assert_int_equal(split_row(s, STR("train")), SPLIT_NONE);
    split_free(s);
}

/* ---- strata ---- */

static void test_each_value_is_split_by_itself(void **state) {
    struct {
        const char *value;
        size_t rows;
        uint64_t want[3];
    } of[] = {
        {"a", 1000, {800, 100, 100}},
        {"b", 3, {1, 1, 1}},
        {"c", 20, {16, 2, 2}},
        {"", 7, {5, 1, 1}},
    };
    struct split *s = split_new(SPLIT_BY_STRATIFIED, &usual, 5, -1);
    for (size_t k = 0; k < NR_OF(of); k++) {
        for (size_t i = 0; i < of[k].rows; i++) {
            assert_true(split_see(s, str_of(of[k].value)));
        }
    }
    assert_int_equal(split_prepare(s, NULL), 0);
    split_source(s, STR("x"));
    for (size_t k = 0; k < NR_OF(of); k++) {
        struct tally t = {0};
        for (size_t i = 0; i < of[k].rows; i++) {
            t.of[split_row(s, str_of(of[k].value))]++;
        }
        for (int i = 0; i < SPLIT_NR; i++) {
            assert_int_equal(t.of[i], of[k].want[i]);
        }
    }
    /* Rows that were not there in the first pass are given by chance, not refused. */
    assert_true(split_row(s, STR("a")) < SPLIT_NONE);
    split_free(s);
}

static void test_rare_values_and_those_past_500_are_left_to_chance(void **state) {
    struct split *s = split_new(SPLIT_BY_STRATIFIED, &usual, 5, -1);
    char v[20];
    /* 520 values; the first 500 have 13 rows, the others 12, and 1000 values have 2. */
    for (int i = 0; i < 1520; i++) {
        snprintf(v, sizeof(v), "v%d", i);
        for (int k = 0; k < (i < 500 ? 13 : i < 520 ? 12 : 2); k++) {
            (void)split_see(s, str_of(v));
        }
    }
    assert_int_equal(split_prepare(s, NULL), 0);
    split_source(s, STR("x"));
    size_t exact = 0;
    struct tally rare = {0};
    for (int i = 0; i < 1520; i++) {
        struct tally t = {0};
        snprintf(v, sizeof(v), "v%d", i);
        for (int k = 0; k < (i < 500 ? 13 : i < 520 ? 12 : 2); k++) {
            enum split_set set = split_row(s, str_of(v));
            t.of[set]++;
            rare.of[set] += i >= 520;
        }
        exact += i < 500 && t.of[0] == 11 && t.of[1] == 1 && t.of[2] == 1;
    }
    assert_int_equal(exact, 500);
    assert_in_range(rare.of[SPLIT_TRAINING], 1500, 1700);
    split_free(s);
}

static void test_a_column_of_too_many_values_is_no_category(void **state) {
    uint64_t was = limits.max_split_values;
    limits.max_split_values = 1000;
    for (int more = 0; more < 2; more++) {
        struct split *s = split_new(SPLIT_BY_STRATIFIED, &usual, 5, -1);
        struct err err = {0};
        char v[20];
        for (int i = 0; i < 1000 + more; i++) {
            snprintf(v, sizeof(v), "%d", i);
            (void)split_see(s, str_of(v));
        }
        assert_int_equal(split_prepare(s, &err), -more);
        assert_true(!more || strstr(err.msg, "more than 1000 different values (max_split_values)"));
        split_free(s);
    }
    limits.max_split_values = was;
}

/* ---- times ---- */

static void test_times_are_rfc_3339_in_utc(void **state) {
    static const char *const ordered[] = {
        "0001-01-01T00:00:00Z",        "1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z",
        "1985-04-12T23:20:50.52Z",     "1999-12-31T23:59:60Z",        "2000-02-29T00:00:00Z",
        "2000-03-01t00:00:00z",        "2024-01-01T00:00:00Z",        "2024-01-01T00:00:00.000001Z",
        "2024-01-01T00:00:00.1Z",      "2024-12-31T23:59:59Z",        "2025-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
    };
    static const char *const no_times[] = {"",
                                           "x",
                                           "2024-01-01",
                                           "2024-01-01T00:00:00",
                                           "2024-01-01T00:00:00+00:00",
                                           "2024-01-01 00:00:00Z",
                                           "2024-13-01T00:00:00Z",
                                           "2023-02-29T00:00:00Z",
                                           "2100-02-29T00:00:00Z",
                                           "2024-00-01T00:00:00Z",
                                           "2024-01-00T00:00:00Z",
                                           "2024-01-01T24:00:00Z",
                                           "2024-01-01T00:60:00Z",
                                           "2024-01-01T00:00:61Z",
                                           "2024-01-01T00:00:00.Z",
                                           "2024-01-01T00:00:00.1xZ",
                                           " 2024-01-01T00:00:00Z",
                                           "2024-01-01T00:00:00Z ",
                                           "24-01-01T00:00:00Z"};
    uint64_t before = 0, t;
    for (size_t i = 0; i < NR_OF(ordered); i++) {
        assert_true(split_time_parse(str_of(ordered[i]), &t));
        assert_true(i == 0 || t > before);
        before = t;
    }
    for (size_t i = 0; i < NR_OF(no_times); i++) {
        assert_false(split_time_parse(str_of(no_times[i]), &t));
    }
    uint64_t epoch, later;
    assert_true(split_time_parse(STR("1970-01-01T00:00:00Z"), &epoch));
    assert_true(split_time_parse(STR("2009-02-13T23:31:30Z"), &later));
    assert_int_equal(later - epoch, 1234567890ull * 1000000);
}

static void time_text(char *p, uint64_t sec) {
    auto_buf struct buf b = BUF_INIT(100);
    time_format_rfc3339(&b, sec * USEC_PER_SEC);
    snprintf(p, 40, "%s", buf_cstr(&b));
}

/* Random times with many ties: counts are exact, and no row of an earlier set is later. */
static void test_earliest_rows_train_and_latest_test(void **state) {
    struct rng rng;
    rng_seed(&rng, 11);
    for (int turn = 0; turn < 60; turn++) {
        size_t n = 1 + rng_below(&rng, 400);
        uint64_t spread = 1 + rng_below(&rng, turn % 2 ? 5 : 1000000);
        struct split_fractions f,
            wish = {{rng_unit(&rng) / 2, rng_unit(&rng) / 4, rng_unit(&rng) / 4}};
        assert_int_equal(split_fractions_normalise(&wish, &f, NULL), 0);
        int fd = rig_fd("", 0);
        struct split *s = split_new(SPLIT_BY_TIMESTAMP, &f, 1, fd);
        uint64_t times[400];
        char text[40];
        for (size_t i = 0; i < n; i++) {
            times[i] = 1000000000 + rng_below(&rng, spread);
            time_text(text, times[i]);
            assert_true(split_see(s, str_of(text)));
        }
        assert_false(split_see(s, STR("yesterday")));
        assert_int_equal(split_prepare(s, NULL), 0);
        split_source(s, STR("x"));
        uint64_t first[SPLIT_NR] = {UINT64_MAX, UINT64_MAX, UINT64_MAX}, last[SPLIT_NR] = {0};
        struct tally t = {0};
        for (size_t i = 0; i < n; i++) {
            time_text(text, times[i]);
            enum split_set set = split_row(s, str_of(text));
            assert_true(set < SPLIT_NONE);
            first[set] = times[i] < first[set] ? times[i] : first[set];
            last[set] = times[i] > last[set] ? times[i] : last[set];
            t.of[set]++;
        }
        assert_int_equal(split_row(s, STR("yesterday")), SPLIT_NONE);
        assert_int_equal(t.of[0], (uint64_t)round(f.of[0] * (double)n));
        assert_int_equal(t.of[0] + t.of[1], (uint64_t)round((f.of[0] + f.of[1]) * (double)n));
        for (int i = 0; i < SPLIT_NR; i++) {
            for (int k = i + 1; k < SPLIT_NR; k++) {
                assert_true(!t.of[i] || !t.of[k] || last[i] <= first[k]);
            }
        }
        split_free(s);
        close(fd);
    }
}

static void test_times_that_cannot_be_noted_fail_the_split(void **state) {
    int fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    struct split *s = split_new(SPLIT_BY_TIMESTAMP, &usual, 1, fd);
    struct err err = {0};
    (void)split_see(s, STR("2024-01-01T00:00:00Z"));
    assert_int_equal(split_prepare(s, &err), -1);
    assert_int_equal(err.code, ERR_RESOURCE_EXHAUSTED);
    split_free(s);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_missing_to_one_goes_to_sets_without_a_fraction),
        cmocka_unit_test(test_fractions_that_cannot_be_are_refused),
        cmocka_unit_test(test_fractions_are_kept_among_any_ten_tens),
        cmocka_unit_test(test_a_set_with_no_fraction_gets_nothing),
        cmocka_unit_test(test_a_place_decides_and_nothing_around_it),
        cmocka_unit_test(test_neither_source_nor_seed_repeats_another),
        cmocka_unit_test(test_predefined_takes_the_three_words_only),
        cmocka_unit_test(test_each_value_is_split_by_itself),
        cmocka_unit_test(test_rare_values_and_those_past_500_are_left_to_chance),
        cmocka_unit_test(test_a_column_of_too_many_values_is_no_category),
        cmocka_unit_test(test_times_are_rfc_3339_in_utc),
        cmocka_unit_test(test_earliest_rows_train_and_latest_test),
        cmocka_unit_test(test_times_that_cannot_be_noted_fail_the_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
