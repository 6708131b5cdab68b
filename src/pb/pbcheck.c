/* Required and output-only fields, by table. Recursion follows messages that decoding has already
 * bounded to PB_DEPTH_MAX. */
#include "pb/pbcheck.h"

#include "pb/pb_int.h"

struct walk {
    struct buf path;
    struct violations *vs;
    size_t found;
};

static bool can_be_missing(const ProtobufCFieldDescriptor *f) {
    return pb_is_repeated(f) || pb_is_oneof(f) || f->type == PROTOBUF_C_TYPE_STRING ||
           f->type == PROTOBUF_C_TYPE_BYTES || f->type == PROTOBUF_C_TYPE_MESSAGE ||
           f->type == PROTOBUF_C_TYPE_ENUM;
}

/* Messages whose fields are worth a look; Struct and Any hold data, not resources. */
static bool has_rules(const ProtobufCFieldDescriptor *f) {
    return f->type == PROTOBUF_C_TYPE_MESSAGE && pb_info(f->descriptor)->kind <= PB_KIND_MAP_ENTRY;
}

/* The i-th message of a set field, NULL past the end. */
static ProtobufCMessage *message_at(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                                    size_t i) {
    if (!pb_is_repeated(f)) {
        return i ? NULL : *(ProtobufCMessage **)pb_at(m, f->offset);
    }
    return i < *pb_count(m, f) ? (*(ProtobufCMessage ***)pb_at(m, f->offset))[i] : NULL;
}

static void cut_path(struct buf *b, size_t n) {
    b->n = n;
    if (b->p) {
        b->p[n] = 0;
    }
}

static void check(struct walk *w, const ProtobufCMessage *m) {
    const struct pb_field_info *fi = pb_info(m->descriptor)->fields;
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        bool set = pb_is_set(m, f);
        size_t mark = w->path.n;
        if (fi[i].flags & PB_F_OUTPUT_ONLY || (set && !has_rules(f)) ||
            (!set && !(fi[i].flags & PB_F_REQUIRED && can_be_missing(f)))) {
            continue;
        }
        buf_printf(&w->path, "%s%s", mark ? "." : "", f->name);
        if (!set) {
            violations_add(w->vs, buf_cstr(&w->path), "Required field is not set.");
            w->found++;
        }
        const ProtobufCMessage *sub;
        size_t field_mark = w->path.n;
        for (size_t k = 0; set && (sub = message_at(m, f, k)); k++) {
            if (pb_is_repeated(f)) {
                buf_printf(&w->path, "[%zu]", k);
            }
            check(w, sub);
            cut_path(&w->path, field_mark);
        }
        cut_path(&w->path, mark);
    }
}

size_t pb_check_required(const ProtobufCMessage *m, const char *root, struct violations *vs) {
    struct walk w = {.path = BUF_INIT(BUF_NO_MAX), .vs = vs};
    buf_puts(&w.path, root ? root : "");
    check(&w, m);
    buf_fini(&w.path);
    return w.found;
}

void pb_clear_output_only(ProtobufCMessage *m) {
    const struct pb_field_info *fi = pb_info(m->descriptor)->fields;
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        ProtobufCMessage *sub;
        if (fi[i].flags & PB_F_OUTPUT_ONLY) {
            pb_clear_field(m, f);
        } else if (has_rules(f) && pb_is_set(m, f)) {
            for (size_t k = 0; (sub = message_at(m, f, k)); k++) {
                pb_clear_output_only(sub);
            }
        }
    }
}
