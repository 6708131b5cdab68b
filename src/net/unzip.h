/* Compressed texts of bounded size, whole: request bodies with Content-Encoding, gRPC messages. As
 * they come: base/gunzip.h. Pure; any thread. */
#ifndef CUSP_NET_UNZIP_H
#define CUSP_NET_UNZIP_H

#include "base/buf.h"
#include "base/err.h"

enum unzip_kind { UNZIP_GZIP = 0, UNZIP_DEFLATE /* zlib's wrapper: what HTTP calls deflate */ };

/* Appends what `packed` unpacks to. Never makes more than out->max bytes, whatever the input
 * promises; a text of exactly that size fits. Errors, out then being of no use: RESOURCE_EXHAUSTED
 * (does not fit), INVALID_ARGUMENT (err->msg is the bare reason: "it ends too early"). */
int unzip(enum unzip_kind kind, struct str packed, struct buf *out, struct err *err);

#endif
