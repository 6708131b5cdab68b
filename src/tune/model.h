/* One metric's model over a study's life: when its hyperparameters are fitted anew, which rows it
 * looks at, and a cache that gives the same numbers as starting over (reference 30 §2.5, §2.6,
 * §2.14). */
#ifndef CUSP_TUNE_MODEL_H
#define CUSP_TUNE_MODEL_H

#include "tune/gp.h"

struct model {
    const struct space *space;
    enum tune_noise noise;
    double *theta;            /* of the last fit */
    size_t fitted_at;         /* rows at the last fit, 0: none */
    struct gp base;           /* without pending rows */
    size_t *rows;             /* which rows of the history it has, in order */
    size_t nr_rows, based_on; /* based_on: history rows when the rows were chosen */
    double *seen_x, *seen_y;  /* the history that all this comes from */
    size_t nr_seen;
};

void model_init(struct model *m, const struct space *s, enum tune_noise noise);
void model_fini(struct model *m);
/* Brings it up to the history: n rows x, values y (larger is better, any unit). Fits where the
 * schedule says. */
void model_update(struct model *m, const double *x, const double *y, size_t n);
/* The history row behind row i of the model. */
size_t model_row(const struct model *m, size_t i);

/* Up to `keep` of n rows: the best, the newest, and those far from all others; increasing. */
size_t model_choose(const struct space *s, const double *x, const double *y, size_t n, size_t best,
                    size_t newest, size_t keep, size_t *ret);

#endif
