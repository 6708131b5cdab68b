/* Row helpers; see row.h. No state. */
#include "store/row.h"

static bool copy(struct arena *a, struct str src, struct str *ret) {
    *ret = arena_str(a, src);
    return ret->p;
}

bool store_row_copy(struct arena *a, const struct store_row *src, struct store_row *ret) {
    struct store_row out = *src;
    bool ok = copy(a, src->name, &out.name) && copy(a, src->kind, &out.kind) &&
              copy(a, src->parent, &out.parent) && copy(a, src->display_name, &out.display_name) &&
              copy(a, src->state, &out.state) && copy(a, src->spec, &out.spec) &&
              copy(a, src->status, &out.status);
    out.labels = arena_calloc(a, src->nr_labels, sizeof(*out.labels));
    ok = ok && out.labels;
    for (size_t i = 0; ok && i < src->nr_labels; i++) {
        ok = copy(a, src->labels[i].key, &out.labels[i].key) &&
             copy(a, src->labels[i].value, &out.labels[i].value);
    }
    if (ok) {
        *ret = out;
    }
    return ok;
}

size_t store_row_size(const struct store_row *row) {
    size_t n = sizeof(*row) + row->name.n + row->kind.n + row->parent.n + row->display_name.n +
               row->state.n + row->spec.n + row->status.n;
    for (size_t i = 0; i < row->nr_labels; i++) {
        n += sizeof(row->labels[i]) + row->labels[i].key.n + row->labels[i].value.n;
    }
    return n;
}

struct str store_row_label(const struct store_row *row, struct str key) {
    for (size_t i = 0; i < row->nr_labels; i++) {
        if (str_eq(row->labels[i].key, key)) {
            struct str v = row->labels[i].value;
            return v.p ? v : STR("");
        }
    }
    return (struct str){0};
}

bool store_parent_matches(struct str pattern, struct str parent) {
    /* str_cut leaves rest.p NULL at the end, so both must end at the same segment. */
    while (pattern.p && parent.p) {
        struct str want = str_cut(&pattern, '/');
        struct str have = str_cut(&parent, '/');
        if (str_eq(want, STR("-")) ? have.n == 0 : !str_eq(want, have)) {
            return false;
        }
    }
    return !pattern.p && !parent.p;
}

struct str store_parent_prefix(struct str pattern) {
    struct str rest = pattern;
    while (rest.p) {
        const char *at = rest.p;
        if (str_eq(str_cut(&rest, '/'), STR("-"))) {
            return str_n(pattern.p, (size_t)(at - pattern.p));
        }
    }
    return pattern;
}

bool store_parent_is_pattern(struct str parent) {
    return store_parent_prefix(parent).n != parent.n;
}

bool store_order_is_text(enum store_order_field order) {
    return order == STORE_ORDER_DISPLAY_NAME || order == STORE_ORDER_NAME;
}

struct store_pos store_row_pos(const struct store_row *row, uint64_t id,
                               enum store_order_field order) {
    struct store_pos pos = {.id = id};
    switch (order) {
    case STORE_ORDER_CREATE_TIME:
        pos.time = row->create_time;
        break;
    case STORE_ORDER_UPDATE_TIME:
        pos.time = row->update_time;
        break;
    case STORE_ORDER_DISPLAY_NAME:
        pos.text = row->display_name;
        break;
    case STORE_ORDER_NAME:
        pos.text = row->name;
        break;
    }
    return pos;
}

int store_pos_cmp(const struct store_pos *a, const struct store_pos *b,
                  enum store_order_field order) {
    int c = store_order_is_text(order) ? str_cmp(a->text, b->text)
                                       : (a->time > b->time) - (a->time < b->time);
    return c ? c : (a->id > b->id) - (a->id < b->id);
}
