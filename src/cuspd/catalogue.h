/* What of the API stands beside the control plane: operations, models, datasets and their exports,
 * studies, in the order in which they depend on each other. Loop thread. */
#ifndef CUSP_CUSPD_CATALOGUE_H
#define CUSP_CUSPD_CATALOGUE_H

#include "api/api.h"

struct loop;
struct blob;

struct catalogue {
    struct api *api; /* whose members of these kinds are made and freed here */
    /* ours: */
    void (*started)(void *arg, const struct err *err);
    void (*stopped)(void *arg);
    void *arg;
    unsigned nr_stopped;
};

/* api has clock, rng, store, holds, projects and suggestions. Fails where the data directory does;
 * what was made by then is freed by catalogue_free all the same. */
int catalogue_open(struct catalogue *k, struct api *api, struct loop *loop, struct blob *blob,
                   const char *data_dir, struct err *err) MUST_CHECK;
/* What an earlier life left half done is taken back or begun again. After ctl_start; cb is not
 * called from within. */
void catalogue_start(struct catalogue *k, void (*cb)(void *arg, const struct err *err), void *arg);
/* Nothing in flight to the store or to objects when cb is called. After ctl_stop. */
void catalogue_stop(struct catalogue *k, void (*cb)(void *arg), void *arg);
void catalogue_free(struct catalogue *k); /* after catalogue_stop */

#endif
