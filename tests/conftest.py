"""Servers under test: real cuspd processes on free ports, with their own data directories.

CUSP_BUILD names the build folder (default build-dev: sanitizers and fail points on).
"""
import io
import json
import os
import re
import shutil
import signal
import secrets
import socket
import subprocess
import tarfile
import threading
import time

import pytest
import requests

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("CUSP_BUILD", os.path.join(ROOT, "build-dev"))
PARENT = "projects/demo/locations/us-central1"
# A run in the background may have been born with SIGINT ignored; programs under test would inherit that and not end by it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
TERMINAL = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="NEEDS ROOT: containers cannot be tested here")
# Programs that tests use where they are, and where they come from.
INSTALL = {"skopeo": "tools/dev deps test", "fincore": "tools/dev deps test", "node": "tools/dev deps test",
           "podman": "tools/dev deps clients", "docker-registry": "tools/dev deps clients", "java": "tools/dev deps clients",
           "javac": "tools/dev deps clients", "jlink": "tools/dev deps clients", "keytool": "tools/dev deps clients",
           "gcloud": "https://cloud.google.com/sdk/docs/install"}


def absent(program):
    """Why a test that needs the program cannot run, and what to do about it; None where it is installed."""
    return None if shutil.which(program) else f"NOT TESTED: {program} is not installed ({INSTALL[program]})"


def needs(*programs):
    """Decorator: skips where one of them is not installed."""
    why = next(filter(None, map(absent, programs)), None)
    return pytest.mark.skipif(why is not None, reason=why or "")


def skip_without(*programs):
    for program in programs:
        if absent(program):
            pytest.skip(absent(program))


def patience(seconds):
    """Deadlines are for a machine that does nothing else; a busy one gets the time that its load makes of them."""
    return seconds * max(1, os.getloadavg()[0] / os.cpu_count())


def wait_until(fn, seconds=30, what="condition"):
    """Polls fn until it returns something true; fails the test after the deadline."""
    began = time.monotonic()
    while True:
        v = fn()
        if v:
            return v
        waited = time.monotonic() - began
        assert waited < seconds or waited < patience(seconds), f"gave up waiting for {what}"
        time.sleep(0.02)


class Server:
    def __init__(self, data_dir, *flags, env=None, log=None):
        self.data_dir = str(data_dir)
        self.flags = list(flags)
        self.env = dict(env or {})
        self.log_path = log or os.path.join(os.path.dirname(self.data_dir), "cuspd.log")
        self.listen = "127.0.0.1:0"
        self.proc = None
        self.url = None

    def start(self, env=None, expect_ready=True):
        at = os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0
        log = open(self.log_path, "ab")
        self.proc = subprocess.Popen(
            [os.path.join(BUILD, "cuspd"), "--data-dir", self.data_dir, "--listen", self.listen, *self.flags],
            stderr=log, stdout=log, stdin=subprocess.DEVNULL, env={**os.environ, **self.env, **(env or {})})
        log.close()

        def ready():
            with open(self.log_path, "rb") as f:
                f.seek(at)
                m = re.search(rb"ready.*listen=(https?://\S+)", f.read())
            if m:
                return m.group(1).decode()
            if self.proc.poll() is not None:
                return "dead"
            return None

        got = wait_until(ready, 60, "the server to be ready")
        if got == "dead":
            assert not expect_ready, "cuspd died:\n" + self.log()[-3000:]
            return self
        self.url = got
        self.http = requests.Session()
        return self

    # ---- TLS
    @property
    def ca(self):
        """What clients trust; a file that is there after init_tls."""
        return os.path.join(self.data_dir, "tls", "ca.pem")

    @property
    def hostport(self):
        """By the name that its certificate has."""
        return "localhost:" + self.url.rsplit(":", 1)[1]

    def init_tls(self):
        """TLS on the port that speaks without it too; before the start, or while it runs."""
        subprocess.run([os.path.join(BUILD, "cusp"), "tls", "init", "--data-dir", self.data_dir], check=True,
                       stdout=subprocess.DEVNULL)

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def kill9(self):
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGKILL)
        self.proc.wait(30)

    def stop(self):
        """SIGTERM; the exit code must be 0 (also says: no leak, no sanitizer report)."""
        self.proc.send_signal(signal.SIGTERM)
        assert self.proc.wait(60) == 0, "cuspd did not stop cleanly:\n" + self.log()[-4000:]

    # ---- API
    def call(self, method, path, body=None, **kw):
        if body is not None and not isinstance(body, (str, bytes)):
            kw["json"] = body
        elif body is not None:
            kw["data"] = body
            kw.setdefault("headers", {"Content-Type": "application/json"})
        return self.http.request(method, self.url + path, timeout=60, **kw)

    def metric(self, name):
        """The value of cusp_NAME on /metrics; its labels belong to the name."""
        return float(re.search(rf"^cusp_{re.escape(name)} (\S+)$", self.call("GET", "/metrics").text, re.M).group(1))

    def create(self, body):
        r = self.call("POST", f"/v1/{PARENT}/customJobs", body)
        assert r.status_code == 200, r.text
        return r.json()

    def get(self, name):
        r = self.call("GET", "/v1/" + name)
        assert r.status_code == 200, r.text
        return r.json()

    def wait(self, name, seconds=60):
        return wait_until(lambda: (lambda j: j if j.get("state") in TERMINAL else None)(self.get(name)),
                          seconds, f"{name} to end; log:\n{self.log()[-1500:]}")

    def wait_state(self, name, state, seconds=60):
        return wait_until(lambda: (lambda j: j if j.get("state") == state else None)(self.get(name)), seconds,
                          f"{name} to be {state}")

    def events(self, name):
        r = self.call("GET", f"/cusp/v1/{name}:events")
        assert r.status_code == 200, r.text
        return r.json()

    def logs(self, name, follow=False, task=None):
        q = f"?follow={'true' if follow else 'false'}" + (f"&task={task}" if task else "")
        r = self.call("GET", f"/cusp/v1/{name}:streamLogs{q}")
        assert r.status_code == 200, r.text
        return [json.loads(line) for line in r.text.splitlines()]


def container_job(*command, image="busybox", args=None, **extra):
    spec = {"imageUri": image, "command": list(command)}
    if args:
        spec["args"] = args
    job = {"displayName": "test", "jobSpec": {"workerPoolSpecs": [
        {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": 1, "containerSpec": spec}]}}
    job["jobSpec"].update(extra)
    return job


def fake_job(**labels):
    """A job for the fake engine, scripted by labels: exit=3 becomes cusp-test-exit: 3."""
    job = container_job("true")
    job["labels"] = {"cusp-test-" + k.replace("_", "-"): str(v) for k, v in labels.items()}
    return job


@pytest.fixture
def make_server(tmp_path):
    servers = []

    def make(*flags, env=None, name="data"):
        s = Server(tmp_path / name, *flags, env=env)
        servers.append(s)
        return s

    yield make
    for s in servers:
        if s.proc and s.proc.poll() is None:
            s.kill9()
        reap_containers(s.data_dir)


def with_tls(make_server, *flags):
    """A server of scripted jobs, or of what the flags say, with TLS on the same port."""
    s = make_server(*(flags or ("--engine=fake",)))
    s.init_tls()
    return s.start()


@pytest.fixture
def fake(make_server):
    """A running server with the scripted engine; stopped cleanly at the end."""
    s = make_server("--engine=fake").start()
    yield s
    if s.proc.poll() is None:
        s.stop()


def busybox_tar(path):
    """A root file system of one static busybox, as an image import wants it."""
    busybox = shutil.which("busybox")
    assert busybox, "busybox-static is not installed: make deps"
    with tarfile.open(path, "w") as t:
        for d in ("bin", "etc", "tmp", "proc", "sys", "dev", "root", "var", "gcs"):
            i = tarfile.TarInfo(d)
            i.type, i.mode = tarfile.DIRTYPE, 0o1777 if d == "tmp" else 0o755
            t.addfile(i)
        i = tarfile.TarInfo("bin/busybox")
        data = open(busybox, "rb").read()
        i.size, i.mode = len(data), 0o755
        t.addfile(i, io.BytesIO(data))
        for applet in ("sh", "cat", "echo", "sleep", "true", "false", "ls", "env", "id", "kill", "mkdir", "seq",
                       "hostname", "wget", "ip", "dd", "head", "tail", "grep", "yes", "cp", "mv", "touch", "date", "printf"):
            i = tarfile.TarInfo("bin/" + applet)
            i.type, i.linkname = tarfile.SYMTYPE, "busybox"
            t.addfile(i)
        for name, text in (("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("etc/group", "root:x:0:\n")):
            i = tarfile.TarInfo(name)
            i.size = len(text)
            t.addfile(i, io.BytesIO(text.encode()))
    return path


@pytest.fixture(scope="session")
def busybox_image(tmp_path_factory):
    return busybox_tar(tmp_path_factory.mktemp("image") / "busybox.tar")


@pytest.fixture
def local(make_server, busybox_image):
    """Makes a server with the real engine and the busybox image."""
    def make(*flags, env=None):
        s = make_server("--engine=local", *flags, env=env)
        s.start()
        import_busybox(s, busybox_image)
        return s
    return make


def import_busybox(server, tar):
    with open(tar, "rb") as f:
        r = server.call("POST", "/cusp/v1/images:import?name=busybox", f.read())
    assert r.status_code == 200, r.text


@pytest.fixture(scope="session")
def matrix_server(request, tmp_path_factory, busybox_image):
    """One server for the drivers of tests/clients: real containers, the busybox image, TLS on the same port.
    Its `addresses` are CUSP_ENDPOINT, CUSP_HOSTPORT and CUSP_CA of tests/clients/README.md."""
    s = Server(tmp_path_factory.mktemp("matrix") / "data", "--engine=local", "--stop-grace-s=1")
    s.init_tls()
    s.start()
    import_busybox(s, busybox_image)
    s.session = request.session  # drivers that it will ask for are started together
    s.addresses = (s.url, s.hostport, s.ca)
    yield s
    if s.proc.poll() is None:
        s.stop()
    reap_containers(s.data_dir)


# ---- who answers on the host

class Greeter:
    """A listener that sends everybody its own words, unlike any other's, and remembers who came. Nothing of it is
    left after the with: its thread has ended, so it cannot take up a descriptor or a port that somebody gets next."""

    def __init__(self, address):
        self.address = address
        self.words = "hello-from-host-" + secrets.token_hex(8)
        self.seen = []

    def __enter__(self):
        self.sock = socket.create_server((self.address, 0))
        self.port = self.sock.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        return self

    def serve(self):
        while True:
            try:
                c, peer = self.sock.accept()
            except OSError:
                return
            self.seen.append(peer[0])
            with c:
                c.sendall(self.words.encode() + b"\n")

    def __exit__(self, *exc):
        self.sock.shutdown(socket.SHUT_RDWR)  # closing alone leaves accept() waiting, and the port open
        self.thread.join(10)
        assert not self.thread.is_alive()
        self.sock.close()


# ---- what is left on the host

def runners(data_dir):
    """Pids of cusp-runner processes of this data directory."""
    out = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                argv = f.read().split(b"\0")
        except OSError:
            continue
        if argv and argv[0].endswith(b"cusp-runner") and any(a.startswith(str(data_dir).encode()) for a in argv[1:]):
            out.append(int(pid))
    return out


def cgroups_of(job_id):
    out = []
    for base, dirs, _ in os.walk("/sys/fs/cgroup"):
        out += [os.path.join(base, d) for d in dirs if job_id in d]
    return out


def reap_containers(data_dir):
    for pid in runners(data_dir):
        try:
            children = open(f"/proc/{pid}/task/{pid}/children").read().split()
            for c in children:
                os.kill(int(c), signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
