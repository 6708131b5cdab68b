"""The words of errors and the rules of preconditions of the storage API: what clients decide by."""
import socket
import uuid

import pytest
import requests
from test_storage import bucket, client, server, start_session  # noqa: F401 (fixtures)


def reason(r):
    """All of Google's shape, and the reason."""
    e = r.json()["error"]
    assert e["code"] == r.status_code and e["message"] and r.headers["content-type"].startswith("application/json"), r.text
    [first] = e["errors"]
    assert first["domain"] == "global" and first["message"] == e["message"], r.text
    return first["reason"]


def test_reasons(server, bucket):
    """One of each that a client can bring about; the disk's and the server's own are in test_storage_faults.py."""
    b = f"{server.url}/storage/v1/b"
    up = f"{server.url}/upload/storage/v1/b/{bucket.name}/o"
    bucket.blob("x").upload_from_string("1")
    elsewhere = f"no-such-{uuid.uuid4().hex}"
    cancelled = start_session(server, bucket, "c")
    for method, url, body, status, want in (
            ("GET", f"{b}/{bucket.name}/o/none", None, 404, "notFound"),
            ("GET", f"{b}/{elsewhere}", None, 404, "notFound"),
            ("POST", f"{server.url}/upload/storage/v1/b/{elsewhere}/o?uploadType=media&name=x", b"1", 404, "notFound"),
            ("GET", f"{b}/{bucket.name}/o/x?generation=1", None, 404, "notFound"),
            ("POST", f"{b}?project=demo", b'{"name":"%s"}' % bucket.name.encode(), 409, "conflict"),
            ("DELETE", f"{b}/{bucket.name}", None, 409, "conflict"),
            ("POST", f"{up}?uploadType=media&name=x&ifGenerationMatch=0", b"2", 412, "conditionNotMet"),
            ("DELETE", f"{b}/{bucket.name}/o/x?ifMetagenerationMatch=9", None, 412, "conditionNotMet"),
            ("POST", f"{up}?uploadType=media", b"2", 400, "invalid"),
            ("POST", f"{up}?uploadType=sideways&name=x", b"2", 400, "invalid"),
            ("GET", f"{b}/{bucket.name}/o?maxResults=few", None, 400, "invalid"),
            ("GET", f"{b}/{bucket.name}/o?pageToken=!", None, 400, "invalid"),
            ("GET", f"{b}/{bucket.name}/o/x?ifGenerationMatch=one", None, 400, "invalid"),
            ("PATCH", f"{b}/{bucket.name}/o/x", b'{"metadata":{"k":"%s"}}' % (b"v" * 70000), 413, "uploadTooLarge"),
            ("PATCH", f"{b}/{bucket.name}", b'{"versioning":{"enabled":true}}', 501, "notImplemented"),
            ("DELETE", cancelled, None, 499, None)):
        r = requests.request(method, url, data=body, headers={"Content-Type": "application/json"}, timeout=30)
        assert r.status_code == status, (method, url, r.text)
        assert want is None or reason(r) == want, (method, url, r.text)
    r = requests.get(f"{b}/{bucket.name}/o/x", headers={"Authorization": "Bearer cusp.e30"}, timeout=30)  # no token that we made
    assert r.status_code == 401 and reason(r) == "authError" and r.json()["error"]["status"] == "UNAUTHENTICATED"
    assert bucket.blob("x").download_as_bytes() == b"1"  # none of them did anything


def test_a_body_that_stands_still_is_asked_for_again(make_server):
    """408, which every client tries again, and not an error of the server; a session keeps what came."""
    s = make_server("--engine=fake", "--limit=body_idle_timeout_ms=300").start()
    s.call("POST", "/storage/v1/b?project=demo", {"name": "slow"})
    at = s.call("POST", "/upload/storage/v1/b/slow/o?uploadType=resumable&name=r").headers["Location"]
    host, port = s.url[len("http://"):].split(":")

    def stall(method, path, *headers, body=b"x" * 300000):
        with socket.create_connection((host, int(port)), timeout=30) as c:
            head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", "Content-Length: 600000", *headers, "", ""])
            c.sendall(head.encode() + body)
            got = b""
            while b"\r\n\r\n" not in got or (b"}" not in got and b"</Error>" not in got):
                more = c.recv(65536)
                if not more:
                    break
                got += more
        return got

    for path in ("/upload/storage/v1/b/slow/o?uploadType=media&name=m", at[len(s.url):]):
        got = stall("PUT" if "upload_id" in path else "POST", path)
        assert got.startswith(b"HTTP/1.1 408 ") and b'"uploadBrokenConnection"' in got and b"body_idle_timeout_ms" in got, got
    got = stall("PUT", "/slow/x")
    assert got.startswith(b"HTTP/1.1 408 ") and b"<Code>RequestTimeout</Code>" in got, got
    r = requests.put(at, headers={"Content-Range": "bytes */600000"}, allow_redirects=False, timeout=30)
    assert r.status_code == 308 and r.headers["Range"] == "bytes=0-299999"
    r = requests.put(at, data=b"y" * 300000, headers={"Content-Range": "bytes 300000-599999/600000"}, timeout=30)
    assert r.status_code == 200 and r.json()["size"] == "600000"
    assert [o["name"] for o in s.call("GET", "/storage/v1/b/slow/o").json()["items"]] == ["r"]
    assert "storage request failed" not in s.log()
    s.stop()


def conditions(generation, metageneration):
    """Every condition by itself as (query, whether it holds) of an object that is there."""
    for name, now in (("Generation", generation), ("Metageneration", metageneration)):
        for value, same in ((now, True), (int(now) + 1, False)):
            yield f"if{name}Match={value}", same
            yield f"if{name}NotMatch={value}", not same


@pytest.mark.parametrize("act", ["get", "download", "patch", "delete", "upload", "compose", "rewrite", "move"])
def test_every_precondition_of_every_call(server, bucket, act):
    o = f"{server.url}/storage/v1/b/{bucket.name}/o"
    dst = f"{o}/x"
    calls = {"get": ("GET", dst + "?", None), "download": ("GET", dst + "?alt=media&", None), "patch": ("PATCH", dst + "?", b"{}"),
             "delete": ("DELETE", dst + "?", None),
             "upload": ("POST", f"{server.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=x&", b"new"),
             "compose": ("POST", dst + "/compose?", b'{"sourceObjects":[{"name":"src"}]}'),
             "rewrite": ("POST", f"{o}/src/rewriteTo/b/{bucket.name}/o/x?", b""), "move": ("POST", f"{o}/src/moveTo/o/x?", b"")}
    method, url, body = calls[act]
    for i in range(8):
        bucket.blob("src").upload_from_string("new")
        bucket.blob("x").upload_from_string("old")
        b = bucket.get_blob("x")
        query, holds = list(conditions(b.generation, b.metageneration))[i]
        r = requests.request(method, url + query, data=body, headers={"Content-Type": "application/json"}, timeout=30)
        if holds:
            assert r.status_code in (200, 204), (query, r.text)
            continue
        if act in ("get", "download") and "NotMatch" in query:
            assert r.status_code == 304 and not r.content, (query, r.status_code)
        else:
            assert r.status_code == 412 and reason(r) == "conditionNotMet", (query, r.status_code, r.text)
        assert (bucket.get_blob("x").generation, bucket.get_blob("x").metageneration) == (b.generation, b.metageneration), query
    # generation 0 is: there is none
    for query, status in (("ifGenerationMatch=0", 412), ("ifGenerationNotMatch=0", 200)):
        bucket.blob("src").upload_from_string("new")
        bucket.blob("x").upload_from_string("old")
        r = requests.request(method, url + query, data=body, headers={"Content-Type": "application/json"}, timeout=30)
        assert r.status_code in ((200, 204) if status == 200 else (412,)), (query, r.text)


@pytest.mark.parametrize("act", ["rewriteTo", "copyTo", "moveTo"])
def test_preconditions_on_the_source(server, bucket, act):
    o = f"{server.url}/storage/v1/b/{bucket.name}/o"
    to = "o/y" if act == "moveTo" else f"b/{bucket.name}/o/y"
    for i in range(8):
        bucket.blob("x").upload_from_string("src")
        b = bucket.get_blob("x")
        query, holds = list(conditions(b.generation, b.metageneration))[i]
        r = requests.post(f"{o}/x/{act}/{to}?{query.replace('if', 'ifSource', 1)}", timeout=30)
        assert r.status_code == 200 if holds else r.status_code in (412, 304), (query, r.status_code, r.text)
        assert bucket.blob("y").exists() == holds and bucket.blob("x").exists() == (not holds or act != "moveTo"), query
        if holds:
            bucket.delete_blob("y")


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_preconditions_of_a_bucket(server, client, method):
    for query, holds in (("ifMetagenerationMatch=1", True), ("ifMetagenerationMatch=2", False), ("ifMetagenerationNotMatch=1", False),
                         ("ifMetagenerationNotMatch=2", True)):
        k = client.create_bucket("p-" + uuid.uuid4().hex[:16])
        r = requests.request(method, f"{server.url}/storage/v1/b/{k.name}?{query}", data=b"{}" if method == "PATCH" else None,
                             headers={"Content-Type": "application/json"}, timeout=30)
        want = (200, 204) if holds else (304,) if method == "GET" and "Not" in query else (412,)
        assert r.status_code in want, (query, r.status_code, r.text)
        assert k.exists() == (not holds or method != "DELETE")


def test_buckets_are_listed_in_pages_by_prefix_and_project(server, client):
    mine = [f"pg-{c}-{uuid.uuid4().hex[:12]}" for c in "abcde"]
    for name in mine:
        client.create_bucket(name)
    assert [b.name for b in client.list_buckets(prefix="pg-")] == mine
    assert [b.name for b in client.list_buckets(prefix="pg-", page_size=2)] == mine
    assert [b.name for b in client.list_buckets(prefix="pg-c")] == mine[2:3]
    r = requests.get(f"{server.url}/storage/v1/b?project=demo&prefix=pg-&maxResults=2", timeout=30).json()
    assert [b["name"] for b in r["items"]] == mine[:2] and r["nextPageToken"] and r["kind"] == "storage#buckets"
    assert requests.get(f"{server.url}/storage/v1/b?project=nobodys&prefix=pg-", timeout=30).json() == {"kind": "storage#buckets"}


def test_permissions_are_tested_by_name(server, bucket):
    """Stubs: a policy is kept, nothing is decided by it."""
    iam = f"{server.url}/storage/v1/b/{bucket.name}/iam"
    asked = ["storage.objects.get", "storage.buckets.setIamPolicy"]
    r = requests.get(iam + "/testPermissions", params=[("permissions", p) for p in asked], timeout=30)
    assert r.json()["permissions"] == asked
    old = requests.get(iam, timeout=30).json()
    new = {**old, "bindings": [{"role": "roles/storage.admin", "members": ["user:a@b"]}]}
    r = requests.put(iam, json=new, timeout=30)
    assert r.status_code == 200 and r.json()["bindings"] == new["bindings"] and r.json()["etag"] != old["etag"]
    r = requests.put(iam, json={**new, "bindings": []}, timeout=30)  # of the policy before it
    assert (r.status_code, reason(r)) == (412, "conditionNotMet")
    assert requests.get(iam, timeout=30).json()["bindings"] == new["bindings"]
