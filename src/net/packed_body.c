/* Unpacking of request bodies. */
#include "net/packed_body.h"

#include "net/unzip.h"

bool xch_is_packed(const struct xch *x) {
    return str_ieq(str_trim(xch_header(x, "content-encoding")), STR("gzip"));
}

struct packed_body {
    uint64_t max;
    void (*fn)(struct xch *, void *arg, struct str body, const struct err *err);
    void *arg;
};

static int unpack(struct xch *x, uint64_t max, struct str in, struct str *ret, struct err *err) {
    auto_buf struct buf b = BUF_INIT((size_t)max);
    struct err why;
    if (unzip(UNZIP_GZIP, in, &b, &why)) {
        return why.code == ERR_RESOURCE_EXHAUSTED
                   ? err_set(err, ERR_RESOURCE_EXHAUSTED,
                             "The unpacked body exceeds the limit of %llu bytes.",
                             (unsigned long long)max)
                   : err_set(err, ERR_INVALID_ARGUMENT,
                             "The body is not gzip, as its header says: %s.", why.msg);
    }
    *ret = str_n(arena_strndup(xch_arena(x), buf_cstr(&b), b.n), b.n);
    return ret->p ? 0 : err_set(err, ERR_RESOURCE_EXHAUSTED, "request memory exhausted");
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
