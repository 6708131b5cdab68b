"""Training pipelines that tune: the tuning job they make, what follows it, the best trial's model (reference 05 §3-§5)."""

import pytest

from conftest import PARENT, wait_until
from pipelines import POOL, create, refusal, tuned, wait
from tunings import final

SERVING = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-0:latest"


def with_model(**more):
    return tuned(modelToUpload={"displayName": "m", "containerSpec": {"imageUri": SERVING}}, **more)


@pytest.fixture
def trial_models(fake):
    """What trials would have left behind."""
    assert fake.call("POST", "/storage/v1/b?project=demo", {"name": "out"}).status_code == 200
    for i in range(1, 7):
        r = fake.call("POST", f"/upload/storage/v1/b/out/o?uploadType=media&name=hpt/{i}/model/m", f"trial {i}")
        assert r.status_code == 200, r.text


def child_of(s, p):
    return s.get(p["trainingTaskMetadata"]["backingHyperparameterTuningJob"])


def test_the_best_trial_becomes_the_model(fake, trial_models):
    body = with_model()
    p = create(fake, body)
    assert p["trainingTaskInputs"] == body["trainingTaskInputs"] and p["state"] == "PIPELINE_STATE_PENDING"
    p = wait(fake, p["name"])
    assert p["state"] == "PIPELINE_STATE_SUCCEEDED", p
    child = child_of(fake, p)
    assert child["displayName"] == "trip-hyperparameter-tuning-job" and child["state"] == "JOB_STATE_SUCCEEDED"
    assert child["labels"] == body["labels"] and child["maxTrialCount"] == 6 and len(child["trials"]) == 6
    assert child["studySpec"]["algorithm"] == "RANDOM_SEARCH"
    best = min(child["trials"], key=lambda t: (final(t, "acc"), int(t["id"])))
    assert p["trainingTaskMetadata"] == {"backingHyperparameterTuningJob": child["name"],
                                         "bestTrialBackingCustomJob": best["customJob"]}
    assert p["startTime"] == child["startTime"]
    m = fake.get(p["modelToUpload"]["name"])
    assert m["artifactUri"] == f"gs://out/hpt/{best['id']}/model" and m["trainingPipeline"] == p["name"]
    assert p["modelToUpload"]["versionId"] == "1"
    job = fake.get(best["customJob"])
    assert job["jobSpec"]["baseOutputDirectory"]["outputUriPrefix"] == f"gs://out/hpt/{best['id']}"
    assert job["displayName"] == f"trip-hyperparameter-tuning-job-trial-{best['id']}"


def test_without_a_model_it_only_tunes(fake):
    labels = {"of-task": "1"}
    p = create(fake, tuned(3, inputs={"labels": labels}))
    done = wait(fake, p["name"])
    assert done["state"] == "PIPELINE_STATE_SUCCEEDED" and "modelToUpload" not in done
    assert child_of(fake, done)["labels"] == {**p["labels"], **labels}
    assert done["trainingTaskMetadata"]["bestTrialBackingCustomJob"]
    story = fake.events(p["name"])
    assert story["state"] == "PIPELINE_STATE_SUCCEEDED" and "trials" not in story
    assert [e["type"] for e in story["events"]] == ["PIPELINE_CREATED", "CHILD_CREATED", "CHILD_RUNNING", "CHILD_DONE"]
    assert story["events"][3]["facts"]["best_job"] == done["trainingTaskMetadata"]["bestTrialBackingCustomJob"]


def test_its_error_is_the_tuning_jobs(fake):
    p = wait(fake, create(fake, tuned(labels={"exit": 1}))["name"])
    child = child_of(fake, p)
    assert p["state"] == "PIPELINE_STATE_FAILED" and child["state"] == "JOB_STATE_FAILED"
    assert p["error"] == child["error"] and p["error"]["message"].startswith("Trial ")
    assert "bestTrialBackingCustomJob" not in p["trainingTaskMetadata"]


def test_cancel_reaches_the_trials(fake):
    p = create(fake, with_model(labels={"run_ms": 60000}))
    wait_until(lambda: fake.get(p["name"])["state"] == "PIPELINE_STATE_RUNNING")
    r = fake.call("DELETE", "/v1/" + p["name"])
    assert r.status_code == 400 and "cancel it first" in r.json()["error"]["message"]
    assert fake.call("POST", f"/v1/{p['name']}:cancel", {}).status_code == 200
    done = wait(fake, p["name"])
    assert done["state"] == "PIPELINE_STATE_CANCELLED" and done["error"]["code"] == 1
    child = child_of(fake, done)
    assert child["state"] == "JOB_STATE_CANCELLED"
    assert {fake.get(t["customJob"])["state"] for t in child["trials"]} == {"JOB_STATE_CANCELLED"}
    assert "models" not in fake.call("GET", f"/v1/{PARENT}/models").json()


def test_a_child_cancelled_by_itself_ends_the_pipeline(fake):
    p = create(fake, tuned(labels={"run_ms": 60000}))
    p = wait_until(lambda: (lambda q: q if "trainingTaskMetadata" in q else None)(fake.get(p["name"])))
    fake.call("POST", f"/v1/{child_of(fake, p)['name']}:cancel", {})
    done = wait(fake, p["name"])
    assert done["state"] == "PIPELINE_STATE_CANCELLED"


def test_no_files_of_the_best_trial(fake):
    assert fake.call("POST", "/storage/v1/b?project=demo", {"name": "out"}).status_code == 200
    p = wait(fake, create(fake, with_model(trials=1, parallel=1))["name"])
    assert p["state"] == "PIPELINE_STATE_FAILED", p
    assert p["error"] == {"code": 3, "message": 'There are no files under "gs://out/hpt/1/model" to copy.'}


def test_a_base_directory_is_needed(fake):
    _, fields = refusal(fake, tuned(inputs={"trialJobSpec": {"workerPoolSpecs": [POOL]}}))
    assert set(fields) == {"training_task_inputs.trial_job_spec.base_output_directory"}


def test_it_survives_the_server(make_server):
    s = make_server("--engine=fake").start()
    p = create(s, tuned(4, 2, labels={"run_ms": 300}))
    for _ in range(3):
        wait_until(lambda: s.get(p["name"])["state"] != "PIPELINE_STATE_PENDING")
        s.kill9()
        s.start()
    done = wait(s, p["name"])
    assert done["state"] == "PIPELINE_STATE_SUCCEEDED", done
    assert [t["id"] for t in child_of(s, done)["trials"]] == ["1", "2", "3", "4"]
    assert len(s.call("GET", f"/v1/{PARENT}/hyperparameterTuningJobs").json()["hyperparameterTuningJobs"]) == 1
    assert len(s.call("GET", f"/v1/{PARENT}/customJobs").json()["customJobs"]) == 4
    s.stop()
