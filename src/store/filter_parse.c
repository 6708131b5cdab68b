/* Parses list filters; the grammar is in filter.h. Recursive descent over the text itself: there is
 * no token list, and each mistake is reported with the byte position it was seen at. */
#include "store/filter_int.h"

#include "base/limits.h"
#include "pb/pbinfo.h"

/* Code points shown before and after a mistake. */
#define CONTEXT_BYTES 48

struct parser {
    struct arena *a;
    struct str text;
    const struct filter_schema *schema;
    size_t at;
    size_t nr_terms, depth;
    struct err *err;
    bool failed;
};

/* ---- mistakes */

static bool is_inside_char(struct str s, size_t at) {
    return at > 0 && at < s.n && ((unsigned char)s.p[at] & 0xc0) == 0x80;
}

/* The text around `at` on one line, a caret below it on the next. */
static void point_at(struct buf *b, struct str text, size_t at) {
    size_t from = at > CONTEXT_BYTES ? at - CONTEXT_BYTES : 0;
    size_t to = text.n - at > CONTEXT_BYTES ? at + CONTEXT_BYTES : text.n;
    while (is_inside_char(text, from)) {
        from--;
    }
    while (is_inside_char(text, to)) {
        to--;
    }
    (void)buf_putc(b, '\n');
    for (size_t i = from; i < to; i++) {
        (void)buf_putc(b, (unsigned char)text.p[i] < ' ' ? ' ' : text.p[i]);
    }
    (void)buf_putc(b, '\n');
    for (size_t i = from; i < at; i++) {
        if (!is_inside_char(text, i)) {
            (void)buf_putc(b, ' ');
        }
    }
    (void)buf_putc(b, '^');
}

static struct str shorten(struct str s, size_t max) {
    size_t n = s.n < max ? s.n : max;
    while (is_inside_char(s, n)) {
        n--;
    }
    return str_sub(s, 0, n);
}

static const struct filter *fail(struct parser *p, size_t at, const char *what, struct str got) {
    if (!p->failed) {
        auto_buf struct buf where = BUF_INIT(BUF_NO_MAX);
        struct str shown = shorten(got, 64);
        p->failed = true;
        if (str_is_utf8(p->text)) { /* else the answer could not hold it */
            point_at(&where, p->text, at);
        } else {
            shown = STR("");
        }
        err_field(p->err, ERR_INVALID_ARGUMENT, "filter",
                  "Invalid filter: %s%s%.*s%s at position %zu%s", what, shown.n ? " '" : "",
                  STR_ARG(shown), shown.n ? "'" : "", at + 1, buf_cstr(&where));
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

/* "..." or '...'; a backslash takes the next byte as it is, other stars become FILTER_ANY. */
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
        bool escaped = peek(p) == '\\';
        p->at += escaped;
        if (!at_end(p)) {
            char c = p->text.p[p->at++];
            out[n++] = c == '*' && !escaped ? FILTER_ANY : c;
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

static enum filter_field column_of(struct str name) {
    static const struct {
        const char *name;
        enum filter_field field;
    } columns[] = {
        {"name", FIELD_NAME},
        {"create_time", FIELD_CREATE_TIME},
        {"createTime", FIELD_CREATE_TIME},
        {"update_time", FIELD_UPDATE_TIME},
        {"updateTime", FIELD_UPDATE_TIME},
        /* Of the kinds whose messages have them: */
        {"display_name", FIELD_DISPLAY_NAME},
        {"displayName", FIELD_DISPLAY_NAME},
        {"state", FIELD_STATE},
        {"labels", FIELD_LABEL},
    };
    for (size_t i = 0; i < NR_OF(columns); i++) {
        if (str_eqc(name, columns[i].name)) {
            return columns[i].field;
        }
    }
    return 0;
}

/* The column that serves a field, 0 when none does. */
static enum filter_field column_in(const struct filter_schema *schema, struct str name) {
    enum filter_field f = column_of(name);
    bool always = f == FIELD_NAME || filter_field_is_time(f);
    return !schema || always || (f && pb_field_find(schema->desc, name) >= 0) ? f : 0;
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

struct value {
    size_t at;
    struct str text;    /* as meant: stars are stars */
    struct str pattern; /* with FILTER_ANY; .p NULL when nothing in it is a wildcard */
    bool is_star;       /* a lone wildcard */
};

/* Which wildcards count: all after ":", those at both ends after = and !=, none elsewhere. */
static bool set_pattern(struct parser *p, struct value *v, struct str raw, enum filter_op op) {
    char *text = arena_strndup(p->a, raw.p, raw.n);
    char *pattern = arena_strndup(p->a, raw.p, raw.n);
    bool has_any = false;
    if (!text || !pattern) {
        fail(p, v->at, "too large", STR(""));
        return false;
    }
    for (size_t i = 0; i < raw.n; i++) {
        bool is_end = i == 0 || i + 1 == raw.n;
        if (raw.p[i] != FILTER_ANY) {
            continue;
        }
        text[i] = '*';
        if (op == OP_LIKE || (is_end && (op == OP_EQ || op == OP_NE))) {
            has_any = true;
        } else {
            pattern[i] = '*';
        }
    }
    v->text = str_n(text, raw.n);
    v->pattern = has_any ? str_n(pattern, raw.n) : (struct str){0};
    v->is_star = has_any && raw.n == 1;
    return true;
}

/* A quoted string, or everything up to a space, parenthesis or quote: times and patterns may stand
 * bare. */
static bool value(struct parser *p, enum filter_op op, struct value *ret) {
    struct str raw;
    skip_space(p);
    ret->at = p->at;
    if (!at_end(p) && is_quote(peek(p))) {
        return quoted(p, &raw) && set_pattern(p, ret, raw, op);
    }
    while (!at_end(p) && !is_space(peek(p)) && !is_quote(peek(p)) && peek(p) != '(' &&
           peek(p) != ')' && peek(p) != ',') {
        p->at++;
    }
    struct str bare = str_sub(p->text, ret->at, p->at - ret->at);
    if (bare.n == 0 || is_keyword(bare)) {
        fail(p, ret->at, "expected a value", STR(""));
        return false;
    }
    char *copy = arena_memdup(p->a, bare.p, bare.n);
    if (!copy) {
        fail(p, ret->at, "too large", STR(""));
        return false;
    }
    for (size_t i = 0; i < bare.n; i++) {
        copy[i] = copy[i] == '*' ? FILTER_ANY : copy[i];
    }
    return set_pattern(p, ret, str_n(copy, bare.n), op);
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

static struct filter *negate(struct parser *p, struct filter *f) {
    struct filter *n = f ? node(p, FILTER_NOT) : NULL;
    if (n) {
        n->left = f;
        n->needs_message = f->needs_message;
    }
    return n;
}

struct path {
    struct str steps[PB_PATH_STEPS_MAX];
    size_t at[PB_PATH_STEPS_MAX]; /* where they stand, for messages */
    size_t n;
};

/* What stands after "labels." as it is written: keys of the service's own are host names and paths
 * (labels.aiplatform.googleapis.com/ml_use), and a label has no fields that a dot could lead to. */
static struct str label_key(const struct parser *p) {
    size_t end = p->at;
    while (end < p->text.n && (is_word(p->text.p[end]) || p->text.p[end] == '-' ||
                               p->text.p[end] == '.' || p->text.p[end] == '/')) {
        end++;
    }
    return str_sub(p->text, p->at, end - p->at);
}

/* One name after a dot, quoted or bare. */
static bool path_step(struct parser *p, struct path *path) {
    size_t at = p->at;
    struct str s;
    if (path->n == PB_PATH_STEPS_MAX) {
        fail(p, at, "too many dots", STR(""));
        return false;
    }
    if (!at_end(p) && is_quote(peek(p))) {
        if (!quoted(p, &s)) {
            return false;
        }
        for (size_t i = 0; i < s.n; i++) {
            if (s.p[i] == FILTER_ANY) {
                ((char *)s.p)[i] = '*'; /* a key, not a pattern; the bytes are ours */
            }
        }
    } else {
        bool is_label = path->n == 1 && str_eqc(path->steps[0], "labels");
        s = arena_str(p->a, is_label ? label_key(p) : word(p));
        p->at += s.n;
    }
    if (!s.p || s.n == 0) {
        fail(p, at, "expected a name after '.'", STR(""));
        return false;
    }
    path->at[path->n] = at;
    path->steps[path->n++] = s;
    return true;
}

static bool read_path(struct parser *p, struct path *ret) {
    size_t start = p->at;
    struct str name = word(p);
    if (name.n == 0 || is_keyword(name)) {
        fail(p, start, "expected a field name", name);
        return false;
    }
    p->at += name.n;
    if (peek(p) == '(') {
        fail(p, start, "functions are not supported:", name);
        return false;
    }
    *ret = (struct path){.steps = {arena_str(p->a, name)}, .at = {start}, .n = 1};
    if (!ret->steps[0].p) {
        fail(p, start, "too large", STR(""));
        return false;
    }
    while (peek(p) == '.') {
        p->at++;
        if (!path_step(p, ret)) {
            return false;
        }
    }
    return true;
}

/* "m:key" and "m.key:*" of the labels. */
static const struct filter *label(struct parser *p, const struct path *path, enum filter_op op,
                                  size_t op_at, const struct value *v) {
    bool names_key = path->n == 2;
    if (path->n > 2) {
        return fail(p, path->at[2], "a label has no fields:", path->steps[2]);
    }
    if (!names_key && op != OP_LIKE) {
        return fail(p, op_at, "labels takes ':' and a key (or write labels.KEY = VALUE)", STR(""));
    }
    if (!names_key && v->text.n == 0) {
        return fail(p, v->at, "expected a label key", STR(""));
    }
    bool has_key = names_key ? op == OP_LIKE && v->is_star : !v->pattern.p;
    if (!names_key && v->pattern.p) {
        return fail(p, v->at, "expected a label key without *", STR(""));
    }
    struct filter *f = node(p, has_key ? FILTER_HAS_KEY : FILTER_COMPARE);
    if (!f) {
        return NULL;
    }
    f->field = FIELD_LABEL;
    f->key = names_key ? path->steps[1] : v->text;
    f->op = v->pattern.p || op == OP_LIKE ? OP_LIKE : op;
    f->text = v->pattern.p ? v->pattern : v->text;
    return op == OP_NE && v->pattern.p ? negate(p, f) : f;
}

static const struct filter *time_column(struct parser *p, enum filter_field field,
                                        enum filter_op op, const struct value *v) {
    struct filter *f = node(p, FILTER_COMPARE);
    if (!f) {
        return NULL;
    }
    f->field = field;
    f->op = op == OP_LIKE ? v->is_star ? OP_GE : OP_EQ : op; /* rows always have their times */
    if (!(op == OP_LIKE && v->is_star) && time_parse_rfc3339(v->text, &f->time, NULL) < 0) {
        return fail(p, v->at, "expected an RFC 3339 time, not", v->text);
    }
    return f;
}

/* A state given by number becomes its name; an unknown one is a mistake. */
static bool check_state(struct parser *p, enum filter_op op, size_t op_at, struct value *v) {
    if (op != OP_EQ && op != OP_NE && op != OP_LIKE) {
        fail(p, op_at, "state can only be compared with = != and :", STR(""));
        return false;
    }
    int field = p->schema ? pb_field_find(p->schema->desc, STR("state")) : -1;
    const ProtobufCFieldDescriptor *f = field < 0 ? NULL : &p->schema->desc->fields[field];
    if (!f || f->type != PROTOBUF_C_TYPE_ENUM || v->pattern.p) {
        return true;
    }
    int64_t number;
    const ProtobufCEnumValue *known = str_to_i64(v->text, &number)
                                          ? pb_enum_by_number(f->descriptor, number)
                                          : pb_enum_by_name(f->descriptor, v->text);
    if (!known) {
        fail(p, v->at, "expected a value of the enumeration, by its full name, not", v->text);
        return false;
    }
    v->text = str_of(known->name);
    return true;
}

static const struct filter *text_column(struct parser *p, enum filter_field field,
                                        enum filter_op op, const struct value *v) {
    struct filter *f = node(p, FILTER_COMPARE);
    if (!f) {
        return NULL;
    }
    f->field = field;
    f->op = op;
    f->text = v->pattern.p ? v->pattern : v->text;
    if (op == OP_LIKE && v->is_star) { /* set at all */
        f->op = OP_NE;
        f->text = STR("");
    } else if (v->pattern.p || op == OP_LIKE) {
        /* No wildcard: the same as equal, which SQL can decide. */
        f->op = v->pattern.p ? OP_LIKE : OP_EQ;
        return op == OP_NE ? negate(p, f) : f;
    }
    return f;
}

static const struct filter *message_field(struct parser *p, const struct path *path,
                                          enum filter_op op, size_t op_at, const struct value *v) {
    static const enum pb_op pb_ops[] = {
        [OP_EQ] = PB_OP_EQ, [OP_NE] = PB_OP_EQ, [OP_LT] = PB_OP_LT,    [OP_LE] = PB_OP_LE,
        [OP_GT] = PB_OP_GT, [OP_GE] = PB_OP_GE, [OP_LIKE] = PB_OP_HAS,
    };
    struct pb_path *resolved = arena_alloc(p->a, sizeof(*resolved));
    struct pb_literal *literal = arena_alloc(p->a, sizeof(*literal));
    struct filter *f = node(p, FILTER_MESSAGE);
    if (!resolved || !literal || !f) {
        return fail(p, p->at, "too large", STR(""));
    }
    size_t bad;
    const ProtobufCMessageDescriptor *owner;
    if (pb_path_resolve(p->schema->desc, path->steps, path->n, resolved, &bad, &owner)) {
        char what[200];
        snprintf(what, sizeof(what), "%s%s has no field", owner ? owner->short_name : "",
                 owner ? "" : "a value");
        return fail(p, path->at[bad], bad == 0 ? "unknown field" : what, path->steps[bad]);
    }
    pb_literal_read(v->text, v->pattern, literal);
    f->schema = p->schema;
    f->path = resolved;
    f->literal = literal;
    f->pb_op = op == OP_LIKE && v->is_star ? PB_OP_PRESENT : pb_ops[op];
    f->needs_message = true;
    const char *expects = pb_path_expects(resolved, f->pb_op, literal);
    if (expects) {
        char what[200];
        bool about_op = strncmp(expects, "one of", 6) == 0;
        snprintf(what, sizeof(what), "expected %s%s", expects, about_op ? "" : ", not");
        return fail(p, about_op ? op_at : v->at, what, about_op ? STR("") : v->text);
    }
    return op == OP_NE ? negate(p, f) : f;
}

static const struct filter_alias *alias_of(const struct filter_schema *schema,
                                           const struct path *path) {
    for (size_t i = 0; schema && i < schema->nr_aliases && path->n == 1; i++) {
        if (str_eqc(path->steps[0], schema->aliases[i].name) ||
            str_eqc(path->steps[0], schema->aliases[i].camel)) {
            return &schema->aliases[i];
        }
    }
    return NULL;
}

/* The path it stands for, as if written where the alias is. */
static void follow_alias(struct path *path, const char *to) {
    size_t at = path->at[0];
    struct str rest = str_of(to);
    path->n = 0;
    while (rest.p) {
        CHECK(path->n < PB_PATH_STEPS_MAX);
        path->at[path->n] = at;
        path->steps[path->n++] = str_cut(&rest, '.');
    }
}

/* The last segment of the name: the same as a comparison of the whole of it. */
static const struct filter *last_segment(struct parser *p, const struct filter_alias *alias,
                                         enum filter_op op, size_t op_at, const struct value *v) {
    struct value whole = *v;
    if (op != OP_EQ && op != OP_NE) {
        return fail(p, op_at, "only = and != can be used with", str_of(alias->name));
    }
    struct str text = v->pattern.p ? v->pattern : v->text;
    size_t n = alias->before.n ? alias->before.n : 2;
    char *all = arena_alloc(p->a, n + text.n + 1);
    if (!all) {
        return fail(p, v->at, "too large", STR(""));
    }
    if (alias->before.n) {
        memcpy(all, alias->before.p, n);
    } else {
        all[0] = FILTER_ANY;
        all[1] = '/';
    }
    memcpy(all + n, text.p, text.n);
    whole.text = str_n(all, n + text.n);
    whole.pattern = v->pattern.p || !alias->before.n ? whole.text : (struct str){0};
    whole.is_star = false;
    return text_column(p, FIELD_NAME, op, &whole);
}

static const struct filter *restriction(struct parser *p) {
    struct path path;
    struct value v;
    enum filter_op op;
    if (!read_path(p, &path)) {
        return NULL;
    }
    const struct filter_alias *alias = alias_of(p->schema, &path);
    if (alias && alias->path) {
        follow_alias(&path, alias->path);
    }
    if (++p->nr_terms > limits.max_filter_terms) {
        return fail_limit(p, &limits.max_filter_terms, "max_filter_terms");
    }
    enum filter_field column = column_in(p->schema, path.steps[0]);
    if (!column && !alias && (!p->schema || pb_field_find(p->schema->desc, path.steps[0]) < 0)) {
        return fail(p, path.at[0], "unknown field", path.steps[0]);
    }
    skip_space(p);
    size_t op_at = p->at;
    if (!operator(p, &op) || !value(p, op, &v)) {
        return NULL;
    }
    if (alias && !alias->path) {
        return last_segment(p, alias, op, op_at, &v);
    }
    if (column == FIELD_LABEL) {
        return label(p, &path, op, op_at, &v);
    }
    if (!column) {
        return message_field(p, &path, op, op_at, &v);
    }
    if (path.n > 1) {
        return fail(p, path.at[1], "a value has no field", path.steps[1]);
    }
    if (filter_field_is_time(column)) {
        return time_column(p, column, op, &v);
    }
    if (column == FIELD_STATE && !check_state(p, op, op_at, &v)) {
        return NULL;
    }
    return text_column(p, column, op, &v);
}

/* ---- the boolean layers */

static const struct filter *conjunction(struct parser *p);

static const struct filter *join(struct parser *p, enum filter_type type, const struct filter *left,
                                 const struct filter *right) {
    struct filter *f = left && right ? node(p, type) : NULL;
    if (f) {
        /* What decodes the row is looked at last. */
        bool swap = left->needs_message && !right->needs_message;
        f->left = swap ? right : left;
        f->right = swap ? left : right;
        f->needs_message = left->needs_message || right->needs_message;
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
        n->needs_message = f->needs_message;
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

int filter_parse(struct arena *a, struct str text, const struct filter_schema *schema,
                 const struct filter **ret, struct err *err) {
    struct parser p = {.a = a, .text = text, .schema = schema, .err = err};
    if (text.n > limits.max_filter_bytes) {
        fail_limit(&p, &limits.max_filter_bytes, "max_filter_bytes");
        return -1;
    }
    const char *nul = text.n ? memchr(text.p, FILTER_ANY, text.n) : NULL;
    if (nul) {
        fail(&p, (size_t)(nul - text.p), "a NUL byte", STR(""));
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
