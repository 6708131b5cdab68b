/* zlib's inflate, gzip only. */
#include "base/gunzip.h"

#include "base/mem.h"

#include <zlib.h>

struct gunzip {
    z_stream z;
    bool is_done;
};

struct gunzip *gunzip_new(void) {
    struct gunzip *g = xcalloc(1, sizeof(*g));
    /* 15: the largest window; 16: gzip, nothing else. Fails for want of memory only. */
    CHECK(inflateInit2(&g->z, 15 + 16) == Z_OK);
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
    *ret_n = 0;
    if (g->is_done) {
        return 0;
    }
    g->z.next_in = (unsigned char *)(in->p ? in->p : "");
    g->z.avail_in = (unsigned)(in->n > UINT32_MAX ? UINT32_MAX : in->n);
    g->z.next_out = (unsigned char *)out;
    g->z.avail_out = (unsigned)(cap > UINT32_MAX ? UINT32_MAX : cap);
    unsigned before = g->z.avail_in, room = g->z.avail_out;
    int r = inflate(&g->z, Z_NO_FLUSH);
    if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s", g->z.msg ? g->z.msg : "bad data");
    }
    *in = str_sub(*in, before - g->z.avail_in, in->n);
    *ret_n = room - g->z.avail_out;
    g->is_done = r == Z_STREAM_END;
    return 0;
}

bool gunzip_is_done(const struct gunzip *g) {
    return g->is_done;
}

void gunzip_again(struct gunzip *g) {
    CHECK(inflateReset(&g->z) == Z_OK);
    g->is_done = false;
}
