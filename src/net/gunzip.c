/* Unpacking of request bodies. */
#include "net/gunzip.h"

#include "base/buf.h"

#include <zlib.h>

#define STEP 16384

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

bool xch_is_packed(const struct xch *x) {
    return str_ieq(str_trim(xch_header(x, "content-encoding")), STR("gzip"));
}

struct packed_body {
    uint64_t max;
    void (*fn)(struct xch *, void *arg, struct str body, const struct err *err);
    void *arg;
};

static int unpack(struct xch *x, uint64_t max, struct str in, struct str *ret, struct err *err) {
    auto_buf struct buf b = BUF_INIT(max);
    struct gunzip *g = gunzip_new();
    size_t n = STEP;
    int r = 0;
    while (r == 0 && (in.n || n == STEP)) {
        char *room = buf_reserve(&b, STEP);
        char spare[STEP]; /* near the maximum there is no room for a whole step */
        r = gunzip_step(g, &in, room ? room : spare, STEP, &n, err);
        if (r == 0 && room) {
            buf_commit(&b, n);
        } else if (r == 0 && n && buf_put(&b, spare, n) < 0) {
            r = err_set(err, ERR_RESOURCE_EXHAUSTED,
                        "The unpacked body exceeds the limit of %llu bytes.",
                        (unsigned long long)max);
        }
    }
    if (r == 0 && !gunzip_is_done(g)) {
        r = err_set(err, ERR_INVALID_ARGUMENT, "The gzip body ends too early");
    }
    gunzip_free(g);
    if (r == 0) {
        char *p = arena_strndup(xch_arena(x), b.n ? b.p : "", b.n);
        *ret = str_n(p, b.n);
        r = p ? 0 : err_set(err, ERR_RESOURCE_EXHAUSTED, "request memory exhausted");
    }
    return r;
}

static void packed_came(struct xch *x, void *arg, struct str body, const struct err *why) {
    struct packed_body *p = arg;
    struct str plain = body;
    struct err err;
    if (!why && body.n && unpack(x, p->max, body, &plain, &err) < 0) {
        why = &err;
    }
    p->fn(x, p->arg, why ? (struct str){0} : plain, why);
}

void xch_collect_plain(struct xch *x, uint64_t max_bytes,
                       void (*fn)(struct xch *, void *arg, struct str body, const struct err *err),
                       void *arg) {
    if (!xch_is_packed(x)) {
        xch_collect_body(x, max_bytes, fn, arg);
        return;
    }
    struct packed_body *p = arena_own(xch_arena(x), sizeof(*p));
    *p = (struct packed_body){.max = max_bytes, .fn = fn, .arg = arg};
    xch_collect_body(x, max_bytes, packed_came, p);
}
