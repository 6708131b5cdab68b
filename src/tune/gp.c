/* See gp.h. */
#include "tune/gp.h"

#include "base/mem.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>

#define STEP 64 /* rows that room is made for at a time */

void gp_init(struct gp *g, const struct space *s) {
    *g = (struct gp){.space = s, .inv_len = xcalloc(s->d + 1, sizeof(double))};
}

void gp_fini(struct gp *g) {
    free(g->x);
    free(g->scaled);
    free(g->norms);
    free(g->inverse);
    free(g->y);
    free(g->alpha);
    free(g->inv_len);
    *g = (struct gp){0};
}

static void make_room(struct gp *g, size_t n) {
    if (n <= g->cap) {
        return;
    }
    size_t cap = (n + STEP - 1) / STEP * STEP;
    double *inverse = xmalloc(cap * cap * sizeof(*inverse));
    for (size_t i = 0; i < g->n; i++) {
        memcpy(inverse + i * cap, g->inverse + i * g->cap, g->n * sizeof(*inverse));
    }
    free(g->inverse);
    g->inverse = inverse;
    g->cap = cap;
    g->x = xrealloc_array(g->x, cap * (g->space->d + 1), sizeof(double));
    g->scaled = xrealloc_array(g->scaled, cap * (g->space->nr_numeric + 1), sizeof(double));
    g->norms = xrealloc_array(g->norms, cap, sizeof(double));
    g->y = xrealloc_array(g->y, cap, sizeof(double));
    g->alpha = xrealloc_array(g->alpha, cap, sizeof(double));
}

void gp_copy(struct gp *to, const struct gp *from) {
    size_t d = from->space->d, dn = from->space->nr_numeric, n = from->n;
    to->space = from->space;
    to->n = 0;
    make_room(to, n + 1);
    memcpy(to->inv_len, from->inv_len, d * sizeof(double));
    to->signal = from->signal;
    to->noise = from->noise;
    to->n = n;
    for (size_t i = 0; i < n; i++) {
        memcpy(to->inverse + i * to->cap, from->inverse + i * from->cap, n * sizeof(double));
    }
    if (n) {
        memcpy(to->x, from->x, n * d * sizeof(double));
        memcpy(to->scaled, from->scaled, n * dn * sizeof(double));
        memcpy(to->norms, from->norms, n * sizeof(double));
        memcpy(to->y, from->y, n * sizeof(double));
        memcpy(to->alpha, from->alpha, n * sizeof(double));
    }
}

static double scale_row(const struct gp *g, const double *x, double *z) {
    double norm = 0;
    for (size_t j = 0; j < g->space->nr_numeric; j++) {
        z[j] = x[j] * g->inv_len[j];
        norm += z[j] * z[j];
    }
    return norm;
}

/* r2 (n x m, columns of n): squared scaled distances of the rows to m points. */
static void distances(const struct gp *g, const double *x, const double *z, const double *znorms,
                      size_t m, double *r2) {
    const struct space *s = g->space;
    size_t n = g->n, dn = s->nr_numeric;
    for (size_t c = 0; c < m; c++) {
        double *col = r2 + c * n;
        for (size_t i = 0; i < n; i++) {
            col[i] = g->norms[i] + znorms[c];
        }
        for (size_t j = dn; j < s->d; j++) {
            double apart = g->inv_len[j] * g->inv_len[j], here = x[c * s->d + j];
            for (size_t i = 0; i < n; i++) {
                col[i] += g->x[i * s->d + j] != here ? apart : 0;
            }
        }
    }
    if (dn && n && m) {
        cblas_dgemm(CblasColMajor, CblasTrans, CblasNoTrans, (int)n, (int)m, (int)dn, -2, g->scaled,
                    (int)dn, z, (int)dn, 1, r2, (int)n);
    }
}

static void put_row(struct gp *g, const double *x) {
    const struct space *s = g->space;
    make_room(g, g->n + 1);
    if (s->d) {
        memcpy(g->x + g->n * s->d, x, s->d * sizeof(*x));
    }
    g->norms[g->n] = scale_row(g, x, g->scaled + g->n * s->nr_numeric);
    g->y[g->n] = g->alpha[g->n] = 0;
    g->n++;
}

/* The inverse of covariance + noise by Cholesky; more jitter until it has one. */
static void invert(struct gp *g) {
    size_t n = g->n;
    auto_free double *r2 = xmalloc((n * n + 1) * sizeof(*r2));
    distances(g, g->x, g->scaled, g->norms, n, r2);
    gp_matern(r2, NULL, n * n);
    double jitter = GP_JITTER;
    for (int attempt = 0; attempt < 8; attempt++, jitter = fmax(jitter * 10, 1e-7)) {
        for (size_t i = 0; i < n; i++) {
            for (size_t k = 0; k < n; k++) {
                g->inverse[i * g->cap + k] = g->signal * r2[i * n + k];
            }
            g->inverse[i * g->cap + i] = g->signal + g->noise + jitter;
        }
        if (!LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'L', (int)n, g->inverse, (int)g->cap) &&
            !LAPACKE_dpotri_work(LAPACK_COL_MAJOR, 'L', (int)n, g->inverse, (int)g->cap)) {
            break;
        }
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++) {
            g->inverse[i * g->cap + k] = g->inverse[k * g->cap + i];
        }
    }
}

void gp_build(struct gp *g, const struct gp_theta *t, const double *x, size_t n) {
    g->n = 0;
    g->signal = exp(t->log_signal);
    g->noise = exp(t->log_noise);
    for (size_t j = 0; j < g->space->d; j++) {
        g->inv_len[j] = exp(-t->log_len[j]);
    }
    for (size_t i = 0; i < n; i++) {
        put_row(g, x + i * g->space->d);
    }
    if (n) {
        invert(g);
    }
}

void gp_append(struct gp *g, const double *x) {
    size_t n = g->n;
    put_row(g, x);
    auto_free double *k = xmalloc((2 * n + 2) * sizeof(*k));
    double *v = k + n + 1;
    g->n = n; /* distances to the rows before */
    const double *z = g->scaled + n * g->space->nr_numeric;
    distances(g, x, z, &g->norms[n], 1, k);
    gp_matern(k, NULL, n);
    cblas_dscal((int)n, g->signal, k, 1);
    double left = g->signal + g->noise + GP_JITTER;
    if (n) {
        cblas_dgemv(CblasColMajor, CblasNoTrans, (int)n, (int)n, 1, g->inverse, (int)g->cap, k, 1,
                    0, v, 1);
        left -= cblas_ddot((int)n, k, 1, v, 1);
    }
    /* What the rows before already say in full adds nothing: keep it from dividing by nothing. */
    left = fmax(left, 1e-9 * g->signal + GP_JITTER);
    double c = 1 / left;
    if (n) {
        cblas_dger(CblasColMajor, (int)n, (int)n, c, v, 1, v, 1, g->inverse, (int)g->cap);
    }
    for (size_t i = 0; i < n; i++) {
        g->inverse[i * g->cap + n] = g->inverse[n * g->cap + i] = -c * v[i];
    }
    g->inverse[n * g->cap + n] = c;
    g->n = n + 1;
}

void gp_label(struct gp *g, const double *y) {
    if (!g->n) {
        return;
    }
    if (y != g->y) {
        memcpy(g->y, y, g->n * sizeof(*y));
    }
    cblas_dgemv(CblasColMajor, CblasNoTrans, (int)g->n, (int)g->n, 1, g->inverse, (int)g->cap, g->y,
                1, 0, g->alpha, 1);
}

void gp_append_predicted(struct gp *g, const double *x) {
    struct gp_at at = {0};
    gp_predict(g, x, 1, false, &at);
    double mean = at.mean[0];
    gp_at_fini(&at);
    gp_append(g, x);
    g->y[g->n - 1] = mean;
    gp_label(g, g->y);
}

double gp_fitted(const struct gp *g, size_t i) {
    return g->y[i] - (g->noise + GP_JITTER) * g->alpha[i];
}

void gp_at_fini(struct gp_at *p) {
    free(p->mean);
    free(p->sd);
    free(p->k);
    free(p->w);
    free(p->v);
    free(p->z);
    free(p->znorms);
    free(p->c);
    free(p->xc);
    *p = (struct gp_at){0};
}

static void at_room(struct gp_at *p, const struct gp *g, size_t m) {
    size_t n = g->n + 1;
    if (m > p->cap_m || n > p->cap_n) {
        p->cap_m = m > p->cap_m ? m : p->cap_m;
        p->cap_n = n > p->cap_n ? n : p->cap_n;
        size_t all = p->cap_m * p->cap_n, row = g->space->d + 1;
        p->mean = xrealloc_array(p->mean, p->cap_m, sizeof(double));
        p->sd = xrealloc_array(p->sd, p->cap_m, sizeof(double));
        p->k = xrealloc_array(p->k, all, sizeof(double));
        p->w = xrealloc_array(p->w, all, sizeof(double));
        p->v = xrealloc_array(p->v, all, sizeof(double));
        p->c = xrealloc_array(p->c, all, sizeof(double));
        p->z = xrealloc_array(p->z, p->cap_m * row, sizeof(double));
        p->xc = xrealloc_array(p->xc, p->cap_m * row, sizeof(double));
        p->znorms = xrealloc_array(p->znorms, p->cap_m, sizeof(double));
    }
    p->m = m;
}

void gp_predict(const struct gp *g, const double *x, size_t m, bool with_sd, struct gp_at *p) {
    size_t n = g->n, d = g->space->d;
    at_room(p, g, m);
    for (size_t c = 0; c < m; c++) {
        p->znorms[c] = scale_row(g, x + c * d, p->z + c * g->space->nr_numeric);
        p->mean[c] = 0;
        p->sd[c] = sqrt(g->signal);
    }
    if (!n || !m) {
        return;
    }
    distances(g, x, p->z, p->znorms, m, p->k);
    gp_matern(p->k, with_sd ? p->w : NULL, n * m);
    cblas_dgemv(CblasColMajor, CblasTrans, (int)n, (int)m, g->signal, p->k, (int)n, g->alpha, 1, 0,
                p->mean, 1);
    if (!with_sd) {
        return;
    }
    cblas_dscal((int)(n * m), g->signal, p->k, 1);
    cblas_dgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)m, (int)n, 1, g->inverse,
                (int)g->cap, p->k, (int)n, 0, p->v, (int)n);
    for (size_t c = 0; c < m; c++) {
        double told = cblas_ddot((int)n, p->k + c * n, 1, p->v + c * n, 1);
        p->sd[c] = sqrt(fmax(g->signal - told, 1e-10 * g->signal));
    }
}

void gp_gradient(const struct gp *g, const double *x, struct gp_at *p, const double *by_mean,
                 const double *by_sd, double *grad) {
    size_t n = g->n, m = p->m, d = g->space->d, dn = g->space->nr_numeric;
    if (!n || !dn) {
        return;
    }
    for (size_t c = 0; c < m; c++) {
        double of_sd = by_sd[c] / p->sd[c], sum = 0;
        const double *v = p->v + c * n, *w = p->w + c * n;
        double *out = p->c + c * n;
        for (size_t i = 0; i < n; i++) {
            out[i] = (by_mean[c] * g->alpha[i] - of_sd * v[i]) * w[i] * g->signal;
            sum += out[i];
        }
        p->znorms[c] = sum;
    }
    cblas_dgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, (int)dn, (int)m, (int)n, 1, g->scaled,
                (int)dn, p->c, (int)n, 0, p->xc, (int)dn);
    for (size_t c = 0; c < m; c++) {
        for (size_t j = 0; j < dn; j++) {
            double z = x[c * d + j] * g->inv_len[j];
            grad[c * d + j] -= g->inv_len[j] * (z * p->znorms[c] - p->xc[c * dn + j]);
        }
    }
}
