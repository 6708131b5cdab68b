/* Rules of a StudySpec's metrics and parameters (reference 04 §3), all mistakes at once. Those of
 * stopping are in spec_study_stop.c. */
#include "api/spec_study_int.h"

#include "base/limits.h"
#include "base/shortest.h"

#include <math.h>
#include <stdarg.h>

#define METRICS_MAX 15
#define ID_MAX 128
#define DISCRETE_MAX 1000
#define DEPTH_MAX 16          /* conditions within conditions */
#define WHOLE_MAX (1LL << 53) /* whole numbers beyond have gaps as JSON numbers */
#define SAME 1e-10

struct study_path study_below(const char *path, const char *fmt, ...) {
    struct study_path p;
    char tail[100];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(tail, sizeof(tail), fmt, ap);
    va_end(ap);
    snprintf(p.text, sizeof(p.text), "%.200s.%s", path, tail);
    return p;
}

static void check_id(struct study_check *c, const char *path, const char *field, const char *id) {
    struct study_path at = study_below(path, "%s", field);
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

static void check_metrics(struct study_check *c, const char *prefix) {
    const Aip__StudySpec *s = c->spec;
    size_t objectives = 0;
    if (!s->n_metrics) {
        violations_add(c->vs, study_below(prefix, "metrics").text, "Required field is not set.");
        return;
    }
    if (s->n_metrics > METRICS_MAX) {
        violations_add(c->vs, study_below(prefix, "metrics").text,
                       "A study has at most %d metrics; the request has %zu.", METRICS_MAX,
                       s->n_metrics);
        return;
    }
    for (size_t i = 0; i < s->n_metrics; i++) {
        const Aip__StudySpec__MetricSpec *m = s->metrics[i];
        struct study_path at = study_below(prefix, "metrics[%zu]", i);
        check_id(c, at.text, "metric_id", m->metric_id);
        for (size_t k = 0; k < i; k++) {
            if (m->metric_id[0] && strcmp(m->metric_id, s->metrics[k]->metric_id) == 0) {
                violations_add(c->vs, study_below(at.text, "metric_id").text,
                               "Metric \"%.80s\" is given twice.", m->metric_id);
                break;
            }
        }
        if ((unsigned)m->goal > 2) {
            violations_add(c->vs, study_below(at.text, "goal").text, "Goal %d does not exist.",
                           (int)m->goal);
        }
        if (!m->_safety_config_case) {
            objectives++;
            continue;
        }
        const Aip__StudySpec__MetricSpec__SafetyMetricConfig *f = m->safety_config;
        double share =
            f->_desired_min_safe_trials_fraction_case ? f->desired_min_safe_trials_fraction : 0;
        if (!isfinite(f->safety_threshold)) {
            violations_add(c->vs, study_below(at.text, "safety_config.safety_threshold").text,
                           "The threshold must be a finite number; the request has %s.",
                           number_text(f->safety_threshold).text);
        }
        if (!(share >= 0 && share <= 1)) {
            violations_add(
                c->vs, study_below(at.text, "safety_config.desired_min_safe_trials_fraction").text,
                "A fraction lies between 0 and 1; the request has %s.", number_text(share).text);
        }
    }
    if (!objectives) {
        violations_add(c->vs, study_below(prefix, "metrics").text,
                       "At least one metric must be an objective, without safety_config.");
    }
}

/* ---- values ---- */

static void check_default(struct study_check *c, const char *path, double v, double lo, double hi) {
    if (!(v >= lo && v <= hi)) {
        violations_add(c->vs, study_below(path, "default_value").text,
                       "The default, %s, is none of the parameter's values, which lie between %s "
                       "and %s.",
                       number_text(v).text, number_text(lo).text, number_text(hi).text);
    }
}

static void check_double(struct study_check *c, const char *path,
                         const Aip__StudySpec__ParameterSpec__DoubleValueSpec *d) {
    struct study_path at = study_below(path, "double_value_spec");
    if (!isfinite(d->min_value) || !isfinite(d->max_value)) {
        violations_add(c->vs, at.text, "Bounds must be finite numbers; the request has %s and %s.",
                       number_text(d->min_value).text, number_text(d->max_value).text);
        return;
    }
    if (d->min_value > d->max_value) {
        violations_add(c->vs, at.text, "min_value %s is larger than max_value %s.",
                       number_text(d->min_value).text, number_text(d->max_value).text);
    } else if (d->_default_value_case) {
        check_default(c, at.text, d->default_value, d->min_value, d->max_value);
    }
    if (c->is_grid) {
        violations_add(c->vs, at.text,
                       "GRID_SEARCH needs parameters with countable values: INTEGER, DISCRETE or "
                       "CATEGORICAL, not DOUBLE.");
    }
}

static void check_integer(struct study_check *c, const char *path,
                          const Aip__StudySpec__ParameterSpec__IntegerValueSpec *d) {
    struct study_path at = study_below(path, "integer_value_spec");
    if (d->min_value > d->max_value) {
        violations_add(c->vs, at.text, "min_value %lld is larger than max_value %lld.",
                       (long long)d->min_value, (long long)d->max_value);
    }
    if (d->min_value < -WHOLE_MAX || d->max_value > WHOLE_MAX) {
        violations_add(c->vs, at.text,
                       "Bounds lie between -2^53 and 2^53, as trial values are JSON numbers; the "
                       "request has %lld and %lld.",
                       (long long)d->min_value, (long long)d->max_value);
    } else if (d->_default_value_case && d->min_value <= d->max_value) {
        check_default(c, at.text, (double)d->default_value, (double)d->min_value,
                      (double)d->max_value);
    }
}

static void check_categorical(struct study_check *c, const char *path,
                              const Aip__StudySpec__ParameterSpec *p) {
    const Aip__StudySpec__ParameterSpec__CategoricalValueSpec *d = p->categorical_value_spec;
    struct study_path at = study_below(path, "categorical_value_spec"),
                      values = study_below(at.text, "values");
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
    if (!found) {
        violations_add(c->vs, study_below(at.text, "default_value").text,
                       "The default, \"%.80s\", is none of the parameter's values.",
                       d->default_value);
    }
    if (p->scale_type) {
        violations_add(c->vs, study_below(path, "scale_type").text,
                       "A categorical parameter has no scale; leave scale_type out, which is %d.",
                       (int)p->scale_type);
    }
}

static void check_discrete(struct study_check *c, const char *path,
                           const Aip__StudySpec__ParameterSpec__DiscreteValueSpec *d) {
    struct study_path at = study_below(path, "discrete_value_spec"),
                      values = study_below(at.text, "values");
    if (!d->n_values) {
        violations_add(c->vs, values.text, "At least one value is needed.");
    }
    if (d->n_values > DISCRETE_MAX) {
        violations_add(c->vs, values.text, "At most %d values are allowed; the request has %zu.",
                       DISCRETE_MAX, d->n_values);
        return;
    }
    for (size_t i = 0; i < d->n_values; i++) {
        if (!isfinite(d->values[i])) {
            violations_add(c->vs, values.text, "Values must be finite numbers; number %zu is %s.",
                           i + 1, number_text(d->values[i]).text);
            return;
        }
        if (i && !(d->values[i] - d->values[i - 1] >= SAME)) {
            violations_add(c->vs, values.text,
                           "Values must increase by at least 1e-10; %s follows %s.",
                           number_text(d->values[i]).text, number_text(d->values[i - 1]).text);
            return;
        }
    }
    if (d->_default_value_case && !isfinite(d->default_value)) { /* else the nearest is meant */
        violations_add(c->vs, study_below(at.text, "default_value").text,
                       "The default must be a finite number; the request has %s.",
                       number_text(d->default_value).text);
    }
}

/* The smallest value; 1 of what has no order. */
static double least_of(const Aip__StudySpec__ParameterSpec *p) {
    switch ((int)p->parameter_value_spec_case) {
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_DOUBLE_VALUE_SPEC:
        return p->double_value_spec->min_value;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_INTEGER_VALUE_SPEC:
        return (double)p->integer_value_spec->min_value;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_DISCRETE_VALUE_SPEC:
        return p->discrete_value_spec->n_values ? p->discrete_value_spec->values[0] : 1;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_CATEGORICAL_VALUE_SPEC:
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC__NOT_SET:
    default:
        return 1;
    }
}

static void check_scale(struct study_check *c, const char *path,
                        const Aip__StudySpec__ParameterSpec *p) {
    bool is_log =
        p->scale_type == AIP__STUDY_SPEC__PARAMETER_SPEC__SCALE_TYPE__UNIT_LOG_SCALE ||
        p->scale_type == AIP__STUDY_SPEC__PARAMETER_SPEC__SCALE_TYPE__UNIT_REVERSE_LOG_SCALE;
    if ((unsigned)p->scale_type > 3) {
        violations_add(c->vs, study_below(path, "scale_type").text, "Scale type %d does not exist.",
                       (int)p->scale_type);
    } else if (is_log && !(least_of(p) > 0)) {
        violations_add(c->vs, study_below(path, "scale_type").text,
                       "A logarithmic scale needs values larger than 0; the smallest is %s.",
                       number_text(least_of(p)).text);
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

static void say_condition(struct study_check *c, const char *path,
                          const Aip__StudySpec__ParameterSpec *parent,
                          const Aip__StudySpec__ParameterSpec__ConditionalParameterSpec *k,
                          size_t i) {
    if (parent->parameter_value_spec_case ==
        AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_CATEGORICAL_VALUE_SPEC) {
        violations_add(c->vs, path, "\"%.80s\" is none of parameter \"%.80s\".",
                       k->parent_categorical_values->values[i], parent->parameter_id);
    } else {
        violations_add(c->vs, path, "%s is none of parameter \"%.80s\".",
                       number_text(condition_value(parent, k, i)).text, parent->parameter_id);
    }
}

static bool check_condition(struct study_check *c, const char *path,
                            const Aip__StudySpec__ParameterSpec *parent,
                            const Aip__StudySpec__ParameterSpec__ConditionalParameterSpec *k) {
    const char *want = (size_t)parent->parameter_value_spec_case < NR_OF(condition_names)
                           ? condition_names[parent->parameter_value_spec_case]
                           : NULL;
    if (!want) {
        violations_add(c->vs, path,
                       "Only DISCRETE, INTEGER and CATEGORICAL parameters can have conditions, "
                       "which parameter \"%.80s\" is none of.",
                       parent->parameter_id);
        return false;
    }
    if (!suits(parent, k)) {
        violations_add(c->vs, path, "The condition on parameter \"%.80s\" must be given as %s.",
                       parent->parameter_id, want);
        return false;
    }
    size_t n = nr_condition_values(k);
    struct study_path at = study_below(path, "%s.values", want);
    if (!n) {
        violations_add(c->vs, at.text, "At least one value is needed.");
    }
    for (size_t i = 0; i < n; i++) {
        if (!is_feasible(parent, condition_value(parent, k, i))) {
            say_condition(c, at.text, parent, k, i);
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

static bool stands_below(const struct study_seen *s, const struct study_seen *other) {
    while (s && s != other) {
        s = s->up;
    }
    return s != NULL;
}

/* Can both be in one trial? Not when they stand below the same parameter for different values. */
static bool are_together(const struct study_seen *a, const struct study_seen *b) {
    const struct study_seen *x = a;
    while (x->up && !stands_below(b, x->up)) {
        x = x->up;
    }
    const struct study_seen *fork = x->up, *y = b;
    while (y != fork && y->up != fork) {
        y = y->up;
    }
    return !fork || y == fork || !suits(fork->p, x->when) || !suits(fork->p, y->when) ||
           overlap(fork->p, x->when, y->when);
}

/* Those below one parameter, for the same of its values, are told of there. */
static bool is_taken(const struct study_check *c, const struct study_seen *s) {
    for (size_t i = 0; i + 1 < c->nr_params; i++) {
        const struct study_seen *t = &c->seen[i];
        if (strcmp(t->p->parameter_id, s->p->parameter_id) == 0 && !(s->up && t->up == s->up) &&
            are_together(s, t)) {
            return true;
        }
    }
    return false;
}

static void check_parameter(struct study_check *c, const char *path, const struct study_seen *in,
                            unsigned depth);

static void check_children(struct study_check *c, const char *path, const struct study_seen *own,
                           unsigned depth) {
    const Aip__StudySpec__ParameterSpec *p = own->p;
    for (size_t i = 0; i < p->n_conditional_parameter_specs; i++) {
        const Aip__StudySpec__ParameterSpec__ConditionalParameterSpec *k =
            p->conditional_parameter_specs[i];
        struct study_path at = study_below(path, "conditional_parameter_specs[%zu]", i);
        bool ok = check_condition(c, at.text, p, k);
        if (!k->parameter_spec) {
            violations_add(c->vs, study_below(at.text, "parameter_spec").text,
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
        check_parameter(c, study_below(at.text, "parameter_spec").text,
                        &(struct study_seen){k->parameter_spec, k, own}, depth + 1);
    }
}

static void check_parameter(struct study_check *c, const char *path, const struct study_seen *in,
                            unsigned depth) {
    const Aip__StudySpec__ParameterSpec *p = in->p;
    if (++c->nr_params > limits.max_study_parameters) {
        return; /* said once, at the end */
    }
    struct study_seen *own = &c->seen[c->nr_params - 1];
    *own = *in;
    check_id(c, path, "parameter_id", p->parameter_id);
    if (p->parameter_id[0] && is_taken(c, own)) {
        violations_add(c->vs, study_below(path, "parameter_id").text,
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
        violations_add(c->vs, path, "Conditions nest at most %d deep; the request goes on.",
                       DEPTH_MAX);
        return;
    }
    check_children(c, path, own, depth);
}

static void check_enum(struct study_check *c, const char *prefix, const char *field, int v,
                       bool ok) {
    if (!ok) {
        violations_add(c->vs, study_below(prefix, "%s", field).text, "Value %d does not exist.", v);
    }
}

void study_spec_check(const Aip__StudySpec *spec, const char *prefix, struct violations *vs) {
    auto_free struct study_seen *seen = xcalloc(limits.max_study_parameters + 1, sizeof(*seen));
    struct study_check c = {.vs = vs,
                            .spec = spec,
                            .seen = seen,
                            .is_grid = spec->algorithm == AIP__STUDY_SPEC__ALGORITHM__GRID_SEARCH};
    check_enum(&c, prefix, "algorithm", (int)spec->algorithm,
               spec->algorithm == 0 || spec->algorithm == 2 || spec->algorithm == 3);
    check_enum(&c, prefix, "observation_noise", (int)spec->observation_noise,
               (unsigned)spec->observation_noise <= 2);
    check_enum(&c, prefix, "measurement_selection_type", (int)spec->measurement_selection_type,
               (unsigned)spec->measurement_selection_type <= 2);
    check_metrics(&c, prefix);
    if (!spec->n_parameters) {
        violations_add(vs, study_below(prefix, "parameters").text, "Required field is not set.");
    }
    for (size_t i = 0; i < spec->n_parameters; i++) {
        const Aip__StudySpec__ParameterSpec *p = spec->parameters[i];
        struct study_path at = study_below(prefix, "parameters[%zu]", i);
        check_parameter(&c, at.text, &(struct study_seen){p, NULL, NULL}, 0);
    }
    if (c.nr_params > limits.max_study_parameters) {
        limits_hit(&limits.max_study_parameters);
        violations_add(vs, study_below(prefix, "parameters").text,
                       "A study has at most %llu parameters (limit max_study_parameters); the "
                       "request has %zu.",
                       (unsigned long long)limits.max_study_parameters, c.nr_params);
    }
    study_check_stopping(&c, prefix);
}
