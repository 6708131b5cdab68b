/* Stored rows of training pipelines as the messages that clients see. Pure; any thread. */
#ifndef CUSP_API_PIPELINE_MESSAGE_H
#define CUSP_API_PIPELINE_MESSAGE_H

#include "pb/aip.h"
#include "store/filter.h"

/* What was sent + what is known since = the resource. DATA_LOSS when what is stored does not read.
 */
int pipeline_message(struct arena *a, const struct store_row *row, Aip__TrainingPipeline **ret,
                     struct err *err) MUST_CHECK;

/* For filters on lists of TrainingPipelines. */
extern const struct filter_schema pipeline_schema;

#endif
