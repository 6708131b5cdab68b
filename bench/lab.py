"""What every figure needs: a server of its own, a plain HTTP client, one small image, statistics."""
import http.client
import io
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PARENT = "projects/demo/locations/us-central1"
JOBS = f"/v1/{PARENT}/customJobs"


class Short(Exception):
    """A figure that cannot be taken on this machine; says why."""


def quantile(values, q):
    """Nearest rank: of 20 values the 95th percentile is the 19th."""
    v = sorted(values)
    return v[max(0, min(len(v) - 1, -(-int(q * 100) * len(v) // 100) - 1))]


def median(values):
    return quantile(values, 0.5)


def job_body(*command, image="probe", name="bench"):
    return json.dumps({"displayName": name, "jobSpec": {"workerPoolSpecs": [{
        "machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": 1,
        "containerSpec": {"imageUri": image, "command": list(command)}}]}}).encode()


class Client:
    """One keep-alive connection."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.http = http.client.HTTPConnection(host, int(port), timeout=120)
        self.http.connect()

    def call(self, method, path, body=None):
        head = {"Content-Type": "application/json"} if body is not None else {}
        self.http.request(method, path, body, head)
        r = self.http.getresponse()
        data = r.read()
        if r.status != 200:
            raise Short(f"{method} {path}: {r.status} {data[:300]!r}")
        return data

    def json(self, method, path, body=None):
        return json.loads(self.call(method, path, body))

    def metric(self, name):
        m = re.search(rb"^cusp_" + name.encode() + rb" (\d+)$", self.call("GET", "/metrics"), re.M)
        return int(m.group(1))


class Server:
    """A cuspd on a free port; start() returns how long it took to say "ready"."""

    def __init__(self, lab, name, *flags):
        self.lab, self.flags = lab, flags
        self.dir = os.path.join(lab.dir, name)
        self.proc = None

    def start(self, *more):
        began = time.monotonic()
        self.proc = subprocess.Popen(
            [self.lab.binary("cuspd"), "--data-dir", self.dir, "--listen", "127.0.0.1:0", *self.flags, *more],
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        said = []
        for line in self.proc.stderr:
            said.append(line.decode(errors="replace"))
            m = re.search(r"ready.*listen=http://(\S+)", said[-1])
            if m:
                took = time.monotonic() - began
                self.address = m.group(1)
                threading.Thread(target=self.proc.stderr.read, daemon=True).start()  # keeps the pipe empty
                self.lab.servers.append(self)
                return took
        self.proc.wait()
        raise Short("cuspd did not start: " + " ".join(said)[-500:])

    def client(self):
        return Client(self.address)

    def status(self, key):
        with open(f"/proc/{self.proc.pid}/status", encoding="ascii") as f:
            return int(re.search(rf"^{key}:\s+(\d+)", f.read(), re.M).group(1))

    def stop(self):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            self.proc.wait(60)

    def import_probe(self):
        with open(self.lab.probe_tar(), "rb") as f:
            self.client().call("POST", "/cusp/v1/images:import?name=probe", f.read())


class Lab:
    def __init__(self, build):
        self.build = os.path.abspath(build)
        base = os.environ.get("BENCH_DIR", os.path.join(ROOT, ".cusp"))  # durability needs a real disk
        os.makedirs(base, exist_ok=True)
        self.dir = tempfile.mkdtemp(prefix="bench-", dir=base)
        self.servers = []

    def close(self):
        for s in self.servers:
            s.stop()
        subprocess.run(["umount", "-q", self.dir + "/podman/overlay"], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def binary(self, name):
        return os.path.join(self.build, name)

    def made(self, name):
        """A program that only a bench needs, and that is therefore built when one does."""
        r = subprocess.run(["ninja", "-C", self.build, name], capture_output=True, text=True)
        if r.returncode:
            raise Short(f"{name} cannot be built: {r.stdout[-1000:]}{r.stderr[-1000:]}")
        return self.binary(name)

    def server(self, name, *flags):
        return Server(self, name, *flags)

    def probe(self):
        """The static program that prints the time, compiled once."""
        path = os.path.join(self.dir, "probe")
        if not os.path.exists(path):
            subprocess.run(["cc", "-O2", "-static", "-o", path, os.path.join(ROOT, "bench", "probe.c")], check=True)
        return path

    def probe_tar(self):
        """A root file system of that program alone, in a size that every run shares."""
        path = os.path.join(self.dir, "probe.tar")
        if not os.path.exists(path):
            with tarfile.open(path, "w") as t:
                for d in ("bin", "etc", "tmp", "proc", "sys", "dev", "gcs"):
                    i = tarfile.TarInfo(d)
                    i.type, i.mode = tarfile.DIRTYPE, 0o755
                    t.addfile(i)
                with open(self.probe(), "rb") as f:
                    data = f.read()
                for name, mode, content in (("bin/probe", 0o755, data),
                                            ("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/probe\n"),
                                            ("etc/group", 0o644, b"root:x:0:\n")):
                    i = tarfile.TarInfo(name)
                    i.size, i.mode = len(content), mode
                    t.addfile(i, io.BytesIO(content))
        return path


def need_root():
    if os.geteuid() != 0:
        raise Short("needs root for containers")


def need_program(name):
    path = shutil.which(name)
    if not path:
        raise Short(f"needs {name}: tools/dev deps bench")
    return path


def level(lab, size):
    """The same ground for whoever is timed next: nothing left to write, and free pages that exist. On a virtual machine whose
    host takes free pages back, the first to use them again pays a fault each (2.3 s a GiB were measured, for 0.25 s of
    copying): without this, who comes after a large file was removed wins."""
    path, block = os.path.join(lab.dir, "level"), b"x" * (1 << 20)
    subprocess.run(["sync", "-f", lab.dir], check=True)
    with open(path, "wb", buffering=0) as f:
        for _ in range(size >> 20):
            f.write(block)
    os.unlink(path)


def forget(*folders):
    """Files in them leave the page cache, once they are on the disk."""
    for path in (os.path.join(d, name) for root in folders for d, _, names in os.walk(root) for name in names):
        fd = os.open(path, os.O_RDONLY)
        os.fdatasync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def better(lab, runs, fresh):
    """Seconds of the better of several runs in a row, each from level ground and without the file `fresh`. Where a host takes free
    pages back, every other run that needs a gigabyte of them pays for it (0.8 and 3.9 s of the system's time were measured,
    whatever level() did), cp as well as clients: a single run would measure whose turn it was."""
    took = []
    for argv in runs:
        if os.path.exists(fresh):
            os.unlink(fresh)
        level(lab, 5 << 28)
        began = time.monotonic()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        took.append(time.monotonic() - began)
    return min(took)


def wrk(address, seconds, script=None, path="/", connections=64):
    """Requests a second; fails when any answer is not 2xx or a socket broke."""
    argv = [need_program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}"]
    if script:
        argv += ["-s", script]
    out = subprocess.run([*argv, f"http://{address}{path}"], capture_output=True, text=True, check=True).stdout
    bad = re.search(r"(Non-2xx.*|Socket errors.*)", out)
    if bad:
        raise Short("wrk: " + bad.group(1))
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
