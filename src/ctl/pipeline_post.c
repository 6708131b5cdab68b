/* The door through which facts enter a pipeline, and their way to the store: saved first, then
 * applied. What is posted while a transaction is under way joins the next one. */
#include "ctl/pipeline_int.h"

static void on_timer(struct timer *t);

struct pipeline *pipeline_new(struct ctl *c, struct arena *a, const struct pipeline_spec *spec) {
    struct pipeline *p = xcalloc(1, sizeof(*p));
    p->ctl = c;
    p->arena = a;
    p->spec = *spec;
    list_init(&p->link);
    list_init(&p->inbox);
    list_init(&p->trial_ops);
    p->timer.fn = on_timer;
    return p;
}

void pipeline_free(struct pipeline *p) {
    if (p) {
        arena_free(p->get_arena);
        arena_free(p->arena);
        free(p);
    }
}

/* ---- facts ---- */

static struct store_event stored_form(const struct pipeline *p, const struct pipeline_fact *f) {
    return (struct store_event){.owner = p->spec.name,
                                .seq = f->ev.seq,
                                .type = f->ev.type,
                                .version = PIPELINE_EVENT_VERSION,
                                .time = f->ev.time,
                                .body = f->body};
}

/* What is applied is what would be replayed: the stored form, read back. */
static struct pipeline_fact *fact_new(struct pipeline *p, struct pipeline_event *ev) {
    auto_buf struct buf body = BUF_INIT(BUF_NO_MAX);
    struct pipeline_fact *f = arena_alloc(p->arena, sizeof(*f));
    if (!ev->time) {
        ev->time = ctl_wall(p->ctl);
    }
    pipeline_event_encode(&body, ev);
    list_init(&f->link);
    f->ev = *ev;
    f->body = arena_str(p->arena, buf_str(&body));
    struct store_event stored = stored_form(p, f);
    struct err err;
    CHECK(pipeline_event_decode(p->arena, &stored, &f->ev, &err) == 0);
    return f;
}

static void apply(struct pipeline *p, struct pipeline_fact *f, uint64_t seq,
                  struct pipeline_status *s) {
    struct err err;
    f->ev.seq = seq;
    if (pipeline_apply(s, &p->spec, &f->ev, &err) != 0) {
        fprintf(stderr, "pipeline %.*s: %s\n", STR_ARG(p->spec.name), err.msg);
        CHECK(!"ctl contradicts itself");
    }
}

static void put_fact(struct pipeline *p, struct store_txn *t, const struct pipeline_fact *f) {
    struct store_event stored = stored_form(p, f);
    store_txn_event(t, &stored);
}

static void put_status(struct pipeline *p, struct store_txn *t, const struct pipeline_status *s) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    pipeline_status_encode(&b, s);
    if (p->creation) {
        struct call_op *op = p->creation;
        op->row.status = arena_str(op->arena, buf_str(&b)); /* what is stored is answered */
        op->row.state = str_of(pipeline_state_name(s->state));
        store_txn_insert(t, &op->row);
    } else {
        store_txn_update(t, p->spec.name, str_of(pipeline_state_name(s->state)), buf_str(&b),
                         s->update_time, !pipeline_is_over(s));
    }
}

/* ---- words: lines of the service log, once each, when what they tell of is durable ---- */

static void say(struct pipeline *p, usec_t when, int severity, const char *text) {
    const struct ctl_config *cfg = &p->ctl->cfg;
    cfg->service_log(cfg->log_arg, p->spec.project_number, p->spec.id.p, when, severity, text);
}

static void narrate(struct pipeline *p, const struct pipeline_event *ev) {
    const struct pipeline_status *s = &p->status;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    if (!p->ctl->cfg.service_log) {
        return;
    }
    if (ev->type == PIPELINE_EV_EXPORTED) {
        buf_printf(&b,
                   "The dataset was exported as %s: %llu training, %llu validation and %llu "
                   "test items.",
                   s->data.format, (unsigned long long)s->data.items[SET_TRAINING],
                   (unsigned long long)s->data.items[SET_VALIDATION],
                   (unsigned long long)s->data.items[SET_TEST]);
        say(p, ev->time, 200, buf_cstr(&b));
    } else if (ev->type == PIPELINE_EV_CHILD_RUNNING) {
        buf_printf(&b, "Training runs as %s.", s->child);
        say(p, ev->time, 200, buf_cstr(&b));
    } else if (s->phase == PIPELINE_UPLOADING && ev->type == PIPELINE_EV_CHILD_DONE) {
        say(p, ev->time, 200, "Training is done; its artefacts are being uploaded as a model.");
    }
    if (!pipeline_is_over(s)) {
        return;
    }
    buf_clear(&b);
    if (s->state == PIPELINE_STATE_SUCCEEDED && s->model.name) {
        buf_printf(&b, "Training pipeline completed successfully: model %s, version %s.",
                   s->model.name, s->model.version);
    } else if (s->state == PIPELINE_STATE_SUCCEEDED) {
        buf_puts(&b, "Training pipeline completed successfully.");
    } else if (s->state == PIPELINE_STATE_CANCELLED) {
        buf_puts(&b, "Training pipeline is cancelled.");
    } else {
        buf_puts(&b, s->error_msg ? s->error_msg : "");
    }
    say(p, ev->time, s->state == PIPELINE_STATE_FAILED ? 500 : 200, buf_cstr(&b));
    say(p, ev->time, 0, NULL); /* no more lines */
}

/* ---- what a transaction's end means ---- */

static void answer_trial(struct pipeline *p, const struct err *err) {
    p->trial = NULL;
    while (!list_is_empty(&p->trial_ops)) {
        struct call_op *op = list_first(&p->trial_ops, struct call_op, link);
        list_del(&op->link);
        call_finish(op, err);
    }
}

static void drop_moot_trial(struct pipeline *p) {
    if (p->trial && !p->trial_in_flight &&
        (pipeline_is_over(&p->status) || p->status.cancel_requested)) {
        answer_trial(p, NULL);
    }
}

static void end_if_over(struct pipeline *p) {
    struct ctl *c = p->ctl;
    drop_moot_trial(p);
    if (!pipeline_is_over(&p->status)) {
        return;
    }
    c->pipelines_finished++;
    if (c->cfg.job_done) {
        c->cfg.job_done(c->cfg.done_arg, p->spec.name);
    }
    pipeline_retire(p);
}

static void on_saved(struct pipeline *p) {
    p->status = p->next;
    p->retries = 0;
    for (; p->nr_in_flight; p->nr_in_flight--) {
        struct pipeline_fact *f = list_first(&p->inbox, struct pipeline_fact, link);
        list_del(&f->link);
        p->seq = f->ev.seq;
        narrate(p, &f->ev);
    }
    if (p->creation) {
        call_finish(take(&p->creation), NULL);
    }
    if (p->trial_in_flight) {
        p->trial_in_flight = false;
        p->seq = p->trial->ev.seq;
        answer_trial(p, NULL);
    }
    end_if_over(p);
}

static void on_refused(struct pipeline *p, const struct err *err) {
    bool is_full = err->code == ERR_RESOURCE_EXHAUSTED;
    p->nr_in_flight = 0;
    if (p->creation) {
        /* Nobody was told of it: it never was. */
        call_finish(take(&p->creation), err);
        pipeline_retire(p);
        if (!is_full && err->code != ERR_ALREADY_EXISTS) {
            ctl_fatal(p->ctl, err);
        }
        return;
    }
    if (p->trial_in_flight) {
        p->trial_in_flight = false;
        answer_trial(p, err);
    }
    if (!is_full) {
        ctl_fatal(p->ctl, err);
    } else if (!list_is_empty(&p->inbox)) {
        pipeline_retry_later(p);
    }
}

static void on_commit(struct store_txn *t, const struct err *err) {
    struct pipeline *p = t->arg;
    struct ctl *c = p->ctl;
    ctl_enter(c);
    c->nr_in_flight--;
    p->busy = p->ours = false;
    if (err) {
        on_refused(p, err);
    } else {
        on_saved(p);
    }
    store_txn_fini(t);
    pipeline_pump(p);
    ctl_leave(c);
}

/* ---- the way to the store ---- */

static bool must_wait(const struct pipeline *p) {
    return p->retry_due && ctl_mono(p->ctl) < p->retry_due;
}

/* A user's wish does not wait for a pause to pass: it is saved or refused now. */
static bool can_save(const struct pipeline *p) {
    return p->trial || (!list_is_empty(&p->inbox) && !must_wait(p));
}

static void save(struct pipeline *p) {
    struct ctl *c = p->ctl;
    struct pipeline_fact *f;
    uint64_t seq = p->seq;
    p->next = p->status;
    list_each (f, &p->inbox, link) {
        apply(p, f, ++seq, &p->next);
        p->nr_in_flight++;
    }
    if (p->trial && !pipeline_is_over(&p->next)) {
        apply(p, p->trial, ++seq, &p->next);
        p->trial_in_flight = true;
    }
    store_txn_init(&p->txn, on_commit, p);
    put_status(p, &p->txn, &p->next);
    list_each (f, &p->inbox, link) {
        put_fact(p, &p->txn, f);
    }
    if (p->trial_in_flight) {
        put_fact(p, &p->txn, p->trial);
    }
    p->busy = p->ours = true;
    p->retry_due = 0;
    c->nr_in_flight++;
    c->cfg.store->ops->commit(c->cfg.store, &p->txn);
}

static void rearm(struct pipeline *p) {
    struct clock *k = p->ctl->cfg.clock;
    if (p->retry_due) {
        k->ops->arm(k, &p->timer, p->retry_due);
    } else {
        k->ops->disarm(k, &p->timer);
    }
}

void pipeline_pump(struct pipeline *p) {
    struct ctl *c = p->ctl;
    if (p->pumping || p->retired) {
        return;
    }
    p->pumping = true;
    while (!p->busy && !p->retired && !c->is_dead) {
        if (can_save(p)) {
            save(p);
            break;
        }
        if (p->creation || !list_is_empty(&p->inbox) || must_wait(p) || !c->is_started ||
            ctl_is_idle(c)) {
            break;
        }
        p->retry_due = 0;
        pipeline_act(p);
        if (!can_save(p)) {
            break;
        }
    }
    p->pumping = false;
    if (!p->retired) {
        rearm(p);
    }
}

static void on_timer(struct timer *t) {
    struct pipeline *p = CONTAINER_OF(t, struct pipeline, timer);
    struct ctl *c = p->ctl;
    ctl_enter(c);
    pipeline_pump(p);
    ctl_leave(c);
}

void pipeline_post(struct pipeline *p, struct pipeline_event ev) {
    if (!p->retired) {
        list_push_tail(&p->inbox, &fact_new(p, &ev)->link);
        pipeline_pump(p);
    }
}

void pipeline_try_cancel(struct pipeline *p, struct call_op *op) {
    list_push_tail(&p->trial_ops, &op->link);
    if (!p->trial) {
        struct pipeline_event ev = {.type = PIPELINE_EV_CANCEL_REQUESTED};
        p->trial = fact_new(p, &ev);
    }
    pipeline_pump(p);
}

void pipeline_retry_later(struct pipeline *p) {
    usec_t delay = FULL_DELAY_MIN << (p->retries < 6 ? p->retries : 6);
    p->retries++;
    p->retry_due = ctl_mono(p->ctl) + (delay < FULL_DELAY_MAX ? delay : FULL_DELAY_MAX);
}

/* ---- facts in others' transactions ---- */

void pipeline_join(struct pipeline *p, struct store_txn *t, struct pipeline_event ev) {
    CHECK(p->busy && !p->ours && !p->creation);
    p->joined = fact_new(p, &ev);
    p->next = p->status;
    apply(p, p->joined, p->seq + 1, &p->next);
    put_status(p, t, &p->next);
    put_fact(p, t, p->joined);
}

void pipeline_joined(struct pipeline *p, bool is_durable) {
    struct pipeline_fact *f = take(&p->joined);
    CHECK(p->busy && !p->ours);
    p->busy = false;
    if (is_durable) {
        CHECK(f);
        p->status = p->next;
        p->seq = f->ev.seq;
        p->retries = 0;
        narrate(p, &f->ev);
        end_if_over(p);
    }
}
