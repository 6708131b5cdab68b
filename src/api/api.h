/* The wire dialects over the control plane. Loop thread. */
#ifndef CUSP_API_API_H
#define CUSP_API_API_H

#include "base/rng.h"
#include "base/time.h"
#include "ctl/ctl.h"
#include "store/store.h"

struct xch;
struct logs;
struct projects;
struct holds;
struct operations;
struct models;
struct errands;
struct blob;
struct datasets;
struct dataset_exports;
struct studies;
struct suggest_pool;

struct api {
    struct clock *clock;
    struct rng *rng;
    struct store *store;
    struct ctl *ctl;
    struct logs *logs;
    struct projects *projects;
    struct holds *holds; /* NULL: no request ever waits */
    struct operations *operations;
    struct blob *blob;
    struct models *models;
    struct errands *errands; /* uploads, imports and exports under way */
    struct datasets *datasets;
    struct dataset_exports *exports;
    struct suggest_pool *suggestions; /* with a runner: what is computed of studies runs there */
    struct studies *studies;          /* Vizier's */
    bool ready;                       /* /readyz: caught up after restart */
    usec_t started_at;
    const char *version;
    /* What /cusp/v1/tls tells: "required", "optional", or NULL for no TLS; the local CA's file and
     * its PEM text, NULL when there is none. Owner: the program, which may swap them on the loop
     * thread. */
    const char *tls_mode, *ca_path, *ca_pem;
    /* Extra text for /metrics, appended by the program (lanes, network, engine). May be NULL. */
    void (*more_metrics)(void *arg, struct buf *b);
    void *metrics_arg;
};

/* REST of the published services: /v1, /v1beta1, /ui. Answers every request it is given (404 for
 * unknown paths). */
void rest_handle(struct api *a, struct xch *x);
/* Each answers and returns true, or returns false when the path is not its own. */
bool admin_handle(struct api *a,
                  struct xch *x); /* /healthz /readyz /metrics /version /cusp/v1/tls */
bool front_handle(struct api *a, struct xch *x);     /* GET /, which is nobody else's */
bool logstream_handle(struct api *a, struct xch *x); /* /cusp/v1/…:streamLogs, /logs/viewer */
bool timeline_handle(struct api *a, struct xch *x);  /* /cusp/v1/…:events */
bool dataset_imports_handle(struct api *a, struct xch *x); /* /cusp/v1/…/datasets/ID:imports */
bool dataset_exports_handle(struct api *a, struct xch *x); /* …:exports */

/* ctl_config.decode_spec: arg is the struct api. */
int spec_custom_job_decode(void *arg, struct arena *a, const struct store_row *row,
                           struct job_spec **ret, struct err *err);

#endif
