"""make install: the programs find each other and their recipes where they are put."""
import os
import subprocess

from conftest import ROOT

BUILD = os.environ.get("CUSP_RELEASE", os.path.join(ROOT, "build"))


def test_installed_programs_find_each_other(tmp_path):
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", str(tmp_path)], check=True)
    at = tmp_path / "usr/local"
    for name in ("cuspd", "cusp", "cusp-runner"):
        assert os.access(at / "bin" / name, os.X_OK)
    assert os.access(at / "share/cusp/recipes/build", os.X_OK)
    listed = subprocess.run([at / "bin/cusp", "images", "build", "--list"], capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    assert {"sklearn-cpu", "xgboost-cpu", "tf-cpu", "pytorch-cpu"} == {l.split()[0] for l in listed.stdout.splitlines()}
    assert "KillMode=process" in (at / "lib/systemd/system/cuspd.service").read_text()
    out = subprocess.run([at / "bin/cusp", "serve", "--version"], capture_output=True, text=True)
    assert out.returncode == 0 and out.stdout.startswith("cuspd ")
