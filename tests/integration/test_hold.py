"""GETs that wait for a job that is about to end (docs/internals/api.md): who waits, for what, and who does not."""
import socket
import threading

import pytest
import requests

from conftest import fake_job, wait_until
from grpcraw import V1, connect

LIBRARY = {"x-goog-api-client": "gl-python/3.11 gapic/1.2"}
LONG = "--limit=hold_get_ms=600000"


class Asking(threading.Thread):
    """One GET on a connection of its own."""

    def __init__(self, server, name, headers=LIBRARY):
        super().__init__(daemon=True)
        self.http, self.url, self.headers, self.answer = requests.Session(), f"{server.url}/v1/{name}", headers, None
        self.start()

    def run(self):
        try:
            self.answer = self.http.get(self.url, headers=self.headers, timeout=60).json()
        except OSError as e:
            self.answer = e

    def join(self, timeout=60):
        super().join(timeout)
        assert not self.is_alive()
        return self.answer


def test_library_sees_the_end_of_a_short_job_in_its_first_get(make_server):
    s = make_server("--engine=fake", LONG).start()
    job = s.create(fake_job(run_ms=300))
    r = s.call("GET", "/v1/" + job["name"], headers=LIBRARY)
    assert r.json()["state"] == "JOB_STATE_SUCCEEDED"
    assert s.metric("held_gets") == 0 and s.metric("held_gets_ended_total") == 1


def test_person_is_answered_at_once_unless_she_offers_to_wait(make_server):
    s = make_server("--engine=fake", LONG, "--cpu-milli=16000", "--mem-mb=65536").start()
    job = s.create(fake_job(run_ms=600000))
    assert s.get(job["name"])["state"] != "JOB_STATE_SUCCEEDED"
    assert s.metric("held_gets_total") == 0
    r = s.call("GET", "/v1/" + job["name"], headers={**LIBRARY, "prefer": "respond-async, wait=0"})
    assert r.status_code == 200 and s.metric("held_gets_total") == 0
    job = s.create(fake_job(run_ms=300))
    r = s.call("GET", "/v1/" + job["name"], headers={"prefer": "wait=60"})
    assert r.json()["state"] == "JOB_STATE_SUCCEEDED"


def test_others_are_not_delayed_and_shutdown_lets_go(make_server):
    s = make_server("--engine=fake", LONG).start()
    job = s.create(fake_job(run_ms=600000))
    held = Asking(s, job["name"])
    wait_until(lambda: s.metric("held_gets") == 1, what="the GET to be held")
    assert s.get(job["name"])["name"] == job["name"]
    assert len(s.call("GET", "/v1/projects/demo/locations/us-central1/customJobs", headers=LIBRARY).json()["customJobs"]) == 1
    s.stop()
    assert held.join()["name"] == job["name"]


def test_client_that_goes_away_frees_its_place(make_server):
    s = make_server("--engine=fake", LONG, "--limit=hold_get_max=1").start()
    job = s.create(fake_job(run_ms=600000))
    raw = socket.create_connection(("127.0.0.1", int(s.url.rsplit(":", 1)[1])))
    raw.sendall(f"GET /v1/{job['name']} HTTP/1.1\r\nHost: localhost\r\nX-Goog-Api-Client: x\r\n\r\n".encode())
    wait_until(lambda: s.metric("held_gets") == 1, what="the GET to be held")
    # no room for a second one: answered at once
    assert s.call("GET", "/v1/" + job["name"], headers=LIBRARY).json()["state"] != "JOB_STATE_SUCCEEDED"
    assert 'cusp_limit_rejections_total{name="hold_get_max"} 1' in s.call("GET", "/metrics").text
    raw.close()
    wait_until(lambda: s.metric("held_gets") == 0, what="the place to be free")
    held = Asking(s, job["name"])
    wait_until(lambda: s.metric("held_gets") == 1, what="the next GET to be held")
    s.call("POST", f"/v1/{job['name']}:cancel", {})
    assert held.join()["state"] == "JOB_STATE_CANCELLED"


@pytest.mark.parametrize("flags", [["--limit=hold_get_ms=0"], [LONG, "--hold"]])
def test_nothing_waits_when_off_or_when_the_job_is_queued(make_server, flags):
    s = make_server("--engine=fake", *flags).start()
    job = s.create(fake_job(run_ms=600000))
    assert s.call("GET", "/v1/" + job["name"], headers=LIBRARY).status_code == 200
    assert s.metric("held_gets_total") == 0


def test_job_that_has_run_for_a_while_is_not_waited_for(make_server):
    s = make_server("--engine=fake", "--limit=hold_get_ms=50").start()
    job = s.create(fake_job(run_ms=600000))
    s.wait_state(job["name"], "JOB_STATE_RUNNING")
    wait_until(lambda: metric_grows_not(s, job["name"]), what="the window to pass")


def metric_grows_not(s, name):
    before = s.metric("held_gets_total")
    s.call("GET", "/v1/" + name, headers=LIBRARY)
    return s.metric("held_gets_total") == before


def test_grpc_calls_are_held_unless_their_deadline_is_near(make_server):
    s = make_server("--engine=fake", "--limit=hold_get_ms=20000", "--cpu-milli=16000", "--mem-mb=65536").start()
    channel, rpc = connect(s)
    get = V1 + "JobService/GetCustomJob"
    polls = [("x-goog-api-client", "gl-python/3.11 grpc/1.6")]
    with channel:
        long = s.create(fake_job(run_ms=600000))["name"]
        assert rpc(get, _timeout=10, _metadata=polls, name=long).name == long  # less than the hold and a second
        assert s.metric("held_gets_total") == 0
        job = s.create(fake_job(run_ms=300))["name"]
        assert rpc(get, _timeout=60, _metadata=polls, name=job).state == 4  # JOB_STATE_SUCCEEDED
        assert s.metric("held_gets_ended_total") == 1


def test_grpc_client_that_cancels_frees_its_place(make_server):
    s = make_server("--engine=fake", LONG).start()
    channel, rpc = connect(s)
    name = s.create(fake_job(run_ms=600000))["name"]
    asking = threading.Thread(target=lambda: pytest.raises(Exception, rpc, V1 + "JobService/GetCustomJob", _timeout=None,
                                                           _metadata=[("x-goog-api-client", "x")], name=name), daemon=True)
    asking.start()
    wait_until(lambda: s.metric("held_gets") == 1, what="the call to be held")
    channel.close()
    wait_until(lambda: s.metric("held_gets") == 0, what="the place to be free")
    asking.join(30)
    assert s.get(name)["name"] == name
