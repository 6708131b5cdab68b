/* Stored rows of jobs as the messages that clients see. Pure; any thread. */
#ifndef CUSP_API_JOB_MESSAGE_H
#define CUSP_API_JOB_MESSAGE_H

#include "pb/aip.h"
#include "store/filter.h"

/* Spec as sent + the mutable half = the resource. DATA_LOSS when what is stored does not read. */
int custom_job_message(struct arena *a, const struct store_row *row, Aip__CustomJob **ret,
                       struct err *err) MUST_CHECK;

/* For filters on lists of CustomJobs. */
extern const struct filter_schema custom_job_schema;

#endif
