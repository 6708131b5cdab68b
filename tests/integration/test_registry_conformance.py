"""The public conformance suite of the OCI distribution specification, run as it is. It is a Go program that no package registry
has: build it from `conformance/` of github.com/opencontainers/distribution-spec (`go build -o oci-conformance .`) and name it in
CUSP_OCI_CONFORMANCE. The same routes by own tests, always: test_registry.py."""
import os
import re
import subprocess

import pytest

PROGRAM = os.environ.get("CUSP_OCI_CONFORMANCE")
# Beyond what the suite asks for by default: what the specification only recommends.
ALSO = ("OCI_API_BLOBS_DIGEST_HEADER", "OCI_API_MANIFESTS_DIGEST_HEADER", "OCI_API_BLOBS_UPLOAD_CANCEL")


@pytest.mark.skipif(not PROGRAM, reason="NOT TESTED: CUSP_OCI_CONFORMANCE does not name the suite's program")
def test_the_public_suite(fake, tmp_path):
    env = {**os.environ, **{k: "true" for k in ALSO}, "OCI_REGISTRY": fake.url.split("//")[1], "OCI_TLS": "disabled",
           "OCI_RESULTS_DIR": str(tmp_path / "results"), "OCI_VERSION": "1.1",
           "OCI_DATA_SHA512": "false"}  # only sha256 is spoken here
    r = subprocess.run([PROGRAM], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    counts = {k: int(v) for k, v in re.findall(r"^  (Pass|FAIL|Error)\.*:\s+(\d+)$", r.stdout, re.M)}
    assert r.returncode == 0 and counts["FAIL"] == counts["Error"] == 0 and counts["Pass"] > 500, r.stdout[-3000:] + r.stderr[-6000:]
    assert len(re.findall(r"^  (?:Tag|Blob|Manifest|Referrers|Ping)[^:]*:\s+Pass$", r.stdout, re.M)) > 20, r.stdout[-3000:]
