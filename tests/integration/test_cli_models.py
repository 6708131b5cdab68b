"""cusp models: gcloud's verbs for the registry."""
import json
import os
import subprocess

import pytest

from conftest import BUILD
from modelreg import IMAGE, put


@pytest.fixture
def cusp(fake):
    def run(*args, code=0):
        p = subprocess.run([os.path.join(BUILD, "cusp"), "--endpoint", fake.url, "models", *args], capture_output=True,
                           text=True, timeout=60)
        assert p.returncode == code, f"{args}: {p.returncode}\n{p.stdout}{p.stderr}"
        return p.stdout if code == 0 else p.stdout + p.stderr
    run.server = fake
    return run


def test_a_life_of_a_model(cusp):
    put(cusp.server, "art", "iris/model.joblib", b"x" * 2048)
    put(cusp.server, "art", "iris/meta/info.json", b"{}")
    upload = ["upload", "--display-name=Iris", "--artifact-uri=gs://art/iris", f"--container-image-uri={IMAGE}"]
    assert cusp(*upload, "--model-id=iris", "--version-aliases=prod,gold", "--labels=team=red,tier=1", "--description=all",
                "--container-args=--port,8080", "--container-env-vars=A=1,B=x=y", "--container-ports=8080",
                "--container-predict-route=/predict", "--container-deployment-timeout-seconds=600",
                "--container-shared-memory-size-mb=64") == "iris@1\n"
    m = json.loads(cusp("describe", "iris", "--format=json"))
    assert m["containerSpec"] == {
        "imageUri": IMAGE, "args": ["--port", "8080"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "x=y"}],
        "ports": [{"containerPort": 8080}], "predictRoute": "/predict", "deploymentTimeout": "600s", "sharedMemorySizeMb": "64"}
    assert cusp(*upload, "--parent-model=iris", "--version-description=better") == "iris@2\n"
    assert cusp("update", "iris@2", "--add-aliases=default,prod", "--version-description=best", "--labels=tier=2") == ""
    assert cusp("update", "iris@2", "--remove-aliases=prod") == "" and cusp("update", "iris", "--display-name=Flowers") == ""
    table = cusp("list").splitlines()
    assert table[0].split() == ["MODEL_ID", "DISPLAY_NAME", "VERSION", "ALIASES", "UPDATED"]
    assert table[1].split()[:4] == ["iris", "Flowers", "2", "default"]
    assert [x.split()[:2] for x in cusp("list-version", "iris").splitlines()[1:]] == [["2", "default"], ["1", "gold"]]
    assert [m["versionId"] for m in json.loads(cusp("list-version", "iris", "--order-by=create_time", "--format=json"))] == ["1", "2"]
    text = cusp("describe", "iris@gold")
    for words in ("displayName:        Flowers", "aliases:            gold", "labels:             team=red,tier=1",
                  "sealed:             2 files, 2.0 KiB, sha256:", "files:              as registered", "artefact:           gs://art/iris"):
        assert words in text, text
    assert "files:              as registered" in cusp("verify", "iris@1")
    out = cusp("export", "iris@1", "--destination=gs://art/out").strip()
    assert out.startswith("gs://art/out/model-export-Flowers-") and out.endswith("/custom-trained/")
    put(cusp.server, "art", "iris/model.joblib", b"y" * 2049)
    assert "CHANGED since" in cusp("describe", "iris")
    said = cusp("verify", "iris", code=1)
    assert ["model.joblib", "CHANGED", "2048", "2049"] in [x.split() for x in said.splitlines()]
    assert "has changed since" in cusp("export", "iris", "--destination=gs://art/out", code=2)
    assert cusp("copy", "--source-model=iris@1", "--destination-model-id=twin") == "twin@1\n"
    assert "copied from:" in cusp("describe", "twin", "--lineage")
    assert json.loads(cusp("describe", "iris@1", "--lineage", "--format=json"))["copies"][0].endswith("/models/twin@1")
    assert "only version" in cusp("delete-version", "twin@1", code=2)
    assert cusp("delete-version", "iris@2") == "" and cusp("delete", "twin") == ""
    assert json.loads(cusp("list", "--filter=model=iris", "--format=json"))[0]["versionAliases"] == ["default", "gold"]
    cusp("describe", "twin", code=3)


def test_wrong_usage(cusp):
    for args, words in ((["upload"], "--display-name"), (["describe"], "usage"), (["delete", "a", "b"], "usage"),
                        (["list-version"], "usage"), (["update", "x"], "nothing to update"), (["nope"], "no command"),
                        (["export", "x"], "--destination"), (["copy"], "--source-model"), (["list", "--limit=0"], "--limit"),
                        (["upload", "--display-name=x", "--labels=nonsense"], "KEY=VALUE"),
                        (["upload", "--display-name=x", "--container-deployment-timeout-seconds=soon"], "number"),
                        (["upload", "--display-name=x", "--artifact-uri=gs://b/m"], "container_spec.image_uri")):
        assert words in cusp(*args, code=2), args
    for verb in ("", "upload", "list", "list-version", "describe", "update", "verify", "export", "copy", "delete", "delete-version"):
        assert f"cusp models {verb}".strip() in cusp(*([verb] if verb else []), "--help")
