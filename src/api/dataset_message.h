/* Rows of datasets and their versions as messages, and what a valid dataset is (reference 08 §2).
 * Pure; any thread. */
#ifndef CUSP_API_DATASET_MESSAGE_H
#define CUSP_API_DATASET_MESSAGE_H

#include "data/items.h"
#include "pb/aip.h"
#include "pb/violations.h"
#include "store/filter.h"

enum dataset_type {
    DATASET_TYPE_NONE,
    DATASET_TABULAR,
    DATASET_TIME_SERIES,
    DATASET_IMAGE,
    DATASET_TEXT,
    DATASET_VIDEO,
};
/* By metadataSchemaUri; DATASET_TYPE_NONE: none of ours. */
enum dataset_type dataset_type_of(struct str metadata_schema_uri);
const char *dataset_type_name(enum dataset_type t); /* "tabular" */
/* ITEM_MEDIA_NONE: has no items, but a table. */
enum item_media dataset_type_media(enum dataset_type t);

/* gs:// URIs of the CSV files of a tabular or time series dataset, as they were given (maybe with
 * wildcards); nr 0: its source is BigQuery, *ret_bigquery (may be NULL) says which. The metadata
 * has been checked. */
void dataset_table_sources(struct arena *a, const Aip__Dataset *ds, const char ***ret,
                           size_t *ret_nr, const char **ret_bigquery);

/* Rules for a dataset that is to be made; paths below "dataset". */
void dataset_check(const Aip__Dataset *ds, struct violations *vs);
/* Rules for what a client may change (after the change). */
void dataset_check_changed(const Aip__Dataset *ds, struct violations *vs);
/* Fills what the service fills: the schema's label, metadata of datasets with items. */
void dataset_fill(struct arena *a, Aip__Dataset *ds);

/* The row as the resource; DATA_LOSS when it does not read. */
int dataset_message(struct arena *a, const struct store_row *row, Aip__Dataset **ret,
                    struct err *err) MUST_CHECK;
int dataset_version_message(struct arena *a, const struct store_row *row, Aip__DatasetVersion **ret,
                            struct err *err) MUST_CHECK;
extern const struct filter_schema dataset_schema, dataset_version_schema;

/* What is stored of ds: its bytes without what rows and status say, its labels. Views live in the
 * arena. False when the arena is full. */
bool dataset_pack(struct arena *a, const Aip__Dataset *ds, struct str *ret_spec,
                  struct store_label **ret_labels, size_t *ret_nr_labels);

/* The saved query of this id; NULL. Which annotations it stands for: those of *ret_kind that are in
 * the annotation set *ret_set. */
Aip__SavedQuery *dataset_saved_query(const Aip__Dataset *ds, struct str id,
                                     enum annotation_kind *ret_kind, struct str *ret_set);

#endif
