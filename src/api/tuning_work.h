/* What tuning jobs have the API do: rows read, the jobs of trials worded. */
#ifndef CUSP_API_TUNING_WORK_H
#define CUSP_API_TUNING_WORK_H

#include "api/spec_study.h"
#include "ctl/tuning.h"

/* What tuning_spec.parsed points at. */
struct tuning_parsed {
    Aip__HyperparameterTuningJob *msg;
    struct study_plan plan;
};

/* Pure: arg is not looked at. */
extern const struct tuning_ops tuning_ops;

#endif
