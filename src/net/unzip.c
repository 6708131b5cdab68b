/* zlib. Whole texts: one call of zlib's inflate after the other, until the end or the limit. */
#include "net/unzip.h"

#include <zlib.h>

#define STEP_MIN 16384

int unzip(enum unzip_kind kind, struct str packed, struct buf *out, struct err *err) {
    z_stream z = {.next_in = (Bytef *)(packed.p ? packed.p : ""), .avail_in = (uInt)packed.n};
    size_t step = packed.n < STEP_MIN / 4 ? STEP_MIN : packed.n * 4;
    int rc = packed.n > UINT32_MAX ? Z_DATA_ERROR : Z_OK;
    /* 15: the largest window; +16: a gzip wrapper. */
    CHECK(inflateInit2(&z, kind == UNZIP_GZIP ? 15 + 16 : 15) == Z_OK);
    while (rc == Z_OK) {
        size_t room = out->max - out->n, n = room < step ? room : step;
        unsigned char spill; /* a full buffer gets one byte more: exactly the limit, or past it? */
        z.next_out = n ? (unsigned char *)buf_reserve(out, n) : &spill;
        z.avail_out = n ? (uInt)n : 1;
        rc = inflate(&z, Z_NO_FLUSH);
        if (n) {
            buf_commit(out, n - z.avail_out);
        } else if (z.avail_out == 0) {
            (void)inflateEnd(&z);
            return err_set(err, ERR_RESOURCE_EXHAUSTED, "it is larger than %zu bytes", out->max);
        }
    }
    const char *why = rc == Z_BUF_ERROR    ? "it ends too early"
                      : rc != Z_STREAM_END ? (z.msg ? z.msg : "damaged data")
                      : z.avail_in > 0     ? "something follows its end"
                                           : NULL;
    (void)inflateEnd(&z);
    return why ? err_set(err, ERR_INVALID_ARGUMENT, "%s", why) : 0;
}
