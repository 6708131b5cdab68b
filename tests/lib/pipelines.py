"""Training pipelines as tests make them: bodies for the scripted engine, create, wait, the fields of a refusal."""
import copy

from conftest import fake_job
from resources import Kind

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


PIPELINES = Kind("trainingPipelines", OVER)
post, create, wait, refusal = PIPELINES.post, PIPELINES.create, PIPELINES.wait, PIPELINES.refusal
