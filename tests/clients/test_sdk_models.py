"""The model registry through the unmodified Python SDK, newest 1.x and 2.x, over REST and gRPC."""
import os
import re
import subprocess

import pytest

from conftest import BUILD
from matrix import missing, program

ALL = [(p, v) for p in ("rest", "rest-tls", "grpc-tls") for v in ("v1", "v2")]
QUICK = [("grpc-tls", "v1")]  # what the SDK does by default; its import alone takes seconds


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from conftest import Server
    s = Server(tmp_path_factory.mktemp("models") / "data", "--engine=fake")
    subprocess.run([os.path.join(BUILD, "cusp"), "tls", "init", "--data-dir", s.data_dir], check=True,
                   stdout=subprocess.DEVNULL)
    s.start()
    yield s
    if s.proc.poll() is None:
        s.stop()


@pytest.mark.parametrize("protocol,venv", QUICK if os.environ.get("CUSP_TEST_MODE", "quick") == "quick" else ALL)
def test_models_of_the_sdk(server, protocol, venv):
    if missing("python"):
        pytest.skip(f"python: {missing('python')}")
    home = os.environ.get("CUSP_CLIENT_ENV", os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")),
                                                         "cusp/clients/python"))
    port = re.match(r"http://.*:(\d+)", server.url).group(1)
    env = {**os.environ, "CUSP_ENDPOINT": server.url, "CUSP_HOSTPORT": f"localhost:{port}", "CUSP_IMAGE": "busybox",
           "CUSP_CA": os.path.join(server.data_dir, "tls/ca.pem")}
    done = subprocess.run([os.path.join(home, venv, "bin/python"),
                           os.path.join(os.path.dirname(program("python", "run")), "models.py"), protocol],
                          env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "ok", done.stdout[-1500:] + done.stderr[-3000:]
