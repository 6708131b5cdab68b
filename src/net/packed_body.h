/* Request bodies sent with Content-Encoding: gzip (Google's Java library packs whatever it sends).
 */
#ifndef CUSP_NET_PACKED_BODY_H
#define CUSP_NET_PACKED_BODY_H

#include "net/xch.h"

bool xch_is_packed(const struct xch *x); /* the request's body is gzip */
/* xch_collect_body, unpacked when it is packed; max_bytes bounds both forms. */
void xch_collect_plain(struct xch *x, uint64_t max_bytes,
                       void (*fn)(struct xch *, void *arg, struct str body, const struct err *err),
                       void *arg);

#endif
