/* The Cloud Storage JSON API (reference 21) over exchanges: buckets, objects, uploads, downloads.
 * Loop thread only. */
#ifndef CUSP_API_GCS_H
#define CUSP_API_GCS_H

#include "net/xch.h"

struct blob;
struct store;
struct api_gcs;

/* data_dir: where signing-keys/ lies; outlives the result. */
struct api_gcs *api_gcs_new(struct blob *b, struct store *st, const char *data_dir);
/* For tests: /retry_test makes calls fail on demand (gcs_retry.h). Before any exchange. */
struct loop;
void api_gcs_enable_retry_tests(struct api_gcs *g, struct loop *l);
void api_gcs_free(struct api_gcs *g); /* when no exchange is under way */
/* False when the path is not of this API; then the exchange is untouched. */
bool api_gcs_handle(struct api_gcs *g, struct xch *x);
/* The XML API, /BUCKET/OBJECT: asked after everybody else who has paths. Same promise. */
bool api_gcs_handle_xml(struct api_gcs *g, struct xch *x);

#endif
