/* Talking to the engine about an attempt: what is due is started here, what the engine reports
 * comes back here and leaves as events. */
#include "ctl/attempt.h"

#include <signal.h>

#include "ctl/ctl_int.h"

static struct attempt *attempt_of(struct attempt_run *run) {
    return run->owner;
}

static struct engine *engine_of(const struct attempt *a) {
    return a->job->ctl->cfg.engine;
}

/* ---- sink ---- */
/* Every report runs between these; nothing may be touched after sink_leave, the attempt can be
 * gone. */
static struct job *sink_enter(struct attempt_run *run) {
    struct job *j = attempt_of(run)->job;
    ctl_enter(j->ctl);
    return j;
}

static void sink_leave(struct job *j) {
    ctl_leave(j->ctl);
}

static void sink_step(struct attempt_run *run, enum stage_step step, usec_t took) {
    struct job *j = sink_enter(run);
    job_post(j, (struct event){
                    .type = EV_ATTEMPT_STEP, .attempt = run->attempt, .step = step, .took = took});
    sink_leave(j);
}

static void sink_staged(struct attempt_run *run) {
    struct job *j = sink_enter(run);
    struct attempt *a = attempt_of(run);
    if (a->side == SIDE_STAGING) {
        a->side = SIDE_STAGED;
        job_drain(j);
    }
    sink_leave(j);
}

static void sink_note(struct attempt_run *run, int severity, const char *text) {
    struct ctl *c = attempt_of(run)->job->ctl;
    if (c->cfg.service_log) {
        c->cfg.service_log(c->cfg.log_arg, run->spec->project_number, run->spec->id, ctl_wall(c),
                           severity, text);
    }
}

static void sink_waiting(struct attempt_run *run, const char *text) {
    struct attempt *a = attempt_of(run);
    free(a->waiting_for);
    a->waiting_for = xstrdup(text);
}

/* After a reattach: r was reported. The last report ends the catching up. */
static void attach_report(struct attempt *a, uint32_t replica) {
    struct job *j = a->job;
    struct ctl *c = j->ctl;
    uint32_t missing = 0;
    if (a->side != SIDE_ATTACHING) {
        return;
    }
    a->replicas[replica].reported = true;
    for (uint32_t i = 0; i < a->nr_replicas; i++) {
        if (!a->replicas[i].reported) {
            return;
        }
        missing += a->replicas[i].missing;
    }
    a->side = SIDE_LAUNCHED;
    if (missing == a->nr_replicas) {
        /* The intent was saved and nothing came of it: begin again with the same nonce, unless it
         * is to stop anyway (act sees that nothing was launched). */
        a->relaunch = true;
    } else {
        for (uint32_t i = 0; i < a->nr_replicas; i++) {
            if (a->replicas[i].missing) {
                job_post(j, (struct event){.type = EV_REPLICA_LOST,
                                           .attempt = a->nr,
                                           .replica = i,
                                           .code = ERR_NOT_FOUND,
                                           .msg = "the server restarted before it was started"});
            }
        }
    }
    restart_attached(c);
    job_drain(j);
}

static void sink_replica_started(struct attempt_run *run, uint32_t replica,
                                 const struct start_info *info) {
    struct job *j = sink_enter(run);
    struct attempt *a = attempt_of(run);
    CHECK(replica < a->nr_replicas);
    if (a->replicas[replica].sm.state == REPLICA_NONE) {
        job_post(j, (struct event){.type = EV_REPLICA_STARTED,
                                   .attempt = a->nr,
                                   .replica = replica,
                                   .started_at = info->started_at});
    }
    attach_report(a, replica);
    sink_leave(j);
}

/* Saved in the log of the job, before its replica's exit: whoever follows it finds them there. */
static void post_measured(struct attempt *a, const struct metric_report *r, size_t n, bool flush) {
    struct job *j = a->job;
    struct metric_vec picked = {0};
    if (n || j->measures) {
        measures_pick(job_measures(j), a->nr, r, n, flush, &picked);
    }
    if (picked.n) {
        job_post(j, (struct event){.type = EV_MEASURED,
                                   .attempt = a->nr,
                                   .reports = picked.p,
                                   .nr_reports = picked.n});
    }
    vec_fini(&picked);
}

static void sink_measured(struct attempt_run *run, uint32_t replica, const struct metric_report *r,
                          size_t n) {
    struct job *j = sink_enter(run);
    post_measured(attempt_of(run), r, n, false);
    sink_leave(j);
}

static void sink_replica_exited(struct attempt_run *run, uint32_t replica,
                                const struct exit_info *info) {
    struct job *j = sink_enter(run);
    struct attempt *a = attempt_of(run);
    CHECK(replica < a->nr_replicas);
    if (!replica_has_ended(&a->replicas[replica])) {
        post_measured(a, NULL, 0, true);
        job_post(
            j, (struct event){
                   .type = EV_REPLICA_EXITED, .attempt = a->nr, .replica = replica, .exit = info});
    }
    attach_report(a, replica);
    sink_leave(j);
}

static void sink_replica_lost(struct attempt_run *run, uint32_t replica, const struct err *why) {
    struct job *j = sink_enter(run);
    struct attempt *a = attempt_of(run);
    CHECK(replica < a->nr_replicas);
    struct replica *r = &a->replicas[replica];
    if (a->side == SIDE_ATTACHING && why->code == ERR_NOT_FOUND && r->sm.state == REPLICA_NONE) {
        r->missing = true;
    } else if (!replica_has_ended(r)) {
        int code = why->code == ERR_NOT_FOUND ? ERR_UNAVAILABLE : (int)why->code;
        job_post(j, (struct event){.type = EV_REPLICA_LOST,
                                   .attempt = a->nr,
                                   .replica = replica,
                                   .code = code,
                                   .msg = why->msg});
    }
    attach_report(a, replica);
    sink_leave(j);
}

static void post_failed(struct attempt *a, int code, const char *msg, bool forced) {
    job_post(a->job, (struct event){.type = EV_ATTEMPT_FAILED,
                                    .attempt = a->nr,
                                    .code = code,
                                    .msg = msg,
                                    .forced = forced});
}

static void sink_attempt_failed(struct attempt_run *run, const struct err *why) {
    struct job *j = sink_enter(run);
    post_failed(attempt_of(run), why->code, why->msg, false);
    sink_leave(j);
}

static void free_run(struct attempt *a) {
    free(a->run->replicas);
    free(take(&a->run));
    free(take(&a->waiting_for));
    a->side = SIDE_IDLE;
}

static void sink_released(struct attempt_run *run) {
    struct job *j = sink_enter(run);
    struct attempt *a = attempt_of(run);
    CHECK(a->run == run && a->side == SIDE_RELEASING);
    free_run(a);
    if (a->relaunch) {
        a->relaunch = false;
        job_drain(j);
    } else {
        job_post(j, (struct event){.type = EV_ATTEMPT_RELEASED, .attempt = a->nr});
    }
    sink_leave(j);
}

static const struct engine_sink sink = {
    .step = sink_step,
    .staged = sink_staged,
    .note = sink_note,
    .waiting = sink_waiting,
    .replica_started = sink_replica_started,
    .measured = sink_measured,
    .replica_exited = sink_replica_exited,
    .replica_lost = sink_replica_lost,
    .attempt_failed = sink_attempt_failed,
    .released = sink_released,
};

/* ---- doing ---- */
/* Drawn before staging, which writes it down for the runner; a fact only with LAUNCH_INTENT. */
static void new_nonce(struct rng *rng, char nonce[33]) {
    unsigned long long hi = rng_u64(rng), lo = rng_u64(rng);
    snprintf(nonce, 33, "%016llx%016llx", hi, lo);
}

static void make_run(struct attempt *a, const struct placement *places) {
    struct attempt_run *run = xcalloc(1, sizeof(*run));
    CHECK(!a->run);
    run->spec = a->job->spec;
    run->attempt = a->nr;
    if (a->nonce[0]) {
        memcpy(run->nonce, a->nonce, sizeof(run->nonce));
    } else {
        new_nonce(a->job->ctl->cfg.rng, run->nonce);
    }
    run->nr_replicas = a->nr_replicas;
    run->replicas = xcalloc(a->nr_replicas ? a->nr_replicas : 1, sizeof(*run->replicas));
    run->sink = &sink;
    run->owner = a;
    for (uint32_t i = 0; i < a->nr_replicas; i++) {
        struct replica_run *r = &run->replicas[i];
        job_spec_locate(run->spec, i, &r->pool, &r->index);
        snprintf(r->name, sizeof(r->name), "workerpool%u-%u", r->pool, r->index);
        if (places) {
            r->place = places[i];
        }
    }
    a->run = run;
}

static void stage(struct attempt *a, const struct placement *places) {
    struct err err = {0};
    make_run(a, places);
    a->side = SIDE_STAGING;
    if (engine_of(a)->ops->stage(engine_of(a), a->run, &err) != 0) {
        post_failed(a, err.code, err.msg, false);
    }
}

void attempt_stage_ahead(struct attempt *a) {
    struct ctl *c = a->job->ctl;
    if (a->side != SIDE_IDLE || a->sm.state != PHASE_WAITING || a->job->trial) {
        return;
    }
    auto_free struct placement *p = xcalloc(a->nr_replicas ? a->nr_replicas : 1, sizeof(*p));
    place_grants(&c->total, a->job->spec, p);
    for (uint32_t i = 0; i < a->nr_replicas; i++) {
        if (p[i].nr_devices) {
            return;
        }
    }
    stage(a, p);
}

static void act_placed(struct attempt *a) {
    if (a->side == SIDE_IDLE) {
        stage(a, a->places);
        return;
    }
    if (a->side != SIDE_STAGED) {
        return;
    }
    job_post(a->job, (struct event){.type = EV_ATTEMPT_STAGED,
                                    .attempt = a->nr,
                                    .inputs = a->run->inputs,
                                    .nr_inputs = a->run->nr_inputs});
    job_post(a->job,
             (struct event){.type = EV_LAUNCH_INTENT, .attempt = a->nr, .nonce = a->run->nonce});
}

static void release(struct attempt *a) {
    if (!a->run) {
        make_run(a, a->places);
    }
    a->side = SIDE_RELEASING;
    engine_of(a)->ops->release(engine_of(a), a->run);
}

static void act_starting(struct attempt *a) {
    struct err err = {0};
    if (a->relaunch) {
        if (a->side == SIDE_LAUNCHED && job_is_settled(a->job)) {
            release(a);
        }
        return;
    }
    if (a->side == SIDE_IDLE) {
        stage(a, a->places);
    } else if (a->side == SIDE_STAGED && a->job->durable >= a->intent_seq) {
        /* Staged ahead of its turn it had the sizes only; they are the same. */
        for (uint32_t i = 0; i < a->nr_replicas; i++) {
            a->run->replicas[i].place = a->places[i];
        }
        a->side = SIDE_LAUNCHED;
        if (engine_of(a)->ops->launch(engine_of(a), a->run, &err) != 0) {
            post_failed(a, err.code, err.msg, false);
        }
    }
}

/* TERM, grace, KILL, grace, release by force. */
static void act_stopping(struct attempt *a) {
    struct ctl *c = a->job->ctl;
    usec_t now = ctl_wall(c);
    int signo = a->stop_signo ? a->stop_signo : SIGTERM;
    if (a->side == SIDE_ATTACHING || a->side == SIDE_RELEASING || !job_is_settled(a->job)) {
        return;
    }
    if (a->side != SIDE_LAUNCHED || a->relaunch) {
        a->relaunch = false;
        post_failed(a, ERR_CANCELLED, "stopped before anything was launched", false);
        return;
    }
    if (a->stop_signo && now >= a->stop_at + c->cfg.stop_grace) {
        if (a->stop_signo == SIGKILL) {
            post_failed(a, ERR_DEADLINE_EXCEEDED, "the engine could not end it", true);
            return;
        }
        signo = SIGKILL;
    }
    for (uint32_t i = 0; i < a->nr_replicas; i++) {
        struct replica *r = &a->replicas[i];
        struct err err;
        if (r->sm.state == REPLICA_UP && r->signalled != signo) {
            r->signalled = signo;
            /* A refusal is not fatal: the grace time leads to KILL, and that to release. */
            (void)engine_of(a)->ops->signal(engine_of(a), a->run, i, signo, &err);
        }
    }
    if (signo != a->stop_signo) {
        job_post(a->job, (struct event){.type = EV_STOP_SENT, .attempt = a->nr, .signo = signo});
    }
}

static void act_collecting(struct attempt *a) {
    if (a->side == SIDE_RELEASING || a->side == SIDE_ATTACHING || !job_is_settled(a->job)) {
        return;
    }
    a->relaunch = false;
    if (!a->run && !a->replayed) {
        job_post(a->job, (struct event){.type = EV_ATTEMPT_RELEASED, .attempt = a->nr});
    } else {
        release(a);
    }
}

void attempt_act(struct attempt *a) {
    switch ((enum phase)a->sm.state) {
    case PHASE_PLACED:
    case PHASE_STAGING:
        act_placed(a);
        break;
    case PHASE_STARTING:
        act_starting(a);
        break;
    case PHASE_STOPPING:
        act_stopping(a);
        break;
    case PHASE_COLLECTING:
        act_collecting(a);
        break;
    case PHASE_NEW:
    case PHASE_WAITING: /* the scheduler's turn */
    case PHASE_RUNNING: /* the engine's */
    case PHASE_DONE:    /* the job's */
        break;
    }
}

usec_t attempt_next_due(const struct attempt *a) {
    /* Not while act could do nothing about it: whatever it waits for comes round by itself. */
    bool is_stopping = a->sm.state == PHASE_STOPPING && a->stop_signo && a->side == SIDE_LAUNCHED &&
                       job_is_settled(a->job);
    return is_stopping ? a->stop_at + a->job->ctl->cfg.stop_grace : USEC_NEVER;
}

void attempt_reattach(struct attempt *a) {
    struct engine *e = engine_of(a);
    struct err err = {0};
    make_run(a, a->places);
    a->side = SIDE_ATTACHING;
    if (e->ops->reattach && e->ops->reattach(e, a->run, &err) == 0) {
        return;
    }
    if (!e->ops->reattach) {
        err_set(&err, ERR_UNIMPLEMENTED, "the %s engine cannot find replicas again after a restart",
                e->ops->name);
    }
    a->side = SIDE_LAUNCHED;
    for (uint32_t i = 0; i < a->nr_replicas; i++) {
        job_post(a->job, (struct event){.type = EV_REPLICA_LOST,
                                        .attempt = a->nr,
                                        .replica = i,
                                        .code = ERR_UNAVAILABLE,
                                        .msg = err.msg});
    }
    restart_attached(a->job->ctl);
}
