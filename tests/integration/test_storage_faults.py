"""Writers that race, a disk that is full, clients that break off: nothing half is ever seen."""
import os
import socket
import threading

import pytest
import requests
from conftest import wait_until
from test_storage import bucket, client, server  # noqa: F401 (fixtures)

POINTS = ["blob.upload.write", "blob.put.before_fsync", "blob.put.before_rename", "blob.copy.slice", "blob.move.before_rename"]


def test_writers_with_preconditions_lose_no_update(server, bucket):
    """Each adds its line by read, modify, write; a lost race is a 412 and is done again."""
    bucket.blob("log").upload_from_string(b"")
    u = f"{server.url}/storage/v1/b/{bucket.name}/o/log"
    up = f"{server.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=log&ifGenerationMatch="
    conflicts = []

    def writer(n):
        with requests.Session() as s:
            for i in range(10):
                while True:
                    r = s.get(u, params={"alt": "media"})
                    put = s.post(up + r.headers["x-goog-generation"], data=r.content + b"%d-%d\n" % (n, i))
                    if put.status_code == 200:
                        break
                    assert put.status_code == 412, put.text
                    conflicts.append(1)

    threads = [threading.Thread(target=writer, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    lines = bucket.blob("log").download_as_bytes().decode().split()
    assert sorted(lines) == sorted(f"{n}-{i}" for n in range(8) for i in range(10)) and conflicts


def test_only_one_creates(server, bucket):
    up = f"{server.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=one&ifGenerationMatch=0"
    got, gate = [], threading.Barrier(8)

    def create(n):
        gate.wait()
        got.append((requests.post(up, data=b"%d" % n * 1000).status_code, b"%d" % n * 1000))

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(s for s, _ in got) == [200] + [412] * 7
    assert bucket.blob("one").download_as_bytes() == next(d for s, d in got if s == 200)


def test_moves_across_each_other_end(server, bucket):
    """a -> b and b -> a at once take two locks each, in one order."""
    bucket.blob("a").upload_from_string("a")
    bucket.blob("b").upload_from_string("b")
    u = f"{server.url}/storage/v1/b/{bucket.name}/o/"
    threads = [threading.Thread(target=lambda f=f, t=t: [requests.post(f"{u}{f}/moveTo/o/{t}", timeout=20) for _ in range(20)])
               for f, t in (("a", "b"), ("b", "a"), ("a", "c"), ("c", "b"))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not any(t.is_alive() for t in threads)
    assert len(list(bucket.list_blobs())) == 1


@pytest.mark.parametrize("point", POINTS)
def test_full_disk_at(make_server, point):
    s = make_server("--engine=fake").start()
    s.call("POST", "/storage/v1/b?project=demo", {"name": "full"})
    s.call("POST", "/upload/storage/v1/b/full/o?uploadType=media&name=old", b"old")
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": f"{point}=errno:ENOSPC"})
    o = "/storage/v1/b/full/o"
    calls = {"blob.copy.slice": ("POST", f"{o}/old/copyTo/b/full/o/new"), "blob.move.before_rename": ("POST", f"{o}/old/moveTo/o/new")}
    method, path = calls.get(point, ("POST", "/upload/storage/v1/b/full/o?uploadType=media&name=new"))
    r = s.call(method, path, b"" if point in calls else b"x" * 100000)
    assert r.status_code == 507 and r.json()["error"]["errors"][0]["reason"] == "insufficientStorage"
    assert [x["name"] for x in s.call("GET", o).json()["items"]] == ["old"]
    assert s.call("GET", o + "/old?alt=media").content == b"old"
    wait_until(lambda: os.listdir(os.path.join(s.data_dir, "uploads")) == [], 20, "the refused bytes to be dropped")
    s.stop()


def test_clients_that_break_off_leave_nothing(server, bucket):
    host, port = server.url[len("http://"):].split(":")
    base = f"/upload/storage/v1/b/{bucket.name}/o?name=broken&uploadType="
    multipart = b"--X\r\n\r\n{}\r\n--X\r\n\r\n"
    for kind, head, body in (("media", "Content-Length: 100000", b"x" * 50000), ("media", "Transfer-Encoding: chunked", b"5\r\nhello\r\n"),
                             ("multipart", "Content-Type: multipart/related; boundary=X\r\nContent-Length: 100000", multipart + b"y" * 50000)):
        with socket.create_connection((host, int(port))) as s:
            s.sendall(f"POST {base}{kind} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + body)
    left = lambda: [f for f in os.listdir(os.path.join(server.dir, "uploads")) if f.startswith("t-")]  # noqa: E731
    wait_until(lambda: not left(), 20, "the broken uploads to be dropped")
    assert list(bucket.list_blobs()) == []
