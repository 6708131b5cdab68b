/* A tuning job and its trials for somebody who looks: live ones from memory, ended ones from their
 * events. */
#include "ctl/tuning_int.h"

struct read_priv {
    struct ctl *c;
    struct arena *arena;
    struct store_row row; /* from the get on; what it views is in the arena */
    struct store_get *get;
    struct store_events *events;
};
_Static_assert(sizeof(struct read_priv) <= sizeof(((struct tuning_read *)0)->priv), "priv");

static struct read_priv *priv(struct tuning_read *r) {
    return (struct read_priv *)(void *)r->priv;
}

static void answer(struct tuning_read *r, const struct store_row *row, const struct tuning *t,
                   const struct err *err) {
    struct arena *a = priv(r)->arena;
    r->cb(r, row, t ? &t->status : NULL, t ? t->study : NULL, err);
    arena_free(a); /* r may be gone */
}

static void on_events(struct store_events *e, const struct store_event *ev, size_t n,
                      const struct err *err) {
    struct tuning_read *r = e->arg;
    struct ctl *c = priv(r)->c;
    const struct store_row *row = &priv(r)->row;
    struct tuning_spec spec = {0};
    struct err e2 = {0};
    ctl_enter(c);
    c->nr_in_flight--;
    if (err) {
        answer(r, NULL, NULL, err);
    } else {
        struct arena *a = arena_new(ARENA_NO_MAX);
        if (c->cfg.tunings->decode(c->cfg.tunings_arg, a, row, &spec, &e2) != 0) {
            arena_free(a);
            answer(r, NULL, NULL, &e2);
        } else {
            struct tuning *t = tuning_new(c, a, &spec, row->create_time);
            bool ok = tuning_replay(t, ev, n, &e2) == 0;
            answer(r, ok ? row : NULL, ok ? t : NULL, ok ? NULL : &e2);
            tuning_free(t);
        }
    }
    ctl_leave(c);
}

static void on_row(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct tuning_read *r = g->arg;
    struct read_priv *p = priv(r);
    struct ctl *c = p->c;
    ctl_enter(c);
    c->nr_in_flight--;
    const struct tuning *t = tuning_find(c, r->name);
    if (err || !row) {
        answer(r, NULL, NULL, err && err->code != ERR_NOT_FOUND ? err : NULL);
    } else if (t && !t->base.creation) {
        answer(r, row, t, NULL);
    } else {
        p->row = *row;
        *p->events =
            (struct store_events){.owner = row->name, .arena = p->arena, .cb = on_events, .arg = r};
        c->nr_in_flight++;
        c->cfg.store->ops->events(c->cfg.store, p->events);
    }
    ctl_leave(c);
}

void ctl_tuning_read(struct ctl *c, struct tuning_read *r) {
    struct read_priv *p = priv(r);
    ctl_enter(c);
    *p = (struct read_priv){.c = c, .arena = arena_new(ARENA_NO_MAX)};
    p->get = arena_alloc(p->arena, sizeof(*p->get));
    p->events = arena_alloc(p->arena, sizeof(*p->events));
    *p->get = (struct store_get){.name = r->name, .arena = p->arena, .cb = on_row, .arg = r};
    c->nr_in_flight++;
    c->cfg.store->ops->get(c->cfg.store, p->get);
    ctl_leave(c);
}

void tuning_read_abandon(struct tuning_read *r) {
    arena_free(priv(r)->arena);
}
