/* Regular expressions of log filters (`=~`). Cloud Logging's are RE2's; here PCRE2 compiles and
 * matches them, with what RE2 refuses refused, and every limit on, since whoever may read logs may
 * send any pattern: time and memory of a match are bounded. Any thread; a pattern belongs to one
 * at a time. */
#ifndef CUSP_LOGS_PATTERN_H
#define CUSP_LOGS_PATTERN_H

#include "base/str.h"

struct pattern;

/* NULL with what is wrong in *ret_why ("a pattern ..."). */
struct pattern *pattern_new(struct str source, const char **ret_why);
void pattern_free(struct pattern *p); /* NULL is fine */
/* Anywhere in the text. False also when the pattern needs more steps than a match may take; after
 * a hundred such matches it is given up and matches nothing, or one filter could keep a thread busy
 * for minutes. */
bool pattern_matches(struct pattern *p, struct str text);

#endif
