"""The demo's job, killed at a random moment: the server dies without warning while scikit-learn trains,
comes back, and the job ends SUCCEEDED with a complete log and a model in the bucket.

Runs where the sklearn-cpu image is built already; CUSP_TEST_MODE=full builds it.
"""
import glob
import io
import json
import os
import random
import subprocess
import tarfile
import time

import pytest

from conftest import BUILD, ROOT, needs_root, runners, wait_until

CACHED = bool(glob.glob("/var/cache/cusp/recipes/sklearn-cpu-*.image.json"))
FULL = os.environ.get("CUSP_TEST_MODE") == "full"
pytestmark = [needs_root, pytest.mark.skipif(
    not (CACHED or FULL), reason="NOT TESTED: the sklearn-cpu image is not built here; make demo or CUSP_TEST_MODE=full builds it")]
IMAGE = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest"
ROUNDS = 12
EXPORT = ("import os\nfrom sklearn.datasets import load_breast_cancer\nos.makedirs('/gcs/demo/data', exist_ok=True)\n"
          "load_breast_cancer(as_frame=True).frame.to_csv('/gcs/demo/data/cancer.csv', index=False)\n")


def package():
    out = io.BytesIO()
    src = os.path.join(ROOT, "examples", "sklearn-cancer")
    with tarfile.open(fileobj=out, mode="w:gz") as t:
        t.add(src, "trainer-0.1", filter=lambda i: None if "__pycache__" in i.name else i)
    return out.getvalue()


def pool(**task):
    return {"workerPoolSpecs": [{"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": 1, **task}]}


def test_demo_killed_at_random_moments(make_server):
    seed = int(os.environ.get("CUSP_SEED", random.randrange(1 << 30)))
    print(f"CUSP_SEED={seed}")
    rng = random.Random(seed)
    s = make_server("--engine=local").start()
    subprocess.run([os.path.join(BUILD, "cusp"), "--endpoint", s.url, "images", "build", "sklearn-cpu"], check=True)
    assert s.call("POST", "/storage/v1/b?project=demo", {"name": "demo"}).status_code == 200
    r = s.http.post(f"{s.url}/upload/storage/v1/b/demo/o", params={"uploadType": "media", "name": "trainer-0.1.tar.gz"}, data=package())
    assert r.status_code == 200, r.text
    export = s.wait(s.create({"displayName": "export", "jobSpec": pool(
        containerSpec={"imageUri": IMAGE, "command": ["python3", "-c", EXPORT]})})["name"], 60)
    assert export["state"] == "JOB_STATE_SUCCEEDED", export

    for n in range(3):
        spec = pool(pythonPackageSpec={
            "executorImageUri": IMAGE, "packageUris": ["gs://demo/trainer-0.1.tar.gz"], "pythonModule": "trainer.task",
            "args": ["--data=gs://demo/data/cancer.csv", "--trees=60", f"--rounds={ROUNDS}", "--pause=0.1"]})
        spec["baseOutputDirectory"] = {"outputUriPrefix": f"gs://demo/runs/{n}"}
        name = s.create({"displayName": "demo", "jobSpec": spec})["name"]
        # Anywhere from the packages (first round) through the training to its end.
        until = time.monotonic() + rng.uniform(0, 4 if n else 8)
        while time.monotonic() < until and "endTime" not in s.get(name):
            time.sleep(0.01)
        s.kill9()
        time.sleep(rng.uniform(0, 1))  # how long the machine is without a server is part of the dice
        s.start()
        job = s.wait(name, 120)
        assert job["state"] == "JOB_STATE_SUCCEEDED", (n, job, s.log()[-2000:])
        lines = [x["message"] for x in s.logs(name, task="workerpool0-0")]
        assert lines[0].startswith("read 569 rows"), lines
        assert [x.split(":")[0] for x in lines if x.startswith("round ")] == [f"round {i}/{ROUNDS}" for i in range(1, ROUNDS + 1)]
        done = [e for e in s.events(name)["events"] if e["type"].endswith("JOB_DONE")]
        assert len(done) == 1
        metrics = json.loads(s.call("GET", f"/storage/v1/b/demo/o/runs%2F{n}%2Fmodel%2Fmetrics.json?alt=media").text)
        assert metrics["accuracy"] > 0.9
        assert s.call("GET", f"/storage/v1/b/demo/o/runs%2F{n}%2Fmodel%2Fmodel.joblib").status_code == 200
        wait_until(lambda: not runners(s.data_dir), 30, "runners to go")
        assert s.data_dir not in open("/proc/mounts").read()
    s.stop()
