"""A disk of a few MiB that fills up for real, after more and more bytes of every way to write: the answer says that there is no
room, nothing half is ever seen, the server lives, and the same request passes when there is room again."""
import hashlib
import json
import os
import re
import subprocess

import pytest
import requests

from conftest import BUILD, PARENT, needs_root, wait_until
from test_datasets import done, result, schema, start_import

pytestmark = needs_root
SIZE, BODY = 24 << 20, os.urandom(1 << 20)
HALF = BODY[:len(BODY) // 2]
# Bytes that are free when a request comes: none, single pages, the middle of each piece, all but the last pages.
ROOMS = [0, 4096, 8192, 12288, 20480, 40960, 65536, 131072, 262144, 300000, 524288, 786432, 1 << 20, (1 << 20) + 4096, (1 << 20) + 16384,
         (1 << 20) + 65536, 3 << 19, 2 << 20, (2 << 20) + 65536, 3 << 20]


class Disk:
    def __init__(self, path):
        self.path, self.filler = str(path), os.path.join(path, "filler")

    def leave(self, n):
        self.free()
        at = os.statvfs(self.path)
        fd = os.open(self.filler, os.O_WRONLY | os.O_CREAT, 0o600)
        os.posix_fallocate(fd, 0, max(4096, at.f_bavail * at.f_frsize - n))
        os.close(fd)

    def free(self):
        if os.path.exists(self.filler):
            os.unlink(self.filler)


@pytest.fixture
def full(tmp_path, make_server):
    at = tmp_path / "disk"
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", at], check=True)
    try:
        s = make_server("--engine=fake", name="disk").start()
        s.disk = Disk(at)
        assert s.call("POST", "/storage/v1/b?project=demo", {"name": "disk"}).status_code == 200
        for name in ("old", "half"):
            assert s.call("POST", f"/upload/storage/v1/b/disk/o?uploadType=media&name={name}", HALF).status_code == 200
        yield s
        s.disk.free()
        s.stop()
    finally:
        if s.proc.poll() is None:
            s.kill9()
        subprocess.run(["umount", "-l", at], check=True)


NEW = "/storage/v1/b/disk/o/new"


def media(s):
    return s.call("POST", "/upload/storage/v1/b/disk/o?uploadType=media&name=new", BODY, headers={"Content-Type": "text/x-new"})


def related(s):
    body = (b'--X\r\nContent-Type: application/json\r\n\r\n{"name": "new"}\r\n--X\r\nContent-Type: text/x-new\r\n\r\n' +
            BODY + b"\r\n--X--\r\n")
    return s.call("POST", "/upload/storage/v1/b/disk/o?uploadType=multipart", body, headers={"Content-Type": "multipart/related; boundary=X"})


def resumable(s):
    r = s.call("POST", "/upload/storage/v1/b/disk/o?uploadType=resumable&name=new", json.dumps({"contentType": "text/x-new"}).encode())
    if r.status_code != 200:
        return r
    done = s.call("PUT", r.headers["Location"][len(s.url):], BODY)
    s.give_up = lambda: s.call("DELETE", r.headers["Location"][len(s.url):])
    return done


def compose(s):
    return s.call("POST", f"{NEW}/compose", {"sourceObjects": [{"name": "old"}, {"name": "half"}], "destination": {"contentType": "text/x-new"}})


def rewrite(s):
    return s.call("POST", "/storage/v1/b/disk/o/old/rewriteTo/b/disk/o/new", {"contentType": "text/x-new"})


def move(s):
    """Needs no room but a record's; a long one, so that there are offsets at which that has none."""
    return s.call("POST", "/storage/v1/b/disk/o/source/moveTo/o/new")


def parts(s):
    """The XML API's multipart upload, which ends as one object."""
    r = s.call("POST", "/disk/new?uploads", headers={"Content-Type": "text/x-new"})
    if r.status_code != 200:
        return r
    upload_id = re.search("<UploadId>(.*?)</UploadId>", r.text).group(1)
    s.give_up = lambda: s.call("DELETE", f"/disk/new?uploadId={upload_id}")
    r = s.call("PUT", f"/disk/new?partNumber=1&uploadId={upload_id}", BODY)
    if r.status_code != 200:
        return r
    end = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{r.headers['ETag']}</ETag></Part></CompleteMultipartUpload>"
    return s.call("POST", f"/disk/new?uploadId={upload_id}", end.encode())


def state(s, name):
    """Everything about an object; None: there is none."""
    r = s.call("GET", f"/storage/v1/b/disk/o/{name}")
    if r.status_code == 404:
        return None
    data = s.call("GET", f"/storage/v1/b/disk/o/{name}?alt=media")
    assert r.status_code == data.status_code == 200, (r.text, data.text)
    return r.json(), data.content


def check_refusal(r, room):
    if r.headers["Content-Type"].startswith("application/xml"):
        assert r.status_code == 507 and "<Code>" in r.text and "<Message>" in r.text, (room, r.text)
    else:
        e = r.json()["error"]
        assert r.status_code == 507 and e["errors"][0]["reason"] == "insufficientStorage" and e["message"], (room, r.text)


LONG = "x" * 7000
OBJECTS = [(media, BODY), (related, BODY), (resumable, BODY), (compose, HALF + HALF), (rewrite, HALF), (move, b"s"), (parts, BODY)]


@pytest.mark.parametrize("act,want", OBJECTS, ids=[a.__name__ for a, _ in OBJECTS])
@pytest.mark.parametrize("replaces", [False, True], ids=["new", "overwrite"])
def test_objects(full, act, want, replaces):
    """Old, with all its facts, or whole new: new if and only if that was the answer."""
    s, refused, stored = full, 0, 0
    for room in ROOMS:
        if act is move:
            assert s.call("POST", "/upload/storage/v1/b/disk/o?uploadType=media&name=source", b"s", headers={"Content-Type": "text/x-new"}).status_code == 200
            assert s.call("PATCH", "/storage/v1/b/disk/o/source", {"metadata": {"long": LONG}}).status_code == 200
        if replaces:
            assert s.call("POST", "/upload/storage/v1/b/disk/o?uploadType=media&name=new", b"before", headers={"Content-Type": "text/x-old"}).status_code == 200
            assert s.call("PATCH", NEW, {"metadata": {"who": "old"}}).status_code == 200
        before, source, s.give_up = state(s, "new"), state(s, "source"), None
        s.disk.leave(room)
        r = act(s)
        now = state(s, "new")
        assert s.call("GET", "/storage/v1/b/disk/o/old?alt=media").content == HALF, room
        if r.status_code == 200:
            stored += 1
            assert now[1] == want and now[0]["contentType"] == "text/x-new" and "who" not in now[0].get("metadata", {}), room
        else:
            refused += 1
            check_refusal(r, room)
            assert now == before and state(s, "source") == source, room
            names = ["half", "new", "old"] if replaces else ["half", "old"]
            assert [o["name"] for o in s.call("GET", "/storage/v1/b/disk/o").json()["items"]] == names + ["source"] * (act is move), room
        s.disk.free()
        if r.status_code != 200 and s.give_up:
            assert s.give_up().status_code in (204, 404, 499), room
        wait_until(lambda: os.listdir(os.path.join(s.data_dir, "uploads")) == [], 20, "what was refused to be dropped")
        if act is not move or r.status_code != 200:
            again = act(s)
            assert again.status_code == 200, (room, again.text)
        assert state(s, "new")[1] == want
        assert s.call("DELETE", NEW).status_code == 204
    assert refused and stored  # both sides of the edge were seen


def test_small_changes(full):
    """What needs room for a record alone: nothing changes, or what was answered."""
    s, refused, stored = full, 0, 0
    for n, room in enumerate(ROOMS):
        s.call("POST", "/upload/storage/v1/b/disk/o?uploadType=media&name=new", b"x")
        before = state(s, "new")
        s.disk.leave(room)
        patched = s.call("PATCH", NEW, {"metadata": {"k": LONG}})
        made = s.call("POST", "/storage/v1/b?project=demo", {"name": f"more-{n}", "labels": {"k": "v"}})
        bucket = s.call("GET", f"/storage/v1/b/more-{n}")
        assert (state(s, "new") == before) == (patched.status_code != 200), room
        assert (made.status_code, bucket.status_code) in ((200, 200), (507, 404)), (room, made.text, bucket.text)
        for r in (patched, made):
            stored, refused = stored + (r.status_code == 200), refused + (r.status_code != 200)
            if r.status_code != 200:
                check_refusal(r, room)
        gone = s.call("DELETE", NEW)  # a full disk is where people delete
        assert gone.status_code == 204 and state(s, "new") is None, (room, gone.text)
        s.disk.free()
    assert refused and stored


def check_push_refusal(r, room):
    """The one answer that docs/internals/images.md promises."""
    e = r.json()["errors"][0]
    assert r.status_code == 507 and e["code"] == "UNKNOWN" and "No space left" in e["message"], (room, r.status_code, r.text)


def test_pushes(full):
    s, refused, stored = full, 0, 0
    http = requests.Session()
    for n, room in enumerate(ROOMS):
        body = hashlib.sha256(b"%d" % n).digest() + BODY
        digest = "sha256:" + hashlib.sha256(body).hexdigest()

        def push():
            r = http.post(s.url + "/v2/demo/r/i/blobs/uploads/", timeout=60)
            return r if r.status_code != 202 else http.put(r.headers["Location"] if "://" in r.headers["Location"] else s.url + r.headers["Location"],
                                                           params={"digest": digest}, data=body, timeout=60)

        s.disk.leave(room)
        r = push()
        head = http.head(f"{s.url}/v2/demo/r/i/blobs/{digest}", timeout=60)
        if r.status_code == 201:
            stored += 1
            assert head.status_code == 200 and int(head.headers["Content-Length"]) == len(body)
        else:
            refused += 1
            check_push_refusal(r, room)
            assert head.status_code == 404, room
        s.disk.free()
        assert push().status_code == 201, room
        assert http.get(f"{s.url}/v2/demo/r/i/blobs/{digest}", timeout=60).content == body
        assert http.delete(f"{s.url}/v2/demo/r/i/blobs/{digest}", timeout=60).status_code == 202
    assert refused and stored


def test_imports(full, busybox_image):
    """An image is all there or not at all."""
    s, refused, stored = full, 0, 0
    with open(busybox_image, "rb") as f:
        tar = f.read()
    for room in (0, 8192, 65536, len(tar) // 2, len(tar), 2 * len(tar), 2 * len(tar) + 65536, 3 * len(tar), 4 * len(tar)):
        s.disk.leave(room)
        r = s.call("POST", "/cusp/v1/images:import?name=bb", tar)
        images = json.dumps(s.call("GET", "/cusp/v1/images").json())
        ok = r.status_code == 200 and '"error"' not in r.text
        assert ("bb" in images) == ok, (room, r.text, images)
        stored, refused = stored + ok, refused + (not ok)
        if not ok:
            assert "No space left" in r.text or "full" in r.text, (room, r.status_code, r.text)
        s.disk.free()
        again = s.call("POST", "/cusp/v1/images:import?name=bb", tar)
        assert again.status_code == 200, (room, again.text)
        assert s.call("DELETE", "/cusp/v1/images/bb").status_code == 200
    assert refused and stored


def test_storage_cp(full, tmp_path):
    """cusp storage cp says what is wrong, sends nothing half, and does it when called again."""
    s, refused, stored = full, 0, 0
    src = tmp_path / "src"
    src.mkdir()
    for name in ("a", "b"):
        (src / name).write_bytes(name.encode() + HALF)

    def cp():
        return subprocess.run([os.path.join(BUILD, "cusp"), "storage", "cp", "-r", "--quiet", str(src), "gs://disk"], capture_output=True, text=True,
                              timeout=120, env={**os.environ, "CUSP_ENDPOINT": s.url, "HOME": str(tmp_path)})

    for room in ROOMS[::3] + [3 << 20]:
        s.disk.leave(room)
        p = cp()
        there = [n for n in ("a", "b") if (o := state(s, f"src%2F{n}")) and o[1] == (src / n).read_bytes()]
        listed = s.call("GET", "/storage/v1/b/disk/o?prefix=src/").json().get("items", [])
        assert len(there) == len(listed), room
        if p.returncode == 0:
            stored += 1
            assert there == ["a", "b"]
        else:
            refused += 1
            assert "disk is full" in p.stderr and "Traceback" not in p.stderr and len(there) < 2, (room, p.stderr)
        s.disk.free()
        p = cp()
        assert p.returncode == 0, p.stderr
        for n in ("a", "b"):
            assert s.call("DELETE", f"/storage/v1/b/disk/o/src%2F{n}").status_code == 204
    assert refused and stored


def test_dataset_imports(full):
    """An import's operation ends; items are there if and only if it said so, and the next import adds them all."""
    s, refused, stored = full, 0, 0
    ds = result(s, s.call("POST", f"/v1/{PARENT}/datasets", {"displayName": "d", "metadataSchemaUri": schema("image")}))

    def put(n):
        lines = "".join(json.dumps({"imageGcsUri": f"gs://elsewhere/{n}-{i}-{LONG[:200]}.jpg"}) + "\n" for i in range(800))
        r = s.call("POST", f"/upload/storage/v1/b/disk/o?uploadType=media&name=list-{n}.jsonl", lines.encode())
        assert r.status_code == 200, r.text
        return f"gs://disk/list-{n}.jsonl"

    def count():
        return int(s.call("GET", f"/v1/{ds['name']}").json().get("dataItemCount", 0))

    for n, room in enumerate((0, 4096, 65536, 262144, 1 << 20, 4 << 20)):
        uri, before = put(n), count()
        s.disk.leave(room)
        r = start_import(s, ds, uri)
        op = done(s, r) if r.status_code == 200 else r.json()
        ok = "error" not in op
        if not ok:
            assert "full" in op["error"]["message"] or "No space left" in op["error"]["message"], (room, op)
        stored, refused = stored + ok, refused + (not ok)
        s.disk.free()
        assert not ok or count() == before + 800, room
        result(s, start_import(s, ds, uri))  # items that are there are not added twice
        assert count() == before + 800, room
    assert refused and stored


def test_log_writes(full):
    """entries:write: a line that was taken is there once, also after a kill; one that was refused may come when there is room."""
    s, taken, sent = full, [], []

    def write(text):
        sent.append(text)
        r = s.call("POST", "/v2/entries:write", {"logName": "projects/demo/logs/mine", "entries": [{"textPayload": text, "insertId": text[:8]}]})
        if r.status_code == 200:
            taken.append(text)
        else:
            assert r.status_code == 429 and "No space left" in r.json()["error"]["message"], r.text
        return r.status_code == 200

    for n, room in enumerate([0, 65536, 262144]):
        s.disk.leave(room)
        for k in range(12):
            write(f"{n}-{k:02}----" + "y" * 30000)
        s.disk.free()
        wait_until(lambda: write(f"{n}-after-"), 30, "lines to be taken again")

    def read():
        got, token = [], None
        while True:
            page = s.call("POST", "/v2/entries:list", {"resourceNames": ["projects/demo"], "filter": 'logName="projects/demo/logs/mine"',
                                                       "pageSize": 20, **({"pageToken": token} if token else {})}).json()
            got += [e["textPayload"] for e in page.get("entries", []) if "bytes of output lost" not in e["textPayload"]]
            token = page.get("nextPageToken")
            if not token:
                return got

    assert len(taken) < len(sent)
    before = read()
    s.kill9()
    s.start()
    for got in (before, read()):
        assert set(taken) <= set(got) <= set(sent)
        assert len([t for t in got if "after" not in t]) == len({t for t in got if "after" not in t})
