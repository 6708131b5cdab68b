/* Multipart upload bodies: first byte chooses the boundary's dialect and the piece size. The result
 * must not depend on how the body was cut. */
#include "api/gcs_multipart.h"

static void take_media(void *arg, struct str bytes) {
    buf_put_str(arg, bytes);
}

static int parse(struct str type, struct str body, size_t piece, struct buf *out) {
    struct multipart m;
    if (multipart_init(&m, type, 256, take_media, out, NULL) < 0) {
        return -1;
    }
    int r = 0;
    for (size_t at = 0; r == 0 && at < body.n; at += piece) {
        struct str part = str_sub(body, at, piece);
        auto_free char *copy = str_dup(part);
        r = multipart_feed(&m, str_n(copy, part.n), NULL);
    }
    r = r < 0 ? r : multipart_end(&m, NULL);
    if (r == 0) {
        buf_putc(out, '|');
        buf_put_str(out, multipart_json(&m));
        buf_putc(out, '|');
        buf_put_str(out, multipart_media_type(&m));
    }
    multipart_fini(&m);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const types[] = {"multipart/related; boundary=B",
                                        "multipart/related; boundary='=='",
                                        "multipart/related; boundary=\"==0==\""};
    if (size < 2 || size > 4096) {
        return 0;
    }
    struct str type = str_of(types[data[0] % 3]), body = str_n((const char *)data + 1, size - 1);
    if (data[0] >= 250) {
        type = str_cut(&body, '\n'); /* the header itself is hostile */
        if (!body.p) {
            return 0;
        }
    }
    auto_buf struct buf whole = BUF_INIT(BUF_NO_MAX), pieces = BUF_INIT(BUF_NO_MAX);
    int a = parse(type, body, body.n + 1, &whole),
        b = parse(type, body, 1 + data[0] / 3 % 7, &pieces);
    CHECK(a == b);
    CHECK(a < 0 || str_eq(buf_str(&whole), buf_str(&pieces)));
    return 0;
}
