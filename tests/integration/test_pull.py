"""Images of other registries: what a job's imageUri leads to when it is not here. The other registry is one that
misbehaves as it is told (tests/lib/faulty_registry.py), docker's own where that package is installed, or cusp itself."""
import base64
import ctypes
import ctypes.util
import gzip
import io
import json
import os
import subprocess
import tarfile
import threading

import pytest

from conftest import BUILD, busybox_tar, container_job, needs, needs_root, patience, wait_until
from faulty_registry import ARCH, INDEX, LAYER, Registry, cut, one_file_layer, sha

pytestmark = needs_root
QUICK = ("--limit=pull_backoff_ms=5",)


@pytest.fixture
def other():
    r = Registry()
    yield r
    r.close()


@pytest.fixture
def server(make_server, tmp_path):
    """Makes servers without containers: pulling and unpacking need none."""
    def make(*flags, config="", env=None, name="data"):
        path = tmp_path / (name + ".conf")
        path.write_text(config)
        s = make_server("--engine=fake", "--config", str(path), *QUICK, *flags,
                        env={"DOCKER_CONFIG": str(tmp_path / "docker"), **(env or {})}, name=name)
        return s.start()
    return make


def pull(s, image, policy="missing"):
    """The last line of the answer: {"image"} or {"error"}; and all before it."""
    r = s.call("POST", "/cusp/v1/images:pull", {"image": image, "policy": policy})
    lines = [json.loads(x) for x in r.text.splitlines()] if r.status_code == 200 else [r.json()]
    return lines[-1], [x["text"] for x in lines[:-1] if "text" in x]


def good(s, image, policy="missing"):
    last, _ = pull(s, image, policy)
    assert "image" in last, last
    return last["image"]


def refused(s, image, *words, policy="missing"):
    last, _ = pull(s, image, policy)
    assert "error" in last, last
    for w in words:
        assert w in last["error"]["message"], last["error"]
    return last["error"]


def kept(s):
    """What a pull that failed must not leave: blobs, layers, parts, tags."""
    images = os.path.join(s.data_dir, "images")
    repos = os.path.join(images, "repos")
    tags = [t for r in os.listdir(repos) for t in os.listdir(os.path.join(repos, r, "tags"))]
    return sorted(tags + [x for d in ("blobs/sha256", "layers", "partial", "tmp") for x in os.listdir(os.path.join(images, d))])


def text_in(s, image, name):
    """A file of the topmost layer that has it."""
    layers = os.path.join(s.data_dir, "images", "layers")
    for x in os.listdir(layers):
        path = os.path.join(layers, x, name)
        if os.path.isfile(path):
            return open(path, "rb").read()
    return None


def big(n=3, size=400000):
    return [one_file_layer("f%d" % i, os.urandom(size)) for i in range(n)]


# ---- the way it should be

def test_layers_come_once_and_a_tag_that_is_here_is_used(server, other):
    s, layers = server(), big()
    d = other.image(layers=layers)
    ref = f"{other.host}/team/app:v1"
    last, lines = pull(s, ref)
    assert last["image"]["digest"] == d["digest"] and last["image"]["layers"] == 3
    said = "\n".join(lines)
    assert d["digest"] in said and "3 layers" in said and "Unpacking image" in said, said
    assert other.count("/blobs/") == 4
    asked = len(other.asked)
    assert good(s, ref)["digest"] == d["digest"] and good(s, f"{other.host}/team/app@{d['digest']}")
    assert len(other.asked) == asked  # nobody was asked
    # looked up on request: it is the same
    assert good(s, ref, "always")["digest"] == d["digest"] and other.count("/blobs/") == 4
    # moved: the layers that are shared do not come again
    moved = other.image(layers=[layers[0], one_file_layer("new", b"x")])
    assert good(s, ref)["digest"] == d["digest"]
    assert good(s, ref, "always")["digest"] == moved["digest"] and other.count("/blobs/") == 6
    assert kept(s).count("v1@") == 1 and not os.listdir(os.path.join(s.data_dir, "images", "partial"))
    # it is an image like any other, and served to others
    host = other.host.replace(":", "__")
    names = sorted(i["name"] for i in s.call("GET", "/cusp/v1/images").json()["images"])
    assert names == [ref, f"{other.host}/team/app@{d['digest']}"]
    assert s.call("GET", f"/v2/{host}/team/app/manifests/v1").json()["schemaVersion"] == 2
    s.stop()


def zstd(data):
    lib = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
    lib.ZSTD_compressBound.restype = lib.ZSTD_compress.restype = ctypes.c_size_t
    lib.ZSTD_compressBound.argtypes = [ctypes.c_size_t]
    lib.ZSTD_compress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    out = ctypes.create_string_buffer(lib.ZSTD_compressBound(len(data)))
    n = lib.ZSTD_compress(out, len(out), data, len(data), 1)
    return out.raw[:n]


@pytest.mark.parametrize("pack", [zstd, None, lambda x: x], ids=["zstd", "gzip", "plain"])
def test_layers_of_every_compression(server, other, pack):
    s = server()
    other.image(layers=[one_file_layer("hello", b"packed")], pack=pack)
    assert good(s, f"{other.host}/team/app:v1")
    assert text_in(s, None, "hello") == b"packed"
    s.stop()


def test_an_index_yields_the_image_for_this_machine(server, other):
    s = server()
    ours = other.image(tag="a", layers=[one_file_layer("f", b"ours")])
    alien = other.image(tag="b", layers=[one_file_layer("f", b"alien")], arch="s390x")

    def index(tag, *entries):
        return other.manifest("team/app", tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {**d, "platform": {"os": o, "architecture": a}} for d, o, a in entries]}, INDEX)

    many = index("many", (alien, "linux", "s390x"), (alien, "unknown", "unknown"), (alien, "windows", ARCH), (ours, "linux", ARCH))
    assert good(s, f"{other.host}/team/app:many")["digest"] == ours["digest"]
    assert text_in(s, None, "f") == b"ours" and other.count(alien["digest"]) == 0
    # the index is what the tag is, here too
    r = s.call("GET", f"/v2/{other.host.replace(':', '__')}/team/app/manifests/many")
    assert r.headers["Docker-Content-Digest"] == many["digest"]
    assert good(s, f"{other.host}/team/app@{many['digest']}")["digest"] == ours["digest"]
    index("none", (alien, "linux", "s390x"), (alien, "linux", "riscv64"))
    refused(s, f"{other.host}/team/app:none", f"not made for linux/{ARCH}", "linux/s390x, linux/riscv64")
    s.stop()


# ---- credentials

def login(tmp_path, host, **config):
    (tmp_path / "docker").mkdir(exist_ok=True)
    (tmp_path / "docker/config.json").write_text(json.dumps(config))


def basic(user, password):
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def helper(tmp_path, name, script):
    d = tmp_path / "bin"
    d.mkdir(exist_ok=True)
    (d / name).write_text("#!/bin/sh\n" + script)
    (d / name).chmod(0o755)
    return {"PATH": f"{d}:{os.environ['PATH']}"}


def test_anonymous_tokens_are_fetched_and_fetched_again_when_they_run_out(server, other):
    s = server()
    other.token = ()
    other.image(layers=big())
    used = []

    def run_out(h):  # each token is good for two requests
        t = h.headers.get("Authorization", "")[7:]
        used.append(t)
        if used.count(t) > 2:
            other.valid_tokens.discard(t)
        return False

    other.faults.append(run_out)
    assert good(s, f"{other.host}/team/app:v1")
    asked = [p for _, p, _ in other.asked if p.startswith("/token")]
    assert len(asked) >= 2 and "service=faulty%2C%20%22quoted%22" in asked[0] and "scope=repository%3Ateam%3Apull" in asked[0]
    s.stop()


@pytest.mark.parametrize("where", ["auths", "helper", "store", "config", "url"])
def test_credentials_are_found_where_docker_keeps_them(server, other, tmp_path, where):
    other.token = ("anna", "s3:cret")
    other.image(layers=big(1))
    env, config = {}, ""
    answer = 'read h; [ "$h" = "%s" ] || exit 1; printf \'{"Username":"anna","Secret":"s3:cret"}\'\n' % other.host
    if where == "auths":
        login(tmp_path, other.host, auths={other.host: {"auth": basic("anna", "s3:cret")}})
    elif where == "url":
        login(tmp_path, other.host, auths={f"https://{other.host}/v1/": {"auth": basic("anna", "s3:cret")}})
    elif where == "helper":
        login(tmp_path, other.host, credHelpers={other.host: "test"}, auths={})
        env = helper(tmp_path, "docker-credential-test", answer)
    elif where == "store":
        login(tmp_path, other.host, credsStore="test2", auths={other.host: {}})
        env = helper(tmp_path, "docker-credential-test2", answer)
    else:
        (tmp_path / "pw").write_text("s3:cret\n")
        config = f"[registry {other.host}]\nusername = anna\npassword_file = {tmp_path}/pw\n"
    s = server(env=env, config=config)
    assert good(s, f"{other.host}/team/app:v1")
    assert "s3:cret" not in s.log()
    s.stop()


def test_a_registry_with_basic_authorisation(server, other):
    other.basic = ("u", "p")
    other.image(layers=big(1))
    assert good(server(config=f"[registry {other.host}]\nusername = u\npassword = p\n"), f"{other.host}/team/app:v1")


@pytest.mark.parametrize("kind", ["token", "basic"])
def test_refusals_say_whose_credentials_and_what_to_do(server, other, tmp_path, kind):
    setattr(other, kind, ("u", "right"))
    other.image(layers=big(1))
    s = server()
    refused(s, f"{other.host}/team/app:v1", f"docker login {other.host}", f"[registry {other.host}]")
    login(tmp_path, other.host, auths={other.host: {"auth": basic("u", "wrong")}})
    refused(s, f"{other.host}/team/app:v1", "refuses the credentials from", "docker/config.json")
    assert kept(s) == []
    s.stop()


@pytest.mark.parametrize("script,words", [
    ("echo boom; exit 1\n", "docker-credential-bad get failed: boom"), ("echo '{}'\n", "without a secret"),
    ("echo 'credentials not found in native keychain'; exit 1\n", "docker login"), ("sleep 100\n", "pull_helper_s"),
    (None, "no such program")])
def test_helpers_that_fail_are_named(server, other, tmp_path, script, words):
    other.basic = ("u", "p")
    other.image(layers=big(1))
    login(tmp_path, other.host, credHelpers={other.host: "bad"})
    env = helper(tmp_path, "docker-credential-bad", script) if script else {}
    s = server("--limit=pull_helper_s=1", env=env)
    refused(s, f"{other.host}/team/app:v1", words)
    s.stop()


def test_credentials_do_not_follow_a_redirect_to_another_host(server, other):
    elsewhere = Registry()
    try:
        other.token = ("u", "p")
        other.image(layers=big())
        elsewhere.blobs = other.blobs

        def send_away(h):
            if "/blobs/" in h.path and other.may(h):
                h.answer(307, Location=f"http://{elsewhere.host}/raw/{h.path.rsplit('/', 1)[1]}")
                return True
            return "/blobs/" in h.path

        other.faults.append(send_away)
        s = server(config=f"[registry {other.host}]\nusername = u\npassword = p\n")
        assert good(s, f"{other.host}/team/app:v1")
        assert elsewhere.count("/raw/") == 4
        assert not any("Authorization" in h for h in elsewhere.headers_of("/raw/"))
        s.stop()
    finally:
        elsewhere.close()


def test_redirects_end(server, other):
    s = server()
    other.image(layers=big(1))
    other.faults.append(lambda h: "/blobs/" in h.path and (h.answer(302, Location=h.path), True)[1])
    refused(s, f"{other.host}/team/app:v1", "redirects more than")
    s.stop()


# ---- faults

def once(fault, times=1):
    left = [times]

    def wrap(h):
        if left[0] <= 0:
            return False
        left[0] -= 1
        if not fault(h):
            left[0] += 1
            return False
        return True
    return wrap


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_line_is_taken_up_where_it_broke(server, other, ranges):
    s, layers = server(), big(1)
    d = other.image(layers=layers)
    other.ranges = ranges
    layer = max(other.blobs, key=lambda k: len(other.blobs[k]))
    data = other.blobs[layer]
    cuts = [100000, 250000]

    def fault(h):
        if layer in h.path and cuts:
            first = int(h.headers["Range"][6:-1]) if ranges and h.headers.get("Range") else 0
            if not first or ranges:
                n = cuts.pop(0)
                h.send_response(206 if first else 200)
                h.send_header("Content-Length", str(len(data) - first))
                if first:
                    h.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
                h.end_headers()
                h.wfile.write(data[first:n])
                h.wfile.flush()
                h.close_connection = True
                h.connection.shutdown(2)
                return True
        return False

    other.faults.append(fault)
    assert good(s, f"{other.host}/team/app:v1")["digest"] == d["digest"]
    asked = [h.get("Range") for h in other.headers_of(layer)]
    assert asked[0] is None and len(asked) == 3
    assert asked[1:] == ["bytes=100000-", "bytes=250000-"] or not ranges, asked
    s.stop()


def test_passing_faults_are_waited_out(server, other):
    s = server()
    other.image(layers=big())
    blob = lambda h: "/blobs/" in h.path
    other.faults += [
        once(lambda h: blob(h) and (h.error(429, "TOOMANYREQUESTS", Retry_After="1"), True)[1]),
        once(lambda h: blob(h) and (h.error(503, "UNAVAILABLE"), True)[1], 2),
        once(lambda h: blob(h) and (h.connection.shutdown(2), True)[1]),
        once(lambda h: "/manifests/" in h.path and (h.error(500, "UNKNOWN"), True)[1]),
    ]
    assert good(s, f"{other.host}/team/app:v1")
    assert all(f.__closure__ for f in other.faults)
    s.stop()


def test_silence_ends_a_try(server, other):
    s = server("--limit=pull_stall_s=1")
    other.image(layers=big(1))
    never = threading.Event()

    def stall(h):
        if "/blobs/" in h.path:
            h.send_response(200)
            h.send_header("Content-Length", "1000000")
            h.end_headers()
            h.wfile.write(b"x")
            h.wfile.flush()
            never.wait(20)
            return True
        return False

    layer = other.blobs and max(other.blobs, key=lambda k: len(other.blobs[k]))
    other.faults.append(once(lambda h: layer in h.path and stall(h)))
    assert good(s, f"{other.host}/team/app:v1")  # the x was no byte of it: found out, fetched again
    never.set()
    s.stop()


def test_too_long_a_wait_is_refused(server, other):
    s = server("--limit=pull_retry_wait_s=5")
    other.image(layers=big(1))
    other.faults.append(lambda h: "/blobs/" in h.path and (h.error(429, "TOOMANYREQUESTS", Retry_After="3600"), True)[1])
    refused(s, f"{other.host}/team/app:v1", "3600 s", "pull_retry_wait_s")
    s.stop()


def lie(data):
    return lambda h: h.answer(200, data)


@pytest.mark.parametrize("what,words", [
    ("other bytes", "none of them was kept"), ("too many", "sends more of"), ("too few", "ended sha256:"),
    ("wrong length", "ended sha256:")])
def test_of_a_registry_that_lies_about_blobs_nothing_is_kept(server, other, what, words):
    s = server("--limit=pull_tries=2")
    other.ranges = False
    other.image(layers=big(2))
    layer = max(other.blobs, key=lambda k: len(other.blobs[k]))
    data = other.blobs[layer]
    answers = {"other bytes": lie(b"y" * len(data)), "too many": lie(data + b"more"), "too few": lie(data[:-1]),
               "wrong length": cut(data, len(data) - 10)}
    other.faults.append(lambda h: layer in h.path and (answers[what](h), True)[1])
    if what == "wrong length":
        words = "cannot be reached"
    refused(s, f"{other.host}/team/app:v1", words)
    left = kept(s)
    assert layer[7:] not in [x for x in left if x not in os.listdir(os.path.join(s.data_dir, "images", "partial"))]
    if what in ("other bytes", "too many"):
        assert layer[7:] not in left
    assert not any("@" in x for x in left) and s.call("GET", "/cusp/v1/images").json()["images"] == []
    other.faults.clear()
    assert good(s, f"{other.host}/team/app:v1")  # the truth is taken at once
    s.stop()


def test_of_a_registry_that_lies_about_manifests_nothing_is_kept(server, other):
    s = server("--limit=pull_tries=2")
    d = other.image(layers=big(1))
    evil = json.dumps({"schemaVersion": 2, "mediaType": "x"}).encode()
    by_digest = f"{other.host}/team/app@{d['digest']}"
    other.faults.append(lambda h: "/manifests/" in h.path and (h.answer(200, evil, Content_Type="application/json"), True)[1])
    refused(s, by_digest, "was not kept")
    refused(s, f"{other.host}/team/app:v1", "not an image or an index")
    other.faults[0] = lambda h: "/manifests/" in h.path and (
        h.answer(200, evil, Docker_Content_Digest=d["digest"]), True)[1]
    refused(s, f"{other.host}/team/app:v1", "was not kept")
    for bad, words in ((b"", "JSON"), (b"[" * 90000, "JSON"), (b'{"schemaVersion":1}', "schema 1"),
                       (b"x" * (5 << 20), "more than the")):
        other.faults[0] = lambda h: "/manifests/" in h.path and (h.answer(200, bad, Content_Type=INDEX), True)[1]
        refused(s, f"{other.host}/team/app:v1", words)
    assert kept(s) == []
    s.stop()


@pytest.mark.parametrize("change,words", [
    ({"layers": []}, "0 layers"), ({"layers": [{"digest": "sha256:x", "size": 1}]}, "no sha256 digest"),
    ({"layers": [{"digest": sha(b"x"), "size": 1 << 50}]}, "registry_max_blob"),
    ({"layers": [{"digest": sha(b"x"), "size": -1}]}, "no size"),
    ({"layers": [{"digest": sha(b"x"), "size": 1}] * 200}, "image_max_layers"),
    ({"layers": [{"digest": sha(b"x"), "size": 1}, {"digest": sha(b"x"), "size": 2}]}, "two sizes"),
    ({"layers": [{"digest": sha(b"x"), "size": 1, "urls": ["http://169.254.169.254/"]}]}, "address of its own"),
    ({"config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha(b"x"), "size": 1}}, "artifact"),
])
def test_manifests_that_make_no_image_are_refused(server, other, change, words):
    s = server()
    body = {"schemaVersion": 2, "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **other.blob(b"{}")},
            "layers": [{"mediaType": LAYER, **other.blob(b"x")}], **change}
    other.manifest("team/app", "v1", body, "application/vnd.oci.image.manifest.v1+json")
    refused(s, f"{other.host}/team/app:v1", words)
    assert kept(s) == []
    s.stop()


def test_a_layer_that_the_config_does_not_promise_is_refused(server, other):
    """The registry's digest is right: the image was made to deceive."""
    s = server()
    evil = one_file_layer("f", b"evil")
    config = {"os": "linux", "architecture": ARCH, "config": {}, "rootfs": {"type": "layers", "diff_ids": [sha(b"promised")]}}
    other.manifest("team/app", "v1", {
        "schemaVersion": 2, "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                                       **other.blob(json.dumps(config).encode())},
        "layers": [{"mediaType": LAYER, **other.blob(evil)}]}, "application/vnd.oci.image.manifest.v1+json")
    refused(s, f"{other.host}/team/app:v1", "digest")
    assert [x for x in kept(s) if x != sha(other.manifests["team/app", "v1"])[7:]] == []  # the manifest's bytes wait for a prune
    assert s.call("POST", "/cusp/v1/images:prune").status_code == 200 and kept(s) == []
    s.stop()


def archive(*entries):
    """(name, type, link or bytes)"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        for name, kind, what in entries:
            i = tarfile.TarInfo(name)
            i.type = kind
            if kind == tarfile.REGTYPE:
                i.size = len(what)
                t.addfile(i, io.BytesIO(what))
            else:
                i.linkname = what if isinstance(what, str) else ""
                t.addfile(i)
    return out.getvalue()


FILE, LINK, HARD, DIR = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize("entries,words", [
    ([("../../evil", FILE, b"x")], '".."'), ([("a/../../evil", FILE, b"x")], '".."'), ([("/evil", FILE, b"x")], "absolute"),
    ([("d", LINK, "/"), ("d/evil", FILE, b"x")], ""), ([("d", LINK, "../.."), ("d/evil", FILE, b"x")], ""),
    ([("h", HARD, "/etc/passwd")], ""), ([("h", HARD, "../../../etc/passwd")], ""),
    ([("d", LINK, "/etc"), ("h", HARD, "d/passwd")], ""), ([("x" * 5000, FILE, b"x")], ""),
])
def test_layers_that_reach_outside_are_refused_and_removed(server, other, entries, words):
    s = server()
    other.image(layers=[one_file_layer("base", b"1"), archive(*entries)])
    refused(s, f"{other.host}/team/app:v1", "layer 2 of 2", words)
    assert s.call("GET", "/cusp/v1/images").json()["images"] == []
    assert not any(x.endswith("@") for x in kept(s)) and not os.path.exists(os.path.join(s.data_dir, "evil"))
    assert s.call("POST", "/cusp/v1/images:prune").status_code == 200 and kept(s) == []
    s.stop()


def test_devices_and_privileges_of_a_layer_do_not_arrive(server, other):
    s = server()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        for name, kind, mode in (("dev0", tarfile.CHRTYPE, 0o666), ("blk", tarfile.BLKTYPE, 0o666), ("su", FILE, 0o6755)):
            i = tarfile.TarInfo(name)
            i.type, i.mode, i.devmajor, i.devminor = kind, mode, 1, 3
            t.addfile(i)
    other.image(layers=[out.getvalue()])
    good(s, f"{other.host}/team/app:v1")
    layer = os.path.join(s.data_dir, "images/layers", sha(out.getvalue())[7:])
    assert os.listdir(layer) == ["su"] and os.stat(layer + "/su").st_mode & 0o7777 == 0o755
    s.stop()


def test_bombs_stop_at_the_limits_and_are_removed(server, other):
    zeros = one_file_layer("zeros", bytes(64 << 20))
    other.image(tag="bytes", layers=[zeros], pack=lambda x: gzip.compress(x, 9))  # 1000:1
    many = archive(*((f"f{i}", FILE, b"") for i in range(2001)))
    other.image(tag="many", layers=[many])
    s = server("--limit=image_max_bytes=10000000", "--limit=image_max_entries=2000")
    refused(s, f"{other.host}/team/app:bytes", "image_max_bytes")
    refused(s, f"{other.host}/team/app:many", "image_max_entries")
    assert s.call("POST", "/cusp/v1/images:prune").status_code == 200 and kept(s) == []
    s.stop()


@pytest.mark.skipif(os.environ.get("CUSP_EXTENDED") != "1", reason="only with CUSP_EXTENDED=1")
def test_a_layer_of_a_million_entries(server, other):
    other.image(layers=[archive(*((f"d{i // 1000}/f{i % 1000}", FILE, b"") for i in range(1000000)))])
    s = server()
    assert good(s, f"{other.host}/team/app:v1")["layers"] == 1
    layers = os.path.join(s.data_dir, "images/layers")
    layer = next(x for x in os.listdir(layers) if not x.endswith(".size"))
    assert sum(len(f) for _, _, f in os.walk(os.path.join(layers, layer))) == 1000000
    cusp(s, "rm", f"{other.host}/team/app:v1")
    assert os.listdir(layers) == []
    s.stop()


def test_files_of_a_removed_image_keep_nobody_waiting(server, other):
    """A layer of a million of them takes minutes: its name is gone at once, others are served meanwhile, and after kill -9 in
    the middle the next start takes what is left."""
    s = server(env={"CUSP_FAILPOINTS": "image.sweep.before_files=delay:120000ms@1"})
    other.image(layers=[one_file_layer("f", b"1")])
    image = f"{other.host}/team/app:v1"
    good(s, image)
    images = os.path.join(s.data_dir, "images")
    [layer] = [x for x in os.listdir(images + "/layers") if not x.endswith(".size")]
    removal = subprocess.Popen([os.path.join(BUILD, "cusp"), "--endpoint", s.url, "images", "rm", image], stderr=subprocess.PIPE)
    wait_until(lambda: os.listdir(images + "/tmp") and not os.listdir(images + "/layers"), what="the layer to be set aside")
    assert s.call("GET", "/cusp/v1/images").json().get("images", []) == []
    good(s, image)
    assert layer in os.listdir(images + "/layers") and removal.poll() is None
    s.kill9()
    assert removal.wait(60) == 4 and b"Empty reply" in removal.communicate()[1]
    s.start()
    assert os.listdir(images + "/tmp") == [] and layer in os.listdir(images + "/layers")
    s.stop()


# ---- mirrors, offline, names

def test_mirrors_are_asked_first_and_the_registry_has_the_last_word(server, other):
    mirror = Registry()
    try:
        d = other.image(layers=big(2))
        mirror.image(layers=[])
        conf = f"[registry {other.host}]\nmirrors = http://{mirror.host}/, http://127.0.0.1:1\n"
        mirror.blobs, mirror.manifests, mirror.types = dict(other.blobs), dict(other.manifests), dict(other.types)
        s = server(config=conf)
        assert good(s, f"{other.host}/team/app:v1")["digest"] == d["digest"]
        assert other.asked == [] and mirror.count("/blobs/") == 3
        # a mirror without the image, one that lies about a layer
        d2 = other.image(tag="v2", layers=big(2))
        assert good(s, f"{other.host}/team/app:v2")["digest"] == d2["digest"]
        d3 = other.image(tag="v3", layers=big(1))
        mirror.manifests, mirror.types = dict(other.manifests), dict(other.types)
        mirror.blobs = {k: (v if len(v) < 1000 else b"z" * len(v)) for k, v in other.blobs.items()}
        assert good(s, f"{other.host}/team/app:v3")["digest"] == d3["digest"]
        s.stop()
    finally:
        mirror.close()


def test_offline_nothing_is_asked_and_the_error_says_what_to_do(server, other):
    other.image(layers=big(1))
    s = server("--pull=never")
    refused(s, f"{other.host}/team/app:v1", "not on this machine", "cusp images import", "pull = never", policy="always")
    r = s.call("POST", "/cusp/v1/images:push", {"image": "a", "to": f"{other.host}/a:b"})
    assert r.status_code == 400 and "pull = never" in r.text
    assert other.asked == []
    s.stop()


def test_a_registry_that_is_not_there(server):
    e = refused(server(), "127.0.0.1:1/team/app:v1", "127.0.0.1 cannot be reached", "not on this machine")
    assert e["status"] == "NOT_FOUND"


@pytest.mark.parametrize("body,field", [
    ({}, "image"), ({"image": 3}, "image"), ({"image": ""}, "image"), ({"image": "x" * 600}, "image"),
    ({"image": "a", "policy": "sometimes"}, "policy"), ([], "JSON")])
def test_bad_requests_name_the_field(server, body, field):
    r = server().call("POST", "/cusp/v1/images:pull", body)
    assert r.status_code == 400 and field in r.json()["error"]["message"]


@pytest.mark.parametrize("name", ["Upper/Case", "a b", "host.example:99999/x", "[::1]:5/x", "a/../b", "-x.example/y", "x@sha256:12"])
def test_names_that_lead_nowhere_are_not_asked_for(server, name):
    refused(server(), name, "not on this machine")


# ---- sharing, stopping, crashes

def gate(other, needle):
    """Holds answers for `needle` back until opened; says when somebody waits."""
    opened, waiting = threading.Event(), threading.Event()

    def fault(h):
        if needle(h):
            waiting.set()
            opened.wait(30)
        return False
    other.faults.append(fault)
    return opened, waiting


def test_a_client_that_leaves_ends_the_pull_and_what_came_is_used_later(server, other):
    s = server()
    other.image(layers=big(1, 2000000))
    layer = max(other.blobs, key=lambda k: len(other.blobs[k]))
    data, never = other.blobs[layer], threading.Event()

    def slow(h):
        h.send_response(200)
        h.send_header("Content-Length", str(len(data)))
        h.end_headers()
        h.wfile.write(data[:1500000])
        h.wfile.flush()
        never.wait(30)
        return True

    other.faults.append(once(lambda h: layer in h.path and slow(h)))
    r = s.http.post(s.url + "/cusp/v1/images:pull", json={"image": f"{other.host}/team/app:v1"}, stream=True)
    part = os.path.join(s.data_dir, "images", "partial", layer[7:])
    wait_until(lambda: os.path.exists(part) and os.path.getsize(part) == 1500000, what="the first part")
    r.close()
    never.set()
    assert good(s, f"{other.host}/team/app:v1")
    assert other.headers_of(layer)[-1]["Range"] == "bytes=1500000-"
    s.stop()


def test_kill_9_in_the_middle_and_the_next_pull_goes_on(server, other):
    s = server()
    other.image(layers=big(2, 1500000))
    layer = max(other.blobs, key=lambda k: len(other.blobs[k]))
    data, never = other.blobs[layer], threading.Event()

    def slow(h):
        h.send_response(200)
        h.send_header("Content-Length", str(len(data)))
        h.end_headers()
        h.wfile.write(data[:1000000])
        h.wfile.flush()
        never.wait(30)
        return True

    other.faults.append(once(lambda h: layer in h.path and slow(h)))
    t = threading.Thread(target=lambda: s.http.post(s.url + "/cusp/v1/images:pull", json={"image": f"{other.host}/team/app:v1"}))
    part = os.path.join(s.data_dir, "images", "partial", layer[7:])

    def dies():
        try:
            s.http.post(s.url + "/cusp/v1/images:pull", json={"image": f"{other.host}/team/app:v1"})
        except OSError:
            pass
    t = threading.Thread(target=dies)
    t.start()
    wait_until(lambda: os.path.exists(part) and os.path.getsize(part) == 1000000, what="the first part")
    s.kill9()
    never.set()
    t.join()
    s.start()
    assert s.call("GET", "/cusp/v1/images").json()["images"] == []
    assert good(s, f"{other.host}/team/app:v1")
    assert other.headers_of(layer)[-1]["Range"] == "bytes=1000000-"
    s.stop()


POINTS = ["pull.blob.write", "pull.blob.before_adopt", "pull.keep.before_tag", "registry.manifest.before_write",
          "registry.tag.before_write", "image.layer.before_rename"]


@pytest.mark.parametrize("point", POINTS)
def test_kill_at_every_step_leaves_what_the_next_pull_completes(server, other, point):
    d = other.image(layers=big(2))
    s = server(env={"CUSP_FAILPOINTS": f"{point}=abort@1"})
    try:
        pull(s, f"{other.host}/team/app:v1")
        assert False, "the server should be gone"
    except OSError:
        pass
    s.proc.wait(30)
    s.env.pop("CUSP_FAILPOINTS")
    s.start()
    assert good(s, f"{other.host}/team/app:v1")["digest"] == d["digest"]
    s.kill9()
    s.start()
    assert s.call("GET", "/cusp/v1/images").json()["images"][0]["digest"] == d["digest"]
    s.stop()


def test_a_full_disk_is_said_and_leaves_nothing(server, other):
    other.image(layers=big(1))
    s = server(env={"CUSP_FAILPOINTS": "pull.blob.write=errno:ENOSPC@2"})
    refused(s, f"{other.host}/team/app:v1", "No space left")
    assert os.listdir(os.path.join(s.data_dir, "images", "partial")) == []
    s.stop()


def test_a_prune_leaves_a_pull_alone(server, other):
    s = server("--limit=registry_blob_grace_s=0")
    other.image(layers=big(2))
    opened, waiting = gate(other, lambda h: sorted(other.blobs)[0] in h.path)
    got = []
    t = threading.Thread(target=lambda: got.append(pull(s, f"{other.host}/team/app:v1")))
    t.start()
    assert waiting.wait(20)
    wait_until(lambda: len(os.listdir(os.path.join(s.data_dir, "images", "blobs/sha256"))) == 2, what="the other blobs")
    r = s.call("POST", "/cusp/v1/images:prune")
    assert r.status_code == 200 and r.json()["blobsRemoved"] == "0"
    opened.set()
    t.join()
    assert "image" in got[0][0], got
    s.stop()


def test_a_prune_takes_what_no_tag_of_a_copy_leads_to(server, other):
    s = server("--limit=registry_blob_grace_s=0")
    ref = f"{other.host}/team/app"
    first = other.image(layers=big(1))
    good(s, ref + ":v1")
    good(s, f"{ref}@{first['digest']}")
    other.image(layers=big(1))
    good(s, ref + ":v1", "always")
    third = other.image(layers=big(1))
    good(s, ref + ":v1", "always")
    out = s.call("POST", "/cusp/v1/images:prune").json()
    assert (out["imagesRemoved"], out["layersRemoved"]) == ("1", "1"), out  # the second; the first has its digest
    names = sorted(i["name"] for i in s.call("GET", "/cusp/v1/images").json()["images"])
    assert names == [ref + ":v1", f"{ref}@{first['digest']}"]
    cusp = [os.path.join(BUILD, "cusp"), "--endpoint", s.url, "images"]
    assert subprocess.run([*cusp, "rm", f"{ref}@{first['digest']}"]).returncode == 0
    assert subprocess.run([*cusp, "rm", ref + ":v1"]).returncode == 0
    # a copy takes no room once it is removed
    assert kept(s) == [] and s.call("GET", "/cusp/v1/images").json()["images"] == [], third
    s.stop()


# ---- jobs

def image_job(uri, *command, **kw):
    job = container_job(*command, image=uri, **kw)
    if not command:
        del job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["command"]
    return job


@pytest.fixture
def runnable(other, tmp_path):
    """Makes images that run."""
    base = open(busybox_tar(tmp_path / "busybox.tar"), "rb").read()

    def make(text="pulled", **kw):
        return other.image(layers=[base, one_file_layer("hello", text.encode())], cmd=("/bin/cat", "/hello"), **kw)
    return make


@pytest.fixture
def jobs(local, tmp_path):
    return lambda *flags, env=None: local(*QUICK, *flags, env={"DOCKER_CONFIG": str(tmp_path / "docker"), **(env or {})})


def messages(s, name):
    return [e.get("message", "") for e in s.logs(name)]


def test_a_job_runs_from_an_image_of_another_registry(jobs, other, runnable):
    s = jobs()
    d = runnable()
    uri = f"{other.host}/team/app:v1"
    name = s.create(image_job(uri))["name"]
    assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED", s.events(name)
    said = messages(s, name)
    assert "pulled" in said and any(d["digest"] in m and "2 layers" in m for m in said), said
    assert any(m.startswith(f"Unpacking image {uri}") for m in said) and any("is here: " in m for m in said)
    asked = len(other.asked)
    name = s.create(image_job(f"{other.host}/team/app@{d['digest']}"))["name"]
    assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED" and "pulled" in messages(s, name)
    assert len(other.asked) == asked and not any("mage" in m and "pull" in m.lower() for m in messages(s, name)[1:] if m != "pulled")
    s.stop()


def test_jobs_that_want_one_image_at_once_share_the_pull_and_say_what_they_wait_for(jobs, other, runnable):
    s = jobs()
    runnable()
    opened, waiting = gate(other, lambda h: "/blobs/" in h.path)
    names = [s.create(image_job(f"{other.host}/team/app:v1"))["name"] for _ in range(3)]
    assert waiting.wait(20)
    for name in names:
        wait_until(lambda: "pulling image" in s.events(name).get("waitingFor", ""), what="the reason")
        assert s.get(name)["state"] in ("JOB_STATE_PENDING", "JOB_STATE_QUEUED")
    opened.set()
    for name in names:
        assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED", s.events(name)
        assert "waitingFor" not in s.events(name)
    assert other.count("/blobs/") == 3 and other.count("/manifests/") == 1
    s.stop()


def test_a_cancelled_job_lets_go_of_its_pull(jobs, other, runnable):
    s = jobs()
    runnable()
    opened, waiting = gate(other, lambda h: "/blobs/" in h.path)
    name = s.create(image_job(f"{other.host}/team/app:v1"))["name"]
    assert waiting.wait(20)
    assert s.call("POST", f"/v1/{name}:cancel", {}).status_code == 200
    assert s.wait(name)["state"] == "JOB_STATE_CANCELLED"
    opened.set()
    name = s.create(image_job(f"{other.host}/team/app:v1"))["name"]
    assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED", s.events(name)
    s.stop()


def test_a_server_that_is_killed_while_a_job_pulls_runs_it_later(jobs, other, runnable):
    s = jobs()
    runnable()
    opened, waiting = gate(other, lambda h: "/blobs/" in h.path)
    name = s.create(image_job(f"{other.host}/team/app:v1"))["name"]
    assert waiting.wait(20)
    s.kill9()
    opened.set()
    s.start()
    assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED", s.events(name)
    assert "pulled" in messages(s, name)
    opened.clear(), waiting.clear()
    runnable("again", tag="v2")
    s.create(image_job(f"{other.host}/team/app:v2"))
    assert waiting.wait(20)
    threading.Timer(0.5, opened.set).start()  # the other side; the server does not wait for it
    s.stop()


def test_a_job_whose_image_is_nowhere_fails_with_what_to_do(jobs, other):
    s = jobs()
    for uri, words in ((f"{other.host}/team/none:v1", ["there is none", "MANIFEST_UNKNOWN", "cusp images import"]),
                       ("127.0.0.1:1/x/y", ["cannot be reached", "cusp images import"])):
        job = s.wait(s.create(image_job(uri))["name"])
        assert job["state"] == "JOB_STATE_FAILED"
        for w in words:
            assert w in job["error"]["message"], job["error"]
    s.stop()


def test_always_looks_tags_up_for_every_job(jobs, other, runnable):
    s = jobs("--pull=always")
    for text in ("first", "second"):
        runnable(text)
        name = s.create(image_job(f"{other.host}/team/app:v1"))["name"]
        assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED" and text in messages(s, name)
    name = s.create(container_job("/bin/true"))["name"]  # imported here: nobody else has it
    assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED"
    s.stop()


def test_artifact_registry_names_find_what_was_pushed_here(jobs, other, runnable):
    """An image that was pushed to HOST:PORT/PROJECT/REPO/IMAGE is REGION-docker.pkg.dev/PROJECT/REPO/IMAGE."""
    s = jobs("--pull=never")
    runnable("ours", repo="proj/repo/app")
    push_to(s, other, "proj/repo/app", "v1")
    for host in ("us-docker.pkg.dev", "europe-west4-docker.pkg.dev", "gcr.io", "eu.gcr.io"):
        name = s.create(image_job(f"{host}/proj/repo/app:v1"))["name"]
        assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED", s.events(name)
        assert "ours" in messages(s, name)
    job = s.wait(s.create(image_job("quay.io/proj/repo/app:v1"))["name"])
    assert job["state"] == "JOB_STATE_FAILED"
    s.stop()


def push_to(s, other, repo, tag, into=None):
    """Copies an image of the other registry to a server's own, by hand."""
    data = other.manifests[repo, tag]
    m, into = json.loads(data), into or repo
    for d in [m["config"], *m["layers"]]:
        r = s.call("POST", f"/v2/{into}/blobs/uploads/?digest={d['digest']}", other.blobs[d["digest"]])
        assert r.status_code == 201, r.text
    r = s.http.put(f"{s.url}/v2/{into}/manifests/{tag}", data=data, headers={"Content-Type": m["mediaType"]})
    assert r.status_code == 201, r.text


# ---- pushing, and the command

def cusp(s, *args, ok=True, **kw):
    r = subprocess.run([os.path.join(BUILD, "cusp"), "--endpoint", s.url, "images", *args], capture_output=True, text=True,
                       timeout=patience(60), **kw)
    assert (r.returncode == 0) == ok, (r.returncode, r.stdout, r.stderr)
    return r


def test_the_command_pulls_and_pushes(server, other):
    s = server()
    d = other.image(layers=big(2))
    r = cusp(s, "pull", f"{other.host}/team/app:v1")
    assert d["digest"] in r.stdout and "Unpacking" in r.stderr, r
    assert json.loads(cusp(s, "pull", f"{other.host}/team/app:v1", "--format=json").stdout)["digest"] == d["digest"]
    r = cusp(s, "push", f"{other.host}/team/app:v1", f"{other.host}/else/where:v2")
    assert d["digest"] in r.stdout
    assert other.manifests["else/where", "v2"] == other.manifests["team/app", "v1"]
    assert other.pushed == {}  # it had all of them
    assert "no such" in cusp(s, "pull", f"{other.host}/team/none", ok=False).stderr.replace("there is none", "no such")
    assert "pull NAME" in cusp(s, "pull", ok=False).stderr
    s.stop()


def test_a_push_sends_what_is_missing_through_passing_faults(server, other):
    s = server(config=f"[registry {other.host}]\nusername = u\npassword = p\n")
    source = Registry()
    try:
        source.image(layers=big(2), repo="a/b")
        push_to(s, source, "a/b", "v1")
        other.token = ("u", "p")
        other.faults += [once(lambda h: h.command == "PUT" and (h.error(503, "UNAVAILABLE"), True)[1]),
                         once(lambda h: h.command == "HEAD" and (h.error(502, "UNKNOWN"), True)[1]),
                         once(lambda h: h.command == "POST" and (h.error(429, "TOOMANYREQUESTS", Retry_After="1"), True)[1])]
        cusp(s, "push", "a/b:v1", f"{other.host}/x/y:v9")
        assert other.manifests["x/y", "v9"] == source.manifests["a/b", "v1"] and len(other.pushed) == 3
        assert all(other.blobs[k] == v for k, v in source.blobs.items())
        assert "docker login" not in cusp(s, "push", "a/none:v1", f"{other.host}/x/y:v9", ok=False).stderr
        assert "tag" in cusp(s, "push", "a/b:v1", f"{other.host}/x/y@{sha(b'x')}", ok=False).stderr
        other.faults[:] = [lambda h: h.command == "PUT" and (h.error(403, "DENIED", "read only"), True)[1]]
        other.blobs.clear()
        assert "read only" in cusp(s, "push", "a/b:v1", f"{other.host}/x/y:v9", ok=False).stderr
        s.stop()
    finally:
        source.close()


def test_of_a_copied_index_the_entry_for_this_machine_is_pushed(server, other):
    s = server()
    ours = other.image(tag="a", layers=big(1))
    alien = other.image(tag="b", layers=big(1), arch="s390x")
    other.manifest("team/app", "many", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {**d, "platform": {"os": "linux", "architecture": a}} for d, a in ((alien, "s390x"), (ours, ARCH))]}, INDEX)
    good(s, f"{other.host}/team/app:many")
    r = cusp(s, "push", f"{other.host}/team/app:many", f"{other.host}/copy/app:v1")
    assert ours["digest"] in r.stdout and "only the entry for this machine" in r.stderr
    assert sha(other.manifests["copy/app", "v1"]) == ours["digest"]
    s.stop()


def test_one_server_pulls_from_another(server, make_server, other, tmp_path):
    a, b = server(name="a"), server(name="b")
    d = other.image(layers=big(3), repo="p/q")
    push_to(a, other, "p/q", "v1")
    host = a.url.split("//")[1]
    assert good(b, f"{host}/p/q:v1")["digest"] == d["digest"]
    cusp(b, "push", f"{host}/p/q:v1", f"{host}/p/back:v2")
    assert a.call("GET", "/v2/p/back/manifests/v2").headers["Docker-Content-Digest"] == d["digest"]
    a.stop(), b.stop()


@pytest.fixture
def dockers(tmp_path):
    """Docker's own registry, with a password."""
    (tmp_path / "htpasswd").write_text("anna:$2y$05$DMR5NNGEjrBAFvAXl4BXLO2JUGW9EjgUYlfZlCXYbGAwWI6MVcYwy\n")
    conf = tmp_path / "registry.yml"
    conf.write_text(f"""version: 0.1
storage: {{filesystem: {{rootdirectory: {tmp_path}/store}}, delete: {{enabled: true}}}}
http: {{addr: 127.0.0.1:0}}
log: {{level: info}}
""")
    log = open(tmp_path / "registry.log", "wb")
    p = subprocess.Popen(["docker-registry", "serve", str(conf)], stdout=log, stderr=log)

    def port():
        import re
        m = re.search(r"listening on 127\.0\.0\.1:(\d+)", (tmp_path / "registry.log").read_text())
        return m and m.group(1)
    yield "127.0.0.1:" + wait_until(port, what="docker-registry")
    p.terminate()
    p.wait(20)


@needs("docker-registry", "skopeo")
def test_dockers_own_registry(jobs, dockers, other, runnable):
    s = jobs()
    d = runnable(repo="p/q")
    push_to(s, other, "p/q", "v1")
    cusp(s, "push", "p/q:v1", f"{dockers}/there/app:v1")
    s2 = f"{dockers}/there/app:v1"
    name = s.create(image_job(s2))["name"]
    assert s.wait(name)["state"] == "JOB_STATE_SUCCEEDED", s.events(name)
    said = messages(s, name)
    assert "pulled" in said and any(d["digest"] in m for m in said), said
    # what it took, skopeo can read
    r = subprocess.run(["skopeo", "inspect", "--tls-verify=false", "docker://" + s2], capture_output=True, text=True)
    assert json.loads(r.stdout)["Digest"] == d["digest"], r
    s.stop()


# ---- what was imported is served too

def test_imports_are_served_and_go_on_to_other_registries(server, make_server, other, tmp_path):
    s = server()
    tar = one_file_layer("hello", b"imported")
    r = s.http.post(s.url + "/cusp/v1/images:import", params={"name": "mine", "cmd": "/bin/x", "env": "A=b"}, data=tar)
    assert r.status_code == 200, r.text
    m = s.call("GET", "/v2/mine/manifests/latest")
    assert m.status_code == 200 and len(m.json()["layers"]) == 1
    assert s.call("GET", "/v2/mine/blobs/" + m.json()["layers"][0]["digest"]).content == tar
    config = s.call("GET", "/v2/mine/blobs/" + m.json()["config"]["digest"]).json()
    assert config["config"]["Cmd"] == ["/bin/x"] and "A=b" in config["config"]["Env"]
    assert config["rootfs"]["diff_ids"] == [sha(tar)] and config["architecture"] == ARCH
    assert [i["name"] for i in s.call("GET", "/cusp/v1/images").json()["images"]] == ["mine"]
    # another server runs it, another registry gets it
    b = server(name="b")
    assert good(b, s.url.split("//")[1] + "/mine:latest")["cmd"] == ["/bin/x"] and text_in(b, None, "hello") == b"imported"
    cusp(s, "push", "mine", f"{other.host}/team/mine:v1")
    assert other.manifests["team/mine", "v1"] == m.content
    b.stop()
    # imported again, it is another image and the old one goes; removed, it is gone from both sides
    assert s.http.post(s.url + "/cusp/v1/images:import", params={"name": "mine"}, data=one_file_layer("x", b"2")).status_code == 200
    assert s.call("GET", "/v2/mine/manifests/latest").content != m.content
    cusp(s, "rm", "mine")
    assert s.call("GET", "/v2/mine/manifests/latest").status_code == 404 and kept(s) == []
    s.stop()


def test_a_push_by_a_client_makes_the_repository_the_clients(server, other):
    """What was pushed without a tag is not taken away with the import beside it."""
    s = server("--limit=registry_blob_grace_s=0")
    assert s.http.post(s.url + "/cusp/v1/images:import", params={"name": "a/b"}, data=one_file_layer("x", b"1")).status_code == 200
    other.image(repo="p", layers=big(1))
    push_to(s, other, "p", "v1", into="a/b")
    digest = sha(other.manifests["p", "v1"])
    assert s.call("DELETE", "/v2/a/b/manifests/v1").status_code == 202
    cusp(s, "rm", "a/b")
    assert s.call("POST", "/cusp/v1/images:prune").status_code == 200
    assert s.call("GET", f"/v2/a/b/manifests/{digest}").status_code == 200
    s.stop()


@needs("skopeo")
@pytest.mark.parametrize("form", ["oci", "docker"])
def test_archives_of_skopeo_are_served_as_they_are(server, other, tmp_path, form):
    s = server()
    d = other.image(layers=big(2))
    out = tmp_path / "image.tar"

    def skopeo(*args):
        r = subprocess.run(["skopeo", "--insecure-policy", "copy", *args], capture_output=True, text=True, timeout=60)
        assert r.returncode == 0, r.stderr
    skopeo("--src-tls-verify=false", f"docker://{other.host}/team/app:v1", f"{form}-archive:{out}:team/app:v1")
    cusp(s, "import", str(out), "--name=team/app:v1")
    host = s.url.split("//")[1]
    skopeo("--src-tls-verify=false", f"docker://{host}/team/app:v1", f"oci:{tmp_path}/back:v1")
    back = json.loads((tmp_path / "back/index.json").read_text())["manifests"][0]["digest"]
    assert form == "docker" or back == d["digest"]
    cusp(s, "push", str(out), f"{other.host}/from/file:v2")
    assert sha(other.manifests["from/file", "v2"]) == back or form == "docker"
    cusp(s, "push", str(tmp_path / "back"), f"{other.host}/from/directory:v3")
    assert sha(other.manifests["from/directory", "v3"]) == back
    s.stop()
