"""Faults on demand (--test-retry-api): the resource itself, and the public conformance data of the storage clients, which
says what a client does when calls fail. The data comes from a published module of the Go client, into the cache of
tests/lib/storage_conformance.py; it is skipped where it cannot be had."""
import json
import os
import tempfile
import uuid

import pytest
import requests
from conftest import Server
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.hmac_key import HMACKeyMetadata
import storage_conformance

PROJECT, EMAIL = "demo", "robot@demo.iam.gserviceaccount.com"
MIB = 1 << 20
EXTENDED = bool(os.environ.get("CUSP_EXTENDED"))
# Methods of the data that cusp does not have, and why.
NOT_HERE = {"_acl.": "access is uniform: there are no ACLs"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    s = Server(tmp_path_factory.mktemp("retry") / "data", "--engine=fake", "--test-retry-api=true").start()
    yield s
    if s.proc.poll() is None:
        s.stop()


def connect(server, test=None):
    c = storage.Client(project=PROJECT, credentials=AnonymousCredentials(), client_options={"api_endpoint": server.url})
    if test:
        c._http.headers.update({"x-retry-test-id": test})
    return c


def create(server, **body):
    return requests.post(server.url + "/retry_test", json=body, timeout=20)


# ---- the resource

def test_retry_test_resource(server):
    r = create(server, instructions={"storage.buckets.list": ["return-503", "return-429"]})
    assert r.status_code == 200, r.text
    test = r.json()
    assert test == {"id": test["id"], "instructions": {"storage.buckets.list": ["return-503", "return-429"]},
                    "completed": False, "transport": "HTTP"}
    at = f"{server.url}/retry_test/{test['id']}"
    call = lambda: requests.get(server.url + "/storage/v1/b?project=p", headers={"x-retry-test-id": test["id"]}, timeout=20)  # noqa: E731
    assert requests.get(server.url + "/storage/v1/b?project=p", timeout=20).status_code == 200  # without the header
    r = call()
    assert r.status_code == 503 and r.json()["error"]["message"] == "Retry Test: Caused a 503"
    assert requests.get(at, timeout=20).json()["instructions"] == {"storage.buckets.list": ["return-429"]}
    assert call().status_code == 429
    assert requests.get(at, timeout=20).json() == {**test, "instructions": {"storage.buckets.list": []}, "completed": True}
    assert call().status_code == 200
    assert test["id"] in [t["id"] for t in requests.get(server.url + "/retry_tests", timeout=20).json()["retry_test"]]
    assert requests.delete(at, timeout=20).status_code == 200
    assert requests.get(at, timeout=20).status_code == requests.delete(at, timeout=20).status_code == call().status_code == 404


@pytest.mark.parametrize("body", [{}, {"instructions": {}}, {"instructions": []}, {"instructions": {"storage.buckets.list": "return-503"}},
                                  {"instructions": {"x": ["return-503"]}}, {"instructions": {"storage.buckets.list": ["return-99"]}},
                                  {"instructions": {"storage.buckets.list": [7]}},
                                  {"instructions": {"storage.objects.get": ["return-broken-stream-after-x"]}},
                                  {"instructions": {"storage.objects.get": ["stall-for-10s-after-12K"]}}])
def test_bad_retry_tests_are_refused(server, body):
    r = create(server, **body)
    assert r.status_code == 400 and r.json()["error"]["errors"][0]["location"] == "instructions"


def test_reset_and_broken_stream(server):
    bucket = connect(server).create_bucket("b-" + uuid.uuid4().hex[:12])
    bucket.blob("o").upload_from_string(b"0123456789" * 100000)
    url = f"{server.url}/download/storage/v1/b/{bucket.name}/o/o?alt=media"
    t = create(server, instructions={"storage.objects.get": ["return-reset-connection", "return-broken-stream-after-16K"]}).json()
    with pytest.raises(requests.ConnectionError):
        requests.get(url, headers={"x-retry-test-id": t["id"]}, timeout=20)
    got = b""
    with pytest.raises(requests.RequestException), requests.get(url, headers={"x-retry-test-id": t["id"]}, timeout=20, stream=True) as r:
        assert r.status_code == 200 and r.headers["content-length"] == "1000000"
        for piece in r.iter_content(4096):
            got += piece
    assert len(got) <= 16384 and (b"0123456789" * 100000).startswith(got)
    assert requests.get(f"{server.url}/retry_test/{t['id']}", timeout=20).json()["completed"]
    assert requests.get(url, headers={"x-retry-test-id": t["id"]}, timeout=20).content == b"0123456789" * 100000


def test_a_session_keeps_what_came_before_the_fault(server):
    bucket = connect(server).create_bucket("b-" + uuid.uuid4().hex[:12])
    t = create(server, instructions={"storage.objects.insert": ["return-503-after-256K"]}).json()
    h, data = {"x-retry-test-id": t["id"]}, os.urandom(MIB)
    at = requests.post(f"{server.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&name=o", headers=h,
                       timeout=20).headers["location"]
    assert requests.put(at, data=data, headers={**h, "Content-Range": f"bytes 0-{MIB - 1}/{MIB}"}, timeout=20).status_code == 503
    r = requests.put(at, headers={**h, "Content-Range": f"bytes */{MIB}"}, timeout=20)
    assert r.status_code == 308 and r.headers["range"] == f"bytes=0-{256 * 1024 - 1}"
    r = requests.put(at, data=data[256 * 1024:], headers={**h, "Content-Range": f"bytes {256 * 1024}-{MIB - 1}/{MIB}"}, timeout=20)
    assert r.status_code == 200 and bucket.blob("o").download_as_bytes() == data


def test_without_the_flag_there_is_no_such_thing(fake):
    assert create(fake, instructions={"storage.buckets.list": ["return-503"]}).status_code == 404
    assert fake.call("GET", "/storage/v1/b?project=p", headers={"x-retry-test-id": "x"}).status_code == 200


def test_what_has_no_effect_is_refused_without_the_flag(fake, server):
    """A bucket that says it notifies, or that its retention is locked, would be believed."""
    config = {"topic": "//pubsub.googleapis.com/projects/p/topics/t", "payload_format": "NONE"}
    for s, status in ((fake, 501), (server, 200)):
        at = f"/storage/v1/b/n-{uuid.uuid4().hex[:8]}"
        assert s.call("POST", "/storage/v1/b?project=demo", {"name": at.split("/")[-1], "retentionPolicy": {"retentionPeriod": "60"}}).status_code == 200
        assert s.call("POST", at + "/notificationConfigs", config).status_code == status
        assert s.call("POST", at + "/lockRetentionPolicy?ifMetagenerationMatch=" + s.call("GET", at).json()["metageneration"]).status_code == status
        assert len(s.call("GET", at + "/notificationConfigs").json().get("items", [])) == (status == 200)
    one = server.call("GET", at + "/notificationConfigs/1").json()
    assert one["topic"] == config["topic"] and one["id"] == "1" and "notificationConfigs" not in server.call("GET", at).json()
    assert server.call("PUT", at, {"labels": {"a": "b"}}).status_code == 200  # replaces the bucket's own facts, not these
    for bad, field in (({}, "topic"), ({**config, "topic": "t"}, "topic"), ({**config, "payload_format": "XML"}, "payload_format"),
                       ({**config, "event_types": "x"}, "event_types")):
        r = server.call("POST", at + "/notificationConfigs", bad)
        assert r.status_code == 400 and r.json()["error"]["errors"][0]["location"] == field, r.text
    assert server.call("POST", at + "/notificationConfigs", config).json()["id"] == "2"
    for left in (1, 0):
        path = at + "/notificationConfigs/" + str(left + 1)
        assert server.call("DELETE", path).status_code == 204 and server.call("DELETE", path).status_code == 404
        assert len(server.call("GET", at + "/notificationConfigs").json().get("items", [])) == left


# ---- the conformance data: what each method is in the Python client

class World:
    """What a scenario works on; made without faults."""

    def __init__(self, server, resources):
        plain = connect(server)
        self.bucket = plain.create_bucket("r-" + uuid.uuid4().hex[:16])
        self.object = self.bucket.blob("the-object")
        self.object.upload_from_string("hello world")
        self.object.reload()
        self.hmac = plain.create_hmac_key(service_account_email=EMAIL, project_id=PROJECT)[0] if "HMAC_KEY" in resources else None
        self.topic = dict(topic_name="topic", topic_project="demo-project")
        self.notification = None
        if "NOTIFICATION" in resources:
            self.notification = self.bucket.notification(**self.topic)
            self.notification.create()
        self.plain = plain


def big_object(w):
    blob, data = w.bucket.blob("big"), os.urandom(9 * MIB)
    blob.upload_from_string(data)
    return data


def download(c, w, how):
    data = big_object(w)
    blob = c.bucket(w.bucket.name).blob("big", chunk_size=40 * MIB if how == "chunked" else None)
    if how == "range":
        assert blob.download_as_bytes(start=1024, end=512 * 1024) == data[1024:512 * 1024 + 1]
    elif how == "reader":
        with blob.open("rb") as f:
            assert f.read() == data
    else:
        assert blob.download_as_bytes() == data


def upload(c, w, pre, how):
    data, blob = os.urandom(9 * MIB), c.bucket(w.bucket.name).blob("new")
    blob.chunk_size = 2 * MIB
    kw = {"if_generation_match": 0} if pre else {}
    if how == "string":
        blob.upload_from_string(data, **kw)
    elif how == "file":
        with tempfile.NamedTemporaryFile() as f:
            f.write(data)
            f.seek(0)
            blob.upload_from_file(f, **kw)
    else:
        with c.bucket(w.bucket.name).blob("new").open("wb", chunk_size=2 * MIB, **kw) as f:
            f.write(data)
    assert w.bucket.blob("new").download_as_bytes() == data


def gen(w, pre):
    return {"if_generation_match": w.object.generation} if pre else {}


def meta(thing, pre):
    return {"if_metageneration_match": thing.metageneration} if pre else {}


def none(pre):
    return {"if_generation_match": 0} if pre else {}


def edit(thing, kw, call, **fields):
    for k, v in fields.items():
        setattr(thing, k, v)
    getattr(thing, call)(**kw)


def set_policy(b, pre):
    policy = b.get_iam_policy(requested_policy_version=3)
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"allUsers"}})
    if not pre:
        policy.etag = None
    b.set_iam_policy(policy)


def hmac_delete(c, w):
    key = HMACKeyMetadata(c, access_id=w.hmac.access_id)
    key.state = "INACTIVE"
    key.update()
    key.delete()


def lock(c, w):
    w.bucket.retention_period = 60
    w.bucket.patch()
    b = c.bucket(w.bucket.name)
    b._properties.update(w.bucket._properties)  # what it would have to read first
    b.lock_retention_policy()
    assert w.plain.get_bucket(w.bucket.name).retention_policy_locked


def write(blob, **kw):
    with blob.open("wb", chunk_size=256 * 1024, **kw) as f:
        f.write(b"12345678")


B = lambda c, w: c.bucket(w.bucket.name)  # noqa: E731
N = lambda c, w: c.bucket(w.bucket.name).notification(**w.topic, notification_id=w.notification.notification_id)  # noqa: E731
O = lambda c, w: c.bucket(w.bucket.name).blob(w.object.name)  # noqa: E731
CALLS = {
    "storage.buckets.delete": [lambda c, w, p: B(c, w).delete(force=True)],
    "storage.buckets.get": [lambda c, w, p: c.get_bucket(w.bucket.name), lambda c, w, p: B(c, w).reload(),
                            lambda c, w, p: c.lookup_bucket(w.bucket.name), lambda c, w, p: B(c, w).exists()],
    "storage.buckets.getIamPolicy": [lambda c, w, p: B(c, w).get_iam_policy()],
    "storage.buckets.insert": [lambda c, w, p: c.create_bucket("n-" + uuid.uuid4().hex[:16])],
    "storage.buckets.list": [lambda c, w, p: list(c.list_buckets(max_results=5))],
    "storage.buckets.lockRetentionPolicy": [lambda c, w, p: lock(c, w)],
    "storage.notifications.delete": [lambda c, w, p: N(c, w).delete()],
    "storage.notifications.get": [lambda c, w, p: B(c, w).get_notification(w.notification.notification_id),
                                  lambda c, w, p: N(c, w).exists(), lambda c, w, p: N(c, w).reload()],
    "storage.notifications.insert": [lambda c, w, p: B(c, w).notification(**w.topic).create()],
    "storage.notifications.list": [lambda c, w, p: list(B(c, w).list_notifications())],
    "storage.buckets.testIamPermissions": [lambda c, w, p: B(c, w).test_iam_permissions(["storage.buckets.get"])],
    "storage.hmacKey.delete": [lambda c, w, p: hmac_delete(c, w)],
    "storage.hmacKey.get": [lambda c, w, p: c.get_hmac_key_metadata(access_id=w.hmac.access_id),
                            lambda c, w, p: HMACKeyMetadata(c, access_id=w.hmac.access_id).exists(),
                            lambda c, w, p: HMACKeyMetadata(c, access_id=w.hmac.access_id).reload()],
    "storage.hmacKey.list": [lambda c, w, p: list(c.list_hmac_keys())],
    "storage.hmacKey.create": [lambda c, w, p: c.create_hmac_key(service_account_email=EMAIL)],
    "storage.objects.get": [lambda c, w, p: B(c, w).get_blob(w.object.name), lambda c, w, p: O(c, w).exists(),
                            lambda c, w, p: O(c, w).download_as_bytes(), lambda c, w, p: O(c, w).open("r").read()],
    "storage.objects.download": [lambda c, w, p: download(c, w, "whole"), lambda c, w, p: download(c, w, "chunked"),
                                 lambda c, w, p: download(c, w, "range"), lambda c, w, p: download(c, w, "reader")],
    "storage.objects.list": [lambda c, w, p: list(c.list_blobs(w.bucket.name)), lambda c, w, p: B(c, w).delete(force=True)],
    "storage.serviceaccount.get": [lambda c, w, p: c.get_service_account_email()],
    "storage.buckets.patch": [lambda c, w, p: edit(B(c, w), meta(w.bucket, p), "patch", storage_class="COLDLINE")],
    "storage.buckets.update": [lambda c, w, p: edit(B(c, w), meta(w.bucket, p), "update", storage_class="STANDARD")],
    "storage.buckets.setIamPolicy": [lambda c, w, p: set_policy(B(c, w), p)],
    "storage.objects.delete": [lambda c, w, p: O(c, w).delete(**gen(w, p)), lambda c, w, p: B(c, w).delete_blob(w.object.name, **gen(w, p))],
    "storage.objects.patch": [lambda c, w, p: edit(O(c, w), meta(w.object, p), "patch", metadata={"a": "b"})],
    "storage.objects.update": [lambda c, w, p: edit(O(c, w), meta(w.object, p), "update", metadata={"a": "b"})],
    "storage.objects.compose": [lambda c, w, p: O(c, w).compose([w.object], **gen(w, p))],
    "storage.objects.copy": [lambda c, w, p: B(c, w).copy_blob(w.object, w.bucket, new_name="copy", **none(p))],
    "storage.objects.rewrite": [lambda c, w, p: B(c, w).blob("copy").rewrite(w.object, **none(p)),
                                lambda c, w, p: O(c, w).update_storage_class("STANDARD", **gen(w, p))],
    "storage.objects.insert": [lambda c, w, p: B(c, w).blob("new").upload_from_string("hello", **none(p)),
                               lambda c, w, p: write(B(c, w).blob("new"), **none(p)),
                               lambda c, w, p: B(c, w).blob("new").create_resumable_upload_session(**none(p))],
    "storage.resumable.upload": [lambda c, w, p: upload(c, w, p, "string"), lambda c, w, p: upload(c, w, p, "file"),
                                 lambda c, w, p: upload(c, w, p, "writer")],
}
# Where the Python client goes its own way, as its own copy of the data says: keys have no etag to send; deletes, inserts
# and patches of objects are tried again with or without a precondition.
CLIENT_DIFFERS = ({(n, "storage.hmacKey.update") for n in (2, 3, 5, 6)} |
                  {(3, "storage.objects." + m) for m in ("delete", "insert", "patch")})


def run_one(server, scenario, case, method, fn):
    w = World(server, method["resources"])
    t = create(server, instructions={method["name"]: case["instructions"]}).json()
    why = None
    try:
        fn(connect(server, t["id"]), w, scenario["preconditionProvided"])
    except Exception as e:  # noqa: BLE001 (whatever the client raises counts as a failure)
        why = e
    left = requests.get(f"{server.url}/retry_test/{t['id']}", timeout=20).json()
    requests.delete(f"{server.url}/retry_test/{t['id']}", timeout=20)
    assert (why is None) == scenario["expectSuccess"], f"{scenario['description']} {method['name']} {case['instructions']}: {why!r}"
    assert left["completed"], f"{scenario['description']} {method['name']}: the client left {json.dumps(left['instructions'])}"


@pytest.mark.parametrize("number", range(1, 9))
def test_conformance(server, number, monkeypatch):
    """By default each method with its first case and call; CUSP_EXTENDED=1 all of them. Back-offs are shortened: how long a
    client waits is its own affair."""
    data = storage_conformance.load("retry_tests.json")["retryTests"]
    scenario = next(s for s in data if s["id"] == number)
    monkeypatch.setattr("time.sleep", lambda s: None)
    ran, absent = 0, {}
    for method in scenario["methods"]:
        why = [v for k, v in NOT_HERE.items() if k in method["name"]]
        if "appendable" in method.get("group", ""):
            continue  # gRPC only
        calls = CALLS.get(method.get("group", method["name"]))
        if why or (number, method["name"]) in CLIENT_DIFFERS:
            absent[method["name"]] = why[0] if why else "not of this client"
            continue
        assert calls, f"the data has a method this test does not know: {method['name']}"
        for i, case in enumerate(scenario["cases"]):
            for k, fn in enumerate(calls):
                if EXTENDED or (k == i % len(calls) and i in (0, len(scenario["cases"]) - 1)):
                    run_one(server, scenario, case, method, fn)
                    ran += 1
    print(f"scenario {number}: {ran} runs, without {json.dumps(absent)}")
    assert ran > 0
