/* Managed datasets: which file of items a dataset's row names, who may change it, and when a file
 * is no longer needed (docs/internals/datasets.md). Loop thread unless said otherwise.
 *
 * A row's status (a rec) names a generation; DIR/datasets/PROJECT_LOCATION_ID/GENERATION.db is its
 * file (data/items.h). A change writes the next generation's file and then, in one transaction, the
 * row. Files that no dataset, version or reader names any more are removed; what a crash leaves is
 * removed at the next start. */
#ifndef CUSP_API_DATASETS_H
#define CUSP_API_DATASETS_H

#include "api/api.h"
#include "data/items.h"
#include "sys/lane.h"

struct blob;
struct datasets;

#define DATASET_KIND "dataset"
#define DATASET_VERSION_KIND "datasetVersion"

struct datasets *datasets_new(struct api *api, struct loop *loop, struct blob *blob,
                              const char *data_dir, struct err *err);
/* Removes files that no row names; cb on the loop, never from within. Before any other call. */
void datasets_recover(struct datasets *d, void (*cb)(void *arg, const struct err *err), void *arg);
/* Cancels edits; cb when none is left. Before operations_stop and blob_close. */
void datasets_stop(struct datasets *d, void (*cb)(void *arg), void *arg);
void datasets_free(struct datasets *d); /* after datasets_stop; NULL is fine */
struct blob *datasets_blob(struct datasets *d);
struct loop *datasets_loop(struct datasets *d);
/* For short reads of items. */
struct lane *datasets_lane(struct datasets *d);

/* ---- what rows of datasets and versions say of their items ---- */
struct dataset_status {
    uint64_t file; /* generation; 0: no items yet */
    struct item_counts counts;
};
int dataset_status_decode(const struct store_row *row, struct dataset_status *ret,
                          struct err *err) MUST_CHECK;
void dataset_status_encode(struct buf *b, const struct dataset_status *s);

/* ---- reading: a state of the items that stays as it is while it is held ---- */
struct dataset_view;
/* row: of a dataset or of a version, just read. */
struct dataset_view *dataset_view_take(struct datasets *d, const struct store_row *row);
/* For items_open; "" when there are no items. Any thread. */
const char *dataset_view_path(const struct dataset_view *v);
void dataset_view_release(struct dataset_view *v); /* NULL is fine */

/* ---- turns: what waits for each other, by name; in the order taken */
struct dataset_turn {
    void (*fn)(struct dataset_turn *); /* it is ours; never from within dataset_turn_take */
    struct list link, ready;           /* the module's, like all below */
    char *key;
    bool is_ours;
};
/* Everything that changes a dataset's row, or adds and removes rows below it, reads and commits
 * within the dataset's turn. key is copied. */
void dataset_turn_take(struct datasets *d, struct dataset_turn *t, struct str key);
void dataset_turn_release(struct datasets *d, struct dataset_turn *t);

/* ---- changing the items of a dataset: one edit of a dataset at a time, later ones wait */
struct dataset_edit {
    /* in */
    struct str name; /* canonical; copied */
    /* On a lane's thread: writes the file `to` from `from` ("" when there are none yet), as
     * items_write_begin to items_write_finish do. Soon CANCELLED once *cancel is set. */
    int (*run)(struct dataset_edit *e, const char *from, const char *to, struct item_counts *ret,
               struct err *err);
    /* May add to the transaction that changes the row (now is the row as it will be). NULL: nothing
     * to add. Called again when the first transaction was refused. */
    void (*join)(struct dataset_edit *e, struct store_txn *t, const struct store_row *now);
    /* Once, never from within. err: NOT_FOUND (the dataset, also when it is deleted meanwhile),
     * what run failed with, CANCELLED, the store's own. */
    void (*cb)(struct dataset_edit *e, const struct err *err);
    void *arg;
    _Atomic bool cancel;
    /* the module's */
    struct datasets *d;
    struct list link;
    struct dataset_turn only, turn;
    struct lane_work work;
    struct dataset_view *from;
    char *to;
    uint64_t file;
    struct item_counts counts;
    struct arena *a;
    struct store_get get;
    struct store_txn txn;
    bool has_txn, failed, has_joined;
    struct err err;
};
void dataset_edit_start(struct datasets *d, struct dataset_edit *e);
/* Best effort, any number of times until cb. */
void dataset_edit_cancel(struct dataset_edit *e);
/* Is one running or waiting? */
bool dataset_is_edited(struct datasets *d, struct str name);
/* All edits of a dataset that is going away. */
void dataset_edits_cancel(struct datasets *d, struct str name);

/* The rows that named a file have changed or gone: removes the files of this dataset that nobody
 * names any more. In the background. */
void datasets_tidy(struct datasets *d, struct str name);

struct datasets_stats {
    uint64_t edits_running, edits_total, views_held, files_removed;
    /* Since start: imports by outcome; of those that were done, lines taken and lines refused. */
    uint64_t imports_done, imports_failed, import_lines, import_lines_refused;
};
/* An import has ended; its lines, and how many of them were refused (0, 0 when it failed). */
void datasets_count_import(struct datasets *d, bool is_done, uint64_t lines, uint64_t refused);
void datasets_get_stats(const struct datasets *d, struct datasets_stats *ret);

#endif
