/* Flight recorder: the last few hundred short lines, dumped to stderr when a CHECK fails. Any
 * thread; lossy by design. */
#ifndef CUSP_BASE_TRACE_H
#define CUSP_BASE_TRACE_H

#include "base/check.h"

void trace_put(const char *fmt, ...) PRINTF_LIKE(1, 2);
void trace_dump(void); /* to stderr; registered with check_set_dump by the program */

#endif
