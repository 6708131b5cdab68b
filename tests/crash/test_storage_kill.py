"""kill -9 at the fail points of storage: afterwards the old object or the new one is there, whole, with its
metadata and the right checksums, and no garbage stays."""
import os
import re

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

A, B, BIG = os.urandom(200000), os.urandom(100000), os.urandom(5 << 20)
PUT = ["blob.upload.write", "blob.put.before_fsync", "blob.put.before_row", "blob.put.before_rename", "blob.put.after_rename",
       "blob.put.before_answer"]
COPY = ["blob.copy.slice", *PUT]
MOVE = ["blob.move.before_row", "blob.move.before_rename", "blob.move.after_rename"]
COMMIT = ["store.commit.before_commit", "store.commit.after_commit"]
CASES = ([("compose", p) for p in COPY] + [("rewrite", p) for p in COPY] + [("upload", p) for p in PUT] +
         [("move", p) for p in MOVE + COMMIT] + [("patch", p) for p in COMMIT] +
         [("session", p) for p in PUT + COMMIT] + [("parts", p) for p in COPY + COMMIT + ["blob.parts.before_forget"]])


def connect(s):
    return storage.Client(project="demo", credentials=AnonymousCredentials(), client_options={"api_endpoint": s.url}).bucket("crash")


def act(s, op):
    u = f"{s.url}/storage/v1/b/crash/o"
    if op == "compose":
        return requests.post(f"{u}/dst/compose", json={"sourceObjects": [{"name": "a"}, {"name": "b"}],
                                                       "destination": {"contentType": "text/x-a", "metadata": {"who": "a"}}}, timeout=30)
    if op == "rewrite":
        return requests.post(f"{u}/a/rewriteTo/b/crash/o/dst", timeout=30)
    if op == "move":
        return requests.post(f"{u}/a/moveTo/o/dst", timeout=30)
    if op == "patch":
        return requests.patch(f"{u}/dst", json={"metadata": {"new": "1"}}, timeout=30)
    if op == "session":
        return requests.put(s.session, data=A, timeout=30)
    if op == "parts":
        return requests.post(f"{s.url}/crash/dst?uploadId={s.upload_id}", data=s.parts, timeout=30)
    return requests.post(f"{s.url}/upload/storage/v1/b/crash/o?uploadType=media&name=dst", data=A, headers={"Content-Type": "text/x-a"}, timeout=30)


def prepare(s, op):
    """What the client has been told before the server dies."""
    if op == "session":
        r = requests.post(f"{s.url}/upload/storage/v1/b/crash/o?uploadType=resumable&name=dst", json={"contentType": "text/x-a", "metadata": {"who": "a"}},
                          timeout=30)
        s.session = r.headers["Location"]
    if op == "parts":
        r = requests.post(f"{s.url}/crash/dst?uploads", headers={"Content-Type": "text/x-a", "x-goog-meta-who": "a"}, timeout=30)
        s.upload_id = re.search("<UploadId>(.*?)</UploadId>", r.text).group(1)
        tags = [requests.put(f"{s.url}/crash/dst?partNumber={n}&uploadId={s.upload_id}", data=d, timeout=30).headers["ETag"]
                for n, d in ((1, BIG), (2, A))]
        s.parts = "<CompleteMultipartUpload>%s</CompleteMultipartUpload>" % "".join(
            f"<Part><PartNumber>{n + 1}</PartNumber><ETag>{t}</ETag></Part>" for n, t in enumerate(tags))


@pytest.mark.parametrize("op,point,hit", [(op, point, hit) for op, point in CASES for hit in (1, 2)
                                          if hit == 1 or op not in ("session", "parts") or os.environ.get("CUSP_TEST_MODE") == "full"])
def test_killed_at(make_server, op, point, hit):
    s = make_server("--engine=fake").start()
    s.call("POST", "/storage/v1/b?project=demo", {"name": "crash"})
    bucket = connect(s)
    for name, data in (("a", A), ("b", B), ("dst", b"old")):
        blob = bucket.blob(name)
        blob.metadata = {"who": name}
        blob.upload_from_string(data, content_type="text/x-" + name)
    prepare(s, op)
    s.stop()
    s.listen = s.url.split("//")[1]  # a session's address outlives the server
    s.start(env={"CUSP_FAILPOINTS": f"{point}=abort@{hit}"})
    try:
        answered = act(s, op).status_code == 200
    except requests.RequestException:
        answered = False
    s.kill9()
    s.start()
    bucket = connect(s)
    new = {"compose": A + B, "rewrite": A, "upload": A, "move": A, "patch": b"old", "session": A, "parts": BIG + A}[op]
    dst = bucket.get_blob("dst")
    data = bucket.blob("dst").download_as_bytes()  # checks the checksum as well
    assert data in (b"old", new) and dst.size == len(data)
    assert not answered or data == new
    if data == b"old":
        assert dst.content_type == "text/x-dst" and dst.metadata.get("who") == "dst"
    if op == "patch":
        assert not answered or dst.metadata == {"who": "dst", "new": "1"}
    elif data == new:  # never without what it was stored with, whether or not the client heard of it
        assert dst.content_type == "text/x-a" and dst.metadata == (None if op == "upload" else {"who": "a"})
    if op == "move":
        assert bucket.blob("a").exists() == (data == b"old")
    else:
        assert bucket.blob("a").download_as_bytes() == A and bucket.get_blob("a").metadata == {"who": "a"}
    assert sorted(b.name for b in bucket.list_blobs()) == (["b", "dst"] if op == "move" and data == new else ["a", "b", "dst"])
    if op in ("session", "parts") and not answered:  # the client asks again
        again = act(s, op)
        assert again.status_code == 200 or (op == "parts" and again.status_code == 404 and data == new), again.text
        assert bucket.blob("dst").download_as_bytes() == new and bucket.get_blob("dst").metadata == {"who": "a"}
    s.stop()
    assert os.listdir(os.path.join(s.data_dir, "uploads")) == []
