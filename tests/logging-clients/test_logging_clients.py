"""Every case of every logging client is ok; README.md has the rules."""
import json
import os
import subprocess

import pytest

from conftest import fake_job, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "cusp", "logging-clients")
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
    fake = make_server("--engine=fake")
    fake.init_tls()
    fake.start()
    env = {**os.environ, "CUSP_ENDPOINT": fake.url, "CUSP_PROJECT": "demo", "CUSP_JOB": ended_job(fake),
           "CUSP_TLS": os.path.join(fake.data_dir, "tls"), "CUSP_CLIENT_ENV": os.path.join(CACHE, client)}
    done = subprocess.run([os.path.join(HERE, client, "setup")], env=env, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode == 77:
        why = json.loads(done.stdout)
        pytest.skip(f"{client}: {why['skip']} ({why['install']})")
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([os.path.join(HERE, client, "run")], env=env, capture_output=True, text=True, timeout=300, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == CASES[client], done.stdout + done.stderr[-2000:]
    bad = [f"{line['case']}: {line['detail']}" for line in lines if not line["ok"]]
    assert not bad and done.returncode == 0, "\n".join(bad) + "\n" + done.stderr[-1000:] + fake.log()[-2000:]
    print(done.stdout)
