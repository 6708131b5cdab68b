/* JSON scalars as protobuf's: numbers, booleans, enums, text, bytes. */
#include "pb/pbjson_int.h"

#include "base/enc.h"

#include <math.h>

char *rd_string(struct reader *r, struct str s) {
    return arena_strndup(r->a, s.p ? s.p : "", s.n);
}

static bool is_json_number(struct str s) {
    struct jtok t;
    jtok_init(&t, NULL, s);
    return s.n && (*s.p == '-' || (*s.p >= '0' && *s.p <= '9')) && jtok_next(&t, NULL) == 0 &&
           t.type == JTOK_NUMBER && t.p == t.end;
}

bool rd_parse_double(struct str s, double *ret) {
    if (!is_json_number(s)) {
        return false;
    }
    char small[64];
    auto_free char *big = NULL;
    char *text = small;
    if (s.n >= sizeof(small)) {
        text = big = str_dup(s);
    } else {
        memcpy(small, s.p, s.n);
        small[s.n] = 0;
    }
    *ret = strtod(text, NULL);
    return isfinite(*ret);
}

/* Integers may be written 100, 100.0 or 1e2 (clients send doubles for integers). */
static bool parse_i64(struct str s, int64_t *ret) {
    double d;
    if (str_to_i64(s, ret)) {
        return is_json_number(s);
    }
    if (!rd_parse_double(s, &d) || d != trunc(d) || d < -0x1p63 || d >= 0x1p63) {
        return false;
    }
    *ret = (int64_t)d;
    return true;
}

static bool parse_u64(struct str s, uint64_t *ret) {
    double d;
    if (str_to_u64(s, ret)) {
        return is_json_number(s);
    }
    if (!rd_parse_double(s, &d) || d != trunc(d) || d < 0 || d >= 0x1p64) {
        return false;
    }
    *ret = (uint64_t)d;
    return true;
}

static bool parse_floating(const struct jtok *t, double *ret) {
    if (rd_parse_double(t->text, ret)) {
        return true;
    }
    if (t->type != JTOK_STRING) {
        return false;
    }
    if (str_eq(t->text, STR("NaN"))) {
        *ret = NAN;
    } else if (str_eq(t->text, STR("Infinity"))) {
        *ret = INFINITY;
    } else if (str_eq(t->text, STR("-Infinity"))) {
        *ret = -INFINITY;
    } else {
        return false;
    }
    return true;
}

static const char *type_name(ProtobufCType t) {
    switch (t) {
    case PROTOBUF_C_TYPE_INT32:
        return "TYPE_INT32";
    case PROTOBUF_C_TYPE_SINT32:
        return "TYPE_SINT32";
    case PROTOBUF_C_TYPE_SFIXED32:
        return "TYPE_SFIXED32";
    case PROTOBUF_C_TYPE_INT64:
        return "TYPE_INT64";
    case PROTOBUF_C_TYPE_SINT64:
        return "TYPE_SINT64";
    case PROTOBUF_C_TYPE_SFIXED64:
        return "TYPE_SFIXED64";
    case PROTOBUF_C_TYPE_UINT32:
        return "TYPE_UINT32";
    case PROTOBUF_C_TYPE_FIXED32:
        return "TYPE_FIXED32";
    case PROTOBUF_C_TYPE_UINT64:
        return "TYPE_UINT64";
    case PROTOBUF_C_TYPE_FIXED64:
        return "TYPE_FIXED64";
    case PROTOBUF_C_TYPE_FLOAT:
        return "TYPE_FLOAT";
    case PROTOBUF_C_TYPE_DOUBLE:
        return "TYPE_DOUBLE";
    case PROTOBUF_C_TYPE_BOOL:
        return "TYPE_BOOL";
    case PROTOBUF_C_TYPE_ENUM:
        return "TYPE_ENUM";
    case PROTOBUF_C_TYPE_STRING:
        return "TYPE_STRING";
    case PROTOBUF_C_TYPE_BYTES:
        return "TYPE_BYTES";
    case PROTOBUF_C_TYPE_MESSAGE:
    default:
        return "TYPE_MESSAGE";
    }
}

static bool parse_enum(const struct reader *r, const ProtobufCFieldDescriptor *f, int32_t *ret) {
    const struct jtok *t = &r->t;
    const ProtobufCEnumDescriptor *e = f->descriptor;
    int64_t n;
    if (t->type == JTOK_STRING) {
        char name[128];
        if (t->text.n < sizeof(name) && !memchr(t->text.p, 0, t->text.n)) {
            memcpy(name, t->text.p, t->text.n);
            name[t->text.n] = 0;
            const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value_by_name(e, name);
            if (v) {
                *ret = v->value;
                return true;
            }
        }
    }
    /* proto3 enums are open: a number we do not know is kept. */
    if ((t->type == JTOK_NUMBER || r->is_text) && parse_i64(t->text, &n) && n >= INT32_MIN &&
        n <= INT32_MAX) {
        *ret = (int32_t)n;
        return true;
    }
    return false;
}

static enum rd read_bytes(struct reader *r, const struct path *path, void *dst) {
    if (r->t.type != JTOK_STRING) {
        return rd_invalid(r, path, "TYPE_BYTES", NULL);
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX); /* at most 3/4 of the text we already hold */
    if (!enc_unbase64(r->t.text, &b)) {
        return rd_invalid(r, path, "TYPE_BYTES", "Base64 decoding failed for value");
    }
    ProtobufCBinaryData data = {.len = b.n};
    if (b.n && !(data.data = arena_memdup(r->a, b.p, b.n))) {
        return rd_no_memory(r);
    }
    memcpy(dst, &data, sizeof(data));
    return RD_OK;
}

static enum rd read_string(struct reader *r, const struct path *path, void *dst) {
    if (r->t.type != JTOK_STRING) {
        return rd_invalid(r, path, "TYPE_STRING", NULL);
    }
    if (memchr(r->t.text.p, 0, r->t.text.n)) {
        return rd_invalid(r, path, "TYPE_STRING", "NUL characters are not supported");
    }
    char *s = rd_string(r, r->t.text);
    if (!s) {
        return rd_no_memory(r);
    }
    memcpy(dst, &s, sizeof(s));
    return RD_OK;
}

/* Numbers, booleans and enums: false when the token does not denote one. */
static bool parse_number_like(const struct reader *r, const ProtobufCFieldDescriptor *f,
                              void *dst) {
    const struct jtok *t = &r->t;
    int64_t i;
    uint64_t u;
    double d;
    int32_t w;
    if (f->type == PROTOBUF_C_TYPE_BOOL) {
        bool yes = t->type == JTOK_TRUE || (r->is_text && str_eq(t->text, STR("true")));
        bool no = t->type == JTOK_FALSE || (r->is_text && str_eq(t->text, STR("false")));
        protobuf_c_boolean v = yes;
        memcpy(dst, &v, sizeof(v));
        return yes || no;
    }
    if (t->type != JTOK_NUMBER && t->type != JTOK_STRING) {
        return false;
    }
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        w = parse_i64(t->text, &i) && i >= INT32_MIN && i <= INT32_MAX ? (int32_t)i : 0;
        memcpy(dst, &w, 4);
        return parse_i64(t->text, &i) && i >= INT32_MIN && i <= INT32_MAX;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        if (!parse_u64(t->text, &u) || u > UINT32_MAX) {
            return false;
        }
        memcpy(dst, &(uint32_t){(uint32_t)u}, 4);
        return true;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        if (!parse_i64(t->text, &i)) {
            return false;
        }
        memcpy(dst, &i, 8);
        return true;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        if (!parse_u64(t->text, &u)) {
            return false;
        }
        memcpy(dst, &u, 8);
        return true;
    case PROTOBUF_C_TYPE_DOUBLE:
        if (!parse_floating(t, &d)) {
            return false;
        }
        d += 0.0; /* -0 becomes 0: protobuf-c would drop it from the wire */
        memcpy(dst, &d, 8);
        return true;
    case PROTOBUF_C_TYPE_FLOAT:
        if (!parse_floating(t, &d) || (isfinite(d) && fabs(d) >= 0x1.ffffffp127)) {
            return false;
        }
        memcpy(dst, &(float){(float)d + 0.0f}, 4);
        return true;
    case PROTOBUF_C_TYPE_ENUM:
        if (!parse_enum(r, f, &w)) {
            return false;
        }
        memcpy(dst, &w, 4);
        return true;
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
    default:
        return false;
    }
}

enum rd rd_scalar(struct reader *r, const ProtobufCFieldDescriptor *f, const struct path *path,
                  void *dst) {
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        return read_string(r, path, dst);
    }
    if (f->type == PROTOBUF_C_TYPE_BYTES) {
        return read_bytes(r, path, dst);
    }
    if (parse_number_like(r, f, dst)) {
        return RD_OK;
    }
    return f->type == PROTOBUF_C_TYPE_ENUM ? rd_invalid_enum(r, path, f->descriptor)
                                           : rd_invalid(r, path, type_name(f->type), NULL);
}
