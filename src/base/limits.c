/* Named limits and their rejection counters. */
#include "base/limits.h"

#include <stdatomic.h>

struct limits limits = {
#define X(name, def, what) .name = (def),
    LIMITS(X)
#undef X
};

static const struct {
    const char *name, *what;
    uint64_t *value;
} table[] = {
#define X(name, def, what) {#name, what, &limits.name},
    LIMITS(X)
#undef X
};

static atomic_ullong rejections[NR_OF(table)];

bool limits_set(const char *name, uint64_t value) {
    for (size_t i = 0; i < NR_OF(table); i++) {
        if (strcmp(table[i].name, name) == 0) {
            *table[i].value = value;
            return true;
        }
    }
    return false;
}

void limits_list(struct limit_info out[LIMITS_COUNT]) {
    for (size_t i = 0; i < NR_OF(table); i++) {
        out[i] = (struct limit_info){table[i].name, table[i].what, *table[i].value,
                                     atomic_load(&rejections[i])};
    }
}

void limits_hit(const uint64_t *which) {
    for (size_t i = 0; i < NR_OF(table); i++) {
        if (table[i].value == which) {
            atomic_fetch_add(&rejections[i], 1);
        }
    }
}
