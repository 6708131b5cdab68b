/* Guarded unpack and pack.
 *
 * protobuf-c's unpacker recurses once a nested message: some 34 kB of nested google.protobuf.Value
 * overflow an 8 MB stack. So the bytes are walked first, with the descriptor and a stack of our
 * own, and refused beyond the depth limit. The same walk checks what protobuf-c does not: that
 * strings are UTF-8, and free of NUL, which a char * could not carry. */
#include "pb/pb_int.h"

#include "base/limits.h"

struct frame {
    const ProtobufCMessageDescriptor *desc;
    const uint8_t *end;
};

static bool get_varint(const uint8_t **p, const uint8_t *end, uint64_t *ret) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70 && *p < end; shift += 7) {
        uint8_t c = *(*p)++;
        v |= shift < 64 ? (uint64_t)(c & 0x7f) << shift : 0;
        if (!(c & 0x80)) {
            *ret = v;
            return true;
        }
    }
    return false;
}

static int malformed(const ProtobufCMessageDescriptor *d, struct err *err) {
    return err_set(err, ERR_INVALID_ARGUMENT, "Malformed protobuf message of type %s", d->name);
}

static int check_text(const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f,
                      struct str s, struct err *err) {
    if (!str_is_utf8(s)) {
        return err_field(err, ERR_INVALID_ARGUMENT, f->name, "%s.%s is not valid UTF-8", d->name,
                         f->name);
    }
    if (str_chr(s, 0) >= 0) {
        return err_field(err, ERR_INVALID_ARGUMENT, f->name,
                         "%s.%s contains a NUL character, which is not supported", d->name,
                         f->name);
    }
    return 0;
}

static int wire_guard(const ProtobufCMessageDescriptor *desc, struct str bytes, struct err *err) {
    struct frame stack[PB_DEPTH_MAX + 1];
    unsigned depth = 0, limit = pb_depth_limit(limits.max_proto_depth);
    const uint8_t *p = (const uint8_t *)bytes.p;
    if (!bytes.n) {
        return 0;
    }
    stack[0] = (struct frame){desc, p + bytes.n};
    for (;;) {
        const struct frame *fr = &stack[depth];
        if (p == fr->end) {
            if (depth == 0) {
                return 0;
            }
            depth--;
            continue;
        }
        uint64_t tag, n;
        if (!get_varint(&p, fr->end, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff) {
            return malformed(fr->desc, err);
        }
        switch (tag & 7) {
        case 0:
            if (!get_varint(&p, fr->end, &n)) {
                return malformed(fr->desc, err);
            }
            continue;
        case 1:
        case 5:
            n = (tag & 7) == 1 ? 8 : 4;
            break;
        case 2:
            if (!get_varint(&p, fr->end, &n)) {
                return malformed(fr->desc, err);
            }
            break;
        default: /* groups: not in proto3, and protobuf-c cannot keep them */
            return malformed(fr->desc, err);
        }
        if (n > (uint64_t)(fr->end - p)) {
            return malformed(fr->desc, err);
        }
        const uint8_t *value = p;
        p += n;
        if ((tag & 7) != 2) {
            continue;
        }
        const ProtobufCFieldDescriptor *f =
            protobuf_c_message_descriptor_get_field(fr->desc, (unsigned)(tag >> 3));
        if (!f) {
            continue;
        }
        if (f->type == PROTOBUF_C_TYPE_STRING) {
            if (check_text(fr->desc, f, str_n((const char *)value, n), err)) {
                return -1;
            }
        } else if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
            if (depth + 1 > limit) {
                limits_hit(&limits.max_proto_depth);
                return err_set(err, ERR_INVALID_ARGUMENT,
                               "Message is nested deeper than max_proto_depth (%u)", limit);
            }
            stack[++depth] = (struct frame){f->descriptor, value + n};
            p = value;
        }
    }
}

struct arena_ctx {
    struct arena *a;
    bool full;
};

static void *ctx_alloc(void *arg, size_t n) {
    struct arena_ctx *c = arg;
    void *p = arena_alloc(c->a, n);
    c->full |= p == NULL;
    return p;
}

static void ctx_free(void *arg, void *p) {
    /* memory goes with the arena */
}

int pb_unpack(struct arena *a, const ProtobufCMessageDescriptor *desc, struct str bytes,
              ProtobufCMessage **ret, struct err *err) {
    if (wire_guard(desc, bytes, err)) {
        return -1;
    }
    struct arena_ctx ctx = {.a = a};
    ProtobufCAllocator alloc = {.alloc = ctx_alloc, .free = ctx_free, .allocator_data = &ctx};
    ProtobufCMessage *m =
        protobuf_c_message_unpack(desc, &alloc, bytes.n, (const uint8_t *)(bytes.n ? bytes.p : ""));
    if (!m) {
        return ctx.full ? err_set(err, ERR_RESOURCE_EXHAUSTED,
                                  "Message needs more memory than max_message_bytes allows")
                        : malformed(desc, err);
    }
    *ret = m;
    return 0;
}

int pb_pack(const ProtobufCMessage *m, struct buf *out) {
    size_t n = protobuf_c_message_get_packed_size(m);
    char *p = buf_reserve(out, n);
    if (!p) {
        return -1;
    }
    size_t put = protobuf_c_message_pack(m, (uint8_t *)p);
    CHECK(put == n);
    buf_commit(out, n);
    return 0;
}

size_t pb_packed_size(const ProtobufCMessage *m) {
    return protobuf_c_message_get_packed_size(m);
}

bool pb_pack_in(struct arena *a, const ProtobufCMessage *m, struct str *ret) {
    size_t n = protobuf_c_message_get_packed_size(m);
    char *p = arena_alloc(a, n ? n : 1);
    if (!p) {
        return false;
    }
    size_t put = protobuf_c_message_pack(m, (uint8_t *)p);
    CHECK(put == n);
    *ret = str_n(p, n);
    return true;
}

ProtobufCMessage *pb_new(struct arena *a, const ProtobufCMessageDescriptor *desc) {
    ProtobufCMessage *m = arena_alloc(a, desc->sizeof_message);
    if (m) {
        protobuf_c_message_init(desc, m);
    }
    return m;
}

ProtobufCMessage *pb_clone(struct arena *a, const ProtobufCMessage *m) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    ProtobufCMessage *copy = NULL;
    struct arena_ctx ctx = {.a = a};
    ProtobufCAllocator alloc = {.alloc = ctx_alloc, .free = ctx_free, .allocator_data = &ctx};
    if (pb_pack(m, &b) == 0) {
        copy = protobuf_c_message_unpack(m->descriptor, &alloc, b.n, (const uint8_t *)buf_cstr(&b));
    }
    return copy;
}

size_t pb_value_size(const ProtobufCFieldDescriptor *f) {
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
    default:
        return 4;
    }
}

bool pb_is_set(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    if (pb_is_repeated(f)) {
        return *pb_count(m, f) > 0;
    }
    if (pb_is_oneof(f)) {
        return *pb_case(m, f) == f->id;
    }
    const void *v = pb_at(m, f->offset);
    uint64_t bits = 0;
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING: {
        const char *s = *(char *const *)v;
        return s && *s;
    }
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)v)->len > 0;
    case PROTOBUF_C_TYPE_MESSAGE:
        return *(void *const *)v != NULL;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
    default:
        memcpy(&bits, v, pb_value_size(f)); /* -0.0 counts as set, as in the official runtimes */
        return bits != 0;
    }
}

void pb_clear_field(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    if (pb_is_repeated(f)) {
        *pb_count(m, f) = 0;
        *(void **)pb_at(m, f->offset) = NULL;
        return;
    }
    if (pb_is_oneof(f)) {
        if (*pb_case(m, f) != f->id) {
            return;
        }
        *pb_case(m, f) = 0;
    }
    memset(pb_at(m, f->offset), 0, pb_value_size(f));
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        *(const char **)pb_at(m, f->offset) = protobuf_c_empty_string;
    }
}
