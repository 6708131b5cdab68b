/* See fit.h. */
#include "tune/fit.h"

#include "base/mem.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>

#define REFUSED 1e10
#define LEAN 1.0 /* prior deviation of the shares that a leaning direction takes in */

struct prior {
    double mean, sd, lo, hi; /* soft bounds */
};

static struct prior prior_of(const struct space *s, enum tune_noise noise, size_t i) {
    if (i < s->d) {
        double grow = (s->d > 50 ? 0.5 : 0.25) * log((double)s->d);
        return (struct prior){log(s->features[i].is_category ? 0.7 : 0.5) + grow, 1.0, log(0.02),
                              log(50)};
    }
    if (i == s->d) {
        return (struct prior){0, 1.0, log(1e-4), log(1e4)};
    }
    if (i == fit_axes_at(s)) {
        return (struct prior){log(0.1), 1.5, log(1e-5), log(1e3)};
    }
    if (i > fit_axes_at(s)) {
        return (struct prior){log(0.3), 0.8, log(0.02), log(50)};
    }
    double mean = noise == TUNE_NOISE_HIGH ? -3 : noise == TUNE_NOISE_LOW ? -9 : -6;
    return (struct prior){mean, 1.5, log(1e-6), noise == TUNE_NOISE_LOW ? log(1e-2) : 0};
}

void fit_prior_means(const struct space *s, enum tune_noise noise, double *theta) {
    memset(theta, 0, fit_size(s) * sizeof(*theta));
    for (size_t i = 0; i < fit_turn_at(s); i++) {
        theta[i] = prior_of(s, noise, i).mean;
    }
}

static bool is_turned(const struct space *s, const double *theta) {
    for (size_t j = 0; j < s->nr_numeric; j++) {
        if (theta[fit_turn_at(s) + j]) {
            return true;
        }
    }
    return false;
}

struct gp_theta fit_view(const struct space *s, double *theta) {
    double additive = theta[fit_axes_at(s)];
    return (struct gp_theta){theta,
                             is_turned(s, theta) ? theta + fit_turn_at(s) : NULL,
                             theta[s->d],
                             theta[s->d + 1],
                             additive > FIT_NO_AXES ? additive : -INFINITY,
                             theta + fit_axes_at(s) + 1};
}

/* Adds minus the log prior, and its gradient. */
static double add_prior(const struct fit_data *f, const double *theta, double *grad) {
    double sum = 0;
    for (size_t i = 0; i < (f->has_axes ? fit_turn_at(f->space) : fit_axes_at(f->space)); i++) {
        struct prior p = prior_of(f->space, f->noise, i);
        double e = (theta[i] - p.mean) / p.sd;
        double over = theta[i] > p.hi ? theta[i] - p.hi : theta[i] < p.lo ? theta[i] - p.lo : 0;
        sum += 0.5 * e * e + 50 * over * over;
        if (grad) {
            grad[i] += e / p.sd + 100 * over;
        }
    }
    for (size_t k = 0; f->leans && k + 1 < f->space->nr_numeric; k++) {
        double e = theta[fit_axes_at(f->space) + k] / LEAN;
        sum += 0.5 * e * e;
        if (grad) {
            grad[fit_axes_at(f->space) + k] += e / LEAN;
        }
    }
    return sum;
}

/* r2 (n x n): squared distances under theta; z: scaled numeric features. */
static void all_distances(const struct fit_data *f, const double *theta, double *z, double *r2) {
    size_t n = f->n, d = f->space->d, dn = f->space->nr_numeric;
    auto_free double *norms = xcalloc(n + 1, sizeof(*norms));
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < dn; j++) {
            z[i * dn + j] = f->x[i * d + j] * exp(-theta[j]);
            for (size_t k = 0; f->leans && j == dn - 1 && k < j; k++) {
                z[i * dn + j] +=
                    f->x[i * d + k] * theta[fit_axes_at(f->space) + k] * exp(-theta[j]);
            }
            norms[i] += z[i * dn + j] * z[i * dn + j];
        }
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++) {
            r2[i * n + k] = norms[i] + norms[k];
        }
    }
    for (size_t j = dn; j < d; j++) {
        double apart = exp(-2 * theta[j]);
        for (size_t i = 0; i < n; i++) {
            for (size_t k = 0; k < n; k++) {
                r2[i * n + k] += f->x[i * d + j] != f->x[k * d + j] ? apart : 0;
            }
        }
    }
    if (dn) {
        cblas_dgemm(CblasColMajor, CblasTrans, CblasNoTrans, (int)n, (int)n, (int)dn, -2, z,
                    (int)dn, z, (int)dn, 1, r2, (int)n);
    }
    for (size_t i = 0; i < n; i++) {
        r2[i * n + i] = 0;
    }
}

/* Gradient of the likelihood's part by the lengths: h = H 1, H x in one product (reference 30). */
static void length_gradient(const struct fit_data *f, const double *theta, const double *z,
                            const double *h, double *grad) {
    size_t n = f->n, d = f->space->d, dn = f->space->nr_numeric;
    auto_free double *sums = xcalloc(n + 1, sizeof(*sums));
    auto_free double *hz = xcalloc(n * dn + 1, sizeof(*hz));
    double total = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++) {
            sums[i] += h[i * n + k];
        }
        total += sums[i];
    }
    if (dn) {
        cblas_dgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, (int)dn, (int)n, (int)n, 1, z,
                    (int)dn, h, (int)n, 0, hz, (int)dn);
    }
    for (size_t j = 0; j < dn; j++) {
        double own = 0, cross = 0;
        for (size_t i = 0; i < n; i++) {
            own += z[i * dn + j] * z[i * dn + j] * sums[i];
            cross += z[i * dn + j] * hz[i * dn + j];
        }
        grad[j] -= own - cross;
    }
    for (size_t k = 0; f->leans && k + 1 < dn; k++) {
        for (size_t i = 0; i < n; i++) {
            size_t at = i * dn + dn - 1;
            grad[fit_axes_at(f->space) + k] +=
                f->x[i * d + k] * exp(-theta[dn - 1]) * (z[at] * sums[i] - hz[at]);
        }
    }
    for (size_t j = dn; j < d; j++) {
        double apart = 0;
        for (size_t i = 0; i < n; i++) {
            for (size_t k = 0; k < n; k++) {
                apart += f->x[i * d + j] != f->x[k * d + j] ? h[i * n + k] : 0;
            }
        }
        grad[j] -= 0.5 * apart * exp(-2 * theta[j]);
    }
}

/* ---- the additive part ---- */

static struct axis place_all(const struct fit_data *f, size_t j, double inv_len, double *room) {
    struct axis a = {room, room + f->n, room + 2 * f->n};
    for (size_t i = 0; i < f->n; i++) {
        axis_place(inv_len, f->x[i * f->space->d + j], &a.u[i], &a.up[i], &a.down[i]);
    }
    return a;
}

/* p (lower half) += the additive covariance off the diagonal. */
static void add_axes(const struct fit_data *f, const double *theta, double *p) {
    const struct space *s = f->space;
    size_t n = f->n, d = s->d;
    double weight = exp(theta[fit_axes_at(f->space)]) / (double)d;
    auto_free double *room = xmalloc((3 * n + 1) * sizeof(*room));
    for (size_t j = 0; j < s->nr_numeric; j++) {
        struct axis a = place_all(f, j, exp(-theta[fit_axes_at(f->space) + 1 + j]), room);
        for (size_t c = 0; c + 1 < n; c++) {
            struct axis below = {a.u + c + 1, a.up + c + 1, a.down + c + 1};
            axis_add(&below, n - c - 1, a.u[c], a.up[c], a.down[c], weight, p + c * n + c + 1);
        }
    }
    for (size_t j = s->nr_numeric; j < d; j++) {
        double by_len,
            apart = weight * axis_apart(exp(-theta[fit_axes_at(f->space) + 1 + j]), &by_len);
        for (size_t c = 0; c < n; c++) {
            for (size_t i = c + 1; i < n; i++) {
                p[c * n + i] += f->x[i * d + j] != f->x[c * d + j] ? apart : weight;
            }
        }
    }
}

/* g (lower half): alpha alpha' - P. The likelihood's gradient by the additive part's variance and
 * lengths; trace: the sum of g's diagonal. */
static void axes_gradient(const struct fit_data *f, const double *theta, const double *g,
                          double trace, double *grad) {
    const struct space *s = f->space;
    size_t n = f->n, d = s->d;
    double weight = exp(theta[fit_axes_at(f->space)]) / (double)d;
    auto_free double *room = xmalloc((3 * n + 1) * sizeof(*room));
    double all = (double)d * trace / 2;
    for (size_t j = 0; j < s->nr_numeric; j++) {
        struct axis a = place_all(f, j, exp(-theta[fit_axes_at(f->space) + 1 + j]), room);
        double by_len = 0, one;
        for (size_t c = 0; c + 1 < n; c++) {
            struct axis below = {a.u + c + 1, a.up + c + 1, a.down + c + 1};
            all +=
                axis_weigh(&below, n - c - 1, a.u[c], a.up[c], a.down[c], g + c * n + c + 1, &one);
            by_len += one;
        }
        grad[fit_axes_at(f->space) + 1 + j] -= weight * by_len;
    }
    for (size_t j = s->nr_numeric; j < d; j++) {
        double by_len, apart = axis_apart(exp(-theta[fit_axes_at(f->space) + 1 + j]), &by_len),
                       same = 0, other = 0;
        for (size_t c = 0; c < n; c++) {
            for (size_t i = c + 1; i < n; i++) {
                bool differ = f->x[i * d + j] != f->x[c * d + j];
                other += differ ? g[c * n + i] : 0;
                same += differ ? 0 : g[c * n + i];
            }
        }
        all += same + other * apart;
        grad[fit_axes_at(f->space) + 1 + j] -= weight * by_len * other;
    }
    grad[fit_axes_at(f->space)] -= weight * all;
}

double fit_value(const struct fit_data *f, const double *theta, double *grad) {
    size_t n = f->n, d = f->space->d;
    double signal = exp(theta[d]), noise = exp(theta[d + 1]);
    double additive = f->has_axes ? exp(theta[fit_axes_at(f->space)]) : 0;
    if (grad) {
        memset(grad, 0, fit_turn_at(f->space) * sizeof(*grad));
    }
    auto_free double *k = xmalloc((n * n + 1) * sizeof(*k));
    auto_free double *w = grad ? xmalloc((n * n + 1) * sizeof(*w)) : NULL;
    auto_free double *p = xmalloc((n * n + 1) * sizeof(*p));
    auto_free double *alpha = xmalloc((n + 1) * sizeof(*alpha));
    auto_free double *z = xmalloc((n * f->space->nr_numeric + 1) * sizeof(*z));
    all_distances(f, theta, z, k);
    gp_matern(k, w, n * n);
    for (size_t i = 0; i < n * n; i++) {
        p[i] = signal * k[i];
    }
    if (f->has_axes) {
        add_axes(f, theta, p);
    }
    for (size_t i = 0; i < n; i++) {
        p[i * n + i] = signal + additive + noise + GP_JITTER;
    }
    if (n && LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'L', (int)n, p, (int)n)) {
        return REFUSED;
    }
    double value = 0;
    for (size_t i = 0; i < n; i++) {
        value += log(p[i * n + i]);
        alpha[i] = f->y[i];
    }
    if (n) {
        LAPACKE_dpotrs_work(LAPACK_COL_MAJOR, 'L', (int)n, 1, p, (int)n, alpha, (int)n);
        value += 0.5 * cblas_ddot((int)n, alpha, 1, f->y, 1);
    }
    if (grad && n) {
        if (LAPACKE_dpotri_work(LAPACK_COL_MAJOR, 'L', (int)n, p, (int)n)) {
            return REFUSED;
        }
        double gk = 0, trace = 0;
        for (size_t i = 0; i < n; i++) {
            for (size_t c = 0; c <= i; c++) { /* G = alpha alpha' - P, lower half */
                double g = alpha[i] * alpha[c] - p[c * n + i];
                gk += (i == c ? 1 : 2) * g * k[c * n + i];
                p[c * n + i] = g;
                w[c * n + i] = w[i * n + c] = i == c ? 0 : g * w[c * n + i] * signal;
            }
        }
        for (size_t i = 0; i < n; i++) {
            trace += p[i * n + i];
        }
        if (f->has_axes) {
            axes_gradient(f, theta, p, trace, grad);
        }
        length_gradient(f, theta, z, w, grad);
        grad[d] -= 0.5 * signal * gk;
        grad[d + 1] -= 0.5 * noise * trace;
    }
    return value + add_prior(f, theta, grad);
}

static double value_of(void *arg, const double *theta, double *grad) {
    return fit_value(arg, theta, grad);
}

#define AXES_FROM 12  /* trials, */
#define AXES_DIMS 3   /* features: below, the product part sees all there is */
#define AXES_GAIN 2.0 /* of the log posterior, for the additive part to be believed */
#define TURN_TRIALS 3 /* a numeric feature: before, there is little to see a direction by */
#define TURN_DIMS 40
#define TURN_GAIN 10.0 /* as AXES_GAIN; the directions themselves were chosen by the same data */
#define TURN_ROUNDS 4  /* each finds the directions from the model before */
#define TURN_ROWS 128  /* with more one round does: the first model knows, and each is n^3 */

static double minimise(const struct fit_data *f, double *theta) {
    struct fit_data copy = *f;
    const struct lbfgs o = {.fn = value_of,
                            .arg = &copy,
                            .n = f->has_axes ? fit_turn_at(f->space)
                                 : f->leans  ? f->space->d + 1 + f->space->nr_numeric
                                             : fit_axes_at(f->space),
                            .max_rounds = f->leans ? 40 : 20,
                            .grad_tol = 1e-2,
                            .gain_tol = 1e-4,
                            .max_step = 2};
    return lbfgs_minimise(&o, theta);
}

/* Principal directions of the mean's slopes at the rows, the gentlest first, into turn; lengths to
 * begin with into log_len. False: there are none. */
static bool find_turn(const struct fit_data *f, double *theta, double *turn, double *log_len) {
    const struct space *s = f->space;
    size_t n = f->n, d = s->d, dn = s->nr_numeric;
    struct gp g;
    struct gp_at at = {0};
    gp_init(&g, s);
    struct gp_theta t = fit_view(s, theta);
    gp_build(&g, &t, f->x, n);
    gp_label(&g, f->y);
    gp_predict(&g, f->x, n, true, &at);
    auto_free double *slopes = xcalloc(n * d + 1, sizeof(*slopes));
    auto_free double *ones = xcalloc(2 * n + 1, sizeof(*ones));
    for (size_t i = 0; i < n; i++) {
        ones[i] = 1;
    }
    gp_gradient(&g, f->x, &at, ones, ones + n, slopes);
    gp_at_fini(&at);
    gp_fini(&g);
    cblas_dsyrk(CblasColMajor, CblasLower, CblasNoTrans, (int)dn, (int)n, 1, slopes, (int)d, 0,
                turn, (int)dn);
    auto_free double *spread = xcalloc(35 * dn + 1, sizeof(*spread));
    if (LAPACKE_dsyev_work(LAPACK_COL_MAJOR, 'V', 'L', (int)dn, turn, (int)dn, spread, spread + dn,
                           (int)(34 * dn)) ||
        !(spread[dn - 1] > 0)) {
        return false;
    }
    double middle = 0;
    for (size_t k = 0; k < dn; k++) {
        spread[k] = log(fmax(spread[k], 1e-9 * spread[dn - 1]));
        middle += spread[k] / (double)dn;
    }
    for (size_t k = 0; k < dn; k++) {
        log_len[k] =
            prior_of(s, f->noise, k).mean - fmin(1.5, fmax(-1.5, 0.25 * (spread[k] - middle)));
    }
    return true;
}

static void turn_rows(const struct fit_data *f, const double *turn, double *x) {
    size_t d = f->space->d, dn = f->space->nr_numeric;
    memcpy(x, f->x, f->n * d * sizeof(*x));
    for (size_t i = 0; i < f->n; i++) {
        for (size_t k = 0; k < dn; k++) {
            x[i * d + k] = 0;
            for (size_t j = 0; j < dn; j++) {
                x[i * d + k] += turn[k * dn + j] * f->x[i * d + j];
            }
        }
    }
}

/* From theta's model (of value `best`) to one with directions of its own, where that is worth it.
 */
static void try_turned(const struct fit_data *f, bool again, double *theta, double *was,
                       double best) {
    const struct space *s = f->space;
    size_t n = fit_size(s), d = s->d;
    struct fit_data data = *f;
    auto_free double *from = xcalloc(n, sizeof(*from));
    auto_free double *to = xcalloc(n, sizeof(*to));
    auto_free double *x = xcalloc(f->n * d + 1, sizeof(*x));
    memcpy(from, was ? was : theta, n * sizeof(*from));
    best -= TURN_GAIN;
    data.has_axes = false;
    data.x = x;
    for (int turn = 0; turn < (again ? TURN_ROUNDS : 1); turn++) {
        memcpy(to, from, n * sizeof(*to));
        double *dirs = to + fit_turn_at(s);
        if (!find_turn(f, from, dirs, to)) {
            return;
        }
        size_t dn = s->nr_numeric;
        memset(to + fit_axes_at(s), 0, (fit_turn_at(s) - fit_axes_at(s)) * sizeof(*to));
        turn_rows(f, dirs, x);
        data.leans = true;
        double v = minimise(&data, to);
        for (size_t k = 0; k + 1 < dn; k++) {
            for (size_t j = 0; j < dn; j++) {
                dirs[(dn - 1) * dn + j] += to[fit_axes_at(s) + k] * dirs[k * dn + j];
            }
        }
        memset(to + fit_axes_at(s), 0, (fit_turn_at(s) - fit_axes_at(s)) * sizeof(*to));
        to[fit_axes_at(s)] = FIT_NO_AXES;
        if (v < best) {
            memcpy(theta, to, n * sizeof(*to));
            best = v;
        }
        memcpy(from, to, n * sizeof(*from));
    }
}

void fit_theta(const struct fit_data *f, bool with_prior, double *theta) {
    size_t n = fit_size(f->space), d = f->space->d;
    struct fit_data data = *f;
    auto_free double *other = xcalloc(n, sizeof(*other));
    auto_free double *full = xcalloc(n, sizeof(*full));
    fit_prior_means(f->space, f->noise, other);
    auto_free double *turned = NULL;
    if (is_turned(f->space, theta)) {
        turned = xcalloc(n, sizeof(*turned));
        memcpy(turned, theta, n * sizeof(*turned));
        memcpy(theta, other, n * sizeof(*theta));
        theta[d] = turned[d];
        theta[d + 1] = turned[d + 1];
    }
    memcpy(full, theta[fit_axes_at(f->space)] > FIT_NO_AXES ? theta : other, n * sizeof(*full));
    data.has_axes = false;
    theta[fit_axes_at(f->space)] = other[fit_axes_at(f->space)] = FIT_NO_AXES;
    double best = minimise(&data, theta);
    if (with_prior || best >= REFUSED / 2) {
        double v = minimise(&data, other);
        if (v < best) {
            memcpy(theta, other, n * sizeof(*theta));
            best = v;
        }
    }
    if (f->n >= AXES_FROM && d >= AXES_DIMS) {
        data.has_axes = true;
        double v = minimise(&data, full);
        if (v < best - AXES_GAIN) {
            memcpy(theta, full, n * sizeof(*theta));
            best = v;
        }
    }
    size_t dn = f->space->nr_numeric;
    if (f->n >= AXES_FROM && f->n >= TURN_TRIALS * dn && dn >= 2 && dn <= TURN_DIMS) {
        try_turned(f, with_prior && !turned && f->n <= TURN_ROWS, theta, turned, best);
    }
    fit_prior_means(f->space, f->noise, other);
    for (size_t i = 0; i < n; i++) {
        theta[i] = isfinite(theta[i]) ? fmin(10, fmax(FIT_NO_AXES, theta[i])) : other[i];
    }
}
