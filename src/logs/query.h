/* The Logging query language (reference 11 §5, 23 §4), as far as clients use it.
 *
 *   query      = or-list { "AND" or-list }       blanks between are AND; -- begins a comment
 *   or-list    = term { "OR" term }              OR binds tighter than AND, as in Cloud Logging
 *   term       = [ "NOT" | "-" ] ( "(" query ")" | comparison | function | text )
 *   comparison = path op ( value | "(" value { ("OR" | "AND") value } ")" )
 *   op         = "=" "!=" ">" ">=" "<" "<=" ":" "=~" "!~"
 *   function   = log_id("L") | SEARCH("text") | SEARCH(path, "text")
 *
 * Text is compared without regard to case, insertId byte by byte; severity by name or number,
 * timestamps as times, numbers and booleans as such. field:* asks whether it is there. A comparison
 * with a field that an entry lacks is false, != too; NOT turns that around. Text alone is looked
 * for in every field. Patterns are RE2's (logs/pattern.h), at most 512
 * bytes. A query is immutable; any thread, one at a time. */
#ifndef CUSP_LOGS_QUERY_H
#define CUSP_LOGS_QUERY_H

#include "base/arena.h"
#include "base/err.h"
#include "base/time.h"

struct query;
struct Google__Logging__V2__LogEntry;

/* Lives in the arena, but has to be closed (patterns). Blank text: everything. INVALID_ARGUMENT,
 * field "filter", with the position. limits: max_filter_bytes, max_filter_terms, max_filter_depth.
 */
int query_parse(struct arena *a, struct str text, struct query **ret, struct err *err) MUST_CHECK;
void query_close(struct query *q); /* NULL is fine */

bool query_matches(const struct query *q, const struct Google__Logging__V2__LogEntry *e);

/* What every entry that matches has; used to look only where it can be. */
struct query_scope {
    usec_t from, to;        /* inclusive, microseconds */
    const struct str *jobs; /* resource.labels.job_id or labels."ml.googleapis.com/job_id" */
    size_t nr_jobs;
    bool any_job;    /* jobs says nothing */
    struct str task; /* .p NULL: any */
};
void query_get_scope(const struct query *q, struct arena *a, struct query_scope *ret);

#endif
