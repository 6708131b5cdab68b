/* StudySpec <-> the tuner: rules of a study, its parameters as the tuner wants them, settings as
 * trial parameters (reference 04 §3, §4). Pure; any thread. */
#ifndef CUSP_API_SPEC_STUDY_H
#define CUSP_API_SPEC_STUDY_H

#include "base/arena.h"
#include "pb/aip.h"
#include "pb/violations.h"
#include "tune/tuner.h"

/* Adds everything that is wrong, with paths below prefix ("study_spec"). */
void study_spec_check(const Aip__StudySpec *spec, const char *prefix, struct violations *vs);

/* A checked spec, flat. Views of it: lives as long as the spec and the arena do. */
struct study_plan {
    const Aip__StudySpec *spec;
    struct tune_study study;                      /* seed: the caller's */
    const Aip__StudySpec__ParameterSpec **params; /* by parameter; parents come first */
};
void study_plan_init(struct study_plan *p, struct arena *a, const Aip__StudySpec *spec,
                     uint64_t seed);

/* A setting as a trial's parameters: active ones, in declared order. */
void study_setting_to_trial(const struct study_plan *p, struct arena *a, const double *setting,
                            Aip__Trial *trial);
/* The other way, for trials that a client makes: every active parameter must be there with a
 * feasible value, and no other. -1 when something was added to vs (paths below prefix). */
int study_setting_from_trial(const struct study_plan *p, const Aip__Trial *trial,
                             const char *prefix, double *setting, struct violations *vs) MUST_CHECK;

/* A value of the i-th parameter; the value and the rule it breaks are told below
 * "FIELD.parameters[k].value". False: *ret may be anything. */
bool study_value_read(const struct study_plan *p, size_t i, const Google__Protobuf__Value *v,
                      const char *field, size_t k, double *ret, struct violations *vs);

/* Some of the parameters, each once, with feasible values, and such as can be active together; NAN
 * elsewhere. Of parameters that share an id (below different values of a parent) it is the first
 * that can be meant. -1 when something was added to vs (paths below prefix). */
int study_some_from_trial(const struct study_plan *p, Aip__Trial__Parameter *const *in, size_t n,
                          const char *prefix, double *setting, struct violations *vs) MUST_CHECK;

/* The value of a parameter as a command-line argument: shortest text that reads back as the same
 * number; whole numbers without fraction; categories verbatim (reference 04 §5). */
const char *study_value_text(struct arena *a, const Aip__Trial__Parameter *p);

#endif
