/* Partial-response masks as a small tree of steps. */
#include "pb/pbmask.h"

#include "pb/pb_int.h"

#include "base/arena.h"

struct pb_mask { /* a step and its siblings */
    struct str step;
    bool is_all; /* '*' */
    bool has_all_below;
    struct pb_mask *below; /* first step of the next level */
    struct pb_mask *next;
};

struct parser {
    struct arena *a;
    struct str s;
    size_t pos, nodes;
    struct err *err;
};

static int bad(struct parser *p, const char *why) {
    return err_field(p->err, ERR_INVALID_ARGUMENT, "fields", "Invalid field selection %.*s: %s",
                     (int)(p->s.n < 100 ? p->s.n : 100), p->s.p, why);
}

static char peek(const struct parser *p) {
    return p->pos < p->s.n ? p->s.p[p->pos] : 0;
}

static struct pb_mask *find_step(struct pb_mask *first, struct str step) {
    while (first && !str_eq(first->step, step)) {
        first = first->next;
    }
    return first;
}

static int parse_list(struct parser *p, struct pb_mask **level, unsigned depth);

/* step (('/'|'.') step)* ['(' list ')'] */
static int parse_path(struct parser *p, struct pb_mask **level, unsigned depth) {
    if (depth >= PB_MASK_DEPTH_MAX) {
        return bad(p, "too deep");
    }
    size_t from = p->pos;
    while (peek(p) && !strchr(",/.()", peek(p))) {
        p->pos++;
    }
    struct str step = str_trim(str_sub(p->s, from, p->pos - from));
    if (!step.n) {
        return bad(p, "a name is missing");
    }
    struct pb_mask *m = find_step(*level, step);
    bool is_new = m == NULL;
    if (is_new) {
        if (++p->nodes > PB_MASK_NODES_MAX || !(m = arena_alloc(p->a, sizeof(*m)))) {
            return bad(p, "too long");
        }
        m->step = step;
        m->is_all = str_eq(step, STR("*"));
        m->next = *level;
        *level = m;
    }
    char c = peek(p);
    if (c == '/' || c == '.') {
        p->pos++;
        return parse_path(p, &m->below, depth + 1);
    }
    if (c == '(') {
        p->pos++;
        if (parse_list(p, &m->below, depth + 1)) {
            return -1;
        }
        if (peek(p) != ')') {
            return bad(p, "')' is missing");
        }
        p->pos++;
        return 0;
    }
    m->has_all_below = true;
    return 0;
}

static int parse_list(struct parser *p, struct pb_mask **level, unsigned depth) {
    for (;;) {
        if (parse_path(p, level, depth)) {
            return -1;
        }
        if (peek(p) != ',') {
            return 0;
        }
        p->pos++;
    }
}

int pb_mask_parse(struct arena *a, struct str text, const struct pb_mask **ret, struct err *err) {
    struct parser p = {.a = a, .s = str_trim(text), .err = err};
    struct pb_mask *top = NULL;
    if (!p.s.n) {
        *ret = NULL;
        return 0;
    }
    if (memchr(p.s.p, 0, p.s.n)) {
        return err_field(err, ERR_INVALID_ARGUMENT, "fields", "Invalid field selection");
    }
    p.s = arena_str(a, p.s); /* outlives the query string */
    if (!p.s.p) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "Field selection needs too much memory");
    }
    if (parse_list(&p, &top, 0)) {
        return -1;
    }
    if (p.pos != p.s.n) {
        return bad(&p, "')' without '('");
    }
    *ret = top;
    return 0;
}

/* ---- checking */

#define PATH_SHOWN 200

struct trail { /* the steps from the top to here, for the error */
    const struct trail *above;
    struct str step;
};

static void put_trail(struct buf *b, const struct trail *t) {
    if (t) {
        put_trail(b, t->above);
        buf_printf(b, "%s%.*s", t->above ? "." : "", STR_ARG(t->step));
    }
}

static int no_such_path(const struct trail *t, struct err *err) {
    char path[PATH_SHOWN];
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    put_trail(&b, t);
    snprintf(path, sizeof(path), "%s", buf_cstr(&b));
    return err_field(
        err, ERR_INVALID_ARGUMENT, path,
        "Error expanding 'fields' parameter. Cannot find matching fields for path '%s'.", path);
}

/* d NULL: a value, nothing is below it. is_key: the next step is a map's key. */
static int check_level(const struct pb_mask *mask, const ProtobufCMessageDescriptor *d, bool is_key,
                       const struct trail *above, struct err *err) {
    for (const struct pb_mask *m = mask; m; m = m->next) {
        struct trail t = {above, m->step};
        const ProtobufCFieldDescriptor *f = NULL;
        bool is_map = false;
        if (is_key && d) {
            f = &d->fields[1];
        } else if (d && pb_info(d)->kind >= PB_KIND_ANY) {
            continue;
        } else if (m->is_all && d) {
            continue;
        } else {
            int i = d ? pb_field_find(d, m->step) : -1;
            if (i < 0) {
                return no_such_path(&t, err);
            }
            f = &d->fields[i];
            is_map = (pb_info(d)->fields[i].flags & PB_F_MAP) != 0;
        }
        if (check_level(m->below, f->type == PROTOBUF_C_TYPE_MESSAGE ? f->descriptor : NULL, is_map,
                        &t, err)) {
            return -1;
        }
    }
    return 0;
}

int pb_mask_check(const struct pb_mask *mask, const ProtobufCMessageDescriptor *d,
                  struct err *err) {
    return check_level(mask, d, false, NULL, err);
}

/* ---- selecting */

bool pb_mask_has(const struct pb_mask *mask, struct str name, struct str alt,
                 const struct pb_mask **ret_below) {
    const struct pb_mask *all = NULL;
    *ret_below = NULL;
    if (!mask) {
        return true;
    }
    for (const struct pb_mask *m = mask; m; m = m->next) {
        if (m->is_all) {
            all = m;
        } else if (str_eq(m->step, name) || (alt.p && str_eq(m->step, alt))) {
            *ret_below = m->has_all_below ? NULL : m->below;
            return true;
        }
    }
    if (all) {
        *ret_below = all->has_all_below ? NULL : all->below;
    }
    return all != NULL;
}

/* Entries whose key is selected. Keys of other types than string are kept: no path names them. */
static void apply_to_map(const struct pb_mask *mask, ProtobufCMessage **entries, size_t *n) {
    const struct pb_mask *below;
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++) {
        const ProtobufCMessageDescriptor *d = entries[i]->descriptor;
        struct str key = {NULL, 0};
        if (d->fields[0].type == PROTOBUF_C_TYPE_STRING) {
            key = str_of(*(char *const *)pb_at(entries[i], d->fields[0].offset));
        }
        if (!key.p || pb_mask_has(mask, key, (struct str){0}, &below)) {
            entries[kept++] = entries[i];
        }
    }
    *n = kept;
}

void pb_mask_apply(const struct pb_mask *mask, ProtobufCMessage *m) {
    const struct pb_msg_info *info = pb_info(m->descriptor);
    if (!mask || info->kind >= PB_KIND_ANY) {
        return;
    }
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        const struct pb_mask *below = NULL;
        if (!pb_is_set(m, f)) {
            continue;
        }
        if (!pb_mask_has(mask, str_of(info->fields[i].json), str_of(f->name), &below)) {
            pb_clear_field(m, f);
        } else if (below && f->type == PROTOBUF_C_TYPE_MESSAGE) {
            ProtobufCMessage **items = pb_at(m, f->offset);
            if (!pb_is_repeated(f)) {
                pb_mask_apply(below, *items);
            } else if (info->fields[i].flags & PB_F_MAP) {
                apply_to_map(below, *(ProtobufCMessage ***)(void *)items, pb_count(m, f));
            } else {
                items = *(ProtobufCMessage ***)(void *)items;
                for (size_t k = 0; k < *pb_count(m, f); k++) {
                    pb_mask_apply(below, items[k]);
                }
            }
        }
    }
}
