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
    return order != STORE_ORDER_CREATE_TIME && order != STORE_ORDER_UPDATE_TIME;
}

struct store_order store_list_order(const struct store_list *l, unsigned i) {
    return i ? l->then[i - 1] : (struct store_order){l->order, l->descending};
}

struct store_pos store_row_pos(const struct store_row *row, uint64_t id,
                               const struct store_list *l) {
    struct store_pos pos = {.id = id};
    for (unsigned i = 0; i <= l->nr_then; i++) {
        switch (store_list_order(l, i).field) {
        case STORE_ORDER_CREATE_TIME:
            pos.v[i].time = row->create_time;
            break;
        case STORE_ORDER_UPDATE_TIME:
            pos.v[i].time = row->update_time;
            break;
        case STORE_ORDER_DISPLAY_NAME:
            pos.v[i].text = row->display_name;
            break;
        case STORE_ORDER_NAME:
            pos.v[i].text = row->name;
            break;
        case STORE_ORDER_STATE:
            pos.v[i].text = row->state;
            break;
        }
    }
    return pos;
}

int store_pos_cmp(const struct store_pos *a, const struct store_pos *b,
                  const struct store_list *l) {
    int c = 0;
    for (unsigned i = 0; c == 0 && i <= l->nr_then; i++) {
        struct store_order o = store_list_order(l, i);
        c = store_order_is_text(o.field)
                ? str_cmp(a->v[i].text, b->v[i].text)
                : (a->v[i].time > b->v[i].time) - (a->v[i].time < b->v[i].time);
        c = o.descending ? -c : c;
    }
    if (c == 0) {
        c = (a->id > b->id) - (a->id < b->id);
        c = l->descending ? -c : c;
    }
    return c;
}
