"""What other clients say over the wire: the XML paths, batches, gzip, sessions of unknown length."""
import gzip
import hashlib
import os
import re
import socket

import pytest
import requests
from test_storage import bucket, client, crc32c, server, start_session  # noqa: F401 (fixtures)


def xml(server, bucket, tail=""):
    return f"{server.url}/{bucket.name}{tail}"


def test_xml_put_get_head_delete(server, bucket):
    u = xml(server, bucket, "/dir/a%20b")
    r = requests.put(u, data=b"hello", headers={"Content-Type": "text/x-a", "x-goog-meta-Color": "blue",
                                                "x-goog-if-generation-match": "0", "Cache-Control": "no-store"})
    assert r.status_code == 200 and r.content == b"" and "crc32c=" + crc32c(b"hello") in r.headers["x-goog-hash"]
    assert r.headers["ETag"] == f'"{hashlib.md5(b"hello").hexdigest()}"'
    g = requests.get(u)
    assert g.content == b"hello" and g.headers["Content-Type"] == "text/x-a" and g.headers["x-goog-meta-color"] == "blue"
    assert g.headers["x-goog-generation"] == r.headers["x-goog-generation"] and g.headers["Last-Modified"].endswith("GMT")
    h = requests.head(u)
    assert h.status_code == 200 and h.headers["Content-Length"] == "5" and h.content == b""
    assert requests.get(u, headers={"Range": "bytes=1-2"}).content == b"el"
    assert bucket.get_blob("dir/a b").cache_control == "no-store"
    r = requests.put(u, data=b"again", headers={"x-goog-if-generation-match": "0"})
    assert r.status_code == 412 and "<Code>PreconditionFailed</Code>" in r.text
    r = requests.put(u, data=b"bad", headers={"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="})
    assert r.status_code == 400 and requests.get(u).content == b"hello"
    r = requests.put(xml(server, bucket, "/copy"), headers={"x-goog-copy-source": f"/{bucket.name}/dir/a%20b"})
    assert r.status_code == 200 and "<CopyObjectResult>" in r.text and bucket.blob("copy").download_as_bytes() == b"hello"
    assert requests.delete(u).status_code == 204
    r = requests.get(u)
    assert r.status_code == 404 and "<Code>NoSuchKey</Code>" in r.text


def test_xml_lists(server, bucket):
    for n in ("a", "b/1", "b/2", "c<&>"):
        bucket.blob(n).upload_from_string(n)
    r = requests.get(xml(server, bucket), params={"delimiter": "/"})
    assert "<Key>a</Key>" in r.text and "<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>" in r.text
    assert "<Key>c&lt;&amp;&gt;</Key>" in r.text and "<IsTruncated>false" in r.text
    seen, token = [], None
    while True:
        p = {"list-type": "2", "max-keys": "1", **({"continuation-token": token} if token else {})}
        t = requests.get(xml(server, bucket), params=p).text
        seen += [t.split("<Key>")[1].split("</Key>")[0]]
        if "<IsTruncated>true" not in t:
            break
        token = t.split("<NextContinuationToken>")[1].split("<")[0]
    assert seen == ["a", "b/1", "b/2", "c&lt;&amp;&gt;"]
    t = requests.get(xml(server, bucket), params={"marker": "b/1"}).text
    assert "<Key>b/1</Key>" not in t and "<Key>b/2</Key>" in t
    assert requests.head(xml(server, bucket)).status_code == 200
    assert "US-CENTRAL1" in requests.get(xml(server, bucket, "?location")).text
    assert requests.delete(xml(server, bucket)).status_code == 409


def test_hosts_of_the_xml_api(server, bucket):
    bucket.blob("x/y").upload_from_string("1")
    get = lambda path, host: requests.get(server.url + path, headers={"Host": host})  # noqa: E731
    assert get("/x/y", bucket.name + ".storage.googleapis.com").text == "1"
    assert get(f"/{bucket.name}/x/y", "storage.googleapis.com").text == "1"
    r = get("/no-such-bucket/x", "storage.googleapis.com")
    assert r.status_code == 404 and "<Code>NoSuchBucket</Code>" in r.text
    r = requests.get(server.url + "/no-such-bucket/x")  # on our own address other paths keep their 404
    assert r.status_code == 404 and r.headers["Content-Type"].startswith("application/json")


def test_xml_resumable(server, bucket):
    r = requests.post(xml(server, bucket, "/res"), headers={"x-goog-resumable": "start", "Content-Type": "a/b"})
    assert r.status_code == 201 and r.headers["Location"].startswith(xml(server, bucket, "/res?"))
    at = r.headers["Location"]
    r = requests.put(at, data=b"x" * 262144, headers={"Content-Range": "bytes 0-262143/*"}, allow_redirects=False)
    assert r.status_code == 308
    r = requests.put(at, data=b"end", headers={"Content-Range": "bytes 262144-262146/262147"})
    assert r.status_code == 200 and bucket.get_blob("res").size == 262147 and bucket.get_blob("res").content_type == "a/b"


def test_batch_through_the_official_client(client, bucket):
    names = [f"n{i}" for i in range(30)]
    for n in names:
        bucket.blob(n).upload_from_string(n)
    with client.batch():
        for n in names[:20]:
            bucket.delete_blob(n)
        bucket.blob("n25").reload()
    assert [b.name for b in bucket.list_blobs()] == sorted(names[20:])
    with client.batch():
        for n in names[20:22]:
            b = bucket.blob(n)
            b.metadata = {"patched": "in a batch"}
            b.patch()
    assert bucket.get_blob("n21").metadata == {"patched": "in a batch"}


def test_batch_answers_each_part_in_order(server, bucket):
    bucket.blob("here").upload_from_string("1")
    parts = [("<one>", f"GET /storage/v1/b/{bucket.name}/o/here HTTP/1.1"),
             ("<two>", f"DELETE https://storage.googleapis.com/storage/v1/b/{bucket.name}/o/gone HTTP/1.1"),
             ("<three>", "GET /v1/projects/demo/locations/us-central1/customJobs HTTP/1.1"),
             ("<four>", f"DELETE /storage/v1/b/{bucket.name}/o/here?ifGenerationMatch=1")]
    body = "".join(f"--B\r\nContent-Type: application/http\r\nContent-ID: {i}\r\n\r\n{l}\r\n\r\n\r\n" for i, l in parts)
    r = requests.post(f"{server.url}/batch/storage/v1", data=body + "--B--", headers={"Content-Type": "multipart/mixed; boundary=B"})
    assert r.status_code == 200
    boundary = r.headers["Content-Type"].split("boundary=")[1]
    got = r.text.split("--" + boundary)[1:-1]
    assert [p.split("<response-")[1].split(">")[0] for p in got] == ["one", "two", "three", "four"]
    assert [p.split("HTTP/1.1 ")[1][:3] for p in got] == ["200", "404", "404", "412"]
    assert '"name":"here"' in got[0].replace('": ', '":')


@pytest.mark.parametrize("body", ["", "--B--", "--B\r\n\r\nnonsense\r\n--B--", "--B\r\n\r\nGET / HTTP/1.1\r\n",
                                  "--B\r\nx\r\n\r\nGET /storage/v1/b HTTP/1.1\r\n\r\n--B--",
                                  "--B\r\n\r\nPOST /upload/storage/v1/b/x/o HTTP/1.1\r\n\r\n--B--",
                                  "--B\r\n\r\nPOST /batch/storage/v1 HTTP/1.1\r\n\r\n--B--",
                                  "--B\r\n\r\nGET /storage/v1/b HTTP/1.1\r\n\r\n" * 101 + "--B--"])
def test_bad_batches_are_refused_whole(server, body):
    r = requests.post(f"{server.url}/batch/storage/v1", data=body, headers={"Content-Type": "multipart/mixed; boundary=B"})
    assert r.status_code == 400 and r.json()["error"]["errors"][0]["reason"] == "invalid"


def raw_get(server, path, *headers):
    """Exactly these headers: requests always accepts gzip."""
    host, port = server.url[len("http://"):].split(":")
    with socket.create_connection((host, int(port))) as s:
        s.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]).encode())
        data = b""
        while part := s.recv(1 << 16):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    head = head.decode().lower()
    if "transfer-encoding: chunked" in head:
        out = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            out, body = out + body[:int(size, 16)], body[int(size, 16) + 2:]
            if size == b"0":
                break
        body = out
    return head, body


def test_gzip_objects_are_unpacked_for_those_who_do_not_take_gzip(server, bucket):
    plain = os.urandom(1000) * 3000
    packed = gzip.compress(plain[:2000000]) + gzip.compress(plain[2000000:])
    b = bucket.blob("z")
    b.content_encoding = "gzip"
    b.upload_from_string(packed, content_type="text/plain")
    path = f"/storage/v1/b/{bucket.name}/o/z?alt=media"
    head, body = raw_get(server, path, "Accept-Encoding: gzip")
    assert body == packed and "content-encoding: gzip" in head
    head, body = raw_get(server, path)
    assert body == plain and "\r\ncontent-encoding" not in head and "x-goog-stored-content-encoding: gzip" in head
    head, body = raw_get(server, f"/{bucket.name}/z")
    assert body == plain
    assert bucket.blob("z").download_as_bytes() == plain
    assert bucket.blob("z").download_as_bytes(raw_download=True) == packed
    b.cache_control = "no-transform"
    b.patch()
    assert raw_get(server, path)[1] == packed


def test_packed_metadata_may_be_as_long_as_plain_metadata(server, bucket):
    """max_object_metadata bounds what comes out, to the byte, and says so."""
    bucket.blob("o").upload_from_string("1")
    where = f"{server.url}/storage/v1/b/{bucket.name}/o/o"

    def patch(size):
        text = b'{"metadata":{"k":"%d"}}' % size
        return requests.patch(where, data=gzip.compress(text.ljust(size)), headers={
            "Content-Type": "application/json", "Content-Encoding": "gzip"})

    for size in (100, 50000, 65535, 65536):
        r = patch(size)
        assert r.status_code == 200 and r.json()["metadata"] == {"k": str(size)}, r.text
    r = patch(65537)
    assert r.status_code in (400, 413, 429) and "65536" in r.text, r.text


def test_not_really_gzip_is_not_passed_off_as_plain(server, bucket):
    b = bucket.blob("liar")
    b.content_encoding = "gzip"
    b.upload_from_string(b"plain text")
    head, body = raw_get(server, f"/storage/v1/b/{bucket.name}/o/liar?alt=media")
    assert head.startswith("http/1.1 500") and b"request" in body


def test_session_of_gclouds_path_and_cancel(server, bucket):
    r = requests.post(f"{server.url}/resumable/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable", json={"name": "g"})
    at = r.headers["Location"]
    assert at.startswith(server.url + "/resumable/upload/")
    r = requests.put(at, data=b"x" * 262144, headers={"Content-Range": "bytes 0-262143/*"}, allow_redirects=False)
    assert r.status_code == 308 and r.headers["Range"] == "bytes=0-262143"
    assert requests.delete(at).status_code == 499
    assert requests.put(at, headers={"Content-Range": "bytes */*"}, allow_redirects=False).status_code == 404
    assert not bucket.blob("g").exists()
    at = start_session(server, bucket, "unknown-length")
    for i, end in enumerate(["*", "*", "524290"]):
        size = 2 if end != "*" else 262144
        r = requests.put(at, data=b"y" * size, allow_redirects=False,
                         headers={"Content-Range": f"bytes {i * 262144}-{i * 262144 + size - 1}/{end}"})
    assert r.status_code == 200 and r.json()["size"] == "524290"


def test_bodies_packed_with_gzip(server, bucket):
    h = {"Content-Encoding": "gzip"}
    u = f"{server.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=multipart"
    data = os.urandom(300000) + b"\0" * 3000000
    body = (b'--X\r\ncontent-type: application/json\r\n\r\n{"name":"packed"}\r\n--X\r\n\r\n' + data + b"\r\n--X--")
    kind = {"Content-Type": "multipart/related; boundary=X", **h}
    r = requests.post(u, data=gzip.compress(body), headers=kind)
    assert r.status_code == 200 and r.json()["crc32c"] == crc32c(data), r.text
    assert bucket.blob("packed").download_as_bytes() == data
    for bad in (b"plain", gzip.compress(body)[:-3000], gzip.compress(body) + b"more", gzip.compress(b"nothing")):
        assert requests.post(u, data=bad, headers=kind).status_code == 400
    b = f"{server.url}/storage/v1/b/{bucket.name}"
    assert requests.patch(b, data=gzip.compress(b'{"labels":{"a":"b"}}'), headers=h).json()["labels"] == {"a": "b"}
    for bad, status in ((b"{}", 400), (gzip.compress(b"{}") + b"x", 400), (gzip.compress(b"{" + b" " * 10**7 + b"}"), 413),
                        (gzip.compress(b"{}")[:-1], 400)):
        assert requests.patch(b, data=bad, headers=h).status_code == status, bad[:20]


def test_308_in_a_header_for_those_who_cannot_take_it(server, bucket):
    at = start_session(server, bucket, "no308")
    r = requests.put(at, data=b"x" * 262144, headers={"Content-Range": "bytes 0-262143/*", "X-GUploader-No-308": "yes"})
    assert r.status_code == 200 and r.headers["X-HTTP-Status-Code-Override"] == "308" and r.headers["Range"] == "bytes=0-262143"


def test_uploads_as_tensorflow_begins_them(server, bucket):
    """It names the coding that is none beside a length of none, and waits for permission."""
    host, port = server.url[len("http://"):].split(":")
    with socket.create_connection((host, int(port))) as s:
        s.sendall(f"POST /upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&name=t HTTP/1.1\r\nHost: {host}:{port}\r\n"
                  "X-Upload-Content-Length: 8\r\nContent-Length: 0\r\nTransfer-Encoding: identity\r\n"
                  "Content-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\n\r\n"
                  "GET /storage/v1/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        got = b""
        while more := s.recv(65536):
            got += more
    assert got.count(b"HTTP/1.1 200 OK") == 2, got
    at = re.search(rb"\r\nLocation: (\S+)", got).group(1).decode()
    with socket.create_connection((host, int(port))) as s:  # the bytes come in chunks that a length stands beside
        s.sendall(f"PUT {at.split(port, 1)[1]} HTTP/1.1\r\nHost: {host}:{port}\r\nTransfer-Encoding: chunked\r\n"
                  "Content-Range: bytes 0-7/8\r\nContent-Length: 8\r\nExpect: 100-continue\r\n\r\n".encode())
        got = s.recv(65536)
        assert got == b"HTTP/1.1 100 Continue\r\n\r\n", got
        s.sendall(b"8\r\none\ntwo\n\r\n0\r\n\r\n")
        got = b""
        while more := s.recv(65536):  # to its end: RFC 9112 6.1 wants the connection closed
            got += more
    assert got.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\nconnection: close\r\n" in got, got
    assert bucket.blob("t").download_as_bytes() == b"one\ntwo\n"
