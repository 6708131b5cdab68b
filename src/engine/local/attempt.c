/* The life of one attempt on this host: staged, launched or reattached, failed, released. Facts
 * come up from its replicas' supervisions; this file counts them and tells the sink. */
#include "engine/local/local_int.h"

#include "base/fail.h"
#include "engine/local/packages.h"
#include "engine/local/rundirs.h"
#include "sys/files.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

/* A container takes tens of milliseconds to start; a loaded machine a second. */
#define START_LIMIT (120 * USEC_PER_SEC)
/* How long a started member of a failed gang has to go before it is removed by force. */
#define TAKE_DOWN_LIMIT (15 * USEC_PER_SEC)

static void on_limit(struct timer *t);

struct local_attempt *local_attempt_new(struct local *eng, struct attempt_run *run) {
    struct local_attempt *a = xcalloc(1, sizeof(*a));
    struct arena *arena = arena_new(ARENA_NO_MAX);
    a->eng = eng;
    a->run = run;
    a->arena = arena;
    a->need_pool = a->need_image = UINT32_MAX;
    a->start_limit.fn = on_limit;
    a->nr_reps = run->nr_replicas;
    a->reps = arena_calloc(arena, a->nr_reps, sizeof(*a->reps));
    a->pools = arena_calloc(arena, run->spec->nr_pools, sizeof(*a->pools));
    for (uint32_t i = 0; i < a->nr_reps; i++) {
        struct local_replica *r = &a->reps[i];
        r->att = a;
        r->nr = i;
        r->pool = run->replicas[i].pool;
        r->index = run->replicas[i].index;
        r->name = run->replicas[i].name;
        r->dir = arena_printf(arena, "%s/%s/a%u/%s", eng->run_root, run->spec->id, run->attempt,
                              r->name);
        r->log_dir = arena_printf(arena, "%s/%s/a%u/%s", eng->log_root, run->spec->id, run->attempt,
                                  r->name);
        r->sup.eng = eng;
        r->sup.dir = r->dir;
        r->sup.nonce = run->nonce;
    }
    list_init(&a->install_link);
    list_push_tail(&eng->attempts, &a->link);
    run->priv = a;
    return a;
}

void local_attempt_free(struct local_attempt *a) {
    for (uint32_t i = 0; i < a->nr_reps; i++) {
        doors_drop(&a->reps[i]);
        metrics_fini(&a->reps[i]);
        sup_fini(&a->reps[i].sup);
    }
    for (size_t i = 0; i < a->notes.n; i++) {
        free(a->notes.p[i].text);
    }
    vec_fini(&a->notes);
    a->eng->clock->ops->disarm(a->eng->clock, &a->start_limit);
    list_del(&a->install_link);
    list_del(&a->link);
    arena_free(a->arena);
    free(a);
}

void attempt_note(struct local_attempt *a, int severity, const char *text) {
    if (!a->releasing) {
        a->run->sink->note(a->run, severity, text);
    }
}

void attempt_note_later(struct local_attempt *a, int severity, const char *fmt, ...) {
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n >= 0) {
        vec_push(&a->notes, ((struct local_note){severity, text}));
    }
}

void attempt_tell_notes(struct local_attempt *a) {
    for (size_t i = 0; i < a->notes.n; i++) {
        attempt_note(a, a->notes.p[i].severity, a->notes.p[i].text);
        free(a->notes.p[i].text);
    }
    a->notes.n = 0;
}

void attempt_fail(struct local_attempt *a, const struct err *why) {
    a->phase = ATT_FAILED;
    a->eng->clock->ops->disarm(a->eng->clock, &a->start_limit);
    if (!a->releasing) {
        a->run->sink->attempt_failed(a->run, why);
    }
}

/* -- what the supervisions tell --------------------------------------------------------------- */

static void tell_end(struct local_replica *r) {
    struct attempt_run *run = r->att->run;
    if (r->told_end) {
        return;
    }
    if (run->spec->trial_id != NULL && !r->metrics.finished) {
        if (!r->metrics.finishing) {
            metrics_finish(r, tell_end); /* what it measured is told before its end */
        }
        return;
    }
    if (warm_must_finish(r)) {
        warm_finish(r, tell_end); /* and which start it was */
        return;
    }
    r->told_end = true;
    if (r->end == SUP_EXITED) {
        run->sink->replica_exited(run, r->nr, &r->exit);
    } else {
        run->sink->replica_lost(run, r->nr, &r->end_why);
    }
}

/* A gang is announced when all of it has started: until then it may still fail as a whole. */
static void announce(struct local_attempt *a) {
    a->phase = ATT_RUNNING;
    a->eng->clock->ops->disarm(a->eng->clock, &a->start_limit);
    for (uint32_t i = 0; i < a->nr_reps && !a->releasing; i++) {
        struct start_info info = {.started_at = a->reps[i].started_at};
        a->run->sink->replica_started(a->run, i, &info);
    }
    for (uint32_t i = 0; i < a->nr_reps && !a->releasing; i++) {
        metrics_begin(&a->reps[i]);
    }
    for (uint32_t i = 0; i < a->nr_reps && !a->releasing; i++) {
        if (a->reps[i].ended && !a->reps[i].told_end) {
            tell_end(&a->reps[i]);
        }
    }
}

/* The sink's word for why nothing could be started. What the job names wrongly is the job's fault.
 */
static void start_error(const struct local_replica *r, const struct err *why, struct err *ret) {
    static const char *const users_fault[] = {"no such file or directory",
                                              "executable file not found", "permission denied",
                                              "not a directory", "exec format error"};
    *ret = *why;
    for (size_t i = 0; i < NR_OF(users_fault) && r->end == SUP_FAILED; i++) {
        if (strcasestr(why->msg, users_fault[i]) != NULL) {
            ret->code = ERR_INVALID_ARGUMENT;
        }
    }
    (void)err_wrap(ret, "The replica %s could not be started", r->name);
}

static void take_down_step(struct local_attempt *a) {
    if (a->phase == ATT_FAILING && a->nr_ended == a->nr_reps) {
        attempt_fail(a, &a->fail_why);
    }
}

static void begin_failing(struct local_attempt *a, const struct err *why) {
    a->phase = ATT_FAILING;
    a->fail_why = *why;
    struct clock *c = a->eng->clock;
    c->ops->arm(c, &a->start_limit, c->ops->mono(c) + TAKE_DOWN_LIMIT);
    for (uint32_t i = 0; i < a->nr_reps; i++) {
        if (!a->reps[i].ended) {
            sup_kill(&a->reps[i].sup);
        }
    }
    take_down_step(a);
}

static void on_started(struct sup *s, usec_t started_at) {
    struct local_replica *r = CONTAINER_OF(s, struct local_replica, sup);
    struct local_attempt *a = r->att;
    r->started = true;
    r->started_at = started_at;
    a->nr_started++;
    doors_want(r);
    if (a->phase == ATT_FAILING) {
        sup_kill(s);
    } else if (a->phase == ATT_LAUNCHING && a->nr_started == a->nr_reps) {
        announce(a);
    } else if (a->phase == ATT_RUNNING && !a->releasing) { /* reattached */
        struct start_info info = {.started_at = started_at};
        a->run->sink->replica_started(a->run, r->nr, &info);
        if (!a->releasing) {
            metrics_begin(r);
        }
    }
}

static void on_ended(struct sup *s, enum sup_end how, const struct exit_info *x,
                     const struct err *why) {
    struct local_replica *r = CONTAINER_OF(s, struct local_replica, sup);
    struct local_attempt *a = r->att;
    r->ended = true;
    r->end = how;
    doors_drop(r);
    a->nr_ended++;
    if (x != NULL) {
        r->exit = *x;
    }
    if (why != NULL) {
        r->end_why = *why;
    }
    if (a->releasing) {
        return;
    }
    if (a->phase == ATT_LAUNCHING && !r->started) {
        struct err e;
        start_error(r, why, &e);
        begin_failing(a, &e);
    } else if (a->phase == ATT_FAILING) {
        take_down_step(a);
    } else if (a->phase == ATT_RUNNING) {
        if (how == SUP_FAILED && x != NULL) {
            r->end = SUP_EXITED; /* reattached in the middle of a start that failed */
        }
        tell_end(r);
    }
}

static void on_stopped(struct sup *s) {
    attempt_release_step(CONTAINER_OF(s, struct local_replica, sup)->att);
}

/* -- launch, reattach ------------------------------------------------------------------------- */

static void set_callbacks(struct local_attempt *a) {
    for (uint32_t i = 0; i < a->nr_reps; i++) {
        a->reps[i].sup.started = on_started;
        a->reps[i].sup.ended = on_ended;
        a->reps[i].sup.stopped = on_stopped;
    }
}

int attempt_launch(struct local_attempt *a, struct err *err) {
    if (a->phase != ATT_STAGED) {
        return err_set(err, ERR_FAILED_PRECONDITION, "the attempt is not staged");
    }
    a->phase = ATT_LAUNCHING;
    set_callbacks(a);
    struct clock *c = a->eng->clock;
    c->ops->arm(c, &a->start_limit, c->ops->mono(c) + START_LIMIT);
    for (uint32_t i = 0; i < a->nr_reps; i++) {
        sup_spawn(&a->reps[i].sup);
    }
    return 0;
}

int local_attempt_reattach(struct local_attempt *a, struct err *err) {
    (void)err;
    a->phase = ATT_RUNNING;
    set_callbacks(a);
    for (uint32_t i = 0; i < a->nr_reps; i++) {
        a->reps[i].warm.is_found = true;
        sup_attach(&a->reps[i].sup);
    }
    return 0;
}

/* -- removal: forced take-down and release ---------------------------------------------------- */

/* Of a reattached attempt only run.conf knows the address. */
static void recall_addr(struct local_replica *r) {
    struct rundir_look look;
    if (r->addr[0] != 0 || rundir_look(r->dir, &look, NULL) < 0) {
        return;
    }
    mem_auto_close(&look.pidfd);
    struct str rest = str_of(look.addr);
    struct str addr = str_cut(&rest, '/');
    (void)snprintf(r->addr, sizeof(r->addr), "%.*s", STR_ARG(addr));
}

static void remove_run(struct lane_work *w) {
    struct local_attempt *a = CONTAINER_OF(w, struct local_attempt, work);
    struct local *eng = a->eng;
    for (uint32_t i = 0; i < a->nr_reps; i++) {
        struct err e = {0};
        recall_addr(&a->reps[i]);
        if (rundir_remove(eng->run_root, a->reps[i].dir, &eng->cgroups, &e) < 0) {
            attempt_note_later(a, 400, "%s: cleaning up: %s", a->reps[i].name, e.msg);
            a->err = e;
            a->rc = -1;
        }
        if (a->reps[i].addr[0] != 0) {
            ipam_give(&eng->ipam, a->reps[i].dir, a->reps[i].addr);
        }
    }
}

static void force_done(struct lane_work *w) {
    struct local_attempt *a = CONTAINER_OF(w, struct local_attempt, work);
    if (local_done(a->eng)) {
        return;
    }
    a->working = false;
    attempt_tell_notes(a);
    if (a->releasing) {
        attempt_release_step(a);
    } else if (a->phase == ATT_FAILING) {
        attempt_fail(a, &a->fail_why);
    }
}

static void on_limit(struct timer *t) {
    struct local_attempt *a = CONTAINER_OF(t, struct local_attempt, start_limit);
    if (a->phase == ATT_LAUNCHING) {
        struct err why;
        (void)err_set(&why, ERR_DEADLINE_EXCEEDED, "not all replicas started within %u s",
                      (unsigned)(START_LIMIT / USEC_PER_SEC));
        begin_failing(a, &why);
    } else if (a->phase == ATT_FAILING && !a->working) {
        a->working = true;
        a->work.run = remove_run;
        a->work.done = force_done;
        local_submit(a->eng, &a->work);
    }
}

static void release_done(struct lane_work *w) {
    struct local_attempt *a = CONTAINER_OF(w, struct local_attempt, work);
    if (local_done(a->eng)) {
        return;
    }
    struct attempt_run *run = a->run;
    for (size_t i = 0; i < a->notes.n; i++) { /* the one thing still worth saying */
        run->sink->note(run, a->notes.p[i].severity, a->notes.p[i].text);
    }
    run->priv = NULL;
    local_attempt_free(a);
    run->sink->released(run);
}

void attempt_release_step(struct local_attempt *a) {
    if (!a->releasing || a->working) {
        return;
    }
    for (uint32_t i = 0; i < a->nr_reps; i++) {
        if (a->reps[i].sup.working || a->reps[i].metrics.working || a->reps[i].warm.working) {
            return; /* its `stopped`, or the end of a reading, comes here again */
        }
    }
    a->phase = ATT_RELEASING;
    a->working = true;
    a->work.run = remove_run;
    a->work.done = release_done;
    local_submit(a->eng, &a->work);
}

void attempt_release(struct local_attempt *a) {
    a->releasing = true;
    a->eng->clock->ops->disarm(a->eng->clock, &a->start_limit);
    packages_forget(a);
    images_forget(a);
    set_callbacks(a);
    bool was_working = a->working;
    a->working = true; /* holds release_step back until every supervision was told */
    for (uint32_t i = 0; i < a->nr_reps; i++) {
        doors_drop(&a->reps[i]);
        metrics_let_go(&a->reps[i]);
        sup_stop(&a->reps[i].sup);
    }
    a->working = was_working;
    attempt_release_step(a);
}
