"""A data directory that something else changed: what is lost is said, what can be read is served, nothing is made worse."""
import os
import shutil
import struct

import pytest
import requests

from conftest import PARENT, fake_job

HEADER, FRAME = 32, 24  # of SQLite's log (sqlite.org/fileformat2.html)


def wal(s):
    return os.path.join(s.data_dir, "cusp.db-wal")


def flip(path, at, bit=1):
    with open(path, "r+b") as f:
        f.seek(at)
        old = f.read(1)[0]
        f.seek(at)
        f.write(bytes([old ^ bit]))


def frames(path):
    """(offset, is the last of a commit) of the frames of the log's own time."""
    with open(path, "rb") as f:
        data = f.read()
    page = struct.unpack(">I", data[8:12])[0]
    out = []
    for at in range(HEADER, len(data) - FRAME - page + 1, FRAME + page):
        if data[at + 8:at + 16] == data[16:24]:
            out.append((at, struct.unpack(">I", data[at + 4:at + 8])[0] != 0))
    return out


@pytest.fixture
def killed(make_server):
    """A server that was killed with ten jobs in its log that were answered, and their names."""
    s = make_server("--engine=fake", "--hold").start()
    names = [s.create(fake_job())["name"] for _ in range(10)]
    s.kill9()
    assert sum(last for _, last in frames(wal(s))) >= 10
    return s, names


def names_there(s):
    return {j["name"] for j in s.call("GET", f"/v1/{PARENT}/customJobs").json().get("customJobs", [])}


def test_a_whole_log_is_no_news(killed):
    s, names = killed
    s.start()
    assert names_there(s) == set(names) and "damaged" not in s.log() and "not whole" not in s.log()
    s.stop()


@pytest.mark.parametrize("where", [FRAME + 100, 8, 0, 16])  # the page, its salt, its number, its checksum
def test_a_flipped_bit_in_the_middle_is_said_and_the_file_is_kept(killed, where):
    s, names = killed
    ends = [at for at, last in frames(wal(s)) if last]
    flip(wal(s), ends[-5] + where)
    damaged = open(wal(s), "rb").read()
    s.start()
    assert "the database's log is damaged" in s.log() and "lost=" in s.log()
    assert open(wal(s) + ".damaged", "rb").read() == damaged
    there = names_there(s)
    assert there < set(names) and there
    s.stop()
    at = len(s.log())
    s.start()  # said once, not at every start
    assert "damaged" not in s.log()[at:] and names_there(s) == there
    assert s.create(fake_job())["name"]
    s.stop()


@pytest.mark.parametrize("where", [0, 9, 17, 25])  # magic, page size, salt, checksum
def test_a_flipped_bit_in_the_head_is_said(killed, where):
    s, _ = killed
    flip(wal(s), where, 0x10)
    s.start()
    assert "the database's log is damaged" in s.log() and os.path.exists(wal(s) + ".damaged")
    s.stop()


def test_a_torn_end_is_no_damage(killed):
    """What a crash in the middle of a write leaves: the last commit was answered to nobody."""
    s, names = killed
    ends = [at for at, last in frames(wal(s)) if last]
    with open(wal(s), "r+b") as f:
        f.truncate(ends[-1] + 1000)
    s.start()
    assert "damaged" not in s.log() and len(names_there(s)) >= 9
    s.stop()
    assert not os.path.exists(wal(s) + ".damaged")


def test_a_damaged_database_is_refused_and_left_alone(make_server):
    s = make_server("--engine=fake", "--hold").start()
    for _ in range(30):
        s.create(fake_job())
    s.stop()
    path = os.path.join(s.data_dir, "cusp.db")
    with open(path, "r+b") as f:  # the schema's page
        f.seek(100)
        f.write(b"\xff" * 60)
    before = open(path, "rb").read()
    s.start(expect_ready=False)
    assert s.proc.wait(30) == 1 and "damaged" in s.log() and "cusp.db" in s.log()
    assert open(path, "rb").read() == before


@pytest.mark.parametrize("point", ["store.commit.before_begin", "store.commit.before_commit"])
def test_a_disk_that_fails_ends_the_server_which_says_so(make_server, point):
    """Not full, broken: nobody can tell what is on it, so the server stops before it says something untrue."""
    s = make_server("--engine=fake", "--hold").start()
    names = {s.create(fake_job())["name"] for _ in range(3)}
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": f"{point}=errno:EIO@3"})
    with pytest.raises(requests.ConnectionError):
        for _ in range(20):
            names.add(s.create(fake_job())["name"])
    assert s.proc.wait(30) == 1
    assert "cannot go on: a change could not be saved" in s.log() and s.data_dir in s.log() and "Input/output error" in s.log()
    s.start()
    assert names <= names_there(s)
    s.stop()


def test_a_newer_database_is_refused_and_left_alone(make_server):
    import sqlite3
    s = make_server("--engine=fake").start()
    s.stop()
    path = os.path.join(s.data_dir, "cusp.db")
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    s.start(expect_ready=False)
    assert s.proc.wait(30) == 1 and "schema version 99, made by a newer cusp" in s.log()


def test_a_copy_taken_of_a_stopped_server_is_a_server_of_its_own(make_server, tmp_path):
    s = make_server("--engine=fake", "--hold").start()
    names = {s.create(fake_job())["name"] for _ in range(5)}
    s.stop()
    shutil.copytree(s.data_dir, tmp_path / "copy")
    other = make_server("--engine=fake", "--hold", name="copy").start()
    s.start()
    extra = other.create(fake_job())["name"]
    assert names_there(s) == names and names_there(other) == names | {extra}
    s.stop()
    other.stop()
