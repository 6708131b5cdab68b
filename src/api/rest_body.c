/* Content-Encoding and byte order marks. */
#include "api/rest_body.h"

#include "base/limits.h"
#include "net/unzip.h"

#define BYTE_ORDER_MARK "\xef\xbb\xbf"

static int too_large(struct err *err) {
    limits_hit(&limits.max_api_body);
    return err_set(err, ERR_RESOURCE_EXHAUSTED,
                   "The request body, decompressed, is larger than the limit max_api_body (%llu "
                   "bytes).",
                   (unsigned long long)limits.max_api_body);
}

static int unpack(struct arena *a, enum unzip_kind kind, struct str name, struct str raw,
                  struct str *ret, struct err *err) {
    auto_buf struct buf out = BUF_INIT((size_t)limits.max_api_body);
    struct err why;
    if (unzip(kind, raw, &out, &why)) {
        return why.code == ERR_RESOURCE_EXHAUSTED
                   ? too_large(err)
                   : err_field(err, ERR_INVALID_ARGUMENT, "Content-Encoding",
                               "The request body cannot be decompressed as %.*s: %s.",
                               STR_ARG(name), why.msg);
    }
    char *copy = arena_strndup(a, buf_cstr(&out), out.n);
    if (!copy) {
        return too_large(err);
    }
    *ret = str_n(copy, out.n);
    return 0;
}

int rest_body_text(struct arena *a, struct str encoding, struct str raw, struct str *ret,
                   int *ret_http_status, struct err *err) {
    encoding = str_trim(encoding);
    bool gzip = str_ieq(encoding, STR("gzip")) || str_ieq(encoding, STR("x-gzip"));
    bool deflate = str_ieq(encoding, STR("deflate"));
    struct str text = raw;
    if (encoding.n && !gzip && !deflate && !str_ieq(encoding, STR("identity"))) {
        *ret_http_status = 415;
        return err_field(err, ERR_INVALID_ARGUMENT, "Content-Encoding",
                         "Content-Encoding \"%.*s\" is not supported: send the body as it is, or "
                         "compressed once with gzip or deflate.",
                         (int)(encoding.n < 64 ? encoding.n : 64), encoding.p);
    }
    if ((gzip || deflate) && raw.n &&
        unpack(a, gzip ? UNZIP_GZIP : UNZIP_DEFLATE, encoding, raw, &text, err)) {
        return -1;
    }
    if (str_starts(text, STR(BYTE_ORDER_MARK))) {
        text = str_sub(text, sizeof(BYTE_ORDER_MARK) - 1, text.n);
    }
    *ret = text;
    return 0;
}
