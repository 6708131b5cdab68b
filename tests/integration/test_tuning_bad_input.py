"""What no tuning job may say: field, value and rule are named (reference 04 §2, §3)."""

import pytest

from tunings import COLLECTION, POOL, create, refusal, study, tuning


def par(**spec):
    return study(parameters=[{"parameterId": "p", **spec}])


def double(lo, hi, **more):
    return par(doubleValueSpec={"minValue": lo, "maxValue": hi}, **more)


def child(condition, spec=None, parent=None):
    return study(parameters=[{
        "parameterId": "p", **(parent or {"categoricalValueSpec": {"values": ["a", "b"]}}),
        "conditionalParameterSpecs": [{**condition, "parameterSpec": spec or {
            "parameterId": "q", "doubleValueSpec": {"minValue": 0, "maxValue": 1}}}]}])


Q = {"parameterId": "q", "doubleValueSpec": {"minValue": 0, "maxValue": 1}}
A = {"parentCategoricalValues": {"values": ["a"]}}
P0 = "study_spec.parameters[0]"
C0 = P0 + ".conditional_parameter_specs[0]"
STUDIES = [
    (study(metrics=[]), "study_spec.metrics", "Required"),
    (study(metrics=[{"metricId": "m"}, {"metricId": "m"}]), "study_spec.metrics[1].metric_id", '"m" is given twice'),
    (study(metrics=[{"metricId": "a b", "goal": "MINIMIZE"}]), "study_spec.metrics[0].metric_id", "a b"),
    (study(metrics=[{"goal": "MINIMIZE"}]), "study_spec.metrics[0].metric_id", "Required"),
    (study(parameters=[]), "study_spec.parameters", "Required"),
    (double(1, 0), P0 + ".double_value_spec", "min_value 1 is larger than max_value 0"),
    (double("NaN", 1), P0 + ".double_value_spec", "finite"),
    (double(0, "Infinity"), P0 + ".double_value_spec", "finite"),
    (par(integerValueSpec={"minValue": "3", "maxValue": "2"}), P0 + ".integer_value_spec", "3 is larger than max_value 2"),
    (par(integerValueSpec={"minValue": "0", "maxValue": str(2**60)}), P0 + ".integer_value_spec", "2^53"),
    (double(0, 1, scaleType="UNIT_LOG_SCALE"), P0 + ".scale_type", "larger than 0"),
    (double(-1, 1, scaleType="UNIT_REVERSE_LOG_SCALE"), P0 + ".scale_type", "larger than 0"),
    (par(integerValueSpec={"minValue": 0, "maxValue": 5}, scaleType="UNIT_LOG_SCALE"), P0 + ".scale_type", "larger than 0"),
    (par(discreteValueSpec={"values": [0, 1]}, scaleType="UNIT_LOG_SCALE"), P0 + ".scale_type", "larger than 0"),
    (par(discreteValueSpec={"values": []}), P0 + ".discrete_value_spec.values", "At least one"),
    (par(discreteValueSpec={"values": [1, 1]}), P0 + ".discrete_value_spec.values", "1 follows 1"),
    (par(discreteValueSpec={"values": [2, 1]}), P0 + ".discrete_value_spec.values", "1 follows 2"),
    (par(discreteValueSpec={"values": list(range(1001))}), P0 + ".discrete_value_spec.values", "1001"),
    (par(categoricalValueSpec={"values": []}), P0 + ".categorical_value_spec.values", "At least one"),
    (par(categoricalValueSpec={"values": ["x", "x"]}), P0 + ".categorical_value_spec.values", '"x" is given twice'),
    (par(categoricalValueSpec={"values": ["x"]}, scaleType="UNIT_LINEAR_SCALE"), P0 + ".scale_type", "no scale"),
    (par(), P0, "double_value_spec"),
    (study(parameters=[Q, Q]), "study_spec.parameters[1].parameter_id", '"q" is given twice'),
    (par(parameterId="a b", doubleValueSpec={"minValue": 0, "maxValue": 1}), P0 + ".parameter_id", "a b"),
    (study(algorithm="GRID_SEARCH"), P0 + ".double_value_spec", "not DOUBLE"),
    (child({}), C0, "parent_categorical_values"),
    (child({"parentIntValues": {"values": ["1"]}}), C0, "parent_categorical_values"),
    (child({"parentCategoricalValues": {"values": ["z"]}}), C0 + ".parent_categorical_values.values", 'none of parameter "p"'),
    (child({"parentCategoricalValues": {"values": []}}), C0 + ".parent_categorical_values.values", "At least one"),
    (child(A, parent={"doubleValueSpec": {"minValue": 0, "maxValue": 1}}), C0, "can have conditions"),
    (child(A, spec={**Q, "parameterId": "p"}), C0 + ".parameter_spec.parameter_id", '"p" is given twice'),
    # A circle of conditions: p needs q, which needs p.
    (child(A, spec={"parameterId": "q", "categoricalValueSpec": {"values": ["a"]}, "conditionalParameterSpecs": [
        {**A, "parameterSpec": {"parameterId": "p", "categoricalValueSpec": {"values": ["a"]}}}]}),
     C0 + ".parameter_spec.conditional_parameter_specs[0].parameter_spec.parameter_id", '"p" is given twice'),
    (study(medianAutomatedStoppingSpec={}, metrics=[{"metricId": "a"}, {"metricId": "b"}]),
     "study_spec", "one objective"),
    (study(convexAutomatedStoppingSpec={"maxStepCount": "5", "minStepCount": "9"}),
     "study_spec.convex_automated_stopping_spec.min_step_count", "9 is larger than max_step_count 5"),
    (study(convexAutomatedStoppingSpec={"learningRateParameterName": "zz"}),
     "study_spec.convex_automated_stopping_spec.learning_rate_parameter_name", "zz"),
    (study(studyStoppingConfig={"maxNumTrials": -1}), "study_spec.study_stopping_config.max_num_trials", "-1"),
    (study(studyStoppingConfig={"maximumRuntimeConstraint": {}}),
     "study_spec.study_stopping_config.maximum_runtime_constraint", "max_duration"),
    (study(studyStoppingConfig={"maxDurationNoProgress": "-1s"}),
     "study_spec.study_stopping_config.max_duration_no_progress", "negative"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from conftest import Server
    s = Server(tmp_path_factory.mktemp("tuning") / "data", "--engine=fake", "--hold").start()
    yield s
    s.stop()


def test_every_mistake_of_a_study_is_named(server):
    for spec, field, words in STUDIES:
        e, fields = refusal(server, tuning(4, 2, studySpec=spec))
        assert e["status"] == "INVALID_ARGUMENT"
        hits = [(f, d) for f, d in fields.items() if f == field and words in d]
        assert hits, (field, words, fields)


def test_a_deep_nest_of_conditions_is_refused_not_followed(server):
    spec = {"parameterId": "p0", "categoricalValueSpec": {"values": ["a"]}}
    for i in range(1, 40):
        spec = {"parameterId": f"p{i}", "categoricalValueSpec": {"values": ["a"]},
                "conditionalParameterSpecs": [{"parentCategoricalValues": {"values": ["a"]}, "parameterSpec": spec}]}
    e, fields = refusal(server, tuning(4, 2, studySpec=study(parameters=[spec])))
    assert "nest" in e["message"] or "deep" in e["message"], e["message"]


@pytest.mark.parametrize("change,field,words", [
    ({"maxTrialCount": 0}, "max_trial_count", "At least 1 trial is needed; the request has 0"),
    ({"maxTrialCount": 10**6}, "max_trial_count", "max_study_trials"),
    ({"parallelTrialCount": -1}, "parallel_trial_count", "the request has -1"),
    ({"maxFailedTrialCount": -2}, "max_failed_trial_count", "the request has -2"),
    ({"maxFailedTrialCount": 5}, "max_failed_trial_count", "5 is larger than max_trial_count 4"),
    ({"displayName": ""}, "display_name", "Required"),
    ({"displayName": "x" * 129}, "display_name", "129 characters"),
    ({"studySpec": None}, "study_spec", "Required"),
    ({"trialJobSpec": None}, "trial_job_spec", "Required"),
    ({"trialJobSpec": {}}, "trial_job_spec.worker_pool_specs", ""),
    ({"trialJobSpec": {"workerPoolSpecs": [{**POOL, "machineSpec": {"machineType": "no-such"}}]}},
     "trial_job_spec.worker_pool_specs[0].machine_spec.machine_type", "no-such"),
    ({"trialJobSpec": {"workerPoolSpecs": [{**POOL, "machineSpec": {"machineType": "cloud-tpu"}}]}},
     "trial_job_spec.worker_pool_specs[0].machine_spec", "TPU"),
    ({"trialJobSpec": {"workerPoolSpecs": [POOL], "baseOutputDirectory": {"outputUriPrefix": "/tmp/x"}}},
     "trial_job_spec.base_output_directory.output_uri_prefix", "/tmp/x"),
    ({"labels": {"UPPER": "x"}}, "labels", "UPPER"),
])
def test_every_mistake_of_the_job_is_named(server, change, field, words):
    body = {**tuning(4, 2), **change}
    e, fields = refusal(server, {k: v for k, v in body.items() if v is not None})
    assert e["status"] == "INVALID_ARGUMENT"
    assert any(f.startswith(field) and words in d for f, d in fields.items()), fields


def test_all_mistakes_are_told_at_once(server):
    e, fields = refusal(server, {**tuning(0, 0), "displayName": "", "studySpec": double(1, 0)})
    assert {"max_trial_count", "parallel_trial_count", "display_name", P0 + ".double_value_spec"} <= set(fields)


def test_enums_numbers_and_names_that_do_not_decode(server):
    for spec, word in ((study(algorithm="SIMULATED_ANNEALING"), "SIMULATED_ANNEALING"),
                       (study(metrics=[{"metricId": "m", "goal": "SMALLER"}]), "SMALLER"),
                       (par(doubleValueSpec={"minValue": "small", "maxValue": 1}), "small"),
                       (study(colour=1), "colour")):
        r = server.call("POST", COLLECTION, tuning(4, 2, studySpec=spec))
        assert r.status_code == 400 and word in r.json()["error"]["message"], r.text


def test_names_that_are_none(server):
    j = create(server, tuning(1, 1))
    for name in (j["name"] + "0", j["name"].replace("hyperparameterTuningJobs", "customJobs")):
        r = server.call("GET", "/v1/" + name)
        assert r.status_code == 404, r.text
    r = server.call("POST", COLLECTION.replace("us-central1", "-"), tuning(1, 1))
    assert r.status_code == 400 and "a tuning job needs one" in r.text
    for q in ("filter=nosuch%3D1", "pageSize=-1", "orderBy=colour", "pageToken=x", "readMask=nosuch"):
        assert server.call("GET", COLLECTION + "?" + q).status_code == 400, q
    server.call("POST", f"/v1/{j['name']}:cancel", {})
