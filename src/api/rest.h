/* REST's half of struct call. Loop thread. */
#ifndef CUSP_API_REST_H
#define CUSP_API_REST_H

#include "api/call.h"

extern const struct call_ops rest_call_ops;

/* Google's JSON form, as the request's prettyPrint and $.xgafv ask for it. http_status is e->code's
 * own, except where HTTP knows better (405, 415). */
void rest_error(struct xch *x, int http_status, const struct api_error *e);

#endif
