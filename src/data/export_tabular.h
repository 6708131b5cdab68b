/* One table, which is one or more CSV files, into the shards of three sets (reference 05 §6-7).
 *
 * The header is the first line of the first file. Another file may begin with the same names; with
 * the same names in another order it is refused, since its columns would be taken for others. Rows
 * are copied as they stand, except that every line ends with LF; a row with more or fewer columns
 * than the header ends the export, naming file and line. */
#ifndef CUSP_DATA_EXPORT_TABULAR_H
#define CUSP_DATA_EXPORT_TABULAR_H

#include "data/export.h"

struct export_tabular {
    /* in; views must outlive the run */
    const char *const *uris; /* at least one; in the order of their names */
    size_t nr_uris;
    enum split_kind kind;             /* not by filter */
    struct split_fractions fractions; /* normalised; not for predefined */
    const char *key;                  /* column; NULL for fractions */
    const char *key_field;            /* what errors call it: "predefined_split.key" */
    uint64_t seed;                    /* of the dataset */
    uint64_t shard_bytes;
    const struct export_io *io;
    struct export_watch *watch;
    /* out */
    struct shards sets[SPLIT_NR];
    uint64_t rows;    /* all that were read */
    uint64_t ignored; /* left out for what the key column holds */
};

/* Blocks. INVALID_ARGUMENT (err.field is key_field when the column is at fault), NOT_FOUND, what
 * reading and writing failed with, CANCELLED. After either end export_tabular_fini. */
int export_tabular_run(struct export_tabular *e, struct err *err) MUST_CHECK;
void export_tabular_fini(struct export_tabular *e); /* also when it never ran */

#endif
