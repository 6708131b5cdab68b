/* See cache.h. A row is one block of memory: the struct, its labels, then all bytes. */
#include "store/cache.h"

#include "base/map.h"
#include "store/row.h"

struct entry {
    struct list lru; /* head: most recent */
    size_t size;
    struct store_row row;
    _Alignas(16) char bytes[];
};

struct cache {
    struct map by_name;
    struct list lru;
    size_t used, max;
};

struct cache *cache_new(size_t max_bytes) {
    struct cache *c = xcalloc(1, sizeof(*c));
    map_init(&c->by_name);
    list_init(&c->lru);
    c->max = max_bytes;
    return c;
}

static void entry_drop(struct cache *c, struct entry *e) {
    struct entry *was = map_del(&c->by_name, e->row.name);
    CHECK(was == e);
    list_del(&e->lru);
    c->used -= e->size;
    free(e);
}

void cache_free(struct cache *c) {
    while (c && !list_is_empty(&c->lru)) {
        entry_drop(c, list_first(&c->lru, struct entry, lru));
    }
    if (c) {
        map_fini(&c->by_name);
    }
    free(c);
}

const struct store_row *cache_get(struct cache *c, struct str name) {
    struct entry *e = map_get(&c->by_name, name);
    if (!e) {
        return NULL;
    }
    list_del(&e->lru);
    list_push_head(&c->lru, &e->lru);
    return &e->row;
}

static void pack(char **at, struct str *s) {
    if (s->n) {
        memcpy(*at, s->p, s->n);
    }
    s->p = *at;
    *at += s->n;
}

static struct entry *entry_new(const struct store_row *row, size_t row_size) {
    struct entry *e = xmalloc(sizeof(*e) + row_size);
    /* The key's copy and slot in the map count as well, roughly. */
    *e = (struct entry){.size = sizeof(*e) + row_size + row->name.n + 64, .row = *row};
    struct store_row *r = &e->row;
    r->labels = (struct store_label *)(void *)e->bytes;
    char *at = e->bytes + row->nr_labels * sizeof(*r->labels);
    for (size_t i = 0; i < row->nr_labels; i++) {
        r->labels[i] = row->labels[i];
        pack(&at, &r->labels[i].key);
        pack(&at, &r->labels[i].value);
    }
    struct str *all[] = {&r->name,  &r->kind, &r->parent, &r->display_name,
                         &r->state, &r->spec, &r->status};
    for (size_t i = 0; i < NR_OF(all); i++) {
        pack(&at, all[i]);
    }
    return e;
}

void cache_put(struct cache *c, const struct store_row *row) {
    struct entry *old = map_get(&c->by_name, row->name);
    size_t size = store_row_size(row);
    struct entry *e = size > c->max / 8 ? NULL : entry_new(row, size);
    if (old) {
        entry_drop(c, old); /* after the copy: row may look into it */
    }
    if (!e) {
        return;
    }
    map_put(&c->by_name, e->row.name, e);
    list_push_head(&c->lru, &e->lru);
    c->used += e->size;
    while (c->used > c->max) {
        entry_drop(c, list_entry(c->lru.prev, struct entry, lru));
    }
}

void cache_update(struct cache *c, const struct store_row *change) {
    struct entry *e = map_get(&c->by_name, change->name);
    if (!e) {
        return;
    }
    struct store_row row = e->row;
    row.state = change->state;
    row.status = change->status;
    row.update_time = change->update_time;
    row.is_live = change->is_live;
    cache_put(c, &row);
}

void cache_replace(struct cache *c, const struct store_row *change) {
    struct entry *e = map_get(&c->by_name, change->name);
    if (!e) {
        return;
    }
    struct store_row row = *change;
    row.kind = e->row.kind;
    row.parent = e->row.parent;
    row.create_time = e->row.create_time;
    cache_put(c, &row);
}

void cache_del(struct cache *c, struct str name) {
    struct entry *e = map_get(&c->by_name, name);
    if (e) {
        entry_drop(c, e);
    }
}

size_t cache_count(const struct cache *c) {
    return c->by_name.n;
}
