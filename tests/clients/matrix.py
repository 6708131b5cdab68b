"""Runs the drivers of tests/clients and holds them to README.md there; one pytest test for each client, transport and case.

`make test-clients` puts the same drivers in a table; here they run against a sanitizer build, and a case that fails
shows the server's log.
"""
import concurrent.futures
import contextlib
import functools
import json
import os
import subprocess

import pytest

from conftest import BUILD, Server, needs_root, patience

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = ("create", "get", "list_paging", "filter", "cancel", "delete", "wait_real_job", "failed_job", "error_mapping",
         "operations")
# Drivers mostly wait (the Python SDK looks at its job every 5 s): so that their waits overlap.
AT_ONCE = concurrent.futures.ThreadPoolExecutor(3)


def program(client, name):
    return os.path.join(HERE, client, name)


def transports(client):
    return subprocess.run([program(client, "run"), "--list"], capture_output=True, text=True, check=True).stdout.split()


def cases(client, quick=None):
    """Decorator: the test gets `transport` and `case` for all that the driver can do; in the quick mode of `make test`
    the transports `quick` alone, when given."""
    every = transports(client)
    assert set(quick or ()) <= set(every), (quick, every)
    chosen = quick if quick and os.environ.get("CUSP_TEST_MODE", "quick") == "quick" else every
    params = [pytest.param(t, c, id=f"{t}-{c}") for t in chosen for c in CASES]

    def mark(fn):
        return needs_root(pytest.mark.parametrize("transport,case", params)(fn))
    return mark


@functools.cache
def missing(client):
    """Why this client cannot run here, or None; sets it up first."""
    for argv in ([program(client, "setup")], [program(client, "run"), "--check"]):
        if not os.path.exists(argv[0]):
            continue
        done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode == 77:
            line = json.loads(done.stdout)
            assert line["client"] == client, line
            return f"{line['skip']} ({line.get('install') or 'nothing to install'})"
        assert done.returncode == 0, f"{' '.join(argv)} exited with {done.returncode}:\n{done.stdout}{done.stderr}"
    return None


def selected(session, client):
    """Transports of this client that this pytest session is going to ask for, in order."""
    asked = [i.callspec.params["transport"] for i in session.items if i.path.name == f"test_{client}.py"]
    return list(dict.fromkeys(asked))


@functools.cache
def started(client, transport, *addresses):
    """A future of the run's lines, by case."""
    return AT_ONCE.submit(results, client, transport, *addresses)


def results(client, transport, endpoint, hostport, ca):
    """Runs the driver; its lines by case, after the rules of README.md were checked."""
    env = {**os.environ, "CUSP_ENDPOINT": endpoint, "CUSP_HOSTPORT": hostport, "CUSP_CA": ca, "CUSP_PROJECT": "demo",
           "CUSP_LOCATION": "us-central1", "CUSP_IMAGE": "busybox"}
    done = subprocess.run([program(client, "run"), "--transport", transport], env=env, capture_output=True, text=True,
                          timeout=patience(240), check=False)
    said = done.stdout + done.stderr[-3000:]
    lines = [json.loads(x) for x in done.stdout.splitlines()]
    for line in lines:
        assert line["client"] == client and line["transport"] == transport and line["version"], line
    assert [x["case"] for x in lines] == list(CASES), f"exit {done.returncode}:\n{said}"
    failed = any(x.get("ok") is False for x in lines)
    assert done.returncode == (1 if failed else 0), f"exit {done.returncode}:\n{said}"
    return {x["case"]: x for x in lines}


def check(server, client, transport, case):
    why = missing(client)
    if why:
        pytest.skip(f"{client}: {why}")
    for t in selected(server.session, client):
        started(client, t, *server.addresses)
    line = started(client, transport, *server.addresses).result()[case]
    if line.get("skip"):
        pytest.skip(f"{client} {transport} {case}: {line['detail']}")
    assert line["ok"], f"{line['detail']}\nthe server's log ends with:\n{server.log()[-2000:]}"


# ---- programs of one SDK that are no driver: they end with a line "ok"

@contextlib.contextmanager
def scripted_server(folder):
    """A server of scripted jobs, with TLS on the same port."""
    s = Server(folder / "data", "--engine=fake")
    subprocess.run([os.path.join(BUILD, "cusp"), "tls", "init", "--data-dir", s.data_dir], check=True,
                   stdout=subprocess.DEVNULL)
    s.start()
    yield s
    if s.proc.poll() is None:
        s.stop()


def python_says_ok(server, name, protocol, venv):
    """Runs python/NAME with a version of the SDK over a protocol."""
    if missing("python"):
        pytest.skip(f"python: {missing('python')}")
    home = os.environ.get("CUSP_CLIENT_ENV", os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")),
                                                         "cusp/clients/python"))
    env = {**os.environ, "CUSP_ENDPOINT": server.url, "CUSP_HOSTPORT": "localhost:" + server.url.rsplit(":", 1)[1],
           "CUSP_IMAGE": "busybox", "CUSP_CA": os.path.join(server.data_dir, "tls/ca.pem")}
    done = subprocess.run([os.path.join(home, venv, "bin/python"), program("python", name), protocol], env=env,
                          capture_output=True, text=True, timeout=patience(240), check=False)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "ok", done.stdout[-1500:] + done.stderr[-3000:]
