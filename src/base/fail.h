/* Fail points: named places where tests make things go wrong. Compiled in with -Dfailpoints=true.
 * Armed by the environment: CUSP_FAILPOINTS="name=errno:ENOSPC,other=abort@3,third=delay:50ms"
 * (abort = _exit by SIGKILL to ourselves: like kill -9; @N = only on the Nth hit; N counts from 1).
 * Names are module.step.moment. The hit counts can be written to the file named by
 * CUSP_FAILPOINT_TRACE (one name a line, appended), so a crash suite can find all of them. */
#ifndef CUSP_BASE_FAIL_H
#define CUSP_BASE_FAIL_H

#include "base/err.h"

#ifdef CUSP_FAILPOINTS
/* 0, or -1 with *err set to the armed errno (err may be NULL). May not return (abort). */
int fail_point(const char *name, struct err *err);
#define FAIL_POINT(name, err) fail_point(name, err)
#else
#define FAIL_POINT(name, err) (0)
#endif

#endif
