/* The model's hyperparameters from data: maximum a posteriori (reference 30 §2.4, §2.5). */
#ifndef CUSP_TUNE_FIT_H
#define CUSP_TUNE_FIT_H

#include "tune/gp.h"

/* theta as one vector: d log lengths, log signal variance, log noise variance, log variance of the
 * additive part, its d log lengths; the product part's directions, all 0 where it has the features.
 */
static inline size_t fit_axes_at(const struct space *s) {
    return s->d + 2; /* the additive part: its log variance, its log lengths */
}
static inline size_t fit_turn_at(const struct space *s) {
    return fit_axes_at(s) + 1 + s->d; /* the directions; what is before them has a prior each */
}
static inline size_t fit_size(const struct space *s) {
    return fit_turn_at(s) + s->nr_numeric * s->nr_numeric;
}
void fit_prior_means(const struct space *s, enum tune_noise noise, double *theta);
struct gp_theta fit_view(const struct space *s, double *theta);

struct fit_data {
    const struct space *space;
    enum tune_noise noise;
    const double *x, *y; /* n x d, n labels of variance 1 */
    size_t n;
    bool has_axes; /* false: without the additive part; its part of theta counts for nothing */
    bool leans; /* without axes: the last numeric feature takes in theta[fit_axes_at + k] of number
                   k */
};
#define FIT_NO_AXES (-20.0) /* theta's log variance of the additive part when there is none */
/* Minus the log posterior, up to a constant; its gradient too when grad is not NULL. 1e10 where the
 * covariance cannot be factored. */
double fit_value(const struct fit_data *f, const double *theta, double *grad);
/* Improves theta, which holds the start; with_prior: also from the prior's means. The additive part
 * and directions other than the
 * features are taken only where the data ask for them: f->has_axes and f->leans are ignored. */
void fit_theta(const struct fit_data *f, bool with_prior, double *theta);

/* Minimises fn from x by L-BFGS with back-tracking; for a handful of variables. fn may return
 * 1e10 to refuse a point. */
struct lbfgs {
    double (*fn)(void *arg, const double *x, double *grad);
    void *arg;
    size_t n;
    unsigned max_rounds;
    double grad_tol, gain_tol, max_step;
};
double lbfgs_minimise(const struct lbfgs *o, double *x);

#endif
