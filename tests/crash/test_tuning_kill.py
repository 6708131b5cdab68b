"""kill -9 in the middle of tuning jobs: no measurement is lost, no trial is tried twice, and the answer is the one that an
undisturbed server finds."""
import shutil

import pytest
import requests

from conftest import PARENT, TERMINAL, wait_until
from tunings import create, final, tuning, values, wait

TRIALS = 12


def story(s, job):
    """What counts of a tuning job: each trial's setting, end and result, in order."""
    return [(t["id"], values(t), t["state"], final(t), len(t["measurements"])) for t in job["trials"]]


def twins(make_server, body):
    """Two servers with the same tuning job, so the same seed, at its beginning."""
    s = make_server("--engine=fake", name="undisturbed").start()
    name = create(s, body)["name"]
    s.kill9()
    other = make_server("--engine=fake", name="killed")
    shutil.rmtree(other.data_dir, ignore_errors=True)
    shutil.copytree(s.data_dir, other.data_dir, symlinks=True)
    return s, other, name


def nr_ended(s, name):
    return len([t for t in s.get(name).get("trials", []) if t["state"] in ("SUCCEEDED", "INFEASIBLE")])


def test_killed_ten_times(make_server):
    calm, killed, name = twins(make_server, tuning(TRIALS, 1, labels={"run_ms": 60}))
    calm.start()
    want = wait(calm, name)
    calm.stop()
    assert want["state"] == "JOB_STATE_SUCCEEDED" and len(want["trials"]) == TRIALS
    killed.start()
    for k in range(10):
        wait_until(lambda k=k: nr_ended(killed, name) > k)  # one more than at the last kill, at least
        killed.kill9()
        killed.start()
    got = wait(killed, name)
    assert got["state"] == "JOB_STATE_SUCCEEDED"
    assert story(killed, got) == story(calm, want)
    jobs = killed.call("GET", f"/v1/{PARENT}/customJobs?pageSize=100").json()["customJobs"]
    assert sorted(j["name"] for j in jobs) == sorted(t["customJob"] for t in got["trials"])
    killed.stop()


@pytest.mark.parametrize("point", ["store.commit.before_begin", "store.commit.before_commit", "store.commit.after_commit"])
def test_killed_in_commits(make_server, point):
    """Many lives, each of which dies in one of its commits: of a trial with its job, of a start, of measurements, of an end."""
    calm, killed, name = twins(make_server, tuning(6, 1, labels={"run_ms": 30}))
    calm.start()
    want = story(calm, wait(calm, name))
    calm.stop()
    lives = 0
    for commits in (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 5, 7):
        killed.start(env={"CUSP_FAILPOINTS": f"{point}=abort@{commits}"})
        wait_until(lambda: killed.proc.poll() is not None or over(killed, name), 60, "the end of a life")
        if killed.proc.poll() is None:
            killed.stop()
            break
        lives += 1
    assert lives >= 5
    killed.start()
    got = wait(killed, name)
    assert got["state"] == "JOB_STATE_SUCCEEDED" and story(killed, got) == want
    jobs = killed.call("GET", f"/v1/{PARENT}/customJobs?pageSize=100").json()["customJobs"]
    assert sorted(j["name"] for j in jobs) == sorted(t["customJob"] for t in got["trials"])
    killed.stop()


def over(s, name):
    try:
        return s.get(name).get("state") in TERMINAL
    except requests.RequestException:
        return False
