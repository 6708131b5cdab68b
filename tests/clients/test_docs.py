"""The programs of docs/clients.md, run as they are printed there but for the address."""
import os
import re
import shutil
import subprocess

import pytest

from conftest import ROOT, needs_root
from matrix import folder, need

pytestmark = needs_root


def snippet(language, server):
    with open(os.path.join(ROOT, "docs", "clients.md"), encoding="utf-8") as f:
        text = re.search(rf"^```{language}\n(.*?)^```", f.read(), re.M | re.S).group(1)
    assert "127.0.0.1:8780" in text
    return text.replace("127.0.0.1:8780", server.url.split("://")[1])


def runs_a_job(argv, **kw):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False, **kw)
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.fullmatch(r"projects/\d+/locations/us-central1/customJobs/\d+ JOB_STATE_SUCCEEDED\n", done.stdout)


def test_the_java_program(matrix_server, tmp_path):
    need("java")
    program = tmp_path / "Hello.java"
    program.write_text(snippet("java", matrix_server), encoding="utf-8")
    with open(os.path.join(folder("java"), "classpath"), encoding="utf-8") as f:
        runs_a_job(["java", "-cp", f.read(), str(program)])


def test_the_go_program(matrix_server, tmp_path):
    need("go")
    go = shutil.which("go") or os.path.join(folder("go"), "toolchain", "bin", "go")
    if not os.path.exists(go):
        pytest.skip("the driver was built by a Go that is gone")
    (tmp_path / "main.go").write_text(snippet("go", matrix_server), encoding="utf-8")
    for name in ("go.mod", "go.sum"):
        shutil.copy(os.path.join(ROOT, "tests", "clients", "go", name), tmp_path)
    runs_a_job([go, "run", "."], cwd=tmp_path, env={**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false"})
