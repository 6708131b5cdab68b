/* How jobs reach the server: sockets inside their networks, what their containers are told about
 * them, and the certificate for Google's names where those are to lead here (transparent = on).
 * Loop thread. */
#ifndef CUSP_CUSPD_DOORS_H
#define CUSP_CUSPD_DOORS_H

#include "base/err.h"
#include "base/time.h"
#include "engine/local/local.h"

struct doors;
struct identity;
struct lane;
struct loop;
struct xch;

/* Everything is kept by the caller as long as the doors are. */
struct doors_opts {
    struct loop *loop;
    struct lane *disk;
    const char *data_dir;
    bool transparent;
    struct identity *identity; /* knows who comes by which door */
    void (*handler)(struct xch *, void *arg);
    void (*finished)(struct xch *, int status, void *arg);
    void *arg;
};

struct doors *doors_new(const struct doors_opts *o, struct err *err);
/* For the engine; lives until doors_free. */
const struct engine_doors *doors_engine(const struct doors *d);
/* Until then connections wait in the sockets' backlogs. Nothing after doors_shutdown. */
void doors_ready(struct doors *d);
/* As net_shutdown. */
void doors_shutdown(struct doors *d, usec_t grace, void (*cb)(void *arg), void *arg);
/* After that: no network any more; the engine may still close doors. */
void doors_close(struct doors *d);
void doors_free(struct doors *d); /* after the engine is closed; NULL is fine */

#endif
