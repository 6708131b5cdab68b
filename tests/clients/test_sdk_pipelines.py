"""CustomTrainingJob, CustomPythonPackageTrainingJob and CustomContainerTrainingJob of the Python SDK, unmodified, with
and without a managed dataset; what they leave in the registry is used again. PipelineServiceClient of Node."""
import glob
import os

import pytest

from conftest import needs_root, with_tls
from matrix import cases_that_went_well, need, program, python, succeeds, told, told_node

FULL = os.environ.get("CUSP_TEST_MODE", "quick") == "full" or os.environ.get("CUSP_EXTENDED") == "1"
extended = pytest.mark.skipif(not FULL, reason="only with CUSP_EXTENDED=1")


def ways(quick):
    """Venv and protocol; one of them in the quick mode of `make test`."""
    every = [("v1", "rest"), ("v1", "grpc-tls"), ("v2", "rest-tls"), ("v2", "grpc-tls")]
    return pytest.mark.parametrize("venv,protocol", [w if w == quick else pytest.param(*w, marks=extended) for w in every])


def drive(s, tmp_path, venv, program_name, *argv):
    """The cases that a driver went through."""
    done = cases_that_went_well(s, told(s), python(venv), program("python", program_name), *argv, cwd=tmp_path)
    s.stop()
    return done


def run(make_server, tmp_path, venv, protocol, *more):
    need("python")
    return drive(with_tls(make_server), tmp_path, venv, "pipelines.py", protocol, *more)


@ways(("v1", "grpc-tls"))
def test_training_classes(make_server, tmp_path, venv, protocol):
    assert run(make_server, tmp_path, venv, protocol) == ["script", "package", "container", "no_model", "failed", "cancelled"]


@ways(("v1", "rest"))
def test_training_classes_with_a_dataset(make_server, tmp_path, venv, protocol):
    assert run(make_server, tmp_path, venv, protocol, "dataset") == ["script", "package", "container"]


@ways(("v1", "grpc-tls"))
def test_the_generated_client_tunes_on_a_dataset(make_server, tmp_path, venv, protocol):
    """The SDK has no class for pipelines of the tuning task; PipelineServiceClient makes them."""
    need("python")
    assert drive(with_tls(make_server), tmp_path, venv, "tuned_pipelines.py", protocol) == ["tunes_on_a_dataset"]


IMAGES = sorted(glob.glob("/var/cache/cusp/recipes/sklearn-cpu-*.image.json"), key=os.path.getmtime)


@needs_root
@extended
@pytest.mark.skipif(not IMAGES, reason="NOT TESTED: the sklearn-cpu image is not built here (cusp images build sklearn-cpu)")
@pytest.mark.parametrize("venv,protocol", [("v1", "rest"), ("v2", "grpc-tls")])
def test_training_classes_on_real_containers(make_server, tmp_path, venv, protocol):
    need("python")
    s = with_tls(make_server, "--engine=local", "--stop-grace-s=1")
    with open(IMAGES[-1]) as f:
        r = s.http.post(s.url + "/cusp/v1/images:importPath", data=f.read(), headers={"Content-Type": "application/json"}, timeout=600)
    assert r.status_code == 200, r.text
    done = drive(s, tmp_path, venv, "real_pipelines.py", protocol)
    assert done == [f"{kind}-{how}" for kind in ("script", "package", "container") for how in ("data-sync", "bare-later")]


@pytest.mark.parametrize("protocol", ["grpc", pytest.param("rest", marks=extended), pytest.param("rest-tls", marks=extended)])
def test_node_creates_pipelines(make_server, protocol):
    need("node")
    s = with_tls(make_server)
    succeeds(s, told_node(s), "node", program("node", "pipeline.js"), protocol)
    s.stop()


@pytest.mark.parametrize("transport", [pytest.param("grpc", marks=extended), pytest.param("grpc-tls", marks=extended)])
def test_java_creates_pipelines(make_server, transport):
    need("java")
    s = with_tls(make_server)
    succeeds(s, told(s), program("java", "run"), "--pipelines", transport)
    s.stop()
