/* See search.h. */
#include "tune/search.h"

#include "base/mem.h"

#include <math.h>

#define POOL 1024
#define BLOCK 256
#define SCREEN 128 /* points of each half of the pool whose value is worked out in full */
#define STARTS 10
#define MEMORY 6
#define ROUNDS 45
#define ALL_CLIMB 8 /* rounds; after them only the best LEADERS starts go on */
#define LEADERS 4
#define FEW_VALUES 16 /* of a number: all are looked at, none in between */
#define SAME 1e-7     /* nearer than this makes no difference to any model */

bool search_is_known(const struct space *s, const double *known, size_t nr, const double *x) {
    for (size_t i = 0; i < nr; i++) {
        const double *k = known + i * s->d;
        size_t j = 0;
        while (j < s->d && fabs(k[j] - x[j]) < SAME) {
            j++;
        }
        if (j == s->d) {
            return true;
        }
    }
    return false;
}

static bool is_new(const struct search *s, const double *x) {
    return s->may_repeat || !search_is_known(s->space, s->known, s->nr_known, x);
}

static bool is_relaxed(const struct feature *f) {
    return !f->is_category && (!f->nr_values || f->nr_values > FEW_VALUES);
}

static double reflect(double u) {
    u = fabs(u);
    u -= 2 * floor(u / 2);
    return u > 1 ? 2 - u : u;
}

static double gauss(struct rng *r) {
    double u = 1 - rng_unit(r);
    return sqrt(-2 * log(u)) * cos(2 * M_PI * rng_unit(r));
}

/* ---- the pool ---- */

static bool is_pinned(const struct search *s, size_t j) {
    return s->pins && !isnan(s->pins[j]);
}

static void set_pins(const struct search *s, double *x) {
    for (size_t j = 0; s->pins && j < s->space->d; j++) {
        x[j] = is_pinned(s, j) ? s->pins[j] : x[j];
    }
}

/* What x wakes and `was` did not has no place yet: `like`'s, or (NULL) anywhere. */
static void place_woken(const struct search *s, const double *was, const double *like, double *x) {
    const struct space *sp = s->space;
    auto_free bool *before = xcalloc(2 * sp->d + 1, sizeof(*before));
    bool *now = before + sp->d;
    space_active(sp, was, before);
    space_active(sp, x, now);
    for (size_t j = 0; j < sp->d; j++) {
        if (now[j] && !before[j] && !is_pinned(s, j)) {
            const struct feature *f = &sp->features[j];
            x[j] = like             ? like[j]
                   : f->is_category ? (double)rng_below(s->rng, f->nr_values)
                                    : rng_unit(s->rng);
        }
    }
}

static void near_point(const struct search *s, double *x) {
    const struct space *sp = s->space;
    size_t pick = rng_below(s->rng, s->nr_anchors);
    memcpy(x, s->anchors + pick * sp->d, sp->d * sizeof(*x));
    double size = 0.5 * pow(10, -3 * rng_unit(s->rng));
    double chance = fmax(0.15, fmin(1, 5 / (double)sp->d));
    chance = sp->d > 100 ? 20 / (double)sp->d : chance;
    size_t sure = rng_below(s->rng, sp->d);
    for (size_t j = 0; j < sp->d; j++) {
        if (j != sure && rng_unit(s->rng) >= chance) {
            continue;
        }
        const struct feature *f = &sp->features[j];
        x[j] = f->is_category ? (double)rng_below(s->rng, f->nr_values)
                              : reflect(x[j] + size * gauss(s->rng));
    }
    set_pins(s, x);
    if (sp->is_conditional) {
        place_woken(s, s->anchors + pick * sp->d, NULL, x);
    }
    space_snap(sp, x);
}

/* Into a box around one of the points seen. */
static void confine(const struct search *s, double *x) {
    if (s->radius <= 0 || !s->nr_seen) {
        return;
    }
    const double *centre = s->seen + rng_below(s->rng, s->nr_seen) * s->space->d;
    for (size_t j = 0; j < s->space->nr_numeric; j++) {
        if (is_relaxed(&s->space->features[j])) {
            x[j] = reflect(centre[j] + s->radius * (2 * x[j] - 1));
        }
    }
    space_snap(s->space, x);
}

static size_t fill_pool(const struct search *s, double *pool, size_t n) {
    size_t d = s->space->d;
    size_t global = !s->nr_anchors ? n : d > 100 ? 0 : d > 20 ? n / 4 : n / 2;
    auto_free double *shift = xcalloc(d + 1, sizeof(*shift));
    for (size_t j = 0; j < d; j++) {
        shift[j] = rng_unit(s->rng);
    }
    for (size_t i = 0; i < n; i++) {
        double *x = pool + i * d;
        if (i < global) {
            space_spread(s->space, i, shift, x);
            confine(s, x);
        } else {
            near_point(s, x);
            continue;
        }
        if (s->pins) {
            set_pins(s, x);
            space_snap(s->space, x);
        }
    }
    return global;
}

static int descending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Of n points with these bounds the `keep` most hopeful: the others' become -INFINITY. */
static void drop_hopeless(double *bound, size_t n, size_t keep) {
    if (n <= keep) {
        return;
    }
    auto_free double *order = xmalloc(n * sizeof(*order));
    memcpy(order, bound, n * sizeof(*order));
    qsort(order, n, sizeof(*order), descending);
    size_t better = 0;
    while (better < keep && order[better] > order[keep - 1]) {
        better++;
    }
    for (size_t i = 0, ties = keep - better; i < n; i++) {
        bool stays = bound[i] > order[keep - 1] || (bound[i] == order[keep - 1] && ties);
        ties -= stays && bound[i] == order[keep - 1];
        bound[i] = stays ? bound[i] : -INFINITY;
    }
}

/* Values of the pool's points; -INFINITY: not looked at, because others promise more. */
static void value_pool(const struct search *s, const double *pool, size_t n, size_t global,
                       double *value) {
    size_t d = s->space->d, nr = 0;
    auto_free double *x = xcalloc(BLOCK * d + 1, sizeof(*x));
    double v[BLOCK];
    size_t at[BLOCK];
    bool is_bound = true;
    for (size_t i = 0; i < n && is_bound; i += BLOCK) { /* blocks that stay in the cache */
        is_bound = acq_bound(s->acq, pool + i * d, n - i < BLOCK ? n - i : BLOCK, value + i);
    }
    if (is_bound) {
        size_t keep = s->is_quick ? SCREEN / 2 : SCREEN;
        drop_hopeless(value, global, keep);
        drop_hopeless(value + global, n - global, keep);
    }
    for (size_t i = 0; i < n; i++) {
        if (!is_bound || value[i] > -INFINITY) {
            memcpy(x + nr * d, pool + i * d, d * sizeof(*x));
            at[nr++] = i;
        }
        if (nr == BLOCK || (nr && i + 1 == n)) {
            acq_eval(s->acq, x, nr, v, NULL);
            for (size_t k = 0; k < nr; k++) {
                value[at[k]] = v[k];
            }
            nr = 0;
        }
    }
}

/* ---- starts ---- */

struct climber {
    double *x, *grad, *dir, *trial;
    double *ds[MEMORY], *dg[MEMORY], rho[MEMORY];
    double *lo, *hi; /* box */
    unsigned nr, next, tries;
    double value, step;
    bool done;
};

struct climb {
    const struct search *s;
    struct climber c[STARTS];
    size_t n;
    double *room;
    double *points, *values, *grads; /* blocks for evaluation */
    bool *is_free;                   /* features that move continuously */
};

static double apart(const struct space *s, const double *a, const double *b) {
    double m = 0;
    for (size_t j = 0; j < s->d; j++) {
        double e = s->features[j].is_category ? (a[j] != b[j]) : fabs(a[j] - b[j]);
        m = e > m ? e : m;
    }
    return m;
}

static void set_box(const struct search *s, struct climber *c) {
    size_t d = s->space->d;
    const double *near = NULL;
    double least = INFINITY;
    for (size_t i = 0; s->radius > 0 && i < s->nr_seen; i++) {
        double a = apart(s->space, s->seen + i * d, c->x);
        if (a < least) {
            least = a;
            near = s->seen + i * d;
        }
    }
    for (size_t j = 0; j < d; j++) {
        c->lo[j] = near ? fmin(c->x[j], fmax(0, near[j] - s->radius)) : 0;
        c->hi[j] = near ? fmax(c->x[j], fmin(1, near[j] + s->radius)) : 1;
    }
}

/* Best global and best near point by turns, each some way from those taken. */
static void choose_starts(struct climb *cl, const double *pool, const double *value, size_t n,
                          size_t global) {
    const struct search *s = cl->s;
    size_t d = s->space->d;
    auto_free bool *taken = xcalloc(n + 1, sizeof(*taken));
    for (size_t k = 0; k < STARTS; k++) {
        bool want_global = k % 2 == 0;
        for (int pass = 0; pass < 2; pass++, want_global = !want_global) {
            size_t from = want_global ? 0 : global, to = want_global ? global : n, best = n;
            for (size_t i = from; i < to; i++) {
                if (taken[i] || value[i] == -INFINITY || (best < n && value[i] <= value[best])) {
                    continue;
                }
                bool ok = true;
                for (size_t q = 0; q < cl->n && ok; q++) {
                    ok = apart(s->space, cl->c[q].x, pool + i * d) >= (want_global ? 0.1 : 0.02);
                }
                taken[i] = !ok;
                best = ok ? i : best;
            }
            if (best < n) {
                struct climber *c = &cl->c[cl->n++];
                taken[best] = true;
                memcpy(c->x, pool + best * d, d * sizeof(double));
                c->value = value[best];
                set_box(s, c);
                break;
            }
        }
    }
}

/* ---- ascent over the numbers, all starts in step ---- */

/* Ascent direction: L-BFGS on the features that may move, scaled by their lengths to begin with. */
static void aim(const struct climb *cl, struct climber *c) {
    const struct space *sp = cl->s->space;
    double a[MEMORY], dg_dg = 1;
    for (size_t j = 0; j < sp->d; j++) {
        bool stuck = !cl->is_free[j] || (c->x[j] <= c->lo[j] && c->grad[j] < 0) ||
                     (c->x[j] >= c->hi[j] && c->grad[j] > 0);
        c->dir[j] = stuck ? 0 : c->grad[j];
    }
    for (unsigned q = 0; q < c->nr; q++) {
        unsigned k = (c->next + MEMORY - 1 - q) % MEMORY;
        a[k] = 0;
        for (size_t j = 0; j < sp->d; j++) {
            a[k] += c->rho[k] * c->ds[k][j] * c->dir[j];
        }
        for (size_t j = 0; j < sp->d; j++) {
            c->dir[j] -= a[k] * c->dg[k][j];
        }
    }
    if (c->nr) {
        unsigned k = (c->next + MEMORY - 1) % MEMORY;
        dg_dg = 0;
        for (size_t j = 0; j < sp->d; j++) {
            double len = 1 / cl->s->paces[j];
            dg_dg += c->dg[k][j] * c->dg[k][j] * len * len;
        }
        dg_dg = dg_dg > 0 ? 1 / (c->rho[k] * dg_dg) : 1;
    }
    for (size_t j = 0; j < sp->d; j++) {
        double len = 1 / cl->s->paces[j];
        c->dir[j] *= dg_dg * len * len;
    }
    for (unsigned q = c->nr; q-- > 0;) {
        unsigned k = (c->next + MEMORY - 1 - q) % MEMORY;
        double b = 0;
        for (size_t j = 0; j < sp->d; j++) {
            b += c->rho[k] * c->dg[k][j] * c->dir[j];
        }
        for (size_t j = 0; j < sp->d; j++) {
            c->dir[j] += (a[k] - b) * c->ds[k][j];
        }
    }
    double slope = 0, size = 0, reach = 0;
    for (size_t j = 0; j < sp->d; j++) {
        bool out = (c->x[j] <= c->lo[j] && c->dir[j] < 0) || (c->x[j] >= c->hi[j] && c->dir[j] > 0);
        c->dir[j] = out || !cl->is_free[j] ? 0 : c->dir[j];
        slope += c->dir[j] * c->grad[j];
        size = fmax(size, fabs(c->dir[j]));
        reach = fmax(reach, fabs(c->dir[j]) * cl->s->paces[j]);
    }
    if (!(slope > 0) && c->nr) {
        c->nr = 0;
        aim(cl, c); /* once: without memory the slope is that of the gradient */
        return;
    }
    c->done = !(slope > 0) || !isfinite(slope);
    c->step = c->nr ? fmin(1, 0.5 / fmax(size, 1e-300)) : 0.1 / fmax(fmax(reach, size), 1e-300);
    c->tries = 0;
}

/* What became of the trial point; its gradient is in g. */
static void judge(const struct climb *cl, struct climber *c, double value, const double *g) {
    const struct space *sp = cl->s->space;
    double expected = 0, sy = 0, yy = 0;
    for (size_t j = 0; j < sp->d; j++) {
        expected += (c->trial[j] - c->x[j]) * c->grad[j];
    }
    if (!(value >= c->value + 1e-4 * expected)) {
        c->step *= 0.35;
        c->done = ++c->tries > 6;
        return;
    }
    for (size_t j = 0; j < sp->d; j++) {
        double s = c->trial[j] - c->x[j], y = c->grad[j] - g[j];
        y = cl->is_free[j] ? y : 0;
        c->ds[c->next][j] = s;
        c->dg[c->next][j] = y;
        sy += s * y;
        yy += y * y;
    }
    if (sy > 1e-12 * yy && sy > 0) {
        c->rho[c->next] = 1 / sy;
        c->next = (c->next + 1) % MEMORY;
        c->nr += c->nr < MEMORY;
    }
    double gain = value - c->value, steep = 0;
    memcpy(c->x, c->trial, sp->d * sizeof(double));
    memcpy(c->grad, g, sp->d * sizeof(double));
    c->value = value;
    for (size_t j = 0; j < sp->d; j++) {
        bool stuck = !cl->is_free[j] || (c->x[j] <= c->lo[j] && g[j] < 0) ||
                     (c->x[j] >= c->hi[j] && g[j] > 0);
        steep = fmax(steep, stuck ? 0 : fabs(g[j]) / cl->s->paces[j]);
    }
    if (gain < 1e-6 || steep < 1e-4) {
        c->done = true;
    } else {
        aim(cl, c);
    }
}

static void leave_leaders(struct climb *cl) {
    double values[STARTS];
    for (size_t i = 0; i < cl->n; i++) {
        values[i] = cl->c[i].value;
    }
    qsort(values, cl->n, sizeof(*values), descending);
    for (size_t i = 0; i < cl->n; i++) {
        cl->c[i].done |= cl->n > LEADERS && cl->c[i].value < values[LEADERS - 1];
    }
}

static void ascend(struct climb *cl) {
    size_t d = cl->s->space->d;
    for (size_t i = 0; i < cl->n; i++) {
        memcpy(cl->points + i * d, cl->c[i].x, d * sizeof(double));
    }
    acq_eval(cl->s->acq, cl->points, cl->n, cl->values, cl->grads);
    for (size_t i = 0; i < cl->n; i++) {
        struct climber *c = &cl->c[i];
        c->value = cl->values[i];
        memcpy(c->grad, cl->grads + i * d, d * sizeof(double));
        c->nr = c->next = 0;
        c->done = false;
        aim(cl, c);
    }
    for (int round = 0; round < ROUNDS; round++) {
        size_t who[STARTS], m = 0;
        if (round == ALL_CLIMB) {
            leave_leaders(cl);
        }
        for (size_t i = 0; i < cl->n; i++) {
            struct climber *c = &cl->c[i];
            if (c->done) {
                continue;
            }
            for (size_t j = 0; j < d; j++) {
                c->trial[j] = fmin(c->hi[j], fmax(c->lo[j], c->x[j] + c->step * c->dir[j]));
                c->trial[j] = cl->is_free[j] ? c->trial[j] : c->x[j];
            }
            memcpy(cl->points + m * d, c->trial, d * sizeof(double));
            who[m++] = i;
        }
        if (!m) {
            break;
        }
        acq_eval(cl->s->acq, cl->points, m, cl->values, cl->grads);
        for (size_t q = 0; q < m; q++) {
            judge(cl, &cl->c[who[q]], cl->values[q], cl->grads + q * d);
        }
    }
}

/* ---- values of categories and of numbers with few ---- */

/* Candidates for feature j of x: at most max, into ret. */
static size_t alternatives(const struct search *s, size_t j, double now, double *ret, size_t max) {
    const struct feature *f = &s->space->features[j];
    size_t n = 0;
    if (f->is_category && f->nr_values > max) {
        while (n < max) {
            ret[n++] = (double)rng_below(s->rng, f->nr_values);
        }
        return n;
    }
    if (f->is_category || f->nr_values <= FEW_VALUES) {
        for (size_t k = 0; k < f->nr_values; k++) {
            double v = f->is_category ? (double)k : f->images[k];
            if (v != now) {
                ret[n++] = v;
            }
        }
        return n;
    }
    size_t at = 0;
    while (at + 1 < f->nr_values && f->images[at] < now) {
        at++;
    }
    static const int steps[] = {-8, -2, -1, 1, 2, 8};
    for (size_t k = 0; k < NR_OF(steps); k++) {
        long to = (long)at + steps[k];
        if (to >= 0 && to < (long)f->nr_values) {
            ret[n++] = f->images[to];
        }
    }
    return n;
}

/* Parameters that a new value of feature j wakes: where the best that had it has them. */
static void wake_as_seen(const struct search *s, size_t j, const double *was, double *x) {
    for (size_t i = 0; i < s->nr_anchors; i++) {
        const double *a = s->anchors + i * s->space->d;
        if (a[j] == x[j]) {
            place_woken(s, was, a, x);
            return;
        }
    }
}

/* One pass over the features that have values; true when a start moved. */
static bool sweep(struct climb *cl) {
    const struct search *s = cl->s;
    size_t d = s->space->d;
    bool moved = false;
    double other[32];
    for (size_t j = 0; j < d; j++) {
        if (!s->space->features[j].nr_values || is_pinned(s, j)) {
            continue;
        }
        size_t from[STARTS + 1], m = 0;
        for (size_t i = 0; i < cl->n; i++) {
            from[i] = m;
            size_t k = alternatives(s, j, cl->c[i].x[j], other, NR_OF(other));
            for (size_t q = 0; q < k; q++, m++) {
                double *x = cl->points + m * d;
                memcpy(x, cl->c[i].x, d * sizeof(double));
                x[j] = other[q];
                if (s->space->is_conditional) {
                    wake_as_seen(s, j, cl->c[i].x, x);
                }
                space_snap(s->space, x);
            }
        }
        from[cl->n] = m;
        acq_eval(s->acq, cl->points, m, cl->values, NULL);
        for (size_t i = 0; i < cl->n; i++) {
            struct climber *c = &cl->c[i];
            for (size_t q = from[i]; q < from[i + 1]; q++) {
                if (cl->values[q] > c->value + 1e-9) {
                    c->value = cl->values[q];
                    memcpy(c->x, cl->points + q * d, d * sizeof(double));
                    moved = true;
                }
            }
        }
    }
    return moved;
}

static void snap_all(struct climb *cl) {
    size_t d = cl->s->space->d;
    for (size_t i = 0; i < cl->n; i++) {
        space_snap(cl->s->space, cl->c[i].x);
        memcpy(cl->points + i * d, cl->c[i].x, d * sizeof(double));
    }
    acq_eval(cl->s->acq, cl->points, cl->n, cl->values, NULL);
    for (size_t i = 0; i < cl->n; i++) {
        cl->c[i].value = cl->values[i];
    }
}

static void climb_init(struct climb *cl, const struct search *s) {
    size_t d = s->space->d, each = 6 + 2 * MEMORY, block = STARTS * 34;
    *cl = (struct climb){.s = s};
    cl->room = xcalloc(STARTS * each * d + block * (2 * d + 1) + 1, sizeof(double));
    double *at = cl->room;
    for (size_t i = 0; i < STARTS; i++) {
        struct climber *c = &cl->c[i];
        double **all[] = {&c->x, &c->grad, &c->dir, &c->trial, &c->lo, &c->hi};
        for (size_t k = 0; k < NR_OF(all); k++, at += d) {
            *all[k] = at;
        }
        for (size_t k = 0; k < MEMORY; k++, at += 2 * d) {
            c->ds[k] = at;
            c->dg[k] = at + d;
        }
    }
    cl->points = at;
    cl->grads = cl->points + block * d;
    cl->values = cl->grads + block * d;
    cl->is_free = xcalloc(d + 1, sizeof(*cl->is_free));
    for (size_t j = 0; j < d; j++) {
        cl->is_free[j] = is_relaxed(&s->space->features[j]) && !is_pinned(s, j);
    }
}

/* The best of the pool that is new, or anything new at all. */
static bool fall_back(const struct search *s, const double *pool, const double *value, size_t n,
                      double *ret) {
    size_t d = s->space->d, best = n;
    for (size_t i = 0; i < n; i++) {
        if ((best == n || value[i] > value[best]) && is_new(s, pool + i * d)) {
            best = i;
        }
    }
    if (best < n) {
        memcpy(ret, pool + best * d, d * sizeof(*ret));
        return true;
    }
    for (int i = 0; i < 1000; i++) {
        space_random(s->space, s->rng, ret);
        if (is_new(s, ret)) {
            return true;
        }
    }
    auto_free double *setting = xcalloc(s->space->nr_params + 1, sizeof(*setting));
    for (uint64_t i = 0; s->space->size <= 1e5 && space_grid(s->space, i, setting); i++) {
        space_encode(s->space, setting, ret);
        space_snap(s->space, ret);
        if (is_new(s, ret)) {
            return true;
        }
    }
    return false;
}

bool search_best(const struct search *s, double *ret) {
    size_t d = s->space->d, n = s->is_quick ? POOL / 2 : POOL;
    auto_free double *pool = xcalloc(n * d + 1, sizeof(*pool));
    auto_free double *value = xcalloc(n + 1, sizeof(*value));
    struct climb cl;
    climb_init(&cl, s);
    size_t global = fill_pool(s, pool, n);
    value_pool(s, pool, n, global, value);
    choose_starts(&cl, pool, value, n, global);
    bool has_values = false;
    for (size_t j = 0; j < d; j++) {
        has_values |= s->space->features[j].nr_values > 0;
    }
    for (int turn = 0; turn < 3 && cl.n; turn++) {
        ascend(&cl);
        if (!has_values) {
            break;
        }
        snap_all(&cl);
        if (!sweep(&cl)) {
            break;
        }
    }
    snap_all(&cl);
    const struct climber *best = NULL;
    for (size_t i = 0; i < cl.n; i++) {
        if ((!best || cl.c[i].value > best->value) && is_new(s, cl.c[i].x)) {
            best = &cl.c[i];
        }
    }
    bool found = best;
    if (best) {
        memcpy(ret, best->x, d * sizeof(*ret));
    } else {
        found = fall_back(s, pool, value, n, ret);
    }
    free(cl.room);
    free(cl.is_free);
    return found;
}
