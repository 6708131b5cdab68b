/* Exports of managed datasets: what a training pipeline reads, and the ExportData method
 * (reference 05 §6-7, 08 §5).
 *
 * An export writes PREFIX/dataset-ID-TYPE-TIMESTAMP/{training,validation,test}-NNNNN-of-NNNNN.csv
 * (or .jsonl). Everything is written aside first and becomes objects at the end; a crash, a failure
 * or a cancellation at any moment leaves nothing of it (dataset_exports_recover, at the next
 * start). Exporting again with the same timestamp replaces the directory's files.
 *
 * Loop thread. Memory does not depend on the data: limits.max_csv_record bounds one record. */
#ifndef CUSP_API_DATASET_EXPORT_H
#define CUSP_API_DATASET_EXPORT_H

#include "api/api.h"
#include "pb/aip.h"
#include "pb/violations.h"
#include "sys/loop.h"

struct blob;
struct lane;
struct loop;
struct dataset_exports;
struct dataset_export_work;
struct export_plan;

/* One a server. Items of datasets are read through api->datasets. */
struct dataset_exports *dataset_exports_new(struct api *api, struct loop *loop, struct blob *blob);
/* Removes what exports that a crash interrupted had made visible; cb on the loop, never from
 * within. Before any other call. */
void dataset_exports_recover(struct dataset_exports *x, void (*cb)(void *arg), void *arg);
/* Cancels what runs; cb when the last export has been told so. Before blob_close. */
void dataset_exports_stop(struct dataset_exports *x, void (*cb)(void *arg), void *arg);
/* After dataset_exports_stop, which closed the lane; NULL is fine. */
void dataset_exports_free(struct dataset_exports *x);

enum dataset_export_use {
    DATASET_EXPORT_TRAINING, /* three sets, one directory: pipelines, CUSTOM_CODE_TRAINING */
    DATASET_EXPORT_PLAIN,    /* ExportData: a directory an annotation schema, no sets */
};

/* ---- everything that can be refused when a pipeline (or an export) is created ---- */
struct dataset_export_check {
    /* in; views must outlive the check */
    struct str parent; /* "projects/N/locations/L" of the pipeline or the dataset */
    const Aip__InputDataConfig *config;
    const char *field; /* of config in the request: "training_pipeline.input_data_config" */
    enum dataset_export_use use;
    bool items_only;  /* a table is refused: ExportData */
    usec_t timestamp; /* as of the export; 0 when directory is not wanted */
    struct arena *arena;
    struct violations *vs; /* what is wrong with the request is added here */
    /* Once, never from within. err: NOT_FOUND (the dataset), FAILED_PRECONDITION (BigQuery), or the
     * store's own; NULL: look at vs->n. */
    void (*cb)(struct dataset_export_check *, const struct err *err);
    void *arg;
    /* out, in the arena, when nothing is wrong */
    struct str dataset;    /* its canonical name */
    const char *directory; /* "gs://BUCKET/PREFIX/dataset-.../" */
    /* the module's */
    struct dataset_exports *x;
    struct store_get get;
    struct export_plan *plan;
    struct loop_task task;
    struct err err;
    bool is_refused;
};
void dataset_export_check(struct dataset_exports *x, struct dataset_export_check *c);

/* ---- one export ---- */
enum { DATASET_EXPORT_SETS = 3 }; /* training, validation, test, in this order everywhere */

struct dataset_export {
    /* in; views and config must outlive the export. config need not have been checked: what
     * dataset_export_check would have said comes through cb then. */
    struct str parent;                  /* as in the check */
    const Aip__InputDataConfig *config; /* dataset_id: an id or a whole name */
    const char *field;                  /* as in the check; NULL: "input_data_config" */
    enum dataset_export_use use;
    bool items_only;
    usec_t timestamp; /* wall; names the directory (milliseconds) */
    /* Now and then while it runs: done and total have changed. May be NULL. */
    void (*progress)(struct dataset_export *);
    /* Once, on the loop, never from within dataset_export_start or _cancel. err: CANCELLED;
     * NOT_FOUND, INVALID_ARGUMENT naming the URI and the line, the field or the filter;
     * RESOURCE_EXHAUSTED for a full disk. Nothing is left of a failed export. */
    void (*cb)(struct dataset_export *, const struct err *err);
    void *arg;
    /* out: views live until dataset_export_fini */
    uint64_t done, total;                 /* bytes of tables, items of the others */
    const char *dataset;                  /* canonical name */
    const char *format;                   /* AIP_DATA_FORMAT: "csv", "jsonl" */
    const char *directory;                /* "gs://BUCKET/PREFIX/dataset-.../" */
    const char *uri[DATASET_EXPORT_SETS]; /* AIP_*_DATA_URI: ".../training-*.csv"; PLAIN: NULL */
    uint64_t items[DATASET_EXPORT_SETS];  /* rows or data items; PLAIN: all in the first */
    uint64_t annotations[DATASET_EXPORT_SETS];
    uint64_t ignored;         /* left out by the split, see docs/internals/export.md */
    const char *const *files; /* "gs://..." of every object made */
    size_t nr_files;
    /* the module's */
    struct dataset_export_work *work;
};
/* After a start cb always comes. Exports wait for each other on their lane, in the order given. */
void dataset_export_start(struct dataset_exports *x, struct dataset_export *e);
/* Best effort, any number of times, before or after the end; cb comes as always. */
void dataset_export_cancel(struct dataset_export *e);
struct dataset_exports_stats {
    uint64_t running;      /* waiting ones too */
    uint64_t done, failed; /* since start; cancelled ones have failed */
    uint64_t items;        /* rows or data items written by those that are done */
};
void dataset_exports_get_stats(const struct dataset_exports *x, struct dataset_exports_stats *ret);
/* After cb (also from within it); forgets what `out` points to. */
void dataset_export_fini(struct dataset_export *e);

#endif
