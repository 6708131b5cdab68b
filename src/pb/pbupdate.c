/* See pbupdate.h. All paths are checked before the first is applied. */
#include "pb/pbupdate.h"

#include "pb/pb_int.h"
#include "pb/pbmask.h"

struct update {
    struct arena *a;
    const ProtobufCMessage *src; /* a copy of ours */
    ProtobufCMessage *dst;
    struct violations *vs;
};

/* ---- read masks ---- */

int pb_path_check_read(const ProtobufCMessageDescriptor *d, struct str path, const char *field,
                       struct err *err) {
    struct str rest = path;
    unsigned depth = 0;
    while (rest.p) {
        struct str step = str_cut(&rest, '.');
        int i = d && pb_info(d)->kind == PB_KIND_PLAIN ? pb_field_find(d, step) : -1;
        if (++depth > PB_MASK_DEPTH_MAX) {
            return err_field(err, ERR_INVALID_ARGUMENT, field, "A path is deeper than %d fields.",
                             PB_MASK_DEPTH_MAX);
        }
        if (str_eq(step, STR("*")) && d) {
            /* Whatever is below it cannot be checked by type. */
            return rest.p ? err_field(err, ERR_INVALID_ARGUMENT, field,
                                      "Invalid path \"%.*s\": nothing may follow '*'.",
                                      (int)(path.n < 200 ? path.n : 200), path.p)
                          : 0;
        }
        if (i < 0) {
            return err_field(err, ERR_INVALID_ARGUMENT, field,
                             "Invalid path \"%.*s\": %s has no field \"%.*s\".",
                             (int)(path.n < 200 ? path.n : 200), path.p,
                             d ? d->short_name : "a value", (int)(step.n < 100 ? step.n : 100),
                             step.p);
        }
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        if (pb_info(d)->fields[i].flags & PB_F_MAP && rest.p) {
            struct str key = str_cut(&rest, '.');
            for (size_t k = 0; k < key.n; k++) {
                if (strchr(",/()", key.p[k])) {
                    return err_field(err, ERR_INVALID_ARGUMENT, field,
                                     "Invalid path \"%.*s\": a key with '%c' cannot be selected.",
                                     (int)(path.n < 200 ? path.n : 200), path.p, key.p[k]);
                }
            }
            f = &((const ProtobufCMessageDescriptor *)f->descriptor)->fields[1];
        }
        d = f->type == PROTOBUF_C_TYPE_MESSAGE ? f->descriptor : NULL;
    }
    return 0;
}

/* ---- one field ---- */

static bool is_resource_field(const ProtobufCMessageDescriptor *d, const char *name,
                              const ProtobufCFieldDescriptor *f) {
    return pb_info(d)->resource && strcmp(f->name, name) == 0;
}

static bool is_servers(const ProtobufCMessageDescriptor *d, unsigned i) {
    return pb_info(d)->fields[i].flags & PB_F_OUTPUT_ONLY ||
           is_resource_field(d, "name", &d->fields[i]);
}

static void copy_field(const ProtobufCMessage *src, ProtobufCMessage *dst,
                       const ProtobufCFieldDescriptor *f) {
    if (!pb_is_set(src, f)) {
        if (pb_is_set(dst, f)) {
            pb_clear_field(dst, f);
        }
        return;
    }
    if (pb_is_repeated(f)) {
        *pb_count(dst, f) = *pb_count(src, f);
        memcpy(pb_at(dst, f->offset), pb_at(src, f->offset), sizeof(void *));
        return;
    }
    if (pb_is_oneof(f)) {
        *pb_case(dst, f) = *pb_case(src, f);
    }
    memcpy(pb_at(dst, f->offset), pb_at(src, f->offset), pb_value_size(f));
}

static bool is_same(struct update *u, const ProtobufCMessage *x, const ProtobufCMessage *y,
                    const ProtobufCFieldDescriptor *f) {
    ProtobufCMessage *one = pb_new(u->a, x->descriptor), *two = pb_new(u->a, x->descriptor);
    auto_buf struct buf b1 = BUF_INIT(BUF_NO_MAX), b2 = BUF_INIT(BUF_NO_MAX);
    if (!one || !two) {
        return false;
    }
    copy_field(x, one, f);
    copy_field(y, two, f);
    return pb_pack(one, &b1) == 0 && pb_pack(two, &b2) == 0 && str_eq(buf_str(&b1), buf_str(&b2));
}

/* ---- paths ---- */

static void refuse(struct update *u, struct str path, struct str step, const char *why) {
    violations_add(u->vs, "update_mask", "Invalid path \"%.*s\": \"%.*s\" %s.",
                   (int)(path.n < 200 ? path.n : 200), path.p, (int)(step.n < 100 ? step.n : 100),
                   step.p, why);
}

/* The message in a singular field, NULL when it is not set. */
static ProtobufCMessage *below(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    return m && pb_is_set(m, f) ? *(ProtobufCMessage **)pb_at(m, f->offset) : NULL;
}

static void check_end(struct update *u, struct str path, const ProtobufCMessage *src,
                      const ProtobufCMessage *dst, const ProtobufCFieldDescriptor *f,
                      unsigned flags, struct str step) {
    bool is_given = src && pb_is_set(src, f);
    if (flags & PB_F_IMMUTABLE && src && dst && !is_same(u, src, dst, f)) {
        refuse(u, path, step, "cannot be changed");
    } else if (flags & PB_F_IMMUTABLE && !(src && dst) && is_given) {
        refuse(u, path, step, "cannot be changed");
    } else if (flags & PB_F_REQUIRED && !is_given) {
        auto_free char *name = str_dup(path);
        violations_add(u->vs, name, "Required field is not set.");
    }
}

static void check_path(struct update *u, struct str path) {
    const ProtobufCMessageDescriptor *d = u->dst->descriptor;
    const ProtobufCMessage *src = u->src, *dst = u->dst;
    struct str rest = path;
    unsigned depth = 0;
    while (rest.p) {
        struct str step = str_cut(&rest, '.');
        int i = step.n ? pb_field_find(d, step) : -1;
        if (i < 0 || ++depth > PB_MASK_DEPTH_MAX) {
            refuse(u, path, step, "is no field");
            return;
        }
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        unsigned flags = pb_info(d)->fields[i].flags;
        if (is_servers(d, (unsigned)i)) {
            refuse(u, path, step, "is set by the server only");
            return;
        }
        if (!rest.p) {
            check_end(u, path, src, dst, f, flags, step);
            return;
        }
        if (pb_is_repeated(f) || f->type != PROTOBUF_C_TYPE_MESSAGE ||
            pb_info(f->descriptor)->kind != PB_KIND_PLAIN) {
            refuse(u, path, step,
                   flags & PB_F_MAP    ? "is a map and is replaced whole"
                   : pb_is_repeated(f) ? "is a list and is replaced whole"
                                       : "has no fields of its own");
            return;
        }
        src = below(src, f);
        dst = below(dst, f);
        d = f->descriptor;
    }
}

/* False when the arena is full. */
static bool apply_path(struct update *u, struct str path) {
    const ProtobufCMessage *src = u->src;
    ProtobufCMessage *dst = u->dst;
    struct str rest = path;
    for (;;) {
        const ProtobufCMessageDescriptor *d = dst->descriptor;
        int i = pb_field_find(d, str_cut(&rest, '.'));
        CHECK(i >= 0);
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        if (!rest.p) {
            if (is_resource_field(d, "etag", f)) {
                return true;
            }
            if (src) {
                copy_field(src, dst, f);
            } else if (pb_is_set(dst, f)) {
                pb_clear_field(dst, f);
            }
            return true;
        }
        src = below(src, f);
        ProtobufCMessage *next = below(dst, f);
        if (!next) {
            if (!src) {
                return true; /* absent on both sides */
            }
            next = pb_new(u->a, f->descriptor);
            if (!next) {
                return false;
            }
            if (pb_is_oneof(f)) {
                *pb_case(dst, f) = f->id;
            }
            *(ProtobufCMessage **)pb_at(dst, f->offset) = next;
        }
        dst = next;
    }
}

static void check_all(struct update *u) {
    const ProtobufCMessageDescriptor *d = u->dst->descriptor;
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        if (!is_servers(d, i) && !is_resource_field(d, "etag", f)) {
            check_end(u, str_of(f->name), u->src, u->dst, f, pb_info(d)->fields[i].flags,
                      str_of(f->name));
        }
    }
}

static void apply_all(struct update *u) {
    const ProtobufCMessageDescriptor *d = u->dst->descriptor;
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        if (!is_servers(d, i) && !is_resource_field(d, "etag", f)) {
            copy_field(u->src, u->dst, f);
        }
    }
}

int pb_update_apply(struct arena *a, char *const *paths, size_t n, const ProtobufCMessage *src,
                    ProtobufCMessage *dst, struct violations *vs, struct err *err) {
    CHECK(src->descriptor == dst->descriptor);
    struct update u = {.a = a, .src = pb_clone(a, src), .dst = dst, .vs = vs};
    size_t found = vs->n;
    bool fits = u.src;
    if (n == 0 || n > PB_MASK_NODES_MAX) {
        violations_add(vs, "update_mask", n ? "Too many paths." : "Required field is not set.");
    }
    bool is_all = n == 1 && strcmp(paths[0], "*") == 0;
    if (fits && is_all) {
        check_all(&u);
    }
    for (size_t i = 0; fits && !is_all && i < n && n <= PB_MASK_NODES_MAX; i++) {
        if (strcmp(paths[i], "*") == 0) {
            violations_add(vs, "update_mask", "\"*\" must be the only path.");
        } else {
            check_path(&u, str_of(paths[i]));
        }
    }
    if (vs->n > found) {
        return violations_to_err(vs, err);
    }
    if (fits && is_all) {
        apply_all(&u);
    }
    for (size_t i = 0; fits && !is_all && i < n; i++) {
        fits = apply_path(&u, str_of(paths[i]));
    }
    return fits ? 0 : err_set(err, ERR_RESOURCE_EXHAUSTED, "The update needs too much memory");
}
