/* The convex rule (reference 30 §3.3): a curve whose rate of improvement does not grow cannot end
 * above a straight line; and an autoregression over increments, learned from the completed curves,
 * says where it would probably have ended. */
#include "tune/stopping_int.h"

#include "base/mem.h"

#include <lapacke.h>
#include <math.h>

#define RIDGE 1e-2
#define LAGS_MAX 20
#define TERMS_MAX (LAGS_MAX + 3) /* constant, lags, rate, time */
#define STEPS_MAX 10000          /* of rolling forward */

/* Least squares slope of the envelope (best so far) from point i on. */
static double slope_from(const double *envelope, const struct curve *c, size_t i) {
    size_t n = c->n - i;
    if (n < 8) {
        double dt = c->p[c->n - 1].t - c->p[i].t;
        return dt > 0 ? (envelope[c->n - 1] - envelope[i]) / dt : 0;
    }
    double mt = 0, mv = 0, tt = 0, tv = 0;
    for (size_t k = i; k < c->n; k++) {
        mt += c->p[k].t / (double)n;
        mv += envelope[k] / (double)n;
    }
    for (size_t k = i; k < c->n; k++) {
        tt += (c->p[k].t - mt) * (c->p[k].t - mt);
        tv += (c->p[k].t - mt) * (envelope[k] - mv);
    }
    return tt > 0 ? tv / tt : 0;
}

static double value_at(const struct curve *c, double t) {
    size_t k = 0;
    while (k + 1 < c->n && c->p[k + 1].t <= t) {
        k++;
    }
    if (k + 1 == c->n || t <= c->p[k].t) {
        return c->p[k].value;
    }
    double f = (t - c->p[k].t) / (c->p[k + 1].t - c->p[k].t);
    return c->p[k].value + f * (c->p[k + 1].value - c->p[k].value);
}

static double common_step(const struct curve *completed, size_t nr) {
    auto_free double *mean = xcalloc(nr + 1, sizeof(*mean));
    size_t n = 0;
    for (size_t i = 0; i < nr; i++) {
        const struct curve *c = &completed[i];
        if (c->n >= 2) {
            mean[n++] = (c->p[c->n - 1].t - c->p[0].t) / (double)(c->n - 1);
        }
    }
    return n ? median_of(mean, n) : 0;
}

struct ar {
    size_t lags, terms;
    double weight[TERMS_MAX];
    double step, horizon;
};

static void features(const struct ar *m, const double *last, double log_rate, double t, double *f) {
    f[0] = 1;
    for (size_t k = 0; k < m->lags; k++) {
        f[1 + k] = last[k];
    }
    f[m->lags + 1] = log_rate;
    f[m->lags + 2] = t / m->horizon;
}

/* The last `lags` increments before t on the common step, newest first; false: no such past. */
static bool increments(const struct ar *m, const struct curve *c, double t, double *ret) {
    if (t - (double)m->lags * m->step < c->p[0].t - 1e-9 * m->step) {
        return false;
    }
    for (size_t k = 0; k < m->lags; k++) {
        double b = t - (double)k * m->step;
        ret[k] = value_at(c, b) - value_at(c, b - m->step);
    }
    return true;
}

static bool learn(struct ar *m, const struct curve *completed, size_t nr) {
    size_t n = m->terms, rows = 0;
    auto_free double *a = xcalloc(n * n, sizeof(*a));
    double f[TERMS_MAX], last[LAGS_MAX], trace = 0;
    for (size_t i = 0; i < nr; i++) {
        const struct curve *c = &completed[i];
        double end = c->n ? c->p[c->n - 1].t : 0;
        for (double t = c->n ? c->p[0].t : 1; t + m->step <= end + 1e-9 * m->step && rows < 100000;
             t += m->step) {
            if (!increments(m, c, t, last)) {
                continue;
            }
            double next = value_at(c, t + m->step) - value_at(c, t);
            features(m, last, c->log_rate, t, f);
            for (size_t p = 0; p < n; p++) {
                m->weight[p] += f[p] * next;
                for (size_t q = 0; q < n; q++) {
                    a[p * n + q] += f[p] * f[q];
                }
            }
            rows++;
        }
    }
    for (size_t p = 0; p < n; p++) {
        trace += a[p * n + p];
    }
    for (size_t p = 0; p < n; p++) { /* each term by its own size, none without */
        a[p * n + p] += RIDGE * a[p * n + p] + 1e-9 * trace / (double)n + 1e-300;
    }
    return rows > n &&
           !LAPACKE_dposv_work(LAPACK_COL_MAJOR, 'L', (int)n, 1, a, (int)n, m->weight, (int)n);
}

static double roll(const struct ar *m, const struct curve *trial) {
    double f[TERMS_MAX], last[LAGS_MAX], t = trial->p[trial->n - 1].t;
    double value = trial->p[trial->n - 1].value;
    if (!increments(m, trial, t, last)) {
        return NAN;
    }
    for (int i = 0; i < STEPS_MAX && t < m->horizon; i++) {
        double next = 0, dt = fmin(m->step, m->horizon - t);
        features(m, last, trial->log_rate, t, f);
        for (size_t k = 0; k < m->terms; k++) {
            next += m->weight[k] * f[k];
        }
        value += next * dt / m->step;
        memmove(last + 1, last, (m->lags - 1) * sizeof(*last));
        last[0] = next;
        t += dt;
    }
    return value;
}

bool stop_by_convex(const struct convex_rule *rule, const struct curve *trial,
                    const struct curve *completed, size_t nr, double *ret_t, double *ret_value) {
    size_t need = rule->min_measurements ? rule->min_measurements : 5;
    if (trial->n < need || trial->n < 2 || nr < need + 1) {
        return false;
    }
    auto_free double *room = xcalloc(nr + trial->n + 1, sizeof(*room));
    double horizon = rule->max_t;
    if (horizon <= 0) {
        size_t n = 0;
        for (size_t i = 0; i < nr; i++) {
            if (completed[i].n) {
                room[n++] = completed[i].p[completed[i].n - 1].t;
            }
        }
        horizon = n ? median_of(room, n) : 0;
    }
    double now = trial->p[trial->n - 1].t, min_t = rule->min_t < 0 ? horizon / 10 : rule->min_t;
    if (now <= min_t || now >= horizon) {
        return false;
    }
    double *envelope = room + nr, low = INFINITY;
    for (size_t i = 0; i < trial->n; i++) {
        envelope[i] = i ? fmax(envelope[i - 1], trial->p[i].value) : trial->p[0].value;
        low = fmin(low, trial->p[i].value);
    }
    double top = envelope[trial->n - 1];
    double slope = fmax(slope_from(envelope, trial, trial->n / 2),
                        slope_from(envelope, trial, trial->n - (trial->n + 3) / 4));
    if (slope * (horizon - now) <= 1e-12 * (top - low)) {
        return false; /* flat: the rule says nothing */
    }
    double most = top + slope * (horizon - now);
    if (!(most < best_final(completed, nr))) {
        return false;
    }
    struct ar model = {.lags = need < LAGS_MAX ? need : LAGS_MAX,
                       .step = common_step(completed, nr),
                       .horizon = horizon};
    model.terms = model.lags + 3;
    double value = model.step > 0 && learn(&model, completed, nr) ? roll(&model, trial) : NAN;
    if (!isfinite(value)) {
        value = top + 0.5 * slope * (horizon - now) * exp(-1);
    }
    *ret_t = horizon;
    *ret_value = fmin(most, fmax(top, value));
    return true;
}
