/* The most promising configuration: a pool of spread and near points, then ascent from the best of
 * them over numbers and values by turns (reference 30 §2.7b). */
#ifndef CUSP_TUNE_SEARCH_H
#define CUSP_TUNE_SEARCH_H

#include "tune/acq.h"

struct search {
    const struct space *space;
    struct acq *acq;
    struct rng *rng;
    const double *known; /* nr_known x d: configurations not to be suggested again */
    size_t nr_known;
    bool may_repeat;
    const double *anchors; /* nr_anchors x d: the best points seen, best first */
    size_t nr_anchors;
    const double *seen; /* nr_seen x d: centres of the trust region */
    size_t nr_seen;
    double radius;       /* of the trust region; <= 0: everywhere */
    const double *paces; /* d (gp_paces): set the scale of steps */
    bool is_quick;       /* half the pool, half as many looked at in full: there are many rows */
    const double *pins;  /* d: values that are given, NAN: free; NULL: all are free */
};

/* False: every configuration is known. */
bool search_best(const struct search *s, double *ret_x);
/* True when x is one of the known ones, to within what makes no difference. */
bool search_is_known(const struct space *s, const double *known, size_t nr, const double *x);

#endif
