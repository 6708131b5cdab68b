/* GET /cusp/v1/.../hyperparameterTuningJobs/ID:importance, and of .../studies/ID -- which
 * parameters matter, by metric (tune/importance.h). Computed where suggestions are, away from the
 * loop; at most max_importances at once. Loop thread. */
#ifndef CUSP_API_TUNING_IMPORTANCE_H
#define CUSP_API_TUNING_IMPORTANCE_H

#include "api/api.h"

/* Answers and returns true, or returns false when the path is not its own. */
bool tuning_importance_handle(struct api *a, struct xch *x);

#endif
