/* Project ids by number. */
#include "api/projects.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/project.h"

#define KNOWN_MAX 10000 /* ids kept in memory; past it a number is its own id */

struct projects {
    struct store *store;
    struct map ids; /* decimal number -> char * id */
    struct store_kv_scan scan;
    struct arena *arena;
    void (*loaded)(void *arg, const struct err *err);
    void *arg;
};

struct remember {
    struct store_txn txn;
};

struct projects *projects_new(struct store *st) {
    struct projects *p = xcalloc(1, sizeof(*p));
    p->store = st;
    map_init(&p->ids);
    return p;
}

void projects_free(struct projects *p) {
    if (!p) {
        return;
    }
    size_t it = 0;
    const struct map_slot *s;
    while ((s = map_next(&p->ids, &it))) {
        free(s->value);
    }
    map_fini(&p->ids);
    arena_free(p->arena);
    free(p);
}

static void on_scan(struct store_kv_scan *scan, const struct store_kv_pair *pair, size_t n,
                    const struct err *err) {
    struct projects *p = scan->arg;
    for (size_t i = 0; i < n; i++) {
        free(map_put(&p->ids, pair[i].key, str_dup(pair[i].value)));
    }
    arena_free(p->arena);
    p->arena = NULL;
    p->loaded(p->arg, err);
}

void projects_load(struct projects *p, void (*cb)(void *arg, const struct err *err), void *arg) {
    p->loaded = cb;
    p->arg = arg;
    p->arena = arena_new(ARENA_NO_MAX);
    p->scan = (struct store_kv_scan){
        .space = "project", .max = KNOWN_MAX, .arena = p->arena, .cb = on_scan, .arg = p};
    p->store->ops->kv_scan(p->store, &p->scan);
}

static void on_remembered(struct store_txn *t, const struct err *err) {
    struct remember *r = t->arg;
    if (err) {
        log_warn("project id not remembered", "error=\"%s\"", err->msg);
    }
    store_txn_fini(&r->txn);
    free(r);
}

uint64_t projects_number(struct projects *p, struct str id) {
    uint64_t number = project_number(id), plain;
    char key[24];
    struct str k =
        str_n(key, (size_t)snprintf(key, sizeof(key), "%llu", (unsigned long long)number));
    if (str_to_u64(id, &plain)) {
        return number;
    }
    char *known = map_get(&p->ids, k);
    if ((known && !str_eqc(k, known)) || p->ids.n >= KNOWN_MAX) {
        return number; /* its own number stands for an id not learned yet */
    }
    free(map_put(&p->ids, k, str_dup(id)));
    struct remember *r = xcalloc(1, sizeof(*r));
    store_txn_init(&r->txn, on_remembered, r);
    store_txn_kv(&r->txn, "project", k, id);
    p->store->ops->commit(p->store, &r->txn);
    return number;
}

const char *projects_id(struct projects *p, uint64_t number) {
    char key[24];
    struct str k =
        str_n(key, (size_t)snprintf(key, sizeof(key), "%llu", (unsigned long long)number));
    char *id = map_get(&p->ids, k);
    if (!id) {
        id = str_dup(k);
        map_put(&p->ids, k, id);
    }
    return id;
}
