/* From a request body as HTTP carried it to the text that was meant. Pure; any thread. */
#ifndef CUSP_API_REST_BODY_H
#define CUSP_API_REST_BODY_H

#include "base/arena.h"
#include "base/err.h"

/* content_encoding: the header, .p NULL when there was none. gzip and deflate are unpacked (up to
 * max_api_body), as the published API does; a UTF-8 byte order mark, which PowerShell puts before
 * files, is dropped. *ret is `raw`, a view of it, or lives in the arena. Errors: INVALID_ARGUMENT
 * (another encoding: *ret_http_status becomes 415; damaged), RESOURCE_EXHAUSTED. */
int rest_body_text(struct arena *a, struct str content_encoding, struct str raw, struct str *ret,
                   int *ret_http_status, struct err *err);

#endif
