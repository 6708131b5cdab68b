"""Vizier through unmodified clients: Python's VizierServiceClient and google.cloud.aiplatform.vizier; Node."""
import os
import re
import subprocess

import pytest

from conftest import BUILD
from matrix import missing, program

MODE = os.environ.get("CUSP_TEST_MODE", "quick")
PYTHON = [(p, v) for p in ("rest", "rest-tls", "grpc", "grpc-tls") for v in ("v1", "v2")]
SDK = ["rest", "rest-tls", "grpc-tls"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from conftest import Server
    s = Server(tmp_path_factory.mktemp("vizier") / "data", "--engine=fake")
    subprocess.run([os.path.join(BUILD, "cusp"), "tls", "init", "--data-dir", s.data_dir], check=True,
                   stdout=subprocess.DEVNULL)
    s.start()
    yield s
    if s.proc.poll() is None:
        s.stop()


def home(client):
    return os.environ.get("CUSP_CLIENT_ENV", os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")),
                                                         "cusp/clients", client))


def environment(server, **more):
    port = re.match(r"http://.*:(\d+)", server.url).group(1)
    return {**os.environ, "CUSP_ENDPOINT": server.url, "CUSP_HOSTPORT": f"localhost:{port}", "CUSP_IMAGE": "busybox",
            "CUSP_CA": os.path.join(server.data_dir, "tls/ca.pem"), **more}


def run(server, *argv, cwd=None, **env):
    done = subprocess.run(argv, env=environment(server, **env), cwd=cwd, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "ok", done.stdout[-1500:] + done.stderr[-3000:]


def beside(client, name):
    return os.path.join(os.path.dirname(program(client, "run")), name)


@pytest.mark.parametrize("protocol,venv", [("grpc", "v1")] if MODE == "quick" else PYTHON)
def test_python(server, protocol, venv):
    if missing("python"):
        pytest.skip(f"python: {missing('python')}")
    run(server, os.path.join(home("python"), venv, "bin/python"), beside("python", "studies.py"), protocol)


@pytest.mark.parametrize("protocol", SDK)
def test_python_high_level(server, protocol):
    """The extra "vizier" lies beside the virtual environment; it is installed by make test-clients only."""
    if missing("python"):
        pytest.skip(f"python: {missing('python')}")
    extra = os.path.join(home("python"), "vizier")
    if MODE == "quick":
        pytest.skip("google-vizier is large: make test-clients")
    subprocess.run([beside("python", "setup-vizier")], check=True, stdout=subprocess.DEVNULL)
    run(server, os.path.join(home("python"), "v1/bin/python"), beside("python", "studies.py"), protocol, "sdk", PYTHONPATH=extra)


@pytest.mark.parametrize("protocol", ["grpc"] if MODE == "quick" else ["rest", "rest-tls", "grpc", "grpc-tls"])
def test_node(server, protocol):
    if missing("node"):
        pytest.skip(f"node: {missing('node')}")
    ca = os.path.join(server.data_dir, "tls/ca.pem")
    run(server, "node", beside("node", "studies.js"), protocol, NODE_PATH=os.path.join(home("node"), "node_modules"),
        NODE_EXTRA_CA_CERTS=ca, GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=ca)
