/* trainingTaskInputs: a free-form value that has a schema after all (reference 05 §3 and §9). Pure;
 * any thread. */
#ifndef CUSP_API_SPEC_TASK_INPUTS_H
#define CUSP_API_SPEC_TASK_INPUTS_H

#include "base/arena.h"
#include "pb/aip.h"
#include "pb/violations.h"

#define TASK_DEFINITIONS "gs://google-cloud-aiplatform/schema/trainingjob/definition/"
#define TASK_CUSTOM_URI TASK_DEFINITIONS "custom_task_1.0.0.yaml"
#define TASK_TUNING_URI TASK_DEFINITIONS "hyperparameter_tuning_task_1.0.0.yaml"

enum training_task { TRAINING_TASK_UNKNOWN = 0, TRAINING_TASK_CUSTOM, TRAINING_TASK_TUNING };
enum training_task training_task_of(struct str definition);

struct task_inputs {
    enum training_task kind;
    Aip__CustomJobSpec *custom; /* TRAINING_TASK_CUSTOM, defaults filled in */
    Aip__HyperparameterTuningJob
        *tuning; /* TRAINING_TASK_TUNING: study, counts, trial job, labels */
};

/* Reads and checks the inputs of a known kind: keys in any spelling (case and underscores do not
 * matter), null for unset, numbers for enums, durations, and texts. Unknown keys and everything
 * else that is wrong is added to vs, with paths that begin with "training_task_inputs". -1: more is
 * wrong than violations can say (arena full); what was not readable is left NULL in ret. */
int task_inputs_read(struct arena *a, enum training_task kind,
                     const Google__Protobuf__Value *inputs, struct task_inputs *ret,
                     struct violations *vs, struct err *err) MUST_CHECK;

#endif
