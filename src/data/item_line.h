/* One line of JSON about one item: the shapes that imports read and exports write (reference 05 §7,
 * 08 §4). Pure; any thread. */
#ifndef CUSP_DATA_ITEM_LINE_H
#define CUSP_DATA_ITEM_LINE_H

#include "data/items.h"

/* What a file holds: gs://google-cloud-aiplatform/schema/dataset/ioformat/NAME_io_format_1.0.0.yaml
 */
struct import_format {
    const char *name; /* "image_classification_single_label" */
    enum annotation_kind kind;
    bool is_single;           /* one label an item */
    const char *problem_type; /* of a saved query: "IMAGE_CLASSIFICATION_SINGLE_LABEL" */
};
/* NULL when nothing has this URI. */
const struct import_format *import_format_find(struct str schema_uri);
/* Of a saved query's problemType; NULL when it is none of ours. */
const struct import_format *import_format_of_problem(struct str problem_type);
/* The i-th, NULL past the end. */
const struct import_format *import_format_at(size_t i);

/* The line without its line break. The item and everything of it live in the arena or view `line`.
 * INVALID_ARGUMENT says what is wrong and where, without the line number: the caller knows that. */
int item_line_parse(struct arena *a, const struct import_format *f, struct str line,
                    struct data_item *ret, struct err *err) MUST_CHECK;

/* "[ML_USE,]GCS_URI[,LABEL...]": fields of one record of a CSV file, for image classification. */
int item_fields_parse(struct arena *a, const struct import_format *f, const struct str *fields,
                      size_t nr, struct data_item *ret, struct err *err) MUST_CHECK;

/* Appends the line with its line break. use: what the line says of ml_use, whatever the item has. A
 * single classification is an object, others are lists. */
void item_line_write(struct buf *b, const struct data_item *item, enum ml_use use);

#endif
