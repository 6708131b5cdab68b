/* SHA-256 and the spelling of digests. */
#include "base/enc.h"
#include "engine/image/image_int.h"

#include <openssl/evp.h>

struct hash {
    EVP_MD_CTX *ctx;
};

struct hash *hash_new(void) {
    struct hash *h = xcalloc(1, sizeof(*h));
    h->ctx = EVP_MD_CTX_new();
    CHECK(h->ctx != NULL);
    int ok = EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL);
    CHECK(ok == 1);
    return h;
}

void hash_free(struct hash *h) {
    if (h != NULL) {
        EVP_MD_CTX_free(h->ctx);
        free(h);
    }
}

void hash_add(struct hash *h, const void *p, size_t n) {
    int ok = EVP_DigestUpdate(h->ctx, p, n);
    CHECK(ok == 1);
}

void hash_hex(struct hash *h, char ret_hex[SHA256_HEX_LEN + 1]) {
    static const char digits[] = "0123456789abcdef";
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    int ok = EVP_DigestFinal_ex(h->ctx, raw, &n);
    CHECK(ok == 1 && n == SHA256_HEX_LEN / 2);
    for (unsigned i = 0; i < n; i++) {
        ret_hex[2 * i] = digits[raw[i] >> 4];
        ret_hex[2 * i + 1] = digits[raw[i] & 15];
    }
    ret_hex[SHA256_HEX_LEN] = '\0';
}

void hash_of(struct str bytes, char ret_hex[SHA256_HEX_LEN + 1]) {
    struct hash *h = hash_new();
    hash_add(h, bytes.p, bytes.n);
    hash_hex(h, ret_hex);
    hash_free(h);
}

bool hex_is_sha256(struct str hex) {
    if (hex.n != SHA256_HEX_LEN) {
        return false;
    }
    for (size_t i = 0; i < hex.n; i++) {
        char c = hex.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
    }
    return true;
}

bool digest_parse(struct str digest, char ret_hex[SHA256_HEX_LEN + 1]) {
    if (!str_starts(digest, STR("sha256:"))) {
        return false;
    }
    struct str hex = str_sub(digest, 7, digest.n);
    if (!hex_is_sha256(hex)) {
        return false;
    }
    memcpy(ret_hex, hex.p, hex.n);
    ret_hex[SHA256_HEX_LEN] = '\0';
    return true;
}
