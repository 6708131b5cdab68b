"""How layers come and what they cost: several at once, told while they move, mounted and not copied for each job."""
import json
import os
import re
import threading

from conftest import busybox_tar, needs_root, wait_until
from test_pull import big, gate, good, image_job, jobs, messages, one_file_layer, other, runnable, server  # noqa: F401 (fixtures)

pytestmark = needs_root
EXTENDED = os.environ.get("CUSP_EXTENDED") == "1"


def layers_of(other, d):
    return [x["digest"] for x in json.loads(other.manifests["team/app", d["digest"]])["layers"]]


def test_layers_come_at_once(server, other):
    """None is answered before three are asked for."""
    s = server()
    d = other.image(layers=big(3))
    wanted, together = layers_of(other, d), threading.Barrier(3)

    def fault(h):
        if h.path.rsplit("/", 1)[1] in wanted:
            together.wait(30)
        return False

    other.faults.append(fault)
    assert good(s, f"{other.host}/team/app:v1")["digest"] == d["digest"] and not together.broken
    s.stop()


def test_no_more_at_once_than_allowed(server, other):
    s = server("--limit=pull_max_layers=2")
    d = other.image(layers=big(6, 1000))
    wanted, lock, now, most = layers_of(other, d), threading.Lock(), [0], [0]
    third = threading.Event()

    def fault(h):
        if h.path.rsplit("/", 1)[1] not in wanted:
            return False
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            if now[0] > 2:
                third.set()
        third.wait(0.2)  # time for one too many to come
        with lock:
            now[0] -= 1
        return False

    other.faults.append(fault)
    assert good(s, f"{other.host}/team/app:v1")["layers"] == 6
    assert most[0] == 2
    s.stop()


def test_a_job_shows_how_far_its_pull_is(jobs, other, runnable):
    """In what it waits for, each second; in its log when it begins and ends, and (extended) every ten seconds between."""
    s = jobs()
    d = runnable()
    last = layers_of(other, d)[-1]
    opened, waiting = gate(other, lambda h: last in h.path)
    uri = f"{other.host}/team/app:v1"
    name = s.create(image_job(uri))["name"]
    assert waiting.wait(30)
    moving = rf"pulling image {re.escape(uri)}: [\d.]+ [KM]?B of [\d.]+ [KM]B \(\d+ %\), 1 of 2 layers"
    wait_until(lambda: re.search(moving, s.events(name).get("waitingFor", "")), 30, "how far it is")
    begun = [m for m in messages(s, name) if m.startswith(f"Pulling image {uri}: digest {d['digest']}, 2 layers, ")]
    assert len(begun) == 1
    if EXTENDED:
        wait_until(lambda: any(re.search("^P" + moving[1:], m) for m in messages(s, name)), 30, "a line in the log")
    opened.set()
    assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED"
    assert any(m.startswith(f"Image {uri} is here: ") for m in messages(s, name))
    s.stop()


def bytes_below(path):
    """Blocks of the files below, of each file once."""
    seen = {}
    for base, _, files in os.walk(path):
        for f in files:
            st = os.lstat(os.path.join(base, f))
            seen[st.st_dev, st.st_ino] = st.st_blocks * 512
    return sum(seen.values())


def test_layers_are_mounted_and_not_copied(jobs, other, tmp_path):
    """Three jobs at once on an image of 16 MB: no copy of it is made, and what one writes into it the others do not see."""
    base = open(busybox_tar(tmp_path / "busybox.tar"), "rb").read()
    other.image(layers=[base, one_file_layer("weights", os.urandom(16 << 20))], cmd=("/bin/true",))
    s = jobs("--cpu-milli=16000", "--mem-mb=65536", "--stop-grace-s=1")
    uri = f"{other.host}/team/app:v1"
    first = s.create(image_job(uri))["name"]
    assert s.wait(first)["state"] == "JOB_STATE_SUCCEEDED", s.events(first)
    os.makedirs(os.path.join(s.data_dir, "buckets/sync"))
    before = bytes_below(s.data_dir)
    layers = sorted(os.listdir(os.path.join(s.data_dir, "images/layers")))
    names = [s.create(image_job(uri, "sh", "-c", f"test ! -e /mine && echo {i} > /mine && head -c 1 /weights > /dev/null && touch /gcs/sync/{i} &&"
                                "while [ ! -e /gcs/sync/go ]; do sleep 0.05; done; cat /mine"))["name"] for i in range(3)]
    try:
        wait_until(lambda: len(os.listdir(os.path.join(s.data_dir, "buckets/sync"))) == 3, 60, "all three to run")
        assert bytes_below(s.data_dir) - before < 8 << 20
        assert sorted(os.listdir(os.path.join(s.data_dir, "images/layers"))) == layers
    finally:
        open(os.path.join(s.data_dir, "buckets/sync/go"), "w").close()
    for i, name in enumerate(names):
        assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED", s.events(name)
        assert str(i) in messages(s, name)
    s.stop()
