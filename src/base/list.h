/* Intrusive doubly linked list. A node lives inside its object; an unlinked node points to itself
 * after list_init / list_del, so list_del twice is harmless. */
#ifndef CUSP_BASE_LIST_H
#define CUSP_BASE_LIST_H

#include "base/check.h"

struct list {
    struct list *prev, *next;
};

static inline void list_init(struct list *l) {
    l->prev = l->next = l;
}
static inline bool list_is_empty(const struct list *l) {
    return l->next == l;
}
static inline void list_insert_before(struct list *at, struct list *node) {
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}
static inline void list_push_tail(struct list *head, struct list *node) {
    list_insert_before(head, node);
}
static inline void list_push_head(struct list *head, struct list *node) {
    list_insert_before(head->next, node);
}
static inline void list_del(struct list *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}
/* Moves all of one list to the tail of another. */
static inline void list_move_all(struct list *from, struct list *to) {
    while (!list_is_empty(from)) {
        struct list *node = from->next;
        list_del(node);
        list_push_tail(to, node);
    }
}
#define list_entry(ptr, type, member) CONTAINER_OF(ptr, type, member)
#define list_first(head, type, member) list_entry((head)->next, type, member)
/* The head lies in no element: its place is computed, never looked at as one (it may not even be
 * aligned as an element is). */
#define list_link_(var, member)                                                                    \
    ((struct list *)(void *)((char *)(var) + offsetof(__typeof__(*(var)), member)))
#define list_each(var, head, member)                                                               \
    for (var = list_entry((head)->next, __typeof__(*var), member);                                 \
         list_link_(var, member) != (head);                                                        \
         var = list_entry(list_link_(var, member)->next, __typeof__(*var), member))
#define list_each_safe(var, tmp, head, member)                                                     \
    for (var = list_entry((head)->next, __typeof__(*var), member),                                 \
        tmp = list_entry(list_link_(var, member)->next, __typeof__(*var), member);                 \
         list_link_(var, member) != (head);                                                        \
         var = tmp, tmp = list_entry(list_link_(tmp, member)->next, __typeof__(*tmp), member))

#endif
