"""Multipart uploads of the XML API: the official transfer manager, and every request by hand."""
import hashlib
import os
import re
import threading
import uuid
from xml.etree import ElementTree

import pytest
import requests
from conftest import wait_until
from google.cloud.storage import transfer_manager
from test_storage import bucket, client, crc32c, server  # noqa: F401 (fixtures)

NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
MIB = 1 << 20


class Upload:
    def __init__(self, url, **headers):
        self.url = url
        r = requests.post(url + "?uploads", headers=headers, timeout=30)
        assert r.status_code == 200, r.text
        root = ElementTree.fromstring(r.text)
        assert root.tag == NS + "InitiateMultipartUploadResult" and root.find(NS + "Key").text
        self.id = root.find(NS + "UploadId").text

    def put(self, n, data, **headers):
        return requests.put(f"{self.url}?partNumber={n}&uploadId={self.id}", data=data, headers=headers, timeout=60)

    def complete(self, parts, **headers):
        body = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in parts)
        return self.end(f"<CompleteMultipartUpload>{body}</CompleteMultipartUpload>", **headers)

    def end(self, body, **headers):
        return requests.post(f"{self.url}?uploadId={self.id}", data=body, headers=headers, timeout=60)

    def list(self, more=""):
        return requests.get(f"{self.url}?uploadId={self.id}{more}", timeout=30)

    def abort(self):
        return requests.delete(f"{self.url}?uploadId={self.id}", timeout=30)


def start(server, bucket, name="obj", **headers):
    return Upload(f"{server.url}/{bucket.name}/{name}", **headers)


def code(r):
    return re.search(r"<Code>(\w+)</Code>", r.text).group(1)


def left_over(server):
    return [f for f in os.listdir(os.path.join(server.dir, "uploads")) if f.startswith("m-")]


def test_transfer_manager_uploads_in_parallel(server, bucket, tmp_path):
    data = os.urandom(21 * MIB + 17)
    (tmp_path / "big").write_bytes(data)
    blob = bucket.blob("d/big.bin")
    blob.metadata = {"who": "me"}
    transfer_manager.upload_chunks_concurrently(str(tmp_path / "big"), blob, content_type="a/b", chunk_size=5 * MIB, max_workers=4,
                                                worker_type=transfer_manager.THREAD)
    got = bucket.get_blob("d/big.bin")
    assert (got.size, got.crc32c, got.content_type, got.metadata) == (len(data), crc32c(data), "a/b", {"who": "me"})
    transfer_manager.download_chunks_concurrently(got, str(tmp_path / "copy"), chunk_size=5 * MIB, worker_type=transfer_manager.THREAD)
    assert (tmp_path / "copy").read_bytes() == data
    assert left_over(server) == []


def test_parts_in_any_order_replaced_and_left_out(server, bucket):
    a, b, c = os.urandom(5 * MIB), os.urandom(5 * MIB), b"the end"
    u = start(server, bucket, **{"Content-Type": "text/x-p", "x-goog-meta-k": "v", "Cache-Control": "no-cache"})
    etag = {}
    for n, data in ((9, c), (2, b"to be replaced"), (7, b"left out"), (2, b), (1, a)):
        r = u.put(n, data)
        assert r.status_code == 200 and r.headers["etag"] == f'"{hashlib.md5(data).hexdigest()}"', r.text
        assert f"crc32c={crc32c(data)}" in r.headers["x-goog-hash"]
        etag[n] = r.headers["etag"]
    root = ElementTree.fromstring(u.list("&max-parts=3").text)
    assert [p.find(NS + "PartNumber").text for p in root.iter(NS + "Part")] == ["1", "2", "7"]
    assert root.find(NS + "IsTruncated").text == "true" and root.find(NS + "NextPartNumberMarker").text == "7"
    root = ElementTree.fromstring(u.list("&part-number-marker=7").text)
    assert [(p.find(NS + "Size").text, p.find(NS + "ETag").text) for p in root.iter(NS + "Part")] == [("7", etag[9])]
    assert bucket.get_blob("obj") is None  # not before the end
    r = u.complete([(1, etag[1]), (2, etag[2].strip('"')), (9, etag[9])])  # with and without quotes
    assert r.status_code == 200, r.text
    blob = bucket.get_blob("obj")
    assert blob.download_as_bytes() == a + b + c
    assert (blob.content_type, blob.metadata, blob.cache_control) == ("text/x-p", {"k": "v"}, "no-cache")
    assert ElementTree.fromstring(r.text).find(NS + "ETag").text and r.headers["x-goog-generation"] == str(blob.generation)
    assert code(u.complete([(1, etag[1])])) == code(u.list()) == code(u.put(1, b"x")) == code(u.abort()) == "NoSuchUpload"
    assert left_over(server) == []


def test_wrong_ends_change_nothing(server, bucket):
    u = start(server, bucket)
    small, last = u.put(1, b"small").headers["etag"], u.put(2, b"last").headers["etag"]
    xml = lambda n, e: f"<Part><PartNumber>{n}</PartNumber><ETag>{e}</ETag></Part>"  # noqa: E731
    for parts, want in (([(1, small), (2, last)], "EntityTooSmall"), ([(2, last), (1, small)], "InvalidPartOrder"),
                        ([(1, small), (1, small)], "InvalidPartOrder"), ([(3, last)], "InvalidPart"), ([(2, small)], "InvalidPart"),
                        ([(2, "x")], "InvalidPart")):
        r = u.complete(parts)
        assert (r.status_code, code(r)) == (400, want), r.text
    for body in ("", "<x/>", "<CompleteMultipartUpload/>", "not xml", f"<CompleteMultipartUpload>{xml(0, last)}</CompleteMultipartUpload>",
                 f"<CompleteMultipartUpload>{xml(10001, last)}</CompleteMultipartUpload>", f"<CompleteMultipartUpload>{xml(2, last)}",
                 "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
                 "<CompleteMultipartUpload>" + xml(1, "e" * 500) + "</CompleteMultipartUpload>",
                 '<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><CompleteMultipartUpload>' +
                 xml(1, "&b;&b;&b;&b;") + "</CompleteMultipartUpload>"):
        r = u.end(body)
        assert (r.status_code, code(r)) == (400, "MalformedCompleteMultipartUpload"), (body[:80], r.text)
    for n in ("0", "10001", "-1", "x", ""):
        assert requests.put(f"{u.url}?partNumber={n}&uploadId={u.id}", data=b"x", timeout=30).status_code == 400
    assert bucket.get_blob("obj") is None
    assert u.complete([(2, last)]).status_code == 200
    assert bucket.blob("obj").download_as_bytes() == b"last"


def test_wrong_checksums_of_parts_store_nothing(server, bucket):
    u = start(server, bucket)
    assert code(u.put(1, b"x", **{"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="})) == "BadDigest"
    assert code(u.put(1, b"x", **{"x-goog-hash": "crc32c=AAAAAA=="})) == "BadDigest"
    assert code(u.put(1, b"x", **{"Content-MD5": "not base64"})) == "InvalidDigest"
    assert "<Part>" not in u.list().text
    wait_until(lambda: not left_over(server), 20, "the refused bytes to be dropped")
    assert u.abort().status_code == 204


def test_ids_are_of_one_object_only(server, bucket):
    u = start(server, bucket)
    other = f"{server.url}/{bucket.name}/other?uploadId={u.id}"
    assert code(requests.put(other + "&partNumber=1", data=b"x", timeout=30)) == code(requests.delete(other, timeout=30)) == "NoSuchUpload"
    for bad in ("..%2f..%2fx", "r-" + "0" * 32, "p-" + "0" * 32, "p-", "x" * 2000):
        assert code(requests.get(f"{u.url}?uploadId={bad}", timeout=30)) == "NoSuchUpload"
    assert code(requests.post(f"{server.url}/no-such-bucket-{uuid.uuid4().hex}/x?uploads",
                              headers={"Host": "storage.googleapis.com"}, timeout=30)) == "NoSuchBucket"
    assert u.abort().status_code == 204


def test_abort_frees_and_preconditions_hold(server, bucket):
    u = start(server, bucket)
    u.put(1, b"x" * 100000)
    assert len(left_over(server)) == 1
    assert u.abort().status_code == 204 and left_over(server) == []
    bucket.blob("obj").upload_from_string("old")
    u = start(server, bucket)
    etag = u.put(1, b"new").headers["etag"]
    r = u.complete([(1, etag)], **{"x-goog-if-generation-match": "0"})
    assert (r.status_code, code(r)) == (412, "PreconditionFailed")
    assert bucket.blob("obj").download_as_bytes() == b"old"
    assert u.complete([(1, etag)]).status_code == 200  # the upload was still there
    assert bucket.blob("obj").download_as_bytes() == b"new"


def test_parts_survive_a_kill(server, bucket):
    u = start(server, bucket)
    etag = u.put(1, b"y" * 5 * MIB).headers["etag"]
    server.restart()
    last = u.put(2, b"z").headers["etag"]
    assert u.complete([(1, etag), (2, last)]).status_code == 200
    assert bucket.blob("obj").download_as_bytes() == b"y" * 5 * MIB + b"z"


def test_completing_twice_at_once_makes_one_object(server, bucket):
    u = start(server, bucket)
    etag = u.put(1, b"once" * 100000).headers["etag"]
    got = []
    threads = [threading.Thread(target=lambda: got.append(u.complete([(1, etag)]).status_code)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert sorted(got) == [200, 404, 404, 404]


@pytest.mark.parametrize("point", ["blob.part.before_row", "blob.upload.write"])
def test_full_disk_in_a_part(make_server, point):
    s = make_server("--engine=fake").start()
    s.call("POST", "/storage/v1/b?project=demo", {"name": "full"})
    u = Upload(s.url + "/full/obj")
    s.listen = s.url[len("http://"):]
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": f"{point}=errno:ENOSPC"})
    r = u.put(1, b"x" * 100000)
    assert (r.status_code, code(r)) == (507, "InsufficientStorage")
    wait_until(lambda: os.listdir(os.path.join(s.data_dir, "uploads")) == [], 20, "the refused bytes to be dropped")
    s.stop()


def test_open_uploads_of_a_bucket_are_listed(server, client, bucket):
    def page(query=""):
        r = requests.get(f"{server.url}/{bucket.name}?uploads{query}", timeout=30)
        assert r.status_code == 200, r.text
        root = ElementTree.fromstring(r.text)
        assert root.tag == NS + "ListMultipartUploadsResult" and root.find(NS + "Bucket").text == bucket.name
        found = [(u.find(NS + "Key").text, u.find(NS + "UploadId").text) for u in root.iter(NS + "Upload")]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", u.find(NS + "Initiated").text) and u.find(NS + "StorageClass").text == "STANDARD"
                   for u in root.iter(NS + "Upload"))
        return root, found

    assert page()[1] == []
    other = client.create_bucket("other-" + bucket.name)
    start(server, other, "elsewhere").put(1, b"x")
    ups = sorted((name, start(server, bucket, name).id) for name in ("a&b", "a&b", "d/1", "d/2", "e"))
    root, found = page()
    assert found == ups and root.find(NS + "IsTruncated").text == "false"
    assert page("&prefix=d/")[1] == ups[2:4]
    root, found = page("&delimiter=/")
    assert found == ups[:2] + ups[4:] and [p.text for p in root.iter(NS + "Prefix")] == ["d/"]
    got, marker = [], ""
    for _ in range(10):  # page by page; two uploads of one name may be on two pages
        root, found = page("&max-uploads=1" + marker)
        got += found
        if root.find(NS + "IsTruncated").text == "false":
            break
        key, upload = (requests.utils.quote(root.find(NS + n).text, safe="") for n in ("NextKeyMarker", "NextUploadIdMarker"))
        marker = f"&key-marker={key}&upload-id-marker={upload}"
    assert got == ups
    assert page("&key-marker=a%26b")[1] == ups[2:]  # a name alone: what follows it
    assert requests.delete(f"{server.url}/{bucket.name}/e?uploadId={ups[4][1]}", timeout=30).status_code == 204
    assert page()[1] == ups[:4]
    r = requests.get(f"{server.url}/{bucket.name}?uploads&max-uploads=x", timeout=30)
    assert (r.status_code, code(r)) == (400, "InvalidArgument") and "max-uploads" in r.text
    for name, upload in ups[:4]:
        assert requests.delete(f"{server.url}/{bucket.name}/{name.replace('&', '%26')}?uploadId={upload}", timeout=30).status_code == 204
