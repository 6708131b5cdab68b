"""examples/hp-tuning, small: the real library reports from the prebuilt image, and tuning finds a network that knows its digits.

Extended, and where the sklearn-cpu image is built already; CUSP_TEST_MODE=full builds it.
"""
import glob
import os
import subprocess

import pytest

from conftest import BUILD, PARENT, ROOT, needs_root

CACHED = bool(glob.glob("/var/cache/cusp/recipes/sklearn-cpu-*.image.json"))
FULL = os.environ.get("CUSP_TEST_MODE") == "full"
EXTENDED = os.environ.get("CUSP_EXTENDED") == "1"
pytestmark = [needs_root, pytest.mark.skipif(
    not (FULL or (EXTENDED and CACHED)), reason="NOT TESTED: trains 8 networks; CUSP_EXTENDED=1 where the image is built, or "
                                                "CUSP_TEST_MODE=full, does")]


def test_the_example(make_server):
    s = make_server("--engine=local").start()
    r = subprocess.run([os.path.join(ROOT, "examples", "hp-tuning", "run"), os.path.relpath(BUILD, ROOT)], capture_output=True,
                       text=True, env={**os.environ, "CUSP_ENDPOINT": s.url, "TRIALS": "8", "PARALLEL": "2"})
    assert r.returncode == 0, r.stderr[-2000:]
    job = s.call("GET", f"/v1/{PARENT}/hyperparameterTuningJobs").json()["hyperparameterTuningJobs"][0]
    job = s.get(job["name"])
    assert job["state"] == "JOB_STATE_SUCCEEDED" and len(job["trials"]) == 8
    for t in job["trials"]:
        assert t["state"] == "SUCCEEDED", t
        assert [m["stepCount"] for m in t["measurements"]] == [str(k) for k in range(1, 9)]
    best = max(t["finalMeasurement"]["metrics"][0]["value"] for t in job["trials"])
    assert best > 0.9, r.stdout
    s.stop()
