"""A client of tests/storage-clients or tests/logging-clients, set up and run: every one of its cases must be ok. README.md there
has the rules."""
import json
import os
import subprocess

import pytest

from conftest import patience

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "cusp")


def every_case_is_ok(here, client, count, server, **told):
    """here: the folder of the clients; count: of the cases that this one has; told: its environment beside what all get."""
    env = {**os.environ, "CUSP_ENDPOINT": server.url, "CUSP_PROJECT": "demo",
           "CUSP_CLIENT_ENV": os.path.join(CACHE, os.path.basename(here), client), **told}
    setup = os.path.join(here, client, "setup")
    if os.path.exists(setup):
        done = subprocess.run([setup], env=env, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode == 77:
            why = json.loads(done.stdout)
            pytest.skip(f"{client}: {why['skip']} ({why['install']})")
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([os.path.join(here, client, "run")], env=env, capture_output=True, text=True, timeout=patience(300),
                          check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == count, done.stdout + done.stderr[-2000:]
    bad = [f"{line['case']}: {line['detail']}" for line in lines if not line["ok"]]
    assert not bad and done.returncode == 0, "\n".join(bad) + "\n" + done.stderr[-1000:] + server.log()[-2000:]
    if os.environ.get("CUSP_EXTENDED"):
        print(done.stdout)
