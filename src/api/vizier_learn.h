/* Which earlier studies a new one learns from (StudySpec.transfer_learning_config, v1beta1 only;
 * reference 04): the newest COMPLETED ones of the same place, up to STUDY_LESSONS, whose metrics
 * are the new one's (id and goal) and that share a parameter with it. What they found is copied
 * into the new study, which therefore suggests the same when they are deleted. A study that does
 * not have the config does not learn: its suggestions depend on nothing but itself. Loop thread. */
#ifndef CUSP_API_VIZIER_LEARN_H
#define CUSP_API_VIZIER_LEARN_H

#include "api/vizier_message.h"

struct api;

/* Owned by the caller, all of it as old as the arena. */
struct vizier_learn {
    struct api *api;
    struct arena *a;
    struct str parent;
    Aip__StudySpec *spec; /* checked; prior_study_names is filled in */
    void (*cb)(struct vizier_learn *, const struct err *err);
    void *arg;
    /* the result, oldest first: */
    struct study_spec flat; /* of spec */
    struct study_lesson lessons[STUDY_LESSONS];
    size_t nr;
    /* ours: */
    struct study_plan plan;
    struct store_list list;
    struct str names[STUDY_LESSONS]; /* newest first */
    size_t nr_names, next;
    struct study_change read;
};
/* Does the study ask for it? One objective, Bayesian search, not disabled. */
bool vizier_learn_wanted(const Aip__StudySpec *spec);
/* cb may come from within. */
void vizier_learn(struct vizier_learn *l);

/* A trial of a study planned as `from` in the terms of `to`: NAN where it has no such parameter.
 * Pure; exposed for tests. */
void vizier_learn_setting(const struct study_plan *from, const double *setting,
                          const struct study_plan *to, double *ret);

#endif
