/* The waiting line. */
#include "ctl/queue.h"

static int node_cmp(const struct queue_node *a, const struct queue_node *b) {
    if (a->klass != b->klass) {
        return a->klass < b->klass ? -1 : 1;
    }
    if (a->submitted != b->submitted) {
        return a->submitted < b->submitted ? -1 : 1;
    }
    return a->id < b->id ? -1 : a->id > b->id;
}

/* Index (from head) of the first node that is not before the key. */
static size_t lower_bound(const struct queue *q, const struct queue_node *key) {
    size_t lo = 0, hi = q->n;
    if (q->n && node_cmp(q->p[q->head + q->n - 1], key) < 0) {
        return q->n; /* the usual case: newer than everything */
    }
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (node_cmp(q->p[q->head + mid], key) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

void queue_fini(struct queue *q) {
    free(q->p);
    *q = (struct queue){0};
}

/* Room for one more at the end: first by moving down over the taken front, when that is large. */
static void make_room(struct queue *q) {
    if (q->head + q->n < q->cap) {
        return;
    }
    if (q->head > q->cap / 2) {
        memmove(q->p, q->p + q->head, q->n * sizeof(*q->p));
        q->head = 0;
        return;
    }
    q->cap = q->cap ? q->cap * 2 : 64;
    q->p = xrealloc_array(q->p, q->cap, sizeof(*q->p));
}

void queue_insert(struct queue *q, struct queue_node *node) {
    CHECK(!node->queued);
    make_room(q);
    size_t at = lower_bound(q, node);
    if (at == 0 && q->head > 0) {
        q->head--;
    } else {
        struct queue_node **from = q->p + q->head + at;
        memmove(from + 1, from, (q->n - at) * sizeof(*from));
    }
    q->p[q->head + at] = node;
    q->n++;
    node->queued = true;
}

void queue_remove(struct queue *q, struct queue_node *node) {
    if (!node->queued) {
        return;
    }
    size_t at = lower_bound(q, node);
    CHECK(at < q->n && q->p[q->head + at] == node);
    if (at == 0) {
        q->head++;
    } else {
        struct queue_node **to = q->p + q->head + at;
        memmove(to, to + 1, (q->n - at - 1) * sizeof(*to));
    }
    q->n--;
    node->queued = false;
}

struct queue_node *queue_at(const struct queue *q, size_t i) {
    return i < q->n ? q->p[q->head + i] : NULL;
}

size_t queue_position(const struct queue *q, const struct queue_node *node) {
    return node->queued ? lower_bound(q, node) + 1 : 0;
}
