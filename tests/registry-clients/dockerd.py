"""A docker daemon of the tests' own: its data, its sockets and its containerd are in a folder that goes with it, it has no
bridge and touches no rule of the machine's firewall. The machine's dockerd where one is installed, else Debian's, unpacked."""
import json
import os
import shutil
import signal
import subprocess
import tempfile

import pytest

from conftest import container_job, patience, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "cusp", "registry-clients")


def runs(s, uri, text):
    """A job on the image as it is, without a command of its own, ends well and prints text."""
    job = container_job(image=uri)
    del job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["command"]
    name = s.create(job)["name"]
    assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED", s.events(name)
    assert text in json.dumps(s.logs(name))


def prepared(script, *args):
    """Runs one of this folder's scripts; exit 77 skips with what it says."""
    r = subprocess.run([os.path.join(HERE, script), *args], capture_output=True, text=True, timeout=900, check=False)
    if r.returncode == 77:
        pytest.skip(r.stdout.strip())
    assert r.returncode == 0, r.stdout + r.stderr


def programs(wanted, *packages):
    """The folders that have them, to be put before PATH: none where all are installed."""
    if all(shutil.which(w) for w in wanted):
        return []
    to = os.path.join(CACHE, packages[0])
    prepared("unpack", to, *packages)
    return [to + "/usr/bin", to + "/usr/sbin"]


class Daemon:
    """names: of hosts, as lines of /etc/hosts that this daemon alone sees."""

    def __init__(self, names=()):
        self.names = names
        path = programs(("docker", "dockerd", "containerd", "runc"), "docker.io", "containerd", "runc") + [os.environ["PATH"]]
        # Sockets have short names; the folder must not be tmpfs of little room.
        self.dir = tempfile.mkdtemp(prefix="cusp-d-", dir="/var/tmp")
        self.env = {**os.environ, "PATH": os.pathsep.join(path), "DOCKER_HOST": f"unix://{self.dir}/d.sock",
                    "DOCKER_CONFIG": self.dir + "/config", "DOCKER_BUILDKIT": "0"}
        self.procs = []

    def begin(self, name, *argv):
        log = open(f"{self.dir}/{name}.log", "ab")
        p = subprocess.Popen(argv, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        log.close()
        self.procs.append(p)
        return p

    def log(self, name):
        with open(f"{self.dir}/{name}.log", errors="replace") as f:
            return f.read()

    def start(self):
        d = self.dir
        with open(d + "/containerd.toml", "w") as f:
            f.write('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        c = self.begin("containerd", "containerd", "--config", d + "/containerd.toml", "--root", d + "/c", "--state", d + "/cs",
                       "--address", d + "/c.sock")
        wait_until(lambda: os.path.exists(d + "/c.sock") or c.poll() is not None, what="containerd")
        with open("/etc/hosts") as old, open(d + "/hosts", "w") as f:
            f.write("\n".join([*self.names, old.read()]))
        alone = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', d + "/hosts") if self.names else ()
        p = self.begin("dockerd", *alone, "dockerd", "--host", self.env["DOCKER_HOST"], "--containerd", d + "/c.sock", "--data-root", d + "/root",
                       "--exec-root", d + "/exec", "--pidfile", d + "/pid", "--storage-driver=vfs", "--bridge=none", "--iptables=false",
                       "--ip6tables=false", "--ip-masq=false")
        up = wait_until(lambda: "up" if self.run("version", ok=None).returncode == 0 else "dead" if p.poll() is not None else None,
                        what="dockerd")
        if up == "dead":
            said = self.log("dockerd").strip().splitlines()
            self.stop()
            pytest.skip("dockerd does not start here: " + (said[-1] if said else self.log("containerd")[-300:]))
        return self

    def run(self, *args, ok=True, **kw):
        r = subprocess.run(["docker", *args], env=self.env, capture_output=True, text=True, timeout=patience(180), check=False, **kw)
        assert ok is None or (r.returncode == 0) == ok, r.stdout + r.stderr
        return r

    def __call__(self, *args, **kw):
        return self.run(*args, **kw).stdout.strip()

    def refused(self, *args, **kw):
        r = self.run(*args, ok=False, **kw)
        return r.stdout + r.stderr

    def stop(self):
        for p in reversed(self.procs):
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
                try:
                    p.wait(patience(30))
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
