"""The model registry as REST clients use it: for the tests of models."""
from conftest import PARENT, wait_until

MODELS = f"/v1/{PARENT}/models"
IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"


def put(s, bucket, name, data):
    s.call("POST", "/storage/v1/b?project=demo", {"name": bucket})
    r = s.call("POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}", data)
    assert r.status_code == 200, r.text
    return f"gs://{bucket}/{name}"


def body(**fields):
    return {"displayName": "iris", "containerSpec": {"imageUri": IMAGE}, **fields}


def finished(s, op, seconds=60):
    """The operation when it is done."""
    return wait_until(lambda: (lambda o: o if o.get("done") else None)(s.get(op["name"])), seconds, op["name"])


def start_upload(s, version="v1", **request):
    model = {k: v for k, v in request.items() if k not in ("modelId", "parentModel")}
    rest = {k: v for k, v in request.items() if k in ("modelId", "parentModel")}
    r = s.call("POST", f"/{version}/{PARENT}/models:upload", {"model": body(**model), **rest})
    assert r.status_code == 200, r.text
    return r.json()


def upload(s, **request):
    """A finished upload: (model name, version id)."""
    op = finished(s, start_upload(s, **request))
    assert "error" not in op, op
    return op["response"]["model"], op["response"]["modelVersionId"]


def refused(s, method, path, body, status, *words):
    r = s.call(method, path, body)
    assert r.status_code == status, (r.status_code, r.text)
    message = r.json()["error"]["message"]
    for word in words:
        assert word in message, message
    return r.json()["error"]
