/* Binary min-heap. */
#include "base/heap.h"

void heap_init(struct heap *h, bool (*less)(const struct heap_node *, const struct heap_node *)) {
    *h = (struct heap){.less = less};
}

void heap_fini(struct heap *h) {
    free(h->p);
    h->p = NULL;
    h->n = h->cap = 0;
}

static void put_at(struct heap *h, size_t i, struct heap_node *node) {
    h->p[i] = node;
    node->at = i + 1;
}

static void sift_up(struct heap *h, size_t i, struct heap_node *node) {
    while (i > 0 && h->less(node, h->p[(i - 1) / 2])) {
        put_at(h, i, h->p[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    put_at(h, i, node);
}

static void sift_down(struct heap *h, size_t i, struct heap_node *node) {
    for (;;) {
        size_t kid = 2 * i + 1;
        if (kid >= h->n) {
            break;
        }
        if (kid + 1 < h->n && h->less(h->p[kid + 1], h->p[kid])) {
            kid++;
        }
        if (!h->less(h->p[kid], node)) {
            break;
        }
        put_at(h, i, h->p[kid]);
        i = kid;
    }
    put_at(h, i, node);
}

void heap_push(struct heap *h, struct heap_node *node) {
    CHECK(node->at == 0);
    if (h->n == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 16;
        h->p = xrealloc_array(h->p, h->cap, sizeof(*h->p));
    }
    sift_up(h, h->n++, node);
}

void heap_remove(struct heap *h, struct heap_node *node) {
    if (!node->at) {
        return;
    }
    size_t i = node->at - 1;
    CHECK(i < h->n && h->p[i] == node);
    struct heap_node *last = h->p[--h->n];
    node->at = 0;
    if (last == node) {
        return;
    }
    if (i > 0 && h->less(last, h->p[(i - 1) / 2])) {
        sift_up(h, i, last);
    } else {
        sift_down(h, i, last);
    }
}
