/* The default engine: Gaussian processes and an upper confidence bound (reference 30 §2). */
#ifndef CUSP_TUNE_BAYES_H
#define CUSP_TUNE_BAYES_H

#include "tune/acq.h"
#include "tune/history.h"
#include "tune/model.h"
#include "tune/transfer.h"

struct bayes {
    const struct space *space;
    const struct tune_study *study;
    double share_of_values; /* of the features: those that are no continuum */
    struct model *models;   /* by metric; safety metrics too */
    struct transfer transfer;
};

void bayes_init(struct bayes *b, const struct space *s, const struct tune_study *study);
void bayes_fini(struct bayes *b);
/* The trials of an earlier study. Nothing happens with several objectives. */
void bayes_learn(struct bayes *b, const struct history *earlier);
/* Fits what is due; suggest would, but this can be done ahead. */
void bayes_update(struct bayes *b, const struct history *h);
/* Feature vectors of up to count suggestions; returns how many. */
size_t bayes_suggest(struct bayes *b, const struct history *h, uint64_t serial, size_t count,
                     double *ret);

#endif
