/* /proc/meminfo, as text: proc(5). Pure; any thread. */
#ifndef CUSP_SYS_MEMINFO_H
#define CUSP_SYS_MEMINFO_H

#include "base/str.h"

#include <stdint.h>

/* Bytes behind a name with its colon ("MemFree:"); 0 when absent or no number. */
uint64_t meminfo_bytes(struct str meminfo, struct str name);

#endif
