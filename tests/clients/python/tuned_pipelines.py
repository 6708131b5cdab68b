"""A pipeline that tunes on a managed dataset, by the generated PipelineServiceClient (the SDK's classes make none):
argv = PROTOCOL. One JSON line: {"case", "ok", "detail"}. Trials are the scripted engine's; their models lie there already.
"""
import json
import os
import sys
import traceback

RESULTS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import connection as c  # noqa: E402

BUCKET = "tuned-pipelines"
TRIALS = 4
SERVING = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-0:latest"
TASK = "gs://google-cloud-aiplatform/schema/trainingjob/definition/hyperparameter_tuning_task_1.0.0.yaml"
CSV = "x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(200))


def struct(value):
    from google.protobuf import json_format, struct_pb2
    return json_format.ParseDict(value, struct_pb2.Value())


def options(protocol):
    from google.auth.credentials import AnonymousCredentials
    return {"credentials": AnonymousCredentials(), "transport": protocol.removesuffix("-tls"),
            "client_options": {"api_endpoint": c.api_endpoint(protocol)}}


def tunes_on_a_dataset(protocol):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform, aiplatform_v1 as v1, storage
    aiplatform.init(project=c.PROJECT, location=c.LOCATION, staging_bucket=f"gs://{BUCKET}", credentials=AnonymousCredentials(),
                    api_endpoint=c.api_endpoint(protocol), api_transport=protocol.removesuffix("-tls"))
    bucket = storage.Client(project=c.PROJECT, credentials=AnonymousCredentials()).create_bucket(BUCKET)
    bucket.blob("in/data.csv").upload_from_string(CSV)
    for i in range(1, TRIALS + 1):
        bucket.blob(f"run/{i}/model/model.joblib").upload_from_string(f"trial {i}")
    dataset = aiplatform.TabularDataset.create(display_name="rows", gcs_source=[f"gs://{BUCKET}/in/data.csv"])
    pipelines = v1.PipelineServiceClient(**options(protocol))
    pool = {"replicaCount": 1, "machineSpec": {"machineType": "n1-standard-4"}, "containerSpec": {"imageUri": c.IMAGE}}
    made = pipelines.create_training_pipeline(parent=c.PARENT, training_pipeline=v1.TrainingPipeline(
        display_name="tuned", labels={"cusp-test-metric": "loss", "cusp-test-run-ms": "5"},
        input_data_config=v1.InputDataConfig(
            dataset_id=dataset.name, gcs_destination=v1.GcsDestination(output_uri_prefix=f"gs://{BUCKET}/run"),
            fraction_split=v1.FractionSplit(training_fraction=0.6, validation_fraction=0.2, test_fraction=0.2)),
        training_task_definition=TASK,
        training_task_inputs=struct({
            "studySpec": {"metrics": [{"metricId": "loss", "goal": "MINIMIZE"}], "algorithm": "RANDOM_SEARCH",
                          "parameters": [{"parameterId": "lr", "doubleValueSpec": {"minValue": 0, "maxValue": 1}}]},
            "maxTrialCount": TRIALS, "parallelTrialCount": 2,
            "trialJobSpec": {"workerPoolSpecs": [pool], "baseOutputDirectory": {"outputUriPrefix": f"gs://{BUCKET}/run"}}}),
        model_to_upload=v1.Model(display_name="best", container_spec=v1.ModelContainerSpec(image_uri=SERVING))))
    over = (v1.PipelineState.PIPELINE_STATE_SUCCEEDED, v1.PipelineState.PIPELINE_STATE_FAILED)
    c.wait_until(lambda: pipelines.get_training_pipeline(name=made.name).state in over, "the pipeline to end")
    p = pipelines.get_training_pipeline(name=made.name)
    assert p.state == over[0], p.error
    jobs = v1.JobServiceClient(**options(protocol))
    tuning = jobs.get_hyperparameter_tuning_job(name=p.training_task_metadata["backingHyperparameterTuningJob"])
    assert len(tuning.trials) == TRIALS and all(t.state.name == "SUCCEEDED" for t in tuning.trials)
    told = set()
    for t in tuning.trials:
        env = {e.name: e.value for e in jobs.get_custom_job(name=t.custom_job).job_spec.worker_pool_specs[0].container_spec.env}
        assert env["AIP_DATA_FORMAT"] == "csv", env
        told.add(tuple(env[f"AIP_{x}_DATA_URI"] for x in ("TRAINING", "VALIDATION", "TEST")))
    assert len(told) == 1, told
    lines = 0
    for uri in told.pop():
        for b in bucket.list_blobs(prefix=uri.removeprefix(f"gs://{BUCKET}/").split("*")[0]):
            lines += b.download_as_text().count("\n") - 1
    assert lines == 200, lines
    best = min(tuning.trials, key=lambda t: (t.final_measurement.metrics[0].value, int(t.id)))
    assert p.training_task_metadata["bestTrialBackingCustomJob"] == best.custom_job
    model = v1.ModelServiceClient(**options(protocol)).get_model(name=p.model_to_upload.name)
    assert model.artifact_uri == f"gs://{BUCKET}/run/{best.id}/model" and model.training_pipeline == p.name, model
    assert model.version_id == p.model_to_upload.version_id == "1" and model.display_name == "best"


def main(protocol):
    c.prepare(protocol)
    try:
        line = {"case": "tunes_on_a_dataset", "ok": True, "detail": tunes_on_a_dataset(protocol) or ""}
    except Exception as e:
        line = {"case": "tunes_on_a_dataset", "ok": False, "detail": f"{type(e).__name__}: {e}\n{traceback.format_exc()[-1500:]}"}
    print(json.dumps(line), file=RESULTS)


main(*sys.argv[1:])
