/* CONTRACT. How much each parameter matters to a metric, from a study's ended trials: the share of
 * the variance that the model's mean owes to it, and which way it pushes. Pure, like the tuner:
 * the same study and trials give the same answer. Any thread. */
#ifndef CUSP_TUNE_IMPORTANCE_H
#define CUSP_TUNE_IMPORTANCE_H

#include "tune/tuner.h"

struct tune_importance {
    /* Of the variance of the modelled metric over the space (uniform in each parameter's scale):
     * what goes away on average once the parameter is known, by itself or together with others
     * (Sobol's total index), all parameters' made to sum to 1. 0: it has one value, or no effect.
     */
    double share;
    /* Signed main effect in [-1, 1]: the correlation of the parameter (in its scale) with its own
     * average effect on the metric, times the part of the variance that this effect explains (a
     * square root: of a metric that is linear in one parameter alone it is 1 or -1). > 0: larger
     * values raise the metric as the user counts it. 0 for categories, which have no order. */
    double effect;
    /* The value whose average over all others is best for the metric (as in a setting; of a number
     * with many values one of 17 spread over its scale). */
    double best;
};

#define TUNE_IMPORTANCE_TRIALS 5 /* done trials below which there is no answer */

/* Of metric number `metric`, one entry a parameter into ret (nr_params). False, and ret zeroed,
 * when fewer than TUNE_IMPORTANCE_TRIALS trials are done or all their values are equal. Trials as
 * for tuner_suggest. It fits a model and asks it some 20,000 times: 50 ms with 100 trials of ten
 * parameters, half a second with thousands, so not for the loop thread. */
bool tuner_importance(const struct tune_study *study, const struct tune_trial *trials,
                      size_t nr_trials, size_t metric, struct tune_importance *ret);

#endif
