/* The control plane: construction, the ways in, the scheduler. */
#include "ctl/pipeline_int.h"
#include "ctl/quota.h"
#include "ctl/tuning_int.h"

#include "base/log.h"

static void on_soon(struct timer *t);

struct ctl *ctl_new(const struct ctl_config *cfg) {
    struct ctl *c = xcalloc(1, sizeof(*c));
    c->cfg = *cfg;
    if (!c->cfg.stop_grace) {
        c->cfg.stop_grace = 30 * (usec_t)USEC_PER_SEC;
    }
    c->owner = pthread_self();
    list_init(&c->jobs);
    list_init(&c->graveyard);
    parents_init(&c->pipelines, c, &pipeline_kind, cfg->pipelines != NULL);
    suggest_pool_init(&c->own_pool, NULL);
    parents_init(&c->tunings, c, &tuning_kind, cfg->tunings != NULL);
    list_init(&c->tunings_read);
    list_init(&c->ops);
    list_init(&c->done_ops);
    map_init(&c->by_name);
    map_init(&c->by_id);
    map_init(&c->aside);
    c->soon.fn = on_soon;
    cfg->engine->ops->capacity(cfg->engine, &c->total);
    return c;
}

void ctl_check_owner(const struct ctl *c) {
    CHECK(pthread_equal(pthread_self(), c->owner));
}

/* ---- jobs ---- */
struct str name_last_segment(struct str name) {
    size_t from = name.n;
    while (from > 0 && name.p[from - 1] != '/') {
        from--;
    }
    return str_sub(name, from, name.n - from);
}

static char aside_mark;

void ctl_set_aside(struct ctl *c, const struct store_row *row, const struct err *err) {
    log_error("record cannot be read", "name=%.*s error=\"%s\"", STR_ARG(row->name), err->msg);
    (void)map_put(&c->aside, name_last_segment(row->name), &aside_mark);
}

struct job *ctl_find(struct ctl *c, struct str name) {
    return map_get(&c->by_name, name);
}

void ctl_adopt(struct ctl *c, struct job *j) {
    CHECK(!map_put(&c->by_name, j->name, j));
    (void)map_put(&c->by_id, name_last_segment(j->name), j);
    list_push_tail(&c->jobs, &j->link);
    c->nr_jobs++;
}

void ctl_retire(struct ctl *c, struct job *j) {
    job_reconcile(j); /* its end is durable: what it held comes back now */
    CHECK(!j->qnode.queued && !j->hold && !j->trial && !j->committing);
    c->cfg.clock->ops->disarm(c->cfg.clock, &j->timer);
    (void)map_del(&c->by_name, j->name);
    (void)map_del(&c->by_id, name_last_segment(j->name));
    list_del(&j->link);
    list_push_tail(&c->graveyard, &j->link);
    j->retired = true;
    c->nr_jobs--;
}

/* ---- scheduling ---- */
static struct job *job_at(struct ctl *c, size_t i) {
    struct queue_node *n = queue_at(&c->queue, i);
    return n ? CONTAINER_OF(n, struct job, qnode) : NULL;
}

/* The head goes when it fits; while it does not, nobody overtakes it, or a large job would starve.
 */
static void schedule(struct ctl *c) {
    struct job *j;
    if (!c->is_started || ctl_is_idle(c) || c->cfg.hold) {
        return;
    }
    while ((j = job_at(c, 0)) != NULL) {
        uint32_t nr = j->attempt->nr_replicas;
        auto_free struct placement *p = xcalloc(nr ? nr : 1, sizeof(*p));
        /* Its next fact, or what its last attempt held, is on the way to the store: soon. */
        if (j->trial || j->hold) {
            break;
        }
        if (!quota_allows(c->cfg.max_running, c->ledger.replicas, nr, NULL) ||
            !place(&c->total, &c->ledger, j->spec, p, NULL)) {
            break;
        }
        job_post(j, (struct event){.type = EV_ATTEMPT_PLACED,
                                   .attempt = j->attempt->nr,
                                   .places = p,
                                   .nr_places = nr});
        CHECK(!j->qnode.queued && j->hold);
    }
    for (size_t i = 0; i < STAGE_AHEAD && (j = job_at(c, i)) != NULL; i++) {
        attempt_stage_ahead(j->attempt);
    }
}

void ctl_enter(struct ctl *c) {
    ctl_check_owner(c);
    c->depth++;
}

/* Somebody waits for the end, and nobody owes us a callback. */
static bool is_quiet(const struct ctl *c) {
    return c->is_stopping && c->stop_cb && !c->nr_in_flight && !c->nr_works &&
           list_is_empty(&c->done_ops);
}

static void check_stopped(struct ctl *c) {
    struct job *j;
    if (!is_quiet(c)) {
        return;
    }
    list_each (j, &c->jobs, link) {
        /* With a full disk there is no point in waiting: what is unsaved will be found out again.
         */
        if (!c->is_dead && !j->retry_due && !list_is_empty(&j->unsaved)) {
            return;
        }
    }
    ctl_soon(c);
}

void ctl_leave(struct ctl *c) {
    CHECK(c->depth > 0);
    if (c->depth == 1) {
        while (c->need_schedule) {
            c->need_schedule = false;
            schedule(c);
        }
        while (!list_is_empty(&c->graveyard)) {
            struct job *j = list_first(&c->graveyard, struct job, link);
            list_del(&j->link);
            job_free(j);
        }
        parents_bury(&c->pipelines, false);
        parents_bury(&c->tunings, false);
        check_stopped(c);
    }
    c->depth--;
}

void ctl_soon(struct ctl *c) {
    c->cfg.clock->ops->arm(c->cfg.clock, &c->soon, ctl_mono(c));
}

void ctl_fatal(struct ctl *c, const struct err *err) {
    if (c->is_dead) {
        return;
    }
    c->is_dead = true;
    if (c->cfg.fatal) {
        c->cfg.fatal(c->cfg.fatal_arg, err);
    }
}

static void on_soon(struct timer *t) {
    struct ctl *c = CONTAINER_OF(t, struct ctl, soon);
    ctl_enter(c);
    if (c->start_pending) {
        c->start_pending = false;
        c->start_cb(c->start_arg, c->start_err.code ? &c->start_err : NULL);
    }
    call_deliver(c);
    ctl_leave(c);
    if (is_quiet(c)) {
        void (*cb)(void *) = c->stop_cb;
        c->stop_cb = NULL;
        cb(c->stop_arg); /* may free c */
    }
}

void ctl_start(struct ctl *c, void (*cb)(void *arg, const struct err *err), void *arg) {
    ctl_check_owner(c);
    CHECK(!c->is_started && !c->start_cb);
    c->start_cb = cb;
    c->start_arg = arg;
    restart_begin(c);
}

void ctl_stop(struct ctl *c, void (*cb)(void *arg), void *arg) {
    struct job *j;
    struct parent *p;
    ctl_enter(c);
    c->is_stopping = true;
    c->stop_cb = cb;
    c->stop_arg = arg;
    list_each (j, &c->jobs, link) {
        job_drain(j); /* saves what was waiting for company */
    }
    list_each (p, &c->pipelines.live, link) {
        pipeline_stop_work(pipeline_of(p)); /* done anew in the next life */
    }
    ctl_leave(c);
}

void ctl_free(struct ctl *c) {
    if (!c) {
        return;
    }
    struct clock *k = c->cfg.clock;
    k->ops->disarm(k, &c->soon);
    call_abandon(c);
    while (!list_is_empty(&c->jobs)) {
        struct job *j = list_first(&c->jobs, struct job, link);
        list_del(&j->link);
        k->ops->disarm(k, &j->timer);
        if (j->committing) {
            store_txn_fini(&j->txn); /* the store is closed, or crashed with us (simulator) */
        }
        job_free(j);
    }
    parents_bury(&c->pipelines, true);
    parents_bury(&c->tunings, true);
    queue_fini(&c->queue);
    map_fini(&c->by_name);
    map_fini(&c->by_id);
    map_fini(&c->aside);
    parents_fini(&c->pipelines);
    parents_fini(&c->tunings);
    tuning_reads_fini(c);
    free(c);
}

/* ---- looking ---- */
bool ctl_job_explain(struct ctl *c, struct str name, struct buf *ret_reason,
                     unsigned *ret_position) {
    ctl_check_owner(c);
    struct job *j = ctl_find(c, name);
    if (!j || !job_is_born(j) || job_is_terminal(j)) {
        return false;
    }
    job_explain(j, ret_reason);
    *ret_position = (unsigned)queue_position(&c->queue, &j->qnode);
    return true;
}

bool ctl_job_outlook(struct ctl *c, struct str name, struct job_outlook *ret) {
    ctl_check_owner(c);
    const struct job *j = ctl_find(c, name);
    if (!j || !job_is_born(j)) {
        return false;
    }
    const struct attempt *a = j->attempt;
    *ret = (struct job_outlook){.is_queued = a->sm.state <= PHASE_WAITING,
                                .create_time = j->status.create_time,
                                .start_time = j->status.start_time};
    if (job_is_terminal(j)) {
        ret->is_queued = false;
        ret->end_began = j->status.end_time;
    } else if (a->sm.state == PHASE_COLLECTING || a->sm.state == PHASE_DONE) {
        ret->end_began = a->collect_at;
    } else if (a->sm.state == PHASE_STOPPING) {
        ret->end_began = a->stop_at;
    }
    return true;
}

bool ctl_attempt_is_live(struct ctl *c, const char *job_id, uint32_t attempt) {
    ctl_check_owner(c);
    const struct job *j = map_get(&c->by_id, str_of(job_id));
    /* A job that could not be rebuilt keeps what it has: nobody knows what it is worth. */
    return (j && j->attempt && j->attempt->nr == attempt) || map_get(&c->aside, str_of(job_id));
}

bool ctl_job_is_live(struct ctl *c, const char *job_id) {
    ctl_check_owner(c);
    return map_get(&c->by_id, str_of(job_id)) || map_get(&c->aside, str_of(job_id));
}

void ctl_get_stats(struct ctl *c, struct ctl_stats *ret) {
    struct ctl_stats s = {.finished_total = c->finished_total,
                          .cpu_milli_total = c->total.cpu_milli,
                          .cpu_milli_held = (uint32_t)c->ledger.cpu_milli,
                          .mem_total = c->total.mem_bytes,
                          .mem_held = c->ledger.mem_bytes};
    usec_t now = ctl_wall(c);
    const struct job *j;
    ctl_check_owner(c);
    s.pipelines_live = c->pipelines.nr;
    s.pipelines_finished_total = c->pipelines.finished;
    s.tunings_live = c->tunings.nr;
    s.tunings_finished_total = c->tunings.finished;
    s.trials_total = c->trials_total;
    list_each (j, &c->jobs, link) {
        s.queued += j->status.state == JOB_STATE_QUEUED;
        s.pending += j->status.state == JOB_STATE_PENDING;
        s.running +=
            j->status.state == JOB_STATE_RUNNING || j->status.state == JOB_STATE_CANCELLING;
    }
    for (size_t i = 0; (j = job_at(c, i)) != NULL; i++) {
        usec_t age = now > j->status.create_time ? now - j->status.create_time : 0;
        s.oldest_queued_age = age > s.oldest_queued_age ? age : s.oldest_queued_age;
    }
    *ret = s;
}
