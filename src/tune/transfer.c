/* See transfer.h. */
#include "tune/transfer.h"

#include "base/mem.h"

#include <cblas.h>
#include <math.h>

#define ROWS 300
#define APART 0.1 /* starts differ by more than this in some feature */

void transfer_fini(struct transfer *t) {
    for (size_t i = 0; i < t->nr; i++) {
        model_fini(&t->studies[i].model);
        free(t->studies[i].starts);
    }
    *t = (struct transfer){0};
}

static bool is_apart(const struct space *s, const double *a, const double *b) {
    for (size_t j = 0; j < s->d; j++) {
        if (s->features[j].is_category ? a[j] != b[j] : fabs(a[j] - b[j]) > APART) {
            return true;
        }
    }
    return false;
}

static void choose_starts(struct earlier *e, const struct space *s, const double *x,
                          const double *y, size_t n) {
    auto_free bool *passed = xcalloc(n + 1, sizeof(*passed));
    e->starts = xcalloc(TRANSFER_STARTS * s->d + 1, sizeof(double));
    while (e->nr_starts < TRANSFER_STARTS) {
        size_t best = n;
        for (size_t i = 0; i < n; i++) {
            best = !passed[i] && (best == n || y[i] > y[best]) ? i : best;
        }
        if (best == n) {
            return;
        }
        passed[best] = true;
        double *to = e->starts + e->nr_starts * s->d;
        memcpy(to, x + best * s->d, s->d * sizeof(double));
        space_snap(s, to);
        bool is_new = true;
        for (size_t k = 0; k < e->nr_starts; k++) {
            is_new &= is_apart(s, e->starts + k * s->d, to);
        }
        e->nr_starts += is_new;
    }
}

void transfer_add(struct transfer *t, const struct space *s, const struct tune_study *study,
                  const struct history *h, size_t objective) {
    if (t->nr == TRANSFER_STUDIES || h->n < 2) {
        return;
    }
    struct earlier *e = &t->studies[t->nr++];
    *e = (struct earlier){0};
    const double *y = h->y + objective * h->n;
    choose_starts(e, s, h->x, y, h->n);
    size_t rows[ROWS], nr = model_choose(s, h->x, y, h->n, 2 * ROWS / 3, 0, ROWS, rows);
    auto_free double *kx = xcalloc(nr * s->d + 1, sizeof(double));
    auto_free double *ky = xcalloc(nr + 1, sizeof(double));
    for (size_t i = 0; i < nr; i++) {
        memcpy(kx + i * s->d, h->x + rows[i] * s->d, s->d * sizeof(double));
        ky[i] = y[rows[i]];
    }
    model_init(&e->model, s, study->noise);
    model_update(&e->model, kx, ky, nr);
}

/* How badly g predicts each of its rows from the others, had it these labels: squared errors in
 * units of their own variances. The variances do not change with the labels. */
static double surprise(const struct gp *g, const double *y) {
    auto_free double *alpha = xcalloc(g->n + 1, sizeof(*alpha));
    double sum = 0;
    cblas_dgemv(CblasColMajor, CblasNoTrans, (int)g->n, (int)g->n, 1, g->inverse, (int)g->cap, y, 1,
                0, alpha, 1);
    for (size_t i = 0; i < g->n; i++) {
        sum += alpha[i] * alpha[i] / g->inverse[i * g->cap + i];
    }
    return sum;
}

const struct gp *transfer_choose(const struct transfer *t, const struct gp *g, double *ret_share,
                                 double *shift) {
    static const double shares[] = {0.25, 0.5, 1, 2};
    const struct gp *found = NULL;
    size_t n = g->n;
    auto_free double *y = xcalloc(n + 1, sizeof(*y));
    double least = surprise(g, g->y);
    for (size_t i = 0; i < t->nr && n; i++) {
        struct gp_at at = {0};
        double mean = 0;
        gp_predict(&t->studies[i].model.base, g->x, n, false, &at);
        for (size_t k = 0; k < n; k++) {
            mean += at.mean[k] / (double)n;
        }
        for (size_t q = 0; q < NR_OF(shares); q++) {
            for (size_t k = 0; k < n; k++) {
                y[k] = g->y[k] - shares[q] * (at.mean[k] - mean);
            }
            double s = surprise(g, y);
            if (s < least) {
                least = s;
                found = &t->studies[i].model.base;
                *ret_share = shares[q];
                for (size_t k = 0; k < n; k++) {
                    shift[k] = g->y[k] - y[k];
                }
            }
        }
        gp_at_fini(&at);
    }
    return found;
}
