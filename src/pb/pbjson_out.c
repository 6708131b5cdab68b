/* Messages to JSON, in field-number order, straight into the writer. */
#include "pb/pbjson_int.h"

#include "base/enc.h"
#include "base/map.h"
#include "pb/pbmask.h"

#include <math.h>

bool wr_can_open(struct writer *w) {
    if (w->w->depth + 1 >= JW_MAX_DEPTH) {
        (void)err_set(w->err, ERR_INTERNAL, "Message is nested too deep to be shown as JSON");
        return false;
    }
    return true;
}

/* Shortest decimal form that reads back as the same float. */
static void write_float(struct writer *w, float v) {
    char tmp[40];
    if (!isfinite(v) || (v == truncf(v) && fabsf(v) < 1e7f)) {
        jw_double(w->w, (double)v);
        return;
    }
    for (int prec = 1; prec <= 9; prec++) {
        snprintf(tmp, sizeof(tmp), "%.*g", prec, (double)v);
        if (strtof(tmp, NULL) == v) {
            break;
        }
    }
    jw_raw(w->w, str_of(tmp));
}

static void write_enum(struct writer *w, const ProtobufCFieldDescriptor *f, int32_t n) {
    const ProtobufCEnumDescriptor *e = f->descriptor;
    const ProtobufCEnumValue *v =
        w->o->enum_ints ? NULL : protobuf_c_enum_descriptor_get_value(e, n);
    if (v) {
        jw_cstr(w->w, v->name);
    } else {
        jw_i64(w->w, n);
    }
}

static int write_one(struct writer *w, const ProtobufCFieldDescriptor *f,
                     const struct pb_field_info *fi, const void *at, const struct pb_mask *mask) {
    union {
        int32_t i32;
        uint32_t u32;
        int64_t i64;
        uint64_t u64;
        float f;
        double d;
        const char *s;
        const ProtobufCMessage *m;
        ProtobufCBinaryData b;
    } v;
    memcpy(&v, at, pb_value_size(f));
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        jw_i64(w->w, v.i32);
        return 0;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        jw_i64(w->w, v.u32);
        return 0;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        jw_i64_string(w->w, v.i64);
        return 0;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64: {
        char tmp[24];
        snprintf(tmp, sizeof(tmp), "%llu", (unsigned long long)v.u64);
        jw_cstr(w->w, tmp);
        return 0;
    }
    case PROTOBUF_C_TYPE_FLOAT:
        write_float(w, v.f);
        return 0;
    case PROTOBUF_C_TYPE_DOUBLE:
        jw_double(w->w, v.d);
        return 0;
    case PROTOBUF_C_TYPE_BOOL:
        jw_bool(w->w, v.i32 != 0);
        return 0;
    case PROTOBUF_C_TYPE_ENUM:
        if (fi->flags & PB_F_NULL_VALUE) {
            jw_null(w->w);
        } else {
            write_enum(w, f, v.i32);
        }
        return 0;
    case PROTOBUF_C_TYPE_STRING:
        jw_cstr(w->w, v.s ? v.s : "");
        return 0;
    case PROTOBUF_C_TYPE_BYTES: {
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        enc_base64(&b, v.b.data, v.b.len);
        jw_str(w->w, buf_str(&b));
        return 0;
    }
    case PROTOBUF_C_TYPE_MESSAGE:
    default:
        return wr_message(w, v.m, mask);
    }
}

/* A map key as text; bool and integer keys are quoted in JSON too. */
static struct str key_text(const ProtobufCMessage *entry, char tmp[static 24]) {
    const ProtobufCFieldDescriptor *f = &entry->descriptor->fields[0];
    const void *at = pb_at(entry, f->offset);
    int32_t i32 = 0;
    int64_t i64 = 0;
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        return str_of(*(char *const *)at ? *(char *const *)at : "");
    case PROTOBUF_C_TYPE_BOOL:
        memcpy(&i32, at, 4);
        return i32 ? STR("true") : STR("false");
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        memcpy(&i32, at, 4);
        return str_n(tmp, (size_t)snprintf(tmp, 24, "%d", i32));
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        memcpy(&i32, at, 4);
        return str_n(tmp, (size_t)snprintf(tmp, 24, "%u", (uint32_t)i32));
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        memcpy(&i64, at, 8);
        return str_n(tmp, (size_t)snprintf(tmp, 24, "%llu", (unsigned long long)i64));
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
    default:
        memcpy(&i64, at, 8);
        return str_n(tmp, (size_t)snprintf(tmp, 24, "%lld", (long long)i64));
    }
}

/* The wire allows a key twice; the last one counts, and JSON must not repeat it. */
static int write_map(struct writer *w, ProtobufCMessage *const *entries, size_t n,
                     const struct pb_mask *mask) {
    __attribute__((cleanup(map_fini))) struct map last; /* key -> entry, only when n > 1 */
    char tmp[24];
    const struct pb_mask *below;
    map_init(&last);
    if (!wr_can_open(w)) {
        return -1;
    }
    for (size_t i = 0; n > 1 && i < n; i++) {
        map_put(&last, key_text(entries[i], tmp), entries[i]);
    }
    jw_object(w->w);
    for (size_t i = 0; i < n; i++) {
        const ProtobufCMessage *e = entries[i];
        const ProtobufCFieldDescriptor *vf = &e->descriptor->fields[1];
        struct str key = key_text(e, tmp);
        if ((n > 1 && map_get(&last, key) != e) ||
            !pb_mask_has(mask, key, (struct str){0}, &below)) {
            continue;
        }
        jw_key_str(w->w, key);
        const void *at = pb_at(e, vf->offset);
        if (vf->type == PROTOBUF_C_TYPE_MESSAGE && !*(void *const *)at) {
            /* a value left out on the wire means an empty message */
            if (pb_info(vf->descriptor)->kind == PB_KIND_VALUE) {
                jw_null(w->w);
            } else {
                jw_object(w->w);
                jw_end_object(w->w);
            }
            continue;
        }
        if (write_one(w, vf, &pb_info(e->descriptor)->fields[1], at, below)) {
            return -1;
        }
    }
    jw_end_object(w->w);
    return 0;
}

int wr_field_value(struct writer *w, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                   const struct pb_mask *mask) {
    const struct pb_field_info *fi = &pb_info(m->descriptor)->fields[f - m->descriptor->fields];
    const void *at = pb_at(m, f->offset);
    if (!pb_is_repeated(f)) {
        return write_one(w, f, fi, at, mask);
    }
    const char *items = *(char *const *)at;
    size_t n = *pb_count(m, f), size = pb_value_size(f);
    if (fi->flags & PB_F_MAP) {
        return write_map(w, (ProtobufCMessage *const *)items, n, mask);
    }
    if (!wr_can_open(w)) {
        return -1;
    }
    jw_array(w->w);
    for (size_t i = 0; i < n; i++) {
        if (write_one(w, f, fi, items + i * size, mask)) {
            return -1;
        }
    }
    jw_end_array(w->w);
    return 0;
}

int wr_fields(struct writer *w, const ProtobufCMessage *m, const struct pb_mask *mask) {
    const ProtobufCMessageDescriptor *d = m->descriptor;
    const struct pb_field_info *fi = pb_info(d)->fields;
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        const struct pb_mask *below = NULL;
        if (!pb_is_set(m, f) || (fi[i].flags & w->hidden) ||
            (mask && !pb_mask_has(mask, str_of(fi[i].json), str_of(f->name), &below))) {
            continue;
        }
        jw_key(w->w, w->o->proto_names ? f->name : fi[i].json);
        if (wr_field_value(w, m, f, below)) {
            return -1;
        }
    }
    return 0;
}

int wr_message(struct writer *w, const ProtobufCMessage *m, const struct pb_mask *mask) {
    if (pb_info(m->descriptor)->kind >= PB_KIND_ANY) {
        return wr_well_known(w, m, mask);
    }
    if (!wr_can_open(w)) {
        return -1;
    }
    jw_object(w->w);
    if (wr_fields(w, m, mask)) {
        return -1;
    }
    jw_end_object(w->w);
    return 0;
}

int pb_write_json(struct jw *jw, const ProtobufCMessage *m, const struct pb_json_opts *opts,
                  struct err *err) {
    static const struct pb_json_opts defaults = {0};
    struct writer w = {.w = jw, .o = opts ? opts : &defaults, .err = err};
    w.hidden = pb_hidden(w.o->version);
    return wr_message(&w, m, w.o->mask);
}

int pb_to_json(const ProtobufCMessage *m, const struct pb_json_opts *opts, struct buf *out,
               struct err *err) {
    struct jw w;
    jw_init(&w, out, opts && opts->compact ? 0 : 2);
    if (pb_write_json(&w, m, opts, err)) {
        return -1;
    }
    return out->full ? err_set(err, ERR_RESOURCE_EXHAUSTED, "Reply is larger than the limit") : 0;
}
