"""Tuning jobs as tests make them: bodies for the scripted engine, create, wait, the fields of a refusal."""
import copy

from conftest import PARENT, TERMINAL, fake_job, wait_until

COLLECTION = f"/v1/{PARENT}/hyperparameterTuningJobs"
POOL = {"replicaCount": 1, "machineSpec": {"machineType": "n1-standard-4"}, "containerSpec": {"imageUri": "busybox"}}
STUDY = {"metrics": [{"metricId": "loss", "goal": "MINIMIZE"}],
         "parameters": [{"parameterId": "lr", "doubleValueSpec": {"minValue": 0, "maxValue": 1}}]}


def study(**more):
    return {**copy.deepcopy(STUDY), **more}


def tuning(trials=4, parallel=2, *, labels=None, **more):
    """For the fake engine: the script of every trial is in the labels. A trial's `loss` falls to the sum of
    (value - 0.5)^2 over its parameters, in three steps (src/engine/fake/script.c)."""
    body = {"displayName": "tune", "maxTrialCount": trials, "parallelTrialCount": parallel, "studySpec": study(),
            "trialJobSpec": {"workerPoolSpecs": [copy.deepcopy(POOL)]},
            "labels": fake_job(**{"metric": "loss", "run_ms": 5, **(labels or {})})["labels"]}
    body.update(more)
    return body


def post(s, body):
    return s.call("POST", COLLECTION, body)


def create(s, body):
    r = post(s, body)
    assert r.status_code == 200, r.text
    return r.json()


def wait(s, name, seconds=90):
    def over():
        j = s.get(name)
        return j if j.get("state") in TERMINAL else None
    return wait_until(over, seconds, f"{name} to end; log:\n{s.log()[-1500:]}")


def run(s, body):
    return wait(s, create(s, body)["name"])


def refusal(s, body, code=400):
    """The error, and what it says of each field."""
    r = post(s, body)
    assert r.status_code == code, r.text
    e = r.json()["error"]
    fields = {}
    for v in (v for d in e.get("details", []) for v in d.get("fieldViolations", [])):
        fields.setdefault(v["field"], v["description"])
    return e, fields


def values(trial):
    return {p["parameterId"]: p["value"] for p in trial["parameters"]}


def final(trial, metric="loss"):
    return {m["metricId"]: m.get("value", 0) for m in trial["finalMeasurement"]["metrics"]}[metric]
