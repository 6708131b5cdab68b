/* CONTRACT. The tuner: which settings to try next. Arrays in, arrays out: no clock, no I/O, no
 * global state; the same study, history and seed give the same suggestion on the same machine, in
 * a fresh process as in one that has served the study for days (reference 30). Any thread, one at a
 * time per tuner.
 *
 * Values. A setting is one double per parameter, in the order of the study's parameters: the value
 * itself (DOUBLE, INTEGER, DISCRETE), the index of the category (CATEGORICAL), NAN where a
 * conditional parameter is not active. */
#ifndef CUSP_TUNE_TUNER_H
#define CUSP_TUNE_TUNER_H

#include "base/err.h"

struct tuner;

enum tune_type { TUNE_DOUBLE = 1, TUNE_INTEGER, TUNE_DISCRETE, TUNE_CATEGORICAL };
enum tune_scale { TUNE_LINEAR = 0, TUNE_LOG, TUNE_REVERSE_LOG };
enum tune_noise { TUNE_NOISE_UNSPECIFIED = 0, TUNE_NOISE_LOW, TUNE_NOISE_HIGH };
enum tune_algorithm { TUNE_BAYES = 0, TUNE_GRID, TUNE_RANDOM };

struct tune_param {
    enum tune_type type;
    enum tune_scale scale;
    double lo, hi;        /* DOUBLE, INTEGER (whole, |x| <= 2^53): lo <= hi */
    const double *values; /* DISCRETE: strictly increasing */
    size_t nr_values;     /* DISCRETE; CATEGORICAL: number of categories. > 0 */
    bool has_default;
    double default_value;
    /* Conditional: active when the parent is active and has one of these values. The parent comes
     * earlier in the array. */
    int parent; /* index, -1: always active */
    const double *when;
    size_t nr_when;
};

struct tune_metric {
    bool minimize;
    bool is_safety;           /* not an objective: should stay on the good side of threshold */
    double threshold;         /* in the metric's own unit */
    double min_safe_fraction; /* of trials, 0: no wish */
};

struct tune_study {
    const struct tune_param *params;
    size_t nr_params;
    const struct tune_metric *metrics; /* one objective at least */
    size_t nr_metrics;
    enum tune_noise noise;
    enum tune_algorithm algorithm;
    uint64_t seed;
};

enum tune_state {
    TUNE_PENDING = 0, /* requested, running, stopping: its value is not known yet */
    TUNE_DONE,        /* every metric below is finite */
    TUNE_FAILED       /* infeasible, or ended without its metrics */
};

struct tune_trial {
    enum tune_state state;
    const double *setting; /* nr_params */
    const double *metrics; /* nr_metrics; TUNE_DONE only */
};

/* Copies the study. INVALID_ARGUMENT for what could not be searched (grid over DOUBLE, log scale of
 * a range that is not positive, a parent that comes later); the API finds these first and words
 * them for people. */
struct tuner *tuner_new(const struct tune_study *study, struct err *err);
void tuner_free(struct tuner *t); /* NULL is fine */

/* Lets the study learn from an earlier one, told in this one's terms: settings in its parameters
 * (NAN where the earlier study had no such parameter; values outside a range count as its end),
 * metrics in its order. At most 5 studies, before the first suggestion, and again after a restart,
 * in the same order. They lose their say where they contradict what is measured now. Only of use
 * with one objective; trials that are not TUNE_DONE are passed over. */
void tuner_learn(struct tuner *t, const struct tune_trial *trials, size_t nr_trials);

/* Up to `count` settings, none equal to another or to a trial's unless noise is HIGH. trials: ended
 * ones in the order they ended, then the pending ones in the order they were made. serial: how many
 * suggestions the study has had so far (the seed's other half, and the grid's place). Returns how
 * many were written to ret (count * nr_params); fewer: there is nothing left to try. Never fails: a
 * model that cannot decide suggests from the start-up design. */
size_t tuner_suggest(struct tuner *t, const struct tune_trial *trials, size_t nr_trials,
                     uint64_t serial, size_t count, double *ret);

/* Does ahead what the next suggestion would do first: fits the model to the trials that have ended.
 * It changes no answer, only when the time is spent. */
void tuner_prepare(struct tuner *t, const struct tune_trial *trials, size_t nr_trials);

#endif
