/* See stopping.h: the median rule, the study's own rules, and what all curves need. */
#include "tune/stopping.h"

#include "base/mem.h"
#include "tune/stopping_int.h"

#include <math.h>

struct placed {
    struct curve_point p;
    size_t place;
};

static int by_t(const void *a, const void *b) {
    const struct placed *p = a, *q = b;
    return p->p.t != q->p.t ? (p->p.t > q->p.t) - (p->p.t < q->p.t)
                            : (p->place > q->place) - (p->place < q->place);
}

void curve_tidy(struct curve *c) {
    auto_free struct placed *all = xcalloc(c->n + 1, sizeof(*all));
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (isfinite(c->p[i].t) && isfinite(c->p[i].value)) {
            all[n] = (struct placed){c->p[i], i};
            n++;
        }
    }
    qsort(all, n, sizeof(*all), by_t);
    c->n = 0;
    for (size_t i = 0; i < n; i++) {
        c->n -= c->n && c->p[c->n - 1].t == all[i].p.t;
        c->p[c->n++] = all[i].p;
    }
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median_of(double *v, size_t n) {
    qsort(v, n, sizeof(*v), by_value);
    return n % 2 ? v[n / 2] : v[n / 2 - 1] / 2 + v[n / 2] / 2;
}

double best_final(const struct curve *all, size_t nr) {
    double best = -INFINITY;
    for (size_t i = 0; i < nr; i++) {
        best = fmax(best, all[i].final);
    }
    return best;
}

bool stop_by_median(const struct curve *trial, const struct curve *completed, size_t nr) {
    if (!trial->n) {
        return false;
    }
    double until = trial->p[trial->n - 1].t, best = -INFINITY;
    for (size_t i = 0; i < trial->n; i++) {
        best = fmax(best, trial->p[i].value);
    }
    auto_free double *average = xcalloc(nr + 1, sizeof(*average));
    size_t n = 0;
    for (size_t i = 0; i < nr; i++) {
        double sum = 0;
        size_t k = 0;
        for (; k < completed[i].n && completed[i].p[k].t <= until; k++) {
            sum += completed[i].p[k].value;
        }
        if (k) {
            average[n++] = sum / (double)k;
        }
    }
    return n >= STOP_MIN_COMPLETED && best < median_of(average, n);
}

const char *study_is_over(const struct study_rules *r, const struct study_progress *now) {
    if (r->min_runtime != USEC_NEVER && now->runtime < r->min_runtime) {
        return NULL;
    }
    if (r->max_runtime != USEC_NEVER && now->runtime >= r->max_runtime) {
        return "study_stopping_config.maximum_runtime_constraint";
    }
    if (now->nr_completed < r->min_trials) {
        return NULL;
    }
    if (r->max_trials && now->nr_trials > r->max_trials) {
        return "study_stopping_config.max_num_trials";
    }
    if (now->has_one_objective && r->max_trials_no_progress &&
        now->nr_since_best >= r->max_trials_no_progress) {
        return "study_stopping_config.max_num_trials_no_progress";
    }
    if (now->has_one_objective && r->max_no_progress != USEC_NEVER && now->nr_completed &&
        now->since_best >= r->max_no_progress) {
        return "study_stopping_config.max_duration_no_progress";
    }
    return NULL;
}
