/* The door through which facts enter a tuning job, and their way to the store: saved first, then
 * applied. What is posted while a transaction is under way joins the next one. */
#include "ctl/tuning_int.h"

struct tuning *tuning_new(struct ctl *c, struct arena *a, const struct tuning_spec *spec,
                          usec_t created) {
    struct tuning *t = xcalloc(1, sizeof(*t));
    parent_init(&t->base, &c->tunings, a, spec->name);
    t->spec = *spec;
    t->study = study_new(spec->study, created);
    t->status.max_trials = spec->study->budget.max_trials;
    t->status.parallel = spec->study->budget.parallel;
    t->status.max_failed = spec->study->budget.max_failed;
    list_init(&t->wishes);
    list_init(&t->in_flight);
    list_init(&t->granting);
    list_init(&t->runs);
    list_init(&t->zombies);
    t->first_open = 1;
    map_init(&t->said);
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
    free_facts(&t->base.inbox);
    free_facts(&t->in_flight);
    free_facts(&t->granting);
    suggester_free(t->suggester);
    map_fini(&t->said);
    free(t->making_setting);
    study_free(t->study);
    arena_free(t->base.arena);
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
    struct tuning_fact tmp = {
        .type = type, .time = time ? time : ctl_wall(t->base.ctl), .body = body};
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
    usec_t time =
        ev.type == TUNING_EV_CREATED && t->base.creation ? t->base.creation->row.create_time : 0;
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
    t->status.error_msg = is_new ? arena_strdup(t->base.arena, s->error_msg) : old;
    t->status.best_trial = best ? best->id : 0;
}

int tuning_apply(struct tuning *t, const struct tuning_fact *f, struct err *err) {
    struct tuning_status s = t->status;
    struct study_event ev = f->study;
    bool is_first = t->base.seq == 0;
    if (f->seq != t->base.seq + 1 || is_first != (f->type == TUNING_EV_CREATED) ||
        tuning_is_over(&s)) {
        return err_set(err, ERR_DATA_LOSS, "event %llu (type %u) does not follow event %llu",
                       (unsigned long long)f->seq, f->type, (unsigned long long)t->base.seq);
    }
    ev.seq = f->seq;
    if (tuning_fact_is_of_study(f) && study_apply(t->study, &ev, err) != 0) {
        return -1;
    }
    tuning_note(&s, f);
    if (s.error_msg && s.error_msg != t->status.error_msg) {
        s.error_msg = arena_strdup(t->base.arena, s.error_msg);
    }
    t->status = s;
    t->base.seq = f->seq;
    return 0;
}

static void put_fact(struct tuning *t, struct store_txn *txn, const struct tuning_fact *f) {
    struct store_event stored = stored_form(t, f);
    store_txn_event(txn, &stored);
}

static void put_status(struct tuning *t, struct store_txn *txn, const struct tuning_status *s) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    tuning_status_encode(&b, s);
    parent_put_row(&t->base, txn, job_state_name(s->state), buf_str(&b), s->update_time,
                   tuning_is_over(s));
}

/* ---- what a transaction's end means ---- */

static void answer(struct tuning_fact *f, const struct err *err) {
    if (f->op) {
        call_finish(take(&f->op), err);
    }
}

/* There is nothing to edit any more. */
static void answer_wishes(struct tuning *t) {
    while (!list_is_empty(&t->wishes)) {
        tuning_consider(t, list_first(&t->wishes, struct tuning_wish, link), &t->status);
    }
}

static void end_run(struct tuning *t, const struct tuning_fact *f) {
    struct tuning_run *r =
        f->type == STUDY_EV_TRIAL_ENDED ? tuning_run_of(t, f->study.trial) : NULL;
    if (r) {
        tuning_run_end(r);
    }
}

void tuning_saved(struct parent *p) {
    struct tuning *t = tuning_of(p);
    struct tuning_fact *f;
    list_each (f, &t->in_flight, link) {
        learn(t, f);
        p->seq = f->seq;
    }
    settle(t, &t->next);
    while (!list_is_empty(&t->in_flight)) {
        f = list_first(&t->in_flight, struct tuning_fact, link);
        list_del(&f->link);
        tuning_narrate(t, f);
        end_run(t, f);
        t->has_ended |= f->type == STUDY_EV_TRIAL_ENDED;
        answer(f, NULL);
        tuning_fact_free(f);
    }
    if (tuning_is_over(&t->status)) {
        answer_wishes(t);
    }
}

/* Facts wait for another time; wishes were refused. */
void tuning_refused(struct parent *p, const struct err *err) {
    struct tuning *t = tuning_of(p);
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
    list_move_all(&t->base.inbox, &kept); /* what was posted meanwhile comes after */
    list_move_all(&kept, &t->base.inbox);
}

/* ---- the way to the store ---- */

bool tuning_is_urgent(const struct parent *p) {
    return !list_is_empty(&tuning_of(p)->wishes);
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
static void collect(struct tuning *t) {
    uint64_t seq = t->base.seq;
    t->next = t->status;
    while (!list_is_empty(&t->base.inbox)) {
        struct tuning_fact *f = list_first(&t->base.inbox, struct tuning_fact, link);
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

static void put_all(struct tuning *t, struct store_txn *txn) {
    const struct tuning_fact *f;
    put_status(t, txn, &t->next);
    list_each (f, &t->in_flight, link) {
        put_fact(t, txn, f);
    }
}

bool tuning_gather(struct parent *p, struct store_txn *txn) {
    struct tuning *t = tuning_of(p);
    collect(t);
    if (list_is_empty(&t->in_flight)) {
        return false; /* wishes only, and none that changes anything */
    }
    put_all(t, txn);
    return true;
}

void tuning_queue(struct tuning *t, struct tuning_event ev) {
    if (!t->base.retired) {
        list_push_tail(&t->base.inbox, &tuning_fact_own(t, ev)->link);
    }
}

void tuning_queue_study(struct tuning *t, struct study_event ev, bool is_believed) {
    if (!t->base.retired) {
        struct tuning_fact *f = tuning_fact_study(t, ev);
        f->is_believed = is_believed;
        list_push_tail(&t->base.inbox, &f->link);
    }
}

void tuning_wish(struct tuning *t, struct tuning_wish *w) {
    list_push_tail(&t->wishes, &w->link);
    parent_pump(&t->base);
}

/* ---- facts in the transaction that makes a job ---- */

void tuning_join(struct tuning *t, struct store_txn *txn, struct study_event *created,
                 const struct tuning_event *job) {
    uint64_t seq = t->base.seq;
    CHECK(t->base.busy && !t->base.ours && !t->base.creation && list_is_empty(&t->in_flight));
    t->next = t->status;
    if (created) {
        include(t, tuning_fact_study(t, *created), &seq);
    }
    if (job) {
        include(t, tuning_fact_own(t, *job), &seq);
    }
    put_all(t, txn);
}

void tuning_joined(struct tuning *t, bool is_durable) {
    CHECK(t->base.busy && !t->base.ours);
    t->base.busy = false;
    if (is_durable) {
        CHECK(!list_is_empty(&t->in_flight));
        parent_saved(&t->base);
    } else {
        free_facts(&t->in_flight);
    }
}
