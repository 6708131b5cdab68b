"""Vizier through unmodified clients: Python's VizierServiceClient and google.cloud.aiplatform.vizier; Node, Java, Go, grpcurl."""
import json
import os
import subprocess

import pytest

from matrix import folder, need, program, python, python_says_ok, says_ok, scripted_server, told, told_node

MODE = os.environ.get("CUSP_TEST_MODE", "quick")
PYTHON = [(p, v) for p in ("rest", "rest-tls", "grpc", "grpc-tls") for v in ("v1", "v2")]
SDK = ["rest", "rest-tls", "grpc-tls"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with scripted_server(tmp_path_factory.mktemp("vizier")) as s:
        yield s


@pytest.mark.parametrize("protocol,venv", [("grpc", "v1")] if MODE == "quick" else PYTHON)
def test_python(server, protocol, venv):
    python_says_ok(server, "studies.py", protocol, venv)


@pytest.mark.parametrize("protocol", SDK)
def test_python_high_level(server, protocol):
    """The extra "vizier" lies beside the virtual environment; it is installed by make test-clients only."""
    need("python")
    if MODE == "quick":
        pytest.skip("google-vizier is large: make test-clients")
    subprocess.run([program("python", "setup-vizier")], check=True, stdout=subprocess.DEVNULL)
    env = told(server, PYTHONPATH=os.path.join(folder("python"), "vizier"))
    says_ok(server, env, python("v1"), program("python", "studies.py"), protocol, "sdk")


@pytest.mark.parametrize("protocol", ["grpc"] if MODE == "quick" else ["rest", "rest-tls", "grpc", "grpc-tls"])
def test_node(server, protocol):
    need("node")
    says_ok(server, told_node(server), "node", program("node", "studies.js"), protocol)


# What they need is fetched and compiled first, which takes minutes the first time.
compiled = pytest.mark.skipif(MODE == "quick", reason="needs compilers and some minutes: make test-full")


@compiled
@pytest.mark.parametrize("transport", ["grpc", "grpc-tls"])
@pytest.mark.parametrize("client", ["java", "go"])
def test_those_of_protocol_buffers(server, client, transport):
    """Every method of the generated client, by --studies of its driver."""
    need(client)
    says_ok(server, told(server), program(client, "run"), "--studies", transport)


class Refused(Exception):
    """What grpcurl says of a status."""


@compiled
@pytest.mark.parametrize("transport", ["grpc", "grpc-tls"])
def test_grpcurl(server, transport):
    """It has no .proto file of ours: what it sends and shows is what reflection says of VizierService."""
    need("reflection")
    own = os.path.join(folder("reflection"), "grpcurl")
    how = ["-plaintext", server.hostport] if transport == "grpc" else ["-cacert", server.ca, server.hostport]

    def call(method, **request):
        done = subprocess.run([own if os.path.exists(own) else "grpcurl", "-format-error", "-d", json.dumps(request), *how,
                               "google.cloud.aiplatform.v1.VizierService/" + method], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise Refused(done.stderr)
        return json.loads(done.stdout)

    parent = "projects/demo/locations/us-central1"
    body = {"displayName": f"grpcurl-{transport}", "studySpec": {
        "metrics": [{"metricId": "loss", "goal": "MINIMIZE"}], "parameters": [{"parameterId": "x", "doubleValueSpec": {"maxValue": 1}}]}}
    study = call("CreateStudy", parent=parent, study=body)
    assert study["state"] == "ACTIVE" and call("GetStudy", name=study["name"]) == study
    assert call("LookupStudy", parent=parent, displayName=body["displayName"]) == study
    assert study in call("ListStudies", parent=parent)["studies"]
    op = call("SuggestTrials", parent=study["name"], suggestionCount=2, clientId="w")
    assert op["done"] and op["response"]["@type"].endswith("v1.SuggestTrialsResponse")
    first, second = op["response"]["trials"]
    told = call("AddTrialMeasurement", trialName=first["name"], measurement={"stepCount": "1", "metrics": [{"metricId": "loss", "value": 0.5}]})
    assert told["measurements"][0]["metrics"][0]["value"] == 0.5
    assert call("CheckTrialEarlyStoppingState", trialName=first["name"])["done"]
    assert call("CompleteTrial", name=first["name"])["state"] == "SUCCEEDED"
    assert call("StopTrial", name=second["name"])["state"] == "STOPPING"
    own_trial = call("CreateTrial", parent=study["name"], trial={"parameters": [{"parameterId": "x", "value": 0.25}]})
    assert call("GetTrial", name=own_trial["name"]) == own_trial and own_trial["state"] == "REQUESTED"
    assert [t["id"] for t in call("ListTrials", parent=study["name"])["trials"]] == ["1", "2", "3"]
    assert [t["id"] for t in call("ListOptimalTrials", parent=study["name"])["optimalTrials"]] == ["1"]
    assert call("DeleteTrial", name=own_trial["name"]) == {}
    with pytest.raises(Refused, match="NotFound|\"code\": 5"):
        call("GetTrial", name=own_trial["name"])
    with pytest.raises(Refused, match="suggestion_count"):
        call("SuggestTrials", parent=study["name"], clientId="w")
    assert call("DeleteStudy", name=study["name"]) == {}
