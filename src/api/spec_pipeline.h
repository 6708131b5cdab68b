/* What a valid training pipeline is, but for what has to be looked up. Pure; any thread. */
#ifndef CUSP_API_SPEC_PIPELINE_H
#define CUSP_API_SPEC_PIPELINE_H

#include "api/spec_task_inputs.h"

/* Adds every violation found; paths are those of the resource, in snake_case. inputs is what
 * task_inputs_read gave; its parts may be NULL when they were not readable. -1 as there. */
int training_pipeline_check(struct arena *a, const Aip__TrainingPipeline *p,
                            struct task_inputs *ret, struct violations *vs,
                            struct err *err) MUST_CHECK;

/* There is something to upload: "{}" is nothing (reference 05 §5). */
bool pipeline_has_upload(const Aip__TrainingPipeline *p);
/* Where the artefacts of its job are: "gs://…/" with one slash at the end, in the arena. NULL:
 * neither artifact_uri nor a base output directory says it. trial: the best of a tuning task's, 0
 * of others. */
const char *pipeline_artifact_uri(struct arena *a, const Aip__TrainingPipeline *p,
                                  const struct task_inputs *in, uint64_t trial);

#endif
