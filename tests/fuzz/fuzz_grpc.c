/* A gRPC request body, and the small texts beside it. First byte: compression and the size of the
 * pieces; second: how long a text (timeout, encoding, message) follows; the rest is the body. What
 * comes out must not depend on how the body was cut. */
#include "api/grpc_frame.h"

static uint64_t most = 4096;

static int run(enum grpc_encoding e, struct str body, size_t piece, struct buf *out) {
    struct grpc_in in;
    struct err err;
    struct str msg;
    int rc = 0;
    grpc_in_init(&in, e, "most", &most);
    for (size_t at = 0; rc >= 0 && at < body.n; at += piece) {
        struct str part = str_sub(body, at, piece);
        auto_free char *copy = str_dup(part); /* a sanitizer sees reads past the piece */
        part.p = copy;
        size_t before = part.n, wants = grpc_in_wants(&in);
        CHECK(wants > 0);
        while (part.n && (rc = grpc_in_take(&in, &part, &msg, &err)) > 0) {
            CHECK(msg.n <= most && part.n < before);
            buf_printf(out, "%zu:", msg.n);
            buf_put_str(out, msg);
        }
    }
    CHECK(rc >= 0 || err.code == ERR_INTERNAL || err.code == ERR_RESOURCE_EXHAUSTED);
    buf_printf(out, "|%d %d", rc < 0, rc >= 0 && grpc_in_end(&in, &err) < 0);
    grpc_in_fini(&in);
    return rc;
}

static void texts(struct str s) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    enum grpc_encoding e;
    usec_t t;
    if (grpc_timeout_parse(s, &t)) {
        CHECK(t <= 99999999ull * 3600000000ull);
    }
    (void)grpc_encoding_find(s, &e);
    grpc_percent(&b, s);
    for (size_t i = 0; i < b.n; i++) {
        CHECK(b.p[i] >= 0x20 && b.p[i] < 0x7f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > 65536) {
        return 0;
    }
    enum grpc_encoding e = (enum grpc_encoding)(data[0] % GRPC_ENCODING_NR);
    struct str all = str_n((const char *)data + 2, size - 2);
    texts(str_sub(all, 0, data[1] % 16));
    struct str body = str_sub(all, data[1] % 16, all.n);
    auto_buf struct buf whole = BUF_INIT(BUF_NO_MAX), pieces = BUF_INIT(BUF_NO_MAX);
    run(e, body, body.n + 1, &whole);
    run(e, body, 1 + data[0] / GRPC_ENCODING_NR % 11, &pieces);
    CHECK(str_eq(buf_str(&whole), buf_str(&pieces)));
    return 0;
}
