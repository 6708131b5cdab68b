"""Cloud Logging: entries of jobs, read and written by the official Python library and over plain HTTP."""
import datetime
import json
import os
import struct
import subprocess
import threading
import time

import pytest
from conftest import PARENT, container_job, fake_job, needs_root, skip_without, wait_until

crc_table = []
for i in range(256):
    for _ in range(8):
        i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
    crc_table.append(i)


def crc32c(data):
    c = 0xFFFFFFFF
    for b in data:
        c = crc_table[(c ^ b) & 255] ^ c >> 8
    return c ^ 0xFFFFFFFF


class Replica:
    """Writes a replica's log as its runner would (src/base/seg.h)."""

    def __init__(self, server, job, task="workerpool0-0", attempt=1):
        self.dir = os.path.join(server.data_dir, "logs", job, f"a{attempt}", task)
        os.makedirs(self.dir, exist_ok=True)
        self.file = open(os.path.join(self.dir, "out.000000.seg"), "ab")
        if self.file.tell() == 0:
            self.file.write(b"cusp-seg 1\n".ljust(16, b"\0"))
        self.seq = 0

    def line(self, text, when, stream=1, flags=0):
        data = text if isinstance(text, bytes) else text.encode()
        head = struct.pack("<IIQQBBH", 0x67455343, len(data), self.seq, when, stream, flags, 0)
        self.file.write(head + struct.pack("<I", crc32c(head + b"\0\0\0\0" + data)) + data)
        self.file.flush()
        self.seq += 1


def entries(server, filter="", order="timestamp asc", size=1000, **more):
    out, token = [], None
    while True:
        body = {"resourceNames": ["projects/demo"], "filter": filter, "orderBy": order, "pageSize": size, **more}
        if token:
            body["pageToken"] = token
        r = server.call("POST", "/v2/entries:list", body)
        assert r.status_code == 200, r.text
        out += r.json().get("entries", [])
        token = r.json().get("nextPageToken")
        if not token:
            return out


def job_with_service_lines(server):
    name = server.create(fake_job(run_ms=10))["name"]
    server.wait(name)
    job = name.rsplit("/", 1)[1]
    wait_until(lambda: any(e["textPayload"] == "Job completed successfully." for e in
                           entries(server, f'resource.labels.job_id="{job}"')), 10, "the last service line")
    return job


def now_us():
    return int(time.time() * 1e6)


def stamp(usec):
    return f"{datetime.datetime.fromtimestamp(usec / 1e6, datetime.timezone.utc):%Y-%m-%dT%H:%M:%S}.{usec % 1_000_000:06}000Z"


def test_service_lines_are_entries_of_the_job(fake):
    job = job_with_service_lines(fake)
    got = entries(fake, f'resource.type="ml_job" AND resource.labels.job_id="{job}"')
    assert got[0]["logName"] == f"projects/demo/logs/ml.googleapis.com%2F{job}"
    assert got[0]["resource"] == {"type": "ml_job", "labels": {"project_id": "demo", "job_id": job, "task_name": "service"}}
    assert got[0]["severity"] == "INFO" and got[0]["labels"]["ml.googleapis.com/job_id"] == job
    keys = [(e["timestamp"], e["insertId"]) for e in got]
    assert keys == sorted(set(keys)) and all(len(t) == 30 and t.endswith("Z") for t, _ in keys)
    assert len({len(i) for _, i in keys}) == 1
    assert entries(fake, f'resource.labels.job_id="{job}"', size=2) == got
    assert entries(fake, f'resource.labels.job_id="{job}"', "timestamp desc", 3) == got[::-1]
    assert entries(fake, 'resource.labels.job_id="1"') == []
    r = fake.call("POST", "/v2/entries:list", {"resourceNames": ["projects/other"], "filter": f'resource.labels.job_id="{job}"'})
    assert r.json() == {}
    logs = fake.call("GET", "/v2/projects/demo/logs").json()["logNames"]
    assert f"projects/demo/logs/ml.googleapis.com%2F{job}" in logs


def test_severities_are_recognised(fake):
    job = job_with_service_lines(fake)
    rep, t = Replica(fake, job), now_us()
    for i, (text, stream) in enumerate([("hello", 1), ("on stderr", 2), ("WARNING:root:low", 2), ('{"severity":"ERROR","message":"bad","n":1}', 1),
                                        ("10%\r100%|##|", 2), ("Traceback (most recent call last):", 2), ("  File x", 2), ("ValueError: no", 2),
                                        (b"not \xff utf-8", 1)]):
        rep.line(text, t + i, stream)
    rep.line("", t + 20, 4)
    got = entries(fake, f'resource.labels.job_id="{job}" AND resource.labels.task_name="workerpool0-0"')
    assert [(e["severity"], e.get("textPayload") or e["jsonPayload"]) for e in got] == [
        ("INFO", "hello"), ("INFO", "on stderr"), ("WARNING", "WARNING:root:low"), ("ERROR", {"message": "bad", "n": 1}),
        ("INFO", "100%|##|"), ("ERROR", "Traceback (most recent call last):\n  File x\nValueError: no"), ("INFO", "not \ufffd utf-8")]
    lines = fake.logs(f"{PARENT}/customJobs/{job}", task="workerpool0-0")  # line by line, as they were printed
    assert [x["severity"] for x in lines] == ["INFO", "INFO", "WARNING", "ERROR", "INFO", "ERROR", "ERROR", "ERROR", "INFO"], lines
    assert [e["textPayload"][:4] for e in entries(fake, f'resource.labels.job_id="{job}" logName:workerpool0-0 severity>=WARNING textPayload:*')] == ["WARN", "Trac"]
    assert len(entries(fake, f'resource.labels.job_id="{job}" jsonPayload.n=1')) == 1


def test_structured_lines_are_entries_with_fields(fake):
    """The keys that Cloud Logging's agents know leave the payload, can be filtered by, and order the log."""
    job = job_with_service_lines(fake)
    rep, t, key = Replica(fake, job), now_us(), "logging.googleapis.com/"
    rep.line("plain", t)
    rep.line(json.dumps({"severity": "NOTICE", "message": "served", "time": stamp(t - 200_000), "user": "u",
                         "httpRequest": {"requestMethod": "GET", "requestUrl": "/x", "status": 404, "latency": "0.25s"},
                         key + "trace": "projects/demo/traces/t1", key + "spanId": "00f1", key + "trace_sampled": True,
                         key + "insertId": "my-id", key + "labels": {"shard": "7"},
                         key + "sourceLocation": {"file": "a.py", "line": "12", "function": "f"},
                         key + "operation": {"id": "op", "producer": "p", "first": True}}), t + 5, 2)
    rep.line(json.dumps({"message": "bent", "time": "yesterday", "httpRequest": "GET", key + "trace": 5}), t + 6)
    rep.line("", t + 20, 4)
    mine = f'resource.labels.job_id="{job}" AND resource.labels.task_name="workerpool0-0"'
    served, plain, bent = entries(fake, mine)
    assert plain["textPayload"] == "plain" and served["timestamp"] == stamp(t - 200_000) and served["receiveTimestamp"] == stamp(t + 5)
    assert served["jsonPayload"] == {"message": "served", "user": "u"} and served["severity"] == "NOTICE"
    assert served["httpRequest"] == {"requestMethod": "GET", "requestUrl": "/x", "status": 404, "latency": "0.250s"}
    assert (served["trace"], served["spanId"], served["traceSampled"], served["insertId"]) == ("projects/demo/traces/t1", "00f1", True, "my-id")
    assert served["sourceLocation"] == {"file": "a.py", "line": "12", "function": "f"}
    assert served["operation"] == {"id": "op", "producer": "p", "first": True} and served["labels"]["shard"] == "7"
    assert bent["jsonPayload"] == {"message": "bent", "time": "yesterday", "httpRequest": "GET", key + "trace": 5} and bent["timestamp"] == stamp(t + 6)
    for f in ("httpRequest.status=404", 'labels.shard="7"', 'trace="projects/demo/traces/t1"', 'insertId="my-id"', 'operation.id="op"',
              'sourceLocation.file="a.py"', f'timestamp<"{plain["timestamp"]}"'):
        assert entries(fake, f"{mine} AND {f}") == [served], f


def test_strict_is_what_vertex_does(make_server):
    s = make_server("--engine=fake", "--logs=strict").start()
    job = job_with_service_lines(s)
    rep, t = Replica(s, job), now_us()
    rep.line("WARNING:root:low", t, 2)
    for i, (text, stream) in enumerate([("out", 1), ("Traceback (most recent call last):", 2), ("ValueError: no", 2),
                                        ("E0101 00:00:00.0 1 a.cc:1] bad", 1), ('{"severity":"WARNING","message":"m"}', 2),
                                        ('{"level":"error","message":"m"}', 1)]):
        rep.line(text, t + 1 + i, stream)
    got = entries(s, f'resource.labels.job_id="{job}" resource.labels.task_name="workerpool0-0"')
    assert [e["severity"] for e in got] == ["ERROR", "INFO", "ERROR", "ERROR", "INFO", "WARNING", "INFO"]
    assert got[2]["textPayload"] == "Traceback (most recent call last):"  # a line is an entry
    assert [x["severity"] for x in s.logs(f"{PARENT}/customJobs/{job}", task="workerpool0-0")] == [e["severity"] for e in got]
    s.stop()


@pytest.mark.parametrize("body,field", [
    ({"resourceNames": ["projects/demo"], "filter": "severity>"}, "filter"),
    ({"resourceNames": ["projects/demo"], "filter": "timestamp>soon"}, "filter"),
    ({"resourceNames": ["projects/demo"], "orderBy": "severity"}, "order_by"),
    ({"resourceNames": ["projects/demo"], "pageToken": "AAAA"}, "page_token"),
    ({"resourceNames": []}, "resource_names"),
    ({"resourceNames": ["buckets/x"]}, "resource_names"),
    ({"resourceNames": ["projects/a", "organizations/1"]}, "resource_names"),
    ({"resourceNames": [f"projects/p{i}" for i in range(101)]}, "resource_names"),
])
def test_mistakes_are_named(fake, body, field):
    r = fake.call("POST", "/v2/entries:list", body)
    assert r.status_code == 400 and r.json()["error"]["status"] == "INVALID_ARGUMENT", r.text
    assert field in str(r.json()["error"]["details"]), r.text


def test_a_token_belongs_to_its_list(fake):
    job = job_with_service_lines(fake)
    body = {"resourceNames": ["projects/demo"], "filter": f'resource.labels.job_id="{job}"', "pageSize": 1}
    token = fake.call("POST", "/v2/entries:list", body).json()["nextPageToken"]
    assert fake.call("POST", "/v2/entries:list", {**body, "pageToken": token}).status_code == 200
    for other in ({"filter": ""}, {"orderBy": "timestamp desc"}, {"resourceNames": ["projects/p2"]}):
        assert fake.call("POST", "/v2/entries:list", {**body, **other, "pageToken": token}).status_code == 400


def write(server, *items, **more):
    return server.call("POST", "/v2/entries:write", {"logName": "projects/demo/logs/mine", "entries": list(items), **more})


def test_written_entries(fake):
    assert write(fake, {"textPayload": "a"}, {"jsonPayload": {"k": 1}, "severity": "ERROR"}, labels={"x": "y"},
                 resource={"type": "global"}).json() == {}
    got = entries(fake, 'log_id("mine")')
    assert [e.get("textPayload") for e in got] == ["a", None]
    assert got[1]["jsonPayload"] == {"k": 1} and got[1]["labels"] == {"x": "y"} and got[1]["severity"] == "ERROR"
    assert got[0]["resource"] == {"type": "global", "labels": {"project_id": "demo"}}
    assert write(fake, {"textPayload": "a"}, dryRun=True).json() == {} and len(entries(fake)) == 2
    bad = {"textPayload": "x", "timestamp": "2999-01-01T00:00:00Z"}
    assert write(fake, {"textPayload": "b"}, bad).status_code == 400 and len(entries(fake)) == 2
    r = write(fake, {"textPayload": "b"}, bad, partialSuccess=True)
    assert r.status_code == 400 and "1" in r.json()["error"]["details"][0]["logEntryErrors"] and len(entries(fake)) == 3
    assert write(fake, {"textPayload": "x" * 300000}).status_code == 400
    assert write(fake, {"logName": "projects/demo/logs/a/b"}).status_code == 400
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - 3600))
    same = {"textPayload": "once", "insertId": "i1", "timestamp": at + ".123456789Z"}
    write(fake, same), write(fake, same)
    assert [e["timestamp"] for e in entries(fake, 'insertId="i1"')] == [same["timestamp"]]
    fake.kill9()
    fake.start()
    assert len(entries(fake)) == 4
    assert fake.call("DELETE", "/v2/projects/demo/logs/mine").json() == {} and entries(fake) == []


def log_names(server):
    return [n.split("/logs/")[1] for n in server.call("GET", "/v2/projects/demo/logs").json().get("logNames", [])]


def test_a_deleted_log_is_not_named_until_it_is_written_to(fake):
    write(fake, {"textPayload": "a"})
    write(fake, {"textPayload": "b", "logName": "projects/demo/logs/other"})
    job = job_with_service_lines(fake)
    rep = Replica(fake, job)
    rep.line("of the replica", now_us())
    own = f"ml.googleapis.com%2F{job}"
    assert set(log_names(fake)) == {"mine", "other", own, "workerpool0-0"}
    for name in ("mine", own, "workerpool0-0"):
        assert fake.call("DELETE", f"/v2/projects/demo/logs/{name.replace('%', '%25')}").status_code == 200
    assert log_names(fake) == ["other"]
    assert fake.call("DELETE", "/v2/projects/demo/logs/mine").status_code == 404
    fake.kill9()
    fake.start()
    assert log_names(fake) == ["other"]
    write(fake, {"textPayload": "again"})
    rep.line("more", now_us())
    assert log_names(fake) == ["mine", "other", "workerpool0-0"]
    assert [e["textPayload"] for e in entries(fake, 'log_id("mine")')] == ["again"]


def test_no_line_is_lost_on_kill(fake):
    sent, stop = [], threading.Event()

    def writer():
        import requests
        n = 0
        while not stop.is_set():
            try:
                if requests.post(fake.url + "/v2/entries:write", timeout=5, json={
                        "logName": "projects/demo/logs/k", "entries": [{"textPayload": str(n), "insertId": f"{n:08d}"}]}).status_code == 200:
                    sent.append(str(n))
            except requests.RequestException:
                return
            n += 1

    th = threading.Thread(target=writer)
    th.start()
    wait_until(lambda: len(sent) > 20, 20, "some writes")
    fake.kill9()
    stop.set()
    th.join()
    fake.start()
    have = [e["textPayload"] for e in entries(fake, 'log_id("k")')]
    assert set(sent) <= set(have) and len(have) == len(set(have)) <= len(sent) + 1


# ---- how long logs are kept

def sweeping(make_server, tmp_path, *flags, env=None, **limits):
    config = tmp_path / "retention.conf"
    config.write_text("[limits]\nlog_sweep_s = 1\n" + "".join(f"{k} = {v}\n" for k, v in limits.items()))
    return make_server("--engine=fake", "--config", str(config), *flags, env=env)


def log_dirs(server):
    return sorted(d for d in os.listdir(os.path.join(server.data_dir, "logs")) if d.isdigit())


def delete_job(server, job):
    assert server.call("DELETE", f"/v1/projects/demo/locations/us-central1/customJobs/{job}").status_code == 200


def test_a_deleted_jobs_log_goes_and_others_stay(make_server, tmp_path):
    s = sweeping(make_server, tmp_path, "--drop-deleted-logs").start()
    gone, stays = job_with_service_lines(s), job_with_service_lines(s)
    running = s.create(fake_job(run_ms=600000))["name"].rsplit("/", 1)[1]
    wait_until(lambda: s.metric("log_jobs") == 3, 20, "all three to be known")
    delete_job(s, gone)
    wait_until(lambda: log_dirs(s) == sorted([stays, running]), 20, "the log to go")
    assert entries(s, f'resource.labels.job_id="{gone}"') == [] and entries(s, f'resource.labels.job_id="{stays}"')
    assert {e["resource"]["labels"]["job_id"] for e in entries(s)} == {stays, running}
    wait_until(lambda: s.metric('logs_removed_total{why="deleted"}') == 1, 20, "it to be counted")
    logs = s.call("GET", "/v2/projects/demo/logs").json()["logNames"]
    assert f"projects/demo/logs/ml.googleapis.com%2F{gone}" not in logs and f"projects/demo/logs/ml.googleapis.com%2F{stays}" in logs
    s.stop()


@pytest.mark.parametrize("point", ["logs.remove.before_rename", "logs.remove.after_rename", "logs.catalog.before_unmark"])
def test_killed_while_a_log_goes(make_server, tmp_path, point):
    s = sweeping(make_server, tmp_path, "--drop-deleted-logs").start()
    gone, stays = job_with_service_lines(s), job_with_service_lines(s)
    s.kill9()
    s.start(env={"CUSP_FAILPOINTS": f"{point}=abort"})
    try:
        delete_job(s, gone)
    except Exception:  # killed before the answer: the client asks again
        pass
    s.proc.wait(30)
    s.start()
    if s.call("GET", f"/v1/projects/demo/locations/us-central1/customJobs/{gone}").status_code == 200:
        delete_job(s, gone)
    wait_until(lambda: log_dirs(s) == [stays], 20, "the log to go")
    wait_until(lambda: not os.path.exists(os.path.join(s.data_dir, "logs", ".gone")), 20, "all of it to go")
    assert {e["resource"]["labels"]["job_id"] for e in entries(s)} == {stays}
    s.stop()


def test_logs_go_by_age_not_by_deletion(make_server, tmp_path):
    s = sweeping(make_server, tmp_path, log_retention_s=3600).start()
    old, deleted, running = job_with_service_lines(s), job_with_service_lines(s), s.create(fake_job(run_ms=600000))["name"].rsplit("/", 1)[1]
    delete_job(s, deleted)
    past = time.time() - 7200
    wait_until(lambda: os.path.exists(os.path.join(s.data_dir, "logs", running, "service", "out.000000.seg")), 20, "the running job's log")
    s.stop()  # it takes logs up again at the start; these are two hours old now
    for job in (old, running):
        seg = os.path.join(s.data_dir, "logs", job, "service", "out.000000.seg")
        os.utime(seg, (past, past))
    for base, _, files in os.walk(os.path.join(s.data_dir, "logs", "projects")):
        for f in files:
            if f == ".ended":  # nor are they known as ended
                os.unlink(os.path.join(base, f))
        if base.rsplit("/", 1)[1].isdigit():
            for job in (old, deleted, running):
                open(os.path.join(base, job), "w").close()
    s.start()
    wait_until(lambda: old not in log_dirs(s), 20, "the old log to go")
    assert {deleted, running} <= set(log_dirs(s))
    wait_until(lambda: s.metric('logs_removed_total{why="age"}') == 1, 20, "it to be counted")
    assert s.metric('logs_removed_total{why="deleted"}') == 0
    s.kill9()


# ---- several projects

def test_several_projects_in_one_list(fake):
    job = job_with_service_lines(fake)
    assert fake.call("POST", "/v2/entries:write", {"logName": "projects/two/logs/x", "entries": [{"textPayload": "of two"}]}).status_code == 200
    write(fake, {"textPayload": "of demo"})
    both = {"resourceNames": ["projects/demo", "projects/two", "projects/demo"]}
    got = entries(fake, size=2, **both)
    assert [e["textPayload"] for e in got if e["logName"] == "projects/two/logs/x"] == ["of two"]
    assert {e["resource"]["labels"]["project_id"] for e in got} == {"demo", "two"}
    assert len(got) == len({(e["logName"], e["insertId"]) for e in got}) == len(entries(fake)) + 1
    assert got[::-1] == entries(fake, "", "timestamp desc", 3, **both)
    assert any(e["resource"]["labels"].get("job_id") == job for e in got)
    token = fake.call("POST", "/v2/entries:list", {**both, "pageSize": 1}).json()["nextPageToken"]
    assert fake.call("POST", "/v2/entries:list", {"resourceNames": ["projects/demo"], "pageSize": 1, "pageToken": token}).status_code == 400


# ---- the official Python library

def python_client(server, grpc):
    logging = pytest.importorskip("google.cloud.logging_v2", reason="google-cloud-logging is not installed: make deps")
    from google.api_core.client_options import ClientOptions
    from google.auth.credentials import AnonymousCredentials
    client = logging.Client(project="demo", credentials=AnonymousCredentials(), _use_grpc=grpc,
                            client_options=ClientOptions(api_endpoint=server.url))
    if grpc:
        from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
        from google.cloud.logging_v2.services.logging_service_v2.transports import LoggingServiceV2GrpcTransport
        from google.cloud.logging_v2._gapic import _LoggingAPI
        import grpc as g
        channel = g.insecure_channel(server.url.split("//")[1])
        client._logging_api = _LoggingAPI(LoggingServiceV2Client(transport=LoggingServiceV2GrpcTransport(channel=channel)), client)
    return client


@pytest.mark.parametrize("grpc", [False, True], ids=["rest", "grpc"])
def test_python_library(fake, grpc):
    job = job_with_service_lines(fake)
    client = python_client(fake, grpc)
    got = list(client.list_entries(filter_=f'resource.labels.job_id="{job}"', page_size=2))
    assert got[0].payload == "Waiting for job to be provisioned." and got[0].resource.labels["job_id"] == job
    assert got[-1].payload == "Job completed successfully."
    newest = next(iter(client.list_entries(filter_=f'resource.labels.job_id="{job}"', order_by="timestamp desc")))
    assert newest.payload == got[-1].payload
    log = client.logger("from-python")
    log.log_text("hello", severity="WARNING", labels={"a": "b"})
    log.log_struct({"step": 3, "message": "m"})
    with log.batch() as batch:
        batch.log_text("one")
        batch.log_text("two")
    # The library says once who it is.
    got = [e for e in log.list_entries() if "logging.googleapis.com/diagnostic" not in (e.payload or {})]
    assert [e.payload for e in got] == ["hello", {"step": 3, "message": "m"}, "one", "two"]
    assert got[0].severity == "WARNING" and got[0].labels["a"] == "b" and isinstance(got[0].timestamp, datetime.datetime)
    log.delete()
    assert list(log.list_entries()) == []


def test_tail(fake):
    client = python_client(fake, True)
    from google.cloud.logging_v2.types import TailLogEntriesRequest
    api = client._logging_api._gapic_api
    done = threading.Event()

    def requests():
        yield TailLogEntriesRequest(resource_names=["projects/demo"], filter='severity>=WARNING')
        done.wait(20)

    stream = api.tail_log_entries(requests=requests())  # returns when the tail has begun
    got = []
    try:
        write(fake, {"textPayload": "quiet"}, {"textPayload": "loud", "severity": "ERROR"})
        for r in stream:
            got += r.entries
            if got:
                break
        write(fake, {"textPayload": "second", "severity": "WARNING"})
        for r in stream:
            got += r.entries
            if r.entries:
                break
    finally:
        done.set()
        stream.cancel()
    assert [e.text_payload for e in got] == ["loud", "second"]


def test_tail_of_a_jobs_own_lines(fake):
    """What a replica prints comes to a tail, once and in order, and what had been there does not."""
    client = python_client(fake, True)
    from google.cloud.logging_v2.types import TailLogEntriesRequest
    job = job_with_service_lines(fake)
    rep = Replica(fake, job)
    rep.line("old", now_us() - 60_000_000)
    done = threading.Event()

    def requests():
        yield TailLogEntriesRequest(resource_names=["projects/demo"], filter=f'resource.labels.job_id="{job}" resource.labels.task_name="workerpool0-0"')
        done.wait(30)

    stream = client._logging_api._gapic_api.tail_log_entries(requests=requests())
    got = []
    try:
        for i in range(20):
            rep.line(f"step {i}" if i % 2 else f"WARNING:root:step {i}", now_us(), 2)
        for r in stream:
            got += r.entries
            if len(got) >= 20:
                break
    finally:
        done.set()
        stream.cancel()
    assert [e.text_payload.split(":")[-1] for e in got] == [f"step {i}" for i in range(20)]
    assert [e.severity for e in got[:2]] == [400, 200] and len({e.insert_id for e in got}) == 20


# ---- gcloud

def gcloud(server, tmp_path, *args, timeout=90):
    skip_without("gcloud")
    env = {**os.environ, "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"), "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
           "CLOUDSDK_CORE_PROJECT": "demo", "CLOUDSDK_CORE_DISABLE_PROMPTS": "1", "CLOUDSDK_AI_REGION": "us-central1",
           "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
           "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": server.url + "/", "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": server.url + "/"}
    return subprocess.run(["gcloud", *args], env=env, capture_output=True, text=True, timeout=timeout)


def test_gcloud_reads_and_streams(fake, tmp_path):
    job = job_with_service_lines(fake)
    rep, t = Replica(fake, job), now_us() - 20_000_000
    for i in range(5):  # several lines of one moment: told apart by insertId
        rep.line(f"step {i}", t)
    rep.line('{"severity":"WARNING","message":"from json"}', t + 1)
    rep.line("", t + 2, 4)
    r = gcloud(fake, tmp_path, "logging", "read", f'resource.labels.job_id="{job}" AND resource.labels.task_name="workerpool0-0"',
               "--order=asc", "--format=value(textPayload,jsonPayload.message)")
    assert r.returncode == 0, r.stderr
    assert [x.strip() for x in r.stdout.splitlines()] == [f"step {i}" for i in range(5)] + ["from json"]
    r = gcloud(fake, tmp_path, "ai", "custom-jobs", "stream-logs", job, "--polling-interval=1", "--task-name=workerpool0-0")
    assert r.returncode == 0, r.stderr
    assert [x.split("\t")[-1].strip().split("  ")[-1] for x in r.stdout.splitlines() if "step" in x] == [f"step {i}" for i in range(5)]
    assert "WARNING" in r.stdout and "from json" in r.stdout


@needs_root
def test_a_containers_lines(local):
    s = local()
    name = s.create(container_job("sh", "-c", "echo out; echo err >&2; echo 'ERROR:root:bad' >&2"))["name"]
    s.wait(name)
    job = name.rsplit("/", 1)[1]
    got = entries(s, f'resource.labels.job_id="{job}" resource.labels.task_name="workerpool0-0"')
    assert sorted((e["severity"], e["textPayload"]) for e in got) == [("ERROR", "ERROR:root:bad"), ("INFO", "err"), ("INFO", "out")]
    assert {e["logName"] for e in got} == {"projects/demo/logs/workerpool0-0"}


EXTENDED = os.environ.get("CUSP_EXTENDED") == "1"
FLOOD_MB = 1024 if EXTENDED else 64


@needs_root
def test_long_lines_and_any_bytes(local):
    """A line of 1 MiB comes in parts without a byte missing; bytes that are no text show as such, and their neighbours as they are."""
    s = local()
    name = s.create(container_job("sh", "-c", "head -c 1048576 /dev/zero | tr '\\0' z; echo; "
                                  "printf 'a\\0b\\377c\\033[1m\\303\\251\\n'; printf 'no newline'"))["name"]
    assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED"
    job = name.rsplit("/", 1)[1]
    mine = f'resource.labels.job_id="{job}" AND resource.labels.task_name="workerpool0-0"'
    wait_until(lambda: any(e["textPayload"] == "no newline" for e in entries(s, mine)), 20, "the last line")
    texts = [e["textPayload"] for e in entries(s, mine)]
    assert set("".join(texts[:-2])) <= {"z"} and sum(map(len, texts[:-2])) == 1 << 20 and len(texts) < 20
    assert texts[-2:] == ["a\ufffdb\ufffdc\x1b[1m\u00e9", "no newline"]
    assert entries(s, mine + ' AND textPayload:"no newline"')[0]["textPayload"] == "no newline"
    s.stop()


def flood_of(mb):
    """A shell command that prints mb megabytes of numbered lines of 1,024 bytes, then a last word."""
    return ["sh", "-c", f"pad=$(head -c 1013 /dev/zero | tr '\\0' x); yes $pad | head -n {mb * 1024} | busybox nl -w 9 -s :; echo the-end"]


def lines_of_stream(server, name, on_line, task="workerpool0-0"):
    r = server.http.get(f"{server.url}/cusp/v1/{name}:streamLogs?follow=true&task={task}", stream=True, timeout=300)
    for line in r.iter_lines(chunk_size=None):
        on_line(line)


def heard_beside(s, flood, heard):
    """How many times something was heard of the other job while the flood ran, to its end."""
    wait_until(lambda: s.get(flood)["state"] not in ("JOB_STATE_PENDING", "JOB_STATE_QUEUED"), 60, "the flood to begin")
    during = 0
    while s.get(flood)["state"] == "JOB_STATE_RUNNING":
        n = len(heard)
        wait_until(lambda: len(heard) > n or s.get(flood)["state"] != "JOB_STATE_RUNNING", 30, "the other job to be heard beside the flood")
        during += len(heard) > n
    assert s.wait(flood, 300)["state"] == "JOB_STATE_SUCCEEDED"
    return during


@needs_root
def test_a_flood_is_whole_and_others_are_heard(local):
    """One job prints without end; another job's lines arrive and the API answers meanwhile; of the flood no line is missing."""
    s = local("--cpu-milli=8000", "--mem-mb=40000")
    other = s.create(container_job("sh", "-c", "i=0; while [ ! -e /gcs/flood/stop ]; do echo tick $i; i=$((i+1)); sleep 0.05; done"))["name"]
    heard = []

    reader = threading.Thread(target=lines_of_stream, args=(s, other, heard.append))
    reader.start()
    wait_until(lambda: heard, 60, "the other job to be heard at all")
    for _ in range(5):  # a short one may be over on a fast machine before the next line was due
        flood = s.create(container_job(*flood_of(FLOOD_MB)))["name"]
        during = heard_beside(s, flood, heard)
        if during:
            break
    assert during > 0
    job = flood.rsplit("/", 1)[1]
    seen, last = 0, None
    r = s.http.get(f"{s.url}/cusp/v1/{flood}:streamLogs?follow=false&format=text&task=workerpool0-0", stream=True, timeout=300)
    for line in r.iter_lines(chunk_size=1 << 20):
        last = line.split(b" ", 3)[3]
        if last != b"the-end":
            seen += 1
            number, rest = last.split(b":", 1)
            assert int(number) == seen and len(rest) == 1013, (seen, last[:60])
    assert seen == FLOOD_MB * 1024 and last == b"the-end"
    newest = s.call("POST", "/v2/entries:list", {"resourceNames": ["projects/demo"], "orderBy": "timestamp desc", "pageSize": 1,
                                                 "filter": f'resource.labels.job_id="{job}" resource.labels.task_name="workerpool0-0"'}).json()
    assert newest["entries"][0]["textPayload"] == "the-end"
    assert s.call("POST", "/storage/v1/b?project=demo", {"name": "flood"}).status_code in (200, 409)
    assert s.call("POST", "/upload/storage/v1/b/flood/o?uploadType=media&name=stop", "x").status_code == 200
    reader.join(60)
    s.wait(other)
    ticks = [json.loads(x)["message"] for x in heard]
    assert ticks == [f"tick {i}" for i in range(len(ticks))] and len(ticks) > 2
    s.stop()


@needs_root
def test_no_line_of_a_flood_is_lost_when_the_server_is_killed(local):
    """kill -9 of the server in the middle, several times: the runner writes on, the reader goes on where it was."""
    s = local("--cpu-milli=4000", "--mem-mb=8000")
    s.listen = s.url.split("//")[1]
    name = s.create(container_job("sh", "-c", "i=0; while [ $i -lt 40 ]; do seq $((i*5000)) $((i*5000+4999)); i=$((i+1)); sleep 0.05; done"))["name"]
    s.wait_state(name, "JOB_STATE_RUNNING")
    cusp = os.path.join(os.environ.get("CUSP_BUILD", "build-dev"), "cusp")
    reader = subprocess.Popen([cusp, "--endpoint", s.url, "--format=json", "custom-jobs", "stream-logs", name, "--task-name=workerpool0-0"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    got = []
    th = threading.Thread(target=lambda: got.extend(reader.stdout))
    th.start()
    for part in (20000, 80000, 140000):
        wait_until(lambda: len(got) > part, 120, f"{part} lines")
        s.kill9()
        s.start()
    assert s.wait(name, 120)["state"] == "JOB_STATE_SUCCEEDED"
    assert reader.wait(120) == 0
    th.join(60)
    want = [str(i) for i in range(200000)]
    assert [json.loads(x)["message"] for x in got] == want
    assert [x["message"] for x in s.logs(name, task="workerpool0-0")] == want
    s.stop()
