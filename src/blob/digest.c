/* CRC-32C and MD5 of bytes as they pass. MD5 costs some 1.7 s of processor time a GiB, CRC-32C a
 * tenth: callers decide whether they want both (docs/internals/blobs.md). */
#include "blob/blob_int.h"

#include "base/enc.h"

#include <errno.h>
#include <openssl/evp.h>
#include <unistd.h>

struct digest {
    uint32_t crc;
    uint64_t length;
    EVP_MD_CTX *md5;
};

struct digest *digest_new(bool with_md5) {
    struct digest *d = xcalloc(1, sizeof(*d));
    if (with_md5) {
        d->md5 = EVP_MD_CTX_new();
        CHECK(d->md5);
        if (EVP_DigestInit_ex(d->md5, EVP_md5(), NULL) != 1) {
            digest_drop_md5(
                d); /* a FIPS-only provider has none: objects then carry CRC-32C alone */
        }
    }
    return d;
}

void digest_free(struct digest *d) {
    if (d) {
        EVP_MD_CTX_free(d->md5);
        free(d);
    }
}

void digest_drop_md5(struct digest *d) {
    EVP_MD_CTX_free(d->md5);
    d->md5 = NULL;
}

void digest_update(struct digest *d, const void *p, size_t n) {
    d->crc = enc_crc32c(d->crc, p, n);
    d->length += n;
    if (d->md5) {
        CHECK(EVP_DigestUpdate(d->md5, p, n) == 1);
    }
}

uint64_t digest_length(const struct digest *d) {
    return d->length;
}

uint32_t digest_crc32c(const struct digest *d) {
    return d->crc;
}

bool digest_md5(struct digest *d, uint8_t out[16]) {
    unsigned n = 16;
    if (!d->md5) {
        return false;
    }
    CHECK(EVP_DigestFinal_ex(d->md5, out, &n) == 1 && n == 16);
    digest_drop_md5(d);
    return true;
}

int digest_file(int fd, uint64_t size, struct digest *d) {
    size_t cap = 1u << 20;
    auto_free char *p = xmalloc(cap);
    for (uint64_t at = 0; at < size;) {
        size_t want = size - at < cap ? (size_t)(size - at) : cap;
        ssize_t n = pread(fd, p, want, (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            return -ESTALE; /* shortened while we read */
        }
        digest_update(d, p, (size_t)n);
        at += (uint64_t)n;
    }
    return 0;
}
