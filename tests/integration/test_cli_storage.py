"""cusp storage: many at once, broken off and taken up again, checked from end to end."""
import json
import os
import re
import socket
import struct
import subprocess
import threading

import pytest

from command import CUSP, environment, on_terminal, runner
from conftest import wait_until

MIB = 1 << 20


class Relay:
    """Between cusp and the server: counts bytes each way, may change them, may cut the connection."""

    def __init__(self, target):
        self.target = target
        self.up = self.down = 0
        self.cut_up = self.cut_down = None  # bytes after which connections are cut
        self.mangle_up = self.mangle_down = None
        self.cuts = 0
        self.closed = False  # new connections are cut at once
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                a, _ = self.listener.accept()
            except OSError:
                return
            if self.closed:
                a.close()
                continue
            b = socket.create_connection(self.target)
            for frm, to, way in ((a, b, "up"), (b, a, "down")):
                threading.Thread(target=self.pump, args=(frm, to, way), daemon=True).start()

    def pump(self, frm, to, way):
        cut = None
        try:
            while data := frm.recv(65536):
                mangle, cut = getattr(self, "mangle_" + way), getattr(self, "cut_" + way)
                data = mangle(data) if mangle else data
                setattr(self, way, getattr(self, way) + len(data))
                to.sendall(data)
                if cut is not None and getattr(self, way) > cut:
                    self.cuts += 1
                    break
            if way == "up" and cut is None:
                to.shutdown(socket.SHUT_WR)
                return
        except OSError:
            pass
        for s in (frm, to):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        frm.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        frm.close()  # what it still holds is thrown away: as when a server dies

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def relay(fake):
    host, port = fake.url.split("//")[1].split(":")
    r = Relay((host, int(port)))
    yield r
    r.close()


@pytest.fixture
def cusp(fake, tmp_path):
    run = runner("storage", environment(CUSP_ENDPOINT=fake.url, XDG_CACHE_HOME=str(tmp_path / "cache")), seconds=90)
    run("buckets", "create", "gs://bkt")
    return run


def blob(path, size):
    path.write_bytes(os.urandom(1 << 16) * (size >> 16))
    return path


def start(cusp, *argv, **env):
    return subprocess.Popen([CUSP, "storage", *map(str, argv)], env={**cusp.env, **env}, stderr=subprocess.PIPE, text=True)


# ---- broken off and taken up again

@pytest.mark.parametrize("way", ["upload", "download"])
def test_a_connection_that_breaks_is_taken_up_in_the_same_run(cusp, relay, tmp_path, way):
    src = blob(tmp_path / "src", 24 * MIB)
    if way == "upload":
        relay.cut_up = 10 * MIB
        argv = [src, "gs://bkt/x"]
    else:
        cusp("cp", src, "gs://bkt/x")
        relay.cut_down = 10 * MIB
        argv = ["gs://bkt/x", tmp_path / "out"]
    p = start(cusp, "cp", *argv, CUSP_ENDPOINT=relay.url)
    wait_until(lambda: relay.cuts, what="the cut")
    relay.cut_up = relay.cut_down = None
    _, err = p.communicate(timeout=60)
    assert p.returncode == 0, err
    moved = relay.up if way == "upload" else relay.down
    assert moved < 40 * MIB, "all of it was sent again"
    if way == "upload":
        cusp("cp", "gs://bkt/x", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == src.read_bytes()


def test_an_upload_that_was_killed_goes_on_when_run_again(fake, cusp, relay, tmp_path):
    src = blob(tmp_path / "src", 24 * MIB)
    relay.cut_up = 12 * MIB
    p = start(cusp, "cp", src, "gs://bkt/x", CUSP_ENDPOINT=relay.url)
    wait_until(lambda: relay.cuts, what="the cut")
    relay.closed = True
    p.kill()
    p.communicate()
    record, = (tmp_path / "cache/cusp/uploads").iterdir()
    session = re.search(r"^session=http://[^/]*(.*)", record.read_text(), re.M).group(1)
    # How much of what was on its way when the connection broke has arrived is the machine's business.
    asked = fake.call("PUT", session, headers={"Content-Range": f"bytes */{24 * MIB}", "Content-Length": "0"})
    has = int(asked.headers["Range"].rsplit("-", 1)[1])
    relay.closed, relay.cut_up, relay.up = False, None, 0
    cusp("cp", src, "gs://bkt/x", CUSP_ENDPOINT=relay.url)
    assert relay.up < 24 * MIB - has + MIB // 2, "what was there was sent again"
    assert not os.listdir(tmp_path / "cache/cusp/uploads")
    cusp("cp", "gs://bkt/x", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == src.read_bytes()


def test_a_file_that_changed_begins_a_new_upload(cusp, relay, tmp_path):
    src = blob(tmp_path / "src", 16 * MIB)
    relay.cut_up = 10 * MIB
    p = start(cusp, "cp", src, "gs://bkt/x", CUSP_ENDPOINT=relay.url)
    wait_until(lambda: relay.cuts, what="the cut")
    p.kill()
    p.communicate()
    relay.cut_up, relay.up = None, 0
    blob(src, 16 * MIB)
    cusp("cp", src, "gs://bkt/x", CUSP_ENDPOINT=relay.url)
    assert relay.up >= 16 * MIB
    cusp("cp", "gs://bkt/x", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == src.read_bytes()


def test_a_session_the_server_forgot_begins_a_new_upload(cusp, relay, tmp_path):
    src = blob(tmp_path / "src", 16 * MIB)
    relay.cut_up = 10 * MIB
    p = start(cusp, "cp", src, "gs://bkt/x", CUSP_ENDPOINT=relay.url)
    wait_until(lambda: relay.cuts, what="the cut")
    p.kill()
    p.communicate()
    relay.cut_up = None
    record = tmp_path / "cache/cusp/uploads" / os.listdir(tmp_path / "cache/cusp/uploads")[0]
    text = record.read_text()
    record.write_text(text.replace("upload_id=", "upload_id=gone"))
    cusp("cp", src, "gs://bkt/x", CUSP_ENDPOINT=relay.url)
    assert json.loads(cusp("ls", "gs://bkt/x", "--format=json").stdout)[0]["size"] == str(16 * MIB)


@pytest.mark.parametrize("overwritten", [False, True])
def test_a_download_that_was_killed_goes_on_when_the_object_is_the_same(cusp, relay, tmp_path, overwritten):
    src = blob(tmp_path / "src", 24 * MIB)
    cusp("cp", src, "gs://bkt/x")
    relay.cut_down = 12 * MIB
    p = start(cusp, "cp", "gs://bkt/x", tmp_path / "out", CUSP_ENDPOINT=relay.url)
    wait_until(lambda: relay.cuts, what="the cut")
    relay.closed = True
    p.kill()
    p.communicate()
    assert not (tmp_path / "out").exists() and list(tmp_path.glob("out.cusp-part-*"))
    relay.closed, relay.cut_down, relay.down = False, None, 0
    if overwritten:
        cusp("cp", blob(src, 24 * MIB), "gs://bkt/x")
    cusp("cp", "gs://bkt/x", tmp_path / "out", CUSP_ENDPOINT=relay.url)
    assert (tmp_path / "out").read_bytes() == src.read_bytes()
    assert (relay.down >= 24 * MIB) == overwritten


def test_what_is_no_file_is_written_to_and_stays(cusp, tmp_path):
    """A pipe; /dev/null, by a link, so that only the link is lost where this is broken."""
    src, fifo, null = blob(tmp_path / "src", 40000), tmp_path / "fifo", tmp_path / "null"
    cusp("cp", src, "gs://bkt/x")
    os.mkfifo(fifo)
    with subprocess.Popen(["timeout", "60", "cat", fifo], stdout=subprocess.PIPE) as cat:
        cusp("cp", "gs://bkt/x", fifo)
        assert cat.communicate()[0] == src.read_bytes()
    null.symlink_to("/dev/null")
    cusp("cp", "gs://bkt/x", null)
    assert fifo.is_fifo() and null.is_symlink() and null.is_char_device()
    assert not list(tmp_path.glob("*.cusp-part-*"))


def test_changed_bytes_are_noticed_both_ways(cusp, relay, tmp_path):
    def flip(data):
        return data.replace(b"needle", b"noodle")
    (tmp_path / "src").write_bytes(b"." * 5000 + b"needle" + b"." * 5000)
    relay.mangle_up = flip
    p = cusp("cp", tmp_path / "src", "gs://bkt/x", rc=1, CUSP_ENDPOINT=relay.url)
    assert "differs" in p.stderr
    cusp("cat", "gs://bkt/x", rc=3)  # what is wrong does not stay
    relay.mangle_up, relay.mangle_down = None, flip
    cusp("cp", tmp_path / "src", "gs://bkt/x")
    p = cusp("cp", "gs://bkt/x", tmp_path / "out", rc=1, CUSP_ENDPOINT=relay.url)
    assert "checksum" in p.stderr and not list(tmp_path.glob("out*"))


# ---- many at once

def test_a_large_tree_goes_both_ways_and_away(cusp, tmp_path):
    tree = tmp_path / "tree"
    want = {}
    for i in range(300):
        f = tree / f"d{i % 7}" / f"f{i}"
        f.parent.mkdir(parents=True, exist_ok=True)
        f.write_bytes(os.urandom(i * 10))
        want[f"d{i % 7}/f{i}"] = f.read_bytes()
    p = cusp("cp", "-r", "--parallel=5", tree, "gs://bkt")
    assert p.stderr.count(" -> ") == 300 and "300 objects, " in p.stderr.splitlines()[-1]
    cusp("cp", "-r", "gs://bkt/tree", tmp_path / "out", "--quiet")
    out = tmp_path / "out/tree"
    assert {str(f.relative_to(out)): f.read_bytes() for f in out.rglob("*") if f.is_file()} == want
    cusp("rm", "-r", "gs://bkt/tree/d3")
    assert len(json.loads(cusp("ls", "-r", "gs://bkt", "--format=json").stdout)) == len([n for n in want if not n.startswith("d3/")])


def test_one_failure_among_many_does_not_stop_the_others(cusp, tmp_path):
    for name in "abc":
        (tmp_path / name).write_text(name)
    cusp("cp", tmp_path / "a", tmp_path / "b", tmp_path / "c", "gs://bkt/")
    (tmp_path / "out").mkdir()
    p = cusp("cp", "gs://bkt/a", "gs://bkt/none", "gs://bkt/c", tmp_path / "out", rc=3)
    assert sorted(os.listdir(tmp_path / "out")) == ["a", "c"]
    assert "gs://bkt/none" in p.stderr and "1 of 3 failed" in p.stderr


def test_a_server_that_is_gone_ends_it_at_once(cusp, tmp_path):
    for i in range(50):
        (tmp_path / f"f{i}").write_text("x")
    p = cusp("cp", *tmp_path.glob("f*"), "gs://bkt/", rc=4, CUSP_ENDPOINT="http://127.0.0.1:1")
    assert "not tried" in p.stderr and p.stderr.count("no server answers") <= 8


def on_a_terminal(cusp, argv, until, then, **env):
    """What it says there until it ends; `then` is called once it has said what matches `until`."""
    seen = []

    def heard(said):
        if not seen and re.search(until, said):
            seen.append(said)
            then()
    said = on_terminal(["storage", *argv], {**cusp.env, **env}, heard=heard)
    assert seen, said
    return said


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_progress_on_a_terminal_and_nowhere_else(cusp, relay, tmp_path, many):
    src = blob(tmp_path / "src", 16 * MIB)
    opened = threading.Event()
    relay.mangle_up = lambda data: (relay.up < 4 * MIB or opened.wait(60)) and data  # it stands still for as long as we look
    files = [src, blob(tmp_path / "two", MIB)] if many else [src]
    until = rb"\r\033\[K[01] of 2 objects, .* of 17\.0 MiB \(\d+%\), .*/s" if many else rb"\r\033\[Ksrc, .* of 16\.0 MiB \(\d+%\), .*/s"
    said = on_a_terminal(cusp, ["cp", *files, "gs://bkt/"], until, opened.set, CUSP_ENDPOINT=relay.url)
    last = said.split(b"\r\033[K")[-1 if many else -2]  # each is wiped away, also the one that is there at the end
    assert last.startswith(b"2 objects, " if many else str(src).encode() + b" -> gs://bkt/src"), said
    assert "\033" not in cusp("cp", *files, "gs://bkt/").stderr
    listed = {o["name"] for o in json.loads(cusp("ls", "gs://bkt", "--format=json").stdout)}
    assert listed == {f.name for f in files}


# ---- rsync, du, ls

def listed(cusp, uri="gs://bkt"):
    return {o["name"]: o["size"] for o in json.loads(cusp("ls", "-r", uri, "--format=json").stdout)}


def test_rsync_copies_what_differs_and_removes_only_when_told(cusp, tmp_path):
    src = tmp_path / "src"
    (src / "sub").mkdir(parents=True)
    (src / "a").write_text("one")
    (src / "sub/b").write_text("two")
    p = cusp("rsync", src, "gs://bkt/dst", "--dry-run")
    assert p.stdout.count("would copy") == 2 and listed(cusp) == {}
    cusp("rsync", src, "gs://bkt/dst/")
    assert set(listed(cusp)) == {"dst/a", "dst/sub/b"}
    assert "->" not in cusp("rsync", "-r", src, "gs://bkt/dst").stderr, "what is the same was copied"

    (src / "a").write_text("ONE")  # the same size
    os.unlink(src / "sub/b")
    (src / "c").write_text("three")
    p = cusp("rsync", src, "gs://bkt/dst")
    assert p.stderr.count(" -> ") == 2 and set(listed(cusp)) == {"dst/a", "dst/sub/b", "dst/c"}
    assert "would remove gs://bkt/dst/sub/b" in cusp("rsync", "--delete", "--dry-run", src, "gs://bkt/dst").stdout
    cusp("rsync", "--delete", src, "gs://bkt/dst")
    assert set(listed(cusp)) == {"dst/a", "dst/c"} and cusp("cat", "gs://bkt/dst/a").stdout == "ONE"

    out = tmp_path / "new/out"
    out.parent.mkdir()
    cusp("rsync", "gs://bkt/dst", out)
    assert {f.name: f.read_text() for f in out.iterdir()} == {"a": "ONE", "c": "three"}
    (out / "extra").write_text("x")
    cusp("rsync", "gs://bkt/dst", out)
    assert (out / "extra").exists()
    cusp("rsync", "--delete", "gs://bkt/dst", out)
    assert not (out / "extra").exists()
    cusp("rsync", "gs://bkt/dst", "gs://bkt/copy")
    assert set(listed(cusp)) == {"dst/a", "dst/c", "copy/a", "copy/c"}


def test_rsync_keeps_neighbours_apart(cusp, tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a").write_text("1")
    (tmp_path / "f").write_text("x")
    for name in ("dst2/a", "dst", "dst-x"):
        cusp("cp", tmp_path / "f", f"gs://bkt/{name}")
    cusp("rsync", "--delete", tmp_path / "src", "gs://bkt/dst2")
    assert cusp("cat", "gs://bkt/dst").stdout == "x" and "dst-x" in listed(cusp)
    cusp("rsync", tmp_path / "none", "gs://bkt/dst", rc=3)
    cusp("rsync", tmp_path / "f", "gs://bkt/dst", rc=2)


def test_du_and_totals(cusp, tmp_path):
    for name, size in (("top", 1), ("d/x", 1000), ("d/e/y", 24), ("d2/z", 5)):
        (tmp_path / "f").write_bytes(b"x" * size)
        cusp("cp", tmp_path / "f", f"gs://bkt/{name}")
    rows = [line.split() for line in cusp("du", "gs://bkt").stdout.splitlines()]
    assert rows[0] == ["SIZE", "OBJECTS", "WHERE"]
    assert [r[-2:] for r in rows[1:]] == [["2", "gs://bkt/d/"], ["1", "gs://bkt/d2/"], ["1", "gs://bkt/top"], ["4", "gs://bkt"]]
    j = json.loads(cusp("du", "gs://bkt/d", "--format=json").stdout)
    assert (j["bytes"], j["objects"]) == (1024, 2)
    assert {x["name"]: x["bytes"] for x in j["below"]} == {"d/x": 1000, "d/e/": 24}
    assert len(cusp("du", "-s", "gs://bkt").stdout.splitlines()) == 2
    cusp("du", "gs://bkt/none", rc=3)
    assert cusp("ls", "-l", "-r", "gs://bkt").stdout.splitlines()[-1].split()[:3] == ["1030", "total:", "4"]


def test_a_list_that_fails_prints_no_list(cusp):
    for argv, rc in ((["ls", "gs://no-such-bucket", "--format=json"], 3), (["ls", "-r", "gs://B", "--format=json"], 2)):
        p = cusp(*argv, rc=rc)
        assert p.stdout == "" and p.stderr


@pytest.mark.parametrize("argv", [["rsync", "a"], ["rsync", "a", "b"], ["du"], ["cp", "--parallel=0", "a", "gs://bkt"], ["cp", "--parallel=65", "a", "gs://bkt"],
                                  ["du", "file"], ["ls", "--parallel=2"], ["rsync", "gs://bkt", ""],
                                  ["cp", "gs://bkt/x", "-"], ["cp", "-", "gs://bkt/x"]])
def test_wrong_usage(cusp, argv):
    assert cusp(*argv, rc=2).stderr


# ---- signed URLs

@pytest.fixture(scope="module")
def service_account(tmp_path_factory):
    folder = tmp_path_factory.mktemp("key")
    subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", folder / "key.pem"], check=True,
                   stderr=subprocess.DEVNULL)
    key = folder / "key.json"
    key.write_text(json.dumps({"type": "service_account", "project_id": "demo", "client_email": "me@demo.iam.gserviceaccount.com",
                               "private_key": (folder / "key.pem").read_text(), "private_key_id": "1",
                               "token_uri": "https://oauth2.googleapis.com/token"}))
    return key


@pytest.mark.parametrize("name,verb,duration,seconds", [("x", None, None, 3600), ("a b/c+d~é?.txt", "PUT", "15m", 900), ("n", "DELETE", "7d", 604800)])
def test_a_signed_url_is_the_one_the_official_library_makes(cusp, service_account, monkeypatch, name, verb, duration, seconds):
    pytest.importorskip("cryptography", reason="the library signs with the cryptography package")
    import datetime
    from urllib.parse import parse_qs, urlsplit
    from google.cloud import storage
    from google.oauth2 import service_account as sa
    flags = [*([f"--http-verb={verb}"] if verb else []), *([f"--duration={duration}"] if duration else [])]
    url = cusp("sign-url", f"gs://bkt/{name}", f"--private-key-file={service_account}", *flags).stdout.strip()
    stamp = parse_qs(urlsplit(url).query)["X-Goog-Date"][0]
    monkeypatch.setattr(storage._signing, "get_v4_now_dtstamps", lambda: (stamp, stamp[:8]))
    creds = sa.Credentials.from_service_account_file(service_account)
    want = storage.Client(project="demo", credentials=creds).bucket("bkt").blob(name).generate_signed_url(
        version="v4", expiration=datetime.timedelta(seconds=seconds), method=verb or "GET", api_access_endpoint=cusp.env["CUSP_ENDPOINT"])
    assert url == want


def test_a_signed_url_fetches_the_object(cusp, service_account, fake, tmp_path):
    (tmp_path / "f").write_text("signed")
    cusp("cp", tmp_path / "f", "gs://bkt/d/f")
    keys = os.path.join(fake.data_dir, "signing-keys")
    os.makedirs(keys)
    subprocess.run(["openssl", "pkey", "-in", service_account.parent / "key.pem", "-pubout",
                    "-out", os.path.join(keys, "me@demo.iam.gserviceaccount.com.pem")], check=True)
    url = json.loads(cusp("sign-url", "gs://bkt/d/f", "--private-key-file", service_account, "--format=json").stdout)["signedUrl"]
    assert fake.http.get(url).text == "signed"
    assert fake.http.get(url.replace("/d/f?", "/d/g?")).status_code == 403


@pytest.mark.parametrize("flags", [["--duration=8d"], ["--duration=0"], ["--duration=x"], ["--http-verb=BREW"], ["--private-key-file=/dev/null"]])
def test_sign_url_refuses(cusp, service_account, flags):
    assert cusp("sign-url", "gs://bkt/x", f"--private-key-file={service_account}", *flags, rc=2).stderr
