/* Partial responses: fields=customJobs(name,state),nextPageToken (reference 10 §4).
 *
 * Grammar: a list of paths separated by ','; path steps by '/' or '.'; a step is a field name in
 * either spelling, a map key, or '*'; '(' list ')' after a step selects below it. Read-only after
 * parsing; lives in the arena. Any thread. */
#ifndef CUSP_PB_PBMASK_H
#define CUSP_PB_PBMASK_H

#include "base/arena.h"
#include "base/err.h"

#include <protobuf-c/protobuf-c.h>

#define PB_MASK_NODES_MAX 1000
#define PB_MASK_DEPTH_MAX 32

struct pb_mask; /* one level: the steps allowed there */

/* Empty text gives *ret = NULL: everything. INVALID_ARGUMENT when malformed or past the maxima. */
int pb_mask_parse(struct arena *a, struct str text, const struct pb_mask **ret, struct err *err);
/* INVALID_ARGUMENT, in Google's words, for the first path that leads to no field of d. What is
 * below
 * '*', and inside Any, Struct and the like, is not looked at; any map key will do. */
int pb_mask_check(const struct pb_mask *mask, const ProtobufCMessageDescriptor *d, struct err *err);
/* Is the field with these two names (alt.p may be NULL) selected at this level? *ret_below is the
 * level under it, NULL for all of it. mask NULL selects everything. */
bool pb_mask_has(const struct pb_mask *mask, struct str name, struct str alt,
                 const struct pb_mask **ret_below);

/* Unsets what the mask does not select: the same choice for a message that is sent packed. Inside
 * Any, Struct and the like nothing is unset. m is changed, so it must be the caller's own. */
void pb_mask_apply(const struct pb_mask *mask, ProtobufCMessage *m);

#endif
