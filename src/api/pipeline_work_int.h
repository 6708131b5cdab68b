/* Shared by the files that work for pipelines. */
#ifndef CUSP_API_PIPELINE_WORK_INT_H
#define CUSP_API_PIPELINE_WORK_INT_H

#include "api/api.h"
#include "api/pipeline_work.h"
#include "api/spec_pipeline.h"

/* What pipeline_spec.parsed points at. */
struct pipeline_parsed {
    Aip__TrainingPipeline *msg;
    struct task_inputs in;
};

/* pipeline_data.c */
void pipeline_export(void *arg, struct pipeline_work *w);
void pipeline_export_cancel(struct pipeline_work *w);

/* pipeline_upload.c: ops of the same names; arg is the struct api. */
void pipeline_seal(void *arg, struct pipeline_work *w);
void pipeline_upload(void *arg, struct pipeline_work *w);
void pipeline_seal_cancel(struct pipeline_work *w);
void pipeline_upload_drop(void *arg, struct pipeline_work *w);
/* What an upload of this pipeline will ask for, but for the artefact: everything that can be
 * refused when the pipeline is created. Views of the message, and of the arena. */
struct model_upload;
int pipeline_upload_wish(struct projects *projects, struct arena *a, struct str parent,
                         const Aip__TrainingPipeline *msg, struct model_upload *ret,
                         struct err *err) MUST_CHECK;

#endif
