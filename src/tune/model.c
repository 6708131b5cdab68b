/* See model.h. */
#include "tune/model.h"

#include "base/mem.h"
#include "tune/fit.h"
#include "tune/warp.h"

#include <math.h>

#define FIT_ROWS 256   /* hyperparameters are fitted to no more than this */
#define FIT_ALL 300    /* and to all rows up to this many */
#define MODEL_ROWS 800 /* rows the model keeps of a longer history */
#define MODEL_ALL 1000
#define CHOOSE_EVERY 32
#define ANCHOR_EVERY 8 /* fits that start from the prior alone: a restart goes back to one */

void model_init(struct model *m, const struct space *s, enum tune_noise noise) {
    *m = (struct model){.space = s, .noise = noise};
    m->theta = xcalloc(fit_size(s), sizeof(double));
    m->rows = xcalloc(MODEL_ALL + CHOOSE_EVERY + 1, sizeof(*m->rows));
    gp_init(&m->base, s);
}

void model_fini(struct model *m) {
    gp_fini(&m->base);
    free(m->theta);
    free(m->rows);
    free(m->seen_x);
    free(m->seen_y);
    *m = (struct model){0};
}

size_t model_row(const struct model *m, size_t i) {
    return m->rows[i];
}

/* The fits: after each trial up to 60, then after a sixteenth more. */
static size_t next_fit(size_t n) {
    return n < 60 ? n + 1 : n + n / 16;
}

/* The last fit at or before n, and its number in the row of all of them. */
static size_t last_fit(size_t n, size_t *ret_nr) {
    size_t at = 1, nr = 0;
    while (next_fit(at) <= n) {
        at = next_fit(at);
        nr++;
    }
    *ret_nr = nr;
    return at;
}

struct by_value {
    double y;
    size_t row;
};

static int by_value_cmp(const void *a, const void *b) {
    const struct by_value *p = a, *q = b;
    return p->y != q->y ? (p->y < q->y) - (p->y > q->y) : (p->row > q->row) - (p->row < q->row);
}

static double distance2(const struct space *s, const double *a, const double *b) {
    double sum = 0;
    for (size_t j = 0; j < s->d; j++) {
        double e = s->features[j].is_category ? (a[j] != b[j]) : a[j] - b[j];
        sum += e * e;
    }
    return sum;
}

static void take_far_points(const struct space *s, const double *x, size_t n, size_t keep,
                            bool *taken, size_t nr) {
    auto_free double *gap = xcalloc(n, sizeof(*gap));
    for (size_t i = 0; i < n; i++) {
        gap[i] = INFINITY;
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; taken[i] && k < n; k++) {
            gap[k] = fmin(gap[k], distance2(s, x + i * s->d, x + k * s->d));
        }
    }
    for (; nr < keep; nr++) {
        size_t far = n;
        for (size_t k = 0; k < n; k++) {
            far = !taken[k] && (far == n || gap[k] > gap[far]) ? k : far;
        }
        taken[far] = true;
        for (size_t k = 0; k < n; k++) {
            gap[k] = fmin(gap[k], distance2(s, x + far * s->d, x + k * s->d));
        }
    }
}

size_t model_choose(const struct space *s, const double *x, const double *y, size_t n, size_t best,
                    size_t newest, size_t keep, size_t *ret) {
    size_t nr = 0;
    auto_free bool *taken = xcalloc(n + 1, sizeof(*taken));
    auto_free struct by_value *order = xcalloc(n + 1, sizeof(*order));
    for (size_t i = 0; i < n; i++) {
        order[i] = (struct by_value){y[i], i};
        taken[i] = n <= keep || i + newest >= n;
        nr += taken[i];
    }
    qsort(order, n, sizeof(*order), by_value_cmp);
    for (size_t i = 0, k = 0; i < n && k < best && nr < keep; i++, k++) {
        nr += !taken[order[i].row];
        taken[order[i].row] = true;
    }
    if (nr < keep && nr < n) {
        take_far_points(s, x, n, keep, taken, nr);
    }
    nr = 0;
    for (size_t i = 0; i < n; i++) {
        if (taken[i]) {
            ret[nr++] = i;
        }
    }
    return nr;
}

static void gather(const struct space *s, const double *x, const double *y, const size_t *rows,
                   size_t nr, double *to_x, double *to_y) {
    for (size_t i = 0; i < nr; i++) {
        if (to_x) {
            memcpy(to_x + i * s->d, x + rows[i] * s->d, s->d * sizeof(double));
        }
        to_y[i] = y[rows[i]];
    }
}

/* One fit to the first n rows. */
static void fit(struct model *m, const double *x, const double *y, size_t n, bool is_anchor) {
    size_t rows[FIT_ALL], nr = n;
    if (n > FIT_ALL) {
        nr = model_choose(m->space, x, y, n, 96, 32, FIT_ROWS, rows);
    } else {
        for (size_t i = 0; i < n; i++) {
            rows[i] = i;
        }
    }
    auto_free double *fx = xcalloc(nr * m->space->d + 1, sizeof(double));
    auto_free double *fy = xcalloc(nr + 1, sizeof(double));
    gather(m->space, x, y, rows, nr, fx, fy);
    warp_labels(fy, nr);
    struct fit_data data = {.space = m->space, .noise = m->noise, .x = fx, .y = fy, .n = nr};
    if (is_anchor) { /* from longer lengths, and from the prior's means */
        fit_prior_means(m->space, m->noise, m->theta);
        for (size_t j = 0; j < m->space->d; j++) {
            m->theta[j] += 1;
        }
    }
    fit_theta(&data, is_anchor || n < 40, m->theta);
}

/* The chain of fits up to the last one due, from the latest that is known or an anchor. */
static void fit_due(struct model *m, const double *x, const double *y, size_t n) {
    size_t nr, due = last_fit(n, &nr);
    if (m->fitted_at == due) {
        return;
    }
    size_t at = 1, k = 0, anchor = nr / ANCHOR_EVERY * ANCHOR_EVERY;
    while (k < anchor || (m->fitted_at > at && at < due)) {
        at = next_fit(at);
        k++;
    }
    /* Here at is the anchor, or the fit that is known already when that is later. */
    if (m->fitted_at != at) {
        fit(m, x, y, at, true);
    }
    for (; at < due;) {
        at = next_fit(at);
        k++;
        fit(m, x, y, at, k % ANCHOR_EVERY == 0);
    }
    m->fitted_at = due;
    m->nr_rows = 0;
}

static void choose_rows(struct model *m, const double *x, const double *y, size_t n) {
    size_t start = n <= MODEL_ALL ? m->fitted_at : n / CHOOSE_EVERY * CHOOSE_EVERY;
    if (m->nr_rows && (n <= MODEL_ALL || m->based_on == start)) {
        return; /* only appends are due */
    }
    m->based_on = start;
    if (n <= MODEL_ALL) {
        m->nr_rows = start;
        for (size_t i = 0; i < start; i++) {
            m->rows[i] = i;
        }
    } else {
        m->nr_rows = model_choose(m->space, x, y, start, 200, 100, MODEL_ROWS, m->rows);
    }
    auto_free double *bx = xcalloc(m->nr_rows * m->space->d + 1, sizeof(double));
    auto_free double *by = xcalloc(m->nr_rows + 1, sizeof(double));
    gather(m->space, x, y, m->rows, m->nr_rows, bx, by);
    struct gp_theta t = fit_view(m->space, m->theta);
    gp_build(&m->base, &t, bx, m->nr_rows);
}

static bool is_same_past(const struct model *m, const double *x, const double *y, size_t n) {
    size_t d = m->space->d;
    return m->nr_seen <= n && (!m->nr_seen || (!memcmp(m->seen_x, x, m->nr_seen * d * sizeof(*x)) &&
                                               !memcmp(m->seen_y, y, m->nr_seen * sizeof(*y))));
}

void model_update(struct model *m, const double *x, const double *y, size_t n) {
    size_t d = m->space->d;
    if (!n) {
        m->base.n = m->nr_rows = m->fitted_at = m->nr_seen = 0;
        return;
    }
    if (!is_same_past(m, x, y, n)) {
        m->fitted_at = m->nr_rows = 0;
    }
    fit_due(m, x, y, n);
    choose_rows(m, x, y, n);
    size_t next = m->based_on + (m->base.n - m->nr_rows); /* history row to append */
    for (; next < n; next++) {
        gp_append(&m->base, x + next * d);
    }
    size_t appended = m->base.n - m->nr_rows;
    auto_free double *labels = xcalloc(m->base.n + 1, sizeof(*labels));
    auto_free size_t *all = xcalloc(m->base.n + 1, sizeof(*all));
    memcpy(all, m->rows, m->nr_rows * sizeof(*all));
    for (size_t i = 0; i < appended; i++) {
        m->rows[m->nr_rows + i] = all[m->nr_rows + i] = m->based_on + i;
    }
    gather(m->space, x, y, all, m->base.n, NULL, labels);
    warp_labels(labels, m->base.n);
    gp_label(&m->base, labels);
    m->seen_x = xrealloc_array(m->seen_x, n * d + 1, sizeof(double));
    m->seen_y = xrealloc_array(m->seen_y, n, sizeof(double));
    memcpy(m->seen_x, x, n * d * sizeof(*x));
    memcpy(m->seen_y, y, n * sizeof(*y));
    m->nr_seen = n;
}
