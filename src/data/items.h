/* CONTRACT. The items of one managed dataset (images, texts, videos), their annotations and labels.
 *
 * A set of items is one SQLite file, written once and never changed: an import copies the file (or
 * begins an empty one), adds to the copy, makes it durable, and the dataset's row in the store
 * begins to name the new file (docs/internals/datasets.md). So a reader sees one state for as long
 * as it likes, nothing is ever half imported, and a dataset version is a file that is kept.
 *
 * Everything blocks: to be called from a lane's thread. One handle is one thread's at a time; a
 * file may be read through many. Memory is bounded by the page cache and one item. */
#ifndef CUSP_DATA_ITEMS_H
#define CUSP_DATA_ITEMS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/time.h"
#include "store/filter.h"

/* ---- what an item is. The numbers are stored: append only. */
enum item_media { ITEM_MEDIA_NONE, ITEM_IMAGE, ITEM_TEXT, ITEM_VIDEO };
enum ml_use { ML_USE_NONE, ML_USE_TRAINING, ML_USE_VALIDATION, ML_USE_TEST, ML_USE_NR };
#define ML_USE_LABEL "aiplatform.googleapis.com/ml_use"
#define ANNOTATION_SET_LABEL "aiplatform.googleapis.com/annotation_set_name"

enum annotation_kind {
    ANNOTATION_NONE,
    ANNOTATION_IMAGE_CLASSIFICATION,
    ANNOTATION_IMAGE_BOUNDING_BOX,
    ANNOTATION_IMAGE_SEGMENTATION,
    ANNOTATION_TEXT_CLASSIFICATION,
    ANNOTATION_TEXT_EXTRACTION,
    ANNOTATION_TEXT_SENTIMENT,
    ANNOTATION_VIDEO_CLASSIFICATION,
    ANNOTATION_VIDEO_ACTION_RECOGNITION,
    ANNOTATION_VIDEO_OBJECT_TRACKING,
    ANNOTATION_KIND_NR
};

/* Any thread. "training", ...; "" for none. */
const char *ml_use_name(enum ml_use u);
/* ML_USE_NONE when the text is no use. */
enum ml_use ml_use_of(struct str name);
/* "gs://google-cloud-aiplatform/schema/dataset/annotation/image_classification_1.0.0.yaml". */
const char *annotation_schema_uri(enum annotation_kind k);
/* The schema's title, "ImageClassification": names folders of exports. */
const char *annotation_schema_title(enum annotation_kind k);
/* ANNOTATION_NONE when nothing has this schema URI. */
enum annotation_kind annotation_kind_of(struct str schema_uri);
enum item_media annotation_media(enum annotation_kind k);
/* The metadata schema's short name ("image") and what lines of JSON call the item
 * ("imageGcsUri"). */
const char *item_media_name(enum item_media m);
const char *item_uri_key(enum item_media m);

/* Labels are pairs in the order given; views. At most limits.max_item_labels. */
struct item_labels {
    const struct store_label *p;
    size_t n;
};

struct data_annotation {
    uint64_t id; /* of 63 bits, not 0; of what the annotation says and of its item: imports repeat
                    it. Unique within its item */
    enum annotation_kind kind;
    bool is_single;   /* of a format with one label an item: written as an object, not a list */
    uint64_t spec_id; /* of its AnnotationSpec; 0: it has none (some sentiments) */
    struct str display_name;
    /* What else it says: the members of the line's annotation object without displayName and
     * annotationResourceLabels, normalised JSON without the outer braces:
     *     "xMin":0.1,"yMin":0.2,"xMax":0.6,"yMax":0.9
     *     "startOffset":0,"endOffset":4        "startTime":"1s","endTime":"12s"
     *     "sentiment":1,"sentimentMax":1       ""
     * so that an export is the pieces put together (item_line_write, data/item_line.h). */
    struct str body;
    struct item_labels labels; /* with ANNOTATION_SET_LABEL when it has one */
    usec_t create_time, update_time;
};

struct data_item {
    uint64_t id;  /* of 63 bits, not 0; of the item's uri or text: every import of the same item, in
                     whatever dataset, has the same. Splits by hash use it */
    uint64_t seq; /* place in the stable order: that of the first import; from 1, with gaps */
    enum item_media media;
    bool is_inline;  /* text holds the item (textContent), not its URI */
    struct str text; /* "gs://..." or the text itself */
    struct str mime; /* may be empty */
    bool has_size;   /* items_put: the object's bytes can be looked at, and are so many */
    uint64_t size;
    enum ml_use use;
    struct item_labels labels; /* without ml_use */
    usec_t create_time, update_time;
    /* Those that the query lets through, in the order they were imported. */
    const struct data_annotation *annotations;
    size_t nr_annotations;
};

/* ---- reading ---- */
struct items;

/* path NULL or "": a set without items. NOT_FOUND, DATA_LOSS. */
struct items *items_open(const char *path, struct err *err);
void items_close(struct items *it); /* NULL is fine; cursors first */

struct item_counts {
    uint64_t items, annotations, specs;
    uint64_t of_use[ML_USE_NR];
};
int items_get_counts(struct items *it, struct item_counts *ret, struct err *err) MUST_CHECK;

struct item_query {
    struct str dataset; /* "projects/1/locations/L/datasets/9", for filters on names */
    /* Filters parsed against item_schema and annotation_schema; NULL lets everything through. An
     * item passes by itself; its annotations that do not pass are left out of it. */
    const struct filter *items, *annotations;
    enum annotation_kind kind; /* only annotations of this schema; ANNOTATION_NONE: all */
    struct str set_name;       /* only annotations of this annotation set; empty: all */
    bool only_annotated;       /* leave out items that have no annotation left */
    bool without_annotations;  /* do not read them at all */
    bool descending;
    uint64_t max_scan; /* stop after so many items that did not pass; 0: never */
    uint64_t after;    /* seq: begin behind this item; 0: at the beginning */
};

struct item_cursor;
/* q is copied, what it points to stays the caller's and must outlive the cursor. Items come in the
 * order of seq. */
struct item_cursor *items_scan(struct items *it, const struct item_query *q, struct err *err);
/* *ret NULL at the end. Valid until the next call. */
int items_next(struct item_cursor *c, const struct data_item **ret, struct err *err) MUST_CHECK;
/* After the end: 0, or the seq behind which a scan goes on that stopped for max_scan. */
uint64_t item_cursor_stopped_at(const struct item_cursor *c);
void item_cursor_free(struct item_cursor *c); /* NULL is fine */

/* One item with its annotations, as of a scan; NOT_FOUND. In the arena. */
int items_get(struct items *it, uint64_t id, struct arena *a, const struct data_item **ret,
              struct err *err) MUST_CHECK;

struct data_spec {
    uint64_t id; /* of 63 bits, of the display name */
    struct str display_name;
    usec_t create_time;
};
/* By id after `after`, at most max. In the arena. */
int items_specs(struct items *it, uint64_t after, unsigned max, struct arena *a,
                const struct data_spec **ret, size_t *ret_nr, struct err *err) MUST_CHECK;
/* NOT_FOUND. */
int items_get_spec(struct items *it, uint64_t id, struct arena *a, const struct data_spec **ret,
                   struct err *err) MUST_CHECK;

/* ---- filters on items that are at hand (filter splits) ---- */
extern const struct filter_schema item_schema;       /* of DataItem */
extern const struct filter_schema annotation_schema; /* of Annotation */
/* f NULL matches. scratch is cleared by the function. Labels of items include ml_use. */
bool item_matches(const struct filter *f, struct str dataset, const struct data_item *item,
                  struct arena *scratch);
bool annotation_matches(const struct filter *f, struct str dataset, uint64_t item,
                        const struct data_annotation *n, struct arena *scratch);

/* ---- writing: a new file, durable at items_write_finish ---- */
struct items_writer;
/* from NULL or "": begins empty. `to` must not exist; a file that is there already is what a crash
 * left behind and is replaced. */
struct items_writer *items_write_begin(const char *from, const char *to, usec_t now,
                                       struct err *err);
/* What objects hold, so that the same bytes under two names are one item (reference 08 §4). Called
 * by items_put, for items with has_size and those they are compared with. */
struct item_contents {
    /* False: it cannot be said, or there is no such object now. May read the whole object. */
    bool (*crc32c)(void *arg, const char *uri, uint32_t *ret);
    /* The caller closes it. err may be NULL. */
    int (*open)(void *arg, const char *uri, int *ret_fd, uint64_t *ret_size, struct err *err);
    void *arg;
};
/* c stays the caller's and outlives w. Without it items are the same when their URI or text is. */
int items_write_contents(struct items_writer *w, const struct item_contents *c,
                         struct err *err) MUST_CHECK;
/* Adds an item, or adds its annotations and labels to the one of the same id or the same bytes:
 * what the later says of a label counts. in->id, seq and times are not looked at, nor are ids of
 * annotations. RESOURCE_EXHAUSTED names the limit. */
int items_put(struct items_writer *w, const struct data_item *in, struct err *err) MUST_CHECK;
/* Of an item of `from`, by its seq; ML_USE_NONE takes it away. NOT_FOUND. */
int items_set_use(struct items_writer *w, uint64_t seq, enum ml_use use,
                  struct err *err) MUST_CHECK;
/* fsync of file and directory. Either way w is gone; the file too on failure. */
int items_write_finish(struct items_writer *w, struct item_counts *ret, struct err *err) MUST_CHECK;
void items_write_drop(struct items_writer *w); /* removes the file; NULL is fine */
struct item_merge_stats {
    uint64_t items_new, items_merged, annotations_new, annotations_merged;
};
void items_write_stats(const struct items_writer *w, struct item_merge_stats *ret);

#endif
