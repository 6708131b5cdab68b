/* Python package layers (reference 02 §6): what `pip install --user` made of a job's packages on
 * top of its image, kept under DIR/pkgs/KEY/ and stacked as one more overlay layer. KEY names image
 * and package contents, so the second run installs nothing, and runs that need the same layer at
 * the same time share one installation. */
#ifndef CUSP_ENGINE_LOCAL_PACKAGES_H
#define CUSP_ENGINE_LOCAL_PACKAGES_H

#include "base/err.h"

struct local;
struct local_attempt;

/* [lane] Digests the pool's packages and fills pkg_key and pkg_layer; *ret_ready says whether the
 * layer exists. NOT_FOUND names the package that does not. */
int packages_key(struct local_attempt *a, uint32_t pool, bool *ret_ready,
                 struct err *err) MUST_CHECK;
/* Makes the layer of a pool (packages_key was called); stage_packages_ready hears about it. */
void packages_install(struct local_attempt *a, uint32_t pool);
/* The attempt wants nothing any more. An installation nobody waits for is stopped. */
void packages_forget(struct local_attempt *a);
/* Close: containers of installations are left to the next server's sweep. */
void packages_close(struct local *eng);

#endif
