/* See tuner.h: the study, the choice of engine, grid and random search. */
#include "tune/tuner.h"

#include "base/mem.h"
#include "tune/bayes.h"
#include "tune/search.h"

#include <math.h>

struct tuner {
    struct tune_study study;
    struct space space;
    struct bayes bayes;
};

struct tuner *tuner_new(const struct tune_study *study, struct err *err) {
    size_t objectives = 0;
    for (size_t k = 0; k < study->nr_metrics; k++) {
        objectives += !study->metrics[k].is_safety;
    }
    if (!objectives || study->nr_metrics >= ACQ_MODELS_MAX) {
        err_set(err, ERR_INVALID_ARGUMENT, "a study has 1 to %d metrics, one of them an objective",
                ACQ_MODELS_MAX - 1);
        return NULL;
    }
    struct tuner *t = xcalloc(1, sizeof(*t));
    if (space_init(&t->space, study, err)) {
        free(t);
        return NULL;
    }
    t->study = *study;
    t->study.params = t->space.params;
    struct tune_metric *metrics = xcalloc(study->nr_metrics, sizeof(*metrics));
    memcpy(metrics, study->metrics, study->nr_metrics * sizeof(*metrics));
    t->study.metrics = metrics;
    bayes_init(&t->bayes, &t->space, &t->study);
    return t;
}

void tuner_free(struct tuner *t) {
    if (!t) {
        return;
    }
    bayes_fini(&t->bayes);
    space_fini(&t->space);
    free((struct tune_metric *)t->study.metrics);
    free(t);
}

static size_t suggest_grid(const struct tuner *t, uint64_t serial, size_t count, double *ret) {
    size_t n = 0;
    while (n < count && space_grid(&t->space, serial + n, ret + n * t->study.nr_params)) {
        n++;
    }
    return n;
}

/* Random search may repeat a setting, only not lightly: drawn again up to 16 times. */
static size_t suggest_random(const struct tuner *t, const struct history *h, uint64_t serial,
                             size_t count, double *ret) {
    size_t d = t->space.d;
    auto_free double *known = xcalloc((h->nr_known + count) * d + 1, sizeof(*known));
    auto_free double *x = xcalloc(d + 1, sizeof(*x));
    memcpy(known, h->known, h->nr_known * d * sizeof(*known));
    for (size_t i = 0; i < count; i++) {
        struct rng rng;
        rng_seed(&rng, t->study.seed * 0x9e3779b97f4a7c15ULL + serial + i);
        for (int again = 0; again < 17; again++) {
            space_random(&t->space, &rng, x);
            if (!search_is_known(&t->space, known, h->nr_known + i, x)) {
                break;
            }
        }
        memcpy(known + (h->nr_known + i) * d, x, d * sizeof(*x));
        space_decode(&t->space, x, ret + i * t->study.nr_params);
    }
    return count;
}

static size_t suggest_bayes(struct tuner *t, const struct history *h, uint64_t serial, size_t count,
                            double *ret) {
    auto_free double *x = xcalloc(count * t->space.d + 1, sizeof(*x));
    size_t n = bayes_suggest(&t->bayes, h, serial, count, x);
    for (size_t i = 0; i < n; i++) {
        space_decode(&t->space, x + i * t->space.d, ret + i * t->study.nr_params);
    }
    return n;
}

size_t tuner_suggest(struct tuner *t, const struct tune_trial *trials, size_t nr, uint64_t serial,
                     size_t count, double *ret) {
    if (t->study.algorithm == TUNE_GRID) {
        return suggest_grid(t, serial, count, ret);
    }
    struct history h;
    history_init(&h, &t->space, &t->study, trials, nr);
    size_t n;
    if (!t->space.d) { /* one setting is all there is */
        n = nr && t->study.noise != TUNE_NOISE_HIGH ? 0 : count < 1 ? 0 : 1;
        if (n) {
            space_decode(&t->space, h.known, ret);
        }
    } else if (t->study.algorithm == TUNE_RANDOM) {
        n = suggest_random(t, &h, serial, count, ret);
    } else {
        n = suggest_bayes(t, &h, serial, count, ret);
    }
    history_fini(&h);
    return n;
}

/* A value of an earlier study within our range; categories that we lack are as good as unknown. */
static double fit_in(const struct tune_param *p, double v) {
    switch (p->type) {
    case TUNE_CATEGORICAL:
        return v >= 0 && v < (double)p->nr_values ? floor(v) : NAN;
    case TUNE_DISCRETE:
        return v < p->values[0]                  ? p->values[0]
               : v > p->values[p->nr_values - 1] ? p->values[p->nr_values - 1]
                                                 : v;
    case TUNE_DOUBLE:
    case TUNE_INTEGER:
        return v < p->lo ? p->lo : v > p->hi ? p->hi : v;
    }
    return NAN;
}

void tuner_learn(struct tuner *t, const struct tune_trial *trials, size_t nr) {
    size_t wide = t->study.nr_params, n = 0;
    auto_free double *settings = xcalloc(nr * wide + 1, sizeof(*settings));
    auto_free struct tune_trial *done = xcalloc(nr + 1, sizeof(*done));
    for (size_t i = 0; i < nr; i++) {
        if (trials[i].state != TUNE_DONE) {
            continue;
        }
        for (size_t k = 0; k < wide; k++) {
            settings[n * wide + k] = fit_in(&t->space.params[k], trials[i].setting[k]);
        }
        done[n] = (struct tune_trial){TUNE_DONE, settings + n * wide, trials[i].metrics};
        n++;
    }
    if (t->study.algorithm == TUNE_BAYES && t->space.d) {
        struct history h;
        history_init(&h, &t->space, &t->study, done, n);
        bayes_learn(&t->bayes, &h);
        history_fini(&h);
    }
}

void tuner_prepare(struct tuner *t, const struct tune_trial *trials, size_t nr) {
    if (t->study.algorithm == TUNE_BAYES && t->space.d) {
        struct history h;
        history_init(&h, &t->space, &t->study, trials, nr);
        bayes_update(&t->bayes, &h);
        history_fini(&h);
    }
}
