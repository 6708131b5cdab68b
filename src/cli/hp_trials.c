/* See hp_trials.h. */
#include "cli/hp_trials.h"

#include "base/time.h"

#include <math.h>

#define PARAM_COLUMNS 8u /* more of them share one column */

static double time_of(const json_t *j, const char *key) {
    usec_t t;
    return time_parse_rfc3339(str_of(json_text(j, key)), &t, NULL) == 0 ? (double)t / USEC_PER_SEC
                                                                        : 0;
}

/* Numbers that JSON cannot write come as texts ("NaN", "Infinity"). */
static double number_of(const json_t *v) {
    double d;
    if (json_is_string(v)) {
        return str_to_double(str_of(json_string_value(v)), &d) ? d : NAN;
    }
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static double metric_of(const json_t *measurement, const char *id) {
    size_t i;
    const json_t *m;
    json_array_foreach(json_object_get(measurement, "metrics"), i, m) {
        if (strcmp(json_text(m, "metricId"), id) == 0) {
            /* A value of 0 is left out. */
            const json_t *v = json_object_get(m, "value");
            return v ? number_of(v) : 0;
        }
    }
    return NAN;
}

/* ---- the view ---- */

static void add_params(struct hp_view *v, const json_t *spec) {
    const char *id = json_text(spec, "parameterId"), *scale = json_text(spec, "scaleType");
    bool known = false;
    size_t i;
    const json_t *c;
    for (size_t k = 0; k < v->params.n; k++) {
        known = known || strcmp(v->params.p[k].id, id) == 0;
    }
    if (!known) {
        struct hp_param p = {.id = id,
                             .spec = spec,
                             .is_categorical = json_object_get(spec, "categoricalValueSpec"),
                             .is_log = strcmp(scale, "UNIT_LOG_SCALE") == 0};
        vec_push(&v->params, p);
    }
    json_array_foreach(json_object_get(spec, "conditionalParameterSpecs"), i, c) {
        add_params(v, json_object_get(c, "parameterSpec"));
    }
}

static bool is_better(const struct hp_view *v, double a, double b) {
    return v->minimize ? a < b : a > b;
}

void hp_view_init(struct hp_view *v, const json_t *job) {
    const json_t *study = json_object_get(job, "studySpec"), *m, *t;
    size_t i;
    *v = (struct hp_view){.job = job, .metric = ""};
    json_array_foreach(json_object_get(study, "metrics"), i, m) {
        if (!json_object_get(m, "safetyConfig")) {
            v->metric = json_text(m, "metricId");
            v->minimize = strcmp(json_text(m, "goal"), "MINIMIZE") == 0;
            break;
        }
    }
    json_array_foreach(json_object_get(study, "parameters"), i, m) {
        add_params(v, m);
    }
    json_array_foreach(json_object_get(job, "trials"), i, t) {
        const json_t *final = json_object_get(t, "finalMeasurement"),
                     *all = json_object_get(t, "measurements");
        struct hp_trial h = {.json = t,
                             .id = json_text(t, "id"),
                             .state = json_text(t, "state"),
                             .value = metric_of(final, v->metric),
                             .from = time_of(t, "startTime"),
                             .to = time_of(t, "endTime")};
        h.is_final = final && isfinite(h.value);
        if (!final && json_array_size(all)) {
            h.value = metric_of(json_array_get(all, json_array_size(all) - 1), v->metric);
        }
        vec_push(&v->trials, h);
    }
    for (i = 0; i < v->trials.n; i++) {
        const struct hp_trial *h = &v->trials.p[i];
        if (h->is_final && (!v->best || is_better(v, h->value, v->best->value))) {
            v->best = h;
        }
    }
}

void hp_view_fini(struct hp_view *v) {
    vec_fini(&v->trials);
    vec_fini(&v->params);
}

static const json_t *param_of(const struct hp_trial *t, const char *id) {
    size_t i;
    const json_t *p;
    json_array_foreach(json_object_get(t->json, "parameters"), i, p) {
        if (strcmp(json_text(p, "parameterId"), id) == 0) {
            return json_object_get(p, "value");
        }
    }
    return NULL;
}

static void put_value(struct buf *b, const json_t *v) {
    if (json_is_string(v)) {
        buf_puts(b, json_string_value(v));
    } else if (json_is_number(v)) {
        buf_printf(b, "%.6g", json_number_value(v));
    }
}

void hp_param_text(struct buf *b, const struct hp_trial *t, const char *id) {
    put_value(b, param_of(t, id));
}

/* ---- the table ---- */

/* The trials with a result, best first; those without behind them. */
static int by_value(const void *a, const void *b, void *view) {
    const struct hp_trial *x = *(const struct hp_trial *const *)a,
                          *y = *(const struct hp_trial *const *)b;
    if (x->is_final != y->is_final) {
        return x->is_final ? -1 : 1;
    }
    if (x->is_final && x->value != y->value) {
        return is_better(view, x->value, y->value) ? -1 : 1;
    }
    return x < y ? -1 : x > y;
}

static int by_place(const void *a, const void *b) {
    const struct hp_trial *x = *(const struct hp_trial *const *)a,
                          *y = *(const struct hp_trial *const *)b;
    return x < y ? -1 : x > y;
}

static bool is_running(const struct hp_trial *t) {
    return strcmp(t->state, "ACTIVE") == 0 || strcmp(t->state, "STOPPING") == 0 ||
           strcmp(t->state, "REQUESTED") == 0;
}

/* Chosen trials by id; owned. */
static const struct hp_trial **choose(const struct hp_view *v, size_t limit, size_t *ret_n) {
    const struct hp_trial **all = xcalloc(v->trials.n + 1, sizeof(struct hp_trial *));
    size_t n = v->trials.n, kept = 0;
    for (size_t i = 0; i < n; i++) {
        all[i] = &v->trials.p[i];
    }
    if (limit && n > limit) {
        qsort_r(all, n, sizeof(struct hp_trial *), by_value, (void *)(uintptr_t)v);
        for (size_t i = 0; i < n; i++) {
            if (i < limit || is_running(all[i])) {
                all[kept++] = all[i];
            }
        }
        n = kept;
        qsort(all, n, sizeof(struct hp_trial *), by_place);
    }
    *ret_n = n;
    return all;
}

static void put_params(const struct hp_view *v, const struct hp_trial *t, struct buf *cells,
                       bool apart) {
    for (size_t i = 0; i < v->params.n; i++) {
        struct buf *b = apart ? &cells[i] : cells;
        const json_t *value = param_of(t, v->params.p[i].id);
        if (!apart && value) {
            buf_printf(b, "%s%s=", b->n ? " " : "", v->params.p[i].id);
        }
        put_value(b, value);
    }
}

static const char *steps_of(const struct hp_trial *t) {
    const json_t *final = json_object_get(t->json, "finalMeasurement"),
                 *all = json_object_get(t->json, "measurements");
    return json_text(final ? final : json_array_get(all, json_array_size(all) - 1), "stepCount");
}

static void print_row(const struct hp_view *v, struct table *out, const struct hp_trial *t) {
    bool apart = v->params.n <= PARAM_COLUMNS;
    size_t nr = apart ? v->params.n : 1, k = 0;
    struct buf values[PARAM_COLUMNS + 2];
    const char *cells[PARAM_COLUMNS + 8];
    for (size_t i = 0; i < nr + 2; i++) {
        values[i] = BUF_INIT(BUF_NO_MAX);
    }
    put_params(v, t, values, apart);
    if (!isnan(t->value)) {
        buf_printf(&values[nr], "%.6g%s", t->value, t->is_final ? "" : " (so far)");
    }
    if (t->from > 0) {
        double to = t->to > 0 ? t->to : (double)time_wall() / USEC_PER_SEC;
        duration_text(&values[nr + 1], to > t->from ? to - t->from : 0);
    }
    cells[k++] = t == v->best ? "*" : "";
    cells[k++] = t->id;
    cells[k++] = t->state;
    cells[k++] = buf_cstr(&values[nr]);
    cells[k++] = steps_of(t);
    for (size_t i = 0; i < nr; i++) {
        cells[k++] = buf_cstr(&values[i]);
    }
    cells[k++] = buf_cstr(&values[nr + 1]);
    table_row(out, cells);
    for (size_t i = 0; i < nr + 2; i++) {
        buf_fini(&values[i]);
    }
}

void hp_print_trials(const struct hp_view *v, size_t limit, FILE *f) {
    bool apart = v->params.n <= PARAM_COLUMNS;
    const char *heads[PARAM_COLUMNS + 8] = {"", "TRIAL", "STATE", v->metric, "STEP"};
    size_t k = 5, n;
    for (size_t i = 0; apart && i < v->params.n; i++) {
        heads[k++] = v->params.p[i].id;
    }
    if (!apart) {
        heads[k++] = "PARAMETERS";
    }
    heads[k++] = "RAN";
    const struct hp_trial **shown = choose(v, limit, &n);
    struct table *t = table_new(k, heads);
    for (size_t i = 0; i < n; i++) {
        print_row(v, t, shown[i]);
    }
    table_print(t, f);
    if (n < v->trials.n) {
        fprintf(f, "(the best %zu of %zu trials; --limit=0 shows all)\n", n, v->trials.n);
    }
    free(shown);
}

/* ---- the curve ---- */

static int by_end(const void *a, const void *b) {
    const struct hp_trial *x = *(const struct hp_trial *const *)a,
                          *y = *(const struct hp_trial *const *)b;
    return x->to < y->to ? -1 : x->to > y->to ? 1 : by_place(a, b);
}

static int by_number(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

struct drawing {
    unsigned width, height;
    double lo, hi;
    char *cells; /* rows from the top */
};

/* Out of range: on the edge. */
static char *cell(struct drawing *d, unsigned column, double value) {
    double at = d->hi > d->lo ? (value - d->lo) / (d->hi - d->lo) : 1;
    at = at < 0 ? 0 : at > 1 ? 1 : at;
    unsigned row = (unsigned)((1 - at) * (d->height - 1) + 0.5);
    return &d->cells[row * d->width + column];
}

/* What is drawn: all of the best so far; of the others the better half, as a few very bad trials at
 * the start would leave nothing to see. */
static void set_range(const struct hp_view *v, const double *values, size_t n, struct drawing *d) {
    double *sorted = xcalloc(n, sizeof(*sorted));
    memcpy(sorted, values, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), by_number);
    double best = v->minimize ? sorted[0] : sorted[n - 1], other = sorted[n / 2];
    d->lo = v->minimize ? best : values[0] < other ? values[0] : other;
    d->hi = !v->minimize ? best : values[0] > other ? values[0] : other;
    free(sorted);
}

static void draw(const struct hp_view *v, const double *values, size_t n, struct drawing *d) {
    double best = values[0];
    for (size_t i = 0; i < n; i++) {
        unsigned column = n <= d->width ? (unsigned)i : (unsigned)(i * d->width / n);
        bool improved = i == 0 || is_better(v, values[i], best);
        double before = best;
        best = improved ? values[i] : best;
        char *here = cell(d, column, values[i]);
        bool inside = values[i] >= d->lo && values[i] <= d->hi;
        if (!improved && inside && *here == ' ') {
            *here = '.';
        }
        if (cell(d, column, before) != cell(d, column, best) && *cell(d, column, before) == '-') {
            *cell(d, column, before) = ' '; /* of an earlier trial in the same column */
        }
        here = cell(d, column, best);
        *here = improved ? 'o' : *here == 'o' ? 'o' : '-';
    }
}

void hp_print_curve(const struct hp_view *v, unsigned width, unsigned height, FILE *f) {
    const struct hp_trial **ended = xcalloc(v->trials.n + 1, sizeof(struct hp_trial *));
    double *values = xcalloc(v->trials.n + 1, sizeof(*values));
    size_t n = 0;
    for (size_t i = 0; i < v->trials.n; i++) {
        if (v->trials.p[i].is_final) {
            ended[n++] = &v->trials.p[i];
        }
    }
    if (n >= 2 && height >= 2) {
        struct drawing d = {.width = n < width ? (unsigned)n : width, .height = height};
        qsort(ended, n, sizeof(struct hp_trial *), by_end);
        for (size_t i = 0; i < n; i++) {
            values[i] = ended[i]->value;
        }
        set_range(v, values, n, &d);
        d.cells = xmalloc((size_t)d.width * d.height);
        memset(d.cells, ' ', (size_t)d.width * d.height);
        draw(v, values, n, &d);
        for (unsigned row = 0; row < d.height; row++) {
            size_t end = d.width;
            while (end && d.cells[row * d.width + end - 1] == ' ') {
                end--;
            }
            bool marked = row == 0 || row == d.height - 1;
            if (marked) {
                fprintf(f, "%12.6g |", row ? d.lo : d.hi);
            } else {
                fprintf(f, "%12s |", "");
            }
            fprintf(f, "%.*s\n", (int)end, d.cells + (size_t)row * d.width);
        }
        fprintf(f, "%12s +", "");
        for (unsigned i = 0; i < d.width; i++) {
            fputc('-', f);
        }
        fprintf(f, "\n%12s  %zu trials in the order they ended; o: a new best, -: best so far\n",
                "", n);
        free(d.cells);
    }
    free(values);
    free(ended);
}

/* ---- what matters ---- */

#define BAR_WIDTH 20u

static int by_share(const void *a, const void *b) {
    double x = json_number_value(json_object_get(*(const json_t *const *)a, "share")),
           y = json_number_value(json_object_get(*(const json_t *const *)b, "share"));
    return x > y ? -1 : x < y;
}

static const json_t *importance_of(const json_t *importance, const char *metric) {
    size_t i;
    const json_t *m;
    json_array_foreach(json_object_get(importance, "metrics"), i, m) {
        if (strcmp(json_text(m, "metricId"), metric) == 0) {
            return json_object_get(m, "parameters");
        }
    }
    return NULL;
}

static void importance_row(struct table *t, const json_t *p) {
    double share = json_number_value(json_object_get(p, "share")),
           effect = json_number_value(json_object_get(p, "effect"));
    auto_buf struct buf best = BUF_INIT(BUF_NO_MAX);
    char bar[BAR_WIDTH + 1], percent[16], sign[24] = "";
    size_t n = (size_t)(share * BAR_WIDTH + 0.5);
    n = n < BAR_WIDTH ? n : BAR_WIDTH;
    memset(bar, '#', n);
    bar[n] = 0;
    snprintf(percent, sizeof(percent), "%.0f %%", share * 100);
    if (effect != 0) {
        snprintf(sign, sizeof(sign), "%+.2f", effect);
    }
    put_value(&best, json_object_get(p, "best"));
    const char *cells[] = {json_text(p, "parameterId"), percent, sign, buf_cstr(&best), bar};
    table_row(t, cells);
}

void hp_print_importance(const struct hp_view *v, const json_t *importance, FILE *f) {
    static const char *const heads[] = {"PARAMETER", "MATTERS", "EFFECT", "BEST NEAR", ""};
    const json_t *all = importance_of(importance, v->metric), *p;
    size_t n = json_array_size(all), i;
    if (!n) {
        return;
    }
    const json_t **sorted = xcalloc(n, sizeof(json_t *));
    json_array_foreach(all, i, p) {
        sorted[i] = p;
    }
    qsort(sorted, n, sizeof(json_t *), by_share);
    struct table *t = table_new(NR_OF(heads), heads);
    for (i = 0; i < n; i++) {
        importance_row(t, sorted[i]);
    }
    free(sorted);
    table_print(t, f);
    fprintf(f, "(EFFECT +: larger values raise %s, -: they lower it)\n", v->metric);
}

#define CURVE_WIDTH 60u
#define CURVE_HEIGHT 10u

void hp_print_all(const struct cli *c, const struct hp_view *v, size_t limit, FILE *f) {
    auto_free char *matters = xasprintf("/cusp/v1/%s:importance", json_text(v->job, "name"));
    json_t *importance;
    struct err err;
    if (!v->trials.n) {
        return;
    }
    fputc('\n', f);
    hp_print_trials(v, limit, f);
    fputc('\n', f);
    hp_print_curve(v, CURVE_WIDTH, CURVE_HEIGHT, f);
    if (http_json(c, "GET", matters, NULL, &importance, &err) == 0) {
        fputc('\n', f);
        hp_print_importance(v, importance, f);
        json_decref(importance);
    }
}

/* ---- CSV ---- */

static void put_csv(FILE *f, const char *text, bool first) {
    if (!first) {
        fputc(',', f);
    }
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, f);
        return;
    }
    fputc('"', f);
    for (; *text; text++) {
        if (*text == '"') {
            fputc('"', f);
        }
        fputc(*text, f);
    }
    fputc('"', f);
}

static void put_csv_number(FILE *f, double d) {
    char text[40];
    snprintf(text, sizeof(text), "%.15g", d);
    double back;
    if (str_to_double(str_of(text), &back) && back != d) {
        snprintf(text, sizeof(text), "%.17g", d);
    }
    put_csv(f, isnan(d) ? "" : text, false);
}

void hp_print_csv(const struct hp_view *v, FILE *f) {
    static const char *const ends[] = {"startTime", "endTime", "customJob", "infeasibleReason"};
    const json_t *metrics = json_object_get(json_object_get(v->job, "studySpec"), "metrics"), *m;
    size_t i, k;
    put_csv(f, "trial", true);
    put_csv(f, "state", false);
    put_csv(f, "best", false);
    json_array_foreach(metrics, i, m) {
        put_csv(f, json_text(m, "metricId"), false);
    }
    for (i = 0; i < v->params.n; i++) {
        put_csv(f, v->params.p[i].id, false);
    }
    for (i = 0; i < NR_OF(ends); i++) {
        put_csv(f, ends[i], false);
    }
    fputs("\r\n", f);
    for (k = 0; k < v->trials.n; k++) {
        const struct hp_trial *t = &v->trials.p[k];
        put_csv(f, t->id, true);
        put_csv(f, t->state, false);
        put_csv(f, t == v->best ? "true" : "false", false);
        json_array_foreach(metrics, i, m) {
            put_csv_number(f, metric_of(json_object_get(t->json, "finalMeasurement"),
                                        json_text(m, "metricId")));
        }
        for (i = 0; i < v->params.n; i++) {
            const json_t *value = param_of(t, v->params.p[i].id);
            if (json_is_number(value)) {
                put_csv_number(f, json_number_value(value));
            } else {
                put_csv(f, json_is_string(value) ? json_string_value(value) : "", false);
            }
        }
        for (i = 0; i < NR_OF(ends); i++) {
            put_csv(f, json_text(t->json, ends[i]), false);
        }
        fputs("\r\n", f);
    }
}
