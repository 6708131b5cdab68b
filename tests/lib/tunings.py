"""Tuning jobs as tests make them: bodies for the scripted engine, create, wait, the fields of a refusal."""
import copy

from conftest import PARENT, TERMINAL, fake_job
from resources import Kind

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


JOBS = Kind("hyperparameterTuningJobs", TERMINAL, seconds=90)
post, create, wait, run, refusal = JOBS.post, JOBS.create, JOBS.wait, JOBS.run, JOBS.refusal


def values(trial):
    return {p["parameterId"]: p["value"] for p in trial["parameters"]}


def final(trial, metric="loss"):
    return {m["metricId"]: m.get("value", 0) for m in trial["finalMeasurement"]["metrics"]}[metric]
