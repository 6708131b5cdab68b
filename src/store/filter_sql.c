/* Compiles filters to SQL conditions with parameters. Three answers for each subtree: nothing, a
 * condition that every match satisfies, or one that says exactly the same. NOT may only stand
 * before an exact one; OR needs something from both sides; AND takes what it gets. */
#include "store/filter_sql.h"

#include "store/filter_int.h"

enum said { SAID_NOTHING, SAID_SUPERSET, SAID_EXACT };

/* Debian's SQLite parses with a stack of 100 entries, of which a level of parentheses takes up to
 * five. Deeper parts are left to filter_matches. */
#define NESTED_MAX 12

static void put(struct filter_sql *q, const char *text) {
    (void)buf_puts(&q->where, text); /* no maximum: bounded by the filter's */
}

static void put_param(struct filter_sql *q, struct filter_param p) {
    (void)buf_printf(&q->where, "?%d", q->first_param + (int)q->params.n);
    vec_push(&q->params, p);
}

static const char *const op_text[] = {
    [OP_EQ] = " = ",  [OP_NE] = " <> ", [OP_LT] = " < ",
    [OP_LE] = " <= ", [OP_GT] = " > ",  [OP_GE] = " >= ",
};

static const char *const column_of[] = {
    [FIELD_NAME] = "name",
    [FIELD_DISPLAY_NAME] = "display_name",
    [FIELD_STATE] = "state",
    [FIELD_UPDATE_TIME] = "update_time",
};

static enum said say_label(struct filter_sql *q, const struct filter *f) {
    bool has_key_only = f->type == FILTER_HAS_KEY;
    if (!has_key_only && f->op == OP_LIKE) {
        return SAID_NOTHING;
    }
    bool negated = !has_key_only && f->op == OP_NE; /* true for rows without the label as well */
    put(q, negated ? "NOT EXISTS (" : "EXISTS (");
    /* The plus signs keep SQLite with the row's own labels, which are few and lie together. */
    put(q, "SELECT 1 FROM label WHERE label.resource = resource.id AND +label.key = ");
    put_param(q, (struct filter_param){.text = f->key});
    if (!has_key_only) {
        put(q, " AND +label.value");
        put(q, op_text[negated ? OP_EQ : f->op]);
        put_param(q, (struct filter_param){.text = f->text});
    }
    put(q, ")");
    return SAID_EXACT;
}

static enum said say_compare(struct filter_sql *q, const struct filter *f) {
    if (f->field == FIELD_LABEL) {
        return say_label(q, f);
    }
    if (f->op == OP_LIKE) {
        return SAID_NOTHING;
    }
    put(q, f->field == FIELD_CREATE_TIME ? q->create_time : column_of[f->field]);
    put(q, op_text[f->op]);
    bool is_time = filter_field_is_time(f->field);
    put_param(q, (struct filter_param){.is_time = is_time, .time = f->time, .text = f->text});
    return SAID_EXACT;
}

static void take_back(struct filter_sql *q, size_t text, size_t params) {
    q->where.n = text;
    q->params.n = params;
}

static enum said say(struct filter_sql *q, const struct filter *f, enum filter_type parent);

/* a OR b OR c comes as pairs of pairs; it is written flat. NOT brings parentheses of its own. */
static enum said say_pair(struct filter_sql *q, const struct filter *f, enum filter_type parent) {
    size_t text = q->where.n, params = q->params.n;
    bool is_flat = parent == f->type || parent == FILTER_NOT;
    if (!is_flat && q->nested == NESTED_MAX) {
        return SAID_NOTHING;
    }
    q->nested += !is_flat;
    put(q, is_flat ? "" : "(");
    enum said left = say(q, f->left, f->type);
    size_t mid = q->where.n, mid_params = q->params.n;
    if (left != SAID_NOTHING) {
        put(q, f->type == FILTER_AND ? " AND " : " OR ");
    }
    enum said right = say(q, f->right, f->type);
    q->nested -= !is_flat;
    if (f->type == FILTER_OR ? left == SAID_NOTHING || right == SAID_NOTHING
                             : left == SAID_NOTHING && right == SAID_NOTHING) {
        take_back(q, text, params);
        return SAID_NOTHING;
    }
    if (right == SAID_NOTHING) {
        take_back(q, mid, mid_params);
    }
    put(q, is_flat ? "" : ")");
    return left == SAID_EXACT && right == SAID_EXACT ? SAID_EXACT : SAID_SUPERSET;
}

static enum said say_not(struct filter_sql *q, const struct filter *f) {
    size_t text = q->where.n, params = q->params.n;
    if (q->nested == NESTED_MAX) {
        return SAID_NOTHING;
    }
    put(q, "NOT (");
    q->nested++;
    enum said said = say(q, f->left, FILTER_NOT);
    q->nested--;
    if (said != SAID_EXACT) {
        take_back(q, text, params);
        return SAID_NOTHING;
    }
    put(q, ")");
    return SAID_EXACT;
}

static enum said say(struct filter_sql *q, const struct filter *f, enum filter_type parent) {
    switch (f->type) {
    case FILTER_AND:
    case FILTER_OR:
        return say_pair(q, f, parent);
    case FILTER_NOT:
        return say_not(q, f);
    case FILTER_COMPARE:
        return say_compare(q, f);
    case FILTER_HAS_KEY:
        return say_label(q, f);
    case FILTER_MESSAGE:
        return SAID_NOTHING;
    }
    CHECK(false);
    return SAID_NOTHING;
}

void filter_sql_init(struct filter_sql *q, const struct filter *f, int first_param,
                     const char *create_time) {
    *q = (struct filter_sql){.where = BUF_INIT(BUF_NO_MAX),
                             .first_param = first_param,
                             .create_time = create_time ? create_time : "create_time"};
    q->is_exact = !f || say(q, f, FILTER_COMPARE) == SAID_EXACT;
}

void filter_sql_fini(struct filter_sql *q) {
    buf_fini(&q->where);
    vec_fini(&q->params);
}
