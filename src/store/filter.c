/* Evaluates filters on rows. The tree's depth is bounded by the parser (limits.max_filter_terms and
 * max_filter_depth), so plain recursion is fine. */
#include "store/filter_int.h"

#include "store/row.h"

struct look {
    const struct store_row *row;
    struct arena *scratch;
    const ProtobufCMessage *message; /* decoded at the first need */
    bool tried;
};

static bool ordered(enum filter_op op, int c) {
    switch (op) {
    case OP_EQ:
        return c == 0;
    case OP_NE:
        return c != 0;
    case OP_LT:
        return c < 0;
    case OP_LE:
        return c <= 0;
    case OP_GT:
        return c > 0;
    case OP_GE:
        return c >= 0;
    case OP_LIKE:
        break;
    }
    CHECK(false);
    return false;
}

static struct str text_of(const struct filter *f, const struct store_row *row) {
    switch (f->field) {
    case FIELD_NAME:
        return row->name;
    case FIELD_DISPLAY_NAME:
        return row->display_name;
    case FIELD_STATE:
        return row->state;
    case FIELD_LABEL:
        return store_row_label(row, f->key);
    case FIELD_CREATE_TIME:
    case FIELD_UPDATE_TIME:
        break;
    }
    CHECK(false);
    return STR("");
}

static bool compare(const struct filter *f, const struct store_row *row) {
    if (filter_field_is_time(f->field)) {
        usec_t t = f->field == FIELD_CREATE_TIME ? row->create_time : row->update_time;
        return ordered(f->op, (t > f->time) - (t < f->time));
    }
    struct str text = text_of(f, row);
    if (f->field == FIELD_LABEL && !text.p) {
        return f->op == OP_NE;
    }
    return f->op == OP_LIKE ? str_glob(f->text, text, FILTER_ANY)
                            : ordered(f->op, str_cmp(text, f->text));
}

static bool compare_message(const struct filter *f, struct look *k) {
    if (!k->tried) {
        k->tried = true;
        k->message = f->schema->decode(k->scratch, k->row);
    }
    return k->message && pb_path_matches(f->path, f->pb_op, f->literal, k->message, k->scratch);
}

static bool matches(const struct filter *f, struct look *k) {
    switch (f->type) {
    case FILTER_AND:
        return matches(f->left, k) && matches(f->right, k);
    case FILTER_OR:
        return matches(f->left, k) || matches(f->right, k);
    case FILTER_NOT:
        return !matches(f->left, k);
    case FILTER_COMPARE:
        return compare(f, k->row);
    case FILTER_HAS_KEY:
        return store_row_label(k->row, f->key).p;
    case FILTER_MESSAGE:
        return compare_message(f, k);
    }
    CHECK(false);
    return false;
}

bool filter_matches(const struct filter *f, const struct store_row *row, struct arena *scratch) {
    struct look k = {.row = row, .scratch = scratch};
    return !f || matches(f, &k);
}

bool filter_needs_message(const struct filter *f) {
    return f && f->needs_message;
}

const struct filter *filter_and(struct arena *a, const struct filter *l, const struct filter *r) {
    if (!l || !r) {
        return l ? l : r;
    }
    struct filter *f = arena_own(a, sizeof(*f));
    *f = (struct filter){.type = FILTER_AND,
                         .left = l,
                         .right = r,
                         .needs_message = l->needs_message || r->needs_message};
    return f;
}

const struct filter *filter_label(struct arena *a, struct str key, struct str value) {
    struct filter *f = arena_own(a, sizeof(*f));
    *f = (struct filter){
        .type = FILTER_COMPARE, .field = FIELD_LABEL, .op = OP_EQ, .key = key, .text = value};
    return f;
}

bool filter_needs_labels(const struct filter *f) {
    if (!f) {
        return false;
    }
    return f->type == FILTER_HAS_KEY || (f->type == FILTER_COMPARE && f->field == FIELD_LABEL) ||
           filter_needs_labels(f->left) || filter_needs_labels(f->right);
}
