/* A study's trials as rows of features and columns of values. */
#ifndef CUSP_TUNE_HISTORY_H
#define CUSP_TUNE_HISTORY_H

#include "tune/space.h"

struct history {
    size_t n;  /* done */
    double *x; /* n x d, in the order they ended */
    double *y; /* nr_metrics columns of n: larger is better */
    size_t nr_failed, nr_pending;
    double *failed, *pending; /* rows */
    double *ended;            /* n + nr_failed rows, in the order they ended */
    bool *ended_ok;
    double *known; /* all rows: ended, then pending */
    size_t nr_known;
};

void history_init(struct history *h, const struct space *s, const struct tune_study *study,
                  const struct tune_trial *trials, size_t nr);
void history_fini(struct history *h);

#endif
