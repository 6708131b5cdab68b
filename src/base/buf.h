/* struct buf: growable bytes with a maximum.
 *
 * Invariants: n <= cap, n <= max. p[n] is always 0 once something was put, so p can be used as a C
 * string when the content has no NUL. After a put was refused for size, `full` stays set and later
 * puts are refused too, so a chain of puts needs one check at the end.
 * Life cycle: buf_init (or BUF_INIT(max)) ... buf_fini; buf_take gives the bytes away. */
#ifndef CUSP_BASE_BUF_H
#define CUSP_BASE_BUF_H

#include "base/mem.h"

struct buf {
    char *p;
    size_t n, cap, max;
    bool full;
};

#define BUF_INIT(maximum) ((struct buf){.max = (maximum)})
#define BUF_NO_MAX ((size_t)1 << 40) /* only for content we make ourselves */

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);
void buf_clear(struct buf *b); /* empty, memory kept, `full` reset */
int buf_put_growing(struct buf *b, const void *p, size_t n);
/* 0, or -1 when the content would pass max (nothing is added then). Inline: an answer of 1.5 KB as
 * JSON is some 400 puts, and nearly all of them fit. */
static inline int buf_put(struct buf *b, const void *p, size_t n) {
    if (b->full || n >= b->cap - b->n || n > b->max - b->n || !n) {
        return buf_put_growing(b, p, n);
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
    return 0;
}
static inline int buf_puts(struct buf *b, const char *s) {
    return buf_put(b, s, strlen(s));
}
static inline int buf_put_str(struct buf *b, struct str s) {
    return buf_put(b, s.p, s.n);
}
static inline int buf_putc(struct buf *b, char c) {
    return buf_put(b, &c, 1);
}
int buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
int buf_put_u64(struct buf *b, uint64_t v); /* decimal; a tenth of what printf costs */
int buf_put_i64(struct buf *b, int64_t v);
/* Room for n more bytes: pointer to write at, then buf_commit(written). NULL past max. */
char *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
/* Drops n bytes from the front (memmove). */
void buf_consume(struct buf *b, size_t n);
/* Owned, terminated bytes; the buffer is empty afterwards. Never NULL. */
char *buf_take(struct buf *b, size_t *ret_n);
static inline struct str buf_str(const struct buf *b) {
    return (struct str){b->p, b->n};
}
const char *buf_cstr(struct buf *b); /* "" when empty */

#define auto_buf __attribute__((cleanup(buf_fini)))

#endif
