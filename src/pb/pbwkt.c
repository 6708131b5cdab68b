/* The google.protobuf types that have a JSON form of their own, both ways. */
#include "pb/pbjson_int.h"

#include "pb/pbmask.h"
#include "pb/wkt.h"

/* ---- reading ---- */

static enum rd read_text_form(struct reader *r, ProtobufCMessage *m, const struct path *path) {
    enum pb_kind kind = pb_info(m->descriptor)->kind;
    char what[256];
    int64_t sec;
    int32_t nanos;
    if (r->t.type != JTOK_STRING) {
        return rd_invalid_message(r, path, m->descriptor, NULL);
    }
    if (kind == PB_KIND_TIMESTAMP) {
        if (!wkt_timestamp_parse(r->t.text, &sec, &nanos)) {
            snprintf(what, sizeof(what),
                     "Field '%.*s', Illegal timestamp format; timestamps must "
                     "end with 'Z' or have a valid timezone offset: \"%.*s\"",
                     path && path->name.p ? (int)(path->name.n < 40 ? path->name.n : 40) : 0,
                     path && path->name.p ? path->name.p : "",
                     (int)(r->t.text.n < 64 ? r->t.text.n : 64), r->t.text.p ? r->t.text.p : "");
            return rd_invalid_message(r, path, m->descriptor, what);
        }
        Google__Protobuf__Timestamp *t = (Google__Protobuf__Timestamp *)m;
        t->seconds = sec;
        t->nanos = nanos;
        return RD_OK;
    }
    if (!wkt_duration_parse(r->t.text, &sec, &nanos)) {
        snprintf(what, sizeof(what), "Field '%.*s', Illegal duration format; %s: \"%.*s\"",
                 path && path->name.p ? (int)(path->name.n < 40 ? path->name.n : 40) : 0,
                 path && path->name.p ? path->name.p : "",
                 str_ends(r->t.text, STR("s"))
                     ? "seconds are a decimal number of at most 315576000000 with at most nine "
                       "digits behind the point"
                     : "duration must end with 's'",
                 (int)(r->t.text.n < 64 ? r->t.text.n : 64), r->t.text.p ? r->t.text.p : "");
        return rd_invalid_message(r, path, m->descriptor, what);
    }
    Google__Protobuf__Duration *d = (Google__Protobuf__Duration *)m;
    d->seconds = sec;
    d->nanos = nanos;
    return RD_OK;
}

static enum rd read_field_mask(struct reader *r, Google__Protobuf__FieldMask *m,
                               const struct path *path) {
    if (r->t.type != JTOK_STRING || memchr(r->t.text.p, 0, r->t.text.n)) {
        return rd_invalid_message(r, path, m->base.descriptor, NULL);
    }
    struct str rest = str_trim(r->t.text);
    size_t n = 1;
    for (size_t i = 0; i < rest.n; i++) {
        n += rest.p[i] == ',';
    }
    if (!rest.n) {
        return RD_OK;
    }
    m->paths = arena_calloc(r->a, n, sizeof(*m->paths));
    if (!m->paths) {
        return rd_no_memory(r);
    }
    while (rest.p) {
        struct str one = str_trim(str_cut(&rest, ','));
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        if (!one.n) {
            return rd_invalid_message(r, path, m->base.descriptor, NULL);
        }
        wkt_path_to_snake(&b, one);
        m->paths[m->n_paths] = rd_string(r, buf_str(&b));
        if (!m->paths[m->n_paths]) {
            return rd_no_memory(r);
        }
        m->n_paths++;
    }
    return RD_OK;
}

static enum rd read_inner(struct reader *r, ProtobufCMessage *m, const struct path *path) {
    if (rd_enter_msg(r)) {
        return RD_FATAL;
    }
    enum rd rc = rd_message(r, m, path);
    r->msg_depth--;
    return rc;
}

static enum rd read_value(struct reader *r, Google__Protobuf__Value *v, const struct path *path) {
    switch (r->t.type) {
    case JTOK_NULL:
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE;
        return RD_OK;
    case JTOK_TRUE:
    case JTOK_FALSE:
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE;
        v->bool_value = r->t.type == JTOK_TRUE;
        return RD_OK;
    case JTOK_NUMBER:
        if (!rd_parse_double(r->t.text, &v->number_value)) {
            return rd_invalid(r, path, "TYPE_DOUBLE", NULL);
        }
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
        return RD_OK;
    case JTOK_STRING:
        if (memchr(r->t.text.p, 0, r->t.text.n)) {
            return rd_invalid(r, path, "TYPE_STRING", "NUL characters are not supported");
        }
        v->string_value = rd_string(r, r->t.text);
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
        return v->string_value ? RD_OK : rd_no_memory(r);
    case JTOK_OBJECT:
        v->struct_value =
            (Google__Protobuf__Struct *)pb_new(r->a, &google__protobuf__struct__descriptor);
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
        return v->struct_value ? read_inner(r, &v->struct_value->base, path) : rd_no_memory(r);
    case JTOK_ARRAY:
        v->list_value =
            (Google__Protobuf__ListValue *)pb_new(r->a, &google__protobuf__list_value__descriptor);
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE;
        return v->list_value ? read_inner(r, &v->list_value->base, path) : rd_no_memory(r);
    case JTOK_END:
    case JTOK_OBJECT_END:
    case JTOK_ARRAY_END:
    case JTOK_COLON:
    case JTOK_COMMA:
    default:
        return rd_skip(r); /* says "Expected a value" */
    }
}

static bool has_own_form(const ProtobufCMessageDescriptor *d) {
    return pb_info(d)->kind >= PB_KIND_ANY;
}

/* The text after the last '/' of a type URL. */
static struct str type_of_url(struct str url) {
    for (size_t i = url.n; i > 0; i--) {
        if (url.p[i - 1] == '/') {
            return str_sub(url, i, url.n);
        }
    }
    return (struct str){0};
}

/* Looks ahead for "@type"; it may come last. */
static enum rd find_type(struct reader *r, struct str *url) {
    struct str key;
    bool more;
    *url = (struct str){0};
    if (rd_object_begin(r, &key, &more)) {
        return RD_FATAL;
    }
    while (more) {
        if (str_eq(key, STR("@type")) && r->t.type == JTOK_STRING) {
            *url = r->t.text;
        }
        if (rd_skip(r) || rd_object_next(r, &key, &more)) {
            return RD_FATAL;
        }
    }
    return RD_OK;
}

/* {"@type": ..., "value": the own form of m} */
static enum rd read_any_value(struct reader *r, ProtobufCMessage *m, const struct path *path) {
    struct str key;
    bool more;
    enum rd worst = RD_OK;
    if (rd_object_begin(r, &key, &more)) {
        return RD_FATAL;
    }
    while (more) {
        enum rd rc;
        if (str_eq(key, STR("value"))) {
            struct path here = {.up = path, .name = STR("value")};
            protobuf_c_message_init(m->descriptor, m);
            rc = rd_message(r, m, &here);
        } else if (str_eq(key, STR("@type"))) {
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

static enum rd read_any(struct reader *r, Google__Protobuf__Any *any, const struct path *path) {
    struct str url;
    if (r->t.type != JTOK_OBJECT) {
        return rd_invalid_message(r, path, any->base.descriptor, NULL);
    }
    if (r->any_depth == PB_ANY_DEPTH_MAX) { /* each level is looked through twice */
        return rd_invalid_message(r, path, any->base.descriptor, "Any nested too deep");
    }
    const struct jtok start = r->t;
    unsigned depth = r->json_depth;
    if (find_type(r, &url)) {
        return RD_FATAL;
    }
    const struct jtok end = r->t;
    r->t = start;
    r->json_depth = depth;
    if (!url.p) {
        struct str key;
        bool more;
        if (rd_object_begin(r, &key, &more)) {
            return RD_FATAL;
        }
        if (!more) {
            return RD_OK; /* {} is an empty Any */
        }
        r->t = start;
        r->json_depth = depth;
        return rd_invalid_message(r, path, any->base.descriptor, "Missing @type");
    }
    struct str type = type_of_url(url);
    const ProtobufCMessageDescriptor *d = pb_msg_find(type);
    if (!d || memchr(url.p, 0, url.n)) {
        char what[200];
        snprintf(what, sizeof(what), "Invalid type URL, unknown type: %.*s",
                 (int)(type.n < 120 ? type.n : 120), type.p ? type.p : "");
        return rd_invalid_message(r, path, any->base.descriptor, what);
    }
    ProtobufCMessage *m = pb_new(r->a, d);
    if (!m || rd_enter_msg(r)) {
        return m ? RD_FATAL : rd_no_memory(r);
    }
    r->any_depth++;
    enum rd rc = has_own_form(d) ? read_any_value(r, m, path) : rd_message_fields(r, m, path, true);
    r->any_depth--;
    r->msg_depth--;
    if (rc != RD_OK) {
        return rc;
    }
    CHECK(r->t.p == end.p);
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX); /* of a message that fitted the arena */
    (void)pb_pack(m, &b);
    any->type_url = rd_string(r, url);
    any->value.len = b.n;
    any->value.data = b.n ? arena_memdup(r->a, b.p, b.n) : NULL;
    return any->type_url && (any->value.data || !b.n) ? RD_OK : rd_no_memory(r);
}

enum rd rd_well_known(struct reader *r, ProtobufCMessage *m, const struct path *path) {
    const ProtobufCFieldDescriptor *f = m->descriptor->fields;
    struct path here = {.up = path, .name = str_of(f ? f->name : "")};
    switch (pb_info(m->descriptor)->kind) {
    case PB_KIND_ANY:
        return read_any(r, (Google__Protobuf__Any *)m, path);
    case PB_KIND_TIMESTAMP:
    case PB_KIND_DURATION:
        return read_text_form(r, m, path);
    case PB_KIND_FIELD_MASK:
        return read_field_mask(r, (Google__Protobuf__FieldMask *)m, path);
    case PB_KIND_STRUCT:
        return r->t.type == JTOK_OBJECT ? rd_map_field(r, m, f, &here)
                                        : rd_invalid_message(r, path, m->descriptor, NULL);
    case PB_KIND_LIST_VALUE:
        return r->t.type == JTOK_ARRAY ? rd_array_field(r, m, f, &here)
                                       : rd_invalid_message(r, path, m->descriptor, NULL);
    case PB_KIND_VALUE:
        return read_value(r, (Google__Protobuf__Value *)m, path);
    case PB_KIND_WRAPPER:
        return rd_value(r, f, path, pb_at(m, f->offset));
    case PB_KIND_PLAIN:
    case PB_KIND_MAP_ENTRY:
    default:
        return rd_invalid_message(r, path, m->descriptor, NULL);
    }
}

/* ---- writing ---- */

static int write_text(struct writer *w, bool ok, struct buf *b, const ProtobufCMessage *m) {
    if (!ok) {
        return err_set(w->err, ERR_INTERNAL, "%s out of range", m->descriptor->name);
    }
    jw_str(w->w, buf_str(b));
    return 0;
}

static int write_value(struct writer *w, const Google__Protobuf__Value *v,
                       const struct pb_mask *mask) {
    switch ((int)v->kind_case) { /* the generated enum has a filler value */
    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        jw_double(w->w, v->number_value);
        return 0;
    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        jw_cstr(w->w, v->string_value);
        return 0;
    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:
        jw_bool(w->w, v->bool_value);
        return 0;
    case GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE:
        return wr_message(w, &v->struct_value->base, mask);
    case GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE:
        return wr_message(w, &v->list_value->base, mask);
    case GOOGLE__PROTOBUF__VALUE__KIND__NOT_SET:
    case GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE:
    default:
        jw_null(w->w);
        return 0;
    }
}

static void write_type(struct writer *w, struct str url) {
    static const char v1[] = "google.cloud.aiplatform.v1.";
    struct str name = type_of_url(url);
    jw_key(w->w, "@type");
    if (w->o->version == PB_V1BETA1 && str_starts(name, str_n(v1, sizeof(v1) - 1))) {
        struct str rest = str_sub(name, sizeof(v1) - 1, name.n);
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        buf_put(&b, url.p, url.n - name.n);
        buf_printf(&b, "google.cloud.aiplatform.v1beta1.%.*s", STR_ARG(rest));
        jw_str(w->w, buf_str(&b));
    } else {
        jw_str(w->w, url);
    }
}

/* A type we do not know is shown as its bytes: better than an answer that cannot be read at all. */
static int write_any(struct writer *w, const Google__Protobuf__Any *any,
                     const struct pb_mask *mask) {
    struct str url = str_of(any->type_url ? any->type_url : "");
    if (!wr_can_open(w)) {
        return -1;
    }
    jw_object(w->w);
    if (!url.n) {
        jw_end_object(w->w);
        return 0;
    }
    const ProtobufCMessageDescriptor *d = pb_msg_find(type_of_url(url));
    auto_arena struct arena *a = arena_new(limits.max_message_bytes);
    ProtobufCMessage *m = NULL;
    write_type(w, url);
    if (d && w->any_depth < PB_ANY_DEPTH_MAX &&
        pb_unpack(a, d, str_n((const char *)any->value.data, any->value.len), &m, NULL) == 0) {
        int rc;
        w->any_depth++;
        if (has_own_form(d)) {
            jw_key(w->w, "value");
            rc = wr_message(w, m, NULL);
        } else {
            rc = wr_fields(w, m, mask);
        }
        w->any_depth--;
        if (rc) {
            return -1;
        }
    } else if (any->value.len) {
        jw_key(w->w, "value");
        (void)wr_field_value(w, &any->base, &any->base.descriptor->fields[1], NULL);
    }
    jw_end_object(w->w);
    return 0;
}

int wr_well_known(struct writer *w, const ProtobufCMessage *m, const struct pb_mask *mask) {
    const ProtobufCFieldDescriptor *f = m->descriptor->fields;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    switch (pb_info(m->descriptor)->kind) {
    case PB_KIND_ANY:
        return write_any(w, (const Google__Protobuf__Any *)m, mask);
    case PB_KIND_TIMESTAMP: {
        const Google__Protobuf__Timestamp *t = (const Google__Protobuf__Timestamp *)m;
        return write_text(w,
                          w->o->fixed_times ? wkt_timestamp_format_nano(&b, t->seconds, t->nanos)
                                            : wkt_timestamp_format(&b, t->seconds, t->nanos),
                          &b, m);
    }
    case PB_KIND_DURATION: {
        const Google__Protobuf__Duration *d = (const Google__Protobuf__Duration *)m;
        return write_text(w, wkt_duration_format(&b, d->seconds, d->nanos), &b, m);
    }
    case PB_KIND_FIELD_MASK: {
        const Google__Protobuf__FieldMask *fm = (const Google__Protobuf__FieldMask *)m;
        for (size_t i = 0; i < fm->n_paths; i++) {
            if (i) {
                buf_putc(&b, ',');
            }
            wkt_path_to_camel(&b, str_of(fm->paths[i]));
        }
        jw_str(w->w, buf_str(&b));
        return 0;
    }
    case PB_KIND_STRUCT:
    case PB_KIND_LIST_VALUE:
        return wr_field_value(w, m, f, mask);
    case PB_KIND_VALUE:
        return write_value(w, (const Google__Protobuf__Value *)m, mask);
    case PB_KIND_WRAPPER:
        return wr_field_value(w, m, f, NULL);
    case PB_KIND_PLAIN:
    case PB_KIND_MAP_ENTRY:
    default:
        return err_set(w->err, ERR_INTERNAL, "%s has no form of its own", m->descriptor->name);
    }
}
