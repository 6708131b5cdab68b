/* Sets of items: what is put is found again, in order; merges; filters; files that nobody sees
 * before they are whole. */
#include "base/enc.h"
#include "base/limits.h"
#include "data/item_line.h"
#include "data/item_message.h"
#include "pb/pb.h"
#include "sys/files.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define DATASET "projects/1/locations/us-central1/datasets/9"

static char dir[] = "/tmp/cusp-test-items-XXXXXX";

static char *path_of(const char *name) {
    return xasprintf("%s/%s", dir, name);
}

static void put(struct items_writer *w, const char *format_name, const char *line) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_free char *uri =
        xasprintf("gs://google-cloud-aiplatform/schema/dataset/ioformat/%s_io_format_1.0.0.yaml",
                  format_name);
    struct data_item item;
    struct err err;
    if (item_line_parse(a, import_format_find(str_of(uri)), str_of(line), &item, &err) ||
        items_put(w, &item, &err)) {
        fail_msg("%s: %s", line, err.msg);
    }
}

static void write_set(const char *from, const char *to, const char *const *lines,
                      struct item_counts *counts) {
    auto_free char *source = from ? path_of(from) : NULL;
    auto_free char *target = path_of(to);
    struct err err;
    struct items_writer *w = items_write_begin(source, target, 1700000000000000, &err);
    if (!w) {
        fail_msg("%s", err.msg);
    }
    for (; *lines; lines++) {
        put(w,
            strstr(*lines, "text") ? "text_classification_multi_label"
                                   : "image_classification_multi_label",
            *lines);
    }
    if (items_write_finish(w, counts, &err)) {
        fail_msg("%s", err.msg);
    }
}

static struct items *open_set(const char *name) {
    auto_free char *path = name ? path_of(name) : NULL;
    struct err err;
    struct items *it = items_open(path, &err);
    if (!it) {
        fail_msg("%s", err.msg);
    }
    return it;
}

/* The set as the lines of an export. */
static char *dump(const char *name, const struct item_query *q) {
    struct items *it = open_set(name);
    const struct data_item *item;
    struct buf b = BUF_INIT(BUF_NO_MAX);
    struct item_cursor *c = items_scan(it, q, NULL);
    assert_non_null(c);
    uint64_t last = q->descending ? UINT64_MAX : 0;
    for (;;) {
        assert_int_equal(items_next(c, &item, NULL), 0);
        if (!item) {
            break;
        }
        assert_true(q->descending ? item->seq < last : item->seq > last);
        last = item->seq;
        item_line_write(&b, item, item->use);
    }
    item_cursor_free(c);
    items_close(it);
    return buf_take(&b, NULL);
}

#define A                                                                                          \
    "{\"imageGcsUri\":\"gs://b/a.jpg\",\"classificationAnnotations\":[{\"displayName\":\"cat\"}],"
#define B                                                                                          \
    "{\"imageGcsUri\":\"gs://b/b.jpg\",\"classificationAnnotations\":[{\"displayName\":\"dog\"}],"
#define NO_LABELS "\"dataItemResourceLabels\":{}}"
#define USE(u) "\"dataItemResourceLabels\":{\"aiplatform.googleapis.com/ml_use\":\"" u "\"}}"
#define NL "\n"

static void test_round_trip(void **state) {
    struct item_counts n;
    write_set(NULL, "1.db", (const char *[]){B USE("test"), A NO_LABELS, NULL}, &n);
    assert_int_equal(n.items, 2);
    assert_int_equal(n.annotations, 2);
    assert_int_equal(n.specs, 2);
    assert_int_equal(n.of_use[ML_USE_TEST], 1);
    assert_int_equal(n.of_use[ML_USE_NONE], 1);
    auto_free char *all = dump("1.db", &(struct item_query){0});
    assert_string_equal(all, B USE("test") NL A NO_LABELS NL);
    auto_free char *back = dump("1.db", &(struct item_query){.descending = true});
    assert_string_equal(back, A NO_LABELS NL B USE("test") NL);
    auto_free char *rest = dump("1.db", &(struct item_query){.after = 1});
    assert_string_equal(rest, A NO_LABELS NL);
    auto_free char *none = dump(NULL, &(struct item_query){0});
    assert_string_equal(none, "");
}

static void test_ids_do_not_depend_on_order(void **state) {
    struct item_counts n;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    write_set(NULL, "o1.db", (const char *[]){A NO_LABELS, B NO_LABELS, NULL}, &n);
    write_set(NULL, "o2.db", (const char *[]){B NO_LABELS, A NO_LABELS, NULL}, &n);
    uint64_t ids[2][2], specs[2][2];
    for (int i = 0; i < 2; i++) {
        struct items *it = open_set(i ? "o2.db" : "o1.db");
        struct item_cursor *c = items_scan(it, &(struct item_query){.descending = i == 1}, NULL);
        for (int k = 0; k < 2; k++) {
            const struct data_item *item;
            assert_int_equal(items_next(c, &item, NULL), 0);
            ids[i][k] = item->id;
            specs[i][k] = item->annotations[0].spec_id;
            const struct data_item *again;
            assert_int_equal(items_get(it, item->id, a, &again, NULL), 0);
            assert_int_equal(again->seq, item->seq);
            assert_int_equal(again->annotations[0].id, item->annotations[0].id);
            assert_true(ids[i][k] > 0 && ids[i][k] <= INT64_MAX);
        }
        item_cursor_free(c);
        items_close(it);
    }
    assert_memory_equal(ids[0], ids[1], sizeof(ids[0]));
    assert_memory_equal(specs[0], specs[1], sizeof(specs[0]));
}

static void test_identical_items_are_merged(void **state) {
    struct item_counts n;
    write_set(NULL, "m1.db",
              (const char *[]){"{\"imageGcsUri\":\"gs://b/a.jpg\",\"classificationAnnotations\":[{"
                               "\"displayName\":\"cat\"},{\"displayName\":\"cat\"}],"
                               "\"dataItemResourceLabels\":{\"team\":\"red\",\"kept\":\"yes\"}}",
                               NULL},
              &n);
    assert_int_equal(n.annotations, 1);
    write_set("m1.db", "m2.db",
              (const char *[]){"{\"imageGcsUri\":\"gs://b/a.jpg\",\"classificationAnnotations\":[{"
                               "\"displayName\":\"dog\"},{\"displayName\":\"cat\"}],"
                               "\"dataItemResourceLabels\":{\"team\":\"blue\","
                               "\"aiplatform.googleapis.com/ml_use\":\"test\"}}",
                               "{\"imageGcsUri\":\"gs://b/a.jpg\"}", NULL},
              &n);
    assert_int_equal(n.items, 1);
    assert_int_equal(n.annotations, 2);
    assert_int_equal(n.of_use[ML_USE_TEST], 1);
    auto_free char *all = dump("m2.db", &(struct item_query){0});
    assert_string_equal(all, "{\"imageGcsUri\":\"gs://b/a.jpg\",\"classificationAnnotations\":[{"
                             "\"displayName\":\"cat\"},{\"displayName\":\"dog\"}],"
                             "\"dataItemResourceLabels\":{\"team\":\"blue\",\"kept\":\"yes\","
                             "\"aiplatform.googleapis.com/ml_use\":\"test\"}}" NL);
    /* The file it began as is what it was. */
    auto_free char *old = dump("m1.db", &(struct item_query){0});
    assert_non_null(strstr(old, "\"team\":\"red\""));
    assert_null(strstr(old, "dog"));
}

/* Objects of a made-up store: what is asked of them is counted. */
struct shelf {
    const char *const *bytes; /* of gs://b/0, gs://b/1, ... */
    size_t more;              /* zeros before them */
    unsigned asked, opened;
    bool is_silent; /* knows no checksum */
};

static const char *bytes_of(struct shelf *s, const char *uri) {
    return s->bytes[uri[strlen(uri) - 1] - '0'];
}

static bool shelf_crc32c(void *arg, const char *uri, uint32_t *ret) {
    struct shelf *s = arg;
    const char *bytes = bytes_of(s, uri);
    s->asked++;
    *ret = bytes[0] == '!' ? 7 : enc_crc32c(0, bytes, strlen(bytes)); /* ! is a coincidence */
    return !s->is_silent;
}

static int shelf_open(void *arg, const char *uri, int *ret_fd, uint64_t *ret_size,
                      struct err *err) {
    struct shelf *s = arg;
    const char *bytes = bytes_of(s, uri);
    s->opened++;
    *ret_size = s->more + strlen(bytes);
    *ret_fd = memfd_create("object", MFD_CLOEXEC);
    assert_int_equal(pwrite(*ret_fd, bytes, strlen(bytes), (off_t)s->more), strlen(bytes));
    return 0;
}

static void put_objects(struct shelf *s, const char *from, const char *to, const char *order,
                        struct item_counts *ret) {
    auto_free char *source = from ? path_of(from) : NULL;
    auto_free char *target = path_of(to);
    const struct item_contents contents = {shelf_crc32c, shelf_open, s};
    struct items_writer *w = items_write_begin(source, target, 1700000000000000, NULL);
    assert_non_null(w);
    assert_int_equal(items_write_contents(w, &contents, NULL), 0);
    for (; *order; order++) {
        char uri[16];
        snprintf(uri, sizeof(uri), "gs://b/%c", *order);
        struct data_item item = {.media = ITEM_IMAGE,
                                 .text = str_of(uri),
                                 .has_size = true,
                                 .size = s->more + strlen(s->bytes[*order - '0'])};
        assert_int_equal(items_put(w, &item, NULL), 0);
    }
    assert_int_equal(items_write_finish(w, ret, NULL), 0);
}

static void test_the_same_bytes_are_one_item_and_little_is_read(void **state) {
    static const char *const bytes[] = {"one", "three", "two", "three", "!aaa", "!bbb", "one"};
    struct shelf s = {.bytes = bytes, .more = 1 << 20};
    struct item_counts n;
    put_objects(&s, NULL, "s1.db", "01", &n);
    assert_int_equal(n.items, 2);
    assert_int_equal(s.asked + s.opened, 0); /* two sizes: nothing to find out */
    put_objects(&s, "s1.db", "s2.db", "2", &n);
    assert_int_equal(n.items, 3);
    assert_int_equal(s.asked, 2); /* "one" and "two" are of one size, and that is all */
    assert_int_equal(s.opened, 0);
    put_objects(&s, "s2.db", "s3.db", "3160", &n);
    assert_int_equal(n.items, 3);
    assert_int_equal(s.opened, 4); /* two pairs were compared */
    put_objects(&s, "s3.db", "s4.db", "45", &n);
    assert_int_equal(n.items, 5); /* one checksum, but not the same bytes */
    s.is_silent = true;
    put_objects(&s, NULL, "s5.db", "1306", &n);
    assert_int_equal(n.items, 4); /* who cannot say what they hold are what they are called */
}

static void test_small_objects_are_read_instead(void **state) {
    static const char *const bytes[] = {"one", "two", "", "one", ""};
    struct shelf s = {.bytes = bytes};
    struct item_counts n;
    put_objects(&s, NULL, "r1.db", "0124", &n);
    assert_int_equal(n.items, 3);
    assert_int_equal(s.opened,
                     2); /* each once for its checksum; of nothing there is nothing to see */
    put_objects(&s, "r1.db", "r2.db", "3", &n);
    assert_int_equal(n.items, 3);
    assert_int_equal(s.opened, 5); /* for its checksum, and two to be compared */
    assert_int_equal(s.asked, 0);
}

/* What was imported before items had sizes is known by its name until it is imported again. */
static void test_files_of_version_1_go_on(void **state) {
    static const char *const bytes[] = {"one", "one", "one"};
    struct shelf s = {.bytes = bytes};
    struct item_counts n;
    put_objects(&s, NULL, "v1.db", "0", &n);
    auto_free char *path = path_of("v1.db");
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "DROP INDEX item_content; ALTER TABLE item DROP COLUMN crc;"
                                  "ALTER TABLE item DROP COLUMN size; PRAGMA user_version = 1",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    auto_free char *read = dump("v1.db", &(struct item_query){0});
    assert_non_null(strstr(read, "gs://b/0"));
    put_objects(&s, "v1.db", "v2.db", "1", &n);
    assert_int_equal(n.items, 2);
    put_objects(&s, "v1.db", "v3.db", "01", &n);
    assert_int_equal(n.items, 1);
}

static void test_texts_are_not_uris(void **state) {
    struct item_counts n;
    write_set(NULL, "t.db",
              (const char *[]){"{\"textContent\":\"gs://b/t.txt\"}",
                               "{\"textGcsUri\":\"gs://b/t.txt\"}",
                               "{\"textContent\":\"gs://b/t.txt\"}", NULL},
              &n);
    assert_int_equal(n.items, 2);
}

static char *dump_filtered(const char *items, const char *annotations, bool only_annotated) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct item_query q = {.dataset = STR(DATASET), .only_annotated = only_annotated};
    struct err err;
    if (filter_parse(a, str_of(items), &item_schema, &q.items, &err) ||
        filter_parse(a, str_of(annotations), &annotation_schema, &q.annotations, &err)) {
        fail_msg("%s", err.msg);
    }
    return dump("f.db", &q);
}

static void test_filters(void **state) {
    struct item_counts n;
    write_set(NULL, "f.db", (const char *[]){A USE("training"), B USE("test"), NULL}, &n);
    static const struct {
        const char *items, *annotations;
        bool only, a, b;
    } table[] = {
        {"", "", false, true, true},
        {"labels.aiplatform.googleapis.com/ml_use=training", "", false, true, false},
        {"labels.\"aiplatform.googleapis.com/ml_use\"!=training", "", false, false, true},
        {"payload.gcsUri=\"gs://b/b.jpg\"", "", false, false, true},
        {"name:\"" DATASET "/dataItems/*\"", "", false, true, true},
        {"create_time<\"2020-01-01T00:00:00Z\"", "", false, false, false},
        {"", "payload.displayName=dog", true, false, true},
        {"", "payload_schema_uri:\"*image_classification*\"", true, true, true},
        {"", "labels.aiplatform.googleapis.com/payload_schema=ImageBoundingBox", true, false,
         false},
    };
    for (size_t i = 0; i < NR_OF(table); i++) {
        auto_free char *all = dump_filtered(table[i].items, table[i].annotations, table[i].only);
        if ((strstr(all, "a.jpg") != NULL) != table[i].a ||
            (strstr(all, "b.jpg") != NULL) != table[i].b) {
            fail_msg("%s / %s: %s", table[i].items, table[i].annotations, all);
        }
    }
    auto_free char *bare = dump_filtered("", "payload.displayName=dog", false);
    assert_string_equal(bare,
                        "{\"imageGcsUri\":\"gs://b/a.jpg\"," USE("training") NL B USE("test") NL);
}

static void test_uses_are_set(void **state) {
    struct item_counts n;
    struct err err;
    write_set(NULL, "u1.db", (const char *[]){A NO_LABELS, B USE("test"), NULL}, &n);
    auto_free char *from = path_of("u1.db"), *to = path_of("u2.db");
    struct items_writer *w = items_write_begin(from, to, 1, &err);
    assert_int_equal(items_set_use(w, 1, ML_USE_VALIDATION, &err), 0);
    assert_int_equal(items_set_use(w, 2, ML_USE_NONE, &err), 0);
    assert_int_equal(items_set_use(w, 3, ML_USE_NONE, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(items_write_finish(w, &n, &err), 0);
    assert_int_equal(n.of_use[ML_USE_VALIDATION], 1);
    assert_int_equal(n.of_use[ML_USE_TEST], 0);
    auto_free char *all = dump("u2.db", &(struct item_query){0});
    assert_string_equal(all, A USE("validation") NL B NO_LABELS NL);
}

static void test_dropped_files_are_gone(void **state) {
    auto_free char *to = path_of("d.db");
    struct err err;
    struct items_writer *w = items_write_begin(NULL, to, 1, &err);
    put(w, "image_classification_multi_label", A NO_LABELS);
    items_write_drop(w);
    assert_int_equal(access(to, F_OK), -1);
    assert_null(items_open(to, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    /* What a crash left is replaced. */
    assert_int_equal(file_write_atomic(AT_FDCWD, to, STR("half a file"), 0600, FILE_NO_SYNC, &err),
                     0);
    assert_null(items_open(to, &err));
    assert_int_equal(err.code, ERR_DATA_LOSS);
    struct item_counts n;
    write_set(NULL, "d.db", (const char *[]){A NO_LABELS, NULL}, &n);
    auto_free char *all = dump("d.db", &(struct item_query){0});
    assert_string_equal(all, A NO_LABELS NL);
}

static void test_limits(void **state) {
    auto_free char *to = path_of("l.db");
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct err err;
    struct data_item item;
    const struct import_format *f =
        import_format_of_problem(STR("IMAGE_CLASSIFICATION_MULTI_LABEL"));
    limits.max_dataset_items = 1;
    struct items_writer *w = items_write_begin(NULL, to, 1, &err);
    put(w, f->name, A NO_LABELS);
    assert_int_equal(item_line_parse(a, f, STR(B NO_LABELS), &item, &err), 0);
    assert_int_equal(items_put(w, &item, &err), -1);
    assert_int_equal(err.code, ERR_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(err.msg, "the limit max_dataset_items is 1"));
    limits.max_dataset_items = 100;
    limits.max_annotation_specs = 1;
    assert_int_equal(items_put(w, &item, &err), -1);
    assert_non_null(strstr(err.msg, "the limit max_annotation_specs is 1"));
    limits.max_annotation_specs = 100;
    items_write_drop(w);
}

static void test_messages(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct data_item item;
    const struct import_format *f = import_format_of_problem(STR("TEXT_EXTRACTION"));
    assert_int_equal(item_line_parse(a, f,
                                     STR("{\"textContent\":\"I\",\"textSegmentAnnotations\":[{"
                                         "\"startOffset\":0,\"endOffset\":1,\"displayName\":\"x\"}"
                                         "],\"dataItemResourceLabels\":{\"k\":\"v\","
                                         "\"aiplatform.googleapis.com/ml_use\":\"test\"}}"),
                                     &item, NULL),
                     0);
    item.id = 5;
    struct data_annotation n = item.annotations[0];
    n.id = 6;
    n.spec_id = 7;
    auto_buf struct buf text = BUF_INIT(BUF_NO_MAX);
    struct pb_json_opts opts = {.compact = true};
    assert_int_equal(
        pb_to_json(&data_item_message(a, STR(DATASET), &item)->base, &opts, &text, NULL), 0);
    assert_non_null(strstr(text.p, "\"name\":\"" DATASET "/dataItems/5\""));
    assert_non_null(strstr(text.p, "\"payload\":{\"textContent\":\"I\"}"));
    assert_non_null(strstr(text.p, "\"aiplatform.googleapis.com/ml_use\":\"test\""));
    buf_clear(&text);
    assert_int_equal(
        pb_to_json(&data_annotation_message(a, STR(DATASET), 5, &n)->base, &opts, &text, NULL), 0);
    assert_non_null(strstr(text.p, DATASET "/dataItems/5/annotations/6"));
    assert_non_null(strstr(text.p, "\"payload\":{\"annotationSpecId\":\"7\",\"displayName\":\"x\","
                                   "\"textSegment\":{\"startOffset\":0,\"endOffset\":1}}"));
    assert_non_null(strstr(text.p, "text_extraction_1.0.0.yaml"));
}

static int make_dir(void **state) {
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    return file_remove_tree(AT_FDCWD, dir, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_ids_do_not_depend_on_order),
        cmocka_unit_test(test_identical_items_are_merged),
        cmocka_unit_test(test_the_same_bytes_are_one_item_and_little_is_read),
        cmocka_unit_test(test_small_objects_are_read_instead),
        cmocka_unit_test(test_files_of_version_1_go_on),
        cmocka_unit_test(test_texts_are_not_uris),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_uses_are_set),
        cmocka_unit_test(test_dropped_files_are_gone),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
