/* Reading JSON text: nesting within its bounds, objects and arrays an item at a time, what is said
 * about values that are refused. */
#include "pb/pbjson_int.h"

#define VALUE_SHOWN 100 /* bytes of an offending value repeated in an error */

enum rd rd_next(struct reader *r) {
    return jtok_next(&r->t, r->err) ? RD_FATAL : RD_OK;
}

enum rd rd_syntax(struct reader *r, const char *what) {
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
    return rd_syntax(r, what);
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
enum rd rd_check_value(struct reader *r) {
    if (r->t.type < JTOK_STRING && r->t.type != JTOK_OBJECT && r->t.type != JTOK_ARRAY) {
        return rd_syntax(r, "Expected a value");
    }
    return RD_OK;
}

static enum rd next_value(struct reader *r) {
    return rd_next(r) ? RD_FATAL : rd_check_value(r);
}

static enum rd object_key(struct reader *r, struct str *key, bool *more) {
    if (r->t.type != JTOK_STRING) {
        return rd_syntax(r, "Expected an object key or }");
    }
    *key = r->t.text;
    if (rd_next(r)) {
        return RD_FATAL;
    }
    if (r->t.type != JTOK_COLON) {
        return rd_syntax(r, "Expected : between key:value pair");
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
        return rd_syntax(r, "Expected , or } after key:value pair");
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
        return rd_check_value(r);
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
        return rd_syntax(r, "Expected , or ] after array value");
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
    return rd_check_value(r);
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

enum rd rd_invalid_enum(struct reader *r, const struct path *path,
                        const ProtobufCEnumDescriptor *e) {
    char type[256];
    return rd_invalid(r, path, shown_type(r, e->name, type, sizeof(type)), NULL);
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
