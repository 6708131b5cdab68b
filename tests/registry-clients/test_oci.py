"""Other programs that speak the OCI distribution API, unmodified: crane, regctl, buildah, and oras by its library."""
import json
import os
import subprocess
import sys

import pytest

from conftest import ROOT, needs_root

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), os.path.join(ROOT, "tests/integration")]
from dockerd import CACHE, prepared, programs, runs  # noqa: E402
from test_registry import ARCH, INDEX, OCI, Client, sha  # noqa: E402

pytestmark = [needs_root, pytest.mark.skipif(not os.environ.get("CUSP_EXTENDED"), reason="extended: make test-clients runs it")]
REPO = "demo/train/app"


@pytest.fixture(scope="module")
def tools():
    folder = os.path.join(CACHE, "go")
    prepared("setup", folder)
    return folder


class Tool:
    """A program, the host it speaks to, and the options it always gets."""

    def __init__(self, tools, name, server, tmp_path, *always):
        self.argv, self.server = [os.path.join(tools, name), *always], server
        self.env = {**os.environ, "DOCKER_CONFIG": str(tmp_path / "docker"), "REGCTL_CONFIG": str(tmp_path / "regctl.json")}

    def at(self, rest):
        return f"localhost:{self.server.url.rsplit(':', 1)[1]}/{rest}"

    def run(self, *args, ok=True):
        r = subprocess.run([*self.argv, *args], env=self.env, capture_output=True, text=True, timeout=120, check=False)
        assert (r.returncode == 0) == ok, (args, r.stdout[-2000:], r.stderr[-2000:])
        return r.stdout.strip() if ok else r.stderr

    def __call__(self, *args):
        return self.run(*args)

    def json(self, *args):
        return json.loads(self.run(*args))

    def refused(self, *args):
        return self.run(*args, ok=False)


def platforms(reg, tar, tag, repo=REPO):
    """An index of an image that runs here and one for another machine; the digests of both."""
    out = []
    for arch in (ARCH, "s390x"):
        data = reg.runnable(arch, tar, repo, text="for " + arch, arch=arch)
        out.append((data, arch))
    r, index = reg.manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": OCI, "digest": sha(d), "size": len(d), "platform": {"os": "linux", "architecture": a}} for d, a in out]},
        tag, repo, INDEX)
    assert r.status_code == 201, r.text
    return sha(index), *(sha(d) for d, _ in out)


def blobs_of(folder):
    root = os.path.join(folder, "blobs", "sha256")
    return {"sha256:" + name for name in os.listdir(root)}


# ---- crane

def test_crane(local, tools, busybox_image, tmp_path):
    s = local()
    crane, reg = Tool(tools, "crane", s, tmp_path), Client(s)
    crane("auth", "login", "-u", "anna", "-p", "secret", crane.at("").rstrip("/"))
    # an image made without a daemon, and run
    digest = crane("append", "-f", str(busybox_image), "-t", crane.at(REPO + ":base")).rpartition("@")[2]
    mutated = crane("mutate", crane.at(REPO + ":base"), "--entrypoint", "/bin/echo", "--cmd", "made by crane", "--set-platform",
                    "linux/" + ARCH, "-t", crane.at(REPO + ":v1"))
    runs(s, crane.at(REPO + ":v1"), "made by crane")
    assert crane("digest", crane.at(REPO + ":base")) == digest and mutated.rpartition("@")[2] == crane("digest", crane.at(REPO + ":v1"))
    # out and in again: the same digest
    layout = str(tmp_path / "layout")
    crane("pull", "--format=oci", crane.at(REPO + ":v1"), layout)
    crane("push", layout, crane.at("demo/other:v1"))
    assert crane("digest", crane.at("demo/other:v1")) == crane("digest", crane.at(REPO + ":v1"))
    crane("pull", crane.at(REPO + ":v1"), str(tmp_path / "v1.tar"))
    crane("push", str(tmp_path / "v1.tar"), crane.at("demo/tar:v1"))
    runs(s, crane.at("demo/tar:v1"), "made by crane")
    crane("validate", "--remote", crane.at("demo/tar:v1"))
    # several platforms: whole, and the one that is asked for
    index, ours, foreign = platforms(reg, busybox_image, "multi")
    crane("copy", crane.at(REPO + ":multi"), crane.at("demo/copy:multi"))
    assert crane("digest", crane.at("demo/copy:multi")) == index
    assert crane("digest", "--platform=linux/s390x", crane.at("demo/copy:multi")) == foreign
    crane("pull", "--format=oci", "--platform=linux/s390x", crane.at("demo/copy:multi"), str(tmp_path / "one"))
    assert foreign in blobs_of(tmp_path / "one") and ours not in blobs_of(tmp_path / "one")
    crane("pull", "--format=oci", crane.at("demo/copy:multi"), str(tmp_path / "all"))
    crane("push", "--index", str(tmp_path / "all"), crane.at("demo/all:multi"))
    assert {foreign, ours} <= blobs_of(tmp_path / "all")
    runs(s, crane.at("demo/all:multi"), "for " + ARCH)
    # lists and removal
    crane("tag", crane.at(REPO + ":v1"), "v2")
    assert crane("ls", crane.at(REPO)).split() == sorted([ARCH, "s390x", "base", "multi", "v1", "v2"])
    assert crane("catalog", crane.at("").rstrip("/")).split() == ["busybox", "demo/all", "demo/copy", "demo/other", "demo/tar", REPO]
    crane("delete", crane.at(REPO + ":v2"))
    assert "v2" not in crane("ls", crane.at(REPO)).split()
    crane("delete", crane.at(f"demo/copy@{index}"))
    # what is wrong, in words
    assert 'has no tag "v2"' in crane.refused("pull", crane.at(REPO + ":v2"), "/dev/null")
    assert "there is no repository demo/nobody" in crane.refused("ls", crane.at("demo/nobody"))
    s.stop()


# ---- regctl

def test_regctl(local, tools, busybox_image, tmp_path):
    s = local()
    host = s.url.rsplit(":", 1)[1]
    regctl, reg = Tool(tools, "regctl", s, tmp_path, "--host", f"reg=localhost:{host},tls=disabled"), Client(s)
    index, ours, foreign = platforms(reg, busybox_image, "v1")
    at = regctl.at
    assert regctl("image", "digest", at(REPO + ":v1")) == index
    assert regctl("image", "digest", "--platform=linux/s390x", at(REPO + ":v1")) == foreign
    # what refers to an image: put, listed by kind, copied with it
    note = tmp_path / "sbom.txt"
    note.write_text("what is in it")
    regctl("artifact", "put", "--artifact-type=application/x.sbom", "--subject", at(REPO + ":v1"), "-f", str(note), "--annotation", "by=regctl")
    regctl("artifact", "put", "--artifact-type=application/x.note", "--subject", at(REPO + ":v1"), "-f", str(note))
    listed = lambda ref, *how: regctl.json("artifact", "list", ref, "--format={{json .}}", *how)["descriptors"]  # noqa: E731
    assert sorted(d["artifactType"] for d in listed(at(REPO + ":v1"))) == ["application/x.note", "application/x.sbom"]
    sbom = listed(at(REPO + ":v1"), "--filter-artifact-type=application/x.sbom")
    assert len(sbom) == 1 and sbom[0]["annotations"] == {"by": "regctl"}
    assert regctl("artifact", "get", "--subject", at(REPO + ":v1"), "--filter-artifact-type=application/x.sbom") == "what is in it"
    regctl("image", "copy", "--referrers", at(REPO + ":v1"), at("demo/copy:v1"))
    assert len(listed(at("demo/copy:v1"))) == 2 and regctl("image", "digest", at("demo/copy:v1")) == index
    # by file, both ways
    regctl("image", "export", at(REPO + ":v1"), str(tmp_path / "v1.tar"))
    regctl("image", "import", at("demo/file:v1"), str(tmp_path / "v1.tar"))
    runs(s, at("demo/file:v1"), "for " + ARCH)
    # an index of what is there
    regctl("index", "create", at("demo/copy:pair"), "--ref", at("demo/copy@" + ours), "--ref", at("demo/copy@" + foreign))
    runs(s, at("demo/copy:pair"), "for " + ARCH)
    # lists, removal, a blob in pieces
    assert regctl("repo", "ls", at("").rstrip("/")).split() == ["busybox", "demo/copy", "demo/file", REPO]
    assert regctl("tag", "ls", at("demo/copy")).split() == ["pair", "v1"]
    regctl("tag", "rm", at("demo/copy:pair"))
    assert regctl("tag", "ls", at("demo/copy")).split() == ["v1"]
    regctl("manifest", "rm", at("demo/copy@" + index))
    assert regctl("tag", "ls", at("demo/copy")) == ""
    data = os.urandom(5 << 20)
    chunks = ["--host", f"reg=localhost:{host},tls=disabled,blobChunk=1048576,blobMax=1048576"]
    r = subprocess.run([regctl.argv[0], *chunks, "blob", "put", at("demo/file")], input=data, env=regctl.env, capture_output=True, check=False)
    assert r.returncode == 0 and r.stdout.decode().strip() == sha(data), r.stderr
    assert reg.do("GET", f"/v2/demo/file/blobs/{sha(data)}").content == data
    # what is wrong: regctl says the status alone, the words are in its log
    assert "not found" in regctl.refused("manifest", "get", at(REPO + ":v9"))
    assert "there is no repository demo/nobody" in regctl.refused("tag", "ls", at("demo/nobody"), "-v", "debug")
    s.stop()


# ---- oras

def test_oras(local, tools, busybox_image, tmp_path):
    s = local()
    oras, reg = Tool(tools, "oras", s, tmp_path, s.url.split("//")[1]), Client(s)
    index, ours, foreign = platforms(reg, busybox_image, "v1")
    note = tmp_path / "note.txt"
    note.write_text("signed")
    assert oras.json("discover", REPO, "v1") is None
    first = oras.json("attach", REPO, "v1", "application/x.signature", str(note))
    second = oras.json("attach", REPO, "v1", "application/x.sbom", str(note))
    found = {d["digest"]: d for d in oras.json("discover", REPO, "v1")}
    assert set(found) == {first["digest"], second["digest"]}
    assert found[first["digest"]]["artifactType"] == "application/x.signature" and found[first["digest"]]["annotations"]["by"] == "oras"
    assert [d["digest"] for d in oras.json("discover", REPO, "v1", "application/x.sbom")] == [second["digest"]]
    # on an attachment, as signatures of an SBOM are
    third = oras.json("attach", REPO, second["digest"], "application/x.signature", str(note))
    assert oras.json("copy", REPO, "v1", "demo/copy", "v2")["digest"] == index
    assert len(oras.json("discover", "demo/copy", "v2")) == 2
    assert [d["digest"] for d in oras.json("discover", "demo/copy", second["digest"])] == [third["digest"]]
    runs(s, oras.server.url.split("//")[1] + "/demo/copy:v2", "for " + ARCH)
    # the entry for a platform alone
    out = tmp_path / "out"
    assert oras.json("pull", REPO, "v1", str(out), "linux", "s390x")["digest"] == foreign
    assert foreign in blobs_of(out) and ours not in blobs_of(out)
    # in pages
    for tag in ("a", "b", "c"):
        reg.image(tag, "demo/third")
    assert oras.json("repositories") == ["busybox", "demo/copy", "demo/third", REPO]
    assert oras.json("tags", "demo/third") == ["a", "b", "c"]
    assert oras.json("delete", REPO, first["digest"])["digest"] == first["digest"]
    assert [d["digest"] for d in oras.json("discover", REPO, "v1")] == [second["digest"]]
    # what is wrong, in words: oras asks by HEAD first, which has none
    assert "not found" in oras.refused("discover", REPO, "v9")
    assert "there is no repository demo/nobody" in oras.refused("tags", "demo/nobody")
    s.stop()


# ---- buildah

def test_buildah(local, busybox_image, tmp_path):
    s = local()
    path = programs(("buildah",), "buildah") + [os.environ["PATH"]]
    env = {**os.environ, "PATH": os.pathsep.join(path), "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot",
           "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}

    def buildah(*args, ok=True, **kw):
        r = subprocess.run(["buildah", "--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run"), *args], env=env,
                           capture_output=True, text=True, timeout=300, check=False, **kw)
        assert (r.returncode == 0) == ok, (args, r.stdout[-2000:], r.stderr[-2000:])
        return r.stdout.strip() if ok else r.stderr

    uri = f"localhost:{s.url.rsplit(':', 1)[1]}/demo/train/built:v1"
    folder = tmp_path / "context"
    folder.mkdir()
    os.link(busybox_image, folder / "root.tar")
    (folder / "Dockerfile").write_text('FROM scratch\nADD root.tar /\nRUN echo built by buildah > /greeting\nCMD ["cat", "/greeting"]\n')
    buildah("login", "--tls-verify=false", "-u", "anna", "--password-stdin", uri.split("/")[0], input="secret")
    buildah("build", "--layers", "-t", uri, str(folder))
    buildah("push", "--tls-verify=false", uri)
    runs(s, uri, "built by buildah")
    # as docker's kind, packed with zstd, and as a list of platforms
    buildah("push", "--tls-verify=false", "--format=v2s2", uri, "docker://" + uri.replace(":v1", ":docker"))
    runs(s, uri.replace(":v1", ":docker"), "built by buildah")
    buildah("push", "--tls-verify=false", "--compression-format=zstd", uri, "docker://" + uri.replace("built:v1", "zstd:v1"))
    runs(s, uri.replace("built:v1", "zstd:v1"), "built by buildah")
    many = uri.replace(":v1", ":many")
    buildah("manifest", "create", many, uri)
    buildah("manifest", "push", "--all", "--tls-verify=false", many, "docker://" + many)
    runs(s, many, "built by buildah")
    buildah("rmi", "--all", "--force")
    buildah("pull", "--tls-verify=false", uri)
    assert "there is no repository" in buildah("pull", "--tls-verify=false", uri.replace("built", "nothing"), ok=False)
    s.stop()
