"""Every case of every logging client is ok; README.md has the rules."""
import os

import pytest

from client_cases import every_case_is_ok
from conftest import fake_job, wait_until, with_tls

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = {"node": 9, "go": 9, "java": 9}
pytestmark = pytest.mark.skipif(not os.environ.get("CUSP_EXTENDED"), reason="extended: make test-clients runs it")


def ended_job(server):
    name = server.call("POST", "/v1/projects/demo/locations/us-central1/customJobs", fake_job()).json()["name"]
    wait_until(lambda: server.call("GET", f"/v1/{name}").json()["state"] == "JOB_STATE_SUCCEEDED")
    job = name.rsplit("/", 1)[1]
    body = {"resourceNames": ["projects/demo"], "filter": f'resource.labels.job_id="{job}" AND "Job completed successfully."'}
    wait_until(lambda: server.call("POST", "/v2/entries:list", body).json().get("entries"))
    return job


@pytest.mark.parametrize("client", CASES)
def test_client(make_server, client):
    s = with_tls(make_server)
    every_case_is_ok(HERE, client, CASES[client], s, CUSP_JOB=ended_job(s), CUSP_TLS=os.path.dirname(s.ca))
