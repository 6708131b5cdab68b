"""Pipelines that upload what their job leaves behind (reference 05 §5, 07)."""

import pytest

from conftest import PARENT, wait_until
from pipelines import POOL, create, pipeline, refusal, wait

SERVING = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-0:latest"


@pytest.fixture
def bucket(fake):
    """Puts files where jobs of the scripted engine would have put them."""
    assert fake.call("POST", "/storage/v1/b?project=demo", {"name": "out"}).status_code == 200

    def put(name, text="x"):
        r = fake.call("POST", f"/upload/storage/v1/b/out/o?uploadType=media&name={name}", text)
        assert r.status_code == 200, r.text
    return put


def with_model(base="gs://out/run", labels=None, model=None, **more):
    inputs = {"workerPoolSpecs": [POOL]}
    if base:
        inputs["baseOutputDirectory"] = {"outputUriPrefix": base}
    body = {"displayName": "iris", "containerSpec": {"imageUri": SERVING}}
    body.update(model or {})
    return pipeline(inputs, labels=labels, modelToUpload=body, **more)


def test_the_artefacts_become_a_model(fake, bucket):
    bucket("run/model/model.joblib", "abc")
    bucket("run/model/deep/vocabulary.txt", "de")
    body = with_model(model={"description": "of flowers", "versionDescription": "first try", "labels": {"a": "b"},
                             "versionAliases": ["prod"], "predictSchemata": {}})
    p = create(fake, body)
    assert p["modelToUpload"] == body["modelToUpload"]
    p = wait(fake, p["name"])
    assert p["state"] == "PIPELINE_STATE_SUCCEEDED", p
    made = dict(p["modelToUpload"])
    name = made.pop("name")
    assert made.pop("versionId") == "1" and sorted(made.pop("versionAliases")) == ["default", "prod"]
    assert {k: v for k, v in body["modelToUpload"].items() if k != "versionAliases"} == made
    m = fake.get(name)
    assert m["displayName"] == "iris" and m["description"] == "of flowers" and m["labels"] == {"a": "b"}
    assert m["versionDescription"] == "first try" and m["containerSpec"] == {"imageUri": SERVING}
    assert m["artifactUri"] == "gs://out/run/model" and m["trainingPipeline"] == p["name"]
    assert m["modelSourceInfo"] == {"sourceType": "CUSTOM"} and "dataStats" not in m
    assert sorted(m["versionAliases"]) == ["default", "prod"] and m["versionId"] == "1"
    assert fake.get(name + "@prod")["versionId"] == "1"
    # Where it has gone, its job and its model stay.
    assert fake.call("DELETE", "/v1/" + p["name"]).status_code == 200
    assert fake.get(name)["trainingPipeline"] == p["name"]


def test_ids_and_versions(fake, bucket):
    bucket("run/model/m")
    first = wait(fake, create(fake, with_model(modelId="iris-1"))["name"])
    assert first["modelToUpload"]["name"].endswith("/models/iris-1") and first["modelId"] == "iris-1"
    parent = first["modelToUpload"]["name"]
    second = wait(fake, create(fake, with_model(parentModel=parent))["name"])
    assert second["modelToUpload"]["name"] == parent and second["modelToUpload"]["versionId"] == "2"
    assert "versionAliases" not in second["modelToUpload"] and fake.get(parent)["versionId"] == "1"
    by_id = parent.replace(parent.split("/")[1], "demo", 1) + "@1"  # a version behind it is not looked at
    third = wait(fake, create(fake, with_model(parentModel=by_id, model={"versionAliases": ["default"]}))["name"])
    assert third["modelToUpload"]["versionId"] == "3" and fake.get(parent)["versionId"] == "3"


def test_artifact_uri_wins_over_the_base_directory(fake, bucket):
    bucket("run/model/m")
    bucket("elsewhere/m")
    for base in (None, "gs://out/run/"):
        p = wait(fake, create(fake, with_model(base, model={"artifactUri": "gs://out/elsewhere"}))["name"])
        assert p["state"] == "PIPELINE_STATE_SUCCEEDED", p
        assert fake.get(p["modelToUpload"]["name"])["artifactUri"] == "gs://out/elsewhere"


def test_there_is_nothing_to_upload(fake, bucket):
    p = wait(fake, create(fake, with_model("gs://out/empty"))["name"])
    assert p["state"] == "PIPELINE_STATE_FAILED" and "name" not in p["modelToUpload"]
    assert p["error"] == {"code": 3, "message": 'There are no files under "gs://out/empty/model" to copy.'}
    p = wait(fake, create(fake, with_model("gs://nobucket/empty"))["name"])
    assert p["state"] == "PIPELINE_STATE_FAILED" and p["error"]["code"] in (3, 5)
    assert "gs://nobucket/empty/model" in p["error"]["message"]
    assert "models" not in fake.call("GET", f"/v1/{PARENT}/models").json()


def test_a_job_that_failed_leaves_no_model(fake, bucket):
    bucket("run/model/m")
    p = wait(fake, create(fake, with_model(labels={"exit": 1}, modelId="never"))["name"])
    assert p["state"] == "PIPELINE_STATE_FAILED" and "name" not in p["modelToUpload"]
    p = create(fake, with_model(labels={"run_ms": 60000}, modelId="never"))
    wait_until(lambda: fake.get(p["name"])["state"] == "PIPELINE_STATE_RUNNING")
    fake.call("POST", f"/v1/{p['name']}:cancel", {})
    assert wait(fake, p["name"])["state"] == "PIPELINE_STATE_CANCELLED"
    assert fake.call("GET", f"/v1/{PARENT}/models/never").status_code == 404


def test_an_empty_model_is_none(fake):
    p = wait(fake, create(fake, pipeline(modelToUpload={}))["name"])
    assert p["state"] == "PIPELINE_STATE_SUCCEEDED" and not p.get("modelToUpload")


def test_what_can_be_refused_is_refused_at_once(fake, bucket):
    bucket("run/model/m")
    taken = wait(fake, create(fake, with_model(modelId="taken"))["name"])["modelToUpload"]["name"]
    _, fields = refusal(fake, with_model(None))
    assert "model_to_upload.artifact_uri" in fields and "base_output_directory" in fields["model_to_upload.artifact_uri"]
    body = with_model()
    body["modelToUpload"] = {"displayName": "", "artifactUri": "/tmp/x", "versionAliases": ["7"], "labels": {"UP": "x"}}
    _, fields = refusal(fake, body)
    assert set(fields) == {"model_to_upload." + f for f in ("display_name", "artifact_uri", "version_aliases", "labels",
                                                            "container_spec.image_uri")}
    e, _ = refusal(fake, with_model(modelId="taken"), 409)
    assert e["status"] == "ALREADY_EXISTS" and "taken" in e["message"]
    for bad in ("1st", "Upper", "x" * 64):
        _, fields = refusal(fake, with_model(modelId=bad))
        assert list(fields) == ["model_id"], fields
    e, _ = refusal(fake, with_model(parentModel=f"{PARENT}/models/nobody"), 404)
    assert "nobody" in e["message"]
    _, fields = refusal(fake, with_model(parentModel="nobody"))
    assert list(fields) == ["parent_model"]
    _, fields = refusal(fake, with_model(parentModel=taken.replace("us-central1", "europe-west4")))
    assert list(fields) == ["parent_model"]
    _, fields = refusal(fake, with_model(parentModel=taken, modelId="both"))
    assert "model_id" in fields or "parent_model" in fields
    _, fields = refusal(fake, pipeline(parentModel=taken))
    assert list(fields) == ["model_to_upload"]
    assert len(fake.call("GET", f"/v1/{PARENT}/trainingPipelines").json()["trainingPipelines"]) == 1


def test_a_model_id_that_is_taken_meanwhile(fake, bucket):
    bucket("run/model/m")
    racers = [create(fake, with_model(labels={"run_ms": 200}, modelId="prize")) for _ in range(3)]
    ended = [wait(fake, p["name"]) for p in racers]
    won = [p for p in ended if p["state"] == "PIPELINE_STATE_SUCCEEDED"]
    assert len(won) == 1 and won[0]["modelToUpload"]["versionId"] == "1"
    for p in ended:
        if p not in won:
            assert p["state"] == "PIPELINE_STATE_FAILED" and p["error"]["code"] == 6, p["error"]
            assert "prize" in p["error"]["message"] and "name" not in p["modelToUpload"]


def test_a_parent_that_goes_away_meanwhile(fake, bucket):
    bucket("run/model/m")
    parent = wait(fake, create(fake, with_model(modelId="gone"))["name"])["modelToUpload"]["name"]
    p = create(fake, with_model(labels={"run_ms": 1500}, parentModel=parent))
    assert fake.call("DELETE", "/v1/" + parent).status_code == 200
    p = wait(fake, p["name"])
    assert p["state"] == "PIPELINE_STATE_FAILED" and p["error"]["code"] == 5 and "gone" in p["error"]["message"]


def test_lineage_from_the_model_back_to_the_job(fake, bucket):
    bucket("run/model/m")
    p = wait(fake, create(fake, with_model())["name"])
    r = fake.call("GET", f"/cusp/v1/{p['modelToUpload']['name']}:lineage")
    assert r.status_code == 200, r.text
    text = r.text
    assert p["name"] in text and p["trainingTaskMetadata"]["backingCustomJob"] in text and "busybox" in text
