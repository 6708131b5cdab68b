/* Construct, connect, run, tear down. No policy lives here: what modules of one floor have to tell
 * each other passes through these functions. Loop thread. */
#ifndef CUSP_CUSPD_WIRE_H
#define CUSP_CUSPD_WIRE_H

#include "cuspd/config.h"

/* Runs the server until SIGTERM or SIGINT. 0: stopped as asked. */
int wire_run(const struct config *cfg, struct err *err);

#endif
