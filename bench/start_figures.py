"""create -> first instruction of user code, and the way back: written in the container -> at the client."""
import glob
import json
import os
import subprocess
import time

from lab import JOBS, Short, job_body, median, need_program, need_root, quantile

RUNS, WARM_UP = 30, 3


def one_job(client, follow):
    """Returns (create -> first instruction, first instruction -> log line here), seconds."""
    body = job_body("/bin/probe")
    sent = time.time_ns()
    name = client.json("POST", JOBS, body)["name"]
    follow.http.request("GET", f"/cusp/v1/{name}:streamLogs?follow=true&task=workerpool0-0")
    r = follow.http.getresponse()
    line = json.loads(r.readline())
    arrived = time.time_ns()
    r.read()
    began = int(line["message"])
    while client.json("GET", "/v1/" + name).get("state") in ("JOB_STATE_PENDING", "JOB_STATE_RUNNING"):
        time.sleep(0.005)
    return (began - sent) / 1e9, (arrived - began) / 1e9


class Twin:
    """The bundle of a job that is still running, started again by the runtime alone: same root file
    system, same network namespace, same limits; only the id and the arguments differ."""

    def __init__(self, server, client):
        need_root()
        name = client.json("POST", JOBS, job_body("/bin/probe", "600"))["name"]
        self.client, self.name = client, name
        job = name.rsplit("/", 1)[1]
        run = f"{server.dir}/run/{job}/a1/workerpool0-0"
        for _ in range(500):
            if client.json("GET", "/v1/" + name).get("state") == "JOB_STATE_RUNNING":
                break
            time.sleep(0.01)
        else:
            raise Short("the job whose bundle is measured did not start")
        with open(f"{run}/run.conf", encoding="utf-8") as f:
            conf = dict(line.rstrip("\n").split("=", 1) for line in f if "=" in line)
        self.runtime, self.run = conf["runtime"], run
        self.runner = self.runner_of(run)
        self.pid = int(open(f"/proc/{self.runner}/task/{self.runner}/children").read().split()[0])
        with open(f"{run}/bundle/config.json", encoding="utf-8") as f:
            config = json.load(f)
        config["process"]["args"] = ["/bin/probe"]
        path = config["linux"].get("cgroupsPath", "/cusp-bench/x")
        config["linux"]["cgroupsPath"] = os.path.dirname(path.rstrip("/")) + "/twin"
        for ns in config["linux"]["namespaces"]:
            if ns["type"] == "network":
                ns["path"] = f"/proc/{self.pid}/ns/net"
        self.bundle = server.dir + "/twin"
        os.makedirs(self.bundle)
        self.root = server.dir + "/twin-root"
        with open(self.bundle + "/config.json", "w", encoding="utf-8") as f:
            json.dump(config, f)
        self.nr = 0

    @staticmethod
    def runner_of(run):
        for cmdline in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(cmdline, "rb") as f:
                    argv = f.read().split(b"\0")
            except OSError:
                continue
            if argv[0].endswith(b"cusp-runner") and run.encode() in argv:
                return int(cmdline.split("/")[2])
        raise Short("no runner of the measured job")

    def argv(self):
        """As the runner starts it, in the runner's mount namespace."""
        self.nr += 1
        return ["nsenter", f"--mount=/proc/{self.runner}/ns/mnt", self.runtime, "--root", self.root, "run",
                "--bundle", self.bundle, f"twin-{os.getpid()}-{self.nr}"]

    def time(self):
        """Spawn of the runtime -> first instruction, seconds."""
        argv = self.argv()
        sent = time.time_ns()
        out = subprocess.run(argv, capture_output=True, text=True, check=False)
        if out.returncode:
            raise Short(f"{self.runtime} on the same bundle: {out.stderr.strip()[-300:]}")
        return (int(out.stdout.split()[0]) - sent) / 1e9

    def close(self):
        self.client.call("POST", f"/v1/{self.name}:cancel", b"{}")


def podman(lab):
    """Returns seconds of `podman run` of the same image, one a call; raises Short where it cannot run."""
    program = need_program("podman")
    store = lab.dir + "/podman"
    base = [program, "--root", store, "--runroot", store + "-run", "--cgroup-manager=cgroupfs"]
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]  # its defaults can exceed what the host allows
    subprocess.run([*base, "import", "-q", lab.probe_tar(), "probe:latest"], capture_output=True, check=True)
    why = ""
    for runtime, cgroups in (("crun", None), ("runc", None), ("crun", "--cgroups=disabled")):
        options = ["--network=none", *limits, *([cgroups] if cgroups else [])]
        argv = [*base, "--runtime", runtime, "run", "--rm", *options, "probe:latest", "/bin/probe"]

        def run(argv=argv):
            sent = time.time_ns()
            out = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
            return (int(out.split()[0]) - sent) / 1e9
        try:
            run()
        except (subprocess.CalledProcessError, IndexError, ValueError) as e:
            why = str(getattr(e, "stderr", e))[-200:]
            continue
        return run, " ".join(["--runtime", runtime, *options[:1], *options[3:]])
    raise Short("podman cannot run a container here: " + why.strip())


def start(lab, table):
    need_root()
    s = lab.server("start")
    s.start()
    s.import_probe()
    client, follow = s.client(), s.client()
    for _ in range(WARM_UP):
        one_job(client, follow)
    jobs = [one_job(client, follow) for _ in range(RUNS)]
    twin = Twin(s, client)
    bare = [twin.time() for _ in range(WARM_UP + RUNS)][WARM_UP:]
    twin.close()
    s.stop()
    try:
        run, how = podman(lab)
        pod = [run() for _ in range(10)]
        peer50 = f"podman run ({how}) {median(pod) * 1e3:.0f} ms, {os.path.basename(twin.runtime)} {median(bare) * 1e3:.0f} ms"
        peer95 = f"podman run {quantile(pod, 0.95) * 1e3:.0f} ms, {os.path.basename(twin.runtime)} {quantile(bare, 0.95) * 1e3:.0f} ms"
    except Short as e:
        peer50 = peer95 = f"PODMAN SKIPPED: {e}"
    total = [t for t, _ in jobs]
    logs = [t for _, t in jobs]
    own50 = (median(total) - median(bare)) * 1e3
    own95 = (quantile(total, 0.95) - median(bare)) * 1e3  # its median: a slow run of it must not flatter us
    table.add("create to user code, less the runtime, p50", own50, "ms", "<=", 25, peer50)
    table.add("create to user code, less the runtime, p95", own95, "ms", "<=", 60, peer95)
    table.add("create to user code, all of it, p50", median(total) * 1e3, "ms", None, None, "")
    table.add("written in the container to client, p95", quantile(logs, 0.95) * 1e3, "ms", "<=", 100,
              f"p50 {median(logs) * 1e3:.0f} ms")
