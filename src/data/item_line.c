/* See item_line.h. A line is read whole with jansson and checked field by field; what annotations
 * say beyond their label is written anew in one form, so that equal annotations are equal bytes. */
#include "data/item_line.h"

#include "base/jw.h"
#include "base/limits.h"
#include "pb/wkt.h"

#include <jansson.h>
#include <math.h>

#define DISPLAY_NAME_MAX 128u
#define LABEL_MAX 63u
#define SYSTEM_LABEL "aiplatform.googleapis.com/"
#define FORMAT_ROOT "gs://google-cloud-aiplatform/schema/dataset/ioformat/"
#define FORMAT_TAIL "_io_format_1.0.0.yaml"

static const struct import_format formats[] = {
    {"image_classification_single_label", ANNOTATION_IMAGE_CLASSIFICATION, true,
     "IMAGE_CLASSIFICATION_SINGLE_LABEL"},
    {"image_classification_multi_label", ANNOTATION_IMAGE_CLASSIFICATION, false,
     "IMAGE_CLASSIFICATION_MULTI_LABEL"},
    {"image_bounding_box", ANNOTATION_IMAGE_BOUNDING_BOX, false, "IMAGE_BOUNDING_BOX"},
    {"image_segmentation", ANNOTATION_IMAGE_SEGMENTATION, false, "IMAGE_BOUNDING_POLY"},
    {"text_classification_single_label", ANNOTATION_TEXT_CLASSIFICATION, true,
     "TEXT_CLASSIFICATION_SINGLE_LABEL"},
    {"text_classification_multi_label", ANNOTATION_TEXT_CLASSIFICATION, false,
     "TEXT_CLASSIFICATION_MULTI_LABEL"},
    {"text_extraction", ANNOTATION_TEXT_EXTRACTION, false, "TEXT_EXTRACTION"},
    {"text_sentiment", ANNOTATION_TEXT_SENTIMENT, true, "TEXT_SENTIMENT"},
    {"video_classification", ANNOTATION_VIDEO_CLASSIFICATION, false, "VIDEO_CLASSIFICATION"},
    {"video_action_recognition", ANNOTATION_VIDEO_ACTION_RECOGNITION, false,
     "VIDEO_ACTION_RECOGNITION"},
    {"video_object_tracking", ANNOTATION_VIDEO_OBJECT_TRACKING, false, "VIDEO_OBJECT_TRACKING"},
};

const struct import_format *import_format_at(size_t i) {
    return i < NR_OF(formats) ? &formats[i] : NULL;
}

const struct import_format *import_format_find(struct str uri) {
    if (!str_starts(uri, STR(FORMAT_ROOT)) || !str_ends(uri, STR(FORMAT_TAIL)) ||
        uri.n < sizeof(FORMAT_ROOT FORMAT_TAIL) - 1) {
        return NULL;
    }
    struct str name =
        str_sub(uri, sizeof(FORMAT_ROOT) - 1, uri.n - (sizeof(FORMAT_ROOT FORMAT_TAIL) - 1));
    for (size_t i = 0; i < NR_OF(formats); i++) {
        if (str_eqc(name, formats[i].name)) {
            return &formats[i];
        }
    }
    return NULL;
}

const struct import_format *import_format_of_problem(struct str type) {
    for (size_t i = 0; i < NR_OF(formats); i++) {
        if (str_eqc(type, formats[i].problem_type)) {
            return &formats[i];
        }
    }
    return NULL;
}

/* What a line calls the annotations of each kind; the first is the one that exports write. */
static const struct {
    const char *list, *object;
} keys[ANNOTATION_KIND_NR] = {
    [ANNOTATION_IMAGE_CLASSIFICATION] = {"classificationAnnotations", "classificationAnnotation"},
    [ANNOTATION_IMAGE_BOUNDING_BOX] = {"boundingBoxAnnotations", NULL},
    [ANNOTATION_IMAGE_SEGMENTATION] = {"segmentationAnnotations", "segmentationAnnotation"},
    [ANNOTATION_TEXT_CLASSIFICATION] = {"classificationAnnotations", "classificationAnnotation"},
    [ANNOTATION_TEXT_EXTRACTION] = {"textSegmentAnnotations", NULL},
    [ANNOTATION_TEXT_SENTIMENT] = {NULL, "sentimentAnnotation"},
    [ANNOTATION_VIDEO_CLASSIFICATION] = {"timeSegmentAnnotations", NULL},
    [ANNOTATION_VIDEO_ACTION_RECOGNITION] = {"timeSegmentAnnotations", NULL},
    [ANNOTATION_VIDEO_OBJECT_TRACKING] = {"temporalBoundingBoxAnnotations", NULL},
};

/* ---- parts ---- */

struct reading {
    struct arena *a;
    const struct import_format *f;
    struct err *err;
    char at[96]; /* where we are: "boundingBoxAnnotations[3]" */
};

static int bad(struct reading *r, const char *member, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int bad(struct reading *r, const char *member, const char *fmt, ...) {
    char what[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    bool has_at = r->at[0], has_member = member[0];
    return err_set(r->err, ERR_INVALID_ARGUMENT, "%s%s%s%s%s", r->at,
                   has_at && has_member ? "." : "", member, has_at || has_member ? ": " : "", what);
}

static struct str text_of(const json_t *v) {
    return str_n(json_string_value(v), json_string_length(v));
}

static struct str keep(struct reading *r, const json_t *v) {
    return arena_str(r->a, text_of(v));
}

/* Numbers stand bare or in quotes (reference 05 §7). */
static bool number_of(const json_t *v, double *ret) {
    if (json_is_number(v)) {
        *ret = json_number_value(v);
        return true;
    }
    return json_is_string(v) && str_to_double(text_of(v), ret) && isfinite(*ret);
}

static bool integer_of(const json_t *v, int64_t *ret) {
    if (json_is_integer(v)) {
        *ret = json_integer_value(v);
        return true;
    }
    return json_is_string(v) && str_to_i64(text_of(v), ret);
}

static int check_uri(struct reading *r, const char *member, struct str uri) {
    struct str rest = str_sub(uri, 5, uri.n);
    struct str bucket = str_cut(&rest, '/');
    if (!str_starts(uri, STR("gs://")) || !bucket.n || !rest.n) {
        return bad(r, member, "\"%.*s\" is not a Cloud Storage URI such as gs://BUCKET/PATH",
                   (int)(uri.n > 200 ? 200 : uri.n), uri.p);
    }
    if (uri.n > limits.max_object_name + 300) {
        return bad(r, member, "the URI has %zu bytes; object names have at most %llu", uri.n,
                   (unsigned long long)limits.max_object_name);
    }
    return 0;
}

static int check_label(struct reading *r, const char *member, struct str name) {
    if (!name.n) {
        return bad(r, member, "a label's name must not be empty");
    }
    if (str_utf8_len(name) > DISPLAY_NAME_MAX) {
        return bad(r, member, "the label has %zu characters; at most %u are allowed",
                   str_utf8_len(name), DISPLAY_NAME_MAX);
    }
    return 0;
}

static bool label_text_is_fine(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
              c >= 0x80)) {
            return false;
        }
    }
    return str_utf8_len(s) <= LABEL_MAX;
}

/* Resource labels; use NULL where ml_use has no meaning. */
static int read_labels(struct reading *r, const char *member, json_t *v, struct item_labels *ret,
                       enum ml_use *use) {
    const char *key;
    json_t *each;
    if (!v || json_is_null(v)) {
        return 0;
    }
    if (!json_is_object(v)) {
        return bad(r, member, "must be an object of labels");
    }
    if (json_object_size(v) > limits.max_item_labels) {
        limits_hit(&limits.max_item_labels);
        return bad(r, member, "has %zu labels; at most %llu are allowed (max_item_labels)",
                   json_object_size(v), (unsigned long long)limits.max_item_labels);
    }
    struct store_label *p = arena_own_array(r->a, json_object_size(v) + 1, sizeof(*p));
    size_t n = 0;
    json_object_foreach(v, key, each) {
        struct str k = str_of(key);
        bool is_system = str_starts(k, STR(SYSTEM_LABEL)) && k.n <= 2 * LABEL_MAX;
        if (!json_is_string(each)) {
            return bad(r, member, "the value of label \"%.100s\" must be a string", key);
        }
        if (use && str_eqc(k, ML_USE_LABEL)) {
            *use = ml_use_of(text_of(each));
            if (*use == ML_USE_NONE) {
                return bad(r, member,
                           "%s is \"%.60s\"; it must be \"training\", \"validation\" or \"test\"",
                           ML_USE_LABEL, json_string_value(each));
            }
            continue;
        }
        if (!k.n || (!is_system && !label_text_is_fine(k)) ||
            (is_system ? json_string_length(each) > DISPLAY_NAME_MAX
                       : !label_text_is_fine(text_of(each)))) {
            return bad(r, member,
                       "label \"%.80s\" = \"%.80s\" is not valid: keys and values hold lowercase "
                       "letters, digits, dashes and underscores, at most %u of them",
                       key, json_string_value(each), LABEL_MAX);
        }
        p[n++] = (struct store_label){arena_str(r->a, k), keep(r, each)};
    }
    *ret = (struct item_labels){p, n};
    return 0;
}

/* ---- bodies ---- */

static int put_box(struct reading *r, struct jw *w, const json_t *v) {
    static const char *const sides[] = {"xMin", "yMin", "xMax", "yMax"};
    double at[4];
    for (size_t i = 0; i < 4; i++) {
        const json_t *side = json_object_get(v, sides[i]);
        if (!side) {
            return bad(r, sides[i], "is missing");
        }
        if (!number_of(side, &at[i]) || at[i] < 0 || at[i] > 1) {
            return bad(r, sides[i],
                       "must be a number between 0 and 1 (a part of the width or "
                       "height)");
        }
    }
    if (at[0] > at[2] || at[1] > at[3]) {
        return bad(r, at[0] > at[2] ? "xMin" : "yMin", "is larger than %s",
                   at[0] > at[2] ? "xMax" : "yMax");
    }
    for (size_t i = 0; i < 4; i++) {
        jw_key(w, sides[i]);
        jw_double(w, at[i] + 0.0); /* -0 is no other side than 0, and is not kept as one */
    }
    return 0;
}

static int put_duration(struct reading *r, struct jw *w, const json_t *v, const char *key,
                        int64_t *ret_ns) {
    const json_t *d = json_object_get(v, key);
    int64_t sec;
    int32_t nanos;
    auto_buf struct buf text = BUF_INIT(64);
    if (!d) {
        return bad(r, key, "is missing");
    }
    if (!json_is_string(d) || !wkt_duration_parse(text_of(d), &sec, &nanos) || sec < 0 ||
        nanos < 0 || sec > INT64_MAX / 2000000000) {
        return bad(r, key, "must be a duration such as \"1.5s\"");
    }
    wkt_duration_format(&text, sec, nanos);
    jw_key(w, key);
    jw_str(w, buf_str(&text));
    *ret_ns = sec * 1000000000 + nanos;
    return 0;
}

static int put_time_segment(struct reading *r, struct jw *w, const json_t *v) {
    int64_t start, end;
    if (put_duration(r, w, v, "startTime", &start) || put_duration(r, w, v, "endTime", &end)) {
        return -1;
    }
    return start > end ? bad(r, "startTime", "is after endTime") : 0;
}

static int put_text_segment(struct reading *r, struct jw *w, const json_t *v) {
    const json_t *content = json_object_get(v, "content");
    int64_t start, end;
    if (!integer_of(json_object_get(v, "startOffset"), &start) || start < 0) {
        return bad(r, "startOffset", "must be a whole number of characters, 0 or more");
    }
    if (!integer_of(json_object_get(v, "endOffset"), &end) || end <= start) {
        return bad(r, "endOffset", "must be a whole number larger than startOffset");
    }
    jw_key(w, "startOffset");
    jw_i64(w, start);
    jw_key(w, "endOffset");
    jw_i64(w, end);
    if (json_is_string(content)) {
        jw_key(w, "content");
        jw_str(w, text_of(content));
    }
    return 0;
}

static int put_sentiment(struct reading *r, struct jw *w, const json_t *v) {
    const json_t *max = json_object_get(v, "sentimentMax");
    int64_t s, m = 10;
    if (!integer_of(json_object_get(v, "sentiment"), &s) || s < 0 || s > 10) {
        return bad(r, "sentiment", "must be a whole number from 0 to 10");
    }
    if (max && (!integer_of(max, &m) || m < 1 || m > 10)) {
        return bad(r, "sentimentMax", "must be a whole number from 1 to 10");
    }
    if (s > m) {
        return bad(r, "sentiment", "is larger than sentimentMax");
    }
    jw_key(w, "sentiment");
    jw_i64(w, s);
    if (max) {
        jw_key(w, "sentimentMax");
        jw_i64(w, m);
    }
    return 0;
}

static int put_tracking(struct reading *r, struct jw *w, const json_t *v) {
    const json_t *instance = json_object_get(v, "instanceId");
    int64_t at, id;
    if (put_box(r, w, v) || put_duration(r, w, v, "timeOffset", &at)) {
        return -1;
    }
    if (!instance) {
        return 0;
    }
    jw_key(w, "instanceId");
    if (json_is_string(instance) && json_string_length(instance) <= DISPLAY_NAME_MAX) {
        jw_str(w, text_of(instance));
    } else if (integer_of(instance, &id)) {
        jw_i64_string(w, id);
    } else {
        return bad(r, "instanceId", "must be a string or a number");
    }
    return 0;
}

/* Masks, polygons and polylines are kept as they were sent. */
static int put_shapes(struct reading *r, struct jw *w, json_t *v) {
    const char *key;
    json_t *each;
    json_object_foreach(v, key, each) {
        if (strcmp(key, "displayName") == 0 || strcmp(key, "annotationResourceLabels") == 0) {
            continue;
        }
        char *text = json_dumps(each, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
        if (!text) {
            return bad(r, key, "cannot be kept");
        }
        jw_key(w, key);
        jw_raw(w, str_of(text));
        free(text);
    }
    return 0;
}

static int put_body(struct reading *r, struct jw *w, json_t *v) {
    switch (r->f->kind) {
    case ANNOTATION_IMAGE_BOUNDING_BOX:
        return put_box(r, w, v);
    case ANNOTATION_IMAGE_SEGMENTATION:
        return put_shapes(r, w, v);
    case ANNOTATION_TEXT_EXTRACTION:
        return put_text_segment(r, w, v);
    case ANNOTATION_TEXT_SENTIMENT:
        return put_sentiment(r, w, v);
    case ANNOTATION_VIDEO_CLASSIFICATION:
    case ANNOTATION_VIDEO_ACTION_RECOGNITION:
        return put_time_segment(r, w, v);
    case ANNOTATION_VIDEO_OBJECT_TRACKING:
        return put_tracking(r, w, v);
    case ANNOTATION_IMAGE_CLASSIFICATION:
    case ANNOTATION_TEXT_CLASSIFICATION:
    case ANNOTATION_NONE:
    case ANNOTATION_KIND_NR:
        break;
    }
    return 0;
}

static int read_annotation(struct reading *r, json_t *v, struct data_annotation *ret) {
    json_t *name = json_object_get(v, "displayName");
    auto_buf struct buf body = BUF_INIT(BUF_NO_MAX);
    struct jw w;
    if (!json_is_object(v)) {
        return bad(r, "", "must be an object");
    }
    bool is_optional =
        r->f->kind == ANNOTATION_TEXT_SENTIMENT || r->f->kind == ANNOTATION_IMAGE_SEGMENTATION;
    if (!name && !is_optional) {
        return bad(r, "displayName", "is missing");
    }
    if (name && !json_is_string(name)) {
        return bad(r, "displayName", "must be a string");
    }
    if (name && check_label(r, "displayName", text_of(name))) {
        return -1;
    }
    *ret = (struct data_annotation){.kind = r->f->kind, .is_single = r->f->is_single};
    ret->display_name = name ? keep(r, name) : STR("");
    if (read_labels(r, "annotationResourceLabels", json_object_get(v, "annotationResourceLabels"),
                    &ret->labels, NULL)) {
        return -1;
    }
    if (r->f->kind == ANNOTATION_IMAGE_CLASSIFICATION ||
        r->f->kind == ANNOTATION_TEXT_CLASSIFICATION) {
        return 0; /* a label is all there is */
    }
    jw_init(&w, &body, 0);
    jw_object(&w);
    if (put_body(r, &w, v)) {
        return -1;
    }
    jw_end_object(&w);
    ret->body = arena_str(r->a, str_sub(buf_str(&body), 1, body.n - 2));
    return 0;
}

static int read_annotations(struct reading *r, const char *key, json_t *v, struct data_item *item) {
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > limits.max_item_annotations) {
        limits_hit(&limits.max_item_annotations);
        return bad(r, key, "has %zu annotations; at most %llu are allowed (max_item_annotations)",
                   n, (unsigned long long)limits.max_item_annotations);
    }
    if (r->f->is_single && item->nr_annotations + n > 1) {
        return bad(r, key, "%s takes one label an item", r->f->name);
    }
    struct data_annotation *list =
        arena_own_array(r->a, item->nr_annotations + n + 1, sizeof(*list));
    for (size_t i = 0; i < item->nr_annotations; i++) {
        list[i] = item->annotations[i];
    }
    for (size_t i = 0; i < n; i++) {
        if (json_is_array(v)) {
            snprintf(r->at, sizeof(r->at), "%s[%zu]", key, i);
        } else {
            snprintf(r->at, sizeof(r->at), "%s", key);
        }
        if (read_annotation(r, json_is_array(v) ? json_array_get(v, i) : v,
                            &list[item->nr_annotations + i])) {
            return -1;
        }
    }
    r->at[0] = 0;
    item->annotations = list;
    item->nr_annotations += n;
    return 0;
}

/* ---- lines ---- */

static struct str mime_of(struct str uri) {
    static const struct {
        const char *suffix, *mime;
    } types[] = {
        {".jpg", "image/jpeg"},  {".jpeg", "image/jpeg"}, {".png", "image/png"},
        {".gif", "image/gif"},   {".bmp", "image/bmp"},   {".ico", "image/vnd.microsoft.icon"},
        {".webp", "image/webp"}, {".mp4", "video/mp4"},   {".mov", "video/quicktime"},
        {".avi", "video/avi"},   {".mpeg", "video/mpeg"}};
    for (size_t i = 0; i < NR_OF(types); i++) {
        struct str s = str_of(types[i].suffix);
        if (uri.n > s.n && str_ieq(str_sub(uri, uri.n - s.n, s.n), s)) {
            return str_of(types[i].mime);
        }
    }
    return STR("");
}

static bool is_annotation_key(const struct import_format *f, const char *key) {
    return (keys[f->kind].list && strcmp(key, keys[f->kind].list) == 0) ||
           (keys[f->kind].object && strcmp(key, keys[f->kind].object) == 0);
}

static int unknown_member(struct reading *r, const char *key) {
    const char *list = keys[r->f->kind].list, *object = keys[r->f->kind].object;
    return bad(r, "",
               "unknown field \"%.80s\"; lines of %s have %s%s, dataItemResourceLabels%s%s%s%s",
               key, r->f->name, item_uri_key(annotation_media(r->f->kind)),
               annotation_media(r->f->kind) == ITEM_TEXT ? " or textContent" : "",
               object ? ", " : "", object ? object : "", list ? ", " : "", list ? list : "");
}

static int take_text(struct reading *r, const char *key, json_t *v, bool is_inline,
                     struct data_item *ret) {
    if (!json_is_string(v)) {
        return bad(r, key, "must be a string");
    }
    if (ret->text.p) {
        return bad(r, key, "an item is given by one of textContent and textGcsUri, not both");
    }
    if (is_inline ? json_string_length(v) == 0 : check_uri(r, key, text_of(v)) != 0) {
        return is_inline ? bad(r, key, "must not be empty") : -1;
    }
    ret->text = keep(r, v);
    ret->is_inline = is_inline;
    return 0;
}

static int read_member(struct reading *r, const char *key, json_t *v, struct data_item *ret) {
    if (json_is_null(v)) {
        return 0;
    }
    if (strcmp(key, item_uri_key(ret->media)) == 0) {
        return take_text(r, key, v, false, ret);
    }
    if (ret->media == ITEM_TEXT && strcmp(key, "textContent") == 0) {
        return take_text(r, key, v, true, ret);
    }
    if (is_annotation_key(r->f, key)) {
        return read_annotations(r, key, v, ret);
    }
    if (strcmp(key, "dataItemResourceLabels") == 0) {
        return read_labels(r, key, v, &ret->labels, &ret->use);
    }
    if (strcmp(key, "mimeType") == 0 && json_is_string(v) && json_string_length(v) <= 100) {
        ret->mime = keep(r, v);
        return 0;
    }
    /* The part of a video that was looked at: read by the service's own training only. */
    if (r->f->kind == ANNOTATION_VIDEO_ACTION_RECOGNITION && strcmp(key, "timeSegments") == 0) {
        return 0;
    }
    return unknown_member(r, key);
}

static int read_line(struct reading *r, json_t *root, struct data_item *ret) {
    const char *key;
    json_t *v;
    if (!json_is_object(root)) {
        return bad(r, "", "a line must be a JSON object");
    }
    *ret = (struct data_item){.media = annotation_media(r->f->kind)};
    json_object_foreach(root, key, v) {
        if (read_member(r, key, v, ret)) {
            return -1;
        }
    }
    if (!ret->text.p) {
        return bad(r, "", "neither %s%s is there: the line names no item", item_uri_key(ret->media),
                   ret->media == ITEM_TEXT ? " nor textContent" : "");
    }
    if (!ret->mime.n && !ret->is_inline) {
        ret->mime = mime_of(ret->text);
    }
    return 0;
}

int item_line_parse(struct arena *a, const struct import_format *f, struct str line,
                    struct data_item *ret, struct err *err) {
    struct reading r = {.a = a, .f = f, .err = err};
    struct data_item item;
    json_error_t why;
    json_t *root = json_loadb(line.p ? line.p : "", line.n, 0, &why);
    if (!root) {
        return err_set(err, ERR_INVALID_ARGUMENT, "not a JSON object: %s (byte %d)", why.text,
                       why.position);
    }
    int rc = read_line(&r, root, &item);
    json_decref(root);
    if (rc == 0) {
        *ret = item;
    }
    return rc;
}

/* ---- records of a CSV file ---- */

static enum ml_use use_of_field(struct str s, bool *ret_known) {
    static const char *const words[] = {"unassigned", "training", "validation", "test"};
    *ret_known = true;
    for (unsigned i = 0; i < NR_OF(words); i++) {
        if (str_ieq(s, str_of(words[i]))) {
            return (enum ml_use)i;
        }
    }
    *ret_known = s.n == 0;
    return ML_USE_NONE;
}

int item_fields_parse(struct arena *a, const struct import_format *f, const struct str *fields,
                      size_t nr, struct data_item *ret, struct err *err) {
    struct reading r = {.a = a, .f = f, .err = err};
    struct data_item item = {.media = ITEM_IMAGE};
    size_t at = 0;
    bool known;
    if (f->kind != ANNOTATION_IMAGE_CLASSIFICATION) {
        return bad(&r, "", "CSV files are for image classification; %s takes lines of JSON",
                   f->name);
    }
    for (size_t i = 0; i < nr; i++) {
        if (!str_is_utf8(fields[i]) || str_chr(fields[i], 0) >= 0) {
            snprintf(r.at, sizeof(r.at), "column %zu", i + 1);
            return bad(&r, "", "is not UTF-8 text");
        }
    }
    if (nr && !str_starts(fields[0], STR("gs://"))) {
        item.use = use_of_field(fields[at++], &known);
        if (!known) {
            return bad(&r, "column 1",
                       "\"%.*s\" is neither a Cloud Storage URI nor one of TRAINING, VALIDATION, "
                       "TEST, UNASSIGNED",
                       (int)(fields[0].n > 80 ? 80 : fields[0].n), fields[0].p);
        }
    }
    if (at >= nr) {
        return bad(&r, "", "the record names no image: [ML_USE,]GCS_URI[,LABEL...]");
    }
    snprintf(r.at, sizeof(r.at), "column %zu", at + 1);
    if (check_uri(&r, "", fields[at])) {
        return -1;
    }
    item.text = arena_str(a, fields[at++]);
    item.mime = mime_of(item.text);
    struct data_annotation *list = arena_own_array(a, nr - at + 1, sizeof(*list));
    for (; at < nr; at++) {
        if (!fields[at].n) {
            continue; /* no label: an image to be labelled later */
        }
        snprintf(r.at, sizeof(r.at), "column %zu", at + 1);
        if (check_label(&r, "", fields[at])) {
            return -1;
        }
        if (f->is_single && item.nr_annotations) {
            return bad(&r, "", "%s takes one label an item", f->name);
        }
        if (item.nr_annotations >= limits.max_item_annotations) {
            limits_hit(&limits.max_item_annotations);
            return bad(&r, "", "at most %llu labels are allowed (max_item_annotations)",
                       (unsigned long long)limits.max_item_annotations);
        }
        list[item.nr_annotations++] = (struct data_annotation){
            .kind = f->kind, .is_single = f->is_single, .display_name = arena_str(a, fields[at])};
    }
    item.annotations = list;
    *ret = item;
    return 0;
}

/* ---- writing ---- */

static void write_labels(struct jw *w, const struct item_labels *l) {
    for (size_t i = 0; i < l->n; i++) {
        jw_key_str(w, l->p[i].key);
        jw_str(w, l->p[i].value);
    }
}

static void write_annotation(struct jw *w, const struct data_annotation *n) {
    auto_buf struct buf inner = BUF_INIT(BUF_NO_MAX);
    struct jw in;
    jw_init(&in, &inner, 0);
    jw_object(&in);
    if (n->display_name.n) {
        jw_key(&in, "displayName");
        jw_str(&in, n->display_name);
    }
    if (n->body.n) {
        if (n->display_name.n) {
            buf_putc(&inner, ',');
        }
        buf_put_str(&inner, n->body);
        in.has_items[in.depth - 1] = true;
    }
    if (n->labels.n) {
        jw_key(&in, "annotationResourceLabels");
        jw_object(&in);
        write_labels(&in, &n->labels);
        jw_end_object(&in);
    }
    jw_end_object(&in);
    jw_raw(w, buf_str(&inner));
}

static void write_kind(struct jw *w, const struct data_item *item, enum annotation_kind k) {
    const struct data_annotation *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < item->nr_annotations; i++) {
        if (item->annotations[i].kind == k) {
            first = first ? first : &item->annotations[i];
            n++;
        }
    }
    if (n == 0) {
        return;
    }
    if (keys[k].object && (!keys[k].list || (n == 1 && first->is_single))) {
        jw_key(w, keys[k].object);
        write_annotation(w, first);
        return;
    }
    jw_key(w, keys[k].list);
    jw_array(w);
    for (size_t i = 0; i < item->nr_annotations; i++) {
        if (item->annotations[i].kind == k) {
            write_annotation(w, &item->annotations[i]);
        }
    }
    jw_end_array(w);
}

void item_line_write(struct buf *b, const struct data_item *item, enum ml_use use) {
    struct jw w;
    jw_init(&w, b, 0);
    jw_object(&w);
    jw_key(&w, item->is_inline ? "textContent" : item_uri_key(item->media));
    jw_str(&w, item->text);
    for (unsigned k = 1; k < ANNOTATION_KIND_NR; k++) {
        write_kind(&w, item, (enum annotation_kind)k);
    }
    jw_key(&w, "dataItemResourceLabels");
    jw_object(&w);
    write_labels(&w, &item->labels);
    if (use != ML_USE_NONE) {
        jw_key(&w, ML_USE_LABEL);
        jw_cstr(&w, ml_use_name(use));
    }
    jw_end_object(&w);
    jw_end_object(&w);
    buf_putc(b, '\n');
}
