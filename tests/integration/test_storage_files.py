"""/gcs and the API are one thing: what is done to files is seen by clients at once, and the other way
round; directories elsewhere are buckets; names that cannot be files come back as they were."""
import base64
import fcntl
import hashlib
import mmap
import os
import subprocess
import unicodedata

import pytest
import requests
from conftest import PARENT, container_job, needs_root, wait_until  # noqa: F401
from google.api_core.exceptions import Forbidden
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from test_storage import bucket, client, crc32c, server  # noqa: F401 (fixtures)


@pytest.fixture
def gcs(server, bucket):
    return os.path.join(server.dir, "buckets", bucket.name)


def check(bucket, name, data):
    b = bucket.get_blob(name)
    assert b is not None and b.size == len(data)
    assert b.crc32c == crc32c(data) and b.md5_hash == base64.b64encode(hashlib.md5(data).digest()).decode()
    assert bucket.blob(name).download_as_bytes() == data
    return b.generation


def write(path, data, mode="wb"):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, mode) as f:
        f.write(data)


def test_create_append_truncate_rename_delete_of_files(bucket, gcs):
    write(gcs + "/d/f", b"one")
    g1 = check(bucket, "d/f", b"one")
    write(gcs + "/d/f", b"+two", "ab")
    g2 = check(bucket, "d/f", b"one+two")
    os.truncate(gcs + "/d/f", 2)
    g3 = check(bucket, "d/f", b"on")
    assert g1 < g2 < g3
    os.rename(gcs + "/d/f", gcs + "/d/g")
    check(bucket, "d/g", b"on")
    assert not bucket.blob("d/f").exists()
    os.rename(gcs + "/d", gcs + "/e")
    assert [b.name for b in bucket.list_blobs()] == ["e/g"]
    write(gcs + "/e/new", b"newer")
    os.replace(gcs + "/e/new", gcs + "/e/g")  # as editors save
    check(bucket, "e/g", b"newer")
    os.unlink(gcs + "/e/g")
    assert list(bucket.list_blobs()) == []


def test_change_of_an_uploaded_object_on_the_file_side(bucket, gcs):
    b = bucket.blob("o")
    b.metadata = {"k": "v"}
    b.upload_from_string(b"uploaded", content_type="text/x-a")
    g = check(bucket, "o", b"uploaded")
    write(gcs + "/o", b"replaced")
    assert check(bucket, "o", b"replaced") > g
    assert bucket.get_blob("o").metadata is None  # a new generation, made by a file
    bucket.blob("o").upload_from_string(b"again")
    with open(gcs + "/o", "rb") as f:
        assert f.read() == b"again"


def test_same_size_change_within_one_clock_tick_is_not_missed(bucket, gcs):
    for i in range(50):
        write(gcs + "/t", b"%04d" % i)
        assert bucket.blob("t").download_as_bytes() == b"%04d" % i
        assert bucket.get_blob("t").crc32c == crc32c(b"%04d" % i)


def test_mmap_and_locks(bucket, gcs):
    write(gcs + "/m", b"\0" * 8192)
    with open(gcs + "/m", "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
        m[4096:4101] = b"hello"
        m.flush()
        os.utime(gcs + "/m")  # the kernel stamps mapped writes when it likes; this is now
        check(bucket, "m", b"\0" * 4096 + b"hello" + b"\0" * 4091)
    with open(gcs + "/m", "r+b") as f:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 0)
        with open(gcs + "/m", "r+b") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        check(bucket, "m", b"\0" * 4096 + b"hello" + b"\0" * 4091)


def test_a_reader_keeps_the_generation_it_opened(server, bucket, gcs):
    data = os.urandom(4 << 20)
    bucket.blob("r").upload_from_string(data)
    with requests.get(f"{server.url}/storage/v1/b/{bucket.name}/o/r?alt=media", stream=True) as r:
        first = r.raw.read(1000)
        bucket.blob("r").upload_from_string(b"other")
        assert first + r.raw.read() == data


def test_unicode_forms_are_different_names(bucket, gcs):
    nfc, nfd = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")
    bucket.blob(nfc).upload_from_string("c")
    bucket.blob(nfd).upload_from_string("d")
    assert {b.name for b in bucket.list_blobs()} == {nfc, nfd} == set(os.listdir(gcs))
    assert bucket.blob(nfc).download_as_bytes() == b"c" and bucket.blob(nfd).download_as_bytes() == b"d"
    bucket.copy_blob(bucket.blob(nfc), bucket, nfd + "/" + nfc)
    assert bucket.blob(nfd + "/" + nfc).download_as_bytes() == b"c"


@pytest.mark.parametrize("name", ["a/", "/", "//", "a//b/", "..", "x/../../../up", "n" * 1024, "ö" * 512, "a/" * 511, "%~t", "%~/x"])
def test_odd_names_through_copy_compose_move_and_edit(server, bucket, name):
    if name == "..":
        assert requests.post(f"{server.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=..").status_code == 400
        return
    bucket.blob("src").upload_from_string("1")
    bucket.copy_blob(bucket.blob("src"), bucket, name)
    bucket.blob(name).compose([bucket.blob(name), bucket.blob("src")])
    b = bucket.get_blob(name)
    b.metadata = {"k": "v"}
    b.patch()
    assert bucket.blob(name).download_as_bytes() == b"11"
    u = f"{server.url}/storage/v1/b/{bucket.name}/o/"
    q = requests.utils.quote(name, safe="")
    assert requests.post(f"{u}{q}/moveTo/o/moved").status_code == 200
    assert requests.post(f"{u}moved/moveTo/o/{q}").json()["metadata"] == {"k": "v"}
    assert [x.name for x in bucket.list_blobs()] == sorted([name, "src"], key=lambda s: s.encode())
    r = requests.post(f"{u}src/moveTo/o/{'x' * 1025}")
    assert r.status_code == 400 and "max_object_name" in r.json()["error"]["message"]


# ---- directories elsewhere

@pytest.fixture
def outside(tmp_path):
    d = tmp_path / "elsewhere"
    d.mkdir()
    (d / "sub").mkdir()
    (d / "sub" / "data.csv").write_bytes(b"1,2\n")
    return d


def test_a_directory_elsewhere_is_a_bucket(make_server, outside, tmp_path):
    conf = tmp_path / "cusp.conf"
    conf.write_text(f"[bucket shared-data]\npath = {outside}\n")
    s = make_server("--engine=fake", "--config", str(conf)).start()
    c = storage.Client(project="demo", credentials=AnonymousCredentials(), client_options={"api_endpoint": s.url})
    b = c.get_bucket("shared-data")
    assert "shared-data" in [x.name for x in c.list_buckets()]
    assert b.blob("sub/data.csv").download_as_bytes() == b"1,2\n"
    b.blob("new/x").upload_from_string(b"from a client")
    assert (outside / "new" / "x").read_bytes() == b"from a client"
    check(b, "new/x", b"from a client")
    assert requests.get(s.url + "/shared-data/new/x").content == b"from a client"
    with pytest.raises(Forbidden):
        b.delete()
    s.stop()


@needs_root
def test_a_bucket_on_another_file_system(make_server, tmp_path):
    d = tmp_path / "tmpfs"
    d.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(d)], check=True)
    try:
        s = make_server("--engine=fake", f"--bucket=other-disk={d}").start()
        c = storage.Client(project="demo", credentials=AnonymousCredentials(), client_options={"api_endpoint": s.url})
        b = c.bucket("other-disk")
        data = os.urandom(3 << 20)
        blob = b.blob("d/large", chunk_size=1 << 20)
        blob.upload_from_string(data)
        check(b, "d/large", data)
        b.blob("d/two").compose([b.blob("d/large")])
        with pytest.raises(Exception) as e:
            b.blob("d/three").compose([b.blob("d/large"), b.blob("d/two")])
        assert e.value.code == 507
        assert sorted(x.name for x in b.list_blobs()) == ["d/large", "d/two"]
        assert sorted(os.listdir(d / "d")) == ["large", "two"]
        check(b, "d/large", data)
        s.stop()
        assert os.listdir(os.path.join(s.data_dir, "uploads")) == []
    finally:
        subprocess.run(["umount", "-l", str(d)], check=True)


def test_a_bucket_directory_must_be_there_and_its_name_free(make_server, outside, tmp_path):
    s = make_server("--engine=fake", f"--bucket=gone={tmp_path}/nowhere").start(expect_ready=False)
    assert "nowhere" in s.log() and s.proc.wait(10) != 0
    s = make_server("--engine=fake", name="second").start()
    s.call("POST", "/storage/v1/b?project=demo", {"name": "taken"})
    s.call("POST", "/upload/storage/v1/b/taken/o?uploadType=media&name=x", b"1")
    s.stop()
    s.flags.append(f"--bucket=taken={outside}")
    s.start(expect_ready=False)
    assert "holds objects already" in s.log() and s.proc.wait(10) != 0


@needs_root
def test_jobs_see_buckets_elsewhere_below_gcs(local, outside):
    s = local(f"--bucket=shared-data={outside}")
    name = s.create(container_job("sh", "-c", "cat /gcs/shared-data/sub/data.csv && echo made > /gcs/shared-data/by-job"))["name"]
    assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED", s.log()[-2000:]
    assert (outside / "by-job").read_bytes() == b"made\n"
    r = s.call("GET", "/storage/v1/b/shared-data/o/by-job?alt=media")
    assert r.content == b"made\n"
    s.stop()
