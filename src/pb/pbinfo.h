/* What the generated descriptors of protobuf-c leave out: JSON names, field behaviour, message
 * kinds, resource names. Read-only tables made by tools/pgen, reached in one step from a
 * descriptor. Any thread. */
#ifndef CUSP_PB_PBINFO_H
#define CUSP_PB_PBINFO_H

#include "base/str.h"

#include <protobuf-c/protobuf-c.h>

enum pb_kind {
    PB_KIND_PLAIN = 0,
    PB_KIND_MAP_ENTRY,
    PB_KIND_ANY, /* from here on: google.protobuf types with a JSON form of their own */
    PB_KIND_TIMESTAMP,
    PB_KIND_DURATION,
    PB_KIND_FIELD_MASK,
    PB_KIND_STRUCT,
    PB_KIND_VALUE,
    PB_KIND_LIST_VALUE,
    PB_KIND_WRAPPER
};

enum pb_field_flags {
    PB_F_REQUIRED = 1 << 0, /* google.api.field_behavior */
    PB_F_OUTPUT_ONLY = 1 << 1,
    PB_F_IMMUTABLE = 1 << 2,
    PB_F_INPUT_ONLY = 1 << 3,
    PB_F_OPTIONAL = 1 << 4,   /* proto3 `optional`: a one-member oneof in C */
    PB_F_MAP = 1 << 5,        /* repeated map entries in C */
    PB_F_NULL_VALUE = 1 << 6, /* enum google.protobuf.NullValue */
    /* In the struct and on the wire always; in JSON only of the version that has it. */
    PB_F_BETA_ONLY = 1 << 7,
    PB_F_V1_ONLY = 1 << 8
};

/* Parallel to desc->fields (ordered by field number). */
struct pb_field_info {
    const char *json;      /* lowerCamelCase */
    const char *oneof;     /* name of the oneof it belongs to; NULL outside and for PB_F_OPTIONAL */
    const char *reference; /* google.api.resource_reference type, or NULL */
    unsigned flags;
};

struct pb_name {
    const char *name;
    unsigned len;
    unsigned field; /* index into desc->fields */
};

struct pb_resource {
    const char *type; /* "aiplatform.googleapis.com/CustomJob" */
    const char *plural, *singular;
    const char *const *patterns; /* NULL-terminated */
};

struct pb_msg_info {
    const ProtobufCMessageDescriptor *desc;
    enum pb_kind kind;
    const struct pb_field_info *fields;
    const struct pb_name *names; /* both spellings of every field */
    size_t n_names;
    const struct pb_resource *resource; /* NULL when it is none */
};

/* All known messages, ordered by full name. */
extern const struct pb_msg_info *const pb_msg_table[];
extern const size_t pb_msg_table_n;

static inline const struct pb_msg_info *pb_info(const ProtobufCMessageDescriptor *d) {
    return d->reserved1;
}

/* Index of the field called `name` (lowerCamelCase or as in the .proto), or -1. */
int pb_field_find(const ProtobufCMessageDescriptor *d, struct str name);
/* By full name, "google.cloud.aiplatform.v1.CustomJob"; v1beta1 names give their v1 twin. NULL when
 * unknown. */
const ProtobufCMessageDescriptor *pb_msg_find(struct str full_name);

#endif
