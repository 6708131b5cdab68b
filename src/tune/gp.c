/* See gp.h. */
#include "tune/gp.h"

#include "base/mem.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>

#define STEP 64 /* rows that room is made for at a time */

void gp_init(struct gp *g, const struct space *s) {
    *g = (struct gp){.space = s,
                     .inv_len = xcalloc(s->d + 1, sizeof(double)),
                     .turn = xcalloc(s->nr_numeric * s->nr_numeric + 1, sizeof(double)),
                     .inv_axis_len = xcalloc(s->d + 1, sizeof(double)),
                     .axes = xcalloc(s->nr_numeric + 1, sizeof(struct axis))};
}

void gp_fini(struct gp *g) {
    free(g->x);
    free(g->scaled);
    free(g->norms);
    free(g->inverse);
    free(g->y);
    free(g->alpha);
    free(g->inv_len);
    free(g->turn);
    free(g->inv_axis_len);
    for (size_t j = 0; g->axes && j < g->space->nr_numeric; j++) {
        free(g->axes[j].u);
        free(g->axes[j].up);
        free(g->axes[j].down);
    }
    free(g->axes);
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
    for (size_t j = 0; j < g->space->nr_numeric; j++) {
        struct axis *a = &g->axes[j];
        a->u = xrealloc_array(a->u, cap, sizeof(double));
        a->up = xrealloc_array(a->up, cap, sizeof(double));
        a->down = xrealloc_array(a->down, cap, sizeof(double));
    }
    g->y = xrealloc_array(g->y, cap, sizeof(double));
    g->alpha = xrealloc_array(g->alpha, cap, sizeof(double));
}

void gp_copy(struct gp *to, const struct gp *from) {
    size_t d = from->space->d, dn = from->space->nr_numeric, n = from->n;
    to->space = from->space;
    to->n = 0;
    make_room(to, n + 1);
    memcpy(to->inv_len, from->inv_len, d * sizeof(double));
    to->is_turned = from->is_turned;
    memcpy(to->turn, from->turn, dn * dn * sizeof(double));
    memcpy(to->inv_axis_len, from->inv_axis_len, d * sizeof(double));
    to->signal = from->signal;
    to->noise = from->noise;
    to->additive = from->additive;
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
    for (size_t j = 0; n && from->additive > 0 && j < dn; j++) {
        memcpy(to->axes[j].u, from->axes[j].u, n * sizeof(double));
        memcpy(to->axes[j].up, from->axes[j].up, n * sizeof(double));
        memcpy(to->axes[j].down, from->axes[j].down, n * sizeof(double));
    }
}

static double scale_row(const struct gp *g, const double *x, double *z) {
    size_t dn = g->space->nr_numeric;
    double norm = 0;
    for (size_t k = 0; k < dn; k++) {
        double at = g->is_turned ? 0 : x[k];
        for (size_t j = 0; g->is_turned && j < dn; j++) {
            at += g->turn[k * dn + j] * x[j];
        }
        z[k] = at * g->inv_len[k];
        norm += z[k] * z[k];
    }
    return norm;
}

void gp_paces(const struct gp *g, double *ret) {
    size_t dn = g->space->nr_numeric;
    memcpy(ret, g->inv_len, g->space->d * sizeof(*ret));
    for (size_t j = 0; g->is_turned && j < dn; j++) {
        double sum = 0;
        for (size_t k = 0; k < dn; k++) {
            double pace = g->turn[k * dn + j] * g->inv_len[k];
            sum += pace * pace;
        }
        ret[j] = sqrt(sum);
    }
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

/* k (n x m, columns of n): the covariance between the rows and m points. w: see gp_matern. */
static void covariance(const struct gp *g, const double *x, const double *z, const double *znorms,
                       size_t m, double *k, double *w) {
    const struct space *s = g->space;
    size_t n = g->n;
    distances(g, x, z, znorms, m, k);
    gp_matern(k, w, n * m);
    cblas_dscal((int)(n * m), g->signal, k, 1);
    if (!(g->additive > 0)) {
        return;
    }
    double weight = g->additive / (double)s->d;
    for (size_t j = 0; j < s->nr_numeric; j++) {
        for (size_t c = 0; c < m; c++) {
            double u, up, down;
            axis_place(g->inv_axis_len[j], x[c * s->d + j], &u, &up, &down);
            axis_add(&g->axes[j], n, u, up, down, weight, k + c * n);
        }
    }
    for (size_t j = s->nr_numeric; j < s->d; j++) {
        double by_len, apart = weight * axis_apart(g->inv_axis_len[j], &by_len);
        for (size_t c = 0; c < m; c++) {
            double here = x[c * s->d + j];
            for (size_t i = 0; i < n; i++) {
                k[c * n + i] += g->x[i * s->d + j] != here ? apart : weight;
            }
        }
    }
}

static void put_row(struct gp *g, const double *x) {
    const struct space *s = g->space;
    make_room(g, g->n + 1);
    if (s->d) {
        memcpy(g->x + g->n * s->d, x, s->d * sizeof(*x));
    }
    g->norms[g->n] = scale_row(g, x, g->scaled + g->n * s->nr_numeric);
    for (size_t j = 0; g->additive > 0 && j < s->nr_numeric; j++) {
        struct axis *a = &g->axes[j];
        axis_place(g->inv_axis_len[j], x[j], &a->u[g->n], &a->up[g->n], &a->down[g->n]);
    }
    g->y[g->n] = g->alpha[g->n] = 0;
    g->n++;
}

/* The inverse of covariance + noise by Cholesky; more jitter until it has one. */
static void invert(struct gp *g) {
    size_t n = g->n;
    auto_free double *k2 = xmalloc((n * n + 1) * sizeof(*k2));
    covariance(g, g->x, g->scaled, g->norms, n, k2, NULL);
    double jitter = GP_JITTER;
    for (int attempt = 0; attempt < 8; attempt++, jitter = fmax(jitter * 10, 1e-7)) {
        for (size_t i = 0; i < n; i++) {
            for (size_t k = 0; k < n; k++) {
                g->inverse[i * g->cap + k] = k2[i * n + k];
            }
            g->inverse[i * g->cap + i] = gp_variance(g) + g->noise + jitter;
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
    g->additive = exp(t->log_additive);
    g->is_turned = t->turn;
    if (t->turn) {
        memcpy(g->turn, t->turn, g->space->nr_numeric * g->space->nr_numeric * sizeof(double));
    }
    for (size_t j = 0; j < g->space->d; j++) {
        g->inv_len[j] = exp(-t->log_len[j]);
        g->inv_axis_len[j] = g->additive > 0 ? exp(-t->log_axis_len[j]) : 0;
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
    covariance(g, x, z, &g->norms[n], 1, k, NULL);
    double left = gp_variance(g) + g->noise + GP_JITTER;
    if (n) {
        cblas_dgemv(CblasColMajor, CblasNoTrans, (int)n, (int)n, 1, g->inverse, (int)g->cap, k, 1,
                    0, v, 1);
        left -= cblas_ddot((int)n, k, 1, v, 1);
    }
    /* What the rows before already say in full adds nothing: keep it from dividing by nothing. */
    left = fmax(left, 1e-9 * gp_variance(g) + GP_JITTER);
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
        p->sd[c] = sqrt(gp_variance(g));
    }
    if (!n || !m) {
        return;
    }
    covariance(g, x, p->z, p->znorms, m, p->k, with_sd ? p->w : NULL);
    cblas_dgemv(CblasColMajor, CblasTrans, (int)n, (int)m, 1, p->k, (int)n, g->alpha, 1, 0, p->mean,
                1);
    if (!with_sd) {
        return;
    }
    cblas_dgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)m, (int)n, 1, g->inverse,
                (int)g->cap, p->k, (int)n, 0, p->v, (int)n);
    for (size_t c = 0; c < m; c++) {
        double told = cblas_ddot((int)n, p->k + c * n, 1, p->v + c * n, 1);
        p->sd[c] = sqrt(fmax(gp_variance(g) - told, 1e-10 * gp_variance(g)));
    }
}

void gp_bound(const struct gp *g, const double *x, size_t m, struct gp_at *p) {
    double var = gp_variance(g);
    gp_predict(g, x, m, false, p);
    for (size_t c = 0; c < m && g->n; c++) {
        const double *k = p->k + c * g->n;
        double nearest = 0;
        for (size_t i = 0; i < g->n; i++) {
            nearest = k[i] > nearest ? k[i] : nearest;
        }
        double told = nearest * nearest / (var + g->noise + GP_JITTER);
        p->sd[c] = sqrt(fmax(var - told, 1e-10 * var));
    }
}

/* The additive part's share of gp_gradient at one point; of: n, what each row's covariance counts.
 */
static void axes_gradient(const struct gp *g, const double *x, const double *of, double *grad) {
    double weight = g->additive / (double)g->space->d;
    for (size_t j = 0; j < g->space->nr_numeric; j++) {
        double u, up, down;
        axis_place(g->inv_axis_len[j], x[j], &u, &up, &down);
        double by_u = axis_scale(g->inv_axis_len[j]);
        grad[j] += weight * by_u * axis_slope(&g->axes[j], g->n, u, up, down, of);
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
            out[i] = by_mean[c] * g->alpha[i] - of_sd * v[i];
        }
        if (g->additive > 0) {
            axes_gradient(g, x + c * d, out, grad + c * d);
        }
        for (size_t i = 0; i < n; i++) {
            out[i] *= w[i] * g->signal;
            sum += out[i];
        }
        p->znorms[c] = sum;
    }
    cblas_dgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, (int)dn, (int)m, (int)n, 1, g->scaled,
                (int)dn, p->c, (int)n, 0, p->xc, (int)dn);
    for (size_t c = 0; c < m; c++) {
        for (size_t k = 0; k < dn; k++) {
            double along = g->inv_len[k] * (p->z[c * dn + k] * p->znorms[c] - p->xc[c * dn + k]);
            grad[c * d + k] -= g->is_turned ? 0 : along;
            for (size_t j = 0; g->is_turned && j < dn; j++) {
                grad[c * d + j] -= g->turn[k * dn + j] * along;
            }
        }
    }
}
