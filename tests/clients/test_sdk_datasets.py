"""Managed datasets through the unmodified Python SDK, newest 1.x and 2.x, over REST and gRPC."""
import json
import os

import pytest

from matrix import python_says_ok, scripted_server

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
    with scripted_server(tmp_path_factory.mktemp("datasets")) as s:
        assert s.call("POST", "/storage/v1/b?project=demo", {"name": "sdk-data"}).status_code == 200
        for name, lines in FILES.items():
            text = lines if isinstance(lines, str) else "".join(json.dumps(x) + "\n" for x in lines)
            r = s.call("POST", f"/upload/storage/v1/b/sdk-data/o?uploadType=media&name={name}", text)
            assert r.status_code == 200, r.text
        yield s


@pytest.mark.parametrize("protocol,venv", QUICK if os.environ.get("CUSP_TEST_MODE", "quick") == "quick" else ALL)
def test_datasets_of_the_sdk(server, protocol, venv):
    python_says_ok(server, "datasets.py", protocol, venv)
