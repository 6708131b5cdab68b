/* JSON objects as messages: fields, arrays, maps. The text streams straight into the message;
 * recursion is bounded by rd_enter_json and rd_enter_msg before anything descends. */
#include "pb/pbjson_int.h"

#include "base/map.h"

enum rd rd_value(struct reader *r, const ProtobufCFieldDescriptor *f, const struct path *path,
                 void *dst) {
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
    return rd_scalar(r, f, path, dst);
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

int rd_find_field(const struct reader *r, const ProtobufCMessageDescriptor *d, struct str name) {
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
        int index = rd_find_field(r, m->descriptor, key);
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
