/* JSON writer. */
#include "base/jw.h"

#include "base/shortest.h"

#include <math.h>

void jw_init(struct jw *w, struct buf *b, int indent) {
    *w = (struct jw){.b = b, .indent = indent};
}

static void newline(struct jw *w) {
    static const char spaces[] = "                                ";
    const size_t most = sizeof(spaces) - 1;
    if (w->indent) {
        size_t n = w->depth * (size_t)w->indent;
        buf_putc(w->b, '\n');
        for (; n > most; n -= most) {
            buf_put(w->b, spaces, most);
        }
        buf_put(w->b, spaces, n);
    }
}

static void before_value(struct jw *w) {
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    if (w->depth) {
        if (w->has_items[w->depth - 1]) {
            buf_putc(w->b, ',');
        }
        w->has_items[w->depth - 1] = true;
        newline(w);
    }
}

static void open(struct jw *w, char c) {
    before_value(w);
    CHECK(w->depth < JW_MAX_DEPTH);
    buf_putc(w->b, c);
    w->has_items[w->depth++] = false;
}

static void close(struct jw *w, char c) {
    CHECK(w->depth > 0 && !w->after_key);
    w->depth--;
    if (w->has_items[w->depth]) {
        newline(w);
    }
    buf_putc(w->b, c);
}

void jw_object(struct jw *w) {
    open(w, '{');
}
void jw_end_object(struct jw *w) {
    close(w, '}');
}
void jw_array(struct jw *w) {
    open(w, '[');
}
void jw_end_array(struct jw *w) {
    close(w, ']');
}

/* Length of the well-formed UTF-8 sequence at the start of s, or 0. */
static size_t utf8_at(struct str s) {
    unsigned char c = (unsigned char)s.p[0];
    size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    return n <= s.n && str_is_utf8(str_n(s.p, n)) ? n : 0;
}

/* Of the bytes at p, eight at once: is there one that quoted() has to look at? May say yes without
 * need (a borrow from a neighbour), never no. */
static bool is_special_in_8(const char *p) {
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    uint64_t control = v - ones * 0x20; /* a byte below 0x20 borrows */
    uint64_t quote = (v ^ ones * '"') - ones, backslash = (v ^ ones * '\\') - ones;
    uint64_t delete = (v ^ ones * 0x7f) - ones;
    return ((control | quote | backslash | delete | v) & tops) != 0;
}

static void quoted(struct jw *w, struct str s) {
    static const char hex[] = "0123456789abcdef";
    if (s.n == 0) { /* p may be NULL, to which nothing may be added, not even 0 */
        buf_puts(w->b, "\"\"");
        return;
    }
    buf_putc(w->b, '"');
    size_t from = 0, i = 0;
    while (i < s.n) {
        if (s.n - i >= 8 && !is_special_in_8(s.p + i)) {
            i += 8;
            continue;
        }
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != 0x7f) {
            i++;
            continue;
        }
        size_t len = c >= 0x80 ? utf8_at(str_sub(s, i, s.n)) : 0;
        if (len) {
            i += len;
            continue;
        }
        buf_put(w->b, s.p + from, i - from);
        switch (c) {
        case '"':
            buf_puts(w->b, "\\\"");
            break;
        case '\\':
            buf_puts(w->b, "\\\\");
            break;
        case '\n':
            buf_puts(w->b, "\\n");
            break;
        case '\r':
            buf_puts(w->b, "\\r");
            break;
        case '\t':
            buf_puts(w->b, "\\t");
            break;
        default:
            if (c >= 0x80) {
                buf_puts(w->b, "\xef\xbf\xbd");
            } else {
                char u[] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
                buf_put(w->b, u, sizeof(u));
            }
        }
        from = ++i;
    }
    buf_put(w->b, s.p + from, s.n - from);
    buf_putc(w->b, '"');
}

void jw_key_str(struct jw *w, struct str key) {
    CHECK(!w->after_key);
    before_value(w);
    quoted(w, key);
    buf_puts(w->b, w->indent ? ": " : ":");
    w->after_key = true;
}

void jw_key(struct jw *w, const char *key) {
    jw_key_str(w, str_of(key));
}

void jw_str(struct jw *w, struct str s) {
    before_value(w);
    quoted(w, s);
}

void jw_cstr(struct jw *w, const char *s) {
    if (s) {
        jw_str(w, str_of(s));
    } else {
        jw_null(w);
    }
}

void jw_i64(struct jw *w, int64_t v) {
    before_value(w);
    buf_put_i64(w->b, v);
}

void jw_u64(struct jw *w, uint64_t v) {
    before_value(w);
    buf_put_u64(w->b, v);
}

void jw_i64_string(struct jw *w, int64_t v) {
    before_value(w);
    buf_putc(w->b, '"');
    buf_put_i64(w->b, v);
    buf_putc(w->b, '"');
}

void jw_double(struct jw *w, double v) {
    before_value(w);
    if (isnan(v)) {
        buf_puts(w->b, "\"NaN\"");
    } else if (isinf(v)) {
        buf_puts(w->b, v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    } else {
        char text[SHORTEST_TEXT_MAX];
        buf_put(w->b, text, shortest_text(v, text));
    }
}

void jw_bool(struct jw *w, bool v) {
    before_value(w);
    buf_puts(w->b, v ? "true" : "false");
}

void jw_null(struct jw *w) {
    before_value(w);
    buf_puts(w->b, "null");
}

void jw_raw(struct jw *w, struct str json) {
    before_value(w);
    buf_put_str(w->b, json);
}

void jw_kv(struct jw *w, const char *key, const char *value) {
    if (value) {
        jw_key(w, key);
        jw_cstr(w, value);
    }
}

void jw_kv_u64_string(struct jw *w, const char *key, uint64_t v) {
    jw_key(w, key);
    before_value(w);
    buf_putc(w->b, '"');
    buf_put_u64(w->b, v);
    buf_putc(w->b, '"');
}
