"""What no client of Vizier may say: one table, a row a mistake, and no field of any request without one.

Each refusal names the field, the value and the rule. What is checked elsewhere: names and parents of every method
(test_vizier_grpc.py), JSON that does not decode (below, over REST), what becomes of trials that are over (test_vizier.py)."""
import re

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from conftest import PARENT, Server
from grpcraw import connect
from vizier import make_study, measurement, post, refused, study_spec, suggest

SPEC = "study.study_spec"
P0 = SPEC + ".parameters[0]"
C0 = P0 + ".conditional_parameter_specs[0]"
NAN, INF = float("nan"), float("inf")
HUGE = 2**62


def spec(**more):
    return {"metrics": [{"metric_id": "loss", "goal": "MINIMIZE"}], "parameters": [X], **more}


def double(lo=0.0, hi=1.0, name="x", default=None, **more):
    value = {"min_value": lo, "max_value": hi, **({} if default is None else {"default_value": default})}
    return {"parameter_id": name, "double_value_spec": value, **more}


def integer(lo, hi, default=None, **more):
    value = {"min_value": lo, "max_value": hi, **({} if default is None else {"default_value": default})}
    return {"parameter_id": "x", "integer_value_spec": value, **more}


def discrete(*values, default=None, **more):
    return {"parameter_id": "x", "discrete_value_spec": {"values": values, **({} if default is None else {"default_value": default})}, **more}


def categorical(*values, default=None, name="x", **more):
    value = {"values": values, **({} if default is None else {"default_value": default})}
    return {"parameter_id": name, "categorical_value_spec": value, **more}


def when(child, **condition):
    return {"parameter_spec": child, **condition}


def kind_of(*values):
    return {"parent_categorical_values": {"values": values}}


X, Y = double(), double(name="y")
S = {"seconds": 1}


def metric(**more):
    return spec(metrics=[{"metric_id": "loss", "goal": "MINIMIZE"}, {"metric_id": "safe", "goal": "MAXIMIZE", **more}])


def stop(**config):
    return spec(study_stopping_config=config)


def convex(**config):
    return spec(convex_automated_stopping_spec=config)


def old_convex(**config):
    return spec(convex_stop_config=config)


STOP = SPEC + ".study_stopping_config"
CONVEX = SPEC + ".convex_automated_stopping_spec"
OLD = SPEC + ".convex_stop_config"
M1 = SPEC + ".metrics[1]"

# (StudySpec, field, words)
STUDIES = [
    (spec(metrics=[]), SPEC + ".metrics", "Required"),
    (spec(metrics=[{"metric_id": f"m{i}"} for i in range(16)]), SPEC + ".metrics", "at most 15 metrics; the request has 16"),
    (spec(metrics=[{"metric_id": "m", "safety_config": {}}]), SPEC + ".metrics", "without safety_config"),
    (spec(metrics=[{"goal": "MINIMIZE"}]), SPEC + ".metrics[0].metric_id", "Required"),
    (spec(metrics=[{"metric_id": "a b"}]), SPEC + ".metrics[0].metric_id", '"a b" must not contain white space'),
    (spec(metrics=[{"metric_id": "m" * 129}]), SPEC + ".metrics[0].metric_id", "At most 128 bytes"),
    (spec(metrics=[{"metric_id": "m"}, {"metric_id": "m"}]), M1 + ".metric_id", '"m" is given twice'),
    (metric(goal=7), M1 + ".goal", "Goal 7 does not exist"),
    (metric(safety_config={"safety_threshold": NAN}), M1 + ".safety_config.safety_threshold", "finite number; the request has NaN"),
    (metric(safety_config={"safety_threshold": -INF}), M1 + ".safety_config.safety_threshold", "-Infinity"),
    (metric(safety_config={"desired_min_safe_trials_fraction": 1.5}), M1 + ".safety_config.desired_min_safe_trials_fraction", "between 0 and 1; the request has 1.5"),
    (metric(safety_config={"desired_min_safe_trials_fraction": -0.1}), M1 + ".safety_config.desired_min_safe_trials_fraction", "-0.1"),
    (metric(safety_config={"desired_min_safe_trials_fraction": NAN}), M1 + ".safety_config.desired_min_safe_trials_fraction", "NaN"),
    (spec(parameters=[]), SPEC + ".parameters", "Required"),
    (spec(parameters=[double(name=f"x{i}") for i in range(501)]), SPEC + ".parameters", "at most 500 parameters (limit max_study_parameters); the request has 501"),
    (spec(parameters=[double(name="")]), P0 + ".parameter_id", "Required"),
    (spec(parameters=[double(name="a\tb")]), P0 + ".parameter_id", "white space"),
    (spec(parameters=[double(name="p" * 129)]), P0 + ".parameter_id", "At most 128 bytes"),
    (spec(parameters=[X, X]), SPEC + ".parameters[1].parameter_id", '"x" is given twice'),
    (spec(parameters=[{"parameter_id": "x"}]), P0, "double_value_spec, integer_value_spec, categorical_value_spec, discrete_value_spec is required"),
    (spec(parameters=[{"parameter_id": "x", "scale_type": 9, "double_value_spec": {"max_value": 1}}]), P0 + ".scale_type", "Scale type 9 does not exist"),
    # DOUBLE
    (spec(parameters=[double(1, 0.5)]), P0 + ".double_value_spec", "min_value 1 is larger than max_value 0.5"),
    (spec(parameters=[double(NAN, 1)]), P0 + ".double_value_spec", "finite numbers; the request has NaN and 1"),
    (spec(parameters=[double(0, INF)]), P0 + ".double_value_spec", "finite numbers; the request has 0 and Infinity"),
    (spec(parameters=[double(0, 1, default=1.5)]), P0 + ".double_value_spec.default_value", "1.5, is none of the parameter's values, which lie between 0 and 1"),
    (spec(parameters=[double(0, 1, default=NAN)]), P0 + ".double_value_spec.default_value", "NaN"),
    (spec(parameters=[double(0, 1, scale_type="UNIT_LOG_SCALE")]), P0 + ".scale_type", "larger than 0; the smallest is 0"),
    (spec(parameters=[double(-2.5, 1, scale_type="UNIT_REVERSE_LOG_SCALE")]), P0 + ".scale_type", "the smallest is -2.5"),
    (spec(algorithm="GRID_SEARCH"), P0 + ".double_value_spec", "GRID_SEARCH needs parameters with countable values"),
    # INTEGER
    (spec(parameters=[integer(3, 2)]), P0 + ".integer_value_spec", "min_value 3 is larger than max_value 2"),
    (spec(parameters=[integer(-HUGE, 2)]), P0 + ".integer_value_spec", f"2^53, as trial values are JSON numbers; the request has {-HUGE} and 2"),
    (spec(parameters=[integer(1, 9, default=0)]), P0 + ".integer_value_spec.default_value", "0, is none of the parameter's values, which lie between 1 and 9"),
    (spec(parameters=[integer(0, 9, scale_type="UNIT_LOG_SCALE")]), P0 + ".scale_type", "the smallest is 0"),
    # DISCRETE
    (spec(parameters=[discrete()]), P0 + ".discrete_value_spec.values", "At least one value"),
    (spec(parameters=[discrete(1, 1)]), P0 + ".discrete_value_spec.values", "at least 1e-10; 1 follows 1"),
    (spec(parameters=[discrete(1, 1 + 1e-11)]), P0 + ".discrete_value_spec.values", "1.00000000001 follows 1"),
    (spec(parameters=[discrete(2, 1)]), P0 + ".discrete_value_spec.values", "1 follows 2"),
    (spec(parameters=[discrete(1, NAN)]), P0 + ".discrete_value_spec.values", "finite numbers; number 2 is NaN"),
    (spec(parameters=[discrete(*range(1001))]), P0 + ".discrete_value_spec.values", "At most 1000 values are allowed; the request has 1001"),
    (spec(parameters=[discrete(1, 2, default=INF)]), P0 + ".discrete_value_spec.default_value", "finite number; the request has Infinity"),
    (spec(parameters=[discrete(-1, 2, scale_type="UNIT_LOG_SCALE")]), P0 + ".scale_type", "the smallest is -1"),
    # CATEGORICAL
    (spec(parameters=[categorical()]), P0 + ".categorical_value_spec.values", "At least one value"),
    (spec(parameters=[categorical("a", "a")]), P0 + ".categorical_value_spec.values", '"a" is given twice'),
    (spec(parameters=[categorical(*map(str, range(1001)))]), P0 + ".categorical_value_spec.values", "1001"),
    (spec(parameters=[categorical("a", default="b")]), P0 + ".categorical_value_spec.default_value", '"b", is none'),
    (spec(parameters=[categorical("a", scale_type="UNIT_LINEAR_SCALE")]), P0 + ".scale_type", "has no scale"),
    # conditions
    (spec(parameters=[categorical("a", conditional_parameter_specs=[{**kind_of("a")}])]), C0 + ".parameter_spec", "Required"),
    (spec(parameters=[categorical("a", conditional_parameter_specs=[when(Y)])]), C0, 'condition on parameter "x" must be given as parent_categorical_values'),
    (spec(parameters=[categorical("a", conditional_parameter_specs=[when(Y, parent_int_values={"values": [1]})])]), C0, "parent_categorical_values"),
    (spec(parameters=[integer(1, 2, conditional_parameter_specs=[when(Y, parent_discrete_values={"values": [1]})])]), C0, "parent_int_values"),
    (spec(parameters=[double(conditional_parameter_specs=[when(Y, **kind_of("a"))])]), C0, 'can have conditions, which parameter "x" is none of'),
    (spec(parameters=[categorical("a", conditional_parameter_specs=[when(Y, **kind_of())])]), C0 + ".parent_categorical_values.values", "At least one"),
    (spec(parameters=[categorical("a", conditional_parameter_specs=[when(Y, **kind_of("b"))])]), C0 + ".parent_categorical_values.values", '"b" is none of parameter "x"'),
    (spec(parameters=[integer(1, 2, conditional_parameter_specs=[when(Y, parent_int_values={"values": [3]})])]), C0 + ".parent_int_values.values", '3 is none of parameter "x"'),
    (spec(parameters=[discrete(1, 2, conditional_parameter_specs=[when(Y, parent_discrete_values={"values": [1.5]})])]), C0 + ".parent_discrete_values.values", '1.5 is none of parameter "x"'),
    (spec(parameters=[discrete(1, 2, conditional_parameter_specs=[when(Y, parent_discrete_values={"values": [NAN]})])]), C0 + ".parent_discrete_values.values", "NaN is none"),
    (spec(parameters=[categorical("a", conditional_parameter_specs=[when(Y, **kind_of("a")), when(Y, **kind_of("a"))])]),
     P0 + ".conditional_parameter_specs[1]", '"y" is given twice for the same value'),
    # A parameter below itself: x needs y, which needs x.
    (spec(parameters=[categorical("a", conditional_parameter_specs=[when(categorical("b", name="y", conditional_parameter_specs=[
        when(categorical("a"), **kind_of("b"))]), **kind_of("a"))])]), C0 + ".parameter_spec.conditional_parameter_specs[0].parameter_spec.parameter_id", '"x" is given twice'),
    # The same name on two branches that may be in one trial: two arguments of one name.
    (spec(parameters=[categorical("a", conditional_parameter_specs=[when(Y, **kind_of("a"))]), Y]), SPEC + ".parameters[1].parameter_id", '"y" is given twice'),
    (spec(parameters=[categorical("a", conditional_parameter_specs=[when(Y, **kind_of("a"))]), categorical("a", name="z", conditional_parameter_specs=[when(Y, **kind_of("a"))])]),
     SPEC + ".parameters[1].conditional_parameter_specs[0].parameter_spec.parameter_id", '"y" is given twice'),
    # stopping
    (spec(algorithm=1), SPEC + ".algorithm", "Value 1 does not exist"),
    (spec(observation_noise=3), SPEC + ".observation_noise", "Value 3 does not exist"),
    (spec(measurement_selection_type=9), SPEC + ".measurement_selection_type", "Value 9 does not exist"),
    (spec(metrics=[{"metric_id": "a"}, {"metric_id": "b"}], median_automated_stopping_spec={}), SPEC, "one objective; the study has 2"),
    (convex(max_step_count=-1), CONVEX + ".max_step_count", "At least 0 is needed; the request has -1"),
    (convex(min_step_count=-2), CONVEX + ".min_step_count", "-2"),
    (convex(min_step_count=9, max_step_count=5), CONVEX + ".min_step_count", "min_step_count 9 is larger than max_step_count 5"),
    (convex(min_measurement_count=-3), CONVEX + ".min_measurement_count", "-3"),
    (convex(learning_rate_parameter_name="lr"), CONVEX + ".learning_rate_parameter_name", 'no number parameter "lr"'),
    (spec(parameters=[categorical("a")], convex_automated_stopping_spec={"learning_rate_parameter_name": "x"}), CONVEX + ".learning_rate_parameter_name", 'no number parameter "x"'),
    (old_convex(max_num_steps=-1), OLD + ".max_num_steps", "-1"),
    (old_convex(min_num_steps=-2), OLD + ".min_num_steps", "-2"),
    (old_convex(min_num_steps=9, max_num_steps=5), OLD + ".min_num_steps", "min_num_steps 9 is larger than max_num_steps 5"),
    (old_convex(autoregressive_order=-4), OLD + ".autoregressive_order", "-4"),
    (old_convex(learning_rate_parameter_name="lr"), OLD + ".learning_rate_parameter_name", "lr"),
    (stop(minimum_runtime_constraint={}), STOP + ".minimum_runtime_constraint", "max_duration, end_time is required"),
    (stop(maximum_runtime_constraint={}), STOP + ".maximum_runtime_constraint", "max_duration, end_time is required"),
    (stop(minimum_runtime_constraint={"max_duration": {"seconds": -5}}), STOP + ".minimum_runtime_constraint.max_duration", "-5 s and 0 ns"),
    (stop(maximum_runtime_constraint={"max_duration": {"seconds": 1, "nanos": 10**9}}), STOP + ".maximum_runtime_constraint.max_duration", "1 s and 1000000000 ns"),
    (stop(maximum_runtime_constraint={"end_time": {"seconds": 253402300800}}), STOP + ".maximum_runtime_constraint.end_time", "years 1 to 9999"),
    (stop(minimum_runtime_constraint={"max_duration": {"seconds": 9}}, maximum_runtime_constraint={"max_duration": S}), STOP + ".minimum_runtime_constraint", "9 s, is larger than the maximum_runtime_constraint, 1 s"),
    (stop(min_num_trials={"value": -1}), STOP + ".min_num_trials", "-1"),
    (stop(max_num_trials={"value": 0}), STOP + ".max_num_trials", "At least 1 is needed; the request has 0"),
    (stop(min_num_trials={"value": 5}, max_num_trials={"value": 4}), STOP + ".min_num_trials", "min_num_trials 5 is larger than max_num_trials 4"),
    (stop(max_num_trials_no_progress={"value": -2}), STOP + ".max_num_trials_no_progress", "-2"),
    (stop(max_duration_no_progress={"seconds": -1}), STOP + ".max_duration_no_progress", "-1 s"),
]


def value(v):
    return {"string_value": v} if isinstance(v, str) else {"number_value": v}


def parameters(**values):
    return [{"parameter_id": k, "value": value(v)} for k, v in values.items()]


def told(**more):
    return {"metrics": [{"metric_id": "loss", "value": 1}], **more}


WHOLE = parameters(x=0.5, n=2, d=4, opt="sgd")
T = "trial.parameters"

# A trial's parameters, of those that are given and of contexts: (parameters, below `parameters`, words). The study has
# x in [0, 1], n in 1..3, d of 2, 4, opt of sgd, adam with beta in [0, 1] below adam and mu in [0, 1] below sgd.
PARAMETERS = [
    (parameters(z=1), "[0].parameter_id", '"z" is no parameter'),
    (parameters(x=0.25) * 2, "[1].parameter_id", '"x" is given twice'),
    (parameters(x=1.5), "[0].value", 'Parameter "x": 1.5 lies outside of its bounds, 0 and 1'),
    (parameters(x=NAN), "[0].value", "finite number; the request has NaN"),
    (parameters(x="0.5"), "[0].value", "takes a finite number; the request has a string"),
    ([{"parameter_id": "x"}], "[0].value", "the request has nothing"),
    ([{"parameter_id": "x", "value": {"bool_value": True}}], "[0].value", "the request has a boolean"),
    ([{"parameter_id": "x", "value": {"null_value": 0}}], "[0].value", "the request has null"),
    (parameters(n=2.5), "[0].value", "whole numbers; the request has 2.5"),
    (parameters(n=4), "[0].value", "4 lies outside of its bounds, 1 and 3"),
    (parameters(d=3), "[0].value", "3 is none of its values"),
    (parameters(opt="rmsprop"), "[0].value", '"rmsprop" is none of its values'),
    (parameters(opt=1), "[0].value", "as a string; the request has a number"),
    (parameters(opt="sgd", beta=0.5), "[1].parameter_id", '"beta" is not active with the value of "opt"'),
    (parameters(mu=0.5, beta=0.5), "", 'below "opt" that are given need different values'),
]

# (measurement, field below it, words)
MEASUREMENTS = [
    ({}, "metrics", "at least one of the study's metrics"),
    (told(step_count=-1), "step_count", "at least 0; the request has -1"),
    (told(elapsed_duration={"seconds": -1}), "elapsed_duration", "at least 0; the request has -1 s and 0 ns"),
    (told(elapsed_duration={"nanos": -1}), "elapsed_duration", "0 s and -1 ns"),
    (told(elapsed_duration={"seconds": 315576000001}), "elapsed_duration", "315576000001"),
    ({"metrics": [{"metric_id": "acc", "value": 1}]}, "metrics[0].metric_id", '"acc" is no metric'),
    ({"metrics": [{"value": 1}]}, "metrics[0].metric_id", "is no metric"),
    ({"metrics": told()["metrics"] * 2}, "metrics[1].metric_id", '"loss" is given twice'),
]
FINALS = MEASUREMENTS + [
    ({"metrics": [{"metric_id": "loss", "value": NAN}]}, "metrics[0].value", "loss is NaN; it must be finite"),
    ({"metrics": [{"metric_id": "loss", "value": INF}]}, "metrics[0].value", "loss is infinite"),
]


def suggestion(count=1, client="c", **more):
    return {"parent": "{study}", "suggestion_count": count, "client_id": client, **more}


# (method, request, field, words)
REQUESTS = [
    *(("CreateStudy", {"parent": PARENT, "study": {"display_name": "s", "study_spec": s}}, f, w) for s, f, w in STUDIES),
    ("CreateStudy", {"parent": "projects/demo"}, "parent", "projects/demo"),
    ("CreateStudy", {"parent": PARENT}, "study", "Required"),
    ("CreateStudy", {"parent": PARENT, "study": {"study_spec": spec()}}, "study.display_name", "Required"),
    ("CreateStudy", {"parent": PARENT, "study": {"display_name": "n" * 129, "study_spec": spec()}}, "study.display_name", "128"),
    ("CreateStudy", {"parent": PARENT, "study": {"display_name": "s"}}, "study.study_spec", "Required"),
    ("GetStudy", {"name": "studies/1"}, "name", "studies/1"),
    ("DeleteStudy", {"name": "{study}/trials/1"}, "name", "trials/1"),
    ("ListStudies", {"parent": ""}, "parent", ""),
    ("ListStudies", {"parent": PARENT, "page_size": -1}, "page_size", "-1"),
    ("ListStudies", {"parent": PARENT, "page_token": "x"}, "page_token", "page token"),
    ("LookupStudy", {"parent": "", "display_name": "s"}, "parent", ""),
    ("LookupStudy", {"parent": PARENT}, "display_name", "Required"),
    ("LookupStudy", {"parent": PARENT, "display_name": "n" * 129}, "display_name", "128"),
    ("SuggestTrials", {"parent": "x", "suggestion_count": 1, "client_id": "c"}, "parent", "x"),
    ("SuggestTrials", suggestion(0), "suggestion_count", "At least 1 trial is asked for; the request has 0"),
    ("SuggestTrials", suggestion(-7), "suggestion_count", "-7"),
    ("SuggestTrials", suggestion(1001), "suggestion_count", "At most 1000 trials can be asked for at once (limit max_suggestions); the request has 1001"),
    ("SuggestTrials", suggestion(2**31 - 1), "suggestion_count", str(2**31 - 1)),
    ("SuggestTrials", suggestion(client=""), "client_id", "Required"),
    ("SuggestTrials", suggestion(client="c" * 1025), "client_id", "at most 1024 bytes; the request has 1025"),
    ("SuggestTrials", suggestion(contexts=[{}, {}]), "contexts", "the request has 2 contexts and asks for 1 suggestions"),
    *(("SuggestTrials", suggestion(contexts=[{"parameters": p}]), "contexts[0].parameters" + f, w) for p, f, w in PARAMETERS),
    ("CreateTrial", {"parent": "{study}"}, "trial", "Required"),
    ("CreateTrial", {"parent": "{study}/trials/1", "trial": {"parameters": WHOLE}}, "parent", "trials/1"),
    *(("CreateTrial", {"parent": "{study}", "trial": {"parameters": p}}, T + f, w) for p, f, w in PARAMETERS),
    *(("CreateTrial", {"parent": "{study}", "trial": {"parameters": WHOLE, "final_measurement": m}}, "trial.final_measurement." + f, w) for m, f, w in FINALS),
    ("CreateTrial", {"parent": "{study}", "trial": {"parameters": parameters(x=0.5), "final_measurement": told()}}, T, '"n" is not given'),
    ("CreateTrial", {"parent": "{study}", "trial": {"parameters": WHOLE, "state": "SUCCEEDED"}}, "trial.final_measurement", "needs its final measurement"),
    ("CreateTrial", {"parent": "{study}", "trial": {"parameters": WHOLE, "state": 9}}, "trial.state", "State 9 does not exist"),
    ("CreateTrial", {"parent": "{study}", "trial": {"parameters": WHOLE, "state": "INFEASIBLE", "infeasible_reason": "x" * 4097}}, "trial.infeasible_reason", "at most 4096 bytes; the request has 4097"),
    ("GetTrial", {"name": "{study}"}, "name", "studies"),
    ("ListTrials", {"parent": PARENT}, "parent", PARENT),
    ("ListTrials", {"parent": "{study}", "page_size": -9}, "page_size", "-9"),
    ("ListTrials", {"parent": "{study}", "page_token": "nonsense"}, "page_token", '"nonsense" is not one that this list has given'),
    ("AddTrialMeasurement", {"trial_name": "x", "measurement": told()}, "trial_name", "x"),
    ("AddTrialMeasurement", {"trial_name": "{trial}"}, "measurement", "Required"),
    *(("AddTrialMeasurement", {"trial_name": "{trial}", "measurement": m}, "measurement." + f, w) for m, f, w in MEASUREMENTS),
    ("CompleteTrial", {"name": ""}, "name", ""),
    *(("CompleteTrial", {"name": "{trial}", "final_measurement": m}, "final_measurement." + f, w) for m, f, w in FINALS),
    ("CompleteTrial", {"name": "{trial}", "infeasible_reason": "why"}, "infeasible_reason", "with trial_infeasible"),
    ("CompleteTrial", {"name": "{trial}", "trial_infeasible": True, "infeasible_reason": "x" * 4097}, "infeasible_reason", "at most 4096 bytes; the request has 4097"),
    ("DeleteTrial", {"name": "{trial}/x"}, "name", "/x"),
    ("CheckTrialEarlyStoppingState", {"trial_name": "trials/1"}, "trial_name", "trials/1"),
    ("StopTrial", {"name": "{study}/trial/1"}, "name", "/trial/1"),
    ("ListOptimalTrials", {"parent": "{trial}"}, "parent", "trials/"),
]

# Fields that no value is wrong for, or that are not the client's: what it says of them is not looked at.
FREE = {
    "Study.name", "Study.state", "Study.create_time", "Study.inactive_reason",
    "Trial.name", "Trial.id", "Trial.measurements", "Trial.start_time", "Trial.end_time", "Trial.client_id", "Trial.custom_job",
    "Trial.web_access_uris",  # output only
    "TrialContext.description", "CompleteTrialRequest.trial_infeasible",
    "StudySpec.DecayCurveAutomatedStoppingSpec.use_elapsed_duration", "StudySpec.MedianAutomatedStoppingSpec.use_elapsed_duration",
    "StudySpec.ConvexAutomatedStoppingSpec.use_elapsed_duration", "StudySpec.ConvexAutomatedStoppingSpec.update_all_stopped_trials",
    "StudySpec.StudyStoppingConfig.should_stop_asap", "StudySpec.ConvexStopConfig.use_seconds",
    "StudySpec.TransferLearningConfig.disable_transfer_learning", "StudySpec.TransferLearningConfig.prior_study_names",
    "Measurement.Metric.value",  # of one that is not the last: a model may diverge
}
# Messages whose rules are those of the fields in them.
HOLDERS = {"StudySpec.transfer_learning_config", "StudySpec.decay_curve_stopping_spec", "StudySpec.median_automated_stopping_spec"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    s = Server(tmp_path_factory.mktemp("bad") / "data", "--engine=fake").start()
    yield s
    s.stop()


@pytest.fixture(scope="module")
def stubs(server):
    channel, rpc = connect(server)
    yield rpc
    channel.close()


@pytest.fixture(scope="module")
def names(server):
    study = make_study(server, "searched", parameters=[
        {"parameterId": "x", "doubleValueSpec": {"maxValue": 1}}, {"parameterId": "n", "integerValueSpec": {"minValue": "1", "maxValue": "3"}},
        {"parameterId": "d", "discreteValueSpec": {"values": [2, 4]}},
        {"parameterId": "opt", "categoricalValueSpec": {"values": ["sgd", "adam"]}, "conditionalParameterSpecs": [
            {"parentCategoricalValues": {"values": [k]}, "parameterSpec": {"parameterId": p, "doubleValueSpec": {"maxValue": 1}}}
            for k, p in (("adam", "beta"), ("sgd", "mu"))]}])
    return {"study": study, "trial": suggest(server, study)[0]["name"]}


def filled(what, names):
    if isinstance(what, str):
        return what.replace("{study}", names["study"]).replace("{trial}", names["trial"])
    if isinstance(what, dict):
        return {k: filled(v, names) for k, v in what.items()}
    return [filled(v, names) for v in what] if isinstance(what, (list, tuple)) else what


def violations(rpc, version, method, request):
    with pytest.raises(grpc.RpcError) as e:
        rpc(f"google.cloud.aiplatform.{version}.VizierService/{method}", **request)
    assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT, (method, e.value)
    bad = error_details_pb2.BadRequest()
    assert any(d.Unpack(bad) for d in rpc_status.from_call(e.value).details), e.value
    return [(v.field, v.description) for v in bad.field_violations]


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_every_mistake_is_named_by_field_value_and_rule(server, stubs, names, version):
    before = server.get(f"{names['study']}/trials"), server.get(f"{PARENT}/studies")
    wrong = []
    for method, request, field, words in REQUESTS:
        if version == "v1" and "convex_stop_config" in field:
            continue  # not there
        found = violations(stubs, version, method, filled(request, names))
        if not any(f == field and words in d for f, d in found):
            wrong.append((method, field, words, found[:4]))
    assert not wrong, "\n".join(map(str, wrong))
    assert (server.get(f"{names['study']}/trials"), server.get(f"{PARENT}/studies")) == before  # nothing was done


def short(d):
    return re.sub(r"^google\.cloud\.aiplatform\.v1(beta1)?\.", "", d.full_name)


def fields_below(message, seen):
    for f in message.fields:
        if short(f) not in seen:
            seen.add(short(f))
            of = f.message_type
            if of and not of.full_name.startswith("google.protobuf.") and not of.GetOptions().map_entry:
                fields_below(of, seen)
    return seen


def fields_on(message, path, words):
    """Every field that the path of a violation goes through, and those of the last that its rule names."""
    for part in re.sub(r"\[\d+\]", "", path).split("."):
        f = message.fields_by_name[part]
        yield short(f)
        message = f.message_type
    for word in re.findall(r"[a-z_]+", words):
        if message and word in message.fields_by_name:
            yield short(message.fields_by_name[word])


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_no_field_of_a_request_is_without_a_mistake(stubs, version):
    service = f"google.cloud.aiplatform.{version}.VizierService"
    stubs.method(service + "/CreateStudy")
    every, shown = set(), set()
    for m in stubs.pool.FindServiceByName(service).methods:
        fields_below(m.input_type, every)
        for method, _, field, words in REQUESTS:
            if method == m.name and not (version == "v1" and "convex_stop_config" in field):
                shown.update(fields_on(m.input_type, field, words))
    assert every - shown - FREE - HOLDERS == set()
    assert len(every) > 80, len(every)


def test_what_json_does_not_decode_is_named(server, names):
    studies, study, trial = f"/v1/{PARENT}/studies", names["study"], names["trial"]

    def bad(path, body, *words):
        refused(server, "POST", path, body, 400, *words)

    def body(**more):
        return {"displayName": "s", "studySpec": study_spec(**more)}

    bad(studies, body(algorithm="ANNEALING"), "ANNEALING")
    bad(studies, body(colour=1), "colour")
    bad(studies, body(metrics=[{"metricId": "m", "goal": "SMALLER"}]), "SMALLER")
    bad(studies, body(parameters=[{"parameterId": "x", "doubleValueSpec": {"minValue": "low"}}]), "low")
    bad(studies, body(parameters=[{"parameterId": "x", "integerValueSpec": {"minValue": "1.5"}}]), "1.5")
    bad(studies, body(parameters=[{"parameterId": "x", "doubleValueSpec": {}, "integerValueSpec": {}}]), "oneof")
    bad(studies, body(studyStoppingConfig={"maximumRuntimeConstraint": {"maxDuration": "soon"}}), "soon")
    bad(studies, body(studyStoppingConfig={"maximumRuntimeConstraint": {"endTime": "tomorrow"}}), "tomorrow")
    bad(studies, body(studyStoppingConfig={"maxNumTrials": 2**31}), str(2**31))
    bad(f"/v1/{study}/trials:suggest", {"suggestionCount": "many", "clientId": "c"}, "many")
    bad(f"/v1/{study}/trials:suggest", {"suggestionCount": 2**40, "clientId": "c"}, str(2**40))
    bad(f"/v1/{study}/trials", {"state": "LATE"}, "LATE")
    bad(f"/v1/{trial}:addTrialMeasurement", {"measurement": {"metrics": [{"metricId": "loss", "value": "low"}]}}, "low")
    bad(f"/v1/{trial}:addTrialMeasurement", {"measurement": {"elapsedDuration": "1 hour"}}, "1 hour")
    bad(f"/v1/{trial}:complete", {"trialInfeasible": "perhaps"}, "perhaps")
    for q in ("pageSize=many", "pageToken=%00", "filter=state%3DACTIVE"):
        assert server.call("GET", f"/v1/{study}/trials?{q}").status_code == 400, q


def test_measurements_beside_each_other_are_kept_and_the_same_one_is_not(server):
    """Same, decreasing and equal (step, elapsed): none is a mistake; which is last is decided by step, then by time."""
    study = make_study(server, "order")
    (t,) = suggest(server, study)

    def tell(loss, step, seconds):
        return post(server, t["name"] + ":addTrialMeasurement", {"measurement": measurement(loss, step, seconds=seconds)})

    tell(3, 5, 10)
    tell(2, 4, 20)  # an earlier step, told later
    tell(1, 5, 9)  # the same step, earlier
    tell(3, 5, 10)  # again
    seen = [(m["stepCount"], m["elapsedDuration"], m["metrics"][0]["value"]) for m in server.get(t["name"])["measurements"]]
    assert seen == [("4", "20s", 2), ("5", "9s", 1), ("5", "10s", 3)]
    tell(7, 5, 10)  # the same step and time with another value: the later word
    done = post(server, t["name"] + ":complete")
    assert done["finalMeasurement"]["metrics"][0]["value"] == 7
    for verb, body in ((":complete", {}), (":complete", {"finalMeasurement": measurement(9)}), (":stop", {}),
                       (":addTrialMeasurement", {"measurement": measurement(1, 6)})):
        refused(server, "POST", f"/v1/{t['name']}{verb}", body, 400, "Trial 1 is SUCCEEDED")

