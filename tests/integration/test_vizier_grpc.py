"""VizierService over gRPC, by reflection alone: what differs from REST (statuses, types)."""
import grpc
import pytest

from conftest import PARENT, wait_until
from grpcraw import V1, connect
from test_models_grpc import refused

VIZIER = V1 + "VizierService/"
OPS = "google.longrunning.Operations/"
SPEC = {"metrics": [{"metric_id": "loss", "goal": "MINIMIZE"}],
        "parameters": [{"parameter_id": "x", "double_value_spec": {"min_value": 0, "max_value": 1}}]}


@pytest.fixture
def rpc(fake):
    channel, stubs = connect(fake, None)
    yield stubs
    channel.close()


def done(rpc, op):
    return op if op.done else wait_until(lambda: (lambda o: o if o.done else None)(rpc(OPS + "GetOperation", name=op.name)), 30, op.name)


def test_a_study_lives_its_life_over_grpc(rpc):
    study = rpc(VIZIER + "CreateStudy", parent=PARENT, study={"display_name": "s", "study_spec": SPEC})
    assert study.state == 1 and rpc(VIZIER + "LookupStudy", parent=PARENT, display_name="s") == study
    assert rpc(VIZIER + "GetStudy", name=study.name) == study
    assert list(rpc(VIZIER + "ListStudies", parent=PARENT).studies) == [study]
    op = done(rpc, rpc(VIZIER + "SuggestTrials", parent=study.name, suggestion_count=2, client_id="w"))
    assert op.metadata.type_url.endswith("v1.SuggestTrialsMetadata") and op.response.type_url.endswith("v1.SuggestTrialsResponse")
    a, b = rpc(VIZIER + "ListTrials", parent=study.name).trials
    m = {"metrics": [{"metric_id": "loss", "value": 2}], "step_count": 1}
    assert rpc(VIZIER + "AddTrialMeasurement", trial_name=a.name, measurement=m).measurements[0].step_count == 1
    assert not rpc(VIZIER + "CheckTrialEarlyStoppingState", trial_name=a.name).response.value  # false is not written
    assert rpc(VIZIER + "CompleteTrial", name=a.name).final_measurement.metrics[0].value == 2
    assert rpc(VIZIER + "StopTrial", name=b.name).state == 3
    rpc(VIZIER + "DeleteTrial", name=b.name)
    refused(grpc.StatusCode.NOT_FOUND, None, rpc, VIZIER + "GetTrial", name=b.name)
    own = rpc(VIZIER + "CreateTrial", parent=study.name, trial={"parameters": [{"parameter_id": "x", "value": {"number_value": 0.5}}]})
    assert own.state == 1 and rpc(VIZIER + "GetTrial", name=own.name) == own
    assert [t.id for t in rpc(VIZIER + "ListOptimalTrials", parent=study.name).optimal_trials] == ["1"]
    rpc(VIZIER + "DeleteStudy", name=study.name)
    refused(grpc.StatusCode.NOT_FOUND, None, rpc, VIZIER + "GetStudy", name=study.name)


def test_statuses_and_fields(rpc):
    study = rpc(VIZIER + "CreateStudy", parent=PARENT, study={"display_name": "s", "study_spec": SPEC})
    refused(grpc.StatusCode.ALREADY_EXISTS, "study.display_name", rpc, VIZIER + "CreateStudy", parent=PARENT,
            study={"display_name": "s", "study_spec": SPEC})
    refused(grpc.StatusCode.INVALID_ARGUMENT, "study.study_spec", rpc, VIZIER + "CreateStudy", parent=PARENT, study={"display_name": "t"})
    refused(grpc.StatusCode.INVALID_ARGUMENT, "client_id", rpc, VIZIER + "SuggestTrials", parent=study.name, suggestion_count=1)
    refused(grpc.StatusCode.NOT_FOUND, None, rpc, VIZIER + "CompleteTrial", name=study.name + "/trials/1")
    done(rpc, rpc(VIZIER + "SuggestTrials", parent=study.name, suggestion_count=1, client_id="w"))
    rpc(VIZIER + "CompleteTrial", name=study.name + "/trials/1", trial_infeasible=True)
    refused(grpc.StatusCode.FAILED_PRECONDITION, None, rpc, VIZIER + "StopTrial", name=study.name + "/trials/1")


TRIAL = ["GetTrial", "DeleteTrial", "CompleteTrial", "StopTrial"]
NAMED = [("GetStudy", "name", {}), ("DeleteStudy", "name", {}), ("SuggestTrials", "parent", {"suggestion_count": 1, "client_id": "a"}),
         ("CreateTrial", "parent", {"trial": {"parameters": [{"parameter_id": "x", "value": {"number_value": 0}}]}}),
         ("ListTrials", "parent", {}), ("ListOptimalTrials", "parent", {})]
NAMED_TRIAL = [*((m, "name", {}) for m in TRIAL), ("CheckTrialEarlyStoppingState", "trial_name", {}),
               ("AddTrialMeasurement", "trial_name", {"measurement": {"metrics": [{"metric_id": "loss", "value": 1}]}})]


@pytest.mark.parametrize("method,field,more", NAMED + NAMED_TRIAL)
def test_names_are_checked_by_every_method(rpc, method, field, more):
    """What is no name at all is the client's mistake, by its field; what is well formed and not there is NOT_FOUND."""
    below = "/trials/1" if (method, field, more) in NAMED_TRIAL else ""
    study = rpc(VIZIER + "CreateStudy", parent=PARENT, study={"display_name": "s", "study_spec": SPEC}).name
    for bad in ("", "studies/1" + below, f"{PARENT}/studies/{below}", f"{PARENT}/study/1{below}", f"{PARENT}/studies/1{below}/more",
                f"projects/demo/locations/-/studies/1{below}", f"projects/demo/locations/nowhere-1/studies/1{below}",
                study if below else study + "/trials/1"):
        refused(grpc.StatusCode.INVALID_ARGUMENT, field, rpc, VIZIER + method, **{field: bad}, **more)
    gone = f"{PARENT}/studies/77{below}"
    refused(grpc.StatusCode.NOT_FOUND, None, rpc, VIZIER + method, **{field: gone}, **more)
    if below:
        for trial in ("1", "0", "01", "x", "-1", "18446744073709551616"):
            refused(grpc.StatusCode.NOT_FOUND, None, rpc, VIZIER + method, **{field: f"{study}/trials/{trial}"}, **more)


@pytest.mark.parametrize("method,more", [("CreateStudy", {"study": {"display_name": "s", "study_spec": SPEC}}), ("ListStudies", {}),
                                         ("LookupStudy", {"display_name": "s"})])
def test_parents_are_checked_by_every_method(rpc, method, more):
    for bad in ("", "projects/demo", "projects/demo/locations/nowhere-1", f"{PARENT}/studies/1"):
        refused(grpc.StatusCode.INVALID_ARGUMENT, "parent", rpc, VIZIER + method, parent=bad, **more)


def test_what_requests_must_have(rpc):
    study = rpc(VIZIER + "CreateStudy", parent=PARENT, study={"display_name": "s", "study_spec": SPEC}).name
    trial = rpc(VIZIER + "CreateTrial", parent=study, trial={"parameters": [{"parameter_id": "x", "value": {"number_value": 0.5}}]}).name
    for method, field, request in (
            ("CreateStudy", "study", {"parent": PARENT}), ("LookupStudy", "display_name", {"parent": PARENT}),
            ("CreateTrial", "trial", {"parent": study}), ("AddTrialMeasurement", "measurement", {"trial_name": trial}),
            ("CompleteTrial", "infeasible_reason", {"name": trial, "infeasible_reason": "why"}),
            ("ListTrials", "page_size", {"parent": study, "page_size": -1}), ("ListTrials", "page_token", {"parent": study, "page_token": "x"}),
            ("ListStudies", "page_size", {"parent": PARENT, "page_size": -1}),
            ("ListStudies", "page_token", {"parent": PARENT, "page_token": "x"})):
        refused(grpc.StatusCode.INVALID_ARGUMENT, field, rpc, VIZIER + method, **request)
    # What the server says of a resource is not the client's to say.
    made = rpc(VIZIER + "CreateStudy", parent=PARENT, study={"display_name": "t", "study_spec": SPEC, "name": "mine", "state": 3,
                                                             "inactive_reason": "tired"})
    assert made.state == 1 and made.name != "mine" and not made.inactive_reason
    own = rpc(VIZIER + "CreateTrial", parent=study, trial={
        "name": "mine", "id": "99", "state": 2, "client_id": "me", "custom_job": "j", "infeasible_reason": "no",
        "parameters": [{"parameter_id": "x", "value": {"number_value": 0.25}}]})
    assert own.id == "2" and own.state == 1 and not (own.client_id or own.custom_job or own.infeasible_reason)
