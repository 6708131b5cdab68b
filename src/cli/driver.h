/* Client drivers (tests/clients/README.md): programs that put one official client through the same
 * ten cases. This module finds them, runs one with one transport and understands what it prints. */
#ifndef CUSP_CLI_DRIVER_H
#define CUSP_CLI_DRIVER_H

#include "base/buf.h"
#include "base/err.h"
#include "base/time.h"
#include "base/vec.h"

enum { DRIVER_CASES = 10 };
struct driver_case {
    const char *name, *head; /* "list_paging", and as short as a column wants it: "paging" */
};
extern const struct driver_case driver_cases[DRIVER_CASES];

struct driver {
    char *client; /* "python", the folder's name */
    char *folder;
    VEC_OF(char *) transports;
};
struct drivers {
    VEC_OF(struct driver) v; /* known clients first, in the table's order */
};
/* All drivers in the folder, with the transports they name. One that cannot say its transports is
 * an error: INTERNAL with what it printed. */
int drivers_find(const char *folder, struct drivers *ret, struct err *err);
void drivers_fini(struct drivers *d);
#define auto_drivers __attribute__((cleanup(drivers_fini)))

enum driver_verdict { DRIVER_UNTOLD, DRIVER_OK, DRIVER_FAILED, DRIVER_SKIPPED };
struct driver_result {
    enum driver_verdict verdict;
    double ms;
    char *detail; /* owned; NULL: none */
};
/* One row of the table. */
struct driver_run {
    const struct driver *driver;
    const char *transport;
    char *version;           /* of the client; NULL: not told */
    char *not_run, *install; /* why it cannot run here, and what would help; NULL */
    struct driver_result cases[DRIVER_CASES];
    unsigned ok, failed, skipped;
    double seconds;
};
void driver_run_fini(struct driver_run *r);

/* One line of a driver's output. True when it told about a case (or about not running): the rest is
 * talk and ignored. A case told twice counts as its worse telling. */
bool driver_line(struct driver_run *r, struct str line);

/* Runs it in the environment given (NULL-terminated NAME=VALUE; replaces the same names of ours),
 * calls told(arg) after each case, and ends it with all it started after `limit`. A driver that
 * dies, runs out of time or leaves cases out has failed those. -1 only when it could not be
 * started. */
int driver_execute(struct driver_run *r, char *const *env, usec_t limit, void (*told)(void *arg),
                   void *arg, struct err *err);
/* Asks DRIVER/run --check; r gets not_run when it cannot run here. */
int driver_check(struct driver_run *r, char *const *env, struct err *err);
/* Runs DRIVER/setup, its talk to our stderr: 0, or -1. r gets not_run when the runtime is missing.
 */
int driver_setup(struct driver_run *r, char *const *env, usec_t limit, struct err *err);

#endif
