/* Images over HTTP: cusp's own surface beside the registry (api/registry.h).
 *
 *   GET    /cusp/v1/images              {"images": [{name, digest, layers, sizeBytes, created,
 * ...}]} POST   /cusp/v1/images:import       body: an archive (see image_import). Query: name
 * (optional when the archive carries one); cmd, entrypoint, env (repeatable), workdir, user for a
 * plain root file system POST   /cusp/v1/images:importPath   {"path", "name", "config":
 * {entrypoint, cmd, env, workdir, user}}: a file on the server's machine, from a client on it POST
 * /cusp/v1/images:prune        {imagesRemoved, layersRemoved, blobsRemoved, bytesFreed} DELETE
 * /cusp/v1/images/NAME         NAME percent-encoded; a pushed image by any of its names
 *   POST   /cusp/v1/images:pull         {"image", "policy": "missing"|"always" (default)}
 *   POST   /cusp/v1/images:push         {"image", "to"}; both answer with JSON lines while it
 * lasts:
 * {"text"} and {"progress", "done", "total"}, at the end {"image": {...}}, {"digest"} or {"error":
 * {...}}
 *
 * Loop thread; blocking work goes to the disk lane. Errors in Google's form. */
#ifndef CUSP_API_IMAGES_H
#define CUSP_API_IMAGES_H

#include "base/arena.h"

struct api_images;
struct image_store;
struct puller;
struct lane;
struct loop;
struct xch;

/* in_use (may be NULL): image digests of unfinished jobs, NULL-terminated, in the arena; asked on
 * the loop thread before each removal. Uploads are spooled under DATA_DIR/images/tmp. */
struct api_images *api_images_new(struct loop *loop, struct lane *disk, struct image_store *store,
                                  const char *data_dir,
                                  const char **(*in_use)(void *arg, struct arena *a), void *arg);
/* Of images:pull and images:push, which without it are refused. Outlives the last request. */
void api_images_set_puller(struct api_images *im, struct puller *puller);
/* fn(arg of api_images_new), on the loop, after images may have been removed. */
void api_images_on_removed(struct api_images *im, void (*fn)(void *arg));
/* After the lane is closed (nothing of ours is in flight). NULL is fine. */
void api_images_free(struct api_images *im);
/* False: not one of our paths, nothing was done. */
bool api_images_handle(struct api_images *im, struct xch *x);

#endif
