"""The official storage client, unmodified, and raw bodies of other clients, against the storage API.

The tests of this file share one cuspd, which some of them restart on the same address.
"""
import base64
import hashlib
import os
import random
import signal
import uuid

import pytest
import requests
from conftest import Server, wait_until
from google.api_core.exceptions import Conflict, NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage


class StorageServer(Server):
    @property
    def dir(self):
        return self.data_dir

    def restart(self, how=signal.SIGKILL):
        if how == signal.SIGKILL:
            self.kill9()
        else:
            self.stop()
        self.listen = self.url[len("http://"):]  # session addresses hold it
        self.start()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    s = StorageServer(tmp_path_factory.mktemp("storage") / "data", "--engine=fake").start()
    yield s
    if s.proc.poll() is None:
        s.stop()


@pytest.fixture
def client(server):
    return storage.Client(project="demo", credentials=AnonymousCredentials(),
                          client_options={"api_endpoint": server.url})


@pytest.fixture
def bucket(client):
    return client.create_bucket("b-" + uuid.uuid4().hex[:16], location="us-central1")


def crc32c(data):
    import google_crc32c
    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


def test_bucket_is_created_listed_and_refused_a_second_time(client, bucket):
    assert bucket.location == "US-CENTRAL1" and bucket.project_number
    assert bucket.name in [b.name for b in client.list_buckets()]
    assert client.get_bucket(bucket.name).exists()
    with pytest.raises(Conflict):
        client.create_bucket(bucket.name)
    bucket.delete()
    with pytest.raises(NotFound):
        client.get_bucket(bucket.name)


def test_bucket_with_objects_is_not_deleted(bucket):
    bucket.blob("deep/er/x").upload_from_string(b"1")
    with pytest.raises(Conflict):
        bucket.delete()
    bucket.blob("deep/er/x").delete()
    bucket.delete()


@pytest.mark.parametrize("name", ["../../etc", "..", "a", "Upper-Case", "has space", "-begins", "1.2.3.4", "x" * 64])
def test_bad_bucket_names_are_refused(server, name):
    r = requests.post(f"{server.url}/storage/v1/b?project=p", json={"name": name})
    assert r.status_code == 400 and r.json()["error"]["errors"][0]["reason"] == "invalid"
    assert name in r.json()["error"]["message"]


@pytest.mark.parametrize("raw", ["..%2f..%2fetc", "%2e%2e", "..", "a%00b"])
def test_traversal_in_the_bucket_part_of_a_path_is_refused(server, raw):
    s = requests.Session()
    req = requests.Request("GET", server.url).prepare()
    req.url = f"{server.url}/storage/v1/b/{raw}/o/passwd?alt=media"
    assert s.send(req).status_code in (400, 404)


NAMES = ["plain.txt", "a/b/c.txt", "with space", "colon:plus+hash#q?.bin", "ünï/cødé", "../../../../etc/passwd", "./dot",
         "a//double", "/leading", "trailing/", "x/../y", "%~fodd", "%2F", "long-" + "n" * 300 + "/deep" + "m" * 290, "n" * 1024]


@pytest.mark.parametrize("name", NAMES)
def test_object_names_round_trip(server, bucket, name):
    data = os.urandom(1000)
    blob = bucket.blob(name)
    blob.upload_from_string(data, content_type="text/x-test")
    again = bucket.get_blob(name)
    assert again.size == 1000 and again.content_type == "text/x-test"
    assert again.md5_hash == base64.b64encode(hashlib.md5(data).digest()).decode()
    assert again.crc32c == crc32c(data)
    assert bucket.blob(name).download_as_bytes() == data
    assert [b.name for b in bucket.list_blobs()] == [name]
    for base, _, files in os.walk(server.dir):
        for f in files:
            assert os.path.realpath(os.path.join(base, f)).startswith(os.path.realpath(server.dir))
    blob.delete()
    assert os.listdir(os.path.join(server.dir, "buckets", bucket.name)) == []


def test_object_and_folder_of_one_name_live_together(bucket):
    for order in (["n", "n/x"], ["m/x", "m"]):
        for name in order:
            bucket.blob(name).upload_from_string(name)
        for name in order:
            assert bucket.blob(name).download_as_text() == name
    assert [b.name for b in bucket.list_blobs()] == ["m", "m/x", "n", "n/x"]


def test_metadata_is_kept_and_generations_increase(bucket):
    blob = bucket.blob("m")
    blob.metadata = {"color": "blue", "weird key": "line\nbreak"}
    blob.cache_control = "no-store"
    blob.upload_from_string("1")
    first = bucket.get_blob("m")
    assert first.metadata == {"color": "blue", "weird key": "line\nbreak"} and first.cache_control == "no-store"
    bucket.blob("m").upload_from_string("2")
    second = bucket.get_blob("m")
    assert second.generation > first.generation and second.metadata is None


def test_preconditions(bucket):
    bucket.blob("p").upload_from_string("1", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        bucket.blob("p").upload_from_string("2", if_generation_match=0)
    g = bucket.get_blob("p").generation
    bucket.blob("p").upload_from_string("3", if_generation_match=g)
    with pytest.raises(PreconditionFailed):
        bucket.blob("p").delete(if_generation_match=g)
    assert bucket.blob("p").download_as_text() == "3"


def test_missing_things_are_404_with_a_google_body(server, client, bucket):
    assert not bucket.blob("nope").exists()
    with pytest.raises(NotFound):
        bucket.blob("nope").download_as_bytes()
    with pytest.raises(NotFound):
        client.bucket("no-such-bucket").blob("x").upload_from_string("1")
    e = requests.get(f"{server.url}/storage/v1/b/{bucket.name}/o/nope").json()["error"]
    assert e["code"] == 404 and e["errors"][0] == {**e["errors"][0], "domain": "global", "reason": "notFound"}


def test_wrong_checksum_leaves_nothing(server, bucket):
    blob = bucket.blob("bad")
    blob.md5_hash = base64.b64encode(b"0" * 16).decode()
    body = (b'--X\r\ncontent-type: application/json\r\n\r\n{"name":"bad","md5Hash":"%s"}\r\n--X\r\n\r\ndata\r\n--X--'
            % blob.md5_hash.encode())
    r = requests.post(f"{server.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=multipart", data=body,
                      headers={"Content-Type": "multipart/related; boundary=X"})
    assert r.status_code == 400 and "MD5" in r.json()["error"]["message"]
    assert list(bucket.list_blobs()) == []
    wait_until(lambda: not [f for f in os.listdir(os.path.join(server.dir, "uploads")) if f.startswith("t-")],
               20, "the refused bytes to be dropped")


MULTIPART = {
    "python": ('multipart/related; boundary="===1=="', b"\r\n", {}, b"\r\n"),
    "gcloud": ("multipart/related; boundary='===1=='", b"\n", {b"MIME-Version": b"1.0"}, b"\n"),
    "gcsfs": ('multipart/related; boundary="===1=="', b"\n", {}, b"\n"),
    "gcsfs_without_line_end": ('multipart/related; boundary="===1=="', b"\n", {}, b""),
    "node": ("multipart/related; boundary====1==", b"\r\n", {}, b"\r\n"),
}


@pytest.mark.parametrize("dialect", MULTIPART)
@pytest.mark.parametrize("data", [b"", b"x", b"ends\n", b"ends\r\n", b"\n--===1= not\n--===1==x", pytest.param(os.urandom(700000), id="700000 random bytes")])
def test_multipart_dialects(server, bucket, dialect, data):
    kind, nl, extra, before_last = MULTIPART[dialect]
    if before_last == b"" and data.endswith(b"\n"):
        pytest.skip("this dialect cannot say that")
    more = b"".join(k + b": " + v + nl for k, v in extra.items())
    body = (b"--===1==" + nl + b"Content-Type: application/json" + nl + more + nl +
            b'{"name":"o","contentType":"a/b"}' + nl + b"--===1==" + nl + b"Content-Type: c/d" + nl + more + nl + data +
            before_last + b"--===1==--")
    chunked = dialect == "node"
    r = requests.post(f"{server.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=multipart&name=o",
                      data=(body[i:i + 70001] for i in range(0, len(body), 70001)) if chunked else body,
                      headers={"Content-Type": kind})
    assert r.status_code == 200, r.text
    assert r.json()["size"] == str(len(data)) and r.json()["contentType"] == "a/b"
    assert bucket.blob("o").download_as_bytes() == data


def test_resumable_upload_in_chunks_and_whole(bucket, tmp_path):
    data = random.Random(1).randbytes(3 * 1024 * 1024 + 17)
    path = tmp_path / "f"
    path.write_bytes(data)
    blob = bucket.blob("chunks", chunk_size=256 * 1024)
    blob.upload_from_filename(str(path), checksum="md5")
    assert bucket.blob("chunks").download_as_bytes(checksum="md5") == data
    with bucket.blob("stream").open("wb", chunk_size=256 * 1024) as f:  # length unknown in advance
        for i in range(0, len(data), 100000):
            f.write(data[i:i + 100000])
    assert bucket.blob("stream").download_as_bytes() == data
    with bucket.blob("stream").open("rb", chunk_size=300000) as f:
        assert f.read() == data


def start_session(server, bucket, name="r", **headers):
    r = requests.post(f"{server.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&name={name}",
                      headers={"X-Upload-Content-Type": "a/b", **headers})
    assert r.status_code == 200 and len(r.headers["Location"]) > 20
    assert r.headers["Location"].startswith(server.url)
    return r.headers["Location"]


def test_resumable_survives_kill_of_the_server(server, bucket):
    url = start_session(server, bucket)
    data = os.urandom(700000)
    r = requests.put(url, data=data[:262144], headers={"Content-Range": "bytes 0-262143/*"}, allow_redirects=False)
    assert r.status_code == 308 and r.headers["Range"] == "bytes=0-262143" and r.content == b""
    server.restart()
    r = requests.put(url, headers={"Content-Range": "bytes */*"}, allow_redirects=False)
    assert r.status_code == 308 and r.headers["Range"] == "bytes=0-262143"
    # overlapping bytes are skipped; POST is as good as PUT; the md5 covers the whole object
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
    r = requests.post(url, data=data[200000:], headers={"Content-Range": "bytes 200000-699999/700000",
                                                        "x-goog-hash": "md5=" + md5})
    assert r.status_code == 200, r.text
    assert r.json()["md5Hash"] == md5 and r.json()["crc32c"] == crc32c(data) and r.json()["contentType"] == "a/b"
    r = requests.put(url, headers={"Content-Range": "bytes */700000"}, allow_redirects=False)
    assert r.status_code == 200 and r.json()["name"] == "r"
    server.restart(signal.SIGTERM)
    r = requests.put(url, headers={"Content-Range": "bytes */700000"}, allow_redirects=False)
    assert r.status_code == 200 and r.json()["size"] == "700000"
    assert bucket.blob("r").download_as_bytes() == data


def test_resumable_forms(server, bucket):
    url = start_session(server, bucket)
    assert requests.put(url, headers={"Content-Range": "bytes */*"}, allow_redirects=False).status_code == 308
    r = requests.put(url, data=b"late", headers={"Content-Range": "bytes 10-13/14"}, allow_redirects=False)
    assert r.status_code == 400
    r = requests.put(url, data=(b for b in [b"abc", b"def"]), headers={"Content-Range": "bytes 0-*/*"})
    assert r.status_code == 200 and r.json()["size"] == "6"
    url = start_session(server, bucket, "whole")
    r = requests.put(url, data=b"all of it")
    assert r.status_code == 200 and r.json()["size"] == "9"
    url = start_session(server, bucket, "empty")
    assert requests.put(url, headers={"Content-Range": "bytes */0"}).status_code == 200
    url = start_session(server, bucket, "gone")
    assert requests.delete(url).status_code == 499
    assert requests.put(url, data=b"x").status_code in (404, 410)
    for bad in ["bytes 5-3/9", "bytes 0-9/5", "items 0-1/2", "bytes 0-99999999999999999999/*"]:
        url = start_session(server, bucket, "bad")
        assert requests.put(url, data=b"x", headers={"Content-Range": bad}).status_code == 400
    url = start_session(server, bucket, "sum")
    r = requests.put(url, data=b"abc", headers={"x-goog-hash": "crc32c=AAAAAA=="})
    assert r.status_code == 400 and not bucket.blob("sum").exists()


def test_cut_connection_keeps_what_arrived(server, bucket):
    import socket
    url = start_session(server, bucket)
    host, port = server.url[7:].split(":")
    with socket.create_connection((host, int(port))) as s:
        s.sendall(f"PUT {url[len(server.url):]} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
                  "Content-Range: bytes 0-999999/1000000\r\n\r\n".encode() + b"z" * 300000)

    # To ask is to take over: a question that overtakes the bytes ends their request where it is.
    uploads = os.path.join(server.data_dir, "uploads")
    wait_until(lambda: 300000 in [e.stat().st_size for e in os.scandir(uploads)], 20, "the bytes on the disk")

    def all_kept():
        r = requests.put(url, headers={"Content-Range": "bytes */1000000"}, allow_redirects=False)
        assert r.status_code == 308
        return r.headers.get("Range") == "bytes=0-299999"

    wait_until(all_kept, 20, "the bytes that arrived")
    r = requests.put(url, data=b"z" * 700000, headers={"Content-Range": "bytes 300000-999999/1000000"})
    assert r.status_code == 200 and r.json()["crc32c"] == crc32c(b"z" * 1000000)


@pytest.mark.parametrize("range_, status, want", [
    ("bytes=0-", 206, slice(0, 100)), ("bytes=10-19", 206, slice(10, 20)), ("bytes=90-500", 206, slice(90, 100)),
    ("bytes=-5", 206, slice(95, 100)), ("bytes=100-", 416, None), ("bytes=5-2", 200, slice(0, 100))])
def test_ranges(server, bucket, range_, status, want):
    data = bytes(range(100))
    bucket.blob("r").upload_from_string(data)
    for base in ("/storage/v1/b/", "/download/storage/v1/b/", "/b/"):
        r = requests.get(f"{server.url}{base}{bucket.name}/o/r?alt=media", headers={"Range": range_})
        assert r.status_code == status
        if want:
            assert r.content == data[want]
            assert r.headers["x-goog-hash"] == f"crc32c={crc32c(data)},md5=" + base64.b64encode(
                hashlib.md5(data).digest()).decode()
        if status == 206:
            assert r.headers["Content-Range"] == f"bytes {want.start}-{want.stop - 1}/100"
        if status == 416:
            assert r.headers["Content-Range"] == "bytes */100"


def test_list_prefix_delimiter_and_pages(server, client, bucket):
    names = sorted(["a", "a-b", "a/b", "a/c/d", "a0", "b/x", "b/y", "c"], key=str.encode)
    for n in names:
        bucket.blob(n).upload_from_string(n)
    assert [b.name for b in bucket.list_blobs()] == names
    assert [b.name for b in bucket.list_blobs(page_size=1)] == names
    it = bucket.list_blobs(delimiter="/")
    assert [b.name for b in it] == ["a", "a-b", "a0", "c"] and it.prefixes == {"a/", "b/"}
    it = bucket.list_blobs(prefix="a/", delimiter="/")
    assert [b.name for b in it] == ["a/b"] and it.prefixes == {"a/c/"}
    assert [b.name for b in bucket.list_blobs(start_offset="a/c", end_offset="b/y")] == ["a/c/d", "a0", "b/x"]
    r = requests.get(f"{server.url}/storage/v1/b/{bucket.name}/o?prefix=zzz").json()
    assert r == {"kind": "storage#objects"}
    seen, token = [], None
    while True:
        r = requests.get(f"{server.url}/b/{bucket.name}/o",
                         params={"maxResults": 2, "delimiter": "/", **({"pageToken": token} if token else {})}).json()
        seen += [o["name"] for o in r.get("items", [])] + r.get("prefixes", [])
        token = r.get("nextPageToken")
        if not token:
            break
    assert sorted(seen) == sorted(["a", "a-b", "a0", "c", "a/", "b/"]) and len(seen) == 6


def test_file_written_by_training_code_is_an_object(server, bucket):
    base = os.path.join(server.dir, "buckets", bucket.name)
    os.makedirs(os.path.join(base, "model"))
    with open(os.path.join(base, "model", "model.json"), "wb") as f:
        f.write(b"{}")
    blob = bucket.get_blob("model/model.json")
    assert blob.size == 2 and blob.content_type == "application/json" and blob.crc32c == crc32c(b"{}")
    assert blob.download_as_bytes() == b"{}"
    assert [b.name for b in bucket.list_blobs(prefix="model/")] == ["model/model.json"]
    assert next(iter(bucket.list_blobs())).generation == blob.generation
    with open(os.path.join(base, "model", "model.json"), "ab") as f:
        f.write(b"\n[]")
    again = bucket.get_blob("model/model.json")
    assert again.generation > blob.generation and again.crc32c == crc32c(b"{}\n[]")


def test_links_do_not_lead_out_of_the_bucket(server, bucket, tmp_path):
    base = os.path.join(server.dir, "buckets", bucket.name)
    (tmp_path / "secret").write_text("secret")
    os.symlink(tmp_path, os.path.join(base, "dir"))
    os.symlink(tmp_path / "secret", os.path.join(base, "file"))
    assert list(bucket.list_blobs()) == []
    assert not bucket.blob("file").exists() and not bucket.blob("dir/secret").exists()
    bucket.blob("dir/new").upload_from_string("inside")
    bucket.blob("file").upload_from_string("inside")
    assert (tmp_path / "secret").read_text() == "secret" and os.listdir(tmp_path) == ["secret"]
    assert bucket.blob("dir/new").download_as_text() == "inside"
    assert bucket.blob("file").download_as_text() == "inside"


def test_bad_json_and_bombs(server, bucket):
    url = f"{server.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable"
    for body in [b"{", b"[]", b'{"name":1}', b'{"a":1,"a":2}', b'{"x":' + b"[" * 200 + b"]" * 200 + b"}",
                 b'{"name":"x","metadata":{"k":1}}', b"{}", b'{"name":"a\\nb"}', b'{"name":"' + b"n" * 1025 + b'"}']:
        r = requests.post(url, data=body)
        assert r.status_code == 400, (body[:50], r.text)
    assert requests.post(url, data=b'{"name":"' + b"n" * 100000 + b'"}').status_code in (400, 413)
    assert list(bucket.list_blobs()) == []


def test_layout_and_unbuilt_routes(server, bucket):
    r = requests.get(f"{server.url}/storage/v1/b/{bucket.name}/storageLayout").json()
    assert r["hierarchicalNamespace"] == {"enabled": False} and r["location"] == "US-CENTRAL1"
    r = requests.post(f"{server.url}/storage/v1/b/{bucket.name}/anywhereCaches", json={})
    assert r.status_code == 501 and r.json()["error"]["code"] == 501
