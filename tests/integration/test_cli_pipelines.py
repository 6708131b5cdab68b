"""cusp training-pipelines on managed datasets: what the flags ask for, what comes of it, who follows it, what is refused."""
import json

import pytest

from command import environment, runner
from test_dataset_export import LABELS, images
from test_datasets import put, result, table

POOL = "--worker-pool-spec=machine-type=n1-standard-4,replica-count=1,container-image-uri=busybox"
SERVING = "--model-container-image-uri=us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-0:latest"
BASE = "--base-output-dir=gs://data/run"


@pytest.fixture
def cusp(fake):
    run = runner("training-pipelines", environment(CUSP_ENDPOINT=fake.url))
    run.server = fake
    return run


def described(cusp, one):
    return json.loads(cusp("describe", one, "--format=json").stdout)


def env_of(s, p):
    job = s.get(p["trainingTaskMetadata"]["backingCustomJob"])
    return {e["name"]: e["value"] for e in job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"].get("env", [])}


def test_from_a_table_to_two_versions_of_a_model(cusp):
    s = cusp.server
    ds = result(s, table(s, put(s, "in.csv", "x,use\n" + "".join(f"{i},{('training', 'test')[i % 2]}\n" for i in range(100)))))["name"]
    put(s, "run/model/m", "abc")
    first = cusp("create", "--display-name=trip", POOL, BASE, "--dataset=" + ds.rsplit("/", 1)[1], "--fraction-split=0.6,0.2,0.2",
                 "--model-display-name=m", SERVING, "--model-id=by-flags", "--model-version-aliases=prod,gold",
                 "--model-version-description=the first", "--stream-logs")
    assert "SUCCEEDED\n  model projects/" in first.stdout and first.stdout.endswith("/models/by-flags, version 1\n"), first.stdout
    p = described(cusp, cusp("list").stdout.splitlines()[1].split()[0])
    assert p["state"] == "PIPELINE_STATE_SUCCEEDED" and p["inputDataConfig"] == {
        "datasetId": ds.rsplit("/", 1)[1], "gcsDestination": {"outputUriPrefix": "gs://data/run"},
        "fractionSplit": {"trainingFraction": 0.6, "validationFraction": 0.2, "testFraction": 0.2}}
    assert env_of(s, p)["AIP_TRAINING_DATA_URI"].startswith("gs://data/run/dataset-")
    m = s.get(p["modelToUpload"]["name"])
    assert m["name"].endswith("/models/by-flags") and sorted(m["versionAliases"]) == ["default", "gold", "prod"]
    assert m["versionDescription"] == "the first" and m["artifactUri"] == "gs://data/run/model"
    put(s, "art/m", "abc")
    two = cusp("create", "--display-name=trip", POOL, "--dataset=" + ds.rsplit("/", 1)[1], "--dataset-output-dir=gs://data/else",
               "--predefined-split=use", "--parent-model=" + m["name"], "--model-display-name=m", SERVING,
               "--model-artifact-uri=gs://data/art").stdout.strip()
    assert cusp("wait", two).stdout.endswith("/models/by-flags, version 2\n")
    p = described(cusp, two)
    assert p["modelToUpload"]["versionId"] == "2" and p["inputDataConfig"]["predefinedSplit"] == {"key": "use"}
    assert env_of(s, p)["AIP_TEST_DATA_URI"].startswith("gs://data/else/dataset-")
    rows = cusp("list").stdout.splitlines()
    assert len(rows) == 3 and "by-flags@2" in rows[1] and "by-flags@1" in rows[2], rows


def test_on_images_and_what_goes_wrong(cusp):
    s = cusp.server
    s.call("POST", "/storage/v1/b?project=demo", {"name": "data"})
    ds = images(s, n=12).split("/")[-1]
    one = cusp("create", "--display-name=pets", POOL, BASE, "--dataset=" + ds, "--annotation-schema-uri=" + LABELS).stdout.strip()
    assert cusp("wait", one).stdout == "SUCCEEDED\n"
    assert env_of(s, described(cusp, one))["AIP_DATA_FORMAT"] == "jsonl"
    p = cusp("create", "--display-name=pets", POOL, BASE, "--dataset=" + ds, rc=2)
    assert "input_data_config.annotation_schema_uri" in p.stderr, p.stderr
    p = cusp("create", "--display-name=pets", POOL, BASE, "--dataset=4711", rc=3)
    assert "datasets/4711" in p.stderr, p.stderr
    bad = cusp("create", "--display-name=pets", POOL, BASE, "--model-display-name=m", SERVING).stdout.strip()
    assert cusp("wait", bad, rc=5).stdout.startswith("FAILED\n")
    assert 'There are no files under "gs://data/run/model" to copy.' in cusp("describe", bad).stdout
