#include "cuspd/catalogue.h"

#include "api/dataset_export.h"
#include "api/datasets.h"
#include "api/errand.h"
#include "api/operations.h"
#include "api/vizier_message.h"
#include "ctl/model.h"
#include "ctl/studies.h"

int catalogue_open(struct catalogue *k, struct api *api, struct loop *loop, struct blob *blob,
                   const char *data_dir, struct err *err) {
    *k = (struct catalogue){.api = api};
    api->operations = operations_new(api->clock, api->rng, api->store, api->holds);
    api->blob = blob;
    api->models = models_new(api->clock, api->rng, api->store);
    api->errands = errands_new(api);
    api->datasets = datasets_new(api, loop, blob, data_dir, err);
    if (!api->datasets) {
        return -1;
    }
    api->exports = dataset_exports_new(api, loop, blob);
    api->studies = studies_new(&(struct studies_config){.clock = api->clock,
                                                        .store = api->store,
                                                        .suggestions = api->suggestions,
                                                        .decode = vizier_decode});
    return 0;
}

/* ---- start ---- */

/* What an earlier life left running, for whoever can go on with it. */
static bool adopt_operation(void *arg, struct operation *op,
                            const Google__Longrunning__Operation *msg) {
    struct catalogue *k = arg;
    return errands_adopt(k->api->errands, op, msg);
}

static void on_datasets_recovered(void *arg, const struct err *err) {
    struct catalogue *k = arg;
    if (err) {
        k->started(k->arg, err);
        return;
    }
    operations_start(k->api->operations, adopt_operation, k, k->started, k->arg);
}

void catalogue_start(struct catalogue *k, void (*cb)(void *arg, const struct err *err), void *arg) {
    k->started = cb;
    k->arg = arg;
    datasets_recover(k->api->datasets, on_datasets_recovered, k);
}

/* ---- stop: who uses others first ---- */

static void on_datasets_stopped(void *arg) {
    struct catalogue *k = arg;
    operations_stop(k->api->operations, k->stopped, k->arg);
}

static void on_exports_stopped(void *arg) {
    struct catalogue *k = arg;
    datasets_stop(k->api->datasets, on_datasets_stopped, k);
}

static void on_models_stopped(void *arg) {
    struct catalogue *k = arg;
    dataset_exports_stop(k->api->exports, on_exports_stopped, k);
}

/* Errands may wait for a study; a study that stops tells them, and they know by then that it is for
 * the next life to go on. */
static void on_errands_or_studies_stopped(void *arg) {
    struct catalogue *k = arg;
    if (++k->nr_stopped == 2) {
        models_stop(k->api->models, on_models_stopped, k);
    }
}

void catalogue_stop(struct catalogue *k, void (*cb)(void *arg), void *arg) {
    k->stopped = cb;
    k->arg = arg;
    k->nr_stopped = 0;
    errands_stop(k->api->errands, on_errands_or_studies_stopped, k);
    studies_stop(k->api->studies, on_errands_or_studies_stopped, k);
}

void catalogue_free(struct catalogue *k) {
    if (!k->api) {
        return;
    }
    studies_free(k->api->studies);
    errands_free(k->api->errands);
    models_free(k->api->models);
    dataset_exports_free(k->api->exports);
    datasets_free(k->api->datasets);
    operations_free(k->api->operations);
}
