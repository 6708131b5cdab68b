/* Update masks (AIP-134, reference 10 §6): which parts of one message replace those of another. Any
 * thread. */
#ifndef CUSP_PB_PBUPDATE_H
#define CUSP_PB_PBUPDATE_H

#include "pb/pb.h"

/* One path of a read mask against a message type: every step names a field (in either spelling) or
 * '*'; below a map a step is a key; lists are gone through. INVALID_ARGUMENT on `field` names path
 * and step. */
int pb_path_check_read(const ProtobufCMessageDescriptor *d, struct str path, const char *field,
                       struct err *err) MUST_CHECK;

/* Replaces in dst what the paths name by what src has there; what src leaves out is unset. Maps and
 * lists are replaced whole, other messages field by field where a path goes into them. "*" alone
 * replaces everything that a client may set.
 *
 * Refused, with one violation for each path (field "update_mask", or the field's own path), and dst
 * untouched: no paths at all, unknown fields, a step into a map, list or value, OUTPUT_ONLY fields
 * and a resource's name, IMMUTABLE fields with another value, REQUIRED fields that src leaves out.
 * A resource's etag is no field to set: naming it does nothing (api/etag.h compares it).
 *
 * dst keeps nothing of src's memory; new parts live in the arena, as dst must. Returns 0, or -1
 * with violations added; RESOURCE_EXHAUSTED in *err and none added when the arena is full. */
int pb_update_apply(struct arena *a, char *const *paths, size_t n, const ProtobufCMessage *src,
                    ProtobufCMessage *dst, struct violations *vs, struct err *err) MUST_CHECK;

#endif
