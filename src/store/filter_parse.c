/* Parses list filters and orderBy; the grammar is in filter.h. Recursive descent over the text
 * itself: there is no token list, and each mistake is reported with the byte position it was seen
 * at. */
#include "store/filter_int.h"

#include "base/limits.h"

struct parser {
    struct arena *a;
    struct str text;
    size_t at;
    size_t nr_terms, depth;
    struct err *err;
    bool failed;
};

static const struct filter *fail(struct parser *p, size_t at, const char *what, struct str got) {
    if (!p->failed) {
        p->failed = true;
        err_field(p->err, ERR_INVALID_ARGUMENT, "filter",
                  "Invalid filter: %s%s%.*s%s at position %zu", what, got.n ? " '" : "",
                  (int)(got.n < 64 ? got.n : 64), got.n ? got.p : "", got.n ? "'" : "", at + 1);
    }
    return NULL;
}

static const struct filter *fail_limit(struct parser *p, const uint64_t *limit, const char *name) {
    if (!p->failed) {
        p->failed = true;
        limits_hit(limit);
        err_field(p->err, ERR_INVALID_ARGUMENT, "filter",
                  "Invalid filter: larger than the limit %s = %llu", name,
                  (unsigned long long)*limit);
    }
    return NULL;
}

/* ---- characters */

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static bool is_quote(char c) {
    return c == '"' || c == '\'';
}

static char peek(const struct parser *p) {
    return p->at < p->text.n ? p->text.p[p->at] : 0;
}

static bool at_end(const struct parser *p) {
    return p->at >= p->text.n;
}

static void skip_space(struct parser *p) {
    while (!at_end(p) && is_space(peek(p))) {
        p->at++;
    }
}

/* The word at the cursor, not consumed: letters, digits, _ and inner -. */
static struct str word(const struct parser *p) {
    size_t end = p->at;
    while (end < p->text.n && (is_word(p->text.p[end]) || (end > p->at && p->text.p[end] == '-'))) {
        end++;
    }
    return str_sub(p->text, p->at, end - p->at);
}

static bool take_word(struct parser *p, const char *keyword) {
    if (!str_eqc(word(p), keyword)) {
        return false;
    }
    p->at += strlen(keyword);
    return true;
}

static bool is_keyword(struct str s) {
    return str_eq(s, STR("AND")) || str_eq(s, STR("OR")) || str_eq(s, STR("NOT"));
}

/* "..." or '...'; a backslash takes the next byte as it is. */
static bool quoted(struct parser *p, struct str *ret) {
    size_t start = p->at;
    char quote = p->text.p[p->at++];
    char *out = arena_alloc(p->a, p->text.n - start + 1);
    size_t n = 0;
    if (!out) {
        fail(p, start, "too large", STR(""));
        return false;
    }
    while (!at_end(p) && peek(p) != quote) {
        if (peek(p) == '\\') {
            p->at++;
        }
        if (!at_end(p)) {
            out[n++] = p->text.p[p->at++];
        }
    }
    if (at_end(p)) {
        fail(p, start, "string without its closing quote", STR(""));
        return false;
    }
    p->at++;
    *ret = str_n(out, n);
    return true;
}

/* ---- restrictions */

static const struct {
    const char *name;
    enum filter_field field;
} fields[] = {
    {"name", FIELD_NAME},
    {"display_name", FIELD_DISPLAY_NAME},
    {"displayName", FIELD_DISPLAY_NAME},
    {"state", FIELD_STATE},
    {"create_time", FIELD_CREATE_TIME},
    {"createTime", FIELD_CREATE_TIME},
    {"update_time", FIELD_UPDATE_TIME},
    {"updateTime", FIELD_UPDATE_TIME},
};

static enum filter_field field_of(struct str name) {
    for (size_t i = 0; i < NR_OF(fields); i++) {
        if (str_eqc(name, fields[i].name)) {
            return fields[i].field;
        }
    }
    return 0;
}

static bool operator(struct parser *p, enum filter_op *ret) {
    static const struct {
        struct str text;
        enum filter_op op;
    } ops[] = {{{"!=", 2}, OP_NE}, {{"<=", 2}, OP_LE}, {{">=", 2}, OP_GE}, {{"=", 1}, OP_EQ},
               {{"<", 1}, OP_LT},  {{">", 1}, OP_GT},  {{":", 1}, OP_LIKE}};
    skip_space(p);
    struct str rest = str_sub(p->text, p->at, p->text.n);
    for (size_t i = 0; i < NR_OF(ops); i++) {
        if (str_starts(rest, ops[i].text)) {
            p->at += ops[i].text.n;
            *ret = ops[i].op;
            return true;
        }
    }
    fail(p, p->at, "expected a comparison (= != < <= > >= :)", STR(""));
    return false;
}

/* A quoted string, or everything up to a space, parenthesis or quote: times and patterns may stand
 * bare. *ret_at: where it began, for messages. */
static bool value(struct parser *p, struct str *ret, bool *ret_quoted, size_t *ret_at) {
    skip_space(p);
    *ret_at = p->at;
    *ret_quoted = !at_end(p) && is_quote(peek(p));
    if (*ret_quoted) {
        return quoted(p, ret);
    }
    while (!at_end(p) && !is_space(peek(p)) && !is_quote(peek(p)) && peek(p) != '(' &&
           peek(p) != ')' && peek(p) != ',') {
        p->at++;
    }
    *ret = str_sub(p->text, *ret_at, p->at - *ret_at);
    if (ret->n == 0 || is_keyword(*ret)) {
        fail(p, *ret_at, "expected a value", STR(""));
        return false;
    }
    *ret = arena_str(p->a, *ret);
    if (!ret->p) {
        fail(p, *ret_at, "too large", STR(""));
        return false;
    }
    return true;
}

static struct filter *node(struct parser *p, enum filter_type type) {
    struct filter *f = arena_alloc(p->a, sizeof(*f));
    if (!f) {
        fail(p, p->at, "too large", STR(""));
        return NULL;
    }
    f->type = type;
    return f;
}

static bool set_time(struct parser *p, struct filter *f, struct str text, size_t at) {
    if (f->op == OP_LIKE) {
        fail(p, at, "':' cannot be used with a time", STR(""));
        return false;
    }
    if (time_parse_rfc3339(text, &f->time, NULL) < 0) {
        fail(p, at, "expected an RFC 3339 time, not", text);
        return false;
    }
    return true;
}

/* The label key after "labels."; "" is refused. */
static bool label_key(struct parser *p, struct str *ret) {
    size_t at = p->at;
    if (!at_end(p) && is_quote(peek(p))) {
        if (!quoted(p, ret)) {
            return false;
        }
    } else {
        *ret = arena_str(p->a, word(p));
        p->at += ret->n;
    }
    if (!ret->p || ret->n == 0) {
        fail(p, at, "expected a label key", STR(""));
        return false;
    }
    return true;
}

static const struct filter *has_key(struct parser *p) {
    enum filter_op op;
    struct str key;
    bool is_quoted;
    size_t op_at = p->at, at;
    if (!operator(p, &op) || !value(p, &key, &is_quoted, &at)) {
        return NULL;
    }
    if (op != OP_LIKE) {
        return fail(p, op_at, "labels takes ':' and a key (or write labels.KEY = VALUE)", STR(""));
    }
    if (key.n == 0) {
        return fail(p, at, "expected a label key", STR(""));
    }
    struct filter *f = node(p, FILTER_HAS_KEY);
    if (f) {
        f->key = key;
    }
    return f;
}

static const struct filter *restriction(struct parser *p) {
    size_t start = p->at;
    struct str name = word(p);
    if (name.n == 0 || is_keyword(name)) {
        return fail(p, start, "expected a field name", name);
    }
    if (++p->nr_terms > limits.max_filter_terms) {
        return fail_limit(p, &limits.max_filter_terms, "max_filter_terms");
    }
    struct filter *f = node(p, FILTER_COMPARE);
    if (!f) {
        return NULL;
    }
    p->at += name.n;
    if (str_eq(name, STR("labels"))) {
        f->field = FIELD_LABEL;
        if (peek(p) != '.') {
            return has_key(p);
        }
        p->at++;
        if (!label_key(p, &f->key)) {
            return NULL;
        }
    } else {
        f->field = field_of(name);
        if (!f->field) {
            return fail(p, start, "unknown field", name);
        }
    }
    struct str text;
    bool is_quoted;
    size_t at, op_at = p->at;
    if (!operator(p, &f->op) || !value(p, &text, &is_quoted, &at)) {
        return NULL;
    }
    if (filter_field_is_time(f->field)) {
        return set_time(p, f, text, at) ? f : NULL;
    }
    if (f->field == FIELD_STATE && f->op != OP_EQ && f->op != OP_NE && f->op != OP_LIKE) {
        return fail(p, op_at, "state can only be compared with = != and :", STR(""));
    }
    f->text = text;
    if (f->field == FIELD_LABEL && f->op == OP_LIKE && str_eq(text, STR("*"))) {
        f->type = FILTER_HAS_KEY;
    }
    return f;
}

/* ---- the boolean layers */

static const struct filter *conjunction(struct parser *p);

static const struct filter *join(struct parser *p, enum filter_type type, const struct filter *left,
                                 const struct filter *right) {
    struct filter *f = left && right ? node(p, type) : NULL;
    if (f) {
        f->left = left;
        f->right = right;
    }
    return f;
}

static const struct filter *term(struct parser *p) {
    bool negated = false;
    skip_space(p);
    if (peek(p) == '-' && !at_end(p)) {
        p->at++;
        negated = true;
    } else if (take_word(p, "NOT")) {
        skip_space(p);
        negated = true;
    }
    const struct filter *f;
    if (peek(p) == '(') {
        size_t open = p->at++;
        if (++p->depth > limits.max_filter_depth) {
            return fail_limit(p, &limits.max_filter_depth, "max_filter_depth");
        }
        f = conjunction(p);
        p->depth--;
        skip_space(p);
        if (f && peek(p) != ')') {
            return at_end(p) ? fail(p, open, "parenthesis never closed", STR(""))
                             : fail(p, p->at, "unexpected", str_sub(p->text, p->at, 1));
        }
        p->at++;
    } else {
        f = restriction(p);
    }
    if (!f || !negated) {
        return f;
    }
    struct filter *n = node(p, FILTER_NOT);
    if (n) {
        n->left = f;
    }
    return n;
}

static const struct filter *disjunction(struct parser *p) {
    const struct filter *f = term(p);
    for (;;) {
        skip_space(p);
        if (!f || !take_word(p, "OR")) {
            return f;
        }
        f = join(p, FILTER_OR, f, term(p));
    }
}

/* AND and juxtaposition mean the same, so one loop serves both. */
static const struct filter *conjunction(struct parser *p) {
    const struct filter *f = disjunction(p);
    for (;;) {
        skip_space(p);
        if (!f || at_end(p) || peek(p) == ')') {
            return f;
        }
        take_word(p, "AND");
        f = join(p, FILTER_AND, f, disjunction(p));
    }
}

int filter_parse(struct arena *a, struct str text, const struct filter **ret, struct err *err) {
    struct parser p = {.a = a, .text = text, .err = err};
    if (text.n > limits.max_filter_bytes) {
        fail_limit(&p, &limits.max_filter_bytes, "max_filter_bytes");
        return -1;
    }
    skip_space(&p);
    const struct filter *f = NULL;
    if (!at_end(&p)) {
        f = conjunction(&p);
        skip_space(&p);
        if (f && !at_end(&p)) {
            f = fail(&p, p.at, "unexpected", str_sub(text, p.at, 1));
        }
    }
    if (p.failed) {
        return -1;
    }
    *ret = f;
    return 0;
}

int order_parse(struct str text, enum store_order_field *ret_field, bool *ret_descending,
                struct err *err) {
    static const enum store_order_field order_of[] = {
        [FIELD_NAME] = STORE_ORDER_NAME,
        [FIELD_DISPLAY_NAME] = STORE_ORDER_DISPLAY_NAME,
        [FIELD_CREATE_TIME] = STORE_ORDER_CREATE_TIME,
        [FIELD_UPDATE_TIME] = STORE_ORDER_UPDATE_TIME,
    };
    struct str rest = str_trim(text);
    if (rest.n == 0) {
        *ret_field = STORE_ORDER_CREATE_TIME;
        *ret_descending = true;
        return 0;
    }
    struct str name = str_cut(&rest, ' ');
    struct str direction = str_trim(rest);
    bool is_desc = str_eq(direction, STR("desc"));
    enum filter_field field = field_of(name);
    if (!field || field == FIELD_STATE ||
        (direction.n && !is_desc && !str_eq(direction, STR("asc")))) {
        return err_field(err, ERR_INVALID_ARGUMENT, "order_by",
                         "Invalid order_by '%.*s': expected one of create_time, update_time, "
                         "display_name, name, optionally followed by desc",
                         (int)(text.n < 128 ? text.n : 128), text.p);
    }
    *ret_field = order_of[field];
    *ret_descending = is_desc;
    return 0;
}
