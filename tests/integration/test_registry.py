"""The container registry: the four areas of the OCI distribution specification, bad input, crashes, and what it is
for: an image that was pushed runs as a job. Standard clients: test_registry_clients.py."""
import gzip
import hashlib
import io
import json
import os
import platform
import socket
import subprocess
import tarfile

import pytest
import requests

from conftest import BUILD, container_job, needs_root, wait_until

pytestmark = needs_root
REPO = "demo/train/mnist"
OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Client:
    """A client that does exactly what the test says."""

    def __init__(self, server):
        self.server, self.http = server, requests.Session()

    def do(self, method, path, **kw):
        url = path if path.startswith("http") else self.server.url + path
        return self.http.request(method, url, timeout=60, allow_redirects=False, **kw)

    def start(self, repo=REPO):
        r = self.do("POST", f"/v2/{repo}/blobs/uploads/")
        assert r.status_code == 202, r.text
        return r.headers["Location"]

    def blob(self, data, repo=REPO):
        r = self.do("PUT", self.start(repo), params={"digest": sha(data)}, data=data)
        assert r.status_code == 201, r.text
        assert r.headers["Docker-Content-Digest"] == sha(data)
        return {"digest": sha(data), "size": len(data)}

    def manifest(self, body, reference, repo=REPO, kind=OCI):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.do("PUT", f"/v2/{repo}/manifests/{reference}", data=data, headers={"Content-Type": kind}), data

    def image(self, tag, repo=REPO, layers=(b"layer one", b"layer two"), config=None, kind=OCI, **extra):
        """Pushes what looks like an image; returns the manifest's bytes."""
        config = json.dumps(config or {"os": "linux", "architecture": ARCH, "config": {}}).encode()
        body = {"schemaVersion": 2, "mediaType": kind,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **self.blob(config, repo)},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **self.blob(x, repo)}
                           for x in layers], **extra}
        r, data = self.manifest(body, tag, repo, kind)
        assert r.status_code == 201, r.text
        assert r.headers["Docker-Content-Digest"] == sha(data)
        return data

    def runnable(self, tag, tar, repo=REPO, text="from the registry", arch=ARCH):
        """An image that runs: busybox and a layer with one file."""
        base = open(tar, "rb").read()
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as t:
            i = tarfile.TarInfo("hello")
            i.size = len(text)
            t.addfile(i, io.BytesIO(text.encode()))
        layers = [base, out.getvalue()]
        config = {"os": "linux", "architecture": arch, "config": {"Cmd": ["/bin/cat", "/hello"]},
                  "rootfs": {"type": "layers", "diff_ids": [sha(x) for x in layers]}}
        return self.image(tag, repo, [gzip.compress(x, 1, mtime=0) for x in layers], config)


def refused(r, status, code):
    assert r.status_code == status, (r.status_code, r.text)
    e = r.json()["errors"][0]
    assert e["code"] == code and e["message"], e
    return e["message"]


def image_job(uri, *command, **kw):
    job = container_job(*command, image=uri, **kw)
    if not command:
        del job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["command"]
    return job


@pytest.fixture
def reg(fake):
    return Client(fake)


# ---- pull

def test_the_root_says_which_protocol_this_is(reg):
    for path in ("/v2/", "/v2"):
        r = reg.do("GET", path)
        assert r.status_code == 200 and r.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    refused(reg.do("POST", "/v2/"), 405, "UNSUPPORTED")


def test_blobs_are_read_whole_and_in_ranges(reg):
    data = os.urandom(300000)
    d = reg.blob(data)["digest"]
    url = f"/v2/{REPO}/blobs/{d}"
    head = reg.do("HEAD", url)
    assert head.status_code == 200 and int(head.headers["Content-Length"]) == len(data)
    assert head.headers["Docker-Content-Digest"] == d and head.content == b""
    assert reg.do("GET", url).content == data
    r = reg.do("GET", url, headers={"Range": "bytes=1000-1999"})
    assert (r.status_code, r.content) == (206, data[1000:2000])
    assert r.headers["Content-Range"] == f"bytes 1000-1999/{len(data)}"
    assert reg.do("GET", url, headers={"Range": "bytes=299990-"}).content == data[299990:]
    assert reg.do("GET", url, headers={"Range": "bytes=-5"}).content == data[-5:]
    r = reg.do("GET", url, headers={"Range": "bytes=300000-"})
    refused(r, 416, "RANGE_INVALID")
    assert r.headers["Content-Range"] == "bytes */300000"


def test_manifests_are_read_by_tag_and_by_digest(reg):
    data = reg.image("v1")
    for ref in ("v1", sha(data)):
        r = reg.do("GET", f"/v2/{REPO}/manifests/{ref}", headers={"Accept": OCI})
        assert r.status_code == 200 and r.content == data
        assert r.headers["Content-Type"] == OCI and r.headers["Docker-Content-Digest"] == sha(data)
        h = reg.do("HEAD", f"/v2/{REPO}/manifests/{ref}")
        assert h.status_code == 200 and int(h.headers["Content-Length"]) == len(data) and not h.content
        assert h.headers["Content-Type"] == OCI


def test_what_is_not_there_is_said_in_the_specifications_words(reg):
    nothing = sha(b"nothing")
    refused(reg.do("GET", f"/v2/{REPO}/manifests/v1"), 404, "NAME_UNKNOWN")
    refused(reg.do("GET", f"/v2/{REPO}/tags/list"), 404, "NAME_UNKNOWN")
    reg.image("v1")
    refused(reg.do("GET", f"/v2/{REPO}/manifests/v2"), 404, "MANIFEST_UNKNOWN")
    refused(reg.do("GET", f"/v2/{REPO}/manifests/{nothing}"), 404, "MANIFEST_UNKNOWN")
    refused(reg.do("GET", f"/v2/{REPO}/blobs/{nothing}"), 404, "BLOB_UNKNOWN")
    assert reg.do("HEAD", f"/v2/{REPO}/blobs/{nothing}").status_code == 404
    assert reg.do("HEAD", f"/v2/{REPO}/manifests/v2").status_code == 404
    # a blob of one repository is not one of another
    d = reg.blob(b"mine", "demo/other")["digest"]
    refused(reg.do("GET", f"/v2/{REPO}/blobs/{d}"), 404, "BLOB_UNKNOWN")


# ---- push

def test_a_blob_can_be_pushed_in_one_request(reg):
    data = os.urandom(70000)
    r = reg.do("POST", f"/v2/{REPO}/blobs/uploads/", params={"digest": sha(data)}, data=data)
    assert r.status_code == 201 and r.headers["Location"] == f"/v2/{REPO}/blobs/{sha(data)}"
    assert reg.do("GET", r.headers["Location"]).content == data
    empty = reg.do("POST", f"/v2/{REPO}/blobs/uploads/", params={"digest": sha(b"")}, data=b"")
    assert empty.status_code == 201 and reg.do("GET", empty.headers["Location"]).content == b""


def test_a_blob_can_be_pushed_in_chunks(reg):
    data = os.urandom(5 << 20)
    url, at = reg.start(), 0
    for n in (1, 65536, 1 << 20, 3 << 20):
        r = reg.do("PATCH", url, data=data[at:at + n], headers={"Content-Range": f"{at}-{at + n - 1}"})
        at += n
        assert r.status_code == 202 and r.headers["Range"] == f"0-{at - 1}", r.text
        url = r.headers["Location"]
    state = reg.do("GET", url)
    assert state.status_code == 204 and state.headers["Range"] == f"0-{at - 1}"
    rest = data[at:]
    r = reg.do("PUT", url, params={"digest": sha(data)}, data=rest,
               headers={"Content-Range": f"{at}-{len(data) - 1}"})
    assert r.status_code == 201, r.text
    assert reg.do("GET", r.headers["Location"]).content == data
    refused(reg.do("GET", url), 404, "BLOB_UPLOAD_UNKNOWN")


def test_a_blob_of_unknown_length_can_be_streamed(reg):
    data = os.urandom(3 << 20)
    url = reg.start()
    r = reg.do("PATCH", url, data=iter([data[i:i + 100001] for i in range(0, len(data), 100001)]))
    assert r.status_code == 202, r.text
    assert reg.do("PUT", r.headers["Location"], params={"digest": sha(data)}).status_code == 201
    assert reg.do("GET", f"/v2/{REPO}/blobs/{sha(data)}").content == data


def test_chunks_out_of_order_are_refused_and_the_upload_goes_on(reg):
    data = b"0123456789" * 100
    url = reg.start()
    assert reg.do("PATCH", url, data=data[:500], headers={"Content-Range": "0-499"}).status_code == 202
    for first in (0, 499, 501, 5000):
        r = reg.do("PATCH", url, data=data[:10], headers={"Content-Range": f"{first}-{first + 9}"})
        refused(r, 416, "RANGE_INVALID")
        assert r.headers["Range"] == "0-499"
    refused(reg.do("PUT", url, params={"digest": sha(data)}, data=data[400:],
                   headers={"Content-Range": "400-999"}), 416, "RANGE_INVALID")
    for bad in ("x", "5", "9-3", "-", "500-", "1-99999999999999999999", "bytes 500-999/1000"):
        refused(reg.do("PATCH", url, data=data[500:], headers={"Content-Range": bad}), 416, "RANGE_INVALID")
    refused(reg.do("PATCH", url, data=data[500:], headers={"Content-Range": "500-998"}), 400, "SIZE_INVALID")
    r = reg.do("PUT", url, params={"digest": sha(data)}, data=data[500:], headers={"Content-Range": "500-999"})
    assert r.status_code == 201, r.text


def test_an_upload_can_be_cancelled(reg):
    url = reg.start()
    assert reg.do("PATCH", url, data=b"some").status_code == 202
    assert reg.do("DELETE", url).status_code == 204
    refused(reg.do("GET", url), 404, "BLOB_UPLOAD_UNKNOWN")
    refused(reg.do("PATCH", url, data=b"more"), 404, "BLOB_UPLOAD_UNKNOWN")
    refused(reg.do("DELETE", url), 404, "BLOB_UPLOAD_UNKNOWN")


def test_blobs_are_mounted_from_another_repository(reg):
    data = os.urandom(1000)
    d = reg.blob(data, "demo/base")["digest"]
    r = reg.do("POST", f"/v2/{REPO}/blobs/uploads/", params={"mount": d, "from": "demo/base"})
    assert r.status_code == 201 and r.headers["Location"] == f"/v2/{REPO}/blobs/{d}"
    assert reg.do("GET", r.headers["Location"]).content == data
    other = sha(b"not there")
    for params in ({"mount": other, "from": "demo/base"}, {"mount": d, "from": "demo/nobody"}, {"mount": d}):
        r = reg.do("POST", f"/v2/{REPO}/blobs/uploads/", params=params)
        assert r.status_code == 202 and "/blobs/uploads/" in r.headers["Location"]
        assert reg.do("DELETE", r.headers["Location"]).status_code == 204


def test_all_media_types_are_stored_as_they_came(reg):
    docker = reg.image("d", kind=DOCKER)
    assert reg.do("GET", f"/v2/{REPO}/manifests/d").headers["Content-Type"] == DOCKER
    for kind in (INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"):
        r, data = reg.manifest({"schemaVersion": 2, "mediaType": kind, "manifests": [
            {"mediaType": DOCKER, "digest": sha(docker), "size": len(docker),
             "platform": {"os": "linux", "architecture": ARCH}}]}, "all", kind=kind)
        assert r.status_code == 201, r.text
        got = reg.do("GET", f"/v2/{REPO}/manifests/all")
        assert got.content == data and got.headers["Content-Type"] == kind
    # spaces and key order belong to the digest
    odd = b'{ "mediaType":"%s",\n "schemaVersion":2,  "manifests": [ ] }' % INDEX.encode()
    r, _ = reg.manifest(odd, sha(odd), kind=INDEX + "; charset=utf-8")
    assert r.status_code == 201, r.text
    assert reg.do("GET", f"/v2/{REPO}/manifests/{sha(odd)}").content == odd


# ---- content discovery

def test_tags_are_listed_in_order_and_in_pages(reg):
    data = reg.image("v1")
    for t in ("zeta", "alpha", "v1.tmp", "V2", "_x"):
        assert reg.manifest(data, t)[0].status_code == 201
    every = sorted(["v1", "zeta", "alpha", "v1.tmp", "V2", "_x"])
    assert reg.do("GET", f"/v2/{REPO}/tags/list").json() == {"name": REPO, "tags": every}
    got, url = [], f"/v2/{REPO}/tags/list?n=4"
    while url:
        r = reg.do("GET", url)
        got.append(r.json()["tags"])
        link = r.headers.get("Link")
        url = link and link.split(">")[0][1:]
    assert got == [every[:4], every[4:]]
    assert reg.do("GET", f"/v2/{REPO}/tags/list?last=alpha&n=1").json()["tags"] == ["v1"]
    none = reg.do("GET", f"/v2/{REPO}/tags/list?n=0")
    assert none.json()["tags"] == [] and "Link" not in none.headers
    refused(reg.do("GET", f"/v2/{REPO}/tags/list?n=x"), 400, "PAGINATION_NUMBER_INVALID")


def test_the_catalogue_lists_repositories(reg):
    for repo in ("b/c", "a", "b"):
        reg.image("v1", repo)
    reg.blob(b"no manifest", "only/blobs")
    assert reg.do("GET", "/v2/_catalog").json() == {"repositories": ["a", "b", "b/c"]}
    r = reg.do("GET", "/v2/_catalog?n=2")
    assert r.json()["repositories"] == ["a", "b"]
    assert reg.do("GET", r.headers["Link"].split(">")[0][1:]).json()["repositories"] == ["b/c"]


def test_referrers_follow_the_subject(reg):
    data = reg.image("v1")
    subject = {"mediaType": OCI, "digest": sha(data), "size": len(data)}
    url = f"/v2/{REPO}/referrers/{sha(data)}"
    r = reg.do("GET", url)
    assert r.status_code == 200 and r.json()["manifests"] == [] and r.headers["Content-Type"] == INDEX

    def attach(kind, **extra):
        empty = reg.blob(b"{}")
        body = {"schemaVersion": 2, "mediaType": OCI, "subject": subject,
                "config": {"mediaType": extra.pop("config", "application/vnd.oci.empty.v1+json"), **empty},
                "layers": [{"mediaType": "text/plain", **reg.blob(kind.encode())}], **extra}
        put, raw = reg.manifest(body, sha(json.dumps(body).encode()))
        assert put.status_code == 201 and put.headers["OCI-Subject"] == sha(data), put.text
        return raw

    sbom = attach("sbom", artifactType="application/x.sbom", annotations={"by": "me"})
    sig = attach("signature", config="application/x.signature")
    listed = {m["digest"]: m for m in reg.do("GET", url).json()["manifests"]}
    assert listed[sha(sbom)] == {"mediaType": OCI, "digest": sha(sbom), "size": len(sbom),
                                 "artifactType": "application/x.sbom", "annotations": {"by": "me"}}
    assert listed[sha(sig)]["artifactType"] == "application/x.signature" and len(listed) == 2
    r = reg.do("GET", url, params={"artifactType": "application/x.sbom"})
    assert [m["digest"] for m in r.json()["manifests"]] == [sha(sbom)]
    assert r.headers["OCI-Filters-Applied"] == "artifactType"
    # the subject may come later, or never
    early = {**subject, "digest": sha(b"later")}
    subject.update(early)
    body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": early, "artifactType": "x/y"}
    put, raw = reg.manifest(body, "early", kind=INDEX)
    assert put.status_code == 201 and put.headers["OCI-Subject"] == sha(b"later")
    later = f"/v2/{REPO}/referrers/{sha(b'later')}"
    assert [m["digest"] for m in reg.do("GET", later).json()["manifests"]] == [sha(raw)]
    assert reg.do("DELETE", f"/v2/{REPO}/manifests/{sha(raw)}").status_code == 202
    assert reg.do("GET", later).json()["manifests"] == []
    refused(reg.do("GET", f"/v2/{REPO}/referrers/latest"), 400, "DIGEST_INVALID")


# ---- content management

def test_deleting_a_tag_leaves_the_manifest_and_deleting_that_takes_its_tags(reg):
    data = reg.image("v1")
    reg.manifest(data, "v2")
    reg.manifest(data, "v3")
    assert reg.do("DELETE", f"/v2/{REPO}/manifests/v1").status_code == 202
    refused(reg.do("GET", f"/v2/{REPO}/manifests/v1"), 404, "MANIFEST_UNKNOWN")
    assert reg.do("GET", f"/v2/{REPO}/manifests/{sha(data)}").content == data
    assert reg.do("DELETE", f"/v2/{REPO}/manifests/{sha(data)}").status_code == 202
    assert reg.do("GET", f"/v2/{REPO}/tags/list").json()["tags"] == []
    refused(reg.do("GET", f"/v2/{REPO}/manifests/{sha(data)}"), 404, "MANIFEST_UNKNOWN")
    refused(reg.do("DELETE", f"/v2/{REPO}/manifests/{sha(data)}"), 404, "MANIFEST_UNKNOWN")


def test_a_blob_in_use_is_not_deleted(reg):
    data = reg.image("v1", layers=[b"a layer"])
    layer = f"/v2/{REPO}/blobs/{sha(b'a layer')}"
    assert sha(data) not in refused(reg.do("DELETE", layer), 403, "DENIED")
    assert reg.do("GET", layer).content == b"a layer"
    reg.do("DELETE", f"/v2/{REPO}/manifests/{sha(data)}")
    assert reg.do("DELETE", layer).status_code == 202
    refused(reg.do("GET", layer), 404, "BLOB_UNKNOWN")
    refused(reg.do("DELETE", layer), 404, "BLOB_UNKNOWN")


# ---- bad input

def test_lying_digests_store_nothing(reg, fake):
    blobs = os.path.join(fake.data_dir, "images", "blobs", "sha256")
    lie = sha(b"something else")
    refused(reg.do("PUT", reg.start(), params={"digest": lie}, data=b"bytes"), 400, "DIGEST_INVALID")
    refused(reg.do("POST", f"/v2/{REPO}/blobs/uploads/", params={"digest": lie}, data=b"bytes"), 400, "DIGEST_INVALID")
    for bad in ("", "sha256:", "sha256:abc", "md5:" + "0" * 32, lie.upper(), "sha512:" + "0" * 128, lie + "0"):
        refused(reg.do("PUT", reg.start(), params={"digest": bad}, data=b"bytes"), 400, "DIGEST_INVALID")
    assert os.listdir(blobs) == []
    refused(reg.do("PUT", reg.start(), data=b"bytes"), 400, "DIGEST_INVALID")
    data = reg.image("v1")
    refused(reg.manifest(data, lie)[0], 400, "DIGEST_INVALID")


def test_names_that_lead_elsewhere_are_refused(reg, fake):
    before = sorted(os.listdir(fake.data_dir))
    host, port = fake.url.split("//")[1].split(":")
    for name in ("..", "../x", "a/../../b", "A", "a//b", "/a", "a/", ".a", "a..b", "a___b", "a+b", "%2e%2e",
                 "..%2f..%2fx", "a%00b", "a b", "x" * 256, "a/.tmp"):
        with socket.create_connection((host, int(port))) as s:  # requests would tidy the path up
            s.sendall(b"POST /v2/%s/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                      % name.replace(" ", "%20").encode())
            raw = s.makefile("rb").read()
        assert b" 400 " in raw.split(b"\r\n")[0] and b"NAME_INVALID" in raw, (name, raw[:200])
    for tag in (".x", "-x", "x" * 129, "a%2fb", "a@b", "%2e%2e"):
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
        refused(reg.manifest(body, tag, kind=INDEX)[0], 400, "TAG_INVALID")
    for upload in ("..", "%2e%2e%2fx", "0" * 31, "z" * 32, "%2fetc%2fpasswd"):
        assert reg.do("GET", f"/v2/{REPO}/blobs/uploads/{upload}").status_code in (400, 404)
    assert sorted(os.listdir(fake.data_dir)) == before
    assert os.listdir(os.path.join(fake.data_dir, "images", "repos")) == []


def test_manifests_are_checked(reg):
    blob = reg.blob(b"x")
    good = {"schemaVersion": 2, "mediaType": OCI, "layers": [],
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **blob}}

    def bad(code, status=400, kind=OCI, raw=None, **changes):
        body = {k: v for k, v in {**good, **changes}.items() if v is not None}
        return refused(reg.manifest(raw if raw is not None else body, "bad", kind=kind)[0], status, code)

    for raw in (b"", b"{", b"[]", b"null", b'"x"', b"[" * 100000, b'{"a":1,"a":2}', b"\xff\xfe"):
        bad("MANIFEST_INVALID", raw=raw)
    bad("MANIFEST_INVALID", schemaVersion=1)
    bad("MANIFEST_INVALID", schemaVersion="2")
    assert "text/plain" in bad("MANIFEST_INVALID", kind="text/plain")
    bad("MANIFEST_INVALID", kind="application/vnd.docker.distribution.manifest.v1+prettyjws")
    assert DOCKER in bad("MANIFEST_INVALID", mediaType=DOCKER)
    bad("MANIFEST_INVALID", config=None)
    bad("MANIFEST_INVALID", layers=None)
    bad("MANIFEST_INVALID", layers={})
    bad("MANIFEST_INVALID", layers=[3])
    bad("MANIFEST_INVALID", layers=[{"digest": "sha256:zz", "size": 1}])
    bad("MANIFEST_INVALID", layers=[{**blob, "size": -1}])
    bad("MANIFEST_INVALID", layers=[{"digest": blob["digest"]}])
    bad("MANIFEST_INVALID", annotations=[])
    bad("MANIFEST_INVALID", subject={"digest": "../.."})
    bad("SIZE_INVALID", layers=[{**blob, "size": 2}])
    assert "layer 2" in bad("MANIFEST_BLOB_UNKNOWN", 404, layers=[blob, {"digest": sha(b"gone"), "size": 4}])
    other = reg.blob(b"elsewhere", "demo/other")
    bad("MANIFEST_BLOB_UNKNOWN", 404, layers=[other])
    huge = json.dumps({**good, "annotations": {"a": "x" * (5 << 20)}}).encode()
    assert "image_max_manifest" in bad("MANIFEST_INVALID", 413, raw=huge)
    refused(reg.do("GET", f"/v2/{REPO}/manifests/bad"), 404, "MANIFEST_UNKNOWN")
    assert reg.do("GET", f"/v2/{REPO}/tags/list").json()["tags"] == []


def test_a_blob_past_the_limit_is_refused_and_leaves_nothing(make_server):
    s = make_server("--engine=fake", "--limit=registry_max_blob=100000").start()
    reg = Client(s)
    reg.blob(b"x" * 100000)
    url = reg.start()
    assert "registry_max_blob" in refused(reg.do("PATCH", url, data=b"y" * 100001), 413, "DENIED")
    refused(reg.do("GET", url), 404, "BLOB_UPLOAD_UNKNOWN")
    assert os.listdir(uploads(s)) == []
    s.stop()


def uploads(server, repo=REPO):
    return os.path.join(server.data_dir, "images", "repos", repo.replace("/", "+"), "uploads")


def test_two_requests_cannot_write_to_one_upload(reg, fake):
    url = reg.start()
    host, port = fake.url.split("//")[1].split(":")
    with socket.create_connection((host, int(port))) as s:
        s.sendall(b"PATCH %s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345" % url.encode())
        wait_until(lambda: reg.do("GET", url).status_code == 409, what="the upload to be taken")
        refused(reg.do("PATCH", url, data=b"x"), 409, "BLOB_UPLOAD_INVALID")
    wait_until(lambda: reg.do("GET", url).status_code == 204, what="the upload to be given back")
    # what came before the line broke is there, and can be continued
    assert reg.do("GET", url).headers["Range"] == "0-4"
    assert reg.do("PUT", url, params={"digest": sha(b"1234567")}, data=b"67").status_code == 201


def test_every_code_comes_with_the_value_and_the_rule(make_server):
    """The specification's table of error codes, and docker's three more: each once, and what a person is told by it."""
    s = make_server("--engine=fake", "--limit=registry_max_repos=2", "--limit=registry_max_manifests=2", "--limit=registry_max_uploads=3",
                    "--limit=registry_max_blob=1000").start()
    reg, seen, gone = Client(s), set(), sha(b"gone")
    data = reg.image("v1")
    blob, v2 = reg.blob(b"x"), f"/v2/{REPO}"

    def says(r, status, code, *words):
        message = refused(r, status, code)
        seen.add(code)
        for w in words:
            assert w in message, message
        return r

    says(reg.do("GET", f"{v2}/blobs/{gone}"), 404, "BLOB_UNKNOWN", REPO, gone)
    says(reg.do("GET", f"{v2}/blobs/uploads/{'0' * 32}"), 404, "BLOB_UPLOAD_UNKNOWN", REPO, "0" * 32)
    says(reg.do("GET", f"{v2}/blobs/sha256:12"), 400, "DIGEST_INVALID", '"sha256:12"', "64 lower-case hexadecimal digits")
    says(reg.do("PUT", reg.start(), params={"digest": gone}, data=b"x"), 400, "DIGEST_INVALID", gone, sha(b"x"))
    body = {"schemaVersion": 2, "mediaType": OCI, "config": {"mediaType": "a/b", **blob}, "layers": [{"mediaType": "a/b", "digest": gone, "size": 4}]}
    says(reg.manifest(body, "v2")[0], 404, "MANIFEST_BLOB_UNKNOWN", gone, REPO)
    says(reg.manifest({**body, "schemaVersion": 1}, "v2")[0], 400, "MANIFEST_INVALID", "schemaVersion", "2")
    says(reg.manifest({**body, "layers": [{"mediaType": "a/b", "digest": blob["digest"], "size": 9}]}, "v2")[0], 400, "SIZE_INVALID", "9", "1")
    says(reg.do("GET", f"{v2}/manifests/v9"), 404, "MANIFEST_UNKNOWN", REPO, '"v9"')
    says(reg.do("GET", "/v2/demo/Train/tags/list"), 400, "NAME_INVALID", '"demo/Train"', "lower-case")
    says(reg.do("GET", "/v2/demo/nobody/tags/list"), 404, "NAME_UNKNOWN", "demo/nobody")
    says(reg.do("DELETE", f"{v2}/blobs/{sha(b'layer one')}"), 403, "DENIED", sha(b"layer one"), REPO, "delete that first")
    says(reg.do("PATCH", reg.start(), data=b"x" * 1001), 413, "DENIED", "1000 bytes", "registry_max_blob")
    for method, path, allowed in (("POST", "/v2/", "GET, HEAD"), ("PUT", f"{v2}/blobs/{gone}", "GET, HEAD, DELETE"),
                                  ("GET", f"{v2}/blobs/uploads/", "POST"), ("POST", f"{v2}/manifests/v1", "GET, HEAD, PUT, DELETE"),
                                  ("DELETE", f"{v2}/tags/list", "GET, HEAD"), ("PUT", "/v2/_catalog", "GET, HEAD"),
                                  ("POST", f"{v2}/referrers/{gone}", "GET, HEAD"), ("POST", f"{v2}/blobs/uploads/{'0' * 32}", "GET, PATCH, PUT, DELETE")):
        r = says(reg.do(method, path), 405, "UNSUPPORTED", method, path, allowed)
        assert r.headers["Allow"] == allowed
    says(reg.do("GET", f"{v2}/tags/list?n=x"), 400, "PAGINATION_NUMBER_INVALID", "n=x", "number")
    says(reg.manifest(data, "-x")[0], 400, "TAG_INVALID", '"-x"', "128")
    says(reg.do("GET", f"{v2}/blobs/{blob['digest']}", headers={"Range": "bytes=5-"}), 416, "RANGE_INVALID", "1 bytes")
    assert reg.manifest(data, "v2")[0].status_code == 201
    says(reg.manifest(data, "v3")[0], 429, "TOOMANYREQUESTS", REPO, "2 tags", "registry_max_manifests")
    other, third = ({**body, "layers": [], "annotations": {"n": n}} for n in "ab")
    raw = json.dumps(other).encode()
    assert reg.manifest(raw, sha(raw))[0].status_code == 201
    says(reg.manifest(third, sha(json.dumps(third).encode()))[0], 429, "TOOMANYREQUESTS", REPO, "2 manifests", "registry_max_manifests")
    first = reg.start("demo/second")
    says(reg.do("POST", "/v2/demo/third/blobs/uploads/"), 429, "TOOMANYREQUESTS", "2 repositories", "registry_max_repos")
    for _ in range(2):
        reg.start()
    says(reg.do("POST", f"{v2}/blobs/uploads/"), 429, "TOOMANYREQUESTS", "3 uploads", "registry_max_uploads")
    with socket.create_connection(("127.0.0.1", int(s.url.rsplit(":", 1)[1]))) as c:
        c.sendall(b"PATCH %s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345" % first.encode())
        wait_until(lambda: reg.do("GET", first).status_code == 409, what="the upload to be taken")
        says(reg.do("PATCH", first, data=b"x"), 409, "BLOB_UPLOAD_INVALID", first.rpartition("/")[2])
    r = says(reg.do("GET", f"{v2}/tags/list", headers={"Authorization": "Bearer cusp.changed.x"}), 401, "UNAUTHORIZED", "token")
    assert r.headers["WWW-Authenticate"] == 'Basic realm="cusp"'
    says(reg.do("GET", "/v2/", headers={"Host": "shop.example"}), 403, "DENIED", '"shop.example"', "--host-names")
    for host in ("gcr.io", "eu.gcr.io", "us-docker.pkg.dev", "localhost:1"):
        assert reg.do("GET", "/v2/", headers={"Host": host}).status_code == 200
    assert seen == {"BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN",
                    "MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED", "DENIED",
                    "UNSUPPORTED", "TOOMANYREQUESTS", "RANGE_INVALID", "TAG_INVALID", "PAGINATION_NUMBER_INVALID"}
    s.stop()


# ---- faults

def test_a_full_disk_leaves_nothing_and_is_said(make_server):
    s = make_server("--engine=fake", env={"CUSP_FAILPOINTS": "registry.upload.write=errno:ENOSPC@2"}).start()
    reg = Client(s)
    reg.blob(b"fits")
    url = reg.start()
    r = reg.do("PATCH", url, data=b"does not")
    assert r.status_code == 507 and "No space" in r.json()["errors"][0]["message"]
    assert os.listdir(uploads(s)) == []
    reg.blob(b"fits again")
    s.stop()


POINTS = ["registry.upload.write", "registry.blob.before_rename", "registry.blob.before_mark",
          "registry.manifest.before_write", "registry.tag.before_write"]


@pytest.mark.parametrize("point", POINTS)
def test_kill_in_the_middle_of_a_push_leaves_what_the_next_push_completes(make_server, point):
    s = make_server("--engine=fake", env={"CUSP_FAILPOINTS": f"{point}=abort@1"}).start()
    try:
        Client(s).image("v1")
        assert False, "the push should have been cut short"
    except requests.exceptions.ConnectionError:
        pass
    s.proc.wait(30)
    s.env = {}
    s.start()
    reg = Client(s)
    # nothing half-done is shown as done
    assert reg.do("GET", f"/v2/{REPO}/manifests/v1").status_code == 404
    data = reg.image("v1")
    assert reg.do("GET", f"/v2/{REPO}/manifests/v1").content == data
    for layer in (b"layer one", b"layer two"):
        assert reg.do("GET", f"/v2/{REPO}/blobs/{sha(layer)}").content == layer
    s.kill9()  # acknowledged: there after any end
    s.start()
    assert reg.do("GET", f"/v2/{REPO}/manifests/v1").content == data
    s.stop()


def test_kill_in_the_middle_of_a_mount(make_server):
    s = make_server("--engine=fake").start()
    digest = Client(s).blob(b"shared")["digest"]
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": "registry.mount.before_mark=abort"})
    mount = lambda: Client(s).do("POST", "/v2/other/repo/blobs/uploads/", params={"mount": digest, "from": REPO})  # noqa: E731
    with pytest.raises(requests.exceptions.ConnectionError):
        mount()
    s.proc.wait(30)
    s.start()
    assert Client(s).do("GET", f"/v2/other/repo/blobs/{digest}").status_code == 404  # nothing half
    assert mount().status_code == 201
    s.kill9()
    s.start()
    for repo in ("other/repo", REPO):
        assert Client(s).do("GET", f"/v2/{repo}/blobs/{digest}").content == b"shared"
    s.stop()


@pytest.mark.parametrize("hit", [1, 2, 4])
def test_kill_in_the_middle_of_a_prune_costs_nothing_that_is_used(local, busybox_image, hit):
    s = local("--limit=registry_blob_grace_s=0")
    reg = Client(s)
    keep, gone = (reg.runnable(t, busybox_image, text=t) for t in ("keep", "gone"))
    for tag in ("keep", "gone"):
        name = s.create(image_job(own(s, f"{REPO}:{tag}")))["name"]
        assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED"
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": f"image.sweep.before_remove=abort@{hit}"})
    assert Client(s).do("DELETE", f"/v2/{REPO}/manifests/{sha(gone)}").status_code == 202
    with pytest.raises(requests.exceptions.ConnectionError):
        prune(s)
    s.proc.wait(30)
    s.start()  # sweeps as well
    reg = Client(s)
    assert reg.do("GET", f"/v2/{REPO}/manifests/keep").content == keep
    for layer in json.loads(keep)["layers"]:
        assert sha(reg.do("GET", f"/v2/{REPO}/blobs/{layer['digest']}").content) == layer["digest"]
    prune(s)
    only = [x["digest"] for x in json.loads(gone)["layers"] if x not in json.loads(keep)["layers"]]
    assert only and not any(os.path.exists(os.path.join(s.data_dir, "images", "blobs", "sha256", d[7:])) for d in only)
    name = s.create(image_job(own(s, REPO + ":keep")))["name"]
    assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED" and "keep" in json.dumps(s.logs(name))
    s.stop()


def test_an_upload_goes_on_after_a_kill(make_server):
    s = make_server("--engine=fake").start()
    reg, data = Client(s), os.urandom(3 << 20)
    url = reg.start()
    assert reg.do("PATCH", url, data=data[:2 << 20]).status_code == 202
    s.kill9()
    s.start()
    r = reg.do("GET", url)
    assert r.status_code == 204 and r.headers["Range"] == f"0-{(2 << 20) - 1}"
    assert reg.do("PUT", url, params={"digest": sha(data)}, data=data[2 << 20:]).status_code == 201
    assert reg.do("GET", f"/v2/{REPO}/blobs/{sha(data)}").content == data
    s.stop()


# ---- what it is for

def own(server, rest, host="127.0.0.1"):
    return f"{host}:{server.url.rsplit(':', 1)[1]}/{rest}"


def test_a_pushed_image_runs_by_every_one_of_its_names(local, busybox_image):
    s = local()
    data = Client(s).runnable("v1", busybox_image)
    for uri in (own(s, REPO + ":v1"), own(s, REPO + ":v1", "localhost"), f"{REPO}:v1",
                own(s, f"{REPO}@{sha(data)}"), own(s, f"{REPO}:v1@{sha(data)}")):
        name = s.create(image_job(uri))["name"]
        assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED", (uri, s.events(name))
        assert any(e.get("message") == "from the registry" or "from the registry" in json.dumps(e)
                   for e in s.logs(name)), uri
    missing = own(s, REPO + ":v9")
    job = s.wait(s.create(image_job(missing))["name"])
    assert job["state"] == "JOB_STATE_FAILED" and "docker push " + missing in job["error"]["message"]
    for uri in (f"us-central1-docker.pkg.dev/{REPO}:v8", f"{REPO}:v8"):  # and by that name it is found
        job = s.wait(s.create(image_job(uri))["name"])
        assert f"or push it: docker push localhost:{s.url.rsplit(':', 1)[1]}/{REPO}:v8" in job["error"]["message"], job
    Client(s).runnable("v8", busybox_image)
    for uri in (f"us-central1-docker.pkg.dev/{REPO}:v8", f"{REPO}:v8"):
        assert s.wait(s.create(image_job(uri))["name"])["state"] == "JOB_STATE_SUCCEEDED"
    for uri in ("quay.io/a/b:v8", f"us-docker.pkg.dev/{REPO}@sha256:{'0' * 64}"):
        job = s.wait(s.create(image_job(uri))["name"])
        assert job["state"] == "JOB_STATE_FAILED" and "docker push" not in job["error"]["message"], job
    # the port that the server had yesterday, or a slip
    job = s.wait(s.create(image_job("localhost:1/" + REPO + ":v1"))["name"])
    assert job["state"] == "JOB_STATE_FAILED" and f"localhost:{s.url.rsplit(':', 1)[1]}/" in job["error"]["message"], job
    s.stop()


def test_a_moved_tag_runs_the_new_image_and_an_index_the_one_for_this_machine(local, busybox_image):
    s = local()
    reg = Client(s)
    reg.runnable("v1", busybox_image, text="first")
    name = s.create(image_job(own(s, REPO + ":v1")))["name"]
    assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED" and "first" in json.dumps(s.logs(name))
    ours = reg.runnable("v1", busybox_image, text="second")
    name = s.create(image_job(own(s, REPO + ":v1")))["name"]
    assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED" and "second" in json.dumps(s.logs(name))
    foreign = reg.runnable("other", busybox_image, arch="s390x")

    def index(tag, *entries):
        r, _ = reg.manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": OCI, "digest": sha(d), "size": len(d), "platform": {"os": "linux", "architecture": a}}
            for d, a in entries]}, tag, kind=INDEX)
        assert r.status_code == 201, r.text

    index("multi", (foreign, "s390x"), (ours, ARCH))
    name = s.create(image_job(own(s, REPO + ":multi")))["name"]
    assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED" and "second" in json.dumps(s.logs(name))
    index("alien", (foreign, "s390x"))
    job = s.wait(s.create(image_job(own(s, REPO + ":alien")))["name"])
    assert job["state"] == "JOB_STATE_FAILED" and "linux/" + ARCH in job["error"]["message"]
    s.stop()


def test_a_tampered_layer_is_refused_when_it_is_unpacked(local, busybox_image):
    s = local()
    reg = Client(s)
    base = open(busybox_image, "rb").read()
    config = {"os": "linux", "architecture": ARCH, "config": {"Cmd": ["/bin/true"]},
              "rootfs": {"type": "layers", "diff_ids": [sha(b"what the config promises")]}}
    reg.image("evil", layers=[gzip.compress(base, 1)], config=config)
    job = s.wait(s.create(image_job(own(s, REPO + ":evil")))["name"])
    assert job["state"] == "JOB_STATE_FAILED" and "digest" in job["error"]["message"], job
    assert os.listdir(os.path.join(s.data_dir, "images", "tmp")) == []
    s.stop()


def prune(server):
    r = server.call("POST", "/cusp/v1/images:prune")
    assert r.status_code == 200, r.text
    return r.json()


def test_prune_takes_what_nobody_needs_and_nothing_else(local, busybox_image):
    s = local("--limit=registry_blob_grace_s=0", "--stop-grace-s=1")
    reg = Client(s)
    keep = reg.runnable("keep", busybox_image, text="keep")
    gone = reg.runnable("gone", busybox_image, text="gone")
    for tag in ("keep", "gone"):
        name = s.create(image_job(own(s, f"{REPO}:{tag}")))["name"]
        assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED"
    upload = reg.start()
    assert reg.do("PATCH", upload, data=b"under way").status_code == 202
    assert prune(s)["imagesRemoved"] == "0"
    assert reg.do("DELETE", f"/v2/{REPO}/manifests/{sha(gone)}").status_code == 202
    running = s.create(image_job(own(s, REPO + ":keep"), "/bin/sleep", "1000"))["name"]
    s.wait_state(running, "JOB_STATE_RUNNING")
    out = prune(s)
    assert (out["imagesRemoved"], out["layersRemoved"]) == ("1", "1") and int(out["bytesFreed"]) > 0, out
    for layer in json.loads(gone)["layers"]:
        shared = layer in json.loads(keep)["layers"]
        assert reg.do("GET", f"/v2/{REPO}/blobs/{layer['digest']}").status_code == (200 if shared else 404)
    for layer in json.loads(keep)["layers"]:
        assert reg.do("GET", f"/v2/{REPO}/blobs/{layer['digest']}").status_code == 200
    # a job outlives the manifest it was started from
    assert reg.do("DELETE", f"/v2/{REPO}/manifests/{sha(keep)}").status_code == 202
    assert prune(s)["imagesRemoved"] == "0"
    assert s.get(running)["state"] == "JOB_STATE_RUNNING"
    s.call("POST", f"/v1/{running}:cancel", {})
    s.wait(running)
    wait_until(lambda: prune(s)["imagesRemoved"] == "1" or None, what="the image to be free")
    assert reg.do("PUT", upload, params={"digest": sha(b"under way")}).status_code == 201
    assert requests.get(s.url + "/cusp/v1/images").json()["images"][0]["name"] == "busybox"
    s.stop()


def test_a_pushed_image_is_listed_and_removed_like_any_other(local, busybox_image):
    s = local("--stop-grace-s=1")
    reg = Client(s)
    data = reg.runnable("v1", busybox_image)
    reg.manifest(data, "v2")
    names = lambda: sorted(i["name"] for i in s.call("GET", "/cusp/v1/images").json()["images"])
    wait_until(lambda: names() == ["busybox", REPO + ":v1", REPO + ":v2"], what="the image to be unpacked")
    running = s.create(image_job(own(s, REPO + ":v1"), "/bin/sleep", "1000"))["name"]
    s.wait_state(running, "JOB_STATE_RUNNING")
    cusp = [os.path.join(BUILD, "cusp"), "--endpoint", s.url, "images"]
    for name in (own(s, REPO + ":v1"), REPO + ":v2", f"{REPO}@{sha(data)}"):  # by whatever a job may call it
        shown = subprocess.run([*cusp, "inspect", name, "--format=json"], capture_output=True, text=True)
        assert json.loads(shown.stdout)["digest"] == sha(data), shown.stderr
    held = subprocess.run([*cusp, "rm", own(s, REPO + ":v1")], capture_output=True, text=True)
    assert held.returncode != 0 and "used by a running job" in held.stderr
    s.call("POST", f"/v1/{running}:cancel", {})
    s.wait(running)
    wait_until(lambda: subprocess.run([*cusp, "rm", own(s, REPO + ":v1")], capture_output=True).returncode == 0,
               what="the job to let go")
    assert names() == ["busybox", REPO + ":v2"]
    assert reg.do("GET", f"/v2/{REPO}/manifests/v2").content == data
    assert subprocess.run([*cusp, "rm", REPO + ":v2"]).returncode == 0 and names() == ["busybox"]
    assert reg.do("GET", f"/v2/{REPO}/manifests/{sha(data)}").status_code == 404
    again = subprocess.run([*cusp, "rm", REPO + ":v2"], capture_output=True, text=True)
    assert again.returncode != 0 and "there is no image" in again.stderr
    out = subprocess.run([*cusp, "prune"], capture_output=True, text=True)
    assert out.returncode == 0 and out.stderr.startswith("Removed 1 images, 1 layers"), out.stderr
    s.stop()


def test_repositories_in_which_nothing_is_left_go_with_a_prune(make_server):
    s = make_server("--engine=fake", "--limit=registry_blob_grace_s=0", "--limit=registry_max_repos=2").start()
    reg = Client(s)
    data = reg.image("v1", "a/keep")
    started = reg.start("b/begun")
    assert "registry_max_repos" in refused(reg.do("POST", "/v2/c/d/blobs/uploads/"), 429, "TOOMANYREQUESTS")
    prune(s)
    assert sorted(os.listdir(os.path.join(s.data_dir, "images", "repos"))) == ["a+keep", "b+begun"]
    assert reg.do("DELETE", started).status_code == 204
    prune(s)
    reg.image("v1", "c/d")
    assert reg.do("GET", "/v2/_catalog").json()["repositories"] == ["a/keep", "c/d"]
    assert reg.do("GET", "/v2/a/keep/manifests/v1").content == data
    s.stop()


def test_young_blobs_without_a_manifest_survive_a_prune(reg, fake):
    d = reg.blob(b"a push under way")["digest"]
    prune(fake)
    assert reg.do("HEAD", f"/v2/{REPO}/blobs/{d}").status_code == 200
