"""What the Python SDK says on the wire for create, get, list and delete: exactly four calls, and no complaint."""
import json
import os
import re
import subprocess
import urllib.parse

import pytest

from conftest import wait_until, with_tls
from matrix import need, program, python, told
from wiretap import Wiretap

P = "/v1/projects/demo/locations/us-central1/customJobs"
REST = ["POST {P}", "GET /v1/{name}", 'GET {P}?filter=display_name="flow"', "DELETE /v1/{name}"]
GRPC = [f"POST /google.cloud.aiplatform.v1.JobService/{m}CustomJob{s}"
        for m, s in (("Create", ""), ("Get", ""), ("List", "s"), ("Delete", ""))]


@pytest.fixture
def server(make_server):
    s = with_tls(make_server)
    yield s
    s.stop()


def talk(server, protocol, endpoint, hostport, venv):
    """Runs the flow; returns the job's name and what the client had to say at the end."""
    flow = subprocess.Popen([python(venv), "-W", "error", program("python", "flow.py"), protocol],
                            env=told(server, CUSP_ENDPOINT=endpoint, CUSP_HOSTPORT=hostport), stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said = []
        for line in flow.stdout:  # the SDK's own remarks are on stdout too
            if line.startswith('{"name"'):
                said.append(json.loads(line))
                server.wait(said[0]["name"])
                flow.stdin.write("\n")
                flow.stdin.flush()
            elif line.startswith('{"listed"'):
                said.append(json.loads(line))
        errors = flow.stderr.read()
        assert flow.wait(60) == 0 and len(said) == 2, errors
        assert "Warning" not in errors and "retry" not in errors.lower(), errors
        return said
    finally:
        if flow.poll() is None:
            flow.kill()


@pytest.mark.parametrize("venv", ["v1", "v2"])
@pytest.mark.parametrize("protocol", ["rest", "rest-tls", "grpc-tls"])
def test_each_call_once_and_no_complaint(server, protocol, venv):
    need("python")
    host, port = re.match(r"http://(.*):(\d+)", server.url).groups()
    tls = [os.path.join(server.data_dir, "tls", f) for f in ("server.pem", "server.key")]
    tap = Wiretap((host, int(port)), tls=tls if protocol.endswith("tls") else None,
                  alpn=["h2"] if protocol.startswith("grpc") else ["http/1.1"])
    created, seen = talk(server, protocol, f"http://127.0.0.1:{tap.port}", f"localhost:{tap.port}", venv)
    wait_until(lambda: not any(t.is_alive() for t in tap.threads), what="the client's connections to be closed")
    tap.close()
    calls = [re.sub(r"[?&]\$alt=json;enum-encoding=int", "", urllib.parse.unquote_plus(c)) for c, _ in tap.calls]
    want = [c.format(P=P, name=created["name"]) for c in (REST if protocol.startswith("rest") else GRPC)]
    assert calls == want
    assert [outcome for _, outcome in tap.calls] == (["200"] if protocol.startswith("rest") else ["0"]) * 4
    assert tap.faults == [] and seen == {"listed": [created["name"]], "complaints": []}
