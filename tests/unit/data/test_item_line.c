/* Lines of import files: every shape of the reference, written back the same, and what is wrong
 * with the others. */
#include "data/item_line.h"
#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define URI(name)                                                                                  \
    "gs://google-cloud-aiplatform/schema/dataset/ioformat/" name "_io_format_1.0.0.yaml"

static const struct import_format *format(const char *name) {
    for (size_t i = 0; import_format_at(i); i++) {
        if (strcmp(import_format_at(i)->name, name) == 0) {
            return import_format_at(i);
        }
    }
    fail_msg("no format %s", name);
    return NULL;
}

static void test_formats_are_found_by_their_uri(void **state) {
    assert_string_equal(import_format_find(STR(URI("text_sentiment")))->name, "text_sentiment");
    assert_null(import_format_find(STR(URI("audio"))));
    assert_null(import_format_find(STR("gs://google-cloud-aiplatform/schema/dataset/ioformat/")));
    assert_null(import_format_find(STR("")));
    for (size_t i = 0; import_format_at(i); i++) {
        const struct import_format *f = import_format_at(i);
        assert_ptr_equal(import_format_of_problem(str_of(f->problem_type)), f);
        assert_int_equal(annotation_kind_of(str_of(annotation_schema_uri(f->kind))), f->kind);
    }
}

/* in == NULL: written as it was read. */
static const struct {
    const char *format, *line, *written;
} shapes[] = {
    {"image_classification_single_label",
     "{\"imageGcsUri\":\"gs://b/a.jpg\",\"classificationAnnotation\":{\"displayName\":\"cat\","
     "\"annotationResourceLabels\":{\"aiplatform.googleapis.com/annotation_set_name\":\"set1\"}},"
     "\"dataItemResourceLabels\":{\"aiplatform.googleapis.com/ml_use\":\"training\"}}",
     NULL},
    {"image_classification_multi_label",
     "{\"imageGcsUri\":\"gs://b/a.jpg\",\"classificationAnnotations\":[{\"displayName\":\"cat\"},"
     "{\"displayName\":\"indoor\"}],\"dataItemResourceLabels\":{"
     "\"aiplatform.googleapis.com/ml_use\":\"test\"}}",
     NULL},
    {"image_bounding_box",
     "{\"imageGcsUri\":\"gs://b/a.jpg\",\"boundingBoxAnnotations\":[{\"displayName\":\"cat\","
     "\"xMin\":\"0.1\",\"yMin\":\"0.2\",\"xMax\":\"0.6\",\"yMax\":\"0.9\"}]}",
     "{\"imageGcsUri\":\"gs://b/a.jpg\",\"boundingBoxAnnotations\":[{\"displayName\":\"cat\","
     "\"xMin\":0.1,\"yMin\":0.2,\"xMax\":0.6,\"yMax\":0.9}],\"dataItemResourceLabels\":{}}"},
    {"image_segmentation",
     "{\"imageGcsUri\":\"gs://b/a.jpg\",\"segmentationAnnotations\":[{\"displayName\":\"cat\","
     "\"polygonAnnotation\":{\"vertexes\":[{\"x\":0.5,\"y\":1}]}}],\"dataItemResourceLabels\":{}}",
     NULL},
    {"text_classification_single_label",
     "{\"textContent\":\"a \\\"good\\\" one\\n\",\"classificationAnnotation\":{\"displayName\":"
     "\"good\"},\"dataItemResourceLabels\":{\"source\":\"mail\"}}",
     NULL},
    {"text_classification_multi_label",
     "{\"textGcsUri\":\"gs://b/t.txt\",\"classificationAnnotation\":{\"displayName\":\"x\"}}",
     "{\"textGcsUri\":\"gs://b/t.txt\",\"classificationAnnotations\":[{\"displayName\":\"x\"}],"
     "\"dataItemResourceLabels\":{}}"},
    {"text_sentiment",
     "{\"textContent\":\"good\",\"sentimentAnnotation\":{\"sentiment\":1,\"sentimentMax\":1},"
     "\"dataItemResourceLabels\":{}}",
     NULL},
    {"text_extraction",
     "{\"textGcsUri\":\"gs://b/t.txt\",\"textSegmentAnnotations\":[{\"startOffset\":0,"
     "\"endOffset\":\"4\",\"displayName\":\"NAME\"}]}",
     "{\"textGcsUri\":\"gs://b/t.txt\",\"textSegmentAnnotations\":[{\"displayName\":\"NAME\","
     "\"startOffset\":0,\"endOffset\":4}],\"dataItemResourceLabels\":{}}"},
    {"video_classification",
     "{\"videoGcsUri\":\"gs://b/v.mp4\",\"timeSegmentAnnotations\":[{\"displayName\":\"jump\","
     "\"startTime\":\"1.0s\",\"endTime\":\"12.0s\"}]}",
     "{\"videoGcsUri\":\"gs://b/v.mp4\",\"timeSegmentAnnotations\":[{\"displayName\":\"jump\","
     "\"startTime\":\"1s\",\"endTime\":\"12s\"}],\"dataItemResourceLabels\":{}}"},
    {"video_action_recognition",
     "{\"videoGcsUri\":\"gs://b/v.mp4\",\"timeSegments\":[{\"startTime\":\"0s\"}],"
     "\"timeSegmentAnnotations\":[]}",
     "{\"videoGcsUri\":\"gs://b/v.mp4\",\"dataItemResourceLabels\":{}}"},
    {"video_object_tracking",
     "{\"videoGcsUri\":\"gs://b/v.mp4\",\"temporalBoundingBoxAnnotations\":[{\"displayName\":"
     "\"car\",\"xMin\":0.1,\"yMin\":0.2,\"xMax\":0.3,\"yMax\":0.4,\"timeOffset\":\"2.500s\","
     "\"instanceId\":4}]}",
     "{\"videoGcsUri\":\"gs://b/v.mp4\",\"temporalBoundingBoxAnnotations\":[{\"displayName\":"
     "\"car\",\"xMin\":0.1,\"yMin\":0.2,\"xMax\":0.3,\"yMax\":0.4,\"timeOffset\":\"2.500s\","
     "\"instanceId\":\"4\"}],\"dataItemResourceLabels\":{}}"},
};

static void test_shapes(void **state) {
    for (size_t i = 0; i < NR_OF(shapes); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        struct data_item item;
        struct err err;
        if (item_line_parse(a, format(shapes[i].format), str_of(shapes[i].line), &item, &err)) {
            fail_msg("%s: %s", shapes[i].line, err.msg);
        }
        item_line_write(&b, &item, item.use);
        assert_int_equal(b.p[b.n - 1], '\n');
        b.p[b.n - 1] = 0;
        assert_string_equal(b.p, shapes[i].written ? shapes[i].written : shapes[i].line);
    }
}

static void test_what_a_line_says(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct data_item item;
    assert_int_equal(item_line_parse(a, format("image_classification_single_label"),
                                     str_of(shapes[0].line), &item, NULL),
                     0);
    assert_int_equal(item.use, ML_USE_TRAINING);
    assert_int_equal(item.labels.n, 0);
    assert_true(str_eqc(item.mime, "image/jpeg"));
    assert_int_equal(item.nr_annotations, 1);
    assert_true(item.annotations[0].is_single);
    assert_true(str_eqc(item.annotations[0].labels.p[0].value, "set1"));
}

#define IMAGE "{\"imageGcsUri\":\"gs://b/a.jpg\","
#define BOX(members) IMAGE "\"boundingBoxAnnotations\":[{\"displayName\":\"x\"," members "}]}"

static void test_mistakes(void **state) {
    static const struct {
        const char *format, *line, *says;
    } table[] = {
        {"image_bounding_box", "{\"imageGcsUri\":", "not a JSON object: "},
        {"image_bounding_box", "", "not a JSON object: "},
        {"image_bounding_box", "[]", "a line must be a JSON object"},
        {"image_bounding_box", "{}", "neither imageGcsUri is there: the line names no item"},
        {"text_sentiment", "{}", "neither textGcsUri nor textContent is there"},
        {"image_bounding_box", "{\"imageGcsUri\":7}", "imageGcsUri: must be a string"},
        {"image_bounding_box", "{\"imageGcsUri\":\"/a.jpg\"}",
         "imageGcsUri: \"/a.jpg\" is not a Cloud Storage URI"},
        {"image_bounding_box", "{\"imageGcsUri\":\"gs://b\"}", "is not a Cloud Storage URI"},
        {"image_bounding_box", "{\"imageGcsUri\":\"gs:///x\"}", "is not a Cloud Storage URI"},
        {"image_bounding_box", IMAGE "\"colour\":1}",
         "unknown field \"colour\"; lines of image_bounding_box have imageGcsUri, "
         "dataItemResourceLabels, boundingBoxAnnotations"},
        {"text_sentiment", "{\"textContent\":\"\"}", "textContent: must not be empty"},
        {"text_sentiment", "{\"textContent\":\"a\",\"textGcsUri\":\"gs://b/a\"}",
         "one of textContent and textGcsUri, not both"},
        {"image_bounding_box", BOX("\"xMin\":0.5"), "boundingBoxAnnotations[0].yMin: is missing"},
        {"image_bounding_box", BOX("\"xMin\":0.5,\"yMin\":0,\"xMax\":0.4,\"yMax\":1"),
         "boundingBoxAnnotations[0].xMin: is larger than xMax"},
        {"image_bounding_box", BOX("\"xMin\":-1,\"yMin\":0,\"xMax\":0.4,\"yMax\":1"),
         "boundingBoxAnnotations[0].xMin: must be a number between 0 and 1"},
        {"image_bounding_box", BOX("\"xMin\":\"nan\",\"yMin\":0,\"xMax\":0.4,\"yMax\":1"),
         "boundingBoxAnnotations[0].xMin: must be a number between 0 and 1"},
        {"image_classification_single_label",
         IMAGE "\"classificationAnnotations\":[{\"displayName\":\"a\"},{\"displayName\":\"b\"}]}",
         "classificationAnnotations: image_classification_single_label takes one label an item"},
        {"image_classification_single_label", IMAGE "\"classificationAnnotation\":\"cat\"}",
         "classificationAnnotation: must be an object"},
        {"image_classification_single_label", IMAGE "\"classificationAnnotation\":{}}",
         "classificationAnnotation.displayName: is missing"},
        {"image_classification_single_label",
         IMAGE "\"classificationAnnotation\":{\"displayName\":\"\"}}",
         "classificationAnnotation.displayName: a label's name must not be empty"},
        {"image_classification_single_label",
         IMAGE "\"dataItemResourceLabels\":{\"aiplatform.googleapis.com/ml_use\":\"train\"}}",
         "ml_use is \"train\"; it must be \"training\", \"validation\" or \"test\""},
        {"image_classification_single_label", IMAGE "\"dataItemResourceLabels\":{\"Team\":\"a\"}}",
         "label \"Team\" = \"a\" is not valid"},
        {"image_classification_single_label", IMAGE "\"dataItemResourceLabels\":{\"team\":1}}",
         "the value of label \"team\" must be a string"},
        {"image_classification_single_label", IMAGE "\"dataItemResourceLabels\":[]}",
         "dataItemResourceLabels: must be an object of labels"},
        {"text_sentiment", "{\"textContent\":\"a\",\"sentimentAnnotation\":{\"sentiment\":11}}",
         "sentimentAnnotation.sentiment: must be a whole number from 0 to 10"},
        {"text_sentiment",
         "{\"textContent\":\"a\",\"sentimentAnnotation\":{\"sentiment\":3,\"sentimentMax\":2}}",
         "sentimentAnnotation.sentiment: is larger than sentimentMax"},
        {"text_extraction",
         "{\"textContent\":\"a\",\"textSegmentAnnotations\":[{\"displayName\":\"x\","
         "\"startOffset\":4,\"endOffset\":4}]}",
         "textSegmentAnnotations[0].endOffset: must be a whole number larger than startOffset"},
        {"video_classification",
         "{\"videoGcsUri\":\"gs://b/v\",\"timeSegmentAnnotations\":[{\"displayName\":\"x\","
         "\"startTime\":\"5\"}]}",
         "timeSegmentAnnotations[0].startTime: must be a duration such as \"1.5s\""},
        {"video_classification",
         "{\"videoGcsUri\":\"gs://b/v\",\"timeSegmentAnnotations\":[{\"displayName\":\"x\","
         "\"startTime\":\"5s\",\"endTime\":\"4.9s\"}]}",
         "timeSegmentAnnotations[0].startTime: is after endTime"},
    };
    for (size_t i = 0; i < NR_OF(table); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        struct data_item item;
        struct err err = {0};
        assert_int_equal(
            item_line_parse(a, format(table[i].format), str_of(table[i].line), &item, &err), -1);
        assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
        if (!strstr(err.msg, table[i].says)) {
            fail_msg("%s\n  says: %s\n  not:  %s", table[i].line, err.msg, table[i].says);
        }
    }
}

static int parse_many(const char *key, unsigned n, const char *each, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct data_item item;
    buf_printf(&b, IMAGE "\"%s\":%s", key, each[0] == '{' ? "[" : "{");
    for (unsigned i = 0; i < n; i++) {
        buf_printf(&b, "%s", i ? "," : "");
        buf_printf(&b, each[0] == '{' ? "{\"displayName\":\"l%u\"}" : "\"l%u\":\"v\"", i);
    }
    buf_puts(&b, each[0] == '{' ? "]}" : "}}");
    return item_line_parse(a, format("image_classification_multi_label"), buf_str(&b), &item, err);
}

static void test_limits(void **state) {
    struct err err;
    limits.max_item_annotations = 20;
    assert_int_equal(parse_many("classificationAnnotations", 20, "{", &err), 0);
    assert_int_equal(parse_many("classificationAnnotations", 21, "{", &err), -1);
    assert_non_null(strstr(err.msg, "at most 20 are allowed (max_item_annotations)"));
    limits.max_item_annotations = 10000;
    assert_int_equal(parse_many("dataItemResourceLabels", 64, "\"", &err), 0);
    assert_int_equal(parse_many("dataItemResourceLabels", 65, "\"", &err), -1);
    assert_non_null(strstr(err.msg, "at most 64 are allowed (max_item_labels)"));
}

static int parse_fields(const char *format_name, const char *csv, struct data_item *item,
                        struct arena *a, struct err *err) {
    struct str fields[16], rest = str_of(csv);
    size_t n = 0;
    while (rest.p) {
        fields[n++] = str_cut(&rest, ',');
    }
    return item_fields_parse(a, format(format_name), fields, n, item, err);
}

static void test_records(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct data_item item;
    struct err err;
    const char *one = "image_classification_single_label";
    const char *many = "image_classification_multi_label";
    assert_int_equal(parse_fields(one, "gs://b/a.png,cat", &item, a, &err), 0);
    assert_int_equal(item.use, ML_USE_NONE);
    assert_true(str_eqc(item.annotations[0].display_name, "cat"));
    assert_int_equal(parse_fields(many, "TRAINING,gs://b/a.png,cat,dog,", &item, a, &err), 0);
    assert_int_equal(item.use, ML_USE_TRAINING);
    assert_int_equal(item.nr_annotations, 2);
    assert_int_equal(parse_fields(one, "Unassigned,gs://b/a.png", &item, a, &err), 0);
    assert_int_equal(item.nr_annotations, 0);
    assert_int_equal(parse_fields(one, ",gs://b/a.png", &item, a, &err), 0);

    assert_int_equal(parse_fields(one, "gs://b/a.png,cat,dog", &item, a, &err), -1);
    assert_string_equal(err.msg, "column 3: image_classification_single_label takes one label an "
                                 "item");
    assert_int_equal(parse_fields(one, "TRAIN,gs://b/a.png,cat", &item, a, &err), -1);
    assert_non_null(strstr(err.msg, "column 1: \"TRAIN\" is neither a Cloud Storage URI"));
    assert_int_equal(parse_fields(one, "TEST", &item, a, &err), -1);
    assert_int_equal(parse_fields(one, "TEST,b/a.png", &item, a, &err), -1);
    assert_non_null(strstr(err.msg, "column 2: \"b/a.png\" is not a Cloud Storage URI"));
    assert_int_equal(parse_fields(one, "gs://b/a.png,c\xff", &item, a, &err), -1);
    assert_string_equal(err.msg, "column 2: is not UTF-8 text");
    assert_int_equal(parse_fields("text_sentiment", "gs://b/a.txt,3", &item, a, &err), -1);
    assert_non_null(strstr(err.msg, "CSV files are for image classification"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats_are_found_by_their_uri),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_what_a_line_says),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
