/* The only door through which facts enter a job, and their way to the store.
 *
 * A job has at most one transaction with the store. What is posted meanwhile is applied at once and
 * joins the next one, so events of one turn travel together and a slow disk makes batches larger,
 * not more. */
#include "ctl/ctl_int.h"

static void flush(struct job *j);

static struct fact *fact_new(const struct event *ev) {
    auto_buf struct buf body = BUF_INIT(BUF_NO_MAX);
    event_encode(&body, ev);
    struct fact *f = xmalloc(sizeof(*f) + body.n + 1);
    memcpy(f + 1, body.p, body.n + 1);
    list_init(&f->link);
    f->ev = (struct store_event){.seq = ev->seq,
                                 .type = ev->type,
                                 .version = EVENT_VERSION,
                                 .time = ev->time,
                                 .body = {(char *)(f + 1), body.n}};
    return f;
}

/* What is applied is what would be replayed: the stored form, read back. */
static void apply_fact(struct job *j, struct fact *f) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct event ev;
    struct err err;
    f->ev.seq = j->seq + 1;
    int rc = event_decode(a, &f->ev, &ev, &err);
    if (rc == 0) {
        rc = job_apply(j, &ev, &err);
    }
    if (rc != 0) {
        fprintf(stderr, "job %.*s: %s\n", STR_ARG(j->name), err.msg);
    }
    CHECK(rc == 0); /* ctl contradicts itself */
}

void job_post(struct job *j, struct event ev) {
    if (!ev.time) {
        ev.time = ctl_wall(j->ctl);
    }
    struct fact *f = fact_new(&ev);
    list_push_tail(&j->inbox, &f->link);
    job_drain(j);
}

void job_drain(struct job *j) {
    if (j->draining || j->trial_in_flight || j->retired) {
        return;
    }
    j->draining = true;
    do {
        while (!list_is_empty(&j->inbox)) {
            struct fact *f = list_first(&j->inbox, struct fact, link);
            list_del(&f->link);
            /* A finished attempt can still be talked about by events that were under way. */
            if (job_is_terminal(j)) {
                free(f);
                continue;
            }
            apply_fact(j, f);
            list_push_tail(&j->unsaved, &f->link);
        }
        job_reconcile(j);
        job_act(j);
    } while (!list_is_empty(&j->inbox));
    j->draining = false;
    flush(j);
    job_rearm(j);
}

void job_begin(struct job *j) {
    struct event ev = {.type = EV_JOB_CREATED, .time = j->creation->row.create_time};
    struct fact *f = fact_new(&ev);
    apply_fact(j, f);
    list_push_tail(&j->unsaved, &f->link);
}

void job_try_cancel(struct job *j, struct call_op *op) {
    list_push_tail(&j->trial_ops, &op->link);
    if (!j->trial) {
        struct event ev = {.type = EV_CANCEL_REQUESTED, .time = ctl_wall(j->ctl)};
        j->trial = fact_new(&ev);
    }
    job_drain(j);
}

/* Facts that only say how far we are may wait a little for company. */
static bool is_patient(uint32_t type) {
    return type == EV_ATTEMPT_PLACED || type == EV_ATTEMPT_STEP || type == EV_ATTEMPT_STAGED ||
           type == EV_STOP_SENT || type == EV_MEASURED;
}

/* True when what is unsaved has to go now; else flush_due says when. */
static bool is_urgent(struct job *j) {
    struct fact *f;
    if (j->trial || j->retry_due || j->ctl->is_stopping) {
        return true;
    }
    list_each (f, &j->unsaved, link) {
        if (!is_patient(f->ev.type)) {
            return true;
        }
    }
    usec_t now = ctl_mono(j->ctl);
    if (!j->flush_due) {
        j->flush_due = now + FLUSH_DELAY;
    }
    return now >= j->flush_due;
}

static void answer_trial(struct job *j, const struct err *err) {
    while (!list_is_empty(&j->trial_ops)) {
        struct call_op *op = list_first(&j->trial_ops, struct call_op, link);
        list_del(&op->link);
        call_finish(op, err);
    }
}

static void drop_trial(struct job *j, const struct err *err) {
    free(j->trial);
    j->trial = NULL;
    answer_trial(j, err);
}

/* A cancel that waited behind another commit may find the outcome decided: then it changes nothing.
 */
static void drop_moot_trial(struct job *j) {
    if (j->trial && !j->trial_in_flight && !job_may_cancel(j)) {
        drop_trial(j, NULL);
    }
}

static void narrate(struct job *j, const struct fact *f) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct event ev;
    if (j->ctl->cfg.service_log && event_decode(a, &f->ev, &ev, NULL) == 0) {
        job_narrate(j, &ev);
    }
}

static void on_saved(struct job *j) {
    j->retry_due = 0;
    j->retries = 0;
    for (; j->nr_in_flight; j->nr_in_flight--) {
        struct fact *f = list_first(&j->unsaved, struct fact, link);
        list_del(&f->link);
        j->durable = f->ev.seq;
        narrate(j, f);
        free(f);
    }
    if (j->creation) {
        call_finish(take(&j->creation), NULL);
    }
    if (j->trial_in_flight) {
        struct fact *f = take(&j->trial);
        CHECK(list_is_empty(&j->unsaved));
        apply_fact(j, f);
        j->durable = j->seq;
        narrate(j, f);
        free(f);
        answer_trial(j, NULL);
    }
}

static void on_refused(struct job *j, const struct err *err) {
    struct ctl *c = j->ctl;
    bool is_full = err->code == ERR_RESOURCE_EXHAUSTED;
    j->nr_in_flight = 0;
    if (j->creation) {
        /* Nobody was told of it: it never was. */
        call_finish(take(&j->creation), err);
        ctl_retire(c, j);
        if (!is_full && err->code != ERR_ALREADY_EXISTS) {
            ctl_fatal(c, err);
        }
        return;
    }
    if (j->trial) {
        drop_trial(j, err);
    }
    if (!is_full) {
        ctl_fatal(c, err);
        return;
    }
    usec_t delay = FULL_DELAY_MIN << (j->retries < 6 ? j->retries : 6);
    j->retries++;
    j->retry_err = *err;
    j->retry_due = list_is_empty(&j->unsaved)
                       ? 0
                       : ctl_mono(c) + (delay < FULL_DELAY_MAX ? delay : FULL_DELAY_MAX);
}

static void tell_watcher(struct job *j) {
    if (j->watch) {
        j->watch(j->watch_arg, j);
    }
}

static void on_commit(struct store_txn *t, const struct err *err) {
    struct job *j = t->arg;
    struct ctl *c = j->ctl;
    ctl_enter(c);
    j->committing = false;
    c->nr_in_flight--;
    if (!err) {
        on_saved(j);
    } else {
        on_refused(j, err);
    }
    j->trial_in_flight = false;
    store_txn_fini(t);
    if (!j->retired) {
        drop_moot_trial(j);
        if (job_is_terminal(j) && job_is_settled(j)) {
            c->finished_total++;
            if (c->cfg.job_done) {
                c->cfg.job_done(c->cfg.done_arg, j->name);
            }
            tell_watcher(j);
            ctl_retire(c, j);
        } else {
            tell_watcher(j);
            job_drain(j);
        }
    }
    ctl_leave(c);
}

static void flush(struct job *j) {
    struct ctl *c = j->ctl;
    if (j->committing || c->is_dead || j->retired) {
        return;
    }
    drop_moot_trial(j);
    if (j->retry_due && ctl_mono(c) < j->retry_due) {
        if (j->trial) {
            drop_trial(j, &j->retry_err);
        }
        return;
    }
    if ((list_is_empty(&j->unsaved) && !j->trial) ||
        (!list_is_empty(&j->unsaved) && !is_urgent(j))) {
        return;
    }
    auto_buf struct buf status = BUF_INIT(BUF_NO_MAX);
    usec_t now = ctl_wall(c);
    struct fact *f;
    j->flush_due = 0;
    store_txn_init(&j->txn, on_commit, j);
    job_encode_status(j, &status, now, j->trial != NULL);
    if (j->creation) {
        struct call_op *op = j->creation;
        op->row.status = arena_str(op->arena, buf_str(&status)); /* what is stored is answered */
        store_txn_insert(&j->txn, &op->row);
        if (j->join) {
            j->join(j->join_arg, j, &j->txn);
        }
    } else {
        enum job_state state = j->trial ? JOB_STATE_CANCELLING : j->status.state;
        store_txn_update(&j->txn, j->name, str_of(job_state_name(state)), buf_str(&status),
                         j->trial ? now : j->status.update_time, !job_is_terminal(j));
    }
    list_each (f, &j->unsaved, link) {
        f->ev.owner = j->name;
        store_txn_event(&j->txn, &f->ev);
        j->nr_in_flight++;
    }
    if (j->trial) {
        j->trial->ev.owner = j->name;
        j->trial->ev.seq = j->seq + 1;
        store_txn_event(&j->txn, &j->trial->ev);
        j->trial_in_flight = true;
    }
    j->committing = true;
    c->nr_in_flight++;
    c->cfg.store->ops->commit(c->cfg.store, &j->txn);
}
