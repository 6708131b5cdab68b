/* See pbpath.h. Names are looked up again for each message: decoding it cost far more than that. */
#include "pb/pbpath.h"

#include "pb/aip.h"
#include "pb/pb_int.h"
#include "pb/wkt.h"

#include <math.h>

/* ---- paths ---- */

static enum pb_leaf leaf_of(const ProtobufCFieldDescriptor *f);

static enum pb_leaf leaf_of_message(const ProtobufCMessageDescriptor *d) {
    switch (pb_info(d)->kind) {
    case PB_KIND_TIMESTAMP:
        return PB_LEAF_TIME;
    case PB_KIND_DURATION:
        return PB_LEAF_DURATION;
    case PB_KIND_WRAPPER:
        return leaf_of(&d->fields[0]);
    case PB_KIND_ANY:
    case PB_KIND_STRUCT:
    case PB_KIND_VALUE:
    case PB_KIND_LIST_VALUE:
        return PB_LEAF_DYNAMIC;
    case PB_KIND_PLAIN:
    case PB_KIND_MAP_ENTRY:
    case PB_KIND_FIELD_MASK:
        break;
    }
    return PB_LEAF_MESSAGE;
}

static enum pb_leaf leaf_of(const ProtobufCFieldDescriptor *f) {
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        return PB_LEAF_TEXT;
    case PROTOBUF_C_TYPE_BYTES:
        return PB_LEAF_BYTES;
    case PROTOBUF_C_TYPE_BOOL:
        return PB_LEAF_BOOL;
    case PROTOBUF_C_TYPE_ENUM:
        return PB_LEAF_ENUM;
    case PROTOBUF_C_TYPE_MESSAGE:
        return leaf_of_message(f->descriptor);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
    default:
        return PB_LEAF_NUMBER;
    }
}

int pb_path_resolve(const ProtobufCMessageDescriptor *desc, const struct str *steps, size_t n,
                    struct pb_path *ret, size_t *ret_bad,
                    const ProtobufCMessageDescriptor **ret_owner) {
    struct pb_path p = {.desc = desc, .n = n, .leaf = PB_LEAF_MESSAGE};
    const ProtobufCMessageDescriptor *at = desc; /* NULL: a value without parts */
    CHECK(n > 0 && n <= PB_PATH_STEPS_MAX);
    for (size_t i = 0; i < n; i++) {
        p.steps[i] = steps[i];
        if (p.leaf == PB_LEAF_DYNAMIC) {
            continue;
        }
        int field = at && pb_info(at)->kind == PB_KIND_PLAIN ? pb_field_find(at, steps[i]) : -1;
        if (field < 0) {
            *ret_bad = i;
            *ret_owner = at && pb_info(at)->kind == PB_KIND_PLAIN ? at : NULL;
            return -1;
        }
        const ProtobufCFieldDescriptor *f = &at->fields[field];
        if (pb_info(at)->fields[field].flags & PB_F_MAP) {
            if (i + 1 == n) {
                p.leaf = PB_LEAF_MAP;
                break;
            }
            i++;
            p.steps[i] = steps[i];
            f = &((const ProtobufCMessageDescriptor *)f->descriptor)->fields[1];
        }
        p.leaf = leaf_of(f);
        p.values = f->type == PROTOBUF_C_TYPE_ENUM ? f->descriptor : NULL;
        at = f->type == PROTOBUF_C_TYPE_MESSAGE ? f->descriptor : NULL;
    }
    *ret = p;
    return 0;
}

/* ---- values ---- */

void pb_literal_read(struct str text, struct str pattern, struct pb_literal *ret) {
    struct pb_literal l = {.text = text, .pattern = pattern};
    l.is_int = str_to_i64(text, &l.integer);
    l.is_number = str_to_double(text, &l.number) && isfinite(l.number);
    l.truth = str_eq(text, STR("true"));
    l.is_bool = l.truth || str_eq(text, STR("false"));
    l.is_time = wkt_timestamp_parse(text, &l.time_sec, &l.time_nanos);
    l.is_duration = wkt_duration_parse(text, &l.duration_sec, &l.duration_nanos);
    *ret = l;
}

static bool is_ordering(enum pb_op op) {
    return op == PB_OP_LT || op == PB_OP_LE || op == PB_OP_GT || op == PB_OP_GE;
}

const char *pb_path_expects(const struct pb_path *p, enum pb_op op, const struct pb_literal *lit) {
    if (p->leaf == PB_LEAF_BYTES) {
        return "a field that can be compared; this one holds bytes";
    }
    if (op == PB_OP_PRESENT || p->leaf == PB_LEAF_DYNAMIC || p->leaf == PB_LEAF_TEXT) {
        return NULL;
    }
    switch (p->leaf) {
    case PB_LEAF_MESSAGE:
        return "a field of this message, or ':*' to ask whether it is set";
    case PB_LEAF_MAP:
        return op == PB_OP_HAS ? NULL : "':' and a key, or '.KEY' and a comparison";
    case PB_LEAF_NUMBER:
        return lit->is_number ? NULL : "a number";
    case PB_LEAF_BOOL:
        return !lit->is_bool ? "true or false" : is_ordering(op) ? "one of = != :" : NULL;
    case PB_LEAF_ENUM:
        if (is_ordering(op)) {
            return "one of = != :";
        }
        return lit->is_int || lit->pattern.p || pb_enum_by_name(p->values, lit->text)
                   ? NULL
                   : "a value of the enumeration, by its full name";
    case PB_LEAF_TIME:
        return lit->is_time ? NULL : "an RFC 3339 time";
    case PB_LEAF_DURATION:
        return lit->is_duration ? NULL : "a duration in seconds, like \"3.5s\"";
    case PB_LEAF_TEXT:
    case PB_LEAF_BYTES:
    case PB_LEAF_DYNAMIC:
        break;
    }
    return NULL;
}

const ProtobufCEnumValue *pb_enum_by_name(const ProtobufCEnumDescriptor *d, struct str name) {
    for (unsigned i = 0; i < d->n_values; i++) {
        if (str_eqc(name, d->values[i].name)) {
            return &d->values[i];
        }
    }
    return NULL;
}

const ProtobufCEnumValue *pb_enum_by_number(const ProtobufCEnumDescriptor *d, int64_t number) {
    return number == (int32_t)number ? protobuf_c_enum_descriptor_get_value(d, (int)number) : NULL;
}

/* ---- comparing ---- */

struct query {
    const struct pb_path *p;
    enum pb_op op;
    const struct pb_literal *lit;
    struct arena *scratch;
    unsigned any_depth;
};

static bool ordered(enum pb_op op, int c) {
    switch (op) {
    case PB_OP_EQ:
    case PB_OP_HAS:
        return c == 0;
    case PB_OP_LT:
        return c < 0;
    case PB_OP_LE:
        return c <= 0;
    case PB_OP_GT:
        return c > 0;
    case PB_OP_GE:
        return c >= 0;
    case PB_OP_PRESENT:
        return true;
    }
    return false;
}

static bool match_text(const struct query *q, struct str s) {
    if (q->op == PB_OP_PRESENT) {
        return s.n > 0;
    }
    if (q->lit->pattern.p && !is_ordering(q->op)) {
        return str_glob(q->lit->pattern, s, 0);
    }
    return ordered(q->op, str_cmp(s, q->lit->text));
}

static bool match_double(const struct query *q, double v) {
    double w = q->lit->number;
    return q->op == PB_OP_PRESENT ||
           (q->lit->is_number && !isnan(v) && ordered(q->op, (v > w) - (v < w)));
}

/* Exactly, where both are whole: doubles cannot tell large ones apart. */
static bool match_i64(const struct query *q, int64_t v) {
    int64_t w = q->lit->integer;
    return q->op != PB_OP_PRESENT && q->lit->is_int ? ordered(q->op, (v > w) - (v < w))
                                                    : match_double(q, (double)v);
}

static bool match_u64(const struct query *q, uint64_t v) {
    return v <= INT64_MAX ? match_i64(q, (int64_t)v) : match_double(q, (double)v);
}

static bool match_bool(const struct query *q, bool v) {
    return q->op == PB_OP_PRESENT || (q->lit->is_bool && !is_ordering(q->op) && v == q->lit->truth);
}

static bool match_enum(const struct query *q, const ProtobufCEnumDescriptor *d, int32_t v) {
    const ProtobufCEnumValue *known = protobuf_c_enum_descriptor_get_value(d, v);
    if (q->op == PB_OP_PRESENT) {
        return true;
    }
    if (is_ordering(q->op)) {
        return false;
    }
    return q->lit->is_int ? q->lit->integer == v : known && match_text(q, str_of(known->name));
}

static bool match_time(const struct query *q, bool is_readable, int64_t sec, int32_t nanos,
                       int64_t want_sec, int32_t want_nanos) {
    int c = (sec > want_sec) - (sec < want_sec);
    return q->op == PB_OP_PRESENT ||
           (is_readable && ordered(q->op, c ? c : (nanos > want_nanos) - (nanos < want_nanos)));
}

static bool match_message(struct query *q, const ProtobufCMessage *m, size_t i);

/* One value, not a list: what f says, at `at`; i: the step after it. */
static bool match_one(struct query *q, const ProtobufCFieldDescriptor *f, const void *at,
                      size_t i) {
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        const ProtobufCMessage *sub = *(ProtobufCMessage *const *)at;
        return sub && match_message(q, sub, i);
    }
    if (i < q->p->n) {
        return false;
    }
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        return match_text(q, str_of(*(char *const *)at));
    case PROTOBUF_C_TYPE_BOOL:
        return match_bool(q, *(const protobuf_c_boolean *)at);
    case PROTOBUF_C_TYPE_ENUM:
        return match_enum(q, f->descriptor, *(const int32_t *)at);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return match_i64(q, *(const int32_t *)at);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return match_i64(q, *(const uint32_t *)at);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return match_i64(q, *(const int64_t *)at);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return match_u64(q, *(const uint64_t *)at);
    case PROTOBUF_C_TYPE_FLOAT:
        return match_double(q, (double)*(const float *)at);
    case PROTOBUF_C_TYPE_DOUBLE:
        return match_double(q, *(const double *)at);
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
    default:
        return false;
    }
}

static struct str entry_key(const ProtobufCMessage *entry, char tmp[static 24]) {
    const ProtobufCFieldDescriptor *f = &entry->descriptor->fields[0];
    const void *at = pb_at(entry, f->offset);
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        return str_of(*(char *const *)at);
    }
    long long v = pb_value_size(f) == 8 ? *(const int64_t *)at : *(const int32_t *)at;
    return str_n(tmp, (size_t)snprintf(tmp, 24, "%lld", v));
}

static bool match_map(struct query *q, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                      size_t i) {
    ProtobufCMessage *const *entries = *(ProtobufCMessage * *const *)pb_at(m, f->offset);
    size_t n = *pb_count(m, f);
    char tmp[24];
    for (size_t k = 0; k < n; k++) {
        const ProtobufCMessage *e = entries[k];
        const ProtobufCFieldDescriptor *value = &e->descriptor->fields[1];
        struct str key = entry_key(e, tmp);
        if (i == q->p->n ? q->op == PB_OP_PRESENT || match_text(q, key)
                         : str_eq(key, q->p->steps[i]) &&
                               ((q->op == PB_OP_PRESENT && i + 1 == q->p->n) ||
                                match_one(q, value, pb_at(e, value->offset), i + 1))) {
            return true;
        }
    }
    return false;
}

static bool match_field(struct query *q, const ProtobufCMessage *m, unsigned field, size_t i) {
    const ProtobufCFieldDescriptor *f = &m->descriptor->fields[field];
    if (pb_info(m->descriptor)->fields[field].flags & PB_F_MAP) {
        return match_map(q, m, f, i);
    }
    const char *at = pb_at(m, f->offset);
    if (!pb_is_repeated(f)) {
        /* A member of a oneof that is not the one shares its memory with the one that is. */
        if ((pb_is_oneof(f) || (q->op == PB_OP_PRESENT && i == q->p->n)) && !pb_is_set(m, f)) {
            return false;
        }
        return match_one(q, f, at, i);
    }
    const char *items = *(char *const *)at;
    size_t n = *pb_count(m, f), size = pb_value_size(f);
    bool found = n > 0 && q->op == PB_OP_PRESENT && i == q->p->n;
    for (size_t k = 0; !found && k < n; k++) {
        found = match_one(q, f, items + k * size, i);
    }
    return found;
}

static bool match_any(struct query *q, const Google__Protobuf__Any *any, size_t i) {
    struct str url = str_of(any->type_url);
    ProtobufCMessage *m;
    if (i == q->p->n) {
        return q->op == PB_OP_PRESENT;
    }
    ptrdiff_t slash = str_chr(url, '/');
    const ProtobufCMessageDescriptor *d =
        pb_msg_find(str_sub(url, slash < 0 ? 0 : (size_t)slash + 1, url.n));
    if (!d || q->any_depth == PB_ANY_DEPTH_MAX ||
        pb_unpack(q->scratch, d, str_n((const char *)any->value.data, any->value.len), &m, NULL)) {
        return false;
    }
    q->any_depth++;
    bool found = match_message(q, m, i);
    q->any_depth--;
    return found;
}

static bool match_struct(struct query *q, const Google__Protobuf__Struct *s, size_t i) {
    for (size_t k = 0; k < s->n_fields; k++) {
        const Google__Protobuf__Struct__FieldsEntry *e = s->fields[k];
        struct str key = str_of(e->key);
        if (i == q->p->n ? q->op == PB_OP_PRESENT || (q->op == PB_OP_HAS && match_text(q, key))
                         : str_eq(key, q->p->steps[i]) && e->value &&
                               match_message(q, &e->value->base, i + 1)) {
            return true;
        }
    }
    return false;
}

static bool match_list_value(struct query *q, const Google__Protobuf__ListValue *l, size_t i) {
    for (size_t k = 0; k < l->n_values; k++) {
        if (match_message(q, &l->values[k]->base, i)) {
            return true;
        }
    }
    return false;
}

static bool match_value(struct query *q, const Google__Protobuf__Value *v, size_t i) {
    bool is_end = i == q->p->n;
    switch (v->kind_case) {
    case GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE:
        return match_struct(q, v->struct_value, i);
    case GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE:
        return match_list_value(q, v->list_value, i);
    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        return is_end && match_text(q, str_of(v->string_value));
    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        return is_end && match_double(q, v->number_value);
    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:
        return is_end && match_bool(q, v->bool_value);
    case GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE:
    case GOOGLE__PROTOBUF__VALUE__KIND__NOT_SET:
    case _GOOGLE__PROTOBUF__VALUE__KIND__CASE_IS_INT_SIZE:
    default:
        return false;
    }
}

/* Depth: one level for each step, and within Struct and ListValue what decoding allowed. */
static bool match_message(struct query *q, const ProtobufCMessage *m, size_t i) {
    const struct pb_literal *l = q->lit;
    bool is_end = i == q->p->n;
    switch (pb_info(m->descriptor)->kind) {
    case PB_KIND_ANY:
        return match_any(q, (const Google__Protobuf__Any *)m, i);
    case PB_KIND_STRUCT:
        return match_struct(q, (const Google__Protobuf__Struct *)m, i);
    case PB_KIND_VALUE:
        return match_value(q, (const Google__Protobuf__Value *)m, i);
    case PB_KIND_LIST_VALUE:
        return match_list_value(q, (const Google__Protobuf__ListValue *)m, i);
    case PB_KIND_TIMESTAMP: {
        const Google__Protobuf__Timestamp *t = (const Google__Protobuf__Timestamp *)m;
        return is_end &&
               match_time(q, l->is_time, t->seconds, t->nanos, l->time_sec, l->time_nanos);
    }
    case PB_KIND_DURATION: {
        const Google__Protobuf__Duration *d = (const Google__Protobuf__Duration *)m;
        return is_end && match_time(q, l->is_duration, d->seconds, d->nanos, l->duration_sec,
                                    l->duration_nanos);
    }
    case PB_KIND_WRAPPER:
        return is_end &&
               (q->op == PB_OP_PRESENT || match_one(q, &m->descriptor->fields[0],
                                                    pb_at(m, m->descriptor->fields[0].offset), i));
    case PB_KIND_PLAIN:
    case PB_KIND_MAP_ENTRY:
    case PB_KIND_FIELD_MASK:
        break;
    }
    int field = is_end ? -1 : pb_field_find(m->descriptor, q->p->steps[i]);
    return is_end ? q->op == PB_OP_PRESENT
                  : field >= 0 && match_field(q, m, (unsigned)field, i + 1);
}

bool pb_path_matches(const struct pb_path *p, enum pb_op op, const struct pb_literal *lit,
                     const ProtobufCMessage *m, struct arena *scratch) {
    struct query q = {.p = p, .op = op, .lit = lit, .scratch = scratch};
    CHECK(m->descriptor == p->desc);
    return match_message(&q, m, 0);
}
