"""The SDK's three training classes on one server: argv = PROTOCOL ("rest", "grpc-tls", ...) [dataset].

One JSON line for each case: {"case", "ok", "detail"}. With `dataset` every class trains on a managed tabular dataset.
The jobs are the scripted engine's: what they would leave behind is put into the bucket beforehand.
"""
import json
import os
import sys
import traceback

RESULTS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # the SDK's own log and setup.py's go to stdout: keep them away from the result

import connection as c  # noqa: E402

BUCKET = "sdk-pipelines"
IMAGE = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-0:latest"
SERVING = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-0:latest"
SCRIPT = "import os\nprint(os.environ)\n"
CSV = "x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(200))


class Cases:
    def __init__(self, protocol, with_dataset):
        c.prepare(protocol)
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import aiplatform, storage
        self.ai = aiplatform
        aiplatform.init(project=c.PROJECT, location=c.LOCATION, staging_bucket=f"gs://{BUCKET}",
                        credentials=AnonymousCredentials(), api_endpoint=c.api_endpoint(protocol),
                        api_transport=protocol.removesuffix("-tls"))
        self.bucket = storage.Client(project=c.PROJECT, credentials=AnonymousCredentials()).create_bucket(BUCKET)
        self.dataset = None
        if with_dataset:
            self.bucket.blob("in/data.csv").upload_from_string(CSV)
            self.dataset = aiplatform.TabularDataset.create(display_name="rows", gcs_source=[f"gs://{BUCKET}/in/data.csv"])

    def base(self, name):
        """A base directory in which the model lies already."""
        self.bucket.blob(f"{name}/model/model.joblib").upload_from_string(name)
        return f"gs://{BUCKET}/{name}"

    def more(self):
        if not self.dataset:
            return {}
        return {"dataset": self.dataset, "training_fraction_split": 0.6, "validation_fraction_split": 0.2,
                "test_fraction_split": 0.2}

    def check(self, job, model, name):
        assert job.state.name == "PIPELINE_STATE_SUCCEEDED" and not job.has_failed
        assert job.get_model().resource_name == model.resource_name
        assert model.display_name == name and model.version_id == "1" and "default" in model.version_aliases
        assert model.uri.rstrip("/") == f"gs://{BUCKET}/{name}/model", model.uri
        assert self.ai.Model(model.resource_name).display_name == name
        assert [m.resource_name for m in self.ai.Model.list(filter=f'display_name="{name}"')] == [model.resource_name]
        pipeline = job.gca_resource
        child = self.ai.CustomJob.get(pipeline.training_task_metadata["backingCustomJob"])
        assert child.display_name == job.display_name + "-custom-job"
        env = {}
        pool = child.job_spec.worker_pool_specs[0]
        for e in (pool.container_spec or pool.python_package_spec).env:
            env[e.name] = e.value
        if self.dataset:
            assert env["AIP_DATA_FORMAT"] == "csv" and env["AIP_TRAINING_DATA_URI"].endswith("/training-*.csv"), env
            assert env["AIP_TEST_DATA_URI"].startswith(f"gs://{BUCKET}/{name}/dataset-{self.dataset.name}-"), env
            lines = 0
            for i, kind in enumerate(("training", "validation", "test")):
                prefix = env[f"AIP_{kind.upper()}_DATA_URI"].removeprefix(f"gs://{BUCKET}/").split("*")[0]
                texts = [b.download_as_text() for b in self.bucket.list_blobs(prefix=prefix)]
                assert texts and all(t.startswith("x,y\n") for t in texts), (kind, texts)
                rows = sum(t.count("\n") - 1 for t in texts)
                assert abs(rows - (120, 40, 40)[i]) < 40, (kind, rows)
                lines += rows
            assert lines == 200, lines
        else:
            assert not [n for n in env if n.startswith("AIP_")], env
        return child

    # ---- the classes
    def script(self):
        with open("task.py", "w", encoding="utf-8") as f:
            f.write(SCRIPT)
        job = self.ai.CustomTrainingJob(display_name="a script", script_path="task.py", container_uri=IMAGE,
                                        model_serving_container_image_uri=SERVING, labels={"kind": "script"})
        model = job.run(model_display_name="script", base_output_dir=self.base("script"), args=["--rate", 0.5, "--n", 3],
                        environment_variables={"A": "b"}, replica_count=2, machine_type="n1-standard-4", timeout=600,
                        restart_job_on_worker_restart=True, sync=True, **self.more())
        child = self.check(job, model, "script")
        assert child.labels == {"kind": "script"} and len(child.job_spec.worker_pool_specs) == 2
        package = child.job_spec.worker_pool_specs[0].python_package_spec
        assert list(package.args) == ["--rate", "0.5", "--n", "3"] and package.executor_image_uri == IMAGE, package
        staged = package.package_uris[0].removeprefix(f"gs://{BUCKET}/")
        assert self.bucket.blob(staged).exists(), staged
        assert child.job_spec.scheduling.timeout.total_seconds() == 600
        assert child.job_spec.scheduling.restart_job_on_worker_restart
        again = self.ai.CustomTrainingJob.get(job.resource_name)
        assert again.display_name == "a script" and again.state == job.state

    def package(self):
        job = self.ai.CustomPythonPackageTrainingJob(
            display_name="a package", python_package_gcs_uri=f"gs://{BUCKET}/pkg.tar.gz", python_module_name="trainer.task",
            container_uri=IMAGE, model_serving_container_image_uri=SERVING)
        model = job.run(model_display_name="package", base_output_dir=self.base("package"), sync=False, **self.more())
        job.wait_for_resource_creation()
        model.wait()
        self.check(job, model, "package")

    def container(self):
        job = self.ai.CustomContainerTrainingJob(
            display_name="a container", container_uri=c.IMAGE, command=["true"], model_serving_container_image_uri=SERVING,
            model_description="of a container", model_serving_container_predict_route="/predict")
        model = job.run(model_display_name="container", base_output_dir=self.base("container"), model_labels={"a": "b"},
                        model_version_aliases=["prod"], model_version_description="first", sync=True, **self.more())
        self.check(job, model, "container")
        assert model.version_description == "first" and sorted(model.version_aliases) == ["default", "prod"]
        assert model.labels == {"a": "b"} and model.container_spec.predict_route == "/predict"
        second = job_again = self.ai.CustomContainerTrainingJob(
            display_name="again", container_uri=c.IMAGE, model_serving_container_image_uri=SERVING)
        second = job_again.run(model_display_name="container", base_output_dir=self.base("container"),
                               parent_model=model.resource_name, is_default_version=False, sync=True, **self.more())
        assert second.resource_name == model.resource_name and second.version_id == "2", second.version_id
        assert [v.version_id for v in model.versioning_registry.list_versions()] in (["1", "2"], ["2", "1"])

    def no_model(self):
        job = self.ai.CustomContainerTrainingJob(display_name="no model", container_uri=c.IMAGE)
        assert job.run(base_output_dir=f"gs://{BUCKET}/none", sync=True, **self.more()) is None
        assert job.state.name == "PIPELINE_STATE_SUCCEEDED"

    def failed(self):
        job = self.ai.CustomContainerTrainingJob(display_name="failed", container_uri=c.IMAGE,
                                                 labels={"cusp-test-exit": "3"}, model_serving_container_image_uri=SERVING)
        try:
            job.run(base_output_dir=self.base("failed"), sync=True)
        except RuntimeError as e:
            assert "code: 3" in str(e) and "non-zero status of 3" in str(e), e
        else:
            raise AssertionError("a failed pipeline raised nothing")
        assert job.has_failed and not self.ai.Model.list(filter='display_name="failed-model"')

    def cancelled(self):
        job = self.ai.CustomContainerTrainingJob(display_name="cancelled", container_uri=c.IMAGE,
                                                 labels={"cusp-test-run-ms": "60000"})
        job.submit(base_output_dir=f"gs://{BUCKET}/c")
        c.wait_until(lambda: job.state.name == "PIPELINE_STATE_RUNNING", "the pipeline to run")
        job.cancel()
        c.wait_until(lambda: job.state.name == "PIPELINE_STATE_CANCELLED", "the pipeline to stop")
        assert job.gca_resource.error.code == 1
        job.delete()
        assert not self.ai.CustomContainerTrainingJob.list(filter='display_name="cancelled"')


def main(protocol, *more):
    cases = Cases(protocol, "dataset" in more)
    names = ["script", "package", "container"] + ([] if more else ["no_model", "failed", "cancelled"])
    for name in names:
        try:
            line = {"case": name, "ok": True, "detail": getattr(cases, name)() or ""}
        except Exception as e:
            line = {"case": name, "ok": False, "detail": f"{type(e).__name__}: {e}\n{traceback.format_exc()[-1500:]}"}
        print(json.dumps(line), file=RESULTS)


main(*sys.argv[1:])
