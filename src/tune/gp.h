/* A Gaussian process over feature vectors: Matern 5/2 with one length a feature, categories by
 * mismatch inside the same radius (reference 30 §2.4 to 2.7), plus an additive part (axes.h). Keeps
 * the inverse of the covariance, which grows by rows. Rows given in the same order make the same
 * numbers to the last bit. */
#ifndef CUSP_TUNE_GP_H
#define CUSP_TUNE_GP_H

#include "tune/axes.h"

#define GP_JITTER 1e-8

/* Logarithms: d lengths and variance of the product part, noise variance, variance (-INFINITY:
 * none) and d lengths of the additive part. */
struct gp_theta {
    const double *log_len; /* of the turned directions where there are such */
    const double *turn; /* nr_numeric rows, the product part's directions in features; or NULL: the
                           features themselves */
    double log_signal, log_noise, log_additive;
    const double *log_axis_len;
};

struct gp {
    const struct space *space;
    size_t n, cap;   /* rows; cap is the leading dimension of inverse */
    double *x;       /* n x d */
    double *scaled;  /* n x nr_numeric: x / length */
    double *norms;   /* |scaled row|^2 */
    double *inverse; /* n x n, full, columns of cap */
    double *y, *alpha;
    double signal, noise;
    double *inv_len; /* d: 1 / length, of a direction or of a category */
    bool is_turned;
    double *turn;      /* nr_numeric x nr_numeric, as in gp_theta */
    double additive;   /* its variance; 0: no axes are kept */
    struct axis *axes; /* nr_numeric, room for cap each */
    double *inv_axis_len;
};

void gp_init(struct gp *g, const struct space *s);
void gp_fini(struct gp *g);
void gp_copy(struct gp *to, const struct gp *from); /* to was initialised */
/* Takes theta and the rows from the beginning: one factorisation. */
void gp_build(struct gp *g, const struct gp_theta *t, const double *x, size_t n);
/* One row more, at a cost of n^2; the labels are then to be set again. */
void gp_append(struct gp *g, const double *x);
/* Labels of all rows. */
void gp_label(struct gp *g, const double *y);
/* A row more whose label is what the model predicts there: no mean changes, only variances. */
void gp_append_predicted(struct gp *g, const double *x);
static inline double gp_variance(const struct gp *g) { /* before any data */
    return g->signal + g->additive;
}
/* Into ret (d): how fast the product part changes along each feature, 1 / length. */
void gp_paces(const struct gp *g, double *ret);
/* Posterior mean at row i, without the row's own noise. */
double gp_fitted(const struct gp *g, size_t i);

/* Prediction at m points: mean and standard deviation of the function itself. */
struct gp_at {
    size_t m, cap_m, cap_n;
    double *mean, *sd;
    /* for gp_gradient */
    double *k, *w, *v; /* n x m: covariance, its radial derivative, inverse * k */
    double *z, *znorms;
    double *c, *xc; /* of gp_gradient */
};
void gp_at_fini(struct gp_at *p);
/* with_sd false: the means only, for screening; gradients need it true. */
void gp_predict(const struct gp *g, const double *x, size_t m, bool with_sd, struct gp_at *ret);
/* The means, and bounds from above on the deviations: what the one nearest row leaves open. Costs n
 * m d where gp_predict costs n^2 m. */
void gp_bound(const struct gp *g, const double *x, size_t m, struct gp_at *ret);
/* grad (m x d, numeric features; others 0) += d/dx of a(mean, sd), given its two partial
 * derivatives at each point. x as in gp_predict. */
void gp_gradient(const struct gp *g, const double *x, struct gp_at *p, const double *by_mean,
                 const double *by_sd, double *grad);

/* exp(-r) (1 + r + r^2/3) and 5/3 exp(-r) (1 + r) of r = sqrt(5 r2), in place over r2; w may be
 * NULL. r2 below 0 counts as 0. */
void gp_matern(double *r2, double *w, size_t n);

#endif
