"""Images over HTTP: uploads, archives that podman made, what an overlay of their layers shows, errors.

CUSP_BUILD names the build directory (default: build); the server is tests/lib/images_server: net, api and
image store as in cuspd, without the rest. Layers need root. Nothing is run from an image here.
"""
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import tarfile
import urllib.parse

import pytest
import requests

from conftest import skip_without

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUILD = os.environ.get("CUSP_BUILD", os.path.join(ROOT, "build"))
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="layers have owners and device nodes: needs root")
pytestmark = needs_root


class Server:
    def __init__(self, data_dir, *in_use):
        self.dir, self.in_use = str(data_dir), in_use
        self.start()

    def start(self):
        self.proc = subprocess.Popen(
            [os.path.join(BUILD, "tests/unit/engine/images_server"), self.dir, "127.0.0.1:0", *self.in_use],
            stdout=subprocess.PIPE, text=True)
        self.address = self.proc.stdout.readline().strip()
        assert self.address, "the server did not start"
        self.url = "http://" + self.address + "/cusp/v1/images"

    def stop(self, how=signal.SIGTERM):
        self.proc.send_signal(how)
        code = self.proc.wait(20)
        self.proc.stdout.close()
        assert how != signal.SIGTERM or code == 0

    def resolve(self, uri):
        r = requests.get(f"http://{self.address}/resolve", params={"uri": uri})
        return r.text.splitlines() if r.status_code == 200 else r.json()["error"]

    def names(self):
        return [i["name"] for i in requests.get(self.url).json()["images"]]

    def leftovers(self):
        return os.listdir(os.path.join(self.dir, "images", "tmp"))


@pytest.fixture
def server(tmp_path):
    s = Server(tmp_path)
    yield s
    s.stop()


def rootfs(files, mode="w"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as t:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), 0o644
            t.addfile(info, io.BytesIO(text))
    return out.getvalue()


def error_of(r, code, status):
    assert r.status_code == code, r.text
    e = r.json()["error"]
    assert e["code"] == code and e["status"] == status
    return e["message"]


def test_uploaded_root_file_system_is_listed_resolved_and_removed(server):
    body = rootfs({"etc/os-release": b"ID=test\n"}, "w:gz")
    r = requests.post(server.url + ":import", data=body, params={
        "name": "mine:latest", "cmd": ["python3", "-V"], "env": "A=b c", "workdir": "/w", "user": "0:0"})
    assert r.status_code == 200, r.text
    image = r.json()
    assert image["name"] == "mine" and image["cmd"] == ["python3", "-V"] and image["workdir"] == "/w"
    assert "A=b c" in image["env"] and image["user"] == "0:0" and image["layers"] == 1
    assert server.names() == ["mine"]
    layers = server.resolve("mine")
    assert open(layers[0] + "/etc/os-release").read() == "ID=test\n"
    assert requests.delete(server.url + "/mine%3Alatest").json() == {}
    assert server.names() == [] and not os.path.exists(layers[0])
    assert server.leftovers() == []
    assert "there is no image" in error_of(requests.delete(server.url + "/mine"), 404, "NOT_FOUND")


def test_large_upload_arrives_whole_and_a_broken_one_leaves_nothing(server):
    data = os.urandom(9 << 20)
    body = rootfs({"blob": data})
    assert requests.post(server.url + ":import?name=big", data=body).status_code == 200
    got = open(server.resolve("big")[0] + "/blob", "rb").read()
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
    assert requests.post(server.url + ":import?name=chunked", data=iter([body[i:i + 70001] for i in
                         range(0, len(body), 70001)])).status_code == 200
    with socket.create_connection(server.address.split(":")) as s:
        s.sendall(b"POST /cusp/v1/images:import?name=cut HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        s.sendall(body[:5 << 20])
    server.stop()  # waits for what is in flight
    assert server.leftovers() == []
    server.start()
    assert sorted(server.names()) == ["big", "chunked"]


def test_kill_during_an_upload_leaves_only_what_the_next_start_sweeps(server):
    s = socket.create_connection(server.address.split(":"))
    s.sendall(b"POST /cusp/v1/images:import?name=x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 65536)
    for _ in range(200):  # the spool file appears once the head was handled
        if server.leftovers() or requests.get(server.url).status_code != 200:
            break
    assert server.leftovers()
    server.stop(signal.SIGKILL)
    s.close()
    server.start()
    assert server.leftovers() == [] and server.names() == []


@pytest.mark.parametrize("path,body,text", [
    (":import?name=x", b"junk" * 1000, "tar"), (":import?name=a%20b", b"", "name"), (":import?name=%zz", b"", "name"),
    (":import", rootfs({"a": b"b"}), "give one"), (":import?name=a&name=b", b"", "twice"),
    (":import?name=a&env=novalue", rootfs({"a": b"b"}), "NAME=value"),
    (":import?name=x", rootfs({"../evil": b"b"}), '".."'), (":import?name=x", rootfs({"/evil": b"b"}), "absolute"),
    (":importPath", b"{", "JSON"), (":importPath", b"[]", "JSON"), (":importPath", b"{}", "path"),
    (":importPath", b'{"path": 7}', "path"), (":importPath", b'{"path": "relative", "name": "x"}', "absolute"),
    (":importPath", b'{"path": "/dev/zero", "name": "x"}', "neither a file"),
    (":importPath", b'{"path": "/etc", "name": "x"}', "no OCI layout"),
    (":importPath", b'{"path": "/x", "config": {"env": "A=b"}}', "list"),
])
def test_bad_imports_say_what_is_wrong_and_leave_nothing(server, path, body, text):
    assert text in error_of(requests.post(server.url + path, data=body), 400, "INVALID_ARGUMENT")
    assert server.names() == [] and server.leftovers() == []
    assert os.listdir(os.path.join(server.dir, "images", "layers")) == []


def test_missing_file_is_not_found(server):
    r = requests.post(server.url + ":importPath", json={"path": "/nonexistent/x.tar", "name": "x"})
    error_of(r, 404, "NOT_FOUND")


def test_image_of_an_unfinished_job_is_not_removed(tmp_path, server):
    image = requests.post(server.url + ":import?name=busy", data=rootfs({"a": b"b"})).json()
    server.stop()
    server.in_use = (image["digest"],)
    server.start()
    assert "running job" in error_of(requests.delete(server.url + "/busy"), 400, "FAILED_PRECONDITION")
    assert server.names() == ["busy"]


def test_published_uri_says_which_command_helps_until_the_image_is_here(server):
    uri = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest"
    assert "cusp images build sklearn-cpu" in server.resolve(uri)["message"]
    assert requests.post(server.url + ":import?name=sklearn-cpu", data=rootfs({"a": b"b"})).status_code == 200
    assert len(server.resolve(uri)) == 1


# ---- archives of another tool

@pytest.fixture(scope="module")
def podman(tmp_path_factory):
    skip_without("podman")
    root = tmp_path_factory.mktemp("podman")
    base = ["podman", f"--root={root}/root", f"--runroot={root}/run", "--storage-driver=vfs"]

    def run(*args):
        r = subprocess.run([*base, *args], capture_output=True, text=True)
        if r.returncode:
            pytest.skip(f"podman {args[0]} does not work here: {r.stderr.strip()[-200:]}")
        return r.stdout.strip()
    return run


@pytest.fixture(scope="module")
def archives(podman, tmp_path_factory):
    d = tmp_path_factory.mktemp("archives")
    (d / "base.tar").write_bytes(rootfs({"etc/passwd": b"u:x:7:8::/home/u:/bin/sh\n", "gone": b"1", "keep": b"2"}))
    podman("import", "--change", 'CMD ["run"]', "--change", "ENV K=v", "--change", "WORKDIR /srv",
           "--change", "USER u", str(d / "base.tar"), "localhost/demo:v1")
    for form in ("oci-archive", "docker-archive"):
        podman("save", f"--format={form}", "-o", str(d / f"{form}.tar"), "localhost/demo:v1")
    podman("save", "--format=oci-dir", "-o", str(d / "oci-dir"), "localhost/demo:v1")
    return d


@pytest.mark.parametrize("form", ["oci-archive.tar", "docker-archive.tar", "oci-dir"])
def test_what_podman_saves_is_imported(server, archives, form):
    r = requests.post(server.url + ":importPath", json={"path": str(archives / form), **(
        {"name": "demo:v1"} if form == "oci-dir" else {})})
    assert r.status_code == 200, r.text
    image = r.json()
    assert image["name"] == "demo:v1" and image["cmd"] == ["run"] and "K=v" in image["env"]
    assert image["workdir"] == "/srv" and image["user"] == "u"
    layers = server.resolve("localhost/demo:v1")
    assert open(layers[-1] + "/keep").read() == "2"


def test_two_layers_with_a_whiteout_show_the_right_tree(server, tmp_path):
    """What the kernel shows of the overlay, not what we think we wrote."""
    layout = tmp_path / "layout"
    (layout / "blobs/sha256").mkdir(parents=True)

    def blob(data):
        h = hashlib.sha256(data).hexdigest()
        (layout / "blobs/sha256" / h).write_bytes(data)
        return {"digest": "sha256:" + h, "size": len(data)}
    low = rootfs({"gone": b"1", "keep": b"2", "d/old": b"3"})
    up = rootfs({".wh.gone": b"", "d/.wh..wh..opq": b"", "d/new": b"4"})
    arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    diffs = ["sha256:" + hashlib.sha256(x).hexdigest() for x in (low, up)]
    config = blob(json.dumps({"os": "linux", "architecture": arch, "rootfs": {"diff_ids": diffs}}).encode())
    manifest = blob(json.dumps({"config": config, "layers": [blob(low), blob(up)]}).encode())
    (layout / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    r = requests.post(server.url + ":importPath", json={"path": str(layout), "name": "two"})
    assert r.status_code == 200, r.text
    for d in ("upper", "work", "mnt"):
        (tmp_path / d).mkdir()
    script = (f"mount -t overlay overlay -o lowerdir={':'.join(server.resolve('two'))},upperdir={tmp_path}/upper,"
              f"workdir={tmp_path}/work {tmp_path}/mnt && cd {tmp_path}/mnt && find . -type f | sort && cat d/new")
    r = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    assert r.stdout.split() == ["./d/new", "./keep", "4"]


def test_same_layer_in_two_archives_is_stored_once(server, archives):
    for form in ("oci-archive.tar", "docker-archive.tar"):
        name = urllib.parse.quote(form.split(".")[0])
        r = requests.post(f"{server.url}:import?name={name}", data=open(archives / form, "rb"))
        assert r.status_code == 200, r.text
    assert server.resolve("oci-archive") == server.resolve("docker-archive")
