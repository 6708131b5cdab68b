"""Requests a second, list pages, memory, start: what the server costs without containers."""
import os
import sqlite3
import subprocess
import time

from lab import JOBS, job_body, median, wrk

MANY = 100000


def lua(lab, name, text):
    path = os.path.join(lab.dir, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def fsyncs(lab):
    """Appends of 4 KiB, each made durable, a second: what the disk does for one writer."""
    fd = os.open(os.path.join(lab.dir, "fsync"), os.O_WRONLY | os.O_CREAT, 0o600)
    block, n, began = b"x" * 4096, 0, time.monotonic()
    while time.monotonic() - began < 1:
        os.write(fd, block)
        os.fdatasync(fd)
        n += 1
    os.close(fd)
    return n


def creates(lab, table):
    post = lua(lab, "post.lua", 'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
               f"wrk.body = [[{job_body('/bin/true').decode()}]]\n")
    rates, gets = [], []
    for i in range(3):
        s = lab.server(f"creates{i}", "--engine=fake", "--hold")
        s.start()
        c = s.client()
        name = c.json("POST", JOBS, job_body("/bin/true"))["name"]
        rates.append(wrk(s.address, 3, post, JOBS))
        batches, commits = c.metric("store_batches_total"), c.metric("store_commits_total")
        gets.append(wrk(s.address, 3, None, "/v1/" + name))
        s.stop()
    table.add("durable creates, 64 connections", median(rates), "/s", ">=", 5000,
              f"4 KiB append + fdatasync {fsyncs(lab):,}/s; {commits / batches:.0f} creates a commit")
    table.add("GET of one job, 64 connections", median(gets), "/s", ">=", 30000, echo(lab))


def echo(lab):
    """The same load on the network layer alone, where its test server was built."""
    program = lab.binary("tests/unit/net/echo_server")
    if not os.path.exists(program):
        return "network layer alone: not built"
    p = subprocess.Popen([program, "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        return f"network layer alone {wrk(p.stdout.readline().strip(), 3):,.0f}/s"
    finally:
        p.kill()
        p.wait()


def grow(server):
    """Runs one job of the fake engine to its end and repeats its rows until there are 100,000."""
    server.start("--engine=fake")
    c = server.client()
    name = c.json("POST", JOBS, job_body("/bin/true"))["name"]
    while "endTime" not in c.json("GET", "/v1/" + name):
        time.sleep(0.01)
    server.stop()
    db = sqlite3.connect(os.path.join(server.dir, "cusp.db"))
    rid, full = db.execute("SELECT id, name FROM resource WHERE kind = 'customJob'").fetchone()
    stem = full.rsplit("/", 1)[0]
    ids = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY - 1}) "
    db.execute(
        "INSERT INTO resource (id, name, kind, parent, display_name, state, create_time, update_time, is_live, status, spec) "
        + ids + "SELECT ? + i, ? || '/' || (1000000000000000000 + i * 7919), kind, parent, display_name, state, "
        "create_time + i, update_time + i, 0, status, spec FROM n, resource WHERE id = ?", (rid, stem, rid))
    db.execute("INSERT INTO event " + ids + "SELECT ? + i, seq, type, version, time, body FROM n, event WHERE resource = ?",
               (rid, rid))
    db.commit()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def many(lab, table):
    s = lab.server("many")
    grow(s)
    engine = [] if os.geteuid() == 0 else ["--engine=fake"]
    starts = []
    for _ in range(5):
        starts.append(s.start(*engine))
        s.stop()
    s.start(*engine)
    time.sleep(1)
    rss, anon = s.status("VmRSS") / 1024, s.status("RssAnon") / 1024
    c = s.client()
    pages, token = [], ""
    for _ in range(50):
        began = time.monotonic()
        page = c.json("GET", f"{JOBS}?pageSize=100&pageToken={token}")
        pages.append(time.monotonic() - began)
        assert len(page["customJobs"]) == 100
        token = page["nextPageToken"]
    s.stop()
    db = sqlite3.connect(os.path.join(s.dir, "cusp.db"))
    parent = db.execute("SELECT parent FROM resource WHERE kind = 'customJob' LIMIT 1").fetchone()[0]
    began = time.monotonic()
    db.execute("SELECT spec, status FROM resource WHERE kind = 'customJob' AND parent = ? "
               "ORDER BY create_time DESC, id DESC LIMIT 100", (parent,)).fetchall()
    sql = time.monotonic() - began
    db.close()
    table.add("cold start with 100,000 finished jobs", median(starts) * 1e3, "ms", "<=", 200, f"best {min(starts) * 1e3:.0f} ms")
    table.add("idle resident memory, 100,000 jobs stored", rss, "MiB", "<=", 16,
              f"of it private {anon:.1f} MiB")
    table.add("list page of 100 among 100,000", median(pages) * 1e3, "ms", "<=", 5,
              f"SQLite's part in Python {sql * 1e3:.1f} ms; first page {pages[0] * 1e3:.1f} ms")


def cli(lab, table):
    def run(*argv):
        began = time.monotonic()
        subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        return time.monotonic() - began
    s = lab.server("cli", "--engine=fake")
    s.start()
    cusp = lab.binary("cusp")
    times = [run(cusp, "--endpoint", "http://" + s.address, "custom-jobs", "list") for _ in range(40)]
    bare = [run("/bin/true") for _ in range(40)]
    s.stop()
    table.add("cusp custom-jobs list, process and all", median(times) * 1e3, "ms", "<=", 10,
              f"/bin/true {median(bare) * 1e3:.1f} ms")
