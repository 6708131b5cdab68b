/* What people see: aligned tables, colours only on a terminal, JSON when asked. */
#include "cli/cli.h"

#include "base/jw.h"
#include "base/time.h"

#include <math.h>
#include <sys/stat.h>

struct table {
    size_t columns;
    VEC_OF(char *) cells;
};

bool out_is_stream(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

struct table *table_new(size_t columns, const char *const *heads) {
    struct table *t = xcalloc(1, sizeof(*t));
    t->columns = columns;
    table_row(t, heads);
    return t;
}

/* Copies; control characters (a display name may hold any) would move the cursor. */
static char *clean(const char *text) {
    char *copy = xstrdup(text ? text : "");
    for (char *p = copy; *p; p++) {
        *p = (unsigned char)*p < 0x20 || *p == 0x7f ? ' ' : *p;
    }
    return copy;
}

void table_row(struct table *t, const char *const *cells) {
    for (size_t i = 0; i < t->columns; i++) {
        vec_push(&t->cells, clean(cells[i]));
    }
}

static bool in(uint32_t c, const uint32_t (*ranges)[2], size_t nr) {
    for (size_t i = 0; i < nr; i++) {
        if (c >= ranges[i][0] && c <= ranges[i][1]) {
            return true;
        }
    }
    return false;
}

/* Without locale data: what East Asian scripts and emoji take, and marks that take no room. */
static size_t char_width(uint32_t c) {
    static const uint32_t wide[][2] = {{0x1100, 0x115f},   {0x2e80, 0xa4cf},   {0xac00, 0xd7a3},
                                       {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},
                                       {0xffe0, 0xffe6},   {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff},
                                       {0x1f900, 0x1faff}, {0x20000, 0x3fffd}};
    static const uint32_t none[][2] = {{0x300, 0x36f}, {0x200b, 0x200f}, {0xfe00, 0xfe0f}};
    return in(c, none, NR_OF(none)) ? 0 : in(c, wide, NR_OF(wide)) ? 2 : 1;
}

size_t text_width(const char *s) {
    const unsigned char *p = (const unsigned char *)s;
    size_t w = 0;
    if (!str_is_utf8(str_of(s))) {
        return strlen(s);
    }
    while (*p) {
        unsigned n = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
        uint32_t c = n == 1 ? *p : *p & (0x7fu >> n);
        for (unsigned i = 1; i < n; i++) {
            c = c << 6 | (p[i] & 0x3f);
        }
        w += char_width(c);
        p += n;
    }
    return w;
}

void table_print(struct table *t, FILE *f) {
    size_t width[16] = {0}, pad = 0;
    CHECK(t->columns <= NR_OF(width));
    for (size_t i = 0; i < t->cells.n; i++) {
        size_t w = text_width(t->cells.p[i]);
        if (w > width[i % t->columns]) {
            width[i % t->columns] = w;
        }
    }
    for (size_t i = 0; i < t->cells.n; i++) {
        char *cell = t->cells.p[i];
        if (*cell) { /* spaces only in front of something: no line ends in them */
            fprintf(f, "%*s%s", (int)pad, "", cell);
            pad = 0;
        }
        pad += width[i % t->columns] + 2 - text_width(cell);
        if (i % t->columns == t->columns - 1) {
            fputc('\n', f);
            pad = 0;
        }
        free(cell);
    }
    vec_fini(&t->cells);
    free(t);
}

void indent_text(struct buf *b, const char *text, const char *indent) {
    struct str rest = str_of(text);
    while (rest.p && rest.n) {
        struct str line = str_cut(&rest, '\n');
        while (line.n && line.p[line.n - 1] == ' ') {
            line.n--;
        }
        if (line.n) {
            buf_printf(b, "%s%.*s", indent, STR_ARG(line));
        }
        buf_putc(b, '\n');
    }
}

/* "1.Field: NAME; Message: WORDS" */
static bool violation(struct str v, struct str *field, struct str *message) {
    ptrdiff_t dot = str_chr(v, '.');
    uint64_t number;
    if (dot < 0 || !str_to_u64(str_sub(v, 0, (size_t)dot), &number)) {
        return false;
    }
    v = str_sub(v, (size_t)dot + 1, v.n);
    ptrdiff_t at = str_find(v, STR("; Message: "));
    if (!str_starts(v, STR("Field: ")) || at < 7) {
        return false;
    }
    *field = str_sub(v, 7, (size_t)at - 7);
    *message = str_sub(v, (size_t)at + 11, v.n);
    return true;
}

void error_text(struct buf *b, const char *msg) {
    struct str rest = str_of(msg), field, message;
    if (!str_starts(rest, STR("List of found errors:\t"))) {
        struct str first = str_cut(&rest, '\n');
        buf_printf(b, "%.*s\n", STR_ARG(first));
        if (rest.p) {
            auto_free char *more = str_dup(rest);
            indent_text(b, more, "  ");
        }
        return;
    }
    (void)str_cut(&rest, '\t');
    buf_puts(b, "the request is not valid:\n");
    while (rest.p && rest.n) {
        struct str v = str_cut(&rest, '\t');
        if (violation(v, &field, &message)) {
            buf_printf(b, "  %.*s: %.*s\n", STR_ARG(field), STR_ARG(message));
        } else if (v.n) {
            buf_printf(b, "  %.*s\n", STR_ARG(v));
        }
    }
}

static void put_json(struct jw *w, const json_t *j) {
    const char *key;
    json_t *v;
    size_t i;
    if (w->depth + 1 >= JW_MAX_DEPTH) { /* deeper than any server answers */
        jw_null(w);
        return;
    }
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        jw_object(w);
        json_object_foreach((json_t *)(uintptr_t)j, key, v) {
            jw_key(w, key);
            put_json(w, v);
        }
        jw_end_object(w);
        return;
    case JSON_ARRAY:
        jw_array(w);
        json_array_foreach(j, i, v) {
            put_json(w, v);
        }
        jw_end_array(w);
        return;
    case JSON_STRING:
        jw_str(w, str_n(json_string_value(j), json_string_length(j)));
        return;
    case JSON_INTEGER:
        jw_i64(w, json_integer_value(j));
        return;
    case JSON_REAL:
        jw_double(w, json_real_value(j));
        return;
    case JSON_TRUE:
    case JSON_FALSE:
        jw_bool(w, json_is_true(j));
        return;
    case JSON_NULL:
        jw_null(w);
        return;
    }
}

char *json_shown(const json_t *j, int indent) {
    struct buf b = BUF_INIT(BUF_NO_MAX);
    struct jw w;
    jw_init(&w, &b, indent);
    if (j) {
        put_json(&w, j);
    }
    return buf_take(&b, NULL);
}

void out_json_line(const json_t *j) {
    auto_free char *text = json_shown(j, 0);
    puts(text);
}

void out_json(const json_t *j) {
    auto_free char *text = json_shown(j, 2);
    puts(text);
}

const char *state_colour(const struct cli *c, const char *state) {
    if (!c->colour) {
        return "";
    }
    return strstr(state, "SUCCEEDED") ? "\033[32m"
           : strstr(state, "FAILED")  ? "\033[31m"
           : strstr(state, "CANCEL")  ? "\033[33m"
                                      : "\033[36m";
}

const char *colour_off(const struct cli *c) {
    return c->colour ? "\033[0m" : "";
}

void duration_text(struct buf *b, double s) {
    if (s <= 0) {
        buf_puts(b, "-");
    } else if (s < 0.9995) {
        buf_printf(b, "%.0f ms", s * 1000 < 1 ? 1 : s * 1000);
    } else if (s < 59.95) {
        buf_printf(b, "%.1f s", s);
    } else if (s < 3599.5) {
        buf_printf(b, "%dm %ds", (int)(s + 0.5) / 60, (int)(s + 0.5) % 60);
    } else if (s < 86400) {
        buf_printf(b, "%dh %dm", (int)(s + 0.5) / 3600, (int)(s + 0.5) / 60 % 60);
    } else {
        buf_printf(b, "%.0fd %dh", floor(s / 86400), (int)fmod(s / 3600, 24));
    }
}

void bytes_text(struct buf *b, uint64_t n) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)n;
    size_t u = 0;
    while (v >= 1023.95 && u + 1 < NR_OF(units)) { /* 1023.95 would print as 1024.0 */
        v /= 1024;
        u++;
    }
    buf_printf(b, u ? "%.1f %s" : "%.0f %s", v, units[u]);
}

void age_text(struct buf *b, const char *when) {
    usec_t t;
    if (time_parse_rfc3339(str_of(when), &t, NULL) == 0) {
        usec_t now = time_wall();
        duration_text(b, now > t ? (double)(now - t) / USEC_PER_SEC : 0.001);
        buf_puts(b, " ago");
    }
}

const char *json_text(const json_t *j, const char *key) {
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}
