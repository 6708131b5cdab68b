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

/* ---- as it comes */

struct gunzip {
    z_stream z;
    bool is_done;
};

struct gunzip *gunzip_new(void) {
    struct gunzip *g = xcalloc(1, sizeof(*g));
    CHECK(inflateInit2(&g->z, 15 + 16) == Z_OK); /* 16: gzip, nothing else */
    return g;
}

void gunzip_free(struct gunzip *g) {
    if (g) {
        inflateEnd(&g->z);
        free(g);
    }
}

int gunzip_step(struct gunzip *g, struct str *in, char *out, size_t cap, size_t *ret_n,
                struct err *err) {
    if (g->is_done) {
        *ret_n = 0;
        return in->n == 0 ? 0
                          : err_set(err, ERR_INVALID_ARGUMENT,
                                    "There are bytes after the end of the gzip body");
    }
    g->z.next_in = (unsigned char *)in->p;
    g->z.avail_in = (unsigned)(in->n > UINT32_MAX ? UINT32_MAX : in->n);
    g->z.next_out = (unsigned char *)out;
    g->z.avail_out = (unsigned)cap;
    unsigned before = g->z.avail_in;
    int r = inflate(&g->z, Z_NO_FLUSH);
    if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR) {
        return err_set(err, ERR_INVALID_ARGUMENT, "The body is not gzip, as its header says: %s",
                       g->z.msg ? g->z.msg : "bad data");
    }
    *in = str_sub(*in, before - g->z.avail_in, in->n);
    *ret_n = cap - g->z.avail_out;
    g->is_done = r == Z_STREAM_END;
    return 0;
}

bool gunzip_is_done(const struct gunzip *g) {
    return g->is_done;
}
