/* A tuning job and its trials for somebody who looks: live ones from memory, ended ones from their
 * events. Those that were looked at last stay in memory, limits.max_study_trials trials in all:
 * an ended one does not change. */
#include "base/limits.h"
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

/* ---- those looked at last ---- */

static struct tuning *find_read(struct ctl *c, const struct store_row *row) {
    struct tuning *t;
    list_each (t, &c->tunings_read, base.link) {
        if (str_eq(t->base.name, row->name) && t->status.update_time == row->update_time) {
            list_del(&t->base.link);
            list_push_head(&c->tunings_read, &t->base.link);
            return t;
        }
    }
    return NULL;
}

/* Takes it. */
static void keep_read(struct ctl *c, struct tuning *t) {
    struct tuning *old, *tmp;
    uint64_t trials = 0;
    list_push_head(&c->tunings_read, &t->base.link);
    list_each_safe (old, tmp, &c->tunings_read, base.link) {
        trials += 1 + study_counts(old->study).total;
        if (trials > limits.max_study_trials) {
            list_del(&old->base.link);
            tuning_free(old);
        }
    }
}

void tuning_reads_fini(struct ctl *c) {
    while (!list_is_empty(&c->tunings_read)) {
        struct tuning *t = list_first(&c->tunings_read, struct tuning, base.link);
        list_del(&t->base.link);
        tuning_free(t);
    }
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
            if (ok && tuning_is_over(&t->status)) {
                keep_read(c, t);
            } else {
                tuning_free(t);
            }
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
    if (!err && row && !t) {
        t = find_read(c, row);
    }
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
