/* See acq.h. */
#include "tune/acq.h"

#include "base/mem.h"

#include <math.h>

#define PENALTY 2.0 /* of a certain failure, in standard deviations of the labels */

void acq_fini(struct acq *a) {
    for (size_t k = 0; k < ACQ_MODELS_MAX; k++) {
        gp_at_fini(&a->at[k]);
    }
    free(a->room);
    a->room = NULL;
    a->cap = 0;
}

static double phi(double u) {
    return 0.3989422804014327 * exp(-u * u / 2);
}

static double cdf(double u) {
    return 0.5 * erfc(-u * M_SQRT1_2);
}

double acq_log_h(double u, double *ret_ratio) {
    if (u > -1) {
        double h = phi(u) + u * cdf(u);
        *ret_ratio = cdf(u) / h;
        return log(h);
    }
    double q, e; /* q = 1 + u e, e = Phi / phi */
    if (u > -20) {
        e = sqrt(M_PI / 2) * exp(u * u / 2) * erfc(-u * M_SQRT1_2);
        q = 1 + u * e;
    } else {
        double v = u * u, term = 1;
        q = 0;
        for (int k = 1; k <= 10; k++) {
            term *= (2 * k - 1) / v;
            q += k % 2 ? term : -term;
        }
        e = (1 - q) / -u;
    }
    *ret_ratio = e / q;
    return -u * u / 2 - 0.9189385332046727 + log(q);
}

static void make_room(struct acq *a, size_t n) {
    if (n > a->cap) {
        free(a->room);
        a->room = xcalloc(n, sizeof(double));
        a->cap = n;
    }
}

/* The objective part of point c and its derivatives by mean and sd of each objective, which lie at
 * by_mean[k * m + c]. */
static double objective(const struct acq *a, size_t m, size_t c, double *by_mean, double *by_sd) {
    size_t nr = a->nr_objectives;
    if (nr == 1 && a->kind == ACQ_LOG_EI) {
        double sd = a->at[0].sd[c], u = (a->at[0].mean[c] - a->best) / sd, ratio;
        double v = acq_log_h(u, &ratio) + log(sd);
        by_mean[c] = ratio / sd;
        by_sd[c] = (1 - u * ratio) / sd;
        return v;
    }
    if (nr == 1) {
        by_mean[c] = 1;
        by_sd[c] = a->beta;
        return a->at[0].mean[c] + a->beta * a->at[0].sd[c];
    }
    /* Chebyshev, augmented: the worst objective counts, the others break ties. */
    double least = INFINITY, sum = 0;
    size_t at = 0;
    for (size_t k = 0; k < nr; k++) {
        double v = (a->at[k].mean[c] + a->beta * a->at[k].sd[c] - a->reference[k]) / a->weight[k];
        sum += v;
        if (v < least) {
            least = v;
            at = k;
        }
    }
    for (size_t k = 0; k < nr; k++) {
        double share = (0.05 + (k == at)) / a->weight[k];
        by_mean[k * m + c] = share;
        by_sd[k * m + c] = a->beta * share;
    }
    return least + 0.05 * sum;
}

static double limit(const struct acq *a, size_t k, size_t c, double *by_mean, double *by_sd) {
    const struct gp_at *at = &a->at[a->nr_objectives + k];
    double sd2 = at->sd[c] * at->sd[c] + a->extra_var[k], sd = sqrt(sd2);
    double u = (at->mean[c] + a->margin[k]) / sd;
    by_mean[c] = PENALTY * phi(u) / sd;
    by_sd[c] = -PENALTY * phi(u) * u / sd2 * at->sd[c];
    return -PENALTY * cdf(-u);
}

void acq_eval(struct acq *a, const double *x, size_t m, double *value, double *grad) {
    size_t nr = a->nr_objectives + a->nr_limits, d = a->objectives[0]->space->d;
    make_room(a, 2 * nr * m + 1);
    double *by_mean = a->room, *by_sd = a->room + nr * m;
    for (size_t k = 0; k < nr; k++) {
        const struct gp *g =
            k < a->nr_objectives ? a->objectives[k] : a->limits[k - a->nr_objectives];
        gp_predict(g, x, m, true, &a->at[k]);
    }
    for (size_t c = 0; c < m; c++) {
        value[c] = objective(a, m, c, by_mean, by_sd);
        for (size_t k = 0; k < a->nr_limits; k++) {
            size_t row = (a->nr_objectives + k) * m;
            value[c] += limit(a, k, c, by_mean + row, by_sd + row);
        }
    }
    if (grad) {
        memset(grad, 0, m * d * sizeof(*grad));
        for (size_t k = 0; k < nr; k++) {
            const struct gp *g =
                k < a->nr_objectives ? a->objectives[k] : a->limits[k - a->nr_objectives];
            gp_gradient(g, x, &a->at[k], by_mean + k * m, by_sd + k * m, grad);
        }
    }
}

bool acq_bound(struct acq *a, const double *x, size_t m, double *value) {
    if (a->nr_objectives > 1 || a->kind != ACQ_UCB) {
        return false;
    }
    gp_bound(a->objectives[0], x, m, &a->at[0]);
    for (size_t c = 0; c < m; c++) { /* limits only take off */
        value[c] = a->at[0].mean[c] + a->beta * a->at[0].sd[c];
    }
    return true;
}
