/* What training pipelines and tuning jobs do alike. */
#include "base/limits.h"
#include "ctl/ctl_int.h"
#include "ctl/tuning.h"

static void on_timer(struct timer *timer);

void parents_init(struct parents *ps, struct ctl *c, const struct parent_kind *kind,
                  bool is_served) {
    *ps = (struct parents){.kind = kind, .ctl = c, .is_served = is_served};
    list_init(&ps->live);
    list_init(&ps->graveyard);
    map_init(&ps->by_name);
}

void parents_fini(struct parents *ps) {
    map_fini(&ps->by_name);
}

void parent_init(struct parent *p, struct parents *all, struct arena *a, struct str name) {
    p->kind = all->kind;
    p->all = all;
    p->ctl = all->ctl;
    p->arena = a;
    p->name = name;
    list_init(&p->link);
    list_init(&p->inbox);
    p->timer.fn = on_timer;
}

struct parent *parent_find(const struct parents *ps, struct str name) {
    return map_get(&ps->by_name, name);
}

static void adopt(struct parent *p) {
    struct parents *ps = p->all;
    CHECK(!map_put(&ps->by_name, p->name, p));
    list_push_tail(&ps->live, &p->link);
    ps->nr++;
}

static void retire(struct parent *p) {
    struct parents *ps = p->all;
    CHECK(!p->busy && !p->creation);
    p->kind->retiring(p);
    p->ctl->cfg.clock->ops->disarm(p->ctl->cfg.clock, &p->timer);
    (void)map_del(&ps->by_name, p->name);
    list_del(&p->link);
    list_push_tail(&ps->graveyard, &p->link);
    p->retired = true;
    ps->nr--;
}

void parents_bury(struct parents *ps, bool all) {
    struct parent *p, *tmp;
    struct clock *k = ps->ctl->cfg.clock;
    list_each_safe (p, tmp, &ps->graveyard, link) {
        if (all || (!p->child_called && !ps->kind->is_expected(p))) {
            list_del(&p->link);
            ps->kind->free(p);
        }
    }
    while (all && !list_is_empty(&ps->live)) {
        p = list_first(&ps->live, struct parent, link);
        list_del(&p->link);
        k->ops->disarm(k, &p->timer);
        if (p->ours) {
            store_txn_fini(&p->txn); /* the store is closed, or crashed with us (simulator) */
        }
        if (ps->kind->abandon) {
            ps->kind->abandon(p);
        }
        ps->kind->free(p);
    }
}

/* ---- what a transaction's end means ---- */

void parent_saved(struct parent *p) {
    struct ctl *c = p->ctl;
    p->retries = 0;
    p->kind->saved(p);
    if (p->creation) {
        call_finish(take(&p->creation), NULL);
    }
    if (p->watch) {
        p->watch(p->watch_arg, p);
    }
    if (!p->kind->is_over(p)) {
        return;
    }
    p->all->finished++;
    if (c->cfg.job_done) {
        c->cfg.job_done(c->cfg.done_arg, p->name);
    }
    retire(p);
}

static void on_refused(struct parent *p, const struct err *err) {
    bool is_full = err->code == ERR_RESOURCE_EXHAUSTED;
    if (p->creation) {
        /* Nobody was told of it: it never was. */
        call_finish(take(&p->creation), err);
        retire(p);
        if (!is_full && err->code != ERR_ALREADY_EXISTS) {
            ctl_fatal(p->ctl, err);
        }
        return;
    }
    p->kind->refused(p, err);
    if (!is_full) {
        ctl_fatal(p->ctl, err);
    } else if (!list_is_empty(&p->inbox)) {
        parent_retry_later(p);
    }
}

static void on_commit(struct store_txn *txn, const struct err *err) {
    struct parent *p = txn->arg;
    struct ctl *c = p->ctl;
    ctl_enter(c);
    c->nr_in_flight--;
    p->busy = p->ours = false;
    if (err) {
        on_refused(p, err);
    } else {
        parent_saved(p);
    }
    store_txn_fini(txn);
    parent_pump(p);
    ctl_leave(c);
}

/* ---- the way to the store ---- */

static bool must_wait(const struct parent *p) {
    return p->retry_due && ctl_mono(p->ctl) < p->retry_due;
}

/* A user's wish does not wait for a pause to pass: it is saved or refused now. */
static bool can_save(const struct parent *p) {
    return p->kind->is_urgent(p) || (!list_is_empty(&p->inbox) && !must_wait(p));
}

void parent_put_row(struct parent *p, struct store_txn *txn, const char *state, struct str status,
                    usec_t update_time, bool is_over) {
    if (p->creation) {
        struct call_op *op = p->creation;
        op->row.status = arena_str(op->arena, status); /* what is stored is answered */
        op->row.state = str_of(state);
        store_txn_insert(txn, &op->row);
    } else {
        store_txn_update(txn, p->name, str_of(state), status, update_time, !is_over);
    }
}

static void save(struct parent *p) {
    struct ctl *c = p->ctl;
    store_txn_init(&p->txn, on_commit, p);
    if (!p->kind->gather(p, &p->txn)) {
        store_txn_fini(&p->txn);
        return;
    }
    if (p->creation && p->join) {
        p->join(p->join_arg, p->name, &p->txn);
    }
    p->busy = p->ours = true;
    p->retry_due = 0;
    c->nr_in_flight++;
    c->cfg.store->ops->commit(c->cfg.store, &p->txn);
}

static void rearm(struct parent *p) {
    struct clock *k = p->ctl->cfg.clock;
    usec_t due = p->kind->next_due ? p->kind->next_due(p) : 0;
    if (p->retry_due && (!due || p->retry_due < due)) {
        due = p->retry_due;
    }
    if (due) {
        k->ops->arm(k, &p->timer, due);
    } else {
        k->ops->disarm(k, &p->timer);
    }
}

void parent_pump(struct parent *p) {
    struct ctl *c = p->ctl;
    if (p->pumping || p->retired) {
        return;
    }
    p->pumping = true;
    while (!p->busy && !p->retired && !c->is_dead) {
        if (can_save(p)) {
            save(p);
            continue;
        }
        if (p->creation || !list_is_empty(&p->inbox) || must_wait(p) || !c->is_started ||
            ctl_is_idle(c)) {
            break;
        }
        p->retry_due = 0;
        p->kind->act(p);
        if (!can_save(p)) {
            break;
        }
    }
    p->pumping = false;
    if (!p->retired) {
        rearm(p);
    }
}

void parents_pump(struct parents *ps) {
    struct parent *p;
    list_each (p, &ps->live, link) {
        parent_pump(p);
    }
}

static void on_timer(struct timer *timer) {
    struct parent *p = CONTAINER_OF(timer, struct parent, timer);
    struct ctl *c = p->ctl;
    ctl_enter(c);
    parent_pump(p);
    ctl_leave(c);
}

void parent_retry_later(struct parent *p) {
    usec_t delay = FULL_DELAY_MIN << (p->retries < 6 ? p->retries : 6);
    p->retries++;
    p->retry_due = ctl_mono(p->ctl) + (delay < FULL_DELAY_MAX ? delay : FULL_DELAY_MAX);
}

bool parent_is_passing(int code) {
    return code == ERR_RESOURCE_EXHAUSTED || code == ERR_ABORTED || code == ERR_UNAVAILABLE;
}

static void join_child(void *arg, struct str name, struct store_txn *txn) {
    struct parent *p = arg;
    p->kind->child_joins(p, name, txn);
}

static void join_job(void *arg, struct job *job, struct store_txn *txn) {
    join_child(arg, job->name, txn);
}

static void on_child_made(struct ctl_call *call, const struct err *err,
                          const struct store_row *row) {
    struct parent *p = call->arg;
    p->child_called = false;
    if (!p->retired) {
        p->kind->child_made(p, err, row);
        if (err && parent_is_passing(err->code)) {
            parent_retry_later(p);
        }
        parent_pump(p);
    }
}

static struct str begin_child(struct parent *p, struct arena *a) {
    p->child_call = (struct ctl_call){.cb = on_child_made, .arg = p};
    p->busy = p->child_called = true;
    return str_of(arena_printf(a, "%llu", (unsigned long long)ctl_new_id(p->ctl)));
}

void parent_make_job(struct parent *p, struct arena *a, struct job_create *in) {
    in->id = begin_child(p, a);
    in->join = join_job;
    in->join_arg = p;
    ctl_job_create(p->ctl, in, &p->child_call);
}

void parent_make_tuning(struct parent *p, struct arena *a, struct tuning_create *in) {
    in->id = begin_child(p, a);
    in->join = join_child;
    in->join_arg = p;
    ctl_tuning_create(p->ctl, in, &p->child_call);
}

/* ---- calls ---- */

static int admit(const struct parents *ps, struct err *err) {
    const struct parent_kind *k = ps->kind;
    if (!ps->is_served) {
        return err_set(err, ERR_UNIMPLEMENTED, "this server runs no %ss", k->noun);
    }
    if (ps->nr >= *k->max) {
        limits_hit(k->max);
        return err_set(err, ERR_RESOURCE_EXHAUSTED,
                       "there are %zu unfinished %ss already (limit %s is %llu)", ps->nr, k->noun,
                       k->max_name, (unsigned long long)*k->max);
    }
    return 0;
}

void parent_create(struct parents *ps, const struct parent_wish *wish, struct ctl_call *call) {
    struct ctl *c = ps->ctl;
    auto_free char *name =
        xasprintf("%.*s/%ss/%.*s", STR_ARG(wish->row.parent), ps->kind->kind, STR_ARG(wish->id));
    struct err err = {0};
    ctl_enter(c);
    struct call_op *op = call_new(c, call, str_of(name));
    if (!call_refuse_when_dead(c, op)) {
        struct store_row r = wish->row;
        r.kind = str_of(ps->kind->kind);
        call_fill_row(op, &r, call_create_time(c));
        struct parent *p = admit(ps, &err) == 0 ? ps->kind->make(c, &op->row, &err) : NULL;
        if (!p) {
            call_finish(op, &err);
        } else {
            p->creation = op;
            p->join = wish->join;
            p->join_arg = wish->join_arg;
            op->has_row = true; /* its status comes when it is given to the store */
            adopt(p);
            p->kind->begin(p, op->row.create_time);
            parent_pump(p);
        }
    }
    ctl_leave(c);
}

struct parent *parent_asked(struct parents *ps, struct call_op *op,
                            void (*stored)(struct call_op *)) {
    if (call_refuse_when_dead(ps->ctl, op)) {
        return NULL;
    }
    struct parent *p = parent_find(ps, op->name);
    if (!p) {
        stored(op);
    } else if (p->creation) {
        call_finish_not_found(op);
    } else {
        return p;
    }
    return NULL;
}

void parent_delete(struct parents *ps, struct str name, struct ctl_call *call) {
    struct ctl *c = ps->ctl;
    ctl_enter(c);
    struct call_op *op = call_new(c, call, name);
    const struct parent *p = parent_asked(ps, op, call_delete_stored);
    if (p) {
        call_finish_live(op, ps->kind->noun, p->kind->state(p));
    }
    ctl_leave(c);
}

/* ---- start-up ---- */

static void on_row(struct store_load *l, const struct store_row *row, const struct store_event *ev,
                   size_t nr_ev) {
    struct parents *ps = l->arg;
    struct err err = {0};
    struct parent *p = ps->kind->make(ps->ctl, row, &err);
    int rc = p ? ps->kind->replay(p, ev, nr_ev, &err) : -1;
    if (rc == 0 && ps->kind->is_over(p)) {
        rc = err_set(&err, ERR_DATA_LOSS, "the row is live but its events end the %s",
                     ps->kind->noun);
    }
    if (rc == 0) {
        adopt(p);
        return;
    }
    if (p) {
        ps->kind->free(p);
    }
    ctl_set_aside(ps->ctl, row, &err);
}

static void on_loaded(struct store_load *l, const struct err *err) {
    struct parents *ps = l->arg;
    ps->ctl->nr_in_flight--;
    ps->loaded(ps->ctl, err);
}

void parents_load(struct parents *ps, void (*then)(struct ctl *c, const struct err *err)) {
    struct ctl *c = ps->ctl;
    if (!ps->is_served) {
        then(c, NULL);
        return;
    }
    ps->loaded = then;
    ps->load = (struct store_load){
        .kind = str_of(ps->kind->kind), .row = on_row, .end = on_loaded, .arg = ps};
    c->nr_in_flight++;
    c->cfg.store->ops->load_live(c->cfg.store, &ps->load);
}
