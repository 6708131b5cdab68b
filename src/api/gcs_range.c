/* Range, Content-Range and x-goog-hash. */
#include "api/gcs_range.h"

#include "base/buf.h"
#include "base/enc.h"

enum range_kind range_parse(struct str h, uint64_t size, uint64_t *ret_first, uint64_t *ret_n) {
    *ret_first = 0;
    *ret_n = size;
    h = str_trim(h);
    if (h.n < 6 || !str_ieq(str_sub(h, 0, 6), STR("bytes=")) || str_chr(h, ',') >= 0) {
        return RANGE_WHOLE;
    }
    struct str last = str_trim(str_sub(h, 6, h.n));
    struct str first = str_cut(&last, '-');
    uint64_t a, b;
    if (!last.p) {
        return RANGE_WHOLE;
    }
    if (first.n == 0) { /* the last b bytes */
        if (!str_to_u64(last, &b)) {
            return RANGE_WHOLE;
        }
        if (b == 0 || size == 0) {
            return RANGE_UNSATISFIABLE;
        }
        *ret_n = b < size ? b : size;
        *ret_first = size - *ret_n;
        return RANGE_PART;
    }
    if (!str_to_u64(first, &a)) {
        return RANGE_WHOLE;
    }
    if (last.n == 0) {
        b = UINT64_MAX;
    } else if (!str_to_u64(last, &b) || b < a) {
        return RANGE_WHOLE;
    }
    if (a >= size) {
        return RANGE_UNSATISFIABLE;
    }
    *ret_first = a;
    *ret_n = (b < size ? b : size - 1) - a + 1;
    return RANGE_PART;
}

bool content_range_parse(struct str h, struct content_range *ret) {
    struct content_range c = {0};
    h = str_trim(h);
    if (h.n < 6 || !str_ieq(str_sub(h, 0, 6), STR("bytes "))) {
        return false;
    }
    struct str total = str_trim(str_sub(h, 6, h.n));
    struct str part = str_cut(&total, '/');
    if (!total.p) {
        return false;
    }
    if (!str_eqc(total, "*")) {
        if (!str_to_u64(total, &c.total)) {
            return false;
        }
        c.has_total = true;
    }
    if (str_eqc(part, "*")) {
        c.is_query = true;
        *ret = c;
        return true;
    }
    struct str last = part;
    struct str first = str_cut(&last, '-');
    if (!last.p || !str_to_u64(first, &c.first)) {
        return false;
    }
    if (!str_eqc(last, "*")) {
        if (!str_to_u64(last, &c.last) || c.last == UINT64_MAX || c.last < c.first) {
            return false;
        }
        c.has_last = true;
    }
    if (c.has_total && (c.first > c.total || (c.has_last && c.last >= c.total))) {
        return false;
    }
    *ret = c;
    return true;
}

bool hash_from_base64(struct str s, uint8_t *out, size_t n) {
    auto_buf struct buf b = BUF_INIT(64);
    if (s.n > 64 || !enc_unbase64(s, &b) || b.n != n) {
        return false;
    }
    memcpy(out, b.p, n);
    return true;
}

bool goog_hash_parse(struct str h, struct goog_hash *ret) {
    *ret = (struct goog_hash){0};
    while (h.p && h.n) {
        struct str one = str_trim(str_cut(&h, ','));
        if (str_starts(one, STR("md5="))) {
            if (!hash_from_base64(str_sub(one, 4, one.n), ret->md5, 16)) {
                return false;
            }
            ret->has_md5 = true;
        } else if (str_starts(one, STR("crc32c="))) {
            uint8_t b[4];
            if (!hash_from_base64(str_sub(one, 7, one.n), b, 4)) {
                return false;
            }
            ret->crc32c = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
            ret->has_crc32c = true;
        }
    }
    return true;
}
