/* What a job's facts call for: its place in the queue, what it holds of the machine, its deadlines.
 */
#include "ctl/ctl_int.h"

static bool is_waiting(const struct job *j) {
    return job_is_born(j) && !job_is_terminal(j) && j->attempt->sm.state == PHASE_WAITING;
}

static void reconcile_queue(struct job *j) {
    struct ctl *c = j->ctl;
    bool want = is_waiting(j) && j->attempt->not_before <= ctl_wall(c);
    if (want && !j->qnode.queued) {
        queue_insert(&c->queue, &j->qnode);
        c->need_schedule = true;
    } else if (!want && j->qnode.queued) {
        queue_remove(&c->queue, &j->qnode);
        c->need_schedule = true; /* the next one moves up */
    }
}

static void hold_take(struct job *j) {
    const struct attempt *a = j->attempt;
    struct ctl *c = j->ctl;
    struct hold *h = xcalloc(1, sizeof(*h));
    h->attempt = a->nr;
    h->nr = a->nr_replicas;
    h->cpu = h->devices = true;
    h->places = xcalloc(h->nr, sizeof(*h->places));
    memcpy(h->places, a->places, h->nr * sizeof(*h->places));
    ledger_take(&c->ledger, h->places, h->nr);
    ledger_take_devices(&c->ledger, &c->total, h->places, h->nr);
    j->hold = h;
}

/* Processor and memory come back when nothing of the attempt can run any more, devices when the
 * attempt is over; both only once that is durable, or a restart could place two jobs on them. */
static void hold_give(struct job *j) {
    const struct attempt *a = j->attempt;
    struct ctl *c = j->ctl;
    struct hold *h = j->hold;
    if (!job_is_settled(j)) {
        return;
    }
    bool is_over = a->nr != h->attempt || a->sm.state == PHASE_DONE;
    bool is_still = is_over || (a->sm.state == PHASE_COLLECTING && attempt_nr_alive(a) == 0);
    if (h->cpu && is_still) {
        ledger_give(&c->ledger, h->places, h->nr);
        h->cpu = false;
        c->need_schedule = true;
    }
    if (h->devices && is_over) {
        ledger_give_devices(&c->ledger, &c->total, h->places, h->nr);
        h->devices = false;
        c->need_schedule = true;
    }
    if (!h->cpu && !h->devices) {
        free(h->places);
        free(take(&j->hold));
        c->need_schedule = true;
    }
}

void job_reconcile(struct job *j) {
    const struct attempt *a = j->attempt;
    reconcile_queue(j);
    if (!j->hold && a->places && a->sm.state >= PHASE_PLACED && a->sm.state <= PHASE_COLLECTING) {
        hold_take(j);
    }
    if (j->hold) {
        hold_give(j);
    }
}

/* Wall time of the limit that is nearest, and which it is. */
static usec_t next_deadline(const struct job *j, enum deadline_kind *ret_kind) {
    const struct job_spec *s = j->spec;
    usec_t from = j->status.start_time, limit = s->timeout;
    *ret_kind = DEADLINE_RUN;
    if (!from && s->strategy == STRATEGY_FLEX_START && j->attempt->sm.state == PHASE_WAITING) {
        from = j->status.create_time;
        limit = s->max_wait;
        *ret_kind = DEADLINE_WAIT;
    }
    if (!from || !limit || limit >= USEC_NEVER - from || !job_may_cancel(j)) {
        return USEC_NEVER;
    }
    return from + limit;
}

static void finish_attempt(struct job *j) {
    struct ctl *c = j->ctl;
    struct attempt *a = j->attempt;
    auto_buf struct buf msg = BUF_INIT(BUF_NO_MAX);
    struct event ev = {.type = EV_JOB_DONE, .attempt = a->nr};
    switch (a->verdict) {
    case VERDICT_SUCCEEDED:
        ev.state = JOB_STATE_SUCCEEDED;
        break;
    case VERDICT_CANCELLED:
        ev.state = JOB_STATE_CANCELLED;
        ev.code = ERR_CANCELLED;
        ev.msg = "CANCELED";
        break;
    case VERDICT_FAILED:
        ev.state = JOB_STATE_FAILED;
        ev.code = job_error(j, &msg);
        ev.msg = buf_cstr(&msg);
        break;
    case VERDICT_RETRY: {
        usec_t pause = outcome_backoff(a->policy, j->used[a->policy], rng_unit(c->cfg.rng));
        ev.type = EV_RETRY;
        ev.policy = a->policy;
        ev.time = ctl_wall(c);
        ev.not_before = pause ? ev.time + pause : 0;
        ev.code = job_error(j, &msg);
        ev.msg = buf_cstr(&msg);
        break;
    }
    case VERDICT_NONE:
        CHECK(!"an attempt ended without a verdict");
    }
    job_post(j, ev);
}

void job_act(struct job *j) {
    struct ctl *c = j->ctl;
    enum deadline_kind kind;
    if (!job_is_born(j) || job_is_terminal(j) || ctl_is_idle(c) || !c->is_started) {
        return;
    }
    /* Each of these posts, and the drain acts again on the new facts. */
    if (j->attempt->sm.state == PHASE_DONE) {
        finish_attempt(j);
        return;
    }
    if (next_deadline(j, &kind) <= ctl_wall(c)) {
        job_post(j,
                 (struct event){.type = EV_DEADLINE, .attempt = j->attempt->nr, .deadline = kind});
        return;
    }
    attempt_act(j->attempt);
}

static void on_timer(struct timer *t) {
    struct job *j = CONTAINER_OF(t, struct job, timer);
    struct ctl *c = j->ctl;
    ctl_enter(c);
    job_drain(j);
    ctl_leave(c);
}

void job_rearm(struct job *j) {
    struct ctl *c = j->ctl;
    struct clock *k = c->cfg.clock;
    usec_t wall = ctl_wall(c), mono = ctl_mono(c), due = USEC_NEVER;
    enum deadline_kind kind;
    if (j->retired || c->is_dead) {
        return;
    }
    if (!job_is_terminal(j) && job_is_born(j) && c->is_started && !c->is_stopping) {
        usec_t at = next_deadline(j, &kind);
        usec_t next = attempt_next_due(j->attempt);
        at = next < at ? next : at;
        if (is_waiting(j) && !j->qnode.queued && j->attempt->not_before < at) {
            at = j->attempt->not_before;
        }
        if (at != USEC_NEVER) {
            due = mono + (at > wall ? at - wall : 0);
        }
    }
    if (!j->committing) {
        if (j->retry_due && j->retry_due < due) {
            due = j->retry_due;
        } else if (!j->retry_due && j->flush_due && j->flush_due < due) {
            due = j->flush_due;
        }
    }
    j->timer.fn = on_timer;
    if (due == USEC_NEVER) {
        k->ops->disarm(k, &j->timer);
    } else {
        k->ops->arm(k, &j->timer, due);
    }
}
