/* Lines of a metrics file: see metrics_file.h. A reader of its own, not the API's JSON: it has to
 * take NaN, must not be strict with what a user's own program writes, and bounds a line at 4 KiB.
 */
#include "engine/local/metrics_file.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#define TIME_MAX_SEC 9.0e9 /* the year 2255 */

struct cursor {
    const char *p, *end;
};

/* One key's or value's text, unescaped; longer than any of use: dropped. */
struct token {
    char text[METRIC_TAG_MAX + 1];
    size_t n;
    bool too_long;
};

struct line {
    struct token tags[METRICS_LINE_TAGS];
    double values[METRICS_LINE_TAGS];
    size_t nr_tags;
    usec_t timestamp;
    int64_t step;
};

static void skip_space(struct cursor *c) {
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\r')) {
        c->p++;
    }
}

static bool take_char(struct cursor *c, char want) {
    skip_space(c);
    if (c->p == c->end || *c->p != want) {
        return false;
    }
    c->p++;
    return true;
}

static void put(struct token *t, unsigned char b) {
    if (t->n == METRIC_TAG_MAX) {
        t->too_long = true;
    } else {
        t->text[t->n++] = (char)b;
    }
}

static void put_utf8(struct token *t, unsigned u) {
    if (u < 0x80) {
        put(t, (unsigned char)u);
    } else if (u < 0x800) {
        put(t, (unsigned char)(0xC0 | u >> 6));
        put(t, (unsigned char)(0x80 | (u & 0x3F)));
    } else {
        u = u >= 0xD800 && u < 0xE000 ? 0xFFFD : u; /* no metric's name needs a pair */
        put(t, (unsigned char)(0xE0 | u >> 12));
        put(t, (unsigned char)(0x80 | (u >> 6 & 0x3F)));
        put(t, (unsigned char)(0x80 | (u & 0x3F)));
    }
}

static bool take_hex4(struct cursor *c, unsigned *ret) {
    *ret = 0;
    for (int i = 0; i < 4; i++, c->p++) {
        if (c->p == c->end || !isxdigit((unsigned char)*c->p)) {
            return false;
        }
        int d = tolower((unsigned char)*c->p);
        *ret = *ret << 4 | (unsigned)(d <= '9' ? d - '0' : d - 'a' + 10);
    }
    return true;
}

static bool take_escape(struct cursor *c, struct token *t) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    unsigned u;
    if (c->p == c->end) {
        return false;
    }
    char e = *c->p++;
    if (e == 'u') {
        if (!take_hex4(c, &u) || u == 0) {
            return false;
        }
        put_utf8(t, u);
        return true;
    }
    const char *at = e ? strchr(from, e) : NULL;
    if (at) {
        put(t, (unsigned char)to[at - from]);
    }
    return at != NULL;
}

static bool take_string(struct cursor *c, struct token *t) {
    *t = (struct token){.n = 0};
    if (!take_char(c, '"')) {
        return false;
    }
    while (c->p < c->end && *c->p != '"') {
        unsigned char b = (unsigned char)*c->p++;
        if (b == 0 || (b == '\\' && !take_escape(c, t))) {
            return false;
        }
        if (b != '\\') {
            put(t, b);
        }
    }
    t->text[t->n] = 0;
    return c->p++ < c->end;
}

/* A string, or whatever stands there up to the next comma or the object's end: numbers, NaN. */
static bool take_value(struct cursor *c, struct token *t) {
    skip_space(c);
    if (c->p < c->end && *c->p == '"') {
        return take_string(c, t);
    }
    *t = (struct token){.n = 0};
    while (c->p < c->end && (isalnum((unsigned char)*c->p) || strchr("+-._", *c->p))) {
        put(t, (unsigned char)*c->p++);
    }
    t->text[t->n] = 0;
    return t->n > 0;
}

/* What Python's float() takes, but for its underscores. */
static bool to_double(const struct token *t, double *ret) {
    char *end;
    *ret = strtod(t->text, &end);
    while (*end == ' ') {
        end++;
    }
    return !t->too_long && t->n > 0 && *end == 0;
}

static void set_time(struct line *l, const struct token *t) {
    double sec;
    if (to_double(t, &sec) && sec > 0 && sec < TIME_MAX_SEC) {
        l->timestamp = (usec_t)llround(sec * (double)USEC_PER_SEC);
    }
}

static void set_step(struct line *l, const struct token *t) {
    double step;
    if (to_double(t, &step) && fabs(step) < 9.0e15) {
        l->step = (int64_t)step;
    }
}

static void set_pair(struct line *l, const struct token *key, const struct token *value) {
    double v;
    if (strcmp(key->text, "timestamp") == 0) {
        set_time(l, value);
    } else if (strcmp(key->text, "global_step") == 0) {
        set_step(l, value);
    } else if (strcmp(key->text, "trial") != 0 && strcmp(key->text, "checkpoint_path") != 0 &&
               key->n > 0 && !key->too_long && l->nr_tags < METRICS_LINE_TAGS &&
               to_double(value, &v)) {
        l->tags[l->nr_tags] = *key;
        l->values[l->nr_tags++] = v;
    }
}

static bool read_line(struct str text, struct line *l) {
    struct cursor c = {text.p, text.p + text.n};
    struct token key, value;
    l->nr_tags = 0;
    l->timestamp = 0;
    l->step = 0;
    if (text.n > METRICS_LINE_BYTES || !take_char(&c, '{')) {
        return false;
    }
    do {
        if (!take_string(&c, &key) || !take_char(&c, ':') || !take_value(&c, &value)) {
            return false;
        }
        set_pair(l, &key, &value);
    } while (take_char(&c, ','));
    return take_char(&c, '}') && (skip_space(&c), c.p == c.end);
}

void metrics_parse(struct str text, bool is_tail,
                   void (*fn)(void *arg, const struct metric_report *r), void *arg) {
    struct line l;
    if (is_tail) {
        (void)str_cut(&text, '\n');
    }
    while (text.n > 0) {
        struct str one = str_cut(&text, '\n');
        if (!read_line(one, &l)) {
            continue;
        }
        for (size_t i = 0; i < l.nr_tags; i++) {
            const struct metric_report r = {l.tags[i].text, l.values[i], l.step, l.timestamp};
            fn(arg, &r);
        }
    }
}
