/* What cusp offers of tuning jobs beside the published API: edits of one that runs, and which of
 * its parameters matter.
 *
 *   PATCH /cusp/v1/JOB?updateMask=maxTrialCount,...   a HyperparameterTuningJob; answers with it
 *   POST  /cusp/v1/JOB:addTrial     a Trial's parameters; answers with the trial
 *   POST  /cusp/v1/JOB:rerunTrial   {"trialId": "3"}; answers with the new trial
 *   POST  /cusp/v1/JOB:stopTrial    {"trialId": "3"}; answers with the trial as it is now
 *   GET   /cusp/v1/JOB:importance   by metric and parameter: share, effect, best value
 *
 * Loop thread. */
#ifndef CUSP_API_TUNING_CUSP_H
#define CUSP_API_TUNING_CUSP_H

#include "api/api.h"

/* Answers and returns true, or returns false when the path is not its own. */
bool tuning_cusp_handle(struct api *a, struct xch *x);

#endif
