"""Tuning jobs by official clients, unmodified: HyperparameterTuningJob of the Python SDK, JobServiceClient of Node, Java and
Go, grpcurl by what reflection says, gcloud ai hp-tuning-jobs, curl with the documented body."""
import json
import os
import subprocess

import pytest

from conftest import PARENT, TERMINAL, skip_without, wait_until, with_tls
from matrix import cases_that_went_well, need, program, python, succeeds, told, told_node
from test_sdk_pipelines import extended, ways

CONFIG = """displayName: from-file
maxTrialCount: 9
labels: {cusp-test-metric: loss}
studySpec:
  metrics:
  - metricId: loss
    goal: MINIMIZE
  parameters:
  - parameterId: lr
    scaleType: UNIT_LOG_SCALE
    doubleValueSpec: {minValue: 0.001, maxValue: 1}
trialJobSpec:
  workerPoolSpecs:
  - machineSpec: {machineType: n1-standard-4}
    replicaCount: 1
    containerSpec: {imageUri: busybox}
"""


@ways(("v1", "rest"))
def test_the_sdks_class(make_server, tmp_path, venv, protocol):
    need("python")
    s = with_tls(make_server)
    env = told(s, GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=s.ca)  # read when the SDK is imported
    done = cases_that_went_well(s, env, python(venv), program("python", "tunings.py"), protocol, cwd=tmp_path)
    assert done == ["run", "algorithms", "failed", "cancelled", "refused"]
    s.stop()


@pytest.mark.parametrize("protocol", ["grpc", pytest.param("rest", marks=extended), pytest.param("rest-tls", marks=extended)])
def test_node(make_server, protocol):
    need("node")
    s = with_tls(make_server)
    succeeds(s, told_node(s), "node", program("node", "tuning.js"), protocol)
    s.stop()


@pytest.mark.parametrize("transport", ["grpc", pytest.param("grpc-tls", marks=extended)])
@pytest.mark.parametrize("client", ["java", "go", "reflection"])
def test_those_of_protocol_buffers(make_server, client, transport):
    need(client)
    s = with_tls(make_server)
    succeeds(s, told(s), program(client, "run"), "--tunings", transport)
    s.stop()


@pytest.fixture
def gcloud(make_server, tmp_path):
    skip_without("gcloud")
    s = make_server("--engine=fake").start()
    env = {**os.environ, "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"), "CLOUDSDK_CORE_PROJECT": "demo",
           "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": s.url + "/", "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": s.url + "/",
           "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "1", "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
    config = tmp_path / "tune.yaml"
    config.write_text(CONFIG)

    def run(verb, *args):
        r = subprocess.run(["gcloud", "ai", "hp-tuning-jobs", verb, *args, "--region=us-central1"], env=env,
                           capture_output=True, text=True, timeout=120, check=False)
        assert r.returncode == 0, r.stderr
        return r
    run.server, run.config = s, f"--config={config}"
    yield run
    s.stop()


def test_gcloud(gcloud):
    s = gcloud.server
    r = gcloud("create", "--display-name=by-gcloud", gcloud.config, "--max-trial-count=3", "--parallel-trial-count=2",
               "--algorithm=random-search", "--format=json")
    j = json.loads(r.stdout)
    name = j["name"]
    j = wait_until(lambda: (lambda x: x if x["state"] in TERMINAL else None)(s.get(name)))
    assert j["state"] == "JOB_STATE_SUCCEEDED" and len(j["trials"]) == 3 and j["displayName"] == "by-gcloud"
    assert j["studySpec"]["algorithm"] == "RANDOM_SEARCH"
    described = json.loads(gcloud("describe", name, "--format=json").stdout)
    assert [t["customJob"] for t in described["trials"]] == [t["customJob"] for t in j["trials"]]
    listed = json.loads(gcloud("list", "--filter=displayName=by-gcloud", "--format=json").stdout)
    assert [x["name"] for x in listed] == [name]
    said = gcloud("stream-logs", name, "--polling-interval=1")
    assert "Hyperparameter tuning job completed successfully after 3 trials" in said.stdout + said.stderr
    gcloud("cancel", name)
    assert s.get(name)["state"] == "JOB_STATE_SUCCEEDED"


def test_curl_with_the_documented_body(fake, tmp_path):
    request = {
        "displayName": "tune-lr", "maxTrialCount": 6, "parallelTrialCount": 2, "maxFailedTrialCount": 3,
        "labels": {"cusp-test-metric": "val_loss"},
        "studySpec": {
            "ALGORITHM": "RANDOM_SEARCH", "metrics": [{"metricId": "val_loss", "goal": "MINIMIZE"}],
            "parameters": [
                {"parameterId": "lr", "doubleValueSpec": {"minValue": 1e-5, "maxValue": 0.1}, "scaleType": "UNIT_LOG_SCALE"},
                {"parameterId": "layers", "integerValueSpec": {"minValue": "1", "maxValue": "4"}, "scaleType": "UNIT_LINEAR_SCALE"},
                {"parameterId": "batch", "discreteValueSpec": {"values": [16, 32, 64]}},
                {"parameterId": "opt", "categoricalValueSpec": {"values": ["sgd", "adam"]}, "conditionalParameterSpecs": [
                    {"parentCategoricalValues": {"values": ["sgd"]}, "parameterSpec": {
                        "parameterId": "momentum", "doubleValueSpec": {"minValue": 0, "maxValue": 0.99}}}]}]},
        "trialJobSpec": {
            "workerPoolSpecs": [{"replicaCount": 1, "machineSpec": {"machineType": "n1-standard-4"},
                                 "containerSpec": {"imageUri": "registry.example/train:1", "args": ["--epochs=3"]}}],
            "baseOutputDirectory": {"outputUriPrefix": "gs://my-bucket/tune/"}}}
    del request["studySpec"]["ALGORITHM"]  # stands for the field's name in the documentation's template
    body = tmp_path / "request.json"
    body.write_text(json.dumps(request))

    def curl(*args):
        r = subprocess.run(["curl", "-sS", "--fail-with-body", "-H", "Authorization: Bearer none", *args],
                           capture_output=True, text=True, timeout=60, check=False)
        assert r.returncode == 0, r.stdout + r.stderr
        return json.loads(r.stdout)
    at = f"{fake.url}/v1/"
    made = curl("-X", "POST", "-H", "Content-Type: application/json; charset=utf-8", "-d", f"@{body}",
                at + PARENT + "/hyperparameterTuningJobs")
    j = wait_until(lambda: (lambda x: x if x["state"] in TERMINAL else None)(curl(at + made["name"])))
    assert j["state"] == "JOB_STATE_SUCCEEDED" and len(j["trials"]) == 6
    assert curl("-X", "POST", "-H", "Content-Type: application/json", "-d", "{}", at + made["name"] + ":cancel") == {}
    assert curl("-X", "DELETE", at + made["name"])["done"] is True
