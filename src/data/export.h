/* What exports of tables and of items share: where bytes come from and go to, and what the loop can
 * see of a run that is under way. */
#ifndef CUSP_DATA_EXPORT_H
#define CUSP_DATA_EXPORT_H

#include "data/shard.h"
#include "data/split.h"

#include <stdatomic.h>

/* Called on the exporting thread. */
struct export_io {
    /* A file to be read: descriptor (the caller closes it) and size. NOT_FOUND names the URI. */
    int (*open)(void *arg, const char *uri, int *ret_fd, uint64_t *ret_size, struct err *err);
    /* An empty file without a name, gone when its descriptor is closed. */
    int (*scratch)(void *arg, int *ret_fd, struct err *err);
    void *arg;
    struct shard_place place;
};

/* Shared by the thread that exports and the loop. */
struct export_watch {
    atomic_bool cancel;        /* the run ends soon with CANCELLED */
    atomic_ullong done, total; /* bytes of tables, items of the others; total is known early */
};

/* -1 with CANCELLED when the run is to end. */
int export_check_cancel(const struct export_watch *w, struct err *err) MUST_CHECK;

#endif
