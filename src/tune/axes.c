/* See axes.h. */
#include "tune/axes.h"

#include "tune/wide.h"

#include <math.h>

static const double root5 = 2.23606797749979;

double axis_scale(double inv_len) {
    return root5 * fmin(inv_len, 1 / AXES_LEN_MIN);
}

void axis_place(double inv_len, double x, double *ret_u, double *ret_up, double *ret_down) {
    double v = axis_scale(inv_len);
    *ret_u = v * x;
    *ret_up = exp(v * (x - 0.5));
    *ret_down = exp(-v * (x - 0.5));
}

/* e^-|u - u'|: of the two quotients the one that is at most 1. */
static inline double decay(double up, double down, double other_up, double other_down) {
    double a = up * other_down, b = down * other_up;
    return a < b ? a : b;
}

static inline double distance(double u, double other) {
    double r = u - other;
    return r < 0 ? -r : r;
}

WIDE void axis_add(const struct axis *a, size_t n, double u, double up, double down, double weight,
                   double *restrict k) {
    const double *restrict au = a->u, *restrict ap = a->up, *restrict ad = a->down;
    for (size_t i = 0; i < n; i++) {
        double r = distance(au[i], u), e = decay(ap[i], ad[i], up, down);
        k[i] += weight * e * (1 + r + r * r * (1.0 / 3));
    }
}

#define LANES                                                                                      \
    4 /* sums side by side: the order of additions is the same however wide the machine            \
       */

WIDE double axis_weigh(const struct axis *a, size_t n, double u, double up, double down,
                       const double *restrict g, double *ret_by_len) {
    const double *restrict au = a->u, *restrict ap = a->up, *restrict ad = a->down;
    double sum[LANES] = {0}, len[LANES] = {0};
    size_t whole = n / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t l = 0; l < LANES; l++) {
            double r = distance(au[i + l], u), e = decay(ap[i + l], ad[i + l], up, down) * g[i + l];
            sum[l] += e * (1 + r + r * r * (1.0 / 3));
            len[l] += e * (1 + r) * r * r * (1.0 / 3);
        }
    }
    for (size_t i = whole; i < n; i++) {
        double r = distance(au[i], u), e = decay(ap[i], ad[i], up, down) * g[i];
        sum[0] += e * (1 + r + r * r * (1.0 / 3));
        len[0] += e * (1 + r) * r * r * (1.0 / 3);
    }
    *ret_by_len = (len[0] + len[1]) + (len[2] + len[3]);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

WIDE double axis_slope(const struct axis *a, size_t n, double u, double up, double down,
                       const double *restrict g) {
    const double *restrict au = a->u, *restrict ap = a->up, *restrict ad = a->down;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double r = u - au[i], s = r < 0 ? -r : r, e = decay(ap[i], ad[i], up, down);
        sum -= g[i] * e * (1 + s) * r * (1.0 / 3);
    }
    return sum;
}

double axis_apart(double inv_len, double *ret_by_len) {
    double r = axis_scale(inv_len), e = exp(-r);
    *ret_by_len = e * (1 + r) * r * r / 3;
    return e * (1 + r + r * r / 3);
}
