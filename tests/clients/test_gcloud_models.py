"""gcloud ai models, unmodified: every verb it has. Extended: each command is a start of gcloud, seconds long."""
import json
import os
import subprocess

import pytest

from conftest import needs

pytestmark = [pytest.mark.skipif(not os.environ.get("CUSP_EXTENDED"), reason="extended: CUSP_EXTENDED=1 runs it"),
              needs("gcloud")]
IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"


@pytest.fixture
def gcloud(fake, tmp_path):
    def run(*args, code=0):
        env = {**os.environ, "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": fake.url + "/", "CLOUDSDK_CORE_PROJECT": "demo",
               "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "1", "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
               "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"), "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1"}
        p = subprocess.run(["gcloud", "ai", "models", *args, "--region=us-central1", "--format=json"], env=env,
                           capture_output=True, text=True, timeout=120)
        assert p.returncode == code, f"{args}: {p.returncode}\n{p.stdout}{p.stderr}"
        return json.loads(p.stdout) if code == 0 and p.stdout.strip() else p.stderr
    run.server = fake
    return run


def test_every_verb(gcloud):
    s = gcloud.server
    s.call("POST", "/storage/v1/b?project=demo", {"name": "art"})
    s.call("POST", "/upload/storage/v1/b/art/o?uploadType=media&name=m/model.joblib", b"x")
    upload = ["upload", "--display-name=iris", f"--container-image-uri={IMAGE}", "--artifact-uri=gs://art/m"]
    made = gcloud(*upload, "--model-id=iris", "--version-aliases=prod", "--version-description=first")
    assert made["model"].endswith("/models/iris") and made["modelVersionId"] == "1"
    assert gcloud(*upload, f"--parent-model={made['model']}", "--version-aliases=default")["modelVersionId"] == "2"
    assert [m["displayName"] for m in gcloud("list")] == ["iris"]
    assert gcloud("describe", "iris")["versionId"] == "2" and gcloud("describe", "iris@prod")["versionDescription"] == "first"
    assert sorted(m["versionId"] for m in gcloud("list-version", "iris")) == ["1", "2"]
    source = made["model"] + "@1"
    copied = gcloud("copy", f"--source-model={source}", "--destination-model-id=twin")
    assert copied["model"].endswith("/models/twin"), copied
    gcloud("delete-version", "iris@2")
    assert gcloud("describe", "iris")["versionAliases"] == ["default", "prod"]
    assert "only version" in gcloud("delete-version", "iris@1", code=1)
    gcloud("delete", "twin")
    assert [m["displayName"] for m in gcloud("list")] == ["iris"]
