/* What pipelines have done: rows read, jobs worded, data exported, artefacts sealed and uploaded.
 * The only place that knows both ctl/pipeline.h and the modules that work for it. */
#ifndef CUSP_API_PIPELINE_WORK_H
#define CUSP_API_PIPELINE_WORK_H

#include "ctl/pipeline.h"

/* arg of each is the struct api. */
extern const struct pipeline_ops pipeline_ops;

#endif
