/* What the clients of a study may do with its trials, as events: decided here, saved by
 * ctl/studies.h. Each looks at the study as it is, and adds to the batch or refuses; nothing to add
 * means that it is so already. NOT_FOUND: no such trial, FAILED_PRECONDITION: it is over.
 * Loop thread. */
#ifndef CUSP_CTL_STUDY_WISH_H
#define CUSP_CTL_STUDY_WISH_H

#include "ctl/studies.h"

struct study_wish_trial {
    const double *setting; /* by parameter, feasible; lives as long as the batch */
    bool is_open;          /* some values only: REQUESTED (ctl/study.h) */
    /* What is known of it already; state UNSPECIFIED: nothing, it is REQUESTED. */
    enum study_trial_state state;     /* SUCCEEDED (with a final one), INFEASIBLE */
    const struct study_report *final; /* nr_final; at: elapsed */
    size_t nr_final;
    const char *reason; /* INFEASIBLE; may be NULL */
    const char *client_id;
};
/* *ret_id: of the trial that will be. RESOURCE_EXHAUSTED: limits.max_study_trials. */
int study_wish_create(const struct study_view *v, struct study_batch *b,
                      const struct study_wish_trial *in, uint64_t *ret_id,
                      struct err *err) MUST_CHECK;

/* One measurement, at: elapsed time. One that is there with the same values changes nothing, so
 * that a client may tell again what it got no answer to. */
int study_wish_measure(const struct study_view *v, struct study_batch *b, uint64_t trial,
                       const struct study_report *reports, size_t nr, struct err *err) MUST_CHECK;

struct study_wish_end {
    bool is_infeasible;
    const char *reason;
    const struct study_report *final; /* nr_final 0: picked from what it measured, by the study's
                                         selection type, or, of a trial that the convex rule has
                                         stopped, what that predicts; INFEASIBLE when there is
                                         nothing usable */
    size_t nr_final;
};
/* One that has ended in the same way: nothing changes. */
int study_wish_complete(const struct study_view *v, struct study_batch *b, uint64_t trial,
                        const struct study_wish_end *in, struct err *err) MUST_CHECK;

/* STOPPING: whoever has it should complete it. One that is so already: nothing changes. */
int study_wish_stop(const struct study_view *v, struct study_batch *b, uint64_t trial,
                    struct err *err) MUST_CHECK;
/* Should whoever has the trial stop? By the study's rule, which makes it STOPPING; one that is
 * STOPPING or over should, one that is REQUESTED should not. */
int study_wish_check(const struct study_view *v, struct study_batch *b, uint64_t trial,
                     bool *ret_should_stop, struct err *err) MUST_CHECK;
int study_wish_delete(const struct study_view *v, struct study_batch *b, uint64_t trial,
                      struct err *err) MUST_CHECK;

/* May the study have this many trials more? */
int study_wish_room(const struct study_view *v, size_t more, struct err *err) MUST_CHECK;

#endif
