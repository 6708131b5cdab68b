/* See importance.h: a model like the tuner's around a trend, then its mean asked at many spread
 * points. The tuner's own model would not do: most trials of a study lie near its best, and far
 * from them the model's mean falls back to the mean of those, as if nothing mattered there. */
#include "tune/importance.h"

#include "base/mem.h"
#include "tune/fit.h"
#include "tune/history.h"
#include "tune/model.h"
#include "tune/trend.h"

#include <math.h>

#define SOBOL_POINTS 512 /* a feature */
#define LEVELS 17        /* of a number at which its own effect is looked at */
#define EFFECT_POINTS 128
#define EFFECT_BUDGET 32768 /* points for all features' effects together */
#define FIT_ROWS 256        /* the model is fitted to no more, */
#define TAME 10.0           /* times as far from the median as the worst tenth begins */
#define ROWS 800            /* and looks at no more */

/* Labels are trend + scale * what gp says. */
struct surface {
    struct trend trend;
    struct gp gp;
    double scale;
};

struct asked {
    const struct space *space;
    const struct surface *surface;
    double sign; /* the model's larger is better; back to the user's direction */
    double *shift;
    struct gp_at at;
};

static void predict(struct asked *a, const double *x, size_t m, double *ret) {
    size_t d = a->space->d;
    for (size_t i = 0; i < m; i += 256) {
        size_t k = m - i < 256 ? m - i : 256;
        gp_predict(&a->surface->gp, x + i * d, k, false, &a->at);
        for (size_t c = 0; c < k; c++) {
            double around = a->surface->scale * a->at.mean[c];
            ret[i + c] = a->sign * (trend_at(&a->surface->trend, x + (i + c) * d) + around);
        }
    }
}

static double variance(const double *v, size_t n) {
    double mean = 0, var = 0;
    for (size_t i = 0; i < n; i++) {
        mean += v[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        var += (v[i] - mean) * (v[i] - mean) / (double)n;
    }
    return var;
}

/* Total indices by Jansen's estimator: how far the mean moves when one feature alone is drawn
 * anew. Returns the variance of the mean over the space. */
static double total_indices(struct asked *a, double *ret) {
    size_t d = a->space->d, n = SOBOL_POINTS;
    auto_free double *x = xcalloc(n * d, sizeof(*x)), *other = xcalloc(n * d, sizeof(*other)),
                     *mixed = xcalloc(n * d, sizeof(*mixed));
    auto_free double *f = xcalloc(n, sizeof(*f)), *g = xcalloc(n, sizeof(*g));
    for (size_t i = 0; i < n; i++) {
        space_spread(a->space, i, a->shift, x + i * d);
        space_spread(a->space, i + n, a->shift + d, other + i * d);
    }
    predict(a, x, n, f);
    for (size_t j = 0; j < d; j++) {
        memcpy(mixed, x, n * d * sizeof(*mixed));
        for (size_t i = 0; i < n; i++) {
            mixed[i * d + j] = other[(i * 7 + 3) % n * d + j];
            space_snap(a->space, mixed + i * d);
        }
        predict(a, mixed, n, g);
        for (size_t i = 0; i < n; i++) {
            ret[j] += (f[i] - g[i]) * (f[i] - g[i]) / (2 * (double)n);
        }
    }
    return variance(f, n);
}

static size_t levels_of(const struct feature *f) {
    return f->nr_values && f->nr_values < LEVELS ? f->nr_values : LEVELS;
}

static double level(const struct space *s, size_t j, size_t k) {
    const struct feature *f = &s->features[j];
    size_t nr = levels_of(f);
    return f->is_category && f->nr_values > LEVELS ? (double)(k * f->nr_values / nr)
           : f->is_category                        ? (double)k
           : nr < LEVELS && f->images              ? f->images[k]
                                      : space_snap_one(s, j, (double)k / (double)(nr - 1));
}

/* The average over all other features as feature j goes through its levels. */
static void own_effect(struct asked *a, size_t j, double all, struct tune_importance *ret) {
    const struct space *s = a->space;
    size_t d = s->d, nr = levels_of(&s->features[j]), n = EFFECT_BUDGET / (d * nr);
    n = n < 16 ? 16 : n > EFFECT_POINTS ? EFFECT_POINTS : n;
    auto_free double *x = xcalloc(n * d, sizeof(*x)), *f = xcalloc(n, sizeof(*f));
    double mean[LEVELS] = {0}, at[LEVELS], su = 0, sm = 0, suu = 0, smm = 0, sum = 0;
    size_t best = 0;
    for (size_t k = 0; k < nr; k++) {
        at[k] = level(s, j, k);
        for (size_t i = 0; i < n; i++) {
            space_spread(s, i, a->shift, x + i * d);
            x[i * d + j] = at[k];
            space_snap(s, x + i * d);
        }
        predict(a, x, n, f);
        for (size_t i = 0; i < n; i++) {
            mean[k] += f[i] / (double)n;
        }
        best = a->sign * mean[k] > a->sign * mean[best] ? k : best;
    }
    for (size_t k = 0; k < nr; k++) {
        su += at[k] / (double)nr;
        sm += mean[k] / (double)nr;
    }
    for (size_t k = 0; k < nr; k++) {
        suu += (at[k] - su) * (at[k] - su) / (double)nr;
        smm += (mean[k] - sm) * (mean[k] - sm) / (double)nr;
        sum += (at[k] - su) * (mean[k] - sm) / (double)nr;
    }
    const struct tune_param *p = &s->params[s->features[j].param];
    bool is_ordered = !s->features[j].is_category && suu > 0 && smm > 0 && all > 0;
    ret->effect = is_ordered ? sum / sqrt(suu * smm) * fmin(1, sqrt(smm / all)) : 0;
    ret->best = s->features[j].is_category ? at[best] : space_decode_one(p, at[best]);
}

/* Rows of the history and their labels, `keep` at most; returns how many. */
static size_t choose_rows(const struct history *h, const struct space *s, const double *y,
                          size_t keep, double *ret_x, double *ret_y) {
    auto_free size_t *rows = xcalloc(h->n + 1, sizeof(*rows));
    size_t nr = h->n;
    if (nr > keep) {
        nr = model_choose(s, h->x, y, h->n, keep / 4, keep / 8, keep, rows);
    }
    for (size_t i = 0; i < nr; i++) {
        size_t from = h->n > keep ? rows[i] : i;
        memcpy(ret_x + i * s->d, h->x + from * s->d, s->d * sizeof(double));
        ret_y[i] = y[from];
    }
    return nr;
}

static int cmp(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Labels in the metric's own proportions, unlike the tuner's, which are spread out near the best;
 * only what is worse than nine tenths by far (a training that diverged) is brought nearer. */
static void tame(double *y, size_t n) {
    double scale = 0, mean = 0;
    auto_free double *sorted = xmalloc((n + 1) * sizeof(*sorted));
    memcpy(sorted, y, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), cmp);
    double median = sorted[n / 2];
    double least = n >= 10 ? median - TAME * (median - sorted[n / 10]) : sorted[0];
    for (size_t i = 0; i < n; i++) { /* 1e300 squared has no room */
        y[i] = fmax(y[i], least);
        scale = fmax(scale, fabs(y[i]));
    }
    for (size_t i = 0; i < n; i++) {
        y[i] /= scale > 0 ? scale : 1;
        mean += y[i] / (double)n;
    }
    double sd = sqrt(variance(y, n));
    for (size_t i = 0; i < n; i++) {
        y[i] = sd > 1e-14 ? (y[i] - mean) / sd : 0;
    }
}

/* What the trend leaves of the labels, in units of its deviation, which is returned. */
static double take_trend(const struct trend *t, const struct space *s, const double *x, size_t n,
                         double *y) {
    for (size_t i = 0; i < n; i++) {
        y[i] -= trend_at(t, x + i * s->d);
    }
    double scale = sqrt(variance(y, n));
    for (size_t i = 0; i < n; i++) {
        y[i] = scale > 1e-12 ? y[i] / scale : 0;
    }
    return scale;
}

static void surface_init(struct surface *f, const struct space *s, enum tune_noise noise,
                         const struct history *h, const double *y) {
    size_t most = h->n < ROWS ? h->n : ROWS;
    auto_free double *x = xcalloc(most * s->d + 1, sizeof(*x)), *v = xcalloc(most + 1, sizeof(*v));
    auto_free double *theta = xcalloc(fit_size(s), sizeof(*theta));
    fit_prior_means(s, noise, theta);
    size_t n = choose_rows(h, s, y, most < FIT_ROWS ? most : FIT_ROWS, x, v);
    tame(v, n);
    trend_init(&f->trend, s, x, v, n);
    take_trend(&f->trend, s, x, n, v);
    struct fit_data data = {.space = s, .noise = noise, .x = x, .y = v, .n = n};
    fit_theta(&data, false, theta);
    struct gp_theta t = fit_view(s, theta);
    n = choose_rows(h, s, y, most, x, v);
    tame(v, n);
    f->scale = take_trend(&f->trend, s, x, n, v);
    gp_init(&f->gp, s);
    gp_build(&f->gp, &t, x, n);
    gp_label(&f->gp, v);
}

static void surface_fini(struct surface *f) {
    trend_fini(&f->trend);
    gp_fini(&f->gp);
}

static bool explain(const struct space *s, const struct surface *f, bool minimize,
                    struct tune_importance *ret) {
    struct asked a = {.space = s, .surface = f, .sign = minimize ? -1 : 1};
    auto_free double *index = xcalloc(s->d + 1, sizeof(*index));
    auto_free double *shift = xcalloc(2 * s->d + 1, sizeof(*shift));
    struct rng rng;
    rng_seed(&rng, 0x5eed);
    for (size_t j = 0; j < 2 * s->d; j++) {
        shift[j] = rng_unit(&rng);
    }
    a.shift = shift;
    double all = total_indices(&a, index), sum = 0;
    for (size_t j = 0; j < s->d; j++) {
        sum += index[j];
    }
    for (size_t j = 0; j < s->d; j++) {
        struct tune_importance *to = &ret[s->features[j].param];
        to->share = sum > 0 ? index[j] / sum : 0;
        own_effect(&a, j, all, to);
    }
    gp_at_fini(&a.at);
    return sum > 0;
}

static bool is_not_flat(const double *y, size_t n) {
    size_t i = 1;
    while (i < n && y[i] == y[0]) {
        i++;
    }
    return i < n;
}

bool tuner_importance(const struct tune_study *study, const struct tune_trial *trials, size_t nr,
                      size_t metric, struct tune_importance *ret) {
    struct space s;
    struct err err;
    memset(ret, 0, study->nr_params * sizeof(*ret));
    if (metric >= study->nr_metrics || space_init(&s, study, &err)) {
        return false;
    }
    for (size_t i = 0; i < study->nr_params; i++) {
        const struct tune_param *p = &study->params[i];
        ret[i].best = p->type == TUNE_CATEGORICAL ? 0
                      : p->type == TUNE_DISCRETE  ? p->values[0]
                                                  : p->lo;
    }
    struct history h;
    history_init(&h, &s, study, trials, nr);
    const double *y = h.y + metric * h.n;
    bool ok = s.d && h.n >= TUNE_IMPORTANCE_TRIALS && is_not_flat(y, h.n);
    if (ok) {
        struct surface f;
        surface_init(&f, &s, study->noise, &h, y);
        ok = explain(&s, &f, study->metrics[metric].minimize, ret);
        surface_fini(&f);
    }
    history_fini(&h);
    space_fini(&s);
    return ok;
}
