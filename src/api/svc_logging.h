/* What the methods of google.logging.v2 share. Loop thread. */
#ifndef CUSP_API_SVC_LOGGING_H
#define CUSP_API_SVC_LOGGING_H

#include "api/call.h"
#include "logs/search.h"
#include "pb/aip.h"

/* "projects/P", "projects/P/locations/…/views/…", "projects/P/logs/L" (*ret_log, when not NULL).
 * INVALID_ARGUMENT naming the field. */
int log_scope_parse(struct call *c, struct arena *a, const char *name, const char *field,
                    struct log_scope *ret, struct str *ret_log, struct err *err) MUST_CHECK;
/* Each project once; at most LOG_SCOPES_MAX. */
#define LOG_SCOPES_MAX 100u
int log_scopes_of(struct call *c, struct arena *a, char *const *names, size_t nr,
                  struct log_scope **ret, size_t *ret_nr, struct err *err) MUST_CHECK;

#endif
