/* Tables into shards: every row once, whatever the files, the split and the shards are. */
#include "base/rng.h"
#include "base/vec.h"
#include "data/export_tabular.h"
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define GB "gs://b/"

static int setup(void **state) {
    struct rig *r = xcalloc(1, sizeof(*r));
    rig_open(r);
    *state = r;
    return 0;
}

static int teardown(void **state) {
    rig_close(*state);
    free(*state);
    return 0;
}

static void file(struct rig *r, const char *uri, const char *text) {
    rig_file(r, uri, text, strlen(text));
}

static struct export_tabular table(struct rig *r, enum split_kind kind, const char *key) {
    static const char *uris[RIG_FILES];
    for (size_t i = 0; i < r->nr_files; i++) {
        uris[i] = r->files[i].uri;
    }
    return (struct export_tabular){.uris = uris,
                                   .nr_uris = r->nr_files,
                                   .kind = kind,
                                   .fractions = {{0.8, 0.1, 0.1}},
                                   .key = key,
                                   .key_field = key ? "some_split.key" : NULL,
                                   .seed = 77,
                                   .shard_bytes = 1 << 20,
                                   .io = &r->io,
                                   .watch = &r->watch};
}

/* All of a set, its shards one after the other without their headers. */
static void content(struct rig *r, struct shards *s, const char *header, struct buf *ret) {
    for (size_t i = 0; i < s->done.n; i++) {
        auto_buf struct buf b = BUF_INIT(1 << 26);
        rig_read(r, &s->done.p[i], &b);
        assert_int_equal(b.n, s->done.p[i].size);
        assert_true(str_starts(buf_str(&b), str_of(header)));
        buf_put(ret, b.p + strlen(header), b.n - strlen(header));
    }
}

static void runs(struct export_tabular *e) {
    struct err err = {0};
    if (export_tabular_run(e, &err)) {
        print_error("%s\n", err.msg);
        fail();
    }
}

static void fails(struct rig *r, struct export_tabular *e, enum err_code code, const char *field,
                  const char *text) {
    struct err err = {0};
    assert_int_equal(export_tabular_run(e, &err), -1);
    if (err.code != code || strcmp(err.field, field) != 0 || !strstr(err.msg, text)) {
        print_error("%d %s: %s\n", err.code, err.field, err.msg);
    }
    assert_int_equal(err.code, code);
    assert_string_equal(err.field, field);
    assert_non_null(strstr(err.msg, text));
    export_tabular_fini(e);
    assert_int_equal(rig_left(r), 0); /* nothing half written stays */
}

static int by_text(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

typedef VEC_OF(struct str) strs;

static void lines_of(struct str text, strs *ret) {
    while (text.p && text.n) {
        vec_push(ret, str_cut(&text, '\n'));
    }
}

static void test_every_row_goes_to_exactly_one_set(void **state) {
    struct rng rng;
    rng_seed(&rng, 21);
    for (int turn = 0; turn < 25; turn++) {
        struct rig r;
        rig_open(&r);
        auto_buf struct buf want = BUF_INIT(1 << 24), got = BUF_INIT(1 << 24);
        size_t nr_files = 1 + rng_below(&rng, 4), row = 0;
        for (size_t f = 0; f < nr_files; f++) {
            auto_buf struct buf b = BUF_INIT(1 << 24);
            bool crlf = rng_below(&rng, 2), repeats = f == 0 || rng_below(&rng, 2);
            const char *end = crlf ? "\r\n" : "\n";
            buf_printf(&b, "%s%s", repeats && rng_below(&rng, 2) ? "\xef\xbb\xbf" : "",
                       !repeats             ? ""
                       : rng_below(&rng, 2) ? "id,\"text, long\""
                                            : "\"id\",\"text, long\"");
            buf_puts(&b, repeats ? end : "");
            size_t rows = rng_below(&rng, 3000);
            for (size_t i = 0; i < rows; i++) {
                size_t at = want.n;
                buf_printf(&want, "%zu,%s", row++,
                           rng_below(&rng, 3) ? "plain" : "\"a \"\"b\"\", c\"");
                for (uint64_t pad = rng_below(&rng, 90); pad; pad--) {
                    buf_putc(&want, 'x');
                }
                buf_put(&b, want.p + at, want.n - at);
                buf_putc(&want, '\n');
                buf_puts(&b, i + 1 == rows && rng_below(&rng, 2) ? "" : end);
                buf_puts(&b, rng_below(&rng, 50) ? "" : end); /* empty lines are no rows */
            }
            auto_free char *uri = xasprintf(GB "part-%zu.csv", f);
            rig_file(&r, uri, b.p, b.n);
        }
        struct export_tabular e = table(&r, SPLIT_BY_FRACTION, NULL);
        e.shard_bytes = 1 + rng_below(&rng, 40000);
        auto_free char *first = str_dup(str_n(r.files[0].text, r.files[0].n));
        if (row == 0) {
            fails(&r, &e, ERR_INVALID_ARGUMENT, "",
                  "There are no rows below the header of gs://b/");
            rig_close(&r);
            continue;
        }
        runs(&e);
        const char *header =
            strstr(first, "\"id\"") ? "\"id\",\"text, long\"\n" : "id,\"text, long\"\n";
        uint64_t records = 0;
        for (int i = 0; i < SPLIT_NR; i++) {
            content(&r, &e.sets[i], header, &got);
            records += e.sets[i].records;
        }
        assert_int_equal(records, row);
        assert_int_equal(e.rows, row);
        strs a = {0}, b = {0};
        lines_of(buf_str(&want), &a);
        lines_of(buf_str(&got), &b);
        assert_int_equal(a.n, b.n);
        qsort(a.p, a.n, sizeof(*a.p), by_text);
        qsort(b.p, b.n, sizeof(*b.p), by_text);
        for (size_t i = 0; i < a.n; i++) {
            assert_true(str_eq(a.p[i], b.p[i]));
        }
        vec_fini(&a);
        vec_fini(&b);
        assert_int_equal(atomic_load(&r.watch.done), atomic_load(&r.watch.total));
        export_tabular_fini(&e);
        assert_int_equal(rig_left(&r), 0);
        rig_close(&r);
    }
}

static void make_rows(struct rig *r, size_t n) {
    auto_buf struct buf b = BUF_INIT(1 << 26);
    buf_puts(&b, "id,class,when,use\n");
    for (size_t i = 0; i < n; i++) {
        buf_printf(&b, "%zu,c%zu,2024-01-01T%02zu:%02zu:%02zuZ,%s\n", i, i % 7, i / 3600 % 24,
                   i / 60 % 60, i % 60,
                   i % 5 == 0   ? "test"
                   : i % 5 == 1 ? "validation"
                                : "training");
    }
    rig_file(r, GB "t.csv", b.p, b.n);
}

static void test_neither_shards_nor_a_second_run_change_the_sets(void **state) {
    struct rig *r = *state;
    static const struct {
        enum split_kind kind;
        const char *key;
    } kinds[] = {{SPLIT_BY_FRACTION, NULL},
                 {SPLIT_BY_PREDEFINED, "use"},
                 {SPLIT_BY_TIMESTAMP, "when"},
                 {SPLIT_BY_STRATIFIED, "class"}};
    make_rows(r, 5000);
    for (size_t k = 0; k < NR_OF(kinds); k++) {
        struct buf first[SPLIT_NR];
        for (int turn = 0; turn < 3; turn++) {
            struct export_tabular e = table(r, kinds[k].kind, kinds[k].key);
            e.shard_bytes = turn == 1 ? 1000 : 1 << 20;
            runs(&e);
            for (int i = 0; i < SPLIT_NR; i++) {
                struct buf b = BUF_INIT(1 << 24);
                content(r, &e.sets[i], "id,class,when,use\n", &b);
                assert_true(turn == 1 ? e.sets[i].done.n > 10 : e.sets[i].done.n == 1);
                if (turn == 0) {
                    first[i] = b;
                } else {
                    assert_int_equal(b.n, first[i].n);
                    assert_memory_equal(b.p, first[i].p, b.n);
                    buf_fini(&b);
                }
            }
            assert_int_equal(e.ignored, 0);
            uint64_t want = kinds[k].kind == SPLIT_BY_PREDEFINED ? 3000 : 4000;
            assert_in_range(e.sets[0].records, want - 7, want + 7); /* 7 values, rounded each */
            export_tabular_fini(&e);
        }
        for (int i = 0; i < SPLIT_NR; i++) {
            buf_fini(&first[i]);
        }
    }
}

static void test_a_set_without_rows_is_one_file_with_the_header(void **state) {
    struct rig *r = *state;
    file(r, GB "t.csv", "a,use\n1,training\n2,test\n3,other\n");
    struct export_tabular e = table(r, SPLIT_BY_PREDEFINED, "use");
    runs(&e);
    assert_int_equal(e.sets[SPLIT_VALIDATION].done.n, 1);
    assert_int_equal(e.sets[SPLIT_VALIDATION].records, 0);
    auto_buf struct buf b = BUF_INIT(100);
    rig_read(r, &e.sets[SPLIT_VALIDATION].done.p[0], &b);
    assert_string_equal(buf_cstr(&b), "a,use\n");
    assert_int_equal(e.ignored, 1);
    export_tabular_fini(&e);
}

static void test_ragged_rows_are_named_by_file_and_line(void **state) {
    struct rig *r = *state;
    file(r, GB "a.csv", "a,b\n1,2\n");
    file(r, GB "b.csv", "a,b\n\"x\ny\",2\n3\n4,5\n");
    struct export_tabular e = table(r, SPLIT_BY_FRACTION, NULL);
    fails(r, &e, ERR_INVALID_ARGUMENT, "",
          "gs://b/b.csv, line 4: the row has 1 column where the header has 2");
}

static void test_a_header_in_another_order_is_refused(void **state) {
    struct rig *r = *state;
    file(r, GB "a.csv", "a,b\n1,2\n");
    file(r, GB "b.csv", "\"b\",a\n2,1\n");
    struct export_tabular e = table(r, SPLIT_BY_FRACTION, NULL);
    fails(r, &e, ERR_INVALID_ARGUMENT, "",
          "gs://b/b.csv, line 1: the header has the columns in another");
}

static void test_a_key_that_is_no_column_is_named_with_those_there_are(void **state) {
    struct rig *r = *state;
    file(r, GB "a.csv", "a,\"b \"\"c\"\"\"\n1,2\n");
    struct export_tabular e = table(r, SPLIT_BY_PREDEFINED, "split");
    fails(r, &e, ERR_INVALID_ARGUMENT, "some_split.key",
          "Column \"split\" does not exist. The header of gs://b/a.csv has 2 columns: a, b \"c\"");
}

static void test_a_column_that_puts_no_row_anywhere_is_named_with_a_value(void **state) {
    struct rig *r = *state;
    file(r, GB "a.csv", "a,use\n1,TRAIN\n2,TEST\n");
    struct export_tabular e = table(r, SPLIT_BY_PREDEFINED, "use");
    fails(r, &e, ERR_INVALID_ARGUMENT, "some_split.key",
          "The first other one is \"TRAIN\" (gs://b/a.csv, line 2)");
    e = table(r, SPLIT_BY_TIMESTAMP, "a");
    fails(r, &e, ERR_INVALID_ARGUMENT, "some_split.key", "1985-04-12T23:20:50.52Z");
}

static void test_files_that_are_missing_or_empty_are_named(void **state) {
    struct rig *r = *state;
    static const char *const missing[] = {GB "none.csv"};
    file(r, GB "a.csv", "");
    struct export_tabular e = table(r, SPLIT_BY_FRACTION, NULL);
    fails(r, &e, ERR_INVALID_ARGUMENT, "",
          "gs://b/a.csv is empty; its first line must be the header");
    e = table(r, SPLIT_BY_FRACTION, NULL);
    e.uris = missing;
    fails(r, &e, ERR_NOT_FOUND, "", "gs://b/none.csv");
}

static void test_a_full_disk_leaves_nothing(void **state) {
    struct rig *r = *state;
    make_rows(r, 5000);
    for (unsigned at = 1; at < 12; at++) {
        struct export_tabular e = table(r, SPLIT_BY_FRACTION, NULL);
        e.shard_bytes = 10000;
        r->made = 0;
        r->fail_make_at = at;
        fails(r, &e, ERR_RESOURCE_EXHAUSTED, "", "make a file");
    }
}

static void test_a_cancelled_run_ends_and_leaves_nothing(void **state) {
    struct rig *r = *state;
    make_rows(r, 5000);
    struct export_tabular e = table(r, SPLIT_BY_FRACTION, NULL);
    atomic_store(&r->watch.cancel, true);
    fails(r, &e, ERR_CANCELLED, "", "cancelled");
}

static void test_names_of_shards(void **state) {
    auto_buf struct buf b = BUF_INIT(100);
    shard_name(&b, "training", 0, 2, "csv");
    assert_string_equal(buf_cstr(&b), "training-00000-of-00002.csv");
    assert_true(shard_name_is(buf_str(&b), NULL));
    assert_true(shard_name_is(STR("test-00011-of-00012.jsonl"), NULL));
    assert_false(shard_name_is(STR("data-00000-of-00001.jsonl"), NULL));
    assert_true(shard_name_is(STR("data-00000-of-00001.jsonl"), "data"));
    static const char *const others[] = {"training",
                                         "training-00000-of-00001",
                                         "training-00002-of-00002.csv",
                                         "training-0000x-of-00001.csv",
                                         "training-00000-of-00001.txt",
                                         "",
                                         "training-00000-of-00001.csvx",
                                         "x-training-00000-of-00001.csv"};
    for (size_t i = 0; i < NR_OF(others); i++) {
        assert_false(shard_name_is(str_of(others[i]), NULL));
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_goes_to_exactly_one_set),
        T(test_neither_shards_nor_a_second_run_change_the_sets),
        T(test_a_set_without_rows_is_one_file_with_the_header),
        T(test_ragged_rows_are_named_by_file_and_line),
        T(test_a_header_in_another_order_is_refused),
        T(test_a_key_that_is_no_column_is_named_with_those_there_are),
        T(test_a_column_that_puts_no_row_anywhere_is_named_with_a_value),
        T(test_files_that_are_missing_or_empty_are_named),
        T(test_a_full_disk_leaves_nothing),
        T(test_a_cancelled_run_ends_and_leaves_nothing),
        cmocka_unit_test(test_names_of_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
