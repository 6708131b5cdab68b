"""Logs: what one job can print a second, how soon a line is at its reader, one job's flood beside another job,
and the first page of a filter over ten million entries."""
import datetime
import json
import os
import subprocess
import threading
import time

from lab import JOBS, Short, job_body, median, need_root, quantile

LINES = 10_000_000
LINE = 100  # bytes, newline included
CLOCKS, EVERY_MS = 150, 20


def seconds_of(stamp):
    whole, nanos = stamp.rstrip("Z").split(".")
    return datetime.datetime.fromisoformat(whole + "+00:00").timestamp() + int(nanos) / 1e9


def entries(client, job, order="timestamp asc", more="", size=50):
    body = json.dumps({"resourceNames": ["projects/demo"], "orderBy": order, "pageSize": size,
                       "filter": f'resource.labels.job_id="{job}" AND resource.labels.task_name="workerpool0-0"{more}'})
    return client.json("POST", "/v2/entries:list", body.encode()).get("entries", [])


def wait_end(client, name, seconds=300):
    end = time.monotonic() + seconds
    while "endTime" not in (j := client.json("GET", "/v1/" + name)):
        if time.monotonic() > end:
            raise Short(f"{name} did not end")
        time.sleep(0.02)
    if j["state"] != "JOB_STATE_SUCCEEDED":
        raise Short(f"{name} ended as {j['state']}")


def plain_file(lab):
    """The same program into a plain file through a pipe: what the machine's disk and pipes do. MB/s."""
    path = os.path.join(lab.dir, "flood.txt")
    began = time.monotonic()
    subprocess.run(f"{lab.probe()} flood {LINES} | cat >{path}; sync {path}", shell=True, check=True)
    return LINES * LINE / (time.monotonic() - began) / 1e6, path


def latencies(server, name):
    """Written in the container -> at a follower, of every line."""
    c = server.client()
    c.http.request("GET", f"/cusp/v1/{name}:streamLogs?follow=true&task=workerpool0-0")
    r = c.http.getresponse()
    out = []
    while line := r.readline():
        arrived = time.time_ns()
        message = json.loads(line)["message"]
        if message.isdigit():
            out.append((arrived - int(message)) / 1e6)
    if len(out) != CLOCKS + 1:
        raise Short(f"{len(out)} of {CLOCKS + 1} lines arrived")
    return out[1:]  # the first one waits for its job to be known as running


def clock_job(client):
    return client.json("POST", JOBS, job_body("/bin/probe", "clock", str(CLOCKS), str(EVERY_MS)))["name"]


def flood_job(client, lines=LINES):
    return client.json("POST", JOBS, job_body("/bin/probe", "flood", str(lines)))["name"]


def ask_beside(server, done, out):
    c = server.client()
    while not done.is_set():
        began = time.monotonic()
        c.call("GET", f"{JOBS}?pageSize=1")
        out.append((time.monotonic() - began) * 1e3)
        time.sleep(0.01)


def logs(lab, table):
    need_root()
    peer, path = plain_file(lab)
    s = lab.server("logs")
    s.start("--network=none")
    s.import_probe()
    c = s.client()

    quiet = latencies(s, clock_job(c))
    table.add("log line: written -> at a follower, 95th percentile", quantile(quiet, 0.95), "ms", "<=", 100,
              f"median {median(quiet):.1f} ms, worst {max(quiet):.1f} ms")

    # One job floods, another talks.
    flood, done, asked = flood_job(c), threading.Event(), []
    asker = threading.Thread(target=ask_beside, args=(s, done, asked))
    asker.start()
    beside = latencies(s, clock_job(c))
    state = c.json("GET", "/v1/" + flood)["state"]
    wait_end(c, flood)
    done.set()
    asker.join()
    job = flood.rsplit("/", 1)[1]
    first, last = entries(c, job, size=1)[0], entries(c, job, "timestamp desc", size=1)[0]
    if not last["textPayload"].startswith(f"{LINES - 1:010d} "):
        raise Short("the flood is not whole: its last line is " + last["textPayload"])
    table.add("the same while another job floods 1 GB", quantile(beside, 0.95), "ms", "<=", 100,
              f"median {median(beside):.1f} ms, worst {max(beside):.1f} ms; the flood was {state} at the end; GET beside it: "
              f"median {median(asked):.1f}, worst {max(asked):.1f} ms")

    rates = []
    for _ in range(3):
        name = flood_job(c)
        wait_end(c, name)
        j = name.rsplit("/", 1)[1]
        a, b = entries(c, j, size=1)[0], entries(c, j, "timestamp desc", size=1)[0]
        rates.append(LINES * LINE / (seconds_of(b["timestamp"]) - seconds_of(a["timestamp"])) / 1e6)
    table.add("log ingest of one job, lines of 100 bytes", median(rates), "MB/s", ">=", 200,
              f"{LINES / 1e6 * median(rates) / (LINES * LINE / 1e6):.1f} million lines/s; program | cat >file; sync: {peer:.0f} MB/s")

    # Ten million entries of one job.
    middle = seconds_of(first["timestamp"]) + (seconds_of(last["timestamp"]) - seconds_of(first["timestamp"])) / 2
    stamp = datetime.datetime.fromtimestamp(middle, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    took = {}
    for what, order, more in (("oldest", "timestamp asc", ""), ("newest", "timestamp desc", ""),
                              ("from the middle", "timestamp asc", f' AND timestamp>="{stamp}"')):
        times = []
        for _ in range(21):
            began = time.monotonic()
            got = entries(c, job, order, more)
            times.append((time.monotonic() - began) * 1e3)
            if len(got) != 50:
                raise Short(f"{len(got)} entries on the page of the {what}")
        took[what] = median(times)
    began = time.monotonic()
    subprocess.run(["sed", "-n", f"{LINES // 2},{LINES // 2 + 49}p;{LINES // 2 + 50}q", path], stdout=subprocess.DEVNULL, check=True)
    sed = (time.monotonic() - began) * 1e3
    table.add("first page of 50 of a job's 10 million entries", max(took.values()), "ms", "<=", 50,
              ", ".join(f"{k} {v:.1f} ms" for k, v in took.items()) + f"; sed to the middle of the same text {sed:.0f} ms")
    s.stop()
