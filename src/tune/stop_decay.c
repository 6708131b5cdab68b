/* The decay-curve rule (reference 30 §3.2): a Gaussian process over completed trials, each a curve
 * up to the running trial's time and what it gained afterwards; and the trial's own course
 * continued. Both must give it up. */
#include "tune/stopping_int.h"

#include "base/mem.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>

#define GRID 16
#define MAX_CURVES 200 /* the newest */
#define MIN_POINTS 3
#define OWN_POINTS 6 /* from here on the trial's own course is asked too */
#define OWN_MAX 100  /* its newest measurements */
#define TOO_UNLIKELY 0.01

static double above(double best, double mean, double sd) {
    return 0.5 * erfc((best - mean) / (sd * M_SQRT2));
}

/* Linear between measurements, constant outside. */
static double at(const struct curve *c, double t) {
    size_t lo = 0, hi = c->n - 1;
    if (t <= c->p[0].t) {
        return c->p[0].value;
    }
    if (t >= c->p[hi].t) {
        return c->p[hi].value;
    }
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        *(c->p[mid].t <= t ? &lo : &hi) = mid;
    }
    double f = (t - c->p[lo].t) / (c->p[hi].t - c->p[lo].t);
    return c->p[lo].value + f * (c->p[hi].value - c->p[lo].value);
}

static double rms2(const double *a, const double *b) {
    double sum = 0;
    for (int k = 0; k < GRID; k++) {
        sum += (a[k] - b[k]) * (a[k] - b[k]) / GRID;
    }
    return sum;
}

/* Prediction of a zero-mean process: K (n x n, with noise, is destroyed), k to the new point, z the
 * labels, self its own variance. False when K is not positive. */
static bool predict(double *big_k, const double *k, const double *z, size_t n, double self,
                    double *ret_mean, double *ret_var) {
    if (LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'L', (int)n, big_k, (int)n)) {
        return false;
    }
    auto_free double *v = xcalloc(n, sizeof(*v)), *w = xcalloc(n, sizeof(*w));
    memcpy(v, k, n * sizeof(*v));
    memcpy(w, z, n * sizeof(*w));
    cblas_dtrsv(CblasColMajor, CblasLower, CblasNoTrans, CblasNonUnit, (int)n, big_k, (int)n, v, 1);
    cblas_dtrsv(CblasColMajor, CblasLower, CblasNoTrans, CblasNonUnit, (int)n, big_k, (int)n, w, 1);
    *ret_mean = cblas_ddot((int)n, v, 1, w, 1);
    *ret_var = fmax(0, self - cblas_ddot((int)n, v, 1, v, 1));
    return true;
}

/* Chance to pass `best`, by how curves like this one went on; -1: cannot tell. */
static double chance_by_others(const struct curve *trial, const struct curve *completed, size_t nr,
                               double best) {
    double until = trial->p[trial->n - 1].t, from = trial->p[0].t, sum = 0, sum2 = 0;
    size_t n = 0, first = nr > MAX_CURVES ? nr - MAX_CURVES : 0;
    auto_free double *x = xcalloc((MAX_CURVES + 1) * GRID, sizeof(*x));
    auto_free double *z = xcalloc(MAX_CURVES + 1, sizeof(*z));
    for (size_t i = first; i < nr; i++) {
        sum += completed[i].final / (double)(nr - first);
    }
    for (size_t i = first; i < nr; i++) {
        sum2 += (completed[i].final - sum) * (completed[i].final - sum) / (double)(nr - first);
    }
    double scale = sum2 > 0 ? sqrt(sum2) : 1;
    for (size_t i = first; i <= nr; i++) {
        const struct curve *c = i < nr ? &completed[i] : trial;
        if (i < nr && (c->n < MIN_POINTS || c->p[c->n - 1].t < until)) {
            continue;
        }
        for (int k = 0; k < GRID; k++) {
            x[n * GRID + k] = at(c, from + (until - from) * (k + 1) / GRID) / scale;
        }
        z[n] = c->final / scale - x[n * GRID + GRID - 1]; /* still to be gained after `until` */
        n += i < nr;
    }
    if (n < STOP_MIN_COMPLETED) {
        return -1;
    }
    auto_free double *pairs = xcalloc(n * n, sizeof(*pairs));
    auto_free double *big_k = xcalloc(n * n, sizeof(*big_k)), *k = xcalloc(n, sizeof(*k));
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t q = 0; q < i; q++) {
            pairs[m++] = sqrt(rms2(x + i * GRID, x + q * GRID));
        }
    }
    double len = fmax(1e-6, median_of(pairs, m)), var = 0, mean = 0;
    memcpy(pairs, z, n * sizeof(*z));
    double centre = median_of(pairs, n);
    for (size_t i = 0; i < n; i++) {
        mean += z[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        var += (z[i] - mean) * (z[i] - mean) / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        z[i] -= centre;
    }
    double signal = var + 1e-4, noise = 0.1 * signal + 1e-4, gain, spread;
    const double *own = x + n * GRID;
    for (size_t i = 0; i < n; i++) {
        k[i] = signal * exp(-rms2(x + i * GRID, own) / (2 * len * len));
        for (size_t q = 0; q < n; q++) {
            big_k[i * n + q] = signal * exp(-rms2(x + i * GRID, x + q * GRID) / (2 * len * len)) +
                               (i == q ? noise : 0);
        }
    }
    if (!predict(big_k, k, z, n, signal, &gain, &spread)) {
        return -1;
    }
    return above(best, scale * (own[GRID - 1] + centre + gain), scale * sqrt(spread + noise));
}

/* Freeze-thaw: exponential decays of unknown rate towards an unknown level. */
static double decay(double t, double u, double b) {
    return b / (t + u + b);
}

static double chance_by_itself(const struct curve *trial, double horizon, double best) {
    size_t n = trial->n < OWN_MAX ? trial->n : OWN_MAX;
    const struct curve_point *p = trial->p + trial->n - n;
    double from = p[0].t, until = p[n - 1].t - from, mean = 0, var = 0;
    for (size_t i = 0; i < n; i++) {
        mean += p[i].value / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        var += (p[i].value - mean) * (p[i].value - mean) / (double)n;
    }
    if (!(var > 0) || !(until > 0)) {
        return best > p[n - 1].value ? 0 : 1;
    }
    auto_free double *big_k = xcalloc(n * n, sizeof(*big_k)), *k = xcalloc(n, sizeof(*k)),
                     *z = xcalloc(n, sizeof(*z));
    double noise = 0.01 * var, level = 4 * var, b = until, end = fmax(horizon - from, until);
    for (size_t i = 0; i < n; i++) {
        double t = p[i].t - from;
        z[i] = p[i].value - mean;
        k[i] = level + 4 * var * decay(t, end, b);
        for (size_t q = 0; q < n; q++) {
            big_k[i * n + q] = level + 4 * var * decay(t, p[q].t - from, b) + (i == q ? noise : 0);
        }
    }
    double m, v;
    if (!predict(big_k, k, z, n, level + 4 * var * decay(end, end, b), &m, &v)) {
        return 1;
    }
    return above(best, mean + m, sqrt(v + noise));
}

bool stop_by_decay(const struct curve *trial, const struct curve *completed, size_t nr) {
    if (trial->n < MIN_POINTS || nr < STOP_MIN_COMPLETED) {
        return false;
    }
    double best = best_final(completed, nr), horizon = 0;
    for (size_t i = 0; i < nr; i++) {
        horizon = completed[i].n ? fmax(horizon, completed[i].p[completed[i].n - 1].t) : horizon;
    }
    double chance = chance_by_others(trial, completed, nr, best);
    if (chance < 0 || chance >= TOO_UNLIKELY) {
        return false;
    }
    return trial->n < OWN_POINTS || chance_by_itself(trial, horizon, best) < TOO_UNLIKELY;
}
