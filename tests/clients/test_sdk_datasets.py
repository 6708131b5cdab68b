"""Managed datasets through the unmodified Python SDK, newest 1.x and 2.x, over REST and gRPC."""
import json
import os
import re
import subprocess

import pytest

from conftest import BUILD, Server
from matrix import missing, program

ALL = [(p, v) for p in ("rest", "rest-tls", "grpc-tls") for v in ("v1", "v2")]
QUICK = [("grpc-tls", "v1")]
FILES = {
    "table.csv": "a,b,label\n1,2,x\n3,4,y\n",
    "images.jsonl": [{"imageGcsUri": f"gs://elsewhere/{i}.jpg", "classificationAnnotation": {"displayName": "cat"}} for i in range(3)],
    "boxes.jsonl": [{"imageGcsUri": f"gs://elsewhere/{i}.jpg", "boundingBoxAnnotations": [
        {"displayName": "cat", "xMin": "0.1", "yMin": "0.1", "xMax": "0.5", "yMax": "0.5"}]} for i in (2, 3)],
    "texts.jsonl": [{"textContent": t, "sentimentAnnotation": {"sentiment": s, "sentimentMax": 1}} for t, s in (("bad", 0), ("good", 1))],
    "videos.jsonl": [{"videoGcsUri": "gs://elsewhere/v.mp4", "timeSegmentAnnotations": [
        {"displayName": "jump", "startTime": "1s", "endTime": "2s"}]}],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    s = Server(tmp_path_factory.mktemp("datasets") / "data", "--engine=fake")
    subprocess.run([os.path.join(BUILD, "cusp"), "tls", "init", "--data-dir", s.data_dir], check=True,
                   stdout=subprocess.DEVNULL)
    s.start()
    assert s.call("POST", "/storage/v1/b?project=demo", {"name": "sdk-data"}).status_code == 200
    for name, lines in FILES.items():
        text = lines if isinstance(lines, str) else "".join(json.dumps(x) + "\n" for x in lines)
        r = s.call("POST", f"/upload/storage/v1/b/sdk-data/o?uploadType=media&name={name}", text)
        assert r.status_code == 200, r.text
    yield s
    if s.proc.poll() is None:
        s.stop()


@pytest.mark.parametrize("protocol,venv", QUICK if os.environ.get("CUSP_TEST_MODE", "quick") == "quick" else ALL)
def test_datasets_of_the_sdk(server, protocol, venv):
    if missing("python"):
        pytest.skip(f"python: {missing('python')}")
    home = os.environ.get("CUSP_CLIENT_ENV", os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")),
                                                         "cusp/clients/python"))
    port = re.match(r"http://.*:(\d+)", server.url).group(1)
    env = {**os.environ, "CUSP_ENDPOINT": server.url, "CUSP_HOSTPORT": f"localhost:{port}", "CUSP_IMAGE": "busybox",
           "CUSP_CA": os.path.join(server.data_dir, "tls/ca.pem")}
    done = subprocess.run([os.path.join(home, venv, "bin/python"),
                           os.path.join(os.path.dirname(program("python", "run")), "datasets.py"), protocol],
                          env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "ok", done.stdout[-1500:] + done.stderr[-3000:]
