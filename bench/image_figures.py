"""Push and pull of a 1 GB image beside docker-registry, both by skopeo, from memory and from the disk; starts of jobs on 1 GB beside 10 MB."""
import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
import time

from lab import JOBS, Short, forget, job_body, level, median, need_program, need_root

ROUNDS, STARTS, WARM_UP = 5, 15, 2
LAYERS, LAYER_MB = 4, 256
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar_of(name, data):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        i = tarfile.TarInfo(name)
        i.size = len(data)
        t.addfile(i, io.BytesIO(data))
    return out.getvalue()


def layout(lab, name, layers, megabytes):
    """An OCI layout of the probe and random bytes; gzip without compression, as skopeo packs what is not packed."""
    root = os.path.join(lab.dir, name)
    os.makedirs(root + "/blobs/sha256")

    def put(data):
        with open(f"{root}/blobs/sha256/{sha(data)[7:]}", "wb") as f:
            f.write(data)
        return {"digest": sha(data), "size": len(data)}

    diffs, packed = [], []
    with open(lab.probe_tar(), "rb") as f:
        parts = [f.read()]
    for i in range(layers + 1):
        data = parts.pop() if parts else tar_of(f"data{i}", os.urandom(megabytes * 1000 * 1000))
        diffs.append(sha(data))
        packed.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **put(gzip.compress(data, 0, mtime=0))})
    config = json.dumps({"os": "linux", "architecture": ARCH, "config": {"Cmd": ["/bin/probe"]},
                         "rootfs": {"type": "layers", "diff_ids": diffs}}).encode()
    kind = "application/vnd.oci.image.manifest.v1+json"
    m = put(json.dumps({"schemaVersion": 2, "mediaType": kind, "layers": packed,
                        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **put(config)}}).encode())
    with open(root + "/index.json", "w", encoding="utf-8") as f:
        json.dump({"schemaVersion": 2, "manifests": [
            {"mediaType": kind, **m, "annotations": {"org.opencontainers.image.ref.name": "v1"}}]}, f)
    with open(root + "/oci-layout", "w", encoding="utf-8") as f:
        f.write('{"imageLayoutVersion": "1.0.0"}')
    return root


class DockerRegistry:
    def __init__(self, lab, name):
        self.dir = os.path.join(lab.dir, name)
        os.makedirs(self.dir)
        with open(self.dir + "/config.yml", "w", encoding="utf-8") as f:
            f.write(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {self.dir}/store}}}}\n"
                    "http: {addr: 127.0.0.1:0}\nlog: {level: info, accesslog: {disabled: true}}\n")
        self.log = open(self.dir + "/log", "w+", encoding="utf-8")
        self.proc = subprocess.Popen([need_program("docker-registry"), "serve", self.dir + "/config.yml"],
                                     stdout=self.log, stderr=self.log)
        for _ in range(500):
            with open(self.dir + "/log", encoding="utf-8") as f:
                m = re.search(r"listening on (127\.0\.0\.1:\d+)", f.read())
            if m:
                self.address = m.group(1)
                return
            time.sleep(0.02)
        raise Short("docker-registry did not start")

    def stop(self):
        self.proc.terminate()
        self.proc.wait(20)
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def skopeo(*args):
    r = subprocess.run([need_program("skopeo"), "--insecure-policy", "copy", *args], capture_output=True, text=True, check=False)
    if r.returncode:
        raise Short("skopeo: " + r.stderr[-300:])


def timed(lab, fn, *cold):
    """Seconds; what lies in the folders `cold` is not in memory."""
    level(lab, 5 << 28)
    forget(*cold)
    began = time.monotonic()
    fn()
    return time.monotonic() - began


def unpacked(client):
    for _ in range(3000):
        images = client.json("GET", "/cusp/v1/images").get("images", [])
        if images:
            return
        time.sleep(0.02)
    raise Short("the pushed image was not unpacked")


def pull_lines(client, image):
    last = client.call("POST", "/cusp/v1/images:pull", json.dumps({"image": image}).encode()).splitlines()[-1]
    if b'"error"' in last:
        raise Short(last.decode())


def through(lab, address, store, src, times, key, ready):
    out = os.path.join(lab.dir, "out")
    times[key, "push"].append(timed(lab, lambda: skopeo("--dest-tls-verify=false", f"oci:{src}:v1", f"docker://{address}/big/image:v1")))
    ready()
    for what, cold in (("pull", ()), ("cold", (store,))):
        times[key, what].append(timed(lab, lambda: skopeo("--src-tls-verify=false", f"docker://{address}/big/image:v1", f"dir:{out}"), *cold))
        shutil.rmtree(out)


def transfers(lab, table, src):
    times = {(k, w): [] for k in ("cusp", "docker", "copy") for w in ("push", "pull", "cold")}
    for i in range(ROUNDS):  # in turns, each with an empty store
        d = DockerRegistry(lab, f"registry{i}")
        try:
            s = lab.server(f"push{i}", "--engine=fake")
            s.start()
            turns = [("docker", d.address, d.dir + "/store", lambda: None),
                     ("cusp", s.address, s.dir + "/images/blobs", lambda: unpacked(s.client()))]
            for key, address, store, ready in turns if i % 2 == 0 else turns[::-1]:  # who is first finds the disk in another state
                through(lab, address, store, src, times, key, ready)
            s.stop()
            shutil.rmtree(s.dir)
            s = lab.server(f"pull{i}", "--engine=fake")
            s.start()
            times["copy", "pull"].append(timed(lab, lambda: pull_lines(s.client(), f"{d.address}/big/image:v1")))
            s.stop()
            shutil.rmtree(s.dir)
        finally:
            d.stop()
    mid = {k: median(v) for k, v in times.items() if v}
    mb = LAYERS * LAYER_MB
    for what, words in (("push", "push of a 1 GB image"), ("pull", "pull of a 1 GB image"), ("cold", "pull of a 1 GB image, not in memory,")):
        ours, theirs = mid["cusp", what], mid["docker", what]
        table.add(f"{words} by skopeo, of docker-registry", theirs / ours * 100, "%", ">=", 100,
                  f"{mb / ours:,.0f} MB/s beside {mb / theirs:,.0f} MB/s")
    ours = mid["copy", "pull"]
    table.add("1 GB image pulled by cusp, unpacked and durable", mb / ours, "MB/s", None, None,
              f"{ours:.1f} s from docker-registry; skopeo to a directory, packed, {mid['docker', 'pull']:.1f} s")


def one_start(client, image):
    sent = time.time_ns()
    name = client.json("POST", JOBS, job_body("/bin/probe", image=image))["name"]
    while client.json("GET", "/v1/" + name).get("state") not in ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED"):
        time.sleep(0.01)
    for line in client.call("GET", f"/cusp/v1/{name}:streamLogs?follow=false&task=workerpool0-0").splitlines():
        return (int(json.loads(line)["message"]) - sent) / 1e6
    raise Short("the job said nothing")


def starts(lab, table, big, small):
    need_root()
    s = lab.server("starts")
    s.start()
    c = s.client()
    for name, root in (("big", big), ("small", small)):
        c.call("POST", "/cusp/v1/images:importPath", json.dumps({"path": root, "name": name}).encode())
    times = {"big": [], "small": []}
    for i in range(WARM_UP + STARTS):
        for name, took in times.items():
            ms = one_start(c, name)
            if i >= WARM_UP:
                took.append(ms)
    s.stop()
    b, m = median(times["big"]), median(times["small"])
    table.add("job start on a 1 GB image, of one of 10 MB", b / m * 100, "%", "<=", 120, f"{b:.1f} ms beside {m:.1f} ms, both present")


def images(lab, table):
    need_program("skopeo")
    need_program("docker-registry")
    big, small = layout(lab, "big", LAYERS, LAYER_MB), layout(lab, "small", 1, 10)
    transfers(lab, table, big)
    starts(lab, table, big, small)
