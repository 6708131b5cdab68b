"""Vizier through unmodified clients: Python's VizierServiceClient and google.cloud.aiplatform.vizier; Node, Java, Go, grpcurl."""
import json
import os
import re
import subprocess

import pytest

from conftest import BUILD
from matrix import missing, program

MODE = os.environ.get("CUSP_TEST_MODE", "quick")
PYTHON = [(p, v) for p in ("rest", "rest-tls", "grpc", "grpc-tls") for v in ("v1", "v2")]
SDK = ["rest", "rest-tls", "grpc-tls"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from conftest import Server
    s = Server(tmp_path_factory.mktemp("vizier") / "data", "--engine=fake")
    subprocess.run([os.path.join(BUILD, "cusp"), "tls", "init", "--data-dir", s.data_dir], check=True,
                   stdout=subprocess.DEVNULL)
    s.start()
    yield s
    if s.proc.poll() is None:
        s.stop()


def home(client):
    return os.environ.get("CUSP_CLIENT_ENV", os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")),
                                                         "cusp/clients", client))


def environment(server, **more):
    port = re.match(r"http://.*:(\d+)", server.url).group(1)
    return {**os.environ, "CUSP_ENDPOINT": server.url, "CUSP_HOSTPORT": f"localhost:{port}", "CUSP_IMAGE": "busybox",
            "CUSP_CA": os.path.join(server.data_dir, "tls/ca.pem"), **more}


def run(server, *argv, cwd=None, **env):
    done = subprocess.run(argv, env=environment(server, **env), cwd=cwd, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "ok", done.stdout[-1500:] + done.stderr[-3000:]


def beside(client, name):
    return os.path.join(os.path.dirname(program(client, "run")), name)


@pytest.mark.parametrize("protocol,venv", [("grpc", "v1")] if MODE == "quick" else PYTHON)
def test_python(server, protocol, venv):
    if missing("python"):
        pytest.skip(f"python: {missing('python')}")
    run(server, os.path.join(home("python"), venv, "bin/python"), beside("python", "studies.py"), protocol)


@pytest.mark.parametrize("protocol", SDK)
def test_python_high_level(server, protocol):
    """The extra "vizier" lies beside the virtual environment; it is installed by make test-clients only."""
    if missing("python"):
        pytest.skip(f"python: {missing('python')}")
    extra = os.path.join(home("python"), "vizier")
    if MODE == "quick":
        pytest.skip("google-vizier is large: make test-clients")
    subprocess.run([beside("python", "setup-vizier")], check=True, stdout=subprocess.DEVNULL)
    run(server, os.path.join(home("python"), "v1/bin/python"), beside("python", "studies.py"), protocol, "sdk", PYTHONPATH=extra)


@pytest.mark.parametrize("protocol", ["grpc"] if MODE == "quick" else ["rest", "rest-tls", "grpc", "grpc-tls"])
def test_node(server, protocol):
    if missing("node"):
        pytest.skip(f"node: {missing('node')}")
    ca = os.path.join(server.data_dir, "tls/ca.pem")
    run(server, "node", beside("node", "studies.js"), protocol, NODE_PATH=os.path.join(home("node"), "node_modules"),
        NODE_EXTRA_CA_CERTS=ca, GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=ca)


# What they need is fetched and compiled first, which takes minutes the first time.
compiled = pytest.mark.skipif(MODE == "quick", reason="needs compilers and some minutes: make test-full")


@compiled
@pytest.mark.parametrize("transport", ["grpc", "grpc-tls"])
@pytest.mark.parametrize("client", ["java", "go"])
def test_those_of_protocol_buffers(server, client, transport):
    """Every method of the generated client, by --studies of its driver."""
    if missing(client):
        pytest.skip(f"{client}: {missing(client)}")
    run(server, program(client, "run"), "--studies", transport)


class Refused(Exception):
    """What grpcurl says of a status."""


@compiled
@pytest.mark.parametrize("transport", ["grpc", "grpc-tls"])
def test_grpcurl(server, transport):
    """It has no .proto file of ours: what it sends and shows is what reflection says of VizierService."""
    if missing("reflection"):
        pytest.skip(f"reflection: {missing('reflection')}")
    own = os.path.join(home("reflection"), "grpcurl")
    env = environment(server)
    how = ["-plaintext", env["CUSP_HOSTPORT"]] if transport == "grpc" else ["-cacert", env["CUSP_CA"], env["CUSP_HOSTPORT"]]

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
