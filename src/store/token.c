/* Page tokens. A token is base64url(payload || tag): payload says where the page before ended, tag
 * is the first half of an HMAC-SHA256 over everything that makes the list what it is plus the
 * payload. The list itself (kind, parent, filter, order) is bound by the tag and not repeated in
 * the token, so a token taken to another list fails as a forged one does. */
#include "store/token.h"

#include "base/enc.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define TOKEN_VERSION 1
#define TAG_BYTES 16

static void put_sized(struct buf *b, struct str s) {
    enc_varint(b, s.n);
    (void)buf_put_str(b, s); /* no maximum */
}

/* Lengths go before the parts: without them ("ab","c") and ("a","bc") would sign the same. */
static void sign(const uint8_t *key, const struct store_list *l, struct str payload,
                 uint8_t tag[TAG_BYTES]) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    put_sized(&b, l->nr_then ? STR("cusp page token, several fields") : STR("cusp page token"));
    put_sized(&b, l->kind);
    put_sized(&b, l->parent);
    put_sized(&b, l->filter_text);
    enc_varint(&b, (uint64_t)l->order);
    enc_varint(&b, l->descending);
    for (unsigned i = 0; i < l->nr_then; i++) {
        enc_varint(&b, (uint64_t)l->then[i].field);
        enc_varint(&b, l->then[i].descending);
    }
    if (l->nr_then) {
        enc_varint(&b, UINT32_MAX); /* no field: the end of the order */
    }
    put_sized(&b, payload);

    uint8_t full[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    CHECK(HMAC(EVP_sha256(), key, TOKEN_KEY_BYTES, (const uint8_t *)b.p, b.n, full, &n));
    CHECK(n >= TAG_BYTES);
    memcpy(tag, full, TAG_BYTES);
}

struct str token_make(const uint8_t key[TOKEN_KEY_BYTES], const struct store_list *l,
                      const struct store_pos *pos) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    (void)buf_putc(&b, TOKEN_VERSION);
    enc_varint(&b, pos->id);
    for (unsigned i = 0; i <= l->nr_then; i++) {
        if (store_order_is_text(store_list_order(l, i).field)) {
            put_sized(&b, pos->v[i].text);
        } else {
            enc_varint(&b, pos->v[i].time);
        }
    }
    uint8_t tag[TAG_BYTES];
    sign(key, l, buf_str(&b), tag);
    (void)buf_put(&b, tag, sizeof(tag));

    auto_buf struct buf text = BUF_INIT(BUF_NO_MAX);
    enc_base64url(&text, b.p, b.n);
    return arena_str(l->arena, buf_str(&text));
}

static int decode(struct str payload, const struct store_list *l, struct store_pos *ret) {
    struct store_pos pos = {0};
    if (payload.n < 1 || payload.p[0] != TOKEN_VERSION) {
        return -1;
    }
    payload = str_sub(payload, 1, payload.n);
    uint64_t n = 0;
    if (!enc_unvarint(&payload, &pos.id)) {
        return -1;
    }
    for (unsigned i = 0; i <= l->nr_then; i++) {
        if (!store_order_is_text(store_list_order(l, i).field)) {
            if (!enc_unvarint(&payload, &pos.v[i].time)) {
                return -1;
            }
        } else if (!enc_unvarint(&payload, &n) || n > payload.n) {
            return -1;
        } else {
            pos.v[i].text = arena_str(l->arena, str_sub(payload, 0, n));
            payload = str_sub(payload, n, payload.n);
        }
    }
    if (payload.n) {
        return -1;
    }
    *ret = pos;
    return 0;
}

int token_open(const uint8_t key[TOKEN_KEY_BYTES], const struct store_list *l,
               struct store_pos *ret, struct err *err) {
    auto_buf struct buf raw = BUF_INIT(TOKEN_MAX_BYTES);
    if (l->page_token.n <= TOKEN_MAX_BYTES && enc_unbase64(l->page_token, &raw) &&
        raw.n > TAG_BYTES) {
        struct str payload = str_n(raw.p, raw.n - TAG_BYTES);
        uint8_t tag[TAG_BYTES];
        sign(key, l, payload, tag);
        if (CRYPTO_memcmp(tag, raw.p + payload.n, TAG_BYTES) == 0 && decode(payload, l, ret) == 0) {
            return 0;
        }
    }
    return err_field(err, ERR_INVALID_ARGUMENT, "page_token",
                     "The page token is not valid. It must come from a previous answer to the "
                     "same list: same parent, filter and order.");
}
