"""gcsfs (and pandas where it is installed) against cusp. One JSON line a case; see ../README.md."""
import os
import sys
import uuid

import gcsfs

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "python"))
from cases import run  # noqa: E402 (in ../python)

RUN = uuid.uuid4().hex[:8]
BUCKET = "gcsfs-" + RUN
fs = gcsfs.GCSFileSystem(project=os.environ.get("CUSP_PROJECT", "demo"), token="anon", endpoint_url=os.environ["CUSP_ENDPOINT"],
                         default_location="us-central1", cache_timeout=0, use_listings_cache=False)


def bucket():
    fs.mkdir(BUCKET)
    assert fs.isdir(BUCKET) and not fs.exists("no-such-" + RUN)
    assert BUCKET in [b.strip("/") for b in fs.ls("")]


def small_files():
    with fs.open(f"{BUCKET}/d/a.txt", "wb", metadata={"k": "v"}) as f:
        f.write(b"hello\n")
    fs.pipe({f"{BUCKET}/d/{i}": str(i).encode() for i in range(20)})
    assert fs.cat(f"{BUCKET}/d/a.txt") == b"hello\n"
    assert len(fs.ls(f"{BUCKET}/d")) == 21 and fs.info(f"{BUCKET}/d/a.txt")["size"] == 6
    assert fs.cat([f"{BUCKET}/d/{i}" for i in range(20)])[f"{BUCKET}/d/7"] == b"7"
    assert fs.getxattr(f"{BUCKET}/d/a.txt", "k") == "v"


def large_files():
    data = os.urandom(12 * 1024 * 1024 + 5)
    with fs.open(f"{BUCKET}/big", "wb", block_size=5 * 2**20) as f:
        for i in range(0, len(data), 1000003):
            f.write(data[i:i + 1000003])
    with fs.open(f"{BUCKET}/big", "rb", block_size=2**20) as f:
        f.seek(7000000)
        assert f.read(100) == data[7000000:7000100]
    assert fs.cat(f"{BUCKET}/big") == data
    assert fs.cat_file(f"{BUCKET}/big", start=-10) == data[-10:]


def append():
    fs.pipe(f"{BUCKET}/log", b"one")
    data = os.urandom(2**20)
    with fs.open(f"{BUCKET}/joined", "wb", consistency="md5") as f:
        f.write(data)
    assert fs.cat(f"{BUCKET}/joined") == data


def find_and_glob():
    assert fs.glob(f"{BUCKET}/d/1*") == sorted(f"{BUCKET}/d/1{x}" for x in ["", *range(10)])
    assert set(fs.find(BUCKET)) >= {f"{BUCKET}/big", f"{BUCKET}/d/a.txt"}
    assert fs.du(f"{BUCKET}/d") == 36 and list(fs.walk(BUCKET))[0][1] == ["d"]


def copy_move():
    fs.copy(f"{BUCKET}/d/a.txt", f"{BUCKET}/c/a.txt")
    fs.mv(f"{BUCKET}/c/a.txt", f"{BUCKET}/c/b.txt")
    assert fs.cat(f"{BUCKET}/c/b.txt") == b"hello\n" and not fs.exists(f"{BUCKET}/c/a.txt")
    fs.merge(f"{BUCKET}/c/m", [f"{BUCKET}/c/b.txt", f"{BUCKET}/d/1"])
    assert fs.cat(f"{BUCKET}/c/m") == b"hello\n1"
    fs.setxattrs(f"{BUCKET}/c/b.txt", content_type="text/x-b", k2="v2")
    assert fs.info(f"{BUCKET}/c/b.txt")["contentType"] == "text/x-b"
    try:
        fs.cat(f"{BUCKET}/missing")
    except FileNotFoundError:
        return
    raise AssertionError("a missing file was read")


def checksums():
    import base64
    import hashlib
    assert fs.info(f"{BUCKET}/d/a.txt")["md5Hash"] == base64.b64encode(hashlib.md5(b"hello\n").digest()).decode()
    assert fs.checksum(f"{BUCKET}/d/a.txt")


def pandas_csv():
    try:
        import pandas
    except ImportError:
        return "pandas is not installed"
    os.environ["STORAGE_EMULATOR_HOST"] = os.environ["CUSP_ENDPOINT"]
    opts = {"token": "anon", "endpoint_url": os.environ["CUSP_ENDPOINT"]}
    pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}).to_csv(f"gs://{BUCKET}/t.csv", index=False, storage_options=opts)
    got = pandas.read_csv(f"gs://{BUCKET}/t.csv", storage_options=opts)
    assert got["a"].sum() == 3 and list(got["b"]) == ["x", "y"]
    return None


def remove():
    fs.rm(f"{BUCKET}/d", recursive=True)
    assert not fs.exists(f"{BUCKET}/d")
    fs.rm(BUCKET, recursive=True)
    assert not fs.exists(BUCKET)


run("gcsfs", gcsfs.__version__, (bucket, small_files, large_files, append, find_and_glob, copy_move, checksums, pandas_csv, remove))
