"""gcloud storage against cusp. One JSON line a case; see ../README.md."""
import os
import subprocess
import sys
import tempfile
import uuid

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "python"))
from cases import run  # noqa: E402 (in ../python)

RUN = uuid.uuid4().hex[:8]
BUCKET = "gs://gcloud-" + RUN
HOME = tempfile.mkdtemp(prefix="cusp-gcloud-")
ENV = {**os.environ, "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": os.environ["CUSP_ENDPOINT"] + "/storage/v1/",
       "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true", "CLOUDSDK_CORE_PROJECT": "demo", "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
       "CLOUDSDK_CONFIG": HOME, "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true", "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
       "CLOUDSDK_STORAGE_PROCESS_COUNT": "1", "CLOUDSDK_STORAGE_THREAD_COUNT": "4"}


def gcloud(*args, ok=True):
    p = subprocess.run(["gcloud", "storage", *args], env=ENV, capture_output=True, text=True, timeout=100, check=False)
    if ok != (p.returncode == 0):
        raise AssertionError(f"gcloud storage {' '.join(args)}: exit {p.returncode}: {(p.stdout + p.stderr)[-400:]}")
    return p.stdout


def path(name, data=None):
    p = os.path.join(HOME, name)
    if data is not None:
        os.makedirs(os.path.dirname(p), exist_ok=True)
        with open(p, "wb") as f:
            f.write(data)
    return p


def read(p):
    with open(p, "rb") as f:
        return f.read()


def bucket():
    gcloud("buckets", "create", BUCKET, "--location=us-central1")
    assert BUCKET in gcloud("ls")
    gcloud("buckets", "update", BUCKET, "--update-labels=team=x")
    assert "team: x" in gcloud("buckets", "describe", BUCKET)


def copy_small():
    gcloud("cp", path("in/a.txt", b"hello"), BUCKET + "/d/a.txt")
    assert gcloud("cat", BUCKET + "/d/a.txt") == "hello"
    gcloud("cp", BUCKET + "/d/a.txt", path("back"))
    assert read(path("back")) == b"hello"


def copy_large():
    big = os.urandom(9 * 2**20 + 3)
    gcloud("cp", path("big", big), BUCKET + "/big")
    gcloud("cp", BUCKET + "/big", path("big2"))
    assert read(path("big2")) == big


def recursive():
    for i in range(5):
        path(f"tree/{i % 2}/{i}", str(i).encode())
    gcloud("cp", "-r", path("tree"), BUCKET + "/up")
    got = gcloud("ls", BUCKET + "/up/**").split()
    assert sorted(got) == [f"{BUCKET}/up/{i % 2}/{i}" for i in (0, 2, 4, 1, 3)], got
    gcloud("rsync", "-r", BUCKET + "/up", path("tree2") if os.makedirs(path("tree2")) is None else "")
    assert read(path("tree2/1/3")) == b"3"
    got = gcloud("du", "-s", BUCKET + "/up")
    assert got.split()[0] == "5", got


def move_compose():
    gcloud("mv", BUCKET + "/d/a.txt", BUCKET + "/d/b.txt")
    gcloud("cp", BUCKET + "/d/b.txt", BUCKET + "/d/c.txt")
    gcloud("objects", "compose", BUCKET + "/d/b.txt", BUCKET + "/d/c.txt", BUCKET + "/d/bc")
    assert gcloud("cat", BUCKET + "/d/bc") == "hellohello"
    gcloud("cat", BUCKET + "/d/a.txt", ok=False)


def metadata():
    gcloud("objects", "update", BUCKET + "/d/b.txt", "--custom-metadata=k=v", "--cache-control=no-store")
    d = gcloud("objects", "describe", BUCKET + "/d/b.txt")
    assert "k: v" in d and "no-store" in d, d


def gzip_upload():
    gcloud("cp", "--gzip-local-all", path("z.txt", b"squeeze " * 1000), BUCKET + "/z.txt")
    gcloud("cp", BUCKET + "/z.txt", path("z.back"))
    assert read(path("z.back")) == b"squeeze " * 1000


def remove():
    gcloud("rm", "-r", BUCKET)
    gcloud("buckets", "describe", BUCKET, ok=False)


version = subprocess.run(["gcloud", "--version"], env=ENV, capture_output=True, text=True, check=False).stdout.split()[3:4]
run("gcloud", "".join(version), (bucket, copy_small, copy_large, recursive, move_compose, metadata, gzip_upload, remove))
