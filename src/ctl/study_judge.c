/* Which trials are best, which should stop early, and whether the study is over. Pure. */
#include "ctl/study_int.h"

#include "base/limits.h"

#include <math.h>

bool study_is_safe(const struct study *s, const struct study_measurement *m) {
    for (size_t j = 0; j < nr_metrics(s); j++) {
        const struct tune_metric *metric = &s->spec.tune.metrics[j];
        if (metric->is_safety &&
            study_turned(s, j, m->v[j].value) < study_turned(s, j, metric->threshold)) {
            return false;
        }
    }
    return true;
}

/* It has a usable value of every metric. */
static bool counts(const struct study *s, const struct trial *t) {
    return t && t->pub.state == STUDY_TRIAL_SUCCEEDED && study_is_complete(s, &t->pub.final);
}

static size_t first_objective(const struct study *s) {
    for (size_t j = 0; j < nr_metrics(s); j++) {
        if (!s->spec.tune.metrics[j].is_safety) {
            return j;
        }
    }
    return 0;
}

static size_t nr_objectives(const struct study *s) {
    size_t n = 0;
    for (size_t j = 0; j < nr_metrics(s); j++) {
        n += !s->spec.tune.metrics[j].is_safety;
    }
    return n;
}

/* ---- the standing ---- */

static double first_value(const struct study *s, const struct trial *t) {
    size_t j = first_objective(s);
    return study_turned(s, j, t->pub.final.v[j].value);
}

/* Safe ones first, then by value; the lowest id of equals. */
static bool is_better(const struct study *s, const struct trial *t, const struct trial *than) {
    if (!than) {
        return true;
    }
    bool safe = study_is_safe(s, &t->pub.final), other = study_is_safe(s, &than->pub.final);
    double y = first_value(s, t), z = first_value(s, than);
    return safe != other ? safe : y != z ? y > z : t->pub.id < than->pub.id;
}

void study_stand(struct study *s, const struct trial *t) {
    struct standing *st = &s->standing;
    if (t->pub.state != STUDY_TRIAL_SUCCEEDED) {
        return;
    }
    st->nr_since++;
    if (!counts(s, t)) {
        return;
    }
    if (is_better(s, t, st->best)) {
        st->best = t;
    }
    if (!st->leader || first_value(s, t) > first_value(s, st->leader)) {
        st->leader = t;
        st->nr_since = 0;
    }
}

void study_stand_anew(struct study *s) {
    s->standing = (struct standing){0};
    for (size_t i = 0; i < s->ended.n; i++) {
        study_stand(s, s->ended.p[i]);
    }
}

/* Of one that was behind and stays behind nothing changes. */
void study_stand_replaced(struct study *s, const struct trial *t) {
    const struct standing *st = &s->standing;
    bool matters = t == st->best || t == st->leader || !st->leader || !counts(s, t) ||
                   is_better(s, t, st->best) || first_value(s, t) >= first_value(s, st->leader);
    if (matters) {
        study_stand_anew(s);
    }
}

const struct study_trial *study_best(const struct study *s) {
    return s->standing.best ? &s->standing.best->pub : NULL;
}

/* ---- the front ---- */

struct candidate {
    const struct trial *t;
    const double *y; /* objectives, larger is better */
    size_t nr;
};

static int by_values(const void *a, const void *b) {
    const struct candidate *p = a, *q = b;
    for (size_t j = 0; j < p->nr; j++) {
        if (p->y[j] != q->y[j]) {
            return p->y[j] < q->y[j] ? 1 : -1;
        }
    }
    return (p->t->pub.id > q->t->pub.id) - (p->t->pub.id < q->t->pub.id);
}

/* a at least as good in all, better in one. */
static bool dominates(const struct candidate *a, const struct candidate *b) {
    bool better = false;
    for (size_t j = 0; j < a->nr; j++) {
        if (a->y[j] < b->y[j]) {
            return false;
        }
        better |= a->y[j] > b->y[j];
    }
    return better;
}

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static size_t candidates(const struct study *s, struct arena *a, bool only_safe,
                         struct candidate *ret) {
    size_t n = 0, nr = nr_objectives(s);
    for (size_t i = 0; i < s->ended.n; i++) {
        const struct trial *t = s->ended.p[i];
        if (!counts(s, t) || (only_safe && !study_is_safe(s, &t->pub.final))) {
            continue;
        }
        double *y = arena_own_array(a, nr + 1, sizeof(*y));
        size_t k = 0;
        for (size_t j = 0; j < nr_metrics(s); j++) {
            if (!s->spec.tune.metrics[j].is_safety) {
                y[k++] = study_turned(s, j, t->pub.final.v[j].value);
            }
        }
        ret[n++] = (struct candidate){t, y, nr};
    }
    return n;
}

const uint64_t *study_optimal(const struct study *s, struct arena *a, size_t *ret_nr) {
    auto_arena struct arena *mine = arena_new(ARENA_NO_MAX);
    struct candidate *c = arena_own_array(mine, s->ended.n + 1, sizeof(*c));
    size_t n = candidates(s, mine, true, c);
    if (!n) {
        n = candidates(s, mine, false, c);
    }
    /* Best first: who is dominated at all is dominated by one that is in the front already. */
    qsort(c, n, sizeof(*c), by_values);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_dominated = false;
        for (size_t j = k; j > 0 && !is_dominated; j--) {
            is_dominated = dominates(&c[j - 1], &c[i]);
        }
        if (!is_dominated) {
            c[k++] = c[i];
        }
    }
    uint64_t *ids = arena_own_array(a, k + 1, sizeof(*ids));
    for (size_t i = 0; i < k; i++) {
        ids[i] = c[i].t->pub.id;
    }
    qsort(ids, k, sizeof(*ids), by_number);
    *ret_nr = k;
    return ids;
}

/* ---- early stopping: of studies with one objective ---- */

static void curve_of(const struct study *s, const struct trial *t, struct curve *ret) {
    size_t m = nr_metrics(s), j = first_objective(s), n = t->pub.nr_measurements;
    *ret = (struct curve){.p = xcalloc(n + 1, sizeof(*ret->p))};
    for (size_t i = 0; i < n; i++) {
        if (t->v[i * m + j].is_set) {
            ret->p[ret->n++] =
                (struct curve_point){s->spec.stopping.by_time ? (double)t->elapsed[i] / USEC_PER_SEC
                                                              : (double)t->step[i],
                                     study_turned(s, j, t->v[i * m + j].value)};
        }
    }
    curve_tidy(ret);
    ret->final = t->pub.has_final ? study_turned(s, j, t->pub.final.v[j].value) : NAN;
    int rate = s->spec.stopping.rate_param;
    if (rate >= 0 && t->pub.setting[rate] > 0) {
        ret->log_rate = log(t->pub.setting[rate]);
    }
}

/* The newest completed ones' curves, each made once. Without those that a rule ended: not_stopped.
 */
static struct curve *completed(const struct study *s, bool not_stopped, size_t *ret_nr) {
    size_t most = limits.max_stopping_trials, n = 0;
    struct curve *c = xcalloc((most < s->ended.n ? most : s->ended.n) + 1, sizeof(*c));
    for (size_t i = s->ended.n; i > 0 && n < most; i--) {
        struct trial *t = s->ended.p[i - 1];
        if (!counts(s, t) || (not_stopped && t->pub.stop_by_rule)) {
            continue;
        }
        if (!t->has_curve) {
            curve_of(s, t, &t->curve);
            t->has_curve = true;
        }
        c[n++] = t->curve;
    }
    *ret_nr = n;
    return c;
}

/* The last measurement, moved to the horizon with what the model predicts. */
static void predicted(const struct study *s, const struct trial *t, struct arena *a, double at,
                      double value, struct study_measurement *ret) {
    size_t m = nr_metrics(s), j = first_objective(s), last = t->pub.nr_measurements - 1;
    struct study_value *v = arena_own_array(a, m, sizeof(*v));
    for (size_t k = 0; k < m; k++) {
        v[k] = (struct study_value){NAN, false};
        for (size_t i = last + 1; i > 0 && !v[k].is_set; i--) {
            v[k] = t->v[(i - 1) * m + k];
        }
    }
    v[j] = (struct study_value){study_turned(s, j, value), true};
    *ret = (struct study_measurement){t->step[last], t->elapsed[last], v};
    at = at < 0 ? 0 : at;
    if (s->spec.stopping.by_time) {
        ret->elapsed = at < 1e12 ? (usec_t)(at * USEC_PER_SEC) : ret->elapsed;
    } else {
        ret->step = at < 9e18 ? (int64_t)at : ret->step;
    }
}

static bool has_value(const struct study *s, const struct trial *t) {
    for (size_t i = 0; i < t->pub.nr_measurements; i++) {
        if (t->v[i * nr_metrics(s) + first_objective(s)].is_set) {
            return true;
        }
    }
    return false;
}

bool study_should_stop(struct study *s, const struct study_trial *trial, struct arena *a,
                       struct study_measurement *ret_predicted, bool *ret_has) {
    const struct trial *t = (const struct trial *)trial;
    *ret_has = false;
    if (s->spec.stopping.rule == STUDY_STOP_NONE || nr_objectives(s) != 1 ||
        trial->state != STUDY_TRIAL_ACTIVE || !has_value(s, t)) {
        return false;
    }
    struct curve mine;
    size_t nr;
    curve_of(s, t, &mine);
    auto_free struct curve_point *points = mine.p;
    if (!mine.n) {
        return true; /* all it reported is not finite */
    }
    auto_free struct curve *others = completed(s, false, &nr);
    double at, value;
    switch (s->spec.stopping.rule) {
    case STUDY_STOP_MEDIAN:
        return stop_by_median(&mine, others, nr);
    case STUDY_STOP_DECAY:
        return stop_by_decay(&mine, others, nr);
    case STUDY_STOP_CONVEX:
        if (!stop_by_convex(&s->spec.stopping.convex, &mine, others, nr, &at, &value)) {
            return false;
        }
        predicted(s, t, a, at, value, ret_predicted);
        *ret_has = true;
        return true;
    case STUDY_STOP_NONE:
        break;
    }
    return false;
}

bool study_predict(struct study *s, const struct study_trial *trial, struct arena *a,
                   struct study_measurement *ret) {
    const struct trial *t = (const struct trial *)trial;
    size_t nr;
    double at, value;
    if (s->spec.stopping.rule != STUDY_STOP_CONVEX || nr_objectives(s) != 1 || !has_value(s, t)) {
        return false;
    }
    struct curve mine;
    curve_of(s, t, &mine);
    auto_free struct curve_point *points = mine.p;
    auto_free struct curve *others = completed(s, s->spec.stopping.update_all, &nr);
    if (!mine.n || !stop_by_convex(&s->spec.stopping.convex, &mine, others, nr, &at, &value)) {
        return false;
    }
    predicted(s, t, a, at, value, ret);
    return true;
}

const struct study_event *study_replaced_finals(struct study *s, struct arena *a, size_t *ret_nr) {
    *ret_nr = 0;
    if (s->spec.stopping.rule != STUDY_STOP_CONVEX || !s->spec.stopping.update_all ||
        nr_objectives(s) != 1) {
        return NULL;
    }
    size_t nr, n = 0, most = limits.max_stopping_trials;
    auto_free struct curve *others = completed(s, true, &nr);
    struct study_event *ev =
        arena_own_array(a, (most < s->ended.n ? most : s->ended.n) + 1, sizeof(*ev));
    for (size_t i = s->ended.n; i > 0 && n < most; i--) {
        const struct trial *t = s->ended.p[i - 1];
        struct curve mine;
        double at, value;
        if (!t->pub.is_predicted || !t->pub.nr_measurements) {
            continue;
        }
        curve_of(s, t, &mine);
        auto_free struct curve_point *points = mine.p;
        struct study_measurement m;
        if (!mine.n || !stop_by_convex(&s->spec.stopping.convex, &mine, others, nr, &at, &value)) {
            continue;
        }
        predicted(s, t, a, at, value, &m);
        size_t j = first_objective(s);
        if (m.v[j].value == t->pub.final.v[j].value) {
            continue;
        }
        ev[n] = (struct study_event){
            .type = STUDY_EV_FINAL_REPLACED, .trial = t->pub.id, .is_predicted = true};
        ev[n].reports = study_reports_of(s, &m, a, &ev[n].nr_reports);
        n++;
    }
    *ret_nr = n;
    return ev;
}

/* ---- the study's end ---- */

const char *study_over(const struct study *s, usec_t now) {
    return study_over_with(s, 0, now);
}

const char *study_over_with(const struct study *s, size_t more, usec_t now) {
    struct study_progress p = {.runtime = now > s->created ? now - s->created : 0,
                               .nr_completed = s->counts.succeeded,
                               .nr_trials = s->counts.total + (uint32_t)more,
                               .has_one_objective = nr_objectives(s) == 1};
    const struct trial *leader = s->standing.leader;
    if (p.has_one_objective) {
        p.nr_since_best = s->standing.nr_since;
    }
    if (p.has_one_objective && leader) {
        p.since_best = now > leader->pub.end_time ? now - leader->pub.end_time : 0;
    }
    return study_is_over(&s->spec.rules, &p);
}
