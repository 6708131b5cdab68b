/* How large a job's log is, from when to when it goes, and whether it is complete; and cutting it.
 * Blocking; the lane. */
#ifndef CUSP_LOGS_MEASURE_H
#define CUSP_LOGS_MEASURE_H

#include "logs/logs_int.h"

/* After a job's end nothing is written any more, but only the end mark proves that: a log that
 * lacks one (its runner was killed) is taken for complete after so long. */
#define LOG_UNFINISHED_QUIET (3600 * (usec_t)USEC_PER_SEC)

struct log_measure {
    bool is_there;
    bool is_closed;   /* the service stream has its end mark: the job is over */
    bool is_complete; /* all streams have theirs */
    usec_t first;     /* time of the first line; USEC_NEVER: there is none */
    usec_t last;      /* no line is later */
    uint64_t bytes;
};
void log_measure(struct logs *g, uint64_t job, struct log_measure *ret);
/* Removes the oldest segments of an ended job, so that at least `bytes` less is left; every stream
 * keeps its last segment. How much went. */
uint64_t log_cut(struct logs *g, uint64_t job, uint64_t bytes);

#endif
