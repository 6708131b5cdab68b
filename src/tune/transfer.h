/* What earlier studies teach (reference 30 §2.15): a model of each, whose mean is a first guess of
 * ours where the study's own results bear it out, and settings to begin with. One objective only.
 */
#ifndef CUSP_TUNE_TRANSFER_H
#define CUSP_TUNE_TRANSFER_H

#include "tune/history.h"
#include "tune/model.h"

#define TRANSFER_STUDIES 5
#define TRANSFER_STARTS 3 /* settings of one study that the start-up design takes over */

struct earlier {
    struct model model;
    double *starts; /* feature vectors, best first, some way apart */
    size_t nr_starts;
};

struct transfer {
    struct earlier studies[TRANSFER_STUDIES];
    size_t nr;
};

void transfer_fini(struct transfer *t);
/* h: the earlier study's trials as rows of this one's space; objective: which column of y. Fits its
 * model to (up to 300 of) them. */
void transfer_add(struct transfer *t, const struct space *s, const struct tune_study *study,
                  const struct history *h, size_t objective);

/* The earlier study, and how much of its mean, that explain g's labels best by leaving out each in
 * turn; NULL: none does. shift (g->n numbers): what it then expects at g's rows, around 0. */
const struct gp *transfer_choose(const struct transfer *t, const struct gp *g, double *ret_share,
                                 double *shift);

#endif
