"""A script on the user's disk becomes a job: the SDK packs it, stages it in a bucket and names it in the job."""
import glob
import io
import json
import os
import tarfile

import pytest

from conftest import needs_root
from matrix import need, program, python, succeeds

IMAGE = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-0:latest"
SCRIPT = """import argparse, os
p = argparse.ArgumentParser()
p.add_argument("--words")
print("the script got", p.parse_args().words, "and", os.environ["AIP_MODEL_DIR"])
"""
IMAGES = sorted(glob.glob("/var/cache/cusp/recipes/sklearn-cpu-*.image.json"), key=os.path.getmtime)


def run(server, tmp_path, venv):
    need("python")
    script = tmp_path / "hello.py"
    script.write_text(SCRIPT)
    assert server.call("POST", "/storage/v1/b?project=demo", {"name": "staging"}).status_code == 200
    return json.loads(succeeds(server, {**os.environ, "CUSP_ENDPOINT": server.url, "STORAGE_EMULATOR_HOST": server.url},
                               python(venv), program("python", "local_script.py"), "staging", str(script), IMAGE, cwd=tmp_path))


def staged(server, job):
    """The package spec of the job, and the names and texts inside the archive that it points to."""
    package = job["jobSpec"]["workerPoolSpecs"][0]["pythonPackageSpec"]
    [uri] = package["packageUris"]
    bucket, name = uri.removeprefix("gs://").split("/", 1)
    r = server.http.get(f"{server.url}/storage/v1/b/{bucket}/o/{name.replace('/', '%2F')}", params={"alt": "media"})
    assert r.status_code == 200, uri
    with tarfile.open(fileobj=io.BytesIO(r.content)) as t:
        return package, {m.name: t.extractfile(m).read().decode() for m in t if m.isfile()}


@pytest.mark.parametrize("venv", ["v1", "v2"])
def test_the_script_is_staged_and_named(make_server, tmp_path, venv):
    server = make_server("--engine=fake")
    server.start()
    ended = run(server, tmp_path, venv)
    assert ended["state"] == "JOB_STATE_SUCCEEDED"
    package, files = staged(server, server.get(ended["name"]))
    assert package["executorImageUri"] == IMAGE and package["args"] == ["--words", "two words"]
    top, module = package["pythonModule"].split(".")
    assert [text for name, text in files.items() if name.endswith(f"{top}/{module}.py")] == [SCRIPT]


@needs_root
@pytest.mark.skipif(not IMAGES, reason="NOT TESTED: the sklearn-cpu image is not built here (cusp images build sklearn-cpu)")
def test_the_script_runs(make_server, tmp_path):
    server = make_server("--engine=local", "--stop-grace-s=1")
    server.start()
    with open(IMAGES[-1], encoding="utf-8") as f:
        r = server.call("POST", "/cusp/v1/images:importPath", f.read())
    assert r.status_code == 200, r.text
    ended = run(server, tmp_path, "v1")
    assert ended["state"] == "JOB_STATE_SUCCEEDED", server.logs(ended["name"])
    lines = [r.get("message", r.get("text", "")) for r in server.logs(ended["name"])]
    assert any("the script got two words and gs://staging/aiplatform-custom-job-" in line for line in lines), lines
