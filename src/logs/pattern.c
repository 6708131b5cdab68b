/* See pattern.h. */
#include "logs/pattern.h"

#include "base/mem.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define PATTERN_MAX 512    /* bytes of source */
#define STEPS_MAX 100000   /* of one match: about a millisecond */
#define DEPTH_MAX 1000     /* of its backtracking */
#define HEAP_MAX_KIB 1024  /* of its memory */
#define STRIKES_MAX 100    /* matches cut short before the pattern is given up */
#define COMPILED_MAX 65536 /* bytes; counts multiply what they repeat */

struct pattern {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *limits;
    unsigned strikes;
};

/* What RE2 does not know, because it makes matching slow. */
static const char *refused(struct str s) {
    bool in_class = false;
    for (size_t i = 0; i + 1 < s.n; i++) {
        char c = s.p[i], next = s.p[i + 1];
        if (c == '\\') {
            if (!in_class && ((next >= '1' && next <= '9') || next == 'k' || next == 'g')) {
                return "a pattern with a back reference";
            }
            i++;
            continue;
        }
        in_class = (c == '[' && !in_class) || (in_class && c != ']');
        if (in_class || c != '(') {
            continue;
        }
        if (next == '*') {
            return "a pattern with a verb";
        }
        char kind = next == '?' && i + 2 < s.n ? s.p[i + 2] : 0;
        char after = kind && i + 3 < s.n ? s.p[i + 3] : 0;
        if (kind == '=' || kind == '!' || (kind == '<' && (after == '=' || after == '!'))) {
            return "a pattern that looks around";
        }
        if (kind == 'R' || kind == '&' || kind == '+' || kind == '(' || kind == '|' ||
            kind == '>' || kind == 'C' || kind == '#' || (kind == 'P' && after != '<') ||
            (kind >= '0' && kind <= '9')) {
            return "a pattern with a group that is not RE2's";
        }
    }
    return NULL;
}

struct pattern *pattern_new(struct str s, const char **ret_why) {
    if (s.n > PATTERN_MAX) {
        *ret_why = "a pattern of more than 512 bytes";
        return NULL;
    }
    if ((*ret_why = refused(s))) {
        return NULL;
    }
    int code;
    PCRE2_SIZE at;
    pcre2_compile_context *how = pcre2_compile_context_create(NULL);
    CHECK(how);
    pcre2_set_parens_nest_limit(how, 50);
    struct pattern p = {0};
    p.code = pcre2_compile((PCRE2_SPTR)(s.n ? s.p : ""), s.n,
                           PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C, &code,
                           &at, how);
    pcre2_compile_context_free(how);
    size_t size = 0;
    if (p.code) {
        pcre2_pattern_info(p.code, PCRE2_INFO_SIZE, &size);
    }
    if (!p.code || size > COMPILED_MAX) {
        pcre2_code_free(p.code);
        *ret_why =
            size ? "a pattern with too large a count" : "a pattern that is no regular expression";
        return NULL;
    }
    p.data = pcre2_match_data_create(1, NULL);
    p.limits = pcre2_match_context_create(NULL);
    CHECK(p.data && p.limits);
    pcre2_set_match_limit(p.limits, STEPS_MAX);
    pcre2_set_depth_limit(p.limits, DEPTH_MAX);
    pcre2_set_heap_limit(p.limits, HEAP_MAX_KIB);
    struct pattern *ret = xmalloc(sizeof(*ret));
    *ret = p;
    return ret;
}

void pattern_free(struct pattern *p) {
    if (p) {
        pcre2_code_free(p->code);
        pcre2_match_data_free(p->data);
        pcre2_match_context_free(p->limits);
        free(p);
    }
}

bool pattern_matches(struct pattern *p, struct str text) {
    if (p->strikes >= STRIKES_MAX) {
        return false;
    }
    int rc =
        pcre2_match(p->code, (PCRE2_SPTR)(text.n ? text.p : ""), text.n, 0, 0, p->data, p->limits);
    p->strikes +=
        rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT;
    return rc >= 0;
}
