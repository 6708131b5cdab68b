"""The cusp command against a running server: what it prints, where, and its exit codes."""
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from command import CUSP, environment, on_terminal
from conftest import needs_root, wait_until

POOL = "--worker-pool-spec=machine-type=n1-standard-4,replica-count=1,container-image-uri=busybox"
OK, USAGE, NOT_FOUND, UNREACHABLE, JOB_FAILED = 0, 2, 3, 4, 5


class Result:
    def __init__(self, p):
        self.rc, self.raw = p.returncode, p.stdout
        self.out, self.err = p.stdout.decode(errors="replace"), p.stderr.decode()

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def cusp(fake):
    """Runs cusp on the fake server; checks the exit code (0 unless told)."""
    env = environment(CUSP_ENDPOINT=fake.url)

    def run(*argv, rc=OK, **kw):
        p = subprocess.run([CUSP, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           env={**env, **kw}, timeout=60)
        r = Result(p)
        assert r.rc == rc, f"cusp {' '.join(argv)}: {r.rc}\n{r.out}\n{r.err}"
        assert "\033" not in r.out + r.err, "escape sequences in a pipe"
        return r

    run.env, run.server = env, fake
    return run


def create(cusp, *flags, **labels):
    text = ",".join(f"cusp-test-{k.replace('_', '-')}={v}" for k, v in labels.items())
    flags = [*flags, *([f"--labels={text}"] if text else [])]
    if not any(f.startswith("--display-name") for f in flags):
        flags.append("--display-name=test")
    if not any(f.startswith(("--worker-pool-spec", "--config")) for f in flags):
        flags.append(POOL)
    return cusp("custom-jobs", "create", *flags).out.strip()


# ---- custom-jobs

def test_create_prints_the_id_and_nothing_else_on_stdout(cusp):
    r = cusp("custom-jobs", "create", "--display-name", "first", POOL, "--args=a,b", "--command=c")
    assert re.fullmatch(r"\d+\n", r.out)
    assert "is submitted" in r.err and f"stream-logs {r.out.strip()}" in r.err
    job = cusp("custom-jobs", "describe", r.out.strip(), "--format=json").json
    assert job["displayName"] == "first"
    pool = job["jobSpec"]["workerPoolSpecs"][0]
    assert pool["containerSpec"] == {"imageUri": "busybox", "command": ["c"], "args": ["a", "b"]}
    quiet = cusp("--quiet", "custom-jobs", "create", "--display-name=q", POOL)
    assert re.fullmatch(r"\d+\n", quiet.out) and not quiet.err


def test_create_from_yaml_and_json_files(cusp, tmp_path):
    spec = {"workerPoolSpecs": {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": 1,
                                "containerSpec": {"imageUri": "busybox"}}, "scheduling": {"timeout": "60s"}}
    (tmp_path / "a.yaml").write_text(
        "workerPoolSpecs:\n  machineSpec:\n    machineType: n1-standard-4\n  replicaCount: 1\n"
        "  containerSpec:\n    imageUri: busybox\nscheduling: {timeout: 60s}\n")
    (tmp_path / "b.json").write_text(json.dumps(spec, indent="\t"))
    (tmp_path / "c.json").write_text(json.dumps({"displayName": "own", "jobSpec": {**spec, "workerPoolSpecs": [spec["workerPoolSpecs"]]}}))
    got = []
    for name in ("a.yaml", "b.json"):
        job = create(cusp, f"--config={tmp_path / name}", "--labels=k=v")
        got.append(cusp("custom-jobs", "describe", job, "--format=json").json)
    assert got[0]["jobSpec"] == got[1]["jobSpec"] and got[0]["labels"] == {"k": "v"}
    assert got[0]["jobSpec"]["scheduling"]["timeout"] == "60s"
    own = cusp("custom-jobs", "create", f"--config={tmp_path / 'c.json'}", "--format=json").json
    assert own["displayName"] == "own"
    (tmp_path / "bad.yaml").write_text("workerPoolSpecs: &a\n- x\n")
    r = cusp("custom-jobs", "create", "--display-name=x", f"--config={tmp_path / 'bad.yaml'}", rc=USAGE)
    assert "bad.yaml: line 1: anchors" in r.err
    cusp("custom-jobs", "create", "--display-name=x", "--config=/nowhere.yaml", rc=NOT_FOUND)


def test_violations_stand_one_a_line(cusp):
    r = cusp("custom-jobs", "create", "--display-name=x", "--worker-pool-spec=machine-type=zz,container-image-uri=i,replica-count=2",
             rc=USAGE)
    assert "\t" not in r.err
    lines = r.err.splitlines()
    assert lines[0] == "cusp: the request is not valid:"
    assert any(re.match(r'  job_spec.worker_pool_specs\[0\].machine_spec.machine_type: .*"zz"', line) for line in lines)
    assert any(line.startswith("  job_spec.worker_pool_specs[0].replica_count: ") for line in lines)


def test_many_violations_are_all_shown(cusp):
    pools = [f"--worker-pool-spec=machine-type=no-such-type-{i},container-image-uri=i" for i in range(4)]
    labels = ",".join(f"BAD{i}=x" for i in range(20))
    r = cusp("custom-jobs", "create", "--display-name=x", *pools, f"--labels={labels}", rc=USAGE)
    assert len(r.err) > 1500
    for i in range(4):
        assert f'"no-such-type-{i}"' in r.err
    for i in range(20):
        assert f'"BAD{i}"' in r.err


def test_list_filters_limits_and_pages(cusp):
    assert "No jobs" in cusp("custom-jobs", "list").err
    assert cusp("custom-jobs", "list", "--format=json").json == []
    ids = [create(cusp, f"--display-name=job {i}", "--labels=parity=" + ("odd" if i % 2 else "even")) for i in range(5)]
    everything = cusp("custom-jobs", "list").out.splitlines()
    assert everything[0].split() == ["JOB", "NAME", "STATE", "CREATED", "RAN"]
    assert [line.split()[0] for line in everything[1:]] == ids[::-1]
    assert len({line.index("job ") for line in everything[1:]}) == 1, "columns do not align"
    assert not any(line.endswith(" ") for line in everything)
    odd = cusp("custom-jobs", "list", "--filter=labels.parity=odd", "--format=json").json
    assert [j["displayName"] for j in odd] == ["job 3", "job 1"]
    assert len(cusp("custom-jobs", "list", "--limit=2", "--format=json").json) == 2
    by_name = cusp("custom-jobs", "list", "--order-by=display_name", "--format=json").json
    assert [j["displayName"] for j in by_name] == [f"job {i}" for i in range(5)]
    assert "No jobs" in cusp("custom-jobs", "list", "--region=europe-west4").err
    cusp("custom-jobs", "list", "--limit=0", rc=USAGE)
    cusp("custom-jobs", "list", "--limit=x", rc=USAGE)
    cusp("custom-jobs", "list", "--filter=((", rc=USAGE)


def test_a_display_name_cannot_move_the_cursor(cusp):
    create(cusp, "--display-name=a\033[2Jb")
    cusp("custom-jobs", "list")  # the fixture looks for escape sequences


def test_wait_tells_the_outcome_by_exit_code(cusp):
    good, bad = create(cusp, run_ms=300), create(cusp, exit=3)
    assert cusp("custom-jobs", "wait", good).out == "SUCCEEDED\n"
    r = cusp("custom-jobs", "wait", bad, rc=JOB_FAILED)
    lines = r.out.splitlines()
    assert lines[0] == "FAILED" and "non-zero status of 3" in lines[1]
    assert all(line.startswith("  ") or not line for line in lines[1:])
    job = cusp("custom-jobs", "wait", bad, "--format=json", rc=JOB_FAILED).json
    assert job["state"] == "JOB_STATE_FAILED"


def test_describe_is_laid_out_evenly(cusp):
    bad = create(cusp, "--display-name=shown", exit=3)
    cusp("custom-jobs", "wait", bad, rc=JOB_FAILED)
    lines = cusp("custom-jobs", "describe", bad).out.splitlines()
    assert not [line for line in lines if line != line.rstrip()]
    for key in ("name", "displayName", "state", "createTime", "startTime", "endTime"):
        assert [line for line in lines if re.match(rf"{key}: +\S", line) and line.index(line.split()[1]) == 14], key
    for key in ("time:", "error:", "jobSpec:"):
        assert key in lines
    top = [line for line in lines if line and not line.startswith(" ")]
    assert all(re.match(r"[a-zA-Z]+:", line) for line in top), top
    full = json.loads(cusp("custom-jobs", "describe", bad, "--format=json").out)["name"]
    assert cusp("custom-jobs", "describe", full).out.splitlines()[0] == f"name:         {full}"


def test_timeline_shows_every_event_once_a_line(cusp):
    bad = create(cusp, exit=3)
    cusp("custom-jobs", "wait", bad, rc=JOB_FAILED)
    lines = cusp("custom-jobs", "timeline", bad).out.splitlines()
    events = cusp("custom-jobs", "timeline", bad, "--format=json").json["events"]
    assert len(lines) == len(events)
    assert re.match(r" *\+0\.000 s  JOB_CREATED", lines[0]) and "JOB_DONE" in lines[-1]
    assert not [line for line in lines if line != line.rstrip()]


def test_stream_logs_follows_live_and_ends_by_itself(cusp):
    job = create(cusp, run_ms=20000)
    p = subprocess.Popen([CUSP, "custom-jobs", "stream-logs", job], env=cusp.env, stdout=subprocess.PIPE, text=True)
    assert "Waiting for job to be provisioned" in p.stdout.readline()
    cusp.server.wait_state(f"projects/demo/locations/us-central1/customJobs/{job}", "JOB_STATE_RUNNING")
    assert p.poll() is None
    cusp("custom-jobs", "cancel", job)
    rest, _ = p.communicate(timeout=30)
    assert p.returncode == OK and rest
    assert cusp("custom-jobs", "wait", job, rc=JOB_FAILED).out.startswith("CANCELLED")
    again = cusp("custom-jobs", "stream-logs", job, "--no-follow").out.splitlines()
    assert all(re.match(r"(INFO   |WARNING|ERROR  )  \d\d:\d\d:\d\d\.\d{3}  \S+ +\S", line) for line in again if line[0] != " ")
    entries = [json.loads(line) for line in cusp("custom-jobs", "stream-logs", job, "--format=json").out.splitlines()]
    assert len(entries) >= 3 and all({"timestamp", "severity", "task", "message"} <= e.keys() for e in entries)


def is_connected(pid):
    """Whether the process has an established TCP connection."""
    fds = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    inodes = {x[8:-1] for x in fds if x.startswith("socket:[")}
    with open("/proc/net/tcp", encoding="ascii") as f:
        return any(row.split()[3] == "01" and row.split()[9] in inodes for row in f.readlines()[1:])


@pytest.mark.parametrize("end", ["kill9", "stop"])
def test_following_outlives_a_restart_of_the_server(cusp, end):
    s = cusp.server
    job = create(cusp, run_ms=3000)
    name = f"projects/demo/locations/us-central1/customJobs/{job}"
    s.wait_state(name, "JOB_STATE_RUNNING")
    p = subprocess.Popen([CUSP, "custom-jobs", "stream-logs", job], env=cusp.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    waiter = subprocess.Popen([CUSP, "custom-jobs", "wait", job], env=cusp.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seen = p.stdout.readline()
    assert seen
    wait_until(lambda: is_connected(waiter.pid), what="the waiter to have reached the server")
    getattr(s, end)()
    assert "waiting for it to come back" in p.stderr.readline()  # and only then is there a server again
    s.listen = s.url.split("//")[1]
    s.start()
    out, err = p.stdout.read(), p.stderr.read()
    assert p.wait(60) == OK and not err
    assert cusp("custom-jobs", "stream-logs", job, "--no-follow").out == seen + out, "a line is lost or there twice"
    out, err = waiter.communicate(timeout=60)
    assert waiter.returncode in (OK, JOB_FAILED) and out.split()[0] in ("SUCCEEDED", "FAILED")


def test_no_follow_of_a_running_job_returns(cusp):
    job = create(cusp, run_ms=20000)
    cusp.server.wait_state(f"projects/demo/locations/us-central1/customJobs/{job}", "JOB_STATE_RUNNING")
    assert "Waiting for job" in cusp("custom-jobs", "stream-logs", job, "--no-follow").out
    cusp("custom-jobs", "cancel", job)


def test_ctrl_c_ends_following_and_not_the_job(cusp):
    job = create(cusp, run_ms=20000)
    p = subprocess.Popen([CUSP, "custom-jobs", "stream-logs", job], env=cusp.env, stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline()
    p.send_signal(signal.SIGINT)
    assert p.wait(10) == -signal.SIGINT
    p.stdout.close()
    name = f"projects/demo/locations/us-central1/customJobs/{job}"
    assert cusp.server.wait_state(name, "JOB_STATE_RUNNING")
    cusp("custom-jobs", "cancel", job)


def test_create_and_stream_logs(cusp):
    flags = ["custom-jobs", "create", "--display-name=x", POOL, "--stream-logs"]
    r = cusp(*flags)
    assert "Waiting for job" in r.out and r.out.endswith("SUCCEEDED\n") and "is submitted" in r.err
    r = cusp(*flags, "--labels=cusp-test-exit=3", rc=JOB_FAILED)
    assert "\nFAILED\n" in r.out
    values = [json.loads(line) for line in cusp(*flags, "--format=json").out.splitlines()]
    assert all("message" in v for v in values[:-1]) and values[-1]["state"] == "JOB_STATE_SUCCEEDED"
    r = cusp(*flags[:-1], "--stream-logs=false")
    assert re.fullmatch(r"\d+\n", r.out)


def test_cancel_and_delete(cusp):
    job = create(cusp, run_ms=20000)
    cusp("custom-jobs", "delete", job, rc=USAGE)  # still running
    assert "Cancellation requested" in cusp("custom-jobs", "cancel", job).err
    cusp("custom-jobs", "wait", job, rc=JOB_FAILED)
    assert "Deleted" in cusp("custom-jobs", "delete", job).err
    cusp("custom-jobs", "describe", job, rc=NOT_FOUND)
    other = create(cusp)
    cusp("custom-jobs", "wait", other)
    assert isinstance(cusp("custom-jobs", "delete", other, "--format=json").json, dict)


def test_an_unknown_word_names_the_one_that_was_meant(cusp):
    for words, wanted in ((["custom-job", "list"], "did you mean custom-jobs (see cusp --help)"),
                          (["jobs"], "did you mean custom-jobs"), (["ai", "custom-jobs", "list"], "is custom-jobs here"),
                          (["custom-jobs", "sream-logs", "1"], "did you mean stream-logs (see cusp custom-jobs --help)"),
                          (["models", "list-versions", "x"], "did you mean list-version "),
                          (["custom-jobs", "create", "--displayname=x"], "did you mean --display-name (see --help)"),
                          (["custom-jobs", "list", "--projct=x"], "did you mean --project "), (["help", "custom-job"], "did you mean custom-jobs"),
                          (["tls", "int"], "did you mean init "),
                          (["custom-jobs", "create", "--display-name=x", "--worker-pool-spec=machinetype=n1-standard-4"],
                           'unknown key "machinetype"; did you mean machine-type (see --help)')):
        r = cusp(*words, rc=USAGE)
        assert wanted in r.err and r.err.count("\n") == 1 and not r.out, r.err
    assert "did you mean" not in cusp("burn", rc=USAGE).err
    assert "did you mean" not in cusp("custom-jobs", "list", "--zzz", rc=USAGE).err


def test_what_is_not_there(cusp):
    for verb in ("describe", "timeline", "stream-logs", "wait", "cancel", "delete"):
        r = cusp("custom-jobs", verb, "12345", rc=NOT_FOUND)
        assert r.err.startswith("cusp: ") and "12345" in r.err and not r.out
    cusp("custom-jobs", "describe", "no such/job?x#y", rc=NOT_FOUND)


# ---- storage

NAMES = ["plain.txt", "with space.txt", "caf\u00e9 \u65e5\u672c.bin", "a:b+c#d?e&f=g%41.txt", "-r", "deep/er/x"]


@pytest.fixture
def bucket(cusp):
    assert "Created gs://bucket-1/" in cusp("storage", "buckets", "create", "gs://bucket-1").err
    return "gs://bucket-1"


def test_buckets(cusp, bucket):
    assert cusp("storage", "ls").out == "gs://bucket-1/\n"
    assert [b["name"] for b in cusp("storage", "ls", "--format=json").json["items"]] == ["bucket-1"]
    cusp("storage", "buckets", "create", bucket, rc=USAGE)
    cusp("storage", "buckets", "create", "gs://UPPER", rc=USAGE)
    cusp("storage", "buckets", "create", bucket + "/x", rc=USAGE)
    cusp("storage", "buckets", "delete", bucket)
    cusp("storage", "buckets", "delete", bucket, rc=NOT_FOUND)
    assert cusp("storage", "ls").out == ""
    made = cusp("storage", "buckets", "create", "gs://bucket-2", "--format=json").json
    assert made["name"] == "bucket-2"


@pytest.mark.parametrize("name", NAMES)
def test_names_survive_both_directions(cusp, bucket, tmp_path, name):
    src, back = tmp_path / "src", tmp_path / "back"
    content = os.urandom(1000).replace(b"\033", b"-")  # the fixture looks for these
    src.write_bytes(content)
    cusp("storage", "cp", str(src), f"{bucket}/dir/{name}")
    assert cusp("storage", "ls", "-r", bucket).out == f"{bucket}/dir/{name}\n"
    assert [o["name"] for o in cusp("storage", "ls", "-r", bucket, "--format=json").json] == [f"dir/{name}"]
    assert cusp("storage", "cat", f"{bucket}/dir/{name}").raw == content
    cusp("storage", "cp", f"{bucket}/dir/{name}", str(back))
    assert back.read_bytes() == content
    cusp("storage", "cp", f"{bucket}/dir/{name}", f"{bucket}/copy/")
    assert cusp("storage", "cat", f"{bucket}/copy/{os.path.basename(name)}").raw == content
    cusp("storage", "rm", f"{bucket}/dir/{name}")
    cusp("storage", "cat", f"{bucket}/dir/{name}", rc=NOT_FOUND)


def test_destinations(cusp, bucket, tmp_path):
    a, b, into = tmp_path / "a", tmp_path / "b", tmp_path / "into"
    a.write_text("A")
    b.write_text("")
    into.mkdir()
    cusp("storage", "cp", str(a), str(b), bucket)
    assert cusp("storage", "ls", bucket).out == f"{bucket}/a\n{bucket}/b\n"
    cusp("storage", "cp", f"{bucket}/a", f"{bucket}/b", str(into))
    assert (into / "a").read_text() == "A" and (into / "b").read_text() == ""
    cusp("storage", "cp", str(a), str(b), f"{bucket}/one", rc=USAGE)
    cusp("storage", "cp", str(a), str(b), rc=USAGE)
    cusp("storage", "cp", str(a), rc=USAGE)
    cusp("storage", "cp", str(tmp_path / "none"), bucket, rc=NOT_FOUND)
    r = cusp("storage", "cp", str(into), bucket, rc=USAGE)
    assert "cp -r" in r.err
    detail = cusp("storage", "ls", "-l", bucket).out.splitlines()
    assert re.match(r" +1  \d{4}-\S+Z  gs://bucket-1/a$", detail[0])


def test_large_files_are_equal(cusp, bucket, tmp_path):
    src, back = tmp_path / "src", tmp_path / "back"
    block, digest = os.urandom(1 << 20), hashlib.sha256()
    with open(src, "wb") as f:
        for i in range(64):
            part = i.to_bytes(4, "big") + block[4:]
            digest.update(part)
            f.write(part)
    cusp("storage", "cp", str(src), f"{bucket}/large")
    cusp("storage", "cp", f"{bucket}/large", str(back))
    with open(back, "rb") as f:
        assert hashlib.file_digest(f, "sha256").digest() == digest.digest()
    assert os.listdir(tmp_path).count("back.cusp-partial") == 0


def test_missing_objects_leave_nothing_behind(cusp, bucket, tmp_path):
    r = cusp("storage", "cp", f"{bucket}/none", str(tmp_path / "out"), rc=NOT_FOUND)
    assert "none" in r.err and not [n for n in os.listdir(tmp_path) if n.startswith("out")]
    cusp("storage", "cat", f"{bucket}/none", rc=NOT_FOUND)
    cusp("storage", "rm", f"{bucket}/none", rc=NOT_FOUND)
    cusp("storage", "rm", "-r", f"{bucket}/none", rc=NOT_FOUND)
    cusp("storage", "ls", f"{bucket}/none", rc=NOT_FOUND)
    cusp("storage", "ls", "gs://no-such-bucket", rc=NOT_FOUND)
    cusp("storage", "cat", "gs://no-such-bucket/x", rc=NOT_FOUND)
    cusp("storage", "cp", f"{bucket}/none", f"{bucket}/other", rc=NOT_FOUND)


def test_a_download_that_cannot_be_written_fails(cusp, bucket, tmp_path):
    (tmp_path / "src").write_bytes(b"x" * 300000)
    cusp("storage", "cp", str(tmp_path / "src"), f"{bucket}/x")
    with open("/dev/full", "wb") as full:
        p = subprocess.run([CUSP, "storage", "cat", f"{bucket}/x"], env=cusp.env, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert p.returncode not in (OK, UNREACHABLE) and b"No space left" in p.stderr


def test_trees_go_both_ways(cusp, bucket, tmp_path):
    tree = tmp_path / "tree"
    (tree / "sub dir").mkdir(parents=True)
    (tree / "a").write_text("1")
    (tree / "sub dir" / "b").write_text("2")
    (tree / "dangling").symlink_to("nowhere")
    r = cusp("storage", "cp", "-r", str(tree), bucket)
    assert "dangling" in r.err
    assert cusp("storage", "ls", "-r", bucket).out == f"{bucket}/tree/a\n{bucket}/tree/sub dir/b\n"
    assert cusp("storage", "ls", f"{bucket}/tree/", "--format=json").json[0] == {"prefix": "tree/sub dir/"}
    cusp("storage", "cp", "-r", f"{bucket}/tree", str(tmp_path / "out"))
    assert (tmp_path / "out/tree/a").read_text() == "1" and (tmp_path / "out/tree/sub dir/b").read_text() == "2"
    cusp("storage", "cp", "-r", f"{bucket}/tree", f"{bucket}/again")
    assert cusp("storage", "cat", f"{bucket}/again/tree/sub dir/b").out == "2"


def test_rm_of_a_folder_spares_its_neighbours(cusp, bucket, tmp_path):
    (tmp_path / "f").write_text("x")
    for name in ("dir/a", "dir/b/c", "dir2/a", "dirt"):
        cusp("storage", "cp", str(tmp_path / "f"), f"{bucket}/{name}")
    cusp("storage", "rm", bucket, rc=USAGE)
    cusp("storage", "rm", "-r", f"{bucket}/dir")
    assert cusp("storage", "ls", "-r", bucket).out == f"{bucket}/dir2/a\n{bucket}/dirt\n"
    cusp("storage", "rm", "-r", bucket)
    assert cusp("storage", "ls", "-r", bucket, "--format=json").json == []


# ---- images, env, serve

@needs_root
def test_images(cusp, busybox_image, tmp_path):
    assert "No images yet" in cusp("images", "ls").err
    r = cusp("images", "import", str(busybox_image), "--name=busybox")
    name, digest, size = re.fullmatch(r"(\S+)  (sha256:[0-9a-f]{64})  (\S+ .iB)\n", r.out).groups()
    assert "busybox" in name
    head, row = cusp("images", "ls").out.splitlines()
    assert head.split() == ["IMAGE", "DIGEST", "LAYERS", "SIZE", "CREATED"]
    assert row.split()[0] == name and digest.startswith(row.split()[1]) and size in row and row.endswith(" ago")
    assert cusp("images", "ls", "--format=json").json["images"][0]["digest"] == digest
    assert cusp("images", "import", str(busybox_image), "--name=two", "--format=json").json["digest"] == digest
    assert cusp("images", "inspect", "two", "--format=json").json["digest"] == digest
    assert digest in cusp("images", "inspect", name).out
    cusp("images", "inspect", "none", rc=NOT_FOUND)
    cusp("images", "rm", "two")
    cusp("images", "rm", "two", rc=NOT_FOUND)
    (tmp_path / "junk.tar").write_bytes(b"junk" * 1000)
    cusp("images", "import", str(tmp_path / "junk.tar"), "--name=junk", rc=USAGE)
    cusp("images", "import", str(tmp_path / "none.tar"), "--name=junk", rc=NOT_FOUND)
    cusp("images", "import", str(tmp_path), "--name=junk", rc=1)  # a folder


def test_env_of_an_unknown_client(cusp):
    r = cusp("env", "cobol", rc=USAGE)
    assert not r.out and "cobol" in r.err


def test_serve_becomes_the_server(tmp_path):
    with open(tmp_path / "log", "wb") as log:
        p = subprocess.Popen([CUSP, "serve", "--data-dir", str(tmp_path / "data"), "--engine=fake", "--listen", "127.0.0.1:0"],
                             stderr=log, stdout=log, stdin=subprocess.DEVNULL)
    try:
        m = wait_until(lambda: re.search(r"ready.*listen=(http://\S+)", (tmp_path / "log").read_text()), 60, "ready")
        assert os.readlink(f"/proc/{p.pid}/exe") == os.path.realpath(CUSP + "d")
        r = subprocess.run([CUSP, "--endpoint", m.group(1) + "/", "custom-jobs", "list", "--format=json"],
                           stdout=subprocess.PIPE, check=True)
        assert json.loads(r.stdout) == []
        p.terminate()
        assert p.wait(30) == 0
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()
    assert b"--data-dir" in subprocess.run([CUSP, "serve", "--help"], stdout=subprocess.PIPE, check=True).stdout


# ---- training-pipelines

def test_training_pipelines_from_create_to_delete(cusp, tmp_path):
    assert "No training pipelines" in cusp("training-pipelines", "list").err
    r = cusp("training-pipelines", "create", "--display-name=trip", POOL, "--args=a,b", "--labels=team=red",
             "--timeout=60", "--base-output-dir=gs://b/out")
    assert "TrainingPipeline [projects/" in r.err and "describe " + r.out.strip() in r.err
    one = r.out.strip()
    assert cusp("training-pipelines", "wait", one).out == "SUCCEEDED\n"
    p = cusp("training-pipelines", "describe", one, "--format=json").json
    assert p["labels"] == {"team": "red"} and p["trainingTaskInputs"]["scheduling"] == {"timeout": "60s"}
    assert p["trainingTaskInputs"]["workerPoolSpecs"][0]["containerSpec"]["args"] == ["a", "b"]
    text = cusp("training-pipelines", "describe", p["name"]).out
    assert text.splitlines()[:3] == [f"name:         {p['name']}", "displayName:  trip", "state:        SUCCEEDED"]
    assert "job:          " + p["trainingTaskMetadata"]["backingCustomJob"] in text
    (tmp_path / "p.json").write_text(json.dumps({k: p[k] for k in ("displayName", "trainingTaskDefinition", "trainingTaskInputs")}
                                                | {"labels": {"cusp-test-exit": "3"}}))
    r = cusp("training-pipelines", "create", f"--request={tmp_path / 'p.json'}", "--stream-logs", rc=JOB_FAILED)
    assert "Waiting for job to be provisioned." in r.out and "FAILED\n  The replica workerpool0-0" in r.out
    rows = cusp("training-pipelines", "list").out.splitlines()
    assert rows[0].split() == ["PIPELINE", "NAME", "STATE", "CREATED", "MODEL"] and len(rows) == 3
    bad = cusp("training-pipelines", "list", "--filter=state=PIPELINE_STATE_FAILED", "--format=json").json
    assert [q["labels"] for q in bad] == [{"cusp-test-exit": "3"}]
    cusp("training-pipelines", "cancel", one)  # changes nothing
    cusp("training-pipelines", "delete", one)
    cusp("training-pipelines", "describe", one, rc=NOT_FOUND)


# ---- the whole command

def test_an_unreachable_server(cusp, tmp_path):
    for argv in (["custom-jobs", "list"], ["storage", "ls"], ["images", "ls"], ["custom-jobs", "stream-logs", "1"],
                 ["storage", "cp", __file__, "gs://b/x"]):
        r = cusp(*argv, rc=UNREACHABLE, CUSP_ENDPOINT="http://127.0.0.1:1")
        assert "cusp serve --data-dir" in r.err and "127.0.0.1:1" in r.err and not r.out
    cusp("custom-jobs", "list", "--endpoint=127.0.0.1:1", rc=UNREACHABLE)


@pytest.mark.parametrize("argv", [
    [], ["nope"], ["custom-jobs"], ["custom-jobs", "nope"], ["custom-jobs", "list", "--nope"], ["custom-jobs", "list", "x"],
    ["custom-jobs", "create"], ["custom-jobs", "create", "--display-name=x"], ["custom-jobs", "create", "x"],
    ["custom-jobs", "describe"], ["custom-jobs", "describe", "1", "2"], ["custom-jobs", "stream-logs"],
    ["custom-jobs", "create", "--display-name"], ["training-pipelines"], ["training-pipelines", "nope"],
    ["training-pipelines", "create"], ["training-pipelines", "list", "x"], ["training-pipelines", "describe"],
    ["training-pipelines", "create", "--display-name=x", POOL, "--fraction-split=1"],
    ["training-pipelines", "create", "--display-name=x", POOL, "--dataset=1", "--fraction-split=some"],
    ["training-pipelines", "stream-logs"], ["storage"], ["storage", "nope"], ["storage", "cp"], ["storage", "cat"],
    ["storage", "rm"], ["storage", "cat", "file"], ["storage", "ls", "s3://x"], ["storage", "buckets"], ["images"],
    ["images", "nope"], ["images", "import"], ["images", "ls", "x"], ["images", "rm"], ["--format=xml", "images", "ls"],
    ["images", "ls", "--endpoint"], ["env", "python", "go"], ["env", "--shell", "--json"]])
def test_wrong_usage(cusp, argv):
    r = cusp(*argv, rc=USAGE)
    assert r.err and not r.out


COMMANDS = ["", "custom-jobs", "custom-jobs create", "custom-jobs list", "custom-jobs describe", "custom-jobs timeline",
            "custom-jobs stream-logs", "custom-jobs wait", "custom-jobs cancel", "custom-jobs delete", "training-pipelines", "training-pipelines create", "training-pipelines list",
            "training-pipelines describe", "training-pipelines wait", "training-pipelines cancel", "training-pipelines delete",
            "training-pipelines stream-logs", "storage", "storage cp", "storage rsync", "storage sign-url", "storage du",
            "storage ls", "storage cat", "storage rm", "storage buckets", "images", "images ls", "images build", "images pull", "images push",
            "images import", "images inspect", "images rm", "tls", "tls init", "tls show", "conformance", "env", "version"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_needs_no_server(cusp, command):
    words = command.split()
    text = cusp(*words, "--help", CUSP_ENDPOINT="http://127.0.0.1:1").out
    assert text.startswith(("cusp " + command).strip()) and max(map(len, text.splitlines())) <= 110
    assert cusp(*words, "-h").out == text
    assert cusp("help", *words).out == text
    if len(words) == 2:
        assert f"\n  {words[1]} " in cusp(words[0], "--help").out, "not on its group's page"


def test_version(cusp):
    assert re.fullmatch(r"cusp \d+\.\d+\.\d+\n", cusp("version").out)
    assert cusp("--version").out == cusp("version").out
    assert cusp("version", "--format=json").json["version"] in cusp("version").out


def test_colours_only_on_a_terminal_and_never_with_no_color(cusp):
    job = create(cusp)
    cusp("custom-jobs", "wait", job)
    argv = ["custom-jobs", "describe", job]
    assert b"\033[32mSUCCEEDED\033[0m" in on_terminal(argv, cusp.env, everything=True)
    assert b"\033" not in on_terminal(argv, {**cusp.env, "NO_COLOR": "1"}, everything=True)
    assert b"\033" not in on_terminal([*argv, "--format=json"], cusp.env, everything=True)


def test_global_flags_stand_anywhere_and_the_last_counts(cusp):
    job = create(cusp, "--region=europe-west4", "--project", "other")
    where = ["--project=demo", "--project=other"]
    r = cusp("--region", "europe-west4", *where, "custom-jobs", "describe", job, "--format", "json")
    assert "/locations/europe-west4/" in r.json["name"]
    cusp("custom-jobs", "describe", job, rc=NOT_FOUND)
    env = {"CUSP_PROJECT": "other", "CUSP_REGION": "europe-west4"}
    assert cusp("custom-jobs", "describe", job, "--format=json", **env).json["name"] == r.json["name"]


def test_a_lone_copy_of_the_program_says_what_is_missing(tmp_path):
    shutil.copy(CUSP, tmp_path / "cusp")
    p = subprocess.run([tmp_path / "cusp", "serve"], stderr=subprocess.PIPE, text=True)
    assert p.returncode == NOT_FOUND and str(tmp_path / "cuspd") in p.stderr


# ---- cuspd's own flags

def cuspd(*flags):
    return subprocess.run([CUSP + "d", *flags], capture_output=True, text=True, timeout=60)


def test_the_servers_help_has_every_key_of_its_configuration():
    text, keys = cuspd("--help").stdout, cuspd("--check-config").stdout.split("[limits]")[0]
    names = re.findall(r"^(\w+) =", keys, re.M)
    assert len(names) > 20
    for name in names:
        assert re.search(rf"^  --{name.replace('_', '-')} ", text, re.M), name
    assert max(map(len, text.splitlines())) <= 90


def test_the_servers_flags_and_file(tmp_path):
    conf = tmp_path / "cusp.conf"
    conf.write_text("[server]\nlisten = 127.0.0.1:1\n[jobs]\nhold = true\n")
    for flags in (["--config", str(conf)], [f"--config={conf}"]):
        got = cuspd("--listen=127.0.0.1:2", *flags, "--check-config").stdout
        assert "listen = 127.0.0.1:2\n" in got and "hold = true\n" in got, got
    for flag, words in (("--data-dri=x", "did you mean --data-dir"), ("--conf=x", "did you mean --config"), ("--config", "needs a value"),
                        ("--zzzzz", "unknown option --zzzzz (see --help)")):
        p = cuspd(flag)
        assert p.returncode == 2 and words in p.stderr and p.stderr.count("\n") == 1, p.stderr


def test_an_address_that_is_taken_and_an_authority_that_is_not_known(make_server, tmp_path):
    s = make_server("--engine=fake").start()
    p = cuspd("--data-dir", str(tmp_path / "other"), "--engine=fake", "--listen", s.url.split("//")[1])
    assert p.returncode == 1 and "Address already in use. Is a server there already? --listen names another" in p.stderr
    assert subprocess.run([CUSP, "tls", "init", "--data-dir", s.data_dir], capture_output=True).returncode == 0
    s.stop()
    s.start()
    env = {k: v for k, v in os.environ.items() if k != "CUSP_CA"}
    argv = [CUSP, "custom-jobs", "list", "--endpoint", s.url.replace("http:", "https:")]
    p = subprocess.run(argv, capture_output=True, text=True, env=env)
    assert p.returncode == UNREACHABLE and "in CUSP_CA: DATA_DIR/tls/ca.pem" in p.stderr, p.stderr
    p = subprocess.run(argv, capture_output=True, text=True, env={**env, "CUSP_CA": os.path.join(s.data_dir, "tls/ca.pem")})
    assert p.returncode == OK, p.stderr
