/* Stored rows of jobs as the messages that clients see. Pure; any thread. */
#ifndef CUSP_API_JOB_MESSAGE_H
#define CUSP_API_JOB_MESSAGE_H

#include "pb/aip.h"
#include "store/filter.h"

/* Spec as sent + the mutable half = the resource. DATA_LOSS when what is stored does not read. */
int custom_job_message(struct arena *a, const struct store_row *row, Aip__CustomJob **ret,
                       struct err *err) MUST_CHECK;

/* The same, packed, in two parts (call_reply_packed), without unpacking what is stored. The first
 * is a view of row->spec, the second is in the arena. False where that cannot be done or does not
 * read: custom_job_message then tells. */
bool custom_job_packed(struct arena *a, const struct store_row *row, struct str ret[2]);

/* For filters on lists of CustomJobs. */
extern const struct filter_schema custom_job_schema;

#endif
