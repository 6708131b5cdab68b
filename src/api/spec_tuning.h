/* What a valid HyperparameterTuningJob is (reference 04 §2, §3). Pure; any thread. */
#ifndef CUSP_API_SPEC_TUNING_H
#define CUSP_API_SPEC_TUNING_H

#include "base/arena.h"
#include "pb/aip.h"
#include "pb/violations.h"

/* The whole resource. Adds everything that is wrong; paths are those of the resource. */
void tuning_job_check(const Aip__HyperparameterTuningJob *job, struct violations *vs);
/* What the inputs of a tuning task have of it: study, counts, the trials' job. Paths begin with
 * prefix (""; "training_task_inputs"). */
void tuning_check(const Aip__HyperparameterTuningJob *job, const char *prefix,
                  struct violations *vs);

#endif
