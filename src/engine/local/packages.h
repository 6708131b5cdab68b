/* Python package layers (reference 02 §6): what `pip install --user` made of a job's packages on
 * top of its image, kept under DIR/pkgs/KEY/ and stacked as one more overlay layer. KEY names image
 * and package contents, so the second run installs nothing, and runs that need the same layer at
 * the same time share one installation. */
#ifndef CUSP_ENGINE_LOCAL_PACKAGES_H
#define CUSP_ENGINE_LOCAL_PACKAGES_H

#include "base/err.h"

struct local;
struct local_attempt;

#define PACKAGES_JOB "pkgs" /* stands for the job in run directories of installations */
#define PACKAGES_MAX_BYTES ((uint64_t)2 << 30) /* of one package file */

/* [lane] Digests the pool's packages and fills pkg_key and pkg_layer; *ret_ready says whether the
 * layer exists. NOT_FOUND names the package that does not. */
int packages_key(struct local_attempt *a, uint32_t pool, bool *ret_ready,
                 struct err *err) MUST_CHECK;
/* Makes the layer of a pool (packages_key was called); stage_packages_ready hears about it. */
void packages_install(struct local_attempt *a, uint32_t pool);
/* The attempt wants nothing any more. An installation nobody waits for is stopped. */
void packages_forget(struct local_attempt *a);
/* Whether an installation of this server works in dir (sweep). */
bool packages_is_running(const struct local *eng, const char *dir);
bool packages_is_cgroup(const struct local *eng, const char *name);
/* Lets go of what is installing; the next server sweeps it. packages_free: when nothing is pending.
 */
void packages_let_go(struct local *eng);
void packages_free(struct local *eng);

/* The line the prebuilt runner logs before a package task; nothing for containers. (The line
 * after it is the control plane's.) */
void packages_note_start(struct local_attempt *a);

#endif
