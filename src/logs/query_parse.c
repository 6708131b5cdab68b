/* Text -> tree. Recursive descent; depth and terms are bounded. */
#include "logs/query_int.h"

#include "base/limits.h"
#include "base/vec.h"
#include "logs/recognise.h"

#include <time.h>

struct parser {
    struct arena *a;
    struct str text;
    size_t at;
    unsigned terms, depth;
    struct query *q;
    struct err *err;
};

static int wrong(struct parser *p, const char *what) {
    auto_buf struct buf b = BUF_INIT(512);
    struct str near = str_sub(p->text, p->at, 24);
    while (near.n && !str_is_utf8(near)) {
        near.n--; /* cut within a character */
    }
    buf_printf(&b, "Unparsable filter: %s at position %zu", what, p->at + 1);
    if (near.n) {
        buf_printf(&b, ", before '%.*s'", STR_ARG(near));
    }
    return err_field(p->err, ERR_INVALID_ARGUMENT, "filter", "%s", buf_cstr(&b));
}

static void skip_space(struct parser *p) {
    for (;;) {
        while (p->at < p->text.n && strchr(" \t\r\n", p->text.p[p->at]) && p->text.p[p->at]) {
            p->at++;
        }
        if (!str_starts(str_sub(p->text, p->at, 2), STR("--"))) {
            return;
        }
        while (p->at < p->text.n && p->text.p[p->at] != '\n') {
            p->at++;
        }
    }
}

static char peek(struct parser *p) {
    return p->at < p->text.n ? p->text.p[p->at] : 0;
}

static bool is_word_char(char c) {
    return c && !strchr(" \t\r\n()\"'=!<>:~,", c);
}

/* A keyword stands alone: "ANDROID" is none. */
static bool keyword(struct parser *p, const char *word) {
    size_t n = strlen(word);
    skip_space(p);
    if (!str_eqc(str_sub(p->text, p->at, n), word) ||
        (p->at + n < p->text.n && is_word_char(p->text.p[p->at + n]))) {
        return false;
    }
    p->at += n;
    return true;
}

static int quoted(struct parser *p, struct str *ret) {
    char end = peek(p);
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    size_t from = p->at++;
    while (p->at < p->text.n && p->text.p[p->at] != end) {
        char c = p->text.p[p->at++];
        if (c == '\\' && p->at < p->text.n) {
            char next = p->text.p[p->at++];
            if (next == 'n' || next == 't' || next == 'r') {
                c = next == 'n' ? '\n' : next == 't' ? '\t' : '\r';
            } else if (next == '\\' || next == '"' || next == '\'') {
                c = next;
            } else {
                buf_putc(&b, '\\'); /* a pattern's: kept */
                c = next;
            }
        }
        buf_putc(&b, c);
    }
    if (p->at >= p->text.n) {
        p->at = from;
        return wrong(p, "a quoted text without its end");
    }
    p->at++;
    *ret = arena_str(p->a, buf_str(&b));
    return ret->p ? 0 : wrong(p, "too long a text");
}

static struct query_node *node_new(struct parser *p, enum query_kind kind) {
    struct query_node *n = arena_own(p->a, sizeof(*n));
    n->kind = kind;
    n->severity = -1;
    return n;
}

static struct query_node *join(struct parser *p, enum query_kind kind, struct query_node *l,
                               struct query_node *r) {
    struct query_node *n;
    if (!l || !r) {
        return l ? l : r;
    }
    n = node_new(p, kind);
    n->l = l;
    n->r = r;
    return n;
}

/* RFC 3339 with up to nine digits of fraction; also a date alone, midnight UTC. */
static bool parse_time(struct str s, int64_t *ret_sec, int32_t *ret_nanos) {
    auto_buf struct buf b = BUF_INIT(64);
    usec_t t;
    *ret_nanos = 0;
    if (s.n == 10) {
        buf_printf(&b, "%.*sT00:00:00Z", STR_ARG(s));
        s = buf_str(&b);
    } else if (s.n > 24 && (s.p[s.n - 5] == '+' || s.p[s.n - 5] == '-')) {
        /* "+0000" without its colon: what Python's strftime makes, and google-cloud-logging sends
         */
        buf_printf(&b, "%.*s:%.*s", (int)s.n - 2, s.p, 2, s.p + s.n - 2);
        s = buf_str(&b);
    }
    if (s.n < 20 || time_parse_rfc3339(s, &t, NULL)) {
        return false;
    }
    int32_t scale = 100000000;
    if (s.p[19] == '.') {
        for (size_t i = 20; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++, scale /= 10) {
            *ret_nanos += (s.p[i] - '0') * scale;
        }
    }
    *ret_sec = (int64_t)(t / USEC_PER_SEC);
    return true;
}

static int compile_pattern(struct parser *p, struct query_node *n) {
    const char *why;
    n->pattern = pattern_new(n->value, &why);
    return n->pattern ? 0 : wrong(p, why);
}

static int finish_test(struct parser *p, struct query_node *n) {
    if (++p->terms > limits.max_filter_terms) {
        limits_hit(&limits.max_filter_terms);
        return wrong(p, "more terms than max_filter_terms");
    }
    n->is_number = str_to_double(n->value, &n->number);
    n->is_time = parse_time(n->value, &n->sec, &n->nanos);
    if (!severity_from_word(n->value, &n->severity)) {
        n->severity = -1;
    }
    if (n->nr_path == 1 &&
        (str_ieq(n->path[0], STR("timestamp")) || str_ieq(n->path[0], STR("receiveTimestamp"))) &&
        !n->is_time && !(n->op == OP_HAS && str_eqc(n->value, "*"))) {
        return wrong(p, "a time that is not RFC 3339");
    }
    if (n->nr_path == 1 && str_ieq(n->path[0], STR("severity")) && n->severity < 0 &&
        n->op != OP_MATCH && n->op != OP_NO_MATCH && !str_eqc(n->value, "*")) {
        return wrong(p, "a severity that does not exist");
    }
    if ((n->op == OP_MATCH || n->op == OP_NO_MATCH) && compile_pattern(p, n)) {
        return -1;
    }
    n->next = p->q->tests;
    p->q->tests = n;
    return 0;
}

static int value(struct parser *p, struct query_node *n) {
    skip_space(p);
    char c = peek(p);
    if (c == '"' || c == '\'') {
        n->is_quoted = true;
        return quoted(p, &n->value);
    }
    size_t from = p->at;
    /* Times stand unquoted too: a colon is part of a bare value. */
    while (p->at < p->text.n && (is_word_char(peek(p)) || peek(p) == ':')) {
        p->at++;
    }
    if (p->at == from) {
        return wrong(p, "no value");
    }
    n->value = arena_str(p->a, str_sub(p->text, from, p->at - from));
    return n->value.p ? 0 : wrong(p, "too long a value");
}

static bool operator(struct parser *p, enum query_op *ret) {
    static const struct {
        const char *text;
        enum query_op op;
    } ops[] = {{"=~", OP_MATCH}, {"!~", OP_NO_MATCH}, {"!=", OP_NE}, {">=", OP_GE}, {"<=", OP_LE},
               {"=", OP_EQ},     {">", OP_GT},        {"<", OP_LT},  {":", OP_HAS}};
    skip_space(p);
    for (size_t i = 0; i < NR_OF(ops); i++) {
        if (str_starts(str_sub(p->text, p->at, 2), str_of(ops[i].text))) {
            p->at += strlen(ops[i].text);
            *ret = ops[i].op;
            return true;
        }
    }
    return false;
}

static int query_of(struct parser *p, struct query_node **ret);

static int deeper(struct parser *p) {
    if (++p->depth > limits.max_filter_depth) {
        limits_hit(&limits.max_filter_depth);
        return wrong(p, "more parentheses than max_filter_depth");
    }
    return 0;
}

/* field=("a" OR "b") */
static int value_list(struct parser *p, const struct query_node *like, struct query_node **ret) {
    struct query_node *all = NULL;
    enum query_kind kind = Q_AND;
    p->at++;
    do {
        bool negated = keyword(p, "NOT");
        struct query_node *n = node_new(p, Q_TEST);
        n->op = like->op;
        n->nr_path = like->nr_path;
        memcpy(n->path, like->path, sizeof(n->path));
        if (value(p, n) || finish_test(p, n)) {
            return -1;
        }
        if (negated) {
            struct query_node *not_n = node_new(p, Q_NOT);
            not_n->l = n;
            n = not_n;
        }
        all = join(p, kind, all, n);
        kind = keyword(p, "OR") ? Q_OR : (keyword(p, "AND"), Q_AND);
        skip_space(p);
    } while (p->at < p->text.n && peek(p) != ')');
    if (peek(p) != ')') {
        return wrong(p, "a parenthesis that is not closed");
    }
    p->at++;
    *ret = all;
    return 0;
}

static int function(struct parser *p, struct str name, struct query_node **ret) {
    struct query_node *n = node_new(p, Q_TEST);
    bool is_id = str_ieq(name, STR("log_id")), is_search = str_ieq(name, STR("SEARCH"));
    if (!is_id && !is_search) {
        return wrong(p, "a function that is not supported");
    }
    p->at++;
    n->op = is_id ? OP_EQ : OP_TEXT;
    if (value(p, n)) {
        return -1;
    }
    skip_space(p);
    if (is_search && peek(p) == ',') { /* the field narrows what is looked at; all fields are */
        p->at++;
        if (value(p, n)) {
            return -1;
        }
        skip_space(p);
    }
    if (peek(p) != ')') {
        return wrong(p, "a function that is not closed");
    }
    p->at++;
    if (is_id) {
        n->path[0] = STR("log_id");
        n->nr_path = 1;
    }
    *ret = n;
    return finish_test(p, n);
}

/* path op value, or text alone. */
static int test(struct parser *p, struct query_node **ret) {
    struct query_node *n = node_new(p, Q_TEST);
    size_t from = p->at;
    if (is_word_char(peek(p))) {
        while (p->at < p->text.n && is_word_char(peek(p)) && peek(p) != '.') {
            p->at++;
        }
        n->path[n->nr_path++] = str_sub(p->text, from, p->at - from);
    } else if (peek(p) == '"' || peek(p) == '\'') {
        n->is_quoted = true;
        if (quoted(p, &n->path[n->nr_path++])) {
            return -1;
        }
    } else {
        return wrong(p, "neither a field nor a text");
    }
    if (!n->is_quoted && (str_eqc(n->path[0], "AND") || str_eqc(n->path[0], "OR"))) {
        p->at = from;
        return wrong(p, "nothing to combine");
    }
    if (!n->is_quoted && peek(p) == '(') {
        return function(p, n->path[0], ret);
    }
    while (peek(p) == '.') {
        if (n->nr_path == QUERY_PATH_MAX) {
            return wrong(p, "a field of more than 16 parts");
        }
        size_t start = ++p->at;
        if (peek(p) == '"' || peek(p) == '\'') {
            if (quoted(p, &n->path[n->nr_path++])) {
                return -1;
            }
            continue;
        }
        while (p->at < p->text.n && is_word_char(peek(p)) && peek(p) != '.') {
            p->at++;
        }
        n->path[n->nr_path++] = str_sub(p->text, start, p->at - start);
    }
    size_t end = p->at;
    if (!operator(p, &n->op)) {
        p->at = end;
        n->op = OP_TEXT;
        n->value =
            n->is_quoted && n->nr_path == 1 ? n->path[0] : str_sub(p->text, from, end - from);
        n->nr_path = 0;
        *ret = n;
        return finish_test(p, n);
    }
    skip_space(p);
    if (peek(p) == '(') {
        return deeper(p) || value_list(p, n, ret) ? -1 : (p->depth--, 0);
    }
    n->is_quoted = false;
    *ret = n;
    return value(p, n) || finish_test(p, n) ? -1 : 0;
}

static int term(struct parser *p, struct query_node **ret) {
    bool negated = keyword(p, "NOT");
    skip_space(p);
    if (!negated && peek(p) == '-') {
        negated = true;
        p->at++;
        skip_space(p);
    }
    if (peek(p) == '(') {
        p->at++;
        if (deeper(p) || query_of(p, ret)) {
            return -1;
        }
        skip_space(p);
        if (peek(p) != ')') {
            return wrong(p, "a parenthesis that is not closed");
        }
        p->at++;
        p->depth--;
    } else if (test(p, ret)) {
        return -1;
    }
    if (negated) {
        struct query_node *n = node_new(p, Q_NOT);
        n->l = *ret;
        *ret = n;
    }
    return 0;
}

static int query_of(struct parser *p, struct query_node **ret) {
    struct query_node *all = NULL;
    do {
        struct query_node *ors = NULL;
        do {
            struct query_node *n;
            if (term(p, &n)) {
                return -1;
            }
            ors = join(p, Q_OR, ors, n);
        } while (keyword(p, "OR"));
        all = join(p, Q_AND, all, ors);
        (void)keyword(p, "AND");
        skip_space(p);
    } while (p->at < p->text.n && peek(p) != ')');
    *ret = all;
    return 0;
}

int query_parse(struct arena *a, struct str text, struct query **ret, struct err *err) {
    struct parser p = {.a = a, .text = text, .err = err};
    p.q = arena_own(a, sizeof(*p.q));
    if (text.n > limits.max_filter_bytes) {
        limits_hit(&limits.max_filter_bytes);
        return err_field(err, ERR_INVALID_ARGUMENT, "filter",
                         "The filter has %zu bytes; max_filter_bytes is %llu", text.n,
                         (unsigned long long)limits.max_filter_bytes);
    }
    skip_space(&p);
    if (p.at < text.n) {
        int rc = query_of(&p, &p.q->root);
        if (rc == 0 && p.at < text.n) {
            rc = wrong(&p, "a closing parenthesis too many");
        }
        if (rc) {
            query_close(p.q);
            return -1;
        }
    }
    *ret = p.q;
    return 0;
}

void query_close(struct query *q) {
    for (struct query_node *n = q ? q->tests : NULL; n; n = n->next) {
        pattern_free(take(&n->pattern));
    }
}
