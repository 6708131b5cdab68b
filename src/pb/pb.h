/* Messages in and out: bytes and JSON, bounded.
 *
 * Decoded messages live in the arena they were decoded into and are never freed one by one; typed
 * structs are in "pb/aip.h" (Aip__CustomJob ...), tables about them in "pb/pbinfo.h". Nothing here
 * keeps state; any thread. Only this module calls protobuf-c's own unpack and pack: those recurse
 * as deep as the input says. */
#ifndef CUSP_PB_PB_H
#define CUSP_PB_PB_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/jw.h"
#include "pb/violations.h"

#include <protobuf-c/protobuf-c.h>

struct pb_mask;

/* Which published version's names JSON may use. In memory and on the wire there is one message for
 * both: what only v1beta1 has survives a v1 reader, who just does not see it in JSON. */
enum pb_version { PB_V1 = 0, PB_V1BETA1 };

/* Messages within messages (map entries count), on the wire and in JSON alike; also JSON brackets.
 * limits.max_proto_depth and max_json_depth can lower it, never raise it. */
#define PB_DEPTH_MAX 100
#define PB_ANY_DEPTH_MAX 8 /* google.protobuf.Any within Any */

/* An empty message. NULL when the arena is full. */
ProtobufCMessage *pb_new(struct arena *a, const ProtobufCMessageDescriptor *desc);
/* NULL when the arena is full. */
ProtobufCMessage *pb_clone(struct arena *a, const ProtobufCMessage *m);

/* Errors: INVALID_ARGUMENT (malformed, too deep, text that is not UTF-8 or holds NUL),
 * RESOURCE_EXHAUSTED (arena full). Unknown fields are kept and packed again. */
int pb_unpack(struct arena *a, const ProtobufCMessageDescriptor *desc, struct str bytes,
              ProtobufCMessage **ret, struct err *err);
/* Appends; -1 when it does not fit in out->max (then out is unchanged). */
int pb_pack(const ProtobufCMessage *m, struct buf *out);
/* Into the arena; false when that is full. */
bool pb_pack_in(struct arena *a, const ProtobufCMessage *m, struct str *ret);
size_t pb_packed_size(const ProtobufCMessage *m);

/* proto3 JSON. root_path is put before the paths in errors ("custom_job"; "" or NULL for none).
 * An empty text counts as {}. Failures: INVALID_ARGUMENT with everything found wrong in vs (vs must
 * be initialised; err has the same text, cut to its size); INVALID_ARGUMENT with nothing added to
 * vs when the text is not JSON or nested too deep; RESOURCE_EXHAUSTED (arena full). */
int pb_from_json(struct arena *a, const ProtobufCMessageDescriptor *desc, enum pb_version version,
                 struct str json, const char *root_path, ProtobufCMessage **ret,
                 struct violations *vs, struct err *err);
/* What a google.protobuf.Value or Struct holds, read as a message: free-form fields that have a
 * schema after all (trainingTaskInputs). Rules and errors as in pb_from_json. */
int pb_from_value(struct arena *a, const ProtobufCMessageDescriptor *desc, enum pb_version version,
                  const ProtobufCMessage *value, const char *root_path, ProtobufCMessage **ret,
                  struct violations *vs, struct err *err);
/* Sets one field of m from text that is not JSON, as in a query string: path is "a.b.c" in either
 * spelling, messages on the way are made. Called again for a repeated field it appends.
 * *ret_unknown (may be NULL) is set when no such field exists; vs gets the reason for everything.
 */
int pb_set_from_text(struct arena *a, ProtobufCMessage *m, enum pb_version version, struct str path,
                     struct str value, struct violations *vs, bool *ret_unknown, struct err *err);

struct pb_json_opts {
    bool compact;               /* one line; default: two spaces a level */
    bool enum_ints;             /* enum-encoding=int */
    enum pb_version version;    /* fields shown; @type of Any says v1beta1 */
    bool fixed_times;           /* timestamps with nine digits of fraction, always */
    bool proto_names;           /* field names as in the .proto (snake_case) */
    const struct pb_mask *mask; /* fields=...; NULL: everything */
};
/* No newline at the end. opts NULL: defaults. Fails when out is full (RESOURCE_EXHAUSTED) or the
 * message is nested deeper than decoding would have allowed (INTERNAL). */
int pb_to_json(const ProtobufCMessage *m, const struct pb_json_opts *opts, struct buf *out,
               struct err *err);
/* The same as one value inside JSON that the caller is writing. */
int pb_write_json(struct jw *w, const ProtobufCMessage *m, const struct pb_json_opts *opts,
                  struct err *err);

#endif
