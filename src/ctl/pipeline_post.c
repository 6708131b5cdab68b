/* The door through which facts enter a pipeline, and their way to the store: saved first, then
 * applied. What is posted while a transaction is under way joins the next one. */
#include "ctl/pipeline_int.h"
#include "ctl/tuning_int.h"

struct pipeline *pipeline_new(struct ctl *c, struct arena *a, const struct pipeline_spec *spec) {
    struct pipeline *p = xcalloc(1, sizeof(*p));
    parent_init(&p->base, &c->pipelines, a, spec->name);
    p->spec = *spec;
    list_init(&p->trial_ops);
    return p;
}

void pipeline_free(struct pipeline *p) {
    if (p) {
        if (p->reading) {
            tuning_read_abandon(&p->read);
        }
        arena_free(p->get_arena);
        arena_free(p->base.arena);
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
    struct pipeline_fact *f = arena_alloc(p->base.arena, sizeof(*f));
    if (!ev->time) {
        ev->time = ctl_wall(p->base.ctl);
    }
    pipeline_event_encode(&body, ev);
    list_init(&f->link);
    f->ev = *ev;
    f->body = arena_str(p->base.arena, buf_str(&body));
    struct store_event stored = stored_form(p, f);
    struct err err;
    CHECK(pipeline_event_decode(p->base.arena, &stored, &f->ev, &err) == 0);
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
    parent_put_row(&p->base, t, pipeline_state_name(s->state), buf_str(&b), s->update_time,
                   pipeline_is_over(s));
}

/* ---- words: lines of the service log, once each, when what they tell of is durable ---- */

static void say(struct pipeline *p, usec_t when, int severity, const char *text) {
    const struct ctl_config *cfg = &p->base.ctl->cfg;
    cfg->service_log(cfg->log_arg, p->spec.project_number, p->spec.id.p, when, severity, text);
}

static void narrate(struct pipeline *p, const struct pipeline_event *ev) {
    const struct pipeline_status *s = &p->status;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    if (!p->base.ctl->cfg.service_log) {
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
        buf_puts(&b, "Training is done; its artefacts are being uploaded as a model.");
        if (s->best_trial) {
            buf_clear(&b);
            buf_printf(&b,
                       "Tuning is done; trial %llu is best, its artefacts are being uploaded as a "
                       "model.",
                       (unsigned long long)s->best_trial);
        }
        say(p, ev->time, 200, buf_cstr(&b));
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

void pipeline_saved(struct parent *base) {
    struct pipeline *p = pipeline_of(base);
    struct pipeline_fact *f;
    p->status = p->next;
    for (; p->nr_in_flight; p->nr_in_flight--) {
        f = list_first(&base->inbox, struct pipeline_fact, link);
        list_del(&f->link);
        base->seq = f->ev.seq;
        narrate(p, &f->ev);
    }
    if (p->trial_in_flight) {
        p->trial_in_flight = false;
        base->seq = p->trial->ev.seq;
        answer_trial(p, NULL);
    }
    f = take(&p->joined);
    if (f) {
        base->seq = f->ev.seq;
        narrate(p, &f->ev);
    }
    drop_moot_trial(p);
}

void pipeline_refused(struct parent *base, const struct err *err) {
    struct pipeline *p = pipeline_of(base);
    p->nr_in_flight = 0;
    if (p->trial_in_flight) {
        p->trial_in_flight = false;
        answer_trial(p, err);
    }
}

/* ---- the way to the store ---- */

bool pipeline_is_urgent(const struct parent *p) {
    return pipeline_of(p)->trial != NULL;
}

bool pipeline_gather(struct parent *base, struct store_txn *txn) {
    struct pipeline *p = pipeline_of(base);
    struct pipeline_fact *f;
    uint64_t seq = base->seq;
    p->next = p->status;
    list_each (f, &base->inbox, link) {
        apply(p, f, ++seq, &p->next);
        p->nr_in_flight++;
    }
    if (p->trial && !pipeline_is_over(&p->next)) {
        apply(p, p->trial, ++seq, &p->next);
        p->trial_in_flight = true;
    }
    put_status(p, txn, &p->next);
    list_each (f, &base->inbox, link) {
        put_fact(p, txn, f);
    }
    if (p->trial_in_flight) {
        put_fact(p, txn, p->trial);
    }
    return true;
}

void pipeline_post(struct pipeline *p, struct pipeline_event ev) {
    if (!p->base.retired) {
        list_push_tail(&p->base.inbox, &fact_new(p, &ev)->link);
        parent_pump(&p->base);
    }
}

void pipeline_try_cancel(struct pipeline *p, struct call_op *op) {
    list_push_tail(&p->trial_ops, &op->link);
    if (!p->trial) {
        struct pipeline_event ev = {.type = PIPELINE_EV_CANCEL_REQUESTED};
        p->trial = fact_new(p, &ev);
    }
    parent_pump(&p->base);
}

/* ---- facts in others' transactions ---- */

void pipeline_join(struct pipeline *p, struct store_txn *t, struct pipeline_event ev) {
    CHECK(p->base.busy && !p->base.ours && !p->base.creation);
    p->joined = fact_new(p, &ev);
    p->next = p->status;
    apply(p, p->joined, p->base.seq + 1, &p->next);
    put_status(p, t, &p->next);
    put_fact(p, t, p->joined);
}

void pipeline_joined(struct pipeline *p, bool is_durable) {
    CHECK(p->base.busy && !p->base.ours && (p->joined || !is_durable));
    p->base.busy = false;
    if (is_durable) {
        parent_saved(&p->base);
    } else {
        p->joined = NULL;
    }
}
