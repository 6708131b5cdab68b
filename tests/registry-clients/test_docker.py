"""docker as a person uses it: build, tag, log in, push, pull, and then a job on what was pushed. With a daemon of its own
(dockerd.py); skips with the reason where none can be started."""
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import requests

from conftest import BUILD, PARENT, needs_root, wait_until

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from dockerd import Daemon, runs  # noqa: E402

pytestmark = [needs_root, pytest.mark.skipif(not os.environ.get("CUSP_EXTENDED"), reason="extended: make test-clients runs it")]


@pytest.fixture(scope="module")
def docker():
    d = Daemon()
    d.start()
    yield d
    d.stop()


def own(server, rest):
    return f"localhost:{server.url.rsplit(':', 1)[1]}/{rest}"


def build(docker, tmp_path, tag, tar, text, *more):
    """docker build of busybox and what `more` adds."""
    folder = tmp_path / re.sub(r"\W", "-", tag)
    folder.mkdir()
    os.link(tar, folder / "root.tar")
    (folder / "greeting").write_text(text)
    (folder / "Dockerfile").write_text("\n".join(["FROM scratch", "ADD root.tar /", "COPY greeting /greeting", *more,
                                                  'CMD ["cat", "/greeting"]', ""]))
    docker("build", "--network=none", "-t", tag, str(folder))


def digest_of(said):
    return re.search(r"digest: (sha256:[0-9a-f]{64})", said).group(1)


def on_the_shelf(s):
    """When each blob came: it is one file, whoever has it, and one that came again would be another."""
    folder = os.path.join(s.data_dir, "images", "blobs", "sha256")
    return {name: os.stat(os.path.join(folder, name)).st_mtime_ns for name in os.listdir(folder)}


def test_build_push_pull_and_a_job(local, docker, busybox_image, tmp_path):
    s = local()
    uri = own(s, "demo/train/mnist:v1")
    build(docker, tmp_path, uri, busybox_image, "hello from docker", 'RUN ["/bin/sh", "-c", "echo built here >> /greeting"]')
    assert "Login Succeeded" in docker("login", "-u", "anna", "--password-stdin", uri.split("/")[0], input="secret")
    said = docker("push", uri)
    digest = digest_of(said)
    assert s.call("HEAD", "/v2/demo/train/mnist/manifests/v1").headers["Docker-Content-Digest"] == digest
    runs(s, uri, "built here")
    # and back: the same image, by its tag and by its digest
    before = docker("image", "inspect", "-f", "{{.Id}}", uri)
    docker("rmi", uri)
    assert digest in docker("pull", uri)
    assert docker("image", "inspect", "-f", "{{.Id}}", uri) == before
    docker("rmi", uri)
    docker("pull", uri.rsplit(":", 1)[0] + "@" + digest)
    # again: nothing is sent
    docker("pull", uri)
    again = docker("push", uri)
    assert again.count("Layer already exists") == 3 and digest_of(again) == digest, again
    assert json.loads(docker("manifest", "inspect", "--insecure", uri))["mediaType"]
    docker("logout", uri.split("/")[0])
    s.stop()


def test_what_another_repository_has_is_mounted_and_not_sent(local, docker, busybox_image, tmp_path):
    s = local()
    first, second = own(s, "demo/train/base:v1"), own(s, "other/team/app:v2")
    build(docker, tmp_path, first, busybox_image, "the base")
    docker("push", first)
    had = on_the_shelf(s)
    folder = tmp_path / "second"
    folder.mkdir()
    (folder / "app").write_text("the app")
    (folder / "Dockerfile").write_text(f'FROM {first}\nCOPY app /app\nCMD ["cat", "/app"]\n')
    docker("build", "--network=none", "-t", second, str(folder))
    said = docker("push", second)
    assert said.count("Mounted from demo/train/base") == 2 and said.count("Pushed") == 1, said
    now = on_the_shelf(s)
    assert {k: now[k] for k in had} == had and len(now) == len(had) + 3, (had, now)  # a layer, a configuration, a manifest
    layers = lambda repo, tag: {x["digest"] for x in s.call("GET", f"/v2/{repo}/manifests/{tag}").json()["layers"]}  # noqa: E731
    assert layers("demo/train/base", "v1") < layers("other/team/app", "v2")
    runs(s, second, "the app")
    s.stop()


def test_a_server_killed_in_the_middle_of_a_push(local, docker, busybox_image, tmp_path):
    """docker tries again by itself, and goes on with the server that comes back; what it then says is pushed is whole."""
    s = local()
    s.listen = s.url.split("//")[1]
    uri = own(s, "demo/train/large:v1")
    folder = tmp_path / "large"
    folder.mkdir()
    os.link(busybox_image, folder / "root.tar")
    (folder / "data").write_bytes(os.urandom(48 << 20))
    (folder / "Dockerfile").write_text('FROM scratch\nADD root.tar /\nCOPY data /data\nCMD ["sh", "-c", "cat /data | wc -c"]\n')
    docker("build", "--network=none", "-t", uri, str(folder))
    under_way = os.path.join(s.data_dir, "images", "repos", "demo+train+large", "uploads")
    push = subprocess.Popen(["docker", "push", uri], env=docker.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_until(lambda: os.path.isdir(under_way) and any(e.stat().st_size > 8 << 20 for e in os.scandir(under_way)), 60,
               "the layer to be on its way")
    s.kill9()
    s.start()
    assert requests.get(f"{s.url}/v2/demo/train/large/manifests/v1").status_code == 404  # nothing half
    said = push.communicate(timeout=300)[0]
    if push.returncode:  # it gave up: then the person tries again
        said = docker("push", uri)
    digest = digest_of(said)
    docker("rmi", uri)
    assert digest in docker("pull", uri)
    assert docker("run", "--rm", "--network=none", uri) == str(48 << 20)
    s.stop()


def test_docker_prints_what_is_wrong(make_server, docker, busybox_image):
    s = make_server("--engine=fake", "--limit=registry_max_repos=1", "--limit=registry_max_blob=1000").start()
    docker("import", str(busybox_image), "busy")

    def says(verb, rest, *words):
        uri = own(s, rest)
        if verb == "push":
            docker("tag", "busy", uri)
        said = docker.refused(verb, uri)
        for w in words:
            assert w in said, said
        assert "Retrying" not in said, said  # nothing is sent again to be refused again

    says("pull", "demo/train/nothing:v1", "there is no repository demo/train/nothing")
    says("push", "demo/train/mnist:v1", "registry_max_blob")
    says("push", "demo/train/second:v1", "registry_max_repos")
    s.stop()


@pytest.mark.skipif(not shutil.which("gcloud"), reason="gcloud is not installed")
def test_gcloud_builds_a_package_into_an_image_and_pushes_it(make_server, busybox_image, tmp_path):
    """gcloud ai custom-jobs create with local-package-path: docker build, and a push to gcr.io, whatever the endpoint is. With that
    name leading here, as docs/clients.md says how, it comes to the job."""
    docker = Daemon(["127.0.43.1 gcr.io"])  # an address of its own: 443 may be somebody's
    try:
        s = make_server("--engine=local", "--stop-grace-s=1")
        s.listen = "127.0.43.1:443"
        subprocess.run([os.path.join(BUILD, "cusp"), "tls", "init", "--data-dir", s.data_dir, "--quiet"], check=True)
        s.start()
        docker.start()
        base = tmp_path / "base"
        base.mkdir()
        os.link(busybox_image, base / "root.tar")
        (base / "python").write_text('#!/bin/sh\ncat "$(echo "$2" | sed s,[.],/,g).py"\necho "$@"\n')  # says what it was asked to run
        (base / "Dockerfile").write_text('FROM scratch\nADD root.tar /\nCOPY python /bin/python\n'
                                         'RUN ["/bin/busybox", "--install", "/bin"]\nRUN chmod 755 /bin/python\n')
        docker("build", "-t", "base:v1", str(base))
        trainer = tmp_path / "package" / "trainer"
        trainer.mkdir(parents=True)
        (trainer / "__init__.py").write_text("")
        (trainer / "task.py").write_text("the program of the package\n")
        env = {**docker.env, "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"), "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "1", "CLOUDSDK_CORE_PROJECT": "demo",
               "CLOUDSDK_CORE_DISABLE_PROMPTS": "1", "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": s.url + "/"}
        r = subprocess.run(["gcloud", "ai", "custom-jobs", "create", "--region=us-central1", "--display-name=auto", "--args=--epochs=3",
                            "--worker-pool-spec=machine-type=n1-standard-4,replica-count=1,executor-image-uri=base:v1,"
                            f"local-package-path={tmp_path}/package,python-module=trainer.task"],
                           env=env, capture_output=True, text=True, timeout=300, check=False)
        assert r.returncode == 0, r.stdout + r.stderr
        name = s.call("GET", f"/v1/{PARENT}/customJobs").json()["customJobs"][0]["name"]
        job = s.wait(name)
        assert job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["imageUri"].startswith("gcr.io/demo/cloudai-autogenerated/auto:")
        assert job["state"] == "JOB_STATE_SUCCEEDED", s.events(name)
        said = json.dumps(s.logs(name))
        assert "the program of the package" in said and "-m trainer.task --epochs=3" in said, said
        s.stop()
    finally:
        docker.stop()
