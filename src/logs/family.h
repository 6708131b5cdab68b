/* Whose trials' logs are listed with a tuning job's: an empty file each,
 * DIR/logs/JOB/trials/CHILD.TRIAL, which goes with the log of the job. */
#ifndef CUSP_LOGS_FAMILY_H
#define CUSP_LOGS_FAMILY_H

#include "logs/logs_int.h"

/* Blocking; the lane. */
void family_each(struct logs *g, const char *job_id,
                 void (*fn)(void *arg, const char *child_id, const char *trial), void *arg);

#endif
