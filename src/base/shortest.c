/* By Raffaele Giulietti's "The Schubfach way to render doubles" (2020): v and the two ends of the
 * interval that reads back as v are scaled by a power of ten, so that the decimals to choose from
 * are neighbouring integers; 126 bits of that power are enough to tell which of them lie inside.
 * The powers are worked out once, from integers, rather than carried as a table. */
#include "base/shortest.h"

#include "base/check.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define POW_MIN (-292)
#define POW_MAX 324
#define WORDS 36 /* of 32 bits: 10^324 has 1,077 bits; 2^1151 / 10^292 still has 181 */
#define WHOLE_MAX 1e15
#define FIXED_DIGITS DBL_DIG /* a number with more digits before its point has an exponent */

/* 10^k, rounded up, times the power of two that makes it 128 bits. */
struct power {
    uint64_t hi, lo;
};
static struct power powers[POW_MAX - POW_MIN + 1];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The 128 highest bits of the number in w, least significant word first; one more when there is
 * something below them, or (is_part) there was. */
static struct power highest(const uint32_t w[static WORDS], bool is_part) {
    int top = WORDS - 1;
    unsigned __int128 v = 0;
    while (!w[top]) {
        top--;
    }
    int zeros = __builtin_clz(w[top]);
    for (int i = 0; i < 4; i++) {
        v = v << 32 | (top - i >= 0 ? w[top - i] : 0);
    }
    if (zeros) {
        v = v << zeros | (top >= 4 ? w[top - 4] >> (32 - zeros) : 0);
    }
    if (top >= 4) {
        is_part = is_part || (zeros ? w[top - 4] << zeros : w[top - 4]) != 0;
    }
    for (int i = 0; i < top - 4; i++) {
        is_part = is_part || w[i];
    }
    v += is_part;
    return (struct power){(uint64_t)(v >> 64), (uint64_t)v};
}

static void make_powers(void) {
    uint32_t up[WORDS] = {1}, down[WORDS] = {0};
    down[WORDS - 1] = 1u << 31;
    for (int k = 0; k <= POW_MAX; k++) {
        uint64_t carry = 0;
        powers[k - POW_MIN] = highest(up, false);
        for (int i = 0; i < WORDS; i++) {
            carry += (uint64_t)up[i] * 10;
            up[i] = (uint32_t)carry;
            carry >>= 32;
        }
    }
    for (int k = -1; k >= POW_MIN;
         k--) { /* no power of two is a multiple of 5: always in between */
        uint64_t rest = 0;
        for (int i = WORDS - 1; i >= 0; i--) {
            rest = rest << 32 | down[i];
            down[i] = (uint32_t)(rest / 10);
            rest %= 10;
        }
        powers[k - POW_MIN] = highest(down, true);
    }
}

/* Exact for all exponents that doubles have. */
static int floor_log10_pow2(int e) {
    return (e * 1262611) >> 22;
}
static int floor_log10_three_quarters_pow2(int e) {
    return (e * 1262611 - 524031) >> 22;
}
static int floor_log2_pow10(int e) {
    return (e * 1741647) >> 19;
}

/* The whole part of g * c / 2^128, its last bit set when something was cut off. */
static uint64_t scaled(struct power g, uint64_t c) {
    unsigned __int128 low = (unsigned __int128)g.lo * c;
    unsigned __int128 v = (unsigned __int128)g.hi * c + (uint64_t)(low >> 64);
    return (uint64_t)(v >> 64) | ((uint64_t)v > 1);
}

/* The decimal as an integer, times 10^*ret_exponent. */
static uint64_t decimal_of(double v, int *ret_exponent) {
    uint64_t bits, mantissa;
    memcpy(&bits, &v, sizeof(bits));
    int e = (int)(bits >> 52);
    mantissa = bits & ((UINT64_C(1) << 52) - 1);
    bool is_power = mantissa == 0 && e > 1; /* the double below it is nearer than the one above */
    if (e) {
        mantissa |= UINT64_C(1) << 52;
    } else {
        e = 1;
    }
    e -= 1075;
    bool is_even = mantissa % 2 == 0; /* then the ends of the interval are read as v too */
    int k = is_power ? floor_log10_three_quarters_pow2(e) : floor_log10_pow2(e);
    int h = e + floor_log2_pow10(-k) + 1;
    struct power g = powers[-k - POW_MIN];
    uint64_t c = mantissa * 4; /* in quarters, as everything below */
    uint64_t mid = scaled(g, c << h);
    uint64_t from = scaled(g, (c - 2 + is_power) << h) + !is_even;
    uint64_t to = scaled(g, (c + 2) << h) - !is_even;
    uint64_t s = mid / 4;
    if (s >= 10) { /* one digit less? */
        uint64_t tens = s / 10;
        bool below = from <= 40 * tens, above = 40 * tens + 40 <= to;
        if (below != above) {
            *ret_exponent = k + 1;
            return tens + above;
        }
    }
    bool below = from <= 4 * s, above = 4 * s + 4 <= to;
    *ret_exponent = k;
    if (below != above) {
        return s + above;
    }
    return s + (mid > 4 * s + 2 || (mid == 4 * s + 2 && s % 2)); /* the nearer, else the even one */
}

size_t shortest_digits(double v, char digits[static SHORTEST_MAX], int *ret_point) {
    char tmp[20];
    size_t i = sizeof(tmp), n;
    int exponent;
    CHECK(isfinite(v) && v > 0);
    pthread_once(&once, make_powers);
    uint64_t d = decimal_of(v, &exponent);
    while (d % 10 == 0) {
        d /= 10;
        exponent++;
    }
    for (; d; d /= 10) {
        tmp[--i] = (char)('0' + d % 10);
    }
    n = sizeof(tmp) - i;
    CHECK(n <= SHORTEST_MAX);
    memcpy(digits, tmp + i, n);
    *ret_point = exponent + (int)n;
    return n;
}

static size_t put_exponent(int e, char *text) {
    unsigned v = (unsigned)(e < 0 ? -e : e);
    size_t n = 0;
    text[n++] = 'e';
    text[n++] = e < 0 ? '-' : '+';
    if (v >= 100) {
        text[n++] = (char)('0' + v / 100);
    }
    text[n++] = (char)('0' + v / 10 % 10);
    text[n++] = (char)('0' + v % 10);
    return n;
}

static size_t put_whole(uint64_t v, char *text) {
    char tmp[20];
    size_t i = sizeof(tmp);
    do {
        tmp[--i] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    memcpy(text, tmp + i, sizeof(tmp) - i);
    return sizeof(tmp) - i;
}

size_t shortest_text(double v, char text[static SHORTEST_TEXT_MAX]) {
    char d[SHORTEST_MAX];
    size_t at = 0;
    int point;
    if (signbit(v)) {
        text[at++] = '-';
        v = -v;
    }
    if (v < WHOLE_MAX && v == trunc(v)) {
        return at + put_whole((uint64_t)v, text + at);
    }
    size_t n = shortest_digits(v, d, &point);
    if (point - 1 < -4 || point - 1 >= (int)(n > FIXED_DIGITS ? n : FIXED_DIGITS)) {
        text[at++] = d[0];
        if (n > 1) {
            text[at++] = '.';
            memcpy(text + at, d + 1, n - 1);
            at += n - 1;
        }
        return at + put_exponent(point - 1, text + at);
    }
    if (point <= 0) {
        memcpy(text + at, "0.000", (size_t)(2 - point));
        at += (size_t)(2 - point);
        point = 0;
    }
    memcpy(text + at, d, (size_t)point); /* whole ones with fewer digits were written above */
    at += (size_t)point;
    if (point > 0 && (size_t)point < n) {
        text[at++] = '.';
    }
    memcpy(text + at, d + point, n - (size_t)point);
    return at + n - (size_t)point;
}

struct number_text number_text(double v) {
    struct number_text n = {{0}};
    if (isfinite(v)) {
        (void)shortest_text(v, n.text);
    } else {
        snprintf(n.text, sizeof(n.text), "%s", isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity");
    }
    return n;
}
