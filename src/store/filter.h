/* List filters (the AIP-160 subset of reference 10 §5) and orderBy. A filter is parsed once to a
 * tree; the tree is evaluated on rows, and what indexes can serve is also compiled to SQL.
 *
 *   filter      = sequence { "AND" sequence }
 *   sequence    = factor { factor }                 juxtaposition is AND
 *   factor      = term { "OR" term }                OR binds tighter than AND
 *   term        = [ "NOT" | "-" ] ( restriction | "(" filter ")" )
 *   restriction = field op value
 *   field       = display_name | state | create_time | update_time | name (camelCase too)
 *               | labels "." key | labels             (labels:key only)
 *   op          = "=" "!=" "<" "<=" ">" ">=" ":"
 *   value       = quoted string | bare word
 *
 * ":" matches a pattern in which * stands for any run of bytes; on a label, ":*" means "has the
 * key". A label that is absent equals nothing: != is true for it, every other operator false. */
#ifndef CUSP_STORE_FILTER_H
#define CUSP_STORE_FILTER_H

#include "store/store.h"

struct filter;

/* *ret NULL when the text is blank (all rows). The tree lives in the arena. On a mistake:
 * INVALID_ARGUMENT, field "filter", with the byte position (from 1) in the message. */
int filter_parse(struct arena *a, struct str text, const struct filter **ret,
                 struct err *err) MUST_CHECK;

/* f NULL matches everything. Only the fields a filter can name are looked at (not spec, status). */
bool filter_matches(const struct filter *f, const struct store_row *row);
bool filter_needs_labels(const struct filter *f);

/* "create_time desc", "display_name", "updateTime asc"; blank: newest first. One field. */
int order_parse(struct str text, enum store_order_field *ret_field, bool *ret_descending,
                struct err *err) MUST_CHECK;

#endif
