"""Nothing is lost: kill -9 of the server, the runner and the container at chosen and random moments.

After every kill: acknowledged jobs exist, a running container was never touched, its log has no gap and
no repeat, there is exactly one outcome, and no container, mount or cgroup is left behind.
"""
import os
import random
import signal
import subprocess
import time

import pytest

from conftest import PARENT, cgroups_of, container_job, fake_job, import_busybox, needs_root, runners, wait_until

COUNT = 40
STEADY = ("sh", "-c", f"for i in $(seq {COUNT}); do echo n-$i; sleep 0.05; done")
# Every fail point of the server between create and the end of a job that a kill can hit.
POINTS = ["store.commit.before_begin", "store.commit.before_commit", "store.commit.after_commit",
          "engine.stage.before_rundir", "engine.launch.before_spawn", "engine.launch.after_spawn",
          "engine.exit.before_report", "engine.release.before_remove"]


def check_end(s, name, state="JOB_STATE_SUCCEEDED", lines=None):
    job = s.wait(name, 90)
    assert job["state"] == state, job
    if lines is not None:
        got = [x["message"] for x in s.logs(name, task="workerpool0-0")]
        assert got == lines, got
    done = [e for e in s.events(name)["events"] if e["type"] == "EV_JOB_DONE" or e["type"].endswith("JOB_DONE")]
    assert len(done) == 1, s.events(name)
    job_id = name.split("/")[-1]
    wait_until(lambda: not runners(s.data_dir), 30, "runners to go")
    wait_until(lambda: not cgroups_of(job_id), 30, "cgroups to go")
    assert s.data_dir not in open("/proc/mounts").read()
    return job


def container_pid(s, name):
    """Pid of the container's init, from the runner's status file."""
    job_id = name.split("/")[-1]
    path = os.path.join(s.data_dir, "run", job_id, "a1", "workerpool0-0", "status")

    def pid():
        try:
            kv = dict(line.split("=", 1) for line in open(path).read().splitlines() if "=" in line)
            return int(kv["pid"]) if kv.get("phase") == "running" else None
        except (OSError, KeyError):
            return None
    return wait_until(pid, 30, "the container to run")


def is_alive(pid):
    """Runs still: a zombie that its new parent has not collected yet is dead."""
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@needs_root
def test_killed_while_running_the_container_is_not_touched(local):
    s = local()
    name = s.create(container_job(*STEADY))["name"]
    pid = container_pid(s, name)
    s.wait_state(name, "JOB_STATE_RUNNING")
    s.kill9()
    started = os.stat(f"/proc/{pid}").st_mtime
    s.start()
    assert os.stat(f"/proc/{pid}").st_mtime == started
    assert s.get(name)["state"] == "JOB_STATE_RUNNING"
    check_end(s, name, lines=[f"n-{i}" for i in range(1, COUNT + 1)])
    s.stop()


@needs_root
def test_container_ends_while_the_server_is_down(local):
    s = local()
    name = s.create(container_job("sh", "-c", "echo a; sleep 0.5; echo b; exit 4"))["name"]
    s.wait_state(name, "JOB_STATE_RUNNING")
    s.kill9()
    wait_until(lambda: not runners(s.data_dir), 20, "the container to end")
    s.start()
    job = check_end(s, name, "JOB_STATE_FAILED", lines=["a", "b"])
    assert "non-zero status of 4" in job["error"]["message"]
    s.stop()


@needs_root
def test_killed_at_random_moments_of_a_jobs_life(local):
    s = local()
    rng = random.Random(20261121)
    for _ in range(5 if os.environ.get("CUSP_TEST_MODE") != "full" else 40):
        name = s.create(container_job("sh", "-c", "for i in $(seq 10); do echo n-$i; sleep 0.03; done"))["name"]
        for _ in range(2):
            time.sleep(rng.random() * 0.6)
            s.kill9()
            s.start()
        check_end(s, name, lines=[f"n-{i}" for i in range(1, 11)])
    s.stop()


@needs_root
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("hit", [1, 3])
def test_killed_at_fail_point(local, point, hit):
    s = local()
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": f"{point}=abort@{hit}"})
    name = None
    try:
        name = s.create(container_job("echo", "once"))["name"]
    except Exception:  # killed before the answer: the job may or may not exist
        pass
    try:
        if name:
            s.wait(name, 15)
    except (Exception, AssertionError):
        pass
    s.kill9()
    s.start()
    jobs = s.call("GET", f"/v1/{PARENT}/customJobs").json().get("customJobs", [])
    assert name is None or [j["name"] for j in jobs] == [name]
    for j in jobs:
        check_end(s, j["name"], lines=["once"])
    s.stop()


@needs_root
def test_runner_killed_is_lost_not_success_and_nothing_stays(local):
    s = local()
    body = container_job("sleep", "1000", scheduling={"disableRetries": True})
    name = s.create(body)["name"]
    pid = container_pid(s, name)
    s.wait_state(name, "JOB_STATE_RUNNING")
    for p in runners(s.data_dir):
        os.kill(p, signal.SIGKILL)
    job = check_end(s, name, "JOB_STATE_FAILED")
    assert not is_alive(pid)
    assert job["error"]["message"]
    s.stop()


@needs_root
def test_everything_killed_at_once_as_by_a_power_cut(local):
    """Server, runners and containers are gone, and so is what the kernel kept: the job is begun again and ends once; one that
    had ended is not touched."""
    s = local()
    before = s.create(container_job("echo", "before"))["name"]
    s.wait(before)
    at = s.get(before)["updateTime"]
    name = s.create(container_job("sh", "-c", "echo begun; sleep 2; echo ended"))["name"]
    queued = s.create(container_job("echo", "queued"))["name"]
    pid = container_pid(s, name)
    s.wait_state(name, "JOB_STATE_RUNNING")
    s.kill9()
    for p in [*runners(s.data_dir), pid]:
        if is_alive(p):
            os.kill(p, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), 20, "the container to be gone")
    s.start()
    check_end(s, name)
    assert [x["message"] for x in s.logs(name, task="workerpool0-0")] in (["begun", "begun", "ended"], ["begun", "ended"])
    kinds = [e["type"] for e in s.events(name)["events"]]
    assert sum(k.endswith("RETRY") for k in kinds) == 1, kinds
    check_end(s, queued, lines=["queued"])
    assert s.get(before)["updateTime"] == at
    s.stop()


@needs_root
def test_a_server_on_a_copy_leaves_what_runs_for_the_original_alone(local, make_server, tmp_path):
    """The copy of a living data directory names processes and cgroups that are the original's."""
    s = local("--network=none")
    name = s.create(container_job("sh", "-c", "for i in 1 2 3 4; do echo n-$i; sleep 1; done"))["name"]
    pid = container_pid(s, name)
    s.wait_state(name, "JOB_STATE_RUNNING")
    subprocess.run(["cp", "-a", s.data_dir, str(tmp_path / "copy")], check=True)
    other = make_server("--engine=local", "--network=none", name="copy")
    other.log_path = str(tmp_path / "copy.log")
    other.start()
    assert "this data directory is a copy" in other.log()
    assert is_alive(pid) and s.get(name)["state"] == "JOB_STATE_RUNNING"
    check_end(s, name, lines=[f"n-{i}" for i in range(1, 5)])
    assert len([e for e in s.events(name)["events"] if e["type"].endswith("RETRY")]) == 0
    assert other.wait(name, 60)["state"] == "JOB_STATE_SUCCEEDED"  # which begins it again
    other.stop()
    s.stop()


@needs_root
def test_container_killed_from_outside(local):
    s = local()
    name = s.create(container_job("sleep", "1000"))["name"]
    os.kill(container_pid(s, name), signal.SIGKILL)
    job = check_end(s, name, "JOB_STATE_FAILED")
    assert "137" in job["error"]["message"] or "SIGKILL" in job["error"]["message"] or "signal 9" in job["error"]["message"]
    s.stop()


@needs_root
def test_a_runner_whose_data_directory_was_thrown_away_goes_away(local):
    import shutil
    s = local()
    name = s.create(container_job("sleep", "1"))["name"]
    s.wait_state(name, "JOB_STATE_RUNNING")
    s.kill9()
    shutil.rmtree(s.data_dir, ignore_errors=True)
    wait_until(lambda: not runners(s.data_dir), 20, "the runner to end")
    wait_until(lambda: not cgroups_of(name.split("/")[-1]), 20, "cgroups to go")


def test_acknowledged_creates_survive_kills(make_server):
    """Creates in a loop from several connections, kill -9 in the middle: every answered job is there."""
    import threading
    s = make_server("--engine=fake", "--hold").start()
    acked, lock = [], threading.Lock()

    def hammer():
        import requests
        h = requests.Session()
        while True:
            try:
                r = h.post(f"{s.url}/v1/{PARENT}/customJobs", json=fake_job(), timeout=10)
                with lock:
                    acked.append(r.json()["name"])
            except Exception:
                return

    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for t in threads:
        t.start()
    wait_until(lambda: len(acked) > 50, 60, "some creates")
    s.kill9()
    for t in threads:
        t.join(30)
    s.start()
    names, token = set(), ""
    while True:
        page = s.call("GET", f"/v1/{PARENT}/customJobs?pageSize=1000&pageToken={token}").json()
        names |= {j["name"] for j in page.get("customJobs", [])}
        token = page.get("nextPageToken")
        if not token:
            break
    assert set(acked) <= names and len(names) <= len(acked) + 8
    s.stop()


def test_a_log_whose_end_was_lost_in_a_crash_still_ends(make_server):
    """Killed between the commit of the outcome and the last service line."""
    s = make_server("--engine=fake").start()
    name = s.create(fake_job())["name"]
    s.wait(name)
    lines = s.logs(name, follow=True)
    s.kill9()
    path = os.path.join(s.data_dir, "logs", name.split("/")[-1], "service", "out.000000.seg")
    os.truncate(path, os.path.getsize(path) - 32 - 10)  # the end mark, and a part of the last line
    s.start()
    assert s.logs(name, follow=True) == lines[:-1]
    s.stop()


def test_sigterm_finishes_replies_and_exits_zero(make_server):
    s = make_server("--engine=fake").start()
    name = s.create(fake_job(run_ms=60000))["name"]
    s.stop()
    s.start()
    assert s.get(name)["name"] == name
    s.stop()


def test_second_server_on_the_same_directory_is_refused(make_server, tmp_path):
    s = make_server("--engine=fake").start()
    other = make_server("--engine=fake")
    other.log_path = str(tmp_path / "other.log")
    other.start(expect_ready=False)
    assert other.proc.wait(10) == 1 and "in use" in other.log()
    s.stop()


@pytest.fixture
def small_disk(tmp_path):
    """A real small file system that can be filled."""
    if os.geteuid() != 0:
        pytest.skip("NEEDS ROOT: a small file system cannot be mounted")
    at = tmp_path / "disk"
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(at)], check=True)
    yield at
    subprocess.run(["umount", "-l", str(at)], check=True)


def fill(path):
    with open(path, "wb") as f:
        try:
            while True:
                f.write(b"\0" * 65536)
                f.flush()
        except OSError:
            pass


def test_full_disk_refuses_writes_serves_reads_and_recovers(make_server, small_disk):
    s = make_server("--engine=fake", name="unused")
    s.data_dir = str(small_disk / "data")
    s.start()
    name = s.create(fake_job())["name"]
    s.wait(name)
    assert s.call("POST", "/storage/v1/b?project=demo", {"name": "bkt"}).status_code == 200
    fill(small_disk / "ballast")
    refused = None
    for _ in range(200):  # the database may have a little room of its own
        r = s.call("POST", f"/v1/{PARENT}/customJobs", fake_job())
        if r.status_code != 200:
            refused = r
            break
    assert refused is not None and refused.status_code == 429, refused
    assert "disk" in refused.json()["error"]["message"].lower() or "space" in refused.json()["error"]["message"].lower()
    up = s.call("POST", "/upload/storage/v1/b/bkt/o?uploadType=media&name=big", b"x" * 4_000_000)
    assert up.status_code >= 400
    assert s.get(name)["state"] == "JOB_STATE_SUCCEEDED"
    assert s.call("GET", f"/v1/{PARENT}/customJobs").status_code == 200
    os.remove(small_disk / "ballast")
    again = wait_until(lambda: (lambda r: r if r.status_code == 200 else None)(
        s.call("POST", f"/v1/{PARENT}/customJobs", fake_job())), 30, "room again")
    assert s.wait(again.json()["name"])["state"] == "JOB_STATE_SUCCEEDED"
    assert s.call("POST", "/upload/storage/v1/b/bkt/o?uploadType=media&name=big", b"x" * 4_000_000).status_code == 200
    s.stop()
