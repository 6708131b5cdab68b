"""Every case of every storage client is ok; README.md has the rules."""
import json
import os
import subprocess

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "cusp", "storage-clients")
extended = pytest.mark.skipif(not os.environ.get("CUSP_EXTENDED"), reason="extended: make test-clients runs it")
CASES = {"node": 11, "gcsfs": 9, "go": 11, "java": 9, "gcloud": 8, "pandas": 7, "tensorflow": 7}


@pytest.mark.parametrize("client", ["node", "gcsfs", pytest.param("go", marks=extended), pytest.param("java", marks=extended),
                                    pytest.param("gcloud", marks=extended), pytest.param("pandas", marks=extended),
                                    pytest.param("tensorflow", marks=extended)])
def test_client(make_server, client):
    fake = make_server("--engine=fake")
    fake.init_tls()
    fake.start()
    env = {**os.environ, "CUSP_ENDPOINT": fake.url, "CUSP_PROJECT": "demo", "CUSP_CA": fake.ca,
           "CUSP_CLIENT_ENV": os.path.join(CACHE, client)}
    setup = os.path.join(HERE, client, "setup")
    if os.path.exists(setup):
        done = subprocess.run([setup], env=env, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode == 77:
            why = json.loads(done.stdout)
            pytest.skip(f"{client}: {why['skip']} ({why['install']})")
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([os.path.join(HERE, client, "run")], env=env, capture_output=True, text=True, timeout=300, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    said = done.stdout + done.stderr[-2000:]
    assert len(lines) == CASES[client], said
    bad = [f"{line['case']}: {line['detail']}" for line in lines if not line["ok"]]
    assert not bad and done.returncode == 0, "\n".join(bad) + "\n" + fake.log()[-2000:]
    if os.environ.get("CUSP_EXTENDED"):
        print(done.stdout)
