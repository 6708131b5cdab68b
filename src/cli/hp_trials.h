/* Trials of a tuning job as people look at them: which one is best, and how the best came about.
 * Reads the resource as the server answers it; pure but for the FILE it prints to, and
 * hp_print_all. */
#ifndef CUSP_CLI_HP_TRIALS_H
#define CUSP_CLI_HP_TRIALS_H

#include "cli/cli.h"

struct hp_trial {
    const json_t *json;
    const char *id, *state; /* "SUCCEEDED" */
    double value;           /* of the metric; NAN: none yet */
    bool is_final;          /* value is the final measurement, and a number */
    double from, to;        /* wall, seconds; 0: not yet */
};

struct hp_param {
    const char *id;
    const json_t *spec;
    bool is_categorical, is_log;
};

/* Views of the job; fini frees the arrays only. */
struct hp_view {
    const json_t *job;
    const char *metric; /* the first objective */
    bool minimize;
    VEC_OF(struct hp_trial) trials; /* by id */
    VEC_OF(struct hp_param) params; /* as declared; conditional ones once, after their parent */
    const struct hp_trial *best;    /* NULL: none yet. Ties: the lowest id */
};
void hp_view_init(struct hp_view *v, const json_t *job);
void hp_view_fini(struct hp_view *v);
#define auto_hp_view __attribute__((cleanup(hp_view_fini)))

/* The value of a trial's parameter as text, "" where it has none. */
void hp_param_text(struct buf *b, const struct hp_trial *t, const char *id);

/* The best `limit` trials and those that run, by id; 0: all. */
void hp_print_trials(const struct hp_view *v, size_t limit, FILE *f);
/* How the best value developed, as a drawing of `width` by `height` characters. Nothing for less
 * than two trials with a result. */
void hp_print_curve(const struct hp_view *v, unsigned width, unsigned height, FILE *f);
/* Which parameters matter to the metric, most first, with the way they push it (the server's
 * :importance). Nothing when it cannot be told yet. */
void hp_print_importance(const struct hp_view *v, const json_t *importance, FILE *f);
/* All three, where there are trials; what matters is asked of the server, and left out when it does
 * not say. */
void hp_print_all(const struct cli *c, const struct hp_view *v, size_t limit, FILE *f);
/* All trials as comma-separated values (RFC 4180): one column a metric, one a parameter. */
void hp_print_csv(const struct hp_view *v, FILE *f);

#endif
