"""cusp env: what it prints is evaluated by a shell and used by the real clients."""
import json
import os
import shlex
import ssl
import subprocess
import sys

import pytest

from conftest import BUILD, PARENT, ROOT, needs

CUSP = os.path.join(BUILD, "cusp")
CLIENTS = ["python", "node", "java", "go", "gcloud", "curl"]
CA_VARIABLES = {"python": ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"],
                "node": ["NODE_EXTRA_CA_CERTS", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"], "java": [], "go": ["SSL_CERT_FILE"],
                "gcloud": ["CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE"], "curl": ["CURL_CA_BUNDLE"]}


@pytest.fixture
def env(tmp_path):
    drop = ("CUSP_", "CLOUDSDK_", "STORAGE_EMULATOR", "REQUESTS_CA", "SSL_CERT", "GRPC_", "NODE_EXTRA", "CURL_CA", "JAVA_TOOL")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(drop) and not k.lower().endswith("_proxy")}
    return {**clean, "XDG_CACHE_HOME": str(tmp_path / "cache")}


def cusp(env, *argv, rc=0):
    p = subprocess.run([CUSP, *map(str, argv)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, timeout=60)
    assert p.returncode == rc, f"{p.returncode}\n{p.stdout}\n{p.stderr}"
    return p


def evaluated(env, *argv):
    """The environment of a shell after eval "$(cusp env …)"."""
    script = f'eval "$({shlex.join([CUSP, "env", *map(str, argv)])})" && {shlex.quote(sys.executable)} -c ' \
             "'import json,os; print(json.dumps(dict(os.environ)))'"
    p = subprocess.run(["sh", "-euc", script], stdout=subprocess.PIPE, text=True, env=env, check=True)
    return json.loads(p.stdout)


@pytest.fixture
def data_dir(env, tmp_path):
    cusp(env, "tls", "init", "--data-dir", tmp_path / "d")
    return tmp_path / "d"


@pytest.mark.parametrize("client", CLIENTS)
def test_variables_survive_the_shell(env, data_dir, client):
    argv = ["--endpoint=http://127.0.0.1:1", "--project=it's $HOME", "--data-dir", data_dir, client]
    want = json.loads(cusp(env, "env", "--json", *argv).stdout)["clients"][client]["variables"]
    for extra in ([], ["--shell"]):
        got = evaluated(env, *extra, *argv)
        assert {k: got[k] for k in want} == want
    assert want["CUSP_ENDPOINT"] == "http://127.0.0.1:1"
    for name in CA_VARIABLES[client]:
        with open(want[name], encoding="utf-8") as f, open(data_dir / "tls/ca.pem", encoding="utf-8") as ca:
            assert ca.read() in f.read()
    assert "trustStore=" in want["JAVA_TOOL_OPTIONS"] if client == "java" else "JAVA_TOOL_OPTIONS" not in want
    shell = cusp(env, "env", "--shell", *argv).stdout
    assert all(line.startswith("export ") for line in shell.splitlines())


def test_the_bundle_keeps_the_systems_authorities(env, data_dir):
    j = json.loads(cusp(env, "env", "--json", "--data-dir", data_dir, "--endpoint=http://127.0.0.1:1").stdout)
    ours, all_of_them = ssl.create_default_context(cafile=j["caFile"]), ssl.create_default_context(cafile=j["caBundle"])
    system = ssl.create_default_context()
    assert len(ours.get_ca_certs()) == 1
    assert len(all_of_them.get_ca_certs()) == len(system.get_ca_certs()) + 1
    store = os.stat(j["javaTrustStore"])
    cusp(env, "env", "--data-dir", data_dir, "--endpoint=http://127.0.0.1:1")
    assert os.stat(j["javaTrustStore"]).st_ino == store.st_ino, "made anew without need"
    if os.path.exists("/usr/bin/keytool"):
        p = subprocess.run(["keytool", "-list", "-keystore", j["javaTrustStore"], "-storepass", "changeit"],
                           stdout=subprocess.PIPE, text=True, check=True)
        assert p.stdout.count("trustedCertEntry") == len(all_of_them.get_ca_certs())


def test_every_client_once_and_every_variable_once(env, data_dir):
    text = cusp(env, "env", "--data-dir", data_dir, "--endpoint=http://127.0.0.1:1").stdout
    names = [line.split("=")[0] for line in text.splitlines() if line.startswith("export")]
    assert len(names) == len(set(names))
    j = json.loads(cusp(env, "env", "--format=json", "--data-dir", data_dir, "--endpoint=http://127.0.0.1:1").stdout)
    assert list(j["clients"]) == CLIENTS
    for name, c in j["clients"].items():
        assert c["snippets"] and all("{" + x + "}" not in s["code"] for s in c["snippets"] for x in "hHpuPR"), name
        for s in c["snippets"]:
            assert s["code"].splitlines()[0] in text


def test_transports_follow_what_the_server_takes(env, data_dir):
    def of(*argv):
        j = json.loads(cusp(env, "env", "--json", *argv).stdout)
        return {s["transport"] for c in j["clients"].values() for s in c["snippets"]}, j
    got, j = of("--endpoint=http://127.0.0.1:1")  # nobody there: clear text is all that is known
    assert got == {"rest", "grpc"} and not j["tls"] and "caFile" in j and j["caFile"] is None
    got, j = of("--endpoint=http://127.0.0.1:1", "--data-dir", data_dir)
    assert got == {"rest", "grpc", "rest-tls", "grpc-tls"} and (j["host"], j["port"]) == ("localhost", "1")
    got, j = of("--endpoint=https://cusp.example", "--ca", data_dir / "tls/ca.pem")
    assert got == {"rest-tls", "grpc-tls"} and (j["host"], j["port"]) == ("cusp.example", "443")
    assert j["clients"]["python"]["variables"]["STORAGE_EMULATOR_HOST"] == "https://cusp.example:443"
    got, j = of("--endpoint=https://[::1]:77", "--ca", data_dir / "tls/ca.pem")
    assert (j["host"], j["port"]) == ("localhost", "77")
    p = cusp(env, "env", "--endpoint=https://cusp.example", rc=2)
    assert "--ca" in p.stderr and not p.stdout
    cusp(env, "env", "--ca", data_dir / "none.pem", rc=3)
    cusp(env, "env", "--ca", data_dir / "tls/server.key", rc=2)
    cusp(env, "env", "--ca", data_dir / "tls/server.pem", "--endpoint=https://x", rc=2)  # no CA's


def test_a_proxy_of_the_environment_is_kept_off(env):
    got = evaluated({**env, "http_proxy": "http://127.0.0.1:9", "NO_PROXY": "corp.example"}, "--quiet", "curl")
    assert set(got["NO_PROXY"].split(",")) == {"localhost", "127.0.0.1", "corp.example"}
    assert "NO_PROXY" not in evaluated(env, "--quiet", "curl")


def python_with_the_sdk():
    """An interpreter that has google-cloud-aiplatform: the conformance driver's, or ours."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    driver = os.path.join(os.environ.get("CUSP_CLIENT_ENV", os.path.join(cache, "cusp/clients/python")), "v1/bin/python")
    for python in (driver, sys.executable):
        if os.path.exists(python) and subprocess.run([python, "-c", "import importlib.util as u, sys; sys.exit(not u.find_spec('google.cloud.aiplatform'))"], stderr=subprocess.DEVNULL).returncode == 0:
            return python
    pytest.skip("google-cloud-aiplatform is not installed (cusp conformance --setup --client python)")


def run_python(env, code):
    script = f'eval "$({CUSP} env --shell python)"\nexec {shlex.quote(python_with_the_sdk())} -c "$CODE"'
    p = subprocess.run(["sh", "-euc", script], env={**env, "CODE": code}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       text=True, timeout=120)
    assert p.returncode == 0, p.stderr[-3000:]
    return p.stdout


JOB = {"displayName": "seen", "jobSpec": {"workerPoolSpecs": [
    {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": 1, "containerSpec": {"imageUri": "busybox"}}]}}


@pytest.fixture
def both(make_server, env):
    """A server that takes TLS and clear text, with a job; the environment of somebody who talks to it."""
    s = make_server("--engine=fake")
    cusp(env, "tls", "init", "--data-dir", s.data_dir)
    s.start()
    s.job = s.create(JOB)["name"]
    assert PARENT.split("/")[3] in s.job
    s.user = {**env, "CUSP_ENDPOINT": s.url}
    return s


def snippets(server, client, logging=False):
    got = json.loads(cusp(server.user, "env", "--json", client).stdout)["clients"][client]["snippets"]
    return {x["transport"]: x["code"] for x in got if ("logging" in x["title"]) == logging}


def test_the_server_is_asked_for_its_ca(both):
    j = json.loads(cusp(both.user, "env", "--json").stdout)
    assert j["tls"] and j["clearText"] and j["host"] == "localhost"
    with open(j["caFile"], encoding="ascii") as got, open(both.data_dir + "/tls/ca.pem", encoding="ascii") as want:
        assert got.read() == want.read()


def test_python_code_runs_as_printed(both):
    code = ""  # of all transports in one process: importing the SDK takes seconds
    for transport, snippet in snippets(both, "python").items():
        names = "[j.resource_name for j in aiplatform.CustomJob.list()]"
        if transport == "grpc":
            names = f"[j.name for j in jobs.list_custom_jobs(parent='{PARENT}')]"
        code += f"{snippet}print('{transport}', *{names})\n"
    lines = run_python(both.user, code).splitlines()
    assert sorted(lines) == sorted(f"{t} {both.job}" for t in ("rest", "rest-tls", "grpc", "grpc-tls"))


def test_python_logging_runs_as_printed(both):
    pytest.importorskip("google.cloud.logging", reason="google-cloud-logging is not installed: make deps")
    code = ""
    for transport, snippet in snippets(both, "python", logging=True).items():
        code += (f"{snippet}logs.logger('env-{transport}').log_text('hello')\n"
                 f"print('{transport}', [e.payload for e in logs.logger('env-{transport}').list_entries()][-1])\n")
    script = f'eval "$({CUSP} env --shell python)"\nexec {sys.executable} -W ignore -c "$CODE"'
    p = subprocess.run(["sh", "-euc", script], env={**both.user, "CODE": code}, capture_output=True, text=True, timeout=120)
    assert p.stdout.splitlines() == ["rest hello", "grpc-tls hello"], p.stdout + p.stderr[-3000:]


@pytest.mark.parametrize("transport", ["rest", "rest-tls"])
def test_curl_runs_as_printed(both, transport, tmp_path):
    (tmp_path / "request.json").write_text(json.dumps({**JOB, "displayName": "by-env"}))
    script = f'eval "$({CUSP} env --shell curl)"\n{snippets(both, "curl")[transport]}'
    p = subprocess.run(["sh", "-euc", script], cwd=tmp_path, env=both.user, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert p.returncode == 0, p.stderr
    assert json.loads(p.stdout)["displayName"] == "by-env"


@pytest.mark.parametrize("transport", ["rest", "rest-tls", "grpc", "grpc-tls"])
@needs("node")
def test_node_code_runs_as_printed(both, transport):
    if not os.path.isdir(os.path.join(ROOT, "node_modules/@google-cloud/aiplatform/build")):
        pytest.skip("@google-cloud/aiplatform is not installed: make deps")
    then = f"jobs.listCustomJobs({{parent: '{PARENT}'}}).then(([l]) => {{ console.log(l.map(j => j.name).join()); process.exit(0) }})"
    script = f'eval "$({CUSP} env --shell node)"\nexec node -e "$CODE"'
    p = subprocess.run(["sh", "-euc", script], cwd=ROOT, env={**both.user, "CODE": snippets(both, "node")[transport] + then},
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
    assert p.returncode == 0, p.stderr[-3000:]
    assert p.stdout.strip() == both.job


@pytest.mark.parametrize("transport", ["grpc", "grpc-tls"])
@needs("node")
def test_node_logging_runs_as_printed(both, transport):
    if not os.path.isdir(os.path.join(ROOT, "node_modules/@google-cloud/logging/build")):
        pytest.skip("@google-cloud/logging is not installed: make deps")
    then = ("logs.log('env').write(logs.log('env').entry({resource: {type: 'global'}}, 'hello'))"
            ".then(() => logs.getEntries({filter: 'log_id(\"env\")'}))"
            ".then(([l]) => { console.log(l.map(e => e.data).join()); process.exit(0) })")
    script = f'eval "$({CUSP} env --shell node)"\nexec node -e "$CODE"'
    p = subprocess.run(["sh", "-euc", script], cwd=ROOT, env={**both.user, "CODE": snippets(both, "node", True)[transport] + then},
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
    assert p.returncode == 0 and "hello" in p.stdout, p.stderr[-3000:]
