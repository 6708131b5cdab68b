/* Private to svc_dataset_items.c: items ordered by their annotations (SearchDataItems'
 * order_by_annotation). Which place an item has is said by that annotation of the saved query that
 * comes first in the order; items without any come last. Fields: create_time, update_time,
 * display_name, each with " desc", separated by commas; items that are equal by them come in the
 * order of import.
 *
 * A page is the best so many of all items behind the last page's place: memory is one page, and a
 * page costs a look at every item. */
#ifndef CUSP_API_SVC_DATASET_ORDER_H
#define CUSP_API_SVC_DATASET_ORDER_H

#include "data/items.h"
#include "pb/aip.h"

struct item_order;

/* In the arena. INVALID_ARGUMENT names order_by_annotation.order_by or .saved_query. */
int item_order_parse(struct arena *a, const Aip__SearchDataItemsRequest__OrderByAnnotation *asked,
                     struct item_order **ret, struct err *err) MUST_CHECK;
/* Looks the saved query up; NOT_FOUND. */
int item_order_resolve(struct item_order *o, struct arena *a, const struct store_row *dataset,
                       struct err *err) MUST_CHECK;

/* A page of so many, behind a place ("" for the first page). Once, before offers. */
void item_order_begin(struct item_order *o, struct arena *a, unsigned page, struct str behind);
void item_order_offer(struct item_order *o, const struct data_item *item);
/* What was offered and is on the page, in order: ids. */
size_t item_order_count(const struct item_order *o);
uint64_t item_order_id(const struct item_order *o, size_t i);
/* The place of the page's last item when more follow it; else empty. */
struct str item_order_next(const struct item_order *o);
void item_order_end(struct item_order *o); /* after item_order_begin */

#endif
