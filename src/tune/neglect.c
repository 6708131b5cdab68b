/* See neglect.h. */
#include "tune/neglect.h"

#include "base/mem.h"

#include <math.h>

#define SURE 2.0 /* trials that every category has a claim to */

/* Does parameter p exist only while feature j has value v? */
static bool hangs_on(const struct space *s, size_t p, size_t j, double v) {
    while (s->params[p].parent >= 0) {
        const struct tune_param *child = &s->params[p];
        p = (size_t)child->parent;
        if (p == s->features[j].param) {
            for (size_t k = 0; k < child->nr_when; k++) {
                if (child->when[k] == v) {
                    return true;
                }
            }
            return false;
        }
    }
    return false;
}

/* Trials that category v of feature j should have had, of `total` in which j was active: some,
 * one for every two parameters it brings along, and a quarter of an even share. */
static double claim(const struct space *s, size_t j, double v, size_t total) {
    double even = (double)total / (double)s->features[j].nr_values, own = 0;
    for (size_t i = 0; i < s->d; i++) {
        own += hangs_on(s, s->features[i].param, j, v);
    }
    return SURE + fmin(own / 2, even / 2) + even / 4;
}

/* The value that wakes a child and is tried most: its feature's, for pins. */
static double waking_value(const struct space *s, const struct tune_param *child, size_t parent,
                           const double *known, size_t nr) {
    const struct feature *f = &s->features[parent];
    double best = NAN;
    size_t most = 0;
    for (size_t k = 0; k < child->nr_when; k++) {
        double v = f->is_category ? child->when[k]
                                  : space_encode_one(&s->params[f->param], child->when[k]);
        v = space_snap_one(s, parent, v);
        size_t tried = 0;
        for (size_t i = 0; i < nr; i++) {
            tried += known[i * s->d + parent] == v;
        }
        if (isnan(best) || tried > most) {
            best = v;
            most = tried;
        }
    }
    return best;
}

bool neglect_find(const struct space *s, const double *known, size_t nr, double *pins) {
    size_t d = s->d, at = d;
    double least = 1, value = 0;
    auto_free bool *active = xcalloc(nr * d + 1, sizeof(*active));
    for (size_t i = 0; i < nr; i++) {
        space_active(s, known + i * d, active + i * d);
    }
    for (size_t j = s->nr_numeric; j < d; j++) {
        size_t values = s->features[j].nr_values, total = 0;
        auto_free size_t *tried = xcalloc(values, sizeof(*tried));
        for (size_t i = 0; i < nr; i++) {
            tried[(size_t)known[i * d + j]] += active[i * d + j];
            total += active[i * d + j];
        }
        for (size_t k = 0; k < values && total; k++) {
            double met = (double)tried[k] / claim(s, j, (double)k, total);
            if (met < least) {
                least = met;
                at = j;
                value = (double)k;
            }
        }
    }
    for (size_t j = 0; j < d; j++) {
        pins[j] = NAN;
    }
    if (at == d) {
        return false;
    }
    pins[at] = value;
    for (size_t p = s->features[at].param; s->params[p].parent >= 0;) {
        const struct tune_param *child = &s->params[p];
        p = (size_t)child->parent;
        if (s->feature_of[p] >= 0) {
            size_t j = (size_t)s->feature_of[p];
            pins[j] = waking_value(s, child, j, known, nr);
        }
    }
    return true;
}
