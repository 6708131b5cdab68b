"""A browser on this machine shows pages of anybody: none of them may create jobs here, or read what is here."""
import socket

import pytest

from conftest import PARENT, Server, fake_job

JOBS = f"/v1/{PARENT}/customJobs"
# Whatever changes something, in every dialect that the port speaks.
CHANGES = [("POST", JOBS), ("POST", "/storage/v1/b?project=demo"), ("POST", "/upload/storage/v1/b/bkt/o?uploadType=media&name=x"),
           ("POST", "/cusp/v1/images:import?name=x"), ("POST", "/v2/entries:write"), ("POST", "/v2/x/blobs/uploads/"),
           ("PUT", "/bkt/x"), ("DELETE", "/storage/v1/b/bkt"), ("POST", f"/ui/{PARENT}/operations/1:cancel"),
           ("POST", "/google.cloud.aiplatform.v1.JobService/CreateCustomJob")]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    s = Server(tmp_path_factory.mktemp("origin") / "data", "--engine=fake").start()
    yield s
    s.stop()


def refusal(r):
    assert r.status_code == 403, r.text
    if "json" not in r.headers["content-type"]:
        return r.text
    body = r.json()
    return body["error"]["message"] if "error" in body else body["errors"][0]["message"]  # the registry has words of its own


@pytest.mark.parametrize("method,path", CHANGES)
def test_pages_of_others_change_nothing(served, method, path):
    before = served.call("GET", JOBS).json()
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "file://"):
        # "text/plain" needs no preflight: this is what a page can send without asking.
        r = served.call(method, path, b"{}", headers={"Origin": origin, "Content-Type": "text/plain"})
        assert origin in refusal(r) and "access-control-allow-origin" not in r.headers
    assert served.call("GET", JOBS).json() == before


def test_no_page_is_told_that_it_may(served):
    for path in (JOBS, "/storage/v1/b/bkt/o", "/v2/"):
        r = served.call("OPTIONS", path, headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST",
                                                "Access-Control-Request-Headers": "x-http-method-override"})
        assert not [h for h in r.headers if h.lower().startswith("access-control-")], r.headers
    assert "access-control-allow-origin" not in served.call("GET", JOBS, headers={"Origin": "https://evil.example"}).headers


def test_its_own_pages_and_programs_are_served(served):
    host = served.url.removeprefix("http://")
    for headers in ({}, {"Origin": served.url}, {"Origin": "http://" + host.upper()}):
        assert served.call("POST", JOBS, fake_job(), headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "googleapis.com.evil.example", "evilgoogleapis.com",
                                  "localhost.evil.example:80", "1.2.3.4.5", "256.0.0.1.example."])
def test_names_of_others_are_refused_whatever_is_asked(served, host):
    for method, path in (("GET", JOBS), ("POST", JOBS), ("GET", "/storage/v1/b?project=demo"), ("GET", "/healthz")):
        r = served.call(method, path, headers={"Host": host})
        assert host in refusal(r) and "--host-names" in r.text


@pytest.mark.parametrize("host", ["localhost", "localhost.:8780", "127.0.0.1:1", "[::1]:5", "buildhost", "us-central1-aiplatform.googleapis.com",
                                  "storage.googleapis.com.", "x.localhost"])
def test_our_own_names_are_served(served, host):
    assert served.call("GET", JOBS, headers={"Host": host}).status_code == 200


def test_names_that_were_configured(make_server):
    s = make_server("--engine=fake", "--host-names=train.example, Cusp.Test").start()
    for host in ("train.example", "cusp.test:8780", "TRAIN.example."):
        assert s.call("GET", JOBS, headers={"Host": host}).status_code == 200
    own = {"Host": "train.example", "Origin": "https://train.example"}
    assert s.call("POST", JOBS, fake_job(), headers=own).status_code == 200
    refusal(s.call("GET", JOBS, headers={"Host": "a.train.example"}))
    refusal(s.call("POST", JOBS, fake_job(), headers={"Host": "train.example", "Origin": "https://cusp.test"}))
    s.stop()


def test_a_target_with_a_host_of_its_own_counts(served):
    """HTTP/1.1 lets a request name a host twice; the absolute form wins (RFC 9112 3.2.2), and a page's proxy sends it."""
    address = served.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=30) as c:
        c.sendall(f"GET http://evil.example{JOBS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        got = b"".join(iter(lambda: c.recv(65536), b""))
    assert got.startswith(b"HTTP/1.1 403 ")
