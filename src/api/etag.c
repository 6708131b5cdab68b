/* See etag.h. */
#include "api/etag.h"

#include "base/buf.h"
#include "base/enc.h"

/* Lengths go between the parts: none can run into the next. */
static uint64_t version_of(const struct store_row *row) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    const struct str parts[] = {row->name, row->display_name, row->state, row->spec, row->status};
    for (size_t i = 0; i < NR_OF(parts); i++) {
        enc_varint(&b, parts[i].n);
        (void)buf_put_str(&b, parts[i]); /* no maximum */
    }
    enc_varint(&b, row->update_time);
    return str_hash(buf_str(&b));
}

static void put(struct buf *b, const struct store_row *row) {
    uint64_t v = version_of(row);
    uint8_t bytes[8];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(v >> (8 * (sizeof(bytes) - 1 - i)));
    }
    enc_base64(b, bytes, sizeof(bytes));
}

struct str etag_of(struct arena *a, const struct store_row *row) {
    auto_buf struct buf b = BUF_INIT(64);
    put(&b, row);
    return arena_str(a, buf_str(&b));
}

int etag_check(struct str given, const struct store_row *row, struct err *err) {
    auto_buf struct buf b = BUF_INIT(64);
    given = str_starts(given, STR("W/")) ? str_sub(given, 2, given.n) : given;
    if (given.n >= 2 && given.p[0] == '"' && given.p[given.n - 1] == '"') {
        given = str_sub(given, 1, given.n - 2);
    }
    put(&b, row);
    if (given.n == 0 || str_eq(given, STR("*")) || str_eq(given, buf_str(&b))) {
        return 0;
    }
    return err_field(err, ERR_ABORTED, "etag",
                     "The etag \"%.*s\" is not that of the current version: %.*s was changed "
                     "meanwhile. Read it again and repeat the request.",
                     (int)(given.n < 64 ? given.n : 64), given.p,
                     (int)(row->name.n < 300 ? row->name.n : 300), row->name.p);
}
