/* JSON to messages: nesting, errors, scalars, arrays, maps. The text streams straight into the
 * message; recursion is bounded by rd_enter_json and rd_enter_msg before anything descends. */
#include "pb/pbjson_int.h"

#include "base/enc.h"
#include "base/map.h"

#include <errno.h>
#include <math.h>

#define VALUE_SHOWN 100 /* bytes of an offending value repeated in an error */

enum rd rd_next(struct reader *r) {
    return jtok_next(&r->t, r->err) ? RD_FATAL : RD_OK;
}

static enum rd syntax(struct reader *r, const char *what) {
    (void)jtok_fail(&r->t, r->t.at, what, r->err);
    return RD_FATAL;
}

enum rd rd_no_memory(struct reader *r) {
    limits_hit(&limits.max_message_bytes);
    (void)err_set(r->err, ERR_RESOURCE_EXHAUSTED,
                  "Message needs more memory than max_message_bytes allows");
    return RD_FATAL;
}

static enum rd too_deep(struct reader *r, const uint64_t *which, const char *name, unsigned max) {
    char what[80];
    limits_hit(which);
    snprintf(what, sizeof(what), "Nesting deeper than %s (%u)", name, max);
    return syntax(r, what);
}

enum rd rd_enter_json(struct reader *r) {
    if (r->json_depth == r->json_max) {
        return too_deep(r, &limits.max_json_depth, "max_json_depth", r->json_max);
    }
    r->json_depth++;
    return RD_OK;
}

enum rd rd_enter_msg(struct reader *r) {
    if (r->msg_depth == r->msg_max) {
        return too_deep(r, &limits.max_proto_depth, "max_proto_depth", r->msg_max);
    }
    r->msg_depth++;
    return RD_OK;
}

/* ---- containers ---- */

/* The current token begins a value. */
static enum rd check_value(struct reader *r) {
    if (r->t.type < JTOK_STRING && r->t.type != JTOK_OBJECT && r->t.type != JTOK_ARRAY) {
        return syntax(r, "Expected a value");
    }
    return RD_OK;
}

static enum rd next_value(struct reader *r) {
    return rd_next(r) ? RD_FATAL : check_value(r);
}

static enum rd object_key(struct reader *r, struct str *key, bool *more) {
    if (r->t.type != JTOK_STRING) {
        return syntax(r, "Expected an object key or }");
    }
    *key = r->t.text;
    if (rd_next(r)) {
        return RD_FATAL;
    }
    if (r->t.type != JTOK_COLON) {
        return syntax(r, "Expected : between key:value pair");
    }
    *more = true;
    return next_value(r);
}

enum rd rd_object_begin(struct reader *r, struct str *key, bool *more) {
    if (rd_enter_json(r) || rd_next(r)) {
        return RD_FATAL;
    }
    if (r->t.type == JTOK_OBJECT_END) {
        r->json_depth--;
        *more = false;
        return RD_OK;
    }
    return object_key(r, key, more);
}

enum rd rd_object_next(struct reader *r, struct str *key, bool *more) {
    if (rd_next(r)) {
        return RD_FATAL;
    }
    if (r->t.type == JTOK_OBJECT_END) {
        r->json_depth--;
        *more = false;
        return RD_OK;
    }
    if (r->t.type != JTOK_COMMA) {
        return syntax(r, "Expected , or } after key:value pair");
    }
    return rd_next(r) ? RD_FATAL : object_key(r, key, more);
}

enum rd rd_array_begin(struct reader *r, bool *more) {
    if (rd_enter_json(r)) {
        return RD_FATAL;
    }
    if (rd_next(r)) {
        return RD_FATAL;
    }
    *more = r->t.type != JTOK_ARRAY_END;
    if (*more) {
        return check_value(r);
    }
    r->json_depth--;
    return RD_OK;
}

enum rd rd_array_next(struct reader *r, bool *more) {
    if (rd_next(r)) {
        return RD_FATAL;
    }
    *more = r->t.type == JTOK_COMMA;
    if (*more) {
        return next_value(r);
    }
    if (r->t.type != JTOK_ARRAY_END) {
        return syntax(r, "Expected , or ] after array value");
    }
    r->json_depth--;
    return RD_OK;
}

enum rd rd_skip(struct reader *r) {
    struct str key;
    bool more;
    if (r->t.type == JTOK_OBJECT) {
        if (rd_object_begin(r, &key, &more)) {
            return RD_FATAL;
        }
        while (more) {
            if (rd_skip(r) || rd_object_next(r, &key, &more)) {
                return RD_FATAL;
            }
        }
        return RD_OK;
    }
    if (r->t.type == JTOK_ARRAY) {
        if (rd_array_begin(r, &more)) {
            return RD_FATAL;
        }
        while (more) {
            if (rd_skip(r) || rd_array_next(r, &more)) {
                return RD_FATAL;
            }
        }
        return RD_OK;
    }
    return check_value(r);
}

/* ---- errors ---- */

static void path_put(const struct path *p, struct buf *b) {
    if (!p) {
        return;
    }
    path_put(p->up, b); /* as deep as the message, which is bounded */
    if (!p->name.p) {
        buf_printf(b, "[%zu]", p->index);
        return;
    }
    if (b->n) {
        buf_putc(b, '.');
    }
    buf_put_str(b, p->name);
}

static const char *path_text(struct reader *r, const struct path *p, struct buf *b) {
    buf_puts(b, r->root);
    path_put(p, b);
    return buf_cstr(b);
}

/* s, cut to n bytes at a character boundary. */
static struct str cut(struct str s, size_t n) {
    if (s.n <= n) {
        return s;
    }
    while (n && ((unsigned char)s.p[n] & 0xc0) == 0x80) {
        n--;
    }
    return str_n(s.p, n);
}

enum rd rd_invalid(struct reader *r, const struct path *path, const char *type, const char *what) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    const char *at = path_text(r, path, &b);
    if (what) {
        violations_add(r->vs, at, "Invalid value at '%s' (%s), %s", at, type, what);
    } else if (r->t.type == JTOK_OBJECT) {
        violations_add(r->vs, at,
                       "Invalid value at '%s' (%s), Starting an object on a scalar field", at,
                       type);
    } else {
        struct str raw = cut(r->t.raw, VALUE_SHOWN);
        violations_add(r->vs, at, "Invalid value at '%s' (%s), %.*s%s", at, type, STR_ARG(raw),
                       raw.n < r->t.raw.n ? "..." : "");
    }
    return rd_skip(r) ? RD_FATAL : RD_BAD;
}

/* A type's name in the version that the client speaks. */
static const char *shown_type(const struct reader *r, const char *name, char *out, size_t n) {
    static const char v1[] = "google.cloud.aiplatform.v1.";
    struct str s = str_of(name);
    if (r->version == PB_V1BETA1 && str_starts(s, str_n(v1, sizeof(v1) - 1))) {
        snprintf(out, n, "type.googleapis.com/google.cloud.aiplatform.v1beta1.%s",
                 name + sizeof(v1) - 1);
    } else {
        snprintf(out, n, "type.googleapis.com/%s", name);
    }
    return out;
}

enum rd rd_invalid_message(struct reader *r, const struct path *path,
                           const ProtobufCMessageDescriptor *d, const char *what) {
    char type[256];
    return rd_invalid(r, path, shown_type(r, d->name, type, sizeof(type)), what);
}

enum rd rd_unknown_name(struct reader *r, const struct path *path, struct str name,
                        const char *what) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    const char *at = path_text(r, path, &b);
    struct str shown = cut(name, VALUE_SHOWN);
    violations_add(r->vs, at, "Invalid JSON payload received. Unknown name \"%.*s\"%s%s%s: %s",
                   STR_ARG(shown), *at ? " at '" : "", at, *at ? "'" : "", what);
    return rd_skip(r) ? RD_FATAL : RD_BAD;
}

/* ---- scalars ---- */

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

/* ---- fields ---- */

enum rd rd_value(struct reader *r, const ProtobufCFieldDescriptor *f, const struct path *path,
                 void *dst) {
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        return read_string(r, path, dst);
    }
    if (f->type == PROTOBUF_C_TYPE_BYTES) {
        return read_bytes(r, path, dst);
    }
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        if (rd_enter_msg(r)) {
            return RD_FATAL;
        }
        ProtobufCMessage *m = pb_new(r->a, f->descriptor);
        if (!m) {
            return rd_no_memory(r);
        }
        enum rd rc = rd_message(r, m, path);
        r->msg_depth--;
        memcpy(dst, &m, sizeof(m));
        return rc;
    }
    if (parse_number_like(r, f, dst)) {
        return RD_OK;
    }
    if (f->type == PROTOBUF_C_TYPE_ENUM) {
        char type[256];
        const ProtobufCEnumDescriptor *e = f->descriptor;
        return rd_invalid(r, path, shown_type(r, e->name, type, sizeof(type)), NULL);
    }
    return rd_invalid(r, path, type_name(f->type), NULL);
}

/* A null that is a value and not an absence: google.protobuf.Value and NullValue have one. */
static bool null_is_value(const ProtobufCFieldDescriptor *f, const struct pb_field_info *fi) {
    return (fi->flags & PB_F_NULL_VALUE) ||
           (f->type == PROTOBUF_C_TYPE_MESSAGE && pb_info(f->descriptor)->kind == PB_KIND_VALUE);
}

static enum rd element(struct reader *r, const ProtobufCFieldDescriptor *f,
                       const struct pb_field_info *fi, const struct path *path, void *dst) {
    if (r->t.type == JTOK_NULL && (fi->flags & PB_F_NULL_VALUE)) {
        memset(dst, 0, pb_value_size(f));
        return RD_OK;
    }
    return rd_value(r, f, path, dst);
}

static const struct pb_field_info *field_info(const ProtobufCMessageDescriptor *d,
                                              const ProtobufCFieldDescriptor *f) {
    return &pb_info(d)->fields[f - d->fields];
}

/* Room for one more item of `size` bytes in an arena vector: items move as it grows. */
static bool grow(struct reader *r, char **items, size_t n, size_t *cap, size_t size) {
    if (n < *cap) {
        return true;
    }
    size_t cap2 = *cap ? *cap * 2 : 4;
    char *p = arena_calloc(r->a, cap2, size);
    if (!p) {
        return false;
    }
    if (n) {
        memcpy(p, *items, n * size);
    }
    *items = p;
    *cap = cap2;
    return true;
}

enum rd rd_array_field(struct reader *r, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                       const struct path *path) {
    const struct pb_field_info *fi = field_info(m->descriptor, f);
    size_t size = pb_value_size(f), n = 0, cap = 0, index = 0;
    char *items = NULL;
    bool more;
    enum rd worst = RD_OK;
    if (rd_array_begin(r, &more)) {
        return RD_FATAL;
    }
    while (more) {
        struct path here = {.up = path, .index = index++};
        if (!grow(r, &items, n, &cap, size)) {
            return rd_no_memory(r);
        }
        enum rd rc = element(r, f, fi, &here, items + n * size);
        if (rc == RD_FATAL) {
            return rc;
        }
        n += rc == RD_OK;
        worst = rc == RD_OK ? worst : rc;
        if (rd_array_next(r, &more)) {
            return RD_FATAL;
        }
    }
    *pb_count(m, f) = n;
    *(void **)pb_at(m, f->offset) = items;
    return worst;
}

enum rd rd_map_field(struct reader *r, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                     const struct path *path) {
    const ProtobufCMessageDescriptor *ed = f->descriptor;
    const ProtobufCFieldDescriptor *kf = &ed->fields[0], *vf = &ed->fields[1];
    const struct pb_field_info *vi = &pb_info(ed)->fields[1];
    size_t n = 0, cap = 0, index = 0;
    char *items = NULL;
    struct str key;
    bool more;
    enum rd worst = RD_OK;
    __attribute__((cleanup(map_fini))) struct map seen; /* key -> 1 + index: the last one wins */
    map_init(&seen);
    if (rd_object_begin(r, &key, &more) || rd_enter_msg(r)) {
        return RD_FATAL;
    }
    while (more) {
        struct path at_entry = {.up = path, .index = index++};
        struct path at_key = {.up = &at_entry, .name = STR("key")};
        struct path at_value = {.up = &at_entry, .name = STR("value")};
        ProtobufCMessage *e = pb_new(r->a, ed);
        if (!e || !grow(r, &items, n, &cap, sizeof(e))) {
            return rd_no_memory(r);
        }
        const struct jtok value_token = r->t; /* the key is read as if it were a text value */
        r->t.type = JTOK_STRING;
        r->t.text = r->t.raw = key;
        r->is_text = true;
        enum rd rc = rd_value(r, kf, &at_key, pb_at(e, kf->offset));
        r->is_text = false;
        r->t = value_token;
        if (rc != RD_FATAL) {
            enum rd vrc = element(r, vf, vi, &at_value, pb_at(e, vf->offset));
            rc = vrc == RD_OK ? rc : vrc;
        }
        if (rc == RD_FATAL) {
            return rc;
        }
        if (rc == RD_OK) {
            uintptr_t old = (uintptr_t)map_put(&seen, key, (void *)(uintptr_t)(n + 1));
            if (old) {
                map_put(&seen, key, (void *)old);
            }
            memcpy(items + (old ? old - 1 : n) * sizeof(e), &e, sizeof(e));
            n += old ? 0 : 1;
        }
        worst = rc == RD_OK ? worst : rc;
        if (rd_object_next(r, &key, &more)) {
            return RD_FATAL;
        }
    }
    r->msg_depth--;
    *pb_count(m, f) = n;
    *(void **)pb_at(m, f->offset) = items;
    return worst;
}

static enum rd set_field(struct reader *r, ProtobufCMessage *m, unsigned index,
                         const struct path *path) {
    const ProtobufCFieldDescriptor *f = &m->descriptor->fields[index];
    const struct pb_field_info *fi = &pb_info(m->descriptor)->fields[index];
    struct path here = {.up = path, .name = str_of(f->name)};
    if (r->t.type == JTOK_NULL && (pb_is_repeated(f) || !null_is_value(f, fi))) {
        pb_clear_field(m, f);
        return RD_OK;
    }
    if (fi->flags & PB_F_MAP) {
        return r->t.type == JTOK_OBJECT
                   ? rd_map_field(r, m, f, &here)
                   : rd_invalid(r, &here, "Map",
                                "Cannot bind a value that is not an object to a map");
    }
    if (pb_is_repeated(f)) {
        if (r->t.type == JTOK_ARRAY) {
            return rd_array_field(r, m, f, &here);
        }
        return rd_unknown_name(r, path, str_of(f->name),
                               "Proto field is repeating, a list is expected.");
    }
    if (r->t.type == JTOK_ARRAY &&
        (f->type != PROTOBUF_C_TYPE_MESSAGE || pb_info(f->descriptor)->kind == PB_KIND_PLAIN)) {
        return rd_unknown_name(r, path, str_of(f->name),
                               "Proto field is not repeating, cannot start list.");
    }
    if (fi->oneof && *pb_case(m, f) && *pb_case(m, f) != f->id) {
        char what[256];
        snprintf(what, sizeof(what), "oneof field '%s' is already set. Cannot set '%s'", fi->oneof,
                 fi->json);
        return rd_invalid(r, path, "oneof", what);
    }
    _Alignas(16) char tmp[16] = {0};
    enum rd rc = element(r, f, fi, &here, tmp);
    if (rc == RD_OK) {
        memcpy(pb_at(m, f->offset), tmp, pb_value_size(f));
        if (pb_is_oneof(f)) {
            *pb_case(m, f) = f->id;
        }
    }
    return rc;
}

/* Index of a field this version has, or -1. */
static int find_field(const struct reader *r, const ProtobufCMessageDescriptor *d,
                      struct str name) {
    int i = pb_field_find(d, name);
    return i >= 0 && (pb_info(d)->fields[i].flags & r->hidden) ? -1 : i;
}

enum rd rd_message_fields(struct reader *r, ProtobufCMessage *m, const struct path *path,
                          bool skip_type) {
    struct str key;
    bool more;
    enum rd worst = RD_OK;
    if (rd_object_begin(r, &key, &more)) {
        return RD_FATAL;
    }
    while (more) {
        int index = find_field(r, m->descriptor, key);
        enum rd rc;
        if (index >= 0) {
            rc = set_field(r, m, (unsigned)index, path);
        } else if (skip_type && str_eq(key, STR("@type"))) {
            rc = rd_skip(r);
        } else {
            rc = rd_unknown_name(r, path, key, "Cannot find field.");
        }
        if (rc == RD_FATAL || rd_object_next(r, &key, &more)) {
            return RD_FATAL;
        }
        worst = rc == RD_OK ? worst : rc;
    }
    return worst;
}

enum rd rd_message(struct reader *r, ProtobufCMessage *m, const struct path *path) {
    if (pb_info(m->descriptor)->kind >= PB_KIND_ANY) {
        return rd_well_known(r, m, path);
    }
    if (r->t.type != JTOK_OBJECT) {
        return rd_invalid_message(r, path, m->descriptor, NULL);
    }
    return rd_message_fields(r, m, path, false);
}

/* ---- entry points ---- */

static void reader_init(struct reader *r, struct arena *a, enum pb_version version, struct str text,
                        const char *root, struct violations *vs, struct err *err) {
    *r = (struct reader){.a = a,
                         .vs = vs,
                         .err = err,
                         .root = root ? root : "",
                         .version = version,
                         .hidden = pb_hidden(version),
                         .json_max = pb_depth_limit(limits.max_json_depth),
                         .msg_max = pb_depth_limit(limits.max_proto_depth)};
    jtok_init(&r->t, a, text);
}

static int fail_with(const struct violations *vs, struct err *err) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    violations_plain_text(vs, &b);
    return err_field(err, ERR_INVALID_ARGUMENT, vs->n ? vs->v[0].field.p : "", "%s", buf_cstr(&b));
}

int pb_from_json(struct arena *a, const ProtobufCMessageDescriptor *desc, enum pb_version version,
                 struct str json, const char *root_path, ProtobufCMessage **ret,
                 struct violations *vs, struct err *err) {
    struct reader r;
    reader_init(&r, a, version, json, root_path, vs, err);
    if (json.n && !str_is_utf8(json)) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "Invalid JSON payload received. The text is not valid UTF-8.");
    }
    ProtobufCMessage *m = pb_new(a, desc);
    if (!m) {
        return rd_no_memory(&r);
    }
    if (rd_next(&r)) {
        return -1;
    }
    if (r.t.type != JTOK_END) {
        size_t before = vs->n;
        enum rd rc = check_value(&r);
        if (rc == RD_OK) {
            rc = r.t.type == JTOK_OBJECT || pb_info(desc)->kind != PB_KIND_PLAIN
                     ? rd_message(&r, m, NULL)
                     : rd_unknown_name(&r, NULL, STR(""), "Root element must be a message.");
        }
        if (rc != RD_FATAL && rd_next(&r) == RD_OK && r.t.type != JTOK_END) {
            rc = syntax(&r, "Expected end of string");
        }
        if (rc == RD_FATAL || r.t.type != JTOK_END) {
            vs->n = before; /* the text is not JSON: that is the one thing to say */
            return -1;
        }
        if (rc == RD_BAD) {
            return fail_with(vs, err);
        }
    }
    *ret = m;
    return 0;
}

int pb_from_value(struct arena *a, const ProtobufCMessageDescriptor *desc, enum pb_version version,
                  const ProtobufCMessage *value, const char *root_path, ProtobufCMessage **ret,
                  struct violations *vs, struct err *err) {
    auto_buf struct buf text = BUF_INIT((size_t)limits.max_message_bytes);
    if (pb_to_json(value, &(struct pb_json_opts){.compact = true}, &text, err)) {
        return -1;
    }
    return pb_from_json(a, desc, version, buf_str(&text), root_path, ret, vs, err);
}

#define TEXT_PATH_MAX 16 /* messages a query parameter may reach into */

int pb_set_from_text(struct arena *a, ProtobufCMessage *m, enum pb_version version, struct str path,
                     struct str value, struct violations *vs, bool *ret_unknown, struct err *err) {
    struct reader r;
    struct path chain[TEXT_PATH_MAX];
    struct str rest = path;
    reader_init(&r, a, version, value, "", vs, err);
    if (value.n && !str_is_utf8(value)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "Parameter '%.*s' is not valid UTF-8.",
                       STR_ARG(path));
    }
    for (unsigned depth = 0;; depth++) {
        struct str name = str_cut(&rest, '.');
        int i = find_field(&r, m->descriptor, name);
        if (i < 0 || depth == TEXT_PATH_MAX) {
            break;
        }
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        const struct pb_field_info *fi = &pb_info(m->descriptor)->fields[i];
        chain[depth] =
            (struct path){.up = depth ? &chain[depth - 1] : NULL, .name = str_of(f->name)};
        const struct path *here = &chain[depth];
        void *at = pb_at(m, f->offset);
        if (fi->oneof && *pb_case(m, f) && *pb_case(m, f) != f->id) {
            violations_add(vs, f->name,
                           "Invalid value at '%s' (oneof), oneof field '%s' is already "
                           "set. Cannot set '%s'",
                           f->name, fi->oneof, fi->json);
            return fail_with(vs, err);
        }
        if (rest.p) {
            if (f->type != PROTOBUF_C_TYPE_MESSAGE || pb_is_repeated(f) ||
                pb_info(f->descriptor)->kind != PB_KIND_PLAIN) {
                break;
            }
            ProtobufCMessage *sub = pb_is_set(m, f) ? *(ProtobufCMessage **)at : NULL;
            if (!sub && !(sub = pb_new(a, f->descriptor))) {
                return rd_no_memory(&r);
            }
            *(void **)at = sub;
            if (pb_is_oneof(f)) {
                *pb_case(m, f) = f->id;
            }
            m = sub;
            continue;
        }
        if (fi->flags & PB_F_MAP) {
            break;
        }
        auto_buf struct buf quoted = BUF_INIT(BUF_NO_MAX);
        buf_printf(&quoted, "\"%.*s\"", STR_ARG(value));
        r.t.type = JTOK_STRING;
        r.t.text = str_n(value.p ? value.p : "", value.n);
        r.t.raw = buf_str(&quoted);
        r.is_text = true;
        _Alignas(16) char tmp[16] = {0};
        enum rd rc = rd_value(&r, f, here, tmp);
        if (rc != RD_OK) {
            return rc == RD_FATAL ? -1 : fail_with(vs, err);
        }
        size_t size = pb_value_size(f);
        if (pb_is_repeated(f)) {
            size_t n = *pb_count(m, f);
            char *items = arena_calloc(a, n + 1, size); /* query strings are short */
            if (!items) {
                return rd_no_memory(&r);
            }
            if (n) {
                memcpy(items, *(void **)at, n * size);
            }
            memcpy(items + n * size, tmp, size);
            *(void **)at = items;
            *pb_count(m, f) = n + 1;
            return 0;
        }
        memcpy(at, tmp, size);
        if (pb_is_oneof(f)) {
            *pb_case(m, f) = f->id;
        }
        return 0;
    }
    if (ret_unknown) {
        *ret_unknown = true;
    }
    violations_add(vs, "",
                   "Invalid JSON payload received. Unknown name \"%.*s\": Cannot bind query "
                   "parameter. Field '%.*s' could not be found in request message.",
                   STR_ARG(path), STR_ARG(path));
    return fail_with(vs, err);
}
