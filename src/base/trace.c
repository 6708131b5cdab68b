/* Flight recorder ring. */
#include "base/trace.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>

#define TRACE_LINES 256
#define TRACE_WIDTH 120

static char lines[TRACE_LINES][TRACE_WIDTH];
static atomic_uint head;

void trace_put(const char *fmt, ...) {
    unsigned at = atomic_fetch_add(&head, 1) % TRACE_LINES;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(lines[at], TRACE_WIDTH, fmt, ap);
    va_end(ap);
}

void trace_dump(void) {
    unsigned end = atomic_load(&head);
    unsigned from = end > TRACE_LINES ? end - TRACE_LINES : 0;
    for (unsigned i = from; i < end; i++) {
        dprintf(STDERR_FILENO, "trace: %s\n", lines[i % TRACE_LINES]);
    }
}
