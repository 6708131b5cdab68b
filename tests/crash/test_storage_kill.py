"""kill -9 at the fail points of storage: afterwards the old object or the new one is there, whole, with its
metadata and the right checksums, and no garbage stays."""
import os

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

A, B = os.urandom(200000), os.urandom(100000)
PUT = ["blob.upload.write", "blob.put.before_fsync", "blob.put.before_row", "blob.put.before_rename", "blob.put.after_rename",
       "blob.put.before_answer"]
COPY = ["blob.copy.slice", *PUT]
MOVE = ["blob.move.before_row", "blob.move.before_rename", "blob.move.after_rename"]
COMMIT = ["store.commit.before_commit", "store.commit.after_commit"]
CASES = ([("compose", p) for p in COPY] + [("rewrite", p) for p in COPY] + [("upload", p) for p in PUT] +
         [("move", p) for p in MOVE + COMMIT] + [("patch", p) for p in COMMIT])


def connect(s):
    return storage.Client(project="demo", credentials=AnonymousCredentials(), client_options={"api_endpoint": s.url}).bucket("crash")


def act(s, op):
    u = f"{s.url}/storage/v1/b/crash/o"
    if op == "compose":
        return requests.post(f"{u}/dst/compose", json={"sourceObjects": [{"name": "a"}, {"name": "b"}]}, timeout=30)
    if op == "rewrite":
        return requests.post(f"{u}/a/rewriteTo/b/crash/o/dst", timeout=30)
    if op == "move":
        return requests.post(f"{u}/a/moveTo/o/dst", timeout=30)
    if op == "patch":
        return requests.patch(f"{u}/dst", json={"metadata": {"new": "1"}}, timeout=30)
    return requests.post(f"{s.url}/upload/storage/v1/b/crash/o?uploadType=media&name=dst", data=A, timeout=30)


@pytest.mark.parametrize("op,point", CASES)
@pytest.mark.parametrize("hit", [1, 2])
def test_killed_at(make_server, op, point, hit):
    s = make_server("--engine=fake").start()
    s.call("POST", "/storage/v1/b?project=demo", {"name": "crash"})
    bucket = connect(s)
    for name, data in (("a", A), ("b", B), ("dst", b"old")):
        blob = bucket.blob(name)
        blob.metadata = {"who": name}
        blob.upload_from_string(data, content_type="text/x-" + name)
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": f"{point}=abort@{hit}"})
    try:
        answered = act(s, op).status_code == 200
    except requests.RequestException:
        answered = False
    s.kill9()
    s.start()
    bucket = connect(s)
    new = {"compose": A + B, "rewrite": A, "upload": A, "move": A, "patch": b"old"}[op]
    dst = bucket.get_blob("dst")
    data = bucket.blob("dst").download_as_bytes()  # checks the checksum as well
    assert data in (b"old", new) and dst.size == len(data)
    assert not answered or data == new
    if data == b"old":
        assert dst.content_type == "text/x-dst" and dst.metadata.get("who") == "dst"
    if op == "patch":
        assert not answered or dst.metadata == {"who": "dst", "new": "1"}
    if op == "move":
        assert bucket.blob("a").exists() == (data == b"old")
        if data == new:
            assert dst.metadata == {"who": "a"} and dst.content_type == "text/x-a"
    else:
        assert bucket.blob("a").download_as_bytes() == A and bucket.get_blob("a").metadata == {"who": "a"}
    if answered and op == "rewrite":
        assert dst.metadata == {"who": "a"}
    assert sorted(b.name for b in bucket.list_blobs()) == (["b", "dst"] if op == "move" and data == new else ["a", "b", "dst"])
    s.stop()
    assert os.listdir(os.path.join(s.data_dir, "uploads")) == []
