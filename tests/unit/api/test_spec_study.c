/* StudySpec: rules, flattening, settings (reference 04 §3, §5). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "api/spec_study.h"
#include "api/spec_tuning.h"
#include "base/limits.h"
#include "base/mem.h"
#include "pb/pb.h"

#include <math.h>

static const ProtobufCMessage *message(struct arena *a, const ProtobufCMessageDescriptor *d,
                                       const char *json) {
    ProtobufCMessage *m;
    struct violations vs;
    struct err err;
    violations_init(&vs, a);
    if (pb_from_json(a, d, PB_V1, str_of(json), NULL, &m, &vs, &err)) {
        fail_msg("%s: %s", json, vs.n ? vs.v[0].description.p : err.msg);
    }
    return m;
}

static const Aip__StudySpec *parse(struct arena *a, const char *json) {
    return (const Aip__StudySpec *)message(a, &aip__study_spec__descriptor, json);
}

/* parameters: a JSON array. */
static const Aip__Trial *trial_with(struct arena *a, const char *parameters) {
    const char *json = arena_printf(a, "{\"parameters\":%s}", parameters);
    return (const Aip__Trial *)message(a, &aip__trial__descriptor, json);
}

#define METRIC "\"metrics\":[{\"metricId\":\"loss\",\"goal\":\"MINIMIZE\"}]"
#define LR "{\"parameterId\":\"lr\",\"doubleValueSpec\":{\"minValue\":1e-5,\"maxValue\":0.1}}"
#define STUDY(parameters) "{" METRIC ",\"parameters\":[" parameters "]}"
#define CATEGORY(rest)                                                                             \
    "{\"parameterId\":\"opt\",\"categoricalValueSpec\":{\"values\":[\"sgd\",\"adam\"]}" rest "}"
#define CHILD(id, condition)                                                                       \
    "{" condition ",\"parameterSpec\":{\"parameterId\":\"" id                                      \
    "\",\"integerValueSpec\":{\"minValue\":1,\"maxValue\":9}}}"
#define WHEN(values) "\"parentCategoricalValues\":{\"values\":[" values "]}"

static const struct {
    const char *json, *field, *text;
} mistakes[] = {
    {"{\"parameters\":[" LR "]}", "study_spec.metrics", "Required"},
    {"{" METRIC "}", "study_spec.parameters", "Required"},
    {"{\"metrics\":[{\"metricId\":\"a\"},{\"metricId\":\"a\"}],\"parameters\":[" LR "]}",
     "study_spec.metrics[1].metric_id", "twice"},
    {"{\"metrics\":[{\"metricId\":\"a b\"}],\"parameters\":[" LR "]}",
     "study_spec.metrics[0].metric_id", "white space"},
    {"{\"metrics\":[{\"metricId\":\"a\",\"safetyConfig\":{\"safetyThreshold\":1}}],\"parameters\":"
     "[" LR "]}",
     "study_spec.metrics", "objective"},
    {"{\"metrics\":[{\"metricId\":\"b\"},{\"metricId\":\"a\",\"safetyConfig\":{"
     "\"desiredMinSafeTrialsFraction\":1.5}}],\"parameters\":[" LR "]}",
     "study_spec.metrics[1].safety_config.desired_min_safe_trials_fraction", "1.5"},
    {STUDY("{\"parameterId\":\"x\"}"), "study_spec.parameters[0]", "One of"},
    {STUDY("{\"doubleValueSpec\":{\"maxValue\":1}}"), "study_spec.parameters[0].parameter_id",
     "Required"},
    {STUDY(LR "," LR), "study_spec.parameters[1].parameter_id", "twice"},
    {STUDY("{\"parameterId\":\"x\",\"doubleValueSpec\":{\"minValue\":2,\"maxValue\":1}}"),
     "study_spec.parameters[0].double_value_spec", "larger than"},
    {STUDY("{\"parameterId\":\"x\",\"doubleValueSpec\":{\"minValue\":\"NaN\",\"maxValue\":1}}"),
     "study_spec.parameters[0].double_value_spec", "finite"},
    {STUDY("{\"parameterId\":\"x\",\"doubleValueSpec\":{\"maxValue\":1,\"defaultValue\":3}}"),
     "study_spec.parameters[0].double_value_spec.default_value", "none of"},
    {STUDY("{\"parameterId\":\"x\",\"scaleType\":\"UNIT_LOG_SCALE\",\"doubleValueSpec\":{"
           "\"minValue\":0,\"maxValue\":1}}"),
     "study_spec.parameters[0].scale_type", "larger than 0"},
    {STUDY("{\"parameterId\":\"x\",\"scaleType\":\"UNIT_REVERSE_LOG_SCALE\",\"discreteValueSpec\":{"
           "\"values\":[0,1]}}"),
     "study_spec.parameters[0].scale_type", "larger than 0"},
    {STUDY("{\"parameterId\":\"x\",\"integerValueSpec\":{\"minValue\":\"9\",\"maxValue\":\"3\"}}"),
     "study_spec.parameters[0].integer_value_spec", "larger than"},
    {STUDY("{\"parameterId\":\"x\",\"integerValueSpec\":{\"maxValue\":\"9007199254740993\"}}"),
     "study_spec.parameters[0].integer_value_spec", "2^53"},
    {STUDY("{\"parameterId\":\"x\",\"categoricalValueSpec\":{}}"),
     "study_spec.parameters[0].categorical_value_spec.values", "At least one"},
    {STUDY("{\"parameterId\":\"x\",\"categoricalValueSpec\":{\"values\":[\"a\",\"a\"]}}"),
     "study_spec.parameters[0].categorical_value_spec.values", "twice"},
    {STUDY("{\"parameterId\":\"x\",\"scaleType\":1,\"categoricalValueSpec\":{\"values\":[\"a\"]}}"),
     "study_spec.parameters[0].scale_type", "no scale"},
    {STUDY("{\"parameterId\":\"x\",\"discreteValueSpec\":{}}"),
     "study_spec.parameters[0].discrete_value_spec.values", "At least one"},
    {STUDY("{\"parameterId\":\"x\",\"discreteValueSpec\":{\"values\":[2,1]}}"),
     "study_spec.parameters[0].discrete_value_spec.values", "1 follows 2"},
    {STUDY("{\"parameterId\":\"x\",\"discreteValueSpec\":{\"values\":[1,1]}}"),
     "study_spec.parameters[0].discrete_value_spec.values", "increase"},
    {"{\"algorithm\":\"GRID_SEARCH\"," METRIC ",\"parameters\":[" LR "]}",
     "study_spec.parameters[0].double_value_spec", "GRID_SEARCH"},
    {"{\"algorithm\":1," METRIC ",\"parameters\":[" LR "]}", "study_spec.algorithm",
     "does not exist"},
    {STUDY(CATEGORY(",\"conditionalParameterSpecs\":[" CHILD(
         "k", "\"parentIntValues\":{\"values\":[1]}") "]")),
     "study_spec.parameters[0].conditional_parameter_specs[0]", "parent_categorical_values"},
    {STUDY(CATEGORY(",\"conditionalParameterSpecs\":[" CHILD("k", WHEN("\"rmsprop\"")) "]")),
     "study_spec.parameters[0].conditional_parameter_specs[0].parent_categorical_values.values",
     "none of"},
    {STUDY(CATEGORY(",\"conditionalParameterSpecs\":[" CHILD("k", WHEN("")) "]")),
     "study_spec.parameters[0].conditional_parameter_specs[0].parent_categorical_values.values",
     "At least one"},
    {STUDY(CATEGORY(",\"conditionalParameterSpecs\":[{" WHEN("\"sgd\"") "}]")),
     "study_spec.parameters[0].conditional_parameter_specs[0].parameter_spec", "Required"},
    {STUDY(CATEGORY(",\"conditionalParameterSpecs\":[" CHILD("k", WHEN("\"sgd\"")) "," CHILD(
         "k", WHEN("\"adam\",\"sgd\"")) "]")),
     "study_spec.parameters[0].conditional_parameter_specs[1]", "same value"},
    {STUDY(CATEGORY(",\"conditionalParameterSpecs\":[" CHILD("opt", WHEN("\"sgd\"")) "]")),
     "study_spec.parameters[0].conditional_parameter_specs[0].parameter_spec.parameter_id",
     "twice"},
    {"{\"convexAutomatedStoppingSpec\":{\"learningRateParameterName\":\"eta\"}," METRIC
     ",\"parameters\":[" LR "]}",
     "study_spec.convex_automated_stopping_spec.learning_rate_parameter_name", "eta"},
    {"{\"medianAutomatedStoppingSpec\":{},\"metrics\":[{\"metricId\":\"a\"},{\"metricId\":\"b\"}],"
     "\"parameters\":[" LR "]}",
     "study_spec", "one objective"},
    {"{\"studyStoppingConfig\":{\"minNumTrials\":5,\"maxNumTrials\":2}," METRIC
     ",\"parameters\":[" LR "]}",
     "study_spec.study_stopping_config.min_num_trials", "larger than"},
    {"{\"studyStoppingConfig\":{\"maximumRuntimeConstraint\":{}}," METRIC ",\"parameters\":[" LR
     "]}",
     "study_spec.study_stopping_config.maximum_runtime_constraint", "One of"},
};

static void test_every_mistake_is_named(void **state) {
    for (size_t i = 0; i < NR_OF(mistakes); i++) {
        struct arena *a = arena_new(1 << 20);
        struct violations vs;
        violations_init(&vs, a);
        study_spec_check(parse(a, mistakes[i].json), "study_spec", &vs);
        if (vs.n != 1 || !str_eqc(vs.v[0].field, mistakes[i].field) ||
            !strstr(vs.v[0].description.p, mistakes[i].text)) {
            fail_msg("%s: %zu violations, first %s: %s", mistakes[i].json, vs.n,
                     vs.n ? vs.v[0].field.p : "none", vs.n ? vs.v[0].description.p : "");
        }
        arena_free(a);
    }
}

#define GOOD                                                                                       \
    "{" METRIC ",\"parameters\":[" LR                                                              \
    "," CATEGORY(",\"conditionalParameterSpecs\":[" CHILD("k", WHEN("\"sgd\"")) "," CHILD(         \
        "k", WHEN("\"adam\"")) "]") ",{\"parameterId\":\"b\",\"discreteValueSpec\":{"              \
                                    "\"values\":[16,32.5]}}]}"

static void test_a_tree_is_flat_for_the_tuner(void **state) {
    struct arena *a = arena_new(1 << 20);
    struct violations vs;
    violations_init(&vs, a);
    const Aip__StudySpec *spec = parse(a, GOOD);
    study_spec_check(spec, "study_spec", &vs);
    assert_int_equal(vs.n, 0);
    struct study_plan p;
    study_plan_init(&p, a, spec, 5);
    assert_int_equal(p.study.nr_params, 5);
    assert_int_equal(p.study.params[2].parent, 1);
    assert_true(p.study.params[3].when[0] == 1);
    assert_true(p.study.metrics[0].minimize);
    struct err err;
    struct tuner *t = tuner_new(&p.study, &err);
    assert_non_null(t);
    for (uint64_t i = 0; i < 5; i++) { /* what it suggests is a trial, and reads back */
        double v[5], again[5];
        assert_int_equal(tuner_suggest(t, NULL, 0, i, 1, v), 1);
        Aip__Trial trial = AIP__TRIAL__INIT;
        study_setting_to_trial(&p, a, v, &trial);
        assert_int_equal(trial.n_parameters, 4);
        assert_int_equal(study_setting_from_trial(&p, &trial, "trial", again, &vs), 0);
        for (size_t k = 0; k < 5; k++) {
            assert_true(v[k] == again[k] || (isnan(v[k]) && isnan(again[k])));
        }
    }
    tuner_free(t);
    arena_free(a);
}

static void test_trials_of_clients_are_checked(void **state) {
    static const struct {
        const char *json, *field, *text;
    } bad[] = {
        {"[{\"parameterId\":\"lr\",\"value\":0.01},{\"parameterId\":\"opt\",\"value\":\"sgd\"},"
         "{\"parameterId\":\"k\",\"value\":3}]",
         "trial.parameters", "\"b\" is not given"},
        {"[{\"parameterId\":\"lr\",\"value\":5},{\"parameterId\":\"opt\",\"value\":\"sgd\"},"
         "{\"parameterId\":\"k\",\"value\":3},{\"parameterId\":\"b\",\"value\":16}]",
         "trial.parameters[0].value", "outside"},
        {"[{\"parameterId\":\"lr\",\"value\":0.01},{\"parameterId\":\"opt\",\"value\":\"sgd\"},"
         "{\"parameterId\":\"k\",\"value\":3.5},{\"parameterId\":\"b\",\"value\":16}]",
         "trial.parameters[2].value", "whole"},
        {"[{\"parameterId\":\"lr\",\"value\":0.01},{\"parameterId\":\"opt\",\"value\":\"x\"},"
         "{\"parameterId\":\"b\",\"value\":16}]",
         "trial.parameters[1].value", "none of"},
        {"[{\"parameterId\":\"lr\",\"value\":0.01},{\"parameterId\":\"opt\",\"value\":\"sgd\"},"
         "{\"parameterId\":\"k\",\"value\":3},{\"parameterId\":\"b\",\"value\":17}]",
         "trial.parameters[3].value", "none of"},
        {"[{\"parameterId\":\"lr\",\"value\":0.01},{\"parameterId\":\"opt\",\"value\":\"sgd\"},"
         "{\"parameterId\":\"k\",\"value\":3},{\"parameterId\":\"b\",\"value\":16},"
         "{\"parameterId\":\"z\",\"value\":1}]",
         "trial.parameters[4].parameter_id", "no parameter"},
    };
    for (size_t i = 0; i < NR_OF(bad); i++) {
        struct arena *a = arena_new(1 << 20);
        struct violations vs;
        struct study_plan p;
        double v[5];
        violations_init(&vs, a);
        study_plan_init(&p, a, parse(a, GOOD), 0);
        const Aip__Trial *t = trial_with(a, bad[i].json);
        assert_int_equal(study_setting_from_trial(&p, t, "trial", v, &vs), -1);
        if (!str_eqc(vs.v[0].field, bad[i].field) || !strstr(vs.v[0].description.p, bad[i].text)) {
            fail_msg("%zu: %s: %s", i, vs.v[0].field.p, vs.v[0].description.p);
        }
        arena_free(a);
    }
}

/* Of two parameters of one name the one that can be meant; what is left out is open. */
static void test_some_parameters_of_a_trial(void **state) {
    static const struct {
        const char *json;
        double sgd_k, adam_k; /* NAN: not given */
    } some[] = {
        {"[]", NAN, NAN},
        {"[{\"parameterId\":\"opt\",\"value\":\"adam\"},{\"parameterId\":\"k\",\"value\":3}]", NAN,
         3},
        {"[{\"parameterId\":\"k\",\"value\":3},{\"parameterId\":\"opt\",\"value\":\"sgd\"}]", 3,
         NAN},
        {"[{\"parameterId\":\"k\",\"value\":3}]", 3, NAN},
    };
    for (size_t i = 0; i < NR_OF(some); i++) {
        struct arena *a = arena_new(1 << 20);
        struct violations vs;
        struct study_plan p;
        double v[5];
        violations_init(&vs, a);
        study_plan_init(&p, a, parse(a, GOOD), 0);
        const Aip__Trial *t = trial_with(a, some[i].json);
        assert_int_equal(study_some_from_trial(&p, t->parameters, t->n_parameters, "t", v, &vs), 0);
        assert_true(isnan(v[0]) && isnan(v[4]));
        assert_true(v[2] == some[i].sgd_k || (isnan(v[2]) && isnan(some[i].sgd_k)));
        assert_true(v[3] == some[i].adam_k || (isnan(v[3]) && isnan(some[i].adam_k)));
        arena_free(a);
    }
}

static void test_a_discrete_default_is_the_nearest_value(void **state) {
    struct arena *a = arena_new(1 << 20);
    struct violations vs;
    struct study_plan p;
    violations_init(&vs, a);
    const Aip__StudySpec *spec =
        parse(a, "{" METRIC ",\"parameters\":[{\"parameterId\":\"b\",\"discreteValueSpec\":{"
                 "\"values\":[1,2,4],\"defaultValue\":2.9}}]}");
    study_spec_check(spec, "study_spec", &vs);
    assert_int_equal(vs.n, 0);
    study_plan_init(&p, a, spec, 5);
    assert_true(p.study.params[0].has_default && p.study.params[0].default_value == 2);
    arena_free(a);
}

static void test_values_as_arguments(void **state) {
    static const struct {
        double v;
        const char *text;
    } all[] = {{16, "16"},
               {-3, "-3"},
               {0.1, "0.1"},
               {1e-5, "1e-05"},
               {-0.0, "0"},
               {1.0 / 3, "0.3333333333333333"},
               {123456789012, "123456789012"},
               {1e300, "1e+300"}};
    struct arena *a = arena_new(1 << 16);
    for (size_t i = 0; i < NR_OF(all); i++) {
        Google__Protobuf__Value v = GOOGLE__PROTOBUF__VALUE__INIT;
        v.kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
        v.number_value = all[i].v;
        Aip__Trial__Parameter p = AIP__TRIAL__PARAMETER__INIT;
        p.value = &v;
        assert_string_equal(study_value_text(a, &p), all[i].text);
    }
    arena_free(a);
}

/* ---- the tuning job around the study ---- */

#define POOL(machine)                                                                              \
    "\"trialJobSpec\":{\"workerPoolSpecs\":[{\"replicaCount\":1,\"machineSpec\":{" machine         \
    "},\"containerSpec\":{\"imageUri\":\"i\"}}]}"
#define N1 "\"machineType\":\"n1-standard-4\""
#define JOB(counts) "{\"displayName\":\"d\",\"studySpec\":" STUDY(LR) "," POOL(N1) counts "}"

static void check_job(struct arena *a, const char *json, struct violations *vs) {
    ProtobufCMessage *m;
    struct err err;
    violations_init(vs, a);
    assert_int_equal(pb_from_json(a, &aip__hyperparameter_tuning_job__descriptor, PB_V1,
                                  str_of(json), NULL, &m, vs, &err),
                     0);
    tuning_job_check((const Aip__HyperparameterTuningJob *)m, vs);
}

static void test_every_mistake_of_a_tuning_job_is_named(void **state) {
    static const struct {
        const char *json, *field, *text;
    } bad[] = {
        {JOB(",\"parallelTrialCount\":1"), "max_trial_count", "the request has 0"},
        {JOB(",\"maxTrialCount\":-3,\"parallelTrialCount\":1"), "max_trial_count", "has -3"},
        {JOB(",\"maxTrialCount\":8"), "parallel_trial_count", "the request has 0"},
        {JOB(",\"maxTrialCount\":8,\"parallelTrialCount\":1,\"maxFailedTrialCount\":9"),
         "max_failed_trial_count", "9 is larger than max_trial_count 8"},
        {JOB(",\"maxTrialCount\":8,\"parallelTrialCount\":1,\"maxFailedTrialCount\":-1"),
         "max_failed_trial_count", "has -1"},
        {"{\"displayName\":\"d\",\"maxTrialCount\":1,\"parallelTrialCount\":1," POOL(N1) "}",
         "study_spec", "Required"},
        {"{\"displayName\":\"d\",\"maxTrialCount\":1,\"parallelTrialCount\":1,\"studySpec\":" STUDY(
             LR) "}",
         "trial_job_spec", "Required"},
        {"{\"maxTrialCount\":1,\"parallelTrialCount\":1,\"studySpec\":" STUDY(LR) "," POOL(N1) "}",
         "display_name", "Required"},
        {"{\"displayName\":\"d\",\"maxTrialCount\":1,\"parallelTrialCount\":1,\"studySpec\":" STUDY(
             LR) "," POOL("\"machineType\":\"ct5lp-hightpu-1t\"") "}",
         "trial_job_spec.worker_pool_specs[0].machine_spec", "TPUs"},
    };
    for (size_t i = 0; i < NR_OF(bad); i++) {
        auto_arena struct arena *a = arena_new(1 << 20);
        struct violations vs;
        check_job(a, bad[i].json, &vs);
        if (vs.n != 1 || !str_eqc(vs.v[0].field, bad[i].field) ||
            !strstr(vs.v[0].description.p, bad[i].text)) {
            fail_msg("%zu: %zu, %s: %s", i, vs.n, vs.n ? vs.v[0].field.p : "",
                     vs.n ? vs.v[0].description.p : "");
        }
    }
}

static void test_the_largest_tuning_job(void **state) {
    for (int more = 0; more < 2; more++) {
        auto_arena struct arena *a = arena_new(1 << 20);
        struct violations vs;
        auto_free char *counts =
            xasprintf(",\"parallelTrialCount\":1,\"maxTrialCount\":%llu}",
                      (unsigned long long)limits.max_study_trials + (unsigned)more);
        auto_free char *json = xasprintf("%.*s%s", (int)strlen(JOB("")) - 1, JOB(""), counts);
        check_job(a, json, &vs);
        assert_int_equal(vs.n, more);
    }
    /* More at a time than there are: taken, as the service does. */
    auto_arena struct arena *a = arena_new(1 << 20);
    struct violations vs;
    check_job(a, JOB(",\"maxTrialCount\":2,\"parallelTrialCount\":9"), &vs);
    assert_int_equal(vs.n, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_mistake_is_named),
        cmocka_unit_test(test_a_tree_is_flat_for_the_tuner),
        cmocka_unit_test(test_trials_of_clients_are_checked),
        cmocka_unit_test(test_some_parameters_of_a_trial),
        cmocka_unit_test(test_a_discrete_default_is_the_nearest_value),
        cmocka_unit_test(test_values_as_arguments),
        cmocka_unit_test(test_every_mistake_of_a_tuning_job_is_named),
        cmocka_unit_test(test_the_largest_tuning_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
