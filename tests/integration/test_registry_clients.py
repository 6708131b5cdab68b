"""The container registry by its standard clients: skopeo, podman where it is installed; and clients that log in first, which
the server neither asks for nor minds (`--auth=none`)."""
import base64
import gzip
import json
import os
import shutil
import subprocess
import tempfile

import pytest
import requests

from conftest import needs, needs_root
from test_registry import ARCH, OCI, REPO, Client, image_job, own, sha

pytestmark = needs_root


def basic(text):
    return {"Authorization": "Basic " + base64.b64encode(text).decode()}


def layout(tmp_path, tar):
    """An OCI layout on disk, for skopeo to push."""
    root = tmp_path / "layout"
    (root / "blobs/sha256").mkdir(parents=True)

    def put(data):
        (root / "blobs/sha256" / sha(data)[7:]).write_bytes(data)
        return {"digest": sha(data), "size": len(data)}

    base = open(tar, "rb").read()
    config = json.dumps({"os": "linux", "architecture": ARCH, "config": {"Cmd": ["/bin/echo", "by skopeo"]},
                         "rootfs": {"type": "layers", "diff_ids": [sha(base)]}}).encode()
    m = json.dumps({"schemaVersion": 2, "mediaType": OCI,
                    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **put(config)},
                    "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                                **put(gzip.compress(base, 1))}]}).encode()
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
        {"mediaType": OCI, **put(m), "annotations": {"org.opencontainers.image.ref.name": "v1"}}]}))
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return root


def skopeo(*args, **kw):
    r = subprocess.run(["skopeo", "--insecure-policy", *args], capture_output=True, text=True, timeout=120, **kw)
    assert r.returncode == 0, r.stderr
    return r.stdout


@pytest.fixture
def podman(tmp_path, request):
    short = tempfile.mkdtemp(prefix="cusp-")  # podman takes no long path
    request.addfinalizer(lambda: shutil.rmtree(short, ignore_errors=True))

    def run(*args):
        r = subprocess.run(["podman", "--root", str(tmp_path / "root"), "--runroot", short, "--storage-driver=vfs",
                            "--cgroup-manager=cgroupfs", *args], capture_output=True, text=True, timeout=120)
        assert r.returncode == 0, r.stderr
        return r.stdout.strip()
    return run


@needs("skopeo")
def test_skopeo_copies_in_and_out_and_the_image_runs(local, busybox_image, tmp_path):
    s = local()
    src, out = layout(tmp_path, busybox_image), tmp_path / "out"
    uri = own(s, "demo/repo/skopeo:v1", "localhost")

    skopeo("copy", "--dest-tls-verify=false", f"oci:{src}:v1", "docker://" + uri)
    skopeo("copy", "--src-tls-verify=false", "docker://" + uri, f"oci:{out}:v1")
    pushed = json.loads((src / "index.json").read_text())["manifests"][0]["digest"]
    assert json.loads((out / "index.json").read_text())["manifests"][0]["digest"] == pushed
    for f in (src / "blobs/sha256").iterdir():
        assert (out / "blobs/sha256" / f.name).read_bytes() == f.read_bytes()
    assert json.loads(skopeo("inspect", "--tls-verify=false", "docker://" + uri))["Digest"] == pushed
    assert json.loads(skopeo("list-tags", "--tls-verify=false", "docker://" + uri.rsplit(":", 1)[0]))["Tags"] == ["v1"]
    # as docker v2 too, and from repository to repository
    skopeo("copy", "--format=v2s2", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://" + uri,
           "docker://" + own(s, "demo/repo/copy:v2", "localhost"))
    for image in (uri, own(s, "demo/repo/copy:v2")):
        name = s.create(image_job(image))["name"]
        assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED", s.events(name)
        assert "by skopeo" in json.dumps(s.logs(name))
    skopeo("delete", "--tls-verify=false", "docker://" + uri)
    assert requests.get(f"{s.url}/v2/demo/repo/skopeo/tags/list").json()["tags"] == []
    s.stop()


@needs("podman")
def test_podman_pushes_and_pulls(fake, busybox_image, podman):
    uri = own(fake, "demo/repo/podman:v1", "localhost")
    podman("import", str(busybox_image), uri)
    before = podman("image", "inspect", "--format", "{{.Id}}", uri)
    podman("push", "--tls-verify=false", uri)
    podman("rmi", uri)
    podman("pull", "--tls-verify=false", uri)
    assert podman("image", "inspect", "--format", "{{.Id}}", uri) == before


# ---- clients that log in

# What docker, gcloud's helper and others send; and what is none of it.
CREDENTIALS = {"basic": basic(b"anna:secret"), "google": basic(b"oauth2accesstoken:ya29.token"), "key": basic(b"_json_key:{}"),
               "bearer": {"Authorization": "Bearer ya29.token"}, "empty": {"Authorization": ""}, "no-base64": {"Authorization": "Basic %%%"},
               "no-colon": basic(b"anna"), "unknown": {"Authorization": "Negotiate abc="}, "long": basic(b"a:" + b"x" * 3000)}


@pytest.mark.parametrize("head", CREDENTIALS.values(), ids=CREDENTIALS)
def test_credentials_that_nobody_asked_for_are_ignored(fake, head):
    """Every area with them, as without; no answer asks for any."""
    c = Client(fake)
    c.http.headers.update(head)
    c.http.hooks["response"] = lambda r, *a, **kw: asked.append(r.headers.get("WWW-Authenticate"))
    asked, repo = [], f"demo/login/{len(str(head))}"
    assert c.do("GET", "/v2/").status_code == 200
    data = c.image("v1", repo)
    assert c.do("GET", f"/v2/{repo}/manifests/v1").content == data
    layer = json.loads(data)["layers"][0]
    assert c.do("GET", f"/v2/{repo}/blobs/{layer['digest']}").content == b"layer one"
    assert c.do("HEAD", f"/v2/{repo}/blobs/{layer['digest']}").status_code == 200
    assert c.do("POST", f"/v2/{repo}2/blobs/uploads/", params={"mount": layer["digest"], "from": repo}).status_code == 201
    assert c.do("GET", f"/v2/{repo}/tags/list").json()["tags"] == ["v1"]
    assert repo in c.do("GET", "/v2/_catalog").json()["repositories"]
    assert c.do("GET", f"/v2/{repo}/referrers/{sha(data)}").json()["manifests"] == []
    assert c.do("DELETE", f"/v2/{repo}/manifests/{sha(data)}").status_code == 202
    assert c.do("GET", f"/v2/{repo}/manifests/v1").status_code == 404
    assert len(asked) > 12 and not any(asked)


@needs("skopeo")
@pytest.mark.parametrize("kind", ["creds", "token", "file"])
def test_skopeo_with_credentials(fake, busybox_image, tmp_path, kind):
    auth, to = tmp_path / "auth.json", own(fake, f"{REPO}-{kind}:v1", "localhost")
    if kind == "file":
        skopeo("login", "--authfile", str(auth), "--tls-verify=false", "-u", "anna", "--password-stdin", to.split("/")[0], input="secret")
        assert to.split("/")[0] in json.loads(auth.read_text())["auths"]
    way = {"creds": lambda end: [f"--{end}-creds=anna:secret"], "token": lambda end: [f"--{end}-registry-token=ya29.token"],
           "file": lambda end: ["--authfile", str(auth)]}[kind]
    src, out = layout(tmp_path, busybox_image), tmp_path / "out"
    skopeo("copy", "--dest-tls-verify=false", *way("dest"), f"oci:{src}:v1", "docker://" + to)
    skopeo("copy", "--src-tls-verify=false", *way("src"), "docker://" + to, f"oci:{out}:v1")
    assert sorted(os.listdir(out / "blobs/sha256")) == sorted(os.listdir(src / "blobs/sha256"))


@needs("podman")
def test_podman_logs_in_and_out(fake, busybox_image, tmp_path, podman):
    auth, uri = str(tmp_path / "auth.json"), own(fake, "demo/repo/login:v1", "localhost")
    host = uri.split("/")[0]
    assert "Succeeded" in podman("login", "--authfile", auth, "--tls-verify=false", "-u", "anna", "-p", "secret", host)
    podman("import", str(busybox_image), uri)
    podman("push", "--tls-verify=false", "--authfile", auth, uri)
    podman("push", "--tls-verify=false", "--creds", "anna:secret", uri)
    podman("rmi", uri)
    podman("pull", "--tls-verify=false", "--creds", "anna:secret", uri)
    podman("logout", "--authfile", auth, host)
    assert host not in json.load(open(auth)).get("auths", {})
