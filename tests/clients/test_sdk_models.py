"""The model registry through the unmodified Python SDK, newest 1.x and 2.x, over REST and gRPC."""
import os

import pytest

from matrix import python_says_ok, scripted_server

ALL = [(p, v) for p in ("rest", "rest-tls", "grpc-tls") for v in ("v1", "v2")]
QUICK = [("grpc-tls", "v1")]  # what the SDK does by default; its import alone takes seconds


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with scripted_server(tmp_path_factory.mktemp("models")) as s:
        yield s


@pytest.mark.parametrize("protocol,venv", QUICK if os.environ.get("CUSP_TEST_MODE", "quick") == "quick" else ALL)
def test_models_of_the_sdk(server, protocol, venv):
    python_says_ok(server, "models.py", protocol, venv)
