/* See front.h. */
#include "tune/front.h"

#include "base/mem.h"
#include "tune/acq.h"

#include <math.h>

#define SLIGHT 50.0 /* a strip whose share is below e^-50 of the largest counts for nothing */

struct pair {
    double a, b;
};

static int by_a(const void *x, const void *y) {
    const struct pair *p = x, *q = y;
    return p->a != q->a ? (p->a > q->a) - (p->a < q->a) : (p->b > q->b) - (p->b < q->b);
}

static double worst_below(double worst, double best, double otherwise) {
    double range = best - worst;
    return worst - 0.1 * (range > 1e-9 ? range : otherwise);
}

void front_init(struct front *f, const double *a, const double *b, size_t n) {
    auto_free struct pair *all = xcalloc(n + 1, sizeof(*all));
    for (size_t i = 0; i < n; i++) {
        all[i] = (struct pair){a[i], b[i]};
    }
    qsort(all, n, sizeof(*all), by_a);
    *f = (struct front){.a = xcalloc(n + 1, sizeof(double)), .b = xcalloc(n + 1, sizeof(double))};
    double top = -INFINITY;
    for (size_t i = n; i-- > 0;) { /* from the best first value down */
        if (all[i].b > top) {
            top = all[i].b;
            f->a[f->nr] = all[i].a;
            f->b[f->nr++] = top;
        }
    }
    for (size_t i = 0; i < f->nr / 2; i++) {
        size_t k = f->nr - 1 - i;
        double x = f->a[i], y = f->b[i];
        f->a[i] = f->a[k];
        f->b[i] = f->b[k];
        f->a[k] = x;
        f->b[k] = y;
    }
    if (f->nr) { /* labels have a spread of one: what a front of one point has for an extent */
        f->reference[0] = worst_below(f->a[0], f->a[f->nr - 1], 1);
        f->reference[1] = worst_below(f->b[f->nr - 1], f->b[0], 1);
    }
}

void front_fini(struct front *f) {
    free(f->a);
    free(f->b);
    *f = (struct front){0};
}

/* E(Y - t)+ of Y ~ N(mean, sd^2): its logarithm, and by how much of itself it changes with mean and
 * sd. */
struct part {
    double log, by_mean, by_sd;
};

static struct part excess(double mean, double sd, double t) {
    double u = (mean - t) / sd, ratio, h = acq_log_h(u, &ratio);
    return (struct part){h + log(sd), ratio / sd, (1 - u * ratio) / sd};
}

/* The strip between two values of the first objective, `to` NULL: no end. False: it is empty. */
static bool strip(struct part from, const struct part *to, struct part *ret) {
    *ret = from;
    if (!to) {
        return true;
    }
    double q = exp(to->log - from.log);
    if (!(q < 1 - 1e-12)) {
        return false;
    }
    ret->log = from.log + log1p(-q);
    ret->by_mean = (from.by_mean - q * to->by_mean) / (1 - q);
    ret->by_sd = (from.by_sd - q * to->by_sd) / (1 - q);
    return true;
}

double front_log_gain(const struct front *f, const double mean[2], const double sd[2],
                      double by_mean[2], double by_sd[2]) {
    struct part from = excess(mean[0], sd[0], f->reference[0]), to;
    double most = -INFINITY, sum = 0, m[2] = {0}, s[2] = {0};
    for (size_t i = 0; i <= f->nr; i++) {
        struct part wide, high = excess(mean[1], sd[1], i < f->nr ? f->b[i] : f->reference[1]);
        bool is_last = i == f->nr;
        if (!is_last) {
            to = excess(mean[0], sd[0], f->a[i]);
        }
        if (strip(from, is_last ? NULL : &to, &wide)) {
            double l = wide.log + high.log;
            if (l > most) { /* all so far in units of the new largest */
                double k = exp(most - l);
                sum *= k;
                m[0] *= k;
                m[1] *= k;
                s[0] *= k;
                s[1] *= k;
                most = l;
            }
            double w = l > most - SLIGHT ? exp(l - most) : 0;
            sum += w;
            m[0] += w * wide.by_mean;
            m[1] += w * high.by_mean;
            s[0] += w * wide.by_sd;
            s[1] += w * high.by_sd;
        }
        from = to;
    }
    for (int k = 0; k < 2; k++) {
        by_mean[k] = m[k] / sum;
        by_sd[k] = s[k] / sum;
    }
    return most + log(sum);
}
