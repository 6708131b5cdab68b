/* The part of a filter that SQL can decide. What it lets through is a superset of what the filter
 * matches; the caller runs filter_matches on it, so both stores answer alike by construction. */
#ifndef CUSP_STORE_FILTER_SQL_H
#define CUSP_STORE_FILTER_SQL_H

#include "base/vec.h"
#include "store/filter.h"

struct filter_param {
    bool is_time;
    usec_t time;
    struct str text; /* lives as long as the filter */
};

struct filter_sql {
    struct buf where;                   /* a condition on resource; empty: nothing to say */
    VEC_OF(struct filter_param) params; /* bound from first_param on */
    int first_param;
    const char *create_time; /* the column that create_time is, as an index has it */
    unsigned nested;         /* parentheses open while it is written */
    bool is_exact;           /* the condition alone is the filter */
};

/* create_time NULL: the row's own column. */
void filter_sql_init(struct filter_sql *q, const struct filter *f, int first_param,
                     const char *create_time);
void filter_sql_fini(struct filter_sql *q);

#endif
