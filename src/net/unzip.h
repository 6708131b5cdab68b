/* Compressed texts of bounded size: request bodies with Content-Encoding, gRPC messages. Whole
 * (unzip), or as they come (struct gunzip). Pure; any thread. */
#ifndef CUSP_NET_UNZIP_H
#define CUSP_NET_UNZIP_H

#include "base/buf.h"
#include "base/err.h"

enum unzip_kind { UNZIP_GZIP = 0, UNZIP_DEFLATE /* zlib's wrapper: what HTTP calls deflate */ };

/* Appends what `packed` unpacks to. Never makes more than out->max bytes, whatever the input
 * promises; a text of exactly that size fits. Errors, out then being of no use: RESOURCE_EXHAUSTED
 * (does not fit), INVALID_ARGUMENT (err->msg is the bare reason: "it ends too early"). */
int unzip(enum unzip_kind kind, struct str packed, struct buf *out, struct err *err);

/* A pure stepper: how much comes out at a time is the caller's choice, so a bomb fills nothing. */
struct gunzip;

struct gunzip *gunzip_new(void);
void gunzip_free(struct gunzip *g); /* NULL is fine */
/* Takes from the front of *in, puts up to cap bytes to out. *ret_n == cap: there may be more
 * without any new input. INVALID_ARGUMENT: not gzip, or bytes after its end. */
int gunzip_step(struct gunzip *g, struct str *in, char *out, size_t cap, size_t *ret_n,
                struct err *err) MUST_CHECK;
bool gunzip_is_done(const struct gunzip *g); /* the packed stream came to its proper end */

#endif
