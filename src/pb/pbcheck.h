/* Rules that the contract itself states by google.api.field_behavior. Any thread. */
#ifndef CUSP_PB_PBCHECK_H
#define CUSP_PB_PBCHECK_H

#include "pb/pb.h"

/* Adds one violation for every REQUIRED field that is not set, at any depth ("Required field is not
 * set."); root is put before the paths ("" or NULL for none). Numbers and booleans without presence
 * are never missing: 0 is a value. Returns how many were found. */
size_t pb_check_required(const ProtobufCMessage *m, const char *root, struct violations *vs);

/* Unsets OUTPUT_ONLY fields at any depth: clients send whole resources back, and what only the
 * server may say is ignored, not refused (reference 20 §1 rule 7). */
void pb_clear_output_only(ProtobufCMessage *m);

#endif
