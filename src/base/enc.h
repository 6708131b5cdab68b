/* Encodings: hex, base64, percent-coding, CRC32C, varint, and small hashes that need no library. */
#ifndef CUSP_BASE_ENC_H
#define CUSP_BASE_ENC_H

#include "base/arena.h"
#include "base/buf.h"

void enc_hex(struct buf *b, const void *p, size_t n); /* lower case */
/* False on odd length or a non-hex digit; out must hold s.n / 2 bytes. */
bool enc_unhex(struct str s, uint8_t *out);
void enc_base64(struct buf *b, const void *p, size_t n);    /* standard alphabet, padded */
void enc_base64url(struct buf *b, const void *p, size_t n); /* URL alphabet, no padding */
/* Takes both alphabets, with or without padding; no white space. False when malformed. */
bool enc_unbase64(struct str s, struct buf *out);
/* Encodes all but unreserved characters and those in `keep` (may be ""). */
void enc_percent(struct buf *b, struct str s, const char *keep);
/* Decodes %XX (and + as space when form). False on a bad escape or an encoded NUL. Result in arena.
 */
bool enc_unpercent(struct arena *a, struct str s, bool form, struct str *ret);
/* CRC-32C (Castagnoli), start with 0. Uses the SSE4.2 instruction where present. */
uint32_t enc_crc32c(uint32_t crc, const void *p, size_t n);
void enc_varint(struct buf *b, uint64_t v);
bool enc_unvarint(struct str *s, uint64_t *ret); /* advances *s */

#endif
