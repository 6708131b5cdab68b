/* The records a run leaves in its directory. */
#ifndef CUSP_RUNNER_RECORD_H
#define CUSP_RUNNER_RECORD_H

#include "runner/run.h"

/* status: where we are, who we are. Not synced: it means nothing after a power loss. */
int record_status(struct run *r, struct err *err) MUST_CHECK;
/* exit: durable when this returns. On a full disk the reserve is given up, then it waits for room:
 * the outcome is known to nobody else. */
void record_exit(struct run *r);
/* What the OCI runtime said: stderr, else the last lines it wrote to its log. */
void record_runtime_words(struct run *r, struct buf *out);

#endif
