/* See trend.h. */
#include "tune/trend.h"

#include "base/mem.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>

/* Both have mean 0 and variance 1 over the range. */
static double line(double u) {
    return 3.4641016151377544 * (u - 0.5);
}

static double parabola(double u) {
    return 13.416407864998739 * ((u - 0.5) * (u - 0.5) - 1.0 / 12);
}

struct rows {
    size_t n, p;   /* p = 2 d */
    double *b;     /* n x p, columns of n; every column less its mean */
    double *y;     /* less its mean */
    double *means; /* p */
    double mean;
};

static void rows_init(struct rows *r, const struct space *s, const double *x, const double *y,
                      size_t n) {
    size_t d = s->nr_numeric;
    *r = (struct rows){.n = n, .p = 2 * d};
    r->b = xcalloc(n * r->p + 1, sizeof(double));
    r->y = xcalloc(n + 1, sizeof(double));
    r->means = xcalloc(r->p + 1, sizeof(double));
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < d; j++) {
            r->b[j * n + i] = line(x[i * s->d + j]);
            r->b[(d + j) * n + i] = parabola(x[i * s->d + j]);
        }
        r->mean += y[i] / (double)n;
    }
    for (size_t j = 0; j < r->p; j++) {
        for (size_t i = 0; i < n; i++) {
            r->means[j] += r->b[j * n + i] / (double)n;
        }
        for (size_t i = 0; i < n; i++) {
            r->b[j * n + i] -= r->means[j];
        }
    }
    for (size_t i = 0; i < n; i++) {
        r->y[i] = y[i] - r->mean;
    }
}

static void rows_fini(struct rows *r) {
    free(r->b);
    free(r->y);
    free(r->means);
}

/* The coefficients for a ridge, and the sum of squares of what each row differs from what the
 * others foretell; INFINITY: no solution. The dual form, rows are few: weights (B B' + ridge I)^-1
 * y, a row's error is its weight over its diagonal. */
static double solve(const struct rows *r, double ridge, double *ret) {
    int n = (int)r->n, p = (int)r->p;
    double error = 0;
    auto_free double *k = xcalloc(r->n * r->n + 1, sizeof(*k)), *w = xcalloc(r->n + 1, sizeof(*w));
    cblas_dsyrk(CblasColMajor, CblasLower, CblasNoTrans, n, p, 1, r->b, n, 0, k, n);
    for (size_t i = 0; i < r->n; i++) {
        k[i * r->n + i] += ridge;
        for (size_t c = 0; c <= i; c++) { /* the mean was taken from the rows, too */
            k[c * r->n + i] += 1 / (double)r->n;
        }
    }
    if (LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'L', n, k, n) ||
        LAPACKE_dpotri_work(LAPACK_COL_MAJOR, 'L', n, k, n)) {
        return INFINITY;
    }
    cblas_dsymv(CblasColMajor, CblasLower, n, 1, k, n, r->y, 1, 0, w, 1);
    for (size_t i = 0; i < r->n; i++) {
        double e = w[i] / k[i * r->n + i];
        error += e * e;
    }
    cblas_dgemv(CblasColMajor, CblasTrans, n, p, 1, r->b, n, w, 1, 0, ret, 1);
    return error;
}

void trend_init(struct trend *t, const struct space *s, const double *x, const double *y,
                size_t n) {
    struct rows r;
    rows_init(&r, s, x, y, n);
    *t = (struct trend){.d = s->nr_numeric, .coefficients = xcalloc(r.p + 1, sizeof(double))};
    auto_free double *one = xcalloc(r.p + 1, sizeof(*one));
    double least = 0;
    for (size_t i = 0; i < n; i++) { /* of the mean alone */
        double e = r.y[i] * (double)n / ((double)n - 1);
        least += n > 1 ? e * e : 0;
    }
    for (double ridge = 1e-3; ridge < 2e3 && n > 2 && r.p; ridge *= 10) {
        double e = solve(&r, ridge, one);
        if (e < least) {
            least = e;
            memcpy(t->coefficients + 1, one, r.p * sizeof(*one));
        }
    }
    t->coefficients[0] = r.mean;
    for (size_t j = 0; j < r.p; j++) {
        t->coefficients[0] -= t->coefficients[1 + j] * r.means[j];
    }
    rows_fini(&r);
}

void trend_fini(struct trend *t) {
    free(t->coefficients);
    *t = (struct trend){0};
}

double trend_at(const struct trend *t, const double *x) {
    double v = t->coefficients[0];
    for (size_t j = 0; j < t->d; j++) {
        v += t->coefficients[1 + j] * line(x[j]) + t->coefficients[1 + t->d + j] * parabola(x[j]);
    }
    return v;
}
