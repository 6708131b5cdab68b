/* Vizier studies: loaded when asked for, changed one transaction at a time. See studies.h. */
#include "ctl/studies.h"

#include "base/fail.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/map.h"

struct loaded_study {
    struct studies *s;
    struct list link; /* studies.loaded, the one used last at the tail; or .buried */
    char *name;       /* owned */
    struct arena *arena;
    struct store_row row; /* in arena; its state is kept up to date */
    struct study *study;  /* NULL: to be loaded */
    const void *parsed;
    uint64_t seq;       /* of the last event */
    struct list queue;  /* struct study_change: not decided */
    struct list asking; /* of these, those that wait for a suggestion */
    bool look_again;    /* there may be one */
    bool hold;          /* one came too late: nothing else changes until one fits */
    size_t nr_done;     /* answers that are due */
    bool is_stale;      /* a commit failed: what the store has is read again */
    bool is_gone;       /* not in the map; freed when nothing refers to it */
    bool is_pumping;
    struct suggester *suggester; /* NULL: nobody has asked yet */
    /* With the store. */
    struct arena *load_arena; /* NULL: is not being loaded */
    struct store_get get;
    struct store_events events;
    struct study_change *saving; /* NULL: nothing */
    struct arena *saving_arena;
    struct study_batch batch;
    struct store_txn txn;
};

struct studies {
    struct studies_config cfg;
    struct map by_name;
    struct list loaded, buried;
    struct list done; /* struct study_change, to be answered by `soon` */
    struct timer soon;
    size_t nr_in_flight; /* calls of the store */
    bool is_stopping;
    void (*stop_cb)(void *arg);
    void *stop_arg;
    struct studies_stats stats;
};

static void pump(struct loaded_study *l);
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

static usec_t mono(const struct studies *s) {
    return s->cfg.clock->ops->mono(s->cfg.clock);
}

static void soon(struct studies *s) {
    s->cfg.clock->ops->arm(s->cfg.clock, &s->soon, mono(s));
}

/* ---- one of them ---- */

static void unload(struct loaded_study *l) {
    suggester_free(l->suggester);
    l->suggester = NULL;
    study_free(l->study);
    l->study = NULL;
    arena_free(l->arena);
    l->arena = NULL;
    l->is_stale = false;
}

static bool is_idle(const struct loaded_study *l) {
    return !l->load_arena && !l->saving && !l->nr_done && !l->is_pumping &&
           list_is_empty(&l->queue) && list_is_empty(&l->asking);
}

static void destroy(struct loaded_study *l) {
    if (!l->is_gone) {
        (void)map_del(&l->s->by_name, str_of(l->name));
    }
    list_del(&l->link);
    unload(l);
    free(l->batch.events);
    free(l->name);
    free(l);
}

static void bury(struct loaded_study *l) {
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
        if (is_idle(l)) {
            destroy(l);
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

static struct study_view view_of(struct loaded_study *l) {
    return (struct study_view){str_of(l->name), &l->row, l->study, l->parsed};
}

bool study_peek(struct studies *s, struct str name, struct study_view *ret) {
    struct loaded_study *l = find(s, name);
    if (!l || !l->study || l->is_stale) {
        return false;
    }
    *ret = view_of(l);
    return true;
}

/* ---- answers ---- */

static void settle(struct loaded_study *l, struct study_change *c, const struct err *err) {
    c->of = l;
    l->nr_done++;
    if (err) {
        c->failed = true;
        c->err = *err;
    }
}

static void finish(struct loaded_study *l, struct study_change *c, const struct err *err) {
    settle(l, c, err);
    list_push_tail(&l->s->done, &c->link);
    soon(l->s);
}

static void fail_all(struct loaded_study *l, const struct err *err) {
    struct list all;
    list_init(&all);
    list_move_all(&l->asking, &all);
    list_move_all(&l->queue, &all);
    while (!list_is_empty(&all)) {
        struct study_change *c = list_first(&all, struct study_change, link);
        list_del(&c->link);
        c->waits = false;
        finish(l, c, err);
    }
}

static void fail_missing(struct loaded_study *l) {
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "The Study \"%.300s\" does not exist.", l->name);
    fail_all(l, &err);
}

static void fail_stopping(struct loaded_study *l) {
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, "the server is stopping");
    fail_all(l, &err);
}

static void deliver_one(struct study_change *c) {
    struct loaded_study *l = c->of;
    struct arena *a = c->arena;
    struct study_view v = view_of(l);
    c->arena = NULL;
    if (c->failed) {
        struct err err = c->err;
        c->cb(c, NULL, &err);
    } else {
        c->cb(c, c->removes ? NULL : &v, NULL); /* c may be gone */
    }
    arena_free(a);
    l->nr_done--;
    if (l->is_gone && is_idle(l)) {
        destroy(l);
    } else {
        pump(l);
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
        deliver_one(c);
    }
    if (s->is_stopping && !s->nr_in_flight && list_is_empty(&s->done) && s->stop_cb) {
        void (*cb)(void *) = s->stop_cb;
        s->stop_cb = NULL;
        cb(s->stop_arg); /* may free s */
    } else {
        make_room(s);
    }
}

/* ---- loading ---- */

static void load_failed(struct loaded_study *l, const struct err *err) {
    if (!err || err->code == ERR_NOT_FOUND) {
        fail_missing(l);
    } else {
        fail_all(l, err);
    }
    bury(l);
    if (is_idle(l)) {
        destroy(l);
    }
}

static int replay(struct loaded_study *l, const struct store_event *ev, size_t n, struct err *err) {
    for (size_t i = 0; i < n; i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        struct study_event e;
        if (study_event_decode(a, study_spec(l->study), &ev[i], &e, err) ||
            study_apply(l->study, &e, err)) {
            return err_wrap(err, "read %s", l->name);
        }
        l->seq = ev[i].seq;
    }
    return 0;
}

static void on_events(struct store_events *e, const struct store_event *ev, size_t n,
                      const struct err *err) {
    struct loaded_study *l = e->arg;
    struct study_spec spec = {0};
    struct err why;
    l->s->nr_in_flight--;
    l->seq = 0;
    if (!err && l->s->cfg.decode(l->s->cfg.arg, l->arena, &l->row, &spec, &l->parsed, &why) == 0) {
        l->study = study_new(&spec, l->row.create_time);
        if (replay(l, ev, n, &why) == 0) {
            arena_free(l->load_arena);
            l->load_arena = NULL;
            l->s->stats.loads++;
            pump(l);
            return;
        }
    }
    if (!err) {
        log_error("study unreadable", "name=%s error=\"%s\"", l->name, why.msg);
    }
    arena_free(l->load_arena);
    l->load_arena = NULL;
    unload(l);
    load_failed(l, err ? err : &why);
}

static void on_row(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct loaded_study *l = g->arg;
    struct studies *s = l->s;
    if (err || !row || !str_eqc(row->kind, STUDY_KIND)) {
        s->nr_in_flight--;
        arena_free(l->load_arena);
        l->load_arena = NULL;
        load_failed(l, row ? NULL : err);
        if (s->is_stopping) {
            soon(s);
        }
        return;
    }
    l->arena = arena_new(ARENA_NO_MAX);
    l->row = (struct store_row){.name = str_of(l->name),
                                .kind = STR(STUDY_KIND),
                                .parent = arena_str(l->arena, row->parent),
                                .display_name = arena_str(l->arena, row->display_name),
                                .state = arena_str(l->arena, row->state),
                                .create_time = row->create_time,
                                .update_time = row->update_time,
                                .spec = arena_str(l->arena, row->spec)};
    l->events = (struct store_events){
        .owner = l->row.name, .arena = l->load_arena, .cb = on_events, .arg = l};
    s->cfg.store->ops->events(s->cfg.store, &l->events);
}

static void load(struct loaded_study *l) {
    l->load_arena = arena_new(ARENA_NO_MAX);
    l->get =
        (struct store_get){.name = str_of(l->name), .arena = l->load_arena, .cb = on_row, .arg = l};
    l->s->nr_in_flight++;
    l->s->cfg.store->ops->get(l->s->cfg.store, &l->get);
}

/* ---- deciding and saving ---- */

void study_batch_add(struct study_batch *b, const struct study_event *ev) {
    if (b->nr == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 4;
        b->events = xrealloc_array(b->events, b->cap, sizeof(*b->events));
    }
    b->events[b->nr] = *ev;
    b->events[b->nr].time = b->now;
    b->events[b->nr].seq = b->of->seq + b->nr + 1;
    b->nr++;
}

static void on_ready(void *arg) {
    struct loaded_study *l = arg;
    l->look_again = true;
    if (!list_is_empty(&l->asking)) {
        list_first(&l->asking, struct study_change, link)->was_told = true;
    }
    pump(l);
}

enum suggest_answer study_batch_suggest(struct study_batch *b, size_t count, const double **ret,
                                        size_t *ret_nr) {
    struct loaded_study *l = b->of;
    if (!l->suggester) {
        l->suggester = suggester_new(l->s->cfg.suggestions, on_ready, l);
    }
    enum suggest_answer answer = suggester_take_some(l->suggester, l->study, count, ret, ret_nr);
    l->s->stats.asked++;
    l->s->stats.asked_ready += answer != SUGGEST_LATER;
    return answer;
}

static void believe(struct loaded_study *l) {
    struct err err;
    for (size_t i = 0; i < l->batch.nr; i++) {
        if (study_apply(l->study, &l->batch.events[i], &err)) {
            log_error("study", "name=%s error=\"%s\"", l->name, err.msg);
            l->is_stale = true;
        }
        if (l->batch.events[i].type == STUDY_EV_STOPPED) {
            l->row.state = STR(STUDY_STATE_COMPLETED);
        }
    }
    l->seq += l->batch.nr;
    l->s->stats.changes++;
}

static void on_saved(struct store_txn *t, const struct err *err) {
    struct loaded_study *l = t->arg;
    struct study_change *c = l->saving;
    struct err why;
    (void)FAIL_POINT("study.save.after_commit", NULL);
    l->s->nr_in_flight--;
    l->saving = NULL;
    l->saving_arena = NULL;
    l->look_again = true;
    if (err) {
        why = *err;
        l->is_stale = true;
        settle(l, c, &why);
    } else {
        l->s->stats.commit_time += mono(l->s) - c->since;
        believe(l);
        settle(l, c, NULL);
    }
    store_txn_fini(&l->txn);
    if (!err && c->removes) {
        fail_missing(l);
        bury(l);
    }
    if (l->s->is_stopping) {
        soon(l->s);
    }
    deliver_one(c); /* before anything else is decided: it sees what it did */
}

static void save(struct loaded_study *l, struct study_change *c) {
    struct study_batch *b = &l->batch;
    for (size_t i = 0; i < b->nr; i++) {
        auto_buf struct buf body = BUF_INIT(BUF_NO_MAX);
        const struct study_event *ev = &b->events[i];
        study_event_encode(&body, study_spec(l->study), ev);
        store_txn_event(&l->txn, &(struct store_event){.owner = l->row.name,
                                                       .seq = ev->seq,
                                                       .type = ev->type,
                                                       .version = STUDY_EVENT_VERSION,
                                                       .time = ev->time,
                                                       .body = buf_str(&body)});
        if (ev->type == STUDY_EV_STOPPED) {
            store_txn_update(&l->txn, l->row.name, STR(STUDY_STATE_COMPLETED), STR(""), ev->time,
                             false);
        }
    }
    usec_t now = mono(l->s);
    l->s->stats.decide_time += now - c->since;
    c->since = now;
    l->saving = c;
    l->saving_arena = c->arena;
    l->s->nr_in_flight++;
    (void)FAIL_POINT("study.save.before_commit", NULL);
    l->s->cfg.store->ops->commit(l->s->cfg.store, &l->txn);
}

static void begin_batch(struct loaded_study *l, struct study_change *c) {
    struct clock *clock = l->s->cfg.clock;
    c->arena = arena_new(ARENA_NO_MAX);
    store_txn_init(&l->txn, on_saved, l);
    l->batch.arena = c->arena;
    l->batch.now = clock->ops->wall(clock);
    l->batch.txn = &l->txn;
    l->batch.of = l;
    l->batch.nr = 0;
}

static void drop_batch(struct loaded_study *l, struct study_change *c) {
    store_txn_fini(&l->txn);
    arena_free(c->arena);
    c->arena = NULL;
}

static void remove_study(struct loaded_study *l, struct study_change *c) {
    begin_batch(l, c);
    store_txn_delete(&l->txn, l->row.name);
    store_txn_kv(&l->txn, STUDY_NAME_SPACE,
                 study_name_key(c->arena, l->row.parent, l->row.display_name), (struct str){0});
    save(l, c);
}

/* Of one that is in no list. */
static void decide(struct loaded_study *l, struct study_change *c) {
    struct study_view v = view_of(l);
    struct err err;
    if (c->removes) {
        remove_study(l, c);
        return;
    }
    if (!c->decide) {
        finish(l, c, NULL);
        return;
    }
    begin_batch(l, c);
    switch (c->decide(c, &v, &l->batch, &err)) {
    case STUDY_REFUSE:
        drop_batch(l, c);
        finish(l, c, &err);
        break;
    case STUDY_LATER:
        drop_batch(l, c);
        l->look_again = false;
        c->waits = true;
        if (c->was_told) { /* it was computed, and the study is another already */
            l->hold = true;
            list_push_head(&l->asking, &c->link);
        } else {
            list_push_tail(&l->asking, &c->link);
        }
        break;
    case STUDY_SAVE:
        if (l->batch.nr || l->txn.nr_ops) {
            save(l, c);
        } else {
            store_txn_fini(&l->txn);
            finish(l, c, NULL);
        }
        break;
    }
}

/* Whose turn it is; NULL: nobody's. */
static struct study_change *next_change(struct loaded_study *l) {
    struct study_change *c = NULL;
    l->hold &= !list_is_empty(&l->asking);
    if (!list_is_empty(&l->asking) && l->look_again) {
        c = list_first(&l->asking, struct study_change, link);
    } else if (!list_is_empty(&l->queue) && !l->hold) {
        c = list_first(&l->queue, struct study_change, link);
    }
    if (c) {
        list_del(&c->link);
        c->waits = false;
    }
    return c;
}

static bool may_decide(const struct loaded_study *l) {
    return l->study && !l->is_stale && !l->saving && !l->load_arena && !l->is_gone;
}

static void pump(struct loaded_study *l) {
    struct study_change *c;
    if (l->is_pumping || l->is_gone) {
        return;
    }
    if (l->s->is_stopping) {
        fail_stopping(l);
        soon(l->s);
        return;
    }
    if (l->is_stale && !l->saving && !l->nr_done) {
        unload(l);
    }
    if (!l->study && !l->load_arena && !(list_is_empty(&l->queue) && list_is_empty(&l->asking))) {
        l->look_again = true;
        load(l);
    }
    l->is_pumping = true;
    while (may_decide(l) && (c = next_change(l))) {
        decide(l, c);
    }
    l->is_pumping = false;
    if (may_decide(l) && l->suggester && !study_is_stopped(l->study, NULL)) {
        suggester_prepare(l->suggester, l->study);
    }
}

static void enter(struct studies *s, struct study_change *c) {
    struct loaded_study *l = find_or_add(s, c->name);
    c->of = l;
    c->failed = c->was_told = c->waits = false;
    c->since = mono(s);
    c->arena = NULL;
    list_init(&c->link);
    if (!c->decide && !c->removes && l->study && !l->is_stale) {
        finish(l, c, NULL);
    } else {
        list_push_tail(&l->queue, &c->link);
        pump(l);
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
    pump(c->of); /* others need not wait for it */
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

/* ---- making ---- */

struct str study_name_key(struct arena *a, struct str parent, struct str display_name) {
    return str_of(arena_printf(a, "%.*s\x01%.*s", STR_ARG(parent), STR_ARG(display_name)));
}

static void on_created(struct store_txn *t, const struct err *err) {
    struct study_create *c = t->arg;
    struct studies *s = c->studies;
    struct arena *a = c->arena;
    struct err why;
    s->nr_in_flight--;
    if (err) {
        why = *err;
    }
    if (err && err->code == ERR_FAILED_PRECONDITION) {
        err_field(&why, ERR_ALREADY_EXISTS, "study.display_name",
                  "A Study with the display name \"%.*s\" already exists.",
                  (int)(c->display_name.n > 200 ? 200 : c->display_name.n), c->display_name.p);
    }
    store_txn_fini(&c->txn);
    c->cb(c, err ? NULL : &c->row, err ? &why : NULL); /* c may be gone */
    arena_free(a);
    if (s->is_stopping) {
        soon(s);
    }
}

static void put_lessons(struct study_create *c, usec_t now) {
    for (size_t i = 0; i < c->nr_lessons; i++) {
        auto_buf struct buf body = BUF_INIT(BUF_NO_MAX);
        study_event_encode(
            &body, c->flat,
            &(struct study_event){.type = STUDY_EV_LEARNED, .lesson = &c->lessons[i]});
        store_txn_event(&c->txn, &(struct store_event){.owner = c->row.name,
                                                       .seq = i + 1,
                                                       .type = STUDY_EV_LEARNED,
                                                       .version = STUDY_EVENT_VERSION,
                                                       .time = now,
                                                       .body = buf_str(&body)});
    }
}

void study_create(struct studies *s, struct study_create *c) {
    struct arena *a = c->arena = arena_new(ARENA_NO_MAX);
    usec_t now = s->cfg.clock->ops->wall(s->cfg.clock);
    struct str key = study_name_key(a, c->parent, c->display_name);
    c->studies = s;
    c->row = (struct store_row){
        .name = str_of(arena_printf(a, "%.*s/studies/%.*s", STR_ARG(c->parent), STR_ARG(c->id))),
        .kind = STR(STUDY_KIND),
        .parent = arena_str(a, c->parent),
        .display_name = arena_str(a, c->display_name),
        .state = STR(STUDY_STATE_ACTIVE),
        .create_time = now,
        .update_time = now,
        .spec = arena_str(a, c->spec)};
    store_txn_init(&c->txn, on_created, c);
    store_txn_kv_expect(&c->txn, STUDY_NAME_SPACE, key, (struct str){0});
    store_txn_insert(&c->txn, &c->row);
    put_lessons(c, now);
    store_txn_kv(&c->txn, STUDY_NAME_SPACE, key, c->row.name);
    s->nr_in_flight++;
    s->cfg.store->ops->commit(s->cfg.store, &c->txn);
}

/* ---- the end ---- */

void studies_stop(struct studies *s, void (*cb)(void *), void *arg) {
    s->is_stopping = true;
    s->stop_cb = cb;
    s->stop_arg = arg;
    struct loaded_study *l, *next;
    list_each_safe (l, next, &s->loaded, link) {
        pump(l);
    }
    soon(s);
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
        destroy(l);
    }
    map_fini(&s->by_name);
    free(s);
}
