/* Entity tags (AIP-154): what a client saw is what is there. Pure. */
#ifndef CUSP_API_ETAG_H
#define CUSP_API_ETAG_H

#include "store/store.h"

/* Of a stored version: the same as long as nothing of the row changes, across restarts too. Base64
 * text in the arena, as the service's look. */
struct str etag_of(struct arena *a, const struct store_row *row);

/* given: what the client sends back; empty: it does not care. ABORTED when it is not the row's.
 * Weak and quoted forms of HTTP (W/"...") are understood; "*" is any. To be compared on the loop
 * thread with the row that the same turn changes: nothing may come between. */
int etag_check(struct str given, const struct store_row *row, struct err *err) MUST_CHECK;

#endif
