/* Pure helpers over rows that every store shares: copies, parent patterns, list order. */
#ifndef CUSP_STORE_ROW_H
#define CUSP_STORE_ROW_H

#include "store/store.h"

/* Deep copy into the arena; false when a bounded arena is full. */
bool store_row_copy(struct arena *a, const struct store_row *src, struct store_row *ret);
/* Bytes a copy takes, near enough for a cache's budget. */
size_t store_row_size(const struct store_row *row);

/* Value of a label, p NULL when absent. */
struct str store_row_label(const struct store_row *row, struct str key);

/* A "-" segment of the pattern stands for any one segment that is not empty. */
bool store_parent_matches(struct str pattern, struct str parent);
bool store_parent_is_pattern(struct str parent);
/* The part before the first "-" segment, with its slash. */
struct str store_parent_prefix(struct str pattern);

/* Where a row stands in a list: the values it is ordered by, and the insertion number that breaks
 * ties, so that pages stay stable whatever is inserted between them. */
struct store_pos {
    struct {
        usec_t time;     /* orders by time */
        struct str text; /* orders by text */
    } v[STORE_ORDER_MAX];
    uint64_t id;
};

bool store_order_is_text(enum store_order_field order);
/* The i-th field that a list is ordered by; i <= l->nr_then. */
struct store_order store_list_order(const struct store_list *l, unsigned i);
struct store_pos store_row_pos(const struct store_row *row, uint64_t id,
                               const struct store_list *l);
/* In the list's order, directions included: <0, 0, >0. */
int store_pos_cmp(const struct store_pos *a, const struct store_pos *b, const struct store_list *l);

#endif
