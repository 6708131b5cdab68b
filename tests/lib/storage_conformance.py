"""The public conformance data of the storage clients (googleapis/conformance-tests, storage/v1), as the Go client's module
carries it: fetched once from the module proxy into ~/.cache/cusp, checked by its sum, never part of the source tree."""
import hashlib
import io
import json
import os
import urllib.request
import zipfile

import pytest

VERSION = "v1.70.0"
MODULE = "cloud.google.com/go/storage"
SHA256 = "3def1dd1938be169fe8581f9952cdaad0b0d1c0a4af5bc4893ee79523089c65b"
WITHIN = f"{MODULE}@{VERSION}/internal/test/conformance/"
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "cusp", "storage-conformance", VERSION)
FILES = ("retry_tests.json", "v4_signatures.json", "service-account")


def fetch():
    proxy = os.environ.get("GOPROXY", "").split(",")[0]
    base = proxy if proxy.startswith("http") else "https://proxy.golang.org"
    try:
        with urllib.request.urlopen(f"{base}/{MODULE}/@v/{VERSION}.zip", timeout=30) as r:
            data = r.read()
    except OSError as e:
        pytest.skip(f"offline: the conformance data cannot be fetched ({e})")
    assert hashlib.sha256(data).hexdigest() == SHA256, "the module is not the one that was looked at"
    os.makedirs(CACHE, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        for name in FILES:
            tmp = os.path.join(CACHE, f".{name}.{os.getpid()}")
            with open(tmp, "wb") as f:
                f.write(z.read(WITHIN + name))
            os.rename(tmp, os.path.join(CACHE, name))


def load(name):
    path = os.path.join(CACHE, name)
    if not os.path.exists(path):
        fetch()
    with open(path, encoding="utf-8") as f:
        return json.load(f)
