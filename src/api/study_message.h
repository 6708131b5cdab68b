/* What tuning jobs and Vizier studies share of messages: a StudySpec as ctl wants it, trials and
 * measurements as clients see them. Pure; any thread. */
#ifndef CUSP_API_STUDY_MESSAGE_H
#define CUSP_API_STUDY_MESSAGE_H

#include "api/spec_study.h"
#include "ctl/study.h"

/* A checked study's rules; views of the plan and the arena. created: wall, what end times of
 * study_stopping_config are counted from. budget is the caller's. */
void study_spec_make(const struct study_plan *p, struct arena *a, usec_t created,
                     struct study_spec *ret);

/* measurements_max: at most so many of them, the first and the last among them (0: none). Views of
 * the plan; the rest lives in the arena. Without a name. */
Aip__Trial *study_trial_message(struct arena *a, const struct study_plan *p, const struct study *s,
                                const struct study_trial *t, size_t measurements_max);
Aip__Measurement *study_measurement_message(struct arena *a, const struct study_plan *p,
                                            const struct study_measurement *m);

#endif
