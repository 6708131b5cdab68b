/* Mounts in a private mount namespace: they end with the last process in it, so nothing stays
 * mounted when runner and container have died, however they died. */
#ifndef CUSP_SYS_MNT_H
#define CUSP_SYS_MNT_H

#include "base/err.h"

/* A mount namespace of our own; the host's later mounts still arrive, ours never leave. */
int mnt_private(struct err *err) MUST_CHECK;
/* Hides a mount (lazily: open descriptors into it keep working). */
int mnt_hide(const char *path, struct err *err) MUST_CHECK;
/* lower: topmost first. upper, work and target are directories. May change the working directory
 * for its own duration. */
int mnt_overlay(const char *const *lower, size_t nr_lower, const char *upper, const char *work,
                const char *target, struct err *err) MUST_CHECK;

/* As mnt_overlay by the interface of kernels before 6.7, which mnt_overlay falls back to; here for
 * its test. RESOURCE_EXHAUSTED when the layers do not fit. */
int mnt_overlay_classic(const char *const *lower, size_t nr_lower, const char *upper,
                        const char *work, const char *target, struct err *err) MUST_CHECK;

#endif
