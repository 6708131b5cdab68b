/* The waiting line: (class, submit time, id), first in, first out within a class. A sorted array,
 * so that a position is a binary search and taking the head is free; a removal in the middle moves
 * pointers, which for a hundred thousand waiting jobs is some tens of microseconds. */
#ifndef CUSP_CTL_QUEUE_H
#define CUSP_CTL_QUEUE_H

#include "base/time.h"

struct queue_node {
    unsigned klass;   /* lower goes first */
    usec_t submitted; /* create time: a retried job keeps its place */
    uint64_t id;      /* breaks ties, so that the order is the same after a restart */
    bool queued;
};

struct queue {
    struct queue_node **p;
    size_t head, n, cap; /* waiting: p[head .. head + n) */
};

void queue_fini(struct queue *q); /* nodes untouched */
/* The keys must not change while queued. */
void queue_insert(struct queue *q, struct queue_node *node);
void queue_remove(struct queue *q, struct queue_node *node); /* no-op when not queued */
/* i-th from the front, NULL past the end. */
struct queue_node *queue_at(const struct queue *q, size_t i);
/* From 1; 0 when not queued. */
size_t queue_position(const struct queue *q, const struct queue_node *node);

#endif
