/* Hash map from byte strings to pointers. Keys are copied; values are borrowed (the owner frees
 * them). Hash is seeded per map, so keys from outside are fine. Iteration order is unspecified. */
#ifndef CUSP_BASE_MAP_H
#define CUSP_BASE_MAP_H

#include "base/str.h"

struct map_slot {
    char *key; /* NULL: empty, owned, terminated */
    size_t key_n;
    uint64_t hash;
    void *value;
};

struct map {
    struct map_slot *slots;
    size_t cap; /* 0 or a power of two */
    size_t n;
    uint64_t seed;
};

void map_init(struct map *m);
void map_fini(struct map *m);                       /* values untouched */
void *map_get(const struct map *m, struct str key); /* NULL when absent */
void *map_put(struct map *m, struct str key,
              void *value);                   /* value != NULL; returns the old one or NULL */
void *map_del(struct map *m, struct str key); /* returns the value or NULL */
/* Iterate: size_t it = 0; while ((slot = map_next(m, &it))). No changes while iterating. */
const struct map_slot *map_next(const struct map *m, size_t *it);

#endif
