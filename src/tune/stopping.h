/* CONTRACT. Which running trials to stop early, and when a study is over (reference 30 §3; the
 * rules' meaning is that of StudySpec, reference 04 §7). Pure, like the tuner; any thread.
 *
 * Values are turned so that larger is better by the caller. t is a step count, or seconds where the
 * rule uses elapsed time. */
#ifndef CUSP_TUNE_STOPPING_H
#define CUSP_TUNE_STOPPING_H

#include "base/time.h"

struct curve_point {
    double t, value;
};
/* A trial's measurements, by t, one per t (curve_tidy); final: what the trial counts with. */
struct curve {
    struct curve_point *p;
    size_t n;
    double final;
    double log_rate; /* logarithm of its learning rate, 0 when the study names none */
};

/* Sorts, drops what is not finite, keeps the last of equal t. */
void curve_tidy(struct curve *c);

/* True when the running trial's best is strictly below the median of the completed trials' averages
 * up to the same t; needs five of them that got as far as having begun. */
bool stop_by_median(const struct curve *trial, const struct curve *completed, size_t nr);

/* True when the trial has a chance below one in a hundred to pass the best completed one, judged by
 * how curves like its own went on and by its own course. Needs five completed trials that reached
 * its t, and three measurements. */
bool stop_by_decay(const struct curve *trial, const struct curve *completed, size_t nr);

struct convex_rule {
    double max_t;              /* <= 0: the median of the completed trials' last */
    double min_t;              /* < 0: a tenth of max_t */
    unsigned min_measurements; /* 0: 5 */
};
/* True when even an overestimate of what the trial will reach at the horizon is below the best
 * completed one; then *ret_t and *ret_value are the measurement to end it with: the horizon, and
 * what the model predicts there. */
bool stop_by_convex(const struct convex_rule *rule, const struct curve *trial,
                    const struct curve *completed, size_t nr, double *ret_t, double *ret_value);

/* ---- the whole study. 0 in a number, USEC_NEVER in a time: no such rule. */
struct study_rules {
    usec_t min_runtime, max_runtime; /* since the study began; the earlier of duration and end */
    uint32_t min_trials;             /* completed */
    uint32_t max_trials;             /* of any state */
    uint32_t max_trials_no_progress;
    usec_t max_no_progress;
};
struct study_progress {
    usec_t runtime;
    uint32_t nr_completed, nr_trials;
    uint32_t nr_since_best; /* completed trials since the best one; one objective only */
    usec_t since_best;      /* time since it ended */
    bool has_one_objective;
};
/* NULL: goes on. Else which rule ends it, as a path in StudySpec. */
const char *study_is_over(const struct study_rules *rules, const struct study_progress *now);

#endif
