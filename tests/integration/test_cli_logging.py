"""cusp logging, and a job's log as a file."""
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest
from conftest import BUILD, wait_until
from test_logging import Replica, entries, job_with_service_lines, now_us, write


def cusp(server, *args, check=True, **kw):
    r = subprocess.run([os.path.join(BUILD, "cusp"), "--endpoint", server.url, *args], capture_output=True, text=True, timeout=60, **kw)
    assert not check or r.returncode == 0, r.stderr
    return r


@pytest.fixture
def logged(fake):
    """A job whose program said three things in the last seconds."""
    fake.job = job_with_service_lines(fake)
    rep, t = Replica(fake, fake.job), now_us() - 5_000_000
    rep.line("one", t)
    rep.line('{"severity":"WARNING","message":"two","n":{"a":[1]}}', t + 1)
    rep.line("Traceback (most recent call last):", t + 2, 2)
    rep.line("ValueError: three", t + 3, 2)
    rep.line("", t + 4, 4)
    return fake


def test_read(logged):
    own = ["--job", logged.job, "--task-name=workerpool0-0"]
    assert cusp(logged, "logging", "read", *own, "--order=asc", "--format=value(severity,textPayload,jsonPayload.message)").stdout == \
        "INFO\tone\t\nWARNING\t\ttwo\nERROR\tTraceback (most recent call last):\nValueError: three\t\n"
    got = json.loads(cusp(logged, "logging", "read", f'resource.labels.job_id="{logged.job}"', "--format=json").stdout)
    assert got == entries(logged, f'resource.labels.job_id="{logged.job}"', "timestamp desc")
    assert json.loads(cusp(logged, "logging", "read", "textPayload=nothing-has-this", "--format=json").stdout) == []
    assert cusp(logged, "logging", "read", *own, "--limit=1", "--format=value(jsonPayload.n,labels.'ml.googleapis.com/job_id')",
                "--severity=warning", "jsonPayload:* -- with a comment").stdout == f'{{"a":[1]}}\t{logged.job}\n'
    # The words of the user are one term, whatever they are made of.
    assert cusp(logged, "logging", "read", *own, 'textPayload="one" OR jsonPayload.message="two"', "--order=asc",
                "--format=value(severity)").stdout.split() == ["INFO", "WARNING"]
    lines = cusp(logged, "logging", "read", *own).stdout.splitlines()
    assert lines[0].startswith("ERROR ") and lines[0].endswith("  Traceback (most recent call last):") and lines[1].strip() == "ValueError: three"
    assert re.fullmatch(r"INFO +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}  workerpool0-0   one", lines[-1]), lines


def test_freshness_as_gcloud_has_it(fake):
    day = 86400
    for age, text in ((2 * day, "old"), (7200, "two hours"), (0, "new")):
        write(fake, {"textPayload": text, "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age))})
    show = ["--format=value(textPayload)"]
    assert cusp(fake, "logging", "read", *show).stdout.splitlines() == ["new", "two hours"]
    assert cusp(fake, "logging", "read", "--freshness=1h", *show).stdout.splitlines() == ["new"]
    assert cusp(fake, "logging", "read", "--order=asc", *show).stdout.splitlines() == ["old", "two hours", "new"]
    assert cusp(fake, "logging", "read", 'timestamp>="2020-01-01T00:00:00Z"', *show).stdout.splitlines() == ["new", "two hours", "old"]


def test_write_list_delete(fake):
    cusp(fake, "logging", "write", "a/b", "hello", "--severity=ERROR")
    cusp(fake, "logging", "write", "a/b", '{"k": 1}', "--payload-type=json")
    assert cusp(fake, "logging", "logs", "list").stdout.split() == ["projects/demo/logs/a%2Fb"]
    assert json.loads(cusp(fake, "logging", "logs", "list", "--format=json").stdout) == ["projects/demo/logs/a%2Fb"]
    assert cusp(fake, "logging", "read", "severity=ERROR", "--format=value(logName,textPayload)").stdout == "projects/demo/logs/a%2Fb\thello\n"
    assert "Deleted a/b" in cusp(fake, "logging", "logs", "delete", "a/b").stderr
    missing = cusp(fake, "logging", "logs", "delete", "none", check=False)
    assert missing.returncode == 3 and "none" in missing.stderr
    assert cusp(fake, "logging", "read").stdout == ""


@pytest.mark.parametrize("args,words", [
    (["read", "--limit=0"], "--limit"), (["read", "--order=up"], "--order"), (["read", "--freshness=soon"], "--freshness"),
    (["read", "a", "b"], "quote it"), (["read", "--format=table(a)"], "value(FIELD"), (["read", "--format=value(a..b)"], "value(FIELD"),
    (["read", "severity>"], "filter"), (["read", "severity>>"], "position 11"), (["read", "severity>>", "--order=asc"], "position 10"), (["read", '--job=a"b'], "--job"), (["tail", "x>"], "filter"), (["nothing"], "no command"),
    (["write", "l", "[1]", "--payload-type=json"], "JSON object"), (["logs", "drop"], "usage")])
def test_mistakes(fake, args, words):
    r = cusp(fake, "logging", *args, check=False)
    assert r.returncode == 2 and words in r.stderr, (r.returncode, r.stderr)


def test_tail_goes_on_over_a_restart(make_server):
    s = make_server("--engine=fake").start()
    s.listen = s.url.split("//")[1]
    write(s, {"textPayload": "before"})
    p = subprocess.Popen([os.path.join(BUILD, "cusp"), "--endpoint", s.url, "logging", "tail", "severity>=WARNING", "--format=value(textPayload)"],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    got = []
    reader = threading.Thread(target=lambda: got.extend(p.stdout))
    reader.start()
    try:
        def say_until_heard(n):
            """The tail begins at some moment: what is said until it is heard may come before."""
            def one():
                write(s, {"textPayload": "quiet"}, {"textPayload": f"loud {n}", "severity": "ERROR", "insertId": f"i{n}"})
                return f"loud {n}\n" in got
            wait_until(one, 30, f"loud {n}")
        say_until_heard(1)
        s.kill9()
        s.start()
        say_until_heard(2)
    finally:
        p.send_signal(signal.SIGINT)
        p.wait(20)
        reader.join(20)
    assert set(got) == {"loud 1\n", "loud 2\n"}
    s.stop()


def test_download(logged, tmp_path):
    to = tmp_path / "job.log"
    assert "lines in" in cusp(logged, "custom-jobs", "logs", logged.job, "--task-name=workerpool0-0", f"--download={to}").stderr
    lines = to.read_text().splitlines()
    assert [x.split(" ", 3)[2:] for x in lines][0] == ["workerpool0-0", "one"] and len(lines) == 4
    assert lines == logged.call("GET", f"/cusp/v1/projects/demo/locations/us-central1/customJobs/{logged.job}:streamLogs"
                                "?follow=false&format=text&task=workerpool0-0").text.splitlines()
    null = tmp_path / "null"
    null.symlink_to("/dev/null")
    assert "lines in" in cusp(logged, "custom-jobs", "logs", logged.job, f"--download={null}").stderr
    assert null.is_symlink() and null.is_char_device()
    null.unlink()
    objects = cusp(logged, "--format=json", "custom-jobs", "logs", logged.job, "--download=-").stdout.splitlines()
    assert [json.loads(x) for x in objects] == logged.logs(f"projects/demo/locations/us-central1/customJobs/{logged.job}")
    assert [json.loads(x)["timestamp"] for x in objects] == sorted(json.loads(x)["timestamp"] for x in objects)
    assert cusp(logged, "custom-jobs", "logs", logged.job, "--task-name=workerpool0-0").stdout.splitlines()[0].endswith("  one")
    r = cusp(logged, "custom-jobs", "logs", "77", f"--download={tmp_path / 'none'}", check=False)
    assert r.returncode == 3 and sorted(os.listdir(tmp_path)) == ["cuspd.log", "data", "job.log"]


def stream(server, job, query):
    return server.call("GET", f"/cusp/v1/projects/demo/locations/us-central1/customJobs/{job}:streamLogs?follow=false{query}")


def test_a_reader_goes_on_behind_what_it_has(logged):
    everything = stream(logged, logged.job, "").text.splitlines()
    own = [json.loads(x) for x in everything if json.loads(x)["task"] == "workerpool0-0"]
    service = [json.loads(x) for x in everything if json.loads(x)["task"] == "service"]
    after = f"&after=workerpool0-0:1:1,service:0:{service[-1]['seq']}"
    r = stream(logged, logged.job, after)
    assert [json.loads(x) for x in r.text.splitlines()] == own[2:] and int(r.headers["x-cusp-log-bytes"]) > 0
    assert stream(logged, logged.job, "&after=workerpool0-0:1:99999,service:0:99999").text == ""
    assert stream(logged, logged.job, "&after=workerpool0-0:2:99999").text.splitlines() == everything  # another attempt
    for bad, field in (("&after=x", "after"), ("&after=a:b:c", "after"), ("&after=" + "a:1:1," * 1100 + "a:1:1", "after"), ("&format=xml", "format")):
        r = stream(logged, logged.job, bad)
        assert r.status_code == 400 and f'"field": "{field}"' in r.text, r.text


def test_lines_of_several_replicas_come_in_order(fake):
    """Also where one replica's log is many times as long as what is read at once."""
    job = job_with_service_lines(fake)
    t = now_us() - 60_000_000
    long, short = Replica(fake, job, "workerpool0-0"), Replica(fake, job, "workerpool1-0")
    for i in range(6000):
        long.line(f"{i} " + "x" * 200, t + 10 * i)
    for i in range(60):
        short.line(f"short {i}", t + 1000 * i + 5)
    for rep in (long, short):
        rep.line("", t + 100000, 4)
    got = [json.loads(x) for x in stream(fake, job, "").text.splitlines()]
    programs = [x for x in got if x["task"] != "service"]
    assert len(programs) == 6060 and programs == sorted(programs, key=lambda x: x["timestamp"])
