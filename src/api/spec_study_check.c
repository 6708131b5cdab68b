/* Rules of a StudySpec (reference 04 §3, §7), all mistakes at once. */
#include "api/spec_study.h"

#include "base/limits.h"

#include <math.h>
#include <stdarg.h>

#define METRICS_MAX 15
#define ID_MAX 128
#define DISCRETE_MAX 1000
#define DEPTH_MAX 16          /* conditions within conditions */
#define WHOLE_MAX (1LL << 53) /* whole numbers beyond have gaps as JSON numbers */
#define SAME 1e-10
#define PATH_MAX_ 320

struct check {
    struct violations *vs;
    const Aip__StudySpec *spec;
    size_t nr_params; /* seen so far */
    bool is_grid;
};

/* A path below another. */
struct at {
    char text[PATH_MAX_];
};

static struct at below(const char *path, const char *fmt, ...) PRINTF_LIKE(2, 3);
static struct at below(const char *path, const char *fmt, ...) {
    struct at p;
    char tail[100];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(tail, sizeof(tail), fmt, ap);
    va_end(ap);
    snprintf(p.text, sizeof(p.text), "%.200s.%s", path, tail);
    return p;
}

static void check_id(struct check *c, const char *path, const char *field, const char *id) {
    struct at at = below(path, "%s", field);
    size_t n = strlen(id);
    if (!n) {
        violations_add(c->vs, at.text, "Required field is not set.");
    } else if (n > ID_MAX) {
        violations_add(c->vs, at.text, "At most %d bytes are allowed; \"%.40s...\" has %zu.",
                       ID_MAX, id, n);
    }
    for (size_t i = 0; i < n; i++) {
        if ((uint8_t)id[i] <= ' ' || id[i] == 0x7f) {
            violations_add(c->vs, at.text, "\"%.80s\" must not contain white space.", id);
            break;
        }
    }
}

static void check_metrics(struct check *c, const char *prefix) {
    const Aip__StudySpec *s = c->spec;
    size_t objectives = 0;
    if (!s->n_metrics) {
        violations_add(c->vs, below(prefix, "metrics").text, "Required field is not set.");
        return;
    }
    if (s->n_metrics > METRICS_MAX) {
        violations_add(c->vs, below(prefix, "metrics").text,
                       "A study has at most %d metrics; the request has %zu.", METRICS_MAX,
                       s->n_metrics);
        return;
    }
    for (size_t i = 0; i < s->n_metrics; i++) {
        const Aip__StudySpec__MetricSpec *m = s->metrics[i];
        struct at at = below(prefix, "metrics[%zu]", i);
        check_id(c, at.text, "metric_id", m->metric_id);
        for (size_t k = 0; k < i; k++) {
            if (m->metric_id[0] && strcmp(m->metric_id, s->metrics[k]->metric_id) == 0) {
                violations_add(c->vs, below(at.text, "metric_id").text,
                               "Metric \"%.80s\" is given twice.", m->metric_id);
                break;
            }
        }
        if (!m->_safety_config_case) {
            objectives++;
            continue;
        }
        const Aip__StudySpec__MetricSpec__SafetyMetricConfig *f = m->safety_config;
        double share =
            f->_desired_min_safe_trials_fraction_case ? f->desired_min_safe_trials_fraction : 0;
        if (!isfinite(f->safety_threshold)) {
            violations_add(c->vs, below(at.text, "safety_config.safety_threshold").text,
                           "The threshold must be a finite number.");
        }
        if (!(share >= 0 && share <= 1)) {
            violations_add(c->vs,
                           below(at.text, "safety_config.desired_min_safe_trials_fraction").text,
                           "A fraction lies between 0 and 1; the request has %g.", share);
        }
    }
    if (!objectives) {
        violations_add(c->vs, below(prefix, "metrics").text,
                       "At least one metric must be an objective, without safety_config.");
    }
}

/* ---- values ---- */

static void check_default(struct check *c, const char *path, bool has, bool is_inside) {
    if (has && !is_inside) {
        violations_add(c->vs, below(path, "default_value").text,
                       "The default is none of the parameter's values.");
    }
}

static void check_double(struct check *c, const char *path,
                         const Aip__StudySpec__ParameterSpec__DoubleValueSpec *d) {
    struct at at = below(path, "double_value_spec");
    if (!isfinite(d->min_value) || !isfinite(d->max_value)) {
        violations_add(c->vs, at.text, "Bounds must be finite numbers.");
        return;
    }
    if (d->min_value > d->max_value) {
        violations_add(c->vs, at.text, "min_value %g is larger than max_value %g.", d->min_value,
                       d->max_value);
    }
    check_default(c, at.text, d->_default_value_case,
                  d->default_value >= d->min_value && d->default_value <= d->max_value);
    if (c->is_grid) {
        violations_add(c->vs, at.text,
                       "GRID_SEARCH needs parameters with countable values: INTEGER, DISCRETE or "
                       "CATEGORICAL, not DOUBLE.");
    }
}

static void check_integer(struct check *c, const char *path,
                          const Aip__StudySpec__ParameterSpec__IntegerValueSpec *d) {
    struct at at = below(path, "integer_value_spec");
    if (d->min_value > d->max_value) {
        violations_add(c->vs, at.text, "min_value %lld is larger than max_value %lld.",
                       (long long)d->min_value, (long long)d->max_value);
    }
    if (d->min_value < -WHOLE_MAX || d->max_value > WHOLE_MAX) {
        violations_add(c->vs, at.text,
                       "Bounds lie between -2^53 and 2^53: trial values are JSON numbers.");
    }
    check_default(c, at.text, d->_default_value_case,
                  d->default_value >= d->min_value && d->default_value <= d->max_value);
}

static void check_categorical(struct check *c, const char *path,
                              const Aip__StudySpec__ParameterSpec *p) {
    const Aip__StudySpec__ParameterSpec__CategoricalValueSpec *d = p->categorical_value_spec;
    struct at at = below(path, "categorical_value_spec"), values = below(at.text, "values");
    if (!d->n_values) {
        violations_add(c->vs, values.text, "At least one value is needed.");
    }
    if (d->n_values > DISCRETE_MAX) {
        violations_add(c->vs, values.text, "At most %d values are allowed; the request has %zu.",
                       DISCRETE_MAX, d->n_values);
        return;
    }
    bool found = !d->_default_value_case;
    for (size_t i = 0; i < d->n_values; i++) {
        found = found || strcmp(d->values[i], d->default_value) == 0;
        for (size_t k = 0; k < i; k++) {
            if (strcmp(d->values[i], d->values[k]) == 0) {
                violations_add(c->vs, values.text, "Value \"%.80s\" is given twice.", d->values[i]);
                break;
            }
        }
    }
    check_default(c, at.text, d->_default_value_case, found);
    if (p->scale_type) {
        violations_add(c->vs, below(path, "scale_type").text,
                       "A categorical parameter has no scale; leave scale_type out.");
    }
}

static void check_discrete(struct check *c, const char *path,
                           const Aip__StudySpec__ParameterSpec__DiscreteValueSpec *d) {
    struct at at = below(path, "discrete_value_spec"), values = below(at.text, "values");
    if (!d->n_values) {
        violations_add(c->vs, values.text, "At least one value is needed.");
    }
    if (d->n_values > DISCRETE_MAX) {
        violations_add(c->vs, values.text, "At most %d values are allowed; the request has %zu.",
                       DISCRETE_MAX, d->n_values);
        return;
    }
    bool found = !d->_default_value_case;
    for (size_t i = 0; i < d->n_values; i++) {
        found = found || fabs(d->values[i] - d->default_value) <= SAME;
        if (!isfinite(d->values[i])) {
            violations_add(c->vs, values.text, "Value %zu is not a finite number.", i);
            return;
        }
        if (i && !(d->values[i] - d->values[i - 1] >= SAME)) {
            violations_add(c->vs, values.text,
                           "Values must increase by at least 1e-10; %g follows %g.", d->values[i],
                           d->values[i - 1]);
            return;
        }
    }
    check_default(c, at.text, d->_default_value_case, found);
}

static bool is_positive(const Aip__StudySpec__ParameterSpec *p) {
    switch ((int)p->parameter_value_spec_case) {
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_DOUBLE_VALUE_SPEC:
        return p->double_value_spec->min_value > 0;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_INTEGER_VALUE_SPEC:
        return p->integer_value_spec->min_value > 0;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_DISCRETE_VALUE_SPEC:
        return !p->discrete_value_spec->n_values || p->discrete_value_spec->values[0] > 0;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_CATEGORICAL_VALUE_SPEC:
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC__NOT_SET:
    default:
        return true;
    }
}

static void check_scale(struct check *c, const char *path, const Aip__StudySpec__ParameterSpec *p) {
    bool is_log =
        p->scale_type == AIP__STUDY_SPEC__PARAMETER_SPEC__SCALE_TYPE__UNIT_LOG_SCALE ||
        p->scale_type == AIP__STUDY_SPEC__PARAMETER_SPEC__SCALE_TYPE__UNIT_REVERSE_LOG_SCALE;
    if ((unsigned)p->scale_type > 3) {
        violations_add(c->vs, below(path, "scale_type").text, "Scale type %d does not exist.",
                       (int)p->scale_type);
    } else if (is_log && !is_positive(p)) {
        violations_add(c->vs, below(path, "scale_type").text,
                       "A logarithmic scale needs values larger than 0.");
    }
}

/* ---- conditions ---- */

static const char *const condition_names[] = {
    [AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_DISCRETE_VALUE_SPEC] =
        "parent_discrete_values",
    [AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_INTEGER_VALUE_SPEC] =
        "parent_int_values",
    [AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_CATEGORICAL_VALUE_SPEC] =
        "parent_categorical_values",
};

static bool suits(const Aip__StudySpec__ParameterSpec *parent,
                  const Aip__StudySpec__ParameterSpec__ConditionalParameterSpec *k) {
    switch ((int)parent->parameter_value_spec_case) {
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_DISCRETE_VALUE_SPEC:
        return k->parent_value_condition_case ==
               AIP__STUDY_SPEC__PARAMETER_SPEC__CONDITIONAL_PARAMETER_SPEC__PARENT_VALUE_CONDITION_PARENT_DISCRETE_VALUES;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_INTEGER_VALUE_SPEC:
        return k->parent_value_condition_case ==
               AIP__STUDY_SPEC__PARAMETER_SPEC__CONDITIONAL_PARAMETER_SPEC__PARENT_VALUE_CONDITION_PARENT_INT_VALUES;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_CATEGORICAL_VALUE_SPEC:
        return k->parent_value_condition_case ==
               AIP__STUDY_SPEC__PARAMETER_SPEC__CONDITIONAL_PARAMETER_SPEC__PARENT_VALUE_CONDITION_PARENT_CATEGORICAL_VALUES;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_DOUBLE_VALUE_SPEC:
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC__NOT_SET:
    default:
        return false;
    }
}

/* The i-th value of a condition that suits, as a number: the category's index, -1 where there is
 * no such category. */
static double condition_value(const Aip__StudySpec__ParameterSpec *parent,
                              const Aip__StudySpec__ParameterSpec__ConditionalParameterSpec *k,
                              size_t i) {
    if (parent->parameter_value_spec_case ==
        AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_DISCRETE_VALUE_SPEC) {
        return k->parent_discrete_values->values[i];
    }
    if (parent->parameter_value_spec_case ==
        AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_INTEGER_VALUE_SPEC) {
        return (double)k->parent_int_values->values[i];
    }
    const Aip__StudySpec__ParameterSpec__CategoricalValueSpec *d = parent->categorical_value_spec;
    for (size_t q = 0; q < d->n_values; q++) {
        if (strcmp(d->values[q], k->parent_categorical_values->values[i]) == 0) {
            return (double)q;
        }
    }
    return -1;
}

static size_t
nr_condition_values(const Aip__StudySpec__ParameterSpec__ConditionalParameterSpec *k) {
    switch ((int)k->parent_value_condition_case) {
    case AIP__STUDY_SPEC__PARAMETER_SPEC__CONDITIONAL_PARAMETER_SPEC__PARENT_VALUE_CONDITION_PARENT_DISCRETE_VALUES:
        return k->parent_discrete_values->n_values;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__CONDITIONAL_PARAMETER_SPEC__PARENT_VALUE_CONDITION_PARENT_INT_VALUES:
        return k->parent_int_values->n_values;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__CONDITIONAL_PARAMETER_SPEC__PARENT_VALUE_CONDITION_PARENT_CATEGORICAL_VALUES:
        return k->parent_categorical_values->n_values;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__CONDITIONAL_PARAMETER_SPEC__PARENT_VALUE_CONDITION__NOT_SET:
    default:
        return 0;
    }
}

static bool is_feasible(const Aip__StudySpec__ParameterSpec *parent, double v) {
    if (parent->parameter_value_spec_case ==
        AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_INTEGER_VALUE_SPEC) {
        return v >= (double)parent->integer_value_spec->min_value &&
               v <= (double)parent->integer_value_spec->max_value;
    }
    if (parent->parameter_value_spec_case ==
        AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_CATEGORICAL_VALUE_SPEC) {
        return v >= 0;
    }
    for (size_t i = 0; i < parent->discrete_value_spec->n_values; i++) {
        if (fabs(parent->discrete_value_spec->values[i] - v) <= SAME) {
            return true;
        }
    }
    return false;
}

static bool check_condition(struct check *c, const char *path,
                            const Aip__StudySpec__ParameterSpec *parent,
                            const Aip__StudySpec__ParameterSpec__ConditionalParameterSpec *k) {
    const char *want = (size_t)parent->parameter_value_spec_case < NR_OF(condition_names)
                           ? condition_names[parent->parameter_value_spec_case]
                           : NULL;
    if (!want) {
        violations_add(c->vs, path,
                       "Only DISCRETE, INTEGER and CATEGORICAL parameters can have conditions.");
        return false;
    }
    if (!suits(parent, k)) {
        violations_add(c->vs, path, "The condition on parameter \"%.80s\" must be given as %s.",
                       parent->parameter_id, want);
        return false;
    }
    size_t n = nr_condition_values(k);
    struct at at = below(path, "%s.values", want);
    if (!n) {
        violations_add(c->vs, at.text, "At least one value is needed.");
    }
    for (size_t i = 0; i < n; i++) {
        if (!is_feasible(parent, condition_value(parent, k, i))) {
            violations_add(c->vs, at.text, "Value %zu is none of parameter \"%.80s\".", i,
                           parent->parameter_id);
            return false;
        }
    }
    return n > 0;
}

/* True when some value of the parent meets both. */
static bool overlap(const Aip__StudySpec__ParameterSpec *parent,
                    const Aip__StudySpec__ParameterSpec__ConditionalParameterSpec *a,
                    const Aip__StudySpec__ParameterSpec__ConditionalParameterSpec *b) {
    for (size_t i = 0; i < nr_condition_values(a); i++) {
        for (size_t k = 0; k < nr_condition_values(b); k++) {
            if (fabs(condition_value(parent, a, i) - condition_value(parent, b, k)) <= SAME) {
                return true;
            }
        }
    }
    return false;
}

/* ---- the tree ---- */

/* Ids that are active together with what is looked at: the way up, and what stands beside it. */
struct scope {
    const struct scope *up;
    const char *id;
};

static bool is_taken(const struct scope *s, const char *id) {
    for (; s; s = s->up) {
        if (strcmp(s->id, id) == 0) {
            return true;
        }
    }
    return false;
}

static void check_parameter(struct check *c, const char *path,
                            const Aip__StudySpec__ParameterSpec *p, const struct scope *up,
                            unsigned depth);

static void check_children(struct check *c, const char *path,
                           const Aip__StudySpec__ParameterSpec *p, const struct scope *scope,
                           unsigned depth) {
    for (size_t i = 0; i < p->n_conditional_parameter_specs; i++) {
        const Aip__StudySpec__ParameterSpec__ConditionalParameterSpec *k =
            p->conditional_parameter_specs[i];
        struct at at = below(path, "conditional_parameter_specs[%zu]", i);
        bool ok = check_condition(c, at.text, p, k);
        if (!k->parameter_spec) {
            violations_add(c->vs, below(at.text, "parameter_spec").text,
                           "Required field is not set.");
            continue;
        }
        for (size_t q = 0; q < i && ok; q++) {
            const Aip__StudySpec__ParameterSpec__ConditionalParameterSpec *b =
                p->conditional_parameter_specs[q];
            if (b->parameter_spec && suits(p, b) &&
                strcmp(b->parameter_spec->parameter_id, k->parameter_spec->parameter_id) == 0 &&
                overlap(p, k, b)) {
                violations_add(c->vs, at.text,
                               "Parameter \"%.80s\" is given twice for the same value of its "
                               "parent.",
                               k->parameter_spec->parameter_id);
                ok = false;
            }
        }
        check_parameter(c, below(at.text, "parameter_spec").text, k->parameter_spec, scope,
                        depth + 1);
    }
}

static void check_parameter(struct check *c, const char *path,
                            const Aip__StudySpec__ParameterSpec *p, const struct scope *up,
                            unsigned depth) {
    if (++c->nr_params > limits.max_study_parameters) {
        return; /* said once, at the end */
    }
    check_id(c, path, "parameter_id", p->parameter_id);
    if (p->parameter_id[0] && is_taken(up, p->parameter_id)) {
        violations_add(c->vs, below(path, "parameter_id").text,
                       "Parameter \"%.80s\" is given twice.", p->parameter_id);
    }
    switch ((int)p->parameter_value_spec_case) {
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_DOUBLE_VALUE_SPEC:
        check_double(c, path, p->double_value_spec);
        break;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_INTEGER_VALUE_SPEC:
        check_integer(c, path, p->integer_value_spec);
        break;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_CATEGORICAL_VALUE_SPEC:
        check_categorical(c, path, p);
        break;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_DISCRETE_VALUE_SPEC:
        check_discrete(c, path, p->discrete_value_spec);
        break;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC__NOT_SET:
    default:
        violations_add(c->vs, path,
                       "One of double_value_spec, integer_value_spec, categorical_value_spec, "
                       "discrete_value_spec is required.");
        return;
    }
    check_scale(c, path, p);
    if (depth >= DEPTH_MAX && p->n_conditional_parameter_specs) {
        violations_add(c->vs, path, "Conditions nest at most %d deep.", DEPTH_MAX);
        return;
    }
    struct scope own = {up, p->parameter_id};
    check_children(c, path, p, &own, depth);
}

/* ---- stopping ---- */

static void check_whole(struct check *c, const char *path, const char *field, int64_t v,
                        int64_t least) {
    if (v < least) {
        violations_add(c->vs, below(path, "%s", field).text,
                       "At least %lld is needed; the request has %lld.", (long long)least,
                       (long long)v);
    }
}

static bool has_number(Aip__StudySpec__ParameterSpec *const *all, size_t n, const char *id) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(all[i]->parameter_id, id) == 0 &&
            all[i]->parameter_value_spec_case !=
                AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_CATEGORICAL_VALUE_SPEC) {
            return true;
        }
    }
    return false;
}

static void check_convex(struct check *c, const char *prefix,
                         const Aip__StudySpec__ConvexAutomatedStoppingSpec *s) {
    struct at at = below(prefix, "convex_automated_stopping_spec");
    check_whole(c, at.text, "max_step_count", s->max_step_count, 0);
    check_whole(c, at.text, "min_step_count", s->min_step_count, 0);
    check_whole(c, at.text, "min_measurement_count", s->min_measurement_count, 0);
    if (s->max_step_count && s->min_step_count > s->max_step_count) {
        violations_add(c->vs, below(at.text, "min_step_count").text,
                       "min_step_count %lld is larger than max_step_count %lld.",
                       (long long)s->min_step_count, (long long)s->max_step_count);
    }
    if (s->learning_rate_parameter_name[0] &&
        !has_number(c->spec->parameters, c->spec->n_parameters, s->learning_rate_parameter_name)) {
        violations_add(c->vs, below(at.text, "learning_rate_parameter_name").text,
                       "The study has no number parameter \"%.80s\".",
                       s->learning_rate_parameter_name);
    }
}

static void check_time(struct check *c, const char *path, const char *field,
                       const Aip__StudyTimeConstraint *t) {
    if (!t) {
        return;
    }
    struct at at = below(path, "%s", field);
    if (t->constraint_case == AIP__STUDY_TIME_CONSTRAINT__CONSTRAINT__NOT_SET) {
        violations_add(c->vs, at.text, "One of max_duration, end_time is required.");
    } else if (t->constraint_case == AIP__STUDY_TIME_CONSTRAINT__CONSTRAINT_MAX_DURATION &&
               t->max_duration->seconds < 0) {
        violations_add(c->vs, below(at.text, "max_duration").text,
                       "A duration must not be negative.");
    }
}

static void check_stopping(struct check *c, const char *prefix) {
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
    if (!s->_study_stopping_config_case) {
        return;
    }
    const Aip__StudySpec__StudyStoppingConfig *f = s->study_stopping_config;
    struct at at = below(prefix, "study_stopping_config");
    check_time(c, at.text, "minimum_runtime_constraint", f->minimum_runtime_constraint);
    check_time(c, at.text, "maximum_runtime_constraint", f->maximum_runtime_constraint);
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
        violations_add(c->vs, below(at.text, "min_num_trials").text,
                       "min_num_trials %d is larger than max_num_trials %d.",
                       f->min_num_trials->value, f->max_num_trials->value);
    }
    if (f->max_duration_no_progress && f->max_duration_no_progress->seconds < 0) {
        violations_add(c->vs, below(at.text, "max_duration_no_progress").text,
                       "A duration must not be negative.");
    }
}

static void check_enum(struct check *c, const char *prefix, const char *field, int v, bool ok) {
    if (!ok) {
        violations_add(c->vs, below(prefix, "%s", field).text, "Value %d does not exist.", v);
    }
}

void study_spec_check(const Aip__StudySpec *spec, const char *prefix, struct violations *vs) {
    struct check c = {.vs = vs,
                      .spec = spec,
                      .is_grid = spec->algorithm == AIP__STUDY_SPEC__ALGORITHM__GRID_SEARCH};
    check_enum(&c, prefix, "algorithm", (int)spec->algorithm,
               spec->algorithm == 0 || spec->algorithm == 2 || spec->algorithm == 3);
    check_enum(&c, prefix, "observation_noise", (int)spec->observation_noise,
               (unsigned)spec->observation_noise <= 2);
    check_enum(&c, prefix, "measurement_selection_type", (int)spec->measurement_selection_type,
               (unsigned)spec->measurement_selection_type <= 2);
    check_metrics(&c, prefix);
    if (!spec->n_parameters) {
        violations_add(vs, below(prefix, "parameters").text, "Required field is not set.");
    }
    for (size_t i = 0; i < spec->n_parameters; i++) {
        const Aip__StudySpec__ParameterSpec *p = spec->parameters[i];
        struct at at = below(prefix, "parameters[%zu]", i);
        if (i < limits.max_study_parameters) {
            for (size_t k = 0; k < i; k++) {
                if (p->parameter_id[0] &&
                    strcmp(p->parameter_id, spec->parameters[k]->parameter_id) == 0) {
                    violations_add(vs, below(at.text, "parameter_id").text,
                                   "Parameter \"%.80s\" is given twice.", p->parameter_id);
                    break;
                }
            }
        }
        check_parameter(&c, at.text, p, NULL, 0);
    }
    if (c.nr_params > limits.max_study_parameters) {
        limits_hit(&limits.max_study_parameters);
        violations_add(vs, below(prefix, "parameters").text,
                       "A study has at most %llu parameters (limit max_study_parameters).",
                       (unsigned long long)limits.max_study_parameters);
    }
    check_stopping(&c, prefix);
}
