/* What people see: aligned tables, colours only on a terminal, JSON when asked. */
#include "cli/cli.h"

struct table {
    size_t columns;
    VEC_OF(char *) cells;
};

struct table *table_new(size_t columns, const char *const *heads) {
    struct table *t = xcalloc(1, sizeof(*t));
    t->columns = columns;
    table_row(t, heads);
    return t;
}

void table_row(struct table *t, const char *const *cells) {
    for (size_t i = 0; i < t->columns; i++) {
        vec_push(&t->cells, xstrdup(cells[i] ? cells[i] : ""));
    }
}

void table_print(struct table *t, FILE *f) {
    size_t width[16] = {0};
    CHECK(t->columns <= NR_OF(width));
    for (size_t i = 0; i < t->cells.n; i++) {
        size_t w = str_utf8_len(str_of(t->cells.p[i]));
        if (w > width[i % t->columns]) {
            width[i % t->columns] = w;
        }
    }
    for (size_t i = 0; i < t->cells.n; i++) {
        const char *cell = t->cells.p[i];
        bool last = i % t->columns == t->columns - 1;
        size_t pad = last ? 0 : width[i % t->columns] + 2 - str_utf8_len(str_of(cell));
        fprintf(f, "%s%*s%s", cell, (int)pad, "", last ? "\n" : "");
        free(t->cells.p[i]);
    }
    vec_fini(&t->cells);
    free(t);
}

void out_json(const json_t *j) {
    json_dumpf(j, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    putchar('\n');
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
    } else if (s < 60) {
        buf_printf(b, "%.1f s", s);
    } else if (s < 3600) {
        buf_printf(b, "%dm %ds", (int)s / 60, (int)s % 60);
    } else {
        buf_printf(b, "%dh %dm", (int)s / 3600, (int)s / 60 % 60);
    }
}

void bytes_text(struct buf *b, uint64_t n) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)n;
    size_t u = 0;
    while (v >= 1024 && u + 1 < NR_OF(units)) {
        v /= 1024;
        u++;
    }
    buf_printf(b, u ? "%.1f %s" : "%.0f %s", v, units[u]);
}
