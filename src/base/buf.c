/* Growable bytes with a maximum. */
#include "base/buf.h"

#include <stdarg.h>

void buf_init(struct buf *b, size_t max) {
    *b = BUF_INIT(max);
}

void buf_fini(struct buf *b) {
    free(b->p);
    *b = BUF_INIT(b->max);
}

void buf_clear(struct buf *b) {
    b->n = 0;
    b->full = false;
    if (b->p) {
        b->p[0] = 0;
    }
}

char *buf_reserve(struct buf *b, size_t n) {
    size_t need;
    if (b->full || __builtin_add_overflow(b->n, n, &need) || need > b->max) {
        b->full = true;
        return NULL;
    }
    if (!b->p || need + 1 > b->cap) {
        size_t cap = b->cap ? b->cap : 64;
        while (cap < need + 1) {
            cap *= 2;
        }
        b->p = xrealloc(b->p, cap);
        b->cap = cap;
    }
    return b->p + b->n;
}

void buf_commit(struct buf *b, size_t n) {
    CHECK(b->p && b->n + n < b->cap);
    b->n += n;
    b->p[b->n] = 0;
}

int buf_put_growing(struct buf *b, const void *p, size_t n) {
    char *to = buf_reserve(b, n);
    if (!to) {
        return -1;
    }
    if (n) {
        memcpy(to, p, n);
    }
    buf_commit(b, n);
    return 0;
}

int buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap, again;
    char tmp[256];
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(tmp, sizeof(tmp), fmt, ap);
    va_end(ap);
    int rc = -1;
    if (n >= 0 && (size_t)n < sizeof(tmp)) {
        rc = buf_put(b, tmp, (size_t)n);
    } else if (n >= 0) {
        char *to = buf_reserve(b, (size_t)n);
        if (to) {
            vsnprintf(to, (size_t)n + 1, fmt, again);
            buf_commit(b, (size_t)n);
            rc = 0;
        }
    }
    va_end(again);
    return rc;
}

/* Decimal digits up to end; returns where they begin. */
static char *digits_of(char *end, uint64_t v) {
    do {
        *--end = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    return end;
}

int buf_put_u64(struct buf *b, uint64_t v) {
    char tmp[20], *end = tmp + sizeof(tmp), *p = digits_of(end, v);
    return buf_put(b, p, (size_t)(end - p));
}

int buf_put_i64(struct buf *b, int64_t v) {
    char tmp[20], *end = tmp + sizeof(tmp);
    char *p = digits_of(end, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
    if (v < 0) {
        *--p = '-'; /* 19 digits at most, so there is room */
    }
    return buf_put(b, p, (size_t)(end - p));
}

void buf_consume(struct buf *b, size_t n) {
    CHECK(n <= b->n);
    if (n) {
        memmove(b->p, b->p + n, b->n - n);
        b->n -= n;
        b->p[b->n] = 0;
    }
}

char *buf_take(struct buf *b, size_t *ret_n) {
    char *p = b->p ? b->p : xstrdup("");
    if (ret_n) {
        *ret_n = b->n;
    }
    *b = BUF_INIT(b->max);
    return p;
}

const char *buf_cstr(struct buf *b) {
    return b->p ? b->p : "";
}
