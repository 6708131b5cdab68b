/* Vizier studies: which are in memory, who waits for one, who is answered. See studies.h. */
#include "ctl/studies_int.h"

#include "base/limits.h"

static void deliver(struct timer *t);

struct studies *studies_new(const struct studies_config *cfg) {
    struct studies *s = xcalloc(1, sizeof(*s));
    s->cfg = *cfg;
    map_init(&s->by_name);
    list_init(&s->loaded);
    list_init(&s->buried);
    list_init(&s->done);
    s->soon.fn = deliver;
    return s;
}

void studies_get_stats(const struct studies *s, struct studies_stats *ret) {
    *ret = s->stats;
    ret->loaded = s->by_name.n;
}

usec_t studies_mono(const struct studies *s) {
    return s->cfg.clock->ops->mono(s->cfg.clock);
}

void studies_soon(struct studies *s) {
    s->cfg.clock->ops->arm(s->cfg.clock, &s->soon, studies_mono(s));
}

/* ---- one of them ---- */

void loaded_unload(struct loaded_study *l) {
    suggester_free(l->suggester);
    l->suggester = NULL;
    study_free(l->study);
    l->study = NULL;
    arena_free(l->arena);
    l->arena = NULL;
    l->is_stale = false;
}

bool loaded_is_idle(const struct loaded_study *l) {
    return !l->load_arena && !l->saving && !l->nr_done && !l->is_pumping &&
           list_is_empty(&l->queue) && list_is_empty(&l->asking);
}

void loaded_destroy(struct loaded_study *l) {
    if (!l->is_gone) {
        (void)map_del(&l->s->by_name, str_of(l->name));
    }
    list_del(&l->link);
    loaded_unload(l);
    free(l->batch.events);
    free(l->name);
    free(l);
}

void loaded_bury(struct loaded_study *l) {
    if (!l->is_gone) {
        (void)map_del(&l->s->by_name, str_of(l->name));
        list_del(&l->link);
        list_push_tail(&l->s->buried, &l->link);
        l->is_gone = true;
    }
}

/* Those that were used least recently go, when nobody waits for anything of them. */
static void make_room(struct studies *s) {
    struct list *i = s->loaded.next;
    while (s->by_name.n > limits.max_studies_loaded && i != &s->loaded) {
        struct loaded_study *l = CONTAINER_OF(i, struct loaded_study, link);
        i = i->next;
        if (loaded_is_idle(l)) {
            loaded_destroy(l);
            s->stats.evictions++;
        }
    }
}

static struct loaded_study *find(struct studies *s, struct str name) {
    struct loaded_study *l = map_get(&s->by_name, name);
    if (l) {
        list_del(&l->link);
        list_push_tail(&s->loaded, &l->link);
    }
    return l;
}

static struct loaded_study *find_or_add(struct studies *s, struct str name) {
    struct loaded_study *l = find(s, name);
    if (!l) {
        l = xcalloc(1, sizeof(*l));
        l->s = s;
        l->name = str_dup(name);
        list_init(&l->queue);
        list_init(&l->asking);
        list_push_tail(&s->loaded, &l->link);
        (void)map_put(&s->by_name, name, l);
        make_room(s);
    }
    return l;
}

struct study_view loaded_view(struct loaded_study *l) {
    return (struct study_view){str_of(l->name), &l->row, l->study, l->parsed};
}

bool study_peek(struct studies *s, struct str name, struct study_view *ret) {
    struct loaded_study *l = find(s, name);
    if (!l || !l->study || l->is_stale) {
        return false;
    }
    *ret = loaded_view(l);
    return true;
}

/* ---- answers ---- */

void loaded_settle(struct loaded_study *l, struct study_change *c, const struct err *err) {
    c->of = l;
    l->nr_done++;
    if (err) {
        c->failed = true;
        c->err = *err;
    }
}

void loaded_finish(struct loaded_study *l, struct study_change *c, const struct err *err) {
    loaded_settle(l, c, err);
    list_push_tail(&l->s->done, &c->link);
    studies_soon(l->s);
}

void loaded_fail(struct loaded_study *l, const struct err *err) {
    struct list all;
    list_init(&all);
    list_move_all(&l->asking, &all);
    list_move_all(&l->queue, &all);
    while (!list_is_empty(&all)) {
        struct study_change *c = list_first(&all, struct study_change, link);
        list_del(&c->link);
        c->waits = false;
        loaded_finish(l, c, err);
    }
}

void loaded_fail_missing(struct loaded_study *l) {
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "The Study \"%.300s\" does not exist.", l->name);
    loaded_fail(l, &err);
}

void loaded_fail_stopping(struct loaded_study *l) {
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, "the server is stopping");
    loaded_fail(l, &err);
}

void loaded_deliver(struct study_change *c) {
    struct loaded_study *l = c->of;
    struct arena *a = c->arena;
    struct study_view v = loaded_view(l);
    c->arena = NULL;
    if (c->failed) {
        struct err err = c->err;
        c->cb(c, NULL, &err);
    } else {
        c->cb(c, c->removes ? NULL : &v, NULL); /* c may be gone */
    }
    arena_free(a);
    l->nr_done--;
    if (l->is_gone && loaded_is_idle(l)) {
        loaded_destroy(l);
    } else {
        loaded_pump(l);
    }
}

static void deliver(struct timer *t) {
    struct studies *s = CONTAINER_OF(t, struct studies, soon);
    struct list done;
    list_init(&done);
    list_move_all(&s->done, &done); /* what they ask for anew waits for the next turn */
    while (!list_is_empty(&done)) {
        struct study_change *c = list_first(&done, struct study_change, link);
        list_del(&c->link);
        loaded_deliver(c);
    }
    if (s->is_stopping && !s->nr_in_flight && list_is_empty(&s->done) && s->stop_cb) {
        void (*cb)(void *) = s->stop_cb;
        s->stop_cb = NULL;
        cb(s->stop_arg); /* may free s */
    } else {
        make_room(s);
    }
}

static void enter(struct studies *s, struct study_change *c) {
    struct loaded_study *l = find_or_add(s, c->name);
    c->of = l;
    c->failed = c->was_told = c->waits = false;
    c->since = studies_mono(s);
    c->arena = NULL;
    list_init(&c->link);
    if (!c->decide && !c->removes && l->study && !l->is_stale) {
        loaded_finish(l, c, NULL);
    } else {
        list_push_tail(&l->queue, &c->link);
        loaded_pump(l);
    }
}

void study_change(struct studies *s, struct study_change *c) {
    c->removes = false;
    enter(s, c);
}

bool study_withdraw(struct study_change *c) {
    if (!c->waits) {
        return false;
    }
    list_del(&c->link);
    c->waits = false;
    loaded_pump(c->of); /* others need not wait for it */
    return true;
}

void study_read(struct studies *s, struct study_change *c) {
    c->removes = false;
    c->decide = NULL;
    enter(s, c);
}

void study_remove(struct studies *s, struct study_change *c) {
    c->removes = true;
    c->decide = NULL;
    enter(s, c);
}

/* ---- the end ---- */

void studies_stop(struct studies *s, void (*cb)(void *), void *arg) {
    s->is_stopping = true;
    s->stop_cb = cb;
    s->stop_arg = arg;
    struct loaded_study *l, *next;
    list_each_safe (l, next, &s->loaded, link) {
        loaded_pump(l);
    }
    studies_soon(s);
}

void studies_free(struct studies *s) {
    if (!s) {
        return;
    }
    s->cfg.clock->ops->disarm(s->cfg.clock, &s->soon);
    while (!list_is_empty(&s->done)) {
        struct study_change *c = list_first(&s->done, struct study_change, link);
        list_del(&c->link);
        arena_free(c->arena);
    }
    list_move_all(&s->buried, &s->loaded);
    while (!list_is_empty(&s->loaded)) {
        struct loaded_study *l = list_first(&s->loaded, struct loaded_study, link);
        if (l->saving) { /* a simulated crash: nobody will answer */
            store_txn_fini(&l->txn);
            arena_free(l->saving_arena);
        }
        arena_free(l->load_arena);
        loaded_destroy(l);
    }
    map_fini(&s->by_name);
    free(s);
}
