/* Evaluates filters on rows. The tree's depth is bounded by the parser (limits.max_filter_terms and
 * max_filter_depth), so plain recursion is fine. */
#include "store/filter_int.h"

#include "store/row.h"

/* Glob with * only. Greedy with one point to fall back to: linear in practice, never worse than
 * pattern times text. */
static bool like(struct str pattern, struct str text) {
    size_t p = 0, t = 0, star = SIZE_MAX, resume = 0;
    while (t < text.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.n && pattern.p[p] == text.p[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*') {
        p++;
    }
    return p == pattern.n;
}

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
    return f->op == OP_LIKE ? like(f->text, text) : ordered(f->op, str_cmp(text, f->text));
}

bool filter_matches(const struct filter *f, const struct store_row *row) {
    if (!f) {
        return true;
    }
    switch (f->type) {
    case FILTER_AND:
        return filter_matches(f->left, row) && filter_matches(f->right, row);
    case FILTER_OR:
        return filter_matches(f->left, row) || filter_matches(f->right, row);
    case FILTER_NOT:
        return !filter_matches(f->left, row);
    case FILTER_COMPARE:
        return compare(f, row);
    case FILTER_HAS_KEY:
        return store_row_label(row, f->key).p;
    }
    CHECK(false);
    return false;
}

bool filter_needs_labels(const struct filter *f) {
    if (!f) {
        return false;
    }
    return f->type == FILTER_HAS_KEY || (f->type == FILTER_COMPARE && f->field == FIELD_LABEL) ||
           filter_needs_labels(f->left) || filter_needs_labels(f->right);
}
