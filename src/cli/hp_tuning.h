/* Shared by the files of cusp hp-tuning-jobs. */
#ifndef CUSP_CLI_HP_TUNING_H
#define CUSP_CLI_HP_TUNING_H

#include "cli/hp_trials.h"

#define HP_COLLECTION "hyperparameterTuningJobs"

int hp_usage(struct err *err, const char *what); /* -1 */
/* A flag's whole number; *ret stays when it is not given. */
int hp_number_flag(const struct args *a, const char *name, uint64_t least, uint64_t *ret,
                   struct err *err);

/* hp_edits.c: argv after the verb */
int hp_update(const struct cli *c, int argc, char **argv, struct err *err);
int hp_add_trial(const struct cli *c, int argc, char **argv, struct err *err);
int hp_stop_trial(const struct cli *c, int argc, char **argv, struct err *err);
int hp_rerun_trial(const struct cli *c, int argc, char **argv, struct err *err);

#endif
