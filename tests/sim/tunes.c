#include "tunes.h"

#include "base/rec.h"

#include <math.h>

static struct sim_tune *tune_at(struct world *w, size_t i) {
    return w->tunes.p[i];
}

/* ---- ops ---- */

static const char *const metric_ids[] = {"loss"};

/* One range and one set: "x" in [0, 1], "k" of 0, 1, 2, 3. */
static int decode(void *arg, struct arena *a, const struct store_row *row, struct tuning_spec *ret,
                  struct err *err) {
    struct rec r;
    if (rec_parse(a, row->spec, &r, err) != 0) {
        return -1;
    }
    struct study_spec *s = arena_alloc(a, sizeof(*s));
    struct tune_param *p = arena_calloc(a, 2, sizeof(*p));
    struct tune_metric *m = arena_alloc(a, sizeof(*m));
    s->tune.algorithm = (enum tune_algorithm)rec_get_u64(&r, "algorithm", 0);
    p[0] = s->tune.algorithm == TUNE_GRID
               ? (struct tune_param){.type = TUNE_INTEGER, .lo = 0, .hi = 1, .parent = -1}
               : (struct tune_param){.type = TUNE_DOUBLE, .lo = 0, .hi = 1, .parent = -1};
    p[1] = (struct tune_param){.type = TUNE_INTEGER, .lo = 0, .hi = 3, .parent = -1};
    m->minimize = true;
    s->tune.params = p;
    s->tune.nr_params = 2;
    s->tune.metrics = m;
    s->tune.nr_metrics = 1;
    s->tune.seed = rec_get_u64(&r, "seed", 0);
    s->metric_id = metric_ids;
    s->stopping.rule = (enum study_stop_rule)rec_get_u64(&r, "stop_rule", 0);
    s->stopping.rate_param = -1;
    s->stopping.update_all = true;
    s->rules.max_runtime = s->rules.max_no_progress = USEC_NEVER;
    s->budget = (struct study_budget){(uint32_t)rec_get_u64(&r, "max_trials", 0),
                                      (uint32_t)rec_get_u64(&r, "parallel", 0),
                                      (uint32_t)rec_get_u64(&r, "max_failed", 0)};
    size_t *index = arena_alloc(a, sizeof(*index));
    *index = (size_t)rec_get_u64(&r, "index", 0);
    *ret = (struct tuning_spec){.name = arena_str(a, row->name),
                                .parent = arena_str(a, row->parent),
                                .id = arena_str(a, name_last_segment(row->name)),
                                .project_number = 123,
                                .display_name = "sim",
                                .study = s,
                                .parsed = index};
    return 0;
}

/* Children bear their tuning job's id and their trial's number as their display name. */
static int trial_job(void *arg, struct arena *a, const struct tuning_spec *spec,
                     const struct study_trial *trial, struct job_create *ret, struct err *err) {
    struct world *w = arg;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    world_encode_wish(&b, &tune_at(w, *(const size_t *)spec->parsed)->wish.child);
    rec_put_u64(&b, "trial", trial->id);
    rec_puts(&b, "arg", arena_printf(a, "--x=%.17g", trial->setting[0]));
    rec_puts(&b, "arg", arena_printf(a, "--k=%.17g", trial->setting[1]));
    *ret = (struct job_create){.kind = STR("customJob"),
                               .parent = spec->parent,
                               .display_name = str_of(arena_printf(a, "%s-trial-%llu", spec->id.p,
                                                                   (unsigned long long)trial->id)),
                               .spec = arena_str(a, buf_str(&b))};
    return 0;
}

static const struct tuning_ops ops = {.decode = decode, .trial_job = trial_job};

/* ---- settings are computed, and that takes a while ---- */

struct thought {
    struct list link;
    struct timer timer;
    struct suggest_work *work;
};

static void think(struct thought *t) {
    struct suggest_work *work = t->work;
    list_del(&t->link);
    free(t);
    work->run(work);
    work->done(work);
}

static void on_thought(struct timer *timer) {
    think(CONTAINER_OF(timer, struct thought, timer));
}

static void submit(struct suggest_runner *r, struct suggest_work *work) {
    struct world *w = CONTAINER_OF(r, struct world, thinker);
    struct clock *c = &w->clock.base;
    struct thought *t = xcalloc(1, sizeof(*t));
    t->work = work;
    t->timer.fn = on_thought;
    list_push_tail(&w->thoughts, &t->link);
    c->ops->arm(c, &t->timer, c->ops->mono(c) + rng_below(&w->rng, 20) * USEC_PER_MSEC);
}

/* ---- life ---- */

void tunes_crash(struct world *w) {
    while (!list_is_empty(&w->thoughts)) { /* the suggesters are gone; each frees itself */
        struct thought *t = list_first(&w->thoughts, struct thought, link);
        w->clock.base.ops->disarm(&w->clock.base, &t->timer);
        think(t);
    }
}

void tunes_init(struct world *w) {
    list_init(&w->thoughts);
    w->thinker.submit = submit;
    suggest_pool_init(&w->suggestions, &w->thinker);
    w->cfg.suggestions = &w->suggestions;
    w->cfg.tunings = &ops;
    w->cfg.tunings_arg = w;
}

void tunes_fini(struct world *w) {
    for (size_t i = 0; i < w->tunes.n; i++) {
        struct sim_tune *t = tune_at(w, i);
        for (size_t k = 0; k < t->ended.n; k++) {
            free(t->ended.p[k]);
        }
        vec_fini(&t->ended);
        sim_parent_fini(&t->base);
        free(t);
    }
    vec_fini(&w->tunes);
}

static struct ctl_call *new_call(struct world *w, size_t tune, int kind) {
    struct sim_call *c = world_new_call(w, tune, kind, false);
    c->is_tune = true;
    return &c->call;
}

struct sim_tune *world_plan_tune(struct world *w, const struct tune_wish *wish, struct buf *spec) {
    struct sim_tune *t = xcalloc(1, sizeof(*t));
    t->wish = *wish;
    t->max_trials = wish->max_trials;
    t->base.noun = "tuning job";
    t->base.index = w->tunes.n;
    vec_push(&w->tunes, t);
    rec_begin(spec);
    rec_put_u64(spec, "index", t->base.index);
    rec_put_u64(spec, "max_trials", wish->max_trials);
    rec_put_u64(spec, "parallel", wish->parallel);
    rec_put_u64(spec, "max_failed", wish->max_failed);
    rec_put_u64(spec, "seed", wish->seed);
    rec_put_u64(spec, "algorithm", wish->algorithm);
    rec_put_u64(spec, "stop_rule", wish->stop_rule);
    return t;
}

size_t world_create_tune(struct world *w, const struct tune_wish *wish) {
    auto_buf struct buf spec = BUF_INIT(BUF_NO_MAX);
    struct sim_tune *t = world_plan_tune(w, wish, &spec);
    size_t at = t->base.index;
    sim_parent_init(w, &t->base, TUNING_KIND, "tuning job", at);
    struct tuning_create in = {.parent = STR(WORLD_PARENT),
                               .id = str_of(t->base.id),
                               .display_name = STR("sim"),
                               .spec = buf_str(&spec)};
    ctl_tuning_create(w->ctl, &in, new_call(w, at, SIM_CREATE));
    return at;
}

void world_cancel_tune(struct world *w, size_t tune) {
    tune_at(w, tune)->base.cancel_asked = true;
    ctl_tuning_cancel(w->ctl, str_of(tune_at(w, tune)->base.name), new_call(w, tune, SIM_CANCEL));
}

void world_delete_tune(struct world *w, size_t tune) {
    tune_at(w, tune)->base.delete_asked = true;
    ctl_tuning_delete(w->ctl, str_of(tune_at(w, tune)->base.name), new_call(w, tune, SIM_DELETE));
}

void world_edit_tune(struct world *w, size_t tune, const struct tuning_edit *e) {
    struct sim_tune *t = tune_at(w, tune);
    t->max_trials = e->max_trials > t->max_trials ? e->max_trials : t->max_trials;
    ctl_tuning_edit(w->ctl, str_of(t->base.name), e, new_call(w, tune, SIM_EDIT));
}

void world_trial_tune(struct world *w, size_t tune, int kind, uint64_t trial) {
    struct sim_tune *t = tune_at(w, tune);
    struct str name = str_of(t->base.name);
    t->setting[0] = t->wish.algorithm == TUNE_GRID ? 1 : 0.25;
    t->setting[1] = 2;
    t->add = (struct tuning_add){.setting = t->setting, .nr = 2};
    if (kind == SIM_ADD) {
        ctl_tuning_add_trial(w->ctl, name, &t->add, new_call(w, tune, kind));
    } else if (kind == SIM_RERUN) {
        ctl_tuning_rerun_trial(w->ctl, name, trial, &t->add, new_call(w, tune, kind));
    } else {
        ctl_tuning_stop_trial(w->ctl, name, trial, new_call(w, tune, kind));
    }
}

void tunes_note(struct world *w, const struct sim_call *c, const struct err *err) {
    sim_parent_note(&tune_at(w, c->job)->base, c, err);
}

/* ---- looking ---- */

const struct store_row *world_tune_row(struct world *w, size_t tune) {
    return sim_parent_row(w, &tune_at(w, tune)->base);
}

void world_tune_status(struct world *w, size_t tune, struct arena *a, struct tuning_status *ret) {
    const struct store_row *row = world_tune_row(w, tune);
    struct err err;
    *ret = (struct tuning_status){0};
    if (row) {
        CHECK(tuning_status_decode(a, arena_str(a, row->status), ret, &err) == 0);
        CHECK(str_eqc(row->state, job_state_name(ret->state)));
    }
}

struct tuning *world_tune_replay(struct world *w, size_t tune) {
    auto_arena struct arena *tmp = arena_new(ARENA_NO_MAX);
    struct arena *a = arena_new(ARENA_NO_MAX);
    const struct store_row *row = world_tune_row(w, tune);
    struct store_event *ev;
    struct tuning_spec spec;
    struct err err = {0};
    if (!row) {
        arena_free(a);
        return NULL;
    }
    CHECK(decode(w, a, row, &spec, &err) == 0);
    struct tuning *t = tuning_new(w->ctl, a, &spec, row->create_time);
    size_t n = world_events_of(w, tune_at(w, tune)->base.name, tmp, &ev);
    if (tuning_replay(t, ev, n, &err) != 0) {
        printf("%s\n", err.msg);
        CHECK(!"the stored events do not replay");
    }
    return t;
}

/* ---- what must hold ---- */

static const char *check_record(struct world *w, size_t i) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct sim_tune *t = tune_at(w, i);
    struct tuning_status s;
    world_tune_status(w, i, a, &s);
    const char *wrong = sim_parent_check(w, &t->base, job_state_is_terminal(s.state));
    if (!wrong && (s.nr_trials > t->max_trials || s.nr_trials > s.max_trials)) {
        wrong = sim_complain(&t->base, "%u trials of %u", s.nr_trials, s.max_trials);
    }
    return wrong;
}

/* What a trial ended as, it stays. */
static const char *check_live(struct world *w, size_t i) {
    struct sim_tune *t = tune_at(w, i);
    const struct tuning *live = w->ctl ? tuning_find(w->ctl, str_of(t->base.name)) : NULL;
    const struct study_trial *x = NULL;
    while (live && (x = study_trial_after(live->study, x ? x->id : 0))) {
        char now[128];
        while (t->ended.n < x->id) {
            vec_push(&t->ended, NULL);
        }
        if (!study_trial_is_over(x->state)) {
            if (t->ended.p[x->id - 1]) {
                return sim_complain(&t->base, "trial %llu lives again", (unsigned long long)x->id);
            }
            continue;
        }
        snprintf(now, sizeof(now), "%s %llu %.17g", study_trial_state_name(x->state),
                 (unsigned long long)x->end_time, x->has_final ? x->final.v[0].value : 0);
        if (x->is_predicted) {
            continue; /* made anew when others complete */
        }
        if (!t->ended.p[x->id - 1]) {
            t->ended.p[x->id - 1] = xstrdup(now);
        } else if (strcmp(t->ended.p[x->id - 1], now) != 0) {
            return sim_complain(&t->base, "trial %llu was %s and is %s", (unsigned long long)x->id,
                                t->ended.p[x->id - 1], now);
        }
    }
    return NULL;
}

const char *tunes_invariant(struct world *w) {
    for (size_t i = 0; i < w->tunes.n; i++) {
        const char *wrong = check_record(w, i);
        wrong = wrong ? wrong : check_live(w, i);
        if (wrong) {
            return wrong;
        }
    }
    return NULL;
}

/* How many of a tuning job's trials name a job; of a deleted one the jobs stay. */
static const char *check_named(struct world *w, size_t i, const struct store_row *rows, size_t nr,
                               size_t *named) {
    const struct sim_tune *m = tune_at(w, i);
    auto_free char *prefix = xasprintf("%s-trial-", m->base.id);
    struct tuning *t = world_tune_replay(w, i);
    const struct study_trial *x = NULL;
    const char *wrong = NULL;
    for (size_t k = 0; !t && k < nr; k++) {
        *named += str_starts(rows[k].display_name, str_of(prefix));
    }
    while (t && (x = study_trial_after(t->study, x ? x->id : 0))) {
        if (x->job && !w->store->ops->peek(w->store, str_of(x->job))) {
            wrong = sim_complain(&m->base, "trial %llu names a job that is not there",
                                 (unsigned long long)x->id);
        }
        *named += x->job != NULL;
    }
    tuning_free(t);
    return wrong;
}

static bool is_of_trial(const struct store_row *row) {
    return str_find(row->display_name, STR("-trial-")) > 0;
}

/* Every trial with a job names one that is there, and every trial's job is named, once. */
static const char *check_children(struct world *w) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const struct store_row *rows;
    size_t nr = sim_children(w, a, &rows), named = 0, of_trials = 0;
    for (size_t i = 0; i < nr; i++) {
        of_trials += is_of_trial(&rows[i]);
        for (size_t k = i + 1; is_of_trial(&rows[i]) && k < nr; k++) {
            if (str_eq(rows[i].display_name, rows[k].display_name)) {
                return "a trial has two jobs";
            }
        }
    }
    for (size_t i = 0; i < w->tunes.n; i++) {
        const char *wrong = check_named(w, i, rows, nr, &named);
        if (wrong) {
            return wrong;
        }
    }
    return named == of_trials ? NULL : "not every trial's job is named by its trial";
}

static const char *check_outcome(struct world *w, size_t i) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const struct sim_tune *t = tune_at(w, i);
    struct tuning_status s;
    world_tune_status(w, i, a, &s);
    if (!job_state_is_terminal(s.state)) {
        return sim_complain(&t->base, "never finished: %s", job_state_name(s.state));
    }
    if (s.state == JOB_STATE_SUCCEEDED && (!s.nr_succeeded || !s.best_trial || !s.start_time)) {
        return sim_complain(&t->base, "succeeded without a trial that did");
    }
    if (s.state == JOB_STATE_CANCELLED &&
        (!t->base.cancel_asked || s.error_code != ERR_CANCELLED)) {
        return sim_complain(&t->base, "cancelled by nobody");
    }
    if (s.state == JOB_STATE_FAILED && (!s.error_msg || !s.error_msg[0])) {
        return sim_complain(&t->base, "failed without a word");
    }
    struct tuning *r = world_tune_replay(w, i);
    const struct study_trial *x = NULL;
    const char *wrong = NULL;
    struct study_counts n = study_counts(r->study);
    if (n.total != s.nr_trials || n.succeeded != s.nr_succeeded ||
        n.infeasible != s.nr_infeasible || n.requested || n.active || n.stopping ||
        r->status.best_trial != s.best_trial || r->status.nr_failed != s.nr_failed) {
        wrong = sim_complain(&t->base, "its status and its trials disagree");
    }
    while ((x = study_trial_after(r->study, x ? x->id : 0)) && !wrong) {
        if (x->state == STUDY_TRIAL_INFEASIBLE && (!x->reason || !x->reason[0])) {
            wrong = sim_complain(&t->base, "trial %llu has no result and no reason",
                                 (unsigned long long)x->id);
        }
        if (x->state == STUDY_TRIAL_SUCCEEDED && (!x->start_time || !s.start_time)) {
            wrong = sim_complain(&t->base, "trial %llu has a result and no beginning",
                                 (unsigned long long)x->id);
        }
    }
    tuning_free(r);
    return wrong;
}

const char *tunes_final(struct world *w) {
    if (w->ctl->tunings.nr || !list_is_empty(&w->ctl->tunings.graveyard)) {
        return "tuning jobs are still in memory";
    }
    for (size_t i = 0; i < w->tunes.n; i++) {
        const char *wrong = world_tune_row(w, i) ? check_outcome(w, i) : NULL;
        if (wrong) {
            return wrong;
        }
    }
    return check_children(w);
}
