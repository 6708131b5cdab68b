/* Encodings. */
#include "base/enc.h"

static const char hexdigits[] = "0123456789abcdef";

void enc_hex(struct buf *b, const void *p, size_t n) {
    const unsigned char *c = p;
    for (size_t i = 0; i < n; i++) {
        char two[2] = {hexdigits[c[i] >> 4], hexdigits[c[i] & 15]};
        buf_put(b, two, 2);
    }
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

bool enc_unhex(struct str s, uint8_t *out) {
    if (s.n % 2) {
        return false;
    }
    for (size_t i = 0; i < s.n; i += 2) {
        int hi = hex_value(s.p[i]), lo = hex_value(s.p[i + 1]);
        if (hi < 0 || lo < 0) {
            return false;
        }
        out[i / 2] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

static void base64(struct buf *b, const void *p, size_t n, const char *alphabet, bool pad) {
    const unsigned char *c = p;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)c[i] << 16 | (left > 1 ? (uint32_t)c[i + 1] << 8 : 0) |
                     (left > 2 ? c[i + 2] : 0);
        char out[4] = {alphabet[v >> 18], alphabet[v >> 12 & 63], alphabet[v >> 6 & 63],
                       alphabet[v & 63]};
        size_t len = left > 2 ? 4 : left + 1;
        buf_put(b, out, len);
        for (; pad && len < 4; len++) {
            buf_putc(b, '=');
        }
    }
}

void enc_base64(struct buf *b, const void *p, size_t n) {
    base64(b, p, n, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", true);
}

void enc_base64url(struct buf *b, const void *p, size_t n) {
    base64(b, p, n, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", false);
}

static int base64_value(char c) {
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    if (c == '+' || c == '-') {
        return 62;
    }
    if (c == '/' || c == '_') {
        return 63;
    }
    return -1;
}

bool enc_unbase64(struct str s, struct buf *out) {
    uint32_t v = 0;
    unsigned bits = 0;
    if (s.n && s.n % 4 == 0 && s.p[s.n - 1] == '=') {
        s.n -= s.n > 1 && s.p[s.n - 2] == '=' ? 2 : 1;
    }
    if (s.n % 4 == 1) {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        int d = base64_value(s.p[i]);
        if (d < 0) {
            return false;
        }
        v = v << 6 | (uint32_t)d;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            if (buf_putc(out, (char)(v >> bits & 255))) {
                return false;
            }
        }
    }
    return true;
}

void enc_percent(struct buf *b, struct str s, const char *keep) {
    static const char upper[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '~' || (c && strchr(keep, c));
        if (plain) {
            buf_putc(b, (char)c);
        } else {
            char out[3] = {'%', upper[c >> 4], upper[c & 15]};
            buf_put(b, out, 3);
        }
    }
}

bool enc_unpercent(struct arena *a, struct str s, bool form, struct str *ret) {
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    if (!out) {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            uint8_t byte;
            if (s.n - i < 3 || !enc_unhex(str_sub(s, i + 1, 2), &byte) || byte == 0) {
                return false;
            }
            c = (char)byte;
            i += 2;
        } else if (form && c == '+') {
            c = ' ';
        }
        out[n++] = c;
    }
    *ret = (struct str){out, n};
    return true;
}

static uint32_t crc_table[256];

__attribute__((constructor)) static void crc_init(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) {
            c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
        }
        crc_table[i] = c;
    }
}

static uint32_t crc_soft(uint32_t crc, const unsigned char *p, size_t n) {
    while (n--) {
        crc = crc_table[(crc ^ *p++) & 255] ^ crc >> 8;
    }
    return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t crc_sse(uint32_t crc, const unsigned char *p,
                                                          size_t n) {
    uint64_t c = crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        c = __builtin_ia32_crc32di(c, v);
    }
    crc = (uint32_t)c;
    while (n--) {
        crc = __builtin_ia32_crc32qi(crc, *p++);
    }
    return crc;
}
#endif

uint32_t enc_crc32c(uint32_t crc, const void *p, size_t n) {
    crc = ~crc;
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2")) {
        return ~crc_sse(crc, p, n);
    }
#endif
    return ~crc_soft(crc, p, n);
}

void enc_varint(struct buf *b, uint64_t v) {
    while (v >= 0x80) {
        buf_putc(b, (char)(v | 0x80));
        v >>= 7;
    }
    buf_putc(b, (char)v);
}

bool enc_unvarint(struct str *s, uint64_t *ret) {
    uint64_t v = 0;
    for (size_t i = 0; i < s->n && i < 10; i++) {
        unsigned char c = (unsigned char)s->p[i];
        if (i == 9 && c > 1) {
            return false;
        }
        v |= (uint64_t)(c & 0x7f) << (7 * i);
        if (!(c & 0x80)) {
            *s = str_sub(*s, i + 1, s->n);
            *ret = v;
            return true;
        }
    }
    return false;
}
