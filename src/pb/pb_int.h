/* Private to src/pb. */
#ifndef CUSP_PB_PB_INT_H
#define CUSP_PB_PB_INT_H

#include "base/limits.h"
#include "pb/pb.h"
#include "pb/pbinfo.h"

static inline unsigned pb_depth_limit(uint64_t configured) {
    return configured < PB_DEPTH_MAX ? (unsigned)configured : PB_DEPTH_MAX;
}

/* Where a field lives in its message. */
static inline void *pb_at(const ProtobufCMessage *m, size_t offset) {
    return (char *)m + offset; /* const is dropped here once, for readers and writers alike */
}
static inline bool pb_is_oneof(const ProtobufCFieldDescriptor *f) {
    return (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
}
static inline bool pb_is_repeated(const ProtobufCFieldDescriptor *f) {
    return f->label == PROTOBUF_C_LABEL_REPEATED;
}
static inline size_t *pb_count(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    return pb_at(m, f->quantifier_offset);
}
static inline uint32_t *pb_case(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    return pb_at(m, f->quantifier_offset);
}
/* Bytes of one value in memory. */
size_t pb_value_size(const ProtobufCFieldDescriptor *f);
/* Set, in the sense of proto3: would be on the wire. */
bool pb_is_set(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);
/* Back to unset; other members of its oneof are left alone. */
void pb_clear_field(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);

#endif
