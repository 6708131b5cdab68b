/* Tuning jobs: the API's calls, the way in and out of memory, start-up. */
#include "base/limits.h"
#include "base/log.h"
#include "ctl/tuning_int.h"

/* ---- the list ---- */

struct tuning *tuning_find(struct ctl *c, struct str name) {
    return map_get(&c->tuning_by_name, name);
}

static void adopt(struct ctl *c, struct tuning *t) {
    CHECK(!map_put(&c->tuning_by_name, t->spec.name, t));
    list_push_tail(&c->tunings, &t->link);
    c->nr_tunings++;
}

void tuning_retire(struct tuning *t) {
    struct ctl *c = t->ctl;
    CHECK(!t->busy && !t->creation && list_is_empty(&t->runs) && list_is_empty(&t->wishes));
    c->cfg.clock->ops->disarm(c->cfg.clock, &t->timer);
    (void)map_del(&c->tuning_by_name, t->spec.name);
    list_del(&t->link);
    list_push_tail(&c->tuning_graveyard, &t->link);
    t->retired = true;
    c->nr_tunings--;
}

void tunings_bury(struct ctl *c, bool all) {
    struct tuning *t, *tmp;
    list_each_safe (t, tmp, &c->tuning_graveyard, link) {
        if (all || (!t->child_called && list_is_empty(&t->zombies))) {
            list_del(&t->link);
            tuning_free(t);
        }
    }
    while (all && !list_is_empty(&c->tunings)) {
        t = list_first(&c->tunings, struct tuning, link);
        list_del(&t->link);
        c->cfg.clock->ops->disarm(c->cfg.clock, &t->timer);
        if (t->ours) {
            store_txn_fini(&t->txn); /* the store is closed, or crashed with us (simulator) */
        }
        tuning_free(t);
    }
}

/* ---- calls ---- */

static int admit(struct ctl *c, struct err *err) {
    if (!c->cfg.tunings) {
        return err_set(err, ERR_UNIMPLEMENTED, "this server runs no hyperparameter tuning jobs");
    }
    if (c->nr_tunings >= limits.max_tunings) {
        limits_hit(&limits.max_tunings);
        return err_set(
            err, ERR_RESOURCE_EXHAUSTED,
            "there are %zu unfinished hyperparameter tuning jobs already (limit max_tunings is "
            "%llu)",
            c->nr_tunings, (unsigned long long)limits.max_tunings);
    }
    return 0;
}

void ctl_tuning_create(struct ctl *c, const struct tuning_create *in, struct ctl_call *call) {
    auto_free char *name =
        xasprintf("%.*s/" TUNING_KIND "s/%.*s", STR_ARG(in->parent), STR_ARG(in->id));
    struct tuning_spec spec = {0};
    struct err err = {0};
    ctl_enter(c);
    struct call_op *op = call_new(c, call, str_of(name));
    if (!call_refuse_when_dead(c, op)) {
        struct arena *a = arena_new(ARENA_NO_MAX);
        call_fill_row(op,
                      &(struct store_row){.kind = STR(TUNING_KIND),
                                          .parent = in->parent,
                                          .display_name = in->display_name,
                                          .spec = in->spec,
                                          .labels = (struct store_label *)in->labels,
                                          .nr_labels = in->nr_labels},
                      call_create_time(c));
        if (admit(c, &err) != 0 ||
            c->cfg.tunings->decode(c->cfg.tunings_arg, a, &op->row, &spec, &err) != 0) {
            arena_free(a);
            call_finish(op, &err);
        } else {
            struct tuning *t = tuning_new(c, a, &spec, op->row.create_time);
            t->creation = op;
            op->has_row = true; /* its status comes when it is given to the store */
            adopt(c, t);
            tuning_queue(t, (struct tuning_event){.type = TUNING_EV_CREATED});
            tuning_pump(t);
        }
    }
    ctl_leave(c);
}

/* The live one to ask, or NULL: answered already, or (stored) what is done for one that is not in
 * memory. */
static void ask(struct ctl *c, struct str name, struct ctl_call *call, struct tuning_wish *w,
                void (*stored)(struct call_op *)) {
    ctl_enter(c);
    struct call_op *op = call_new(c, call, name);
    struct tuning *t = tuning_find(c, name);
    w->op = op;
    list_init(&w->link);
    if (call_refuse_when_dead(c, op)) {
        tuning_wish_free(w);
    } else if (!t) {
        tuning_wish_free(w);
        stored(op);
    } else if (t->creation) {
        tuning_wish_free(w);
        call_finish_not_found(op);
    } else {
        tuning_wish(t, w);
    }
    ctl_leave(c);
}

static struct tuning_wish *wish_new(int kind) {
    struct tuning_wish *w = xcalloc(1, sizeof(*w));
    w->kind = kind;
    return w;
}

void ctl_tuning_cancel(struct ctl *c, struct str name, struct ctl_call *call) {
    ask(c, name, call, wish_new(WISH_CANCEL), call_cancel_stored);
}

void ctl_tuning_edit(struct ctl *c, struct str name, const struct tuning_edit *in,
                     struct ctl_call *call) {
    struct tuning_wish *w = wish_new(WISH_EDIT);
    w->edit = *in;
    ask(c, name, call, w, call_edit_stored);
}

void ctl_tuning_add_trial(struct ctl *c, struct str name, struct tuning_add *in,
                          struct ctl_call *call) {
    struct tuning_wish *w = wish_new(WISH_ADD);
    w->add = in;
    w->setting = xcalloc(in->nr + 1, sizeof(*w->setting));
    memcpy(w->setting, in->setting, in->nr * sizeof(*w->setting));
    ask(c, name, call, w, call_edit_stored);
}

void ctl_tuning_rerun_trial(struct ctl *c, struct str name, uint64_t trial, struct tuning_add *in,
                            struct ctl_call *call) {
    struct tuning_wish *w = wish_new(WISH_RERUN);
    w->add = in;
    w->trial = trial;
    ask(c, name, call, w, call_edit_stored);
}

void ctl_tuning_stop_trial(struct ctl *c, struct str name, uint64_t trial, struct ctl_call *call) {
    struct tuning_wish *w = wish_new(WISH_STOP);
    w->trial = trial;
    ask(c, name, call, w, call_cancel_stored);
}

void ctl_tuning_delete(struct ctl *c, struct str name, struct ctl_call *call) {
    ctl_enter(c);
    struct call_op *op = call_new(c, call, name);
    if (!call_refuse_when_dead(c, op)) {
        const struct tuning *t = tuning_find(c, name);
        if (!t) {
            call_delete_stored(op);
        } else if (t->creation) {
            call_finish_not_found(op);
        } else {
            struct err err;
            err_set(&err, ERR_FAILED_PRECONDITION,
                    "%.*s is in state %s; only a finished hyperparameter tuning job can be "
                    "deleted: cancel it first",
                    STR_ARG(name), job_state_name(t->status.state));
            call_finish(op, &err);
        }
    }
    ctl_leave(c);
}

bool ctl_tuning_outlook(struct ctl *c, struct str name, struct job_outlook *ret) {
    ctl_check_owner(c);
    const struct tuning *t = tuning_find(c, name);
    if (!t || t->creation) {
        return false;
    }
    *ret = (struct job_outlook){.create_time = t->status.create_time,
                                .start_time = t->status.start_time,
                                .end_began = t->status.ending ? t->status.update_time : 0};
    return true;
}

/* ---- start-up ---- */

static char aside_mark;

/* As jobs: reported, deletable, does not stop the server. */
static void set_aside(struct ctl *c, const struct store_row *row, const struct err *err) {
    log_error("tuning job record cannot be read", "name=%.*s error=\"%s\"", STR_ARG(row->name),
              err->msg);
    (void)map_put(&c->aside, name_last_segment(row->name), &aside_mark);
}

/* Jobs that trials have: what was said of them last. */
static void note_job(struct tuning *t, const struct tuning_fact *f) {
    struct tuning_run *r;
    if (f->type == STUDY_EV_TRIALS_CREATED && f->study.trials[0].job) {
        (void)tuning_run_new(t, f->study.trial, f->study.trials[0].job);
    } else if (f->type == TUNING_EV_TRIAL_JOB) {
        (void)tuning_run_new(t, f->own.trial, f->own.job);
    } else if (f->type == STUDY_EV_TRIAL_ENDED && (r = tuning_run_of(t, f->study.trial))) {
        tuning_run_end(r);
    }
}

int tuning_replay(struct tuning *t, const struct store_event *ev, size_t nr, struct err *err) {
    for (size_t i = 0; i < nr; i++) {
        struct tuning_fact *f = tuning_fact_read(t, &ev[i], err);
        int rc = f ? tuning_apply(t, f, err) : -1;
        if (rc == 0) {
            note_job(t, f);
        }
        if (f) {
            tuning_fact_free(f);
        }
        if (rc != 0) {
            return -1;
        }
    }
    if (!nr) {
        return err_set(err, ERR_DATA_LOSS, "the tuning job has no events");
    }
    const struct study_trial *best = study_best(t->study);
    t->status.best_trial = best ? best->id : 0;
    return 0;
}

static void on_row(struct store_load *l, const struct store_row *row, const struct store_event *ev,
                   size_t nr_ev) {
    struct ctl *c = l->arg;
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct tuning_spec spec = {0};
    struct err err = {0};
    if (c->cfg.tunings->decode(c->cfg.tunings_arg, a, row, &spec, &err) != 0) {
        arena_free(a);
        set_aside(c, row, &err);
        return;
    }
    struct tuning *t = tuning_new(c, a, &spec, row->create_time);
    int rc = tuning_replay(t, ev, nr_ev, &err);
    if (rc == 0 && tuning_is_over(&t->status)) {
        rc = err_set(&err, ERR_DATA_LOSS, "the row is live but its events end the tuning job");
    }
    if (rc != 0) {
        tuning_free(t);
        set_aside(c, row, &err);
        return;
    }
    adopt(c, t);
}

static void on_loaded(struct store_load *l, const struct err *err) {
    struct ctl *c = l->arg;
    c->nr_in_flight--;
    c->loaded_cb(c, err);
}

void tunings_load(struct ctl *c, void (*then)(struct ctl *c, const struct err *err)) {
    if (!c->cfg.tunings) {
        then(c, NULL);
        return;
    }
    c->loaded_cb = then;
    c->tuning_load =
        (struct store_load){.kind = STR(TUNING_KIND), .row = on_row, .end = on_loaded, .arg = c};
    c->nr_in_flight++;
    c->cfg.store->ops->load_live(c->cfg.store, &c->tuning_load);
}
