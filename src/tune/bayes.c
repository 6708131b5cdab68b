/* See bayes.h. */
#include "tune/bayes.h"

#include "base/mem.h"
#include "tune/fit.h"
#include "tune/neglect.h"
#include "tune/search.h"

#include <math.h>

/* Width of the confidence bound. Near the best of a continuum there are decades to be gained; on a
 * grid the neighbours of the best are soon used up, and looking elsewhere costs little. */
#define BETA 0.6
#define BETA_WIDE 2.0
#define BETA_OF_VALUES 0.6 /* more, where every feature is one of a few values */
#define NEAR_POINTS 5
#define ANCHORS 16
#define NEGLECT_TURN 4 /* each such suggestion goes to a category that is short of trials */
#define QUICK_FROM 300 /* trials; with more every point of the search costs too much */
#define LIMIT_ROWS 300 /* of the feasibility model: the newest */

void bayes_init(struct bayes *b, const struct space *s, const struct tune_study *study) {
    *b = (struct bayes){.space = s, .study = study};
    for (size_t j = 0; j < s->d; j++) {
        b->share_of_values += (s->features[j].nr_values > 0) / (double)s->d;
    }
    b->models = xcalloc(study->nr_metrics, sizeof(*b->models));
    for (size_t k = 0; k < study->nr_metrics; k++) {
        model_init(&b->models[k], s, study->noise);
    }
}

void bayes_fini(struct bayes *b) {
    for (size_t k = 0; b->models && k < b->study->nr_metrics; k++) {
        model_fini(&b->models[k]);
    }
    free(b->models);
    transfer_fini(&b->transfer);
    *b = (struct bayes){0};
}

void bayes_learn(struct bayes *b, const struct history *earlier) {
    size_t objectives = 0, at = 0;
    for (size_t k = 0; k < b->study->nr_metrics; k++) {
        objectives += !b->study->metrics[k].is_safety;
        at = b->study->metrics[k].is_safety ? at : k;
    }
    if (objectives == 1) {
        transfer_add(&b->transfer, b->space, b->study, earlier, at);
    }
}

void bayes_update(struct bayes *b, const struct history *h) {
    for (size_t k = 0; k < b->study->nr_metrics; k++) {
        model_update(&b->models[k], h->x, h->y + k * h->n, h->n);
    }
}

/* ---- the start-up design ---- */

/* What was best in earlier studies, the latest first. */
static bool next_start(const struct bayes *b, const double *known, size_t nr_known, double *ret) {
    size_t d = b->space->d;
    for (size_t k = 0; k < TRANSFER_STARTS; k++) {
        for (size_t i = b->transfer.nr; i-- > 0;) {
            const struct earlier *e = &b->transfer.studies[i];
            if (k < e->nr_starts &&
                !search_is_known(b->space, known, nr_known, e->starts + k * d)) {
                memcpy(ret, e->starts + k * d, d * sizeof(*ret));
                return true;
            }
        }
    }
    return false;
}

static bool design(struct bayes *b, const struct history *h, struct rng *rng, uint64_t serial,
                   const double *known, size_t nr_known, double *ret) {
    const struct space *s = b->space;
    if (next_start(b, known, nr_known, ret)) {
        return true;
    }
    if (serial == 0) {
        space_centre(s, ret);
        if (!search_is_known(s, known, nr_known, ret)) {
            return true;
        }
    }
    struct rng scramble;
    rng_seed(&scramble, b->study->seed);
    auto_free double *shift = xcalloc(s->d + 1, sizeof(*shift));
    for (size_t j = 0; j < s->d; j++) {
        shift[j] = rng_unit(&scramble);
    }
    for (uint64_t i = 0; i < 64; i++) {
        space_spread(s, serial + i, shift, ret);
        if (!search_is_known(s, known, nr_known, ret)) {
            return true;
        }
    }
    return false;
}

/* ---- the models of one round of suggestions ---- */

struct round {
    struct bayes *b;
    const struct history *h;
    struct acq acq;
    struct gp *gps; /* by metric: with pending rows */
    struct gp feasible;
    bool has_feasible;
    double *known;
    size_t nr_known;
    double *shift; /* of the objective's rows: what an earlier study expects there */
};

static void build_feasible(struct round *r) {
    const struct space *s = r->b->space;
    size_t all = r->h->n + r->h->nr_failed, n = all < LIMIT_ROWS ? all : LIMIT_ROWS;
    auto_free double *y = xcalloc(n + 1, sizeof(*y));
    auto_free double *theta = xcalloc(fit_size(s), sizeof(*theta));
    for (size_t i = 0; i < n; i++) {
        y[i] = r->h->ended_ok[all - n + i] ? 1 : -1;
    }
    memcpy(theta, r->b->models[0].theta,
           fit_size(s) * sizeof(*theta)); /* its lengths, as they lie */
    struct gp_theta t = fit_view(s, theta);
    t.log_signal = 0;
    t.log_noise = log(0.1);
    t.log_additive = -INFINITY;
    gp_init(&r->feasible, s);
    gp_build(&r->feasible, &t, r->h->ended + (all - n) * s->d, n);
    gp_label(&r->feasible, y);
    r->has_feasible = true;
}

/* Safety: the model's own labels are warped, so the threshold is judged on values in units of their
 * spread instead. */
static void label_safety(struct gp *g, const struct model *m, const double *y, double threshold) {
    double var = 0, mean = 0;
    size_t n = g->n;
    auto_free double *v = xcalloc(n + 1, sizeof(*v));
    for (size_t i = 0; i < n; i++) {
        v[i] = y[model_row(m, i)] - threshold;
        mean += v[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        var += (v[i] - mean) * (v[i] - mean) / (double)n;
    }
    double sd = var > 0 ? sqrt(var) : fmax(fabs(mean), 1);
    for (size_t i = 0; i < n; i++) {
        v[i] = fmin(3, fmax(-3, v[i] / sd));
    }
    gp_label(g, v);
}

/* Fewer of the trials so far were safe than the study wishes. */
static bool is_short_of_safe(const struct history *h, const struct tune_metric *m, const double *y,
                             double sign) {
    size_t safe = 0;
    for (size_t i = 0; i < h->n; i++) {
        safe += y[i] >= sign * m->threshold;
    }
    return m->min_safe_fraction > 0 && (double)safe < m->min_safe_fraction * (double)h->n;
}

#define SETTLED 0.02 /* of the labels' standard deviation: no better worth the name */

/* Trials since the first that was about as good as the best. Labels of a model with all rows. */
static size_t stagnation(const struct gp *g, const double *shift, size_t n) {
    double best = -INFINITY;
    size_t first = 0;
    for (size_t i = 0; i < n; i++) {
        best = fmax(best, g->y[i] + shift[i]);
    }
    while (first < n && g->y[first] + shift[first] < best - SETTLED) {
        first++;
    }
    return n - 1 - first;
}

/* Where there is no continuum at all, one suggestion in five looks far: the few best settings are
 * not worth all the trials. (Not where there is noise: that cost in all of five problems.) */
static bool is_wide_turn(const struct round *r, uint64_t serial) {
    return serial % 5 == 1 && r->b->share_of_values > 1 - 1e-9;
}

static double beta_of(const struct round *r, uint64_t serial) {
    size_t d = r->b->space->d;
    if (r->acq.nr_objectives == 1 &&
        ((stagnation(r->acq.objectives[0], r->shift, r->b->models[0].base.n) > 2 * d + 5 &&
          serial % 10 < 3) ||
         is_wide_turn(r, serial))) {
        return BETA_WIDE;
    }
    return (d > 20 ? 1.0 : BETA) + BETA_OF_VALUES * r->b->share_of_values;
}

static void set_scalarisation(struct round *r, struct rng *rng) {
    struct acq *a = &r->acq;
    double norm = 0;
    for (size_t k = 0; k < a->nr_objectives; k++) {
        double u = 1 - rng_unit(rng);
        a->weight[k] = fmax(1e-3, fabs(sqrt(-2 * log(u)) * cos(2 * M_PI * rng_unit(rng))));
        norm += a->weight[k] * a->weight[k];
        const struct gp *g = a->objectives[k];
        double worst = INFINITY, best = -INFINITY;
        for (size_t i = 0; i < g->n; i++) {
            worst = fmin(worst, g->y[i]);
            best = fmax(best, g->y[i]);
        }
        a->reference[k] = worst - 0.1 * (best - worst);
    }
    for (size_t k = 0; k < a->nr_objectives; k++) {
        a->weight[k] /= sqrt(norm);
    }
}

/* The gain counts from what the models believe of all rows, the pending ones' predictions too. */
static void set_front(struct round *r) {
    struct acq *a = &r->acq;
    size_t n = a->objectives[0]->n;
    auto_free double *y = xcalloc(2 * n + 1, sizeof(*y));
    for (size_t i = 0; i < n; i++) {
        y[i] = gp_fitted(a->objectives[0], i);
        y[n + i] = gp_fitted(a->objectives[1], i);
    }
    front_fini(&a->front);
    front_init(&a->front, y, y + n, n);
    a->kind = ACQ_LOG_EHVI;
}

/* The objective's labels become what an earlier study did not expect, where one helps. */
static void lean_on_earlier(struct round *r, struct gp *g) {
    const struct gp *before = transfer_choose(&r->b->transfer, g, &r->acq.before_share, r->shift);
    if (before) {
        for (size_t i = 0; i < g->n; i++) {
            g->y[i] -= r->shift[i];
        }
        gp_label(g, g->y);
        r->acq.before = before;
    }
}

static void round_init(struct round *r, struct bayes *b, const struct history *h) {
    size_t nr = b->study->nr_metrics;
    *r = (struct round){.b = b, .h = h};
    r->gps = xcalloc(nr, sizeof(*r->gps));
    r->shift = xcalloc(b->models[0].base.n + 1, sizeof(*r->shift));
    for (size_t k = 0; k < nr; k++) {
        const struct tune_metric *m = &b->study->metrics[k];
        gp_init(&r->gps[k], b->space);
        gp_copy(&r->gps[k], &b->models[k].base);
        if (m->is_safety) {
            double sign = m->minimize ? -1 : 1;
            label_safety(&r->gps[k], &b->models[k], h->y + k * h->n, sign * m->threshold);
            r->acq.is_strict[r->acq.nr_limits] = is_short_of_safe(h, m, h->y + k * h->n, sign);
            r->acq.limits[r->acq.nr_limits++] = &r->gps[k];
        } else {
            r->acq.objectives[r->acq.nr_objectives++] = &r->gps[k];
        }
    }
    for (size_t k = 0; b->transfer.nr && k < nr; k++) {
        if (&r->gps[k] == r->acq.objectives[0]) {
            lean_on_earlier(r, &r->gps[k]);
        }
    }
    if (h->nr_failed) {
        build_feasible(r);
        r->acq.margin[r->acq.nr_limits] = 0.3;
        r->acq.extra_var[r->acq.nr_limits] = 1;
        r->acq.limits[r->acq.nr_limits++] = &r->feasible;
    }
}

static void round_fini(struct round *r) {
    for (size_t k = 0; k < r->b->study->nr_metrics; k++) {
        gp_fini(&r->gps[k]);
    }
    if (r->has_feasible) {
        gp_fini(&r->feasible);
    }
    free(r->gps);
    free(r->known);
    free(r->shift);
    acq_fini(&r->acq);
}

static void add_pending(struct round *r, const double *x) {
    for (size_t k = 0; k < r->b->study->nr_metrics; k++) {
        gp_append_predicted(&r->gps[k], x);
    }
}

/* What the models think of their rows: of one objective the fitted mean, of several the
 * scalarisation. */
static void value_rows(const struct round *r, size_t n, double *value) {
    for (size_t i = 0; i < n; i++) {
        value[i] =
            r->acq.nr_objectives > 1 ? INFINITY : gp_fitted(r->acq.objectives[0], i) + r->shift[i];
        for (size_t k = 0; r->acq.nr_objectives > 1 && k < r->acq.nr_objectives; k++) {
            double v = gp_fitted(r->acq.objectives[k], i) - r->acq.reference[k];
            value[i] = fmin(value[i], v / r->acq.weight[k]);
        }
    }
}

/* The best row that has value v of feature j (d: any row); n when all are taken. */
static size_t best_with(const struct gp *g, const double *value, size_t n, size_t j, double v) {
    size_t best = n, d = g->space->d;
    for (size_t i = 0; i < n; i++) {
        bool is_one = j == d || g->x[i * d + j] == v;
        best = is_one && value[i] > -INFINITY && (best == n || value[i] > value[best]) ? i : best;
    }
    return best;
}

/* Points to look around: the best rows, and the best of each branch that is not among them. */
static size_t choose_anchors(const struct round *r, double *ret) {
    const struct space *s = r->b->space;
    const struct gp *g = r->acq.objectives[0];
    size_t n = r->b->models[0].base.n, d = s->d, nr = 0;
    auto_free double *value = xcalloc(n + 1, sizeof(*value));
    value_rows(r, n, value);
    for (size_t i; nr < NEAR_POINTS && (i = best_with(g, value, n, d, 0)) < n;) {
        value[i] = -INFINITY;
        memcpy(ret + nr++ * d, g->x + i * d, d * sizeof(*ret));
    }
    for (size_t p = 0; s->is_conditional && p < s->nr_params; p++) {
        int parent = s->params[p].parent, j = parent < 0 ? -1 : s->feature_of[parent];
        for (size_t v = 0; j >= (int)s->nr_numeric && v < s->features[j].nr_values; v++) {
            bool has = nr >= ANCHORS;
            for (size_t i = 0; i < nr && !has; i++) {
                has = ret[i * d + (size_t)j] == (double)v;
            }
            size_t i = has ? n : best_with(g, value, n, (size_t)j, (double)v);
            if (i < n) {
                value[i] = -INFINITY;
                memcpy(ret + nr++ * d, g->x + i * d, d * sizeof(*ret));
            }
        }
    }
    return nr;
}

/* Where noise is most of what is seen, looking again at a good setting tells more than a new one.
 */
static bool repeat(const struct round *r, uint64_t serial, const double *best, size_t nr,
                   double *ret) {
    const struct gp *g = r->acq.objectives[0];
    if (r->b->study->noise != TUNE_NOISE_HIGH || serial % 5 || g->noise < 0.5 * g->signal || !nr) {
        return false;
    }
    struct gp_at at = {0};
    nr = nr < 3 ? nr : 3;
    gp_predict(g, best, nr, true, &at);
    size_t pick = 0;
    for (size_t i = 1; i < nr; i++) {
        pick = at.mean[i] + at.sd[i] > at.mean[pick] + at.sd[pick] ? i : pick;
    }
    gp_at_fini(&at);
    memcpy(ret, best + pick * r->b->space->d, r->b->space->d * sizeof(*ret));
    return true;
}

static bool next(struct round *r, struct rng *rng, uint64_t serial, double *ret) {
    const struct space *s = r->b->space;
    size_t d = s->d, n = r->h->n;
    auto_free double *anchors = xcalloc(ANCHORS * d + 1, sizeof(*anchors));
    r->acq.beta = beta_of(r, serial);
    if (r->acq.nr_objectives > 1) {
        set_scalarisation(r, rng);
    }
    r->acq.kind = ACQ_UCB;
    if (r->acq.nr_objectives == 2 && serial % 2) {
        set_front(r);
    }
    size_t nr = choose_anchors(r, anchors);
    if (repeat(r, serial, anchors, nr, ret)) {
        return true;
    }
    auto_free double *paces = xcalloc(d + 1, sizeof(*paces));
    gp_paces(r->acq.objectives[0], paces);
    double radius = 0.2 + 0.3 * (double)n / (5 * ((double)d + 1));
    struct search search = {
        .space = s,
        .acq = &r->acq,
        .rng = rng,
        .known = r->known,
        .nr_known = r->nr_known,
        .may_repeat = r->b->study->noise == TUNE_NOISE_HIGH,
        .anchors = anchors,
        .nr_anchors = nr,
        .seen = r->gps[0].x,
        .nr_seen = r->gps[0].n,
        .radius = d >= 3 && radius < 0.5 ? radius : 0,
        .paces = paces,
        .is_quick = n > QUICK_FROM,
    };
    auto_free double *pins = xcalloc(d + 1, sizeof(*pins));
    if (serial % NEGLECT_TURN == NEGLECT_TURN - 1 && neglect_find(s, r->known, r->nr_known, pins)) {
        search.pins = pins;
    }
    return search_best(&search, ret);
}

static uint64_t mix(uint64_t seed, uint64_t serial) {
    uint64_t z = seed ^ (serial + 1) * 0x9e3779b97f4a7c15ULL;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    return z ^ z >> 27;
}

/* All results so far are the same: no model can say more than "elsewhere" (and of what is left of a
 * small space the search finds the rest). */
static bool is_flat(const struct bayes *b, const struct history *h) {
    for (size_t k = 0; k < b->study->nr_metrics; k++) {
        for (size_t i = 1; i < h->n; i++) {
            if (h->y[k * h->n + i] != h->y[k * h->n]) {
                return false;
            }
        }
    }
    return !h->nr_failed && (double)h->nr_known < b->space->size / 4;
}

size_t bayes_suggest(struct bayes *b, const struct history *h, uint64_t serial, size_t count,
                     double *ret) {
    const struct space *s = b->space;
    size_t d = s->d, made = 0;
    size_t wanted = d <= 2 ? 4 : 2; /* trials of the start-up design */
    bool is_early = is_flat(b, h) || !h->n || h->n + h->nr_failed + h->nr_pending < wanted ||
                    (h->n < 2 && h->nr_pending <= d);
    struct round r = {.b = b, .h = h};
    if (!is_early) {
        bayes_update(b, h);
        round_init(&r, b, h);
        for (size_t i = 0; i < h->nr_pending; i++) {
            add_pending(&r, h->pending + i * d);
        }
    }
    r.known = xcalloc((h->nr_known + count) * d + 1, sizeof(double));
    r.nr_known = h->nr_known;
    memcpy(r.known, h->known, h->nr_known * d * sizeof(double));
    for (; made < count; made++) {
        struct rng rng;
        rng_seed(&rng, mix(b->study->seed, serial + made));
        double *x = ret + made * d;
        bool found = is_early && design(b, h, &rng, serial + made, r.known, r.nr_known, x);
        if (!found && !is_early) {
            found = next(&r, &rng, serial + made, x);
        }
        for (int i = 0; !found && is_early && i < 4096; i++) {
            space_random(s, &rng, x);
            found = !search_is_known(s, r.known, r.nr_known, x);
        }
        if (!found) {
            break;
        }
        memcpy(r.known + r.nr_known++ * d, x, d * sizeof(*x));
        if (!is_early && made + 1 < count) {
            add_pending(&r, x);
        }
    }
    if (is_early) {
        free(r.known);
    } else {
        round_fini(&r);
    }
    return made;
}
