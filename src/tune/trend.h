/* A line and a parabola along each number of a space, fitted by ridge regression: what a Gaussian
 * process, which falls back to the mean of what it has seen, cannot say about the parts of the
 * space where a study has had no trials. */
#ifndef CUSP_TUNE_TREND_H
#define CUSP_TUNE_TREND_H

#include "tune/space.h"

struct trend {
    size_t d;             /* numbers; 0 coefficients: no trend foretells anything */
    double *coefficients; /* 1 + 2 d: constant, lines, parabolas */
};

/* n rows of s->d features and their labels. The weight of the ridge is the one that foretells each
 * row best from all others; where none does better than the rows' mean the trend is flat. */
void trend_init(struct trend *t, const struct space *s, const double *x, const double *y, size_t n);
void trend_fini(struct trend *t);
/* At one point of s->d features. */
double trend_at(const struct trend *t, const double *x);

#endif
