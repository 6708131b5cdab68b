/* Comparing one field of a message, named by a path, with a value that somebody wrote as text: the
 * leaves of list filters (AIP-160). Pure; any thread.
 *
 * A path goes through messages by field names (either spelling), through maps by key, through lists
 * by meaning "some element", and into Any, Struct and Value by what is there when it is looked at.
 * A message that is absent on the way means that nothing compares true. */
#ifndef CUSP_PB_PBPATH_H
#define CUSP_PB_PBPATH_H

#include "base/arena.h"
#include "base/str.h"

#include <protobuf-c/protobuf-c.h>

#define PB_PATH_STEPS_MAX 16

enum pb_leaf {
    PB_LEAF_TEXT = 1,
    PB_LEAF_NUMBER,
    PB_LEAF_BOOL,
    PB_LEAF_ENUM,
    PB_LEAF_TIME,
    PB_LEAF_DURATION,
    PB_LEAF_BYTES,   /* not comparable */
    PB_LEAF_MESSAGE, /* presence only */
    PB_LEAF_MAP,     /* keys only */
    PB_LEAF_DYNAMIC, /* within Any, Struct, Value: known when it is looked at */
};

struct pb_path {
    const ProtobufCMessageDescriptor *desc;
    struct str steps[PB_PATH_STEPS_MAX]; /* views of the caller's */
    size_t n;
    enum pb_leaf leaf;
    const ProtobufCEnumDescriptor *values; /* PB_LEAF_ENUM */
};

/* -1: step *ret_bad names nothing; *ret_owner is the message it was looked for in, NULL when what
 * stands before it has no parts. steps: 1 to PB_PATH_STEPS_MAX. */
int pb_path_resolve(const ProtobufCMessageDescriptor *desc, const struct str *steps, size_t n,
                    struct pb_path *ret, size_t *ret_bad,
                    const ProtobufCMessageDescriptor **ret_owner) MUST_CHECK;

/* NULL when the enumeration has no such value. */
const ProtobufCEnumValue *pb_enum_by_name(const ProtobufCEnumDescriptor *d, struct str name);
const ProtobufCEnumValue *pb_enum_by_number(const ProtobufCEnumDescriptor *d, int64_t number);

/* A value as text and everything that the text can be read as. */
struct pb_literal {
    struct str text;
    struct str pattern; /* with NUL bytes where anything may stand; .p NULL: no pattern */
    bool is_number, is_int, is_bool, is_time, is_duration;
    double number;
    int64_t integer;
    bool truth;
    int64_t time_sec, duration_sec;
    int32_t time_nanos, duration_nanos;
};
/* Views stay the caller's. pattern.p NULL for none. */
void pb_literal_read(struct str text, struct str pattern, struct pb_literal *ret);

enum pb_op { PB_OP_EQ = 1, PB_OP_LT, PB_OP_LE, PB_OP_GT, PB_OP_GE, PB_OP_HAS, PB_OP_PRESENT };

/* Whether a comparison makes sense for what the path leads to; NULL, or what would be expected ("a
 * number", ...). The literal is not looked at for PB_OP_PRESENT. */
const char *pb_path_expects(const struct pb_path *p, enum pb_op op, const struct pb_literal *lit);

/* m is of p->desc. The arena takes what has to be decoded on the way (Any). */
bool pb_path_matches(const struct pb_path *p, enum pb_op op, const struct pb_literal *lit,
                     const ProtobufCMessage *m, struct arena *scratch);

#endif
