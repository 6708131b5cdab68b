"""TLS on the one port: both kinds of clients, what is refused and how, reload, certificates that are wrong."""
import socket
import ssl
import os

import pytest
import requests

from conftest import fake_job, wait_until
import tls_files


@pytest.fixture
def tls_server(make_server):
    """Makes a server with a certificate; .pem is its path, .port its port."""
    def make(*flags, start=True, **kw):
        s = make_server("--engine", "fake", *flags)
        s.pem = tls_files.write(os.path.join(s.data_dir, "tls"), **kw)
        if start:
            s.start()
            s.port = int(s.url.rsplit(":", 1)[1])
        return s
    return make


def context(pem=None, alpn=None):
    c = ssl.create_default_context(cafile=pem) if pem else ssl._create_unverified_context()
    if alpn:
        c.set_alpn_protocols(alpn)
    return c


def connect(s, pem=None, alpn=None, name="localhost", session=None, ctx=None):
    raw = socket.create_connection(("127.0.0.1", s.port), timeout=20)
    return (ctx or context(pem, alpn)).wrap_socket(raw, server_hostname=name, session=session)


def https(s):
    """A requests session that trusts the server's certificate and nothing of the environment."""
    http = requests.Session()
    http.trust_env = False
    http.verify = s.pem
    return http


def read_all(sock):
    got = b""
    while True:
        b = sock.recv(65536)
        if not b:
            return got
        got += b


def test_both_kinds_of_clients_share_the_port(tls_server):
    s = tls_server()
    job = s.create(fake_job())
    r = https(s).get(f"https://localhost:{s.port}/v1/{job['name']}", timeout=20)
    assert r.status_code == 200 and r.json()["name"] == job["name"]
    assert s.wait(job["name"])["state"] == "JOB_STATE_SUCCEEDED"
    assert s.metric('tls_handshakes_total{result="full"}') == 1
    assert 364 * 86400 < s.metric("tls_certificate_expires_seconds") <= 365 * 86400
    s.stop()


def test_alpn(tls_server):
    s = tls_server()
    for offer, want in ((["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), (["http/1.1", "h2"], "h2"), (None, None)):
        with connect(s, s.pem, offer) as c:
            assert c.selected_alpn_protocol() == want
            assert c.version() == "TLSv1.3"
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        connect(s, s.pem, ["spdy/1"])
    # Without ALPN the bytes inside decide, as in clear text: here HTTP/2 by prior knowledge.
    with connect(s, s.pem) as c:
        c.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        assert c.recv(9)[3] == 4  # SETTINGS
    with connect(s, s.pem) as c:
        c.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert read_all(c).startswith(b"HTTP/1.1 200 ")
    s.stop()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_are_refused(tls_server):
    s = tls_server()
    c = context()
    c.minimum_version = ssl.TLSVersion.TLSv1_2
    c.maximum_version = ssl.TLSVersion.TLSv1_2
    with connect(s, ctx=c) as t:
        assert t.version() == "TLSv1.2" and "ECDHE" in t.cipher()[0] and "GCM" in t.cipher()[0]
    c.set_ciphers("ALL:@SECLEVEL=0")
    c.minimum_version = ssl.TLSVersion.TLSv1
    c.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        connect(s, ctx=c)
    wait_until(lambda: "TLS handshake failed" in s.log() and "unsupported protocol" in s.log(), 10, "the log line")
    s.stop()


def test_sessions_resume(tls_server):
    s = tls_server()
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        c = context(s.pem)
        c.minimum_version = c.maximum_version = version
        with connect(s, ctx=c) as t:
            t.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            t.recv(65536)
            session = t.session
        with connect(s, ctx=c, session=session) as t:
            assert t.session_reused
    assert s.metric('tls_handshakes_total{result="resumed"}') == 2
    s.stop()


def test_required_refuses_clear_text_with_an_answer(tls_server):
    s = tls_server("--tls", "required")
    assert s.url.startswith("https://")
    r = requests.get(f"http://127.0.0.1:{s.port}/healthz", timeout=20)
    e = r.json()["error"]
    assert r.status_code == 400 and e["status"] == "INVALID_ARGUMENT"
    assert f"https://127.0.0.1:{s.port}" in e["message"] and "tls = required" in e["message"]
    with socket.create_connection(("127.0.0.1", s.port), timeout=20) as c:
        c.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        got = read_all(c)
        # an empty SETTINGS, then GOAWAY with INADEQUATE_SECURITY and the text
        assert got[:9] == b"\0\0\0\4\0\0\0\0\0" and got[12] == 7 and got[22:26] == b"\0\0\0\x0c"
        assert b"use https://" in got
    assert https(s).get(f"https://localhost:{s.port}/healthz", timeout=20).status_code == 200
    s.stop()


def test_off_and_missing_files(tls_server, make_server):
    s = tls_server("--tls", "off")
    with pytest.raises(ssl.SSLError):
        connect(s)
    assert s.call("GET", "/healthz").status_code == 200
    wait_until(lambda: "tls = off" in s.log(), 10, "the reason in the log")
    s.stop()

    s = make_server("--engine", "fake", "--tls", "required", name="none")
    s.start(expect_ready=False)
    assert "cusp tls init" in s.log() and "tls_cert" in s.log()

    s = make_server("--engine", "fake", name="later").start()
    s.port = int(s.url.rsplit(":", 1)[1])
    with pytest.raises(ssl.SSLError):
        connect(s)
    wait_until(lambda: "cusp tls init" in s.log(), 10, "what to do, in the log")
    pem = tls_files.write(os.path.join(s.data_dir, "tls"))
    s.proc.send_signal(1)
    wait_until(lambda: "TLS reloaded" in s.log(), 10, "the reload")
    connect(s, pem).close()
    s.stop()


def test_reload(tls_server):
    s = tls_server()
    folder = os.path.dirname(s.pem)
    old = open(s.pem).read()
    with connect(s, s.pem) as kept:
        kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert kept.recv(65536).startswith(b"HTTP/1.1 200")
        # a bad key: named, and the old pair stays
        key = open(os.path.join(folder, "server.key")).read()
        open(os.path.join(folder, "server.key"), "w").write("no key\n")
        s.proc.send_signal(1)
        wait_until(lambda: "old certificate stays" in s.log(), 10, "the refusal")
        assert "server.key: not a PEM private key" in s.log()
        with connect(s, s.pem):
            pass
        # one that belongs to another certificate
        tls_files.write(folder, cn="other")
        new = open(s.pem).read()
        open(os.path.join(folder, "server.key"), "w").write(key)
        at = len(s.log())
        s.proc.send_signal(1)
        wait_until(lambda: "old certificate stays" in s.log()[at:], 10, "the refusal")
        # a good pair
        tls_files.write(folder, cn="new")
        assert open(s.pem).read() not in (old, new)
        s.proc.send_signal(1)
        wait_until(lambda: "TLS reloaded" in s.log(), 10, "the reload")
        with connect(s, s.pem):
            pass
        kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert kept.recv(65536).startswith(b"HTTP/1.1 200")
    s.stop()


def test_expired_and_misnamed_certificates_are_served(tls_server):
    s = tls_server("--log-level", "debug", days=-2, names=("elsewhere.example",))
    assert "certificate has expired" in s.log()
    assert s.metric("tls_certificate_expires_seconds") < 0
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        connect(s, s.pem, name="elsewhere.example")
    with connect(s, name="wrong.example") as c:  # who does not check gets through
        c.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert c.recv(65536).startswith(b"HTTP/1.1 200")
    wait_until(lambda: "name=wrong.example" in s.log(), 10, "the name in the debug log")
    s.stop()


def test_garbage_inside_and_around_handshakes(tls_server):
    s = tls_server()
    before = s.metric("connections_open")

    def raw(*pieces):
        c = socket.create_connection(("127.0.0.1", s.port), timeout=20)
        for p in pieces:
            c.sendall(p)
        return c

    with raw(b"\x16\x03\x01\x00\x05hello") as c:  # not a handshake message
        assert read_all(c)[:1] == b"\x15"
    with raw(b"\x16\x03\x01\xff\xff" + b"x" * 1000) as c:  # a record longer than any may be
        assert read_all(c)[:1] == b"\x15"
    raw(b"\x16").close()
    raw(b"\x16\x03\x01\x02\x00\x01\x00").close()  # cut off in the middle of a hello
    c = connect(s)
    fd = c.detach()
    with socket.socket(fileno=fd) as p:  # clear text inside an established connection
        p.settimeout(20)
        p.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            read_all(p)
        except ConnectionResetError:
            pass
    wait_until(lambda: "TLS connection broken off" in s.log(), 10, "the log line")
    wait_until(lambda: s.metric("connections_open") <= before, 10, "all of them to be gone")
    assert s.metric("tls_handshakes_open") == 0
    assert s.metric('tls_handshakes_total{result="failed"}') == 4
    s.stop()


def test_goodbye_is_said_both_ways(tls_server):
    s = tls_server()
    with connect(s, s.pem) as c:
        c.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert read_all(c).startswith(b"HTTP/1.1 200")  # Python raises where close_notify is missing
    with connect(s, s.pem) as c:
        c.unwrap()
    s.stop()


def test_objects_up_and_down(tls_server):
    s = tls_server()
    base = f"https://localhost:{s.port}"
    http = https(s)
    data = os.urandom(5 * 1024 * 1024 + 17)
    assert http.post(base + "/storage/v1/b?project=demo", json={"name": "tls-bucket"}, timeout=20).status_code == 200
    r = http.post(base + "/upload/storage/v1/b/tls-bucket/o?uploadType=media&name=o", data=data, timeout=60)
    assert r.status_code == 200 and r.json()["selfLink"].startswith("https://")
    r = http.get(base + "/storage/v1/b/tls-bucket/o/o?alt=media", timeout=60)
    assert r.content == data
    s.stop()
