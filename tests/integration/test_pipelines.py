"""Training pipelines over REST: life, inputs in every dialect, lists, cancel, delete, bad input (reference 05)."""
import copy
import re

import pytest

from conftest import PARENT, wait_until
from pipelines import CUSTOM, POOL, TUNING, create, pipeline, refusal, wait


def test_a_pipeline_is_a_job_with_the_pipelines_name(fake):
    body = pipeline(labels={"run_ms": 300}, encryptionSpec={"kmsKeyName": "projects/p/locations/l/keyRings/r/cryptoKeys/k"})
    p = create(fake, body)
    assert re.fullmatch(r"projects/\d{12}/locations/us-central1/trainingPipelines/[1-9]\d{18}", p["name"])
    assert p["state"] == "PIPELINE_STATE_PENDING"
    for key, value in body.items():
        assert p[key] == value, key
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3,9})?Z", p["createTime"])
    assert not {"error", "startTime", "endTime", "trainingTaskMetadata"} & set(p)
    running = wait_until(lambda: (lambda q: q if q["state"] == "PIPELINE_STATE_RUNNING" else None)(fake.get(p["name"])))
    assert running["startTime"] and "endTime" not in running
    child = fake.get(running["trainingTaskMetadata"]["backingCustomJob"])
    assert child["displayName"] == "trip-custom-job" and child["labels"] == body["labels"]
    assert child["encryptionSpec"] == body["encryptionSpec"]
    pool = child["jobSpec"]["workerPoolSpecs"][0]
    assert pool["containerSpec"] == {"imageUri": "busybox"} and pool["replicaCount"] == "1"
    assert pool["diskSpec"] == {"bootDiskType": "pd-ssd", "bootDiskSizeGb": 100}
    done = wait(fake, p["name"])
    assert done["state"] == "PIPELINE_STATE_SUCCEEDED" and "error" not in done
    assert done["createTime"] <= done["startTime"] <= done["endTime"] == done["updateTime"]
    child = fake.get(child["name"])
    assert child["state"] == "JOB_STATE_SUCCEEDED" and child["startTime"] == done["startTime"]


def test_the_end_of_the_job_is_the_end_of_the_pipeline(fake):
    p = wait(fake, create(fake, pipeline(labels={"exit": 3}))["name"])
    child = fake.get(p["trainingTaskMetadata"]["backingCustomJob"])
    assert p["state"] == "PIPELINE_STATE_FAILED" and child["state"] == "JOB_STATE_FAILED"
    assert p["error"] == child["error"] and p["error"]["code"] == 3
    # A job that is cancelled by itself takes its pipeline along.
    p = create(fake, pipeline(labels={"run_ms": 60000}))
    child = wait_until(lambda: fake.get(p["name"]).get("trainingTaskMetadata"))["backingCustomJob"]
    fake.call("POST", f"/v1/{child}:cancel", {})
    p = wait(fake, p["name"])
    assert p["state"] == "PIPELINE_STATE_CANCELLED" and p["error"] == {"code": 1, "message": "CANCELED"}


def test_cancel_at_any_time_and_delete_when_over(fake):
    p = create(fake, pipeline(labels={"run_ms": 60000}))
    r = fake.call("DELETE", "/v1/" + p["name"])
    assert r.status_code == 400 and r.json()["error"]["status"] == "FAILED_PRECONDITION"
    assert "cancel it first" in r.json()["error"]["message"]
    r = fake.call("POST", f"/v1/{p['name']}:cancel", {})
    assert r.status_code == 200 and r.json() == {}
    assert fake.get(p["name"])["state"] in ("PIPELINE_STATE_CANCELLING", "PIPELINE_STATE_CANCELLED")
    done = wait(fake, p["name"])
    assert done["state"] == "PIPELINE_STATE_CANCELLED" and done["error"] == {"code": 1, "message": "CANCELED"}
    child = done.get("trainingTaskMetadata", {}).get("backingCustomJob")
    if child:
        assert fake.get(child)["state"] == "JOB_STATE_CANCELLED"
    assert fake.call("POST", f"/v1/{p['name']}:cancel").status_code == 200
    assert fake.get(p["name"]) == done
    op = fake.call("DELETE", "/v1/" + p["name"]).json()
    assert op["done"] is True and op["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert fake.call("GET", "/v1/" + op["name"]).json() == op
    for r in (fake.call("GET", "/v1/" + p["name"]), fake.call("DELETE", "/v1/" + p["name"]),
              fake.call("POST", f"/v1/{p['name']}:cancel", {})):
        assert r.status_code == 404 and "The TrainingPipeline" in r.json()["error"]["message"]
    if child:
        assert fake.get(child)["state"] == "JOB_STATE_CANCELLED"  # it stays


def test_lists_filters_pages_and_masks(fake):
    names = [wait(fake, create(fake, pipeline(displayName=n, labels={"run_ms": 1, "exit": e}))["name"])["name"]
             for n, e in (("one", 0), ("two", 1), ("three", 0))]

    def ids(query):
        r = fake.call("GET", f"/v1/{PARENT}/trainingPipelines?{query}")
        assert r.status_code == 200, r.text
        return [p["displayName"] for p in r.json().get("trainingPipelines", [])]

    assert ids("") == ["three", "two", "one"]
    assert ids('filter=display_name="two"') == ["two"]
    assert ids('filter=displayName:"t*"') == ["three", "two"]
    assert ids('filter=state="PIPELINE_STATE_FAILED"') == ["two"]
    assert ids("filter=state!=PIPELINE_STATE_FAILED") == ["three", "one"]
    assert ids(f'filter=training_task_definition="{CUSTOM}"') == ["three", "two", "one"]
    assert ids('filter=training_task_definition:"*automl*"') == []
    assert ids("filter=labels.cusp-test-exit=1") == ["two"]
    assert ids('filter=create_time>"2020-01-01T00:00:00Z" AND NOT labels.cusp-test-exit=0') == ["two"]
    r = fake.call("GET", f"/v1/{PARENT}/trainingPipelines?pageSize=2&readMask=name,state").json()
    assert [sorted(p) for p in r["trainingPipelines"]] == [["name", "state"]] * 2
    r = fake.call("GET", f"/v1/{PARENT}/trainingPipelines?pageSize=2&pageToken={r['nextPageToken']}").json()
    assert [p["name"] for p in r["trainingPipelines"]] == names[:1] and "nextPageToken" not in r
    r = fake.call("GET", f"/v1/{PARENT}/trainingPipelines?filter=nope=1")
    assert r.status_code == 400 and "filter" in r.text


DIALECTS = {
    "camel": {"workerPoolSpecs": [POOL], "scheduling": {"timeout": "7200s"}},
    # What the Python SDK sends: snake_case, doubles, ints for enums, nulls (reference 05 §3).
    "sdk": {"worker_pool_specs": [{"replica_count": 1.0, "machine_spec": {"machine_type": "n1-standard-4"},
                                   "disk_spec": {"boot_disk_type": "pd-ssd", "boot_disk_size_gb": 100.0},
                                   "container_spec": {"image_uri": "busybox", "command": None}}],
            "base_output_directory": {"output_uri_prefix": "gs://stage/out"}, "service_account": None, "network": "",
            "scheduling": {"timeout": "7200s", "restart_job_on_worker_restart": True, "disable_retries": False,
                           "strategy": 3, "max_wait_duration": None}},
    # A user who replaced only the value of the documented template (05 §9).
    "template": {"workerPoolSpecs": [POOL], "scheduling": {"TIMEOUT": 7200}},
    "text": {"WORKER_POOL_SPECS": [POOL], "scheduling": {"timeout": "7200"}},
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_inputs_are_understood_and_echoed_as_they_were_sent(fake, dialect):
    inputs = copy.deepcopy(DIALECTS[dialect])
    p = create(fake, pipeline(inputs))
    assert p["trainingTaskInputs"] == inputs
    p = wait(fake, p["name"])
    assert p["trainingTaskInputs"] == inputs and p["state"] == "PIPELINE_STATE_SUCCEEDED"
    spec = fake.get(p["trainingTaskMetadata"]["backingCustomJob"])["jobSpec"]
    assert spec["scheduling"]["timeout"] == "7200s"
    assert spec["workerPoolSpecs"][0]["containerSpec"] == {"imageUri": "busybox"}
    assert spec["workerPoolSpecs"][0]["replicaCount"] == "1"
    if dialect == "sdk":
        assert spec["scheduling"]["strategy"] == "STANDARD" and spec["scheduling"]["restartJobOnWorkerRestart"]
        assert spec["baseOutputDirectory"] == {"outputUriPrefix": "gs://stage/out"}


def test_what_is_left_out_and_what_is_a_number(fake):
    pool = {"machineSpec": {"machineType": "n1-standard-4"},
            "containerSpec": {"imageUri": "busybox", "args": ["--lr", 0.001, "--epochs", 3],
                              "env": [{"name": "N", "value": 5}]}}
    p = wait(fake, create(fake, pipeline({"workerPoolSpecs": [pool, {}], "scheduling": {"timeout": 0.5}}))["name"])
    spec = fake.get(p["trainingTaskMetadata"]["backingCustomJob"])["jobSpec"]
    first = spec["workerPoolSpecs"][0]
    assert first["replicaCount"] == "1" and spec["workerPoolSpecs"][1] == {}
    assert first["containerSpec"]["args"] == ["--lr", "0.001", "--epochs", "3"]
    assert first["containerSpec"]["env"] == [{"name": "N", "value": "5"}]
    assert spec["scheduling"]["timeout"] == "0.500s"


def test_mistakes_are_named_all_at_once(fake):
    e, fields = refusal(fake, {})
    assert e["message"].startswith("List of found errors:\t1.Field: display_name; Message: ")
    assert set(fields) == {"display_name", "training_task_definition"}
    pool = copy.deepcopy(POOL)
    pool["machineSpec"]["machineTyp"] = "n1-standard-4"
    pool["diskSpec"] = {"bootDiskSizeGb": 1}
    _, fields = refusal(fake, pipeline({"workerPoolSpecs": [pool], "turbo": True}))
    at = "training_task_inputs.worker_pool_specs[0]"
    assert "machineType" in fields[at + ".machine_spec.machineTyp"]
    assert "workerPoolSpecs" in fields["training_task_inputs.turbo"]
    assert "100 to 64000" in fields[at + ".disk_spec.boot_disk_size_gb"]
    _, fields = refusal(fake, pipeline({"workerPoolSpecs": [dict(POOL, replicaCount="many")]}))
    assert list(fields) == [at + ".replica_count"]
    _, fields = refusal(fake, pipeline({"workerPoolSpecs": {}}))
    assert fields["training_task_inputs.worker_pool_specs"] == "A list is expected here."
    for inputs in ("text", [1], 7):
        _, fields = refusal(fake, dict(pipeline(), trainingTaskInputs=inputs))
        assert fields == {"training_task_inputs": "The inputs must be an object."}
    _, fields = refusal(fake, dict(pipeline(), trainingTaskInputs=None))
    assert fields == {"training_task_inputs": "Required field is not set."}
    _, fields = refusal(fake, pipeline({"workerPoolSpecs": [POOL], "scheduling": {"timeout": "soon"}}))
    assert list(fields) == ["training_task_inputs.scheduling.timeout"]
    _, fields = refusal(fake, pipeline({"workerPoolSpecs": [POOL, None]}))
    assert list(fields) == ["training_task_inputs.worker_pool_specs[1]"]
    _, fields = refusal(fake, pipeline(displayName="x" * 129, labels={"UPPER": 1}))
    assert set(fields) == {"display_name", "labels"} or set(fields) == {"display_name"}


def test_other_tasks_are_refused_by_name(fake):
    uri = CUSTOM.replace("custom_task", "automl_tabular")
    _, fields = refusal(fake, pipeline(trainingTaskDefinition=uri))
    assert uri in fields["training_task_definition"] and CUSTOM in fields["training_task_definition"]
    tuning = {"studySpec": {"metrics": [{"metricId": "acc", "goal": "MAXIMIZE"}],
                            "parameters": [{"parameterId": "lr", "doubleValueSpec": {"minValue": 0.1, "maxValue": 1}}],
                            "ALGORITHM": "RANDOM_SEARCH"},
              "maxTrialCount": 6, "parallelTrialCount": 2, "labels": {"a": "b"},
              "trialJobSpec": {"workerPoolSpecs": [POOL],
                               "baseOutputDirectory": {"outputUriPrefix": "gs://my-bucket/hpt"}}}
    del tuning["trialJobSpec"]["baseOutputDirectory"], tuning["studySpec"]["metrics"]
    tuning.update(maxTrialCount=0, state="JOB_STATE_RUNNING")
    _, fields = refusal(fake, pipeline(tuning, trainingTaskDefinition=TUNING))
    at = "training_task_inputs."
    assert set(fields) == {at + f for f in ("state", "study_spec.metrics", "max_trial_count",
                                            "trial_job_spec.base_output_directory")}


def test_pipelines_survive_the_server(make_server):
    s = make_server("--engine=fake").start()
    ended = wait(s, create(s, pipeline())["name"])
    running = create(s, pipeline(labels={"run_ms": 60000}))
    wait_until(lambda: s.get(running["name"])["state"] == "PIPELINE_STATE_RUNNING")
    s.kill9()
    s.start()
    assert s.get(ended["name"]) == ended
    # The scripted engine forgets its containers with the process: the job is tried again, or lost; not the pipeline.
    assert s.get(running["name"])["state"] == "PIPELINE_STATE_RUNNING"
    s.call("POST", f"/v1/{running['name']}:cancel", {})
    assert wait(s, running["name"])["state"] == "PIPELINE_STATE_CANCELLED"
    jobs = s.call("GET", f"/v1/{PARENT}/customJobs").json()["customJobs"]
    assert len(jobs) == 2
    s.stop()
