/* Whose trial a job is, kept in front of its stored spec: a field of our own, of the highest number
 * there is, which no client is ever shown. Rows of other jobs begin with the message itself. Pure;
 * any thread. */
#ifndef CUSP_API_JOB_TRIAL_H
#define CUSP_API_JOB_TRIAL_H

#include "base/buf.h"

struct job_trial {
    struct str tuning; /* id of the tuning job; .p NULL: the job is no trial */
    struct str trial;  /* "1", "2", ... */
};

/* Puts the mark; the packed CustomJob follows. */
void job_trial_put(struct buf *b, const struct job_trial *t);
/* The packed CustomJob of a row's spec; ret (may be NULL) are views of it. */
struct str job_trial_cut(struct str spec, struct job_trial *ret);

#endif
