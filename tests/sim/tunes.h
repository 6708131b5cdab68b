/* Tuning jobs in the simulated world: the fake engine's containers report, fail and vanish; users
 * edit, add, stop and run again. */
#ifndef CUSP_TESTS_TUNES_H
#define CUSP_TESTS_TUNES_H

#include "ctl/tuning_int.h"
#include "parents.h"

struct tune_wish {
    uint32_t max_trials, parallel, max_failed;
    uint64_t seed;
    enum tune_algorithm algorithm;
    enum study_stop_rule stop_rule;
    struct wish child; /* its labels say what a trial does; "loss" is the metric */
};

/* What the users of the world know of one tuning job. */
struct sim_tune {
    struct sim_parent base;
    struct tune_wish wish;
    uint32_t max_trials;  /* the most that was ever asked for */
    VEC_OF(char *) ended; /* by trial id - 1: what it ended as; never changes */
    struct tuning_add add;
    double setting[2];
};

void tunes_init(struct world *w);
void tunes_fini(struct world *w);
void tunes_crash(struct world *w);
size_t world_create_tune(struct world *w, const struct tune_wish *wish);
/* One that nobody has created yet: for pipelines, which do. Its spec bytes are added to spec. */
struct sim_tune *world_plan_tune(struct world *w, const struct tune_wish *wish, struct buf *spec);
void world_cancel_tune(struct world *w, size_t tune);
void world_delete_tune(struct world *w, size_t tune);
void world_edit_tune(struct world *w, size_t tune, const struct tuning_edit *e);
/* SIM_ADD: by hand; SIM_RERUN, SIM_STOP: of this trial. */
void world_trial_tune(struct world *w, size_t tune, int kind, uint64_t trial);
void tunes_note(struct world *w, const struct sim_call *c, const struct err *err);
const struct store_row *world_tune_row(struct world *w, size_t tune);
void world_tune_status(struct world *w, size_t tune, struct arena *a, struct tuning_status *ret);
/* The study as its events have it: the caller frees it. NULL: there is none. */
struct tuning *world_tune_replay(struct world *w, size_t tune);
const char *tunes_invariant(struct world *w);
const char *tunes_final(struct world *w);

#endif
