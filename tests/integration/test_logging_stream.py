"""What gcloud's stream-logs relies on: entries are in their place before it looks there, the server's own lines are in the
same stream, nothing is shown twice."""
import json
import re
import time

import pytest
from conftest import fake_job, wait_until
from test_logging import Replica, entries, job_with_service_lines, now_us, stamp

SECOND = 1_000_000


class Streamer:
    """gcloud's polls (reference 23 §2), at times of our choice: it looks five seconds behind them, goes on behind what it
    has, and drops what is not beyond that by a comparison of texts."""

    def __init__(self, server, job):
        self.server, self.job = server, job
        self.at, self.several, self.seen, self.dropped = ("1970-01-01T01:00:00.000000000Z", ""), False, [], []

    def poll(self, now):
        t, i = self.at
        lower = f'((timestamp="{t}" AND insertId>"{i}") OR timestamp>"{t}")' if self.several else f'timestamp>="{t}"'
        got = entries(self.server, f'resource.type="ml_job" AND resource.labels.job_id="{self.job}" AND '
                      f'resource.labels.task_name:workerpool AND {lower} AND timestamp<"{stamp(now - 5 * SECOND)}"')
        for e in got:
            if (e["timestamp"], e["insertId"]) > self.at:
                self.at = (e["timestamp"], e["insertId"])
                self.seen.append(e)
            elif e not in self.seen:
                self.dropped.append(e)
        times = [e["timestamp"] for e in got]
        self.several = times.count(self.at[0]) > 1


@pytest.mark.parametrize("every", [1, 3, 7])
def test_a_streamer_sees_every_line_once(fake, every):
    """Two replicas, one of them a second late; lines with times of their own, tracebacks, many lines of one moment. Whenever it
    polls, what comes later is behind what it has."""
    job = job_with_service_lines(fake)
    a, b, begin = Replica(fake, job), Replica(fake, job, "workerpool1-0"), now_us() - 600 * SECOND
    s, said = Streamer(fake, job), []
    for second in range(60):
        t = begin + second * SECOND
        for k in range(4):
            a.line(f"a {second} {k}", t + k // 2)  # two of each moment
            said.append(f"a {second} {k}")
        own = stamp(t - 900_000 + 7 * second)
        a.line(json.dumps({"message": f"own {second}", "time": own}), t + 10)
        said.append(f"own {second}")
        a.line(json.dumps({"message": f"far {second}", "time": stamp(t - 3600 * SECOND)}), t + 11)  # brought to the bound
        said.append(f"far {second}")
        for x in ("Traceback (most recent call last):", f"  File {second}", f"ValueError: {second}"):
            a.line(x, t + 20, 2)
        said.append(f"ValueError: {second}")
        if second:
            b.line(f"b {second}", t - SECOND + 500_000)  # read, but written a moment late
            said.append(f"b {second}")
        if second % every == 0:
            s.poll(t + 30)
    for rep in (a, b):
        rep.line("", begin + 61 * SECOND, 4)
    s.poll(begin + 120 * SECOND)
    seen = [(e.get("textPayload") or e["jsonPayload"]["message"]).split("\n")[-1] for e in s.seen]
    missing = sorted(set(said) - set(seen))
    assert not missing and sorted(seen) == sorted(said), (missing[:10], s.dropped[:3])
    assert not s.dropped
    assert len({e["insertId"] for e in s.seen}) == len(said)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", e["timestamp"]) for e in s.seen)


def test_an_open_traceback_is_shown_within_its_second(fake):
    """Held back while it may grow, and what follows it too; neither for longer than a streamer looks behind."""
    job = job_with_service_lines(fake)
    rep, mine = Replica(fake, job), f'resource.labels.job_id="{job}" AND resource.labels.task_name="workerpool0-0"'
    rep.line("before", now_us())
    at = time.monotonic()
    rep.line("Traceback (most recent call last):", now_us(), 2)
    rep.line("after", now_us())
    got = wait_until(lambda: (lambda e: e if len(e) == 3 else None)(entries(fake, mine)), 20, "the traceback")
    assert [e["textPayload"] for e in got] == ["before", "Traceback (most recent call last):", "after"]
    assert time.monotonic() - at > 0.5  # it was held back: this is not what any line is


def service(server, job):
    got = entries(server, f'resource.labels.job_id="{job}" AND resource.labels.task_name="service"')
    assert {e["logName"] for e in got} == {f"projects/demo/logs/ml.googleapis.com%2F{job}"}
    return [(e["severity"], e["textPayload"]) for e in got]


def test_phases_clamps_and_retries_are_in_the_jobs_own_log(make_server):
    s = make_server("--engine=fake", "--cpu-milli=2000", "--mem-mb=4000").start()
    body = fake_job(exit=139, until_attempt=1)  # crashes once, then is well
    body["jobSpec"]["workerPoolSpecs"][0]["machineSpec"]["machineType"] = "n1-standard-16"
    name = s.create(body)["name"]
    assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED"
    job = name.rsplit("/", 1)[1]
    wait_until(lambda: any(t == "Job completed successfully." for _, t in service(s, job)), 20, "the last line")
    lines = service(s, job)
    texts = [t for _, t in lines]
    order = [next(i for i, t in enumerate(texts) if w in t) for w in (
        "Waiting for job to be provisioned.", "is provisioning job running framework", "is setting up this job.",
        "Waiting for training program to start.", "Job is preparing.", "Job is running.", "Tearing down training program.",
        "Finished tearing down", "the job is restarted", "Exit reason (SUCCEEDED)", "Job completed successfully.")]
    assert order == sorted(order), texts
    [clamp] = {x for x in lines if x[1].startswith("workerpool0: ")}
    assert clamp[0] == "WARNING" and "n1-standard-16" in clamp[1], clamp
    assert [sev for sev, t in lines if "the job is restarted" in t] == ["WARNING"]
    s.stop()


def test_cancelled_and_failed_jobs_say_so(fake):
    name = fake.create(fake_job(exit=3))["name"]
    failed = fake.wait(name)
    job = name.rsplit("/", 1)[1]
    wait_until(lambda: ("ERROR", failed["error"]["message"]) in service(fake, job), 20, "the error's words")
    name = fake.create(fake_job(run_ms=600000))["name"]
    fake.wait_state(name, "JOB_STATE_RUNNING")
    fake.call("POST", f"/v1/{name}:cancel", {})
    fake.wait(name)
    wait_until(lambda: ("INFO", "Job is cancelled.") in service(fake, name.rsplit("/", 1)[1]), 20, "the cancel's words")
