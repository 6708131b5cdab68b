/* Open-addressing hash map, linear probing, backward-shift deletion. */
#include "base/map.h"
#include "base/mem.h"

#include <sys/random.h>

static uint64_t mix(uint64_t h) {
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

/* Eight bytes a step: names are some 65 bytes long, and a request looks several up. */
static uint64_t hash_key(const struct map *m, struct str key) {
    uint64_t h = m->seed ^ key.n, v;
    size_t i = 0;
    for (; key.n - i >= sizeof(v); i += sizeof(v)) {
        memcpy(&v, key.p + i, sizeof(v));
        h = mix(h ^ v);
    }
    for (v = 0; i < key.n; i++) {
        v = v << 8 | (unsigned char)key.p[i];
    }
    return mix(mix(h ^ v));
}

void map_init(struct map *m) {
    *m = (struct map){0};
}

/* With the first key: most maps never have one. */
static void choose_seed(struct map *m) {
    if (getrandom(&m->seed, sizeof(m->seed), GRND_NONBLOCK) != sizeof(m->seed)) {
        m->seed = (uint64_t)(uintptr_t)m * 0x9e3779b97f4a7c15u;
    }
}

void map_fini(struct map *m) {
    for (size_t i = 0; i < m->cap; i++) {
        free(m->slots[i].key);
    }
    free(m->slots);
    *m = (struct map){0};
}

static struct map_slot *find(const struct map *m, struct str key, uint64_t hash) {
    size_t i = hash & (m->cap - 1);
    while (m->slots[i].key) {
        struct map_slot *s = &m->slots[i];
        if (s->hash == hash && s->key_n == key.n && memcmp(s->key, key.p, key.n) == 0) {
            return s;
        }
        i = (i + 1) & (m->cap - 1);
    }
    return &m->slots[i];
}

static void grow(struct map *m) {
    struct map_slot *old = m->slots;
    size_t old_cap = m->cap;
    if (!old_cap) {
        choose_seed(m);
    }
    m->cap = old_cap ? old_cap * 2 : 16;
    m->slots = xcalloc(m->cap, sizeof(*m->slots));
    for (size_t i = 0; i < old_cap; i++) {
        if (old[i].key) {
            *find(m, str_n(old[i].key, old[i].key_n), old[i].hash) = old[i];
        }
    }
    free(old);
}

void *map_get(const struct map *m, struct str key) {
    if (!m->cap) {
        return NULL;
    }
    struct map_slot *s = find(m, key, hash_key(m, key));
    return s->key ? s->value : NULL;
}

void *map_put(struct map *m, struct str key, void *value) {
    CHECK(value);
    if (m->n * 4 >= m->cap * 3) {
        grow(m);
    }
    uint64_t hash = hash_key(m, key);
    struct map_slot *s = find(m, key, hash);
    if (s->key) {
        void *old = s->value;
        s->value = value;
        return old;
    }
    *s = (struct map_slot){str_dup(key), key.n, hash, value};
    m->n++;
    return NULL;
}

void *map_del(struct map *m, struct str key) {
    if (!m->cap) {
        return NULL;
    }
    struct map_slot *s = find(m, key, hash_key(m, key));
    if (!s->key) {
        return NULL;
    }
    void *value = s->value;
    free(s->key);
    size_t hole = (size_t)(s - m->slots), i = hole;
    for (;;) {
        i = (i + 1) & (m->cap - 1);
        if (!m->slots[i].key) {
            break;
        }
        size_t home = m->slots[i].hash & (m->cap - 1);
        if (((i - home) & (m->cap - 1)) >= ((i - hole) & (m->cap - 1))) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct map_slot){0};
    m->n--;
    return value;
}

const struct map_slot *map_next(const struct map *m, size_t *it) {
    while (*it < m->cap) {
        const struct map_slot *s = &m->slots[(*it)++];
        if (s->key) {
            return s;
        }
    }
    return NULL;
}
