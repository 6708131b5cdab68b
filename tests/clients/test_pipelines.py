"""CustomTrainingJob, CustomPythonPackageTrainingJob and CustomContainerTrainingJob of the Python SDK, unmodified, with
and without a managed dataset; what they leave in the registry is used again."""
import json
import os
import subprocess

import pytest

from conftest import BUILD
from matrix import missing, program

HOME = os.environ.get("CUSP_CLIENT_ENV", os.path.join(
    os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "cusp/clients/python"))
FULL = os.environ.get("CUSP_TEST_MODE", "quick") == "full" or os.environ.get("CUSP_EXTENDED") == "1"
extended = pytest.mark.skipif(not FULL, reason="only with CUSP_EXTENDED=1")
WAYS = [("v1", "rest"), ("v1", "grpc-tls"), pytest.param("v2", "rest-tls", marks=extended),
        pytest.param("v2", "grpc-tls", marks=extended), pytest.param("v1", "rest-tls", marks=extended)]


def run(make_server, tmp_path, venv, protocol, *more):
    if missing("python"):
        pytest.skip(f"python: {missing('python')}")
    s = make_server("--engine=fake")
    subprocess.run([os.path.join(BUILD, "cusp"), "tls", "init", "--data-dir", s.data_dir], check=True, stdout=subprocess.DEVNULL)
    s.start()
    port = s.url.rsplit(":", 1)[1]
    driver = os.path.join(os.path.dirname(program("python", "run")), "pipelines.py")
    done = subprocess.run([os.path.join(HOME, venv, "bin/python"), driver, protocol, *more], cwd=tmp_path,
                          capture_output=True, text=True, timeout=300, check=False,
                          env={**os.environ, "CUSP_ENDPOINT": s.url, "CUSP_HOSTPORT": "localhost:" + port,
                               "CUSP_CA": os.path.join(s.data_dir, "tls", "ca.pem"), "CUSP_IMAGE": "busybox"})
    assert done.returncode == 0, done.stderr[-3000:] + s.log()[-2000:]
    lines = [json.loads(x) for x in done.stdout.splitlines()]
    bad = [f"{x['case']}: {x['detail']}" for x in lines if not x["ok"]]
    assert not bad, "\n".join(bad) + s.log()[-1500:]
    s.stop()
    return [x["case"] for x in lines]


@pytest.mark.parametrize("venv,protocol", WAYS)
def test_training_classes(make_server, tmp_path, venv, protocol):
    assert run(make_server, tmp_path, venv, protocol) == ["script", "package", "container", "no_model", "failed", "cancelled"]
