"""Warm starts of Python tasks (docs/internals/warm-workers.md): the same as a cold one in every respect but time."""
import glob
import os
import re
import signal

import pytest

from conftest import Server, needs_root, reap_containers, runners, wait_until

BUILT = sorted(glob.glob("/var/cache/cusp/recipes/sklearn-cpu-*.image.json"), key=os.path.getmtime)
EXTENDED = bool(os.environ.get("CUSP_EXTENDED"))
pytestmark = [needs_root, pytest.mark.skipif(
    not BUILT, reason="NOT TESTED: the sklearn-cpu image is not built here (cusp images build sklearn-cpu)")]

# What it has been given and what it sees, then training whose every digit is fixed by the seed.
REPORT = r"""
import os, random, sys, threading
import numpy, sklearn
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
for k in sorted(os.environ):
    if k != "HOSTNAME" and k != "CLUSTER_SPEC" and k != "CLOUD_ML_JOB_ID":
        print("env", k, os.environ[k])
print("argv", sys.argv, sys.orig_argv, sys.path, sys.flags, sys.executable, sys.stdout.encoding, sys.stdout.line_buffering)
print("main", __name__, [k for k in sorted(globals()) if k.startswith("__")], __spec__, sys.gettrace())
for f in ("cmdline", "comm", "environ"):
    data = open(f"/proc/self/{f}", "rb").read().split(b"\0")
    print(f, data if f != "environ" else len(data) == len(os.environ) + 1 - added)
for line in open("/proc/self/status"):
    if line.split(":")[0] in ("Uid", "Gid", "Groups", "NSpid", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm",
                              "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters"):
        print(line.strip())
print("fds", sorted(os.listdir("/proc/self/fd")), os.getcwd(), os.umask(0o22), sorted(os.listdir("/tmp")))
print("limits", open("/proc/self/limits").read())
print("threads", threading.main_thread().native_id == os.getpid(), threading.enumerate())
x, y = load_iris(return_X_y=True)
forest = RandomForestClassifier(20, random_state=7).fit(x, y)
print(repr(forest.feature_importances_.tolist()), repr(forest.predict_proba(x).sum(axis=0).tolist()))
random.seed(3); numpy.random.seed(4)
print(repr([random.random() for _ in range(9)]), repr(numpy.random.rand(9).tolist()))
a = numpy.random.RandomState(0).rand(300, 300)
print(repr(float((a @ a).sum())))
big = [bytearray(1000) for _ in range(200000)]
def deep(n): return 0 if n == 0 else 1 + deep(n - 1)
sys.setrecursionlimit(20000)
print(deep(15000), len(big), file=sys.stderr)
import subprocess
print(subprocess.run([sys.executable, "-c", "import sys; print(sys.path)"], capture_output=True, text=True).stdout)
""".replace("- added", "- sum(k.startswith('KMP_') for k in os.environ)")


def job_of(script, *args, warm=True, imports="sklearn", env=(), machine="n1-standard-4"):
    job = {"displayName": "warm", "jobSpec": {"workerPoolSpecs": [{
        "machineSpec": {"machineType": machine}, "replicaCount": 1,
        "containerSpec": {"imageUri": "sklearn-cpu", "command": ["python3", "-c", script], "args": list(args),
                          "env": [{"name": k, "value": v} for k, v in env]}}]}}
    if warm:
        job["labels"] = {"cusp-warm-python": "true", "cusp-warm-imports": imports}
    return job


def serve(data_dir, *flags):
    s = Server(data_dir, "--engine=local", "--stop-grace-s=1", "--mem-mb=512", *flags).start()
    with open(BUILT[-1]) as f:
        r = s.call("POST", "/cusp/v1/images:importPath", f.read())
    assert r.status_code == 200, r.text
    return s


@pytest.fixture(scope="module", params=["auto", "runc"] if EXTENDED else ["auto"])
def server(tmp_path_factory, request):
    s = serve(tmp_path_factory.mktemp("warm") / "data", "--runtime=" + request.param)
    yield s
    if s.proc.poll() is None:
        s.stop()
    reap_containers(s.data_dir)


def said(s, job, task="workerpool0-0", **which):
    return [x["message"] for x in s.logs(job["name"])
            if x["task"] == task and all(x.get(k) == v for k, v in which.items())]


def notes(s, job):
    return [x for x in said(s, job, "service") if "start of Python" in x]


def run(s, *args, **kw):
    return s.wait(s.create(job_of(*args, **kw))["name"], 120)


def images(s):
    return [d for d in glob.glob(s.data_dir + "/warm/*") if re.fullmatch(r"[0-9a-f]{64}", os.path.basename(d))]


def made(s, n=1):
    """Waits for the making that is under way."""
    wait_until(lambda: len(images(s)) >= n, 90, "the memory image; log:\n" + s.log()[-2000:])


def warm_up(s, script, *args, **kw):
    """A first run, cold, and its image."""
    n = len(images(s))
    job = run(s, script, *args, **kw)
    assert "is being made" in notes(s, job)[0], notes(s, job)
    made(s, n + 1)
    return job


def test_the_same_as_a_cold_start(server):
    cold = warm_up(server, REPORT, "--lr=0.1", env=[("MINE", "a b")])
    warm = run(server, REPORT, "--lr=0.1", env=[("MINE", "a b")])
    assert cold["state"] == warm["state"] == "JOB_STATE_SUCCEEDED", (said(server, cold), said(server, warm))
    assert notes(server, warm)[0].startswith("Warm start of Python: sklearn imported already")
    others = [cold]
    if EXTENDED:
        others.append(run(server, REPORT, "--lr=0.1", env=[("MINE", "a b")], warm=False))
        assert not notes(server, others[-1])
    for other in others:
        for stream in ("stdout", "stderr"):
            want, got = (said(server, j, **{"stream": stream}) for j in (other, warm))
            assert want == got
    assert len(said(server, warm)) > 30
    # Other arguments and outputs are the same image's; other variables are not.
    other = run(server, REPORT, "--lr=0.2", "ü x", env=[("MINE", "a b")])
    assert notes(server, other)[0].startswith("Warm start")
    assert any("'--lr=0.2', 'ü x'" in x for x in said(server, other) if x.startswith("argv"))


END = r"""
import os, random, sys, numpy
open("/tmp/mine-" + sys.argv[2], "w").close()
print("before", sorted(x for x in os.listdir("/tmp") if x.startswith("mine")), os.environ.get("ONLY"))
print("random", random.random(), numpy.random.rand(), os.urandom(8).hex())
if sys.argv[1] == "exit": sys.exit(int(sys.argv[2]))
if sys.argv[1] == "text": sys.exit("goes to stderr")
if sys.argv[1] == "raise":
    def f(): raise ValueError("no good")
    f()
if sys.argv[1] == "kill": os.kill(os.getpid(), 9); os.abort()
if sys.argv[1] == "atexit":
    import atexit
    class Late:
        def __del__(self): print("deleted")
    late = Late()
    atexit.register(print, "at exit")
if sys.argv[1] == "memory": x = bytearray(b"x") * (1 << 30)
if sys.argv[1] == "wait":
    import time
    while not os.path.exists("/gcs/go"): time.sleep(0.05)
    print("went on", numpy.arange(4).sum())
"""


def test_ends_are_told_as_of_a_cold_start(server):
    warm_up(server, END, "exit", "0", imports="numpy")
    kinds = [("exit", "7"), ("raise", "1"), ("atexit", "2")]
    if EXTENDED:
        kinds += [("exit", "0"), ("text", "3"), ("kill", "1"), ("memory", "1")]
    jobs = [(server.create(job_of(END, *k, imports="numpy")), server.create(job_of(END, *k, warm=False))) for k in kinds]
    for kind, (w, c) in zip(kinds, jobs):
        w, c = server.wait(w["name"], 120), server.wait(c["name"], 120)
        assert notes(server, w)[0].startswith("Warm start"), (kind, notes(server, w))
        assert w["state"] == c["state"], (kind, w, c)
        numberless = [re.sub(r"\d{4,}", "N", x.get("error", {}).get("message", "")) for x in (w, c)]
        assert numberless[0] == numberless[1], kind
        mine, other = ([x for x in said(server, j) if not x.startswith("random")] for j in (w, c))
        assert mine == other, kind
        assert f"['mine-{kind[1]}']" in mine[0]
    drawn = [x for w, _ in jobs for x in said(server, w) if x.startswith("random")]
    parts = list(zip(*(x.split()[1:] for x in drawn)))
    assert len(drawn) >= len(kinds) - 1 and all(len(set(p)) == len(drawn) for p in parts), "\n".join(drawn)  # its own chance


def test_killed_server_finds_a_warm_trial_running_and_the_image_again(server):
    bucket = server.data_dir + "/buckets"
    job = server.create(job_of(END, "wait", "5", imports="numpy"))
    server.wait_state(job["name"], "JOB_STATE_RUNNING")
    wait_until(lambda: said(server, job), 30, "its first line")
    server.kill9()
    server.start()
    assert server.get(job["name"])["state"] == "JOB_STATE_RUNNING"
    open(bucket + "/go", "w").close()
    assert server.wait(job["name"])["state"] == "JOB_STATE_SUCCEEDED"
    assert said(server, job)[-1] == "went on 6"
    assert notes(server, job)[0].startswith("Warm start")
    os.unlink(bucket + "/go")
    # Cancelled, another one ends as any job does.
    job = server.create(job_of(END, "wait", "6", imports="numpy"))
    wait_until(lambda: said(server, job), 30, "its first line")
    assert server.call("POST", "/v1/" + job["name"] + ":cancel", {}).status_code == 200
    assert server.wait(job["name"])["state"] == "JOB_STATE_CANCELLED"


def test_what_cannot_be_warm_starts_cold_and_says_why(server):
    shell = job_of("")
    shell["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["command"] = ["sh", "-c", "echo from sh"]
    j = server.wait(server.create(shell)["name"])
    assert j["state"] == "JOB_STATE_SUCCEEDED" and "the command is not python3" in notes(server, j)[0]
    j = run(server, "print(1)", imports="not_there_at_all")
    assert j["state"] == "JOB_STATE_SUCCEEDED" and "is being made" in notes(server, j)[0]
    wait_until(lambda: glob.glob(server.data_dir + "/warm/*.why"), 60, "the failure")
    j = run(server, "print(1)", imports="not_there_at_all")
    assert said(server, j) == ["1"]
    assert "importing not_there_at_all failed: ModuleNotFoundError" in notes(server, j)[0]
    j = run(server, "print(1)", imports="a--b")
    assert said(server, j) == ["1"] and "not the name of a module" in notes(server, j)[0]


def test_a_damaged_image_is_a_cold_start(server):
    script = "import sys; print('ran', sys.argv)"
    warm_up(server, script, imports="json")
    image = max(images(server), key=os.path.getmtime) + "/fs/.cusp/warm/image"
    with open(image, "r+b") as f:
        f.truncate(os.path.getsize(image) - 4096)
    j = run(server, script, "x", imports="json")
    assert j["state"] == "JOB_STATE_SUCCEEDED"
    assert said(server, j) == ["cusp: no warm start: the memory image is damaged; starting cold", "ran ['-c', 'x']"]


def test_a_making_that_is_killed_leaves_a_reason_and_nothing_else(server):
    script, imports = "print('cold')", "scipy-sklearn"
    job = server.create(job_of(script, imports=imports))

    def making():
        for pid in runners(server.data_dir + "/run/warm"):
            try:
                for child in open(f"/proc/{pid}/task/{pid}/children").read().split():
                    if open(f"/proc/{child}/comm").read().strip() == "python3":
                        return int(child)
            except OSError:  # gone in between
                pass
        return None
    os.kill(wait_until(making, 60, "the container that makes the image"), signal.SIGKILL)
    assert server.wait(job["name"])["state"] == "JOB_STATE_SUCCEEDED"
    wait_until(lambda: not glob.glob(server.data_dir + "/run/warm/a1/*"), 30, "its directory to go")
    again = run(server, script, imports=imports)
    assert said(server, again) == ["cold"] and "ended with signal 9" in notes(server, again)[0]


def test_a_server_killed_before_it_keeps_an_image_makes_it_again(server):
    script = "print('kept')"
    server.stop()
    server.start(env={"CUSP_FAILPOINTS": "engine.warm.before_keep=abort@1"})
    job = server.create(job_of(script, imports="string"))
    server.proc.wait(60)
    server.start()
    assert server.wait(job["name"])["state"] == "JOB_STATE_SUCCEEDED"
    wait_until(lambda: not glob.glob(server.data_dir + "/run/warm/a1/*"), 30, "the leftovers to go")
    warm_up(server, script, imports="string")
    assert notes(server, run(server, script, imports="string"))[0].startswith("Warm start")
    server.stop()
    server.start()
