"""pythonPackageSpec on the real sklearn-cpu image: installed once, kept as a layer, failing with pip's own words."""
import glob
import hashlib
import io
import os
import shutil
import tarfile
import zipfile

import pytest

from conftest import Server, needs_root, reap_containers, runners, wait_until

BUILT = sorted(glob.glob("/var/cache/cusp/recipes/sklearn-cpu-*.image.json"), key=os.path.getmtime)
pytestmark = [needs_root, pytest.mark.skipif(
    not BUILT, reason="NOT TESTED: the sklearn-cpu image is not built here (cusp images build sklearn-cpu)")]


def sdist(name="trainer", main="print('trained')", setup=None, requires=()):
    """A source distribution as setuptools makes it: NAME-0.1/{setup.py,NAME/__init__.py,NAME/task.py}."""
    setup = setup or (f"from setuptools import setup\nsetup(name='{name}', version='0.1', packages=['{name}'], "
                      f"install_requires={list(requires)!r})\n")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as t:
        for path, text in (("setup.py", setup), (f"{name}/__init__.py", ""), (f"{name}/task.py", main)):
            i = tarfile.TarInfo(f"{name}-0.1/{path}")
            i.size = len(text)
            t.addfile(i, io.BytesIO(text.encode()))
    return out.getvalue()


def wheel(name, main):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        info = f"{name}-0.1.dist-info"
        z.writestr(f"{name}/__init__.py", "")
        z.writestr(f"{name}/task.py", main)
        z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
        z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(f"{info}/RECORD", "")
    return out.getvalue()


@pytest.fixture(scope="module")
def installer(tmp_path_factory):
    """One server with the image for the whole file: unpacking 400 MB is not what is tested here."""
    s = Server(tmp_path_factory.mktemp("packages") / "data", "--engine=local", "--stop-grace-s=1",
               env={"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_DEFAULT_TIMEOUT": "1", "PIP_RETRIES": "0"}).start()
    with open(BUILT[-1]) as f:
        r = s.call("POST", "/cusp/v1/images:importPath", f.read())
    assert r.status_code == 200, r.text
    assert s.call("POST", "/storage/v1/b?project=demo", {"name": "bkt"}).status_code == 200
    yield s
    if s.proc.poll() is None:
        s.stop()
    reap_containers(s.data_dir)


@pytest.fixture
def server(installer):
    """The file's server, running, with nothing going on and no package installed."""
    if installer.proc.poll() is not None:
        installer.start()
    yield installer
    wait_until(lambda: not runners(installer.data_dir), 20, "the test's containers to go")
    installer.stop()
    for layer in glob.glob(os.path.join(installer.data_dir, "pkgs", "*")):
        shutil.rmtree(layer) if os.path.isdir(layer) else os.remove(layer)


def put(s, name, data):
    r = s.http.post(f"{s.url}/upload/storage/v1/b/bkt/o", params={"uploadType": "media", "name": name}, data=data)
    assert r.status_code == 200, r.text
    return f"gs://bkt/{name}"


def job_of(*uris, module="trainer.task", args=()):
    return {"displayName": "packages", "jobSpec": {"workerPoolSpecs": [{
        "machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": 1,
        "pythonPackageSpec": {"executorImageUri": "sklearn-cpu", "packageUris": list(uris), "pythonModule": module,
                              "args": list(args)}}]}}


def said(s, job, task="workerpool0-0"):
    return [x["message"] for x in s.logs(job["name"]) if x["task"] == task]


def test_sdist_and_wheel_together_and_the_second_run_installs_nothing(server):
    a = put(server, "trainer-0.1.tar.gz", sdist(main="import sys, helper.task\nprint('args', sys.argv[1:])\n"))
    helper = wheel("helper", "print('helper here')")
    b = put(server, "helper-0.1-py3-none-any.whl", helper)
    first = server.wait(server.create(job_of(a, b, args=["--x=1"]))["name"], 90)
    assert first["state"] == "JOB_STATE_SUCCEEDED", (first, server.logs(first["name"]))
    assert said(server, first) == ["helper here", "args ['--x=1']"]
    assert any("Successfully installed" in x for x in said(server, first, "packages"))
    # What ran is on record: lineage of models is made from this.
    staged = next(e for e in server.events(first["name"])["events"] if e["type"] == "ATTEMPT_STAGED")["facts"]
    assert f"{b} sha256:{hashlib.sha256(helper).hexdigest()}" in staged["package"] and len(staged["package"]) == 2, staged
    second = server.wait(server.create(job_of(a, b, args=["--x=2"]))["name"], 30)
    assert second["state"] == "JOB_STATE_SUCCEEDED" and said(server, second)[-1] == "args ['--x=2']"
    assert not said(server, second, "packages"), "installed again"
    # The same bytes under another name of a bucket are the same packages; other bytes are not.
    put(server, "trainer-0.1.tar.gz", sdist(main="print('new code')\n"))
    third = server.wait(server.create(job_of(a, b))["name"], 90)
    assert said(server, third) == ["new code"], third


def test_broken_packages_name_the_package_and_repeat_pip(server):
    good = put(server, "good-0.1.tar.gz", sdist("good"))
    bad = put(server, "bad-0.1.tar.gz", sdist(setup="from setuptools import setup\nsetup(name='trainer'\n"))
    needy = put(server, "needy-0.1.tar.gz", sdist("needy", requires=["no-such-package-anywhere"]))
    junk = put(server, "junk-0.1.tar.gz", b"this is no archive")
    names = {u: server.create(job_of(good, u))["name"] for u in (bad, needy, junk)}
    says = {bad: "SyntaxError", needy: "no-such-package-anywhere", junk: "junk-0.1.tar.gz"}
    for uri, name in names.items():
        job = server.wait(name, 120)
        msg = job["error"]["message"]
        assert job["state"] == "JOB_STATE_FAILED" and f"package {uri} could not be installed" in msg, msg
        assert says[uri] in msg, msg
        words, _, quoted = msg.partition("could not be installed:")
        assert quoted[0] == ("\n" if quoted.partition("\n\nTo find out more")[0].strip().count("\n") else " "), msg
        assert good not in msg
    wait_until(lambda: not runners(server.data_dir), 20, "installers to go")
    assert not glob.glob(os.path.join(server.data_dir, "pkgs", "*")), "a broken layer was kept"


def test_two_jobs_with_the_same_packages_install_once(server):
    uri = put(server, "trainer-0.1.tar.gz", sdist())
    names = [server.create(job_of(uri))["name"] for _ in range(3)]
    jobs = [server.wait(n, 90) for n in names]
    assert {j["state"] for j in jobs} == {"JOB_STATE_SUCCEEDED"}, jobs
    installs = [j for j in jobs if any("Successfully installed" in x for x in said(server, j, "packages"))]
    assert len(installs) == 1


def test_server_killed_during_the_installation(server):
    slow = "import time, os\nopen('/var/tmp/cusp-packages/up', 'w').close()\ntime.sleep(1.5)\n"
    uri = put(server, "trainer-0.1.tar.gz", sdist(
        setup=slow + "from setuptools import setup\nsetup(name='trainer', version='0.1', packages=['trainer'])\n"))
    name = server.create(job_of(uri))["name"]
    up = os.path.join(server.data_dir, "run", "pkgs", "a1", "*", "files", "up")
    wait_until(lambda: glob.glob(up), 60, "setup.py to run")
    server.kill9()
    server.start()
    job = server.wait(name, 120)
    assert job["state"] == "JOB_STATE_SUCCEEDED", (job, server.log()[-2000:])
    assert said(server, job) == ["trained"]
    wait_until(lambda: not runners(server.data_dir), 20, "the installer of the dead server to go")
    assert server.data_dir not in open("/proc/mounts").read()


def test_cancel_while_packages_are_installed(server):
    uri = put(server, "trainer-0.1.tar.gz", sdist(
        setup="import time\nopen('/var/tmp/cusp-packages/up', 'w').close()\ntime.sleep(1000)\n"))
    name = server.create(job_of(uri))["name"]
    wait_until(lambda: glob.glob(os.path.join(server.data_dir, "run", "pkgs", "a1", "*", "files", "up")), 60, "setup.py to run")
    assert server.call("POST", f"/v1/{name}:cancel", {}).status_code == 200
    assert server.wait(name, 20)["state"] == "JOB_STATE_CANCELLED"
    wait_until(lambda: not runners(server.data_dir), 20, "the installer to go")
