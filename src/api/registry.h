/* The container registry at /v2/: OCI distribution specification 1.1 (pull, push, content
 * discovery, content management) for HOST:PORT/PROJECT/REPO/IMAGE:TAG. Paths of Cloud Logging,
 * which also begin with /v2/, are left alone. Errors in the specification's JSON. Loop thread;
 * blocking work goes to lanes of its own. */
#ifndef CUSP_API_REGISTRY_H
#define CUSP_API_REGISTRY_H

#include "base/err.h"

struct api_registry;
struct image_store;
struct loop;
struct xch;

struct api_registry *api_registry_new(struct loop *loop, struct image_store *store);
/* After the listener is closed: waits for what is under way, whose answers go nowhere. Before the
 * store closes. NULL is fine. */
void api_registry_free(struct api_registry *g);
/* False: not one of our paths, nothing was done. */
bool api_registry_handle(struct api_registry *g, struct xch *x);
/* Who asks is not let in: err's words in the registry's form, as 401 with a challenge when it is
 * UNAUTHENTICATED, else as 403. False: not one of our paths, nothing was done. */
bool api_registry_refuse(struct xch *x, const struct err *err);

#endif
