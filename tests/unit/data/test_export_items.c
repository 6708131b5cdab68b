/* Items into sets and folders: filters, labels, annotation sets, labels written back. */
#include "base/vec.h"
#include "data/export_items.h"
#include "data/item_line.h"
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define DATASET "projects/1/locations/us-central1/datasets/9"
#define NR_ITEMS 400

static char *items_path(struct rig *r, const char *name) {
    return xasprintf("%s/%s", r->dir, name);
}

static void put(struct items_writer *w, const char *format, const char *line) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_free char *uri = xasprintf(
        "gs://google-cloud-aiplatform/schema/dataset/ioformat/%s_io_format_1.0.0.yaml", format);
    struct data_item item;
    struct err err;
    if (item_line_parse(a, import_format_find(str_of(uri)), str_of(line), &item, &err) ||
        items_put(w, &item, &err)) {
        fail_msg("%s: %s", line, err.msg);
    }
}

/* 400 images: all with a label of set "a", every tenth also a box, every fourth with an ml_use, the
 * last ten without any annotation. */
static int setup(void **state) {
    struct rig *r = xcalloc(1, sizeof(*r));
    struct item_counts counts;
    rig_open(r);
    *state = r;
    auto_free char *to = items_path(r, "items.db");
    struct items_writer *w = items_write_begin(NULL, to, 1700000000000000, NULL);
    assert_non_null(w);
    for (int i = 0; i < NR_ITEMS; i++) {
        char line[500];
        const char *use =
            i % 4 == 0
                ? ",\"dataItemResourceLabels\":{\"aiplatform.googleapis.com/ml_use\":\"test\"}"
                : "";
        if (i < NR_ITEMS - 10) {
            snprintf(line, sizeof(line),
                     "{\"imageGcsUri\":\"gs://b/"
                     "%d.jpg\",\"classificationAnnotation\":{\"displayName\":\"%s\","
                     "\"annotationResourceLabels\":{\"aiplatform.googleapis.com/"
                     "annotation_set_name\":\"a\"}}%s}",
                     i, i % 2 ? "cat" : "dog", use);
        } else {
            snprintf(line, sizeof(line), "{\"imageGcsUri\":\"gs://b/%d.jpg\"}", i);
        }
        put(w, "image_classification_single_label", line);
        if (i % 10 == 0 && i < NR_ITEMS - 10) {
            snprintf(line, sizeof(line),
                     "{\"imageGcsUri\":\"gs://b/"
                     "%d.jpg\",\"boundingBoxAnnotations\":[{\"displayName\":\"cat\","
                     "\"xMin\":0.1,\"yMin\":0.2,\"xMax\":0.6,\"yMax\":0.9}]}",
                     i);
            put(w, "image_bounding_box", line);
        }
    }
    assert_int_equal(items_write_finish(w, &counts, NULL), 0);
    assert_int_equal(counts.items, NR_ITEMS);
    return 0;
}

static int teardown(void **state) {
    rig_close(*state);
    free(*state);
    return 0;
}

static struct export_items task(struct rig *r, const char *path) {
    return (struct export_items){.path = path,
                                 .dataset = STR(DATASET),
                                 .annotation_kind = ANNOTATION_IMAGE_CLASSIFICATION,
                                 .selection = "of schema \"X\"",
                                 .selection_field = "c.annotation_schema_uri",
                                 .has_split = true,
                                 .kind = SPLIT_BY_FRACTION,
                                 .fractions = {{0.8, 0.1, 0.1}},
                                 .seed = 7,
                                 .shard_bytes = 1 << 20,
                                 .io = &r->io,
                                 .watch = &r->watch};
}

static char *content(struct rig *r, const struct shards *s, size_t *ret_lines) {
    struct buf b = BUF_INIT(1 << 24);
    *ret_lines = 0;
    for (size_t i = 0; i < s->done.n; i++) {
        rig_read(r, &s->done.p[i], &b);
    }
    for (size_t i = 0; i < b.n; i++) {
        *ret_lines += b.p[i] == '\n';
    }
    assert_int_equal(*ret_lines, s->records);
    buf_putc(&b, 0);
    return buf_take(&b, NULL);
}

static void runs(struct export_items *e) {
    struct err err = {0};
    if (export_items_run(e, &err)) {
        fail_msg("%s", err.msg);
    }
}

static size_t count(const char *text, const char *what) {
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what)) {
        n++;
    }
    return n;
}

static void test_annotated_items_are_split_and_say_their_set(void **state) {
    struct rig *r = *state;
    auto_free char *path = items_path(r, "items.db");
    for (int turn = 0; turn < 2; turn++) {
        struct export_items e = task(r, path);
        e.shard_bytes = turn ? 2000 : 1 << 20;
        runs(&e);
        assert_int_equal(e.sets[0].records, 312);
        assert_int_equal(e.sets[1].records, 39);
        assert_int_equal(e.sets[2].records, 39);
        assert_int_equal(e.sets[0].annotations, 312);
        for (int i = 0; i < SPLIT_NR; i++) {
            size_t lines;
            char word[80];
            auto_free char *text = content(r, &e.sets[i], &lines);
            snprintf(word, sizeof(word), "\"aiplatform.googleapis.com/ml_use\":\"%s\"",
                     split_set_name((enum split_set)i));
            assert_int_equal(count(text, word), lines);
            assert_int_equal(count(text, "classificationAnnotation\":{"), lines);
            assert_int_equal(count(text, "boundingBox"), 0);
            assert_true(turn == 0 || e.sets[i].done.n > 2);
        }
        export_items_fini(&e);
    }
}

static void test_what_an_import_said_stays_when_nobody_asks_for_a_split(void **state) {
    struct rig *r = *state;
    auto_free char *path = items_path(r, "items.db");
    struct export_items e = task(r, path);
    e.keeps_use = true;
    runs(&e);
    size_t lines;
    auto_free char *text = content(r, &e.sets[SPLIT_TEST], &lines);
    assert_true(lines >= 98 && lines < 200);
    assert_non_null(strstr(text, "gs://b/0.jpg"));
    assert_non_null(strstr(text, "gs://b/384.jpg"));
    export_items_fini(&e);
}

static void test_the_first_filter_that_matches_decides(void **state) {
    struct rig *r = *state;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_free char *path = items_path(r, "items.db");
    struct export_items e = task(r, path);
    static const char *const texts[] = {"labels.aiplatform.googleapis.com/ml_use=test", "-",
                                        "labels.aiplatform.googleapis.com/ml_use:*"};
    e.kind = SPLIT_BY_FILTER;
    for (int i = 0; i < SPLIT_NR; i++) {
        e.filters[i] = (struct export_filter){.is_none = i == 1, .text = texts[i], .field = "c.f"};
        if (i != 1) {
            assert_int_equal(
                filter_parse(a, str_of(texts[i]), &item_schema, &e.filters[i].filter, NULL), 0);
        }
    }
    struct err err;
    assert_int_equal(export_items_run(&e, &err),
                     -1); /* the third gets nothing: the first took all */
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    assert_string_equal(err.field, "c.f");
    assert_non_null(strstr(err.msg, "matches none of the 390 data items"));
    export_items_fini(&e);
    assert_int_equal(rig_left(r), 0);
    r->watch = (struct export_watch){0};
    struct export_filter third = e.filters[2];
    e = task(r, path);
    e.kind = SPLIT_BY_FILTER;
    e.filters[0] = (struct export_filter){.is_none = true};
    e.filters[1] = (struct export_filter){.is_none = true};
    e.filters[2] = third;
    runs(&e);
    assert_int_equal(e.sets[2].records, 98);
    assert_int_equal(e.ignored, 390 - 98);
    assert_int_equal(e.sets[0].done.n, 1); /* an empty file */
    assert_int_equal(e.sets[0].done.p[0].size, 0);
    export_items_fini(&e);
}

static void test_a_selection_of_nothing_is_named(void **state) {
    struct rig *r = *state;
    auto_free char *path = items_path(r, "items.db");
    struct export_items e = task(r, path);
    struct err err;
    e.set_name = STR("other");
    assert_int_equal(export_items_run(&e, &err), -1);
    assert_string_equal(err.field, "c.annotation_schema_uri");
    assert_non_null(
        strstr(err.msg, "No data item of the dataset has an annotation of schema \"X\""));
    export_items_fini(&e);
    assert_int_equal(rig_left(r), 0);
    e = task(r, "");
    assert_int_equal(export_items_run(&e, &err), -1);
    assert_non_null(strstr(err.msg, "The dataset has no data items"));
    export_items_fini(&e);
}

static void test_plain_exports_have_a_folder_a_schema_and_lose_nothing(void **state) {
    struct rig *r = *state;
    auto_free char *path = items_path(r, "items.db");
    struct export_items e = task(r, path);
    e.is_plain = true;
    e.has_split = false;
    e.annotation_kind = ANNOTATION_NONE;
    runs(&e);
    assert_int_equal(e.sets[ANNOTATION_IMAGE_CLASSIFICATION].records, 390);
    assert_int_equal(e.sets[ANNOTATION_IMAGE_BOUNDING_BOX].records, 39);
    assert_int_equal(e.sets[ANNOTATION_NONE].records, 10);
    assert_int_equal(e.sets[ANNOTATION_IMAGE_SEGMENTATION].done.n, 0);
    size_t lines;
    auto_free char *text = content(r, &e.sets[ANNOTATION_IMAGE_CLASSIFICATION], &lines);
    assert_int_equal(count(text, "ml_use\":\"test\""), 98);
    export_items_fini(&e);
}

static void test_sets_are_written_back_as_labels(void **state) {
    struct rig *r = *state;
    auto_free char *path = items_path(r, "items.db"), *to = items_path(r, "next.db");
    struct export_items e = task(r, path);
    struct item_counts counts;
    runs(&e);
    assert_int_equal(export_items_persist(&e, path, to, 1700000001000000, &counts, NULL), 0);
    assert_int_equal(counts.of_use[ML_USE_TRAINING], 312);
    assert_int_equal(counts.of_use[ML_USE_VALIDATION], 39);
    assert_int_equal(counts.of_use[ML_USE_TEST], 39);
    assert_int_equal(counts.of_use[ML_USE_NONE], 10);
    size_t lines;
    auto_free char *before = content(r, &e.sets[1], &lines);
    export_items_fini(&e);
    r->watch = (struct export_watch){0};
    e = task(r, to); /* now the labels are there: nobody needs to ask again */
    e.fractions = (struct split_fractions){{0, 0, 1}};
    e.keeps_use = true;
    runs(&e);
    auto_free char *after = content(r, &e.sets[1], &lines);
    assert_string_equal(before, after);
    export_items_fini(&e);
}

static void test_a_cancelled_export_leaves_nothing(void **state) {
    struct rig *r = *state;
    auto_free char *path = items_path(r, "items.db");
    struct export_items e = task(r, path);
    struct err err;
    atomic_store(&r->watch.cancel, true);
    assert_int_equal(export_items_run(&e, &err), -1);
    assert_int_equal(err.code, ERR_CANCELLED);
    export_items_fini(&e);
    assert_int_equal(rig_left(r), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(test_annotated_items_are_split_and_say_their_set),
        T(test_what_an_import_said_stays_when_nobody_asks_for_a_split),
        T(test_the_first_filter_that_matches_decides),
        T(test_a_selection_of_nothing_is_named),
        T(test_plain_exports_have_a_folder_a_schema_and_lose_nothing),
        T(test_sets_are_written_back_as_labels),
        T(test_a_cancelled_export_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
