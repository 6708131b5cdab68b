"""CustomTrainingJob, CustomPythonPackageTrainingJob and CustomContainerTrainingJob of the Python SDK, unmodified, with
and without a managed dataset; what they leave in the registry is used again. PipelineServiceClient of Node."""
import glob
import json
import os
import subprocess

import pytest

from conftest import BUILD, needs_root
from matrix import missing, program

HOME = os.environ.get("CUSP_CLIENT_ENV", os.path.join(
    os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "cusp/clients/python"))
FULL = os.environ.get("CUSP_TEST_MODE", "quick") == "full" or os.environ.get("CUSP_EXTENDED") == "1"
extended = pytest.mark.skipif(not FULL, reason="only with CUSP_EXTENDED=1")


def ways(quick):
    """Venv and protocol; one of them in the quick mode of `make test`."""
    every = [("v1", "rest"), ("v1", "grpc-tls"), ("v2", "rest-tls"), ("v2", "grpc-tls")]
    return pytest.mark.parametrize("venv,protocol", [w if w == quick else pytest.param(*w, marks=extended) for w in every])


def with_tls(make_server, *flags):
    """A server of scripted jobs, or of what the flags say, and what clients are told of it."""
    s = make_server(*(flags or ("--engine=fake",)))
    subprocess.run([os.path.join(BUILD, "cusp"), "tls", "init", "--data-dir", s.data_dir], check=True, stdout=subprocess.DEVNULL)
    s.start()
    port = s.url.rsplit(":", 1)[1]
    return s, {**os.environ, "CUSP_ENDPOINT": s.url, "CUSP_HOSTPORT": "localhost:" + port,
               "CUSP_CA": os.path.join(s.data_dir, "tls", "ca.pem"), "CUSP_IMAGE": "busybox"}


def run(make_server, tmp_path, venv, protocol, *more):
    if missing("python"):
        pytest.skip(f"python: {missing('python')}")
    s, env = with_tls(make_server)
    return drive(s, env, tmp_path, venv, "pipelines.py", protocol, *more)


def drive(s, env, tmp_path, venv, program_name, *argv):
    """The cases that a driver went through; all of them must have gone well."""
    driver = os.path.join(os.path.dirname(program("python", "run")), program_name)
    done = subprocess.run([os.path.join(HOME, venv, "bin/python"), driver, *argv], cwd=tmp_path,
                          capture_output=True, text=True, timeout=1800, check=False,
                          env=env)
    assert done.returncode == 0, done.stderr[-3000:] + s.log()[-2000:]
    lines = [json.loads(x) for x in done.stdout.splitlines()]
    bad = [f"{x['case']}: {x['detail']}" for x in lines if not x["ok"]]
    assert not bad, "\n".join(bad) + s.log()[-1500:]
    s.stop()
    return [x["case"] for x in lines]


@ways(("v1", "grpc-tls"))
def test_training_classes(make_server, tmp_path, venv, protocol):
    assert run(make_server, tmp_path, venv, protocol) == ["script", "package", "container", "no_model", "failed", "cancelled"]


@ways(("v1", "rest"))
def test_training_classes_with_a_dataset(make_server, tmp_path, venv, protocol):
    assert run(make_server, tmp_path, venv, protocol, "dataset") == ["script", "package", "container"]


@ways(("v1", "grpc-tls"))
def test_the_generated_client_tunes_on_a_dataset(make_server, tmp_path, venv, protocol):
    """The SDK has no class for pipelines of the tuning task; PipelineServiceClient makes them."""
    if missing("python"):
        pytest.skip(f"python: {missing('python')}")
    s, env = with_tls(make_server)
    assert drive(s, env, tmp_path, venv, "tuned_pipelines.py", protocol) == ["tunes_on_a_dataset"]


IMAGES = sorted(glob.glob("/var/cache/cusp/recipes/sklearn-cpu-*.image.json"), key=os.path.getmtime)


@needs_root
@extended
@pytest.mark.skipif(not IMAGES, reason="NOT TESTED: the sklearn-cpu image is not built here (cusp images build sklearn-cpu)")
@pytest.mark.parametrize("venv,protocol", [("v1", "rest"), ("v2", "grpc-tls")])
def test_training_classes_on_real_containers(make_server, tmp_path, venv, protocol):
    if missing("python"):
        pytest.skip(f"python: {missing('python')}")
    s, env = with_tls(make_server, "--engine=local", "--stop-grace-s=1")
    with open(IMAGES[-1]) as f:
        r = s.http.post(s.url + "/cusp/v1/images:importPath", data=f.read(), headers={"Content-Type": "application/json"}, timeout=600)
    assert r.status_code == 200, r.text
    done = drive(s, env, tmp_path, venv, "real_pipelines.py", protocol)
    assert done == [f"{kind}-{how}" for kind in ("script", "package", "container") for how in ("data-sync", "bare-later")]


@pytest.mark.parametrize("protocol", ["grpc", pytest.param("rest", marks=extended), pytest.param("rest-tls", marks=extended)])
def test_node_creates_pipelines(make_server, protocol):
    if missing("node"):
        pytest.skip(f"node: {missing('node')}")
    s, env = with_tls(make_server)
    home = os.path.join(os.path.dirname(HOME), "node") if "CUSP_CLIENT_ENV" not in os.environ else HOME
    env |= {"NODE_PATH": os.path.join(home, "node_modules"), "NODE_EXTRA_CA_CERTS": env["CUSP_CA"],
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": env["CUSP_CA"]}
    script = os.path.join(os.path.dirname(program("node", "run")), "pipeline.js")
    done = subprocess.run(["node", script, protocol], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-3000:] + s.log()[-1500:]
    s.stop()


@pytest.mark.parametrize("transport", [pytest.param("grpc", marks=extended), pytest.param("grpc-tls", marks=extended)])
def test_java_creates_pipelines(make_server, transport):
    if missing("java"):
        pytest.skip(f"java: {missing('java')}")
    s, env = with_tls(make_server)
    done = subprocess.run([program("java", "run"), "--pipelines", transport], env=env, capture_output=True, text=True, timeout=120,
                          check=False)
    assert done.returncode == 0, done.stderr[-3000:] + s.log()[-1500:]
    s.stop()
