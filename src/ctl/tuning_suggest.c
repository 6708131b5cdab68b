/* Where a tuning job's next setting comes from. */
#include "ctl/tuning_int.h"

enum tuning_offer tuning_suggest_take(struct tuning *t, const double **ret) {
    const struct tune_study *tune = &t->spec.study->tune;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    size_t nr;
    struct err err;
    if (!t->tuner) {
        t->tuner = tuner_new(tune, &err);
        t->offer = xcalloc(tune->nr_params + 1, sizeof(*t->offer));
    }
    if (!t->tuner) {
        return OFFER_NONE;
    }
    const struct tune_trial *all = study_history(t->study, a, &nr);
    if (tuner_suggest(t->tuner, all, nr, study_serial(t->study), 1, t->offer) == 0) {
        return OFFER_NONE;
    }
    *ret = t->offer;
    return OFFER_READY;
}

void tuning_suggest_free(struct tuning *t) {
    tuner_free(t->tuner);
    free(t->offer);
}
