/* List filters (AIP-160; reference 10 §5) and orderBy. A filter is parsed once to a tree; the tree
 * is evaluated on rows by every store, and what indexes can serve is also compiled to SQL.
 *
 *   filter      = sequence { "AND" sequence }
 *   sequence    = factor { factor }                 juxtaposition is AND
 *   factor      = term { "OR" term }                OR binds tighter than AND
 *   term        = [ "NOT" | "-" ] ( restriction | "(" filter ")" )
 *   restriction = path op value
 *   path        = name { "." ( name | quoted string ) }     labels.KEY: also . and / in KEY
 *   op          = "=" "!=" "<" "<=" ">" ">=" ":"
 *   value       = quoted string | bare word
 *
 * Fields are those of the kind's message, at any depth, in either spelling; name, create_time and
 * update_time always exist. A path through a list means "some element"; a.b != x is NOT a.b = x,
 * so it holds where a.b is absent; every other comparison with what is absent is false.
 *
 * ":" on text is a pattern in which * stands for any run of bytes, on a map a key (m:k; also
 * m.k:*), on anything else the same as "="; a:* asks whether a is set. In = and != a * is a
 * wildcard only as the first or last character (AIP-160), elsewhere itself; \\* is always itself.
 * Values are RFC 3339 times, durations ("1.5s"), numbers, true and false, names or numbers of
 * enumerations, as the field asks for. Functions are refused. */
#ifndef CUSP_STORE_FILTER_H
#define CUSP_STORE_FILTER_H

#include "store/store.h"

struct filter;
struct ProtobufCMessage;
struct ProtobufCMessageDescriptor;

/* A name that list filters of a kind know beside the fields of its message. */
struct filter_alias {
    const char *name, *camel; /* "base_model_name", "baseModelName" */
    const char *path;         /* what it stands for, "a.b.c"; NULL: the last segment of the name */
    struct str before;        /* then: the rest of the name, "PARENT/models/"; empty: any */
};

/* What the rows of a kind look like as messages. */
struct filter_schema {
    const struct ProtobufCMessageDescriptor *desc;
    /* The whole resource that a row stands for; NULL when it cannot be read: nothing matches then.
     * Called on the store's threads. */
    struct ProtobufCMessage *(*decode)(struct arena *a, const struct store_row *row);
    const struct filter_alias *aliases; /* may be NULL */
    size_t nr_aliases;
};

/* *ret NULL when the text is blank (all rows). The tree lives in the arena. schema NULL: only what
 * rows themselves have (name, display_name, state, create_time, update_time, labels). On a mistake:
 * INVALID_ARGUMENT, field "filter", "Invalid filter: WHAT at position N", then the text around it
 * with a caret below. N counts bytes from 1. */
int filter_parse(struct arena *a, struct str text, const struct filter_schema *schema,
                 const struct filter **ret, struct err *err) MUST_CHECK;
/* Both of them; either may be NULL. Lives in the arena. */
const struct filter *filter_and(struct arena *a, const struct filter *l, const struct filter *r);
/* labels.KEY = VALUE, whatever the schema says. Views stay the caller's. */
const struct filter *filter_label(struct arena *a, struct str key, struct str value);

/* f NULL matches everything. Looks at labels, and at spec and status, only if the filter needs
 * them. scratch is for decoding: the caller clears it between rows. */
bool filter_matches(const struct filter *f, const struct store_row *row, struct arena *scratch);
bool filter_needs_labels(const struct filter *f);
bool filter_needs_message(const struct filter *f); /* spec and status */

/* "create_time desc, display_name": up to STORE_ORDER_MAX of create_time, update_time,
 * display_name, name, state; blank: newest first. Fills the order members of l. */
int order_parse(struct str text, struct store_list *l, struct err *err) MUST_CHECK;

#endif
