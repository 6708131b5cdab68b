"""Pipelines that train on a managed dataset: what the job is told, what it finds, what is refused (reference 05 §6-7)."""
import re

import pytest

from conftest import PARENT, wait_until
from pipelines import CUSTOM, POOL, TUNING, create, pipeline, refusal, tuned, wait
from tunings import final

SERVING = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-0:latest"
TABULAR = "gs://google-cloud-aiplatform/schema/dataset/metadata/tabular_1.0.0.yaml"
ROWS = 300
CSV = "x,kind,at,use\n" + "".join(
    f"{i},{'ab'[i % 2]},2024-01-{i % 28 + 1:02}T00:00:00Z,{('training', 'validation', 'test')[i % 3]}\n" for i in range(ROWS))
SETS = ("TRAINING", "VALIDATION", "TEST")


def put(s, name, text):
    r = s.call("POST", f"/upload/storage/v1/b/out/o?uploadType=media&name={name}", text)
    assert r.status_code == 200, r.text


@pytest.fixture
def table(fake):
    """A managed tabular dataset; its name."""
    assert fake.call("POST", "/storage/v1/b?project=demo", {"name": "out"}).status_code == 200
    put(fake, "in.csv", CSV)
    put(fake, "run/model/m", "abc")
    op = fake.call("POST", f"/v1/{PARENT}/datasets", {"displayName": "t", "metadataSchemaUri": TABULAR, "metadata": {
        "inputConfig": {"gcsSource": {"uri": ["gs://out/in.csv"]}}}}).json()
    op = wait_until(lambda: (lambda o: o if o.get("done") else None)(fake.call("GET", "/v1/" + op["name"]).json()))
    return op["response"]["name"]


def on_data(dataset, labels=None, config=None, **more):
    data = {"datasetId": dataset.rsplit("/", 1)[1], "gcsDestination": {"outputUriPrefix": "gs://out/run"}}
    data.update(config or {})
    return pipeline({"workerPoolSpecs": [POOL, {**POOL, "replicaCount": 2}],
                     "baseOutputDirectory": {"outputUriPrefix": "gs://out/run"}}, labels=labels, inputDataConfig=data, **more)


def rows(s, wildcard):
    """All rows below the header that a wildcard URI leads to."""
    prefix = wildcard.removeprefix("gs://out/").split("*")[0]
    found = s.call("GET", f"/storage/v1/b/out/o?prefix={prefix}").json()["items"]
    out = []
    for o in found:
        r = s.http.get(f"{s.url}/storage/v1/b/out/o/{o['name'].replace('/', '%2F')}?alt=media")
        head, *lines = r.text.splitlines()
        assert head == CSV.splitlines()[0]
        out += lines
    return out


def env_of(s, p, pool=0):
    job = s.get(p["trainingTaskMetadata"]["backingCustomJob"])
    return {e["name"]: e["value"] for e in job["jobSpec"]["workerPoolSpecs"][pool]["containerSpec"]["env"]}


def test_every_trial_reads_what_was_exported(fake, table):
    """Reference 05 section 3 with 6: a pipeline that tunes, on a managed dataset; the best trial's model is kept, and a server
    that dies meanwhile repeats neither the export nor a trial."""
    for i in range(1, 5):
        put(fake, f"hpt/{i}/model/m", f"trial {i}")
    p = create(fake, tuned(4, 2, labels={"run_ms": 300}, inputDataConfig={
        "datasetId": table.rsplit("/", 1)[1], "gcsDestination": {"outputUriPrefix": "gs://out/run"},
        "fractionSplit": {"trainingFraction": 0.6, "validationFraction": 0.2, "testFraction": 0.2}},
        modelToUpload={"displayName": "best", "containerSpec": {"imageUri": SERVING}}))
    wait_until(lambda: fake.get(p["name"])["state"] == "PIPELINE_STATE_RUNNING")
    fake.kill9()
    fake.start()
    p = wait(fake, p["name"])
    assert p["state"] == "PIPELINE_STATE_SUCCEEDED", p
    child = fake.get(p["trainingTaskMetadata"]["backingHyperparameterTuningJob"])
    assert [t["id"] for t in child["trials"]] == ["1", "2", "3", "4"]
    told = set()
    for t in child["trials"]:
        env = {e["name"]: e["value"] for e in fake.get(t["customJob"])["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["env"]}
        assert env["AIP_DATA_FORMAT"] == "csv"
        told.add(tuple(env[f"AIP_{x}_DATA_URI"] for x in SETS))
    assert len(told) == 1
    sets = [rows(fake, uri) for uri in told.pop()]
    assert sorted(sum(sets, [])) == sorted(CSV.splitlines()[1:]) and [len(x) for x in sets] == [180, 60, 60]
    best = min(child["trials"], key=lambda t: (final(t, "acc"), int(t["id"])))
    assert p["trainingTaskMetadata"]["bestTrialBackingCustomJob"] == best["customJob"]
    m = fake.get(p["modelToUpload"]["name"])
    assert m["artifactUri"] == f"gs://out/hpt/{best['id']}/model" and m["trainingPipeline"] == p["name"]
    assert m["dataStats"]["trainingDataItemsCount"] == "180" and m["modelSourceInfo"]["sourceType"] == "CUSTOM"
    assert len(fake.call("GET", f"/v1/{PARENT}/models").json()["models"]) == 1
    lineage = fake.call("GET", f"/cusp/v1/{m['name']}@1:lineage").json()
    assert best["customJob"] in str(lineage) and table in str(lineage), lineage


def test_the_job_reads_what_was_exported(fake, table):
    body = on_data(table, config={"fractionSplit": {"trainingFraction": 0.6, "validationFraction": 0.2, "testFraction": 0.2}},
                   modelToUpload={"displayName": "m", "containerSpec": {"imageUri": SERVING}})
    p = create(fake, body)
    assert p["inputDataConfig"] == body["inputDataConfig"]
    p = wait(fake, p["name"])
    assert p["state"] == "PIPELINE_STATE_SUCCEEDED", p
    env = env_of(fake, p)
    assert env == env_of(fake, p, 1)  # every pool is told
    assert list(env) == ["AIP_DATA_FORMAT"] + [f"AIP_{x}_DATA_URI" for x in SETS] and env["AIP_DATA_FORMAT"] == "csv"
    folder = rf"gs://out/run/dataset-{table.rsplit('/', 1)[1]}-tabular-\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z/"
    sets = []
    for x in SETS:
        assert re.fullmatch(folder + x.lower() + r"-\*\.csv", env[f"AIP_{x}_DATA_URI"]), env
        sets.append(rows(fake, env[f"AIP_{x}_DATA_URI"]))
    assert sorted(sum(sets, [])) == sorted(CSV.splitlines()[1:])
    assert len(sets[0]) > len(sets[1]) + len(sets[2]) * 0.5 and all(sets)
    m = fake.get(p["modelToUpload"]["name"])
    assert m["dataStats"] == {f"{x.lower()}DataItemsCount": str(len(r)) for x, r in zip(SETS, sets)} | {
        k: v for k, v in m["dataStats"].items() if "Annotations" in k}
    lineage = fake.call("GET", f"/cusp/v1/{m['name']}:lineage").text
    assert table in lineage and p["name"] in lineage


def test_other_splits_and_variables_of_the_users_own(fake, table):
    body = on_data(table, config={"predefinedSplit": {"key": "use"}})
    body["trainingTaskInputs"]["workerPoolSpecs"] = [dict(POOL, containerSpec={"imageUri": "busybox", "env": [
        {"name": "AIP_DATA_FORMAT", "value": "mine"}, {"name": "WHERE", "value": "$(AIP_TEST_DATA_URI)"}]})]
    p = wait(fake, create(fake, body)["name"])
    env = env_of(fake, p)
    assert env["AIP_DATA_FORMAT"] == "mine" and env["WHERE"] == "$(AIP_TEST_DATA_URI)" and len(env) == 5
    assert [len(rows(fake, env[f"AIP_{x}_DATA_URI"])) for x in SETS] == [ROWS / 3] * 3


def test_what_is_wrong_with_the_data_is_said_at_once(fake, table):
    half = {"trainingFraction": 0.9, "validationFraction": 0.9}
    for config, field in (({"fractionSplit": half}, "input_data_config.fraction_split"),
                          ({"filterSplit": {"trainingFilter": "a", "validationFilter": "b", "testFilter": "c"}},
                           "input_data_config.filter_split"),
                          ({"predefinedSplit": {}}, "input_data_config.predefined_split"),
                          ({"gcsDestination": {"outputUriPrefix": "/tmp"}}, "input_data_config.gcs_destination")):
        _, fields = refusal(fake, on_data(table, config=config))
        assert [f for f in fields if f.startswith(field)] == list(fields) and fields, (config, fields)
    body = on_data(table, config={"fractionSplit": half}, displayName="")
    _, fields = refusal(fake, body)
    assert "display_name" in fields and len(fields) == 2  # both at once
    e, _ = refusal(fake, on_data("x/123456789"), 404)
    assert "123456789" in e["message"]
    body = on_data(table)
    del body["inputDataConfig"]["gcsDestination"]
    _, fields = refusal(fake, body)
    assert fields and all(f.startswith("input_data_config") for f in fields)
    r = fake.call("POST", f"/v1/{PARENT}/trainingPipelines", on_data(table, config={
        "predefinedSplit": {"key": "use"}, "fractionSplit": {"trainingFraction": 1}}))
    assert r.status_code == 400 and "already set" in r.text
    assert "trainingPipelines" not in fake.call("GET", f"/v1/{PARENT}/trainingPipelines").json()


def test_data_that_go_bad_end_the_pipeline(fake, table):
    put(fake, "in.csv", CSV + "1,2\n")  # ragged
    p = wait(fake, create(fake, on_data(table))["name"])
    assert p["state"] == "PIPELINE_STATE_FAILED" and "trainingTaskMetadata" not in p and "startTime" not in p
    assert "gs://out/in.csv" in p["error"]["message"] and str(ROWS + 2) in p["error"]["message"], p["error"]
    assert fake.call("DELETE", f"/storage/v1/b/out/o/in.csv").status_code == 204
    p = wait(fake, create(fake, on_data(table))["name"])
    assert p["state"] == "PIPELINE_STATE_FAILED" and "gs://out/in.csv" in p["error"]["message"]
    left = [o["name"] for o in fake.call("GET", "/storage/v1/b/out/o?prefix=run/dataset").json().get("items", [])]
    assert not left


def test_the_dataset_is_deleted_while_its_pipeline_runs(fake, table):
    p = create(fake, on_data(table, labels={"run_ms": 1000}))
    wait_until(lambda: fake.get(p["name"]).get("trainingTaskMetadata"))
    assert fake.call("DELETE", "/v1/" + table).status_code == 200
    p = wait(fake, p["name"])
    assert p["state"] == "PIPELINE_STATE_SUCCEEDED"  # its files are there
    assert rows(fake, env_of(fake, p)["AIP_TRAINING_DATA_URI"])


def test_killed_while_exporting(make_server):
    s = make_server("--engine=fake").start()
    s.call("POST", "/storage/v1/b?project=demo", {"name": "out"})
    put(s, "in.csv", CSV)
    op = s.call("POST", f"/v1/{PARENT}/datasets", {"displayName": "t", "metadataSchemaUri": TABULAR, "metadata": {
        "inputConfig": {"gcsSource": {"uri": ["gs://out/in.csv"]}}}}).json()
    op = wait_until(lambda: (lambda o: o if o.get("done") else None)(s.call("GET", "/v1/" + op["name"]).json()))
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": "pipeline.export.done=abort"})
    name = create(s, on_data(op["response"]["name"]))["name"]
    s.proc.wait(20)
    s.start()
    p = wait(s, name)
    assert p["state"] == "PIPELINE_STATE_SUCCEEDED", p
    env = env_of(s, p)
    assert sorted(sum((rows(s, env[f"AIP_{x}_DATA_URI"]) for x in SETS), [])) == sorted(CSV.splitlines()[1:])
    folders = {o["name"].split("/")[1] for o in s.call("GET", "/storage/v1/b/out/o?prefix=run/dataset").json()["items"]}
    assert len(folders) == 1  # the second time to the same place
    s.stop()


# ---- the documented request, as two readers fill it in

CAREFUL = {
    "displayName": "careful",
    "inputDataConfig": {"datasetId": None, "annotationsFilter": "",
                        "fractionSplit": {"trainingFraction": 0.8, "validationFraction": 0.1, "testFraction": 0.1},
                        "gcsDestination": {"outputUriPrefix": "gs://out/run"}},
    "trainingTaskDefinition": CUSTOM,
    "trainingTaskInputs": {
        "workerPoolSpecs": [{"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": 1,
                             "diskSpec": {"bootDiskType": "pd-ssd", "bootDiskSizeGb": 100},
                             "containerSpec": {"imageUri": "busybox", "command": ["true"], "args": []}}],
        "scheduling": {"timeout": "7200s"}, "baseOutputDirectory": {"outputUriPrefix": "gs://out/run/"}},
    "modelToUpload": {"displayName": "careful", "predictSchemata": {"instanceSchemaUri": "", "parametersSchemaUri": "",
                                                                    "predictionSchemaUri": ""},
                      "containerSpec": {"imageUri": SERVING}},
    "labels": {"label-name-1": "label-value-1"}}
# snake_case here and there, the template's own TIMEOUT, numbers as texts, things left empty (05 §9).
CARELESS = {
    "display_name": "careless",
    "inputDataConfig": {"dataset_id": None, "gcsDestination": {"outputUriPrefix": "gs://out/run"}},
    "trainingTaskDefinition": CUSTOM,
    "trainingTaskInputs": {
        "workerPoolSpecs": [{"machine_spec": {"machineType": "n1-standard-4", "acceleratorType": None}, "replicaCount": "1",
                             "diskSpec": {"bootDiskSizeGb": "100"}, "containerSpec": {"imageUri": "busybox", "args": [1]}}, {}],
        "scheduling": {"TIMEOUT": "7200", "disableRetries": None}, "base_output_directory": {"output_uri_prefix": "gs://out/run"}},
    "modelToUpload": {"display_name": "careless", "predictSchemata": {}, "artifactUri": "",
                      "containerSpec": {"imageUri": SERVING, "command": [], "args": [], "ports": []}},
    "labels": {}}


# The template of pipelines that tune: labels within the inputs as well, ALGORITHM and TIMEOUT as it prints them.
TUNES = {
    "careful": {
        "displayName": "careful", "trainingTaskDefinition": TUNING,
        "inputDataConfig": {"datasetId": None, "gcsDestination": {"outputUriPrefix": "gs://out/run"}},
        "trainingTaskInputs": {
            "studySpec": {"metrics": [{"metricId": "acc", "goal": "MAXIMIZE"}],
                          "parameters": [{"parameterId": "lr", "scaleType": "UNIT_LINEAR_SCALE",
                                          "doubleValueSpec": {"minValue": 0.0001, "maxValue": 0.1}}],
                          "algorithm": "RANDOM_SEARCH"},
            "maxTrialCount": 2, "parallelTrialCount": 2, "maxFailedTrialCount": 1,
            "trialJobSpec": {"workerPoolSpecs": [POOL], "scheduling": {"timeout": "3600s", "restartJobOnWorkerRestart": False},
                             "baseOutputDirectory": {"outputUriPrefix": "gs://out/hpt"}},
            "labels": {"label-name-1": "label-value-1"}},
        "modelToUpload": {"displayName": "careful", "predictSchemata": {}, "containerSpec": {"imageUri": SERVING}}},
    "careless": {
        "display_name": "careless", "training_task_definition": TUNING,
        "inputDataConfig": {"dataset_id": None, "gcsDestination": {"outputUriPrefix": "gs://out/run/"}},
        "trainingTaskInputs": {
            "study_spec": {"metrics": [{"metric_id": "acc", "goal": 1}],
                           "parameters": [{"parameterId": "lr", "scaleType": 1, "double_value_spec": {"minValue": "0.0001", "maxValue": 0.1}}],
                           "ALGORITHM": "RANDOM_SEARCH"},
            "maxTrialCount": "2", "parallel_trial_count": 2.0, "maxFailedTrialCount": None,
            "trialJobSpec": {"workerPoolSpecs": [{**POOL, "replicaCount": 1.0}, {}], "scheduling": {"TIMEOUT": 3600},
                             "base_output_directory": {"output_uri_prefix": "gs://out/hpt/"}},
            "labels": {}},
        "modelToUpload": {"displayName": "careless", "artifactUri": "", "containerSpec": {"imageUri": SERVING, "ports": []}}},
}


@pytest.mark.parametrize("reader", ["careful", "careless"])
@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_the_documented_body_that_tunes_runs_to_a_model(fake, table, reader, version):
    for i in (1, 2):
        put(fake, f"hpt/{i}/model/m", f"trial {i}")
    body = {**TUNES[reader], "labels": tuned(labels={"metric": "acc"})["labels"]}
    key = "datasetId" if reader == "careful" else "dataset_id"
    body["inputDataConfig"] = {**body["inputDataConfig"], key: table.rsplit("/", 1)[1]}
    r = fake.call("POST", f"/{version}/{PARENT}/trainingPipelines", body)
    assert r.status_code == 200, r.text
    assert r.json()["trainingTaskInputs"] == body["trainingTaskInputs"]
    p = wait(fake, r.json()["name"])
    assert p["state"] == "PIPELINE_STATE_SUCCEEDED", p
    child = fake.get(p["trainingTaskMetadata"]["backingHyperparameterTuningJob"])
    assert child["studySpec"]["algorithm"] == "RANDOM_SEARCH" and child["trialJobSpec"]["scheduling"]["timeout"] == "3600s"
    assert child["labels"] == {**body["labels"], **body["trainingTaskInputs"]["labels"]}
    best = max(child["trials"], key=lambda t: (final(t, "acc"), -int(t["id"])))
    m = fake.get(p["modelToUpload"]["name"])
    assert m["artifactUri"] == f"gs://out/hpt/{best['id']}/model" and m["displayName"] == reader
    assert p["trainingTaskMetadata"]["bestTrialBackingCustomJob"] == best["customJob"]


@pytest.mark.parametrize("reader", ["careful", "careless"])
@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_the_documented_body_runs_to_a_model(fake, table, reader, version):
    body = {**(CAREFUL if reader == "careful" else CARELESS)}
    key = "datasetId" if reader == "careful" else "dataset_id"
    # An id as the documentation says; a whole name, as people paste it.
    body["inputDataConfig"] = {**body["inputDataConfig"], key: table if reader == "careless" else table.rsplit("/", 1)[1]}
    r = fake.call("POST", f"/{version}/{PARENT}/trainingPipelines", body)
    assert r.status_code == 200, r.text
    assert r.json()["trainingTaskInputs"] == body["trainingTaskInputs"]
    p = wait(fake, r.json()["name"])
    assert p["state"] == "PIPELINE_STATE_SUCCEEDED", p
    m = fake.get(p["modelToUpload"]["name"])
    assert m["displayName"] == reader and m["versionId"] == "1" and m["trainingPipeline"] == p["name"]
    job = fake.get(p["trainingTaskMetadata"]["backingCustomJob"])
    assert job["jobSpec"]["scheduling"]["timeout"] == "7200s" and env_of(fake, p)["AIP_DATA_FORMAT"] == "csv"
