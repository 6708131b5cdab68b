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

from conftest import Server, needs_root, patience, with_tls

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
    need(client)
    for t in selected(server.session, client):
        started(client, t, *server.addresses)
    line = started(client, transport, *server.addresses).result()[case]
    if line.get("skip"):
        pytest.skip(f"{client} {transport} {case}: {line['detail']}")
    assert line["ok"], f"{line['detail']}\nthe server's log ends with:\n{server.log()[-2000:]}"


# ---- programs of one SDK that are no driver

def folder(client):
    """Where its setup put it."""
    return os.environ.get("CUSP_CLIENT_ENV") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cusp", "clients", client)


def python(venv):
    """The interpreter that has the SDK's newest 1.x (v1) or 2.x (v2)."""
    return os.path.join(folder("python"), venv, "bin/python")


def need(client):
    """Skips the test where that client cannot run."""
    why = missing(client)
    if why:
        pytest.skip(f"{client}: {why}")


def told(server, **more):
    """The environment of a program: what README.md says it is told of the server, and more."""
    return {**os.environ, "CUSP_ENDPOINT": server.url, "CUSP_HOSTPORT": server.hostport, "CUSP_CA": server.ca,
            "CUSP_IMAGE": "busybox", **more}


def told_node(server):
    """Node finds the client by one variable more, and trusts by two."""
    return told(server, NODE_PATH=os.path.join(folder("node"), "node_modules"), NODE_EXTRA_CA_CERTS=server.ca,
                GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=server.ca)


@contextlib.contextmanager
def scripted_server(folder):
    """A server of scripted jobs, with TLS on the same port."""
    s = with_tls(lambda *flags: Server(folder / "data", *flags))
    yield s
    if s.proc.poll() is None:
        s.stop()


def succeeds(server, env, *argv, cwd=None, seconds=120):
    """Runs a program to its good end; what it printed."""
    done = subprocess.run(argv, env=env, cwd=cwd, capture_output=True, text=True, timeout=patience(seconds), check=False)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:] + server.log()[-2000:]
    return done.stdout


def says_ok(server, env, *argv):
    """Runs a program that ends with a line "ok"."""
    said = succeeds(server, env, *argv, seconds=400)
    assert said.splitlines()[-1] == "ok", said[-1500:]


def python_says_ok(server, name, protocol, venv):
    """Runs python/NAME with a version of the SDK over a protocol."""
    need("python")
    says_ok(server, told(server), python(venv), program("python", name), protocol)


def cases_that_went_well(server, env, *argv, cwd=None):
    """Runs a program that prints a line for each case; their names. All of them must have gone well."""
    said = succeeds(server, env, *argv, cwd=cwd, seconds=1800)
    lines = [json.loads(x) for x in said.splitlines()]
    bad = [f"{x['case']}: {x['detail']}" for x in lines if not x["ok"]]
    assert not bad, "\n".join(bad) + server.log()[-1500:]
    return [x["case"] for x in lines]
