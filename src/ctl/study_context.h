/* Slices of what a study searches: settings of which only some values are fixed. TrialContexts are
 * such, and trials that a client requested without naming every parameter. Pure; any thread. */
#ifndef CUSP_CTL_STUDY_CONTEXT_H
#define CUSP_CTL_STUDY_CONTEXT_H

#include "base/arena.h"
#include "tune/tuner.h"

/* By parameter, NAN where anything will do. NULL: all of it. */
typedef const double *study_context;

/* nr_params: there are settings with all these values. Else a parameter whose value, or any value,
 * keeps one below it that is fixed too from being active. */
size_t study_context_conflict(const struct tune_study *s, study_context context);

/* Must something be decided yet? False: it names every parameter that is active. */
bool study_context_is_open(const struct tune_study *s, study_context context);

/* Has the whole setting these values? */
bool study_context_has(const struct tune_study *s, study_context context, const double *setting);

/* Both at once, in ret (may be one of them). False: they contradict each other. */
bool study_context_join(const struct tune_study *s, study_context a, study_context b, double *ret);

/* The setting, moved into the context: what that says is so, and parents have values that make it
 * so; conditional parameters that are active now and were not have their default, or their middle.
 * NAN everywhere is a setting too: the middle of the context. */
void study_context_apply(const struct tune_study *s, study_context context, double *setting);

#endif
