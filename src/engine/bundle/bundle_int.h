/* Private to the bundle module: the system call profile, written as one JSON value. */
#ifndef CUSP_ENGINE_BUNDLE_INT_H
#define CUSP_ENGINE_BUNDLE_INT_H

#include "base/jw.h"

/* Writes the value of linux.seccomp. arch is a runtime-spec name ("SCMP_ARCH_X86_64"). */
void bundle_seccomp_write(struct jw *w, const char *arch);
/* The name for the machine this was compiled for; NULL when there is none in our table. */
const char *bundle_seccomp_native_arch(void);

#endif
