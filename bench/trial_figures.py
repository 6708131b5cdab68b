"""Trials of tuning jobs: how many containers a second, and what a study of ten thousand costs those who look at it."""
import json
import os
import sqlite3
import time

from lab import PARENT, Short, job_body, median, need_root

TUNINGS = f"/v1/{PARENT}/hyperparameterTuningJobs"
OVER = ("_SUCCEEDED", "_FAILED", "_CANCELLED")
NO_OPS, MANY, LOOKS = 200, 10000, 15
ENDED, EACH = 100, 1000


def body(trials, parallel, *command, labels=None, algorithm="ALGORITHM_UNSPECIFIED"):
    number = {"minValue": 0, "maxValue": 1}
    return json.dumps({
        "displayName": "bench", "maxTrialCount": trials, "parallelTrialCount": parallel, "maxFailedTrialCount": trials,
        "labels": labels or {}, "trialJobSpec": json.loads(job_body(*command))["jobSpec"],
        "studySpec": {"metrics": [{"metricId": "loss", "goal": "MINIMIZE"}], "algorithm": algorithm,
                      "parameters": [{"parameterId": p, "doubleValueSpec": number} for p in ("x", "y")]}}).encode()


def brief(client, name):
    """Without the trials."""
    return client.json("GET", f"/v1/{name}?$fields=state,trials.id")


def wait(client, name, seconds, until=lambda j: j["state"].endswith(OVER)):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        j = brief(client, name)
        if until(j):
            return j
        time.sleep(0.2)
    raise Short(f"{name}: {j['state']} with {len(j.get('trials', []))} trials after {seconds} s")


def rate(lab, table):
    """A trial that reports nothing counts as failed: the last one allowed ends the job, and every one has run."""
    s = lab.server("trials", "--stop-grace-s=1")
    s.start()
    s.import_probe()
    c = s.client()
    wait(c, c.json("POST", TUNINGS, body(8, 4, "/bin/probe"))["name"], 60)
    began = time.monotonic()
    name = c.json("POST", TUNINGS, body(NO_OPS, 4, "/bin/probe"))["name"]
    nr = len(wait(c, name, 300).get("trials", []))
    took = time.monotonic() - began
    s.stop()
    if nr != NO_OPS:
        raise Short(f"{nr} of {NO_OPS} trials were made")
    table.add("no-op trials as containers, 4 at a time", nr / took, "1/s", ">=", 15, f"{nr} trials in {took:.1f} s")


def many(lab, table):
    s = lab.server("study", "--engine=fake")
    s.start()
    c = s.client()
    labels = {"cusp-test-metric": "loss", "cusp-test-run-ms": "1", "cusp-test-metric-steps": "1"}
    name = c.json("POST", TUNINGS, body(MANY + 2000, 32, labels=labels, algorithm="RANDOM_SEARCH"))["name"]
    wait(c, name, 900, lambda j: len(j.get("trials", [])) >= MANY)
    s.proc.kill()  # alive, with all its trials
    s.proc.wait()
    live = s.start()
    c = s.client()
    c.call("POST", f"/v1/{name}:cancel", b"{}")
    nr = len(wait(c, name, 60).get("trials", []))
    looks, cpu = [], processor(s)
    for _ in range(LOOKS):
        began = time.monotonic()
        c.call("GET", "/v1/" + name)
        looks.append(time.monotonic() - began)
    cpu = (processor(s) - cpu) / LOOKS
    s.stop()
    again = lab.server("empty", "--engine=fake").start()
    table.add(f"restart with a live study of {MANY} trials, over an empty start", (live - again) * 1000, "ms", "<=", 200,
              f"{nr} trials: {live * 1000:.0f} ms, empty {again * 1000:.0f} ms")
    table.add(f"GET of a study of {MANY} trials", median(looks) * 1000, "ms", "<=", 50,
              f"{nr} trials, median of {LOOKS}; the slowest {max(looks) * 1000:.0f} ms; the server's processor {cpu * 1000:.0f} ms each")


def processor(s):
    """Seconds that the server has computed for."""
    with open(f"/proc/{s.proc.pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def copies(db, name, n):
    """The rows of an ended tuning job and of its trials' jobs, n times over under other names, as if it had been run as often."""
    c = sqlite3.connect(db)
    ids = [r[0] for r in c.execute("SELECT id FROM resource WHERE is_live = 0")]
    columns = [r[1] for r in c.execute("PRAGMA table_info(resource)")][2:]
    for k in range(n):
        for old in ids:
            new = c.execute(f"INSERT INTO resource (name, {', '.join(columns)}) SELECT "
                            f"substr(name, 1, length(name) - 4) || ? || substr(name, -4), {', '.join(columns)} FROM resource "
                            "WHERE id = ?", (f"{k:03}", old)).lastrowid
            c.execute("INSERT INTO event SELECT ?, seq, type, version, time, body FROM event WHERE resource = ?", (new, old))
    c.commit()
    c.close()
    return name[:-4] + "000" + name[-4:]


def ended(lab, table):
    """Histories of what has ended are not read at the start: it takes as long with a hundred of them as with none."""
    s = lab.server("ended", "--engine=fake")
    s.start()
    c = s.client()
    labels = {"cusp-test-metric": "loss", "cusp-test-run-ms": "1", "cusp-test-metric-steps": "1"}
    name = c.json("POST", TUNINGS, body(EACH, 32, labels=labels, algorithm="RANDOM_SEARCH"))["name"]
    wait(c, name, 300)
    s.stop()
    copy = copies(os.path.join(s.dir, "cusp.db"), name, ENDED - 1)
    with_all = median([restart(s) for _ in range(5)])
    s.start()
    c = s.client()
    began = time.monotonic()
    nr = len(c.json("GET", "/v1/" + copy)["trials"])
    first = time.monotonic() - began
    s.stop()
    empty = lab.server("none", "--engine=fake")
    without = median([restart(empty) for _ in range(6)][1:])
    table.add(f"start with {ENDED} ended studies of {EACH} trials, over an empty start", (with_all - without) * 1000, "ms",
              "<=", 50, f"{with_all * 1000:.0f} ms, empty {without * 1000:.0f} ms; median of 5")
    table.add(f"first look at one of them, {nr} trials", first * 1000, "ms", "<=", 50, "its events are read then, not before")


def restart(s):
    took = s.start()
    s.stop()
    return took


def trials(lab, table):
    need_root()
    rate(lab, table)
    many(lab, table)
    ended(lab, table)
