/* Private to svc_dataset_items.c: what SearchDataItems asks for (reference 08 §1 and the comments
 * of the contract). Its filters are terms joined by AND:
 *
 *   data_item_filter    data_item_id = N, data_item_id != N, labeled = true|false,
 *                       has_annotation(SPEC_ID); anything else is a filter of DataItem
 *   annotation_filters  saved_query_id = N, annotation_spec_id = N, annotation_spec_id != N;
 *                       anything else is a filter of Annotation. One of several is enough. */
#ifndef CUSP_API_SVC_DATASET_SEARCH_H
#define CUSP_API_SVC_DATASET_SEARCH_H

#include "data/items.h"
#include "pb/aip.h"

struct item_search;

/* In the arena. INVALID_ARGUMENT names the field. */
int item_search_parse(struct arena *a, const Aip__SearchDataItemsRequest *req,
                      struct item_search **ret, struct err *err) MUST_CHECK;
/* Looks the saved queries up in the dataset; NOT_FOUND. Before the two below. */
int item_search_resolve(struct item_search *s, struct arena *a, const struct store_row *dataset,
                        struct err *err) MUST_CHECK;
/* On one thread at a time. */
bool item_search_passes(struct item_search *s, struct str dataset, const struct data_item *item);
bool item_search_takes(struct item_search *s, struct str dataset, const struct data_item *item,
                       const struct data_annotation *n);

#endif
