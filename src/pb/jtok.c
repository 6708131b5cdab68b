/* JSON tokenizer. */
#include "pb/jtok.h"

#define CONTEXT 20 /* bytes shown on each side of an error */

void jtok_init(struct jtok *t, struct arena *a, struct str json) {
    const char *p = json.p ? json.p : "";
    *t = (struct jtok){.arena = a, .begin = p, .end = p + json.n, .p = p, .at = p};
}

int jtok_fail(const struct jtok *t, const char *at, const char *what, struct err *err) {
    size_t line = 1;
    const char *line_start = t->begin;
    for (const char *p = t->begin; p < at; p++) {
        if (*p == '\n') {
            line++;
            line_start = p + 1;
        }
    }
    const char *from = at - line_start > CONTEXT ? at - CONTEXT : line_start;
    const char *to = t->end - at > CONTEXT ? at + CONTEXT : t->end;
    while (from < at && ((unsigned char)*from & 0xc0) == 0x80) { /* not inside a character */
        from++;
    }
    while (to > at && to < t->end && ((unsigned char)*to & 0xc0) == 0x80) {
        to--;
    }
    const char *newline = memchr(at, '\n', (size_t)(to - at));
    to = newline ? newline : to;
    return err_set(err, ERR_INVALID_ARGUMENT,
                   "Invalid JSON payload received. %s at line %zu, column %zu.\n%.*s\n%*s^", what,
                   line, (size_t)(at - line_start) + 1, (int)(to - from), from, (int)(at - from),
                   "");
}

static int hex4(const char *p, const char *end, unsigned *ret) {
    unsigned v = 0;
    if (end - p < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        unsigned d = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                     : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                            : 99;
        if (d == 99) {
            return -1;
        }
        v = v * 16 + d;
    }
    *ret = v;
    return 0;
}

static size_t put_utf8(char *o, unsigned c) {
    if (c < 0x80) {
        o[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        o[0] = (char)(0xc0 | c >> 6);
        o[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        o[0] = (char)(0xe0 | c >> 12);
        o[1] = (char)(0x80 | (c >> 6 & 0x3f));
        o[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    o[0] = (char)(0xf0 | c >> 18);
    o[1] = (char)(0x80 | (c >> 12 & 0x3f));
    o[2] = (char)(0x80 | (c >> 6 & 0x3f));
    o[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* One escape after the backslash at *p; appends at *o. */
static int unescape(const struct jtok *t, const char **p, const char *end, char **o,
                    struct err *err) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *start = *p - 1;
    char c = *(*p)++;
    const char *hit = c ? strchr(from, c) : NULL;
    if (hit) {
        *(*o)++ = to[hit - from];
        return 0;
    }
    unsigned u, low;
    if (c != 'u' || hex4(*p, end, &u)) {
        return jtok_fail(t, start, "Invalid escape sequence", err);
    }
    *p += 4;
    if (u >= 0xd800 && u < 0xe000) {
        if (u >= 0xdc00 || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u' ||
            hex4(*p + 2, end, &low) || low < 0xdc00 || low > 0xdfff) {
            return jtok_fail(t, start, "Invalid unicode code point", err);
        }
        *p += 6;
        u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
    }
    *o += put_utf8(*o, u);
    return 0;
}

static int scan_string(struct jtok *t, struct err *err) {
    const char *start = t->p + 1, *q = start;
    bool escaped = false;
    while (q < t->end && *q != '"') {
        if ((unsigned char)*q < 0x20) {
            return jtok_fail(t, q, "Control character in string", err);
        }
        if (*q == '\\') {
            escaped = true;
            q++;
            if (q == t->end) {
                break;
            }
        }
        q++;
    }
    if (q >= t->end) {
        return jtok_fail(t, t->at, "Closing quote expected in string", err);
    }
    t->p = q + 1;
    t->type = JTOK_STRING;
    t->raw = str_n(t->at, (size_t)(t->p - t->at));
    t->text = str_n(start, (size_t)(q - start));
    if (!escaped) {
        return 0;
    }
    char *out = arena_alloc(t->arena, t->text.n + 1); /* decoding never makes it longer */
    if (!out) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED,
                       "Message needs more memory than max_message_bytes allows");
    }
    char *o = out;
    for (const char *p = start; p < q;) {
        if (*p != '\\') {
            *o++ = *p++;
            continue;
        }
        p++;
        if (unescape(t, &p, q, &o, err)) {
            return -1;
        }
    }
    t->text = str_n(out, (size_t)(o - out));
    return 0;
}

static const char *digits(const char *q, const char *end) {
    while (q < end && *q >= '0' && *q <= '9') {
        q++;
    }
    return q;
}

static int scan_number(struct jtok *t, struct err *err) {
    const char *q = t->p + (*t->p == '-'), *d = q;
    q = digits(q, t->end);
    bool ok = q > d && (q - d == 1 || *d != '0');
    if (ok && q < t->end && *q == '.') {
        d = ++q;
        q = digits(q, t->end);
        ok = q > d;
    }
    if (ok && q < t->end && (*q == 'e' || *q == 'E')) {
        q++;
        q += q < t->end && (*q == '+' || *q == '-');
        d = q;
        q = digits(q, t->end);
        ok = q > d;
    }
    if (!ok) {
        return jtok_fail(t, t->at, "Unable to parse number", err);
    }
    t->text = t->raw = str_n(t->at, (size_t)(q - t->at));
    t->p = q;
    t->type = JTOK_NUMBER;
    return 0;
}

static int scan_word(struct jtok *t, const char *word, enum jtok_type type, struct err *err) {
    size_t n = strlen(word);
    if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n) != 0) {
        return jtok_fail(t, t->at, "Unexpected token", err);
    }
    t->p += n;
    t->type = type;
    t->text = t->raw = str_n(t->at, n);
    return 0;
}

int jtok_next(struct jtok *t, struct err *err) {
    while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\r' || *t->p == '\t')) {
        t->p++;
    }
    t->at = t->p;
    if (t->p == t->end) {
        t->type = JTOK_END;
        t->text = t->raw = (struct str){0};
        return 0;
    }
    switch (*t->p) {
    case '{':
        return scan_word(t, "{", JTOK_OBJECT, err);
    case '}':
        return scan_word(t, "}", JTOK_OBJECT_END, err);
    case '[':
        return scan_word(t, "[", JTOK_ARRAY, err);
    case ']':
        return scan_word(t, "]", JTOK_ARRAY_END, err);
    case ':':
        return scan_word(t, ":", JTOK_COLON, err);
    case ',':
        return scan_word(t, ",", JTOK_COMMA, err);
    case '"':
        return scan_string(t, err);
    case 't':
        return scan_word(t, "true", JTOK_TRUE, err);
    case 'f':
        return scan_word(t, "false", JTOK_FALSE, err);
    case 'n':
        return scan_word(t, "null", JTOK_NULL, err);
    default:
        if (*t->p == '-' || (*t->p >= '0' && *t->p <= '9')) {
            return scan_number(t, err);
        }
        return jtok_fail(t, t->at, "Unexpected token", err);
    }
}
