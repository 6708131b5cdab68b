/* cusp's own small HTTP surface beside the published one: /cusp/v1/RESOURCE:verb (GET, where
 * not said otherwise). */
#ifndef CUSP_API_CUSP_PATH_H
#define CUSP_API_CUSP_PATH_H

#include "api/names.h"
#include "base/enc.h"
#include "net/xch.h"

/* True for GET /cusp/v1/NAME+verb; *ret_name is NAME, percent-decoded, in the exchange's arena. */
bool cusp_path_match(struct xch *x, const char *verb, struct str *ret_name);
/* The same for another method. */
bool cusp_path_match_as(struct xch *x, const char *method, const char *verb, struct str *ret_name);
/* Value of a query parameter, percent-decoded; .p NULL when absent. */
struct str cusp_query_get(struct xch *x, const char *name);

#endif
