"""SIGTERM and SIGKILL while every kind of request is open: who is told what, that it ends at once and clean."""
import contextlib
import json
import os
import signal
import socket
import ssl

import pytest
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import connect as ws_connect

from conftest import fake_job, wait_until
from grpcraw import V1, Raw, frame
import tls_files

GRACE = 10  # seconds that requests under way get; what is tested here must not need them
GET = V1 + "JobService/GetCustomJob"
UNAVAILABLE = 14


def field(number, value):
    value = value.encode()
    return bytes([number << 3 | 2, len(value)]) + value


def stop_soon(s):
    """Clean (no leak, no sanitizer report), and without waiting for the grace to pass."""
    s.proc.send_signal(signal.SIGTERM)
    assert s.proc.wait(GRACE - 2) == 0, "cuspd did not stop cleanly:\n" + s.log()[-4000:]


@pytest.fixture
def s(make_server):
    server = make_server("--engine=fake", "--limit=hold_get_ms=600000", "--cpu-milli=16000", "--mem-mb=65536")
    server.pem = tls_files.write(os.path.join(server.data_dir, "tls"))
    server.start()
    server.port = int(server.url.rsplit(":", 1)[1])
    server.job = server.create(fake_job(run_ms=600000))["name"]
    server.wait_state(server.job, "JOB_STATE_RUNNING")
    server.http.close()
    return server


def dial(s, data=b""):
    c = socket.create_connection(("127.0.0.1", s.port), timeout=30)
    c.sendall(data)
    return c


def read_all(c):
    got = b""
    while True:
        try:
            more = c.recv(65536)
        except ConnectionResetError:
            return got
        if not more:
            return got
        got += more


def hello(s):
    """The first bytes of a TLS client, as many as it sends by itself."""
    out, i = ssl.MemoryBIO(), ssl.MemoryBIO()
    t = ssl._create_unverified_context().wrap_bio(i, out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        t.do_handshake()
    return out.read()


def two_are_held(s):
    return "\ncusp_held_gets 2\n" in s.call("GET", "/metrics").text


@pytest.fixture
def stack():
    with contextlib.ExitStack() as st:
        yield st


def test_everything_that_is_open_hears_of_the_end(s, stack):
    polls = {"x_goog_api_client": "gl-python/3.11 grpc/1.6"}
    g = Raw(s.url)
    watch = g.start("grpc.health.v1.Health/Watch")
    g.send(watch, frame(), end=True)
    questions = g.start("grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    unsent = g.start(GET)
    half = g.start(GET)
    g.send(half, frame(field(1, s.job))[:9])
    stalled = g.start("grpc.health.v1.Health/Watch")  # a stream's method, its one message not here yet
    waiting = g.start(GET, **polls)
    g.send(waiting, frame(field(1, s.job)), end=True)
    rest = dial(s, f"GET /v1/{s.job} HTTP/1.1\r\nHost: localhost\r\nX-Goog-Api-Client: x\r\n\r\n".encode())
    wait_until(lambda: two_are_held(s), what="both GETs to be held")
    ws = stack.enter_context(ws_connect(f"ws://127.0.0.1:{s.port}/cusp/v1/{s.job}:streamLogs?follow=true"))
    ws.recv(timeout=20)
    lines = dial(s, f"GET /cusp/v1/{s.job}:streamLogs?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert lines.recv(4096).startswith(b"HTTP/1.1 200")
    idle = [dial(s), dial(s, b"GET / HT"), dial(s, b"PRI * HTTP/2.0\r\n"), dial(s, hello(s)), dial(s, hello(s)[:100])]
    protected = ssl._create_unverified_context().wrap_socket(dial(s), server_hostname="localhost")
    followed = g.start(f"/cusp/v1/{s.job}:streamLogs?follow=true", end=True, _method="GET", te=None, content_type=None)
    g.until(lambda: g.replies[followed].body)
    s.http.close()
    stop_soon(s)
    for sid in (watch, questions, unsent, half, stalled):
        r = g.wait(sid)
        assert r.code == UNAVAILABLE and "shutting down" in r.message, sid
    assert g.wait(waiting).code == 0  # a held GET is answered as things are
    assert g.goaway == 0
    head, _, body = read_all(rest).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and json.loads(body)["state"] == "JOB_STATE_RUNNING"
    with pytest.raises(ConnectionClosedOK):
        while True:
            ws.recv(timeout=20)
    assert ws.close_code == 1001
    assert b"\r\n0\r\n" not in read_all(lines)  # broken off: the log has not ended, a follower asks again
    assert g.replies[followed].reset is not None
    for c in idle:
        read_all(c)
    assert protected.recv(100) == b""


def test_a_kill_leaves_nothing_behind_that_hinders_the_next_life(s):
    g = Raw(s.url)
    watch = g.start("grpc.health.v1.Health/Watch")
    g.send(watch, frame(), end=True)
    waiting = g.start(GET, x_goog_api_client="x")
    g.send(waiting, frame(field(1, s.job)), end=True)
    shaking = dial(s, hello(s))
    asking = dial(s, f"GET /v1/{s.job} HTTP/1.1\r\nHost: a\r\nX-Goog-Api-Client: x\r\n\r\n".encode())
    wait_until(lambda: two_are_held(s), what="both GETs to be held")
    s.kill9()
    assert read_all(asking) == b""  # nothing that could be taken for an answer
    shaking.close()
    s.start()
    assert s.get(s.job)["name"] == s.job
    assert "\ncusp_held_gets 0\n" in s.call("GET", "/metrics").text
    s.stop()
