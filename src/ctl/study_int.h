/* What the files of the study share. */
#ifndef CUSP_CTL_STUDY_INT_H
#define CUSP_CTL_STUDY_INT_H

#include "base/vec.h"
#include "ctl/study.h"

struct trial {
    struct study_trial pub; /* first: a study_trial of ours is a trial */
    /* Measurements: parallel arrays of pub.nr_measurements, v and at with nr_metrics each. */
    int64_t *step;
    usec_t *elapsed;
    struct study_value *v;
    usec_t *at; /* as reported */
    uint32_t *attempt;
    size_t cap;
    struct redone { /* from this step on an attempt has said what counts */
        uint32_t attempt;
        int64_t from;
    } * redone;
    size_t nr_redone;
    usec_t newest_at;    /* of all reports */
    usec_t forgotten_at; /* the newest that a thinning took */
    struct curve curve;  /* of an ended trial; made when first asked for */
    bool has_curve;
};

/* Who is best by now, so that nobody has to look at all trials. Derived: follows from the events.
 */
struct standing {
    const struct trial *best;   /* study_best's */
    const struct trial *leader; /* the first, in the order they ended, that none after it beat */
    uint32_t nr_since;          /* SUCCEEDED ones that ended after the leader */
};

struct study {
    struct arena *arena; /* spec, trials, texts */
    struct study_spec spec;
    usec_t created;
    VEC_OF(struct trial *) trials; /* id - 1; NULL: deleted */
    VEC_OF(struct trial *) ended;  /* in the order they ended, not deleted */
    struct study_counts counts;
    struct standing standing;
    uint64_t serial, version;
    bool is_stopped;
    const char *stop_reason;
    struct study_lesson lessons[STUDY_LESSONS];
    size_t nr_lessons;
};

static inline size_t nr_metrics(const struct study *s) {
    return s->spec.tune.nr_metrics;
}
static inline size_t nr_params(const struct study *s) {
    return s->spec.tune.nr_params;
}
/* Larger is better. */
static inline double study_turned(const struct study *s, size_t metric, double value) {
    return s->spec.tune.metrics[metric].minimize ? -value : value;
}
/* Every metric is there and finite. */
bool study_is_complete(const struct study *s, const struct study_measurement *m);
/* All safety metrics on their good side. */
bool study_is_safe(const struct study *s, const struct study_measurement *m);

/* study_judge.c: the standing, after a trial ended, was given another final, or went */
void study_stand(struct study *s, const struct trial *ended);
void study_stand_replaced(struct study *s, const struct trial *t);
void study_stand_anew(struct study *s);

/* study_measure.c */
void trial_report(struct study *s, struct trial *t, const struct study_event *ev);
void trial_set_final(struct study *s, struct trial *t, const struct study_event *ev);
void trial_free(struct trial *t);

#endif
