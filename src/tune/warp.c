/* See warp.h. */
#include "tune/warp.h"

#include "base/mem.h"

#include <math.h>

static int cmp(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A first guess good to three digits (Hastings' form), then Newton steps on erfc. */
double warp_normal_quantile(double p) {
    double q = p < 0.5 ? p : 1 - p;
    double t = sqrt(-2 * log(q));
    double x = t - (2.30753 + t * 0.27061) / (1 + t * (0.99229 + t * 0.04481));
    for (int i = 0; i < 4; i++) {
        double e = 0.5 * erfc(x / M_SQRT2) - q;
        double phi = exp(-x * x / 2) / sqrt(2 * M_PI);
        double step = phi > 0 ? e / phi : 0;
        x += step / (1 - x * step / 2); /* Halley: the second derivative is -x phi */
    }
    return p < 0.5 ? -x : x;
}

static bool standardise(double *y, size_t n) {
    double scale = 0, mean = 0, var = 0;
    for (size_t i = 0; i < n; i++) { /* 1e300 squared has no room */
        scale = fmax(scale, fabs(y[i]));
    }
    for (size_t i = 0; i < n; i++) {
        y[i] = scale > 0 ? y[i] / scale : 0;
        mean += y[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        var += (y[i] - mean) * (y[i] - mean) / (double)n;
    }
    double sd = sqrt(var);
    for (size_t i = 0; i < n; i++) {
        y[i] = sd > 1e-14 ? (y[i] - mean) / sd : 0;
    }
    return sd > 1e-14;
}

/* Values below the median get the normal quantile of their rank, on the scale of those above. */
static void half_rank(double *y, size_t n) {
    auto_free double *u = xcalloc(n, sizeof(*u));
    memcpy(u, y, n * sizeof(*u));
    qsort(u, n, sizeof(*u), cmp);
    double median = n % 2 ? u[n / 2] : u[n / 2 - 1] / 2 + u[n / 2] / 2;
    size_t nr = 0; /* unique ones */
    for (size_t i = 0; i < n; i++) {
        if (!nr || u[i] != u[nr - 1]) {
            u[nr++] = u[i];
        }
    }
    double good = 0, all = 0, nr_good = 0, below = 0;
    for (size_t i = 0; i < nr; i++) {
        double q = (u[i] - median) * (u[i] - median);
        all += q;
        if (u[i] >= median) {
            good += q;
            nr_good++;
        }
        below += u[i] < median ? 1 : u[i] == median ? 0.5 : 0;
    }
    double spread = good > 0 ? sqrt(good / nr_good) : sqrt(all / (double)nr);
    for (size_t i = 0; i < n; i++) {
        if (y[i] < median) {
            const double *at = bsearch(&y[i], u, nr, sizeof(*u), cmp);
            double rank = (double)(at - u) + 1;
            y[i] = median + spread * warp_normal_quantile(0.5 * (rank - 0.5) / below);
        }
    }
}

static double yeo_johnson(double z, double l) {
    if (z >= 0) {
        return fabs(l) < 1e-8 ? log1p(z) : expm1(l * log1p(z)) / l;
    }
    return fabs(l - 2) < 1e-8 ? -log1p(-z) : -expm1((2 - l) * log1p(-z)) / (2 - l);
}

static double likelihood(const double *z, size_t n, double l) {
    double mean = 0, var = 0, jacobian = 0;
    for (size_t i = 0; i < n; i++) {
        mean += yeo_johnson(z[i], l) / (double)n;
        jacobian += copysign(log1p(fabs(z[i])), z[i]);
    }
    for (size_t i = 0; i < n; i++) {
        double e = yeo_johnson(z[i], l) - mean;
        var += e * e / (double)n;
    }
    return var > 0 ? -0.5 * (double)n * log(var) + (l - 1) * jacobian : -INFINITY;
}

/* The best lambda in [0, 4]: nine points, then the golden section around the best of them. */
static double best_lambda(const double *z, size_t n) {
    double best = 1, value = -INFINITY;
    for (int i = 0; i <= 8; i++) {
        double v = likelihood(z, n, i * 0.5);
        if (v > value) {
            value = v;
            best = i * 0.5;
        }
    }
    const double golden = 0.6180339887498949;
    double a = fmax(0, best - 0.5), b = fmin(4, best + 0.5);
    double c = b - golden * (b - a), e = a + golden * (b - a);
    double fc = likelihood(z, n, c), fe = likelihood(z, n, e);
    while (b - a > 0.02) {
        if (fc > fe) {
            b = e;
            e = c;
            fe = fc;
            c = b - golden * (b - a);
            fc = likelihood(z, n, c);
        } else {
            a = c;
            c = e;
            fc = fe;
            e = a + golden * (b - a);
            fe = likelihood(z, n, e);
        }
    }
    return (a + b) / 2;
}

void warp_labels(double *y, size_t n) {
    if (!standardise(y, n)) {
        return;
    }
    if (n >= 3) {
        half_rank(y, n);
        if (!standardise(y, n)) {
            return;
        }
        double l = best_lambda(y, n);
        for (size_t i = 0; i < n; i++) {
            y[i] = yeo_johnson(y[i], l);
        }
        (void)standardise(y, n); /* monotone: still not all equal */
    }
}
