"""The log of a job over WebSocket, with a client library that checks what we send."""
import json
import os
import socket

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from conftest import PARENT, fake_job, wait_until
import tls_files


def stream_url(s, name, query="follow=true", scheme="ws"):
    return f"{scheme}://{s.url.split('://')[1]}/cusp/v1/{name}:streamLogs?{query}"


def test_same_records_as_the_stream_of_lines(fake):
    job = fake.create(fake_job())["name"]
    fake.wait(job)
    with connect(stream_url(fake, job)) as ws:
        messages = list(ws)  # ends with a close code of 1000; anything else raises
    assert all(isinstance(m, str) for m in messages)
    assert [json.loads(m) for m in messages] == fake.logs(job, follow=True)
    assert len(messages) > 0 and "message" in json.loads(messages[0])
    assert ws.close_code == 1000


def test_live(fake):
    job = fake.create(fake_job(run_ms=100000))["name"]
    fake.wait_state(job, "JOB_STATE_RUNNING")
    with connect(stream_url(fake, job)) as ws:
        assert "message" in json.loads(ws.recv(timeout=20))
        pong = ws.ping(b"are you there")
        assert pong.wait(20)
        assert fake.call("POST", f"/v1/{job}:cancel", {}).status_code == 200
        for m in ws:  # until the server says it is over
            json.loads(m)
    assert ws.close_code == 1000


def test_a_client_that_leaves_stops_the_follow(fake):
    job = fake.create(fake_job(run_ms=100000))["name"]
    fake.wait_state(job, "JOB_STATE_RUNNING")
    before = fake.metric("connections_open")
    with connect(stream_url(fake, job)) as ws:
        ws.recv(timeout=20)
    c = socket.create_connection(("127.0.0.1", int(fake.url.rsplit(":", 1)[1])))
    c.sendall((f"GET /cusp/v1/{job}:streamLogs HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
               "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode())
    assert c.recv(100).startswith(b"HTTP/1.1 101 ")
    c.close()  # without a word
    wait_until(lambda: fake.metric("connections_open") <= before, 20, "the connections to be gone")


def test_shutdown_says_going_away(make_server):
    s = make_server("--engine=fake").start()
    job = s.create(fake_job(run_ms=100000))["name"]
    s.wait_state(job, "JOB_STATE_RUNNING")
    with connect(stream_url(s, job)) as ws:
        ws.recv(timeout=20)
        s.proc.send_signal(15)
        with pytest.raises(Exception):
            while True:
                ws.recv(timeout=20)
        assert ws.close_code == 1001
    assert s.proc.wait(60) == 0


def test_errors_are_http(fake):
    with pytest.raises(InvalidStatus) as e:
        connect(stream_url(fake, f"{PARENT}/customJobs/123"))
    assert e.value.response.status_code == 404
    assert json.loads(e.value.response.body)["error"]["status"] == "NOT_FOUND"
    job = fake.create(fake_job())["name"]
    r = requests.get(stream_url(fake, job, scheme="http"), timeout=20, headers={
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "12", "Sec-WebSocket-Key": "x"})
    assert r.status_code == 426 and r.headers["Sec-WebSocket-Version"] == "13"


def test_pages_of_other_sites_cannot_read_logs(fake):
    job = fake.create(fake_job())["name"]
    with pytest.raises(InvalidStatus) as e:
        connect(stream_url(fake, job), origin="https://evil.example")
    assert e.value.response.status_code == 403
    assert "another origin" in json.loads(e.value.response.body)["error"]["message"]
    with connect(stream_url(fake, job), origin=fake.url) as ws:
        ws.recv(timeout=20)


def test_through_tls(make_server):
    import ssl
    s = make_server("--engine=fake")
    pem = tls_files.write(os.path.join(s.data_dir, "tls"))
    s.start()
    job = s.create(fake_job())["name"]
    s.wait(job)
    with connect(stream_url(s, job, scheme="wss"), ssl=ssl.create_default_context(cafile=pem)) as ws:
        assert [json.loads(m) for m in ws] == s.logs(job, follow=True)
    s.stop()
