"""make install: the programs find each other and their recipes where they are put."""
import json
import os
import re
import shutil
import subprocess

import pytest

from conftest import ROOT

BUILD = os.environ.get("CUSP_RELEASE", os.path.join(ROOT, "build"))


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    """The installed tree's /usr/local."""
    dest = tmp_path_factory.mktemp("dest")
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", str(dest)], check=True)
    return dest / "usr/local"


def test_installed_programs_find_each_other(at):
    for name in ("cuspd", "cusp", "cusp-runner"):
        assert os.access(at / "bin" / name, os.X_OK)
    assert os.access(at / "share/cusp/recipes/build", os.X_OK)
    listed = subprocess.run([at / "bin/cusp", "images", "build", "--list"], capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    assert {"sklearn-cpu", "xgboost-cpu", "tf-cpu", "pytorch-cpu"} == {l.split()[0] for l in listed.stdout.splitlines()}
    assert "KillMode=process" in (at / "lib/systemd/system/cuspd.service").read_text()
    as_json = subprocess.run([at / "bin/cusp", "images", "build", "--list", "--format=json"], capture_output=True, text=True)
    rows = {x["name"]: x for x in json.loads(as_json.stdout)}
    assert rows.keys() == {l.split()[0] for l in listed.stdout.splitlines()} and "PyTorch" in rows["pytorch-cpu"]["about"]
    assert {n for n, x in rows.items() if x["built"]} == {l.split()[0] for l in listed.stdout.splitlines() if l.split()[1] == "built"}
    unit = (at / "lib/systemd/system/cuspd.service").read_text()
    assert "ExecStart=/usr/local/bin/cuspd --data-dir" in unit and "@" not in unit
    out = subprocess.run([at / "bin/cusp", "serve", "--version"], capture_output=True, text=True)
    assert out.returncode == 0 and out.stdout.startswith("cuspd ")


def test_manual_pages_are_the_help(at):
    """Every verb's page is in the manual; nothing in it looks like a request to the formatter by accident."""
    page = (at / "share/man/man1/cusp.1").read_text()
    for title in ("cusp custom-jobs", "cusp custom-jobs create", "cusp storage sign-url", "cusp serve", "cusp conformance"):
        assert f'.SS "{title}"' in page, title
    assert "exit code 5 when it failed" in page
    server = (at / "share/man/man8/cuspd.8").read_text()
    assert r"\-\-data\-dir" in server and "log_job_bytes" in server
    for text in (page, server):
        for line in text.splitlines():
            assert not line.startswith((".", "'")) or re.match(r"\.(TH|SH|SS|TP|B|BR|I|nf|fi)\b", line), line
    if shutil.which("groff"):
        for name in ("man1/cusp.1", "man8/cuspd.8"):
            p = subprocess.run(["groff", "-man", "-Tutf8", "-K", "utf8", "-ww", at / "share/man" / name], capture_output=True, text=True)
            assert p.returncode == 0 and not p.stderr, p.stderr[:500]


def complete(at, line):
    """What bash offers for the last word of line."""
    script = at / "share/bash-completion/completions/cusp"
    code = f"""source {script}; COMP_WORDS=({line}); [[ "{line}" == *" " ]] && COMP_WORDS+=(""); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_cusp 2>/dev/null; printf '%s\\n' "${{COMPREPLY[@]}}" """
    p = subprocess.run(["bash", "-c", code], capture_output=True, text=True, env={**os.environ, "PATH": f"{at / 'bin'}:{os.environ['PATH']}"})
    assert p.returncode == 0, p.stderr
    return p.stdout.split()


def test_bash_completes_commands_verbs_and_flags(at):
    assert complete(at, "cusp cu") == ["custom-jobs"]
    assert {"custom-jobs", "storage", "serve", "tls", "env"} <= set(complete(at, "cusp "))
    assert complete(at, "cusp custom-jobs st") == ["stream-logs"]
    assert complete(at, "cusp --region=us-central1 models list-v") == ["list-version"]
    assert complete(at, "cusp custom-jobs create --wor") == ["--worker-pool-spec="]
    assert "--download=" in complete(at, "cusp custom-jobs logs 12 --d")
    assert complete(at, "cusp storage cp fi") == []  # files: readline's own
