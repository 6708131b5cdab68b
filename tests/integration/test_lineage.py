"""What a version was made of: model -> pipeline -> job -> dataset, image and package digests; and back again."""
import os
import subprocess

from conftest import BUILD, PARENT, container_job, needs_root
from pipelines import CUSTOM, create, pipeline, wait

TABULAR = "gs://google-cloud-aiplatform/schema/dataset/metadata/tabular_1.0.0.yaml"
SERVING = {"displayName": "made", "containerSpec": {"imageUri": "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-0:latest"}}


def put(s, name, data):
    r = s.http.post(f"{s.url}/upload/storage/v1/b/out/o", params={"uploadType": "media", "name": name}, data=data)
    assert r.status_code == 200, r.text
    return "gs://out/" + name


def bucket(s):
    assert s.call("POST", "/storage/v1/b?project=demo", {"name": "out"}).status_code == 200


def table(s):
    uri = put(s, "t.csv", "a,b\n" + "".join(f"{i},x\n" for i in range(50)))
    op = s.call("POST", f"/v1/{PARENT}/datasets", {"displayName": "t", "metadataSchemaUri": TABULAR,
                                                   "metadata": {"inputConfig": {"gcsSource": {"uri": [uri]}}}}).json()
    return op["response"]["name"]


def lineage(s, name):
    r = s.call("GET", f"/cusp/v1/{name}:lineage")
    assert r.status_code == 200, r.text
    return r.json()


def made_from(s, name):
    return s.call("GET", f"/cusp/v1/{name}:models").json()["models"]


def test_both_ways_with_digests_of_images_and_packages(fake):
    bucket(fake)
    put(fake, "run/model/m", "x")
    data = table(fake)
    pool = {"replicaCount": 1, "machineSpec": {"machineType": "n1-standard-4"}}
    packages = {"executorImageUri": "example.com/py:1", "packageUris": ["gs://out/a b.tar.gz", "gs://out/two.whl"], "pythonModule": "t.task"}
    inputs = {"workerPoolSpecs": [dict(pool, pythonPackageSpec=packages), dict(pool, containerSpec={"imageUri": "example.com/other:2"})],
              "baseOutputDirectory": {"outputUriPrefix": "gs://out/run"}}
    p = wait(fake, create(fake, pipeline(inputs, modelToUpload=SERVING, inputDataConfig={
        "datasetId": data.split("/")[-1], "gcsDestination": {"outputUriPrefix": "gs://out/data"}}))["name"])
    assert p["state"] == "PIPELINE_STATE_SUCCEEDED", p
    version = p["modelToUpload"]["name"] + "@1"
    job = p["trainingTaskMetadata"]["backingCustomJob"]
    l = lineage(fake, version)
    assert l["trainingPipeline"] == p["name"] and l["jobs"] == [job] and l["datasets"] == [data]
    assert l["images"] == ["example.com/py:1", "example.com/other:2"]
    assert len(set(l["imageDigests"])) == 2 and all(d.startswith("fake:") for d in l["imageDigests"])
    assert [x.rsplit(" ", 1)[0] for x in l["packages"]] == packages["packageUris"]
    assert len({x.rsplit(" ", 1)[1] for x in l["packages"]}) == 2
    for name in (p["name"], job, data):
        assert made_from(fake, name) == [version], name
    # The job's own record says the same, before anything is uploaded.
    staged = next(e for e in fake.events(job)["events"] if e["type"] == "ATTEMPT_STAGED")
    assert {x.split(" ")[1] for x in staged["facts"]["image"]} == set(l["imageDigests"])
    out = subprocess.run([os.path.join(BUILD, "cusp"), f"--endpoint={fake.url}", "models", "describe", version],
                         capture_output=True, text=True, check=True).stdout
    for text in [p["name"], job, data] + l["imageDigests"] + l["packages"]:
        assert text in out, text


def test_a_job_tried_twice_tells_of_the_try_that_succeeded(fake):
    bucket(fake)
    put(fake, "run/model/m", "x")
    pool = {"replicaCount": 1, "machineSpec": {"machineType": "n1-standard-4"}, "containerSpec": {"imageUri": "example.com/t:1"}}
    inputs = {"workerPoolSpecs": [pool], "baseOutputDirectory": {"outputUriPrefix": "gs://out/run"}}
    p = wait(fake, create(fake, pipeline(inputs, labels={"lose": 1, "until_attempt": 1}, modelToUpload=SERVING))["name"])
    assert p["state"] == "PIPELINE_STATE_SUCCEEDED", p
    events = fake.events(p["trainingTaskMetadata"]["backingCustomJob"])["events"]
    assert [e["type"] for e in events].count("ATTEMPT_STAGED") == 2
    assert lineage(fake, p["modelToUpload"]["name"])["images"] == ["example.com/t:1"]


@needs_root
def test_the_digest_is_the_one_of_the_image_that_ran(local):
    s = local()
    bucket(s)
    body = container_job("sh", "-c", "mkdir -p /gcs/out/run/model && echo weights > /gcs/out/run/model/m")
    inputs = dict(body["jobSpec"], baseOutputDirectory={"outputUriPrefix": "gs://out/run"})
    p = wait(s, create(s, {"displayName": "real", "trainingTaskDefinition": CUSTOM, "trainingTaskInputs": inputs,
                           "modelToUpload": SERVING})["name"])
    assert p["state"] == "PIPELINE_STATE_SUCCEEDED", p
    l = lineage(s, p["modelToUpload"]["name"])
    images = s.call("GET", "/cusp/v1/images").json()["images"]
    assert l["imageDigests"] == [images[0]["digest"]] and l["imageDigests"][0].startswith("sha256:"), (l, images)
    assert l["artifact"]["files"] == "1" and l["artifact"]["bytes"] == str(len("weights\n"))
