/* Aborting on broken invariants. Owns nothing but the dump hook. */
#include "base/check.h"

#include <unistd.h>

static void (*dump_hook)(void);

void check_set_dump(void (*dump)(void)) {
    dump_hook = dump;
}

void check_failed(const char *expr, const char *file, int line, const char *func) {
    dprintf(STDERR_FILENO, "cusp: bug: %s:%d (%s): CHECK(%s) failed\n", file, line, func, expr);
    if (dump_hook) {
        dump_hook();
    }
    abort();
}
