/* Vizier studies between rows, ctl and clients: a stored study as ctl wants it, studies and trials
 * as clients see them, measurements as ctl does. Pure; any thread. */
#ifndef CUSP_API_VIZIER_MESSAGE_H
#define CUSP_API_VIZIER_MESSAGE_H

#include "api/spec_study.h"
#include "ctl/studies.h"
#include "ctl/study_context.h"
#include "store/filter.h"

/* What study_view.parsed points at. */
struct vizier_parsed {
    Aip__Study *msg; /* as sent */
    struct study_plan plan;
};
/* studies_config.decode; arg is not looked at. */
int vizier_decode(void *arg, struct arena *a, const struct store_row *row, struct study_spec *ret,
                  const void **ret_parsed, struct err *err);

/* What was sent + what is known since. DATA_LOSS when what is stored does not read. */
int vizier_study_message(struct arena *a, const struct store_row *row, Aip__Study **ret,
                         struct err *err) MUST_CHECK;
extern const struct filter_schema vizier_study_schema;

/* With its name. measurements_max: at most so many of them. */
Aip__Trial *vizier_trial_message(struct arena *a, const struct study_view *v,
                                 const struct study_trial *t, size_t measurements_max);

/* A measurement as reports, in the arena. started: the trial's start, what an elapsed time that is
 * not given is counted from to now; 0: it has none. is_final: every metric must be there and
 * finite. -1 when something was added to vs (paths below prefix). */
struct vizier_reports {
    const struct study_report *p;
    size_t nr;
};
int vizier_measurement_read(struct arena *a, const struct study_view *v, const Aip__Measurement *m,
                            const char *prefix, bool is_final, usec_t started, usec_t now,
                            struct vizier_reports *ret, struct violations *vs) MUST_CHECK;

/* Parameters of a context: any of the study's, each once, with a feasible value. NAN elsewhere;
 * NULL when it says nothing. In the arena. */
int vizier_context_read(struct arena *a, const struct study_view *v, const Aip__TrialContext *c,
                        const char *prefix, const double **ret, struct violations *vs) MUST_CHECK;
/* Parameters of a trial that a client requests, by parameter; those that it does not name are NAN.
 * *ret_is_open: some of them have to be decided yet. */
int vizier_request_read(const struct study_view *v, const Aip__Trial *t, const char *prefix,
                        double *ret, bool *ret_is_open, struct violations *vs) MUST_CHECK;

#endif
