"""The public conformance suite of the OCI distribution specification, run as it is: a Go program that
tests/registry-conformance/setup builds from its repository, once, when CUSP_EXTENDED=1 (make test-clients, make test-full), or
that CUSP_OCI_CONFORMANCE names. The same routes by own tests, always: test_registry.py."""
import json
import os
import re
import subprocess

import pytest

from conftest import ROOT

HOME = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "cusp", "registry-conformance")
# Beyond what the suite asks for by default: what the specification only recommends.
ALSO = ("OCI_API_BLOBS_DIGEST_HEADER", "OCI_API_MANIFESTS_DIGEST_HEADER", "OCI_API_BLOBS_UPLOAD_CANCEL")


def program():
    named, built = os.environ.get("CUSP_OCI_CONFORMANCE"), os.path.join(HOME, "conformance")
    if named or not os.environ.get("CUSP_EXTENDED"):
        if not named and not os.path.exists(built):
            pytest.skip("NOT TESTED: the suite is not built here (make test-clients builds it, or name it in CUSP_OCI_CONFORMANCE)")
        return named or built
    done = subprocess.run([f"{ROOT}/tests/registry-conformance/setup"], env={**os.environ, "CUSP_CLIENT_ENV": HOME},
                          capture_output=True, text=True, timeout=600, check=False)
    if done.returncode == 77:
        why = json.loads(done.stdout)
        pytest.skip(f"NOT TESTED: {why['skip']} ({why['install']})")
    assert done.returncode == 0, done.stdout + done.stderr
    return built


def test_the_public_suite(fake, tmp_path):
    env = {**os.environ, **{k: "true" for k in ALSO}, "OCI_REGISTRY": fake.url.split("//")[1], "OCI_TLS": "disabled",
           "OCI_RESULTS_DIR": str(tmp_path / "results"), "OCI_VERSION": "1.1",
           "OCI_DATA_SHA512": "false"}  # only sha256 is spoken here
    r = subprocess.run([program()], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    counts = {k: int(v) for k, v in re.findall(r"^  (Pass|FAIL|Error)\.*:\s+(\d+)$", r.stdout, re.M)}
    assert r.returncode == 0 and counts["FAIL"] == counts["Error"] == 0 and counts["Pass"] > 500, r.stdout[-3000:] + r.stderr[-6000:]
    assert len(re.findall(r"^  (?:Tag|Blob|Manifest|Referrers|Ping)[^:]*:\s+Pass$", r.stdout, re.M)) > 20, r.stdout[-3000:]
