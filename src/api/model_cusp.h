/* cusp's own views of models, GET only:
 *     /cusp/v1/…/models/M[@V]:verify[?quick=true]  are the files still what was registered?
 *     /cusp/v1/…/models/M[@V]:lineage              what the version was made from
 *     /cusp/v1/NAME:models                         versions made from a job, a pipeline, a dataset,
 *                                                  or a model version
 * Formats: docs/internals/models.md. */
#ifndef CUSP_API_MODEL_CUSP_H
#define CUSP_API_MODEL_CUSP_H

#include "api/api.h"

/* Answers and returns true, or returns false when the path is not its own. */
bool model_cusp_handle(struct api *a, struct xch *x);

#endif
