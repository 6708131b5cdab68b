/* The fixed names of items and annotations (reference 08 §3). Pure. */
#include "data/items.h"

#define SCHEMA_ROOT "gs://google-cloud-aiplatform/schema/dataset/annotation/"

static const char *const uses[ML_USE_NR] = {"", "training", "validation", "test"};

static const struct {
    const char *uri, *title;
    enum item_media media;
} kinds[ANNOTATION_KIND_NR] = {
    [ANNOTATION_NONE] = {"", "", ITEM_MEDIA_NONE},
    [ANNOTATION_IMAGE_CLASSIFICATION] = {SCHEMA_ROOT "image_classification_1.0.0.yaml",
                                         "ImageClassification", ITEM_IMAGE},
    [ANNOTATION_IMAGE_BOUNDING_BOX] = {SCHEMA_ROOT "image_bounding_box_1.0.0.yaml",
                                       "ImageBoundingBox", ITEM_IMAGE},
    [ANNOTATION_IMAGE_SEGMENTATION] = {SCHEMA_ROOT "image_segmentation_1.0.0.yaml",
                                       "ImageSegmentation", ITEM_IMAGE},
    [ANNOTATION_TEXT_CLASSIFICATION] = {SCHEMA_ROOT "text_classification_1.0.0.yaml",
                                        "TextClassification", ITEM_TEXT},
    [ANNOTATION_TEXT_EXTRACTION] = {SCHEMA_ROOT "text_extraction_1.0.0.yaml", "TextExtraction",
                                    ITEM_TEXT},
    [ANNOTATION_TEXT_SENTIMENT] = {SCHEMA_ROOT "text_sentiment_1.0.0.yaml", "TextSentiment",
                                   ITEM_TEXT},
    [ANNOTATION_VIDEO_CLASSIFICATION] = {SCHEMA_ROOT "video_classification_1.0.0.yaml",
                                         "VideoClassification", ITEM_VIDEO},
    [ANNOTATION_VIDEO_ACTION_RECOGNITION] = {SCHEMA_ROOT "video_action_recognition_1.0.0.yaml",
                                             "VideoActionRecognition", ITEM_VIDEO},
    [ANNOTATION_VIDEO_OBJECT_TRACKING] = {SCHEMA_ROOT "video_object_tracking_1.0.0.yaml",
                                          "VideoObjectTracking", ITEM_VIDEO},
};

static const char *const medias[] = {"", "image", "text", "video"};
static const char *const uri_keys[] = {"", "imageGcsUri", "textGcsUri", "videoGcsUri"};

const char *ml_use_name(enum ml_use u) {
    return (unsigned)u < ML_USE_NR ? uses[u] : "";
}

enum ml_use ml_use_of(struct str name) {
    for (unsigned i = 1; i < ML_USE_NR; i++) {
        if (str_eqc(name, uses[i])) {
            return (enum ml_use)i;
        }
    }
    return ML_USE_NONE;
}

/* Numbers come from files, too. */
static enum annotation_kind known(enum annotation_kind k) {
    return (unsigned)k < ANNOTATION_KIND_NR ? k : ANNOTATION_NONE;
}

const char *annotation_schema_uri(enum annotation_kind k) {
    return kinds[known(k)].uri;
}

const char *annotation_schema_title(enum annotation_kind k) {
    return kinds[known(k)].title;
}

enum annotation_kind annotation_kind_of(struct str schema_uri) {
    for (unsigned i = 1; i < ANNOTATION_KIND_NR; i++) {
        if (str_eqc(schema_uri, kinds[i].uri)) {
            return (enum annotation_kind)i;
        }
    }
    return ANNOTATION_NONE;
}

enum item_media annotation_media(enum annotation_kind k) {
    return kinds[known(k)].media;
}

const char *item_media_name(enum item_media m) {
    return (unsigned)m < NR_OF(medias) ? medias[m] : "";
}

const char *item_uri_key(enum item_media m) {
    return (unsigned)m < NR_OF(uri_keys) ? uri_keys[m] : "";
}
