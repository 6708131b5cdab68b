/* The jobs of trials, followed: what they measure, how they end, what that makes of the trial. */
#include "ctl/tuning_int.h"

struct tuning_run *tuning_run_new(struct tuning *t, uint64_t trial, const char *job_name) {
    struct tuning_run *r = xcalloc(1, sizeof(*r));
    r->tuning = t;
    r->trial = trial;
    r->job_name = xstrdup(job_name);
    map_init(&r->foreign);
    list_push_tail(&t->runs, &r->link);
    t->nr_runs++;
    return r;
}

void tuning_run_free(struct tuning_run *r) {
    list_del(&r->link);
    map_fini(&r->foreign);
    arena_free(r->get_arena);
    arena_free(r->arena);
    if (r->measures) {
        measures_fini(r->measures);
        free(r->measures);
    }
    free(r->job_name);
    free(r);
}

struct tuning_run *tuning_run_of(struct tuning *t, uint64_t trial) {
    struct tuning_run *r;
    list_each (r, &t->runs, link) {
        if (r->trial == trial) {
            return r;
        }
    }
    return NULL;
}

void tuning_run_end(struct tuning_run *r) {
    struct tuning *t = r->tuning;
    CHECK(!r->job);
    t->nr_runs--;
    if (r->called || r->reading) {
        list_del(&r->link);
        list_push_tail(&t->zombies, &r->link);
        r->is_zombie = true;
    } else {
        tuning_run_free(r);
    }
}

/* ---- what it measures ---- */

static char mark;

static void note_foreign(struct tuning_run *r, const char *tag, usec_t when) {
    struct tuning *t = r->tuning;
    (void)map_put(&r->foreign, str_of(tag), &mark);
    if (t->said.n < 100 && !map_put(&t->said, str_of(tag), &mark)) {
        auto_free char *text =
            xasprintf("Trial %llu reported \"%s\", which is no metric of the study; it is ignored.",
                      (unsigned long long)r->trial, tag);
        tuning_say(t, when, 400, text);
    }
}

static int metric_of(const struct tuning *t, const char *tag) {
    const struct study_spec *s = t->spec.study;
    for (size_t i = 0; i < s->tune.nr_metrics; i++) {
        if (strcmp(s->metric_id[i], tag) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* The reports of metrics among m's from `from` on that are durable; in the arena. */
static size_t reports_of(struct tuning_run *r, const struct measures *m, size_t from, size_t to,
                         struct arena *a, struct study_report **ret) {
    struct study_report *all = arena_calloc(a, to - from + 1, sizeof(*all));
    size_t n = 0;
    for (size_t i = from; i < to; i++) {
        const struct measure *x = &m->all.p[i];
        int metric = metric_of(r->tuning, measures_tag(m, x));
        if (metric < 0) {
            note_foreign(r, measures_tag(m, x), ctl_wall(r->tuning->base.ctl));
        } else {
            all[n++] = (struct study_report){.metric = (uint32_t)metric,
                                             .value = x->value,
                                             .step = x->step,
                                             .at = x->timestamp,
                                             .attempt = x->attempt > 1 ? x->attempt - 1 : 0};
        }
    }
    *ret = all;
    return n;
}

/* Into the study as it is in memory: durable it is already, in the job's log. */
static void take_measures(struct tuning_run *r, const struct measures *m, uint64_t durable) {
    struct tuning *t = r->tuning;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct study_report *reports;
    struct err err;
    size_t to = r->taken;
    while (to < m->all.n && m->all.p[to].seq <= durable) {
        to++;
    }
    size_t n = to > r->taken ? reports_of(r, m, r->taken, to, a, &reports) : 0;
    r->taken = to;
    if (!n) {
        return;
    }
    struct study_event ev = {.type = STUDY_EV_MEASURED,
                             .time = ctl_wall(t->base.ctl),
                             .trial = r->trial,
                             .reports = reports,
                             .nr_reports = n};
    uint64_t redone = study_trial(t->study, r->trial)->nr_redone;
    if (study_apply(t->study, &ev, &err) != 0) {
        tuning_say(t, ev.time, 400, err.msg);
        return;
    }
    tuning_narrate_redone(t, r->trial, reports, n,
                          study_trial(t->study, r->trial)->nr_redone - redone);
    r->is_fresh = true;
    tuning_narrate_measure(t, r->trial, &reports[n - 1]);
}

/* All of them once more, as one event of the tuning job's own log. */
static void save_measures(struct tuning_run *r, const struct measures *m) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct study_report *reports;
    size_t n = reports_of(r, m, 0, r->taken, a, &reports);
    if (n) {
        tuning_queue_study(
            r->tuning,
            (struct study_event){
                .type = STUDY_EV_MEASURED, .trial = r->trial, .reports = reports, .nr_reports = n},
            true);
    }
}

/* ---- how it ends ---- */

/* "no measurement; it reported: acc, loss2" */
static void add_foreign(const struct tuning_run *r, struct buf *b) {
    const struct map_slot *slot;
    size_t it = 0, n = 0;
    if (!r->foreign.n) {
        buf_puts(b, " It reported nothing else.");
        return;
    }
    buf_puts(b, " It did report: ");
    while ((slot = map_next(&r->foreign, &it)) && n < 20) {
        buf_printf(b, "%s%s", n++ ? ", " : "", slot->key);
    }
    buf_puts(b, r->foreign.n > n ? ", ..." : ".");
}

static void post_end(struct tuning_run *r, bool ok, const char *reason, bool failed,
                     const struct study_measurement *final, bool is_predicted) {
    struct tuning *t = r->tuning;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct study_event ev = {.type = STUDY_EV_TRIAL_ENDED,
                             .time = r->end.end_time,
                             .trial = r->trial,
                             .state = ok ? STUDY_TRIAL_SUCCEEDED : STUDY_TRIAL_INFEASIBLE,
                             .reason = ok ? NULL : reason};
    if (ok) {
        ev.has_final = true;
        ev.is_predicted = is_predicted;
        ev.reports = study_reports_of(t->study, final, a, &ev.nr_reports);
    }
    tuning_queue_study(t, ev, false);
    if (failed) {
        tuning_queue(t, (struct tuning_event){
                            .type = TUNING_EV_TRIAL_FAILED, .trial = r->trial, .msg = reason});
    }
}

static void post_useless(struct tuning_run *r, const char *why) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    buf_printf(&b, "Its job ended without a usable result: %s", why);
    if (b.n && buf_cstr(&b)[b.n - 1] != '.') {
        buf_puts(&b, ".");
    }
    add_foreign(r, &b);
    post_end(r, false, buf_cstr(&b), true, NULL, false);
}

/* What its job came to, taken over; the trial is known to have begun. */
static void conclude(struct tuning_run *r, const struct study_trial *trial) {
    struct tuning *t = r->tuning;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf why = BUF_INIT(BUF_NO_MAX);
    struct study_measurement final;
    const struct job_status *s = &r->end;
    bool was_stopped = trial->state == STUDY_TRIAL_STOPPING && s->state == JOB_STATE_CANCELLED;
    r->told_done = true;
    if (r->measures) {
        save_measures(r, r->measures);
    }
    bool has_final = study_final(t->study, trial, a, &final, &why);
    if (s->state == JOB_STATE_SUCCEEDED && has_final) {
        post_end(r, true, NULL, false, &final, false);
    } else if (s->state == JOB_STATE_SUCCEEDED) {
        post_useless(r, buf_cstr(&why));
    } else if (was_stopped && has_final) {
        bool by_rule = trial->stop_by_rule && study_predict(t->study, trial, a, &final);
        post_end(r, true, NULL, false, &final, by_rule);
    } else if (was_stopped) {
        post_end(r, false, "It was stopped before it had measured anything usable.", false, NULL,
                 false);
    } else if (s->state == JOB_STATE_CANCELLED) {
        post_end(r, false,
                 t->status.ending ? "It was stopped because its tuning job ended."
                                  : "Its job was cancelled.",
                 false, NULL, false);
    } else {
        post_end(r, false, s->error_msg ? s->error_msg : "Its job failed.", true, NULL, false);
    }
}

/* ---- following ---- */

static void set_end(struct tuning_run *r, const struct job_status *s) {
    r->has_end = true;
    r->end = *s;
    if (!r->arena) {
        r->arena = arena_new(ARENA_NO_MAX);
    }
    r->end.error_msg = arena_strdup(r->arena, s->error_msg);
    r->end.pending_reason = NULL;
    if (!r->end.end_time) {
        r->end.end_time = ctl_wall(r->tuning->base.ctl);
    }
}

static void moved(void *arg, struct job *j) {
    struct tuning_run *r = arg;
    if (job_is_terminal(j) && job_is_settled(j) && !r->has_end) {
        set_end(r, &j->status);
        r->measures = take(&j->measures); /* the job goes */
        j->watch = NULL;
        r->job = NULL;
    }
    parent_pump(&r->tuning->base);
}

void tuning_run_advance(struct tuning_run *r) {
    struct tuning *t = r->tuning;
    const struct study_trial *trial = study_trial(t->study, r->trial);
    usec_t started = r->has_end ? r->end.start_time : r->job ? r->job->status.start_time : 0;
    const struct measures *m = r->job ? r->job->measures : r->measures;
    if (r->told_done || (!r->has_end && !r->job)) {
        return;
    }
    if (trial->state == STUDY_TRIAL_REQUESTED && (started || r->has_end)) {
        tuning_queue_study(t,
                           (struct study_event){.type = STUDY_EV_TRIAL_STARTED,
                                                .time = started ? started : r->end.end_time,
                                                .trial = r->trial,
                                                .job = r->job_name},
                           false);
        return; /* what it measures counts from then */
    }
    if (m) {
        take_measures(r, m, r->job ? r->job->durable : UINT64_MAX);
    }
    if (r->has_end) {
        conclude(r, trial);
    }
}

static void lose(struct tuning_run *r, const char *what) {
    auto_free char *msg = xasprintf("%s %s", r->job_name, what);
    set_end(r, &(struct job_status){.state = JOB_STATE_FAILED, .error_msg = msg});
}

/* The log of a job that ended while nobody looked. */
static void on_child_events(struct store_events *e, const struct store_event *ev, size_t n,
                            const struct err *err) {
    struct tuning_run *r = e->arg;
    struct tuning *t = r->tuning;
    struct ctl *c = t->base.ctl;
    ctl_enter(c);
    c->nr_in_flight--;
    r->reading = false;
    if (err || c->is_stopping) {
        r->looked = false;
        parent_retry_later(&t->base);
    } else {
        r->measures = xcalloc(1, sizeof(*r->measures));
        measures_init(r->measures);
        for (size_t i = 0; i < n; i++) {
            struct event x;
            if (ev[i].type == EV_MEASURED && event_decode(e->arena, &ev[i], &x, NULL) == 0) {
                measures_apply(r->measures, ev[i].seq, x.attempt, x.reports, x.nr_reports);
            }
        }
        set_end(r, &r->stored);
    }
    parent_pump(&t->base);
    ctl_leave(c);
}

static void on_child_row(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct tuning_run *r = g->arg;
    struct tuning *t = r->tuning;
    struct ctl *c = t->base.ctl;
    ctl_enter(c);
    c->nr_in_flight--;
    r->reading = false;
    if (c->is_stopping) {
        r->looked = false;
    } else if (err && err->code != ERR_NOT_FOUND) {
        r->looked = false;
        parent_retry_later(&t->base);
    } else if (err || !row) {
        lose(r, "was deleted before its outcome was noted.");
    } else if (row->is_live || job_status_decode(g->arena, row->status, &r->stored, NULL) != 0) {
        lose(r, "has a record that cannot be read.");
    } else {
        r->events = (struct store_events){
            .owner = str_of(r->job_name), .arena = g->arena, .cb = on_child_events, .arg = r};
        c->nr_in_flight++;
        r->reading = true;
        c->cfg.store->ops->events(c->cfg.store, &r->events);
    }
    parent_pump(&t->base);
    ctl_leave(c);
}

void tuning_run_look(struct tuning_run *r) {
    struct ctl *c = r->tuning->base.ctl;
    struct job *j = ctl_find(c, str_of(r->job_name));
    r->looked = true;
    if (c->cfg.trial_log) {
        c->cfg.trial_log(c->cfg.log_arg, r->tuning->spec.id.p, r->trial,
                         name_last_segment(str_of(r->job_name)).p);
    }
    if (j && job_is_born(j)) {
        j->watch = moved;
        j->watch_arg = r;
        r->job = j;
        if (job_is_terminal(j) && job_is_settled(j)) {
            moved(r, j);
        }
        return;
    }
    arena_free(r->get_arena);
    r->get_arena = arena_new(ARENA_NO_MAX);
    r->get = (struct store_get){
        .name = str_of(r->job_name), .arena = r->get_arena, .cb = on_child_row, .arg = r};
    c->nr_in_flight++;
    r->reading = true;
    c->cfg.store->ops->get(c->cfg.store, &r->get);
}

static void on_cancelled(struct ctl_call *call, const struct err *err,
                         const struct store_row *row) {
    struct tuning_run *r = call->arg;
    struct tuning *t = r->tuning;
    r->called = false;
    if (r->is_zombie) {
        tuning_run_free(r);
    } else if (err && r->job) {
        r->cancelling = false;
        parent_retry_later(&t->base);
        parent_pump(&t->base);
    }
}

void tuning_run_cancel(struct tuning_run *r) {
    if (r->job && !r->cancelling) {
        r->cancelling = r->called = true;
        r->call = (struct ctl_call){.cb = on_cancelled, .arg = r};
        ctl_job_cancel(r->tuning->base.ctl, str_of(r->job_name), &r->call);
    }
}
