/* The items of one dataset as lines of JSON: into the shards of three sets for training, or into
 * one folder an annotation schema (reference 05 §7, 08 §5). */
#ifndef CUSP_DATA_EXPORT_ITEMS_H
#define CUSP_DATA_EXPORT_ITEMS_H

#include "data/export.h"
#include "data/items.h"

struct export_items {
    /* in; views must outlive the run */
    const char *path;   /* for items_open */
    struct str dataset; /* canonical name, for filters */
    bool is_plain;      /* a folder a schema instead of three sets */
    /* Which annotations; items without one of them are left out of the sets. */
    const struct filter *annotations;
    enum annotation_kind annotation_kind;
    struct str set_name;   /* annotation set; empty: all */
    const char *selection; /* of annotations, in words, for errors */
    const char
        *selection_field; /* "annotation_schema_uri", "saved_query_id", "annotations_filter" */
    /* Which set. */
    bool has_split;                   /* is_plain only: else items keep the use they have */
    enum split_kind kind;             /* by fraction or by filter */
    struct split_fractions fractions; /* normalised */
    bool keeps_use;                   /* of fractions: an item that has a use keeps it */
    struct export_filter {
        const struct filter *filter;
        bool is_none;      /* "-": matches nothing, and is meant to */
        const char *text;  /* as sent */
        const char *field; /* "filter_split.training_filter" */
    } filters[SPLIT_NR];   /* the first that matches decides */
    uint64_t seed;
    uint64_t shard_bytes;
    const struct export_io *io;
    struct export_watch *watch;
    /* out: by set, or by annotation kind when is_plain (ANNOTATION_NONE: items without any) */
    struct shards sets[ANNOTATION_KIND_NR];
    uint64_t items;   /* that were written; an item may be in several folders */
    uint64_t ignored; /* left out by the filters of the split */
    /* the module's */
    struct split *split;
    struct arena *scratch;
};

/* Blocks. INVALID_ARGUMENT with err.field of what selects nothing; what reading and writing failed
 * with; CANCELLED. After either end export_items_fini. */
int export_items_run(struct export_items *e, struct err *err) MUST_CHECK;
/* Writes the file `to`: `from` with each exported item's set as its ml_use. */
int export_items_persist(struct export_items *e, const char *from, const char *to, usec_t now,
                         struct item_counts *ret, struct err *err) MUST_CHECK;
void export_items_fini(struct export_items *e); /* also when it never ran */

#endif
