/* The door through which facts enter a tuning job, and their way to the store: saved first, then
 * applied. What is posted while a transaction is under way joins the next one. */
#include "ctl/tuning_int.h"

static void on_timer(struct timer *timer);

struct tuning *tuning_new(struct ctl *c, struct arena *a, const struct tuning_spec *spec,
                          usec_t created) {
    struct tuning *t = xcalloc(1, sizeof(*t));
    t->ctl = c;
    t->arena = a;
    t->spec = *spec;
    t->study = study_new(spec->study, created);
    t->status.max_trials = spec->study->budget.max_trials;
    t->status.parallel = spec->study->budget.parallel;
    t->status.max_failed = spec->study->budget.max_failed;
    list_init(&t->link);
    list_init(&t->inbox);
    list_init(&t->wishes);
    list_init(&t->in_flight);
    list_init(&t->granting);
    list_init(&t->runs);
    list_init(&t->zombies);
    t->first_open = 1;
    map_init(&t->said);
    t->timer.fn = on_timer;
    return t;
}

static void free_facts(struct list *l) {
    while (!list_is_empty(l)) {
        struct tuning_fact *f = list_first(l, struct tuning_fact, link);
        list_del(&f->link);
        tuning_fact_free(f);
    }
}

void tuning_free(struct tuning *t) {
    if (!t) {
        return;
    }
    while (!list_is_empty(&t->runs)) {
        tuning_run_free(list_first(&t->runs, struct tuning_run, link));
    }
    while (!list_is_empty(&t->zombies)) {
        tuning_run_free(list_first(&t->zombies, struct tuning_run, link));
    }
    while (!list_is_empty(&t->wishes)) {
        tuning_wish_free(list_first(&t->wishes, struct tuning_wish, link));
    }
    free_facts(&t->inbox);
    free_facts(&t->in_flight);
    free_facts(&t->granting);
    suggester_free(t->suggester);
    map_fini(&t->said);
    free(t->making_setting);
    study_free(t->study);
    arena_free(t->arena);
    free(t);
}

/* ---- facts ---- */

void tuning_fact_free(struct tuning_fact *f) {
    arena_free(f->arena);
}

static struct store_event stored_form(const struct tuning *t, const struct tuning_fact *f) {
    bool of_study = tuning_fact_is_of_study(f);
    return (struct store_event){.owner = t->spec.name,
                                .seq = f->seq,
                                .type = f->type,
                                .version = of_study ? STUDY_EVENT_VERSION : TUNING_EVENT_VERSION,
                                .time = f->time,
                                .body = f->body};
}

struct tuning_fact *tuning_fact_read(struct tuning *t, const struct store_event *in,
                                     struct err *err) {
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct tuning_fact *f = arena_alloc(a, sizeof(*f));
    list_init(&f->link);
    f->arena = a;
    f->seq = in->seq;
    f->time = in->time;
    f->type = in->type;
    int rc = tuning_fact_is_of_study(f) ? study_event_decode(a, t->spec.study, in, &f->study, err)
                                        : tuning_event_decode(a, in, &f->own, err);
    if (rc != 0) {
        arena_free(a);
        return NULL;
    }
    return f;
}

/* What is applied is what would be replayed: the stored form, read back. */
static struct tuning_fact *read_back(struct tuning *t, uint32_t type, usec_t time,
                                     struct str body) {
    struct tuning_fact tmp = {.type = type, .time = time ? time : ctl_wall(t->ctl), .body = body};
    struct store_event stored = stored_form(t, &tmp);
    struct err err = {0};
    struct tuning_fact *f = tuning_fact_read(t, &stored, &err);
    if (!f) {
        fprintf(stderr, "tuning job %.*s: %s\n", STR_ARG(t->spec.name), err.msg);
    }
    CHECK(f);
    f->body = arena_str(f->arena, body);
    return f;
}

struct tuning_fact *tuning_fact_own(struct tuning *t, struct tuning_event ev) {
    auto_buf struct buf body = BUF_INIT(BUF_NO_MAX);
    tuning_event_encode(&body, &ev);
    /* Its row and its log agree on when it was made. */
    usec_t time = ev.type == TUNING_EV_CREATED && t->creation ? t->creation->row.create_time : 0;
    return read_back(t, ev.type, time, buf_str(&body));
}

struct tuning_fact *tuning_fact_study(struct tuning *t, struct study_event ev) {
    auto_buf struct buf body = BUF_INIT(BUF_NO_MAX);
    study_event_encode(&body, t->spec.study, &ev);
    return read_back(t, ev.type, ev.time, buf_str(&body));
}

static void contradicts(const struct tuning *t, const struct err *err) {
    fprintf(stderr, "tuning job %.*s: %s\n", STR_ARG(t->spec.name), err->msg);
    CHECK(!"ctl contradicts itself");
}

static void learn(struct tuning *t, const struct tuning_fact *f) {
    struct err err;
    struct study_event ev = f->study;
    ev.seq = f->seq;
    if (tuning_fact_is_of_study(f) && !f->is_believed && study_apply(t->study, &ev, &err) != 0) {
        contradicts(t, &err);
    }
}

static void settle(struct tuning *t, const struct tuning_status *s) {
    const struct study_trial *best = study_best(t->study);
    const char *old = t->status.error_msg;
    bool is_new = s->error_msg && (!old || strcmp(old, s->error_msg) != 0);
    t->status = *s;
    t->status.error_msg = is_new ? arena_strdup(t->arena, s->error_msg) : old;
    t->status.best_trial = best ? best->id : 0;
}

int tuning_apply(struct tuning *t, const struct tuning_fact *f, struct err *err) {
    struct tuning_status s = t->status;
    struct study_event ev = f->study;
    bool is_first = t->seq == 0;
    if (f->seq != t->seq + 1 || is_first != (f->type == TUNING_EV_CREATED) || tuning_is_over(&s)) {
        return err_set(err, ERR_DATA_LOSS, "event %llu (type %u) does not follow event %llu",
                       (unsigned long long)f->seq, f->type, (unsigned long long)t->seq);
    }
    ev.seq = f->seq;
    if (tuning_fact_is_of_study(f) && study_apply(t->study, &ev, err) != 0) {
        return -1;
    }
    tuning_note(&s, f);
    if (s.error_msg && s.error_msg != t->status.error_msg) {
        s.error_msg = arena_strdup(t->arena, s.error_msg);
    }
    t->status = s;
    t->seq = f->seq;
    return 0;
}

static void put_fact(struct tuning *t, struct store_txn *txn, const struct tuning_fact *f) {
    struct store_event stored = stored_form(t, f);
    store_txn_event(txn, &stored);
}

static void put_status(struct tuning *t, struct store_txn *txn, const struct tuning_status *s) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    tuning_status_encode(&b, s);
    if (t->creation) {
        struct call_op *op = t->creation;
        op->row.status = arena_str(op->arena, buf_str(&b)); /* what is stored is answered */
        op->row.state = str_of(job_state_name(s->state));
        store_txn_insert(txn, &op->row);
    } else {
        store_txn_update(txn, t->spec.name, str_of(job_state_name(s->state)), buf_str(&b),
                         s->update_time, !tuning_is_over(s));
    }
}

/* ---- what a transaction's end means ---- */

static void answer(struct tuning_fact *f, const struct err *err) {
    if (f->op) {
        call_finish(take(&f->op), err);
    }
}

static void end_if_over(struct tuning *t) {
    struct ctl *c = t->ctl;
    if (!tuning_is_over(&t->status)) {
        return;
    }
    while (!list_is_empty(&t->wishes)) {
        struct tuning_wish *w = list_first(&t->wishes, struct tuning_wish, link);
        tuning_consider(t, w, &t->status); /* answers: there is nothing to edit any more */
    }
    c->tunings_finished++;
    if (c->cfg.job_done) {
        c->cfg.job_done(c->cfg.done_arg, t->spec.name);
    }
    tuning_retire(t);
}

static void end_run(struct tuning *t, const struct tuning_fact *f) {
    struct tuning_run *r =
        f->type == STUDY_EV_TRIAL_ENDED ? tuning_run_of(t, f->study.trial) : NULL;
    if (r) {
        tuning_run_end(r);
    }
}

static void on_saved(struct tuning *t) {
    struct tuning_fact *f;
    t->retries = 0;
    list_each (f, &t->in_flight, link) {
        learn(t, f);
        t->seq = f->seq;
    }
    settle(t, &t->next);
    while (!list_is_empty(&t->in_flight)) {
        f = list_first(&t->in_flight, struct tuning_fact, link);
        list_del(&f->link);
        tuning_narrate(t, f);
        end_run(t, f);
        answer(f, NULL);
        tuning_fact_free(f);
    }
    if (t->creation) {
        call_finish(take(&t->creation), NULL);
    }
    end_if_over(t);
}

/* Facts wait for another time; wishes were refused. */
static void take_back(struct tuning *t, const struct err *err) {
    struct list kept;
    list_init(&kept);
    while (!list_is_empty(&t->in_flight)) {
        struct tuning_fact *f = list_first(&t->in_flight, struct tuning_fact, link);
        list_del(&f->link);
        if (f->is_of_wish) {
            answer(f, err);
            tuning_fact_free(f);
        } else {
            list_push_tail(&kept, &f->link);
        }
    }
    while (!list_is_empty(&t->inbox)) { /* what was posted meanwhile comes after */
        struct list *l = t->inbox.next;
        list_del(l);
        list_push_tail(&kept, l);
    }
    while (!list_is_empty(&kept)) {
        struct list *l = kept.next;
        list_del(l);
        list_push_tail(&t->inbox, l);
    }
}

static void on_refused(struct tuning *t, const struct err *err) {
    bool is_full = err->code == ERR_RESOURCE_EXHAUSTED;
    if (t->creation) {
        /* Nobody was told of it: it never was. */
        call_finish(take(&t->creation), err);
        free_facts(&t->in_flight);
        tuning_retire(t);
        if (!is_full && err->code != ERR_ALREADY_EXISTS) {
            ctl_fatal(t->ctl, err);
        }
        return;
    }
    take_back(t, err);
    if (!is_full) {
        ctl_fatal(t->ctl, err);
    } else if (!list_is_empty(&t->inbox)) {
        tuning_retry_later(t);
    }
}

static void on_commit(struct store_txn *txn, const struct err *err) {
    struct tuning *t = txn->arg;
    struct ctl *c = t->ctl;
    ctl_enter(c);
    c->nr_in_flight--;
    t->busy = t->ours = false;
    if (err) {
        on_refused(t, err);
    } else {
        on_saved(t);
    }
    store_txn_fini(txn);
    tuning_pump(t);
    ctl_leave(c);
}

/* ---- the way to the store ---- */

static bool must_wait(const struct tuning *t) {
    return t->retry_due && ctl_mono(t->ctl) < t->retry_due;
}

/* A user's wish does not wait for a pause to pass: it is saved or refused now. */
static bool can_save(const struct tuning *t) {
    return !list_is_empty(&t->wishes) || (!list_is_empty(&t->inbox) && !must_wait(t));
}

static void include(struct tuning *t, struct tuning_fact *f, uint64_t *seq) {
    f->seq = ++*seq;
    tuning_note(&t->next, f);
    list_push_tail(&t->in_flight, &f->link);
}

/* A failure too many, told of in the same transaction as the failure. */
static void include_verdict(struct tuning *t, const struct tuning_fact *f, uint64_t *seq) {
    if (f->type != TUNING_EV_TRIAL_FAILED || t->next.ending || !tuning_has_failed(&t->next)) {
        return;
    }
    auto_free char *msg = xasprintf("Trial %llu: %s", (unsigned long long)f->own.trial,
                                    f->own.msg ? f->own.msg : "it failed.");
    include(t,
            tuning_fact_own(t, (struct tuning_event){.type = TUNING_EV_ENDING,
                                                     .state = JOB_STATE_FAILED,
                                                     .code = ERR_INVALID_ARGUMENT,
                                                     .msg = msg}),
            seq);
}

/* Moves the inbox, and the wishes that are granted, into in_flight. */
static void gather(struct tuning *t) {
    uint64_t seq = t->seq;
    t->next = t->status;
    while (!list_is_empty(&t->inbox)) {
        struct tuning_fact *f = list_first(&t->inbox, struct tuning_fact, link);
        list_del(&f->link);
        include(t, f, &seq);
        include_verdict(t, f, &seq);
    }
    while (!list_is_empty(&t->wishes)) {
        struct tuning_wish *w = list_first(&t->wishes, struct tuning_wish, link);
        tuning_consider(t, w, &t->next);
        while (!list_is_empty(&t->granting)) {
            struct tuning_fact *f = list_first(&t->granting, struct tuning_fact, link);
            list_del(&f->link);
            include(t, f, &seq);
        }
    }
}

static void save(struct tuning *t) {
    struct ctl *c = t->ctl;
    struct tuning_fact *f;
    gather(t);
    if (list_is_empty(&t->in_flight)) {
        return; /* wishes only, and none that changes anything */
    }
    store_txn_init(&t->txn, on_commit, t);
    put_status(t, &t->txn, &t->next);
    list_each (f, &t->in_flight, link) {
        put_fact(t, &t->txn, f);
    }
    t->busy = t->ours = true;
    t->retry_due = 0;
    c->nr_in_flight++;
    c->cfg.store->ops->commit(c->cfg.store, &t->txn);
}

static void rearm(struct tuning *t) {
    struct clock *k = t->ctl->cfg.clock;
    usec_t due = tuning_next_due(t);
    if (t->retry_due && (!due || t->retry_due < due)) {
        due = t->retry_due;
    }
    if (due) {
        k->ops->arm(k, &t->timer, due);
    } else {
        k->ops->disarm(k, &t->timer);
    }
}

void tuning_pump(struct tuning *t) {
    struct ctl *c = t->ctl;
    if (t->pumping || t->retired) {
        return;
    }
    t->pumping = true;
    while (!t->busy && !t->retired && !c->is_dead) {
        if (can_save(t)) {
            save(t);
            continue;
        }
        if (t->creation || !list_is_empty(&t->inbox) || must_wait(t) || !c->is_started ||
            ctl_is_idle(c)) {
            break;
        }
        t->retry_due = 0;
        tuning_act(t);
        if (!can_save(t)) {
            break;
        }
    }
    t->pumping = false;
    if (!t->retired) {
        rearm(t);
    }
}

static void on_timer(struct timer *timer) {
    struct tuning *t = CONTAINER_OF(timer, struct tuning, timer);
    struct ctl *c = t->ctl;
    ctl_enter(c);
    tuning_pump(t);
    ctl_leave(c);
}

void tuning_queue(struct tuning *t, struct tuning_event ev) {
    if (!t->retired) {
        list_push_tail(&t->inbox, &tuning_fact_own(t, ev)->link);
    }
}

void tuning_queue_study(struct tuning *t, struct study_event ev, bool is_believed) {
    if (!t->retired) {
        struct tuning_fact *f = tuning_fact_study(t, ev);
        f->is_believed = is_believed;
        list_push_tail(&t->inbox, &f->link);
    }
}

void tuning_wish(struct tuning *t, struct tuning_wish *w) {
    list_push_tail(&t->wishes, &w->link);
    tuning_pump(t);
}

void tuning_retry_later(struct tuning *t) {
    usec_t delay = FULL_DELAY_MIN << (t->retries < 6 ? t->retries : 6);
    t->retries++;
    t->retry_due = ctl_mono(t->ctl) + (delay < FULL_DELAY_MAX ? delay : FULL_DELAY_MAX);
}

/* ---- facts in the transaction that makes a job ---- */

void tuning_join(struct tuning *t, struct store_txn *txn, struct study_event *created,
                 const struct tuning_event *job) {
    const struct tuning_fact *f;
    uint64_t seq = t->seq;
    CHECK(t->busy && !t->ours && !t->creation && list_is_empty(&t->in_flight));
    t->next = t->status;
    if (created) {
        include(t, tuning_fact_study(t, *created), &seq);
    }
    if (job) {
        include(t, tuning_fact_own(t, *job), &seq);
    }
    put_status(t, txn, &t->next);
    list_each (f, &t->in_flight, link) {
        put_fact(t, txn, f);
    }
}

void tuning_joined(struct tuning *t, bool is_durable) {
    CHECK(t->busy && !t->ours);
    t->busy = false;
    if (is_durable) {
        CHECK(!list_is_empty(&t->in_flight));
        on_saved(t);
    } else {
        free_facts(&t->in_flight);
    }
}
