/* Growable typed arrays. `struct vec_of(int) v = {0};` items at v.p[0..v.n). Owner frees with
 * vec_fini. Growth is amortised; items move, so keep indexes, not pointers. */
#ifndef CUSP_BASE_VEC_H
#define CUSP_BASE_VEC_H

#include "base/mem.h"

#define VEC_OF(type)                                                                               \
    struct {                                                                                       \
        type *p;                                                                                   \
        size_t n, cap;                                                                             \
    }
#define vec_push(v, item)                                                                          \
    do {                                                                                           \
        if ((v)->n == (v)->cap) {                                                                  \
            (v)->cap = (v)->cap ? (v)->cap * 2 : 8;                                                \
            (v)->p = xrealloc_array((v)->p, (v)->cap, sizeof(*(v)->p));                            \
        }                                                                                          \
        (v)->p[(v)->n++] = (item);                                                                 \
    } while (0)
/* Removes index i keeping order. */
#define vec_remove(v, i)                                                                           \
    do {                                                                                           \
        size_t vec_i_ = (i);                                                                       \
        CHECK(vec_i_ < (v)->n);                                                                    \
        memmove((v)->p + vec_i_, (v)->p + vec_i_ + 1, ((v)->n - vec_i_ - 1) * sizeof(*(v)->p));    \
        (v)->n--;                                                                                  \
    } while (0)
#define vec_fini(v)                                                                                \
    do {                                                                                           \
        free((v)->p);                                                                              \
        (v)->p = NULL;                                                                             \
        (v)->n = (v)->cap = 0;                                                                     \
    } while (0)

#endif
