/* gRPC frames and small formats; pure functions over bytes. */
#include "api/grpc_frame.h"

#include "base/enc.h"
#include "base/limits.h"
#include "net/unzip.h"

bool grpc_timeout_parse(struct str s, usec_t *ret) {
    static const struct {
        char unit;
        uint64_t nsec;
    } units[] = {{'H', 3600000000000u}, {'M', 60000000000u}, {'S', 1000000000u},
                 {'m', 1000000u},       {'u', 1000u},        {'n', 1u}};
    uint64_t n;
    if (s.n < 2 || s.n > 9 || !str_to_u64(str_sub(s, 0, s.n - 1), &n)) {
        return false;
    }
    for (size_t i = 0; i < NR_OF(units); i++) {
        if (units[i].unit == s.p[s.n - 1]) {
            /* 99999999 H in microseconds fits, in nanoseconds it does not. */
            *ret = units[i].nsec >= 1000 ? n * (units[i].nsec / 1000) : (n + 999) / 1000;
            return true;
        }
    }
    return false;
}

bool grpc_encoding_find(struct str name, enum grpc_encoding *ret) {
    static const char *const names[GRPC_ENCODING_NR] = {
        [GRPC_IDENTITY] = "identity", [GRPC_GZIP] = "gzip", [GRPC_DEFLATE] = "deflate"};
    for (size_t i = 0; i < NR_OF(names); i++) {
        if (str_eqc(name, names[i])) {
            *ret = (enum grpc_encoding)i;
            return true;
        }
    }
    return false;
}

void grpc_percent(struct buf *b, struct str s) {
    enc_percent(b, s, " !\"#$&'()*+,/:;<=>?@[\\]^`{|}");
}

/* ---- frames */

void grpc_in_init(struct grpc_in *in, enum grpc_encoding encoding, const char *max_name,
                  const uint64_t *max_limit) {
    size_t max = *max_limit < UINT32_MAX ? (size_t)*max_limit : UINT32_MAX;
    *in = (struct grpc_in){.encoding = encoding,
                           .part = BUF_INIT(max),
                           .plain = BUF_INIT(max),
                           .max = max,
                           .max_name = max_name,
                           .max_limit = max_limit};
}

void grpc_in_fini(struct grpc_in *in) {
    buf_fini(&in->part);
    buf_fini(&in->plain);
}

static int too_long(const struct grpc_in *in, const char *what, struct err *err) {
    limits_hit(in->max_limit);
    return err_set(err, ERR_RESOURCE_EXHAUSTED, "%s is larger than the limit %s (%zu bytes).", what,
                   in->max_name, in->max);
}

/* The head is whole. */
static int read_head(struct grpc_in *in, struct err *err) {
    in->len = (size_t)in->head[1] << 24 | (size_t)in->head[2] << 16 | (size_t)in->head[3] << 8 |
              in->head[4];
    if (in->head[0] > 1) {
        return err_set(err, ERR_INTERNAL,
                       "Malformed gRPC frame: the compressed flag is %u, it can be 0 or 1.",
                       in->head[0]);
    }
    if (in->head[0] && in->encoding == GRPC_IDENTITY) {
        return err_set(err, ERR_INTERNAL,
                       "Malformed gRPC frame: it is flagged as compressed, but grpc-encoding names "
                       "no compression.");
    }
    if (in->len > in->max) {
        char what[64];
        snprintf(what, sizeof(what), "A gRPC message of %zu bytes", in->len);
        return too_long(in, what, err);
    }
    return 0;
}

static int expand(struct grpc_in *in, struct str packed, struct err *err) {
    bool is_gzip = in->encoding == GRPC_GZIP;
    struct err why;
    buf_clear(&in->plain);
    if (unzip(is_gzip ? UNZIP_GZIP : UNZIP_DEFLATE, packed, &in->plain, &why) == 0) {
        return 0;
    }
    if (why.code == ERR_RESOURCE_EXHAUSTED) {
        return too_long(in, "A gRPC message, decompressed,", err);
    }
    return err_set(err, ERR_INTERNAL, "The %s-compressed gRPC message cannot be unpacked: %s.",
                   is_gzip ? "gzip" : "deflate", why.msg);
}

int grpc_in_take(struct grpc_in *in, struct str *bytes, struct str *ret, struct err *err) {
    if (in->nr_head < GRPC_FRAME_HEAD) {
        size_t n = GRPC_FRAME_HEAD - in->nr_head;
        n = n < bytes->n ? n : bytes->n;
        if (n) {
            memcpy(in->head + in->nr_head, bytes->p, n);
        }
        in->nr_head += n;
        *bytes = str_sub(*bytes, n, bytes->n);
        if (in->nr_head < GRPC_FRAME_HEAD) {
            return 0;
        }
        buf_clear(&in->part);
        if (read_head(in, err)) {
            return -1;
        }
    }
    struct str msg = {"", 0};
    if (in->part.n == 0 && bytes->n >= in->len) { /* in one piece: not copied */
        msg = str_sub(*bytes, 0, in->len);
        *bytes = str_sub(*bytes, in->len, bytes->n);
    } else {
        size_t n = in->len - in->part.n;
        n = n < bytes->n ? n : bytes->n;
        buf_put_str(&in->part, str_sub(*bytes, 0, n)); /* below max: read_head looked */
        *bytes = str_sub(*bytes, n, bytes->n);
        if (in->part.n < in->len) {
            return 0;
        }
        msg = buf_str(&in->part);
    }
    in->nr_head = 0;
    if (in->head[0]) {
        if (expand(in, msg, err)) {
            return -1;
        }
        msg = str_n(buf_cstr(&in->plain), in->plain.n);
    }
    *ret = msg;
    return 1;
}

size_t grpc_in_wants(const struct grpc_in *in) {
    return in->nr_head < GRPC_FRAME_HEAD ? GRPC_FRAME_HEAD - in->nr_head : in->len - in->part.n;
}

int grpc_in_end(const struct grpc_in *in, struct err *err) {
    if (in->nr_head == GRPC_FRAME_HEAD) {
        return err_set(err, ERR_INTERNAL,
                       "The gRPC request ended inside a message: %zu of %zu bytes came.",
                       in->part.n, in->len);
    }
    if (in->nr_head) {
        return err_set(err, ERR_INTERNAL,
                       "The gRPC request ended inside a frame's head: %zu of %d bytes came.",
                       in->nr_head, GRPC_FRAME_HEAD);
    }
    return 0;
}
