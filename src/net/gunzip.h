/* Request bodies sent with Content-Encoding: gzip (Google's Java library packs whatever it sends).
 * A pure stepper: how much comes out at a time is the caller's choice, so a bomb fills nothing. */
#ifndef CUSP_NET_GUNZIP_H
#define CUSP_NET_GUNZIP_H

#include "base/err.h"
#include "net/xch.h"

struct gunzip;

struct gunzip *gunzip_new(void);
void gunzip_free(struct gunzip *g); /* NULL is fine */
/* Takes from the front of *in, puts up to cap bytes to out. *ret_n == cap: there may be more
 * without any new input. INVALID_ARGUMENT: not gzip, or bytes after its end. */
int gunzip_step(struct gunzip *g, struct str *in, char *out, size_t cap, size_t *ret_n,
                struct err *err) MUST_CHECK;
bool gunzip_is_done(const struct gunzip *g); /* the packed stream came to its proper end */

bool xch_is_packed(const struct xch *x); /* the request's body is gzip */
/* xch_collect_body, unpacked when it is packed; max_bytes bounds both forms. */
void xch_collect_plain(struct xch *x, uint64_t max_bytes,
                       void (*fn)(struct xch *, void *arg, struct str body, const struct err *err),
                       void *arg);

#endif
