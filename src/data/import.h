/* Import files -> items (reference 08 §4): JSON lines of every format, CSV for image
 * classification, plain or packed with gzip. A line that does not read is told of and left out; a
 * file that does not read ends the import. Blocks, so for lanes' threads; memory does not depend on
 * the files: one line (limits.max_import_line) and the writer's cache. */
#ifndef CUSP_DATA_IMPORT_H
#define CUSP_DATA_IMPORT_H

#include "data/item_line.h"

#include <stdatomic.h>

/* One ImportDataConfig, its wildcards expanded. Views must outlive the run. */
struct import_source {
    const char *const *uris;
    size_t nr_uris;
    const struct import_format *format;
    struct item_labels item_labels; /* of every item; what its line says counts more */
    enum ml_use use;                /* of items whose line does not say */
    struct item_labels annotation_labels;
    struct str set_name; /* annotations without an annotation set are of this one; may be empty */
};

struct import_io {
    /* A file at its beginning (the importer closes it), and its size. NOT_FOUND names the URI. */
    int (*open)(void *arg, const char *uri, int *ret_fd, uint64_t *ret_size, struct err *err);
    /* Is there such an object? Called once an item that is a file. *ret_has_size: its bytes can be
     * looked at, by `contents`. NULL: not asked. */
    int (*check)(void *arg, struct str uri, bool *ret_has_size, uint64_t *ret_size,
                 struct err *err);
    void *arg;
};

#define IMPORT_FAILURES_MAX 20 /* as many as an operation shows (partialFailures) */

struct import_failure {
    enum err_code code;
    char text[1400]; /* "gs://b/x.jsonl, line 3: ..." */
};

/* Shared by the importing thread and the loop. */
struct import_watch {
    atomic_bool *cancel;                   /* the import ends soon with CANCELLED; may be NULL */
    atomic_ullong bytes_done, bytes_total; /* of the files as they are stored */
    atomic_ullong lines, failed;           /* records read; of these, left out */
    atomic_size_t nr_failures;             /* those that are complete; others are being written */
    struct import_failure failures[IMPORT_FAILURES_MAX];
};

/* Everything of all sources goes to the writer, which stays the caller's. NOT_FOUND,
 * INVALID_ARGUMENT (a file), RESOURCE_EXHAUSTED (the disk), CANCELLED. */
int import_run(struct items_writer *w, const struct import_source *sources, size_t nr,
               const struct import_io *io, struct import_watch *watch, struct err *err) MUST_CHECK;

#endif
