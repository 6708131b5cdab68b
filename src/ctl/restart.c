/* Start-up: load, coldplug, catch up, act, sweep. Remembering comes before looking, looking before
 * doing. The first start is a restart with nothing to remember. */
#include "ctl/ctl_int.h"

static int replay(struct job *j, const struct store_event *ev, size_t nr, struct err *err) {
    for (size_t i = 0; i < nr; i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        struct event e;
        if (event_decode(a, &ev[i], &e, err) != 0 || job_apply(j, &e, err) != 0) {
            return -1;
        }
        j->durable = j->seq;
    }
    if (!j->attempt) {
        return err_set(err, ERR_DATA_LOSS, "the job has no events");
    }
    if (job_is_terminal(j)) {
        return err_set(err, ERR_DATA_LOSS, "the row is live but its events end the job");
    }
    j->attempt->replayed = true;
    return 0;
}

static void on_row(struct store_load *l, const struct store_row *row, const struct store_event *ev,
                   size_t nr_ev) {
    struct ctl *c = l->arg;
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct job_spec *spec = NULL;
    struct err err = {0};
    if (c->cfg.decode_spec(c->cfg.decode_arg, a, row, &spec, &err) != 0) {
        arena_free(a);
        ctl_set_aside(c, row, &err);
        return;
    }
    struct job *j = job_new(c, a, row->name, spec);
    if (replay(j, ev, nr_ev, &err) != 0) {
        job_free(j);
        ctl_set_aside(c, row, &err);
        return;
    }
    ctl_adopt(c, j);
}

static bool is_live_cb(void *arg, const char *job_id, uint32_t attempt) {
    return ctl_attempt_is_live(arg, job_id, attempt);
}

static void finish(struct ctl *c) {
    struct job *j;
    if (c->is_started || c->nr_attaching) {
        return;
    }
    c->is_started = true;
    c->need_schedule = true;
    list_each (j, &c->jobs, link) {
        job_drain(j);
    }
    parents_pump(&c->pipelines);
    parents_pump(&c->tunings);
    if (c->cfg.engine->ops->sweep) {
        c->cfg.engine->ops->sweep(c->cfg.engine, is_live_cb, c);
    }
    c->start_pending = true;
    ctl_soon(c);
}

void restart_attached(struct ctl *c) {
    CHECK(c->nr_attaching > 0);
    c->nr_attaching--;
    if (c->nr_attaching == 0) {
        finish(c);
    }
}

static void catch_up(struct ctl *c, const struct err *err) {
    struct job *j, *tmp;
    ctl_enter(c);
    if (err) {
        c->start_err = *err;
        c->start_pending = true;
        c->is_dead = true;
        ctl_soon(c);
        ctl_leave(c);
        return;
    }
    list_each (j, &c->jobs, link) { /* coldplug */
        job_reconcile(j);
        job_rearm(j);
    }
    c->nr_attaching = 1; /* so that none of the reports ends the catching up early */
    list_each_safe (j, tmp, &c->jobs, link) {
        unsigned p = j->attempt->sm.state;
        if (p >= PHASE_STARTING && p <= PHASE_STOPPING) {
            c->nr_attaching++;
            attempt_reattach(j->attempt);
        }
    }
    restart_attached(c);
    ctl_leave(c);
}

static void after_pipelines(struct ctl *c, const struct err *err) {
    if (err) {
        catch_up(c, err);
    } else {
        parents_load(&c->tunings, catch_up);
    }
}

static void on_loaded(struct store_load *l, const struct err *err) {
    struct ctl *c = l->arg;
    c->nr_in_flight--;
    if (err) {
        catch_up(c, err);
    } else {
        parents_load(&c->pipelines, after_pipelines);
    }
}

void restart_begin(struct ctl *c) {
    c->load =
        (struct store_load){.kind = STR("customJob"), .row = on_row, .end = on_loaded, .arg = c};
    c->nr_in_flight++;
    c->cfg.store->ops->load_live(c->cfg.store, &c->load);
}
