/* Study -> tuner: flattening, settings, values. The rules are in spec_study_check.c. */
#include "api/spec_study.h"

#include "base/shortest.h"
#include "ctl/study_context.h"
#include "pb/wkt.h"

#include <math.h>
#include <stdarg.h>

#define SAME 1e-10 /* of discrete values (StudySpec: at least that far apart) */

/* Number of parameters in a tree. */
static size_t count(Aip__StudySpec__ParameterSpec *const *all, size_t n) {
    size_t sum = n;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < all[i]->n_conditional_parameter_specs; k++) {
            sum += count(&all[i]->conditional_parameter_specs[k]->parameter_spec, 1);
        }
    }
    return sum;
}

static size_t category_of(const Aip__StudySpec__ParameterSpec *p, const char *value) {
    const Aip__StudySpec__ParameterSpec__CategoricalValueSpec *c = p->categorical_value_spec;
    size_t i = 0;
    while (i < c->n_values && strcmp(c->values[i], value) != 0) {
        i++;
    }
    return i;
}

/* "It automatically rounds to the nearest feasible discrete point" (study.proto). */
static double nearest(const Aip__StudySpec__ParameterSpec__DiscreteValueSpec *d) {
    size_t best = 0;
    for (size_t i = 1; i < d->n_values; i++) {
        if (fabs(d->values[i] - d->default_value) < fabs(d->values[best] - d->default_value)) {
            best = i;
        }
    }
    return d->values[best];
}

static void fill_type(const Aip__StudySpec__ParameterSpec *p, struct tune_param *t) {
    t->scale = (enum tune_scale)(
        p->scale_type == AIP__STUDY_SPEC__PARAMETER_SPEC__SCALE_TYPE__UNIT_LOG_SCALE ? TUNE_LOG
        : p->scale_type == AIP__STUDY_SPEC__PARAMETER_SPEC__SCALE_TYPE__UNIT_REVERSE_LOG_SCALE
            ? TUNE_REVERSE_LOG
            : TUNE_LINEAR);
    switch ((int)p->parameter_value_spec_case) {
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_DOUBLE_VALUE_SPEC:
        t->type = TUNE_DOUBLE;
        t->lo = p->double_value_spec->min_value;
        t->hi = p->double_value_spec->max_value;
        t->has_default = p->double_value_spec->_default_value_case;
        t->default_value = t->has_default ? p->double_value_spec->default_value : 0;
        break;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_INTEGER_VALUE_SPEC:
        t->type = TUNE_INTEGER;
        t->lo = (double)p->integer_value_spec->min_value;
        t->hi = (double)p->integer_value_spec->max_value;
        t->has_default = p->integer_value_spec->_default_value_case;
        t->default_value = t->has_default ? (double)p->integer_value_spec->default_value : 0;
        break;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_DISCRETE_VALUE_SPEC:
        t->type = TUNE_DISCRETE;
        t->values = p->discrete_value_spec->values;
        t->nr_values = p->discrete_value_spec->n_values;
        t->has_default = p->discrete_value_spec->_default_value_case;
        t->default_value = t->has_default ? nearest(p->discrete_value_spec) : 0;
        break;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC_CATEGORICAL_VALUE_SPEC:
        t->type = TUNE_CATEGORICAL;
        t->scale = TUNE_LINEAR;
        t->nr_values = p->categorical_value_spec->n_values;
        t->has_default = p->categorical_value_spec->_default_value_case;
        t->default_value =
            t->has_default ? (double)category_of(p, p->categorical_value_spec->default_value) : 0;
        break;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__PARAMETER_VALUE_SPEC__NOT_SET:
    default:
        CHECK(false); /* the spec was checked */
    }
}

static void fill_condition(struct arena *a, const Aip__StudySpec__ParameterSpec *parent,
                           const Aip__StudySpec__ParameterSpec__ConditionalParameterSpec *c,
                           struct tune_param *t) {
    size_t n = 0;
    double *when = NULL;
    switch ((int)c->parent_value_condition_case) {
    case AIP__STUDY_SPEC__PARAMETER_SPEC__CONDITIONAL_PARAMETER_SPEC__PARENT_VALUE_CONDITION_PARENT_DISCRETE_VALUES:
        n = c->parent_discrete_values->n_values;
        when = c->parent_discrete_values->values;
        break;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__CONDITIONAL_PARAMETER_SPEC__PARENT_VALUE_CONDITION_PARENT_INT_VALUES:
        n = c->parent_int_values->n_values;
        when = arena_own_array(a, n, sizeof(*when));
        for (size_t i = 0; i < n; i++) {
            when[i] = (double)c->parent_int_values->values[i];
        }
        break;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__CONDITIONAL_PARAMETER_SPEC__PARENT_VALUE_CONDITION_PARENT_CATEGORICAL_VALUES:
        n = c->parent_categorical_values->n_values;
        when = arena_own_array(a, n, sizeof(*when));
        for (size_t i = 0; i < n; i++) {
            when[i] = (double)category_of(parent, c->parent_categorical_values->values[i]);
        }
        break;
    case AIP__STUDY_SPEC__PARAMETER_SPEC__CONDITIONAL_PARAMETER_SPEC__PARENT_VALUE_CONDITION__NOT_SET:
    default:
        CHECK(false);
    }
    t->when = when;
    t->nr_when = n;
}

static void flatten(struct study_plan *p, struct arena *a, struct tune_param *params,
                    const Aip__StudySpec__ParameterSpec *spec, int parent,
                    const Aip__StudySpec__ParameterSpec__ConditionalParameterSpec *condition) {
    size_t at = p->study.nr_params++;
    struct tune_param *t = &params[at];
    p->params[at] = spec;
    fill_type(spec, t);
    t->parent = parent;
    if (parent >= 0) {
        fill_condition(a, p->params[parent], condition, t);
    }
    for (size_t k = 0; k < spec->n_conditional_parameter_specs; k++) {
        const Aip__StudySpec__ParameterSpec__ConditionalParameterSpec *c =
            spec->conditional_parameter_specs[k];
        flatten(p, a, params, c->parameter_spec, (int)at, c);
    }
}

void study_plan_init(struct study_plan *p, struct arena *a, const Aip__StudySpec *spec,
                     uint64_t seed) {
    size_t n = count(spec->parameters, spec->n_parameters);
    struct tune_param *params = arena_own_array(a, n + 1, sizeof(*params));
    struct tune_metric *metrics = arena_own_array(a, spec->n_metrics + 1, sizeof(*metrics));
    *p = (struct study_plan){.spec = spec};
    p->params = arena_own_array(a, n + 1, sizeof(*p->params));
    for (size_t i = 0; i < spec->n_parameters; i++) {
        flatten(p, a, params, spec->parameters[i], -1, NULL);
    }
    for (size_t i = 0; i < spec->n_metrics; i++) {
        const Aip__StudySpec__MetricSpec *m = spec->metrics[i];
        metrics[i].minimize = m->goal == AIP__STUDY_SPEC__METRIC_SPEC__GOAL_TYPE__MINIMIZE;
        if (m->_safety_config_case) {
            const Aip__StudySpec__MetricSpec__SafetyMetricConfig *s = m->safety_config;
            metrics[i].is_safety = true;
            metrics[i].threshold = s->safety_threshold;
            metrics[i].min_safe_fraction =
                s->_desired_min_safe_trials_fraction_case ? s->desired_min_safe_trials_fraction : 0;
        }
    }
    p->study.params = params;
    p->study.metrics = metrics;
    p->study.nr_metrics = spec->n_metrics;
    p->study.seed = seed;
    p->study.noise = spec->observation_noise == AIP__STUDY_SPEC__OBSERVATION_NOISE__HIGH
                         ? TUNE_NOISE_HIGH
                     : spec->observation_noise == AIP__STUDY_SPEC__OBSERVATION_NOISE__LOW
                         ? TUNE_NOISE_LOW
                         : TUNE_NOISE_UNSPECIFIED;
    p->study.algorithm = spec->algorithm == AIP__STUDY_SPEC__ALGORITHM__GRID_SEARCH ? TUNE_GRID
                         : spec->algorithm == AIP__STUDY_SPEC__ALGORITHM__RANDOM_SEARCH
                             ? TUNE_RANDOM
                             : TUNE_BAYES;
}

void study_setting_to_trial(const struct study_plan *p, struct arena *a, const double *setting,
                            Aip__Trial *trial) {
    size_t n = p->study.nr_params;
    trial->parameters = arena_own_array(a, n + 1, sizeof(*trial->parameters));
    trial->n_parameters = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(setting[i])) {
            continue;
        }
        Aip__Trial__Parameter *q = arena_own(a, sizeof(*q));
        aip__trial__parameter__init(q);
        q->parameter_id = p->params[i]->parameter_id;
        q->value = arena_own(a, sizeof(*q->value));
        google__protobuf__value__init(q->value);
        if (p->study.params[i].type == TUNE_CATEGORICAL) {
            q->value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
            q->value->string_value =
                p->params[i]->categorical_value_spec->values[(size_t)setting[i]];
        } else {
            q->value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
            q->value->number_value = setting[i];
        }
        trial->parameters[trial->n_parameters++] = q;
    }
}

/* ---- trials made by clients ---- */

static bool is_active(const struct study_plan *p, size_t i, const double *setting) {
    const struct tune_param *t = &p->study.params[i];
    for (size_t k = 0; t->parent >= 0 && k < t->nr_when; k++) {
        if (fabs(t->when[k] - setting[t->parent]) <= SAME) {
            return true; /* NAN, an inactive parent, is near nothing */
        }
    }
    return t->parent < 0;
}

static void say_value(const struct study_plan *p, size_t i, const char *field, size_t k,
                      struct violations *vs, const char *fmt, ...) PRINTF_LIKE(6, 7);
static void say_value(const struct study_plan *p, size_t i, const char *field, size_t k,
                      struct violations *vs, const char *fmt, ...) {
    char at[160], why[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    snprintf(at, sizeof(at), "%.80s.parameters[%zu].value", field, k);
    violations_add(vs, at, "Parameter \"%.80s\": %s", p->params[i]->parameter_id, why);
}

static const char *kind_of(const Google__Protobuf__Value *v) {
    switch (v ? (int)v->kind_case : (int)GOOGLE__PROTOBUF__VALUE__KIND__NOT_SET) {
    case GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE:
        return "null";
    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        return "a number";
    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        return "a string";
    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:
        return "a boolean";
    case GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE:
        return "an object";
    case GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE:
        return "a list";
    case GOOGLE__PROTOBUF__VALUE__KIND__NOT_SET:
    default:
        return "nothing";
    }
}

static bool read_category(const struct study_plan *p, size_t i, const Google__Protobuf__Value *v,
                          const char *field, size_t k, double *ret, struct violations *vs) {
    if (!v || v->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE) {
        say_value(p, i, field, k, vs,
                  "A categorical parameter takes one of its values as a string; the request has "
                  "%s.",
                  kind_of(v));
        return false;
    }
    size_t c = category_of(p->params[i], v->string_value);
    *ret = (double)c;
    if (c == p->study.params[i].nr_values) {
        say_value(p, i, field, k, vs, "\"%.80s\" is none of its values.", v->string_value);
        return false;
    }
    return true;
}

bool study_value_read(const struct study_plan *p, size_t i, const Google__Protobuf__Value *v,
                      const char *field, size_t k, double *ret, struct violations *vs) {
    const struct tune_param *t = &p->study.params[i];
    if (t->type == TUNE_CATEGORICAL) {
        return read_category(p, i, v, field, k, ret, vs);
    }
    if (!v || v->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE) {
        say_value(p, i, field, k, vs, "It takes a finite number; the request has %s.", kind_of(v));
        return false;
    }
    double x = v->number_value;
    struct number_text text = number_text(x);
    *ret = x;
    if (!isfinite(x)) {
        say_value(p, i, field, k, vs, "It takes a finite number; the request has %s.", text.text);
        return false;
    }
    for (size_t q = 0; t->type == TUNE_DISCRETE && q < t->nr_values; q++) {
        if (fabs(t->values[q] - x) <= SAME) {
            *ret = t->values[q];
            return true;
        }
    }
    if (t->type == TUNE_DISCRETE) {
        say_value(p, i, field, k, vs, "%s is none of its values.", text.text);
    } else if (x < t->lo || x > t->hi) {
        say_value(p, i, field, k, vs, "%s lies outside of its bounds, %s and %s.", text.text,
                  number_text(t->lo).text, number_text(t->hi).text);
    } else if (t->type == TUNE_INTEGER && x != floor(x)) {
        say_value(p, i, field, k, vs, "It takes whole numbers; the request has %s.", text.text);
    } else {
        return true;
    }
    return false;
}

/* ---- some parameters of a trial ---- */

struct some {
    const struct study_plan *p;
    Aip__Trial__Parameter *const *in;
    size_t n;
    const char *prefix;
    double *setting;
    struct violations *vs;
    bool *used; /* by place in `in` */
};

static size_t place_of(const struct some *x, const char *id) {
    size_t k = 0;
    while (k < x->n && strcmp(x->in[k]->parameter_id, id) != 0) {
        k++;
    }
    return k;
}

/* False when its parent has another value, or is not active itself. Where nothing is known of the
 * parent it may be. */
static bool may_be_active(const struct some *x, size_t j) {
    int up = x->p->study.params[j].parent;
    return up < 0 || is_active(x->p, j, x->setting) ||
           (isnan(x->setting[up]) && may_be_active(x, (size_t)up));
}

/* Takes what fits, parents first; quietly, the next of the same id may be meant. */
static void take_some(struct some *x) {
    for (size_t j = 0; j < x->p->study.nr_params; j++) {
        size_t k = place_of(x, x->p->params[j]->parameter_id), was = x->vs->n;
        if (k < x->n && !x->used[k] && may_be_active(x, j)) {
            x->used[k] =
                study_value_read(x->p, j, x->in[k]->value, x->prefix, k, &x->setting[j], x->vs);
            x->setting[j] = x->used[k] ? x->setting[j] : NAN;
            x->vs->n = was;
        }
    }
}

/* What is wrong with the k-th, which nobody took. */
static void say_unused(struct some *x, size_t k) {
    const char *id = x->in[k]->parameter_id;
    size_t named = x->p->study.nr_params;
    double ignored;
    char at[160];
    for (size_t j = x->p->study.nr_params; j-- > 0;) {
        if (strcmp(x->p->params[j]->parameter_id, id) == 0 &&
            (named == x->p->study.nr_params || may_be_active(x, j))) {
            named = j;
        }
    }
    snprintf(at, sizeof(at), "%.80s.parameters[%zu].parameter_id", x->prefix, k);
    if (named == x->p->study.nr_params) {
        violations_add(x->vs, at, "\"%.80s\" is no parameter of the study.", id);
    } else if (place_of(x, id) != k) {
        violations_add(x->vs, at, "\"%.80s\" is given twice.", id);
    } else if (!may_be_active(x, named)) {
        violations_add(x->vs, at, "\"%.80s\" is not active with the value of \"%.80s\".", id,
                       x->p->params[x->p->study.params[named].parent]->parameter_id);
    } else {
        (void)study_value_read(x->p, named, x->in[k]->value, x->prefix, k, &ignored, x->vs);
    }
}

int study_some_from_trial(const struct study_plan *p, Aip__Trial__Parameter *const *in, size_t n,
                          const char *prefix, double *setting, struct violations *vs) {
    auto_free bool *used = xcalloc(n + 1, sizeof(*used));
    struct some x = {p, in, n, prefix, setting, vs, used};
    size_t was = vs->n;
    char at[160];
    for (size_t j = 0; j < p->study.nr_params; j++) {
        setting[j] = NAN;
    }
    take_some(&x);
    for (size_t k = 0; k < n; k++) {
        if (!used[k]) {
            say_unused(&x, k);
        }
    }
    size_t j = vs->n == was ? study_context_conflict(&p->study, setting) : p->study.nr_params;
    if (j < p->study.nr_params) {
        snprintf(at, sizeof(at), "%.80s.parameters", prefix);
        violations_add(vs, at,
                       "The parameters below \"%.80s\" that are given need different values of "
                       "it, so they cannot be in one trial.",
                       p->params[j]->parameter_id);
    }
    return vs->n == was ? 0 : -1;
}

/* ---- all parameters of a trial ---- */

int study_setting_from_trial(const struct study_plan *p, const Aip__Trial *trial,
                             const char *prefix, double *setting, struct violations *vs) {
    size_t was = vs->n;
    bool used[1024] = {0};
    char at[160];
    for (size_t i = 0; i < p->study.nr_params; i++) {
        setting[i] = NAN;
        if (!is_active(p, i, setting)) {
            continue;
        }
        const char *id = p->params[i]->parameter_id;
        size_t k = 0;
        while (k < trial->n_parameters && strcmp(trial->parameters[k]->parameter_id, id) != 0) {
            k++;
        }
        if (k == trial->n_parameters) {
            snprintf(at, sizeof(at), "%s.parameters", prefix);
            violations_add(vs, at, "Parameter \"%.80s\" is not given.", id);
            continue;
        }
        if (k < NR_OF(used)) {
            used[k] = true;
        }
        if (!study_value_read(p, i, trial->parameters[k]->value, prefix, k, &setting[i], vs)) {
            setting[i] = NAN;
        }
    }
    for (size_t k = 0; k < trial->n_parameters && vs->n == was; k++) {
        if (k >= NR_OF(used) || !used[k]) {
            snprintf(at, sizeof(at), "%s.parameters[%zu].parameter_id", prefix, k);
            violations_add(vs, at,
                           "\"%.80s\" is no parameter of the study that is active in this trial, "
                           "or is given twice.",
                           trial->parameters[k]->parameter_id);
        }
    }
    return vs->n == was ? 0 : -1;
}

const char *study_value_text(struct arena *a, const Aip__Trial__Parameter *p) {
    const Google__Protobuf__Value *v = p->value;
    if (v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE) {
        return v->string_value;
    }
    double x = v->number_value;
    char text[SHORTEST_TEXT_MAX];
    size_t n = shortest_text(x == 0 ? 0 : x, text); /* "0", never "-0" */
    return arena_strndup(a, text, n);
}
