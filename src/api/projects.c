/* Project ids by number. */
#include "api/projects.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/project.h"

#define KNOWN_MAX 10000 /* ids kept in memory; past it a number is its own id */

struct project {
    usec_t since; /* first seen, 0: not known */
    char id[];
};

struct projects {
    struct store *store;
    struct clock *clock;
    struct map known; /* decimal number -> struct project, owned */
    struct store_kv_scan scan;
    struct arena *arena;
    void (*loaded)(void *arg, const struct err *err);
    void *arg;
};

struct remember {
    struct store_txn txn;
};

static struct project *project_new(struct str id, usec_t since) {
    struct project *p = xmalloc(sizeof(*p) + id.n + 1);
    p->since = since;
    memcpy(p->id, id.p, id.n);
    p->id[id.n] = 0;
    return p;
}

/* The stored form: "ID" or "ID SINCE"; ids hold no spaces. */
static struct project *project_read(struct str text) {
    uint64_t since = 0;
    struct str id = str_cut(&text, ' ');
    (void)str_to_u64(text, &since);
    return project_new(id, (usec_t)since);
}

struct projects *projects_new(struct store *st, struct clock *clock) {
    struct projects *p = xcalloc(1, sizeof(*p));
    p->store = st;
    p->clock = clock;
    map_init(&p->known);
    return p;
}

void projects_free(struct projects *p) {
    if (!p) {
        return;
    }
    size_t it = 0;
    const struct map_slot *s;
    while ((s = map_next(&p->known, &it))) {
        free(s->value);
    }
    map_fini(&p->known);
    arena_free(p->arena);
    free(p);
}

static void on_scan(struct store_kv_scan *scan, const struct store_kv_pair *pair, size_t n,
                    const struct err *err) {
    struct projects *p = scan->arg;
    for (size_t i = 0; i < n; i++) {
        free(map_put(&p->known, pair[i].key, project_read(pair[i].value)));
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
    const struct project *known = map_get(&p->known, k);
    if ((known && !str_eqc(k, known->id)) || p->known.n >= KNOWN_MAX) {
        return number; /* its own number stands for an id not learned yet */
    }
    usec_t now = p->clock->ops->wall(p->clock);
    char value[128];
    CHECK(id.n < 64); /* name_is_project */
    int n = snprintf(value, sizeof(value), "%.*s %llu", STR_ARG(id), (unsigned long long)now);
    free(map_put(&p->known, k, project_new(id, now)));
    struct remember *r = xcalloc(1, sizeof(*r));
    store_txn_init(&r->txn, on_remembered, r);
    store_txn_kv(&r->txn, "project", k, str_n(value, (size_t)n));
    p->store->ops->commit(p->store, &r->txn);
    return number;
}

static const struct project *by_number(const struct projects *p, uint64_t number) {
    char key[24];
    int n = snprintf(key, sizeof(key), "%llu", (unsigned long long)number);
    return map_get(&p->known, str_n(key, (size_t)n));
}

char *projects_id(const struct projects *p, struct arena *a, uint64_t number) {
    const struct project *known = by_number(p, number);
    return known ? arena_strdup(a, known->id) : arena_printf(a, "%llu", (unsigned long long)number);
}

usec_t projects_since(const struct projects *p, uint64_t number) {
    const struct project *known = by_number(p, number);
    return known ? known->since : 0;
}
