/* JSON to messages: the ways in, of whole texts, of google.protobuf.Value, of query parameters. */
#include "pb/pbjson_int.h"

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
        enum rd rc = rd_check_value(&r);
        if (rc == RD_OK) {
            rc = r.t.type == JTOK_OBJECT || pb_info(desc)->kind != PB_KIND_PLAIN
                     ? rd_message(&r, m, NULL)
                     : rd_unknown_name(&r, NULL, STR(""), "Root element must be a message.");
        }
        if (rc != RD_FATAL && rd_next(&r) == RD_OK && r.t.type != JTOK_END) {
            rc = rd_syntax(&r, "Expected end of string");
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
        int i = rd_find_field(&r, m->descriptor, name);
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
