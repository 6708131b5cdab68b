"""Training pipelines as tests make them: bodies for the scripted engine, create, wait, the fields of a refusal."""
import copy

from conftest import PARENT, fake_job, wait_until

CUSTOM = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
TUNING = "gs://google-cloud-aiplatform/schema/trainingjob/definition/hyperparameter_tuning_task_1.0.0.yaml"
OVER = {"PIPELINE_STATE_SUCCEEDED", "PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED"}
POOL = {"replicaCount": 1, "machineSpec": {"machineType": "n1-standard-4"}, "containerSpec": {"imageUri": "busybox"}}


def pipeline(inputs=None, *, labels=None, **more):
    """For the fake engine: the job's script is in the labels, which children inherit."""
    body = {"displayName": "trip", "trainingTaskDefinition": CUSTOM,
            "trainingTaskInputs": inputs or {"workerPoolSpecs": [copy.deepcopy(POOL)]},
            "labels": fake_job(**(labels or {}))["labels"]}
    body.update(more)
    return body


def tuned(trials=6, parallel=2, *, inputs=None, labels=None, **more):
    """The documented body, for the scripted engine: a trial's `acc` is better the nearer lr is to 0.5."""
    task = {"studySpec": {"metrics": [{"metricId": "acc", "goal": "MINIMIZE"}],
                          "parameters": [{"parameterId": "lr", "scaleType": "UNIT_LOG_SCALE",
                                          "doubleValueSpec": {"minValue": 0.0001, "maxValue": 0.1}}],
                          "algorithm": "RANDOM_SEARCH"},
            "maxTrialCount": trials, "parallelTrialCount": parallel, "maxFailedTrialCount": min(2, trials),
            "trialJobSpec": {"workerPoolSpecs": [POOL], "scheduling": {"timeout": "3600s"},
                             "baseOutputDirectory": {"outputUriPrefix": "gs://out/hpt"}}}
    task.update(inputs or {})
    return pipeline(task, labels={"metric": "acc", "run_ms": 5, **(labels or {})}, trainingTaskDefinition=TUNING, **more)


def post(s, body, parent=PARENT):
    return s.call("POST", f"/v1/{parent}/trainingPipelines", body)


def create(s, body):
    r = post(s, body)
    assert r.status_code == 200, r.text
    return r.json()


def wait(s, name, seconds=60):
    def over():
        p = s.get(name)
        return p if p.get("state") in OVER else None
    return wait_until(over, seconds, f"{name} to end; log:\n{s.log()[-1500:]}")


def refusal(s, body, code=400):
    r = post(s, body)
    assert r.status_code == code, r.text
    e = r.json()["error"]
    fields = {}
    for v in (v for d in e.get("details", []) for v in d.get("fieldViolations", [])):
        fields.setdefault(v["field"], v["description"])
    return e, fields
