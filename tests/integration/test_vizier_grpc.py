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
