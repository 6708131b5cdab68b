/* See space.h. */
#include "tune/space.h"

#include "base/mem.h"

#include <math.h>

#define TABLE_MAX 1000 /* integers of wider ranges are rounded instead of looked up */

static bool is_finite_type(const struct tune_param *p) {
    return p->type != TUNE_DOUBLE;
}

static size_t count_values(const struct tune_param *p) {
    switch (p->type) {
    case TUNE_DOUBLE:
        return p->lo == p->hi ? 1 : 0;
    case TUNE_INTEGER:
        return p->hi - p->lo < TABLE_MAX ? (size_t)(p->hi - p->lo) + 1 : 0;
    case TUNE_DISCRETE:
    case TUNE_CATEGORICAL:
        return p->nr_values;
    }
    return 0;
}

static double low(const struct tune_param *p) {
    return p->type == TUNE_DISCRETE ? p->values[0] : p->lo;
}

static double high(const struct tune_param *p) {
    return p->type == TUNE_DISCRETE ? p->values[p->nr_values - 1] : p->hi;
}

static double clamp(double x, double lo, double hi) {
    return x < lo ? lo : x > hi ? hi : x;
}

/* Differences of logarithms: a range over 600 decades has no quotient. */
double space_encode_one(const struct tune_param *p, double v) {
    double lo = low(p), hi = high(p);
    if (lo == hi) {
        return 0.5;
    }
    switch (p->scale) {
    case TUNE_LOG:
        return clamp((log(v) - log(lo)) / (log(hi) - log(lo)), 0, 1);
    case TUNE_REVERSE_LOG:
        return clamp(1 - (log(lo + (hi - v)) - log(lo)) / (log(hi) - log(lo)), 0, 1);
    case TUNE_LINEAR:
        break;
    }
    return clamp(v / 2 - lo / 2, 0, INFINITY) / (hi / 2 - lo / 2) > 1
               ? 1
               : (v / 2 - lo / 2) / (hi / 2 - lo / 2);
}

/* The image of u on the continuum. */
static double invert(const struct tune_param *p, double u) {
    double lo = low(p), hi = high(p);
    if (u <= 0) {
        return lo;
    }
    if (u >= 1) {
        return hi;
    }
    switch (p->scale) {
    case TUNE_LOG:
        return clamp(exp(log(lo) + u * (log(hi) - log(lo))), lo, hi);
    case TUNE_REVERSE_LOG:
        return clamp(lo + (hi - exp(log(hi) - u * (log(hi) - log(lo)))), lo, hi);
    case TUNE_LINEAR:
        break;
    }
    /* Exact for whole numbers near 2^53, where lo * (1 - u) is not; half of a range that overflows.
     */
    return clamp(isfinite(hi - lo) ? lo + (hi - lo) * u : 2 * (lo / 2 + (hi / 2 - lo / 2) * u), lo,
                 hi);
}

double space_decode_one(const struct tune_param *p, double u) {
    double v =
        p->type == TUNE_CATEGORICAL ? clamp(round(u), 0, (double)p->nr_values - 1) : invert(p, u);
    if (p->type == TUNE_INTEGER) {
        return clamp(round(v), p->lo, p->hi);
    }
    if (p->type != TUNE_DISCRETE) {
        return v;
    }
    size_t best = 0;
    double gap = INFINITY;
    for (size_t i = 0; i < p->nr_values; i++) {
        double g = fabs(space_encode_one(p, p->values[i]) - u);
        if (g < gap) {
            gap = g;
            best = i;
        }
    }
    return p->values[best];
}

static int param_check(const struct tune_study *st, size_t i, struct err *err) {
    const struct tune_param *p = &st->params[i];
    bool is_set = p->type == TUNE_DISCRETE || p->type == TUNE_CATEGORICAL;
    if (is_set ? !p->nr_values : !(p->lo <= p->hi) || !isfinite(p->hi) || !isfinite(p->lo)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "parameter %zu has no values", i);
    }
    if (p->scale != TUNE_LINEAR && p->type != TUNE_CATEGORICAL && !(low(p) > 0)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "parameter %zu: a log scale needs values > 0", i);
    }
    if (p->parent >= (int)i || (p->parent >= 0 && !p->nr_when)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "parameter %zu has no parent before it", i);
    }
    if (st->algorithm == TUNE_GRID && !is_finite_type(p)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "parameter %zu: no grid over a continuum", i);
    }
    return 0;
}

static double *copy(const double *v, size_t n) {
    double *c = xcalloc(n + 1, sizeof(*c));
    if (n) {
        memcpy(c, v, n * sizeof(*c));
    }
    return c;
}

static void add_feature(struct space *s, size_t param) {
    const struct tune_param *p = &s->params[param];
    struct feature f = {
        .param = param, .is_category = p->type == TUNE_CATEGORICAL, .nr_values = count_values(p)};
    if (!f.is_category && f.nr_values) {
        f.images = xcalloc(f.nr_values, sizeof(*f.images));
        for (size_t i = 0; i < f.nr_values; i++) {
            f.images[i] =
                space_encode_one(p, p->type == TUNE_DISCRETE ? p->values[i] : p->lo + (double)i);
        }
    }
    s->feature_of[param] = (int)s->d;
    s->features[s->d++] = f;
    struct feature *g = &s->features[s->d - 1];
    if (f.is_category) {
        g->at_rest = p->has_default ? p->default_value : 0;
    } else {
        double u = p->has_default ? space_encode_one(p, p->default_value) : 0.5;
        g->at_rest = space_snap_one(s, s->d - 1, u);
    }
}

int space_init(struct space *s, const struct tune_study *st, struct err *err) {
    *s = (struct space){.nr_params = st->nr_params, .size = 1};
    for (size_t i = 0; i < st->nr_params; i++) {
        if (param_check(st, i, err)) {
            return -1;
        }
    }
    s->params = xcalloc(st->nr_params + 1, sizeof(*s->params));
    s->features = xcalloc(st->nr_params + 1, sizeof(*s->features));
    s->feature_of = xcalloc(st->nr_params + 1, sizeof(*s->feature_of));
    for (size_t i = 0; i < st->nr_params; i++) {
        s->params[i] = st->params[i];
        s->params[i].values =
            copy(st->params[i].values,
                 st->params[i].type == TUNE_DISCRETE ? st->params[i].nr_values : 0);
        s->params[i].when = copy(st->params[i].when, st->params[i].nr_when);
        s->feature_of[i] = -1;
        s->is_conditional |= st->params[i].parent >= 0;
        const struct tune_param *p = &s->params[i];
        s->size *= p->type == TUNE_INTEGER                   ? p->hi - p->lo + 1
                   : p->type == TUNE_DOUBLE && p->lo < p->hi ? INFINITY
                                                             : (double)count_values(p);
    }
    for (int categories = 0; categories < 2; categories++) {
        for (size_t i = 0; i < st->nr_params; i++) {
            if ((s->params[i].type == TUNE_CATEGORICAL) == categories &&
                count_values(&s->params[i]) != 1) {
                add_feature(s, i);
            }
        }
        s->nr_numeric = categories ? s->nr_numeric : s->d;
    }
    return 0;
}

void space_fini(struct space *s) {
    for (size_t i = 0; s->params && i < s->nr_params; i++) {
        free((double *)s->params[i].values);
        free((double *)s->params[i].when);
    }
    for (size_t j = 0; j < s->d; j++) {
        free(s->features[j].images);
    }
    free(s->params);
    free(s->features);
    free(s->feature_of);
    *s = (struct space){0};
}

static double only_value(const struct tune_param *p) {
    return p->type == TUNE_CATEGORICAL ? 0 : low(p);
}

static double value_of(const struct space *s, size_t param, const double *x) {
    int j = s->feature_of[param];
    return j < 0 ? only_value(&s->params[param]) : space_decode_one(&s->params[param], x[j]);
}

/* Parents come first, so one pass settles who is active. */
static void params_active(const struct space *s, const double *x, bool *active) {
    for (size_t i = 0; i < s->nr_params; i++) {
        const struct tune_param *p = &s->params[i];
        active[i] = p->parent < 0;
        if (p->parent >= 0 && active[p->parent]) {
            double v = value_of(s, (size_t)p->parent, x);
            for (size_t k = 0; k < p->nr_when && !active[i]; k++) {
                active[i] = fabs(p->when[k] - v) <= 1e-10;
            }
        }
    }
}

void space_active(const struct space *s, const double *x, bool *active) {
    auto_free bool *all = xcalloc(s->nr_params + 1, sizeof(*all));
    params_active(s, x, all);
    for (size_t j = 0; j < s->d; j++) {
        active[j] = all[s->features[j].param];
    }
}

void space_encode(const struct space *s, const double *setting, double *x) {
    for (size_t j = 0; j < s->d; j++) {
        const struct feature *f = &s->features[j];
        double v = setting[f->param];
        x[j] = isnan(v)         ? f->at_rest
               : f->is_category ? v
                                : space_encode_one(&s->params[f->param], v);
    }
}

void space_decode(const struct space *s, const double *x, double *setting) {
    auto_free bool *active = xcalloc(s->nr_params + 1, sizeof(*active));
    params_active(s, x, active);
    for (size_t i = 0; i < s->nr_params; i++) {
        setting[i] = active[i] ? value_of(s, i, x) : NAN;
    }
}

double space_snap_one(const struct space *s, size_t j, double u) {
    const struct feature *f = &s->features[j];
    const struct tune_param *p = &s->params[f->param];
    if (f->is_category) {
        return clamp(round(u), 0, (double)f->nr_values - 1);
    }
    u = clamp(u, 0, 1);
    if (!f->images) {
        return p->type == TUNE_INTEGER ? space_encode_one(p, space_decode_one(p, u)) : u;
    }
    size_t lo = 0, hi = f->nr_values - 1;
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        *(f->images[mid] <= u ? &lo : &hi) = mid;
    }
    return u - f->images[lo] <= f->images[hi] - u ? f->images[lo] : f->images[hi];
}

void space_snap(const struct space *s, double *x) {
    auto_free bool *active = xcalloc(s->d + 1, sizeof(*active));
    for (size_t j = 0; j < s->d; j++) {
        x[j] = space_snap_one(s, j, x[j]);
    }
    space_active(s, x, active);
    for (size_t j = 0; j < s->d; j++) {
        if (!active[j]) {
            x[j] = s->features[j].at_rest;
        }
    }
}

void space_centre(const struct space *s, double *x) {
    for (size_t j = 0; j < s->d; j++) {
        x[j] = s->features[j].at_rest;
    }
}

void space_random(const struct space *s, struct rng *r, double *x) {
    for (size_t j = 0; j < s->d; j++) {
        const struct feature *f = &s->features[j];
        x[j] = f->is_category ? (double)rng_below(r, f->nr_values)
               : f->images    ? f->images[rng_below(r, f->nr_values)]
                              : rng_unit(r);
    }
    space_snap(s, x);
}

/* Halton: radical inverse in the first primes, rotated. Past the table the points are as good as
 * random, and so are they in that many dimensions anyway. */
static const unsigned primes[] = {2,   3,   5,   7,   11,  13,  17,  19,  23,  29,  31,  37,  41,
                                  43,  47,  53,  59,  61,  67,  71,  73,  79,  83,  89,  97,  101,
                                  103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
                                  173, 179, 181, 191, 193, 197, 199, 211, 223, 227, 229};

static double radical_inverse(uint64_t i, unsigned base) {
    double v = 0, scale = 1;
    for (; i; i /= base) {
        scale /= base;
        v += scale * (double)(i % base);
    }
    return v;
}

void space_spread(const struct space *s, uint64_t i, const double *shift, double *x) {
    struct rng more;
    rng_seed(&more, i);
    for (size_t j = 0; j < s->d; j++) {
        const struct feature *f = &s->features[j];
        double u = j < NR_OF(primes) ? radical_inverse(i + 1, primes[j]) : rng_unit(&more);
        u += shift[j];
        u -= floor(u);
        x[j] =
            f->is_category ? fmin(floor(u * (double)f->nr_values), (double)f->nr_values - 1)
            : f->images
                ? f->images[(size_t)fmin(floor(u * (double)f->nr_values), (double)f->nr_values - 1)]
                : u;
    }
    space_snap(s, x);
}

static double nth_value(const struct tune_param *p, uint64_t k) {
    return p->type == TUNE_CATEGORICAL ? (double)k
           : p->type == TUNE_DISCRETE  ? p->values[k]
                                       : p->lo + (double)k;
}

static uint64_t nr_grid_values(const struct tune_param *p) {
    return p->type == TUNE_INTEGER  ? (uint64_t)(p->hi - p->lo) + 1
           : p->type == TUNE_DOUBLE ? 1
                                    : p->nr_values;
}

/* How many settings parameters i.. have, given the values chosen before. Memory of one number a
 * level; time grows with the branches that differ, not with the grid, where nothing is
 * conditional. */
static double count_from(const struct space *s, size_t i, double *setting);

static bool is_active(const struct space *s, size_t i, const double *setting) {
    const struct tune_param *p = &s->params[i];
    if (p->parent < 0) {
        return true;
    }
    for (size_t k = 0; k < p->nr_when; k++) {
        if (fabs(p->when[k] - setting[p->parent]) <= 1e-10) {
            return true; /* NAN, an inactive parent, is near nothing */
        }
    }
    return false;
}

static bool has_children(const struct space *s, size_t i) {
    for (size_t k = i + 1; k < s->nr_params; k++) {
        if (s->params[k].parent == (int)i) {
            return true;
        }
    }
    return false;
}

static double count_from(const struct space *s, size_t i, double *setting) {
    double n = 1;
    for (; i < s->nr_params; i++) {
        if (!is_active(s, i, setting)) {
            setting[i] = NAN;
            continue;
        }
        uint64_t m = nr_grid_values(&s->params[i]);
        if (!has_children(s, i)) {
            n *= (double)m;
            continue;
        }
        double sum = 0;
        for (uint64_t k = 0; k < m; k++) {
            setting[i] = nth_value(&s->params[i], k);
            sum += count_from(s, i + 1, setting);
        }
        return n * sum;
    }
    return n;
}

bool space_grid(const struct space *s, uint64_t index, double *setting) {
    double left = (double)index;
    for (size_t i = 0; i < s->nr_params; i++) {
        setting[i] = NAN;
    }
    for (size_t i = 0; i < s->nr_params; i++) {
        if (!is_active(s, i, setting)) {
            setting[i] = NAN;
            continue;
        }
        uint64_t m = nr_grid_values(&s->params[i]), k = 0;
        for (; k < m; k++) {
            setting[i] = nth_value(&s->params[i], k);
            double below = count_from(s, i + 1, setting);
            if (!has_children(s, i)) { /* all values have as many: no need to walk */
                double skip = fmin(floor(left / below), (double)m);
                left -= skip * below;
                k = (uint64_t)skip;
                break;
            }
            if (left < below) {
                break;
            }
            left -= below;
        }
        if (k >= m) {
            return false;
        }
        setting[i] = nth_value(&s->params[i], k);
    }
    return left < 1;
}
