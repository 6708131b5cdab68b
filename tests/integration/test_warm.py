"""Warm starts of Python tasks (docs/internals/warm-workers.md): the same as a cold one in every respect but time."""
import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import time

import pytest

from conftest import Server, cgroups_of, needs_root, reap_containers, runners, wait_until
import tunings

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
print("threads", threading.main_thread().native_id == os.getpid(), [t.name for t in threading.enumerate()])
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


def serve(data_dir, *flags, mem_mb=512):
    s = Server(data_dir, "--engine=local", "--stop-grace-s=1", f"--mem-mb={mem_mb}", *flags).start()
    try:
        with open(BUILT[-1]) as f:
            r = s.http.post(s.url + "/cusp/v1/images:importPath", data=f.read(), timeout=600)  # half a gigabyte to unpack
        assert r.status_code == 200, r.text
    except BaseException:  # nobody else knows of it yet
        s.stop()
        reap_containers(s.data_dir)
        raise
    return s


@contextlib.contextmanager
def restarted(s, *flags):
    """The same data with other flags: unpacking the image once more takes longer than any test here."""
    before = s.flags
    s.stop()
    s.flags = [f for f in before if f.split("=")[0] not in {x.split("=")[0] for x in flags}] + list(flags)
    try:
        s.start()
        yield s
    finally:
        if s.proc.poll() is None:
            s.stop()
        s.flags = before
        s.start()


@pytest.fixture(scope="module", params=["auto", "runc"] if EXTENDED else ["auto"])
def server(tmp_path_factory, request):
    s = serve(tmp_path_factory.mktemp("warm") / "data", "--runtime=" + request.param)
    yield s
    if s.proc.poll() is None:
        s.stop()
    reap_containers(s.data_dir)


def said(s, job, task="workerpool0-0", **which):
    return [x["message"] for x in s.logs(job["name"])
            if x["task"] == task and all({"stream": "stdout", **x}.get(k) == v for k, v in which.items())]


def notes(s, job):
    return [x for x in said(s, job, "service") if "start of Python" in x]


def run(s, *args, **kw):
    return s.wait(s.create(job_of(*args, **kw))["name"], 120)


def counted(s, name, **labels):
    """A counter of /metrics."""
    want = name + ("{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else "")
    return int(next(x for x in s.call("GET", "/metrics").text.splitlines() if x.startswith(want + " ")).split()[1])


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
            want, got = (said(server, j, stream=stream) for j in (other, warm))
            assert want == got and want, stream
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
    import colorsys  # a module of the run's own: what it holds dies while it is still whole
    class Held:
        def __del__(self): print("held", colorsys.ONE_THIRD > 0, numpy.pi > 3)
    colorsys.held = Held()
    late.me = late
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


BESIDE = r"""
import json, os, sys, time, sklearn
name = sys.argv[1]
assert not hasattr(sklearn, "mine") and not os.path.exists("/tmp/mine")
sklearn.mine = name
open("/tmp/mine", "w").write(name)
print("here", name, os.environ["ONLY_" + name], os.getpid(), flush=True)
while not os.path.exists("/gcs/beside"): time.sleep(0.05)
print("still", sklearn.mine, open("/tmp/mine").read(), sorted(k for k in os.environ if k.startswith("ONLY_")))
print("here", name, file=sys.stderr)
sys.exit(len(name))
"""


@pytest.fixture
def large(server):
    with restarted(server, "--cpu-milli=64000", "--mem-mb=131072"):
        yield server


def test_trials_beside_each_other_do_not_know_of_each_other(large):
    """Memory, files, arguments, environment, output, end and control group of their own."""
    server = large
    names = ["a", "bb", "ccc", "dddd"] if EXTENDED else ["a", "bb"]
    env = [(f"ONLY_{n}", n * 2) for n in names]
    open(server.data_dir + "/buckets/beside", "w").close()
    warm_up(server, BESIDE, names[0], env=env)
    os.unlink(server.data_dir + "/buckets/beside")
    jobs = {n: server.create(job_of(BESIDE, n, env=env, machine=m)) for n, m in
            zip(names, ["n1-standard-4", "n1-standard-8", "n1-standard-4", "n1-standard-8"])}
    limits = {}
    for n, job in jobs.items():
        wait_until(lambda: said(server, job), 60, "its first line")
        groups = [g for g in cgroups_of(job["name"].rsplit("/", 1)[1]) if "memory" in g or os.path.exists(g + "/memory.max")]
        assert groups, "it has no control group"
        for g in groups:
            for f in ("memory.limit_in_bytes", "memory.max"):
                if os.path.exists(f"{g}/{f}") and (v := open(f"{g}/{f}").read().strip()).isdigit():
                    limits[n] = min(int(v), limits.get(n, 1 << 62))
    assert limits["bb"] > limits["a"] and set(limits) == set(names)
    open(server.data_dir + "/buckets/beside", "w").close()
    for n, job in jobs.items():
        done = server.wait(job["name"], 120)
        assert notes(server, done)[0].startswith("Warm start") and f"status of {len(n)}" in done["error"]["message"], done
        out = said(server, done, stream="stdout")
        assert out[0].startswith(f"here {n} {n * 2} ") and out[1].startswith(f"still {n} {n} "), out
        assert said(server, done, stream="stderr") == [f"here {n}"]


TRIAL = r"""
import json, os, resource, sys, numpy
n = int(sys.argv[1].split("=")[1])
with open(os.environ["CLOUD_ML_HP_METRIC_FILE"], "a") as f:
    f.write(json.dumps({"loss": str(n / 10), "global_step": "1", "timestamp": 1.0, "trial": os.environ["CLOUD_ML_TRIAL_ID"]}) + "\n")
out = os.environ["AIP_MODEL_DIR"].replace("gs://", "/gcs/")
os.makedirs(out, exist_ok=True)
seen = {"argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ), "numbers": numpy.random.RandomState(n).rand(9).tolist(),
        "ids": [os.getuid(), os.getgid(), os.getgroups()], "files": sorted(os.listdir("/")), "mask": os.umask(0o27),
        "limits": {k: resource.getrlimit(getattr(resource, k)) for k in dir(resource) if k.startswith("RLIMIT_")},
        "group": [x.split(":")[1] for x in open("/proc/self/cgroup")]}
with open(out + "seen.json", "w") as f:
    json.dump(seen, f, indent=1, sort_keys=True)
numpy.save(out + "weights.npy", numpy.arange(n * 1000.0))
print("trial", os.environ["CLOUD_ML_TRIAL_ID"], sys.argv[1:])
print("warned", file=sys.stderr)
if n == 2:
    sys.exit(3)
"""


def test_the_label_of_a_tuning_job_makes_its_trials_warm_and_nothing_else_differs(server):
    """Asked for on the tuning job alone: the same files, arguments, environment, directory, limits, output and ends as cold ones."""
    spec = job_of(TRIAL)["jobSpec"]
    grid = {"metrics": [{"metricId": "loss", "goal": "MINIMIZE"}], "algorithm": "GRID_SEARCH",
            "parameters": [{"parameterId": "n", "integerValueSpec": {"minValue": 1, "maxValue": 3}}]}

    def tune(out, labels):
        body = tunings.tuning(3, 1, trialJobSpec={**spec, "baseOutputDirectory": {"outputUriPrefix": f"gs://{out}/tune"}},
                              studySpec=grid, maxFailedTrialCount=3)
        body["labels"] = labels
        os.makedirs(f"{server.data_dir}/buckets/{out}", exist_ok=True)
        done = tunings.wait(server, tunings.create(server, body)["name"], 180)
        assert done["state"] == "JOB_STATE_SUCCEEDED" and len(done["trials"]) == 3, done
        told = []
        for t in done["trials"]:
            child = server.get(t["customJob"].split("/v1/")[-1])
            names = (child["name"].rsplit("/", 1)[1], done["name"].rsplit("/", 1)[1], out)

            def plain(text):
                for n in names:
                    text = text.replace(n, "N")
                return re.sub(r"\b[0-9a-f]{10,12}\b", "H", text)  # what the container is called
            at = f"{server.data_dir}/buckets/{out}/tune/{t['id']}/model/"
            files = {}
            for f in sorted(os.listdir(at)):
                with open(at + f, "rb") as data:
                    files[f] = plain(data.read().decode("latin-1"))
            told.append(({k: plain(json.dumps(t.get(k))) for k in ("state", "parameters", "infeasibleReason")},
                         [m["metrics"] for m in t.get("measurements", [])], files,
                         [plain(x) for x in said(server, child, stream="stdout")], said(server, child, stream="stderr"),
                         plain(json.dumps(child.get("error")))))
        return told, [notes(server, server.get(t["customJob"].split("/v1/")[-1])) for t in done["trials"]]

    asked = {"cusp-warm-python": "true", "cusp-warm-imports": "numpy"}
    n = len(images(server))
    cold, lines = tune("cold", {})
    assert lines == [[], [], []]
    tune("first", asked)
    made(server, n + 1)
    warm, lines = tune("warm", asked)
    assert all(x[0].startswith("Warm start of Python: numpy imported already") and len(x) == 1 for x in lines), lines
    assert [sorted(x[2]) for x in cold] == [["seen.json", "weights.npy"]] * 3
    assert "exit status of 3" in cold[1][5] or "status of 3" in cold[1][5], cold[1]
    for c, w in zip(cold, warm):
        assert c == w


def with_user(layout, to, user):
    """A copy of an OCI layout whose image is run by another user; the layers are the same files."""
    shutil.copytree(layout, to, copy_function=os.link)
    blobs = f"{to}/blobs/sha256/"

    def changed(descriptor, edit):
        with open(blobs + descriptor["digest"][7:], "rb") as f:
            document = json.load(f)
        edit(document)
        data = json.dumps(document).encode()
        descriptor.update(digest="sha256:" + hashlib.sha256(data).hexdigest(), size=len(data))
        with open(blobs + descriptor["digest"][7:], "wb") as f:
            f.write(data)
    with open(f"{to}/index.json") as f:
        index = json.load(f)
    changed(index["manifests"][0], lambda m: changed(m["config"], lambda c: c.setdefault("config", {}).update(User=user)))
    os.unlink(f"{to}/index.json")  # a link to the original
    with open(f"{to}/index.json", "w") as f:
        json.dump(index, f)
    return str(to)


def test_a_user_that_is_not_root(server, tmp_path):
    with open(BUILT[-1]) as f:
        layout = json.load(f)["path"]
    try:
        body = {"path": with_user(layout, tmp_path / "layout", "1234:567"), "name": "plain-user"}
    except OSError as e:
        pytest.skip(f"NOT TESTED: no hard links between {layout} and {tmp_path}: {e}")
    r = server.http.post(server.url + "/cusp/v1/images:importPath", json=body, timeout=600)
    assert r.status_code == 200, r.text

    def job(**kw):
        j = job_of("import os, numpy; print(os.getuid(), os.getgid(), os.getgroups(), os.access('/etc/shadow', os.R_OK), numpy.arange(3).sum())",
                   imports="numpy", **kw)
        j["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["imageUri"] = "plain-user"
        return server.wait(server.create(j)["name"], 120)
    n = len(images(server))
    cold = job(warm=False)
    assert said(server, cold)[0].startswith("1234 567 ") and said(server, cold)[0].endswith(" False 3"), said(server, cold)
    job()
    made(server, n + 1)
    warm = job()
    assert notes(server, warm)[0].startswith("Warm start"), notes(server, warm)
    assert said(server, warm) == said(server, cold)


def test_the_longest_unused_image_goes(server, tmp_path):
    config = tmp_path / "c.conf"
    config.write_text("[limits]\nwarm_max_images = 2\n")
    for image in images(server):  # used a moment ago, by other tests
        shutil.rmtree(image)
    with restarted(server, "--config", str(config)) as s:
        keys = {}
        for i, module in enumerate(["string", "shlex", "textwrap"]):
            warm_up_n = set(images(s))
            run(s, "print(1)", imports=module)
            wait_until(lambda: set(images(s)) - warm_up_n, 90, "the memory image")
            keys[module] = (set(images(s)) - warm_up_n).pop()
            # What was used lately stays; these were not.
            os.utime(keys[module] + "/used", (time.time() - 3000 + i,) * 2)
        wait_until(lambda: not os.path.exists(keys["string"]), 30, "the first image to go")
        assert os.path.exists(keys["shlex"]) and os.path.exists(keys["textwrap"])
        assert counted(s, "cusp_warm_images") == 2 and counted(s, "cusp_warm_makings_total", result="made") == 3
        assert notes(s, run(s, "print(1)", imports="shlex"))[0].startswith("Warm start")
        assert "is being made" in notes(s, run(s, "print(1)", imports="string"))[0]


def test_what_cannot_be_warm_starts_cold_and_says_why(server):
    before = {why: counted(server, "cusp_warm_fallbacks_total", why=why) for why in ("command", "no_image", "failed", "modules")}
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
    for why, n in before.items():
        assert counted(server, "cusp_warm_fallbacks_total", why=why) == n + 1, why


def test_a_damaged_image_is_a_cold_start(server):
    script = "import sys; print('ran', sys.argv)"
    warm_up(server, script, imports="json")
    before = counted(server, "cusp_warm_starts_total"), counted(server, "cusp_warm_fallbacks_total", why="thaw")
    image = max(images(server), key=os.path.getmtime) + "/fs/.cusp/warm/image"
    with open(image, "r+b") as f:
        f.truncate(os.path.getsize(image) - 4096)
    j = run(server, script, "x", imports="json")
    assert j["state"] == "JOB_STATE_SUCCEEDED"
    assert said(server, j, stream="stderr") == ["cusp: no warm start: the memory image is damaged; starting cold"]
    assert said(server, j, stream="stdout") == ["ran ['-c', 'x']"]
    # The server learns of it from the container: it is explained, and counted as what it was.
    assert notes(server, j)[-1] == "Cold start of Python after all (workerpool0-0): the memory image is damaged."
    assert (counted(server, "cusp_warm_starts_total"), counted(server, "cusp_warm_fallbacks_total", why="thaw")) == (before[0], before[1] + 1)


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
