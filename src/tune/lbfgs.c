/* Limited-memory BFGS, two-loop recursion, Armijo back-tracking. See fit.h. */
#include "tune/fit.h"

#include "base/mem.h"

#include <cblas.h>
#include <math.h>

#define MEMORY 8

struct memory {
    double *s[MEMORY], *y[MEMORY], rho[MEMORY];
    unsigned n, next; /* kept, where the next goes */
};

static double dot(size_t n, const double *a, const double *b) {
    return cblas_ddot((int)n, a, 1, b, 1);
}

/* dir = -H grad */
static void direction(const struct memory *m, size_t n, const double *grad, double *dir) {
    double a[MEMORY];
    for (size_t i = 0; i < n; i++) {
        dir[i] = -grad[i];
    }
    for (unsigned q = 0; q < m->n; q++) {
        unsigned k = (m->next + MEMORY - 1 - q) % MEMORY;
        a[k] = m->rho[k] * dot(n, m->s[k], dir);
        cblas_daxpy((int)n, -a[k], m->y[k], 1, dir, 1);
    }
    if (m->n) {
        unsigned k = (m->next + MEMORY - 1) % MEMORY;
        cblas_dscal((int)n, 1 / (m->rho[k] * dot(n, m->y[k], m->y[k])), dir, 1);
    }
    for (unsigned q = m->n; q-- > 0;) {
        unsigned k = (m->next + MEMORY - 1 - q) % MEMORY;
        double b = m->rho[k] * dot(n, m->y[k], dir);
        cblas_daxpy((int)n, a[k] - b, m->s[k], 1, dir, 1);
    }
}

static void remember(struct memory *m, size_t n, const double *step, const double *was,
                     const double *grad) {
    double *s = m->s[m->next], *y = m->y[m->next];
    for (size_t i = 0; i < n; i++) {
        s[i] = step[i];
        y[i] = grad[i] - was[i];
    }
    double sy = dot(n, s, y);
    if (sy > 1e-12 * dot(n, y, y)) { /* else it would not stay positive definite */
        m->rho[m->next] = 1 / sy;
        m->next = (m->next + 1) % MEMORY;
        m->n += m->n < MEMORY;
    }
}

static double largest(size_t n, const double *v) {
    return n ? fabs(v[cblas_idamax((int)n, v, 1)]) : 0;
}

double lbfgs_minimise(const struct lbfgs *o, double *x) {
    size_t n = o->n;
    auto_free double *room = xcalloc((5 + 2 * MEMORY) * n + 1, sizeof(*room));
    double *grad = room, *trial = room + n, *tgrad = room + 2 * n, *dir = room + 3 * n,
           *step = room + 4 * n;
    struct memory m = {0};
    for (unsigned k = 0; k < MEMORY; k++) {
        m.s[k] = room + (5 + 2 * k) * n;
        m.y[k] = room + (6 + 2 * k) * n;
    }
    double f = o->fn(o->arg, x, grad);
    for (unsigned round = 0; round < o->max_rounds && f < 1e9; round++) {
        if (largest(n, grad) < o->grad_tol) {
            break;
        }
        direction(&m, n, grad, dir);
        double slope = dot(n, dir, grad);
        if (!(slope < 0)) {
            m.n = 0;
            direction(&m, n, grad, dir);
            slope = dot(n, dir, grad);
        }
        double size = m.n ? 1 : 1 / fmax(1, sqrt(dot(n, grad, grad)));
        size = fmin(size, o->max_step / fmax(1e-300, largest(n, dir)));
        double ft = f;
        bool found = false;
        for (int i = 0; i < 8 && !found; i++, size *= 0.4) {
            for (size_t k = 0; k < n; k++) {
                step[k] = size * dir[k];
                trial[k] = x[k] + step[k];
            }
            ft = o->fn(o->arg, trial, tgrad);
            found = ft <= f + 1e-4 * size * slope;
        }
        if (!found) {
            if (!m.n) {
                break;
            }
            m.n = 0; /* once more along the gradient */
            continue;
        }
        remember(&m, n, step, grad, tgrad);
        double gain = f - ft;
        f = ft;
        memcpy(x, trial, n * sizeof(*x));
        memcpy(grad, tgrad, n * sizeof(*grad));
        if (gain < o->gain_tol) {
            break;
        }
    }
    return f;
}
