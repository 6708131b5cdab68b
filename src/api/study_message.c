#include "api/study_message.h"

#include "pb/wkt.h"

/* ---- StudySpec -> struct study_spec ---- */

/* Since the study began; an end that lies before it has come. */
static usec_t runtime_of(const Aip__StudyTimeConstraint *t, usec_t created) {
    if (!t || t->constraint_case == AIP__STUDY_TIME_CONSTRAINT__CONSTRAINT__NOT_SET) {
        return USEC_NEVER;
    }
    if (t->constraint_case == AIP__STUDY_TIME_CONSTRAINT__CONSTRAINT_MAX_DURATION) {
        return wkt_duration_usec(t->max_duration);
    }
    usec_t end = wkt_timestamp_usec(t->end_time);
    return end == USEC_NEVER ? USEC_NEVER : end > created ? end - created : 0;
}

static uint32_t count_of(const Google__Protobuf__Int32Value *v) {
    return v && v->value > 0 ? (uint32_t)v->value : 0;
}

static void fill_rules(const Aip__StudySpec *spec, usec_t created, struct study_spec *ret) {
    ret->rules = (struct study_rules){
        .min_runtime = USEC_NEVER, .max_runtime = USEC_NEVER, .max_no_progress = USEC_NEVER};
    if (!spec->_study_stopping_config_case) {
        return;
    }
    const Aip__StudySpec__StudyStoppingConfig *f = spec->study_stopping_config;
    ret->stop_asap = f->should_stop_asap && f->should_stop_asap->value;
    ret->rules.min_runtime = runtime_of(f->minimum_runtime_constraint, created);
    ret->rules.max_runtime = runtime_of(f->maximum_runtime_constraint, created);
    ret->rules.min_trials = count_of(f->min_num_trials);
    ret->rules.max_trials = count_of(f->max_num_trials);
    ret->rules.max_trials_no_progress = count_of(f->max_num_trials_no_progress);
    if (f->max_duration_no_progress) {
        ret->rules.max_no_progress = wkt_duration_usec(f->max_duration_no_progress);
    }
}

static int param_index(const struct study_plan *p, const char *id) {
    for (size_t i = 0; id[0] && i < p->study.nr_params; i++) {
        if (strcmp(p->params[i]->parameter_id, id) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static void fill_convex(const struct study_plan *p,
                        const Aip__StudySpec__ConvexAutomatedStoppingSpec *s,
                        struct study_stopping *ret) {
    ret->rule = STUDY_STOP_CONVEX;
    ret->by_time = s->use_elapsed_duration;
    ret->convex = (struct convex_rule){
        .max_t = s->max_step_count > 0 ? (double)s->max_step_count : 0,
        .min_t = s->min_step_count > 0 ? (double)s->min_step_count : -1,
        .min_measurements = s->min_measurement_count > 0 ? (unsigned)s->min_measurement_count : 0};
    ret->rate_param = param_index(p, s->learning_rate_parameter_name);
    ret->update_all = s->_update_all_stopped_trials_case && s->update_all_stopped_trials;
}

static void fill_stopping(const struct study_plan *p, struct study_stopping *ret) {
    const Aip__StudySpec *s = p->spec;
    *ret = (struct study_stopping){.rate_param = -1};
    switch ((int)s->automated_stopping_spec_case) {
    case AIP__STUDY_SPEC__AUTOMATED_STOPPING_SPEC_DECAY_CURVE_STOPPING_SPEC:
        ret->rule = STUDY_STOP_DECAY;
        ret->by_time = s->decay_curve_stopping_spec->use_elapsed_duration;
        break;
    case AIP__STUDY_SPEC__AUTOMATED_STOPPING_SPEC_MEDIAN_AUTOMATED_STOPPING_SPEC:
        ret->rule = STUDY_STOP_MEDIAN;
        ret->by_time = s->median_automated_stopping_spec->use_elapsed_duration;
        break;
    case AIP__STUDY_SPEC__AUTOMATED_STOPPING_SPEC_CONVEX_AUTOMATED_STOPPING_SPEC:
        fill_convex(p, s->convex_automated_stopping_spec, ret);
        break;
    case AIP__STUDY_SPEC__AUTOMATED_STOPPING_SPEC_CONVEX_STOP_CONFIG: /* its older form */
        ret->rule = STUDY_STOP_CONVEX;
        ret->by_time = s->convex_stop_config->use_seconds;
        ret->convex.min_t = -1;
        ret->convex.max_t = (double)s->convex_stop_config->max_num_steps;
        ret->rate_param = param_index(p, s->convex_stop_config->learning_rate_parameter_name);
        break;
    case AIP__STUDY_SPEC__AUTOMATED_STOPPING_SPEC__NOT_SET:
    default:
        break;
    }
}

void study_spec_make(const struct study_plan *p, struct arena *a, usec_t created,
                     struct study_spec *ret) {
    const Aip__StudySpec *s = p->spec;
    const char **ids = arena_own_array(a, s->n_metrics + 1, sizeof(*ids));
    for (size_t i = 0; i < s->n_metrics; i++) {
        ids[i] = s->metrics[i]->metric_id;
    }
    *ret = (struct study_spec){
        .tune = p->study,
        .metric_id = ids,
        .selection = s->measurement_selection_type ==
                             AIP__STUDY_SPEC__MEASUREMENT_SELECTION_TYPE__BEST_MEASUREMENT
                         ? STUDY_BEST
                         : STUDY_LAST};
    fill_rules(s, created, ret);
    fill_stopping(p, &ret->stopping);
}

/* ---- trials -> messages ---- */

Aip__Measurement *study_measurement_message(struct arena *a, const struct study_plan *p,
                                            const struct study_measurement *m) {
    Aip__Measurement *ret = arena_own(a, sizeof(*ret));
    aip__measurement__init(ret);
    ret->step_count = m->step;
    ret->elapsed_duration = wkt_duration(a, m->elapsed);
    ret->metrics = arena_own_array(a, p->study.nr_metrics + 1, sizeof(*ret->metrics));
    for (size_t i = 0; i < p->study.nr_metrics; i++) {
        if (!m->v[i].is_set) {
            continue;
        }
        Aip__Measurement__Metric *q = arena_own(a, sizeof(*q));
        aip__measurement__metric__init(q);
        q->metric_id = p->spec->metrics[i]->metric_id;
        q->value = m->v[i].value;
        ret->metrics[ret->n_metrics++] = q;
    }
    return ret;
}

/* All of them, or so many evenly spread. */
static void put_measurements(struct arena *a, const struct study_plan *p, const struct study *s,
                             const struct study_trial *t, size_t max, Aip__Trial *ret) {
    size_t have = t->nr_measurements, n = have < max ? have : max;
    ret->measurements = arena_own_array(a, n + 1, sizeof(*ret->measurements));
    for (size_t i = 0; i < n; i++) {
        size_t k = n == have || n == 1 ? have - n + i : i * (have - 1) / (n - 1);
        struct study_measurement m = study_trial_measurement(s, t, k);
        ret->measurements[ret->n_measurements++] = study_measurement_message(a, p, &m);
    }
}

static char *copy(struct arena *a, const char *text) {
    struct str s = str_of(text);
    char *ret = arena_own(a, s.n + 1); /* texts of our own making, or bounded where they came in */
    memcpy(ret, s.p, s.n);
    return ret;
}

Aip__Trial *study_trial_message(struct arena *a, const struct study_plan *p, const struct study *s,
                                const struct study_trial *t, size_t measurements_max) {
    Aip__Trial *ret = arena_own(a, sizeof(*ret));
    char id[24];
    aip__trial__init(ret);
    snprintf(id, sizeof(id), "%llu", (unsigned long long)t->id);
    ret->id = copy(a, id);
    ret->state = (Aip__Trial__State)t->state;
    study_setting_to_trial(p, a, t->setting, ret);
    ret->start_time = wkt_timestamp_if_set(a, t->start_time);
    ret->end_time = wkt_timestamp_if_set(a, t->end_time);
    if (t->has_final) {
        ret->final_measurement = study_measurement_message(a, p, &t->final);
    }
    put_measurements(a, p, s, t, measurements_max, ret);
    if (t->client_id) {
        ret->client_id = copy(a, t->client_id);
    }
    if (t->job) {
        ret->custom_job = copy(a, t->job);
    }
    if (t->reason && t->state == STUDY_TRIAL_INFEASIBLE) {
        ret->infeasible_reason = copy(a, t->reason);
    }
    return ret;
}
