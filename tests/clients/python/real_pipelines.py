"""The SDK's three training classes on real containers: argv = PROTOCOL. Each class runs with a managed tabular dataset and
without, with sync=True and sync=False; the job fits a classifier with the image's own scikit-learn and leaves it in AIP_MODEL_DIR.

One JSON line for each case: {"case", "ok", "detail"}.
"""
import io
import json
import os
import sys
import tarfile
import traceback

RESULTS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import connection as c  # noqa: E402

BUCKET = "sdk-real"
IMAGE = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-0:latest"
SERVING = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-0:latest"
ROWS = 200
CSV = "x,y\n" + "".join(f"{i},{int(i >= ROWS / 2)}\n" for i in range(ROWS))
SCRIPT = """
import glob, json, os
import joblib
from sklearn.linear_model import LogisticRegression

def here(uri):
    return uri.replace("gs://", "/gcs/", 1)

rows = []
if "AIP_TRAINING_DATA_URI" in os.environ:
    for path in sorted(glob.glob(here(os.environ["AIP_TRAINING_DATA_URI"]))):
        with open(path) as f:
            rows += [line.strip().split(",") for line in f][1:]
else:
    rows = [(i, int(i > 5)) for i in range(10)]
model = LogisticRegression().fit([[float(x)] for x, _ in rows], [int(y) for _, y in rows])
out = here(os.environ["AIP_MODEL_DIR"])
os.makedirs(out, exist_ok=True)
joblib.dump(model, os.path.join(out, "model.joblib"))
with open(os.path.join(out, "facts.json"), "w") as f:
    json.dump({"rows": len(rows), "right": int(model.predict([[0.0]])[0] == 0), "format": os.environ.get("AIP_DATA_FORMAT")}, f)
print("fitted", len(rows))
"""


def sdist():
    out = io.BytesIO()
    files = {"setup.py": "from setuptools import setup\nsetup(name='trainer', version='0.1', packages=['trainer'])\n",
             "trainer/__init__.py": "", "trainer/task.py": SCRIPT}
    with tarfile.open(fileobj=out, mode="w:gz") as t:
        for path, text in files.items():
            i = tarfile.TarInfo("trainer-0.1/" + path)
            i.size = len(text)
            t.addfile(i, io.BytesIO(text.encode()))
    return out.getvalue()


class Cases:
    def __init__(self, protocol):
        c.prepare(protocol)
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import aiplatform, storage
        self.ai = aiplatform
        aiplatform.init(project=c.PROJECT, location=c.LOCATION, staging_bucket=f"gs://{BUCKET}",
                        credentials=AnonymousCredentials(), api_endpoint=c.api_endpoint(protocol),
                        api_transport=protocol.removesuffix("-tls"))
        self.bucket = storage.Client(project=c.PROJECT, credentials=AnonymousCredentials()).create_bucket(BUCKET)
        self.bucket.blob("in/data.csv").upload_from_string(CSV)
        self.bucket.blob("pkg/trainer-0.1.tar.gz").upload_from_string(sdist())
        self.dataset = aiplatform.TabularDataset.create(display_name="rows", gcs_source=[f"gs://{BUCKET}/in/data.csv"])

    def run(self, job, name, with_dataset, sync, **more):
        if with_dataset:
            more |= {"dataset": self.dataset, "training_fraction_split": 0.6, "validation_fraction_split": 0.2,
                     "test_fraction_split": 0.2}
        model = job.run(model_display_name=name, base_output_dir=f"gs://{BUCKET}/{name}", sync=sync, **more)
        if not sync:
            job.wait_for_resource_creation()
            model.wait()
        assert job.state.name == "PIPELINE_STATE_SUCCEEDED", job.state
        facts = json.loads(self.bucket.blob(f"{name}/model/facts.json").download_as_text())
        want = {"rows": ROWS * 6 // 10 if with_dataset else 10, "right": 1, "format": "csv" if with_dataset else None}
        assert facts == want, facts
        # The model is usable: found by name, by alias, its files where it says.
        [found] = self.ai.Model.list(filter=f'display_name="{name}"')
        assert found.resource_name == model.resource_name and model.version_aliases == ["default"]
        files = {b.name.rsplit("/", 1)[1] for b in self.bucket.list_blobs(prefix=model.uri.removeprefix(f"gs://{BUCKET}/"))}
        assert files == {"model.joblib", "facts.json"}, files
        return ""

    def script(self, **how):
        with open("task.py", "w", encoding="utf-8") as f:
            f.write(SCRIPT)
        job = self.ai.CustomTrainingJob(display_name="script", script_path="task.py", container_uri=IMAGE,
                                        model_serving_container_image_uri=SERVING)
        return self.run(job, **how)

    def package(self, **how):
        job = self.ai.CustomPythonPackageTrainingJob(
            display_name="package", python_package_gcs_uri=f"gs://{BUCKET}/pkg/trainer-0.1.tar.gz",
            python_module_name="trainer.task", container_uri=IMAGE, model_serving_container_image_uri=SERVING)
        return self.run(job, **how)

    def container(self, **how):
        job = self.ai.CustomContainerTrainingJob(display_name="container", container_uri=IMAGE, command=["python3", "-c", SCRIPT],
                                                 model_serving_container_image_uri=SERVING)
        return self.run(job, **how)


def main(protocol):
    cases = Cases(protocol)
    for kind in ("script", "package", "container"):
        for with_dataset, sync in ((True, True), (False, False)):
            name = f"{kind}-{'data' if with_dataset else 'bare'}-{'sync' if sync else 'later'}"
            try:
                detail = getattr(cases, kind)(name=name, with_dataset=with_dataset, sync=sync)
                line = {"case": name, "ok": True, "detail": detail}
            except Exception as e:
                line = {"case": name, "ok": False, "detail": f"{type(e).__name__}: {e}\n{traceback.format_exc()[-1500:]}"}
            print(json.dumps(line), file=RESULTS)


main(*sys.argv[1:])
