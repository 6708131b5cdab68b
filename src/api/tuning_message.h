/* Stored rows of tuning jobs, and their trials, as the messages that clients see. Pure; any thread.
 */
#ifndef CUSP_API_TUNING_MESSAGE_H
#define CUSP_API_TUNING_MESSAGE_H

#include "ctl/tuning.h"
#include "pb/aip.h"
#include "store/filter.h"

/* What was sent + what is known since = the resource, without its trials. status NULL: what the row
 * has. DATA_LOSS when what is stored does not read. */
int tuning_message(struct arena *a, const struct store_row *row, const struct tuning_status *status,
                   Aip__HyperparameterTuningJob **ret, struct err *err) MUST_CHECK;

/* Puts the trials into it, by id. Measurements of trials are left out evenly when there are more
 * than MEASUREMENTS_SHOWN in all. */
#define MEASUREMENTS_SHOWN 100000u
void tuning_message_trials(struct arena *a, const struct study *s, Aip__HyperparameterTuningJob *m);

/* For filters on lists of tuning jobs. */
extern const struct filter_schema tuning_schema;

#endif
