"""Nothing is lost when the server is killed while it brings an older database to its own schema: whatever the moment, the
next start finds a whole database of one version, finishes, and serves every row by every way of asking."""
import os
import shutil
import sqlite3

import pytest

from conftest import PARENT, ROOT, Server, fake_job

DUMPS = os.path.join(ROOT, "tests", "unit", "store", "data")
TABLES = {  # as every released version has them
    "resource": "id, name, kind, parent, display_name, state, create_time, update_time, is_live, status, spec",
    "label": "resource, place, key, value", "event": "resource, seq, type, version, time, body", "kv": "space, key, value",
    "meta": "key, value"}
# With two labels each, the label table is larger than what SQLite keeps in memory (2 MiB): part of an unfinished step is
# in the log on the disk when the server dies.
ROWS, FIRST = 30000, 1000000000000000000


def row_of(server):
    """A job that has ended, as the server itself stored it: rows of every table."""
    server.start()
    name = server.create({**fake_job(), "labels": {"team": "green"}})["name"]
    server.wait(name)
    server.stop()
    db = sqlite3.connect(os.path.join(server.data_dir, "cusp.db"))
    rows = {t: db.execute(f"SELECT {columns} FROM {t}").fetchall() for t, columns in TABLES.items()}
    db.close()
    return name, rows


@pytest.fixture(scope="module")
def older(tmp_path_factory):
    """Gives a data directory with a database of an older version, made by that version's own dump: the job of row_of, and
    ROWS more like it. Made once a version, copied for each test."""
    made = {}

    def make(server, version):
        if version not in made:
            at = tmp_path_factory.mktemp(f"version{version}")
            first = Server(at / "data", "--engine=fake")
            name, rows = row_of(first)
            made[version] = first.data_dir, name, age(first.data_dir, version, rows)
        data_dir, name, known = made[version]
        shutil.copytree(data_dir, server.data_dir)
        return name, known
    return make


def age(data_dir, version, rows):
    path = os.path.join(data_dir, "cusp.db")
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.remove(path + suffix)
    db = sqlite3.connect(path)
    with open(os.path.join(DUMPS, f"schema-{version}.sql"), encoding="utf-8") as f:
        db.executescript(f.read())
    for table, columns in TABLES.items():
        marks = ", ".join("?" * len(columns.split(",")))
        db.execute(f"DELETE FROM {table}")
        db.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows[table])
    rid, = db.execute("SELECT id FROM resource WHERE kind = 'customJob'").fetchone()
    n = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) "
    db.execute(f"INSERT INTO resource ({TABLES['resource']}) {n} SELECT ? + i, parent || '/customJobs/' || ({FIRST} + i), kind, "
               "parent, display_name, state, create_time + i, update_time + i, 0, status, spec FROM n, resource WHERE id = ?",
               (rid, rid))
    db.execute(f"INSERT INTO label ({TABLES['label']}) {n} SELECT ? + i, 0, 'team', CASE i % 10 WHEN 0 THEN 'red' ELSE 'blue' END "
               "FROM n", (rid,))
    db.execute(f"INSERT INTO label ({TABLES['label']}) {n} SELECT ? + i, 1, 'nr', i FROM n", (rid,))
    db.commit()
    db.close()
    return facts(data_dir)


def facts(data_dir):
    """The version, and all that was kept for somebody; read while no server runs."""
    db = sqlite3.connect(os.path.join(data_dir, "cusp.db"))
    got = {t: sorted(db.execute(f"SELECT {columns} FROM {t}")) for t, columns in TABLES.items()}
    version, = db.execute("PRAGMA user_version").fetchone()
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    return version, got


def check_served(server, name):
    """What the migration is for: the rows of a label, found by its new index."""
    seen, token = [], ""
    while True:
        page = server.call("GET", f"/v1/{PARENT}/customJobs",
                           params={"filter": "labels.team=red", "pageSize": 1000, "pageToken": token}).json()
        seen += [j["name"].rsplit("/", 1)[1] for j in page["customJobs"]]
        token = page.get("nextPageToken")
        if not token:
            break
    assert seen == [str(FIRST + i) for i in range(ROWS, 0, -10)]
    one = server.call("GET", f"/v1/{PARENT}/customJobs", params={"filter": "labels.nr=777"}).json()["customJobs"]
    assert [j["name"].rsplit("/", 1)[1] for j in one] == [str(FIRST + 777)]
    job = server.get(name)
    assert job["state"] == "JOB_STATE_SUCCEEDED" and job["labels"]["team"] == "green"


# From which version, where it is killed, which version that leaves. A start from 1 runs one statement to 2 and five to 3.
MOMENTS = [(1, "store.migrate.statement=abort@1", 1), (1, "store.migrate.before_commit=abort@1", 1),
           (1, "store.migrate.statement=abort@2", 2), (2, "store.migrate.row=abort@777", 2),
           (2, "store.migrate.statement=abort@4", 2), (2, "store.migrate.statement=abort@5", 2),
           (2, "store.migrate.before_commit=abort@1", 2)]
HALF_DONE = MOMENTS[4:]  # rows are changed and not yet committed


@pytest.mark.parametrize("version,point,left", MOMENTS, ids=[f"{v}-{p}" for v, p, _ in MOMENTS])
def test_killed_in_a_migration(make_server, older, version, point, left):
    s = make_server("--engine=fake")
    name, (_, before) = older(s, version)
    s.start(env={"CUSP_FAILPOINTS": point}, expect_ready=False)
    assert s.proc.wait(30) == -9, s.log()
    if (version, point, left) in HALF_DONE:
        assert os.path.getsize(os.path.join(s.data_dir, "cusp.db-wal")) > 1 << 20, "nothing unfinished was on the disk"
    copy = s.data_dir + "-copy"  # looking takes the log away
    shutil.copytree(s.data_dir, copy)
    assert facts(copy) == (left, before)
    s.start()
    check_served(s, name)
    s.stop()
    assert facts(s.data_dir) == (3, before)


def test_a_migration_that_finds_no_room_leaves_the_database_as_it_was(make_server, older):
    s = make_server("--engine=fake")
    name, before = older(s, 2)
    s.start(env={"CUSP_FAILPOINTS": f"store.migrate.row=errno:ENOSPC@{ROWS}",
                 "ASAN_OPTIONS": "detect_leaks=0"}, expect_ready=False)  # a refused start frees nothing, it ends
    assert s.proc.wait(30) == 1
    assert "bring the database to schema version 3" in s.log() and "full" in s.log()
    assert facts(s.data_dir) == before
    s.start()
    check_served(s, name)
    s.stop()
    assert facts(s.data_dir) == (3, before[1])
