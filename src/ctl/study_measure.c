/* A trial's measurements: in order, bounded, without repeats; and the one it counts with. Pure. */
#include "ctl/study_int.h"

#include "base/limits.h"

#include <math.h>

void trial_free(struct trial *t) {
    if (t) {
        free(t->step);
        free(t->elapsed);
        free(t->v);
        free(t->at);
        free(t->attempt);
        free(t->redone);
        free(t->curve.p);
        t->step = NULL;
        t->elapsed = NULL;
        t->v = NULL;
        t->at = NULL;
        t->attempt = NULL;
        t->redone = NULL;
        t->nr_redone = 0;
        t->curve.p = NULL;
        t->pub.nr_measurements = t->cap = 0;
    }
}

struct study_measurement study_trial_measurement(const struct study *s, const struct study_trial *t,
                                                 size_t i) {
    const struct trial *x = (const struct trial *)t;
    CHECK(i < t->nr_measurements);
    return (struct study_measurement){x->step[i], x->elapsed[i], x->v + i * nr_metrics(s)};
}

static void move(const struct study *s, struct trial *t, size_t to, size_t from, size_t n) {
    size_t m = nr_metrics(s);
    memmove(t->step + to, t->step + from, n * sizeof(*t->step));
    memmove(t->elapsed + to, t->elapsed + from, n * sizeof(*t->elapsed));
    memmove(t->attempt + to, t->attempt + from, n * sizeof(*t->attempt));
    memmove(t->v + to * m, t->v + from * m, n * m * sizeof(*t->v));
    memmove(t->at + to * m, t->at + from * m, n * m * sizeof(*t->at));
}

/* Halves what is kept. The first and the last stay, and each metric's best. */
static void thin(const struct study *s, struct trial *t) {
    size_t m = nr_metrics(s), n = t->pub.nr_measurements, k = 0;
    auto_free size_t *best = xcalloc(m + 1, sizeof(*best));
    for (size_t j = 0; j < m; j++) {
        double top = -INFINITY;
        best[j] = SIZE_MAX;
        for (size_t i = 0; i < n; i++) {
            const struct study_value *v = &t->v[i * m + j];
            if (v->is_set && isfinite(v->value) && study_turned(s, j, v->value) > top) {
                top = study_turned(s, j, v->value);
                best[j] = i;
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        bool stays = i % 2 == 0 || i == n - 1;
        for (size_t j = 0; j < m; j++) {
            stays |= best[j] == i;
        }
        for (size_t j = 0; !stays && j < m; j++) {
            if (t->v[i * m + j].is_set && t->at[i * m + j] > t->forgotten_at) {
                t->forgotten_at = t->at[i * m + j];
            }
        }
        if (stays) {
            move(s, t, k++, i, 1);
        }
    }
    t->pub.nr_dropped += n - k;
    t->pub.nr_measurements = k;
}

static void grow(const struct study *s, struct trial *t) {
    size_t m = nr_metrics(s);
    if (t->pub.nr_measurements < t->cap) {
        return;
    }
    t->cap = t->cap ? t->cap * 2 : 4;
    t->step = xrealloc_array(t->step, t->cap, sizeof(*t->step));
    t->elapsed = xrealloc_array(t->elapsed, t->cap, sizeof(*t->elapsed));
    t->attempt = xrealloc_array(t->attempt, t->cap, sizeof(*t->attempt));
    t->v = xrealloc_array(t->v, t->cap, m * sizeof(*t->v));
    t->at = xrealloc_array(t->at, t->cap, m * sizeof(*t->at));
}

/* How many have this step or a lower one. */
static size_t after_step(const struct trial *t, int64_t step) {
    size_t lo = 0, hi = t->pub.nr_measurements;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (t->step[mid] <= step) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

/* A new one without values, in its place by (step, elapsed). */
static size_t insert(const struct study *s, struct trial *t, int64_t step, usec_t elapsed,
                     uint32_t attempt) {
    size_t most = limits.max_trial_measurements > 4 ? limits.max_trial_measurements : 4;
    if (t->pub.nr_measurements >= most) {
        thin(s, t);
    }
    grow(s, t);
    size_t m = nr_metrics(s), i = after_step(t, step);
    while (i > 0 && t->step[i - 1] == step && t->elapsed[i - 1] > elapsed) {
        i--;
    }
    move(s, t, i + 1, i, t->pub.nr_measurements - i);
    t->pub.nr_measurements++;
    t->step[i] = step;
    t->elapsed[i] = elapsed;
    t->attempt[i] = attempt;
    for (size_t j = 0; j < m; j++) {
        t->v[i * m + j] = (struct study_value){NAN, false};
        t->at[i * m + j] = 0;
    }
    return i;
}

static void put(const struct study *s, struct trial *t, size_t i, const struct study_report *r) {
    t->v[i * nr_metrics(s) + r->metric] = (struct study_value){r->value, true};
    t->at[i * nr_metrics(s) + r->metric] = r->at;
}

static bool is_known(const struct study *s, const struct trial *t, const struct study_report *r) {
    size_t m = nr_metrics(s);
    if (r->at > t->newest_at) {
        return false;
    }
    for (size_t i = after_step(t, r->step); i > 0 && t->step[i - 1] == r->step; i--) {
        size_t at = (i - 1) * m + r->metric;
        if (t->v[at].is_set && t->at[at] == r->at && t->attempt[i - 1] == r->attempt) {
            return true;
        }
    }
    return r->at <= t->forgotten_at;
}

/* ---- attempts ---- */

/* A later attempt has reported this step, or an earlier one. */
static bool was_redone(const struct trial *t, const struct study_report *r) {
    for (size_t i = 0; i < t->nr_redone; i++) {
        if (t->redone[i].attempt > r->attempt && t->redone[i].from <= r->step) {
            return true;
        }
    }
    return false;
}

static void forget_from(const struct study *s, struct trial *t, int64_t step, uint32_t attempt) {
    size_t k = 0, n = t->pub.nr_measurements;
    for (size_t i = 0; i < n; i++) {
        if (t->step[i] < step || t->attempt[i] >= attempt) {
            move(s, t, k++, i, 1);
        }
    }
    t->pub.nr_redone += n - k;
    t->pub.nr_measurements = k;
}

/* However often and in whichever order they are told, the same measurements are left. */
static void note_attempt(const struct study *s, struct trial *t, const struct study_report *r) {
    size_t i = 0;
    while (i < t->nr_redone && t->redone[i].attempt != r->attempt) {
        i++;
    }
    if (i == t->nr_redone) {
        t->redone = xrealloc_array(t->redone, ++t->nr_redone, sizeof(*t->redone));
        t->redone[i] = (struct redone){r->attempt, INT64_MAX};
    }
    if (r->step < t->redone[i].from) {
        t->redone[i].from = r->step;
        forget_from(s, t, r->step, r->attempt);
    }
}

static void one_report(struct study *s, struct trial *t, const struct study_report *r) {
    if (was_redone(t, r) || is_known(s, t, r)) {
        return;
    }
    if (r->attempt) {
        note_attempt(s, t, r);
    }
    size_t i = after_step(t, r->step);
    if (i > 0 && t->step[i - 1] == r->step && !t->v[(i - 1) * nr_metrics(s) + r->metric].is_set) {
        put(s, t, i - 1, r);
    } else {
        usec_t start = t->pub.start_time;
        put(s, t, insert(s, t, r->step, start && r->at > start ? r->at - start : 0, r->attempt), r);
    }
    t->pub.nr_reported++;
    t->newest_at = r->at > t->newest_at ? r->at : t->newest_at;
}

void trial_report(struct study *s, struct trial *t, const struct study_event *ev) {
    if (!ev->is_whole) {
        for (size_t i = 0; i < ev->nr_reports; i++) {
            one_report(s, t, &ev->reports[i]);
        }
        return;
    }
    size_t at = insert(s, t, ev->reports[0].step, ev->reports[0].at, 0);
    for (size_t i = 0; i < ev->nr_reports; i++) {
        put(s, t, at, &ev->reports[i]);
    }
    t->pub.nr_reported++;
}

void trial_set_final(struct study *s, struct trial *t, const struct study_event *ev) {
    size_t m = nr_metrics(s);
    struct study_value *v = t->pub.has_final ? (struct study_value *)t->pub.final.v
                                             : arena_own_array(s->arena, m, sizeof(*v));
    for (size_t j = 0; j < m; j++) {
        v[j] = (struct study_value){NAN, false};
    }
    for (size_t i = 0; i < ev->nr_reports; i++) {
        v[ev->reports[i].metric] = (struct study_value){ev->reports[i].value, true};
    }
    t->pub.has_final = true;
    t->pub.is_predicted = ev->is_predicted;
    t->pub.final = (struct study_measurement){.v = v};
    if (ev->nr_reports) {
        t->pub.final.step = ev->reports[0].step;
        t->pub.final.elapsed = ev->reports[0].at;
    }
}

bool study_is_complete(const struct study *s, const struct study_measurement *m) {
    for (size_t j = 0; j < nr_metrics(s); j++) {
        if (!m->v[j].is_set || !isfinite(m->v[j].value)) {
            return false;
        }
    }
    return true;
}

/* Which one the selection type means; SIZE_MAX: none. */
static size_t selected(const struct study *s, const struct trial *t) {
    size_t m = nr_metrics(s), n = t->pub.nr_measurements, best = SIZE_MAX;
    if (!n || s->spec.selection == STUDY_LAST || m > 1) {
        return n - 1; /* of several metrics none is the best */
    }
    for (size_t i = 0; i < n; i++) {
        const struct study_value *v = &t->v[i];
        if (v->is_set && isfinite(v->value) &&
            (best == SIZE_MAX ||
             study_turned(s, 0, v->value) > study_turned(s, 0, t->v[best].value))) {
            best = i;
        }
    }
    return best == SIZE_MAX ? n - 1 : best;
}

static void say_unusable(const struct study *s, const struct study_value *v, struct buf *why) {
    size_t nr = 0;
    for (size_t j = 0; j < nr_metrics(s); j++) {
        if (!v[j].is_set) {
            buf_printf(why, "%s%s", nr++ ? ", " : "it never reported the metric ",
                       s->spec.metric_id[j]);
        }
    }
    for (size_t j = 0; !nr && j < nr_metrics(s); j++) {
        if (!isfinite(v[j].value)) {
            buf_printf(why, "its %s is %s, which is not a finite number", s->spec.metric_id[j],
                       isnan(v[j].value) ? "NaN"
                       : v[j].value > 0  ? "Infinity"
                                         : "-Infinity");
            return;
        }
    }
}

bool study_final(const struct study *s, const struct study_trial *trial, struct arena *a,
                 struct study_measurement *ret, struct buf *why) {
    const struct trial *t = (const struct trial *)trial;
    size_t m = nr_metrics(s), at = selected(s, t);
    struct study_value *v = arena_own_array(a, m, sizeof(*v));
    for (size_t j = 0; j < m; j++) {
        v[j] = (struct study_value){NAN, false};
        for (size_t i = at == SIZE_MAX ? 0 : at + 1; i > 0 && !v[j].is_set; i--) {
            v[j] = t->v[(i - 1) * m + j];
        }
    }
    struct study_measurement final = {.v = v};
    if (at == SIZE_MAX || !study_is_complete(s, &final)) {
        say_unusable(s, v, why);
        return false;
    }
    final.step = t->step[at];
    final.elapsed = t->elapsed[at];
    *ret = final;
    return true;
}

const struct study_report *study_reports_of(const struct study *s,
                                            const struct study_measurement *m, struct arena *a,
                                            size_t *ret_nr) {
    struct study_report *r = arena_own_array(a, nr_metrics(s), sizeof(*r));
    *ret_nr = 0;
    for (size_t j = 0; j < nr_metrics(s); j++) {
        if (m->v[j].is_set) {
            r[(*ret_nr)++] = (struct study_report){
                .metric = (uint32_t)j, .value = m->v[j].value, .step = m->step, .at = m->elapsed};
        }
    }
    return r;
}
