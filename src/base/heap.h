/* Intrusive binary min-heap. A node remembers its place, so removal is O(log n). */
#ifndef CUSP_BASE_HEAP_H
#define CUSP_BASE_HEAP_H

#include "base/mem.h"

struct heap_node {
    size_t at; /* index + 1; 0 = not in a heap */
};

struct heap {
    struct heap_node **p;
    size_t n, cap;
    bool (*less)(const struct heap_node *a, const struct heap_node *b);
};

void heap_init(struct heap *h, bool (*less)(const struct heap_node *, const struct heap_node *));
void heap_fini(struct heap *h);                           /* nodes untouched */
void heap_push(struct heap *h, struct heap_node *node);   /* node must not be in a heap */
void heap_remove(struct heap *h, struct heap_node *node); /* no-op when not in the heap */
static inline struct heap_node *heap_top(const struct heap *h) {
    return h->n ? h->p[0] : NULL;
}

#endif
