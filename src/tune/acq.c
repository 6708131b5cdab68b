/* See acq.h. */
#include "tune/acq.h"

#include "base/mem.h"

#include <math.h>

#define STRICT 10.0 /* for each standard deviation by which a strict limit is less than likely */
#define PENALTY 2.0 /* of a certain failure, in standard deviations of the labels */

void acq_fini(struct acq *a) {
    for (size_t k = 0; k < ACQ_MODELS_MAX; k++) {
        gp_at_fini(&a->at[k]);
    }
    gp_at_fini(&a->at_before);
    front_fini(&a->front);
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
 * by_mean[k * nr_points + c]. */
static double objective(const struct acq *a, size_t nr_points, size_t c, double *by_mean,
                        double *by_sd) {
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
    if (a->kind == ACQ_LOG_EHVI) {
        const double mean[] = {a->at[0].mean[c], a->at[1].mean[c]};
        const double sd[] = {a->at[0].sd[c], a->at[1].sd[c]};
        double m[2], s[2], v = front_log_gain(&a->front, mean, sd, m, s);
        for (size_t k = 0; k < 2; k++) {
            by_mean[k * nr_points + c] = m[k];
            by_sd[k * nr_points + c] = s[k];
        }
        return v;
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
        by_mean[k * nr_points + c] = share;
        by_sd[k * nr_points + c] = a->beta * share;
    }
    return least + 0.05 * sum;
}

/* ln Phi(u) and phi(u) / Phi(u). */
static double log_cdf(double u, double *ret_ratio) {
    if (u > -8) {
        *ret_ratio = phi(u) / cdf(u);
        return log(cdf(u));
    }
    *ret_ratio = -u;
    return -u * u / 2 - 0.9189385332046727 - log(-u);
}

static double limit(const struct acq *a, size_t k, size_t c, double *by_mean, double *by_sd) {
    const struct gp_at *at = &a->at[a->nr_objectives + k];
    double sd2 = at->sd[c] * at->sd[c] + a->extra_var[k], sd = sqrt(sd2), value, by_u;
    double u = (at->mean[c] + a->margin[k]) / sd;
    if (a->kind == ACQ_UCB) {
        value = -PENALTY * cdf(-u);
        by_u = PENALTY * phi(u);
    } else {
        value = log_cdf(u, &by_u);
    }
    if (a->is_strict[k] && u < 1) {
        value -= STRICT * (1 - u);
        by_u += STRICT;
    }
    by_mean[c] = by_u / sd;
    by_sd[c] = -by_u * u / sd2 * at->sd[c];
    return value;
}

static void add_before(struct acq *a, const double *x, size_t m, bool with_grad, double *mean) {
    gp_predict(a->before, x, m, with_grad, &a->at_before);
    for (size_t c = 0; c < m; c++) {
        mean[c] += a->before_share * a->at_before.mean[c];
    }
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
    if (a->before) {
        add_before(a, x, m, grad, a->at[0].mean);
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
        if (a->before) {
            for (size_t c = 0; c < m; c++) {
                by_mean[c] *= a->before_share;
                by_sd[c] = 0;
            }
            gp_gradient(a->before, x, &a->at_before, by_mean, by_sd, grad);
        }
    }
}

bool acq_bound(struct acq *a, const double *x, size_t m, double *value) {
    if (a->nr_objectives > 1 || a->kind != ACQ_UCB) {
        return false;
    }
    gp_bound(a->objectives[0], x, m, &a->at[0]);
    if (a->before) {
        add_before(a, x, m, false, a->at[0].mean);
    }
    for (size_t c = 0; c < m; c++) { /* limits only take off */
        value[c] = a->at[0].mean[c] + a->beta * a->at[0].sd[c];
    }
    return true;
}
