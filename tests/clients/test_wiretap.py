"""The wiretap itself notices what test_capture.py must never let pass."""
import re
import subprocess

import pytest

from wiretap import Wiretap


def curl(*args):
    """One URL at a time: Debian 12's curl cannot send a second one on a connection with HTTP/2 by prior knowledge."""
    subprocess.run(["curl", "-sS", "--max-time", "20", "-o", "/dev/null", *args], check=True)


@pytest.fixture
def tap(fake):
    host, port = re.match(r"http://(.*):(\d+)", fake.url).groups()
    t = Wiretap((host, int(port)))
    yield t
    if t.listener.fileno() >= 0:
        t.close()


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_calls_and_error_statuses_are_written_down(tap, version):
    url = f"http://127.0.0.1:{tap.port}"
    curl(version, f"{url}/v1/projects/demo/locations/us-central1/customJobs")
    curl(version, f"{url}/v1/nowhere")
    tap.close()
    assert [c[0] for c in tap.calls] == ["GET /v1/projects/demo/locations/us-central1/customJobs", "GET /v1/nowhere"]
    assert [c[1] for c in tap.calls] == ["200", "404"]
    assert len(tap.faults) == 1 and "404" in tap.faults[0]


def test_a_repeated_call_is_two_calls(tap):
    url = f"http://127.0.0.1:{tap.port}/healthz"
    curl("--http2-prior-knowledge", url)
    curl("--http2-prior-knowledge", url)
    tap.close()
    assert len(tap.calls) == 2 and tap.faults == []
