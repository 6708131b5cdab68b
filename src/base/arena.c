/* Bump allocator: a chain of blocks, each twice the last up to a cap. */
#include "base/arena.h"

#include <stdarg.h>

#define BLOCK_FIRST 2048u
#define BLOCK_MAX (256u * 1024u)

struct block {
    struct block *next;
    size_t cap, n;
    _Alignas(16) char data[];
};

struct arena {
    struct block *head; /* newest */
    size_t used, max;
};

static struct block *block_new(size_t cap) {
    struct block *b = xmalloc(sizeof(*b) + cap);
    b->next = NULL;
    b->cap = cap;
    b->n = 0;
    return b;
}

struct arena *arena_new(size_t max_bytes) {
    struct arena *a = xcalloc(1, sizeof(*a));
    a->max = max_bytes;
    return a;
}

void arena_clear(struct arena *a) {
    struct block *b = a->head;
    while (b && b->next) {
        struct block *next = b->next;
        free(b);
        b = next;
    }
    if (b) {
        b->n = 0;
    }
    a->head = b;
    a->used = 0;
}

void arena_free(struct arena *a) {
    if (!a) {
        return;
    }
    arena_clear(a);
    free(a->head);
    free(a);
}

void *arena_alloc(struct arena *a, size_t n) {
    size_t need;
    if (__builtin_add_overflow(n, 15, &need)) {
        return NULL;
    }
    need &= ~(size_t)15;
    if (a->max != ARENA_NO_MAX && (need > a->max || a->used > a->max - need)) {
        return NULL;
    }
    if (!a->head || a->head->cap - a->head->n < need) {
        size_t cap = a->head ? a->head->cap * 2 : BLOCK_FIRST;
        if (cap > BLOCK_MAX) {
            cap = BLOCK_MAX;
        }
        if (cap < need) {
            cap = need;
        }
        struct block *b = block_new(cap);
        b->next = a->head;
        a->head = b;
    }
    void *p = a->head->data + a->head->n;
    a->head->n += need;
    a->used += need;
    memset(p, 0, need);
    return p;
}

void *arena_own(struct arena *a, size_t n) {
    size_t max = a->max;
    a->max = ARENA_NO_MAX;
    void *p = arena_alloc(a, n);
    a->max = max;
    CHECK(p);
    return p;
}

void *arena_own_array(struct arena *a, size_t count, size_t size) {
    size_t n;
    CHECK(!__builtin_mul_overflow(count, size, &n));
    return arena_own(a, n);
}

void *arena_calloc(struct arena *a, size_t count, size_t size) {
    size_t n;
    return __builtin_mul_overflow(count, size, &n) ? NULL : arena_alloc(a, n);
}

void *arena_memdup(struct arena *a, const void *p, size_t n) {
    void *q = arena_alloc(a, n);
    if (q && n) {
        memcpy(q, p, n);
    }
    return q;
}

char *arena_strndup(struct arena *a, const char *p, size_t n) {
    char *q = n == SIZE_MAX ? NULL : arena_alloc(a, n + 1);
    if (q && n) {
        memcpy(q, p, n);
    }
    return q;
}

char *arena_strdup(struct arena *a, const char *s) {
    return s ? arena_strndup(a, s, strlen(s)) : NULL;
}

struct str arena_str(struct arena *a, struct str s) {
    char *p = arena_strndup(a, s.p, s.n);
    return (struct str){p, p ? s.n : 0};
}

char *arena_printf(struct arena *a, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p) {
        vsnprintf(p, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    return p;
}

size_t arena_used(const struct arena *a) {
    return a->used;
}
