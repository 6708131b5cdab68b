/* Rules of a StudySpec's automated stopping and study_stopping_config (reference 04 §7). */
#include "api/spec_study_int.h"

#include "base/limits.h"

static void check_whole(struct study_check *c, const char *path, const char *field, int64_t v,
                        int64_t least) {
    if (v < least) {
        violations_add(c->vs, study_below(path, "%s", field).text,
                       "At least %lld is needed; the request has %lld.", (long long)least,
                       (long long)v);
    }
}

static void check_rate(struct study_check *c, const char *path, const char *id) {
    size_t n = c->nr_params < limits.max_study_parameters ? c->nr_params
                                                          : (size_t)limits.max_study_parameters;
    bool found = !id[0];
    for (size_t i = 0; i < n && !found; i++) {
        found = strcmp(c->seen[i].p->parameter_id, id) == 0 &&
                c->seen[i].p->parameter_value_spec_case !=
                    AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_CATEGORICAL_VALUE_SPEC;
    }
    if (!found) {
        violations_add(c->vs, study_below(path, "learning_rate_parameter_name").text,
                       "The study has no number parameter \"%.80s\".", id);
    }
}

static void check_steps(struct study_check *c, const char *path, const char *least_field,
                        int64_t least, const char *most_field, int64_t most) {
    check_whole(c, path, most_field, most, 0);
    check_whole(c, path, least_field, least, 0);
    if (most && least > most) {
        violations_add(c->vs, study_below(path, "%s", least_field).text,
                       "%s %lld is larger than %s %lld.", least_field, (long long)least, most_field,
                       (long long)most);
    }
}

static void check_convex(struct study_check *c, const char *prefix,
                         const Aip__StudySpec__ConvexAutomatedStoppingSpec *s) {
    struct study_path at = study_below(prefix, "convex_automated_stopping_spec");
    check_steps(c, at.text, "min_step_count", s->min_step_count, "max_step_count",
                s->max_step_count);
    check_whole(c, at.text, "min_measurement_count", s->min_measurement_count, 0);
    check_rate(c, at.text, s->learning_rate_parameter_name);
}

/* v1beta1 only. */
static void check_old_convex(struct study_check *c, const char *prefix,
                             const Aip__StudySpec__ConvexStopConfig *s) {
    struct study_path at = study_below(prefix, "convex_stop_config");
    check_steps(c, at.text, "min_num_steps", s->min_num_steps, "max_num_steps", s->max_num_steps);
    check_whole(c, at.text, "autoregressive_order", s->autoregressive_order, 0);
    check_rate(c, at.text, s->learning_rate_parameter_name);
}

/* google.protobuf.Duration's own rules, and that time does not go backwards. */
static void check_duration(struct study_check *c, const char *path,
                           const Google__Protobuf__Duration *d) {
    if (d &&
        (d->seconds < 0 || d->nanos < 0 || d->nanos > 999999999 || d->seconds > 315576000000)) {
        violations_add(c->vs, path,
                       "A duration is not negative, at most 10,000 years, and its nanoseconds are "
                       "below 10^9; the request has %lld s and %d ns.",
                       (long long)d->seconds, d->nanos);
    }
}

static void check_time(struct study_check *c, const char *path, const char *field,
                       const Aip__StudyTimeConstraint *t) {
    if (!t) {
        return;
    }
    struct study_path at = study_below(path, "%s", field);
    if (t->constraint_case == AIP__STUDY_TIME_CONSTRAINT__CONSTRAINT__NOT_SET) {
        violations_add(c->vs, at.text, "One of max_duration, end_time is required.");
    } else if (t->constraint_case == AIP__STUDY_TIME_CONSTRAINT__CONSTRAINT_MAX_DURATION) {
        check_duration(c, study_below(at.text, "max_duration").text, t->max_duration);
    } else if (t->end_time->nanos < 0 || t->end_time->nanos > 999999999 ||
               t->end_time->seconds < -62135596800 || t->end_time->seconds > 253402300799) {
        violations_add(c->vs, study_below(at.text, "end_time").text,
                       "A time lies in the years 1 to 9999 and its nanoseconds are below 10^9; the "
                       "request has %lld s and %d ns.",
                       (long long)t->end_time->seconds, t->end_time->nanos);
    }
}

/* Both durations, or both times. */
static void check_times_order(struct study_check *c, const char *path,
                              const Aip__StudyTimeConstraint *a,
                              const Aip__StudyTimeConstraint *b) {
    if (!a || !b || a->constraint_case != b->constraint_case ||
        a->constraint_case == AIP__STUDY_TIME_CONSTRAINT__CONSTRAINT__NOT_SET) {
        return;
    }
    bool is_time = a->constraint_case == AIP__STUDY_TIME_CONSTRAINT__CONSTRAINT_END_TIME;
    int64_t least = is_time ? a->end_time->seconds : a->max_duration->seconds;
    int64_t most = is_time ? b->end_time->seconds : b->max_duration->seconds;
    if (least > most) {
        violations_add(c->vs, study_below(path, "minimum_runtime_constraint").text,
                       "The minimum, %lld s, is larger than the maximum_runtime_constraint, %lld "
                       "s.",
                       (long long)least, (long long)most);
    }
}

void study_check_stopping(struct study_check *c, const char *prefix) {
    const Aip__StudySpec *s = c->spec;
    size_t objectives = 0;
    for (size_t i = 0; i < s->n_metrics; i++) {
        objectives += !s->metrics[i]->_safety_config_case;
    }
    if (s->automated_stopping_spec_case && objectives > 1) {
        violations_add(c->vs, prefix,
                       "Automated stopping compares one objective; the study has %zu.", objectives);
    }
    if (s->automated_stopping_spec_case ==
        AIP__STUDY_SPEC__AUTOMATED_STOPPING_SPEC_CONVEX_AUTOMATED_STOPPING_SPEC) {
        check_convex(c, prefix, s->convex_automated_stopping_spec);
    }
    if (s->automated_stopping_spec_case ==
        AIP__STUDY_SPEC__AUTOMATED_STOPPING_SPEC_CONVEX_STOP_CONFIG) {
        check_old_convex(c, prefix, s->convex_stop_config);
    }
    if (!s->_study_stopping_config_case) {
        return;
    }
    const Aip__StudySpec__StudyStoppingConfig *f = s->study_stopping_config;
    struct study_path at = study_below(prefix, "study_stopping_config");
    check_time(c, at.text, "minimum_runtime_constraint", f->minimum_runtime_constraint);
    check_time(c, at.text, "maximum_runtime_constraint", f->maximum_runtime_constraint);
    check_times_order(c, at.text, f->minimum_runtime_constraint, f->maximum_runtime_constraint);
    if (f->min_num_trials) {
        check_whole(c, at.text, "min_num_trials", f->min_num_trials->value, 0);
    }
    if (f->max_num_trials) {
        check_whole(c, at.text, "max_num_trials", f->max_num_trials->value, 1);
    }
    if (f->max_num_trials_no_progress) {
        check_whole(c, at.text, "max_num_trials_no_progress", f->max_num_trials_no_progress->value,
                    1);
    }
    if (f->min_num_trials && f->max_num_trials &&
        f->min_num_trials->value > f->max_num_trials->value) {
        violations_add(c->vs, study_below(at.text, "min_num_trials").text,
                       "min_num_trials %d is larger than max_num_trials %d.",
                       f->min_num_trials->value, f->max_num_trials->value);
    }
    check_duration(c, study_below(at.text, "max_duration_no_progress").text,
                   f->max_duration_no_progress);
}
