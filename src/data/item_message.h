/* Items as the messages that clients see (reference 08 §3). Any thread. */
#ifndef CUSP_DATA_ITEM_MESSAGE_H
#define CUSP_DATA_ITEM_MESSAGE_H

#include "data/items.h"
#include "pb/aip.h"

/* dataset: "projects/N/locations/L/datasets/ID". All in the arena; NULL when it is full. */
Aip__DataItem *data_item_message(struct arena *a, struct str dataset, const struct data_item *item);
Aip__Annotation *data_annotation_message(struct arena *a, struct str dataset, uint64_t item,
                                         const struct data_annotation *n);
Aip__AnnotationSpec *data_spec_message(struct arena *a, struct str dataset,
                                       const struct data_spec *spec);

#endif
