"""The official Python SDK: CustomJob(...).run() of a job that does nothing, and what importing the SDK costs by itself."""
import json
import os
import subprocess

from lab import ROOT, Short, median, need_root

PROCESSES, RUNS = 3, 5


def environment():
    """The virtual environment of the client tests, made when it is not there."""
    home = os.environ.get("CUSP_CLIENT_ENV") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cusp/clients/python")
    if subprocess.run([os.path.join(ROOT, "tests/clients/python/setup")], check=False).returncode:
        raise Short("the Python client could not be set up")
    return os.path.join(home, "v1/bin/python")


def sdk(lab, table):
    need_root()
    python = environment()
    s = lab.server("sdk")
    subprocess.run([lab.binary("cusp"), "tls", "init", "--data-dir", s.dir, "--quiet"], check=True,
                   stdout=subprocess.DEVNULL)
    s.start()
    s.import_probe()
    ca = os.path.join(s.dir, "tls/ca.pem")
    imports = []
    for transport, endpoint in (("rest", "http://" + s.address), ("grpc", "localhost:" + s.address.rsplit(":", 1)[1])):
        seen = []
        for _ in range(PROCESSES):
            p = subprocess.run([python, os.path.join(ROOT, "bench/sdk_run.py"), transport, endpoint, str(RUNS)],
                               env={**os.environ, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": ca}, capture_output=True, text=True,
                               check=False)
            if p.returncode:
                raise Short(f"the SDK over {transport} failed: {p.stderr[-300:]}")
            seen.append(json.loads(p.stdout))
        imports += [x["import"] for x in seen]
        took = [t for x in seen for t in x["runs"]]
        table.add(f"Python CustomJob.run() of a no-op job, {transport}", median(took) * 1e3, "ms", "<=", 2500,
                  f"first of a process {median([x['runs'][0] for x in seen]):.2f} s, slowest {max(took):.2f} s; without the "
                  f"held GET it would be 5 s and more")
    s.stop()
    table.add(f"import of the Python SDK {seen[0]['version']}", median(imports), "s", None, None, "paid by the client alone")
